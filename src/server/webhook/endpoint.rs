//! `POST /inject`: the checks of a request, their order, and its one record.
//!
//! Where the work runs: a pod takes well under a millisecond, less than a switch to another thread and back, so it is
//! processed on the worker that read it. Large bodies (whose JSON alone takes milliseconds) go to the blocking pool,
//! a few at a time, so that they do not delay the workers' connections. Probes and metrics have their own thread and
//! wait for neither.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use hyper::{
    HeaderMap, Method, Request, StatusCode, Version,
    body::{Body, Bytes},
    header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue},
    http::request::Parts,
};
use tokio::{
    sync::{SemaphorePermit, TryAcquireError},
    time::{self, Instant},
};
use tower::Service;

use super::{
    body::{self, Held, Terms},
    deadline::Deadline,
    decisions::Decisions,
    log,
    metrics::RequestMetrics,
    path,
    record::{Outcome, Record, Stages, clip},
    refusal::{CLIENT_GONE, Refusal, Shed, UNAUTHENTICATED, json},
    traces::{Caller as TraceCaller, Sink},
    turns::{Turn, Turns},
    verdict::{self, Reviewed},
    workload_events::WorkloadEvents,
};
mod advice;

use crate::inject::limits::tree_within;
use crate::server::client_auth::{Admission, Caller};
use crate::server::configuration::active::Configuration;
use crate::server::configuration::slot::Active;
use crate::server::http::budget::Claim;
use crate::server::http::connection::{self, Arrival, Response};
use crate::server::http::limits::{Limits, Timeouts};
use crate::server::http::overload::LoadShedder;
use crate::server::http::state::ConnectionState;

/// The webhook as a service: one for all connections, cheap to clone.
#[derive(Clone)]
pub(crate) struct Webhook(Arc<Inner>);

/// What observes requests, besides the log.
pub(crate) struct Observers {
    pub(crate) metrics: RequestMetrics,
    pub(crate) traces: Sink,
    /// Tells workloads about their pods; not outside of a cluster.
    pub(crate) workload_events: Option<WorkloadEvents>,
    /// The last decisions, if they are kept.
    pub(crate) decisions: Option<Arc<Decisions>>,
}

/// What the endpoint uses.
struct Inner {
    configuration: Arc<Configuration>,
    observers: Observers,
    overload: Arc<LoadShedder>,
    body_within: Duration,
    terms: Terms,
    /// Limits large bodies by the memory that processing them needs.
    turns: Arc<Turns>,
    /// Maximum size in bytes of one pod's tree.
    tree: usize,
    warned_of_odd_key: AtomicBool,
}

/// Bodies from this size on are processed in the blocking pool.
const LARGE_BODY: usize = 128 << 10;
/// So are those that need more memory than this.
pub(crate) const SMALL_MEMORY: usize = 1 << 20;

impl Webhook {
    pub(crate) fn new(
        configuration: Arc<Configuration>,
        observers: Observers,
        overload: Arc<LoadShedder>,
        limits: &Limits,
        timeouts: &Timeouts,
    ) -> Webhook {
        Webhook(Arc::new(Inner {
            configuration,
            observers,
            overload,
            body_within: timeouts.body,
            terms: Terms {
                limit: limits.body_bytes,
                deadline: Instant::now(),
                grace: timeouts.slow_body,
                rate: limits.body_rate,
            },
            turns: Turns::new(limits.large_bodies, limits.judged_bytes, limits.in_flight),
            tree: tree_within(limits.judged_bytes),
            warned_of_odd_key: AtomicBool::new(false),
        }))
    }
}

impl<B> Service<Request<B>> for Webhook
where
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    /// Always ready: excess requests are refused after they arrive.
    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// Answers one request, whose extensions contain its connection and arrival time.
    fn call(&mut self, request: Request<B>) -> Self::Future {
        let webhook = self.0.clone();
        Box::pin(async move { Ok(webhook.answer(request).await) })
    }
}

