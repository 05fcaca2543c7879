//! Leader election over a Lease, for the replica that writes. No request depends on it.
//!
//! Hand-written because no crate fits: kube-leader-election 0.44 pulls in kube 4.2 and k8s-openapi 0.28 next to our 5
//! and 0.29, kubert 0.25 pulls in kube 1.1, and neither releases the Lease on shutdown or corrects a clock (L-10).
//!
//! A candidate trusts only its own clock: a Lease is free if it has no holder, or if this process has not seen it
//! change for its duration. A leader that cannot renew steps down before others may take over. Two leaders for a
//! moment are harmless, because resource versions guard what they write.

mod record;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams};
use prometheus_client::metrics::counter::Counter;
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use self::record::Observed;
use crate::server::clock::unix_now;
use crate::server::jitter;
use crate::server::kube::error::ApiError;
use crate::server::kube::request::{Target, call};
use crate::server::readiness::Gate;
use crate::server::shutdown::{Phase, Watch};
use crate::server::supervise::Supervisor;

/// The Lease, and our identity.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Name of this replica, which must be unique.
    pub(crate) identity: String,
}

/// A running election.
pub(crate) struct Election {
    /// Whether this replica leads.
    pub(crate) leading: watch::Receiver<bool>,
    /// The API server's clock, as far as a leader knows it.
    pub(crate) clock: Clock,
    /// Completes when the server drains and the Lease is released.
    pub(crate) task: JoinHandle<()>,
}

/// The clock for validity periods: ours, corrected by the time that the API server records for our renewals if the
/// two are far apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock(Arc<AtomicI64>);

/// Duration of the Lease.
const DURATION: Duration = Duration::from_secs(15);
/// Renewal interval.
const RENEW: Duration = Duration::from_secs(5);
/// A leader that has not renewed for this long stops leading.
const DEADLINE: Duration = Duration::from_secs(10);
/// Maximum interval at which a candidate checks.
const RETRY: Duration = Duration::from_secs(2);
/// Interval after RBAC denied a request.
const FORBIDDEN: Duration = Duration::from_secs(10);
/// Timeout of a request about the Lease.
const REQUEST: Duration = Duration::from_secs(4);
/// Releasing the Lease must not delay the exit of the process.
const RELEASE: Duration = Duration::from_secs(2);
/// Interval between log lines about the same problem.
const QUIET: Duration = Duration::from_secs(60);
/// Clock differences that are ignored, in seconds; renewals have a resolution of one second.
const SAME_TIME: i64 = 5;
const MANAGER: &str = "outrigger-lease";

/// Starts the election. `gate` is open and gets notes; `failures` counts failed requests and unusable Leases.
pub(crate) fn start(
    client: Client,
    options: Options,
    gate: Gate,
    failures: Counter,
    phase: Watch,
    supervisor: Supervisor,
) -> Election {
    let (sender, leading) = watch::channel(false);
    let clock = Clock::default();
    let api: Api<Lease> = Api::namespaced(client, &options.namespace);
    let target = Target::namespaced("leases", &options.namespace, &options.name);
    gate.open("no leader observed yet");
    let theirs = clock.clone();
    let begin = move || {
        // After a restart, this replica does not lead until it has acquired the Lease again.
        sender.send_replace(false);
        let candidate = Candidate {
            api: api.clone(),
            target: target.clone(),
            options: options.clone(),
            gate: gate.clone(),
            failures: failures.clone(),
            leading: sender.clone(),
            clock: theirs.clone(),
            observed: None,
            held: None,
            writing: false,
            complained: None,
        };
        candidate.run(phase.clone())
    };
    let task = tokio::spawn(supervisor.finish("leader election", begin));
    Election { leading, clock, task }
}

impl Clock {
    /// Seconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        unix_now().saturating_add(self.0.load(Ordering::Relaxed))
    }

    fn note(&self, theirs: i64) {
        let ahead = theirs - unix_now();
        let ahead = if ahead.abs() <= SAME_TIME { 0 } else { ahead };
        let before = self.0.swap(ahead, Ordering::Relaxed);
        if (before - ahead).abs() > SAME_TIME {
            tracing::warn!(ahead, "the API server's clock differs from ours; using it for certificates");
        }
    }
}

struct Candidate {
    api: Api<Lease>,
    target: Target,
    options: Options,
    gate: Gate,
    failures: Counter,
    leading: watch::Sender<bool>,
    clock: Clock,
    /// The last known state of the Lease, and since when it has been unchanged.
    observed: Option<Observed>,
    /// While leading: when the last successful renewal was sent.
    held: Option<Instant>,
    /// Whether a request that acquires or renews the Lease is in flight: it may have taken effect without our
    /// knowing.
    writing: bool,
    complained: Option<(Instant, String)>,
}

impl Candidate {
    async fn run(mut self, phase: Watch) {
        loop {
            let pause = tokio::select! {
                pause = self.turn() => pause,
                () = phase.reached(Phase::Draining) => break,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = phase.reached(Phase::Draining) => break,
            }
        }
        // The writer stops first.
        self.leading.send_replace(false);
        self.release().await;
    }

    /// One check or renewal. Returns the time until the next one.
    async fn turn(&mut self) -> Duration {
        match self.held {
            Some(held) => self.renew(held).await,
            None => self.campaign().await,
        }
    }

