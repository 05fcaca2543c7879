//! The memory that peers make the server hold (bodies and answers), and which of it is reclaimed when it runs short.
//!
//! All peers share one number of bytes. Memory held for a waiting request can be reclaimed: a body that is incomplete
//! or not yet processed, or an answer that the peer does not read. Stalled requests are reclaimed for any peer.
//! Others are reclaimed, once the budget is full, if their peer holds more than the peer in need, or if both
//! connections belong to one peer and only the one in need has had a valid response. So a peer without competition may
//! use everything, and an API server is distinguished from an attacker behind the same address.

use std::{
    cmp::Reverse,
    fmt,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::task::AtomicWaker;
use tokio::time::Instant;

use crate::server::http::holding::{Holding, Kind, Stream};
use crate::server::http::registry::{Account, ConnectionRegistry, Member, STALLED};
use crate::server::http::state::ConnectionState;

/// The cost of a request besides its body or answer: its state, its header, its task.
const REQUEST: usize = 4 << 10;
/// How long a connection without a valid response is spared by other connections of its peer that had one.
const UNTRUSTED_GRACE: Duration = Duration::from_millis(200);
/// The fraction of the budget that bodies leave for answers. The same amount is free after reclaiming, which examines
/// everything and therefore serves more than one request at a time.
const ANSWER_RESERVE: usize = 8;
/// How long a peer gets no more memory, without another attempt, after nothing could be reclaimed for it.
const FULL: Duration = Duration::from_millis(20);
/// How long the stream of a reclaimed answer may take to end.
const RECLAIM_TIMEOUT: Duration = Duration::from_secs(1);

/// Reclaims what is held for a connection; returns whether there was anything to reclaim.
fn reclaim(holding: &Holding, activity: &dyn Member, reason: &'static str) -> bool {
    if holding.reclaimed.swap(true, Ordering::AcqRel) {
        return false;
    }
    let account = activity.account();
    account.release(holding.bytes.swap(0, Ordering::AcqRel));
    match &holding.kind {
        Kind::Body(reader) => reader.wake(),
        Kind::Answer(Some(stream)) if !stream.handed_over.load(Ordering::Acquire) => {
            stream.reclaimed.notify_one();
        }
        Kind::Answer(_) => activity.evict(),
    }
    account.registry.metrics.evicted(reason);
    true
}

/// A request's share of the budget, returned on drop.
pub(crate) struct Claim {
    activity: Arc<ConnectionState>,
    holding: Arc<Holding>,
}

impl fmt::Debug for Claim {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.holding.fmt(out)
    }
}

impl Claim {
    /// Starts a body; `None` if there is no room for another one.
    pub(crate) fn body(activity: &Arc<ConnectionState>) -> Option<Claim> {
        Claim::of(activity, Kind::Body(AtomicWaker::new()), REQUEST)
    }

    /// Holds an answer of this many bytes until the peer has read it; `None` if there is no room for it.
    pub(crate) fn answer(
        activity: &Arc<ConnectionState>,
        stream: Option<Arc<Stream>>,
        bytes: usize,
    ) -> Option<Claim> {
        Claim::of(activity, Kind::Answer(stream), REQUEST.saturating_add(bytes))
    }

    fn of(activity: &Arc<ConnectionState>, kind: Kind, bytes: usize) -> Option<Claim> {
        if !activity.take(bytes, matches!(kind, Kind::Answer(_))) {
            return None;
        }
        let holding = Arc::new(Holding {
            kind,
            bytes: AtomicUsize::new(bytes),
            progress: AtomicU64::new(activity.account().registry.now()),
            complete: AtomicBool::new(false),
            used: AtomicBool::new(false),
            reclaimed: AtomicBool::new(false),
        });
        activity.holdings().push(holding.clone());
        Some(Claim { activity: activity.clone(), holding })
    }

