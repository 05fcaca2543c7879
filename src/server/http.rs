//! HTTP on both ports: accepting connections, their deadlines and flood limits, and what is evicted when resources
//! run short.
//!
//! In reading order: `listener` (accepting), `connection` and `stream` (one connection and its deadlines), `frames`
//! (HTTP/2 frame floods), `limits` (caps and timeouts), `holding`, `state`, `registry` and `budget` (connections and
//! memory, and which of them are evicted), `overload` (load shedding), `host` (names of this machine), `log_throttle` (log lines for frequent
//! events).
//!
//! Nothing here knows what a request is about.

pub(in crate::server) mod budget;
pub(in crate::server) mod connection;
mod frames;
mod holding;
pub(crate) mod host;
pub mod limits;
pub(in crate::server) mod listener;
mod log_throttle;
pub(in crate::server) mod metrics;
pub(in crate::server) mod overload;
pub(in crate::server) mod registry;
pub(in crate::server) mod state;
mod stream;
