//! Manual injection: from the text of a manifest to the text with injected pod templates, with a row for every object.
//!
//! Every pod template goes through the same pipeline as a pod at the webhook. Unchanged parts are preserved byte for
//! byte, including comments and separators. No file is read or written here.

mod advice;
mod apply_time;
mod document;
mod items;
pub mod kube_inject;
mod kustomize;
mod lines;
mod process;
mod round_trip;
mod source;
mod uninject;

use std::{collections::HashSet, fmt};

use serde_json::{Map, Value, json};

use self::{
    lines::Lines,
    process::{Layout, Processed, process},
    source::{Format, Parsed},
};
use super::{
    Facts, Outcome, PodRequest, Refusal, Rules, Selection, decision::Decision, undecodable::Undecodable,
};
use crate::{
    config::InjectorConfig,
    manifest::{self, Corrections, CronJobMetadata, Found, Identity, Kinds, Standing, TemplatePath},
    warning::{Warning, shown_within},
};
use kubernetes_yaml as yaml;
use strategic_merge::patch;

pub use apply_time::{Advice, NamespaceLabels, advise};
pub use document::Document;
pub use kustomize::component;
pub use source::{DuplicateKey, LIMITS, Rewritten, SyntaxError};
pub use uninject::uninject;

/// How manifests are injected.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The configuration.
    pub mesh: &'a InjectorConfig,
    /// Which of its rules apply; with [`Rules::TemplatesOnly`], only kinds known to Istio are injected.
    pub rules: Rules,
    /// The namespace of objects that have none; empty if it is not known.
    pub namespace: &'a str,
    /// Paths of pod templates besides the known ones.
    pub template_paths: Vec<TemplatePath>,
}

/// A manifest with its injected pod templates. Its text is what it displays.
#[derive(Debug)]
pub struct Manifest<'t> {
    /// The documents, in order.
    documents: Vec<Document<'t>>,
    /// The lines of what was added.
    lines: Lines,
    /// The given paths that lead to a pod template.
    matched: Vec<TemplatePath>,
}

/// The result for an object, or for one of its pod templates if it has several.
#[derive(Debug)]
pub struct Row {
    /// The object.
    pub object: Identity,
    /// The path of the pod template if the object has several: `spec.workerGroupSpecs[0].template`.
    pub place: Option<String>,
    /// The result.
    pub verdict: Verdict,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
}

/// The result for an object.
#[derive(Debug)]
pub enum Verdict {
    /// Its pods get a proxy.
    Injected {
        /// The templates that were rendered, in order.
        templates: Vec<String>,
        /// Whether it was changed.
        changed: bool,
    },
    /// It is left unchanged.
    Skipped(Decision),
    /// It has no pod template.
    NoPodTemplate,
    /// Its pod template is not one that a proxy can be added to.
    LeftAlone(LeftAlone),
    /// Denied.
    Refused(Refusal),
    /// Its injection was removed.
    Uninjected {
        /// What could not be restored, or only by a guess, each with its path in the pod.
        remarks: Vec<String>,
    },
    /// It has no injection that could be removed.
    NotInjected,
    /// The record of its injection cannot be read.
    Unreadable(String),
}

/// Why a pod template is left unchanged, regardless of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeftAlone {
    /// It has no containers.
    #[error("no containers: not a pod template")]
    NoContainers,
    /// It is a patch for a template.
    #[error("no container has an image, or one has a $patch: a patch, not a pod template")]
    Patch,
    /// Knative rejects what a proxy needs.
    #[error(
        "skipped (KNATIVE): Knative rejects init containers, added capabilities and fieldRef in a template; leave its pods \
         to the webhook, or name the template with --pod-template-path"
    )]
    Knative,
}

/// Injects all pod templates of a manifest: YAML with any number of documents, or JSON.
///
/// # Errors
/// If the text is neither; a denied pod is a [`Verdict`].
pub fn inject<'t>(text: &'t str, options: &Options<'_>) -> Result<Manifest<'t>, SyntaxError> {
    let layout = match options.rules {
        Rules::Configured => Layout::Kept,
        // istioctl writes every object that it changes anew.
        Rules::TemplatesOnly => Layout::Anew,
    };
    process(text, &search(options), layout, &|parsed| inject_parsed(parsed, options))
}

