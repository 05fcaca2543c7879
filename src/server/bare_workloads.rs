//! Workloads whose running pods have no proxy although new ones would get one: pods from before their namespace was labeled, or
//! created while no injector responded and `failurePolicy` was `Ignore`. They are counted and reported with Events and, if asked
//! for, restarted one after the other.
//!
//! What counts and what may be restarted is decided in `injector::bare_workloads`. One replica does the work: the one that holds
//! the Lease for certificates, or every replica if there is no Lease, which then only report.

mod metrics;
mod objects;
mod window;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use injector::bare_workloads::{
    self, Assessment, BareWorkload, Next, Objects, PodCounts, RESTARTED_KINDS, RestartState, Selecting,
};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::Value;
use tokio::{sync::watch, time::Instant};

pub(crate) use self::metrics::BareWorkloadMetrics;
use self::objects::Pages;
pub use self::window::Window;
use crate::config::Namespace;
use crate::server::clock::unix_now;
use crate::server::configuration::active::Configuration;
use crate::server::configuration::slot::Active;
use crate::server::jitter;
use crate::server::kube::error::ApiError;
use crate::server::kube::events::{EventSender, EventType, Note};
use crate::server::kube::request::{TIMEOUT, Target, call};
use crate::server::shutdown::{Phase, Watch};
use crate::server::supervise::Supervisor;

/// What is done about workloads without a proxy, and how often one looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether workloads are restarted, or only reported.
    pub mode: Mode,
    /// The pause between two passes.
    pub interval: Duration,
    /// How many workloads may be restarting at the same time.
    pub parallel: usize,
    /// When restarts may begin, in UTC; at any time if there are none.
    pub windows: Vec<Window>,
    /// The name of this replica, for Events.
    pub identity: String,
}

/// What is done about workloads without a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are reported.
    Report,
    /// They are reported and restarted.
    Restart,
}

/// The pause after which restarts in progress are looked at again.
const FOLLOW_UP: Duration = Duration::from_secs(20);
/// API servers delete Events after an hour (`--event-ttl`); then a workload is reported again.
const TOLD_AGAIN: Duration = Duration::from_secs(3600);
/// Maximum number of workloads that are reported by one pass. The rest follow with later passes.
const MOST_REPORTS: usize = 100;
/// Our name in `managedFields`.
const FIELD_MANAGER: &str = "outrigger";

/// The parts of the server that the controller uses.
pub(crate) struct Targets {
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) metrics: BareWorkloadMetrics,
    /// Whether this replica holds the Lease; `None` without a Lease.
    pub(crate) leading: Option<watch::Receiver<bool>>,
    pub(crate) supervisor: Supervisor,
    pub(crate) phase: Watch,
}

/// Starts the controller.
pub(crate) fn start(client: Client, options: Options, targets: Targets) {
    let Targets { configuration, metrics, leading, supervisor, phase } = targets;
    let (events, write) = EventSender::new(client.clone(), &options.identity);
    tokio::spawn(write);
    tokio::spawn(async move {
        let keep = supervisor.keep("bare-workloads", || {
            let controller = Controller {
                client: client.clone(),
                options: options.clone(),
                configuration: configuration.clone(),
                metrics: metrics.clone(),
                events: events.clone(),
                leading: leading.clone(),
                told: HashMap::new(),
                halted_by: None,
                has_failed: false,
            };
            controller.run()
        });
        tokio::select! {
            () = phase.reached(Phase::Draining) => metrics.forget(),
            () = keep => {}
        }
    });
}

struct Controller {
    client: Client,
    options: Options,
    configuration: Arc<Configuration>,
    metrics: BareWorkloadMetrics,
    events: EventSender,
    leading: Option<watch::Receiver<bool>>,
    /// The workloads that were reported with a state, and when.
    told: HashMap<(String, &'static str), Instant>,
    /// The workload whose restart did not help, which was logged.
    halted_by: Option<String>,
    /// Whether the last pass failed, which was logged then.
    has_failed: bool,
}

/// What happened to a workload that was to be restarted.
enum Restart {
    Done(String),
    /// It has changed since it was read.
    Changed,
    Refused(ApiError),
}

impl Controller {
    async fn run(mut self) {
        let mut is_busy = false;
        loop {
            let pause = if is_busy { self.options.interval.min(FOLLOW_UP) } else { self.options.interval };
            tokio::time::sleep(jitter::between(0.9, 1.1, pause)).await;
            is_busy = false;
            if self.leading.as_ref().is_some_and(|leading| !*leading.borrow()) {
                self.metrics.forget();
                self.told.clear();
                continue;
            }
            let Some(active) = self.configuration.current() else { continue };
            match self.assess(active).await {
                Ok(found) => {
                    self.has_failed = false;
                    self.metrics.found(&found);
                    let restarted = self.restart(&found).await;
                    is_busy = found.restarting > 0 || restarted > 0;
                    self.tell(&found).await;
                }
                Err(error) => {
                    // An old number would look like a current one.
                    self.metrics.forget();
                    if !std::mem::replace(&mut self.has_failed, true) {
                        tracing::warn!(%error, "cannot look for workloads without a proxy");
                    }
                }
            }
        }
    }

