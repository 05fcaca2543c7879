//! Where configurations are read from.

use std::{path::PathBuf, sync::Arc};

use crate::server::configuration::engine::Engine;

/// Where engines come from: read at the start and at every reload.
pub trait Source: Send + Sync {
    /// Reads the configuration whole.
    ///
    /// # Errors
    /// A sentence for the operator, when any part of it is refused.
    fn load(&self) -> Result<Loaded, String>;

    /// Told when what was loaded last is in use.
    fn accepted(&self) {}

    /// The files it reads: a change of one of them is a reason to load again.
    fn files(&self) -> Vec<PathBuf> {
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
