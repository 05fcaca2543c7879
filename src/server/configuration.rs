//! The configuration: read from a bundle, from folders or from the cluster, built as a whole, and swapped as a whole.
//!
//! In reading order: `source` (where it is read from), `bundle` (one file), `folders` (mounted ConfigMaps), `earlier` (files
//! that went missing), `cluster` (objects that are watched), `build` (an engine of it), `engine` (what requests are answered
//! by), `slot` and `active` (the one in use), `facts` (nodes and namespaces as they are now).

pub(in crate::server) mod active;
pub mod build;
pub mod bundle;
pub mod cluster;
pub(in crate::server) mod earlier;
pub mod engine;
pub(in crate::server) mod facts;
pub mod folders;
pub(in crate::server) mod metrics;
pub(in crate::server) mod slot;
pub mod source;
