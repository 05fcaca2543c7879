//! How all configurations stand, for everybody who wants to know: the gate, the metrics, a rotation that waits.
//!
//! The gate keeps a replica from being ready whose certificate no caBundle trusts while it trusts others: a rolling
//! update would replace replicas that can be called by one that cannot. Where nobody is trusted nothing is lost by it.
//! Once open it stays open.

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

/// How long API servers take at most to heed a caBundle that has changed.
const HEEDED: Duration = Duration::from_secs(2);

/// How all configurations stand.
#[derive(Clone)]
pub(crate) struct CaBundleStatus {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
    gate: Gate,
    metrics: CertificateMetrics,
}

#[derive(Default)]
struct State {
    cards: BTreeMap<String, Status>,
    /// Whether the gate is open.
    open: bool,
    /// Whether API servers were seen to trust others and not us, before the gate was open.
    refused: bool,
    /// Since when they trust us.
    trusted: Option<Instant>,
}

/// How one configuration stands.
#[derive(Clone, Debug, Default)]
struct Status {
    known: Known,
    /// What is wrong, for people.
    problem: Option<String>,
    /// When one of its webhooks was last seen without one of our CAs.
    lost: Option<i64>,
}

/// What is known of a configuration.
#[derive(Clone, Debug, Default)]
pub(super) enum Known {
    /// It could not be looked at.
    #[default]
    Nothing,
    /// It is not there: no API server calls us by it.
    Missing,
    /// It is a tag that points to another revision, or to none.
    Elsewhere,
    Entries(Vec<Entry>),
}

/// What is noted of a configuration.
pub(super) struct Note<'a> {
    pub(super) known: Known,
    /// What is wrong, for people.
    pub(super) problem: Option<String>,
    /// The CA of the certificate that is served.
    pub(super) issuer: &'a CertificateDer<'static>,
    /// Whether this replica writes.
    pub(super) leads: bool,
}

/// Whether API servers that call our webhooks trust the certificate that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Not everything was looked at.
    Unknown,
    /// They trust others, by every webhook that trusts anybody.
    Refused,
    /// They do, or there is nobody whom they trust instead.
    Trusted,
}

impl CaBundleStatus {
    pub(crate) fn new(kept: &[Kept], gate: Gate, metrics: CertificateMetrics) -> CaBundleStatus {
        let cards: BTreeMap<_, _> = kept.iter().map(|kept| (kept.name.clone(), Status::default())).collect();
        let open = cards.is_empty();
        if open {
            gate.open("no webhook configuration is named: somebody else keeps the caBundle");
        }
        let state = State { cards, open, ..State::default() };
        CaBundleStatus { state: Arc::new(Mutex::new(state)), changed: watch::Sender::new(()), gate, metrics }
    }

    /// Tells of every change.
    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether every webhook that trusts us at all trusts a CA, and when one was last seen that did not trust all of
    /// ours. What cannot be looked at does not.
    pub(crate) fn carried(&self, ca: &CertificateDer<'static>) -> (bool, Option<i64>) {
        let state = self.lock();
        let now = state.cards.values().all(|card| match &card.known {
            Known::Nothing => false,
            Known::Missing | Known::Elsewhere => true,
            Known::Entries(entries) => entries.iter().all(|entry| {
                entry.trusts(ca) || matches!(entry.standing, Standing::Foreign { partly: false, .. })
            }),
        });
        (now, state.cards.values().filter_map(|card| card.lost).max())
    }

    /// What is wrong, for people.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.lock().cards.values().filter_map(|card| card.problem.clone()).collect()
    }

    /// Notes how a configuration stands. Gives the time after which to note it again, if only time is missing.
    pub(super) fn note(&self, name: &str, note: Note<'_>) -> Option<Duration> {
        let Note { known, problem, issuer, leads } = note;
        let stands = if leads { known.stands() } else { Stands::default() };
        self.metrics.configuration(name, stands);
        let mut state = self.lock();
        let card = state.cards.entry(name.to_owned()).or_default();
        (card.known, card.problem) = (known, problem);
        let reach = reach(state.cards.values(), issuer);
        let waits = state.pass(reach, Instant::now());
        let problems: Vec<&str> = state.cards.values().filter_map(|card| card.problem.as_deref()).collect();
        let problems = problems.join("; ");
        match (state.open, reach) {
            (true, _) if problems.is_empty() => drop(self.gate.open(state.told(leads))),
            (true, _) => drop(self.gate.open_with(String::new(), Some(problems))),
            (false, Reach::Unknown) if problems.is_empty() => {
                self.gate.trouble("it is not known yet whether API servers trust the certificate");
            }
            (false, Reach::Unknown) => self.gate.contradicted(problems),
            (false, Reach::Refused) => {
                let problem = if problems.is_empty() { "the caBundle is about to be set" } else { &problems };
                self.gate.contradicted(format!(
                    "API servers trust others than this replica, and who serves must not be replaced by it: {problem}"
                ));
            }
            (false, Reach::Trusted) => {
                self.gate.trouble("API servers have just been told to trust this replica");
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

    /// One of the webhooks was seen without one of our CAs.
    pub(super) fn lost(&self, name: &str, now: i64) {
        self.lock().cards.entry(name.to_owned()).or_default().lost = Some(now);
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
    /// Opens the gate when it is time, and tells how much time is missing.
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

    /// How all is, if nothing is wrong.
    fn told(&self, leads: bool) -> &'static str {
        let trust = self.cards.values().all(|card| match &card.known {
            Known::Entries(entries) => entries.iter().all(Entry::trusts_all),
            Known::Missing | Known::Elsewhere => true,
            Known::Nothing => false,
        });
        match (trust, leads) {
            (true, true) => "our webhooks trust our CA",
            (true, false) => "our webhooks trust our CA; kept by the replica that leads",
            (false, _) => "the replica that leads sets the caBundle",
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

/// Whether API servers trust a certificate of a CA. What cannot be looked at for a reason that is known is not waited for.
fn reach<'a>(cards: impl Iterator<Item = &'a Status> + Clone, issuer: &CertificateDer<'static>) -> Reach {
    if cards.clone().any(|card| matches!(card.known, Known::Nothing) && card.problem.is_none()) {
        return Reach::Unknown;
    }
    let entries = cards.filter_map(|card| match &card.known {
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
