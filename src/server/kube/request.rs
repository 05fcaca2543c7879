//! One request to the API server: bounded in time, and with an error that the person on call can act on.
//!
//! Lists come page by page and watches event by event, decoded straight into the few fields that are kept: what an
//! object has beside them never takes memory here.

use std::{marker::PhantomData, time::Duration};

use http_body_util::BodyExt;
use hyper::{Method, Request, Response, StatusCode, body::Bytes, header};
use kube::{Client, client::Body, core::WatchEvent};
use serde::{Deserialize, de::DeserializeOwned};

use crate::server::configuration::cluster::Timings;
use crate::server::kube::split::{Splitter, TooLong};

/// Which objects, and how much of them.
#[derive(Clone, Debug)]
pub(in crate::server) struct Selected {
    /// The path of the collection.
    pub(in crate::server) path: String,
    /// The resource, as RBAC names it.
    pub(in crate::server) resource: &'static str,
    /// The one object that is wanted, as namespace and name; without it all of them.
    pub(in crate::server) only: Option<(String, String)>,
    /// Whether metadata is enough.
    pub(in crate::server) metadata: bool,
    /// How many objects a page of a list has.
    pub(in crate::server) page: u32,
}

/// The API server and how patient we are with it.
#[derive(Clone)]
pub(in crate::server) struct Server {
    pub(in crate::server) client: Client,
    pub(in crate::server) timings: Timings,
}

/// A page of a list.
#[derive(Debug)]
pub(in crate::server) struct Page<K> {
    pub(in crate::server) metadata: PageMeta,
    pub(in crate::server) items: Vec<K>,
}

/// Where a page is in its list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::server) struct PageMeta {
    pub(in crate::server) resource_version: String,
    /// Empty on the last page.
    pub(in crate::server) r#continue: String,
}

/// A list without its items.
#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    metadata: PageMeta,
}

/// The events of a watch as they come.
pub(in crate::server) struct Events<K, B = Body> {
    body: B,
    buffer: Vec<u8>,
    /// Where in the buffer the next line begins.
    start: usize,
    /// Up to where the buffer was searched for the end of that line.
    searched: usize,
    decoded: PhantomData<fn() -> K>,
}

/// A request that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Failure {
    pub(in crate::server) cause: Cause,
    /// What could not be done and why, for the person on call.
    pub(in crate::server) sentence: String,
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) enum Cause {
    /// 403: the role does not allow it.
    Forbidden,
    /// 404: there is no such resource.
    Absent,
    /// 409: there is one already.
    Conflict,
    /// 410: the place to go on from is too old.
    Gone,
    /// 429 or 503, with the time the API server asks for.
    Busy(Option<Duration>),
    /// Anything else.
    Failed,
}

/// An object with more bytes than this is none: etcd takes at most a few MiB.
const LARGEST_OBJECT: usize = 16 << 20;
/// How much is read of an answer of which only the status counts.
const LARGEST_REMARK: usize = 64 << 10;
/// More than this is not kept after an event that needed it.
const ROOM: usize = 64 << 10;
const JSON: &str = "application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

