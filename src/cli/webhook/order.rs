//! `outrigger webhook order`: which webhooks and policies of a cluster see a pod, in which order.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::{
    super::{
        cluster::Cluster,
        failure::Failure,
        files,
        registered::{self, Called, namespace_of},
        report,
    },
    probe,
};
use crate::{
    config::InjectorConfig,
    inject::{
        Rules,
        manual::{self, Options},
    },
    webhook_config::selection::Selected,
};

/// Show which mutating webhooks and policies of the cluster see a pod, in the order in which the API server calls them.
///
/// Everything registered counts, also what other projects registered: rules, selectors and match conditions are evaluated
/// for the pod and the labels of its namespace. A webhook with reinvocation is called again if a later one changes the pod.
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
                Form::Table => all.iter().map(|(name, _, called)| table(name, called)).collect::<String>(),
                Form::Json => format!("{:#}\n", json(&all)),
            })
        })
    }
}

fn json(all: &[(String, Map<String, Value>, Vec<Called>)]) -> Value {
    all.iter()
        .map(|(name, labels, called)| {
            json!({
                "pod": name,
                "namespaceLabels": labels,
                "order": called.iter().map(Called::to_value).collect::<Vec<_>>(),
            })
        })
        .collect()
}

fn table(name: &str, called: &[Called]) -> String {
    let mut text = format!("{}\n", report::plain(name));
    if called.is_empty() {
        text.push_str("  nothing is registered that sees this pod\n");
    }
    for (index, called) in called.iter().enumerate() {
        let (word, why) = match &called.selected {
            Selected::Yes => {
                let again = if called.reinvocation == "IfNeeded" { ", reinvoked" } else { "" };
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
    text
}
