//! Kubernetes' strategic merge, and the smallest JSON patch between two documents.

pub mod merge;
pub mod patch;
pub mod place;
