//! The configuration: read from a bundle, from directories or from the cluster, built as a whole and swapped as a
//! whole.
//!
//! In reading order: `source` (the trait), `bundle` (one file), `folders` (mounted ConfigMaps), `earlier` (truncated
//! files), `cluster` (watched objects), `build` (builds the engine), `engine` (what responds to requests), `slot` and
//! `active` (the active configuration), `facts` (current nodes and namespaces).

pub(in crate::server) mod active;
pub mod build;
pub mod bundle;
pub mod cluster;
pub(in crate::server) mod earlier;
pub mod engine;
pub(in crate::server) mod facts;
pub mod folders;
pub(in crate::server) mod metrics;
mod namespaces;
pub mod selection;
pub(in crate::server) mod slot;
pub mod source;
