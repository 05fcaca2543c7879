//! `POST /inject`: what is accepted, in which order it is checked, and the one log line of each request.
//!
//! Where the work runs: a pod takes well under a millisecond, less than handing it to another thread and back is
//! worth, so it runs on the worker that read it. Large bodies (whose JSON alone takes milliseconds) go to the
//! blocking pool, a few at a time, so that they do not hold up the connections of the workers. Probes and metrics are
//! served by a thread of their own and never wait for either.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{
    HeaderMap, Method, StatusCode, Version,
    body::{Bytes, Incoming},
    header::{ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};

use super::{
    body::{self, Refused},
    deadline::Deadline,
    engine::Way,
    path, status,
    verdict::{self, Record, Reply},
};
#[cfg(feature = "otlp")]
use crate::server::traces::{Finished, Traces};
use crate::server::{
    client_auth::{Admission, Caller},
    configuration::{Active, Configuration},
    connection::{Endpoint, Response},
    metrics::{Metrics, Outcome, SHED},
    options::{Limits, Timeouts},
    pressure::Pressure,
};

type Request = hyper::Request<Incoming>;

/// What the endpoint works with.
pub(crate) struct Webhook {
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) body_bytes: usize,
    pub(crate) body_within: Duration,
    /// One permit for each request that is read or judged.
    pub(crate) in_flight: Arc<Semaphore>,
    /// One permit for each byte of bodies.
    pub(crate) memory: Arc<Semaphore>,
    /// One permit for each large body that is judged.
    pub(crate) large: Arc<Semaphore>,
    /// One permit for each byte of them; a single body may be larger than all of them.
    pub(crate) large_memory: Arc<Semaphore>,
    large_bytes: usize,
    warned_of_odd_key: AtomicBool,
    #[cfg(feature = "otlp")]
    traces: Option<Arc<Traces>>,
}

/// Bodies from this size on are judged in the blocking pool.
const LARGE_BODY: usize = 128 << 10;

impl Webhook {
    pub(crate) fn new(
        configuration: Arc<Configuration>,
        metrics: Arc<Metrics>,
        pressure: Arc<Pressure>,
        limits: &Limits,
        timeouts: &Timeouts,
    ) -> Webhook {
        Webhook {
            configuration,
            metrics,
            pressure,
            body_bytes: limits.body_bytes,
            body_within: timeouts.body,
            in_flight: Arc::new(Semaphore::new(limits.in_flight)),
            memory: Arc::new(Semaphore::new(limits.buffered_bytes)),
            large: Arc::new(Semaphore::new(limits.large_bodies)),
            large_memory: Arc::new(Semaphore::new(limits.large_bytes)),
            large_bytes: limits.large_bytes,
            warned_of_odd_key: AtomicBool::new(false),
            #[cfg(feature = "otlp")]
            traces: None,
        }
    }

    /// Makes a span of every request.
    #[cfg(feature = "otlp")]
    pub(crate) fn with_traces(self, traces: Option<Arc<Traces>>) -> Webhook {
        Webhook { traces, ..self }
    }
}

impl Endpoint for Webhook {
    async fn answer(self: Arc<Self>, request: Request, arrived: time::Instant) -> Response {
        if let Some(caller) = request.extensions().get::<Arc<Caller>>() {
            let admission = caller.admit(request.headers());
            if admission != Admission::Granted {
                return self.unauthenticated(request, arrived, admission).await;
            }
        }
        if !is_ours(request.uri().path()) {
            return refusal(StatusCode::NOT_FOUND, "there is nothing here; accepted is POST /inject");
        }
        let now = time::Instant::now();
        let Some(waited) = self.pressure.admit(now) else {
            return self.turn_away(request, arrived.min(now)).await;
        };
        let mut pending = Pending::arrived(&self, &request);
        let exchange = self.exchange(request, arrived.min(now - waited)).await;
        pending.done(&exchange);
        exchange.response
    }
}

