//! Keeps the caBundle of our webhooks: of exactly our entries, found by name. Entries without rules, which API servers
//! pass by, get their rules once this replica serves. Nothing else of the object is touched.
//!
//! Only the leader writes. A caBundle that is empty, garbage or an old one of ours is set at once; one that somebody
//! else keeps is never fought over. A configuration that is missing is never made.

pub(crate) mod assess;

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use rustls::pki_types::CertificateDer;
use tokio::{sync::watch, time::Instant};

use self::assess::{Entry, MANAGER, Standing, application, assess};
use crate::names;

use super::{
    super::{
        lease::Clock,
        metrics::certs::{CertificateMetrics, Stands},
        readiness::Gate,
        supervise::Supervisor,
    },
    access::{self, Failure, What, call},
    follow::{Follower, Sight},
    repairs::Repairs,
    report::{Kind, Reporter},
};

/// What the caBundle should be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    /// In PEM.
    pub(crate) bundle: String,
    pub(crate) certificates: HashSet<CertificateDer<'static>>,
}

/// How all configurations stand, for everybody who wants to know.
#[derive(Clone)]
pub(crate) struct Board {
    cards: Arc<Mutex<BTreeMap<String, Card>>>,
    changed: watch::Sender<()>,
    gate: Gate,
    metrics: CertificateMetrics,
}

/// How one configuration stands.
#[derive(Clone, Debug, Default)]
struct Card {
    known: Known,
    /// What is wrong, for people.
    problem: Option<String>,
    /// When one of its webhooks was last seen without one of our CAs.
    lost: Option<i64>,
}

/// A configuration that is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kept {
    /// Its name.
    pub(crate) name: String,
    /// It is a tag that may be moved: it is kept only while it is there and its label says this revision.
    pub(crate) while_of_revision: Option<String>,
}

/// What is known of a configuration.
#[derive(Clone, Debug, Default)]
enum Known {
    /// It could not be looked at, or another replica does.
    #[default]
    Nothing,
    /// It is not there: no API server calls us by it.
    Missing,
    /// It is a tag that points to another revision, or to none.
    Elsewhere,
    Entries(Vec<Entry>),
}

/// What a keeper of one configuration works with.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) client: Client,
    pub(crate) suffixes: Arc<Vec<String>>,
    pub(crate) trust: watch::Receiver<Option<Arc<Trust>>>,
    /// Whether this replica has been ready for so long that API servers reach it.
    pub(crate) serving: watch::Receiver<bool>,
    pub(crate) clock: Clock,
    pub(crate) reporter: Reporter,
    pub(crate) board: Board,
    pub(crate) supervisor: Supervisor,
}

/// Before trying again what the API server did not do.
const RETRY: Duration = Duration::from_secs(2);
/// Without news.
const IDLE: Duration = Duration::from_secs(60);
/// Attempts in a row against whoever is faster.
const ATTEMPTS: usize = 3;

/// Keeps the named configurations for as long as the future is polled.
pub(crate) async fn keep(kept: &[Kept], tools: &Tools) {
    let keepers = kept.iter().map(|kept| {
        let begin = || Keeper::new(kept.clone(), tools.clone()).run();
        tools.supervisor.clone().keep("a webhook configuration is kept", begin)
    });
    futures::future::join_all(keepers).await;
}

impl Board {
    pub(crate) fn new(kept: &[Kept], gate: Gate, metrics: CertificateMetrics) -> Board {
        let cards = kept.iter().map(|kept| (kept.name.clone(), Card::default())).collect();
        let board =
            Board { cards: Arc::new(Mutex::new(cards)), changed: watch::Sender::new(()), gate, metrics };
        board.idle();
        board
    }

    /// Tells of every change.
    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Another replica keeps the configurations.
    pub(crate) fn idle(&self) {
        let mut cards = self.lock();
        for (name, card) in cards.iter_mut() {
            *card = Card::default();
            self.metrics.configuration(name, Stands::default());
        }
        self.gate.open(if cards.is_empty() {
            "no webhook configuration is named: somebody else keeps the caBundle"
        } else {
            "kept by the replica that leads"
        });
    }

    /// Whether every webhook that trusts us at all trusts a CA, and when one was last seen that did not trust all of
    /// ours. What cannot be looked at does not.
    pub(crate) fn carried(&self, ca: &CertificateDer<'static>) -> (bool, Option<i64>) {
        let cards = self.lock();
        let now = cards.values().all(|card| match &card.known {
            Known::Nothing => false,
            Known::Missing | Known::Elsewhere => true,
            Known::Entries(entries) => entries.iter().all(|entry| {
                entry.trusts(ca) || matches!(entry.standing, Standing::Foreign { partly: false, .. })
            }),
        });
        (now, cards.values().filter_map(|card| card.lost).max())
    }

