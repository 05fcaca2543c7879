//! The Kubernetes API: the client, watches, Events, and the Lease that elects a leader.
//!
//! Nothing here knows which objects are watched or why.

mod backoff;
pub mod client;
pub(crate) mod error;
pub(in crate::server) mod events;
pub(in crate::server) mod follow;
pub(in crate::server) mod lease;
pub(in crate::server) mod metrics;
pub(crate) mod request;
#[cfg(test)]
pub(in crate::server) mod scripted;
pub(in crate::server) mod slim;
mod target;
pub(in crate::server) mod watch;

pub use watch::Timings;