/// A pod of a manifest, as it is given to the engine.
#[derive(Debug)]
pub struct Subject {
    /// The object.
    pub object: Identity,
    /// The path of the pod template if the object has several.
    pub place: Option<String>,
    /// The pod; a template has no name.
    pub request: PodRequest,
    /// Why the pod template is left unchanged, regardless of the configuration.
    pub left_alone: Option<LeftAlone>,
    /// Warnings about the object around the pod template.
    pub warnings: Vec<Warning>,
}

/// The pods of a manifest, in order.
///
/// # Errors
/// If the text is neither YAML nor JSON.
pub fn subjects(text: &str, options: &Options<'_>) -> Result<Vec<Subject>, SyntaxError> {
    let mut subjects = Vec::new();
    let search = search(options);
    for source in source::split(text) {
        let document = source.parse(&search)?;
        let value = document.as_read();
        let found = pod_templates(value, options);
        let is_own = |revision: &str| super::is_own_revision(options.mesh, revision);
        for (identity, templates) in by_object(value, &found) {
            let mut warnings = document.corrections.get(&identity.object).map(corrected).unwrap_or_default();
            warnings.extend(advice::settings_elsewhere(value, &identity, templates, options.rules, is_own));
            for found in templates {
                let namespace = found.namespace.as_deref().unwrap_or(options.namespace);
                let mut object = identity.clone();
                object.namespace = Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty());
                subjects.push(Subject {
                    object,
                    place: (templates.len() > 1).then(|| advice::place_in_object(found)),
                    request: request(value, found, namespace, options.rules),
                    left_alone: left_alone(found, options.rules),
                    warnings: std::mem::take(&mut warnings),
                });
            }
        }
    }
    Ok(subjects)
}

impl fmt::Display for Manifest<'_> {
    /// Unchanged parts are identical to the byte.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.documents.iter().try_for_each(|document| document.write(&self.lines, f))
    }
}

impl Manifest<'_> {
    /// The manifest as written by `istioctl kube-inject`: every document is followed by `---` (Istio's
    /// `IntoResourceFile`).
    pub fn terminated(&self) -> impl fmt::Display {
        fmt::from_fn(|f| {
            self.documents.iter().try_for_each(|document| document.write_terminated(&self.lines, f))
        })
    }

    /// The values of the documents before the changes; null for empty ones.
    pub fn originals(&self) -> impl Iterator<Item = Value> {
        self.documents.iter().map(Document::original)
    }

    /// The values of the documents; null for empty ones.
    pub fn values(&self) -> impl Iterator<Item = Value> {
        self.documents.iter().map(|document| document.value(&self.lines))
    }

    /// The objects as one JSON value: a single object as it is, several as a List.
    pub fn to_json(manifests: &[Manifest<'_>]) -> Value {
        let mut values: Vec<Value> = manifests.iter().flat_map(Manifest::values).collect();
        values.retain(|value| !value.is_null());
        if values.len() == 1 {
            return values.pop().unwrap_or_default();
        }
        let items: Vec<Value> = values
            .into_iter()
            .flat_map(|mut value| match items_of_list(&value) {
                Some(_) => match value.get_mut("items").map(Value::take) {
                    Some(Value::Array(items)) => items,
                    _ => Vec::new(),
                },
                None => vec![value],
            })
            .collect();
        json!({"apiVersion": "v1", "kind": "List", "items": items})
    }

    /// The JSON patch of every changed object, relative to the object.
    pub fn patches(&self) -> Vec<Value> {
        let mut patches = Vec::new();
        self.each_change(&mut |before, after| {
            let changed = |identity: Identity| {
                let (before, after) = (before.pointer(&identity.object)?, after.pointer(&identity.object)?);
                let operations = patch::diff(before, after);
                (!operations.is_empty()).then(|| described(identity, &operations))
            };
            patches.extend(manifest::identities(before).into_iter().filter_map(changed));
        });
        patches
    }

    /// Calls the function with the values of all changed documents before and after the change; for Lists, those of items.
    fn each_change(&self, visit: &mut impl FnMut(&Value, &Value)) {
        for document in &self.documents {
            document.each_change(&self.lines, visit);
        }
    }

    /// The results for the objects, in order.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.documents.iter().flat_map(|document| &document.rows)
    }

    /// The changes of the text, in its order.
    pub fn changes(&self) -> impl Iterator<Item = yaml::Edit> {
        self.documents.iter().flat_map(|document| document.changes(&self.lines))
    }

    /// The parts that are written anew because their text cannot be edited, in order.
    pub fn rewrites(&self) -> impl Iterator<Item = &Rewritten> {
        self.documents.iter().flat_map(|document| &document.rewrites)
    }

    /// Duplicate keys, in order.
    pub fn duplicates(&self) -> impl Iterator<Item = &DuplicateKey> {
        self.documents.iter().flat_map(|document| &document.duplicates)
    }

    /// Whether a path leads to a pod template in any object.
    pub fn has_template_at(&self, path: &TemplatePath) -> bool {
        self.matched.contains(path)
    }

    /// Whether an object was denied.
    pub fn is_refused(&self) -> bool {
        self.rows().any(|row| row.verdict.is_refusal())
    }

    /// Whether anything was changed.
    pub fn is_changed(&self) -> bool {
        self.documents.iter().any(Document::is_changed)
    }
}

