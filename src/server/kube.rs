//! The Kubernetes API: the client, watches, and the Lease that elects a leader.
//!
//! Nothing here knows which objects are wanted, nor what for.

pub(crate) mod access;
pub(in crate::server) mod backoff;
pub mod client;
pub(in crate::server) mod follow;
pub(in crate::server) mod lease;
pub(in crate::server) mod metrics;
pub(in crate::server) mod request;
mod split;
pub(in crate::server) mod watch;
