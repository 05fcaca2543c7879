//! Covers what the `watcher` of kube-runtime (5.0) neither reports nor limits, by observing its requests: response
//! timeouts, watches that end as soon as they start, `Retry-After`, and signs of life such as bookmarks.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Request, Response,
    body::{Bytes, Frame},
    header,
};
use kube::{Client, client::Body};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tower::BoxError;

use crate::server::kube::backoff::{Timings, retry};
use crate::server::kube::error::Silence;

/// The requests of one watcher.
#[derive(Clone)]
pub(super) struct Transport(Arc<Shared>);

struct Shared {
    client: Client,
    timings: Timings,
    alive: Box<dyn Fn() + Send + Sync>,
    opened: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the newest watch was answered.
    watching_since: Option<Instant>,
    /// How many watches in a row ended at once.
    short: u32,
    /// The `Retry-After` of the last rejection.
    retry_after: Option<Duration>,
}

/// A watch that ends sooner is followed by a pause, so that an API server that closes watches at once is not
/// hammered.
const SHORT: Duration = Duration::from_secs(1);

impl Transport {
    /// Sends through `client`; `alive` is called for each sign of life.
    pub(super) fn new(client: Client, timings: Timings, alive: Box<dyn Fn() + Send + Sync>) -> Transport {
        Transport(Arc::new(Shared { client, timings, alive, opened: Notify::new(), state: Mutex::default() }))
    }

    /// The client for the watcher.
    pub(super) fn client(&self) -> Client {
        let transport = self.clone();
        let service = tower::service_fn(move |request| {
            let transport = transport.clone();
            async move { transport.send(request).await }
        });
        Client::new(service, self.0.client.default_namespace())
    }

    /// Waits for a response to a watch.
    pub(super) async fn opened(&self) {
        self.0.opened.notified().await;
    }

    /// Whether a watch lasted for a while since the last call.
    pub(super) fn lasted(&self) -> bool {
        self.state().watching_since.take().is_some_and(|since| since.elapsed() >= SHORT)
    }

    /// The `Retry-After` of the last rejection; `None` the second time.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.state().retry_after.take()
    }

    async fn send(
        self,
        request: Request<Body>,
    ) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = BoxError>>, BoxError> {
        let answer = self.0.timings.answer;
        let is_watch =
            request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        if is_watch {
            sleep(self.pause()).await;
        }
        let sent = timeout(answer, self.0.client.send(request)).await;
        let response = sent.map_err(|_| Silence(answer))??;
        if response.status().is_success() {
            (self.0.alive)();
            if is_watch {
                self.state().watching_since = Some(Instant::now());
                self.0.opened.notify_one();
            }
        } else {
            let asked = response
                .headers()
                .get(header::RETRY_AFTER)
                .and_then(|asked| asked.to_str().ok()?.parse().ok());
            self.state().retry_after = asked.map(Duration::from_secs);
        }
        // The watcher itself notices a silent watch.
        let bound = (!is_watch).then_some(answer);
        Ok(response.map(|body| self.bounded(body, bound)))
    }

    /// A body in which each frame is a sign of life, and which fails after a silence.
    fn bounded(
        self,
        body: Body,
        bound: Option<Duration>,
    ) -> impl hyper::body::Body<Data = Bytes, Error = BoxError> {
        StreamBody::new(stream::unfold(Some(body), move |body| {
            let alive = self.clone();
            async move {
                let mut body = body?;
                let frame: Option<Result<Frame<Bytes>, _>> = match bound {
                    Some(bound) => match timeout(bound, body.frame()).await {
                        Ok(frame) => frame,
                        Err(_) => return Some((Err(BoxError::from(Silence(bound))), None)),
                    },
                    None => body.frame().await,
                };
                let frame = frame?;
                (alive.0.alive)();
                Some((frame.map_err(BoxError::from), Some(body)))
            }
        }))
    }

    /// How long the next watch has to wait.
    fn pause(&self) -> Duration {
        let mut state = self.state();
        match state.watching_since {
            Some(since) if since.elapsed() < SHORT => {
                state.short = state.short.saturating_add(1);
                retry(&self.0.timings, state.short, None, fastrand::u64(..))
            }
            _ => {
                state.short = 0;
                Duration::ZERO
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