    /// Reads the cluster. Workloads are read before their pods: if one changes in between, the restart is refused, because its
    /// version is no longer the one that was read.
    async fn assess(&self, active: Arc<Active>) -> Result<Assessment, ApiError> {
        let client = &self.client;
        let namespaces = objects::namespaces(client).await?;
        let webhooks = Pages::of(client, &objects::WEBHOOKS).all().await?;
        let budgets = Pages::of(client, &objects::BUDGETS).all().await?;
        let workloads = objects::workloads(client).await?;
        let listed = Arc::new(Listed { namespaces, webhooks, active });
        let counts = count(client, &listed).await?;
        let controllers = objects::controllers(client, |set| counts.contains(set)).await?;
        let objects = Objects {
            namespaces: &listed.namespaces,
            workloads: &workloads,
            controllers: &controllers,
            budgets: &budgets,
            now: unix_now(),
            seconds: window::seconds,
        };
        Ok(bare_workloads::assess(&counts, objects))
    }

    /// Restarts what may be restarted now. Returns how many workloads were restarted.
    async fn restart(&mut self, found: &Assessment) -> usize {
        // Without a Lease, every replica would restart.
        if self.options.mode == Mode::Report || self.leading.is_none() {
            return 0;
        }
        let next = match found.next(self.options.parallel) {
            Next::Restart(next) => {
                self.halted_by = None;
                next
            }
            Next::Halted(by) => {
                let workload = by.to_string();
                if self.halted_by.as_ref() != Some(&workload) {
                    tracing::error!(
                        workload,
                        "no workload is restarted: the last restart gave pods no proxy"
                    );
                    self.halted_by = Some(workload);
                }
                return 0;
            }
        };
        let now = unix_now();
        if !self.options.windows.is_empty() && !self.options.windows.iter().any(|window| window.contains(now))
        {
            return 0;
        }
        let mut restarted = 0;
        for workload in next {
            // Leadership may have been lost meanwhile.
            if self.leading.as_ref().is_some_and(|leading| !*leading.borrow()) {
                break;
            }
            let result = self.restart_one(workload).await;
            self.metrics.restarted(&result);
            let named = workload.to_string();
            match result {
                Restart::Done(at) => {
                    restarted += 1;
                    tracing::info!(workload = named, at, "workload restarted: its pods have no proxy");
                    let text = format!(
                        "outrigger restarted it at {at}: {} of {} running pods had no proxy",
                        workload.bare, workload.running
                    );
                    self.events
                        .send_when_free(note(workload, EventType::Normal, "RestartedForProxy", text))
                        .await;
                }
                Restart::Changed => tracing::debug!(workload = named, "workload has changed; not restarted"),
                Restart::Refused(error) => {
                    tracing::warn!(workload = named, %error, "workload cannot be restarted");
                    let text = format!("outrigger cannot restart it: {error}");
                    self.events
                        .send_when_free(note(workload, EventType::Warning, "RestartRefused", text))
                        .await;
                }
            }
        }
        restarted
    }

    async fn restart_one(&self, found: &BareWorkload) -> Restart {
        let (kind, namespace, name) = &found.workload;
        let Some(kind) = objects::WORKLOADS.iter().find(|known| known.kind == kind) else {
            return Restart::Changed;
        };
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind.resource());
        let target = Target::namespaced(kind.plural, namespace, name);
        let at = window::rfc3339(unix_now());
        let patch = Patch::Merge(bare_workloads::restart_patch(found, &at));
        // A dry run first: what refuses the change refuses it before anything has happened.
        for dry_run in [true, false] {
            let parameters = PatchParams {
                dry_run,
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            match call("patch", &target, TIMEOUT, api.patch(name, &parameters, &patch)).await {
                Ok(_) => {}
                Err(error) if error.is_conflict() || error.is_not_found() => return Restart::Changed,
                Err(error) => return Restart::Refused(error),
            }
        }
        Restart::Done(at)
    }

