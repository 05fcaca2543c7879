//! The override policy, checked on the result: what a pod changed about its injection, by whatever route.
//!
//! Annotations, ProxyConfig, a container of the pod's own with a name of ours, and a forged record of an earlier injection all
//! end in the same merged pod, which is compared with what the configuration allows. All violations of a pod are reported at
//! once.

use gotemplate::StandIns;
use serde_json::Value;

use super::{
    bypass,
    decision::{Decision, Reason},
    outcome::{PolicyViolation, Privilege, Refusal},
};
use crate::{
    annotation::settings,
    config::{
        InjectorConfig,
        guard::{Action, Bounds, Candidate, Check, InjectRule, MatchError, PolicyRule, Prefix, RuleAction},
    },
    names, pod,
    quantity::{self, Amount, Sign},
    warning::{Warning, shown},
};

/// The maximum number of violations that are reported.
const MOST: usize = 16;

/// A pod that gets a proxy.
pub(super) struct Injected<'a> {
    pub(super) subject: bypass::Subject<'a>,
    /// The templates that were rendered.
    pub(super) templates: &'a [&'a str],
    /// The templates of a pod that requests none.
    pub(super) default_templates: &'a [&'a str],
    /// The privileges of our containers in the pod that the pod itself requested.
    pub(super) privileges: &'a [Privilege],
    /// The annotations that the templates write on a pod without requests, if they are known.
    pub(super) written: &'a dyn Fn() -> Option<Value>,
}

/// The known facts about a pod, injected or not.
struct View<'a> {
    received: &'a Value,
    /// Warnings so far.
    warnings: &'a [Warning],
    decision: &'a Decision,
    injected: Option<&'a Injected<'a>>,
}

/// Checks a pod that is left unchanged because of what it asks for. `is_bare_anyway` returns whether a pod that opts out
/// would be left unchanged without that.
///
/// # Errors
/// If the policy denies it.
pub(super) fn check_skipped(
    mesh: &InjectorConfig,
    candidate: &Candidate<'_>,
    received: &Value,
    decision: &Decision,
    is_bare_anyway: impl FnOnce() -> bool,
    warnings: &mut Vec<Warning>,
) -> Result<(), Refusal> {
    // For the others, the configuration or the namespace decides; and so does a rule about pods that are left alone
    // anyway.
    let is_choice = matches!(
        decision.reason,
        Reason::PodOptedOut
            | Reason::HostNetwork
            | Reason::WindowsPod
            | Reason::InjectedByLinkerd
            | Reason::MirrorPod
    );
    let policy = &mesh.guard().policy;
    if !is_choice || policy.is_empty() {
        return Ok(());
    }
    // Kubelets report the static pods that they run: denying the report changes nothing.
    if decision.reason == Reason::MirrorPod && candidate.may_be_of_group(names::GROUP_NODES) {
        return Ok(());
    }
    if decision.reason == Reason::PodOptedOut && is_bare_anyway() {
        return Ok(());
    }
    if decision.reason != Reason::PodOptedOut
        && let Ok(Some(rule)) = InjectRule::first(&mesh.guard().rules, candidate)
        && rule.inject == Some(RuleAction::Never)
    {
        return Ok(());
    }
    check(mesh, candidate, received, decision, None, warnings)
}

/// Checks a pod with its proxy.
///
/// # Errors
/// If the policy denies it.
pub(super) fn check_injected(
    mesh: &InjectorConfig,
    candidate: &Candidate<'_>,
    injected: &Injected<'_>,
    decision: &Decision,
    warnings: &mut Vec<Warning>,
) -> Result<(), Refusal> {
    check(mesh, candidate, injected.subject.received, decision, Some(injected), warnings)
}

fn check(
    mesh: &InjectorConfig,
    candidate: &Candidate<'_>,
    received: &Value,
    decision: &Decision,
    injected: Option<&Injected<'_>>,
    warnings: &mut Vec<Warning>,
) -> Result<(), Refusal> {
    let (mut denied, mut told) = (Vec::new(), Vec::new());
    let view = View { received, warnings, decision, injected };
    for entry in &mesh.guard().policy {
        let mut found = Vec::new();
        entry.checks.iter().for_each(|check| view.check(check, &mut found));
        // The most expensive check, an expression, comes last.
        if found.is_empty() || !applies(entry, candidate)? {
            continue;
        }
        for found in found {
            let (entry_name, reason) = (entry.name.clone(), entry.reason.clone());
            let code = match entry.action {
                Action::Deny => {
                    denied.push(PolicyViolation { entry: entry_name, found, reason });
                    continue;
                }
                Action::Warn => "OVERRIDE_WARNED",
                Action::Audit => "OVERRIDE_AUDITED",
            };
            told.push(Warning::new(code, PolicyViolation { entry: entry_name, found, reason }.to_string()));
        }
    }
    if !denied.is_empty() {
        denied.truncate(MOST);
        return Err(Refusal::Overrides(denied));
    }
    told.truncate(MOST);
    warnings.extend(told);
    Ok(())
}

