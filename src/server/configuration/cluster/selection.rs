//! Whether the labels of a namespace ask for injection, looked at again after the API server has selected the pod.
//!
//! An API server that posts a pod of a namespace which does not ask for injection has a webhook configuration that selects
//! too much. Such a pod is left alone, but only when that is sure: labels that were watched may be old, and a pod that is
//! left out because of an old label runs without its proxy (O-06). So what the watch says is confirmed by a read, and
//! whatever cannot be read is trusted. A pod that the watched labels ask for costs no read.

use std::{sync::Arc, time::Duration};

use kube::{Api, Client, api::ListParams};
use serde::Deserialize;
use tokio::{sync::Semaphore, time::Instant};

use crate::server::configuration::cluster::namespaces::Namespace;
use crate::server::configuration::facts::{Injection, LiveFacts};
use crate::server::kube::request::{Target, call};

/// Whether the labels of namespaces are looked at after the API server has selected a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// A pod whose namespace clearly does not ask for injection is left alone.
    #[default]
    Verify,
    /// Every pod that the API server posts is meant to be posted.
    Trust,
}

/// Looks at the labels.
pub(crate) struct SelectionCheck {
    facts: Arc<LiveFacts>,
    namespaces: Api<Namespace>,
    reads: Semaphore,
}

/// Why a pod is not meant to be injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotSelected {
    /// A sentence for the person who runs kubectl.
    pub(crate) sentence: String,
}

/// A pod, as far as its labels select it.
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

/// How long a read may take; the pod waits for it.
const READ: Duration = Duration::from_secs(1);
/// How many reads there are at once. More pods are trusted: a webhook that selects too much must not become a load on the
/// API server.
const READS: usize = 16;

impl SelectionCheck {
    pub(crate) fn new(client: Client, facts: Arc<LiveFacts>) -> SelectionCheck {
        SelectionCheck { facts, namespaces: Api::all(client), reads: Semaphore::new(READS) }
    }

    /// Whether what is known of a namespace is a reason to look closer. Cheap.
    pub(crate) fn doubts(&self, namespace: &str) -> bool {
        matches!(self.facts.injection(namespace), Some(Injection::Disabled | Injection::Unlabeled))
    }

    /// Why a pod, a JSON object, is not meant to be injected, if that is sure by then.
    pub(crate) async fn not_selected(&self, namespace: &str, pod: &str, by: Instant) -> Option<NotSelected> {
        let pod: Pod = serde_json::from_str(pod).ok()?;
        let labels = pod.metadata.labels.unwrap_or_default();
        let watched = self.facts.injection(namespace)?;
        self.refuses(watched, &labels)?;
        let _permit = self.reads.try_acquire().ok()?;
        let within = READ.min(by.saturating_duration_since(Instant::now()));
        // A list of one, because the role that lets namespaces be watched lets them be listed.
        let only = ListParams::default().fields(&format!("metadata.name={namespace}"));
        let request = self.namespaces.list(&only);
        let now = match call("list", &Target::named("namespaces", namespace), within, request).await {
            Ok(list) => list.items.first()?.injection(),
            Err(error) => {
                tracing::debug!(namespace, %error, "labels cannot be read; the API server's selection counts");
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

    /// What labels say against injection.
    fn refuses(&self, namespace: Injection, pod: &PodLabels) -> Option<&'static str> {
        let opts_in = pod.revision.is_some() || pod.inject.as_deref() == Some("true");
        match namespace {
            // Of revisions and tags the API server knows more.
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
