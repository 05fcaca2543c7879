//! One named object that is followed: a list and a watch narrowed down to its name, and a look now and then for watches
//! that have died without a word (K-07).

use std::{collections::VecDeque, fmt::Debug, time::Duration};

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::server::kube::access;
use crate::server::kube::access::{Failure, What, call};
use crate::server::kube::lease::fraction;

/// What is known of the object.
#[derive(Clone, Debug, Default)]
pub(crate) enum Sight<K> {
    /// Nothing: there was no complete list yet.
    #[default]
    Unknown,
    /// It is not there.
    Missing,
    /// How it was last seen.
    There(Box<K>),
}

/// Follows an object.
pub(crate) struct Follower<K> {
    api: Api<K>,
    name: String,
    what: What,
    reports: BoxStream<'static, Report<K>>,
    sight: Sight<K>,
    /// What keeps it from being watched, and from being looked at.
    troubles: [Option<String>; 2],
    look_at: Instant,
}

/// What a watch tells.
enum Report<K> {
    /// The object is like this, or is not there.
    Object(Option<K>),
    /// It is watched.
    Watched,
    /// It cannot be.
    Trouble(String),
}

/// How long a single watch lasts, in seconds.
const WATCH: u32 = 55;
/// One that lasts longer is dead.
const DEAD: Duration = Duration::from_secs(60);
/// A watch that ends sooner counts as one that failed.
const SHORT: Duration = Duration::from_secs(1);
/// Between two looks.
const LOOK: Duration = Duration::from_secs(30);
/// The first pause after a failure; they double up to 16 times that. One object costs an API server little, and an outage
/// should not echo for long.
const PAUSE: Duration = Duration::from_millis(500);

impl<K> Follower<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    pub(crate) fn new(api: Api<K>, name: String, what: What) -> Follower<K> {
        let reports = Watch::new(api.clone(), &name, what.clone()).reports();
        Follower {
            api,
            name,
            what,
            reports,
            sight: Sight::Unknown,
            troubles: [None, None],
            look_at: next_look(),
        }
    }

    /// How it was last seen.
    pub(crate) fn sight(&self) -> &Sight<K> {
        &self.sight
    }

    /// What keeps it from being followed; it goes on trying.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.troubles.iter().flatten().next().map(String::as_str)
    }

    /// Waits until it has changed, or what keeps it from being followed has. May be dropped while it waits.
    pub(crate) async fn news(&mut self) {
        loop {
            let before = self.trouble().map(str::to_owned);
            let changed = tokio::select! {
                report = self.reports.next() => match report {
                    Some(Report::Object(Some(object))) => self.newer(object),
                    Some(Report::Object(None)) => self.put(None),
                    Some(Report::Watched) => { self.troubles[0] = None; false }
                    Some(Report::Trouble(trouble)) => { self.troubles[0] = Some(trouble); false }
                    // A watch goes on for ever; should this one not, the looks are still there.
                    None => std::future::pending().await,
                },
                () = tokio::time::sleep_until(self.look_at) => self.look().await.unwrap_or(false),
            };
            if changed || self.trouble() != before.as_deref() {
                return;
            }
        }
    }

    /// Looks at it now. Tells whether it has changed.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(crate) async fn look(&mut self) -> Result<bool, Failure> {
        self.look_at = next_look();
        let found = match call("get", &self.what, access::LONGEST, self.api.get(&self.name)).await {
            Ok(object) => Ok(Some(object)),
            Err(Failure::NotFound) => Ok(None),
            Err(failure) => Err(failure),
        };
        self.troubles[1] = found.as_ref().err().map(Failure::to_string);
        found.map(|object| self.put(object))
    }

    /// Takes how it is now from an answer. Tells whether it has changed.
    pub(crate) fn put(&mut self, object: Option<K>) -> bool {
        let before = std::mem::take(&mut self.sight);
        self.sight = object.map_or(Sight::Missing, |object| Sight::There(Box::new(object)));
        match (&before, &self.sight) {
            (Sight::Missing, Sight::Missing) => false,
            (Sight::There(before), Sight::There(now)) => version(before.as_ref()) != version(now.as_ref()),
            _ => true,
        }
    }

    /// Takes how it is now from a watch, which may be behind the answers.
    fn newer(&mut self, object: K) -> bool {
        if let Sight::There(before) = &self.sight
            && let (Ok(before), Ok(now)) =
                (version(before.as_ref()).parse::<u64>(), version(&object).parse::<u64>())
            && now < before
        {
            return false;
        }
        self.put(Some(object))
    }
}

