//! Follows one named object: a watch on its name, plus a periodic read, which finds changes that the watch has not
//! reported yet (K-07) and continues if only watching is forbidden.

use std::time::Duration;

use kube::{Api, Client, ResourceExt, runtime::watcher::Event};
use tokio::time::Instant;

use crate::server::jitter;
use crate::server::kube::error::{ApiError, Reason};
use crate::server::kube::request::{TIMEOUT, Target, call};
use crate::server::kube::watch::{Report, Timings, WatchStream, Watchable, Watched};

/// The known state of the object.
#[derive(Clone, Debug, Default)]
pub(crate) enum ObjectState<K> {
    /// Unknown: the first list is not complete yet.
    #[default]
    Unknown,
    /// It does not exist.
    Missing,
    /// Its last known version.
    Present(Box<K>),
}

/// Follows an object.
pub(crate) struct Follower<K> {
    api: Api<K>,
    target: Target,
    stream: WatchStream<K>,
    /// Whether the list being read contains it.
    listed: bool,
    state: ObjectState<K>,
    /// Why it cannot be watched, and why it cannot be read.
    troubles: [Option<String>; 2],
    look_at: Instant,
}

/// Interval between two reads.
const LOOK: Duration = Duration::from_secs(30);

impl<K: Watchable> Follower<K> {
    /// Follows the object named by `target`; `api` is `Api::namespaced`, or `Api::all` for cluster-scoped objects.
    pub(in crate::server) fn new(
        client: Client,
        target: Target,
        api: fn(Client, &str) -> Api<K>,
    ) -> Follower<K> {
        let watched = Watched { target: target.clone(), api, page: 1 };
        Follower {
            api: api(client.clone(), &target.namespace),
            target,
            stream: WatchStream::new(client, watched, Timings::default(), || ()),
            listed: false,
            state: ObjectState::Unknown,
            troubles: [None, None],
            look_at: next_look(),
        }
    }

    /// The last known state.
    pub(crate) fn state(&self) -> &ObjectState<K> {
        &self.state
    }

    /// Why it cannot be followed at the moment; retries continue.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.troubles.iter().flatten().next().map(String::as_str)
    }

    /// Waits until the object or the problem changes. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        loop {
            let before = self.trouble().map(str::to_owned);
            let changed = tokio::select! {
                report = self.stream.next() => self.take(report),
                () = tokio::time::sleep_until(self.look_at) => self.look().await.unwrap_or(false),
            };
            if changed || self.trouble() != before.as_deref() {
                return;
            }
        }
    }

    /// Reads it now. Returns whether it has changed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) async fn look(&mut self) -> Result<bool, ApiError> {
        self.look_at = next_look();
        let found = match call("get", &self.target, TIMEOUT, self.api.get(&self.target.name)).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        };
        self.troubles[1] = found.as_ref().err().map(ApiError::to_string);
        found.map(|object| self.put(object))
    }

    /// Applies a response. Returns whether the object has changed.
    pub(crate) fn put(&mut self, object: Option<K>) -> bool {
        let before = std::mem::take(&mut self.state);
        self.state = object.map_or(ObjectState::Missing, |object| ObjectState::Present(Box::new(object)));
        match (&before, &self.state) {
            (ObjectState::Missing, ObjectState::Missing) => false,
            (ObjectState::Present(before), ObjectState::Present(now)) => {
                version(before.as_ref()) != version(now.as_ref())
            }
            _ => true,
        }
    }

    /// Applies an event of the watch. Returns whether the object has changed.
    fn take(&mut self, report: Report<K>) -> bool {
        match report {
            Report::Event(Event::Init) => self.listed = false,
            Report::Event(Event::InitApply(object)) => {
                self.listed = true;
                return self.newer(object);
            }
            Report::Event(Event::InitDone) if !self.listed => return self.put(None),
            Report::Event(Event::Apply(object)) => return self.newer(object),
            Report::Event(Event::Delete(_)) => return self.put(None),
            Report::Event(Event::InitDone) => {}
            Report::Opened => self.troubles[0] = None,
            // A relist is needed, which is not a problem.
            Report::Failed(error) if matches!(error.reason, Reason::Expired(_)) => {}
            Report::Failed(error) => self.troubles[0] = Some(error.to_string()),
        }
        false
    }

    /// Applies a state from a watch, which may be older than a response.
    fn newer(&mut self, object: K) -> bool {
        if let ObjectState::Present(before) = &self.state
            && let (Ok(before), Ok(now)) =
                (version(before.as_ref()).parse::<u64>(), version(&object).parse::<u64>())
            && now < before
        {
            return false;
        }
        self.put(Some(object))
    }
}

