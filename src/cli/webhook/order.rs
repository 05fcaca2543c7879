//! `outrigger webhook order`: which webhooks and policies of a cluster see a pod, and in which order.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::{
    super::{
        cluster::Cluster,
        failure::Failure,
        files,
        registered::{self, Called, namespace_of, second_round},
        report, wrap,
    },
    probe,
};
use crate::{
    config::InjectorConfig,
    inject::{
        Rules,
        manual::{self, Options},
    },
    webhook_config::{reinvocation::SecondRound, selection::Selected},
};

/// Show which mutating webhooks and policies of the cluster see a pod, in the order in which the API server calls them.
///
/// All registered webhooks and policies count, including those of other projects: rules, selectors and match conditions
/// are evaluated for the pod and the labels of its namespace. Those with reinvocationPolicy IfNeeded may be called
/// again; the output says after which changes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger webhook order -f pod.yaml -n shop
  outrigger webhook order -f deployment.yaml --selected")]
pub(super) struct Order {
    /// Manifest in YAML or JSON, or - for stdin; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// Namespace of manifests that specify none
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
    /// Show only those that are called
    #[arg(long)]
    selected: bool,
    /// Output format
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    output: Form,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// Table
    Table,
    /// JSON list of pods, each with the list of webhooks and policies
    Json,
}

impl Order {
    pub(super) fn run(self) -> Result<(), Failure> {
        // No template is rendered: any configuration will do to find the pods.
        let mesh = InjectorConfig::embedded()?;
        let options = Options {
            mesh: &mesh,
            rules: Rules::Configured,
            namespace: &self.namespace,
            template_paths: Vec::new(),
        };
        let mut pods = Vec::new();
        for input in files::read_all(&self.files, false)? {
            let found = manual::subjects(&input.text, &options)
                .map_err(|error| Failure::data(format!("{}:{error}", input.name)))?;
            pods.extend(found);
        }
        if pods.is_empty() {
            return Err(Failure::data("no pod template found; expected an object with a pod template"));
        }
        self.cluster.run(async |session| {
            let registered = registered::read(session).await?;
            let mut all = Vec::new();
            for pod in &pods {
                let namespace = namespace_of(&pod.request);
                let labels =
                    probe::namespace_labels(session, &namespace, super::super::cluster::PATIENCE).await?;
                let mut called = registered.called(&pod.request, Some(&labels));
                called.retain(|called| !self.selected || called.may_be_selected());
                all.push((format!("{} {namespace}/{}", pod.object.kind, pod.object.name), labels, called));
            }
            files::print(&match self.output {
                Form::Table => {
                    wrap::for_stdout(all.iter().map(|(name, _, called)| table(name, called)).collect())
                }
                Form::Json => format!("{:#}\n", json(&all)),
            })
        })
    }
}

fn json(all: &[(String, Map<String, Value>, Vec<Called>)]) -> Value {
    let items: Vec<Value> = all
        .iter()
        .map(|(name, labels, called)| {
            json!({
                "pod": name,
                "namespaceLabels": labels,
                "order": order(called),
            })
        })
        .collect();
    json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "WebhookOrder", "items": items})
}

fn order(all: &[Called]) -> Vec<Value> {
    let named = |indexes: &[usize]| -> Vec<Value> {
        let called = indexes.iter().filter_map(|index| all.get(*index));
        called.map(|called| json!({"configuration": called.configuration, "name": called.name})).collect()
    };
    let entry = |(called, second): (&Called, SecondRound)| {
        let second = match &second {
            SecondRound::Never => json!({"called": "never"}),
            SecondRound::Always => json!({"called": "always"}),
            SecondRound::IfChangedBy { first, second } => {
                json!({"called": "ifChanged", "byFirstRound": named(first), "bySecondRound": named(second)})
            }
        };
        let mut value = called.to_value();
        if let Some(value) = value.as_object_mut() {
            value.insert("secondRound".to_owned(), second);
        }
        value
    };
    all.iter().zip(second_round(all)).map(entry).collect()
}

fn table(name: &str, called: &[Called]) -> String {
    let mut text = format!("{}\n", report::plain(name));
    if called.is_empty() {
        text.push_str("  no registered webhook or policy sees this pod\n");
    }
    for (index, (called, second)) in called.iter().zip(second_round(called)).enumerate() {
        let (word, why) = match &called.selected {
            Selected::Yes => {
                let again = again(&second);
                ("called", format!("{}, failurePolicy {}{again}", called.endpoint, called.failure_policy))
            }
            Selected::No(mismatch) => ("no", mismatch.to_string()),
            Selected::Unknown(why) => ("?", why.clone()),
        };
        let line = format!(
            "  {}. {word:6}  {} {} / {}: {why}",
            index + 1,
            called.kind,
            called.configuration,
            called.name
        );
        text.push_str(&report::plain(&line));
        text.push('\n');
    }
    notes(called).iter().for_each(|note| text.push_str(&format!("  note: {note}\n")));
    text
}

