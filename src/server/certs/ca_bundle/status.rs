//! The state of all configurations, shared by the gate, the metrics and a waiting rotation.
//!
//! The gate keeps a replica from becoming ready if no caBundle trusts its certificate while some trust others: a
//! rolling update would otherwise replace replicas that API servers can call with one that they cannot. If no
//! caBundle trusts anyone, nothing is lost. Once open, the gate stays open.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::pki_types::CertificateDer;
use tokio::{sync::watch, time::Instant};

use super::{
    Kept,
    assess::{Entry, Standing},
};
use crate::server::certs::metrics::{CertificateMetrics, Stands};
use crate::server::readiness::Gate;

#[cfg(test)]
mod tests;

/// Maximum time until API servers use a changed caBundle.
const HEEDED: Duration = Duration::from_secs(2);

/// The state of all configurations.
#[derive(Clone)]
pub(crate) struct CaBundleStatus {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
    gate: Gate,
    metrics: CertificateMetrics,
}

#[derive(Default)]
struct State {
    configurations: BTreeMap<String, Status>,
    /// Whether the gate is open.
    open: bool,
    /// Whether API servers were seen to trust others and not us before the gate was open.
    refused: bool,
    /// Since when they trust us.
    trusted: Option<Instant>,
}

/// The state of one configuration.
#[derive(Clone, Debug, Default)]
struct Status {
    known: Known,
    /// The problem, for operators.
    problem: Option<String>,
    /// When one of its webhooks last lacked one of our CAs.
    lost: Option<i64>,
}

/// The known facts about a configuration.
#[derive(Clone, Debug, Default)]
pub(super) enum Known {
    /// It could not be read.
    #[default]
    Nothing,
    /// It does not exist, so no API server calls us through it.
    Missing,
    /// It is a tag that points to another revision or to none.
    Elsewhere,
    Entries(Vec<Entry>),
}

/// One observation of a configuration.
pub(super) struct Note<'a> {
    pub(super) known: Known,
    /// The problem, for operators.
    pub(super) problem: Option<String>,
    /// The CA that issued the serving certificate.
    pub(super) issuer: &'a CertificateDer<'static>,
    /// Whether this replica writes.
    pub(super) leads: bool,
}

/// Whether API servers that call our webhooks trust the serving certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Not everything has been observed yet.
    Unknown,
    /// Every webhook that trusts anyone trusts only others.
    Refused,
    /// They trust us, or they trust nobody.
    Trusted,
}

impl CaBundleStatus {
    pub(crate) fn new(kept: &[Kept], gate: Gate, metrics: CertificateMetrics) -> CaBundleStatus {
        let configurations: BTreeMap<_, _> =
            kept.iter().map(|kept| (kept.name.clone(), Status::default())).collect();
        let open = configurations.is_empty();
        if open {
            gate.open("no webhook configuration is named; the caBundle is not managed by this server");
        }
        let state = State { configurations, open, ..State::default() };
        CaBundleStatus { state: Arc::new(Mutex::new(state)), changed: watch::Sender::new(()), gate, metrics }
    }

    /// Notifies about every change.
    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether every webhook that trusts us at all trusts a CA, and when one last lacked one of our CAs. A
    /// configuration that cannot be read counts as not trusting it.
    pub(crate) fn carried(&self, ca: &CertificateDer<'static>) -> (bool, Option<i64>) {
        let state = self.lock();
        let now = state.configurations.values().all(|status| match &status.known {
            Known::Nothing => false,
            Known::Missing | Known::Elsewhere => true,
            Known::Entries(entries) => entries.iter().all(|entry| {
                entry.trusts(ca) || matches!(entry.standing, Standing::Foreign { partly: false, .. })
            }),
        });
        (now, state.configurations.values().filter_map(|status| status.lost).max())
    }

