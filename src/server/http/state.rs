//! The state of a connection, shared by its stream, its requests and the registry.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use crate::server::http::holding::Holding;
use crate::server::http::limits::Timeouts;
use crate::server::http::registry::{Account, ConnectionRegistry, Member, Peer, Standing};

/// Streams that an HTTP/2 peer may have read at once before it had a valid response; more have to wait.
const ON_PROBATION: usize = 16;

/// The state of a connection.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    start: Instant,
    account: Arc<Account>,
    http2: AtomicBool,
    in_flight: AtomicU32,
    requests: AtomicU64,
    /// Number of answers.
    answers: AtomicU64,
    /// Milliseconds from `start`.
    established_at: AtomicU64,
    /// Milliseconds from `start`.
    idle_since: AtomicU64,
    /// Milliseconds from `start`, plus one; zero while no header is being read.
    header_since: AtomicU64,
    /// Milliseconds from `start`, plus one; zero before the first byte.
    first_byte_at: AtomicU64,
    /// The server wants to close this HTTP/1 connection.
    leaving: AtomicBool,
    /// The last answer announced that the connection is closed after it.
    announced: AtomicBool,
    /// The rest of a refused request may still be arriving.
    rest_to_come: AtomicBool,
    /// A review was answered on it.
    trusted: AtomicBool,
    /// Closed once the connection is trusted.
    probation: Semaphore,
    /// The memory held for the connection.
    holdings: Mutex<Vec<Arc<Holding>>>,
    /// Notified when an HTTP/2 connection should get a GOAWAY.
    pub(crate) expired: Notify,
    /// Notified when the connection is evicted.
    pub(crate) evicted: Notify,
}

impl ConnectionState {
    /// Creates the state of a connection that was just accepted.
    pub(crate) fn new(account: Arc<Account>) -> Arc<ConnectionState> {
        Arc::new(ConnectionState {
            start: Instant::now(),
            account,
            http2: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            established_at: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            header_since: AtomicU64::new(0),
            first_byte_at: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            announced: AtomicBool::new(false),
            rest_to_come: AtomicBool::new(false),
            trusted: AtomicBool::new(false),
            probation: Semaphore::new(ON_PROBATION),
            holdings: Mutex::default(),
            expired: Notify::new(),
            evicted: Notify::new(),
        })
    }

    /// The peer it belongs to.
    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// The handshake is complete; the timeouts of the peer start.
    pub(in crate::server) fn established(&self, http2: bool) {
        self.http2.store(http2, Ordering::Relaxed);
        self.established_at.store(self.now(), Ordering::Relaxed);
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }

    pub(in crate::server) fn standing(&self) -> Standing {
        let trusted = self.is_trusted();
        let busy = self.in_flight.load(Ordering::Acquire) > 0
            || (trusted && self.header_since.load(Ordering::Acquire) > 0);
        let idle_since = Duration::from_millis(self.idle_since.load(Ordering::Acquire));
        let now = Instant::now();
        let idle = (!busy).then(|| now.duration_since(self.start).saturating_sub(idle_since));
        // If nothing is held, a request is being processed, which is not the peer's fault.
        let stalled_for =
            self.holdings().iter().map(|holding| holding.stalled_for(self.account.registry.start, now)).min();
        Standing { trusted, idle, stalled_for: stalled_for.unwrap_or_default() }
    }

    pub(crate) fn age(&self) -> Duration {
        self.start.elapsed()
    }

    /// Starts a request whose header was read; the guard lives until its answer is written. Also returns when its
    /// first byte was read: for HTTP/2, the current time.
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

    /// Counts an answer of any kind.
    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::server) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Records that a review was answered.
    pub(crate) fn trust(&self) {
        if !self.is_trusted() {
            self.trusted.store(true, Ordering::Relaxed);
            self.probation.close();
        }
    }

    pub(in crate::server) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }

    /// The semaphore for streams of a peer without a valid response; `None` if none has to wait any longer.
    pub(crate) fn probation(&self) -> Option<&Semaphore> {
        (self.is_http2() && !self.is_trusted()).then_some(&self.probation)
    }

    /// Records that an answer announces the end of the connection.
    pub(crate) fn announce(&self) {
        self.announced.store(true, Ordering::Release);
    }

    /// Records that the server will close this HTTP/1 connection, whether or not the peer was told.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    pub(in crate::server) fn leaves_unannounced(&self) -> bool {
        self.leaving.load(Ordering::Acquire) && !self.announced.load(Ordering::Acquire)
    }

    /// Records that a request is refused before all of it arrived, which ends an HTTP/1 connection.
    pub(crate) fn leave_rest(&self) {
        self.rest_to_come.store(true, Ordering::Release);
    }

    pub(in crate::server) fn leaves_rest(&self) -> bool {
        self.rest_to_come.load(Ordering::Acquire)
    }

    /// Closes the connection.
    pub(in crate::server) fn evict(&self) {
        self.evicted.notify_one();
    }

    pub(in crate::server) fn holdings(&self) -> MutexGuard<'_, Vec<Arc<Holding>>> {
        self.holdings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    pub(in crate::server) fn bytes_read(&self) {
        if self.first_byte_at.load(Ordering::Relaxed) == 0 {
            self.first_byte_at.store(self.now() + 1, Ordering::Relaxed);
        }
        // In HTTP/2, bytes between requests may be pings, so only HTTP/1 reveals when a header starts.
        if !self.is_http2()
            && self.in_flight.load(Ordering::Acquire) == 0
            && self.header_since.load(Ordering::Acquire) == 0
        {
            self.header_since.store(self.now() + 1, Ordering::Release);
        }
    }

    /// The time until which the peer may stay in this state, and the timeout that it then exceeds.
    pub(in crate::server) fn deadline(&self, timeouts: &Timeouts) -> (Instant, PeerTimeout) {
        let at = |milliseconds: u64, more: Duration| self.start + Duration::from_millis(milliseconds) + more;
        if self.in_flight.load(Ordering::Acquire) > 0 {
            let now = Instant::now();
            // The body has its own deadline, and so has an answer to an HTTP/1 peer; check again later.
            let later = (now + timeouts.idle, PeerTimeout::Not);
            if !self.is_http2() {
                return later;
            }
            return match self.expire_answers(now, timeouts.write) {
                Some(due) if due <= now => (due, PeerTimeout::Write),
                Some(due) => (due, PeerTimeout::Not),
                None => later,
            };
        }
        let first_byte = self.first_byte_at.load(Ordering::Relaxed);
        if first_byte == 0 {
            let established = self.established_at.load(Ordering::Relaxed);
            return (at(established, timeouts.first_byte), PeerTimeout::FirstByte);
        }
        let header = self.header_since.load(Ordering::Acquire);
        if header > 0 {
            return (at(header - 1, timeouts.header), PeerTimeout::Header);
        }
        if self.requests.load(Ordering::Relaxed) == 0 {
            return (at(first_byte - 1, timeouts.header), PeerTimeout::Header);
        }
        (at(self.idle_since.load(Ordering::Acquire), timeouts.idle), PeerTimeout::Idle)
    }
}

