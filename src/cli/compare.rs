//! `outrigger compare`: whether this injector would produce the same pods as another one, such as istiod, did.

use std::{collections::BTreeMap, path::PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use clap::Args;
use serde_json::{Value, json};

use super::{
    capture,
    effects::{self, Form, Words},
    failure::Failure,
    files,
    report::{self, Color, Style},
    source::Source,
    workloads,
};
use crate::{
    inject::{PodRequest, manual},
    pod, yaml,
};
use injector::effects::{Answer, Change, Report};

/// Compare pods injected by another injector, such as istiod, with what outrigger would inject into them.
///
/// Pods are those of the cluster, or of files: pods as `kubectl get pods -o json` prints them, or AdmissionReviews with
/// request and response. They are rendered with the configuration in force (istiod's ConfigMaps, or --bundle) and
/// compared field by field; differences that mean nothing to an API server do not count. Nothing is changed. The exit
/// code is 1 if a pod differs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger compare
  outrigger compare -n shop -o json
  outrigger compare -f reviews.json --bundle bundle.yaml")]
pub(super) struct Compare {
    /// Pods or AdmissionReviews in YAML or JSON, or - for stdin; may be repeated [default: the pods of the cluster]
    #[arg(short = 'f', long = "filename", value_name = "FILE", num_args = 1..)]
    files: Vec<PathBuf>,
    /// Capture from `outrigger bundle capture`, to use instead of the cluster itself
    #[arg(long, value_name = "FILE", conflicts_with_all = ["files", "cluster"])]
    capture: Option<PathBuf>,
    /// Only the pods of this namespace
    #[arg(short, long, default_value = "", hide_default_value = true)]
    namespace: String,
    /// Output format
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    output: Form,
    /// Also write the report to this file, as one self-contained HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

const WORDS: Words = Words {
    title: "Pods that would get a different proxy here",
    kind: "CompareReport",
    subject: "pod",
    sides: ["found", "here"],
};

/// A pod to compare.
enum Case {
    /// A pod that runs.
    Running(PodRequest),
    /// A pod as it was received, and the answer.
    Reviewed(PodRequest, Answer),
}

/// The pods of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Workload {
    pods: usize,
    different: usize,
    /// The first field in which one of them differs, or what happened to it.
    first: Option<String>,
}

impl Compare {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        let (configured, texts) =
            capture::pods(&self.source, self.capture.as_deref(), &self.files, &self.namespace, color)?;
        let mut cases: Vec<(String, Case)> = Vec::new();
        for (name, text) in &texts {
            for (request, answer) in
                reviews(text).map_err(|error| Failure::data(format!("{name}: {error}")))?
            {
                cases.push((workload(&request), Case::Reviewed(request, answer)));
            }
        }
        let pods = workloads::subjects(&configured, &self.namespace, &texts)?.into_iter();
        let pods = pods.filter(|subject| subject.object.kind == "Pod" && subject.left_alone.is_none());
        cases.extend(pods.map(|subject| (workload(&subject.request), Case::Running(subject.request))));
        cases.retain(|(_, case)| {
            let (Case::Running(request) | Case::Reviewed(request, _)) = case;
            self.namespace.is_empty() || request.namespace == self.namespace
        });
        if cases.is_empty() {
            return Err(Failure::data(
                "found no pod to compare; expected pods, or AdmissionReviews of pods with a response",
            ));
        }
        let mut by_workload: BTreeMap<String, Workload> = BTreeMap::new();
        for (name, _) in &cases {
            by_workload.entry(name.clone()).or_default().pods += 1;
        }
        let report = effects::evaluate_named(cases, |case| -> Change {
            match case {
                Case::Running(request) => injector::effects::stale(&configured.mesh, request),
                Case::Reviewed(request, answer) => {
                    injector::effects::compare(&configured.mesh, request, answer)
                }
            }
        })?;
        let origins = [format!("here: {}", configured.origin)];
        effects::write_html(self.html.as_deref(), &report, &WORDS, &origins)?;
        for group in report.groups() {
            let first = match group.differences.first() {
                Some(difference) => effects::line(difference),
                None => effects::headline(group).1,
            };
            for name in &group.subjects {
                let workload = by_workload.entry(name.clone()).or_default();
                workload.different += 1;
                workload.first.get_or_insert_with(|| first.clone());
            }
        }
        files::print(&match self.output {
            Form::Text => text(&by_workload, &report, color),
            Form::Json => format!("{:#}\n", as_json(&by_workload, &report)),
        })?;
        match report.subjects() - report.identical {
            0 => Ok(()),
            different => Err(Failure::error(format!(
                "{} would be injected differently here",
                effects::counted(different, WORDS.subject)
            ))),
        }
    }
}

