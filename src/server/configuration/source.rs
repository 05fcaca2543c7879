//! Sources of configurations.

use std::{path::PathBuf, sync::Arc};

use crate::server::configuration::engine::Engine;

/// A source of engines, read at the start and at every reload.
pub trait Source: Send + Sync {
    /// Reads the configuration as a whole.
    ///
    /// # Errors
    /// A sentence for the operator, when any part of it is rejected.
    fn load(&self) -> Result<Loaded, String>;

    /// Called when the configuration loaded last is active.
    fn accepted(&self) {}

    /// The files it reads; a change of one of them causes a reload.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// A configuration that was read.
pub struct Loaded {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
}
