//! The record of one request: filled in while it is answered, and observed once each by log, metrics and traces.
//!
//! It contains nothing of a pod but names.

use std::{sync::Arc, time::Duration};

use super::refusal::Refusal;
use crate::inject::CacheStatus;
use crate::server::configuration::slot::Active;

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Allowed with a patch.
    Injected,
    /// Allowed without a patch.
    Skipped,
    /// Not allowed, by the configuration or because of the pod.
    Denied,
    /// Not answered as a review, or our own fault.
    #[default]
    Error,
}

impl Outcome {
    /// Stable key for log, metrics and audit annotations.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Outcome::Injected => "injected",
            Outcome::Skipped => "skipped",
            Outcome::Denied => "denied",
            Outcome::Error => "error",
        }
    }
}

/// Everything that is known about a request when it is done.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) outcome: Outcome,
    /// A stable key out of a small set: it becomes the label of a metric.
    pub(crate) reason: &'static str,
    /// Why there is no review in the answer.
    pub(crate) refusal: Option<Refusal>,
    /// The HTTP status; zero if nothing was answered.
    pub(crate) status: u16,
    /// The configuration that answered.
    pub(crate) active: Option<Arc<Active>>,
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) owner: String,
    /// Names of templates, separated by commas.
    pub(crate) templates: String,
    /// The configuration's rule that applied, and its reason.
    pub(crate) rule: String,
    /// What failed and where in the configuration.
    pub(crate) detail: String,
    /// The code of every warning.
    pub(crate) warning_codes: Vec<&'static str>,
    /// The same for people: each once, separated by commas.
    pub(crate) warnings: String,
    /// What the user who created the pod was told: the denial, or the warnings. It may quote the pod and is never logged.
    pub(crate) told: String,
    pub(crate) patch: Option<PatchSize>,
    pub(crate) dry_run: bool,
    pub(crate) reinvoked: bool,
    pub(crate) panicked: bool,
    /// How the engine found its answer, if it was asked.
    pub(crate) served: Option<CacheStatus>,
    pub(crate) bytes_in: usize,
    pub(crate) bytes_out: usize,
    /// From the request's header to its answer.
    pub(crate) took: Duration,
    pub(crate) stages: Stages,
    /// The review was answered after the API server had stopped listening.
    pub(crate) missed: bool,
}

/// Size of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PatchSize {
    /// Of its JSON text.
    pub(crate) bytes: usize,
    pub(crate) operations: usize,
}

/// Time spent in each stage that was reached, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stages {
    /// The body arrives.
    pub(crate) read: Option<Duration>,
    /// The envelope is parsed and the pod is weighed.
    pub(crate) decode: Option<Duration>,
    /// The engine decides.
    pub(crate) inject: Option<Duration>,
    /// The answer is written.
    pub(crate) encode: Option<Duration>,
}

impl Stages {
    /// Names of the stages, as metrics and traces have them.
    pub(crate) const NAMES: [&'static str; 4] = ["read", "decode", "inject", "encode"];

    /// The stages in order, each with the time if it was reached.
    pub(crate) const fn in_order(&self) -> [Option<Duration>; 4] {
        [self.read, self.decode, self.inject, self.encode]
    }
}

impl Record {
    /// A request that ended with an error.
    pub(crate) fn failed(reason: &'static str) -> Record {
        Record { reason, ..Record::default() }
    }

    /// Notes that the request is refused.
    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        self.outcome = Outcome::Error;
        // A review that could not be answered has a reason of its own.
        if self.reason.is_empty() {
            self.reason = refusal.reason();
        }
        self.refusal = Some(refusal);
    }

    /// The hash of the configuration that answered, if one did.
    #[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "for traces"))]
    pub(crate) fn config_hash(&self) -> Option<&str> {
        self.active.as_ref().map(|active| active.engine.hash())
    }
}

/// Names in Kubernetes have at most 253 characters; anything longer was never a name.
pub(crate) fn clip(name: &str) -> &str {
    name.char_indices().nth(253).and_then(|(end, _)| name.get(..end)).unwrap_or(name)
}
