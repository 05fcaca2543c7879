//! The webhook: AdmissionReviews in, answers out.
//!
//! In reading order: `endpoint` (HTTP: what is accepted, in which order), `refusal` and `status` (what is answered where
//! there is no review to answer), `record` (what is known of a request when it is done) with `log`, `metrics` and `traces`
//! (which observe it), `deadline`, `body` (reading within limits), `turns` (of large bodies), `path`, `json_limits` and `review` (pure readers),
//! `response` (pure writer), `verdict` (one review answered, with panics contained), `port` (connections).

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
