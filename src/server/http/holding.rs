//! What is held in memory for one request: a body or an answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::task::AtomicWaker;
use tokio::{sync::Notify, time::Instant};

/// The stream of HTTP/2 that an answer is sent on.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// All of the answer was handed to the connection, so that the stream is no longer ours to reset.
    pub(super) handed_over: AtomicBool,
    pub(super) given_up: Notify,
}

impl Stream {
    /// Everything of the answer is with the connection.
    pub(in crate::server) fn handed_over(&self) {
        self.handed_over.store(true, Ordering::Release);
    }

    /// Waits until the answer is given up.
    pub(in crate::server) async fn given_up(&self) {
        self.given_up.notified().await;
    }
}

#[derive(Debug)]
pub(super) enum Kind {
    /// A body that arrives, and whoever reads it.
    Body(AtomicWaker),
    /// An answer, and its stream if it is one of several of the connection.
    Answer(Option<Arc<Stream>>),
}

/// Bytes that are held for one request.
#[derive(Debug)]
pub(crate) struct Holding {
    pub(super) kind: Kind,
    pub(super) bytes: AtomicUsize,
    /// When it last got on, in milliseconds from the start of the crowd.
    pub(super) progress: AtomicU64,
    /// It waits for us, not for its peer.
    pub(super) complete: AtomicBool,
    /// It is used, so that it cannot be taken back any more.
    pub(super) used: AtomicBool,
    pub(super) given_up: AtomicBool,
}

impl Holding {
    /// For how long it has not got on, because of its peer; `start` is that of the crowd.
    pub(super) fn stalled_for(&self, start: Instant, now: Instant) -> Duration {
        if self.complete.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let progress = Duration::from_millis(self.progress.load(Ordering::Relaxed));
        now.saturating_duration_since(start + progress)
    }

    pub(super) fn is_answer(&self) -> bool {
        matches!(self.kind, Kind::Answer(_))
    }
}