    /// The problem, for operators.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.lock().configurations.values().filter_map(|status| status.problem.clone()).collect()
    }

    /// Records the state of a configuration. Returns the time after which to record it again, if it only
    /// has to wait.
    pub(super) fn note(&self, name: &str, note: Note<'_>) -> Option<Duration> {
        let Note { known, problem, issuer, leads } = note;
        let stands = if leads { known.stands() } else { Stands::default() };
        self.metrics.configuration(name, stands);
        let mut state = self.lock();
        let status = state.configurations.entry(name.to_owned()).or_default();
        (status.known, status.problem) = (known, problem);
        let reach = reach(state.configurations.values(), issuer);
        let waits = state.pass(reach, Instant::now());
        let problems: Vec<&str> =
            state.configurations.values().filter_map(|status| status.problem.as_deref()).collect();
        let problems = problems.join("; ");
        match (state.open, reach) {
            (true, _) if problems.is_empty() => drop(self.gate.open(state.told(leads))),
            (true, _) => drop(self.gate.open_with(String::new(), Some(problems))),
            (false, Reach::Unknown) if problems.is_empty() => {
                self.gate.trouble("not known yet whether API servers trust the certificate");
            }
            (false, Reach::Unknown) => self.gate.contradicted(problems),
            (false, Reach::Refused) => {
                let problem = if problems.is_empty() { "the caBundle is about to be set" } else { &problems };
                self.gate.contradicted(format!(
                    "API servers do not trust this replica but trust others, which it must not replace: {problem}"
                ));
            }
            (false, Reach::Trusted) => {
                self.gate
                    .trouble("waiting until API servers use the new caBundle, which trusts this replica");
            }
        }
        drop(state);
        self.changed.send_replace(());
        waits
    }

    /// Whether the gate is closed because API servers trust others.
    pub(super) fn is_refused(&self) -> bool {
        let state = self.lock();
        !state.open && state.refused
    }

    /// Records that one of the webhooks lacked one of our CAs.
    pub(super) fn lost(&self, name: &str, now: i64) {
        self.lock().configurations.entry(name.to_owned()).or_default().lost = Some(now);
    }

    pub(super) fn failed(&self) {
        self.metrics.failed("ca_bundle");
    }

    pub(super) fn written(&self, name: &str) {
        self.metrics.ca_bundle_written(name);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Opens the gate when it is time; otherwise returns the time that is left.
    fn pass(&mut self, reach: Reach, now: Instant) -> Option<Duration> {
        if self.open {
            return None;
        }
        match reach {
            Reach::Unknown => None,
            Reach::Refused => {
                (self.refused, self.trusted) = (true, None);
                None
            }
            Reach::Trusted => {
                let since = *self.trusted.get_or_insert(now);
                let left = if self.refused { HEEDED } else { Duration::ZERO };
                let left = left.saturating_sub(now.saturating_duration_since(since));
                self.open = left.is_zero();
                (!self.open).then_some(left)
            }
        }
    }

    /// The state in one line, if there is no problem.
    fn told(&self, leads: bool) -> &'static str {
        let trust = self.configurations.values().all(|status| match &status.known {
            Known::Entries(entries) => entries.iter().all(Entry::trusts_all),
            Known::Missing | Known::Elsewhere => true,
            Known::Nothing => false,
        });
        match (trust, leads) {
            (true, true) => "our webhooks trust our CA",
            (true, false) => "our webhooks trust our CA; maintained by the leader",
            (false, _) => "the leader sets the caBundle",
        }
    }
}

impl Known {
    fn stands(&self) -> Stands {
        match self {
            Known::Entries(entries) => Stands {
                present: Some(true),
                in_sync: Some(!entries.is_empty() && entries.iter().all(Entry::trusts_all)),
                active: Some(!entries.is_empty() && entries.iter().all(|entry| entry.active)),
            },
            // There is no caBundle that could be right or wrong.
            Known::Missing => Stands { present: Some(false), ..Stands::default() },
            Known::Nothing => Stands { in_sync: Some(false), ..Stands::default() },
            Known::Elsewhere => Stands::default(),
        }
    }
}

/// Whether API servers trust a certificate of a CA. The gate does not wait for configurations that cannot be read for a
/// known reason.
fn reach<'a>(
    configurations: impl Iterator<Item = &'a Status> + Clone,
    issuer: &CertificateDer<'static>,
) -> Reach {
    if configurations.clone().any(|status| matches!(status.known, Known::Nothing) && status.problem.is_none())
    {
        return Reach::Unknown;
    }
    let entries = configurations.filter_map(|status| match &status.known {
        Known::Entries(entries) => Some(entries),
        _ => None,
    });
    let mut refused = false;
    for entry in entries.flatten() {
        if entry.trusts(issuer) {
            return Reach::Trusted;
        }
        refused |= entry.trusts_somebody();
    }
    if refused { Reach::Refused } else { Reach::Trusted }
}
