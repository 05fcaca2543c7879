//! A byte stream with deadlines: the one place where slow and silent peers are given up.
//!
//! HTTP libraries time parts of this, each its own: none times a peer that finishes the handshake and stays silent,
//! and none tells an idle connection (which may wait long) from a header that drips in (which may not).

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::{Instant, Sleep},
};

use super::options::Timeouts;

/// What goes on in a connection, shared by its stream and its requests.
#[derive(Debug)]
pub(crate) struct Activity {
    start: Instant,
    http2: AtomicBool,
    in_flight: AtomicU32,
    requests: AtomicU64,
    /// Milliseconds from `start`.
    established_at: AtomicU64,
    /// Milliseconds from `start`.
    idle_since: AtomicU64,
    /// Milliseconds from `start`, plus one; zero while no header is being read.
    header_since: AtomicU64,
    /// Milliseconds from `start`, plus one; zero before the first byte.
    first_byte_at: AtomicU64,
    /// The server wants to be rid of this HTTP/1 connection.
    leaving: AtomicBool,
    /// The last answer said that the connection is closed after it.
    announced: AtomicBool,
    /// Notified when an HTTP/2 connection should be told to go away.
    pub(crate) expired: Notify,
    /// Notified when the connection has to give way to another.
    pub(crate) evicted: Notify,
}

impl Activity {
    /// A connection that was just accepted.
    pub(crate) fn new() -> Arc<Activity> {
        Arc::new(Activity {
            start: Instant::now(),
            http2: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            established_at: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            header_since: AtomicU64::new(0),
            first_byte_at: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            announced: AtomicBool::new(false),
            expired: Notify::new(),
            evicted: Notify::new(),
        })
    }

    /// The handshake is done; from now on the peer may be late.
    fn established(&self, http2: bool) {
        self.http2.store(http2, Ordering::Relaxed);
        self.established_at.store(self.now(), Ordering::Relaxed);
    }

    /// Whether a request was ever served, and for how long there has been none; nothing while there is one.
    pub(crate) fn idleness(&self) -> Option<(bool, Duration)> {
        if self.in_flight.load(Ordering::Acquire) > 0 {
            return None;
        }
        let served = self.requests.load(Ordering::Relaxed) > 0;
        if served && self.header_since.load(Ordering::Acquire) > 0 {
            return None;
        }
        let idle_since = Duration::from_millis(self.idle_since.load(Ordering::Acquire));
        Some((served, self.start.elapsed().saturating_sub(idle_since)))
    }

    pub(crate) fn age(&self) -> Duration {
        self.start.elapsed()
    }

    /// A request's header was read; the guard lives until its answer is written. Tells too when its first byte was
    /// read, to the millisecond, which for HTTP/2 is taken to be now.
    pub(crate) fn begin(self: &Arc<Self>) -> (Request, Instant) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.requests.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let arrived = match self.header_since.swap(0, Ordering::AcqRel) {
            0 => now,
            since => now.min(self.start + Duration::from_millis(since)),
        };
        (Request(self.clone()), arrived)
    }

    /// An answer says that the connection is closed after it.
    pub(crate) fn announce(&self) {
        self.announced.store(true, Ordering::Release);
    }

    /// The server is going to close this HTTP/1 connection, whether or not the peer was told.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    fn leaves_unannounced(&self) -> bool {
        self.leaving.load(Ordering::Acquire) && !self.announced.load(Ordering::Acquire)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    fn bytes_read(&self) {
        if self.first_byte_at.load(Ordering::Relaxed) == 0 {
            self.first_byte_at.store(self.now() + 1, Ordering::Relaxed);
        }
        // In HTTP/2 bytes between requests may be pings, so only HTTP/1 tells when a header begins.
        if !self.http2.load(Ordering::Relaxed)
            && self.in_flight.load(Ordering::Acquire) == 0
            && self.header_since.load(Ordering::Acquire) == 0
        {
            self.header_since.store(self.now() + 1, Ordering::Release);
        }
    }

    /// Until when the peer may stay as it is, and what it is late with after that.
    fn deadline(&self, timeouts: &Timeouts) -> (Instant, Late) {
        let at = |milliseconds: u64, more: Duration| self.start + Duration::from_millis(milliseconds) + more;
        if self.in_flight.load(Ordering::Acquire) > 0 {
            // The body and the answer have their own deadlines; look again later.
            return (Instant::now() + timeouts.idle, Late::Not);
        }
        let first_byte = self.first_byte_at.load(Ordering::Relaxed);
        if first_byte == 0 {
            let established = self.established_at.load(Ordering::Relaxed);
            return (at(established, timeouts.first_byte), Late::FirstByte);
        }
        let header = self.header_since.load(Ordering::Acquire);
        if header > 0 {
            return (at(header - 1, timeouts.header), Late::Header);
        }
        if self.requests.load(Ordering::Relaxed) == 0 {
            return (at(first_byte - 1, timeouts.header), Late::Header);
        }
        (at(self.idle_since.load(Ordering::Acquire), timeouts.idle), Late::Idle)
    }
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct Request(Arc<Activity>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Release);
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a peer is late with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    Not,
    FirstByte,
    Header,
    Idle,
    Write,
}

impl Late {
    pub(crate) fn key(self) -> &'static str {
        match self {
            Late::Not => "none",
            Late::FirstByte => "first_byte",
            Late::Header => "header",
            Late::Idle => "idle",
            Late::Write => "write",
        }
    }
}

/// How long an HTTP/2 peer has to close after it was told to go away.
const GOING_AWAY: Duration = Duration::from_secs(5);