impl Member for ConnectionState {
    fn account(&self) -> &Arc<Account> {
        &self.account
    }
    fn is_trusted(&self) -> bool {
        ConnectionState::is_trusted(self)
    }
    fn standing(&self) -> Standing {
        ConnectionState::standing(self)
    }
    fn holdings(&self) -> MutexGuard<'_, Vec<Arc<Holding>>> {
        ConnectionState::holdings(self)
    }
    fn evict(&self) {
        ConnectionState::evict(self);
    }
}

/// A connection's entry in the registry, removed on drop.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(super) number: u64,
    registry: Arc<ConnectionRegistry>,
    pub(crate) activity: Arc<ConnectionState>,
}

impl Registration {
    /// Registers a connection that was just accepted.
    pub(crate) fn new(registry: &Arc<ConnectionRegistry>, peer: Peer) -> Registration {
        let (number, activity) = registry.enter(peer, ConnectionState::new);
        Registration { number, registry: registry.clone(), activity }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.leave(self.number, self.activity.account());
    }
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct Request(Arc<ConnectionState>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Release);
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The timeout that a peer has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerTimeout {
    Not,
    FirstByte,
    Header,
    Idle,
    Write,
}

impl PeerTimeout {
    pub(crate) fn key(self) -> &'static str {
        match self {
            PeerTimeout::Not => "none",
            PeerTimeout::FirstByte => "first_byte",
            PeerTimeout::Header => "header",
            PeerTimeout::Idle => "idle",
            PeerTimeout::Write => "write",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::http::registry::tests::{peer, peers, present, registry};

    /// Evicts a connection and removes it; returns its number.
    fn evicted(
        registry: &Arc<ConnectionRegistry>,
        places: &mut Vec<Registration>,
        spared: Duration,
        newcomer: Peer,
    ) -> Option<u64> {
        use futures::FutureExt;
        let told = registry.evict(spared, newcomer);
        let at = places.iter().position(|place| place.activity.evicted.notified().now_or_never().is_some());
        assert_eq!(at.is_some(), told);
        Some(places.remove(at?).number)
    }

    // H-03
    #[tokio::test(start_paused = true)]
    async fn the_silent_go_before_the_idle_and_the_busy_stay() {
        let registry = registry(0);
        let mut places: Vec<_> = (0..4).map(|_| Registration::new(&registry, peer(1))).collect();
        drop(places.pop());
        let busy = places[0].activity.begin();
        places[1].activity.trust();
        tokio::time::advance(Duration::from_millis(2)).await;
        let hour = Duration::from_secs(3600);
        let newcomer = peer(1);
        assert_eq!(evicted(&registry, &mut places, hour, newcomer), None, "the young are spared");
        let now = Duration::ZERO;
        assert_eq!(evicted(&registry, &mut places, now, newcomer), Some(2), "the silent one goes first");
        assert_eq!(evicted(&registry, &mut places, now, newcomer), Some(1), "then the idle one");
        assert_eq!(evicted(&registry, &mut places, now, newcomer), None, "the busy one stays");
        assert_eq!(present(&registry), [0]);
        drop(busy);
    }

    // H-03
    #[test]
    fn for_a_peer_that_has_fewer_the_one_that_has_most_gives_up_what_had_no_good_answer() {
        let registry = registry(0);
        let mut places = vec![Registration::new(&registry, peer(2)), Registration::new(&registry, peer(2))];
        places.extend((0..4).map(|_| Registration::new(&registry, peer(1))));
        places[2].activity.trust();
        let _busy: Vec<_> = places.iter().map(|place| place.activity.begin()).collect();
        let hour = Duration::from_secs(3600);
        assert_eq!(evicted(&registry, &mut places, hour, peer(1)), None, "it has most itself");
        let first = evicted(&registry, &mut places, hour, peer(3));
        let second = evicted(&registry, &mut places, hour, peer(3));
        let mut gone = [first.unwrap(), second.unwrap()];
        gone.sort_unstable();
        assert!(gone[0] >= 3, "{gone:?}: neither another peer nor one that had a valid response");
        assert_eq!(evicted(&registry, &mut places, hour, peer(2)), None, "both have two");
        assert_eq!(places.len(), 4);
        drop(places);
        assert!(peers(&registry) == 0);
    }
}
