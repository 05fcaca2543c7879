//! outrigger, a sidecar injector for Kubernetes that is compatible with Istio: the shell around the core.
//!
//! - [`server`]: the HTTPS webhook and its admin port.
//! - [`cli`]: the commands.
//! - [`pages`]: HTML pages, rendered from data.
//! - [`codes`]: every key of a decision, warning or refusal, with its meaning.
//!
//! The decisions about pods are in crates without I/O, clock or randomness; their modules are re-exported here under
//! one name: [`injector`] (read `inject::run` first), [`gotemplate`], [`kubernetes_yaml`], [`strategic_merge`],
//! [`istio_config`].

pub mod cli;
pub mod codes;
pub mod pages;
pub mod server;

#[cfg(test)]
#[path = "../crates/injector/src/config/tests/headed.rs"]
mod headed;

pub use gotemplate as template;
pub use injector::{
    annotation, cel, decode, inject, lint, manifest, names, pem, pod, pod_security, quirks, template_tests,
    warning, webhook_config,
};
pub use istio_config as meshconfig;
pub use kubernetes_yaml as yaml;
pub use strategic_merge::{merge, patch};

/// One immutable snapshot of the whole configuration.
pub mod config {
    pub use injector::config::*;

    #[cfg(test)]
    pub(crate) use crate::headed;
}

/// The shapes of the Go structs that templates see, as data.
pub mod gotypes {
    pub use gotemplate::gotypes::*;
    pub use injector::gotypes::*;
    pub use istio_config::gotypes::*;
}
