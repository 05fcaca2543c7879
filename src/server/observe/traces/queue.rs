//! The queue of spans for the collector: bounded and never blocking, emptied by its own thread.

use std::{fmt, io, thread, time::Duration};

use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanExporter, SpanProcessor},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::{EXPORT_WITHIN, metrics::SpanMetrics};

/// Maximum number of queued spans; further ones are dropped and counted. A request has five.
const QUEUE: usize = 4096;
/// Batch size.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const DELAY: Duration = Duration::from_secs(1);

/// The side that spans are put into.
#[derive(Clone)]
pub(crate) struct Queue {
    spans: mpsc::Sender<SpanData>,
    flushes: mpsc::Sender<oneshot::Sender<()>>,
    counters: SpanMetrics,
}

impl Queue {
    /// Starts the exporting thread. It has its own runtime, so that a slow collector slows down nothing else; the
    /// exporter is created there.
    ///
    /// # Errors
    /// When the thread or the exporter cannot be started.
    pub(crate) async fn start<E: SpanExporter + 'static>(
        exporter: impl FnOnce() -> io::Result<E> + Send + 'static,
        resource: Resource,
        counters: SpanMetrics,
    ) -> io::Result<Queue> {
        let (spans, waiting) = mpsc::channel(QUEUE);
        let (flushes, asked) = mpsc::channel(1);
        let (started, start) = oneshot::channel();
        let queue = Queue { spans, flushes, counters: counters.clone() };
        thread::Builder::new().name("traces".to_owned()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return;
                }
            };
            runtime.block_on(async move {
                let sender = exporter().map(|mut exporter| {
                    exporter.set_resource(&resource);
                    Sender { exporter, waiting, counters, failing: false }
                });
                match sender {
                    Ok(sender) => {
                        let _ = started.send(Ok(()));
                        sender.run(asked).await;
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                    }
                }
            });
        })?;
        start.await.unwrap_or_else(|_| Err(io::Error::other("cannot send traces: the thread ended")))?;
        Ok(queue)
    }

    /// Waits until everything queued so far was sent or dropped.
    pub(crate) async fn flush(&self) {
        let (done, sent) = oneshot::channel();
        if self.flushes.send(done).await.is_ok() {
            let _ = sent.await;
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Queue")
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.counters.lost("queue", 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        // This must not block; `Queue::flush` waits.
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The side that sends the spans to the collector.
struct Sender<E> {
    exporter: E,
    waiting: mpsc::Receiver<SpanData>,
    counters: SpanMetrics,
    failing: bool,
}

impl<E: SpanExporter> Sender<E> {
    async fn run(mut self, mut asked: mpsc::Receiver<oneshot::Sender<()>>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut due = None;
        loop {
            let room = BATCH - batch.len();
            // Far in the future while there is nothing to send.
            let at = due.unwrap_or_else(|| Instant::now() + DELAY);
            let flush = tokio::select! {
                count = self.waiting.recv_many(&mut batch, room) => {
                    if count == 0 {
                        return self.send(&mut batch).await;
                    }
                    due = due.or_else(|| Some(Instant::now() + DELAY));
                    None
                }
                Some(done) = asked.recv() => Some(done),
                () = sleep_until(at), if due.is_some() => None,
            };
            if let Some(done) = flush {
                while self.waiting.try_recv().map(|span| batch.push(span)).is_ok() {
                    if batch.len() == BATCH {
                        self.send(&mut batch).await;
                    }
                }
                self.send(&mut batch).await;
                let _ = done.send(());
                due = None;
            } else if batch.len() == BATCH || due.is_some_and(|due| due <= Instant::now()) {
                self.send(&mut batch).await;
                due = None;
            }
        }
    }

    async fn send(&mut self, batch: &mut Vec<SpanData>) {
        let spans = std::mem::replace(batch, Vec::with_capacity(BATCH));
        if spans.is_empty() {
            return;
        }
        let count = spans.len() as u64;
        let error = match timeout(EXPORT_WITHIN, self.exporter.export(spans)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no response in time".to_owned()),
        };
        // Logged once at the start and once at the end, because a collector may be unavailable for days.
        match (&error, self.failing) {
            (Some(error), false) => {
                tracing::warn!(error, "cannot reach the trace collector; dropping spans")
            }
            (None, true) => tracing::info!("trace collector reachable again"),
            _ => {}
        }
        self.failing = error.is_some();
        match error {
            Some(_) => self.counters.lost("export", count),
            None => self.counters.sent(count),
        }
    }
}
