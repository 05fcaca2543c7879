//! `POST /inject`: what is accepted, in which order it is checked, and the one log line of each request.
//!
//! Where the work runs: a pod takes well under a millisecond, less than handing it to another thread and back is
//! worth, so it runs on the worker that read it. Large bodies (whose JSON alone takes milliseconds) go to the
//! blocking pool, a few at a time, so that they do not hold up the connections of the workers. Probes and metrics are
//! served by a thread of their own and never wait for either.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::{
    HeaderMap, Method, StatusCode, Version,
    body::{Bytes, Incoming},
    header::{ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
    http::request::Parts,
};
use tokio::{
    sync::{SemaphorePermit, TryAcquireError},
    time,
};

use super::{
    body::{self, Held, Refused, Terms},
    deadline::Deadline,
    path, status,
    turns::{Turn, Turns},
    verdict::{self, Record, Reply},
};
use crate::inject::limits::tree_within;
use crate::server::client_auth;
use crate::server::client_auth::Caller;
use crate::server::configuration::active::{Active, Configuration};
use crate::server::http::budget::Claim;
use crate::server::http::connection;
use crate::server::http::connection::{Answer, Endpoint, Response};
use crate::server::http::overload::LoadShedder;
use crate::server::http::state::ConnectionState;
use crate::server::observe::metrics::{Metrics, Outcome, SHED};
#[cfg(feature = "otlp")]
use crate::server::observe::traces::Traces;
use crate::server::options::{Limits, Timeouts};

mod pending;

use self::pending::{Pending, clip};

type Request = hyper::Request<Incoming>;

/// What the endpoint works with.
pub(crate) struct Webhook {
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pressure: Arc<LoadShedder>,
    body_within: Duration,
    terms: Terms,
    /// Of large bodies, by the memory that judging them takes.
    turns: Arc<Turns>,
    /// Bytes that the tree of one pod may take.
    tree: usize,
    warned_of_odd_key: AtomicBool,
    #[cfg(feature = "otlp")]
    traces: Option<Arc<Traces>>,
}

/// Bodies from this size on are judged in the blocking pool.
const LARGE_BODY: usize = 128 << 10;
/// So are those that take more memory than this.
pub(crate) const SMALL_MEMORY: usize = 1 << 20;

