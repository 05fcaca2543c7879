//! outrigger, a sidecar injector for Kubernetes that speaks Istio's language.
//!
//! The pure core, in reading order (each builds without the feature `server`: no I/O, clock or randomness):
//!
//! - [`inject`]: `run`, the pipeline from a pod to a JSON patch; read this first.
//! - [`config`]: one immutable snapshot of the whole configuration, parsed whole or refused whole.
//! - [`template`]: Go's `text/template` with sprig and Istio's functions, and structure-safe rendering.
//! - [`gotypes`]: the shapes of the Go structs that templates see, as data.
//! - [`meshconfig`]: MeshConfig and ProxyConfig, decoded as Istio does, with their defaults and precedence.
//! - [`merge`]: Kubernetes' strategic merge over a table of merge keys.
//! - [`patch`]: the smallest RFC 6902 patch between two documents, applied and verified.
//! - [`manifest`]: pod templates inside Deployments, CronJobs, Lists and unknown kinds.
//! - [`pem`]: certificates in PEM, as API servers read them.
//! - [`pod`]: views over a pod as JSON.
//! - [`yaml`]: the one YAML loader and writer, with the scalar rules Kubernetes users get.
//! - [`webhook_config`]: the MutatingWebhookConfiguration that sends pods here, as a value.
//! - `quantity` and `rfc3339`: amounts of resources and times, as Kubernetes reads them.
//! - `place`: where in a document a walk is, for patches and for errors.
//! - `seen`: what was met before, for the stores that keep what comes back.
//! - [`names`]: every label, annotation, container and port name, once.
//!
//! The shell around it, behind the feature `server`:
//!
//! - `server`: the HTTPS webhook and its admin port.
//! - `cli`: the commands.

pub mod config;
pub mod gotypes;
pub mod inject;
pub mod manifest;
pub mod merge;
pub mod meshconfig;
pub mod names;
pub mod patch;
pub mod pem;
mod place;
pub mod pod;
mod quantity;
mod rfc3339;
mod seen;
pub mod template;
pub mod webhook_config;
pub mod yaml;

#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod server;
