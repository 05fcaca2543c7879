//! One connection: its HTTP version, its limits, its maximum age and its end.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use hyper::{
    body::{Body as HttpBody, Buf, Bytes, Frame, Incoming, SizeHint},
    header::{self, HeaderValue},
    http::Extensions,
    rt::Executor,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tower::{Service, ServiceExt};

use crate::server::http::budget::Claim;
use crate::server::http::frames::Amount;
use crate::server::http::holding::Stream;
use crate::server::http::limits::{Limits, Timeouts};
use crate::server::http::log_throttle::LogThrottle;
use crate::server::http::metrics::HttpMetrics;
use crate::server::http::state::{ConnectionState, Request};
use crate::server::http::stream::Timed;
use crate::server::shutdown::{Phase, Watch};

/// A complete response.
pub(crate) type Response = hyper::Response<Answer>;

/// Attached to the extensions of each request.
#[derive(Clone)]
pub(crate) struct Arrival {
    /// When its first byte was read.
    pub(crate) at: Instant,
    pub(crate) connection: Arc<ConnectionState>,
}

/// The peer of a connection.
pub(crate) struct Peer {
    /// Attached to the extensions of every request of the connection.
    pub(crate) extensions: Extensions,
    /// Completes when the connection can no longer be used for requests.
    pub(crate) expired: BoxFuture<'static, ()>,
}

impl Default for Peer {
    fn default() -> Peer {
        Peer { extensions: Extensions::new(), expired: Box::pin(std::future::pending()) }
    }
}

/// Serves the connections of one listener; all of them share it.
pub(crate) struct Http<S> {
    service: S,
    timeouts: Arc<Timeouts>,
    metrics: HttpMetrics,
    phase: Watch,
    closes_at: Phase,
    http1: http1::Builder,
    http2: http2::Builder<Streams>,
    opened: AtomicU64,
    reminder: Arc<LogThrottle>,
}

/// Maximum number of headers in a request; more are answered with 431.
const HEADERS: usize = 64;
/// H-06: streams that the peer resets before they are accepted (CVE-2023-44487).
const PENDING_RESETS: usize = 20;
/// H-08: streams that we reset because of the peer's errors (CVE-2025-8671).
const LOCAL_RESETS: usize = 256;
/// Bytes that an HTTP/2 peer may send before they are read. A waiting stream holds them outside of the budget.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
/// HTTP/2 peers that do not answer a ping are disconnected.
const PING_EVERY: Duration = Duration::from_secs(30);
const PONG_WITHIN: Duration = Duration::from_secs(15);