/// `/inject` itself and what is below it.
fn is_ours(path: &str) -> bool {
    path.strip_prefix("/inject").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

struct Exchange {
    response: Response,
    record: Record,
    bytes_in: usize,
    bytes_out: usize,
    /// What it was judged by, if it came to that.
    active: Option<Arc<Active>>,
    /// When the API server stops to listen.
    deadline: Deadline,
}

impl Webhook {
    /// Refuses under overload, with as little work as there can be: a request that is refused must cost a small part of
    /// one that is answered. It is counted, and the log has a line a second for all of them.
    async fn turn_away(&self, request: Request, arrived: time::Instant) -> Response {
        let (head, body) = request.into_parts();
        self.metrics.turned_away();
        let deadline = Deadline::of(head.uri.query(), arrived);
        let mut response = overloaded();
        if !body::discard(&head.headers, body, deadline.bound(self.body_within)).await {
            close(&mut response);
        }
        response
    }

    /// Refuses a caller, with as little work as there can be. It is not told what would be accepted; the log is, now and
    /// then.
    async fn unauthenticated(
        &self,
        request: Request,
        arrived: time::Instant,
        admission: Admission,
    ) -> Response {
        let (head, body) = request.into_parts();
        self.metrics.unauthenticated(UNAUTHENTICATED);
        let mut response = if admission == Admission::Elsewhere {
            let text = "the certificate of this connection is accepted no more; try again on another one";
            let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, text);
            // An HTTP/2 client has to hear of the end of the connection first.
            let after = if head.version == Version::HTTP_2 { "1" } else { "0" };
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(after));
            response
        } else {
            let text =
                "the caller is not authenticated: outrigger's log says what was found, and what is accepted";
            let mut response = refusal(StatusCode::UNAUTHORIZED, text);
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        };
        let deadline = Deadline::of(head.uri.query(), arrived);
        body::discard(&head.headers, body, deadline.bound(self.body_within)).await;
        close(&mut response);
        response
    }

    async fn exchange(&self, request: Request, arrived: time::Instant) -> Exchange {
        let (head, body) = request.into_parts();
        let deadline = Deadline::of(head.uri.query(), arrived);
        let refused = |code, reason, text: &str| Exchange {
            response: refusal(code, text),
            record: Record::new(Outcome::Error, reason),
            bytes_in: 0,
            bytes_out: 0,
            active: None,
            deadline,
        };
        if head.method != Method::POST {
            let mut exchange = refused(
                StatusCode::METHOD_NOT_ALLOWED,
                "METHOD",
                "the method is not accepted; accepted is POST",
            );
            exchange.response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return exchange;
        }
        if !is_json(&head.headers) {
            return refused(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "CONTENT_TYPE",
                "the content type is not accepted; accepted is application/json without content encoding",
            );
        }
        let parameters = match path::parse(head.uri.path()) {
            Ok(parameters) => parameters,
            Err(error) => return refused(StatusCode::BAD_REQUEST, "PATH", &error.to_string()),
        };
        if let Some(key) = parameters.odd_key
            && !self.warned_of_odd_key.swap(true, Ordering::Relaxed)
        {
            let key = clip(&key);
            tracing::warn!(
                key,
                "the webhook's path has a key without a value or a value without a key; it is ignored"
            );
        }

        if deadline.passed() {
            body::linger(body);
            return closing(self.late(refused));
        }
        let Ok(_in_flight) = self.in_flight.try_acquire() else {
            self.metrics.shed("in_flight");
            return match body::discard(&head.headers, body, deadline.bound(self.body_within)).await {
                true => shed(refused),
                false => closing(shed(refused)),
            };
        };
        let read_by = deadline.bound(self.body_within);
        let held = match body::read(&head.headers, body, self.body_bytes, &self.memory, read_by).await {
            Ok(held) => held,
            Err(Refused::TooLarge(rest)) => {
                body::linger(rest);
                let text = format!("the body is too large; accepted are {} bytes", self.body_bytes);
                return closing(refused(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", &text));
            }
            Err(Refused::Crowded(rest)) => {
                self.metrics.shed("memory");
                body::linger(rest);
                return closing(shed(refused));
            }
            Err(Refused::Late) => {
                self.metrics.deadline_exceeded.inc();
                let text = "the body did not arrive in time";
                return closing(refused(StatusCode::REQUEST_TIMEOUT, "BODY_TIMEOUT", text));
            }
            Err(Refused::Gone) => {
                return closing(refused(StatusCode::BAD_REQUEST, CLIENT_GONE, "the body broke off"));
            }
        };

        let bytes_in = held.bytes.len();
        let Some(active) = self.configuration.current() else {
            return unready(refused);
        };
        // C-05: this one snapshot makes the answer, and is what the log and the audit annotations name.
        let variables = parameters.variables;
        let (reply, record) = if bytes_in < LARGE_BODY {
            if deadline.passed() {
                return self.late(refused);
            }
            verdict::judge(active.engine.as_ref(), &held.bytes, variables)
        } else {
            // Half of what is left, so that there is time for another try, elsewhere perhaps.
            let Ok(Some(place)) = time::timeout_at(deadline.half(), self.place(bytes_in)).await else {
                self.metrics.shed("large");
                return shed(refused);
            };
            let engine = active.clone();
            let judging = tokio::task::spawn_blocking(move || {
                // The place and the memory are taken until this is done, even if nobody waits for it any more.
                let _place = place;
                verdict::judge(engine.engine.as_ref(), &held.bytes, variables)
            });
            match time::timeout_at(deadline.answer_by(), judging).await {
                Err(_) => return self.late(refused),
                Ok(Ok(judged)) => judged,
                // The runtime is going down: `judge` itself contains panics.
                Ok(Err(_)) => {
                    let text = "the server is shutting down";
                    return refused(StatusCode::INTERNAL_SERVER_ERROR, "SHUTDOWN", text);
                }
            }
        };
        let (response, bytes_out) = match reply {
            Reply::Review(bytes) => {
                let length = bytes.len();
                (json(StatusCode::OK, bytes), length)
            }
            Reply::Malformed(error) => (refusal(StatusCode::BAD_REQUEST, &error.to_string()), 0),
            Reply::Fault => (refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal error"), 0),
        };
        Exchange { response, record, bytes_in, bytes_out, active: Some(active), deadline }
    }

    /// Waits for a place among the large bodies that are judged: what is judged takes many times the memory of its text.
    async fn place(&self, bytes: usize) -> Option<[OwnedSemaphorePermit; 2]> {
        let bytes = u32::try_from(bytes.min(self.large_bytes)).ok()?;
        let slot = self.large.clone().acquire_owned().await.ok()?;
        let memory = self.large_memory.clone().acquire_many_owned(bytes).await.ok()?;
        Some([slot, memory])
    }

    /// The API server is about to stop listening. It is not asked to try again: there is no time left for it.
    fn late(&self, refused: impl Fn(StatusCode, &'static str, &str) -> Exchange) -> Exchange {
        self.metrics.deadline_exceeded.inc();
        refused(StatusCode::SERVICE_UNAVAILABLE, "DEADLINE", "there is not enough time left for an answer")
    }
}

/// Reason of requests whose caller may not call.
const UNAUTHENTICATED: &str = "UNAUTHENTICATED";
/// Reason of requests whose peer went away.
const CLIENT_GONE: &str = "CLIENT_GONE";

/// A request that is counted in flight, and counted and logged as given up if it is dropped before it is done.
struct Pending<'a> {
    webhook: &'a Webhook,
    arrived: Instant,
    done: bool,
    /// The span of whoever sent it, if that matters to anybody.
    #[cfg(feature = "otlp")]
    caller: Option<opentelemetry::Context>,
}

impl<'a> Pending<'a> {
    #[cfg_attr(not(feature = "otlp"), allow(unused_variables, reason = "only traces look at the header"))]
    fn arrived(webhook: &'a Webhook, request: &Request) -> Pending<'a> {
        webhook.metrics.request_arrived();
        webhook.metrics.in_flight.inc();
        #[cfg(feature = "otlp")]
        let caller = webhook.traces.as_ref().map(|traces| traces.caller(request.headers()));
        Pending {
            webhook,
            arrived: Instant::now(),
            done: false,
            #[cfg(feature = "otlp")]
            caller,
        }
    }

    #[cfg(feature = "otlp")]
    fn trace(&self, record: &Record, active: Option<&Arc<Active>>) {
        if let (Some(traces), Some(caller)) = (&self.webhook.traces, &self.caller) {
            let hash = active.map(|active| active.engine.hash());
            traces.record(caller, &Finished { arrived: self.arrived, record, hash });
        }
    }

    fn done(&mut self, exchange: &Exchange) {
        self.done = true;
        let metrics = &self.webhook.metrics;
        let took = self.arrived.elapsed();
        let record = &exchange.record;
        metrics.request_done(record.outcome, record.reason, took);
        metrics.sizes(exchange.bytes_in, record.patch);
        if let Some(judged) = record.judged {
            metrics.stage("read", judged.saturating_duration_since(self.arrived));
        }
        for (stage, took) in &record.stages {
            metrics.stage(stage, *took);
        }
        for code in &record.warning_codes {
            metrics.warned(code);
        }
        if record.panicked {
            metrics.panics.inc();
        }
        if let Some(way) = record.way {
            metrics.answers.found(way);
            if way == Way::Contradicted {
                let (namespace, owner) = (clip(&record.namespace), clip(&record.owner));
                tracing::error!(
                    namespace,
                    owner,
                    "a defect of outrigger: what was kept of a pod's sibling is not what the pod gets; the pod got the \
                     right patch, what was kept is forgotten"
                );
            }
        }
        if record.judged.is_some() && exchange.deadline.missed() {
            metrics.deadline_exceeded.inc();
        }
        log(exchange, took);
        #[cfg(feature = "otlp")]
        self.trace(record, exchange.active.as_ref());
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.webhook.metrics.in_flight.dec();
        if !self.done {
            self.webhook.metrics.request_done(Outcome::Error, CLIENT_GONE, self.arrived.elapsed());
            tracing::info!(outcome = "error", reason = CLIENT_GONE, "request");
            #[cfg(feature = "otlp")]
            self.trace(&Record::new(Outcome::Error, CLIENT_GONE), None);
        }
    }
}

fn log(exchange: &Exchange, took: Duration) {
    let Exchange { record, bytes_in, bytes_out, active, .. } = exchange;
    let engine = active.as_ref().map(|active| &active.engine);
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                $level,
                uid = clip(&record.uid),
                namespace = clip(&record.namespace),
                name = clip(&record.name),
                owner = filled(clip(&record.owner)),
                revision = engine.map(|engine| engine.revision()),
                config_hash = engine.map(|engine| engine.hash()),
                outcome = record.outcome.key(),
                reason = record.reason,
                detail = filled(&record.detail),
                templates = filled(clip(&record.templates)),
                warnings = filled(&record.warnings),
                patch_ops = record.patch.map_or(0, |(_, operations)| operations),
                bytes_in,
                bytes_out,
                duration_ms = took.as_micros() as f64 / 1000.0,
                dry_run = record.dry_run,
                reinvoked = record.reinvoked,
                status = exchange.response.status().as_u16(),
                "request"
            )
        };
    }
    if record.outcome == Outcome::Error { line!(tracing::Level::WARN) } else { line!(tracing::Level::INFO) }
}

