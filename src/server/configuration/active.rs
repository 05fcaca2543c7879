//! The active configuration: read and swapped as a whole. If a new one is rejected, the last good one stays active.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::server::clock::unix_now;
use crate::server::configuration::metrics::ConfigurationMetrics;
use crate::server::configuration::selection::SelectionCheck;
use crate::server::configuration::slot::{Active, Slot};
use crate::server::configuration::source::{Loaded, Source};
use crate::server::readiness::Gate;

/// Why a source could not be read or applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    /// It was rejected, which has been logged and counted.
    #[error("{0}")]
    Refused(String),
    /// It is being written, so it has to be read again.
    #[error("{0}")]
    Busy(String),
}

/// Changes the active configuration.
pub(crate) struct Configuration {
    /// The label value of the source in metrics.
    source: &'static str,
    current: Slot,
    /// Serializes changes, so that the newest wins.
    changing: Mutex<()>,
    gate: Gate,
    metrics: ConfigurationMetrics,
    selection: OnceLock<SelectionCheck>,
}

impl Configuration {
    /// Creates the writer for a slot. `source` is a label value for metrics.
    pub(crate) fn new(
        source: &'static str,
        current: Slot,
        gate: Gate,
        metrics: ConfigurationMetrics,
    ) -> Configuration {
        Configuration { source, current, changing: Mutex::new(()), gate, metrics, selection: OnceLock::new() }
    }

    /// The configuration for one request, if there is one. Hold it until the request is done.
    pub(crate) fn current(&self) -> Option<Arc<Active>> {
        self.current.load_full()
    }

    /// What it is read from, as in metrics.
    pub(in crate::server) fn source(&self) -> &'static str {
        self.source
    }

    /// Enables the check of namespace labels.
    pub(in crate::server) fn check_selection(&self, check: SelectionCheck) {
        let _ = self.selection.set(check);
    }

    /// The check of namespace labels, if it is enabled.
    pub(crate) fn selection(&self) -> Option<&SelectionCheck> {
        self.selection.get()
    }

    /// Reads a source and applies it; on an error nothing changes. Returns the generation. `busy` tells whether the
    /// source is being written; it is asked after reading, and if so the result is discarded.
    ///
    /// # Errors
    /// When the source rejects its content or is being written.
    pub(crate) fn read(&self, source: &dyn Source, busy: impl Fn() -> Option<String>) -> Result<u64, Unread> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = source.load();
        if let Some(busy) = busy() {
            return Err(Unread::Busy(busy));
        }
        match loaded {
            Ok(loaded) => {
                let generation = self.swap(loaded);
                source.accepted();
                Ok(generation)
            }
            Err(error) => {
                self.refused(&error);
                Err(Unread::Refused(error))
            }
        }
    }

    /// Applies a configuration unless it is already active. Returns the generation.
    pub(crate) fn publish(&self, loaded: Loaded) -> u64 {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.swap(loaded)
    }

    /// Records that a new configuration was rejected; the last good one stays active.
    pub(crate) fn refused(&self, error: &str) {
        self.metrics.loaded(self.source, false);
        self.gate.trouble(format!("the newest configuration was rejected: {error}"));
        if self.current.load().is_some() {
            tracing::error!(error, "configuration rejected; keeping the last good one");
        } else {
            tracing::error!(error, "configuration rejected; no earlier one to keep");
        }
    }

    /// Records that the source contains no configuration. The active one stays, if there is one.
    pub(crate) fn stale(&self, what: &str) {
        self.gate.trouble(what);
        if self.current.load().is_some() {
            tracing::warn!(what, "configuration missing; keeping the last good one");
        } else {
            tracing::warn!(what, "configuration missing; none loaded yet");
        }
    }

    /// Records that the newest configuration is the active one, after one that was rejected or missing.
    pub(crate) fn confirmed(&self) {
        let Some(active) = self.current() else { return };
        self.metrics.confirmed();
        self.gate.open(detail(&active));
        let (generation, hash) = (active.generation, active.engine.hash());
        tracing::info!(generation, hash, "newest configuration is the active one again");
    }

    fn swap(&self, Loaded { engine, warnings }: Loaded) -> u64 {
        if let Some(active) = self.current().filter(|active| active.engine.hash() == engine.hash()) {
            // Equivalent text, or the same text again: the patch cache is kept.
            self.metrics.loaded(self.source, true);
            if self.gate.open(detail(&active)).is_some() {
                let (generation, hash) = (active.generation, active.engine.hash());
                tracing::info!(generation, hash, "newest configuration is the active one again");
            } else {
                tracing::debug!(generation = active.generation, "configuration unchanged");
            }
            return active.generation;
        }
        for warning in warnings {
            tracing::warn!(warning, "configuration warning");
        }
        let generation = self.current.load().as_ref().map_or(0, |active| active.generation) + 1;
        let (revision, hash) = (engine.revision(), engine.hash());
        if generation == 1 {
            // The line that reports readiness includes it.
            tracing::debug!(generation, revision, hash, "first configuration applied");
        } else {
            tracing::info!(generation, revision, hash, "configuration applied");
        }
        let active = Arc::new(Active { engine, generation, since: unix_now() });
        // A client that sees the new configuration also sees that it was loaded.
        self.metrics.loaded(self.source, true);
        self.current.store(Some(active.clone()));
        self.gate.open(detail(&active));
        generation
    }
}

fn detail(active: &Active) -> String {
    format!("generation {} hash {}", active.generation, active.engine.hash())
}