impl Verdict {
    /// Whether the object was denied.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Verdict::Refused(_) | Verdict::Unreadable(_))
    }
}

/// A denial with its causes: for manual injection, the user is also the reader of the log.
pub fn explained(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Render { name, source } => {
            format!("template {name:?} cannot be rendered for this pod: {source}")
        }
        Refusal::Overlay { name, snippet, source } => {
            format!("template {name:?} gives no usable overlay for this pod: {source}{snippet}")
        }
        Refusal::Undecodable(undecodable) => format!("{}{}", undecodable.explained(), undecodable.others()),
        other => other.to_string(),
    }
}

/// The objects of a document, each with its pod templates; both are in document order.
fn by_object<'f>(
    value: &Value,
    found: &'f [Found],
) -> impl Iterator<Item = (Identity, &'f [Found])> + use<'f> {
    let mut rest = found;
    manifest::identities(value).into_iter().map(move |identity| {
        let count = rest.iter().take_while(|found| found.object == identity.object).count();
        let (own, others) = rest.split_at(count);
        rest = others;
        (identity, own)
    })
}

/// Injects all pod templates of a document.
fn inject_parsed(document: &mut Parsed<'_>, options: &Options<'_>) -> Processed {
    let value = document.as_read();
    let found = pod_templates(value, options);
    let mut likely = likely_templates(value, &found, options.rules).into_iter().peekable();
    // One copy for all templates: a copy for each would take quadratic time for the items of a List.
    let mut work = if found.is_empty() { Value::Null } else { value.clone() };
    let mut injected = false;
    let mut rows = Vec::new();
    for (identity, templates) in by_object(value, &found) {
        let mut warnings = document.corrections.get(&identity.object).map(corrected).unwrap_or_default();
        while let Some((_, place)) = likely.next_if(|(object, _)| *object == identity.object) {
            warnings.push(advice::likely_template(&place));
        }
        let is_own = |revision: &str| super::is_own_revision(options.mesh, revision);
        warnings.extend(advice::settings_elsewhere(value, &identity, templates, options.rules, is_own));
        for found in templates {
            let (mut row, changed) = process_template(&mut work, &identity, found, options);
            row.place = (templates.len() > 1).then(|| advice::place_in_object(found));
            // Warnings about the object are reported once.
            row.warnings.splice(0..0, warnings.drain(..));
            rows.push(row);
            injected |= changed;
        }
        if templates.is_empty() && !document.original.is_null() {
            rows.push(Row { object: identity, place: None, verdict: Verdict::NoPodTemplate, warnings });
        }
    }
    let new = if injected {
        Some(work)
    } else {
        document.corrected.clone().filter(|_| document.corrections.values().any(Corrections::matter))
    };
    (rows, new)
}

fn described(identity: Identity, operations: &[patch::Operation<'_>]) -> Value {
    let mut entry = Map::from_iter([
        ("apiVersion".to_owned(), Value::String(identity.api_version)),
        ("kind".to_owned(), Value::String(identity.kind)),
        ("name".to_owned(), Value::String(identity.name)),
        ("patch".to_owned(), json!(operations)),
    ]);
    entry.extend(identity.namespace.map(|namespace| ("namespace".to_owned(), Value::String(namespace))));
    Value::Object(entry)
}

/// Warnings about corrections made while decoding an object.
fn corrected(corrections: &Corrections) -> Vec<Warning> {
    let Corrections { unquoted, respelled, .. } = corrections;
    // It has quotes of its own, around text that would look like a path.
    let path = |path: &str| {
        let shown = shown_within(path, 96);
        shown.strip_prefix('"').and_then(|shown| shown.strip_suffix('"')).unwrap_or(path).to_owned()
    };
    let mut warnings = Vec::new();
    match unquoted.count {
        0 => {}
        1 => warnings.push(Warning::new(
            "UNQUOTED_VALUE",
            format!(
                "{} needs quotes: it is read as the string {}, but kubectl rejects it",
                path(&unquoted.path),
                shown_within(&unquoted.became, 24)
            ),
        )),
        count => warnings.push(Warning::new(
            "UNQUOTED_VALUE",
            format!(
                "{count} values need quotes, the first is {}: they are read as strings, but kubectl rejects them",
                path(&unquoted.path)
            ),
        )),
    }
    if respelled.count > 0 {
        let others = match respelled.count {
            1 => String::new(),
            count => format!(" (and {} more keys)", count - 1),
        };
        warnings.push(Warning::new(
            "KEY_CASE",
            format!(
                "{} is read as {}{others}, but kubectl rejects it",
                path(&respelled.path),
                respelled.became
            ),
        ));
    }
    warnings
}

/// The search options for a manifest.
fn search(options: &Options<'_>) -> manifest::Options {
    manifest::Options {
        template_paths: options.template_paths.clone(),
        by_shape: options.rules == Rules::Configured,
        cron_job_metadata: match options.rules {
            Rules::Configured => CronJobMetadata::Pod,
            Rules::TemplatesOnly => CronJobMetadata::Job,
        },
        kinds: match options.rules {
            Rules::Configured => Kinds::OfTheirGroups,
            Rules::TemplatesOnly => Kinds::OfAnyGroup,
        },
    }
}

fn pod_templates(document: &Value, options: &Options<'_>) -> Vec<Found> {
    let mut found = manifest::objects(document, &search(options));
    if options.rules == Rules::TemplatesOnly {
        let in_list = items_of_list(document).is_some();
        found.retain(|found| (in_list || found.object.is_empty()) && istio_injects(&found.kind));
    }
    found
}

/// Likely pod templates that were not injected: the JSON pointers of the object and of the place in it, in document
/// order.
fn likely_templates(document: &Value, found: &[Found], rules: Rules) -> Vec<(String, String)> {
    if rules == Rules::TemplatesOnly {
        return Vec::new();
    }
    let taken: HashSet<&str> = found.iter().map(|found| found.pointer.as_str()).collect();
    let mut likely = manifest::likely_templates(document);
    likely.retain(|(object, place)| !taken.contains(format!("{object}{place}").as_str()));
    likely
}

/// The kinds in Istio's `injectScheme`, which match in any version; all other kinds are copied.
fn istio_injects(kind: &str) -> bool {
    matches!(
        kind,
        "CronJob"
            | "DaemonSet"
            | "Deployment"
            | "DeploymentConfig"
            | "Job"
            | "Pod"
            | "ReplicaSet"
            | "ReplicationController"
            | "StatefulSet"
    )
}

/// The items of a `v1` List; typed lists are objects of their own.
fn items_of_list(value: &Value) -> Option<&Vec<Value>> {
    let field = |key: &str| value.get(key).and_then(Value::as_str);
    let is_list = field("kind") == Some("List") && field("apiVersion") == Some("v1");
    value.get("items").and_then(Value::as_array).filter(|_| is_list)
}

/// Injects one pod template in its document; returns whether that changed it.
fn process_template(
    document: &mut Value,
    identity: &Identity,
    found: &Found,
    options: &Options<'_>,
) -> (Row, bool) {
    let namespace = found.namespace.as_deref().unwrap_or(options.namespace);
    let mut object = identity.clone();
    object.namespace = Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty());
    if let Some(left_alone) = left_alone(found, options.rules) {
        let verdict = Verdict::LeftAlone(left_alone);
        return (Row { object, place: None, verdict, warnings: Vec::new() }, false);
    }
    let request = request(document, found, namespace, options.rules);
    let outcome = super::run_by(options.rules, options.mesh, &request, &facts(options, namespace));
    let (verdict, warnings, changed) = match outcome {
        Err(refusal) => (Verdict::Refused(refusal), Vec::new(), false),
        Ok(Outcome::Skipped(skip)) => (Verdict::Skipped(skip.decision), skip.warnings, false),
        Ok(Outcome::Injected(injection)) => match Undecodable::as_written(&request.pod) {
            // An API server has decoded the pods that come to the webhook; a manifest may contain anything.
            Some(undecodable) => {
                (Verdict::Refused(Refusal::Undecodable(Box::new(undecodable))), Vec::new(), false)
            }
            None => {
                let (templates, mut warnings) = (injection.templates.clone(), injection.warnings.clone());
                warnings.extend(advice::pod_failure_policy(document, found));
                let changed = put_back(document, found, injection.whole_pod(&request.pod), options.rules);
                (Verdict::Injected { templates, changed }, warnings, changed)
            }
        },
    };
    (Row { object, place: None, verdict, warnings }, changed)
}

/// Why a template is left alone before any decision; Istio accepts them all.
fn left_alone(found: &Found, rules: Rules) -> Option<LeftAlone> {
    match (rules, found.standing) {
        (Rules::TemplatesOnly, _) | (_, Standing::Whole) => None,
        (_, Standing::NoContainers) => Some(LeftAlone::NoContainers),
        (_, Standing::Patch) => Some(LeftAlone::Patch),
        (_, Standing::Knative) => Some(LeftAlone::Knative),
    }
}

/// Writes the injected pod back into the document; returns whether that changed it.
fn put_back(document: &mut Value, found: &Found, mut pod: Value, rules: Rules) -> bool {
    let mut changed = false;
    if rules == Rules::TemplatesOnly {
        round_trip::pod(&mut pod);
        if let Some(object) = document.pointer_mut(&found.object) {
            changed = round_trip::workload(object);
        }
    }
    manifest::put_back(document, found, &pod) || changed
}

fn request(document: &Value, found: &Found, namespace: &str, rules: Rules) -> PodRequest {
    let mut pod = manifest::extract_pod(document, found);
    if rules == Rules::TemplatesOnly {
        round_trip::pod(&mut pod);
    }
    let mut workload = found.owner.clone();
    // Istio's `IntoObject` leaves the pod, the workload and its namespace as they are in the manifest.
    let namespace = if rules == Rules::Configured { namespace } else { "" };
    if let Some(workload) = workload.as_mut().filter(|workload| workload.namespace.is_empty()) {
        workload.namespace = namespace.to_owned();
    }
    PodRequest { workload, ..PodRequest::new(namespace, pod) }
}

fn facts<'a>(options: &Options<'a>, namespace: &str) -> Facts<'a> {
    match options.rules {
        Rules::Configured => {
            let facts = Facts::of(options.mesh, namespace);
            // The labels of an unknown namespace cannot be evaluated, but the pod's own labels can.
            let selection = match facts.namespace {
                Some(_) => Selection::ByLabels,
                None => Selection::ByPodAlone,
            };
            Facts { selection, ..facts }
        }
        Rules::TemplatesOnly => Facts::default(),
    }
}

/// Writes a changed document in its original format.
fn written(value: &Value, format: Format) -> String {
    match format {
        Format::Yaml => yaml::to_string(value),
        Format::Json => format!("{value:#}\n"),
    }
}
