//! Decides whether a pod gets a sidecar, and computes the JSON patch that adds it.
//!
//! ```
//! use injector::{config::InjectorConfig, inject::{self, Facts, Outcome, PodRequest}};
//! use serde_json::json;
//!
//! let mesh = InjectorConfig::embedded()?;
//! let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}});
//! let request = PodRequest::new("shop", pod);
//! match inject::run(&mesh, &request, &Facts::of(&mesh, "shop"))? {
//!     Outcome::Injected(injection) => assert!(injection.patch_json.contains("istio-proxy")),
//!     Outcome::Skipped(skip) => panic!("{}", skip.decision.sentence),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crate is pure: no I/O, clock, randomness or environment. In reading order:
//!
//! - [`inject`]: `run`, the pipeline from a pod to a JSON patch; read this first.
//! - [`cel`]: CEL expressions over a pod and its request.
//! - [`mod@codes`]: every key of a decision, warning or refusal, with its meaning.
//! - [`diagnose`]: the problems of an installation, and how to fix them.
//! - [`explain`]: why a pod is or is not injected, and what wrote each of its fields.
//! - [`config`]: one immutable snapshot of the whole configuration, accepted or rejected as a whole.
//! - [`functions`]: the functions that Istio adds to Go's and sprig's.
//! - [`overlay`]: rendered text as YAML; the pod's strings are substituted after parsing.
//! - [`specialized`]: a configuration's templates, evaluated as far as the configuration determines.
//! - [`template_tests`]: unit tests of templates, as a document of cases.
//! - [`gotypes`]: the shapes of Kubernetes' Go structs, as data.
//! - [`lint`]: checks configuration files, with the place of every mistake.
//! - [`manifest`]: pod templates inside Deployments, CronJobs, Lists and unknown kinds.
//! - [`webhook_config`]: the MutatingWebhookConfiguration that sends pods here, as a value.
//! - [`pem`]: certificates in PEM, as API servers read them.
//! - [`pod`]: views over a pod as JSON.
//! - [`bare_workloads`]: workloads whose pods lack their proxy, and whether they may be restarted.
//! - [`workload`]: the running pods of a workload, and why others cannot be created.
//! - [`pod_security`]: the Pod Security levels of namespaces, and which fields they forbid.
//! - [`quirks`]: every behavior of Istio that `compat: outrigger` deviates from.
//! - [`annotation`]: the annotations of pods: one table with their checks and their page.
//! - [`decode`]: whether an API server can decode a pod; `unions`: groups of fields of which it accepts only one.
//! - [`warning`]: messages about pods that are not refused.
//! - [`names`]: every label, annotation, container and port name, once.
//! - `quantity` and `rfc3339`: amounts of resources and times, as Kubernetes reads them.
//! - `doorkeeper`: admission to caches, based on the keys seen before.

pub mod annotation;
pub mod bare_workloads;
pub mod cel;
pub mod codes;
pub mod config;
pub mod decode;
pub mod diagnose;
mod doorkeeper;
pub mod effects;
pub mod explain;
pub mod functions;
pub mod gotypes;
pub mod inject;
pub mod lint;
pub mod manifest;
pub mod names;
pub mod overlay;
pub mod pem;
pub mod pod;
pub mod pod_security;
mod quantity;
pub mod quirks;
mod rfc3339;
pub mod specialized;
pub mod template_tests;
mod unions;
mod untrusted;
pub mod warning;
pub mod webhook_config;
pub mod workload;
