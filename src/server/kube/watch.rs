//! The loop that keeps something as it is in the cluster: list, watch, and begin again.
//!
//! Written for an API server that freezes, goes away, forgets and refuses. Every request is bounded in time; a watch that
//! has been silent for longer than bookmarks come apart is asked for anew, which shows whether the API server is still
//! there (K-03, K-07). What was known stays known until it is known better.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::{Duration, Instant},
};

use futures::FutureExt;
use kube::core::WatchEvent;
use serde::de::DeserializeOwned;

use crate::server::kube::backoff as pace;
use crate::server::kube::metrics::Watches;
use crate::server::kube::request::{Cause, Events, Failure, Selected, Server};
use crate::server::readiness::Gate;
use crate::server::tls::unix_now;

/// What becomes of the objects.
pub(in crate::server) trait Keeper: Send {
    /// As much of an object as is decoded.
    type Object: Versioned;

    /// A list begins: what is not put before it is complete is gone.
    fn begin(&mut self);
    /// An object is there, or has changed.
    fn put(&mut self, object: Self::Object);
    /// An object is gone.
    fn remove(&mut self, object: Self::Object);
    /// The list is complete.
    fn complete(&mut self);
    /// No more changes are known of for now: the time to tell of those there were.
    fn settle(&mut self);
    /// What there is to know of what is kept.
    fn detail(&self) -> String;
    /// What is wrong with what is kept, although everything is known of it.
    fn remark(&self) -> Option<String> {
        None
    }
    /// The API server has no such resource. Gives whether that may be.
    fn absent(&mut self) -> bool {
        false
    }
    /// The role does not allow to know. Gives whether the server can do without.
    fn forbidden(&mut self) -> bool {
        false
    }
}

/// An object that says which version of it this is.
pub(in crate::server) trait Versioned: DeserializeOwned + Send + 'static {
    fn resource_version(&self) -> &str;
}

/// A watch: on what, and where it tells how it stands.
#[derive(Clone)]
pub(in crate::server) struct Watcher {
    pub(in crate::server) server: Server,
    pub(in crate::server) selected: Selected,
    /// Key for metrics and the log.
    pub(in crate::server) key: &'static str,
    pub(in crate::server) metrics: Watches,
    pub(in crate::server) gate: Gate,
}

/// How it stands between two requests.
#[derive(Default)]
struct Standing {
    /// Where to watch from; nothing where a list is needed.
    position: Option<String>,
    /// Failures in a row.
    failures: u32,
    /// When the watch was opened that is open or has just ended.
    opened: Option<Instant>,
    /// What was told of that went wrong and is not over yet.
    trouble: Option<String>,
    /// Whether the gate is open.
    known: bool,
    /// How often in a row there was no such resource.
    absences: u32,
}

/// How a watch ended that did not fail.
enum Ended {
    /// By the API server.
    Closed,
    /// By us, after a silence.
    Silent,
}

/// A watch that ends sooner counts as one that failed: an API server that closes at once must not be hammered.
const SHORT: Duration = Duration::from_secs(1);
/// Changes that come without an end are told of after this.
const UNSETTLED: Duration = Duration::from_secs(1);
/// How often a resource that was there must be found absent, and how far apart, until that is believed: an API server
/// that starts may not know of it yet.
const ABSENCES: u32 = 3;
const BETWEEN_ABSENCES: Duration = Duration::from_secs(1);

