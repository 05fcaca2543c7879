//! The slot that holds the active configuration.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::server::configuration::engine::Engine;

/// The active configuration, as used by requests.
pub(crate) struct Active {
    pub(crate) engine: Arc<dyn Engine>,
    /// Counts from 1.
    pub(crate) generation: u64,
    /// When it was applied, in seconds since 1970.
    pub(crate) since: i64,
}

/// Holds the active configuration for requests and metrics.
pub(crate) type Slot = Arc<ArcSwapOption<Active>>;
