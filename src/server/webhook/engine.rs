//! What the webhook needs of an injection engine, in the webhook's own words.
//!
//! The endpoint talks to this trait alone, so that tests can put an engine behind real TLS that panics, waits or
//! answers anything, and so that one file (`handler`) is the only one that knows `inject` and `config`.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

/// One configuration, ready to judge pods. Immutable: a request is judged by one engine from start to end.
pub trait Engine: Send + Sync {
    /// Decides on one pod. Must be a pure function of the call.
    fn judge(&self, call: Call) -> Verdict;
    /// The revision of the control plane, for logs and audit annotations.
    fn revision(&self) -> &str;
    /// Identifies the configuration.
    fn hash(&self) -> &str;
}

/// A pod to decide on.
#[derive(Debug)]
pub struct Call {
    /// Effective namespace of the pod.
    pub namespace: String,
    /// The pod as received: a JSON object.
    pub pod: Value,
    /// Environment variables named in the URL.
    pub variables: BTreeMap<String, String>,
}

/// The decision. `reason` is a stable key out of a small set: it becomes the label of a metric.
#[derive(Debug)]
pub enum Verdict {
    /// The pod changes.
    Injected(Injected),
    /// The pod stays as it is.
    Skipped {
        /// Why.
        reason: &'static str,
        /// For the person who runs kubectl.
        warnings: Vec<String>,
    },
    /// The pod is not admitted.
    Refused {
        /// HTTP-like: 400, 403, 422 or 500.
        code: u16,
        /// Why.
        reason: &'static str,
        /// For the person who runs kubectl. Not shown for code 500.
        message: String,
        /// For the log: what failed and where in the configuration, with nothing of the pod in it; may be empty.
        detail: String,
    },
}

/// A changed pod.
#[derive(Debug)]
pub struct Injected {
    /// RFC 6902 patch as JSON text.
    pub patch: Vec<u8>,
    /// How many operations the patch has.
    pub operations: usize,
    /// Names of the templates that were used.
    pub templates: Vec<String>,
    /// Why.
    pub reason: &'static str,
    /// For the person who runs kubectl.
    pub warnings: Vec<String>,
}

/// Where engines come from: read at the start and at every reload.
pub trait Source: Send + Sync {
    /// Reads the configuration whole.
    ///
    /// # Errors
    /// A sentence for the operator, when any part of it is refused.
    fn load(&self) -> Result<Loaded, String>;

    /// The files it reads: a change of one of them is a reason to load again.
    fn files(&self) -> Vec<std::path::PathBuf> {
        Vec::new()
    }
}

/// A configuration that was read.
pub struct Loaded {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// Remarks for the operator.
    pub warnings: Vec<String>,
}