impl<S> Http<S>
where
    S: Service<hyper::Request<Incoming>, Response = Response, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    pub(crate) fn new(
        service: S,
        limits: &Limits,
        timeouts: Arc<Timeouts>,
        metrics: HttpMetrics,
        phase: Watch,
        closes_at: Phase,
    ) -> Http<S> {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // `stream` has its own deadline, which distinguishes idle connections from slow headers.
            .header_read_timeout(None)
            .max_headers(HEADERS)
            .max_buf_size(limits.header_bytes.max(8 << 10));
        let mut http2 = http2::Builder::new(Streams);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .max_local_error_reset_streams(LOCAL_RESETS)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_WITHIN);
        Http {
            service,
            timeouts,
            metrics,
            phase,
            closes_at,
            http1,
            http2,
            opened: AtomicU64::new(0),
            reminder: Arc::default(),
        }
    }

    /// Serves one connection until it ends.
    pub(crate) async fn serve<T>(&self, stream: T, http2: bool, activity: Arc<ConnectionState>, peer: Peer)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let metrics = self.metrics.clone();
        let Peer { extensions, expired: outdated } = peer;
        let timed = Timed::new(
            stream,
            http2,
            activity.clone(),
            self.timeouts.clone(),
            move |late| metrics.timed_out(late.key()),
            self.on_flood(&activity),
        );
        let max_age = self.jittered_age();
        let service = service_fn({
            let (activity, service, phase) = (activity.clone(), self.service.clone(), self.phase.clone());
            move |mut request: hyper::Request<Incoming>| {
                let (guard, at) = activity.begin();
                if !extensions.is_empty() {
                    request.extensions_mut().extend(extensions.clone());
                }
                request.extensions_mut().insert(Arrival { at, connection: activity.clone() });
                let answer = service.clone().oneshot(request);
                let aged = activity.age() > max_age;
                let (phase, activity) = (phase.clone(), activity.clone());
                async move {
                    let mut response = answer.await?;
                    activity.answered();
                    // Closing an idle HTTP/1 connection races with the next request on it; announcing the end in an
                    // answer does not.
                    if !http2 && (aged || phase.now() > Phase::Serving) {
                        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                        activity.announce();
                    }
                    Ok::<_, Infallible>(response.map(|answer| Answer { request: Some(guard), ..answer }))
                }
            }
        });
        let ended = if http2 {
            let mut connection = pin!(self.http2.serve_connection(TokioIo::new(timed), service));
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = self.phase.reached(self.closes_at) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
                () = activity.expired.notified() => {
                    connection.as_mut().graceful_shutdown();
                    self.finish(connection).await
                }
                () = tokio::time::sleep(max_age) => {
                    connection.as_mut().graceful_shutdown();
                    self.finish(connection).await
                }
                () = outdated => {
                    connection.as_mut().graceful_shutdown();
                    self.finish(connection).await
                }
            }
        } else {
            let mut connection = pin!(self.http1.serve_connection(TokioIo::new(timed), service));
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = self.phase.reached(self.closes_at) => {
                    activity.leave();
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
                () = outdated => {
                    activity.leave();
                    connection.as_mut().graceful_shutdown();
                    self.finish(connection).await
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended early");
        }
    }

    /// Waits for the streams of a connection that got a GOAWAY, but not forever: its peer may keep them open by never
    /// reading.
    async fn finish(&self, connection: impl Future<Output = hyper::Result<()>>) -> hyper::Result<()> {
        let longest = self.timeouts.body + self.timeouts.write;
        tokio::time::timeout(longest, connection).await.unwrap_or(Ok(()))
    }

    /// Handles a peer that sends too many frames: counts it and logs it.
    fn on_flood(&self, activity: &ConnectionState) -> impl Fn(Amount) + Send + 'static {
        let (metrics, peer) = (self.metrics.clone(), activity.account().peer);
        let reminder = self.reminder.clone();
        move |amount| {
            metrics.evicted(if amount == Amount::Flood { "flood" } else { "frames" });
            if let Some(count) = reminder.count(Instant::now()) {
                tracing::warn!(%peer, count, "closing HTTP/2 connections that send frames without requests");
            }
        }
    }

    /// The configured age ±10%, so that connections opened in a burst do not all end at once.
    fn jittered_age(&self) -> Duration {
        // The multiplier spreads consecutive numbers evenly (Fibonacci hashing).
        let spread = self.opened.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
        let fraction = f64::from(u8::try_from(spread).unwrap_or(u8::MAX)) / 255.0;
        self.timeouts.max_age.mul_f64(0.9 + 0.2 * fraction)
    }
}

/// The body of an answer. It keeps its request in flight and its share of the budget until it is written or dropped.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    bytes: Bytes,
    claim: Option<Claim>,
    request: Option<Request>,
}

impl Answer {
    pub(crate) fn new(bytes: impl Into<Bytes>) -> Answer {
        Answer { bytes: bytes.into(), claim: None, request: None }
    }

    /// Its size in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Accounts for it in the budget.
    pub(crate) fn hold(&mut self, claim: Claim) {
        self.claim = Some(claim);
    }
}

impl HttpBody for Answer {
    type Data = Written;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Written>, Infallible>>> {
        let Answer { bytes, claim, request } = std::mem::take(&mut *self);
        let data = Written { bytes, _claim: claim, _request: request };
        Poll::Ready(data.has_remaining().then(|| Ok(Frame::data(data))))
    }
    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

/// The bytes of an answer. `hyper` drops them when it has written them, but drops the body as soon as it has the
/// bytes.
#[derive(Debug)]
pub(crate) struct Written {
    bytes: Bytes,
    _claim: Option<Claim>,
    _request: Option<Request>,
}

impl Buf for Written {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }
    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }
    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

tokio::task_local! {
    /// The stream of an HTTP/2 request.
    static STREAM: Arc<Stream>;
}

/// The stream of the request that is being processed; `None` for HTTP/1.
pub(crate) fn stream() -> Option<Arc<Stream>> {
    STREAM.try_with(Arc::clone).ok()
}

/// Runs the streams of HTTP/2 connections, and drops those whose answer is reclaimed, which resets them.
#[derive(Clone, Copy, Debug)]
struct Streams;

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, served: F) {
        let stream = Arc::new(Stream::default());
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = STREAM.scope(stream.clone(), served) => stream.handed_over(),
                () = stream.reclaimed() => {}
            }
        });
    }
}
