//! A byte stream with deadlines: the one place that disconnects slow and silent peers.
//!
//! HTTP libraries time only parts of this: none times a peer that completes the handshake and stays silent, and none
//! distinguishes an idle connection (which may wait long) from a header that arrives bit by bit (which may not).

use std::{
    borrow::Cow,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use crate::server::http::frames::{Amount, Earned, Frames};
use crate::server::http::limits::Timeouts;
use crate::server::http::state::{ConnectionState, PeerTimeout};

/// How long an HTTP/2 peer has to close after a GOAWAY.
const GOING_AWAY: Duration = Duration::from_secs(5);

/// L-01: the final response on an HTTP/1 connection that is closed while the peer considers it usable.
///
/// A request that crosses the end of its connection is lost: Go does not retry a POST, and the API server fails the
/// pod. With this response before the end, the request is answered instead, truthfully, and API servers retry such a
/// call. A peer that sent nothing only learns that the connection is unusable.
const FAREWELL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
/// How long to read what a peer still sends after our side is shut down. A request to a closed socket resets
/// the connection, and discards the answer, or the HTTP/2 frame, that tells the peer what to retry elsewhere.
const LINGER: Duration = Duration::from_secs(1);
/// How long the rest of a refused request is read after our side is shut down, and how long it may pause. Its peer
/// needs that to read the answer; an evicted connection is closed anyway.
const REST: Duration = Duration::from_secs(2);
const NO_REST: Duration = Duration::from_millis(250);

/// The progress of the final response.
enum FinalResponse {
    /// None is being sent.
    None,
    /// This many bytes of it are written.
    Writing(Cow<'static, [u8]>, usize),
    /// All of it is written; the end of the stream is next.
    Written,
    /// Waiting for the peer to close, at most until the timer fires, and no longer than until then.
    Lingering(Pin<Box<Sleep>>, Instant),
}

/// A stream whose reads and writes fail when the peer exceeds a timeout.
pub(crate) struct Timed<S> {
    inner: S,
    activity: Arc<ConnectionState>,
    timeouts: Arc<Timeouts>,
    on_late: Box<dyn Fn(PeerTimeout) + Send>,
    read_timer: Pin<Box<Sleep>>,
    write_timer: Pin<Box<Sleep>>,
    /// Set from the first blocked write until the flush that succeeds.
    write_armed: bool,
    goaway_sent: bool,
    farewell: FinalResponse,
    /// How long a pause may last while remaining bytes are read.
    quiet: Duration,
    /// Of HTTP/2.
    frames: Option<Frames>,
    written: u64,
    amount: Amount,
    /// Nothing is read any more.
    deaf: bool,
    on_flood: Box<dyn Fn(Amount) + Send>,
}

impl<S> Timed<S> {
    pub(crate) fn new(
        inner: S,
        http2: bool,
        activity: Arc<ConnectionState>,
        timeouts: Arc<Timeouts>,
        on_late: impl Fn(PeerTimeout) + Send + 'static,
        on_flood: impl Fn(Amount) + Send + 'static,
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
            goaway_sent: false,
            farewell: FinalResponse::None,
            quiet: LINGER,
            frames: http2.then(|| Frames::new(Instant::now())),
            written: 0,
            amount: Amount::Fine,
            deaf: false,
            on_flood: Box::new(on_flood),
        }
    }

    /// Counts bytes that were read and returns how many of them to process. A peer that sends too many frames first
    /// gets a GOAWAY. If it continues, nothing more is read from the end of a frame on.
    fn count_frames(&mut self, bytes: &[u8]) -> usize {
        let Some(frames) = &mut self.frames else { return bytes.len() };
        let earned = || (Earned { answers: self.activity.answers(), bytes: self.written }, Instant::now());
        let amount = frames.read(bytes, earned);
        let whole = frames.whole();
        if amount > self.amount {
            self.amount = amount;
            (self.on_flood)(amount);
            self.activity.expired.notify_one();
        }
        match whole {
            Some(whole) if self.amount == Amount::Flood => {
                self.deaf = true;
                whole
            }
            _ => bytes.len(),
        }
    }

    /// The final message that is due when the connection is shut down.
    fn last_words(&self) -> Option<Cow<'static, [u8]>> {
        match &self.frames {
            // Everything that was written ends with a frame.
            Some(frames) if self.amount == Amount::Flood => Some(frames.farewell().to_vec().into()),
            Some(_) => None,
            None => self.activity.leaves_unannounced().then_some(FAREWELL.into()),
        }
    }

    /// How long remaining bytes are read, and how long a pause may last.
    fn linger(&self) -> Option<(Duration, Duration)> {
        match &self.frames {
            Some(_) => (self.amount != Amount::Flood).then_some((LINGER, LINGER)),
            None if matches!(self.farewell, FinalResponse::Written) => Some((LINGER, LINGER)),
            None => self.activity.leaves_rest().then_some((REST, NO_REST)),
        }
    }

    fn poll_late_reader(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let (mut deadline, late) = self.activity.deadline(&self.timeouts);
            if self.goaway_sent {
                deadline += GOING_AWAY;
            }
            if deadline <= Instant::now() && late != PeerTimeout::Not {
                if self.activity.is_http2() && !self.goaway_sent && late == PeerTimeout::Idle {
                    self.goaway_sent = true;
                    self.activity.expired.notify_one();
                    continue;
                }
                (self.on_late)(late);
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, late.key()));
            }
            // Every request moves the deadline. Resetting the timer each time takes the runtime's lock; checking
            // again when it fires too early is rare.
            if self.read_timer.is_elapsed() || self.read_timer.deadline() > deadline {
                self.read_timer.as_mut().reset(deadline);
            }
            if self.read_timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn count_written(&mut self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count)) = written {
            self.written += *count as u64;
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
            (self.on_late)(PeerTimeout::Write);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, PeerTimeout::Write.key())));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> Timed<S> {
    /// Reads what the peer still sends, until it closes or time runs out.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let FinalResponse::Lingering(timer, latest) = &mut self.farewell else { return Poll::Ready(()) };
        let mut discarded = [0; 4096];
        loop {
            if timer.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut discarded);
            match ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    let until = (Instant::now() + self.quiet).min(*latest);
                    timer.as_mut().reset(until);
                }
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
        if self.deaf {
            // The reader sees a closed peer, so that all that is left is the shutdown.
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        match Pin::new(&mut self.inner).poll_read(context, buffer) {
            Poll::Ready(result) => {
                let bytes = buffer.filled().get(before..).unwrap_or_default();
                if !bytes.is_empty() {
                    self.activity.bytes_read();
                    let wanted = self.count_frames(bytes);
                    buffer.set_filled(before + wanted);
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
        self.count_written(&written);
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
        if matches!(self.farewell, FinalResponse::None)
            && let Some(words) = self.last_words()
        {
            self.farewell = FinalResponse::Writing(words, 0);
        }
        while let FinalResponse::Writing(words, count) = &self.farewell {
            let (words, count) = (words.clone(), *count);
            let rest = words.get(count..).unwrap_or_default();
            if rest.is_empty() {
                ready!(self.as_mut().poll_flush(context))?;
                self.farewell = FinalResponse::Written;
            } else {
                let more = ready!(self.as_mut().poll_write(context, rest))?;
                self.farewell = FinalResponse::Writing(words, count + more);
            }
        }
        if !matches!(self.farewell, FinalResponse::Lingering(..)) {
            let shut = Pin::new(&mut self.inner).poll_shutdown(context);
            ready!(self.watch_writer(context, shut))?;
            let Some((longest, quiet)) = self.linger() else { return Poll::Ready(Ok(())) };
            let now = Instant::now();
            self.quiet = quiet;
            self.farewell = FinalResponse::Lingering(Box::pin(tokio::time::sleep(quiet)), now + longest);
        }
        self.poll_linger(context).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, buffers);
        self.count_written(&written);
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
    use crate::server::http::registry::tests::{peer, registry};

    fn timed(http2: bool) -> (Timed<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64);
        let activity = crate::server::http::state::Registration::new(&registry(0), peer(1)).activity.clone();
        let timed = Timed::new(ours, http2, activity, Arc::new(Timeouts::default()), |_| {}, |_| {});
        (timed, theirs)
    }

    // L-01: an API server does not retry a request sent to a closed socket.
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
