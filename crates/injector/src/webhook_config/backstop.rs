//! The backstop: a ValidatingAdmissionPolicy that rejects pods without a proxy where the webhook should inject one,
//! whatever happened to the webhook.
//!
//! API servers evaluate it themselves, so that `failurePolicy: Ignore` of the webhook is safe. It follows the same settings:
//! its bindings have the selectors of the webhook's entries, and its expressions are the decision (`inject::decision`), rule by
//! rule, with the configuration's rules and the entries of the override policy that deny pods without a proxy. A pod is
//! exempt only if a healthy webhook would leave it alone. The chart has the same policy
//! (`charts/outrigger/templates/validatingadmissionpolicy.yaml`); a test compares the two.

use serde_json::{Map, Value, json};

use super::{Entry, Kind, Settings, with_namespace, with_revision};
use crate::{
    config::{
        Compat, InjectorConfig, Operator, Policy, Selector,
        guard::{NotCommon, RuleAction},
    },
    names,
};

/// The label of a namespace with the level for its pods: `audit`, `warn` or `deny`.
pub const LABEL_BACKSTOP: &str = "outrigger.dev/backstop";

/// The consequence of a pod without a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackstopLevel {
    /// It is recorded in the API server's audit log.
    Audit,
    /// The user who creates it is warned, too.
    Warn,
    /// It is rejected.
    Deny,
}

const LEVELS: [BackstopLevel; 3] = [BackstopLevel::Audit, BackstopLevel::Warn, BackstopLevel::Deny];
const NOT_INJECTED: &str = "pods in this namespace must be injected and this one was not: the injector did not respond in time or was bypassed; \
     to create a pod without a proxy, set the label sidecar.istio.io/inject: 'false'";
const NO_CHOICE: &str = "pods in this namespace must be injected and this one was not: the injector did not respond in time or was bypassed";
const NO_PROXY: &str = "the pod claims to be injected but has no container istio-proxy";
const WINDOWS: &str = "(has(object.spec.os) && object.spec.os.name == 'windows') || (has(object.spec.nodeSelector) && ['kubernetes.io/os', 'beta.kubernetes.io/os'].exists(k, k in object.spec.nodeSelector && object.spec.nodeSelector[k] == 'windows')) || (has(object.spec.affinity) && has(object.spec.affinity.nodeAffinity) && has(object.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution) && object.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms.all(t, has(t.matchExpressions) && t.matchExpressions.exists(e, has(e.values) && ((e.key in ['kubernetes.io/os', 'beta.kubernetes.io/os'] && e.operator == 'In' && e.values.size() > 0 && e.values.all(v, v == 'windows')) || (e.key == 'kubernetes.io/os' && e.operator == 'NotIn' && 'linux' in e.values)))))";

impl BackstopLevel {
    /// The value of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            BackstopLevel::Audit => "audit",
            BackstopLevel::Warn => "warn",
            BackstopLevel::Deny => "deny",
        }
    }

    /// `validationActions` of its bindings. A rejection is in the audit log anyway.
    fn actions(self) -> &'static [&'static str] {
        match self {
            BackstopLevel::Audit => &["Audit"],
            BackstopLevel::Warn => &["Warn", "Audit"],
            BackstopLevel::Deny => &["Deny"],
        }
    }
}

