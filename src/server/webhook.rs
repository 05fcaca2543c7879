//! The webhook: AdmissionReviews in, answers out.
//!
//! In reading order: `endpoint` (HTTP: what is accepted, in which order), `status` (what is answered where there is no
//! review to answer), `deadline`, `body` (reading within limits), `turns` (of large bodies), `path`, `shape` and `review` (pure readers), `engine`
//! (what is asked of the injection), `handler` (the real injection behind it), `folders` (its configuration from mounted
//! ConfigMaps), `answer` (pure writer), `verdict` (one review judged, panics contained, and its record for the log).

pub mod answer;
mod body;
mod deadline;
mod earlier;
pub(crate) mod endpoint;
pub mod engine;
pub mod folders;
pub mod handler;
pub mod path;
pub mod review;
pub mod shape;
mod status;
mod turns;
pub mod verdict;
