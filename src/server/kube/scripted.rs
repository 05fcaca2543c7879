//! An API server with scripted responses.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Frame},
};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::time::Instant;

/// The API server's reaction to one request.
pub(in crate::server) enum Turn {
    /// Responds with a status, headers and an object.
    Answer(u16, &'static [(&'static str, &'static str)], Value),
    /// Sends these lines and ends the watch.
    Ends(Vec<Value>),
    /// Sends these lines and stays silent.
    Stays(Vec<Value>),
    /// Does not respond.
    Frozen,
}

/// A request.
#[derive(Clone, Debug)]
pub(in crate::server) struct Asked {
    pub(in crate::server) at: Instant,
    pub(in crate::server) method: Method,
    /// Path and query.
    pub(in crate::server) target: String,
    pub(in crate::server) body: Value,
}

/// The received requests.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Requests(Arc<Mutex<Vec<Asked>>>);

/// Timeout of the waits below; tests pause time.
pub(in crate::server) const PATIENCE: Duration = Duration::from_secs(600);

/// A client of an API server that reacts as `turn` says.
pub(in crate::server) fn api_server(turn: impl FnMut(&Asked) -> Turn + Send + 'static) -> (Client, Requests) {
    let (turn, requests) = (Arc::new(Mutex::new(turn)), Requests::default());
    let log = requests.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (turn, log) = (turn.clone(), log.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let target = head.uri.to_string();
            let asked = Asked { at: Instant::now(), method: head.method, target, body };
            log.0.lock().unwrap().push(asked.clone());
            let turn = (*turn.lock().unwrap())(&asked);
            Ok::<_, Infallible>(response(turn).await)
        }
    });
    (Client::new(service, "default"), requests)
}

async fn response(turn: Turn) -> Response<UnsyncBoxBody<Bytes, std::io::Error>> {
    type Frames = BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>;
    let lines = |lines: Vec<Value>| -> Frames {
        let frame = |line: Value| Ok(Frame::data(Bytes::from(format!("{line}\n"))));
        futures::stream::iter(lines.into_iter().map(frame).collect::<Vec<_>>()).boxed()
    };
    let boxed = |frames: Frames| BodyExt::boxed_unsync(StreamBody::new(frames));
    match turn {
        Turn::Frozen => std::future::pending().await,
        Turn::Answer(status, headers, object) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            response.body(boxed(lines(vec![object]))).unwrap()
        }
        Turn::Ends(events) => Response::new(boxed(lines(events))),
        Turn::Stays(events) => Response::new(boxed(lines(events).chain(futures::stream::pending()).boxed())),
    }
}

/// An error response.
pub(in crate::server) fn status(code: u16) -> Value {
    json!({"kind": "Status", "status": "Failure", "code": code, "message": "User us cannot have that"})
}

impl Turn {
    pub(in crate::server) fn refused(code: u16) -> Turn {
        Turn::Answer(code, &[], status(code))
    }

    pub(in crate::server) fn object(object: Value) -> Turn {
        Turn::Answer(200, &[], object)
    }
}

impl Asked {
    pub(in crate::server) fn is_watch(&self) -> bool {
        self.target.contains("watch=true")
    }
}

impl Requests {
    pub(in crate::server) fn all(&self) -> Vec<Asked> {
        self.0.lock().unwrap().clone()
    }

    pub(in crate::server) fn targets(&self) -> Vec<String> {
        self.all().into_iter().map(|asked| asked.target).collect()
    }

    /// Waits for the `number`th request.
    pub(in crate::server) async fn nth(&self, number: usize) -> Asked {
        until("a request", || self.all().len() >= number).await;
        self.all()[number - 1].clone()
    }
}

/// Waits until a condition holds.
pub(in crate::server) async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// The objects of an API server by path, with increasing versions. A watch reports earlier changes when it is opened
/// and is silent after that; deletions are found by reads and lists.
#[derive(Clone, Default)]
pub(in crate::server) struct Store(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    objects: BTreeMap<String, Value>,
    version: u64,
    frozen: bool,
}

impl Store {
    /// A client of an API server with these objects.
    pub(in crate::server) fn serve(&self) -> (Client, Requests) {
        let store = self.clone();
        api_server(move |asked| store.0.lock().unwrap().turn(asked))
    }

    /// Stops all responses, or resumes them.
    pub(in crate::server) fn freeze(&self, frozen: bool) {
        self.0.lock().unwrap().frozen = frozen;
    }

    pub(in crate::server) fn put(&self, path: &str, object: Value) {
        let _ = self.0.lock().unwrap().put(path, object);
    }

    pub(in crate::server) fn get(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    pub(in crate::server) fn remove(&self, path: &str) {
        self.0.lock().unwrap().objects.remove(path);
    }
}

impl Stored {
    fn put(&mut self, path: &str, mut object: Value) -> Turn {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.objects.insert(path.to_owned(), object.clone());
        Turn::object(object)
    }

    /// The object that a watch selects, if it has changed.
    fn changed(&self, path: &str, query: &str) -> Vec<Value> {
        let version = |text: &str| text.parse::<u64>().unwrap_or_default();
        let from =
            query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion=")).unwrap_or_default();
        let object = self.objects.get(&selected(path, query));
        let newer = |object: &&Value| {
            version(object["metadata"]["resourceVersion"].as_str().unwrap()) > version(from)
        };
        object.filter(newer).map(|object| json!({"type": "MODIFIED", "object": object})).into_iter().collect()
    }

    fn turn(&mut self, asked: &Asked) -> Turn {
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        let named = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let there = self.objects.get(path).cloned();
        match (asked.method.as_str(), there) {
            _ if self.frozen => Turn::Frozen,
            _ if asked.is_watch() => Turn::Stays(self.changed(path, query)),
            ("POST", _) => {
                let path = format!("{path}/{}", named(&asked.body));
                if self.objects.contains_key(&path) {
                    Turn::refused(409)
                } else {
                    self.put(&path, asked.body.clone())
                }
            }
            ("GET", _) if query.contains("fieldSelector") => {
                let name = query.split("metadata.name%3D").nth(1).unwrap_or_default();
                let name = name.split('&').next().unwrap_or_default();
                let items: Vec<Value> =
                    self.objects.get(&format!("{path}/{name}")).cloned().into_iter().collect();
                Turn::object(
                    json!({"metadata": {"resourceVersion": self.version.to_string()}, "items": items}),
                )
            }
            (_, None) => Turn::refused(404),
            ("GET", Some(object)) => Turn::object(object),
            ("PUT", Some(object)) => {
                let version = &asked.body["metadata"]["resourceVersion"];
                let is_old = !version.is_null() && *version != object["metadata"]["resourceVersion"];
                if is_old { Turn::refused(409) } else { self.put(path, asked.body.clone()) }
            }
            // The part of an apply that webhooks need: given fields are merged, entries by name.
            (_, Some(mut object)) => {
                for entry in asked.body["webhooks"].as_array().into_iter().flatten() {
                    let all = object["webhooks"].as_array_mut().into_iter().flatten();
                    for kept in all.filter(|kept| kept["name"] == entry["name"]) {
                        kept["clientConfig"]["caBundle"] = entry["clientConfig"]["caBundle"].clone();
                    }
                }
                self.put(path, object)
            }
        }
    }
}

/// The path of the object that a field selector names.
fn selected(path: &str, query: &str) -> String {
    let name = query.split("metadata.name%3D").nth(1).unwrap_or_default();
    format!("{path}/{}", name.split('&').next().unwrap_or_default())
}
