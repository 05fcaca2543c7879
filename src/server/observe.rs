//! What operators see: metrics, log, traces and process metrics.

pub mod log;
pub(in crate::server) mod metrics;
mod process;
#[cfg(feature = "otlp")]
pub(in crate::server) mod traces;