impl Webhook {
    pub(crate) fn new(
        configuration: Arc<Configuration>,
        metrics: Arc<Metrics>,
        pressure: Arc<LoadShedder>,
        limits: &Limits,
        timeouts: &Timeouts,
    ) -> Webhook {
        Webhook {
            configuration,
            metrics,
            pressure,
            body_within: timeouts.body,
            terms: Terms {
                limit: limits.body_bytes,
                deadline: time::Instant::now(),
                grace: timeouts.slow_body,
                rate: limits.body_rate,
            },
            turns: Turns::new(limits.large_bodies, limits.judged_bytes, limits.in_flight),
            tree: tree_within(limits.judged_bytes),
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
    async fn answer(
        self: Arc<Self>,
        request: Request,
        arrived: time::Instant,
        connection: Arc<ConnectionState>,
    ) -> Response {
        if let Some(caller) = request.extensions().get::<Arc<Caller>>() {
            let admission = caller.admit(request.headers());
            if admission != client_auth::Admission::Granted {
                self.metrics.unauthenticated(UNAUTHENTICATED);
                let refused = unauthenticated(&admission, request.version());
                let mut response = unread(refused, request, &connection).await;
                leave(&mut response, &connection);
                self.hold_refusal(&mut response, &connection);
                return response;
            }
        }
        let now = time::Instant::now();
        let mut response = if !is_ours(request.uri().path()) {
            let text = "there is nothing here; accepted is POST /inject";
            unread(refusal(StatusCode::NOT_FOUND, text), request, &connection).await
        } else if let Some(waited) = self.pressure.admit(now, &connection.account().share) {
            let mut pending = Pending::arrived(&self, &request);
            let mut exchange = self.exchange(request, arrived.min(now - waited), &connection).await;
            self.hold(&mut exchange, &connection);
            pending.done(&exchange);
            return exchange.response;
        } else {
            // A request that is refused under overload must cost a small part of one that is answered. It is counted,
            // and the log has a line a second for all of them.
            self.metrics.turned_away();
            unread(overloaded(), request, &connection).await
        };
        self.hold_refusal(&mut response, &connection);
        response
    }
}

/// Refuses a caller. It is not told what would be accepted; the log is, now and then.
fn unauthenticated(admission: &client_auth::Admission, version: Version) -> Response {
    if *admission == client_auth::Admission::Elsewhere {
        let text = "the certificate of this connection is accepted no more; try again on another one";
        let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, text);
        // An HTTP/2 client has to hear of the end of the connection first.
        let after = if version == Version::HTTP_2 { "1" } else { "0" };
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(after));
        return response;
    }
    let text = "the caller is not authenticated: outrigger's log says what was found, and what is accepted";
    let mut response = refusal(StatusCode::UNAUTHORIZED, text);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Refuses a request without a look at its body, and says so if that ends the connection.
async fn unread(mut response: Response, request: Request, connection: &ConnectionState) -> Response {
    let (head, body) = request.into_parts();
    if !body::discard(&head.headers, body).await {
        leave(&mut response, connection);
    }
    response
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
    /// Counts a refusal in the budget. When even that finds no room its connection has to go.
    fn hold_refusal(&self, response: &mut Response, connection: &Arc<ConnectionState>) {
        if let Some(claim) = Claim::answer(connection, connection::stream(), response.body().len()) {
            response.body_mut().hold(claim);
        } else {
            self.metrics.evicted("connection");
            connection.evicted.notify_one();
        }
    }

    /// Counts an answer in the budget. One that finds no room is a request too many.
    fn hold(&self, exchange: &mut Exchange, connection: &Arc<ConnectionState>) {
        let bytes = exchange.response.body().len();
        if let Some(claim) = Claim::answer(connection, connection::stream(), bytes) {
            exchange.response.body_mut().hold(claim);
            return;
        }
        self.metrics.shed("memory");
        *exchange = shed(refused(exchange.deadline));
        self.hold_refusal(&mut exchange.response, connection);
    }

    async fn exchange(
        &self,
        request: Request,
        arrived: time::Instant,
        connection: &Arc<ConnectionState>,
    ) -> Exchange {
        let deadline = Deadline::of(request.uri().query(), arrived);
        let refused = refused(deadline);
        let (head, body) = request.into_parts();
        let variables = match self.variables(&head, refused) {
            Ok(variables) => variables,
            Err(mut exchange) => {
                if !body::discard(&head.headers, body).await {
                    leave(&mut exchange.response, connection);
                }
                return *exchange;
            }
        };
        let left = |mut exchange: Exchange| {
            leave(&mut exchange.response, connection);
            exchange
        };
        if deadline.passed() {
            return left(self.late(refused));
        }
        let terms = Terms { deadline: deadline.bound(self.body_within), ..self.terms };
        let read = async {
            let admitted = time::timeout_at(terms.deadline, probation(&head, connection)).await;
            let (permit, claim) = admitted.unwrap_or(Err(Refused::Unproven))?;
            let held = body::read(&head.headers, body, claim, connection, terms).await?;
            Ok((permit, held))
        };
        let (_permit, held) = match read.await {
            Ok(read) => read,
            Err(reason) => return left(self.unreadable(reason, refused)),
        };
        self.judge(held, variables, deadline, connection).await
    }

    /// What a request's header says, or why it is refused for it.
    fn variables(
        &self,
        head: &Parts,
        refused: impl Fn(StatusCode, &'static str, &str) -> Exchange,
    ) -> Result<BTreeMap<String, String>, Box<Exchange>> {
        if head.method != Method::POST {
            let text = "the method is not accepted; accepted is POST";
            let mut exchange = refused(StatusCode::METHOD_NOT_ALLOWED, "METHOD", text);
            exchange.response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return Err(exchange.into());
        }
        if !is_json(&head.headers) {
            let text =
                "the content type is not accepted; accepted is application/json without content encoding";
            return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "CONTENT_TYPE", text).into());
        }
        let parameters = path::parse(head.uri.path())
            .map_err(|error| refused(StatusCode::BAD_REQUEST, "PATH", &error.to_string()))?;
        if let Some(key) = parameters.odd_key
            && !self.warned_of_odd_key.swap(true, Ordering::Relaxed)
        {
            let key = clip(&key);
            tracing::warn!(
                key,
                "the webhook's path has a key without a value or a value without a key; it is ignored"
            );
        }
        Ok(parameters.variables)
    }

