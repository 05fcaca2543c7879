//! The canary creates a pod again and again as a server-side dry run, so that a broken path from the API server to the
//! webhook is noticed before a rollout hits it. It detects what no metric of a webhook can: that no API server calls.
//!
//! One replica runs it: the one that holds the Lease for certificates, or every replica if there is no Lease.

mod metrics;

use std::time::Duration;

use injector::diagnose::{probe, refusal_class};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, PostParams},
};
use serde_json::{Map, json};
use tokio::{sync::watch, time::Instant};

pub(crate) use self::metrics::CanaryMetrics;
use crate::names;
use crate::server::jitter;
use crate::server::kube::error::{ApiError, Reason};
use crate::server::kube::request::{Target, call};
use crate::server::shutdown::{Phase, Watch};
use crate::server::supervise::Supervisor;
use crate::webhook_config::DEFAULT_REVISION;

/// Where the canary runs, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A namespace whose pods are injected.
    pub namespace: String,
    /// The pause between two attempts.
    pub interval: Duration,
    /// Our revision.
    pub revision: String,
    /// Suffixes of our webhooks' names, which tell their failures from those of other webhooks.
    pub webhook_suffixes: Vec<String>,
}

/// How long an attempt may take: the largest timeout of a webhook, and a margin for the API server.
const PATIENCE: Duration = Duration::from_secs(35);

/// Starts the canary. Without `leading`, this replica always runs it.
pub(crate) fn start(
    client: Client,
    options: Options,
    metrics: CanaryMetrics,
    leading: Option<watch::Receiver<bool>>,
    supervisor: Supervisor,
    phase: Watch,
) {
    tokio::spawn(async move {
        let keep = supervisor.keep("canary", || {
            let canary = Canary {
                pods: pods(&client, &options.namespace),
                options: options.clone(),
                metrics: metrics.clone(),
                leading: leading.clone(),
                last: None,
            };
            canary.run()
        });
        tokio::select! {
            () = phase.reached(Phase::Draining) => metrics.forget(),
            () = keep => {}
        }
    });
}

fn pods(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("", "v1", "Pod");
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk_with_plural(&kind, "pods"))
}

struct Canary {
    pods: Api<DynamicObject>,
    options: Options,
    metrics: CanaryMetrics,
    leading: Option<watch::Receiver<bool>>,
    /// The class of the last failure, or `None` after a success; the outer `None` before the first attempt.
    last: Option<Option<&'static str>>,
}

/// Why a pod did not come back with our proxy: a class for metrics, and the API server's words.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    class: &'static str,
    message: String,
}

impl Canary {
    async fn run(mut self) {
        loop {
            tokio::time::sleep(jitter::between(0.9, 1.1, self.options.interval)).await;
            if self.leading.as_ref().is_some_and(|leading| !*leading.borrow()) {
                self.metrics.forget();
                self.last = None;
                continue;
            }
            let began = Instant::now();
            let result = self.create().await;
            self.note(result, began.elapsed());
        }
    }

    fn note(&mut self, result: Result<(), Failure>, took: Duration) {
        let class = result.as_ref().err().map(|failure| failure.class);
        self.metrics.tried(class, took);
        let changed = self.last.replace(class) != Some(class);
        match result {
            Err(Failure { class, message: problem }) if changed => {
                tracing::warn!(class, problem, "pods created through the API server are not injected");
            }
            Ok(()) if changed => tracing::info!("API servers get pods injected"),
            _ => {}
        }
    }

    /// Creates a pod as a dry run.
    async fn create(&self) -> Result<(), Failure> {
        let Options { namespace, revision, webhook_suffixes, .. } = &self.options;
        let target = Target::namespaced("pods", namespace, "");
        let mut labels = Map::new();
        labels.insert(names::INJECT.to_owned(), json!("true"));
        if revision != DEFAULT_REVISION {
            labels.insert(names::REVISION.to_owned(), json!(revision));
        }
        let pod: DynamicObject = serde_json::from_value(probe::pod(&labels))
            .map_err(|error| Failure { class: "other-refusal", message: error.to_string() })?;
        let parameters = PostParams { dry_run: true, field_manager: None };
        let created = call("create", &target, PATIENCE, self.pods.create(&parameters, &pod)).await;
        let is_ours = |name: &str| webhook_suffixes.iter().any(|suffix| name.ends_with(suffix.as_str()));
        let pod = created.map_err(|error| failure(&error, is_ours))?;
        match probe::injected_by(&json!(pod)) {
            Some(by) if by == *revision => Ok(()),
            Some(by) => {
                Err(Failure { class: "other-revision", message: format!("revision {by} injected the pod") })
            }
            None => Err(Failure { class: "not-injected", message: "the pod has no proxy".to_owned() }),
        }
    }
}

fn failure(error: &ApiError, is_ours: impl Fn(&str) -> bool) -> Failure {
    let class = match &error.reason {
        Reason::Forbidden(_) => "forbidden",
        Reason::Unanswered(_) => "network-timeout",
        Reason::Unreachable(_) | Reason::Unauthorized(_) | Reason::Busy(_) | Reason::Unreadable(_) => {
            "api-server"
        }
        Reason::NotFound(message)
        | Reason::Conflict(message)
        | Reason::Expired(message)
        | Reason::Refused(message) => refusal_class(message, is_ours),
    };
    Failure { class, message: error.to_string() }
}

#[cfg(test)]
mod tests;