fn applies(entry: &PolicyRule, candidate: &Candidate<'_>) -> Result<bool, Refusal> {
    entry.applies(candidate).map_err(|error| match error {
        MatchError::StandIn => Refusal::StandIn { name: entry.name.clone(), stand_ins: StandIns::ALL },
        MatchError::Cel(reason) => Refusal::RuleFailed { rule: entry.name.clone(), reason },
    })
}

/// Warnings of other routes by which a pod exempts traffic, for checks of ports and ranges.
const ROUTES: [&str; 6] = [
    "BYPASS_INTERCEPTION_MODE",
    "BYPASS_OWN_INIT",
    "BYPASS_PROXY_COMMAND",
    "BYPASS_PROXY_ENVIRONMENT",
    // Also that of the init container.
    "BYPASS_PROXY_IMAGE",
    "BYPASS_TEMPLATES",
];
const INTERFACES: [&str; 3] = [
    names::ANNOTATION_EXCLUDE_INTERFACES,
    names::ANNOTATION_REROUTED_INTERFACES,
    names::ANNOTATION_KUBEVIRT_INTERFACES,
];
const VOLUMES: &str = "volumes";
const ROOT_FIELDS: [&str; 2] = ["securityContext.runAsUser", "securityContext.runAsNonRoot"];

impl<'a> View<'a> {
    fn check(&self, check: &Check, found: &mut Vec<String>) {
        match check {
            Check::OptOut => self.opt_out(found),
            Check::Annotations(allowed) => self.annotations(&|key| allowed.allows(key), found),
            Check::Containers(globs) => {
                self.containers(&|name| globs.iter().any(|glob| glob.matches(name)), found);
            }
            Check::Warnings(globs) => {
                let forbidden = |warning: &&Warning| globs.iter().any(|glob| glob.matches(warning.code));
                let messages = self.warnings.iter().filter(forbidden);
                found.extend(messages.map(|warning| format!("{}: {}", warning.code, warning.message)));
            }
            _ => {
                if let Some(injected) = self.injected {
                    self.of_injected(check, injected, found);
                }
            }
        }
    }

    fn of_injected(&self, check: &Check, injected: &Injected<'a>, found: &mut Vec<String>) {
        match check {
            Check::Privileged => found.extend(
                injected
                    .privileges
                    .iter()
                    .filter(|it| !ROOT_FIELDS.contains(&it.field))
                    .map(ToString::to_string),
            ),
            Check::Root => found.extend(
                injected
                    .privileges
                    .iter()
                    .filter(|it| ROOT_FIELDS.contains(&it.field))
                    .map(ToString::to_string),
            ),
            Check::Templates(allowed) => {
                if pod::annotation(self.received, names::ANNOTATION_TEMPLATES).is_some() {
                    let requested =
                        injected.templates.iter().filter(|name| !injected.default_templates.contains(*name));
                    let forbidden = requested.filter(|name| !allowed.allows(name));
                    found.extend(forbidden.map(|name| format!("template {}", shown(name))));
                }
            }
            Check::Images(allowed) => {
                for container in injected.made() {
                    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
                    if !allowed.allows(image) {
                        found.push(format!(
                            "image {} of container {}",
                            shown(image),
                            shown(pod::name(container))
                        ));
                    }
                }
                injected.volume_images(&|image| allowed.allows(image), found);
            }
            Check::ProxyMetadata(allowed) => injected.proxy_metadata(&|name| allowed.allows(name), found),
            Check::ExcludedPorts(allowed) => {
                self.routes("BYPASS_INBOUND", found);
                injected.excluded_ports(allowed, found);
            }
            Check::ExcludedRanges(allowed) => {
                self.routes("BYPASS_OUTBOUND", found);
                injected.excluded_ranges(allowed, found);
            }
            Check::Resources(bounds) => injected.resources(bounds, found),
            Check::OptOut | Check::Annotations(_) | Check::Containers(_) | Check::Warnings(_) => {}
        }
    }