    async fn renew(&mut self, held: Instant) -> Duration {
        let left = (held + DEADLINE).saturating_duration_since(Instant::now());
        let failure = match self.write(REQUEST.min(left)).await {
            Ok(()) => return RENEW,
            Err(failure) => failure,
        };
        if failure.is_conflict() || failure.is_not_found() {
            // Someone changed it: check it at once, and acquire it again if it still names us.
            self.step_down_unless_ours().await;
            return Duration::ZERO;
        }
        if Instant::now() >= held + DEADLINE {
            self.step_down("the Lease could not be renewed");
        }
        self.complain(failure.to_string());
        jitter::between(1.0, 2.0, Duration::from_millis(500))
    }

    /// After a conflict: this replica keeps leading only if the Lease still names it.
    async fn step_down_unless_ours(&mut self) {
        match self.look().await {
            Ok(())
                if self.observed.as_ref().is_some_and(|seen| seen.record.holder == self.options.identity) => {
            }
            _ => self.step_down("another replica holds the Lease"),
        }
    }

    async fn campaign(&mut self) -> Duration {
        let pause = jitter::between(0.6, 0.9, RETRY);
        let attempt = match self.look().await {
            Ok(()) if self.is_free() => self.write(REQUEST).await,
            Ok(()) => {
                self.say_who_leads();
                return pause;
            }
            Err(error) => Err(error),
        };
        match attempt {
            Ok(()) => {
                tracing::info!(identity = self.options.identity, "became leader");
                RENEW
            }
            // Another replica was faster.
            Err(error) if error.is_conflict() => {
                self.say_who_leads();
                pause
            }
            Err(error) => {
                self.complain(error.to_string());
                if error.is_forbidden() { FORBIDDEN } else { pause }
            }
        }
    }

    fn is_free(&self) -> bool {
        let free = |seen: &Observed| seen.free(&self.options.identity, Instant::now());
        self.observed.as_ref().is_none_or(free)
    }

    /// Reads the Lease and records whether it has changed.
    async fn look(&mut self) -> Result<(), ApiError> {
        match call("get", &self.target, REQUEST, self.api.get(&self.options.name)).await {
            Ok(lease) => {
                self.observe(lease);
                Ok(())
            }
            Err(error) if error.is_not_found() => {
                self.observed = None;
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    fn observe(&mut self, lease: Lease) {
        let now = Instant::now();
        match &mut self.observed {
            Some(seen) => seen.note(lease, now),
            None => self.observed = Some(Observed::new(lease, now)),
        }
    }

    /// Acquires or renews the Lease based on its last known state, or creates it.
    async fn write(&mut self, within: Duration) -> Result<(), ApiError> {
        // Measured from before the request, which may have taken effect at any time since.
        let sent = Instant::now();
        let identity = self.options.identity.clone();
        let time = jiff::Timestamp::now();
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let name = &self.options.name;
        self.writing = true;
        let written = match &self.observed {
            Some(seen) => {
                let lease = record::taken(&seen.lease, &identity, DURATION, time);
                call("update", &self.target, within, self.api.replace(name, &parameters, &lease)).await
            }
            None => {
                let lease = record::made(&self.options.namespace, name, &identity, DURATION, time);
                call("create", &self.target, within, self.api.create(&parameters, &lease)).await
            }
        };
        self.writing = false;
        let lease = written?;
        if let Some(theirs) = record::written_at(&lease, MANAGER) {
            self.clock.note(theirs);
        }
        self.observe(lease);
        self.held = Some(sent);
        self.complained = None;
        self.gate.open(format!("the leader is {identity} (this replica)"));
        self.leading.send_if_modified(|leading| !std::mem::replace(leading, true));
        Ok(())
    }

    fn step_down(&mut self, why: &str) {
        self.held = None;
        if self.leading.send_replace(false) {
            self.gate.open("this replica lost leadership");
            tracing::warn!(why, "lost leadership");
        }
    }

    fn say_who_leads(&mut self) {
        self.complained = None;
        let holder = self.observed.as_ref().map(|seen| seen.record.holder.clone()).unwrap_or_default();
        self.gate.open(if holder.is_empty() {
            "there is no leader".to_owned()
        } else {
            format!("the leader is {holder}")
        });
    }

    fn complain(&mut self, problem: String) {
        self.failures.inc();
        self.gate.trouble(problem.clone());
        let said =
            self.complained.as_ref().is_some_and(|(when, what)| *what == problem && when.elapsed() < QUIET);
        if !said {
            tracing::warn!(problem, "leader election is failing");
            self.complained = Some((Instant::now(), problem));
        }
    }

    /// Releases the Lease, so that another replica need not wait for it to expire.
    async fn release(&mut self) {
        if self.held.take().is_none() && !self.writing {
            return;
        }
        match tokio::time::timeout(RELEASE, self.give_back()).await {
            Ok(Ok(true)) => tracing::info!("lease released"),
            Ok(Ok(false)) => {}
            Ok(Err(failure)) => {
                tracing::warn!(problem = %failure, "cannot release the lease; it will expire");
            }
            Err(_) => {
                tracing::warn!(problem = "no response", "cannot release the lease; it will expire");
            }
        }
    }

    /// Sends the request that releases the Lease. Returns whether there was anything to release.
    async fn give_back(&mut self) -> Result<bool, ApiError> {
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let mut known = !self.writing;
        loop {
            if !known {
                self.look().await?;
            }
            let Some(seen) = &self.observed else { return Ok(false) };
            if seen.record.holder != self.options.identity {
                return Ok(false);
            }
            let lease = record::released(&seen.lease, jiff::Timestamp::now());
            let request = self.api.replace(&self.options.name, &parameters, &lease);
            match call("update", &self.target, RELEASE, request).await {
                Ok(_) => return Ok(true),
                // An interrupted renewal had taken effect.
                Err(error) if known && error.is_conflict() => known = false,
                Err(failure) => return Err(failure),
            }
        }
    }
}

#[cfg(test)]
mod tests;
