//! outrigger, a sidecar injector for Kubernetes that speaks Istio's language.
//!
//! The pure core, in reading order (each builds without the feature `server`: no I/O, clock or randomness):
//!
//! - [`template`]: Go's `text/template` with sprig and Istio's functions, and structure-safe rendering.
//! - [`gotypes`]: the shapes of the Go structs that templates see, as data.
//! - [`meshconfig`]: MeshConfig and ProxyConfig, decoded as Istio does, with their defaults and precedence.
//! - [`yaml`]: the one YAML loader and writer, with the scalar rules Kubernetes users get.
//! - [`names`]: every label, annotation, container and port name, once.

pub mod gotypes;
pub mod meshconfig;
pub mod names;
pub mod template;
pub mod yaml;