impl Watcher {
    /// Runs until it is dropped.
    pub(in crate::server) async fn run(self, mut keeper: impl Keeper) {
        let _disconnected = Disconnected(&self.metrics, self.key);
        let mut standing = Standing::default();
        loop {
            let ended = self.turn(&mut standing, &mut keeper).await;
            let lasted = standing.opened.take().is_some_and(|opened| opened.elapsed() >= SHORT);
            if lasted {
                standing.failures = 0;
            }
            let wait = match ended {
                Ok(Ended::Silent) => Duration::ZERO,
                Ok(Ended::Closed) if lasted => Duration::ZERO,
                Ok(Ended::Closed) => self.delay(&mut standing, None),
                Err(failure) => self.failed(&failure, &mut standing, &mut keeper),
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// A list where one is needed, and a watch to its end.
    async fn turn<K: Keeper>(&self, standing: &mut Standing, keeper: &mut K) -> Result<Ended, Failure> {
        let position = match &standing.position {
            Some(position) => position.clone(),
            None => {
                let position = self.list(keeper).await?;
                keeper.complete();
                standing.position = Some(position.clone());
                standing.known = true;
                standing.absences = 0;
                self.metrics.synced(self.key);
                self.metrics.heard(self.key, unix_now());
                self.gate.open_with(keeper.detail(), keeper.remark());
                position
            }
        };
        let seconds = pace::watch_seconds(&self.server.timings, dice());
        let mut events: Events<K::Object> = self.server.watch(&self.selected, &position, seconds).await?;
        standing.opened = Some(Instant::now());
        self.metrics.connected(self.key, true);
        self.metrics.heard(self.key, unix_now());
        if standing.trouble.take().is_some() {
            tracing::info!(watch = self.key, "the API server can be watched again");
            self.gate.open_with(keeper.detail(), keeper.remark());
        }
        let ended = self.follow(&mut events, standing, keeper).await;
        // Whatever the end was, the changes before it count.
        keeper.settle();
        ended
    }

    /// Lists page by page and gives the place to watch from.
    async fn list<K: Keeper>(&self, keeper: &mut K) -> Result<String, Failure> {
        keeper.begin();
        let mut proceed = String::new();
        loop {
            let page = self.server.page::<K::Object>(&self.selected, &proceed).await?;
            page.items.into_iter().for_each(|object| keeper.put(object));
            if page.metadata.r#continue.is_empty() {
                return Ok(page.metadata.resource_version);
            }
            proceed = page.metadata.r#continue;
        }
    }

    /// Takes events until the watch ends.
    async fn follow<K: Keeper>(
        &self,
        events: &mut Events<K::Object>,
        standing: &mut Standing,
        keeper: &mut K,
    ) -> Result<Ended, Failure> {
        let mut unsettled: Option<Instant> = None;
        loop {
            let at_once = match unsettled {
                Some(since) if since.elapsed() < UNSETTLED => events.next(&self.selected).now_or_never(),
                _ => None,
            };
            let event = match at_once {
                Some(event) => event,
                None => {
                    if unsettled.take().is_some() {
                        keeper.settle();
                        self.gate.open_with(keeper.detail(), keeper.remark());
                    }
                    let next = events.next(&self.selected);
                    match tokio::time::timeout(self.server.timings.idle, next).await {
                        Ok(event) => event,
                        Err(_) => return Ok(Ended::Silent),
                    }
                }
            };
            let Some(event) = event else { return Ok(Ended::Closed) };
            let event = event?;
            self.metrics.heard(self.key, unix_now());
            standing.failures = 0;
            let position = match &event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => {
                    unsettled.get_or_insert_with(Instant::now);
                    object.resource_version()
                }
                WatchEvent::Bookmark(bookmark) => &bookmark.metadata.resource_version,
                WatchEvent::Error(_) => "",
            };
            if !position.is_empty() {
                standing.position = Some(position.to_owned());
            }
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => keeper.put(object),
                WatchEvent::Deleted(object) => keeper.remove(object),
                WatchEvent::Bookmark(_) | WatchEvent::Error(_) => {}
            }
        }
    }

    /// Notes a failure and gives how long to wait.
    fn failed(&self, failure: &Failure, standing: &mut Standing, keeper: &mut impl Keeper) -> Duration {
        let asked = match failure.cause {
            Cause::Gone => {
                // The API server has forgotten where we were: list again, at once if that is the first time.
                standing.position = None;
                tracing::debug!(watch = self.key, failure = failure.sentence, "a list is needed");
                let wait = self.delay(standing, None);
                return if standing.failures == 1 { Duration::ZERO } else { wait };
            }
            Cause::Absent if self.is_absent(standing, keeper) => {
                return match standing.absences {
                    1..ABSENCES if standing.known => BETWEEN_ABSENCES,
                    _ => self.server.timings.absent,
                };
            }
            Cause::Forbidden => {
                // Should only watching be forbidden, lists still tell what changes.
                standing.position = None;
                None
            }
            Cause::Busy(asked) => asked,
            Cause::Absent | Cause::Conflict | Cause::Failed => None,
        };
        self.metrics.failed(self.key);
        self.metrics.connected(self.key, false);
        self.tell(failure, standing, keeper);
        self.delay(standing, asked)
    }

    fn delay(&self, standing: &mut Standing, asked: Option<Duration>) -> Duration {
        standing.failures = standing.failures.saturating_add(1);
        pace::retry(&self.server.timings, standing.failures, asked, dice())
    }

    /// Notes that there is no such resource. Gives whether that may be.
    fn is_absent(&self, standing: &mut Standing, keeper: &mut impl Keeper) -> bool {
        standing.position = None;
        standing.absences = standing.absences.saturating_add(1);
        if standing.known && standing.absences < ABSENCES {
            return true;
        }
        if !keeper.absent() {
            return false;
        }
        // The API server answers: there is just nothing to watch.
        self.metrics.connected(self.key, true);
        self.metrics.synced(self.key);
        self.metrics.heard(self.key, unix_now());
        let resource = self.selected.resource;
        if standing.known || standing.absences == 1 {
            tracing::info!(
                watch = self.key,
                "the API server has no {resource}; they are looked for again and again"
            );
        }
        self.gate.open(format!("the API server has no {resource}"));
        (standing.known, standing.trouble) = (false, None);
        true
    }

    /// Tells of a failure where it can be seen; the log hears of it once.
    fn tell(&self, failure: &Failure, standing: &mut Standing, keeper: &mut impl Keeper) {
        let sentence = &failure.sentence;
        if !standing.known && failure.cause == Cause::Forbidden && keeper.forbidden() {
            self.gate.open("not known");
        }
        match standing.known {
            true => self.gate.trouble(format!("{sentence}; what was known before is still used")),
            false => self.gate.trouble(sentence),
        }
        if standing.trouble.as_ref() != Some(sentence) {
            tracing::warn!(
                watch = self.key,
                failure = sentence,
                "the API server cannot be watched; trying again"
            );
            standing.trouble = Some(sentence.clone());
        }
    }
}

/// Marks a watch as not connected when its task ends, however it ends.
struct Disconnected<'a>(&'a Watches, &'static str);

impl Drop for Disconnected<'_> {
    fn drop(&mut self) {
        self.0.connected(self.1, false);
    }
}

/// Something that differs every time and for every replica.
fn dice() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
