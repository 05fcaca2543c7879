//! The webhook: AdmissionReviews in, answers out.
//!
//! In reading order: `endpoint` (HTTP: what is accepted, in which order), `status` (what is answered where there is no
//! review to answer), `deadline`, `body` (reading within limits), `turns` (of large bodies), `path`, `shape` and `review` (pure readers), `engine`
//! (what is asked of the injection), `handler` (the real injection behind it), `folders` (its configuration from mounted
//! ConfigMaps), `answer` (pure writer), `verdict` (one review judged, panics contained, and its record for the log).

mod body;
mod deadline;
pub(crate) mod endpoint;
pub mod engine;
pub mod handler;
pub mod json_limits;
pub mod path;
pub mod response;
pub mod review;
mod status;
mod turns;
pub mod verdict;