fn version<K: Resource>(object: &K) -> String {
    object.resource_version().unwrap_or_default()
}

fn next_look() -> Instant {
    Instant::now() + LOOK.mul_f64(0.8 + 0.4 * fraction())
}

/// A list and then a watch, again and again.
struct Watch<K> {
    api: Api<K>,
    fields: String,
    what: What,
    /// Where to watch from; nothing where a list is needed.
    position: Option<String>,
    open: Option<Open<K>>,
    failures: u32,
    /// When the next request may be sent.
    resume: Option<Instant>,
    /// What is still to be told.
    told: VecDeque<Report<K>>,
}

/// A watch that is open.
struct Open<K> {
    events: BoxStream<'static, kube::Result<WatchEvent<K>>>,
    since: Instant,
}

impl<K> Watch<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    fn new(api: Api<K>, name: &str, what: What) -> Watch<K> {
        let fields = format!("metadata.name={name}");
        Watch {
            api,
            fields,
            what,
            position: None,
            open: None,
            failures: 0,
            resume: None,
            told: VecDeque::new(),
        }
    }

    /// The stream keeps a request that is under way when nobody waits for it.
    fn reports(self) -> BoxStream<'static, Report<K>> {
        stream::unfold(self, |mut watch| async move {
            loop {
                if let Some(report) = watch.told.pop_front() {
                    return Some((report, watch));
                }
                watch.step().await;
            }
        })
        .boxed()
    }

    /// One request, or one event.
    async fn step(&mut self) {
        if let Some(resume) = self.resume.take() {
            tokio::time::sleep_until(resume).await;
        }
        let done = match (&mut self.open, &self.position) {
            (Some(_), _) => self.event().await,
            (None, Some(position)) => self.open(&position.clone()).await,
            (None, None) => self.list().await,
        };
        if let Err(failure) = done {
            // A list tells what was missed, whatever the failure was.
            (self.open, self.position) = (None, None);
            self.told.push_back(Report::Trouble(failure.to_string()));
            self.pause();
        }
    }

    async fn list(&mut self) -> Result<(), Failure> {
        let parameters = ListParams::default().fields(&self.fields);
        let list = call("list", &self.what, access::LONGEST, self.api.list(&parameters)).await?;
        self.position = Some(list.metadata.resource_version.clone().unwrap_or_default());
        self.told.push_back(Report::Object(list.items.into_iter().next()));
        Ok(())
    }

    async fn open(&mut self, position: &str) -> Result<(), Failure> {
        let parameters = WatchParams::default().fields(&self.fields).timeout(WATCH);
        let request = self.api.watch(&parameters, position);
        let events = call("watch", &self.what, access::LONGEST, request).await?.boxed();
        self.open = Some(Open { events, since: Instant::now() });
        self.told.push_back(Report::Watched);
        Ok(())
    }

    async fn event(&mut self) -> Result<(), Failure> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let lasted = open.since.elapsed() >= SHORT;
        if lasted {
            self.failures = 0;
        }
        let event = match tokio::time::timeout_at(open.since + DEAD, open.events.next()).await {
            Ok(Some(event)) => event,
            // The API server ends a watch after its time; one that it does not end is dead.
            Ok(None) | Err(_) => {
                let lasted = open.since.elapsed() >= SHORT;
                self.open = None;
                if !lasted {
                    self.pause();
                }
                return Ok(());
            }
        };
        let (object, there) = match event.map_err(|error| Failure::of("watch", &self.what, &error))? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, true),
            WatchEvent::Deleted(object) => (object, false),
            WatchEvent::Bookmark(bookmark) => {
                self.position = Some(bookmark.metadata.resource_version);
                return Ok(());
            }
            // 410: a list is needed, and that is no trouble.
            WatchEvent::Error(status) if status.code == 410 => {
                (self.open, self.position) = (None, None);
                if !lasted {
                    self.pause();
                }
                return Ok(());
            }
            WatchEvent::Error(status) => {
                return Err(Failure::of("watch", &self.what, &kube::Error::Api(status)));
            }
        };
        self.position = Some(version(&object));
        self.told.push_back(Report::Object(there.then_some(object)));
        Ok(())
    }

    /// The next request waits.
    fn pause(&mut self) {
        let pause = PAUSE * 2_u32.pow(self.failures.min(4));
        self.failures += 1;
        self.resume = Some(Instant::now() + pause.mul_f64(0.75 + 0.5 * fraction()));
    }
}
