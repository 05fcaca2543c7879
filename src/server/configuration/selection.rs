//! Checks the labels of a namespace after the API server has selected a pod in it.
//!
//! If an API server posts a pod of a namespace that does not ask for injection, its webhook configuration selects too
//! much. Such a pod is skipped, but only if that is certain: watched labels may be stale, and a pod that is skipped
//! because of a stale label runs without its proxy (O-06). So what the watch says is confirmed by a read, and if the
//! read fails, the API server is trusted. Pods that the watched labels ask for cause no read.

use std::{sync::Arc, time::Duration};

use kube::{Api, Client, api::ListParams};
use serde::Deserialize;
use tokio::{sync::Semaphore, time::Instant};

use crate::inject::manual::NamespaceLabels;
use crate::server::configuration::facts::{Injection, LiveFacts};
use crate::server::configuration::namespaces::Namespace;
use crate::server::kube::request::{Target, call};

/// Whether namespace labels are checked after the API server has selected a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// Skip a pod whose namespace clearly does not ask for injection.
    #[default]
    Verify,
    /// Trust the API server's selection.
    Trust,
}

/// Checks the labels.
pub(crate) struct SelectionCheck {
    facts: Arc<LiveFacts>,
    namespaces: Api<Namespace>,
    reads: Semaphore,
}

/// Why a pod is not to be injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotSelected {
    /// A sentence for the user of kubectl.
    pub(crate) sentence: String,
}

/// The labels of a pod that select it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    labels: Option<PodLabels>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodLabels {
    #[serde(rename = "sidecar.istio.io/inject")]
    inject: Option<String>,
    #[serde(rename = "istio.io/rev")]
    revision: Option<String>,
}

/// Timeout of a read, during which the pod waits.
const READ: Duration = Duration::from_secs(1);
/// Maximum number of concurrent reads. Beyond it the API server is trusted, so that a webhook configuration that
/// selects too much does not burden the API server.
const READS: usize = 16;

impl SelectionCheck {
    pub(crate) fn new(client: Client, facts: Arc<LiveFacts>) -> SelectionCheck {
        SelectionCheck { facts, namespaces: Api::all(client), reads: Semaphore::new(READS) }
    }

    /// Whether the known labels of a namespace call for a closer look. Cheap.
    pub(crate) fn doubts(&self, namespace: &str) -> bool {
        matches!(self.facts.injection(namespace), Some(Injection::Disabled | Injection::Unlabeled))
    }

    /// What the labels of a namespace said last.
    pub(crate) fn labels(&self, namespace: &str) -> NamespaceLabels {
        match self.facts.injection(namespace) {
            None => NamespaceLabels::Unknown,
            Some(Injection::Selected) => NamespaceLabels::Selected,
            Some(Injection::Disabled) => NamespaceLabels::Disabled,
            Some(Injection::Unlabeled) => {
                NamespaceLabels::Unlabeled { injected: self.facts.is_enabled_by_default() }
            }
        }
    }

    /// Why a pod (a JSON object) is not to be injected, if that is certain.
    pub(crate) async fn not_selected(&self, namespace: &str, pod: &str, by: Instant) -> Option<NotSelected> {
        let pod: Pod = serde_json::from_str(pod).ok()?;
        let labels = pod.metadata.labels.unwrap_or_default();
        let watched = self.facts.injection(namespace)?;
        self.refuses(watched, &labels)?;
        let _permit = self.reads.try_acquire().ok()?;
        let within = READ.min(by.saturating_duration_since(Instant::now()));
        // A list of one, because the role for watching namespaces also allows listing them.
        let only = ListParams::default().fields(&format!("metadata.name={namespace}"));
        let request = self.namespaces.list(&only);
        let now = match call("list", &Target::named("namespaces", namespace), within, request).await {
            Ok(list) => list.items.first()?.injection(),
            Err(error) => {
                tracing::debug!(namespace, %error, "cannot read labels; trusting the API server's selection");
                return None;
            }
        };
        let because = self.refuses(now, &labels)?;
        let sentence = format!(
            "the pod gets no proxy although the API server asked for one: namespace {namespace} {because}; correct the \
             selectors of the webhook configuration, or start outrigger with --selection trust"
        );
        Some(NotSelected { sentence })
    }

    /// Why labels exclude a namespace, if they do.
    fn refuses(&self, namespace: Injection, pod: &PodLabels) -> Option<&'static str> {
        let opts_in = pod.revision.is_some() || pod.inject.as_deref() == Some("true");
        match namespace {
            // The API server knows more about revisions and tags.
            Injection::Selected => None,
            Injection::Disabled => Some("has a label istio-injection that is not \"enabled\""),
            Injection::Unlabeled if opts_in || self.facts.is_enabled_by_default() => None,
            Injection::Unlabeled => {
                Some("has neither label istio-injection nor istio.io/rev, and the pod does not opt in")
            }
        }
    }
}

impl Injection {
    /// What the labels `istio-injection` and `istio.io/rev` of a namespace say.
    pub(in crate::server) fn of(injection: Option<&str>, revision: Option<&str>) -> Injection {
        match (injection, revision) {
            (Some("enabled"), _) | (None, Some(_)) => Injection::Selected,
            (Some(_), _) => Injection::Disabled,
            (None, None) => Injection::Unlabeled,
        }
    }
}

#[cfg(test)]
mod tests;