    /// What is answered where the body was not read.
    fn unreadable(
        &self,
        reason: Refused,
        refused: impl Fn(StatusCode, &'static str, &str) -> Exchange,
    ) -> Exchange {
        match reason {
            Refused::TooLarge => {
                let text = format!("the body is too large; accepted are {} bytes", self.terms.limit);
                refused(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", &text)
            }
            Refused::Crowded => {
                self.metrics.shed("memory");
                shed(refused)
            }
            Refused::Unproven => {
                self.metrics.shed("probation");
                shed(refused)
            }
            Refused::PeerTimeout => {
                self.metrics.deadline_exceeded.inc();
                let text = "the body did not arrive in time";
                refused(StatusCode::REQUEST_TIMEOUT, "BODY_TIMEOUT", text)
            }
            Refused::Slow => {
                self.metrics.evicted("slow_body");
                let text =
                    format!("the body comes too slowly; accepted are {} bytes a second", self.terms.rate);
                refused(StatusCode::REQUEST_TIMEOUT, "BODY_TIMEOUT", &text)
            }
            Refused::Gone => refused(StatusCode::BAD_REQUEST, CLIENT_GONE, "the body broke off"),
        }
    }

    async fn judge(
        &self,
        held: Held,
        variables: BTreeMap<String, String>,
        deadline: Deadline,
        connection: &Arc<ConnectionState>,
    ) -> Exchange {
        let refused = refused(deadline);
        let bytes_in = held.bytes.len();
        let body = held.bytes.clone();
        let Some(active) = self.configuration.current() else {
            return unready(refused);
        };
        // C-05: this one snapshot makes the answer, and is what the log and the audit annotations name.
        let tree = self.tree;
        let opened = (bytes_in < LARGE_BODY).then(|| verdict::open(&held.bytes, tree));
        let (reply, record) = if let Some(opened) = opened.filter(|opened| opened.memory() <= SMALL_MEMORY) {
            if deadline.passed() {
                return self.late(refused);
            }
            verdict::judge(active.engine.as_ref(), opened, variables)
        } else {
            let turn = match self.turn(&held, deadline, connection).await {
                Ok(turn) => turn,
                Err(reason) => {
                    self.metrics.shed(reason);
                    return shed(refused);
                }
            };
            let engine = active.clone();
            let judging = tokio::task::spawn_blocking(move || {
                // The turn and the memory are taken until this is done, even if nobody waits for it any more.
                let _turn = turn;
                verdict::judge(engine.engine.as_ref(), verdict::open(&held.bytes, tree), variables)
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
        let (reply, record) = self.checked(&active, &body, deadline, (reply, record)).await;
        let (response, bytes_out) = match reply {
            Reply::Review(bytes) => {
                connection.trust();
                let length = bytes.len();
                (json(StatusCode::OK, bytes), length)
            }
            Reply::Malformed(error) => (refusal(StatusCode::BAD_REQUEST, &error.to_string()), 0),
            Reply::Fault => (refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal error"), 0),
        };
        Exchange { response, record, bytes_in, bytes_out, active: Some(active), deadline }
    }

    /// An answer as it was found, unless the pod's namespace does not ask for injection.
    async fn checked(
        &self,
        active: &Active,
        body: &[u8],
        deadline: Deadline,
        (reply, record): (Reply, Record),
    ) -> (Reply, Record) {
        let Some(selection) = self.configuration.selection() else { return (reply, record) };
        if record.outcome != Outcome::Injected || !selection.doubts(&record.namespace) {
            return (reply, record);
        }
        let Some(pod) = verdict::pod(body) else { return (reply, record) };
        match selection.not_selected(&record.namespace, pod, deadline.half()).await {
            Some(found) => verdict::leave_alone(active.engine.as_ref(), body, record, found.sentence),
            None => (reply, record),
        }
    }

    /// Waits until it is the turn of a large body: what is judged takes many times the memory of its text.
    async fn turn(
        &self,
        held: &Held,
        deadline: Deadline,
        connection: &ConnectionState,
    ) -> Result<Turn, &'static str> {
        let given_up = async {
            match &held.claim {
                Some(claim) => claim.given_up().await,
                None => std::future::pending().await,
            }
        };
        let turn = tokio::select! {
            turn = self.weighed_turn(held, connection) => turn.ok_or("in_flight")?,
            () = given_up => return Err("memory"),
            // Half of what is left, so that there is time for another try, elsewhere perhaps.
            () = time::sleep_until(deadline.half()) => return Err("large"),
        };
        if held.claim.as_ref().is_some_and(|claim| !claim.begin_use()) { Err("memory") } else { Ok(turn) }
    }

    /// The text says nothing of the memory that judging it takes, so it is weighed first.
    async fn weighed_turn(&self, held: &Held, connection: &ConnectionState) -> Option<Turn> {
        let (body, tree) = (held.bytes.clone(), self.tree);
        let weighing = tokio::task::spawn_blocking(move || verdict::open(&body, tree).memory());
        self.turns.take(connection.account().peer, weighing.await.ok()?).await
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

/// Says in an answer that its connection is closed after it, because the rest of the request is still to come.
fn leave(response: &mut Response, connection: &ConnectionState) {
    // In HTTP/2 that ends the stream alone.
    if !connection.is_http2() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        connection.announce();
        connection.leave_rest();
    }
}

/// Lets a peer that had no good answer yet have few streams read at once. What waits has a part of the budget.
async fn probation<'a>(
    head: &Parts,
    connection: &'a Arc<ConnectionState>,
) -> Result<(Option<SemaphorePermit<'a>>, Option<Claim>), Refused> {
    let Some(probation) = connection.probation() else { return Ok((None, None)) };
    match probation.try_acquire() {
        Ok(permit) => return Ok((Some(permit), None)),
        Err(TryAcquireError::Closed) => return Ok((None, None)),
        Err(TryAcquireError::NoPermits) => {}
    }
    let claim = body::claim(&head.headers, connection)?;
    tokio::select! {
        permit = probation.acquire() => Ok((permit.ok(), Some(claim))),
        () = claim.given_up() => Err(Refused::Crowded),
    }
}

/// Makes refusals of a request.
fn refused(deadline: Deadline) -> impl Fn(StatusCode, &'static str, &str) -> Exchange + Copy {
    move |code, reason, text| Exchange {
        response: refusal(code, text),
        record: Record::new(Outcome::Error, reason),
        bytes_in: 0,
        bytes_out: 0,
        active: None,
        deadline,
    }
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
    let mut response = Response::new(Answer::new(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
