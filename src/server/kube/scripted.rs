//! An API server that does as a test tells it.

use std::{
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

/// What the API server does with one request.
pub(in crate::server) enum Turn {
    /// Answers with a status, headers and an object.
    Answer(u16, &'static [(&'static str, &'static str)], Value),
    /// Sends these lines and ends the watch.
    Ends(Vec<Value>),
    /// Sends these lines and stays silent.
    Stays(Vec<Value>),
    /// Does not answer.
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

/// The requests that came.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Requests(Arc<Mutex<Vec<Asked>>>);

/// How long something is waited for; tests pause time.
pub(in crate::server) const PATIENCE: Duration = Duration::from_secs(600);

/// A client of an API server that does what `turn` says.
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

/// A refusal.
pub(in crate::server) fn status(code: u16) -> Value {
    json!({"kind": "Status", "status": "Failure", "code": code, "message": "somebody cannot have that"})
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

/// Waits until something holds.
pub(in crate::server) async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
