//! What the webhook needs of an injection engine, in the webhook's own words.
//!
//! The endpoint talks to this trait alone, so that tests can put an engine behind real TLS that panics, waits or
//! answers anything, and so that one file (`handler`) is the only one that knows `inject` and `config`.

use std::collections::BTreeMap;

use super::review::Malformed;

/// One configuration, ready to judge pods. Immutable to the eye: a request is judged by one engine from start to end,
/// and the same call always gets the same answer.
pub trait Engine: Send + Sync {
    /// Decides on one pod.
    ///
    /// # Errors
    /// When the object cannot be read.
    fn judge(&self, call: &Call<'_>) -> Result<Judged, Malformed>;
    /// Whether a pod that is too large to be judged is left alone whatever is in it, as far as that can be said at little
    /// cost.
    fn leaves_alone(&self, _call: &Call<'_>) -> Option<Judged> {
        None
    }
    /// The revision of the control plane, for logs and audit annotations.
    fn revision(&self) -> &str;
    /// Identifies the configuration.
    fn hash(&self) -> &str;
}

/// A pod to decide on.
#[derive(Debug)]
pub struct Call<'b> {
    /// The body the object stands in, for the places of errors.
    pub body: &'b [u8],
    /// The pod as received: a JSON object.
    pub object: &'b str,
    /// Namespace of the request; empty if it has none.
    pub namespace: &'b str,
    /// Environment variables named in the URL.
    pub variables: &'b BTreeMap<String, String>,
}

/// A decision, and what it is about.
#[derive(Debug)]
pub struct Judged {
    /// The decision.
    pub verdict: Verdict,
    /// The pod.
    pub subject: Subject,
    /// How it was found.
    pub way: Way,
}

/// What a log says of a pod.
#[derive(Debug, Default)]
pub struct Subject {
    /// The namespace the decision was about.
    pub namespace: String,
    /// The pod's name, or what its name will start with; empty if it has neither.
    pub name: String,
    /// `Kind/name` of its owner; empty if it has none.
    pub owner: String,
    /// Whether it carries the mark of an earlier injection.
    pub reinvoked: bool,
}

/// How an answer was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By the whole pipeline.
    Whole,
    /// A sibling of the pod had been answered before.
    Replayed,
    /// By the whole pipeline, which contradicts what was kept of a sibling.
    Contradicted,
}

impl Way {
    /// Stable key for metrics.
    pub const fn key(self) -> &'static str {
        match self {
            Way::Whole => "miss",
            Way::Replayed => "hit",
            Way::Contradicted => "stale",
        }
    }
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
        warnings: Vec<Warning>,
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
    pub warnings: Vec<Warning>,
}

/// Something to look at, which keeps no pod from being created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// A stable key out of a small set: it becomes the label of a metric.
    pub code: &'static str,
    /// Whether the person who runs kubectl is told; log, metrics and audit log always have the code.
    pub is_shown: bool,
    /// For the person who runs kubectl; it may quote the pod, so it is for no log.
    pub text: String,
}