impl Server {
    /// One page of a list.
    pub(in crate::server) async fn page<K: DeserializeOwned + Send + 'static>(
        &self,
        selected: &Selected,
        proceed: &str,
    ) -> Result<Page<K>, Failure> {
        let mut query = vec![("limit", selected.page.to_string())];
        if !proceed.is_empty() {
            query.push(("continue", proceed.to_owned()));
        }
        let attempt = Attempt { verb: "list", selected };
        let accept = if selected.metadata { METADATA_LIST } else { JSON };
        let mut body = self.get(&attempt, query, accept).await?.into_body();
        let (mut splitter, mut items) = (Splitter::default(), Vec::new());
        let unreadable = |error| attempt.failed(&format!("the answer cannot be read: {error}"));
        while let Some(data) = self.next_data(&attempt, &mut body).await? {
            let each = |item: &[u8]| -> Result<(), Failed> {
                items.push(serde_json::from_slice(item)?);
                Ok(())
            };
            splitter.feed(&data, LARGEST_OBJECT, each).map_err(|Failed(why)| unreadable(why))?;
        }
        let envelope: Envelope =
            serde_json::from_slice(splitter.rest()).map_err(|error| unreadable(error.to_string()))?;
        Ok(Page { metadata: envelope.metadata, items })
    }

    /// A watch from a resource version on.
    pub(in crate::server) async fn watch<K>(
        &self,
        selected: &Selected,
        from: &str,
        seconds: u64,
    ) -> Result<Events<K>, Failure> {
        let query = vec![
            ("watch", "true".to_owned()),
            ("allowWatchBookmarks", "true".to_owned()),
            ("timeoutSeconds", seconds.to_string()),
            ("resourceVersion", from.to_owned()),
        ];
        let attempt = Attempt { verb: "watch", selected };
        let accept = if selected.metadata { METADATA } else { JSON };
        let response = self.get(&attempt, query, accept).await?;
        let body = response.into_body();
        Ok(Events { body, buffer: Vec::new(), start: 0, searched: 0, decoded: PhantomData })
    }

    /// Writes an object; `selected` says where and what for.
    pub(in crate::server) async fn write(
        &self,
        verb: &'static str,
        selected: &Selected,
        path: &str,
        object: &serde_json::Value,
    ) -> Result<(), Failure> {
        let attempt = Attempt { verb, selected };
        let (method, content_type) = match verb {
            "patch" => (Method::PATCH, "application/merge-patch+json"),
            _ => (Method::POST, JSON),
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, content_type)
            .header(header::ACCEPT, JSON)
            .body(Body::from(object.to_string().into_bytes()))
            .map_err(|error| attempt.failed(&error.to_string()))?;
        let response = self.send(&attempt, request).await?;
        // Read to the end, so that the connection can be used again.
        self.read(&attempt, response.into_body()).await.map(|_| ())
    }

    async fn get(
        &self,
        attempt: &Attempt<'_>,
        mut query: Vec<(&'static str, String)>,
        accept: &'static str,
    ) -> Result<Response<Body>, Failure> {
        if let Some((_, name)) = &attempt.selected.only {
            query.push(("fieldSelector", format!("metadata.name={name}")));
        }
        let query: Vec<String> =
            query.iter().map(|(key, value)| format!("{key}={}", escaped(value))).collect();
        let request = Request::get(format!("{}?{}", attempt.selected.path, query.join("&")))
            .header(header::ACCEPT, accept)
            // A compressed watch would be held back until a block is full.
            .header(header::ACCEPT_ENCODING, "identity")
            .body(Body::empty())
            .map_err(|error| attempt.failed(&error.to_string()))?;
        self.send(attempt, request).await
    }

    /// Sends a request and waits for the head of its answer, which must tell of success.
    async fn send(&self, attempt: &Attempt<'_>, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let sent = tokio::time::timeout(self.timings.answer, self.client.send(request));
        let response = match sent.await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(attempt.failed(&innermost(&error))),
            Err(_) => return Err(attempt.silent(self.timings.answer)),
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let seconds =
            response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = self.read(attempt, response.into_body()).await.unwrap_or_default();
        let said = serde_json::from_slice::<Said>(&body).unwrap_or_default();
        Err(attempt.refused(status, seconds.map(Duration::from_secs), &said.message))
    }

    /// Reads a short body to its end, and a long one in part.
    async fn read(&self, attempt: &Attempt<'_>, mut body: Body) -> Result<Vec<u8>, Failure> {
        let mut read = Vec::new();
        while let Some(data) = self.next_data(attempt, &mut body).await? {
            read.extend_from_slice(&data);
            if read.len() > LARGEST_REMARK {
                break;
            }
        }
        Ok(read)
    }

    /// The next piece of a body; silence before it is as long as that before an answer.
    async fn next_data(&self, attempt: &Attempt<'_>, body: &mut Body) -> Result<Option<Bytes>, Failure> {
        match tokio::time::timeout(self.timings.answer, body.frame()).await {
            Ok(None) => Ok(None),
            Ok(Some(Ok(frame))) => Ok(Some(frame.into_data().unwrap_or_default())),
            Ok(Some(Err(error))) => Err(attempt.failed(&innermost(&error))),
            Err(_) => Err(attempt.silent(self.timings.answer)),
        }
    }
}