    /// Logs workloads, and writes Events on those that have one, unless they were reported in this state within the last hour.
    async fn tell(&mut self, found: &Assessment) {
        self.told.retain(|_, when| when.elapsed() < TOLD_AGAIN);
        let mut left = MOST_REPORTS;
        for workload in &found.bare {
            let key = (workload.to_string(), workload.state.key());
            if left == 0 || self.told.contains_key(&key) {
                continue;
            }
            left -= 1;
            let text = self.text(workload);
            tracing::warn!(workload = key.0, state = key.1, text, "running pods have no proxy");
            if !workload.identity.uid.is_empty() {
                self.events
                    .send_when_free(note(workload, EventType::Warning, "RunsWithoutProxy", text))
                    .await;
            }
            self.told.insert(key, Instant::now());
        }
    }

    fn text(&self, found: &BareWorkload) -> String {
        let BareWorkload { workload: (kind, namespace, name), bare, running, pods, state, .. } = found;
        let more = if *bare > pods.len() { ", …" } else { "" };
        let pods = pods.join(", ");
        let what = match bare {
            1 => {
                format!("1 of {running} running pods has no proxy, although a new one would get one: {pods}")
            }
            _ => format!(
                "{bare} of {running} running pods have no proxy, although new ones would get one: {pods}{more}"
            ),
        };
        let restarts = self.options.mode == Mode::Restart && self.leading.is_some();
        let then = match state {
            RestartState::Ineffective(reason) => {
                format!("{reason}; no workload is restarted until they have one, or until a day after that")
            }
            RestartState::Restarting => "outrigger has restarted it".to_owned(),
            RestartState::Excluded(reason) if reason.starts_with("new pods would be denied") => {
                reason.clone()
            }
            RestartState::Restartable if restarts => {
                "outrigger restarts it when the windows and other restarts allow it".to_owned()
            }
            RestartState::Waiting(reason) if restarts => {
                format!("outrigger will restart it, but now {reason}")
            }
            RestartState::Excluded(reason) if restarts => format!("outrigger does not restart it: {reason}"),
            _ if RESTARTED_KINDS.contains(&kind.as_str()) => {
                format!(
                    "to replace them: kubectl -n {namespace} rollout restart {}/{name}",
                    kind.to_ascii_lowercase()
                )
            }
            _ => "they get one when they are created again".to_owned(),
        };
        format!("{what}; {then}")
    }
}

/// What decides about a new pod.
struct Listed {
    namespaces: BTreeMap<String, Namespace>,
    webhooks: Vec<Value>,
    active: Arc<Active>,
}

/// Counts the pods, a page at a time, on threads that may compute for long.
async fn count(client: &Client, listed: &Arc<Listed>) -> Result<PodCounts, ApiError> {
    let mut counts = PodCounts::default();
    let mut pages = Pages::of(client, &objects::PODS);
    while let Some(page) = pages.next().await? {
        let listed = listed.clone();
        let work = move || {
            let engine = &listed.active.engine;
            let selecting = Selecting {
                webhooks: &listed.webhooks,
                revision: engine.revision(),
                namespaces: &listed.namespaces,
                effect: &|request, namespace| engine.effect(request, namespace),
            };
            for pod in &page {
                counts.add(pod, &selecting);
            }
            counts
        };
        counts = match tokio::task::spawn_blocking(work).await {
            Ok(counts) => counts,
            // The supervisor counts it and begins again.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The process ends.
            Err(_) => std::future::pending().await,
        };
    }
    Ok(counts)
}

fn note(found: &BareWorkload, kind: EventType, reason: &'static str, text: String) -> Note {
    let (object_kind, namespace, name) = found.workload.clone();
    let about = ObjectReference {
        api_version: Some(found.identity.api_version.clone()),
        kind: Some(object_kind),
        namespace: Some(namespace),
        name: Some(name),
        uid: Some(found.identity.uid.clone()),
        ..ObjectReference::default()
    };
    Note { about, kind, reason, text, at_once: false }
}

#[cfg(test)]
mod tests;
