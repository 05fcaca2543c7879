//! The configuration: read from a bundle, from folders or from the cluster, built as a whole, and swapped as a whole.
//!
//! In reading order: `active` (the configuration in use), `folders` (mounted ConfigMaps), `earlier` (files that went
//! missing), `cluster` (objects that are watched), `facts` (nodes and namespaces as they are now).

pub(in crate::server) mod active;
pub mod cluster;
pub(in crate::server) mod earlier;
pub(in crate::server) mod facts;
pub mod folders;
pub(in crate::server) mod metrics;
pub mod source;
