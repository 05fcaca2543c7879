//! The namespace audit: labels that do not do what they say, such as `istio-injection=enable`. With such a label, no
//! pod is rejected and no webhook is called: pods run without a proxy, and nothing tells their owner. Each mistake
//! becomes an Event on the Namespace, and the number of mistakes becomes a metric.
//!
//! The conclusions are those of `outrigger doctor` (`injector::diagnose`). One replica runs the audit: the one that
//! holds the Lease for certificates, or every replica if there is no Lease.

mod metrics;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use injector::diagnose::{Finding, LABEL_MISTAKES, label_mistakes};
use k8s_openapi::api::core::v1::{Namespace, ObjectReference};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
    core::PartialObjectMeta,
};
use serde_json::{Map, Value, json};
use tokio::{sync::watch, time::Instant};

pub(crate) use self::metrics::NamespaceAuditMetrics;
use crate::server::jitter;
use crate::server::kube::error::ApiError;
use crate::server::kube::events::{EventSender, EventType, Note};
use crate::server::kube::request::{TIMEOUT, Target, call, list_all};
use crate::server::shutdown::{Phase, Watch};
use crate::server::supervise::Supervisor;

/// How often audits run, and who reports them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The pause between two audits.
    pub interval: Duration,
    /// The name of this replica, for Events.
    pub identity: String,
}

/// Objects in one response of the API server.
const PAGE: u32 = 500;
/// API servers delete Events after an hour (`--event-ttl`); then the mistake is reported again.
const TOLD_AGAIN: Duration = Duration::from_secs(3600);
/// Maximum number of Events written by one audit. The rest follow with later audits.
const MOST_EVENTS: usize = 100;

/// Starts the audits. Without `leading`, this replica always runs them.
pub(crate) fn start(
    client: Client,
    options: Options,
    metrics: NamespaceAuditMetrics,
    leading: Option<watch::Receiver<bool>>,
    supervisor: Supervisor,
    phase: Watch,
) {
    let (events, write) = EventSender::new(client.clone(), &options.identity);
    tokio::spawn(write);
    tokio::spawn(async move {
        let keep = supervisor.keep("namespace-audit", || {
            let audit = NamespaceAudit {
                namespaces: Api::all(client.clone()),
                webhooks: webhooks(&client),
                interval: options.interval,
                metrics: metrics.clone(),
                events: events.clone(),
                leading: leading.clone(),
                told: HashMap::new(),
                has_failed: false,
            };
            audit.run()
        });
        tokio::select! {
            () = phase.reached(Phase::Draining) => metrics.forget(),
            () = keep => {}
        }
    });
}

fn webhooks(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration");
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, WEBHOOKS))
}

const WEBHOOKS: &str = "mutatingwebhookconfigurations";
const NAMESPACES: &str = "namespaces";

struct NamespaceAudit {
    namespaces: Api<Namespace>,
    webhooks: Api<DynamicObject>,
    interval: Duration,
    metrics: NamespaceAuditMetrics,
    events: EventSender,
    leading: Option<watch::Receiver<bool>>,
    /// The mistakes that were reported, and when.
    told: HashMap<Reported, Instant>,
    /// Whether the last audit failed, which was logged then.
    has_failed: bool,
}

/// A mistake that was reported: UID of the namespace, check and evidence.
type Reported = (String, &'static str, String);

/// A mistake in the labels of a namespace.
struct Mistake {
    namespace: ObjectReference,
    finding: Finding,
}

impl NamespaceAudit {
    async fn run(mut self) {
        loop {
            tokio::time::sleep(jitter::between(0.9, 1.1, self.interval)).await;
            if self.leading.as_ref().is_some_and(|leading| !*leading.borrow()) {
                self.metrics.forget();
                self.told.clear();
                continue;
            }
            match self.mistakes().await {
                Ok(mistakes) => {
                    self.has_failed = false;
                    self.metrics.found(&counts(&mistakes));
                    self.tell(mistakes).await;
                }
                Err(error) => {
                    // An old number would look like a current one.
                    self.metrics.forget();
                    if !std::mem::replace(&mut self.has_failed, true) {
                        tracing::warn!(%error, "cannot audit namespace labels");
                    }
                }
            }
        }
    }

    async fn mistakes(&self) -> Result<Vec<Mistake>, ApiError> {
        let target = Target::all(WEBHOOKS);
        let webhooks: Vec<Value> =
            list_all(&self.webhooks, &target, &ListParams::default().limit(PAGE), TIMEOUT)
                .await?
                .iter()
                .map(|object| json!(object))
                .collect();
        let target = Target::all(NAMESPACES);
        let mut parameters = ListParams::default().limit(PAGE);
        let mut mistakes = Vec::new();
        loop {
            let page = call("list", &target, TIMEOUT, self.namespaces.list_metadata(&parameters)).await?;
            mistakes.extend(page.items.iter().flat_map(|namespace| of(namespace, &webhooks)));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(mistakes),
            }
        }
    }

    /// Writes Events for mistakes that were not reported within the last hour.
    async fn tell(&mut self, mistakes: Vec<Mistake>) {
        self.told.retain(|_, when| when.elapsed() < TOLD_AGAIN);
        let mut left = MOST_EVENTS;
        for Mistake { namespace, finding } in mistakes {
            let uid = namespace.uid.clone().unwrap_or_default();
            let key = (uid, finding.check, finding.evidence.clone());
            if left == 0 || self.told.contains_key(&key) {
                continue;
            }
            left -= 1;
            let note = Note {
                about: namespace,
                kind: EventType::Warning,
                reason: reason(finding.check),
                text: format!("{}. To correct it: {}", finding.evidence, finding.fix),
                at_once: false,
            };
            self.events.send_when_free(note).await;
            self.told.insert(key, Instant::now());
        }
    }
}

fn of(namespace: &PartialObjectMeta<Namespace>, webhooks: &[Value]) -> Vec<Mistake> {
    let metadata = &namespace.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    let labels: Map<String, Value> =
        metadata.labels.iter().flatten().map(|(key, value)| (key.clone(), json!(value))).collect();
    let about = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Namespace".to_owned()),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        ..ObjectReference::default()
    };
    let findings = label_mistakes(webhooks, name, &labels).into_iter();
    findings.map(|finding| Mistake { namespace: about.clone(), finding }).collect()
}

/// The number of mistakes for each check, including checks that found none.
fn counts(mistakes: &[Mistake]) -> BTreeMap<&'static str, usize> {
    let of = |check: &str| mistakes.iter().filter(|mistake| mistake.finding.check == check).count();
    LABEL_MISTAKES.into_iter().map(|check| (check, of(check))).collect()
}

/// The reason of an Event: the check in PascalCase.
fn reason(check: &str) -> &'static str {
    match check {
        "both-labels" => "BothInjectionLabels",
        "label-misspelled" => "InjectionLabelMisspelled",
        "label-value" => "InjectionLabelValue",
        _ => "RevisionNotServed",
    }
}

#[cfg(test)]
mod tests;