/// A field that says nothing is left out.
fn filled(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Names in Kubernetes have at most 253 characters; what is longer was never a name.
fn clip(name: &str) -> &str {
    name.char_indices().nth(253).and_then(|(end, _)| name.get(..end)).unwrap_or(name)
}

fn shed(refused: impl Fn(StatusCode, &'static str, &str) -> Exchange) -> Exchange {
    let mut exchange = refused(StatusCode::TOO_MANY_REQUESTS, SHED, "too many requests at once; try again");
    // API servers repeat a call that is answered so, within its deadline.
    exchange.response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    exchange
}

fn unready(refused: impl Fn(StatusCode, &'static str, &str) -> Exchange) -> Exchange {
    let text = "there is no configuration yet; see /readyz on the admin port";
    let mut exchange = refused(StatusCode::SERVICE_UNAVAILABLE, "NOT_READY", text);
    exchange.response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    exchange
}

fn closing(mut exchange: Exchange) -> Exchange {
    close(&mut exchange.response);
    exchange
}

fn close(response: &mut Response) {
    // HTTP/2 knows no such header; `hyper` leaves it out there.
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

fn overloaded() -> Response {
    let mut response = json(StatusCode::TOO_MANY_REQUESTS, Bytes::from_static(status::OVERLOADED));
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn is_json(headers: &HeaderMap) -> bool {
    fn text(value: &HeaderValue) -> &str {
        value.to_str().unwrap_or_default()
    }
    let essence = headers.get(CONTENT_TYPE).map(text).unwrap_or_default();
    let essence = essence.split(';').next().unwrap_or_default().trim();
    let encoding = headers.get(CONTENT_ENCODING).map(text);
    essence.eq_ignore_ascii_case("application/json")
        && encoding.is_none_or(|encoding| encoding.eq_ignore_ascii_case("identity"))
}

fn refusal(code: StatusCode, text: &str) -> Response {
    json(code, status::failure(code, text))
}

fn json(status: StatusCode, bytes: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Full::new(bytes.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
