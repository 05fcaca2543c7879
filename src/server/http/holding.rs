//! The memory held for one request: a body or an answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::task::AtomicWaker;
use tokio::{sync::Notify, time::Instant};

/// The HTTP/2 stream of an answer.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// The whole answer was handed to the connection, so the stream can no longer be reset.
    pub(super) handed_over: AtomicBool,
    pub(super) reclaimed: Notify,
}

impl Stream {
    /// Marks the whole answer as handed to the connection.
    pub(in crate::server) fn handed_over(&self) {
        self.handed_over.store(true, Ordering::Release);
    }

    /// Waits until the answer is reclaimed.
    pub(in crate::server) async fn reclaimed(&self) {
        self.reclaimed.notified().await;
    }
}

#[derive(Debug)]
pub(super) enum Kind {
    /// A body that is arriving, and its reader.
    Body(AtomicWaker),
    /// An answer, and its stream if the connection has several.
    Answer(Option<Arc<Stream>>),
}

/// Bytes that are held for one request.
#[derive(Debug)]
pub(crate) struct Holding {
    pub(super) kind: Kind,
    pub(super) bytes: AtomicUsize,
    /// When it last made progress, in milliseconds since the registry's start.
    pub(super) progress: AtomicU64,
    /// It waits for us, not for its peer.
    pub(super) complete: AtomicBool,
    /// It is in use, so it can no longer be reclaimed.
    pub(super) used: AtomicBool,
    pub(super) reclaimed: AtomicBool,
}

impl Holding {
    /// How long it has made no progress because of its peer; `start` is the registry's.
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
