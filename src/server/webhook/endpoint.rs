//! `POST /inject`: what is accepted, in which order it is checked, and the one log line of each request.
//!
//! Where the work runs: a pod takes well under a millisecond, less than handing it to another thread and back is
//! worth, so it runs on the worker that read it. Large bodies (whose JSON alone takes milliseconds) go to the
//! blocking pool, so that one of them does not hold up the connections of its worker. Probes and metrics are served
//! by a thread of their own and never wait for either.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
    },
    response::Response,
    routing::any,
};
use tokio::sync::Semaphore;

use super::{
    body::{self, Refused},
    path,
    verdict::{self, Record, Reply},
};
#[cfg(feature = "otlp")]
use crate::server::traces::{Finished, Traces};
use crate::server::{
    configuration::{Active, Configuration},
    metrics::{Metrics, Outcome},
    options::{Limits, Timeouts, parse_duration},
};

/// What the endpoint works with.
pub(crate) struct Webhook {
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) body_bytes: usize,
    pub(crate) body_within: Duration,
    /// One permit for each request that is read or judged.
    pub(crate) in_flight: Arc<Semaphore>,
    /// One permit for each byte of bodies.
    pub(crate) memory: Arc<Semaphore>,
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
        limits: &Limits,
        timeouts: &Timeouts,
    ) -> Webhook {
        Webhook {
            configuration,
            metrics,
            body_bytes: limits.body_bytes,
            body_within: timeouts.body,
            in_flight: Arc::new(Semaphore::new(limits.in_flight)),
            memory: Arc::new(Semaphore::new(limits.buffered_bytes)),
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

    /// The routes of the webhook's port.
    pub(crate) fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/inject", any(inject))
            .route("/inject/", any(inject))
            .route("/inject/{*parameters}", any(inject))
            .fallback(async || {
                refusal(StatusCode::NOT_FOUND, "there is nothing here; accepted is POST /inject")
            })
            .with_state(self)
    }
}

async fn inject(State(webhook): State<Arc<Webhook>>, request: Request) -> Response {
    let mut pending = Pending::arrived(webhook.clone(), &request);
    let exchange = webhook.answer(request).await;
    pending.done(&exchange);
    exchange.response
}

struct Exchange {
    response: Response,
    record: Record,
    bytes_in: usize,
    bytes_out: usize,
    /// What it was judged by, if it came to that.
    active: Option<Arc<Active>>,
    /// What the API server allowed for the call.
    deadline: Option<Duration>,
}

impl Webhook {
    async fn answer(&self, request: Request) -> Exchange {
        let (head, body) = request.into_parts();
        let refused = |status, reason, text: &str| Exchange {
            response: refusal(status, text),
            record: Record::new(Outcome::Error, reason),
            bytes_in: 0,
            bytes_out: 0,
            active: None,
            deadline: None,
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

        let Ok(_in_flight) = self.in_flight.try_acquire() else {
            self.metrics.shed("in_flight");
            body::linger(body);
            return shed(refused);
        };
        let held =
            match body::read(&head.headers, body, self.body_bytes, &self.memory, self.body_within).await {
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
        let judged = if bytes_in < LARGE_BODY {
            Ok(verdict::judge(active.engine.as_ref(), &held.bytes, variables))
        } else {
            let active = active.clone();
            let judge = move || verdict::judge(active.engine.as_ref(), &held.bytes, variables);
            tokio::task::spawn_blocking(judge).await
        };
        let Ok((reply, record)) = judged else {
            // The runtime is going down: `judge` itself contains panics.
            return refused(StatusCode::INTERNAL_SERVER_ERROR, "SHUTDOWN", "the server is shutting down");
        };
        let (response, bytes_out) = match reply {
            Reply::Review(bytes) => {
                let length = bytes.len();
                (json(StatusCode::OK, bytes), length)
            }
            Reply::Malformed(error) => (refusal(StatusCode::BAD_REQUEST, &error.to_string()), 0),
            Reply::Fault => (refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal error"), 0),
        };
        let deadline = deadline(head.uri.query());
        Exchange { response, record, bytes_in, bytes_out, active: Some(active), deadline }
    }
}

/// Reason of requests whose peer went away.
const CLIENT_GONE: &str = "CLIENT_GONE";

/// A request that is counted in flight, and counted and logged as given up if it is dropped before it is done.
struct Pending {
    webhook: Arc<Webhook>,
    arrived: Instant,
    done: bool,
    /// The span of whoever sent it, if that matters to anybody.
    #[cfg(feature = "otlp")]
    caller: Option<opentelemetry::Context>,
}

impl Pending {
    #[cfg_attr(not(feature = "otlp"), allow(unused_variables, reason = "only traces look at the header"))]
    fn arrived(webhook: Arc<Webhook>, request: &Request) -> Pending {
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
        if record.panicked {
            metrics.panics.inc();
        }
        if exchange.deadline.is_some_and(|deadline| took > deadline) {
            metrics.deadline_exceeded.inc();
        }
        log(exchange, took);
        #[cfg(feature = "otlp")]
        self.trace(record, exchange.active.as_ref());
    }
}

impl Drop for Pending {
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
    let mut exchange = refused(StatusCode::TOO_MANY_REQUESTS, "SHED", "too many requests at once; try again");
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
    // HTTP/2 knows no such header; `hyper` leaves it out there.
    exchange.response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    exchange
}

fn is_json(headers: &HeaderMap) -> bool {
    let text = |value: &HeaderValue| value.to_str().map(str::to_ascii_lowercase).unwrap_or_default();
    let essence = headers.get(CONTENT_TYPE).map(text).unwrap_or_default();
    let essence = essence.split(';').next().unwrap_or_default().trim();
    let encoding = headers.get(CONTENT_ENCODING).map(text);
    essence == "application/json" && encoding.is_none_or(|encoding| encoding == "identity")
}

/// `timeout=10s`, which API servers append to the URL.
fn deadline(query: Option<&str>) -> Option<Duration> {
    query?.split('&').find_map(|pair| parse_duration(pair.strip_prefix("timeout=")?).ok())
}

fn refusal(status: StatusCode, text: &str) -> Response {
    json(status, serde_json::json!({ "error": text }).to_string().into_bytes())
}

fn json(status: StatusCode, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
