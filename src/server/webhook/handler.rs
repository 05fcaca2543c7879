//! The one place where the server meets the injection engine: bundles become engines, outcomes become verdicts.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;

use super::{
    engine::{Call, Engine, Injected, Judged, Loaded, Source, Subject, Verdict, Warning, Way},
    review::{self, Malformed},
};
use crate::{
    config::{self, Mesh, Namespace, Nodes},
    inject::{
        self, Facts, Selection,
        replay::{self, Answer, Learned, Question, Replays, Summary},
    },
    pod,
    server::facts::LiveFacts,
};

/// A bundle in a file, or the embedded one.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    /// The file; nothing for the embedded defaults.
    pub file: Option<PathBuf>,
}

/// Largest file of a configuration that is read.
const FILE_BYTES: u64 = 8 << 20;

impl Source for Bundle {
    fn load(&self) -> Result<Loaded, String> {
        let (name, text) = match &self.file {
            None => ("embedded defaults".to_owned(), String::new()),
            Some(file) => (file.display().to_string(), read(file).map_err(|error| error.to_string())?),
        };
        let source = config::Source { name: &name, text: &text };
        let (mesh, warnings) = Mesh::from_bundle(source).map_err(|error| error.to_string())?;
        loaded(mesh, &warnings, Cluster::InConfiguration)
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

/// Why a file of the configuration cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The operating system says so.
    #[error("{}: {error}", file.display())]
    Io { file: PathBuf, error: io::Error },
    /// C-07
    #[error("{}: found {bytes} bytes; accepted are {FILE_BYTES}", file.display())]
    TooLarge { file: PathBuf, bytes: u64 },
}

/// Reads a file of the configuration.
pub(super) fn read(file: &Path) -> Result<String, ReadError> {
    let failed = |error| ReadError::Io { file: file.to_owned(), error };
    let bytes = std::fs::metadata(file).map_err(failed)?.len();
    if bytes > FILE_BYTES {
        return Err(ReadError::TooLarge { file: file.to_owned(), bytes });
    }
    std::fs::read_to_string(file).map_err(failed)
}

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
        Warning { code: warning.code, text: warning.message }
    }
}
