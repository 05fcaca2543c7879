//! The webhook: receives AdmissionReviews and answers them.
//!
//! In reading order: `endpoint` (HTTP: the checks and their order), `refusal` and `status` (responses without a
//! review), `record` (the result of a request) with its observers `log`, `metrics` and `traces`, `deadline`, `body`
//! (reading within limits), `turns` (of large bodies), `path`, `json_limits` and `review` (pure parsers), `response`
//! (pure writer), `verdict` (answers one review, with panics contained), `port` (connections).

mod body;
mod deadline;
pub(crate) mod endpoint;
pub mod json_limits;
mod log;
pub(in crate::server) mod metrics;
pub mod path;
pub(in crate::server) mod port;
pub(in crate::server) mod record;
pub(in crate::server) mod refusal;
pub mod response;
pub mod review;
mod status;
pub(in crate::server) mod traces;
mod turns;
pub mod verdict;
pub(in crate::server) mod workload_events;
