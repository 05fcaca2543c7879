//! Watches that last: kube-runtime's `watcher` lists, watches and resumes; this module handles API servers that
//! freeze, reject requests or lose resources.
//!
//! Every response has a timeout (K-03), a silent watch is restarted (K-07), pauses grow and honor `Retry-After`
//! (K-08), a resource that does not exist may appear later (K-09), and a gate states why nothing is known. The last
//! known state is kept until it is replaced.

mod transport;

use std::{fmt::Debug, pin::Pin, time::Duration};

use futures::{FutureExt, Stream, StreamExt};
use kube::{
    Api, Client, Resource,
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use self::transport::Transport;
use crate::server::clock::unix_now;
pub use crate::server::kube::backoff::Timings;
use crate::server::kube::backoff::{retry, watch_seconds};
use crate::server::kube::error::{ApiError, Reason};
use crate::server::kube::metrics::Watches;
use crate::server::kube::request::Target;
use crate::server::readiness::Gate;

/// An object that can be watched.
pub(in crate::server) trait Watchable:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static
{
}

impl<K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static> Watchable for K {}

/// The objects to watch.
#[derive(Clone)]
pub(in crate::server) struct Watched<K> {
    /// Their RBAC name; with an object name, only that object is watched.
    pub(in crate::server) target: Target,
    /// `Api::namespaced`, or `Api::all` for cluster-scoped resources.
    pub(in crate::server) api: fn(Client, &str) -> Api<K>,
    /// Page size of lists.
    pub(in crate::server) page: u32,
}

/// An endless stream of changes to the objects.
pub(in crate::server) struct WatchStream<K> {
    watched: Watched<K>,
    timings: Timings,
    transport: Transport,
    events: Pin<Box<dyn Stream<Item = watcher::Result<Event<K>>> + Send>>,
    /// Number of consecutive failures.
    failures: u32,
    /// When the next request may be sent.
    resume: Option<Instant>,
}

/// An item of a watch.
#[derive(Debug)]
pub(in crate::server) enum Report<K> {
    Event(Event<K>),
    /// The API server has responded to a watch.
    Opened,
    /// A request failed; it is retried.
    Failed(ApiError),
}

impl<K: Watchable> WatchStream<K> {
    /// Starts with a list. `alive` is called for each sign of life of the API server.
    pub(in crate::server) fn new(
        client: Client,
        watched: Watched<K>,
        timings: Timings,
        alive: impl Fn() + Send + Sync + 'static,
    ) -> WatchStream<K> {
        let transport = Transport::new(client, timings.clone(), Box::new(alive));
        let events = events(&transport, &watched, &timings);
        WatchStream { watched, timings, transport, events, failures: 0, resume: None }
    }

    /// Waits for the next item. Cancel-safe.
    pub(in crate::server) async fn next(&mut self) -> Report<K> {
        if let Some(resume) = self.resume {
            tokio::time::sleep_until(resume).await;
            self.resume = None;
        }
        let event = tokio::select! {
            // Report that a watch is open before its first event.
            biased;
            () = self.transport.opened() => return Report::Opened,
            event = self.events.next() => event,
        };
        match event {
            Some(Ok(event)) => {
                if matches!(event, Event::Apply(_) | Event::Delete(_)) {
                    self.failures = 0;
                }
                Report::Event(event)
            }
            Some(Err(error)) => Report::Failed(self.failed(&error)),
            // The watcher never ends.
            None => std::future::pending().await,
        }
    }

    /// Sends the next request after this pause.
    fn pause(&mut self, pause: Duration) {
        self.resume = Some(Instant::now() + pause);
    }

    fn failed(&mut self, error: &watcher::Error) -> ApiError {
        let error = self.error(error);
        if self.transport.lasted() {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let asked = self.transport.retry_after();
        let expired = matches!(error.reason, Reason::Expired(_));
        // The first time, relist at once to catch up.
        let pause = if expired && self.failures == 1 {
            Duration::ZERO
        } else {
            retry(&self.timings, self.failures, asked, fastrand::u64(..))
        };
        self.pause(pause);
        // The watcher would repeat the same watch, even after a 410 in a status, and when a list would reveal changes
        // although watching is forbidden, or whether the resource exists.
        if expired || error.is_forbidden() || error.is_not_found() {
            self.events = events(&self.transport, &self.watched, &self.timings);
        }
        error
    }

    fn error(&self, error: &watcher::Error) -> ApiError {
        let (verb, reason) = match error {
            watcher::Error::InitialListFailed(error) => ("list", Reason::of(error)),
            watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
                ("watch", Reason::of(error))
            }
            watcher::Error::WatchError(status) => ("watch", Reason::of_status(status)),
            watcher::Error::NoResourceVersion => {
                ("watch", Reason::Unreadable("metadata.resourceVersion is missing".to_owned()))
            }
        };
        ApiError::because(verb, &self.watched.target, reason)
    }
}

fn events<K: Watchable>(
    transport: &Transport,
    watched: &Watched<K>,
    timings: &Timings,
) -> Pin<Box<dyn Stream<Item = watcher::Result<Event<K>>> + Send>> {
    let Target { namespace, name, .. } = &watched.target;
    let mut config =
        watcher::Config::default().page_size(watched.page).timeout(watch_seconds(timings, fastrand::u64(..)));
    if !name.is_empty() {
        config = config.fields(&format!("metadata.name={name}"));
    }
    Box::pin(watcher((watched.api)(transport.client(), namespace), config))
}

/// Stores the objects of a watch.
pub(in crate::server) trait Keeper: Send {
    /// The decoded form of an object.
    type Object: Watchable;

    /// A list starts: objects that are not put before its end are gone.
    fn begin(&mut self);
    /// An object was added or changed.
    fn put(&mut self, object: Self::Object);
    /// An object was deleted.
    fn remove(&mut self, object: Self::Object);
    /// The list is complete.
    fn complete(&mut self);
    /// No more changes are pending for now: publish those that arrived.
    fn settle(&mut self);
    /// A summary of what is stored.
    fn detail(&self) -> String;
    /// A problem with what is stored, although the list is complete.
    fn remark(&self) -> Option<String> {
        None
    }
    /// The API server does not have this resource. Returns whether that is acceptable.
    fn absent(&mut self) -> bool {
        false
    }
    /// RBAC denies access. Returns whether the server works without it.
    fn forbidden(&mut self) -> bool {
        false
    }
}

/// Feeds a keeper, and updates gate, metrics and log.
#[derive(Clone)]
pub(in crate::server) struct Watcher<K> {
    pub(in crate::server) client: Client,
    pub(in crate::server) watched: Watched<K>,
    pub(in crate::server) timings: Timings,
    /// Label value for metrics and the log.
    pub(in crate::server) key: &'static str,
    pub(in crate::server) metrics: Watches,
    pub(in crate::server) gate: Gate,
}

/// The state of a watch.
#[derive(Default)]
struct Standing {
    /// The last reported failure, if it persists.
    trouble: Option<String>,
    /// Whether the gate is open.
    known: bool,
    /// How often in a row the resource was missing.
    absences: u32,
}

/// Continuous changes are published at this interval.
const UNSETTLED: Duration = Duration::from_secs(1);
/// How often and at which interval a known resource must be missing before it is considered gone: an API server that
/// is starting may not know it yet.
const ABSENCES: u32 = 3;
const BETWEEN_ABSENCES: Duration = Duration::from_secs(1);

impl<K: Watchable> Watcher<K> {
    /// Runs until it is dropped.
    pub(in crate::server) async fn run(self, mut keeper: impl Keeper<Object = K>) {
        let _disconnected = Disconnected(&self.metrics, self.key);
        let (metrics, key) = (self.metrics.clone(), self.key);
        let alive = move || metrics.heard(key, unix_now());
        let mut stream =
            WatchStream::new(self.client.clone(), self.watched.clone(), self.timings.clone(), alive);
        let mut standing = Standing::default();
        let mut unsettled: Option<Instant> = None;
        loop {
            let at_once = match unsettled {
                Some(since) if since.elapsed() < UNSETTLED => stream.next().now_or_never(),
                _ => None,
            };
            let report = match at_once {
                Some(report) => report,
                None => {
                    if unsettled.take().is_some() {
                        keeper.settle();
                        self.gate.open_with(keeper.detail(), keeper.remark());
                    }
                    stream.next().await
                }
            };
            match report {
                Report::Event(Event::Init) => keeper.begin(),
                Report::Event(Event::InitApply(object)) => keeper.put(object),
                Report::Event(Event::InitDone) => {
                    keeper.complete();
                    (standing.known, standing.absences) = (true, 0);
                    self.metrics.synced(self.key);
                    self.gate.open_with(keeper.detail(), keeper.remark());
                }
                Report::Event(Event::Apply(object)) => {
                    keeper.put(object);
                    unsettled.get_or_insert_with(Instant::now);
                }
                Report::Event(Event::Delete(object)) => {
                    keeper.remove(object);
                    unsettled.get_or_insert_with(Instant::now);
                }
                Report::Opened => {
                    self.metrics.connected(self.key, true);
                    if standing.trouble.take().is_some() {
                        tracing::info!(watch = self.key, "watch restored");
                        self.gate.open_with(keeper.detail(), keeper.remark());
                    }
                }
                Report::Failed(error) => {
                    // Whatever the failure, the changes before it count.
                    if unsettled.take().is_some() {
                        keeper.settle();
                        self.gate.open_with(keeper.detail(), keeper.remark());
                    }
                    if let Some(pause) = self.failed(&error, &mut standing, &mut keeper) {
                        stream.pause(pause);
                    }
                }
            }
        }
    }

    /// Records a failure, and returns the pause if it is not the usual one.
    fn failed(
        &self,
        error: &ApiError,
        standing: &mut Standing,
        keeper: &mut impl Keeper<Object = K>,
    ) -> Option<Duration> {
        if matches!(error.reason, Reason::Expired(_)) {
            tracing::debug!(watch = self.key, %error, "relisting");
            return None;
        }
        if error.is_not_found() && self.is_absent(standing, keeper) {
            return Some(match standing.absences {
                1..ABSENCES if standing.known => BETWEEN_ABSENCES,
                _ => self.timings.absent,
            });
        }
        self.metrics.failed(self.key);
        self.metrics.connected(self.key, false);
        self.tell(error, standing, keeper);
        None
    }

    /// Records that the resource does not exist. Returns whether that is acceptable.
    fn is_absent(&self, standing: &mut Standing, keeper: &mut impl Keeper<Object = K>) -> bool {
        standing.absences = standing.absences.saturating_add(1);
        if standing.known && standing.absences < ABSENCES {
            return true;
        }
        if !keeper.absent() {
            return false;
        }
        // The API server responds, but there is nothing to watch.
        self.metrics.connected(self.key, true);
        self.metrics.synced(self.key);
        self.metrics.heard(self.key, unix_now());
        let resource = self.watched.target.resource;
        if standing.known || standing.absences == 1 {
            tracing::info!(watch = self.key, "the API server has no {resource}; will keep checking");
        }
        self.gate.open(format!("the API server has no {resource}"));
        (standing.known, standing.trouble) = (false, None);
        true
    }

    /// Publishes a failure; logs it once.
    fn tell(&self, error: &ApiError, standing: &mut Standing, keeper: &mut impl Keeper<Object = K>) {
        let sentence = error.to_string();
        if !standing.known && error.is_forbidden() && keeper.forbidden() {
            self.gate.open("not known");
        }
        match standing.known {
            true => self.gate.trouble(format!("{sentence}; using the last known state")),
            false => self.gate.trouble(sentence.clone()),
        }
        if standing.trouble.as_ref() != Some(&sentence) {
            tracing::warn!(watch = self.key, failure = sentence, "watch failed; retrying");
            standing.trouble = Some(sentence);
        }
    }
}

/// Marks a watch as disconnected when its task ends for any reason.
struct Disconnected<'a>(&'a Watches, &'static str);

impl Drop for Disconnected<'_> {
    fn drop(&mut self) {
        self.0.connected(self.1, false);
    }
}

#[cfg(test)]
mod tests;