/// Why a list cannot be read.
struct Failed(String);

impl From<TooLong> for Failed {
    fn from(TooLong(most): TooLong) -> Failed {
        Failed(format!("an object has more than {most} bytes"))
    }
}

impl From<serde_json::Error> for Failed {
    fn from(error: serde_json::Error) -> Failed {
        Failed(error.to_string())
    }
}

impl<K, B> Events<K, B>
where
    K: DeserializeOwned,
    B: hyper::body::Body<Data = Bytes, Error: std::error::Error> + Unpin,
{
    /// The next event, or nothing at the end of the watch. May be dropped while it waits without losing anything.
    pub(in crate::server) async fn next(
        &mut self,
        selected: &Selected,
    ) -> Option<Result<WatchEvent<K>, Failure>> {
        let attempt = Attempt { verb: "watch", selected };
        loop {
            if let Some(line) = self.line() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                let event = serde_json::from_slice(line);
                return Some(match event {
                    Ok(WatchEvent::Error(status)) => {
                        let code =
                            StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                        Err(attempt.refused(code, None, &status.message))
                    }
                    Ok(event) => Ok(event),
                    Err(error) => Err(attempt.failed(&format!("an event cannot be read: {error}"))),
                });
            }
            if self.buffer.len() > LARGEST_OBJECT {
                return Some(Err(attempt.failed(&format!("an event has more than {LARGEST_OBJECT} bytes"))));
            }
            match self.body.frame().await {
                // An unfinished line at the end is an event that did not arrive; the next watch has it.
                None => return None,
                Some(Ok(frame)) => self.append(&frame.into_data().unwrap_or_default()),
                Some(Err(error)) => return Some(Err(attempt.failed(&innermost(&error)))),
            }
        }
    }

    fn append(&mut self, data: &Bytes) {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        // After an unusually large event its room is given back.
        if self.buffer.is_empty() && self.buffer.capacity() > ROOM {
            self.buffer = Vec::new();
        }
        self.buffer.extend_from_slice(data);
    }

    /// The next whole line in the buffer.
    fn line(&mut self) -> Option<&[u8]> {
        let unseen = self.buffer.get(self.searched..)?;
        match unseen.iter().position(|byte| *byte == b'\n') {
            Some(offset) => {
                let line = self.start..self.searched + offset;
                self.start = line.end + 1;
                self.searched = self.start;
                self.buffer.get(line)
            }
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }
}

/// What an error's body says.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    message: String,
}

/// A request, for saying what failed.
struct Attempt<'a> {
    verb: &'static str,
    selected: &'a Selected,
}

impl Attempt<'_> {
    fn failed(&self, why: &str) -> Failure {
        Failure {
            cause: Cause::Failed,
            sentence: format!("cannot {} {}: {why}", self.verb, self.selected.named()),
        }
    }

    fn silent(&self, after: Duration) -> Failure {
        self.failed(&format!("the API server does not answer within {} s", after.as_secs_f32()))
    }

    fn refused(&self, status: StatusCode, retry_after: Option<Duration>, said: &str) -> Failure {
        let (verb, named, resource) = (self.verb, self.selected.named(), self.selected.resource);
        let said = said.chars().take(300).collect::<String>();
        let (cause, sentence) = match status {
            StatusCode::FORBIDDEN => {
                (Cause::Forbidden, format!("may not {verb} {named}: the role lacks {verb:?} on {resource:?}"))
            }
            StatusCode::UNAUTHORIZED => (
                Cause::Failed,
                format!("may not {verb} {named}: the API server does not accept our token or certificate"),
            ),
            StatusCode::NOT_FOUND => {
                (Cause::Absent, format!("cannot {verb} {named}: the API server has no {resource}"))
            }
            StatusCode::CONFLICT => (Cause::Conflict, format!("cannot {verb} {named}: {said}")),
            StatusCode::GONE => (Cause::Gone, format!("cannot {verb} {named} from where we were: {said}")),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => (
                Cause::Busy(retry_after),
                format!("cannot {verb} {named}: the API server is busy ({status}) {said}"),
            ),
            _ => (Cause::Failed, format!("cannot {verb} {named}: the API server answers {status} {said}")),
        };
        Failure { cause, sentence: sentence.trim_end().to_owned() }
    }
}

