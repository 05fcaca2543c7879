//! The configuration in use, and where it is found.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::server::configuration::engine::Engine;

/// A configuration that requests are judged by.
pub(crate) struct Active {
    pub(crate) engine: Arc<dyn Engine>,
    /// Counts from 1.
    pub(crate) generation: u64,
    /// When it was taken into use, in seconds since 1970.
    pub(crate) since: i64,
}

/// Where the configuration in use is found, by requests and by metrics.
pub(crate) type Slot = Arc<ArcSwapOption<Active>>;