    /// More bytes have arrived; false if there is no room for them.
    pub(crate) fn grow(&self, bytes: usize) -> bool {
        self.holding.progress.store(self.activity.account().registry.now(), Ordering::Relaxed);
        if self.holding.reclaimed.load(Ordering::Acquire)
            || !self.activity.take(bytes, self.holding.is_answer())
        {
            return false;
        }
        // If it was reclaimed in the meantime, dropping it returns these bytes.
        self.holding.bytes.fetch_add(bytes, Ordering::AcqRel);
        true
    }

    /// The body is complete: the request no longer waits for its peer.
    pub(crate) fn complete(&self) {
        self.holding.complete.store(true, Ordering::Release);
    }

    /// Marks the held bytes as in use; false if they were reclaimed.
    pub(crate) fn begin_use(&self) -> bool {
        self.holding.used.store(true, Ordering::Release);
        !self.holding.reclaimed.load(Ordering::Acquire)
    }

    /// Waits until the body is reclaimed.
    pub(crate) async fn reclaimed(&self) {
        std::future::poll_fn(|context| self.poll_given_up(context)).await;
    }

    /// Ready once the body is reclaimed.
    pub(crate) fn poll_given_up(&self, context: &mut Context<'_>) -> Poll<()> {
        if let Kind::Body(reader) = &self.holding.kind {
            reader.register(context.waker());
        }
        if self.holding.reclaimed.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.activity.account().release(self.holding.bytes.swap(0, Ordering::AcqRel));
        let mut holdings = self.activity.holdings();
        if let Some(at) = holdings.iter().position(|holding| Arc::ptr_eq(holding, &self.holding)) {
            holdings.swap_remove(at);
        }
    }
}

impl Account {
    fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.registry.held.dec_by(bytes as u64);
    }
}

impl ConnectionRegistry {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Bytes held for all peers.
    fn held(&self) -> usize {
        usize::try_from(self.held.get()).unwrap_or(usize::MAX)
    }

    /// How much may be held when more is needed: bodies leave a part of it for answers.
    fn limit(&self, for_answers: bool) -> usize {
        if for_answers { self.limit } else { self.limit - self.limit / ANSWER_RESERVE }
    }

    /// Reclaims memory for a request that needs more than is free. Its own need is already counted.
    fn make_room(&self, newcomer: &dyn Member, limit: usize) -> bool {
        let (account, is_trusted) = (newcomer.account(), newcomer.is_trusted());
        if !is_trusted && account.full_until.load(Ordering::Relaxed) > self.now() {
            return false;
        }
        let _one_at_a_time = self.making_room.lock().unwrap_or_else(PoisonError::into_inner);
        if self.held() <= limit {
            return true;
        }
        let now = Instant::now();
        let mut candidates = Vec::new();
        for activity in self.members() {
            let (held, trusted) = (activity.account().held(), activity.is_trusted());
            let own = Arc::ptr_eq(activity.account(), account);
            for holding in activity.holdings().iter() {
                if holding.used.load(Ordering::Relaxed) {
                    continue;
                }
                let stalled_for = holding.stalled_for(self.start, now);
                let fresh = stalled_for < STALLED;
                let always = !fresh || (own && is_trusted && !trusted && stalled_for >= UNTRUSTED_GRACE);
                if always || held > account.held() {
                    let order = (fresh && trusted, Reverse(held), trusted, Reverse(stalled_for));
                    candidates.push((order, always, activity.clone(), holding.clone()));
                }
            }
        }
        candidates.sort_by_key(|(order, ..)| *order);
        let enough = limit - limit / ANSWER_RESERVE;
        for (_, always, activity, holding) in candidates {
            if self.held() <= enough {
                break;
            }
            if !always && activity.account().held() <= account.held() {
                continue;
            }
            let reason = if holding.is_answer() { "answer" } else { "body" };
            if reclaim(&holding, activity.as_ref(), reason) {
                self.remind(activity.account(), now);
            }
        }
        let made = self.held() <= limit;
        if !made {
            let until = self.now().saturating_add(u64::try_from(FULL.as_millis()).unwrap_or(u64::MAX));
            account.full_until.store(until, Ordering::Relaxed);
        }
        made
    }

