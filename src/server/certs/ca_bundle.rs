//! Maintains the caBundle of our webhooks, which are found by name. Entries without rules, which API servers skip,
//! get their rules once this replica serves. No other field of the object is touched.
//!
//! Every replica watches the configurations, because it must know whether API servers can call it; only the leader
//! writes. A caBundle that is empty, garbage or an old one of ours is set at once. One that another field manager
//! maintains is left alone. A missing configuration is never created.

mod advice;
pub(crate) mod assess;
mod conflict;
mod status;

use std::{collections::HashSet, sync::Arc, time::Duration};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use rustls::pki_types::CertificateDer;
use tokio::{sync::watch, time::Instant};

pub(crate) use self::status::CaBundleStatus;
use self::{
    assess::{Entry, MANAGER, Remembered, Standing, View, Wrong, application, assess, injection},
    conflict::{Remark, remark, undone},
    status::{Known, Note},
};
use crate::names;

use crate::server::certs::repairs::Repairs;
use crate::server::certs::report::{EventType, Reporter};
use crate::server::kube::follow::{Follower, ObjectState};
use crate::server::kube::lease::Clock;
use crate::server::kube::request::{TIMEOUT, Target, call};
use crate::server::supervise::Supervisor;

/// The desired caBundle.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    /// In PEM.
    pub(crate) bundle: String,
    pub(crate) certificates: HashSet<CertificateDer<'static>>,
    /// Which of them issued the serving certificate.
    pub(crate) issuer: CertificateDer<'static>,
}

/// A configuration whose caBundle is maintained.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kept {
    /// Its name.
    pub(crate) name: String,
    /// Whether it belongs to a tag that may be moved. It is maintained only while it exists and its label names this
    /// revision.
    pub(crate) while_of_revision: Option<String>,
}

/// What the task for one configuration needs.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) client: Client,
    pub(crate) suffixes: Arc<Vec<String>>,
    pub(crate) trust: watch::Receiver<Option<Arc<Trust>>>,
    /// Whether this replica has been ready long enough for API servers to reach it.
    pub(crate) serving: watch::Receiver<bool>,
    /// Whether this replica writes.
    pub(crate) leading: watch::Receiver<bool>,
    pub(crate) clock: Clock,
    pub(crate) reporter: Reporter,
    pub(crate) ca_bundles: CaBundleStatus,
    pub(crate) supervisor: Supervisor,
}

/// Pause before retrying a request that the API server rejected.
const RETRY: Duration = Duration::from_secs(2);
/// Interval without any change.
const IDLE: Duration = Duration::from_secs(60);
/// Attempts in a row when others change the object first.
const ATTEMPTS: usize = 3;

/// Maintains the named configurations for as long as the future is polled.
pub(crate) async fn keep(kept: &[Kept], tools: &Tools) {
    let keepers = kept.iter().map(|kept| {
        let begin = || CaBundleReconciler::new(kept.clone(), tools.clone()).run();
        tools.supervisor.clone().keep("webhook caBundle reconciler", begin)
    });
    futures::future::join_all(keepers).await;
}

/// Maintains the webhook for advice for as long as the future is polled; without a name, there is nothing to do.
pub(crate) async fn keep_advice(name: Option<String>, tools: &Tools) {
    let Some(name) = name else { return std::future::pending().await };
    let begin = || advice::keep(name.clone(), tools.clone());
    tools.supervisor.clone().keep("caBundle reconciler of the webhook for advice", begin).await;
}

/// Maintains one configuration.
struct CaBundleReconciler {
    name: String,
    while_of_revision: Option<String>,
    target: Target,
    api: Api<MutatingWebhookConfiguration>,
    follower: Follower<MutatingWebhookConfiguration>,
    tools: Tools,
    /// Repairs of values that were correct before.
    repairs: Repairs,
    /// The CAs of the last write. Writing other ones is not a repair.
    written: Option<Arc<Trust>>,
    /// Whether all entries were seen with rules. Adding rules again is a repair.
    activated: bool,
    /// Foreign CAs in the caBundles that were seen last.
    remembered: Remembered,
    /// The problem with the watch that was logged last.
    trouble: Option<String>,
}

impl CaBundleReconciler {
    fn new(kept: Kept, tools: Tools) -> CaBundleReconciler {
        let Kept { name, while_of_revision } = kept;
        let api = Api::all(tools.client.clone());
        let target = Target::named("mutatingwebhookconfigurations", &name);
        let follower = Follower::new(tools.client.clone(), target.clone(), |client, _| Api::all(client));
        CaBundleReconciler {
            name,
            while_of_revision,
            target,
            api,
            follower,
            tools,
            repairs: Repairs::default(),
            written: None,
            activated: false,
            remembered: Remembered::new(),
            trouble: None,
        }
    }

