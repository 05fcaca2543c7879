//! The configuration in use: read whole, swapped whole, and the last good one stays when a new one is refused.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::server::clock::unix_now;
use crate::server::configuration::cluster::selection::SelectionCheck;
use crate::server::configuration::metrics::ConfigurationMetrics;
use crate::server::configuration::slot::{Active, Slot};
use crate::server::configuration::source::{Loaded, Source};
use crate::server::readiness::Gate;

/// Why a source was not read, or what was read not applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    /// It is refused, which was said and counted.
    #[error("{0}")]
    Refused(String),
    /// Somebody is writing it: it has to be read again.
    #[error("{0}")]
    Busy(String),
}

/// What changes the configuration in use.
pub(crate) struct Configuration {
    /// Key of the source in metrics.
    source: &'static str,
    current: Slot,
    /// One change at a time, so that the newest wins.
    changing: Mutex<()>,
    gate: Gate,
    metrics: ConfigurationMetrics,
    selection: OnceLock<SelectionCheck>,
}

impl Configuration {
    /// Fills a slot. `source` is a key for metrics.
    pub(crate) fn new(
        source: &'static str,
        current: Slot,
        gate: Gate,
        metrics: ConfigurationMetrics,
    ) -> Configuration {
        Configuration { source, current, changing: Mutex::new(()), gate, metrics, selection: OnceLock::new() }
    }

    /// The configuration to judge one request by, if there is one; hold on to it until the request is done.
    pub(crate) fn current(&self) -> Option<Arc<Active>> {
        self.current.load_full()
    }

    /// From now on the labels of namespaces are looked at again.
    pub(in crate::server) fn check_selection(&self, check: SelectionCheck) {
        let _ = self.selection.set(check);
    }

    /// What looks at the labels of namespaces again, if that is wanted.
    pub(crate) fn selection(&self) -> Option<&SelectionCheck> {
        self.selection.get()
    }

    /// Reads a source and applies what it says; on an error everything stays as it is. Gives the generation. Whether the source
    /// is `busy`, being written by somebody, is asked once it was read: then nothing of what was read counts.
    ///
    /// # Errors
    /// When the source refuses, or is busy.
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

    /// Applies a configuration, unless it is the one that is in use already. Gives the generation.
    pub(crate) fn publish(&self, loaded: Loaded) -> u64 {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.swap(loaded)
    }

    /// Notes that a new configuration is refused; the last good one stays.
    pub(crate) fn refused(&self, error: &str) {
        self.metrics.loaded(self.source, false);
        self.gate.trouble(format!("the newest configuration is refused: {error}"));
        if self.current.load().is_some() {
            tracing::error!(error, "the configuration is refused; the last good one stays");
        } else {
            tracing::error!(error, "the configuration is refused, and there is no earlier one");
        }
    }

    /// Notes that there is no configuration where it should come from; the one in use stays, if there is one.
    pub(crate) fn stale(&self, what: &str) {
        self.gate.trouble(what);
        if self.current.load().is_some() {
            tracing::warn!(what, "the configuration is gone; the last good one stays");
        } else {
            tracing::warn!(what, "there is no configuration yet");
        }
    }

    /// Notes that the newest configuration is the one in use, after one that was refused or gone.
    pub(crate) fn confirmed(&self) {
        let Some(active) = self.current() else { return };
        self.metrics.confirmed();
        self.gate.open(detail(&active));
        let (generation, hash) = (active.generation, active.engine.hash());
        tracing::info!(generation, hash, "the newest configuration is the one in use again");
    }

    fn swap(&self, Loaded { engine, warnings }: Loaded) -> u64 {
        if let Some(active) = self.current().filter(|active| active.engine.hash() == engine.hash()) {
            // Another text that says the same, or the same text again: what was learnt of pods stays too.
            self.metrics.loaded(self.source, true);
            if self.gate.open(detail(&active)).is_some() {
                let (generation, hash) = (active.generation, active.engine.hash());
                tracing::info!(generation, hash, "the newest configuration is the one in use again");
            } else {
                tracing::debug!(generation = active.generation, "the configuration says the same as before");
            }
            return active.generation;
        }
        for warning in warnings {
            tracing::warn!(warning, "the configuration has a questionable place");
        }
        let generation = self.current.load().as_ref().map_or(0, |active| active.generation) + 1;
        let (revision, hash) = (engine.revision(), engine.hash());
        if generation == 1 {
            // The line that says the server is ready says so too.
            tracing::debug!(generation, revision, hash, "first configuration applied");
        } else {
            tracing::info!(generation, revision, hash, "configuration applied");
        }
        let active = Arc::new(Active { engine, generation, since: unix_now() });
        // Whoever sees the new configuration sees that it was loaded.
        self.metrics.loaded(self.source, true);
        self.current.store(Some(active.clone()));
        self.gate.open(detail(&active));
        generation
    }
}

fn detail(active: &Active) -> String {
    format!("generation {} hash {}", active.generation, active.engine.hash())
}