    fn remind(&self, account: &Account, now: Instant) {
        if let Some(count) = self.reminder.count(now) {
            let (peer, held) = (account.peer, account.held());
            tracing::warn!(
                %peer, held, count,
                "unfinished bodies and unread answers fill their memory budget; reclaiming those of the peers that hold \
                 the most"
            );
        }
    }
}

impl ConnectionState {
    /// Takes bytes from the budget, if they are free or can be reclaimed.
    fn take(&self, bytes: usize, for_answers: bool) -> bool {
        let (account, registry) = (self.account(), &self.account().registry);
        account.held.fetch_add(bytes, Ordering::Relaxed);
        registry.held.inc_by(bytes as u64);
        let limit = registry.limit(for_answers);
        if registry.held() <= limit || registry.make_room(self, limit) {
            return true;
        }
        account.release(bytes);
        false
    }

    /// Reclaims answers that were not read in time. Returns when to check again, which is in the past if the
    /// connection has to be closed; `None` if no answer is waiting.
    pub(in crate::server) fn expire_answers(&self, now: Instant, within: Duration) -> Option<Instant> {
        let waited = |holding: &Holding| {
            holding.is_answer().then(|| holding.stalled_for(self.account().registry.start, now))
        };
        let holdings = self.holdings();
        let longest = holdings.iter().filter_map(|holding| waited(holding)).max()?;
        if longest < within {
            return Some(now + (within - longest));
        }
        let late: Vec<_> =
            holdings.iter().filter(|holding| waited(holding) >= Some(within)).cloned().collect();
        drop(holdings);
        for holding in late {
            reclaim(&holding, self, "late_answer");
        }
        // Their streams are being reset, or the connection is being closed. If neither works, the connection ends
        // here.
        Some(now + (within + RECLAIM_TIMEOUT).saturating_sub(longest))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::server::http::registry::tests::{peer, registry};
    use crate::server::http::state::Registration;

    /// Bodies leave an eighth for answers.
    const LIMIT: usize = 8 * 100 * REQUEST;
    const FOR_BODIES: usize = 7 * 100 * REQUEST;

    /// A body of this size, or as much of it as there is room for.
    fn body(place: &Registration, bytes: usize) -> Option<Claim> {
        let claim = Claim::body(&place.activity)?;
        claim.grow(bytes - REQUEST).then_some(claim)
    }

    fn reclaimed(claim: &Claim) -> bool {
        claim.reclaimed().now_or_never().is_some()
    }

    /// Pretends that it has made no progress for a while.
    fn age(claim: &Claim) {
        claim.holding.progress.store(0, Ordering::Relaxed);
    }

    //
    #[test]
    fn a_peer_that_is_alone_may_have_everything_and_no_more() {
        let registry = registry(LIMIT);
        let place = Registration::new(&registry, peer(1));
        let all = body(&place, FOR_BODIES).unwrap();
        assert!(Claim::body(&place.activity).is_none());
        assert!(
            Claim::answer(&place.activity, None, 90 * REQUEST).is_some(),
            "answers have room of their own"
        );
        assert!(Claim::answer(&place.activity, None, 100 * REQUEST).is_none());
        assert!(!reclaimed(&all), "nobody else needs it");
        assert_eq!(registry.held.get(), FOR_BODIES as u64, "a refused body is not held");
        drop(all);
        assert_eq!(registry.held.get(), 0);
        assert!(place.activity.holdings().is_empty());
    }

    //
    #[test]
    fn the_peer_that_holds_most_gives_way_and_its_oldest_first() {
        let registry = registry(LIMIT);
        let (attacker, other, newcomer) = (
            Registration::new(&registry, peer(1)),
            Registration::new(&registry, peer(2)),
            Registration::new(&registry, peer(3)),
        );
        let modest = body(&other, 100 * REQUEST).unwrap();
        let held: Vec<_> = (0..6).map(|_| body(&attacker, 100 * REQUEST).unwrap()).collect();
        held[3].holding.progress.fetch_sub(500, Ordering::Relaxed);
        let small = body(&newcomer, 2 * REQUEST).unwrap();
        let gone: Vec<bool> = held.iter().map(reclaimed).collect();
        assert_eq!(gone, [false, false, false, true, false, false]);
        assert!(!reclaimed(&modest) && !reclaimed(&small));
        assert!(!held[3].grow(1), "a reclaimed body does not grow");
        drop(held);
        assert_eq!(registry.held.get(), 102 * REQUEST as u64, "a reclaimed body is returned only once");
    }

    //
    #[test]
    fn nothing_is_taken_from_a_peer_that_holds_less_unless_it_has_stalled() {
        let registry = registry(LIMIT);
        let (greedy, other) = (Registration::new(&registry, peer(1)), Registration::new(&registry, peer(2)));
        let modest = body(&other, 100 * REQUEST).unwrap();
        let first = body(&greedy, 600 * REQUEST).unwrap();
        assert!(Claim::body(&greedy.activity).is_none());
        assert!(!reclaimed(&modest) && !reclaimed(&first));
        age(&modest);
        greedy.activity.account().full_until.store(0, Ordering::Relaxed);
        assert!(Claim::body(&greedy.activity).is_some(), "what has stalled gives way to everybody");
        assert!(reclaimed(&modest) && !reclaimed(&first));
    }

    // an API server and an attacker behind one address.
    #[test]
    fn a_connection_with_a_good_answer_is_told_from_those_without() {
        let registry = registry(LIMIT);
        let (attacker, good) = (Registration::new(&registry, peer(1)), Registration::new(&registry, peer(1)));
        good.activity.trust();
        let its = body(&good, 100 * REQUEST).unwrap();
        let held: Vec<_> = (0..6).map(|_| body(&attacker, 100 * REQUEST).unwrap()).collect();
        assert!(Claim::body(&good.activity).is_none(), "they had no moment yet");
        for claim in &held {
            claim.holding.progress.fetch_sub(500, Ordering::Relaxed);
        }
        attacker.activity.account().full_until.store(0, Ordering::Relaxed);
        assert!(Claim::body(&attacker.activity).is_none(), "connections without a valid response are alike");
        assert!(Claim::body(&good.activity).is_some());
        assert_eq!(held.iter().filter(|claim| reclaimed(claim)).count(), 1);
        assert!(!reclaimed(&its));
    }

    // N-06
    #[test]
    fn bodies_that_are_used_stay_and_answers_give_way() {
        let registry = registry(LIMIT);
        let (attacker, newcomer) =
            (Registration::new(&registry, peer(1)), Registration::new(&registry, peer(2)));
        let used = body(&attacker, 600 * REQUEST).unwrap();
        used.complete();
        assert!(used.begin_use());
        age(&used);
        let stream = Arc::new(Stream::default());
        let _answer = Claim::answer(&attacker.activity, Some(stream.clone()), 150 * REQUEST).unwrap();
        assert!(Claim::answer(&newcomer.activity, None, 100 * REQUEST).is_some());
        assert!(!reclaimed(&used) && stream.reclaimed().now_or_never().is_some());
        assert!(attacker.activity.evicted.notified().now_or_never().is_none(), "the stream is enough");
        stream.handed_over();
        let handed_over = Claim::answer(&attacker.activity, Some(stream), 1).unwrap();
        age(&handed_over);
        let now = Instant::now();
        assert!(
            attacker.activity.expire_answers(now, Duration::from_secs(3600)).is_some_and(|due| due > now)
        );
        assert!(attacker.activity.evicted.notified().now_or_never().is_none());
        assert!(attacker.activity.expire_answers(now, Duration::from_secs(50)).is_some_and(|due| due <= now));
        assert!(
            attacker.activity.evicted.notified().now_or_never().is_some(),
            "the connection has the answer"
        );
    }
}