/// `/inject` itself and the paths below it.
fn is_ours(path: &str) -> bool {
    path.strip_prefix("/inject").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Inner {
    async fn answer<B: Body<Data = Bytes> + Send>(&self, mut request: Request<B>) -> Response {
        let Some(Arrival { at: arrived, connection }) = request.extensions_mut().remove() else {
            return Refusal::Fault.response();
        };
        if let Some(refusal) = refused_caller(&request) {
            self.observers.metrics.unauthenticated(UNAUTHENTICATED);
            return self.turn_away(refusal, request, &connection).await;
        }
        let now = Instant::now();
        if request.uri().path() == advice::PATH {
            return self.advise(request, arrived, &connection).await;
        }
        if !is_ours(request.uri().path()) {
            return self.turn_away(Refusal::NotFound, request, &connection).await;
        }
        let Some(waited) = self.overload.admit(now, &connection.account().share) else {
            // Refusing a request under overload must cost a small fraction of answering one. Such requests are
            // counted, and share one log line per second.
            self.observers.metrics.turned_away();
            return self.turn_away(Refusal::Overloaded, request, &connection).await;
        };
        let mut pending = Pending::arrived(self, request.headers());
        let response = self.exchange(request, arrived.min(now - waited), &connection, &mut pending).await;
        pending.record.status = response.status().as_u16();
        response
    }

    /// Refuses a request without reading its body and without a record.
    async fn turn_away<B: Body<Data = Bytes> + Send>(
        &self,
        refusal: Refusal,
        request: Request<B>,
        connection: &Arc<ConnectionState>,
    ) -> Response {
        let (head, body) = request.into_parts();
        let drained = body::discard(&head.headers, body).await;
        let mut response = refusal.response();
        if refusal.closes(drained) {
            leave(&mut response, connection);
        }
        self.hold_refusal(&mut response, connection);
        response
    }

    async fn exchange<B: Body<Data = Bytes> + Send>(
        &self,
        request: Request<B>,
        arrived: Instant,
        connection: &Arc<ConnectionState>,
        pending: &mut Pending<'_>,
    ) -> Response {
        let deadline = Deadline::of(request.uri().query(), arrived);
        let (head, body) = request.into_parts();
        let (result, drained) = match self.variables(&head) {
            Ok(variables) => {
                (self.review(&head, body, variables, deadline, connection, pending).await, false)
            }
            Err(refusal) => (Err(refusal), body::discard(&head.headers, body).await),
        };
        pending.record.missed = result.is_ok() && deadline.missed();
        self.respond(result, drained, connection, &mut pending.record)
    }

    /// The response for a result, with its share of the budget.
    fn respond(
        &self,
        result: Result<Vec<u8>, Refusal>,
        drained: bool,
        connection: &Arc<ConnectionState>,
        record: &mut Record,
    ) -> Response {
        let mut response = match result {
            Ok(bytes) => {
                connection.trust();
                record.bytes_out = bytes.len();
                json(StatusCode::OK, bytes)
            }
            Err(refusal) => refuse(refusal, drained, connection, record),
        };
        if let Some(claim) = Claim::answer(connection, connection::stream(), response.body().len()) {
            response.body_mut().hold(claim);
            return response;
        }
        // A response that finds no room is one request too many.
        *record = Record::default();
        let mut response = refuse(Refusal::Shed(Shed::Answer), drained, connection, record);
        self.hold_refusal(&mut response, connection);
        response
    }

    /// Accounts for a refusal in the budget. If not even that finds room, its connection is closed.
    fn hold_refusal(&self, response: &mut Response, connection: &Arc<ConnectionState>) {
        if let Some(claim) = Claim::answer(connection, connection::stream(), response.body().len()) {
            response.body_mut().hold(claim);
        } else {
            self.observers.metrics.evicted();
            connection.evicted.notify_one();
        }
    }

    /// The environment variables in a request's path, or why the request is refused because of its header.
    fn variables(&self, head: &Parts) -> Result<BTreeMap<String, String>, Refusal> {
        if head.method != Method::POST {
            return Err(Refusal::Method);
        }
        if !is_json(&head.headers) {
            return Err(Refusal::ContentType);
        }
        let parameters = path::parse(head.uri.path()).map_err(Refusal::Path)?;
        if let Some(key) = parameters.odd_key
            && !self.warned_of_odd_key.swap(true, Ordering::Relaxed)
        {
            let key = clip(&key);
            tracing::warn!(
                key,
                "ignoring a key without a value, or a value without a key, in the webhook's path"
            );
        }
        Ok(parameters.variables)
    }

    /// Reads the body and reviews it.
    async fn review<B: Body<Data = Bytes> + Send>(
        &self,
        head: &Parts,
        body: B,
        variables: BTreeMap<String, String>,
        deadline: Deadline,
        connection: &Arc<ConnectionState>,
        pending: &mut Pending<'_>,
    ) -> Result<Vec<u8>, Refusal> {
        let (held, _permit) = self.read(head, body, deadline, connection).await?;
        let bytes_in = held.bytes.len();
        let body = held.bytes.clone();
        pending.record.bytes_in = bytes_in;
        let active = self.configuration.current().ok_or(Refusal::NotReady)?;
        // C-05: this snapshot produces the response and is named in the log and the audit annotations.
        let tree = self.tree;
        let opened = (bytes_in < LARGE_BODY).then(|| verdict::open(&held.bytes, tree));
        let (began, reviewed) = if let Some(opened) = opened.filter(|opened| opened.memory() <= SMALL_MEMORY)
        {
            if deadline.passed() {
                return Err(Refusal::Deadline { read: true });
            }
            (opened.began, verdict::judge(active.engine.as_ref(), opened, variables))
        } else {
            let turn = self.turn(&held, deadline, connection).await.map_err(Refusal::Shed)?;
            let judges = active.clone();
            let judging = tokio::task::spawn_blocking(move || {
                // The turn and the memory stay reserved until this is done, even if the client has gone.
                let _turn = turn;
                let opened = verdict::open(&held.bytes, tree);
                (opened.began, verdict::judge(judges.engine.as_ref(), opened, variables))
            });
            match time::timeout_at(deadline.answer_by(), judging).await {
                Err(_) => return Err(Refusal::Deadline { read: true }),
                Ok(Ok(judged)) => judged,
                // The runtime is shutting down: `judge` itself contains panics.
                Ok(Err(_)) => return Err(Refusal::ShuttingDown),
            }
        };
        let (result, record) = self.checked(&active, &body, deadline, reviewed).await;
        if let Some(events) = &self.observers.workload_events {
            events.observe(&record, || verdict::pod(&body));
        }
        let read = record.stages.decode.map(|_| began.saturating_duration_since(pending.arrived));
        let stages = Stages { read, ..record.stages };
        pending.record = Record { active: Some(active), bytes_in, stages, ..record };
        result
    }

    /// Reads the body.
    async fn read<'c, B: Body<Data = Bytes> + Send>(
        &self,
        head: &Parts,
        body: B,
        deadline: Deadline,
        connection: &'c Arc<ConnectionState>,
    ) -> Result<(Held, Option<SemaphorePermit<'c>>), Refusal> {
        if deadline.passed() {
            return Err(Refusal::Deadline { read: false });
        }
        let terms = Terms { deadline: deadline.bound(self.body_within), ..self.terms };
        let admitted = time::timeout_at(terms.deadline, probation(head, connection)).await;
        let (permit, claim) = admitted.unwrap_or(Err(Refusal::Shed(Shed::Probation)))?;
        Ok((body::read(&head.headers, body, claim, connection, terms).await?, permit))
    }

    /// The computed response, unless the pod's namespace does not ask for injection.
    async fn checked(
        &self,
        active: &Active,
        body: &[u8],
        deadline: Deadline,
        (result, record): Reviewed,
    ) -> Reviewed {
        let Some(selection) = self.configuration.selection() else { return (result, record) };
        if record.outcome != Outcome::Injected || !selection.doubts(&record.namespace) {
            return (result, record);
        }
        let Some(pod) = verdict::pod(body) else { return (result, record) };
        match selection.not_selected(&record.namespace, pod, deadline.half()).await {
            Some(found) => verdict::leave_alone(active.engine.as_ref(), body, record, found.sentence),
            None => (result, record),
        }
    }

    /// Waits for the turn of a large body: processing it needs many times the memory of its text.
    async fn turn(
        &self,
        held: &Held,
        deadline: Deadline,
        connection: &ConnectionState,
    ) -> Result<Turn, Shed> {
        let reclaimed = async {
            match &held.claim {
                Some(claim) => claim.reclaimed().await,
                None => std::future::pending().await,
            }
        };
        let turn = tokio::select! {
            turn = self.weighed_turn(held, connection) => turn.ok_or(Shed::InFlight)?,
            () = reclaimed => return Err(Shed::WaitingBody),
            // Half of the remaining time, so that there is time for a retry, possibly on another replica.
            () = time::sleep_until(deadline.half()) => return Err(Shed::Turn),
        };
        if held.claim.as_ref().is_some_and(|claim| !claim.begin_use()) {
            Err(Shed::WaitingBody)
        } else {
            Ok(turn)
        }
    }

    /// The size of the text does not determine the memory that processing it needs, so that is computed first.
    async fn weighed_turn(&self, held: &Held, connection: &ConnectionState) -> Option<Turn> {
        let (body, tree) = (held.bytes.clone(), self.tree);
        let weighing = tokio::task::spawn_blocking(move || verdict::open(&body, tree).memory());
        self.turns.take(connection.account().peer, weighing.await.ok()?).await
    }
}

