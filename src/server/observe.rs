//! What operators see: metrics, the log, traces and the figures of the process.

pub mod log;
pub(in crate::server) mod metrics;
mod process;
#[cfg(feature = "otlp")]
pub(in crate::server) mod traces;
