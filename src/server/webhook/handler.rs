//! The one place where the server meets the injection engine: bundles become engines, outcomes become verdicts.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;

use crate::config::{Mesh, Namespace, Nodes};
use crate::inject::limits::Weight;
use crate::inject::replay::{Answer, Learned, Question, Replays, Summary};
use crate::inject::{Facts, Outcome, PodRequest, Selection, limits, replay};
use crate::server::configuration::earlier::{Earlier, Text};
use crate::server::configuration::facts::LiveFacts;
use crate::server::reading;
use crate::server::reading::Whole;
use crate::server::configuration::source::{Loaded, Source};
use crate::server::webhook::engine::{Call, Engine, Injected, Judged, Subject, Verdict, Warning, Way};
use crate::server::webhook::review;
use crate::server::webhook::review::Malformed;
use crate::{config, inject, pod};

/// A bundle in a file, or the embedded defaults.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    file: Option<PathBuf>,
    earlier: Earlier,
}

/// Largest file of a configuration that is read (C-07).
pub(crate) const FILE_BYTES: u64 = 8 << 20;

impl Bundle {
    /// The bundle in a file.
    pub fn of(file: PathBuf) -> Bundle {
        Bundle { file: Some(file), earlier: Earlier::default() }
    }
}

impl Source for Bundle {
    fn load(&self) -> Result<Loaded, String> {
        let Some(file) = &self.file else {
            let mesh = Mesh::embedded().map_err(|error| error.to_string())?;
            return loaded(mesh, &[], Cluster::InConfiguration);
        };
        let text = reading::read(file, FILE_BYTES).and_then(|whole| text(file, file, whole));
        let text = text.map_err(|error| error.to_string())?;
        let name = file.display().to_string();
        let source = config::Source { name: &name, text: &text.text };
        let (mesh, warnings) = Mesh::from_bundle(source).map_err(|error| error.to_string())?;
        let mut loaded = loaded(mesh, &warnings, Cluster::InConfiguration)?;
        loaded.warnings.extend(self.earlier.compare(vec![text])?);
        Ok(loaded)
    }

    fn accepted(&self) {
        self.earlier.accept();
    }

    fn files(&self) -> Vec<PathBuf> {
        self.file.iter().cloned().collect()
    }
}

/// An engine for a configuration that itself says what there is to know of the cluster.
///
/// # Errors
/// When a template fails for a plain pod.
pub fn engine(mesh: Mesh) -> Result<Arc<dyn Engine>, String> {
    loaded(mesh, &[], Cluster::InConfiguration).map(|loaded| loaded.engine)
}

/// Where facts about the cluster come from.
pub(crate) enum Cluster {
    /// From the configuration itself.
    InConfiguration,
    /// From nowhere: a configuration that says nothing of the cluster, without a way to ask.
    Unknown,
    /// From watches.
    Watched(Arc<LiveFacts>),
}

/// Checks that a configuration can inject pods and makes an engine of it.
///
/// # Errors
/// When a template fails for a plain pod.
pub(crate) fn loaded(mesh: Mesh, warnings: &[config::Warning], cluster: Cluster) -> Result<Loaded, String> {
    // As in a request, nothing outlives the call that could be left half changed.
    let checked = catch_unwind(AssertUnwindSafe(|| inject::check::check(&mesh)));
    let remarks = checked
        .map_err(|_| "a defect of outrigger: sample pods made the engine panic".to_owned())?
        .map_err(|error| error.to_string())?;
    let warnings = warnings.iter().map(ToString::to_string);
    let warnings = warnings.chain(remarks.iter().map(ToString::to_string)).collect();
    let replays = Replays::new(&mesh);
    Ok(Loaded { engine: Arc::new(MeshEngine { mesh, cluster, replays }), warnings })
}

/// The text of a file that was read; `path` is what the administrator calls it.
pub(in crate::server) fn text(file: &Path, path: &Path, whole: Whole) -> Result<Text, reading::Error> {
    let text = std::str::from_utf8(&whole.bytes).map_err(|error| {
        let found =
            format!("found bytes that are not UTF-8 at offset {}; accepted is UTF-8", error.valid_up_to());
        let error = io::Error::new(io::ErrorKind::InvalidData, found);
        reading::Error::Io { file: file.to_owned(), error }
    })?;
    Ok(Text { path: path.to_owned(), stamp: whole.stamp, text: text.to_owned() })
}

/// What is read of a pod that is too large to be judged may take, in bytes.
pub(crate) const OUTLINE: usize = 8 << 20;

struct MeshEngine {
    mesh: Mesh,
    cluster: Cluster,
    replays: Replays,
}

/// Facts for one request, held while it is judged.
struct Held {
    namespace: Option<Arc<Namespace>>,
    nodes: Option<Arc<Nodes>>,
}

impl MeshEngine {
    fn hold(&self, namespace: &str) -> Held {
        match &self.cluster {
            Cluster::InConfiguration | Cluster::Unknown => Held { namespace: None, nodes: None },
            Cluster::Watched(facts) => Held { namespace: facts.namespace(namespace), nodes: facts.nodes() },
        }
    }

    fn facts<'f>(&'f self, held: &'f Held, namespace: &str) -> Facts<'f> {
        match &self.cluster {
            Cluster::InConfiguration => Facts::of(&self.mesh, namespace),
            Cluster::Unknown => Facts::default(),
            Cluster::Watched(_) => Facts {
                namespace: held.namespace.as_deref(),
                selection: Selection::ByApiServer,
                nodes: held.nodes.as_deref(),
            },
        }
    }

