//! The loop against a scripted API server. Time is paused, so nothing here waits for real.

use std::collections::VecDeque;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use prometheus_client::registry::Registry;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::server::kube::scripted::{PATIENCE, Requests, Turn, api_server, status, until};
use crate::server::kube::slim::{self, slim_resource};
use crate::server::observe::metrics;
use crate::server::readiness::Readiness;

#[derive(Clone, Debug, Deserialize)]
struct Thing {
    #[serde(deserialize_with = "slim::metadata")]
    metadata: ObjectMeta,
}

slim_resource!(Thing = "Thing", "things", "", "v1", ClusterResourceScope);

/// Reports all calls.
struct Told {
    told: mpsc::UnboundedSender<String>,
    may_be_absent: bool,
}

impl Told {
    fn tell(&self, what: impl Into<String>) {
        let _ = self.told.send(what.into());
    }
}

impl Keeper for Told {
    type Object = Thing;

    fn begin(&mut self) {
        self.tell("begin");
    }
    fn put(&mut self, thing: Thing) {
        self.tell(format!("put {}", thing.metadata.name.unwrap()));
    }
    fn remove(&mut self, thing: Thing) {
        self.tell(format!("remove {}", thing.metadata.name.unwrap()));
    }
    fn complete(&mut self) {
        self.tell("complete");
    }
    fn settle(&mut self) {}
    fn detail(&self) -> String {
        "fine".to_owned()
    }
    fn absent(&mut self) -> bool {
        self.tell("absent");
        self.may_be_absent
    }
}

/// A watch on a scripted API server, which freezes after the last turn.
struct Rig {
    told: mpsc::UnboundedReceiver<String>,
    requests: Requests,
    gate: Gate,
    registry: Registry,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn rig(script: Vec<Turn>) -> Rig {
    let mut script = VecDeque::from(script);
    let (client, requests) = api_server(move |_| script.pop_front().unwrap_or(Turn::Frozen));
    let gate = Readiness::default().gate("things", "not listed");
    let mut registry = Registry::default();
    let watches = Watches::register(metrics::own(&mut registry));
    let watcher = Watcher {
        client,
        watched: Watched { target: Target::all("things"), api: |client, _| Api::all(client), page: 2 },
        timings: Timings::default(),
        key: "things",
        metrics: watches.clone(),
        gate: gate.clone(),
    };
    watches.started("things");
    let (sender, told) = mpsc::unbounded_channel();
    let task = tokio::spawn(watcher.run(Told { told: sender, may_be_absent: true }));
    Rig { told, requests, gate, registry, task }
}

fn list(version: &str, proceed: &str, names: &[&str]) -> Turn {
    let items: Vec<Value> = names.iter().map(|name| thing(name, "1")).collect();
    let metadata = json!({"resourceVersion": version, "continue": proceed});
    Turn::object(json!({"kind": "ThingList", "apiVersion": "v1", "metadata": metadata, "items": items}))
}

fn thing(name: &str, version: &str) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": version}, "spec": {"much": ["else"]}})
}

fn event(kind: &str, name: &str, version: &str) -> Value {
    json!({"type": kind, "object": thing(name, version)})
}

fn bookmark(version: &str) -> Value {
    let metadata = json!({"resourceVersion": version});
    json!({"type": "BOOKMARK", "object": {"kind": "Thing", "apiVersion": "v1", "metadata": metadata}})
}

impl Rig {
    async fn told(&mut self, wanted: &[&str]) {
        for wanted in wanted {
            let told = tokio::time::timeout(PATIENCE, self.told.recv()).await;
            assert_eq!(told.expect(wanted).unwrap(), *wanted, "asked: {:?}", self.targets());
        }
    }

    fn targets(&self) -> Vec<String> {
        self.requests.targets()
    }

    async fn asked(&self, number: usize) -> String {
        self.requests.nth(number).await.target
    }