    async fn run(mut self) {
        loop {
            let pause = self.settle().await;
            tokio::select! {
                () = self.follower.changed() => {}
                changed = self.tools.trust.changed() => if changed.is_err() {
                    return;
                },
                // Its sender may be gone after sending its last value.
                Ok(()) = self.tools.serving.changed() => {}
                Ok(()) = self.tools.leading.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Compares the actual state with the desired one and writes the difference. Returns the time after which to
    /// check again.
    async fn settle(&mut self) -> Duration {
        let Some(trust) = self.tools.trust.borrow_and_update().clone() else { return IDLE };
        // Without the sender, nothing renews the Lease.
        let leads = *self.tools.leading.borrow_and_update() && self.tools.leading.has_changed().is_ok();
        let (pause, failed) = if leads {
            self.set(&trust).await
        } else {
            (self.written, self.activated) = (None, false);
            (IDLE, None)
        };
        self.post(&trust, leads, failed).map_or(pause, |again| again.min(pause))
    }

    /// The state of a configuration's entries; remembers what they contain.
    fn assess(&mut self, configuration: &MutatingWebhookConfiguration, trust: &Trust) -> Vec<Entry> {
        let view = View {
            suffixes: &self.tools.suffixes,
            trusted: &trust.certificates,
            remembered: &self.remembered,
            tag: self.while_of_revision.is_some(),
        };
        let entries = assess(configuration, view);
        for entry in &entries {
            if let Some(others) = entry.remembers() {
                self.remembered.insert(entry.name.clone(), others);
            }
        }
        entries
    }

    /// Writes the desired state. Returns the time after which to check again, and what went wrong.
    async fn set(&mut self, trust: &Arc<Trust>) -> (Duration, Option<String>) {
        let serving = *self.tools.serving.borrow_and_update();
        for _ in 0..ATTEMPTS {
            let ObjectState::Present(configuration) = self.follower.state().clone() else {
                return (IDLE, None);
            };
            if self.is_elsewhere(Some(&configuration)) {
                // When the tag comes back, its content was written by the client that moved it.
                self.written = None;
                return (IDLE, None);
            }
            let entries = self.assess(&configuration, trust);
            let Some(application) = application(&configuration, &entries, &trust.bundle, serving) else {
                let kept = |entry: &Entry| matches!(entry.standing, Standing::Right | Standing::Inherited);
                if entries.iter().any(kept) {
                    self.written = Some(trust.clone());
                }
                self.activated |= !entries.is_empty() && entries.iter().all(|entry| entry.active);
                return (IDLE, None);
            };
            let wrong = entries.iter().any(|entry| matches!(entry.standing, Standing::Wrong(_)));
            if wrong {
                // Even if it is set again soon, an API server may have seen it.
                self.tools.ca_bundles.lost(&self.name, self.tools.clock.now());
            }
            if let Some(delay) = self.delay(trust, wrong) {
                let object = &self.target;
                let what = if wrong { "the caBundle" } else { "the rules" };
                let mut problem =
                    format!("{what} in {object} keeps being changed; waiting before setting it again");
                if wrong {
                    problem.push_str(&undone(&self.name, injection(&configuration)));
                }
                return (delay, Some(problem));
            }
            let parameters = PatchParams::apply(MANAGER).force();
            let patch = Patch::Apply(application);
            let request = self.api.patch(&self.name, &parameters, &patch);
            match call("patch", &self.target, TIMEOUT, request).await {
                Ok(configuration) => {
                    self.wrote(&entries, trust, serving);
                    self.follower.put(Some(configuration));
                }
                Err(error) if error.is_conflict() || error.is_not_found() => {
                    if self.follower.look().await.is_err() {
                        return (RETRY, None);
                    }
                }
                Err(failure) => {
                    self.tools.ca_bundles.failed();
                    return (RETRY, Some(failure.to_string()));
                }
            }
        }
        (RETRY, None)
    }

    /// Whether it is a tag that points to another revision or to none, so that its caBundle is not ours to maintain.
    fn is_elsewhere(&self, configuration: Option<&MutatingWebhookConfiguration>) -> bool {
        let labels = configuration.and_then(|configuration| configuration.metadata.labels.as_ref());
        let found = labels.and_then(|labels| labels.get(names::LABEL_CONFIGURATION_REVISION));
        self.while_of_revision.is_some() && found != self.while_of_revision.as_ref()
    }

    /// How long to delay a repair because recent ones were undone.
    fn delay(&mut self, trust: &Arc<Trust>, wrong: bool) -> Option<Duration> {
        if !self.is_repair(trust, wrong) {
            return None;
        }
        self.repairs.delay(Instant::now())
    }

    /// Whether a write restores earlier state: a caBundle or rules.
    fn is_repair(&self, trust: &Arc<Trust>, wrong: bool) -> bool {
        if wrong { self.written.as_ref() == Some(trust) } else { self.activated }
    }

    fn wrote(&mut self, entries: &[Entry], trust: &Arc<Trust>, serving: bool) {
        self.tools.ca_bundles.written(&self.name);
        let abandoned: Vec<&str> = entries
            .iter()
            .filter(|entry| entry.standing == Standing::Wrong(Wrong::Abandoned))
            .map(|entry| entry.name.as_str())
            .collect();
        let wrong: Vec<String> = entries
            .iter()
            .filter_map(|entry| match entry.standing {
                Standing::Wrong(wrong) => Some(format!("{} ({wrong:?})", entry.name)),
                _ => None,
            })
            .collect();
        let repair = self.is_repair(trust, !wrong.is_empty());
        if repair {
            self.repairs.note(Instant::now());
        }
        self.written = Some(trust.clone());
        let object = &self.target;
        if !wrong.is_empty() {
            let webhooks = wrong.join(", ");
            tracing::info!(config = self.name, webhooks, repair, "caBundle set");
            if repair {
                let message = format!(
                    "the caBundle in {object} was changed by someone else and has been restored: {webhooks}"
                );
                self.tools.reporter.happened(EventType::Normal, "CaBundleRepaired", &message);
            }
        }
        if !abandoned.is_empty() {
            let message = format!(
                "took over the caBundle in {object}, keeping the CAs in it: {}",
                abandoned.join(", ")
            );
            self.tools.reporter.happened(EventType::Normal, "CaBundleTakenOver", &message);
        }
        let waited: Vec<&str> = entries
            .iter()
            .filter(|entry| serving && entry.waits())
            .map(|entry| entry.name.as_str())
            .collect();
        if !waited.is_empty() {
            let webhooks = waited.join(", ");
            tracing::info!(config = self.name, webhooks, "webhooks activated");
            let message = format!("webhooks in {object} activated because a replica is ready: {webhooks}");
            self.tools.reporter.happened(EventType::Normal, "WebhooksActive", &message);
        }
    }

    /// Publishes the state of the configuration and reports problems. Returns the time after which to do so again.
    fn post(&mut self, trust: &Trust, leads: bool, failed: Option<String>) -> Option<Duration> {
        let trouble = self.follower.trouble().map(str::to_owned);
        if trouble.is_some() && trouble != self.trouble {
            self.tools.ca_bundles.failed();
        }
        self.trouble.clone_from(&trouble);
        let mut problems: Vec<String> = trouble.into_iter().chain(failed).collect();
        let known = match self.follower.state().clone() {
            ObjectState::Unknown => Known::Nothing,
            ObjectState::Missing if self.is_elsewhere(None) => Known::Elsewhere,
            ObjectState::Present(configuration) if self.is_elsewhere(Some(&configuration)) => {
                Known::Elsewhere
            }
            ObjectState::Missing => {
                problems
                    .push(format!("{} is missing; no API server calls this server through it", self.target));
                Known::Missing
            }
            ObjectState::Present(configuration) => {
                let entries = self.assess(&configuration, trust);
                problems.extend(self.remarks(&configuration, &entries, leads));
                if !entries.iter().all(Entry::trusts_all) {
                    self.tools.ca_bundles.lost(&self.name, self.tools.clock.now());
                }
                Known::Entries(entries)
            }
        };
        let problem = (!problems.is_empty()).then(|| problems.join("; "));
        let again =
            self.tools.ca_bundles.note(&self.name, Note { known, problem, issuer: &trust.issuer, leads });
        // Followers would only repeat it; but the reason why a replica does not become ready belongs in its own log.
        if leads || self.tools.ca_bundles.is_refused() {
            for problem in &problems {
                if self.tools.reporter.is_new("the caBundle is wrong", problem) {
                    tracing::warn!(config = self.name, problem, "caBundle is wrong");
                }
            }
        }
        again
    }

    /// Problems of an existing configuration that operators should know about.
    fn remarks(
        &self,
        configuration: &MutatingWebhookConfiguration,
        entries: &[Entry],
        leads: bool,
    ) -> Vec<String> {
        let object = &self.target;
        let mut problems = Vec::new();
        if entries.is_empty() {
            let suffixes = self.tools.suffixes.join(" or ");
            problems.push(format!("{object} has no webhook whose name ends with {suffixes}"));
        }
        match remark(&self.name, entries, injection(configuration)) {
            Some(Remark::Conflict(problem)) => {
                if leads {
                    self.tools.reporter.event(EventType::Warning, "CaBundleConflict", &problem);
                }
                problems.push(problem);
            }
            Some(Remark::Note(note)) => problems.push(note),
            None => {}
        }
        problems.extend(entries.iter().filter(|entry| entry.holds_key).map(|entry| {
            let name = &entry.name;
            format!(
                "webhook {name} in {object}: its caBundle contains a private key, which many clients can read; replace the key"
            )
        }));
        problems
    }
}