    /// The reasons why a pod runs without its proxy.
    fn opt_out(&self, found: &mut Vec<String>) {
        match self.decision.reason {
            Reason::PodOptedOut | Reason::WindowsPod | Reason::InjectedByLinkerd | Reason::MirrorPod => {
                found.push(format!("not injected: {}", self.decision.sentence));
            }
            _ => {}
        }
        let templates = self.warnings.iter().filter(|warning| warning.code == "BYPASS_TEMPLATES");
        found.extend(templates.map(|warning| warning.message.clone()));
    }

    fn annotations(&self, allows: &dyn Fn(&str) -> bool, found: &mut Vec<String>) {
        // Applications have Datadog's annotation, too.
        let is_read = |key: &str| {
            key != names::ANNOTATION_DATADOG_ENV
                || self.injected.is_some_and(|it| !bypass::variables_of_datadog(&it.subject).is_empty())
        };
        let is_setting = |key: &str| settings().any(|setting| setting == key) && is_read(key);
        let forbidden = pod::annotations(self.received).filter(|(key, _)| is_setting(key) && !allows(key));
        let mut written = None;
        for (key, value) in forbidden {
            // An injected pod that comes again bears what the templates have written; a forged record of an injection
            // excuses only what they would write for any pod.
            if let Some(injected) = self.injected.filter(|injected| injected.subject.earlier.status.is_some())
            {
                let written = written.get_or_insert_with(|| (injected.written)().unwrap_or_default());
                let own_ports = key == names::ANNOTATION_EXCLUDE_INBOUND_PORTS
                    && bypass::excluded_inbound(&injected.subject).next().is_none();
                if own_ports || pod::annotation(written, key) == Some(value) {
                    continue;
                }
            }
            found.push(format!("annotation {key}"));
        }
    }

    fn containers(&self, forbids: &dyn Fn(&str) -> bool, found: &mut Vec<String>) {
        let mut seen = Vec::new();
        for container in pod::containers(self.received).iter().chain(pod::init_containers(self.received)) {
            let name = pod::name(container);
            if !forbids(name) || seen.contains(&name) {
                continue;
            }
            seen.push(name);
            let is_own = match self.injected {
                Some(injected) => injected.subject.own(name).is_some(),
                None => true,
            };
            if is_own {
                found.push(format!("a container of its own named {}", shown(name)));
            }
        }
    }

    /// Other routes by which traffic is exempted.
    fn routes(&self, code: &str, found: &mut Vec<String>) {
        let is_route = |warning: &&Warning| warning.code == code || ROUTES.contains(&warning.code);
        found.extend(self.warnings.iter().filter(is_route).map(|warning| warning.message.clone()));
        for key in INTERFACES {
            if pod::annotation(self.received, key).is_some_and(|value| !value.trim().is_empty()) {
                found.push(format!("annotation {key}"));
            }
        }
    }
}

impl<'a> Injected<'a> {
    /// The containers of ours in the result.
    fn made(&self) -> impl Iterator<Item = &'a Value> + '_ {
        let merged = self.subject.merged;
        let all = pod::init_containers(merged).iter().chain(pod::containers(merged));
        all.filter(|container| self.subject.makes(pod::name(container)))
    }

    /// Images as volumes, whose files may replace the proxy's: those that injection adds, as `userVolume` asks, and those of
    /// the pod that a container of ours mounts.
    fn volume_images(&self, allows: &dyn Fn(&str) -> bool, found: &mut Vec<String>) {
        let own = pod::spec_list(self.subject.received, VOLUMES);
        let is_added =
            |name: &str| pod::find(own, name).is_none() || self.subject.earlier.has_injected_volume(name);
        let mounts = |container: &Value, name: &str| {
            let mounts = container.get("volumeMounts").and_then(Value::as_array);
            mounts.is_some_and(|mounts| mounts.iter().any(|mount| pod::name(mount) == name))
        };
        for volume in pod::spec_list(self.subject.merged, VOLUMES) {
            let Some(image) = volume.get("image").filter(|image| !image.is_null()) else { continue };
            let (name, image) = (pod::name(volume), image.get("reference").and_then(Value::as_str));
            let image = image.unwrap_or_default();
            let is_ours = is_added(name) || self.made().any(|container| mounts(container, name));
            if is_ours && !allows(image) {
                found.push(format!("image {} of volume {}", shown(image), shown(name)));
            }
        }
    }