/// L-01: the last words on an HTTP/1 connection that is closed while the peer believes that it can be used.
///
/// A request that crosses the end of its connection is lost: Go repeats no POST, and the API server fails the pod. With
/// this in front of the end it is answered instead, truthfully, and API servers repeat what is answered like this. A
/// peer that sent nothing has been told nothing but that the connection is of no use.
const FAREWELL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
/// How long what a peer still sends is read after our side is shut: a request that meets a closed socket resets the
/// connection, and takes away the answer, or the frame of HTTP/2, by which the peer learns what to repeat elsewhere.
const LINGER: Duration = Duration::from_secs(1);

/// How far the last words are.
enum Farewell {
    /// Nothing was to be said so far.
    None,
    /// These many bytes are written.
    Writing(usize),
    /// All is written; the end of the stream is next.
    Written,
    /// The peer's end is waited for until then.
    Lingering(Pin<Box<Sleep>>),
}

/// A stream whose reads and writes fail when the peer is late.
pub(crate) struct Timed<S> {
    inner: S,
    activity: Arc<Activity>,
    timeouts: Arc<Timeouts>,
    on_late: Box<dyn Fn(Late) + Send>,
    read_timer: Pin<Box<Sleep>>,
    write_timer: Pin<Box<Sleep>>,
    /// Set from the first write that does not go through to the flush that does.
    write_armed: bool,
    told_to_go: bool,
    farewell: Farewell,
}

impl<S> Timed<S> {
    pub(crate) fn new(
        inner: S,
        http2: bool,
        activity: Arc<Activity>,
        timeouts: Arc<Timeouts>,
        on_late: impl Fn(Late) + Send + 'static,
    ) -> Timed<S> {
        activity.established(http2);
        let (deadline, _) = activity.deadline(&timeouts);
        Timed {
            inner,
            activity,
            timeouts,
            on_late: Box::new(on_late),
            read_timer: Box::pin(tokio::time::sleep_until(deadline)),
            write_timer: Box::pin(tokio::time::sleep_until(deadline)),
            write_armed: false,
            told_to_go: false,
            farewell: Farewell::None,
        }
    }

    fn poll_late_reader(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let (mut deadline, late) = self.activity.deadline(&self.timeouts);
            if self.told_to_go {
                deadline += GOING_AWAY;
            }
            if deadline <= Instant::now() && late != Late::Not {
                if self.activity.http2.load(Ordering::Relaxed) && !self.told_to_go && late == Late::Idle {
                    self.told_to_go = true;
                    self.activity.expired.notify_one();
                    continue;
                }
                (self.on_late)(late);
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, late.key()));
            }
            // Every request moves the deadline on. To move the timer with it each time takes the runtime's lock; to
            // look again when it goes off too early is rare.
            if self.read_timer.is_elapsed() || self.read_timer.deadline() > deadline {
                self.read_timer.as_mut().reset(deadline);
            }
            if self.read_timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn watch_writer<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        if !self.write_armed {
            self.write_armed = true;
            self.write_timer.as_mut().reset(Instant::now() + self.timeouts.write);
        }
        if self.write_timer.as_mut().poll(context).is_ready() {
            (self.on_late)(Late::Write);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, Late::Write.key())));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> Timed<S> {
    /// Reads what the peer still sends, until it is done or the time is over.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Farewell::Lingering(timer) = &mut self.farewell else { return Poll::Ready(()) };
        if timer.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let mut discarded = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut discarded);
            match ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ended => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.inner).poll_read(context, buffer) {
            Poll::Ready(result) => {
                if buffer.filled().len() > before {
                    self.activity.bytes_read();
                }
                Poll::Ready(result)
            }
            Poll::Pending => self.poll_late_reader(context).map(Err),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watch_writer(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        if flushed.is_ready() {
            self.write_armed = false;
        }
        self.watch_writer(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.farewell, Farewell::None) && self.activity.leaves_unannounced() {
            self.farewell = Farewell::Writing(0);
        }
        while let Farewell::Writing(count) = self.farewell {
            let rest = FAREWELL.get(count..).unwrap_or_default();
            let written = if rest.is_empty() {
                ready!(self.as_mut().poll_flush(context))?;
                None
            } else {
                Some(ready!(self.as_mut().poll_write(context, rest))?)
            };
            self.farewell = written.map_or(Farewell::Written, |more| Farewell::Writing(count + more));
        }
        if !matches!(self.farewell, Farewell::Lingering(_)) {
            let shut = Pin::new(&mut self.inner).poll_shutdown(context);
            ready!(self.watch_writer(context, shut))?;
            let announced = self.activity.http2.load(Ordering::Relaxed);
            if matches!(self.farewell, Farewell::None) && !announced {
                return Poll::Ready(Ok(()));
            }
            self.farewell = Farewell::Lingering(Box::pin(tokio::time::sleep(LINGER)));
        }
        self.poll_linger(context).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, buffers);
        self.watch_writer(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn timed(http2: bool) -> (Timed<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64);
        let timed = Timed::new(ours, http2, Activity::new(), Arc::new(Timeouts::default()), |_| {});
        (timed, theirs)
    }

    // L-01: an API server does not repeat a request that met a closed socket.
    #[tokio::test]
    async fn an_http2_peer_is_listened_to_until_it_has_shut_its_side() {
        let (mut ours, mut theirs) = timed(true);
        ours.write_all(b"go away").await.unwrap();
        let mut shut = Box::pin(async move { ours.shutdown().await });
        assert!((&mut shut).now_or_never().is_none());
        theirs.write_all(b"sent before it was read").await.unwrap();
        assert!((&mut shut).now_or_never().is_none());
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"go away");
        theirs.shutdown().await.unwrap();
        assert!(shut.now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn an_http1_connection_is_closed_at_once() {
        let (mut ours, _theirs) = timed(false);
        assert!(ours.shutdown().now_or_never().unwrap().is_ok());
    }
}