/// A request from its header to its end: counted while it lasts, and observed in any case. Unless a result is
/// recorded, the client has gone.
struct Pending<'a> {
    webhook: &'a Inner,
    arrived: Instant,
    caller: TraceCaller,
    record: Record,
}

impl<'a> Pending<'a> {
    fn arrived(webhook: &'a Inner, headers: &HeaderMap) -> Pending<'a> {
        webhook.observers.metrics.arrived();
        let caller = webhook.observers.traces.caller(headers);
        Pending { webhook, arrived: Instant::now(), caller, record: Record::default() }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let Pending { webhook, arrived, caller, record } = self;
        if record.status == 0 {
            *record = Record::failed(CLIENT_GONE);
        }
        record.took = arrived.elapsed();
        let Observers { metrics, traces, decisions, workload_events: _ } = &webhook.observers;
        metrics.observe(record);
        log::observe(record);
        traces.observe(caller, record);
        if let Some(decisions) = decisions {
            decisions.observe(record);
        }
    }
}

/// Why a client is refused, if it is.
fn refused_caller<B>(request: &Request<B>) -> Option<Refusal> {
    let caller = request.extensions().get::<Arc<Caller>>()?;
    match caller.admit(request.headers()) {
        Admission::Granted => None,
        Admission::Elsewhere => {
            Some(Refusal::CertificateRevoked { http2: request.version() == Version::HTTP_2 })
        }
        Admission::Refused => Some(Refusal::Unauthenticated),
    }
}

/// Writes and records a refusal.
fn refuse(refusal: Refusal, drained: bool, connection: &ConnectionState, record: &mut Record) -> Response {
    let mut response = refusal.response();
    if refusal.closes(drained) {
        leave(&mut response, connection);
    }
    record.refuse(refusal);
    response
}

/// Announces in a response that its connection is closed after it, because the rest of the request is still to come.
fn leave(response: &mut Response, connection: &ConnectionState) {
    // In HTTP/2, this ends only the stream.
    if !connection.is_http2() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        connection.announce();
        connection.leave_rest();
    }
}

/// Limits the streams that are read at once for a peer without a valid response. A waiting stream has a share of the
/// budget.
async fn probation<'a>(
    head: &Parts,
    connection: &'a Arc<ConnectionState>,
) -> Result<(Option<SemaphorePermit<'a>>, Option<Claim>), Refusal> {
    let Some(probation) = connection.probation() else { return Ok((None, None)) };
    match probation.try_acquire() {
        Ok(permit) => return Ok((Some(permit), None)),
        Err(TryAcquireError::Closed) => return Ok((None, None)),
        Err(TryAcquireError::NoPermits) => {}
    }
    let claim = body::claim(&head.headers, connection)?;
    tokio::select! {
        permit = probation.acquire() => Ok((permit.ok(), Some(claim))),
        () = claim.reclaimed() => Err(Refusal::Shed(Shed::Body)),
    }
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

#[cfg(test)]
mod tests;