    /// For pods that have no siblings that could be known.
    fn judge_alone(&self, call: &Call<'_>) -> Result<Judged, Malformed> {
        let pod = match read_pod(call)? {
            Ok(pod) => pod,
            Err(outside) => return Ok(*outside),
        };
        let own = pod::namespace(&pod);
        let namespace = if own.is_empty() { call.namespace } else { own }.to_owned();
        let held = self.hold(&namespace);
        let facts = self.facts(&held, &namespace);
        let question = Question { namespace: &namespace, path_env: call.variables, facts: &facts };
        let subject = replay::Subject::of(&pod);
        let verdict = verdict(question.answer(&self.mesh, pod));
        Ok(Judged { verdict, subject: about(namespace, subject), way: Way::Whole })
    }
}

impl Engine for MeshEngine {
    fn judge(&self, call: &Call<'_>) -> Result<Judged, Malformed> {
        let Some(sketch) = self.replays.sketch(call.object) else { return self.judge_alone(call) };
        let namespace = sketch.namespace().unwrap_or(call.namespace);
        let held = self.hold(namespace);
        let facts = self.facts(&held, namespace);
        let key = self.replays.key(&self.mesh, &sketch, namespace, call.variables, &facts);
        if let Some(replay) = self.replays.find(&key).filter(|replay| !replay.is_due())
            && let Some(answer) = replay.fill(&sketch)
        {
            let subject = about(namespace.to_owned(), answer.subject);
            return Ok(Judged { verdict: answer.summary.into(), subject, way: Way::Replayed });
        }
        let pod = match read_pod(call)? {
            Ok(pod) => pod,
            Err(outside) => return Ok(*outside),
        };
        let question = Question { namespace, path_env: call.variables, facts: &facts };
        let subject = replay::Subject::of(&pod);
        let answer = question.answer(&self.mesh, pod);
        let contradicted = match &answer {
            Ok(answer) => {
                self.replays.learn(&self.mesh, key, &sketch, &question, answer) == Learned::Contradicted
            }
            Err(_) => self.replays.forget(&key),
        };
        let way = if contradicted { Way::Contradicted } else { Way::Whole };
        Ok(Judged { verdict: verdict(answer), subject: about(namespace.to_owned(), subject), way })
    }

    fn leaves_alone(&self, call: &Call<'_>) -> Option<Judged> {
        let outline = limits::outline(call.object)?;
        if Weight::of(&outline).bytes > OUTLINE {
            return None;
        }
        let call = Call { body: outline.as_bytes(), object: &outline, ..*call };
        let pod = match read_pod(&call).ok()? {
            Ok(pod) => pod,
            Err(outside) => return Some(*outside),
        };
        let own = pod::namespace(&pod);
        let namespace = if own.is_empty() { call.namespace } else { own }.to_owned();
        let held = self.hold(&namespace);
        let subject = replay::Subject::of(&pod);
        let request = PodRequest::new(namespace.clone(), pod);
        let skip = inject::leaves_alone(&self.mesh, &request, &self.facts(&held, &namespace))?;
        let verdict = Summary::from(Outcome::Skipped(skip)).into();
        Some(Judged { verdict, subject: about(namespace, subject), way: Way::Whole })
    }

    fn revision(&self) -> &str {
        self.mesh.revision()
    }

    fn hash(&self) -> &str {
        self.mesh.hash()
    }
}

/// Reads the pod of a call; what is no pod is none of the webhook's business.
fn read_pod(call: &Call<'_>) -> Result<Result<Value, Box<Judged>>, Malformed> {
    let object = review::object(call.body, call.object)?;
    if review::is_pod(&object) {
        return Ok(Ok(Value::Object(object)));
    }
    let subject = Subject { namespace: call.namespace.to_owned(), ..Subject::default() };
    let verdict = Verdict::Skipped { reason: review::NOT_A_POD, warnings: Vec::new() };
    Ok(Err(Box::new(Judged { verdict, subject, way: Way::Whole })))
}

fn about(namespace: String, subject: replay::Subject) -> Subject {
    let replay::Subject { name, owner, reinvoked } = subject;
    Subject { namespace, name, owner, reinvoked }
}

fn verdict(answer: Result<Answer, inject::Refusal>) -> Verdict {
    match answer {
        Ok(answer) => answer.summary.into(),
        Err(refusal) => Verdict::Refused {
            code: refusal.code(),
            reason: refusal.reason(),
            message: refusal.to_string(),
            detail: refusal.diagnosis().unwrap_or_default(),
        },
    }
}

impl From<Summary> for Verdict {
    fn from(summary: Summary) -> Verdict {
        match summary {
            Summary::Injected { patch, operations, templates, reason, warnings } => {
                Verdict::Injected(Injected {
                    patch: patch.into_bytes(),
                    operations,
                    templates,
                    reason,
                    warnings: warnings.into_iter().map(Warning::from).collect(),
                })
            }
            Summary::Skipped { reason, warnings } => {
                Verdict::Skipped { reason, warnings: warnings.into_iter().map(Warning::from).collect() }
            }
        }
    }
}

impl From<inject::warning::Warning> for Warning {
    fn from(warning: inject::warning::Warning) -> Warning {
        Warning { code: warning.code, is_shown: warning.is_shown(), text: warning.message }
    }
}
