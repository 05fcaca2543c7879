//! The configuration in use: read whole, swapped whole, and the last good one stays when a new one is refused.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::{
    metrics::Metrics,
    tls::unix_now,
    webhook::engine::{Engine, Loaded, Source},
};

/// A configuration that requests are judged by.
pub(crate) struct Active {
    pub(crate) engine: Arc<dyn Engine>,
    /// Counts from 1.
    pub(crate) generation: u64,
}

/// The slot the configuration lives in.
pub(crate) struct Configuration {
    source: Arc<dyn Source>,
    current: ArcSwap<Active>,
    /// One reload at a time, so that the newest file wins.
    reloading: Mutex<()>,
}

/// Key of the source in metrics.
const BUNDLE: &str = "bundle";

impl Configuration {
    /// Loads the configuration for the first time.
    pub(crate) fn open(source: Arc<dyn Source>, metrics: &Metrics) -> Result<Configuration, String> {
        let active = Active { engine: load(source.as_ref())?, generation: 1 };
        note(metrics, &active);
        Ok(Configuration { source, current: ArcSwap::from_pointee(active), reloading: Mutex::new(()) })
    }

    /// The configuration to judge one request by; hold on to it until the request is done.
    pub(crate) fn current(&self) -> Arc<Active> {
        self.current.load_full()
    }

    /// Reads the source again and takes it into use; on an error everything stays as it is.
    pub(crate) fn reload(&self, metrics: &Metrics) -> Result<u64, String> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        match load(self.source.as_ref()) {
            Ok(engine) => {
                let active = Active { engine, generation: self.current.load().generation + 1 };
                let generation = active.generation;
                note(metrics, &active);
                self.current.store(Arc::new(active));
                Ok(generation)
            }
            Err(error) => {
                metrics.config_loaded(BUNDLE, None, unix_now());
                Err(error)
            }
        }
    }
}

fn load(source: &dyn Source) -> Result<Arc<dyn Engine>, String> {
    let Loaded { engine, warnings } = source.load()?;
    for warning in warnings {
        tracing::warn!(warning, "the configuration has a questionable place");
    }
    Ok(engine)
}

fn note(metrics: &Metrics, active: &Active) {
    let loaded = (active.generation, active.engine.revision(), active.engine.hash());
    metrics.config_loaded(BUNDLE, Some(loaded), unix_now());
}