/// `shop/Deployment/web`: the workload behind a pod.
fn workload(request: &PodRequest) -> String {
    let owner = pod::owner(&request.pod);
    let name = match owner.name.as_str() {
        "" => request.pod.pointer("/metadata/generateName").and_then(Value::as_str).unwrap_or_default(),
        name => name,
    };
    format!("{}/{}/{name}", request.namespace, owner.kind)
}

/// The AdmissionReviews of a text that have a pod and a response.
fn reviews(text: &str) -> Result<Vec<(PodRequest, Answer)>, String> {
    if !text.contains("AdmissionReview") {
        return Ok(Vec::new());
    }
    let values: Vec<Value> = if text.trim_start().starts_with('{') {
        let values = serde_json::Deserializer::from_str(text).into_iter();
        values.collect::<Result<_, _>>().map_err(|error| error.to_string())?
    } else {
        let load = |document: &yaml::Document<'_>| yaml::load(document.text, &manual::LIMITS);
        let documents = yaml::split_documents(text);
        documents.iter().map(load).collect::<Result<_, _>>().map_err(|error| error.to_string())?
    };
    let is_review = |value: &&Value| value.get("kind").and_then(Value::as_str) == Some("AdmissionReview");
    values.iter().filter(is_review).filter_map(review).collect()
}

/// A pod as it was received, and the answer; `None` without one of them.
fn review(review: &Value) -> Option<Result<(PodRequest, Answer), String>> {
    let request = review.get("request")?;
    let response = review.get("response").filter(|response| !response.is_null())?;
    let mut pod = request.get("object").filter(|pod| pod.is_object())?.clone();
    pod.pointer("/spec/containers")?;
    let text =
        |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let namespace = text(request, "/namespace").unwrap_or_default();
    if let Some(pod) = pod.as_object_mut() {
        // As in an object of its own; reviews often lack them.
        pod.entry("apiVersion").or_insert_with(|| json!("v1"));
        pod.entry("kind").or_insert_with(|| json!("Pod"));
    }
    let answer = if response.get("allowed").and_then(Value::as_bool) != Some(true) {
        Answer::Denied(text(response, "/status/message").unwrap_or_default())
    } else {
        match text(response, "/patch") {
            None => Answer::Skipped,
            Some(patch) => match patched(&pod, &patch) {
                Ok(pod) => Answer::Injected(pod),
                Err(error) => {
                    let uid = text(request, "/uid").unwrap_or_default();
                    return Some(Err(format!("review {uid:?}: response.patch: {error}")));
                }
            },
        }
    };
    Some(Ok((PodRequest::new(namespace, pod), answer)))
}

fn patched(pod: &Value, patch: &str) -> Result<Value, String> {
    let patch = BASE64_STANDARD
        .decode(patch)
        .map_err(|_| "found a text that is not base64; expected a JSON patch in it".to_owned())?;
    let patch: json_patch::Patch = serde_json::from_slice(&patch).map_err(|error| error.to_string())?;
    let mut pod = pod.clone();
    // Without undoing: the pod is dropped anyway, and undoing panics on some untrusted patches (json-patch 5.0.0).
    json_patch::patch_unsafe(&mut pod, &patch).map_err(|error| error.to_string())?;
    Ok(pod)
}

fn text(workloads: &BTreeMap<String, Workload>, report: &Report<String>, color: Color) -> String {
    let mut out = String::new();
    let different = workloads.iter().filter(|(_, workload)| workload.different > 0);
    for (name, workload) in different.clone() {
        let Workload { pods, different, first } = workload;
        let count = format!("{different} of {} different", effects::counted(*pods, WORDS.subject));
        out.push_str(&format!("{} {}\n", color.paint_stdout(Style::Bad, &count), report::plain(name)));
        out.push_str(&format!("    {}\n", report::plain(first.as_deref().unwrap_or_default())));
    }
    out.push_str(&format!(
        "{} of {}: {} identical, {} different; parity of {} of {}\n",
        effects::counted(report.subjects(), WORDS.subject),
        effects::counted(workloads.len(), "workload"),
        report.identical,
        report.subjects() - report.identical,
        workloads.len() - different.count(),
        effects::counted(workloads.len(), "workload"),
    ));
    out
}

fn as_json(workloads: &BTreeMap<String, Workload>, report: &Report<String>) -> Value {
    let mut document = effects::as_json(report, &WORDS);
    let of_workloads = workloads.iter().map(|(name, Workload { pods, different, first })| {
        json!({"workload": name, "pods": pods, "different": different, "first": first})
    });
    if let Some(document) = document.as_object_mut() {
        document.insert("workloads".to_owned(), of_workloads.collect());
    }
    document
}