/// `; called again if 3 or 4 changes the pod, or 1 does in the second round`.
fn again(second: &SecondRound) -> String {
    let (first, second) = match second {
        SecondRound::Never => return String::new(),
        SecondRound::Always => return "; applied twice".to_owned(),
        SecondRound::IfChangedBy { first, second } => (first.as_slice(), second.as_slice()),
    };
    match (first, second) {
        ([], []) => "; called again if an admission plugin changes the pod".to_owned(),
        (first, []) => format!("; called again if {} changes the pod", one_of(first)),
        ([], second) => format!("; called again if {} changes the pod in the second round", one_of(second)),
        (first, second) => format!(
            "; called again if {} changes the pod, or {} does in the second round",
            one_of(first),
            one_of(second)
        ),
    }
}

/// `2, 3 or 5`, counted from 1.
fn one_of(indexes: &[usize]) -> String {
    let numbers: Vec<String> = indexes.iter().map(|index| (index + 1).to_string()).collect();
    match numbers.as_slice() {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        numbers => numbers.concat(),
    }
}

/// Notes on the list as a whole.
fn notes(all: &[Called]) -> Vec<&'static str> {
    let is_called = |called: &&Called| called.may_be_selected();
    let policies = all.iter().filter(is_called).filter(|called| called.is_policy()).count();
    let later = all.iter().skip_while(|called| !called.may_be_selected());
    let mut notes = Vec::new();
    if policies > 1 {
        notes.push("API servers apply policies in no fixed order, before all webhooks");
    }
    if second_round(all).iter().any(|second| matches!(second, SecondRound::IfChangedBy { .. })) {
        notes.push(
            "there is at most one second round; the API server's own admission plugins run in it, too, and if one \
             of them changes the pod, as ServiceAccount does for an added container, all that may be called again are",
        );
    }
    if later.into_iter().any(Called::may_be_selected_later) {
        notes.push(
            "selectors of pods and match conditions are evaluated for the pod as it is given; a webhook or policy \
             called earlier may change the pod so that more are called, but only in the first round",
        );
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(name: &str, selected: Selected, reinvocation: &str) -> Called {
        Called {
            kind: if name.starts_with('p') { "policy" } else { "webhook" },
            configuration: name.to_owned(),
            name: "x".to_owned(),
            selected,
            failure_policy: "Fail".to_owned(),
            reinvocation: reinvocation.to_owned(),
            endpoint: "https://there".to_owned(),
            is_ours: false,
            revision: None,
        }
    }

    #[test]
    fn the_changes_that_lead_to_a_second_call_are_named() {
        let condition = crate::webhook_config::selection::Mismatch::Condition {
            name: "c".to_owned(),
            expression: "false".to_owned(),
        };
        let all = [
            called("p1", Selected::Yes, "IfNeeded"),
            called("p2", Selected::Yes, "Never"),
            called("a", Selected::Yes, "IfNeeded"),
            called("b", Selected::No(condition), "IfNeeded"),
            called("c", Selected::Yes, "Never"),
            called("d", Selected::Unknown("why".to_owned()), "Never"),
        ];
        assert_eq!(
            table("Pod shop/web", &all),
            "Pod shop/web
  1. called  policy p1 / x: https://there, failurePolicy Fail; applied twice
  2. called  policy p2 / x: https://there, failurePolicy Fail
  3. called  webhook a / x: https://there, failurePolicy Fail; called again if 5 or 6 changes the pod, or 1 does in the second round
  4. no      webhook b / x: matchConditions[c] is false: false
  5. called  webhook c / x: https://there, failurePolicy Fail
  6. ?       webhook d / x: why
  note: API servers apply policies in no fixed order, before all webhooks
  note: there is at most one second round; the API server's own admission plugins run in it, too, and if one of them changes the pod, as ServiceAccount does for an added container, all that may be called again are
  note: selectors of pods and match conditions are evaluated for the pod as it is given; a webhook or policy called earlier may change the pod so that more are called, but only in the first round
"
        );
        let second = |index: usize| order(&all)[index]["secondRound"].clone();
        assert_eq!(second(0), json!({"called": "always"}));
        assert_eq!(
            second(2),
            json!({
                "called": "ifChanged",
                "byFirstRound": [{"configuration": "c", "name": "x"}, {"configuration": "d", "name": "x"}],
                "bySecondRound": [{"configuration": "p1", "name": "x"}],
            })
        );
        assert_eq!(second(3), json!({"called": "never"}));
    }

    #[test]
    fn a_list_in_which_nothing_is_called_again_has_no_notes() {
        let all = [called("a", Selected::Yes, "Never"), called("b", Selected::Yes, "Never")];
        assert_eq!(notes(&all), [""; 0]);
        let last = [called("a", Selected::Yes, "IfNeeded")];
        assert!(table("Pod", &last).contains("called again if an admission plugin changes the pod\n"));
    }
}
