//! `outrigger explain`: why a pod is or is not injected, and what wrote each of its fields.
//!
//! The answer comes from the engine of the webhook. What comes before the webhook, the API server's selection, is evaluated
//! from the webhook configurations and policies in the cluster.

mod code;
mod json;
mod next;
mod subject;
mod table;
mod text;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::{
    failure::Failure,
    files,
    registered::{self, Called, Registered, namespace_of},
    report::{self, Color},
    source::{Configured, Purpose, Source},
    workloads::{self, Which},
    wrap,
};
use crate::{
    cel::User,
    config::Namespace,
    inject::{
        Facts, Selection,
        decision::Reason,
        manual::{self, LeftAlone},
    },
    manifest::Identity,
    names, pod,
    warning::Warning,
};
use injector::{
    explain::{self, Difference, Explanation},
    workload::{Workload, WorkloadPods},
};

/// Explain why pods are or are not injected, what wrote a field, or what a reason code means.
///
/// WHAT is an object in the cluster, such as deployment/web, or a code from a log line, a warning or a metric, such as
/// HOST_NETWORK. With -f, the pods of manifests are explained; with --labels, a pod with these labels. With -n or -A alone, all
/// workloads of a namespace or of the cluster are listed, one per line, with how many of their running pods have a
/// proxy.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger explain -n shop
  outrigger explain deployment/web -n shop
  outrigger explain pod/web-7d9c8b6f5-abcde -n shop --field spec.containers[istio-proxy].resources
  outrigger explain -f deployment.yaml --all
  outrigger explain -n shop --labels app=web --from-cluster
  outrigger explain NAMESPACE_DISABLED")]
pub(super) struct Explain {
    /// An object in the cluster (KIND/NAME), or a code
    #[arg(value_name = "WHAT", conflicts_with_all = ["files", "labels"])]
    what: Option<String>,
    /// Manifest in YAML or JSON, directory of manifests, or - for stdin; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "FILE", num_args = 1.., conflicts_with = "labels")]
    files: Vec<PathBuf>,
    /// Read directories recursively
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Namespace whose workloads are explained; or that of the object, of manifests that specify none, or of the pod with --labels
    #[arg(short, long, default_value = "", hide_default_value = true)]
    namespace: String,
    /// Explain all workloads of the cluster
    #[arg(short = 'A', long, conflicts_with_all = ["what", "files", "labels", "namespace"])]
    all_namespaces: bool,
    /// Explain a pod with these labels
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = label)]
    labels: Option<Vec<(String, String)>>,
    /// Labels of the namespace, in place of those that the cluster or the bundle knows
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = label)]
    namespace_labels: Option<Vec<(String, String)>>,
    /// Who creates the pod, for rules and policies that look at it, such as system:serviceaccount:kube-system:job-controller
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Group of the user; may be repeated
    #[arg(long = "group", value_name = "NAME", requires = "user")]
    groups: Vec<String>,
    /// Show what wrote this field and everything below it, such as spec.containers[istio-proxy].env; may be repeated
    #[arg(long = "field", value_name = "PATH")]
    fields: Vec<String>,
    /// Show what wrote every field
    #[arg(long, conflicts_with = "fields")]
    all: bool,
    /// Exit with 1 if a pod is not injected, runs without a proxy, or cannot be created, or if that is not known
    #[arg(long)]
    exit_code: bool,
    /// List all codes
    #[arg(long, exclusive = true)]
    codes: bool,
    /// Output format
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    output: Form,
    #[command(flatten)]
    source: Source,
}

/// Output format
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Text for people
    Text,
    /// JSON, apiVersion outrigger.dev/v1alpha1, kind ExplanationList
    Json,
}

/// A pod, and everything that is known about what happens to it.
struct Explained {
    object: Identity,
    /// The path of the pod template if the object has several.
    place: Option<String>,
    /// Why the pod template is left unchanged, regardless of the configuration.
    left_alone: Option<LeftAlone>,
    /// The webhooks and policies that API servers evaluate for the pod; `None` without a cluster.
    called: Option<Vec<Called>>,
    explanation: Explanation,
    /// The labels of the namespace, if they are known.
    namespace_labels: Option<Map<String, Value>>,
    /// The revision of the injector that the API server calls, if the configuration is that of another one.
    other_revision: Option<String>,
    /// Whether neither the API server's selection nor the labels of the namespace are known.
    is_selection_unknown: bool,
    /// The pods of the workload, if it was read from a cluster.
    pods: Option<WorkloadPods>,
    /// Whether the pod is running, and how it differs from a pod created now.
    running: Running,
    next: Vec<String>,
}

/// A pod that runs.
enum Running {
    /// The subject is not a running pod.
    No,
    /// It runs without injection.
    Bare,
    /// It was injected, with these differences from an injection today.
    Injected(Vec<Difference>),
}

/// Which fields are shown.
enum Fields<'a> {
    None,
    Below(&'a [String]),
    All,
}

