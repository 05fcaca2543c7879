//! The loop against an API server that does as it is told.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use hyper::{
    Request, Response,
    body::{Bytes, Frame},
};
use kube::{Client, client::Body};
use prometheus_client::registry::Registry;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::server::configuration::cluster::Timings;
use crate::server::observe::metrics;
use crate::server::readiness::Readiness;

const PATIENCE: Duration = Duration::from_secs(10);

/// What the API server does with one request.
enum Turn {
    Answer(u16, &'static [(&'static str, &'static str)], Value),
    /// Sends these lines and ends the watch.
    Ends(Vec<Value>),
    /// Sends these lines and stays silent.
    Stays(Vec<Value>),
    /// Does not answer.
    Frozen,
}

#[derive(Debug, Deserialize)]
struct Thing {
    metadata: Meta,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: String,
    resource_version: String,
}

impl Versioned for Thing {
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

/// Tells of everything it is told.
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
        self.tell(format!("put {}", thing.metadata.name));
    }
    fn remove(&mut self, thing: Thing) {
        self.tell(format!("remove {}", thing.metadata.name));
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

/// A watch on a scripted API server, which is frozen after the last turn.
struct Rig {
    told: mpsc::UnboundedReceiver<String>,
    asked: Arc<Mutex<Vec<(Instant, String)>>>,
    gate: Gate,
    registry: Registry,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn timings() -> Timings {
    Timings {
        idle: Duration::from_millis(300),
        answer: Duration::from_millis(300),
        retry_first: Duration::from_millis(4),
        retry_longest: Duration::from_millis(20),
        absent: Duration::from_millis(30),
        ..Timings::default()
    }
}

fn rig(script: Vec<Turn>) -> Rig {
    let script = Arc::new(Mutex::new(VecDeque::from(script)));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        log.lock().unwrap().push((Instant::now(), request.uri().to_string()));
        let turn = script.lock().unwrap().pop_front();
        async move { Ok::<_, Infallible>(response(turn).await) }
    });
    let client = Client::new(service, "default");
    let readiness = Readiness::default();
    let gate = readiness.gate("things", "not listed");
    let mut registry = Registry::default();
    let watches = Watches::register(metrics::own(&mut registry));
    let watcher = Watcher {
        server: Server { client, timings: timings() },
        selected: Selected {
            path: "/api/v1/things".to_owned(),
            resource: "things",
            only: None,
            metadata: false,
            page: 2,
        },
        key: "things",
        metrics: watches.clone(),
        gate: gate.clone(),
    };
    watches.started("things");
    let (sender, told) = mpsc::unbounded_channel();
    let task = tokio::spawn(watcher.run(Told { told: sender, may_be_absent: true }));
    Rig { told, asked, gate, registry, task }
}

async fn response(
    turn: Option<Turn>,
) -> Response<http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>> {
    use futures::{StreamExt, stream::BoxStream};
    let lines = |lines: Vec<Value>| {
        let frames: Vec<_> =
            lines.into_iter().map(|line| Ok(Frame::data(Bytes::from(format!("{line}\n"))))).collect();
        futures::stream::iter(frames)
    };
    let boxed = |stream: BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>| {
        http_body_util::BodyExt::boxed_unsync(http_body_util::StreamBody::new(stream))
    };
    match turn {
        None | Some(Turn::Frozen) => std::future::pending().await,
        Some(Turn::Answer(status, headers, body)) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            response.body(boxed(lines(vec![body]).boxed())).unwrap()
        }
        Some(Turn::Ends(events)) => Response::new(boxed(lines(events).boxed())),
        Some(Turn::Stays(events)) => {
            Response::new(boxed(lines(events).chain(futures::stream::pending()).boxed()))
        }
    }
}

fn list(version: &str, proceed: &str, names: &[&str]) -> Turn {
    let items: Vec<Value> = names.iter().map(|name| thing(name, "1")).collect();
    let metadata = json!({"resourceVersion": version, "continue": proceed});
    Turn::Answer(200, &[], json!({"metadata": metadata, "items": items}))
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

fn status(code: u16) -> Value {
    json!({"kind": "Status", "code": code, "message": "no"})
}

impl Rig {
    async fn told(&mut self, wanted: &[&str]) {
        for wanted in wanted {
            let told = tokio::time::timeout(PATIENCE, self.told.recv()).await;
            assert_eq!(told.expect(wanted).unwrap(), *wanted, "asked: {:?}", self.targets());
        }
    }

    fn targets(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(_, target)| target.clone()).collect()
    }

    /// Waits for the `number`th request.
    async fn asked(&self, number: usize) -> String {
        self.until("a request", || self.targets().len() >= number).await;
        self.targets()[number - 1].clone()
    }

    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "{what}: {:?} {:?}", self.targets(), self.gate.state());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn connected(&self) -> bool {
        let text = metrics::encode(&self.registry, metrics::Exposition::Classic).unwrap();
        text.contains("outrigger_watch_connected{resource=\"things\"} 1")
    }
}

#[tokio::test]
async fn a_list_is_complete_with_its_last_page() {
    let mut rig = rig(vec![
        list("7", "more", &["a", "b"]),
        list("7", "", &["c"]),
        Turn::Stays(vec![event("ADDED", "d", "8"), event("DELETED", "a", "9")]),
    ]);
    rig.told(&["begin", "put a", "put b", "put c", "complete", "put d", "remove a"]).await;
    assert_eq!(rig.targets()[0], "/api/v1/things?limit=2");
    assert_eq!(rig.targets()[1], "/api/v1/things?limit=2&continue=more");
    assert!(rig.targets()[2].contains("resourceVersion=7"), "{:?}", rig.targets());
    assert!(rig.gate.state().open && rig.connected());
}