impl Settings {
    /// The policy and its bindings, for a configuration; `level` is that of namespaces without the label
    /// [`LABEL_BACKSTOP`].
    ///
    /// # Errors
    /// If an API server cannot evaluate a rule or an entry of the override policy to the same result.
    pub fn backstop(&self, config: &InjectorConfig, level: BackstopLevel) -> Result<Vec<Value>, NotCommon> {
        let name = with_namespace(with_revision("outrigger-proxy-required", &self.revision), &self.namespace);
        let mut labels = self.labels.clone();
        labels.insert("app.kubernetes.io/name".to_owned(), "outrigger".to_owned());
        labels.insert(names::LABEL_CONFIGURATION_REVISION.to_owned(), self.revision.clone());
        let metadata = |name: &str| json!({"name": name, "labels": labels});
        let mut objects = vec![json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": metadata(&name),
            "spec": spec(config)?,
        })];
        let excluded = self.never_selected();
        for kind in self.kinds() {
            let tag = if let Kind::Tag(tag) = kind { format!("-tag-{tag}") } else { String::new() };
            for entry in self.entries_of(kind) {
                let stem = entry.prefix().trim_end_matches('.').replace('.', "-");
                for each in LEVELS {
                    let mut namespaces = entry.namespace_selector(&excluded);
                    if let Some(list) = namespaces.as_array_mut() {
                        list.push(each.namespaces(level));
                    }
                    let end = if each == level { String::new() } else { format!("-{}", each.as_str()) };
                    objects.push(json!({
                        "apiVersion": "admissionregistration.k8s.io/v1",
                        "kind": "ValidatingAdmissionPolicyBinding",
                        "metadata": metadata(&format!("{name}-{stem}{tag}{end}")),
                        "spec": {
                            "policyName": name,
                            "validationActions": each.actions(),
                            "matchResources": {
                                "matchPolicy": "Equivalent",
                                "namespaceSelector": {"matchExpressions": namespaces},
                                "objectSelector": entry.object_selector(self.sends_opt_outs),
                            },
                        },
                    }));
                }
            }
        }
        Ok(objects)
    }

    pub(super) fn entries_of(&self, kind: Kind<'_>) -> Vec<Entry> {
        match kind {
            Kind::Revision => super::entry::of(&self.revision),
            Kind::Tag(tag) => super::entry::of(tag),
            Kind::Auto => vec![Entry::auto()],
        }
    }
}

impl BackstopLevel {
    /// The requirement on namespaces of this level; an invalid value means the default.
    fn namespaces(self, default: BackstopLevel) -> Value {
        let (operator, values) = if self == default {
            let others = LEVELS.into_iter().filter(|level| *level != default);
            ("NotIn", others.map(BackstopLevel::as_str).collect::<Vec<_>>())
        } else {
            ("In", vec![self.as_str()])
        };
        json!({"key": LABEL_BACKSTOP, "operator": operator, "values": values})
    }
}

/// The policy's `spec`. Matching constraints are as API servers store them.
fn spec(config: &InjectorConfig) -> Result<Value, NotCommon> {
    let mut spec = Map::new();
    spec.insert("failurePolicy".to_owned(), "Fail".into());
    spec.insert(
        "matchConstraints".to_owned(),
        json!({
            "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}, "resourceRules": super::rules(),
        }),
    );
    let is_own = config.compat() == Compat::Outrigger;
    if is_own {
        let (mirror, nodes) = (names::ANNOTATION_MIRROR_POD, names::GROUP_NODES);
        let mark = format!("(has(object.metadata.annotations) && '{mirror}' in object.metadata.annotations)");
        let expression =
            format!("!{mark} || !(has(request.userInfo.groups) && '{nodes}' in request.userInfo.groups)");
        spec.insert(
            "matchConditions".to_owned(),
            json!([{"name": "not-a-mirror-pod", "expression": expression}]),
        );
    }
    let may_opt_out = unless(&config.guard().denied_pods("BYPASS_OPTED_OUT", true)?);
    let message = if may_opt_out == "true" { NOT_INJECTED } else { NO_CHOICE };
    spec.insert("variables".to_owned(), Value::Array(variables(config, may_opt_out, is_own)?));
    let mut validations = vec![json!({
        "expression": "'sidecar.istio.io/status' in variables.annotations || variables.exempt",
        "message": message,
        "reason": "Forbidden",
    })];
    let injector = config.injector();
    if injector.default_templates.is_empty()
        || injector.default_templates.iter().any(|name| name == "sidecar")
    {
        let bootstrap = if config.has_embedded_templates() {
            " && variables.containers.exists(c, c.name == 'grpc-bootstrap-init')"
        } else {
            ""
        };
        validations.push(json!({
            "expression": format!(
                "variables.containers.exists(c, c.name == 'istio-proxy') || variables.exempt || (variables.mayChooseTemplates && 'inject.istio.io/templates' in variables.annotations{bootstrap})"
            ),
            "message": NO_PROXY,
            "reason": "Forbidden",
        }));
    }
    spec.insert("validations".to_owned(), Value::Array(validations));
    Ok(Value::Object(spec))
}