impl Explain {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        if self.codes {
            return files::print(&code::list());
        }
        if let Some(code) = self.what.as_deref().filter(|what| !what.contains('/')) {
            return code::explain(code);
        }
        let is_table = self.what.is_none() && self.files.is_empty() && self.labels.is_none();
        if is_table && self.namespace.is_empty() && !self.all_namespaces {
            return Err(Failure::usage(
                "nothing to explain; expected KIND/NAME, a code, -f FILE, --labels KEY=VALUE, or -n NAMESPACE or -A for all workloads",
            ));
        }
        let is_of_cluster = is_table || self.what.is_some();
        let configured = if is_of_cluster {
            self.source.load_for_cluster(Purpose::Decide)?
        } else {
            self.source.load(Purpose::Decide)?
        };
        let remarks = configured.check()?;
        report::configuration(&configured.warnings, color);
        report::configuration(&remarks, color);

        let (pods, mut known, registered) = if is_of_cluster || self.source.is_cluster() {
            self.source.cluster().run(async |session| {
                // Manifests may exist before their namespace does; a table or --labels asks about an existing one.
                if (is_table || self.labels.is_some()) && !self.namespace.is_empty() {
                    registered::namespace_exists(session, &self.namespace).await?;
                }
                let (pods, known) = match &self.what {
                    Some(what) => {
                        let (text, known) = subject::read(session, what, &self.namespace, color).await?;
                        (workloads::subjects(&configured, &self.namespace, &[text])?, known)
                    }
                    None if is_table => {
                        let (objects, left_out) =
                            workloads::read(session, Which::Workloads, &self.namespace).await?;
                        workloads::report_left_out(&left_out, color);
                        let list = workloads::list_of(Which::Workloads, &objects).to_string();
                        let text = ("cluster".to_owned(), list);
                        let pods = workloads::subjects(&configured, &self.namespace, &[text])?;
                        (
                            pods,
                            subject::pods_of_workloads(session, &self.namespace, &objects, &left_out, color)
                                .await?,
                        )
                    }
                    None => (self.pods_of_input(&configured)?, None),
                };
                Ok((pods, known, Some(registered::read(session).await?)))
            })?
        } else {
            (self.pods_of_input(&configured)?, None, None)
        };
        if pods.is_empty() && !is_table {
            return Err(Failure::data("no pod template found; expected an object with a pod template"));
        }
        let is_incomplete = is_of_cluster && known.is_none();
        let mut explained: Vec<Explained> = Vec::new();
        for pod in pods {
            let of_it = known.as_mut().map(|known| known.remove(&workload(&pod)).unwrap_or_default());
            explained.push(self.explained(&configured, pod, registered.as_ref(), of_it));
        }
        let fields = match (self.all, self.fields.as_slice()) {
            (true, _) => Fields::All,
            (false, []) => Fields::None,
            (false, fields) => Fields::Below(fields),
        };
        files::print(&match self.output {
            Form::Text if is_table => table::write(&explained, color),
            Form::Text => wrap::for_stdout(text::write(&configured, &explained, &fields, color)),
            Form::Json => format!("{:#}\n", json::list(&configured, &explained, &fields)),
        })?;
        if self.exit_code && is_incomplete {
            return Err(Failure::error(
                "whether the running pods have a proxy is not known: not all may be read",
            ));
        }
        if self.exit_code && !explained.iter().all(Explained::has_all_it_needs) {
            return Err(Failure::error(
                "a pod is not injected, runs without a proxy, or cannot be created, or that is not known",
            ));
        }
        Ok(())
    }

    fn pods_of_input(&self, configured: &Configured) -> Result<Vec<manual::Subject>, Failure> {
        if let Some(labels) = &self.labels {
            let pod = json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "example", "labels": map(labels)},
                "spec": {"containers": [{"name": "example", "image": "example"}]},
            });
            return workloads::subjects(
                configured,
                &self.namespace,
                &[("--labels".to_owned(), pod.to_string())],
            );
        }
        let inputs = files::read_all(&self.files, self.recursive)?;
        let texts: Vec<(String, String)> =
            inputs.into_iter().map(|input| (input.name.clone(), input.text)).collect();
        workloads::subjects(configured, &self.namespace, &texts)
    }

    fn explained(
        &self,
        configured: &Configured,
        subject: manual::Subject,
        registered: Option<&Registered>,
        pods: Option<WorkloadPods>,
    ) -> Explained {
        let manual::Subject { object, place, mut request, left_alone, warnings } = subject;
        request.user = self.user.clone().map(|name| User { name, groups: self.groups.clone() });
        let name = namespace_of(&request);
        let mesh = &configured.mesh;
        // Labels from the command line win: they may be a change that is only being considered.
        let given = self.namespace_labels.as_deref().map(|labels| Namespace {
            name: name.clone(),
            labels: map(labels),
            ..mesh.namespace(&name).cloned().unwrap_or_default()
        });
        let namespace = given.as_ref().or(mesh.namespace(&name));
        let called = registered
            .map(|registered| registered.called(&request, namespace.map(|namespace| &namespace.labels)));
        let selection = match namespace {
            // Where the API server's selection is evaluated by its own rules, the engine does not evaluate it again.
            _ if called.iter().flatten().any(|called| called.is_ours && called.is_selected()) => {
                Selection::ByApiServer
            }
            Some(_) => Selection::ByLabels,
            None => Selection::ByPodAlone,
        };
        let facts = Facts { namespace, selection, nodes: Some(mesh.nodes()) };
        let (mut explanation, running) = if pods.is_some() && object.kind == "Pod" {
            let (explanation, differences) = explain::explain_running(mesh, &request, &facts);
            (explanation, differences.map_or(Running::Bare, Running::Injected))
        } else {
            (explain::explain(mesh, &request, &facts), Running::No)
        };
        explanation.warnings.splice(0..0, warnings);
        let mut explained = Explained {
            object,
            place,
            left_alone,
            other_revision: other_revision(configured, called.as_deref()),
            namespace_labels: namespace.map(|namespace| namespace.labels.clone()),
            called,
            explanation,
            is_selection_unknown: namespace.is_none() && selection == Selection::ByPodAlone,
            pods: pods.filter(|_| !matches!(running, Running::Bare | Running::Injected(_))),
            running,
            next: Vec::new(),
        };
        let label = |labels: &Map<String, Value>| {
            labels.get(names::REVISION).and_then(Value::as_str).map(str::to_owned)
        };
        let of_pod = pod::label(&request.pod, names::REVISION).map(str::to_owned);
        let requested = of_pod.or_else(|| namespace.and_then(|namespace| label(&namespace.labels)));
        explained.next = next::steps(configured, &explained, &name, requested.as_deref());
        explained
    }
}