#[tokio::test]
async fn a_list_that_breaks_off_is_not_complete() {
    let mut rig = rig(vec![
        list("7", "more", &["a"]),
        Turn::Answer(500, &[], status(500)),
        list("8", "", &["b"]),
        Turn::Stays(vec![]),
    ]);
    rig.told(&["begin", "put a", "begin", "put b", "complete"]).await;
}

#[tokio::test]
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
#[tokio::test]
async fn what_is_too_old_is_listed_again() {
    let gone = json!({"type": "ERROR", "object": status(410)});
    let mut rig = rig(vec![
        list("7", "", &["a"]),
        Turn::Ends(vec![gone]),
        list("30", "", &["b"]),
        Turn::Answer(410, &[], status(410)),
        list("31", "", &["c"]),
        Turn::Stays(vec![]),
    ]);
    rig.told(&["begin", "put a", "complete", "begin", "put b", "complete", "begin", "put c", "complete"])
        .await;
    assert!(rig.asked(6).await.contains("resourceVersion=31"));
    assert_eq!(rig.gate.state().problem, None, "that is nothing to be told of");
}

// K-07
#[tokio::test]
async fn a_watch_that_is_silent_is_asked_for_anew_without_an_alarm() {
    let rig = rig(vec![list("7", "", &[]), Turn::Stays(vec![bookmark("9")]), Turn::Stays(vec![])]);
    let third = rig.asked(3).await;
    assert!(third.contains("resourceVersion=9"), "{third}");
    rig.until("it is connected", || rig.connected()).await;
    assert_eq!(rig.gate.state().problem, None);
}

// K-03, K-07
#[tokio::test]
async fn an_api_server_that_freezes_is_noticed() {
    let mut rig = rig(vec![
        list("7", "", &["a"]),
        Turn::Stays(vec![]),
        Turn::Frozen,
        Turn::Frozen,
        Turn::Stays(vec![event("ADDED", "b", "8")]),
    ]);
    rig.told(&["begin", "put a", "complete"]).await;
    rig.until("it is connected", || rig.connected()).await;
    rig.until("it is not connected", || !rig.connected()).await;
    let state = rig.gate.state();
    assert!(state.open, "what was known is known");
    let problem = state.problem.unwrap();
    assert!(problem.contains("does not answer") && problem.contains("still used"), "{problem}");
    rig.told(&["put b"]).await;
    rig.until("it is connected again", || rig.connected() && rig.gate.state().problem.is_none()).await;
}

// O-01
#[tokio::test]
async fn what_is_forbidden_is_said_and_tried_again() {
    let mut rig = rig(vec![
        Turn::Answer(403, &[], status(403)),
        Turn::Answer(403, &[], status(403)),
        Turn::Frozen,
        list("7", "", &[]),
        Turn::Stays(vec![]),
    ]);
    rig.told(&["begin", "begin", "begin"]).await;
    let state = rig.gate.state();
    assert!(!state.open);
    assert_eq!(state.problem.unwrap(), r#"may not list things: the role lacks "list" on "things""#);
    rig.told(&["begin", "complete"]).await;
    rig.until("all is well", || rig.connected() && rig.gate.state().problem.is_none()).await;
}

#[tokio::test]
async fn where_watching_is_forbidden_lists_tell_what_changes() {
    let mut rig = rig(vec![
        list("7", "", &["a"]),
        Turn::Answer(403, &[], status(403)),
        list("8", "", &["b"]),
        Turn::Answer(403, &[], status(403)),
    ]);
    rig.told(&["begin", "put a", "complete", "begin", "put b", "complete"]).await;
    rig.until("it is said", || rig.gate.state().problem.is_some_and(|said| said.contains("\"watch\""))).await;
}

// K-08
#[tokio::test]
async fn what_a_busy_api_server_asks_for_is_heeded() {
    let rig = rig(vec![
        Turn::Answer(429, &[("retry-after", "1")], status(429)),
        list("7", "", &[]),
        Turn::Stays(vec![]),
    ]);
    rig.asked(3).await;
    let asked = rig.asked.lock().unwrap().clone();
    let waited = asked[1].0 - asked[0].0;
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
}

// K-02
#[tokio::test]
async fn watches_that_end_at_once_do_not_become_a_storm() {
    let script = std::iter::once(list("7", "", &[])).chain((0..500).map(|_| Turn::Ends(vec![])));
    let rig = rig(script.collect());
    tokio::time::sleep(Duration::from_millis(300)).await;
    // From 10 ms on, half of the longest wait, each.
    let count = rig.targets().len();
    assert!((3..60).contains(&count), "{count}");
}

// K-09
#[tokio::test]
async fn a_resource_is_absent_at_first_and_comes_later() {
    let mut rig = rig(vec![
        Turn::Answer(404, &[], status(404)),
        Turn::Answer(404, &[], status(404)),
        list("7", "", &["a"]),
        Turn::Stays(vec![]),
    ]);
    rig.told(&["begin", "absent"]).await;
    rig.until("that is known", || rig.gate.state().open && rig.connected()).await;
    rig.told(&["begin", "absent", "begin", "put a", "complete"]).await;
}

// K-09
#[tokio::test]
async fn a_resource_is_gone_only_when_that_is_sure() {
    let mut rig = rig(vec![
        list("7", "", &["a"]),
        Turn::Answer(404, &[], status(404)),
        list("8", "", &["a"]),
        Turn::Answer(404, &[], status(404)),
        Turn::Answer(404, &[], status(404)),
        Turn::Answer(404, &[], status(404)),
    ]);
    rig.told(&["begin", "put a", "complete"]).await;
    rig.told(&["begin", "put a", "complete"]).await;
    rig.told(&["begin", "begin", "absent"]).await;
}
