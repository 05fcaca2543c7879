//! The one place where the server meets the injection engine: bundles become engines, outcomes become verdicts.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::engine::{Call, Engine, Injected, Loaded, Source, Verdict};
use crate::{
    config::{self, Mesh},
    inject::{self, Facts, Outcome, PodRequest, Selection},
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
    Ok(Loaded { engine: Arc::new(MeshEngine { mesh, cluster }), warnings })
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
}

impl Engine for MeshEngine {
    fn judge(&self, call: Call) -> Verdict {
        let (namespace, nodes) = match &self.cluster {
            Cluster::InConfiguration | Cluster::Unknown => (None, None),
            Cluster::Watched(facts) => (facts.namespace(&call.namespace), facts.nodes()),
        };
        let facts = match &self.cluster {
            Cluster::InConfiguration => Facts::of(&self.mesh, &call.namespace),
            Cluster::Unknown => Facts::default(),
            Cluster::Watched(_) => Facts {
                namespace: namespace.as_deref(),
                selection: Selection::ByApiServer,
                nodes: nodes.as_deref(),
            },
        };
        let request =
            PodRequest { namespace: call.namespace, pod: call.pod, path_env: call.variables, workload: None };
        match inject::run(&self.mesh, &request, &facts) {
            Ok(Outcome::Injected(injection)) => Verdict::Injected(Injected {
                operations: injection.patch.len(),
                patch: injection.patch_json.into_bytes(),
                templates: injection.templates,
                reason: injection.decision.reason.key(),
                warnings: injection.warnings.iter().map(ToString::to_string).collect(),
            }),
            Ok(Outcome::Skipped(skip)) => Verdict::Skipped {
                reason: skip.decision.reason.key(),
                warnings: skip.warnings.iter().map(ToString::to_string).collect(),
            },
            Err(refusal) => Verdict::Refused {
                code: refusal.code(),
                reason: refusal.reason(),
                message: refusal.to_string(),
                detail: refusal.diagnosis().unwrap_or_default(),
            },
        }
    }

    fn revision(&self) -> &str {
        self.mesh.revision()
    }

    fn hash(&self) -> &str {
        self.mesh.hash()
    }
}
