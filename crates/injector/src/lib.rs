//! Decides whether a pod gets a sidecar, and makes the JSON patch that puts it there.
//!
//! ```
//! use injector::{config::Mesh, inject::{self, Facts, Outcome, PodRequest}};
//! use serde_json::json;
//!
//! let mesh = Mesh::embedded()?;
//! let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}});
//! let request = PodRequest::new("shop", pod);
//! match inject::run(&mesh, &request, &Facts::of(&mesh, "shop"))? {
//!     Outcome::Injected(injection) => assert!(injection.patch_json.contains("istio-proxy")),
//!     Outcome::Skipped(skip) => panic!("{}", skip.decision.sentence),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It is pure: there is no I/O, clock, randomness or environment. In reading order:
//!
//! - [`inject`]: `run`, the pipeline from a pod to a JSON patch; read this first.
//! - [`config`]: one immutable snapshot of the whole configuration, parsed whole or refused whole.
//! - [`functions`]: what Istio's templates call beside Go's and sprig's functions.
//! - [`overlay`]: rendered text as YAML, with the pod's strings put in after it was parsed.
//! - [`specialised`]: a configuration's templates, with all decided that the configuration decides.
//! - [`gotypes`]: the shapes of Kubernetes' Go structs, as data.
//! - [`manifest`]: pod templates inside Deployments, CronJobs, Lists and unknown kinds.
//! - [`webhook_config`]: the MutatingWebhookConfiguration that sends pods here, as a value.
//! - [`pem`]: certificates in PEM, as API servers read them.
//! - [`pod`]: views over a pod as JSON.
//! - [`quirks`]: every behavior of Istio that `compat: outrigger` deviates from.
//! - [`names`]: every label, annotation, container and port name, once.
//! - `quantity` and `rfc3339`: amounts of resources and times, as Kubernetes reads them.
//! - `doorkeeper`: what was met before, for the caches that keep what comes back.

pub mod config;
mod doorkeeper;
pub mod functions;
pub mod gotypes;
pub mod inject;
pub mod manifest;
pub mod names;
pub mod overlay;
pub mod pem;
pub mod pod;
mod quantity;
pub mod quirks;
mod rfc3339;
pub mod specialised;
pub mod webhook_config;