impl Selected {
    /// The objects, in a sentence.
    pub(in crate::server) fn named(&self) -> String {
        match &self.only {
            Some((namespace, name)) if namespace.is_empty() => format!("{} {name}", self.resource),
            Some((namespace, name)) => format!("{} {namespace}/{name}", self.resource),
            None => self.resource.to_owned(),
        }
    }
}

/// The deepest reason, which is the one that tells something: the outer ones say that a request failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    match deepest.to_string() {
        text if text.is_empty() => error.to_string(),
        text => text,
    }
}

/// A value of a query: everything but unreserved characters is escaped.
fn escaped(value: &str) -> String {
    value.bytes().fold(String::with_capacity(value.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected() -> Selected {
        Selected {
            path: "/api/v1/namespaces/a/configmaps".to_owned(),
            resource: "configmaps",
            only: Some(("a".to_owned(), "b".to_owned())),
            metadata: false,
            page: 5,
        }
    }

    #[derive(Debug, Clone, Deserialize)]
    struct Thing {
        name: String,
    }

    /// The names of the events in a body that comes in pieces of a size.
    async fn names(text: &str, size: usize) -> Vec<Result<String, Cause>> {
        let pieces: Vec<_> = text
            .as_bytes()
            .chunks(size)
            .map(|piece| Ok::<_, std::io::Error>(hyper::body::Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let body = http_body_util::StreamBody::new(futures::stream::iter(pieces));
        let mut events =
            Events::<Thing, _> { body, buffer: Vec::new(), start: 0, searched: 0, decoded: PhantomData };
        let mut names = Vec::new();
        while let Some(event) = events.next(&selected()).await {
            names.push(match event {
                Ok(WatchEvent::Added(thing) | WatchEvent::Modified(thing) | WatchEvent::Deleted(thing)) => {
                    Ok(thing.name)
                }
                Ok(WatchEvent::Bookmark(mark)) => Ok(mark.metadata.resource_version),
                Ok(WatchEvent::Error(_)) => Ok("error".to_owned()),
                Err(failure) => Err(failure.cause),
            });
        }
        names
    }

    #[tokio::test]
    async fn events_are_put_together_from_any_pieces() {
        let text = concat!(
            r#"{"type":"ADDED","object":{"name":"a","big":{"x":[1,2,3]}}}"#,
            "\n",
            r#"{"type":"BOOKMARK","object":{"kind":"Thing","apiVersion":"v1","metadata":{"resourceVersion":"7"},"status":{}}}"#,
            "\n\n",
            r#"{"type":"DELETED","object":{"name":"b"}}"#,
            "\n",
            r#"{"type":"ADDED","object":{"name":"cut"#,
        );
        for size in [1, 2, 7, 61, 4096] {
            let wanted = ["a", "7", "b"].map(|name| Ok(name.to_owned()));
            assert_eq!(names(text, size).await, wanted, "in pieces of {size}");
        }
    }

    #[tokio::test]
    async fn an_expired_place_is_told_from_other_errors() {
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}"#;
        let other = r#"{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd"}}"#;
        assert_eq!(names(&format!("{gone}\n"), 9).await, [Err(Cause::Gone)]);
        assert_eq!(names(&format!("{other}\n"), 9).await, [Err(Cause::Failed)]);
        assert_eq!(names("nonsense\n", 9).await, [Err(Cause::Failed)]);
    }

    #[test]
    fn a_refusal_names_verb_and_resource() {
        let nodes = Selected { resource: "nodes", only: None, ..selected() };
        let failure = Attempt { verb: "list", selected: &nodes }.refused(StatusCode::FORBIDDEN, None, "");
        assert_eq!(failure.sentence, r#"may not list nodes: the role lacks "list" on "nodes""#);
        let failure =
            Attempt { verb: "watch", selected: &selected() }.refused(StatusCode::FORBIDDEN, None, "");
        assert_eq!(
            failure.sentence,
            r#"may not watch configmaps a/b: the role lacks "watch" on "configmaps""#
        );
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(escaped("metadata.name=a b&c/ü"), "metadata.name%3Da%20b%26c%2F%C3%BC");
    }
}