fn version<K: ResourceExt>(object: &K) -> String {
    object.resource_version().unwrap_or_default()
}

fn next_look() -> Instant {
    Instant::now() + jitter::between(0.8, 1.2, LOOK)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use k8s_openapi::api::core::v1::Secret;
    use serde_json::{Value, json};

    use super::*;
    use crate::server::kube::scripted::{PATIENCE, Requests, Turn, api_server};

    fn secret(version: &str) -> Value {
        json!({"metadata": {"name": "mine", "namespace": "ours", "resourceVersion": version}})
    }

    /// A follower of a Secret that the API server has in this version, and the outcome of its watches in turn.
    fn follower(
        there: Option<&str>,
        mut watches: Vec<Turn>,
    ) -> (Follower<Secret>, Requests, Arc<Mutex<Option<Value>>>) {
        let there = Arc::new(Mutex::new(there.map(secret)));
        let object = there.clone();
        watches.reverse();
        let (client, requests) = api_server(move |asked| {
            let object = object.lock().unwrap().clone();
            if asked.is_watch() {
                watches.pop().unwrap_or(Turn::Stays(Vec::new()))
            } else if asked.target.contains("/secrets?") {
                let items: Vec<Value> = object.into_iter().collect();
                Turn::object(json!({"metadata": {"resourceVersion": "100"}, "items": items}))
            } else {
                object.map_or(Turn::refused(404), Turn::object)
            }
        });
        let target = Target::namespaced("secrets", "ours", "mine");
        (Follower::new(client, target, Api::namespaced), requests, there)
    }

    /// The version after the next change; `None` if it is missing.
    async fn next(follower: &mut Follower<Secret>) -> Option<String> {
        tokio::time::timeout(PATIENCE, follower.changed()).await.expect("changed");
        match follower.state() {
            ObjectState::Unknown => panic!("nothing is known"),
            ObjectState::Missing => None,
            ObjectState::Present(secret) => Some(version(secret.as_ref())),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_comes_changes_and_goes() {
        let event = |kind: &str, version: &str| json!({"type": kind, "object": secret(version)});
        let turn =
            Turn::Stays(vec![event("ADDED", "101"), event("MODIFIED", "102"), event("DELETED", "103")]);
        let (mut follower, _, _) = follower(None, vec![turn]);
        assert!(matches!(follower.state(), ObjectState::Unknown));
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(next(&mut follower).await);
        }
        let version = |version: &str| Some(version.to_owned());
        assert_eq!(seen, [None, version("101"), version("102"), None]);
    }

    // K-07
    #[tokio::test(start_paused = true)]
    async fn what_a_silent_watch_does_not_tell_is_found_by_a_look() {
        let (mut follower, _, there) = follower(Some("5"), Vec::new());
        assert_eq!(next(&mut follower).await.as_deref(), Some("5"));
        *there.lock().unwrap() = Some(secret("6"));
        let before = Instant::now();
        assert_eq!(next(&mut follower).await.as_deref(), Some("6"));
        assert!(before.elapsed() <= LOOK.mul_f64(1.2), "{:?}", before.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_behind_an_answer_changes_nothing() {
        let late = json!({"type": "MODIFIED", "object": secret("7")});
        let (mut follower, requests, _) = follower(Some("5"), vec![Turn::Stays(vec![late])]);
        assert_eq!(next(&mut follower).await.as_deref(), Some("5"));
        // As after one of our writes.
        follower.put(serde_json::from_value(secret("9")).ok());
        let quiet = tokio::time::timeout(Duration::from_secs(10), follower.changed()).await;
        assert!(quiet.is_err() && requests.all().len() == 2);
        assert!(matches!(follower.state(), ObjectState::Present(secret) if version(secret.as_ref()) == "9"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_that_is_missing_is_told_and_what_was_known_stays() {
        let (mut follower, _, _) = follower(Some("5"), vec![Turn::refused(403), Turn::Stays(Vec::new())]);
        assert_eq!(next(&mut follower).await.as_deref(), Some("5"));
        assert_eq!(next(&mut follower).await.as_deref(), Some("5"));
        let lacks = r#"may not watch secrets ours/mine: the role lacks "watch" on "secrets""#;
        assert!(follower.trouble().is_some_and(|told| told.starts_with(lacks)), "{:?}", follower.trouble());
        assert_eq!(next(&mut follower).await.as_deref(), Some("5"));
        assert_eq!(follower.trouble(), None, "it was granted");
    }
}