/// The decision as variables, which API servers evaluate only if they are needed.
fn variables(config: &InjectorConfig, may_opt_out: String, is_own: bool) -> Result<Vec<Value>, NotCommon> {
    let (guard, injector) = (config.guard(), config.injector());
    let mut all: Vec<(String, String)> = Vec::new();
    let mut put = |name: &str, expression: String| all.push((name.to_owned(), expression));
    put("labels", "has(object.metadata.labels) ? object.metadata.labels : {}".to_owned());
    put("annotations", "has(object.metadata.annotations) ? object.metadata.annotations : {}".to_owned());
    put(
        "containers",
        "object.spec.containers + (has(object.spec.initContainers) ? object.spec.initContainers : [])"
            .to_owned(),
    );
    let inject = names::INJECT;
    put(
        "choice",
        format!(
            "'{inject}' in variables.labels ? variables.labels['{inject}'] : ('{inject}' in variables.annotations ? variables.annotations['{inject}'] : '')"
        ),
    );
    put("never", any_of(&injector.never_inject));
    put("always", any_of(&injector.always_inject));
    put("mayOptOut", may_opt_out);
    put("mayUseHostNetwork", unless(&guard.denied_pods("BYPASS_HOST_NETWORK", false)?));
    put("mayRunOnWindows", unless(&guard.denied_pods("SKIPPED_WINDOWS_POD", true)?));
    put("mayChooseTemplates", unless(&guard.denied_pods("BYPASS_TEMPLATES", true)?));
    put("windows", if is_own { WINDOWS } else { "false" }.to_owned());
    // Each rule refers to the next one, which has to stand before it.
    let rules = guard.rule_expressions()?;
    for (index, rule) in rules.iter().enumerate().rev() {
        let action = match rule.action {
            Some(RuleAction::Never) => "never",
            Some(RuleAction::Force) => "force",
            None => "none",
        };
        let next = if index + 1 == rules.len() {
            "'none'".to_owned()
        } else {
            format!("variables.rule{}", index + 1)
        };
        put(&format!("rule{index}"), format!("({}) ? '{action}' : {next}", rule.expression));
    }
    put("rule", if rules.is_empty() { "'none'" } else { "variables.rule0" }.to_owned());
    let is_disabled = injector.policy != Policy::Enabled;
    put(
        "exempt",
        format!(
            "(has(object.spec.hostNetwork) && object.spec.hostNetwork) ? (variables.mayUseHostNetwork || variables.rule == 'never') : variables.windows ? (variables.mayRunOnWindows || variables.rule == 'never') : variables.rule != 'none' ? variables.rule == 'never' : variables.choice == 'true' ? false : variables.choice == 'false' ? variables.mayOptOut : variables.never ? true : variables.always ? false : {is_disabled}"
        ),
    );
    Ok(all.into_iter().map(|(name, expression)| json!({"name": name, "expression": expression})).collect())
}

/// An expression that is false for the pods of any of the given ones.
fn unless(expressions: &[String]) -> String {
    if expressions.is_empty() {
        return "true".to_owned();
    }
    let parts: Vec<String> = expressions.iter().map(|expression| format!("({expression})")).collect();
    format!("!({})", parts.join(" || "))
}

/// Whether a selector matches the pod's labels; an empty one matches nothing.
fn any_of(selectors: &[Selector]) -> String {
    let parts: Vec<String> = selectors
        .iter()
        .filter(|selector| !selector.is_empty())
        .map(|selector| {
            let terms: Vec<String> =
                selector.requirements().map(|(key, operator, values)| term(key, operator, &values)).collect();
            format!("({})", terms.join(" && "))
        })
        .collect();
    if parts.is_empty() { "false".to_owned() } else { parts.join(" || ") }
}

fn term(key: &str, operator: Operator, values: &[&str]) -> String {
    let there = format!("'{key}' in variables.labels");
    let quoted: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
    let one_of = format!("({there} && variables.labels['{key}'] in [{}])", quoted.join(", "));
    match operator {
        Operator::In => one_of,
        Operator::NotIn => format!("!{one_of}"),
        Operator::Exists => format!("({there})"),
        Operator::DoesNotExist => format!("!({there})"),
    }
}