    fn proxy_metadata(&self, allows: &dyn Fn(&str) -> bool, found: &mut Vec<String>) {
        const METADATA: &str = "proxyMetadata";
        let of = |config: &'a Value| config.get(METADATA).and_then(Value::as_object).into_iter().flatten();
        let configured = |name: &str| pod::at(self.subject.configured, &[METADATA, name]);
        for (name, value) in of(self.subject.proxy_config) {
            if configured(name) != Some(value) && !allows(name) {
                found.push(format!("{METADATA} {}", shown(name)));
            }
        }
        for name in bypass::variables_of_datadog(&self.subject).iter().filter(|name| !allows(name)) {
            found.push(format!("variable {} of annotation {}", shown(name), names::ANNOTATION_DATADOG_ENV));
        }
        let Some(own) = self.subject.own(names::CONTAINER_PROXY) else { return };
        for variable in own.get("env").and_then(Value::as_array).into_iter().flatten() {
            let name = pod::name(variable);
            if !allows(name) {
                found.push(format!("variable {} of container {}", shown(name), names::CONTAINER_PROXY));
            }
        }
        if own.get("envFrom").and_then(Value::as_array).is_some_and(|all| !all.is_empty()) {
            found.push(format!("envFrom of container {}", names::CONTAINER_PROXY));
        }
    }

    fn excluded_ports(&self, allowed: &[(u16, u16)], found: &mut Vec<String>) {
        let is_allowed = |port: &str| {
            let port: Option<u16> = port.parse().ok();
            port.is_some_and(|port| allowed.iter().any(|(from, to)| (*from..=*to).contains(&port)))
        };
        for port in bypass::excluded_inbound(&self.subject).filter(|port| !is_allowed(port)) {
            found.push(format!("excluded inbound port {}", shown(port)));
        }
        let outbound =
            self.subject.added(names::ANNOTATION_EXCLUDE_OUTBOUND_PORTS, bypass::EXCLUDE_OUTBOUND_PORTS);
        for port in outbound.filter(|port| !is_allowed(port)) {
            found.push(format!("excluded outbound port {}", shown(port)));
        }
        let left_out =
            self.subject.left_out(names::ANNOTATION_INCLUDE_OUTBOUND_PORTS, bypass::INCLUDE_OUTBOUND_PORTS);
        for port in left_out.filter(|port| !is_allowed(port)) {
            found.push(format!("outbound port {} that is no longer included", shown(port)));
        }
        if bypass::narrows(&self.subject, names::ANNOTATION_INCLUDE_INBOUND_PORTS, "includeInboundPorts") {
            found.push(format!(
                "annotation {} exempts all other ports",
                names::ANNOTATION_INCLUDE_INBOUND_PORTS
            ));
        }
    }

    fn excluded_ranges(&self, allowed: &[Prefix], found: &mut Vec<String>) {
        let is_allowed = |text: &str| {
            Prefix::parse(text).is_some_and(|range| allowed.iter().any(|allowed| allowed.contains(&range)))
        };
        let excluded = self.subject.added(names::ANNOTATION_EXCLUDE_OUTBOUND_RANGES, "excludeIPRanges");
        for range in excluded.filter(|range| !is_allowed(range)) {
            found.push(format!("excluded range {}", shown(range)));
        }
        let key = names::ANNOTATION_INCLUDE_OUTBOUND_RANGES;
        if bypass::narrows(&self.subject, key, "includeIPRanges") {
            found.push(format!("annotation {key} exempts all other destinations"));
        }
    }

    fn resources(&self, bounds: &[Bounds], found: &mut Vec<String>) {
        for container in self.made() {
            let name = pod::name(container);
            for Bounds { kind, resource, text, most } in bounds {
                let of = |kind: &str| {
                    pod::at(container, &["resources", kind, resource]).filter(|it| !it.is_null())
                };
                let is_limit = *kind == "limits";
                // An API server sets an absent request to the limit (`SetDefaults_Pod`).
                let amount = of(kind).or_else(|| of("limits"));
                let said = match amount {
                    // For a kubelet, a limit of zero is no limit.
                    Some(value) if is_limit && is_zero(value) => format!("{value}, which limits nothing"),
                    Some(value) if Amount::of(value).is_some_and(|amount| amount <= *most) => continue,
                    Some(Value::String(value)) => shown(value),
                    Some(value) => value.to_string(),
                    // Without a limit, nothing bounds it; without a request, it has none.
                    None if is_limit && name == names::CONTAINER_PROXY => "none".to_owned(),
                    None => continue,
                };
                let kind = kind.trim_end_matches('s');
                found.push(format!("{resource} {kind} of container {}: {said}; at most {text}", shown(name)));
            }
        }
    }
}

fn is_zero(amount: &Value) -> bool {
    match amount {
        Value::String(text) => quantity::sign(text) == Some(Sign::Zero),
        amount => amount.as_f64() == Some(0.0),
    }
}

#[cfg(test)]
mod tests;