    fn connected(&self) -> bool {
        let text = metrics::encode(&self.registry, metrics::Exposition::Classic).unwrap();
        text.contains("outrigger_watch_connected{resource=\"things\"} 1")
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_is_complete_with_its_last_page() {
    let mut rig = rig(vec![
        list("7", "more", &["a", "b"]),
        list("7", "", &["c"]),
        Turn::Stays(vec![event("ADDED", "d", "8"), event("DELETED", "a", "9")]),
    ]);
    rig.told(&["begin", "put a", "put b", "put c", "complete", "put d", "remove a"]).await;
    assert!(rig.targets()[0].starts_with("/api/v1/things?") && rig.targets()[0].contains("limit=2"));
    assert!(rig.targets()[1].contains("continue=more"), "{:?}", rig.targets());
    assert!(rig.targets()[2].contains("resourceVersion=7"), "{:?}", rig.targets());
    assert!(rig.gate.state().open && rig.connected());
}

#[tokio::test(start_paused = true)]
async fn a_list_that_breaks_off_is_not_complete() {
    let mut rig =
        rig(vec![list("7", "more", &["a"]), Turn::refused(500), list("8", "", &["b"]), Turn::Stays(vec![])]);
    rig.told(&["begin", "put a", "begin", "put b", "complete"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_where_it_ended() {
    let rig = rig(vec![
        list("7", "", &[]),
        Turn::Ends(vec![event("ADDED", "a", "8"), bookmark("20")]),
        Turn::Stays(vec![]),
    ]);
    let third = rig.asked(3).await;
    assert!(third.contains("resourceVersion=20"), "{third}");
}

// K-06
#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_listed_again() {
    let gone = json!({"type": "ERROR", "object": status(410)});
    let mut rig = rig(vec![
        list("7", "", &["a"]),
        Turn::Ends(vec![gone]),
        list("30", "", &["b"]),
        Turn::refused(410),
        list("31", "", &["c"]),
        Turn::Stays(vec![]),
    ]);
    rig.told(&["begin", "put a", "complete", "begin", "put b", "complete", "begin", "put c", "complete"])
        .await;
    assert!(rig.asked(6).await.contains("resourceVersion=31"));
    assert_eq!(rig.gate.state().problem, None, "that is nothing to be told of");
}

// K-07
#[tokio::test(start_paused = true)]
async fn a_watch_that_is_silent_is_asked_for_anew_without_an_alarm() {
    let rig = rig(vec![list("7", "", &[]), Turn::Stays(vec![bookmark("9")]), Turn::Stays(vec![])]);
    let third = rig.asked(3).await;
    assert!(third.contains("resourceVersion=9"), "{third}");
    until("it is connected", || rig.connected()).await;
    assert_eq!(rig.gate.state().problem, None);
}

// K-03, K-07
#[tokio::test(start_paused = true)]
async fn an_api_server_that_freezes_is_noticed() {
    let mut rig = rig(vec![
        list("7", "", &["a"]),
        Turn::Stays(vec![]),
        Turn::Frozen,
        Turn::Frozen,
        Turn::Stays(vec![event("ADDED", "b", "8")]),
    ]);
    rig.told(&["begin", "put a", "complete"]).await;
    until("it is connected", || rig.connected()).await;
    until("it is not connected", || !rig.connected()).await;
    let state = rig.gate.state();
    assert!(state.open, "what was known is known");
    let problem = state.problem.unwrap();
    assert!(
        problem.contains("did not respond within 15 s") && problem.contains("using the last known state"),
        "{problem}"
    );
    rig.told(&["put b"]).await;
    until("it is connected again", || rig.connected() && rig.gate.state().problem.is_none()).await;
}

// O-01
#[tokio::test(start_paused = true)]
async fn what_is_forbidden_is_said_and_tried_again() {
    let mut rig = rig(vec![
        Turn::refused(403),
        Turn::refused(403),
        Turn::Frozen,
        list("7", "", &[]),
        Turn::Stays(vec![]),
    ]);
    rig.told(&["begin", "begin", "begin"]).await;
    let state = rig.gate.state();
    assert!(!state.open);
    let wanted = r#"may not list things: the role lacks "list" on "things" (User us cannot have that)"#;
    assert_eq!(state.problem.unwrap(), wanted);
    rig.told(&["begin", "complete"]).await;
    until("all is well", || rig.connected() && rig.gate.state().problem.is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn where_watching_is_forbidden_lists_tell_what_changes() {
    let mut rig =
        rig(vec![list("7", "", &["a"]), Turn::refused(403), list("8", "", &["b"]), Turn::refused(403)]);
    rig.told(&["begin", "put a", "complete", "begin", "put b", "complete"]).await;
    until("it is said", || rig.gate.state().problem.is_some_and(|said| said.contains("\"watch\""))).await;
}

// K-08
#[tokio::test(start_paused = true)]
async fn what_a_busy_api_server_asks_for_is_heeded() {
    let rig = rig(vec![
        Turn::Answer(429, &[("retry-after", "1")], status(429)),
        list("7", "", &[]),
        Turn::Stays(vec![]),
    ]);
    rig.asked(3).await;
    let asked = rig.requests.all();
    let waited = asked[1].at - asked[0].at;
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
}

// K-02
#[tokio::test(start_paused = true)]
async fn watches_that_end_at_once_do_not_become_a_storm() {
    let script = std::iter::once(list("7", "", &[])).chain((0..500).map(|_| Turn::Ends(vec![])));
    let rig = rig(script.collect());
    tokio::time::sleep(Duration::from_secs(60)).await;
    // The pauses double up to between 2.5 and 5 s.
    let count = rig.targets().len();
    assert!((15..40).contains(&count), "{count}");
}

// K-09
#[tokio::test(start_paused = true)]
async fn a_resource_is_absent_at_first_and_comes_later() {
    let mut rig =
        rig(vec![Turn::refused(404), Turn::refused(404), list("7", "", &["a"]), Turn::Stays(vec![])]);
    rig.told(&["begin", "absent"]).await;
    until("that is known", || rig.gate.state().open && rig.connected()).await;
    rig.told(&["begin", "absent", "begin", "put a", "complete"]).await;
}

// K-09
#[tokio::test(start_paused = true)]
async fn a_resource_is_gone_only_when_that_is_sure() {
    let mut rig = rig(vec![
        list("7", "", &["a"]),
        Turn::refused(404),
        list("8", "", &["a"]),
        Turn::refused(404),
        Turn::refused(404),
        Turn::refused(404),
    ]);
    rig.told(&["begin", "put a", "complete"]).await;
    rig.told(&["begin", "put a", "complete"]).await;
    rig.told(&["begin", "begin", "absent"]).await;
}

// K-03
#[tokio::test(start_paused = true)]
async fn a_list_that_stops_in_the_middle_is_given_up() {
    let mut rig = rig(vec![Turn::Stays(vec![]), Turn::Frozen, list("7", "", &["a"]), Turn::Stays(vec![])]);
    rig.told(&["begin", "begin"]).await;
    let problem = rig.gate.state().problem.unwrap();
    assert_eq!(problem, "cannot list things: the API server did not respond within 15 s");
    rig.told(&["begin", "put a", "complete"]).await;
    let asked = rig.requests.all();
    assert!(asked[1].at - asked[0].at >= Timings::default().answer);
}

// K-02, K-08
#[tokio::test(start_paused = true)]
async fn pauses_grow_although_the_watch_before_them_lasted() {
    let refused = (0..8).map(|_| Turn::refused(500));
    let script = [list("7", "", &["a"]), Turn::Stays(vec![])].into_iter().chain(refused);
    let mut rig = rig(script.chain([Turn::Stays(vec![])]).collect());
    rig.told(&["begin", "put a", "complete"]).await;
    until("it was refused", || rig.requests.all().len() > 10).await;
    let asked = rig.requests.all();
    let gaps: Vec<_> = asked[2..].windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(gaps[0] <= Duration::from_millis(500) && gaps[6] >= Duration::from_secs(2), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn one_object_is_watched_by_its_name_in_its_namespace() {
    use crate::server::configuration::cluster::config_maps;
    let (client, requests) = api_server(|_| Turn::Frozen);
    let mut stream =
        WatchStream::new(client, config_maps::watched("mesh", "istio"), Timings::default(), || ());
    assert!(matches!(stream.next().await, Report::Event(Event::Init)));
    let Report::Failed(error) = stream.next().await else { panic!("it is frozen") };
    assert_eq!(
        error.to_string(),
        "cannot list configmaps mesh/istio: the API server did not respond within 15 s"
    );
    let target = &requests.targets()[0];
    assert!(target.starts_with("/api/v1/namespaces/mesh/configmaps?"), "{target}");
    assert!(target.contains("fieldSelector=metadata.name%3Distio"), "{target}");
}
