//! outrigger, a sidecar injector for Kubernetes that speaks Istio's language.
//!
//! The pure core, in reading order (each builds without the feature `server`: no I/O, clock or randomness):
//!
//! - [`yaml`]: the one YAML loader and writer, with the scalar rules Kubernetes users get.
//! - [`names`]: every label, annotation, container and port name, once.

pub mod names;
pub mod yaml;