    /// What is wrong, for people.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.lock().values().filter_map(|card| card.problem.clone()).collect()
    }

    fn note(&self, name: &str, known: Known, problem: Option<String>) {
        let stands = match &known {
            Known::Entries(entries) => Stands {
                present: Some(true),
                in_sync: Some(!entries.is_empty() && entries.iter().all(Entry::trusts_all)),
                active: Some(!entries.is_empty() && entries.iter().all(|entry| entry.active)),
            },
            // There is no caBundle that could be right or wrong.
            Known::Missing => Stands { present: Some(false), ..Stands::default() },
            Known::Nothing => Stands { in_sync: Some(false), ..Stands::default() },
            Known::Elsewhere => Stands::default(),
        };
        self.metrics.configuration(name, stands);
        let mut cards = self.lock();
        let card = cards.entry(name.to_owned()).or_default();
        (card.known, card.problem) = (known, problem);
        let problems: Vec<&str> = cards.values().filter_map(|card| card.problem.as_deref()).collect();
        let problems = problems.join("; ");
        if problems.is_empty() {
            self.gate.open("our webhooks trust our CA");
        } else {
            self.gate.contradicted(problems);
        }
        drop(cards);
        self.changed.send_replace(());
    }

    /// One of the webhooks was seen without one of our CAs.
    fn lost(&self, name: &str, now: i64) {
        self.lock().entry(name.to_owned()).or_default().lost = Some(now);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Card>> {
        self.cards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps one configuration.
struct Keeper {
    name: String,
    while_of_revision: Option<String>,
    what: What,
    api: Api<MutatingWebhookConfiguration>,
    follower: Follower<MutatingWebhookConfiguration>,
    tools: Tools,
    /// Repairs of what was right before.
    repairs: Repairs,
    /// The trust of the last write: writing another one is no repair.
    written: Option<Arc<Trust>>,
    /// Whether all entries were seen with rules: to give them rules again is a repair.
    activated: bool,
    /// What kept it from being followed, as it was said last.
    trouble: Option<String>,
}

impl Keeper {
    fn new(kept: Kept, tools: Tools) -> Keeper {
        let Kept { name, while_of_revision } = kept;
        let api = Api::all(tools.client.clone());
        let what = What {
            resource: "mutatingwebhookconfigurations",
            object: format!("mutatingwebhookconfiguration {name}"),
        };
        let follower = Follower::new(api.clone(), name.clone(), what.clone());
        Keeper {
            name,
            while_of_revision,
            what,
            api,
            follower,
            tools,
            repairs: Repairs::default(),
            written: None,
            activated: false,
            trouble: None,
        }
    }

    async fn run(mut self) {
        loop {
            let pause = self.settle().await;
            tokio::select! {
                () = self.follower.news() => {}
                changed = self.tools.trust.changed() => if changed.is_err() {
                    return;
                },
                // Its sender may be gone: it has said all there is to say then.
                Ok(()) = self.tools.serving.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks at what there is and sets what is to be set. Gives the time after which to look again.
    async fn settle(&mut self) -> Duration {
        let Some(trust) = self.tools.trust.borrow_and_update().clone() else { return IDLE };
        let (pause, failed) = self.set(&trust).await;
        self.post(&trust, failed);
        pause
    }

    /// Sets what is to be set. Gives the time after which to look again, and what went wrong.
    async fn set(&mut self, trust: &Arc<Trust>) -> (Duration, Option<String>) {
        let serving = *self.tools.serving.borrow_and_update();
        for _ in 0..ATTEMPTS {
            let Sight::There(configuration) = self.follower.sight() else { return (IDLE, None) };
            if self.is_elsewhere(Some(configuration)) {
                // What it says when it comes back is the work of whoever moved it.
                self.written = None;
                return (IDLE, None);
            }
            let entries = assess(configuration, &self.tools.suffixes, &trust.certificates);
            let Some(application) = application(configuration, &entries, &trust.bundle, serving) else {
                if entries.iter().any(|entry| entry.standing == Standing::Right) {
                    self.written = Some(trust.clone());
                }
                self.activated |= !entries.is_empty() && entries.iter().all(|entry| entry.active);
                return (IDLE, None);
            };
            let wrong = entries.iter().any(|entry| matches!(entry.standing, Standing::Wrong(_)));
            if wrong {
                // However soon it is set again: an API server may have seen it.
                self.tools.board.lost(&self.name, self.tools.clock.now());
            }
            if let Some(delay) = self.delay(trust, wrong) {
                let object = &self.what.object;
                let what = if wrong { "the caBundle" } else { "the list of rules" };
                let problem = format!("{what} in {object} is changed again and again and is not set at once");
                return (delay, Some(problem));
            }
            let parameters = PatchParams::apply(MANAGER).force();
            let patch = Patch::Apply(application);
            let request = self.api.patch(&self.name, &parameters, &patch);
            match call("patch", &self.what, access::LONGEST, request).await {
                Ok(configuration) => {
                    self.wrote(&entries, trust, serving);
                    self.follower.put(Some(configuration));
                }
                Err(Failure::Conflict | Failure::NotFound) => {
                    if self.follower.look().await.is_err() {
                        return (RETRY, None);
                    }
                }
                Err(failure) => {
                    self.tools.board.metrics.failed("ca_bundle");
                    return (RETRY, Some(failure.to_string()));
                }
            }
        }
        (RETRY, None)
    }

    /// Whether it is a tag that points to another revision, or to none: its caBundle is nothing of ours.
    fn is_elsewhere(&self, configuration: Option<&MutatingWebhookConfiguration>) -> bool {
        let labels = configuration.and_then(|configuration| configuration.metadata.labels.as_ref());
        let found = labels.and_then(|labels| labels.get(names::LABEL_CONFIGURATION_REVISION));
        self.while_of_revision.is_some() && found != self.while_of_revision.as_ref()
    }

    /// How long a repair has to wait because the last ones were undone.
    fn delay(&mut self, trust: &Arc<Trust>, wrong: bool) -> Option<Duration> {
        if !self.is_repair(trust, wrong) {
            return None;
        }
        self.repairs.delay(Instant::now())
    }

    /// Whether a write puts back what was there before: a caBundle, or else rules.
    fn is_repair(&self, trust: &Arc<Trust>, wrong: bool) -> bool {
        if wrong { self.written.as_ref() == Some(trust) } else { self.activated }
    }

    fn wrote(&mut self, entries: &[Entry], trust: &Arc<Trust>, serving: bool) {
        self.tools.board.metrics.ca_bundle_written(&self.name);
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
        let object = &self.what.object;
        if !wrong.is_empty() {
            let webhooks = wrong.join(", ");
            tracing::info!(config = self.name, webhooks, repair, "the caBundle is set");
            if repair {
                let message = format!("the caBundle in {object} was changed and is set again: {webhooks}");
                self.tools.reporter.happened(Kind::Normal, "CaBundleRepaired", &message);
            }
        }
        let waited: Vec<&str> = entries
            .iter()
            .filter(|entry| serving && entry.waits())
            .map(|entry| entry.name.as_str())
            .collect();
        if !waited.is_empty() {
            let webhooks = waited.join(", ");
            tracing::info!(config = self.name, webhooks, "the webhooks are active: a replica serves");
            let message = format!("webhooks in {object} are active, since a replica serves: {webhooks}");
            self.tools.reporter.happened(Kind::Normal, "WebhooksActive", &message);
        }
    }

    /// Puts up how the configuration stands, and says what is wrong.
    fn post(&mut self, trust: &Trust, failed: Option<String>) {
        let trouble = self.follower.trouble().map(str::to_owned);
        if trouble.is_some() && trouble != self.trouble {
            self.tools.board.metrics.failed("ca_bundle");
        }
        self.trouble.clone_from(&trouble);
        let mut problems: Vec<String> = trouble.into_iter().chain(failed).collect();
        let known = match self.follower.sight() {
            Sight::Unknown => Known::Nothing,
            Sight::Missing if self.is_elsewhere(None) => Known::Elsewhere,
            Sight::There(configuration) if self.is_elsewhere(Some(configuration)) => Known::Elsewhere,
            Sight::Missing => {
                problems.push(format!("{} is missing; nothing calls this server by it", self.what.object));
                Known::Missing
            }
            Sight::There(configuration) => {
                let entries = assess(configuration, &self.tools.suffixes, &trust.certificates);
                if entries.is_empty() {
                    let suffixes = self.tools.suffixes.join(" or ");
                    problems
                        .push(format!("{} has no webhook whose name ends with {suffixes}", self.what.object));
                }
                problems.extend(entries.iter().filter_map(|entry| self.conflict(entry)));
                problems.extend(entries.iter().filter(|entry| entry.holds_key).map(|entry| {
                    let (name, object) = (&entry.name, &self.what.object);
                    format!("webhook {name} in {object}: a private key is in its caBundle, which many may read; replace it")
                }));
                if !entries.iter().all(Entry::trusts_all) {
                    self.tools.board.lost(&self.name, self.tools.clock.now());
                }
                Known::Entries(entries)
            }
        };
        for problem in &problems {
            if self.tools.reporter.news("the caBundle is not as it should be", problem) {
                tracing::warn!(config = self.name, problem, "the caBundle is not as it should be");
            }
        }
        self.tools.board.note(&self.name, known, (!problems.is_empty()).then(|| problems.join("; ")));
    }

    /// Who keeps the caBundle of a webhook, if that is not us.
    fn conflict(&self, entry: &Entry) -> Option<String> {
        let (name, object) = (&entry.name, &self.what.object);
        match &entry.standing {
            Standing::Foreign { by, partly } => {
                let found = if *partly { "lacks one of our CAs" } else { "does not hold our CA" };
                let problem = format!(
                    "webhook {name} in {object}: its caBundle {found} and is kept by {by}; it is left alone until it is \
                     emptied; accepted is --certificate files if {by} is to keep it"
                );
                self.tools.reporter.event(Kind::Warning, "CaBundleConflict", &problem);
                Some(problem)
            }
            Standing::Extended { by } => {
                Some(format!("webhook {name} in {object}: its caBundle trusts more than our CA, set by {by}"))
            }
            Standing::Right | Standing::Wrong(_) => None,
        }
    }
}