impl Explained {
    /// Whether the webhooks in the cluster are known and the API server calls no injector of ours.
    fn is_not_called(&self) -> bool {
        let may_call = |called: &Called| called.is_ours && called.may_be_selected();
        self.called.as_ref().is_some_and(|called| !called.iter().any(may_call))
    }

    /// The reason of the decision, if there is one.
    fn reason(&self) -> Option<Reason> {
        match &self.explanation.verdict {
            explain::Verdict::Injected { injection, .. } => Some(injection.decision.reason),
            explain::Verdict::Skipped(decision) => Some(decision.reason),
            explain::Verdict::Denied(_) => None,
        }
    }

    fn is_injected(&self) -> bool {
        let is_injected = matches!(self.explanation.verdict, explain::Verdict::Injected { .. });
        is_injected && self.left_alone.is_none() && !self.is_not_called() && self.other_revision.is_none()
    }

    /// The running pods without a proxy.
    fn bare_pods(&self) -> &[String] {
        self.pods.as_ref().map_or(&[], |pods| pods.bare.as_slice())
    }

    /// The message with which the API server refused to create the next pod.
    fn refusal(&self) -> Option<&str> {
        self.pods.as_ref()?.refusal.as_deref()
    }

    /// Whether a pod created now would be injected, and the running ones were.
    fn has_all_it_needs(&self) -> bool {
        let is_running_well = self.bare_pods().is_empty() && !matches!(self.running, Running::Bare);
        self.is_injected() && is_running_well && self.refusal().is_none()
    }

    /// The injector of ours that the API server calls.
    fn called_injector(&self) -> Option<&Called> {
        self.called.iter().flatten().find(|called| called.is_ours && called.is_selected())
    }

    /// The revisions of the injectors that are registered.
    fn served(&self) -> Vec<&str> {
        let ours = self.called.iter().flatten().filter(|called| called.is_ours);
        let mut served: Vec<&str> = ours.filter_map(|called| called.revision.as_deref()).collect();
        served.sort_unstable();
        served.dedup();
        served
    }

    fn warnings(&self) -> &[Warning] {
        &self.explanation.warnings
    }
}

/// The revision of the configuration.
fn own_revision(configured: &Configured) -> &str {
    match configured.mesh.revision() {
        "" => names::DEFAULT_REVISION,
        revision => revision,
    }
}

/// The revision of the injector that is called, if it is not that of the configuration.
fn other_revision(configured: &Configured, called: Option<&[Called]>) -> Option<String> {
    let own = own_revision(configured);
    let ours = || called.into_iter().flatten().filter(|called| called.is_ours && called.is_selected());
    let revisions = || ours().filter_map(|called| called.revision.as_deref());
    if revisions().any(|revision| revision == own) {
        return None;
    }
    revisions().next().map(str::to_owned)
}

/// The workload of a subject, as `injector::workload::workload_pods` names it.
fn workload(subject: &manual::Subject) -> Workload {
    let Identity { kind, namespace, name, .. } = &subject.object;
    (kind.clone(), namespace.clone().unwrap_or_default(), name.clone())
}

fn map(labels: &[(String, String)]) -> Map<String, Value> {
    labels.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect()
}

/// Parses `key=value`.
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}
