//! Load shedding by queueing delay: how long work waits before it starts, and whether new work is accepted.
//!
//! Pods are processed by the worker that read them, so under overload the queue is invisible: it consists of sockets
//! and the runtime's tasks. A probe waits in the same queue: it asks to be run at a certain time, and its delay is
//! the delay of everything else. A queue that is gone within [`BURST`] was a burst and is served. A queue that stands
//! longer is overload; from then on, whatever arrives while the delay exceeds [`TARGET`] is refused before its body
//! is read. (The idea is CoDel's: a standing queue does harm, not a long one.) A single long delay proves nothing,
//! because the process may have been paused and can now catch up at once. A delay with almost no requests is not
//! caused by them: others use the CPU, and refusing requests would not help.
//!
//! A peer that sends less than half of the average is not refused, because it does not cause the queue.

use std::{
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// Acceptable queueing delay during overload.
const TARGET: Duration = Duration::from_millis(20);
/// A queue that stands for longer than this is not a burst.
const BURST: Duration = Duration::from_millis(100);
/// Without a delay over [`TARGET`] for this long, overload has ended.
const CALM: Duration = Duration::from_secs(1);
/// A delay in which fewer requests than this were accepted is not caused by requests.
const MIN_REQUESTS: u32 = 8;
/// Interval of the probe.
const EVERY: Duration = Duration::from_millis(2);
/// The probe rests after this many intervals in a row without a request.
const QUIET: u32 = 50;
/// The period over which requests are counted per peer.
const SHARES: Duration = Duration::from_secs(1);
/// Log interval while requests are refused.
const REMINDER: Duration = Duration::from_secs(1);

/// Measures the delay and decides what is refused.
#[derive(Debug)]
pub(crate) struct LoadShedder {
    start: Instant,
    /// When the probe is due, in microseconds since `start`; [`RESTS`] while it rests.
    due: AtomicU64,
    state: AtomicU8,
    /// Requests accepted since the probe last ran.
    taken: AtomicU32,
    awake: AtomicBool,
    wake: Notify,
    refused: AtomicU64,
    /// How many requests all peers sent during overload, and how many peers there are.
    asked: Share,
    peers: Share,
}

/// A counter for one period of [`SHARES`]: the number of the period in the upper half, the count in the lower.
#[derive(Debug, Default)]
pub(crate) struct Share(AtomicU64);

impl Share {
    /// Counts one, and returns the count in this period.
    fn count(&self, period: u32) -> u32 {
        let next = |packed: u64| {
            let count = Share::of(packed, period).saturating_add(1);
            u64::from(period) << 32 | u64::from(count)
        };
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| Some(next(packed)));
        Share::of(next(before.unwrap_or_default()), period)
    }

    fn read(&self, period: u32) -> u32 {
        Share::of(self.0.load(Ordering::Relaxed), period)
    }

    fn of(packed: u64, period: u32) -> u32 {
        let count = u32::try_from(packed & u64::from(u32::MAX)).unwrap_or_default();
        if packed >> 32 == u64::from(period) { count } else { 0 }
    }
}

const RESTS: u64 = u64::MAX;

/// The state of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum State {
    /// The last delay was short.
    Calm,
    /// The last delay was long.
    Strained,
    /// The server is overloaded.
    Overload,
}

impl From<u8> for State {
    fn from(number: u8) -> State {
        match number {
            1 => State::Strained,
            2 => State::Overload,
            _ => State::Calm,
        }
    }
}

impl Default for LoadShedder {
    fn default() -> LoadShedder {
        LoadShedder {
            start: Instant::now(),
            due: AtomicU64::new(RESTS),
            state: AtomicU8::new(State::Calm as u8),
            taken: AtomicU32::new(0),
            awake: AtomicBool::new(false),
            wake: Notify::new(),
            refused: AtomicU64::new(0),
            asked: Share::default(),
            peers: Share::default(),
        }
    }
}

impl LoadShedder {
    /// How long the request that starts now has waited; `None` if it is to be refused. The share is that of its peer.
    pub(crate) fn admit(&self, now: Instant, share: &Share) -> Option<Duration> {
        if !self.awake.load(Ordering::Relaxed) && !self.awake.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
        let waited = self.waited(now);
        let bound = self.bound();
        let modest = bound < Duration::MAX && self.is_modest(now, share);
        if waited >= bound && !modest && self.taken.load(Ordering::Relaxed) >= MIN_REQUESTS {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(waited)
    }

    /// Counts a request; returns whether its peer sends less than half of the average.
    fn is_modest(&self, now: Instant, share: &Share) -> bool {
        let periods = now.saturating_duration_since(self.start).as_secs() / SHARES.as_secs();
        // Distinguishable from an unused counter, which is period zero.
        let period = u32::try_from(periods).unwrap_or(u32::MAX - 1) + 1;
        let own = share.count(period);
        let peers = if own == 1 { self.peers.count(period) } else { self.peers.read(period) };
        let all = self.asked.count(period);
        u64::from(own) * 2 * u64::from(peers) < u64::from(all)
    }

    fn bound(&self) -> Duration {
        match State::from(self.state.load(Ordering::Relaxed)) {
            State::Calm => Duration::MAX,
            State::Strained => BURST,
            State::Overload => TARGET,
        }
    }

    fn waited(&self, now: Instant) -> Duration {
        match self.due.load(Ordering::Relaxed) {
            RESTS => Duration::ZERO,
            due => now.saturating_duration_since(self.start + Duration::from_micros(due)),
        }
    }

    /// Runs the probe as long as there is anything to measure; never ends.
    pub(crate) async fn probe(&self) {
        loop {
            self.wake.notified().await;
            let _at_rest = AtRest(self);
            let mut queue = Queue::seen_short(Instant::now());
            let mut quiet = 0;
            let mut reminded = Instant::now();
            while quiet < QUIET || queue.state == State::Overload {
                let due = Instant::now() + EVERY;
                self.due.store(self.micros(due), Ordering::Relaxed);
                tokio::time::sleep_until(due).await;
                let now = Instant::now();
                let taken = self.taken.swap(0, Ordering::Relaxed);
                let state = queue.look(now, now.saturating_duration_since(due), taken);
                self.state.store(state as u8, Ordering::Relaxed);
                quiet = if taken > 0 { 0 } else { quiet + 1 };
                if state == State::Overload && now.duration_since(reminded) >= REMINDER {
                    reminded = now;
                    let refused = self.refused.swap(0, Ordering::Relaxed);
                    tracing::warn!(refused, "server overloaded; refusing requests");
                }
            }
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.start).as_micros()).unwrap_or(RESTS - 1)
    }
}

/// Puts the probe to rest on drop, so that the due time of a probe that no longer runs is not mistaken for an endless
/// delay.
struct AtRest<'a>(&'a LoadShedder);

impl Drop for AtRest<'_> {
    fn drop(&mut self) {
        self.0.due.store(RESTS, Ordering::Relaxed);
        self.0.state.store(State::Calm as u8, Ordering::Relaxed);
        self.0.awake.store(false, Ordering::Release);
    }
}

/// The history of the queue. Time is an argument.
#[derive(Debug)]
struct Queue {
    /// When the delay was last short.
    short: Instant,
    /// When the delay was last long.
    long: Instant,
    state: State,
}

impl Queue {
    fn seen_short(now: Instant) -> Queue {
        Queue { short: now, long: now, state: State::Calm }
    }

    /// Records a delay that ended now, in which this many requests were accepted.
    fn look(&mut self, now: Instant, waited: Duration, taken: u32) -> State {
        let long = waited >= TARGET && taken >= MIN_REQUESTS;
        *(if long { &mut self.long } else { &mut self.short }) = now;
        self.state = match self.state {
            State::Overload if now.duration_since(self.long) < CALM => State::Overload,
            State::Strained if long && now.duration_since(self.short) >= BURST => State::Overload,
            _ if long => State::Strained,
            _ => State::Calm,
        };
        self.state
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const LONG: Duration = TARGET;
    const SHORT: Duration = Duration::from_millis(1);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    //
    #[test]
    fn a_burst_is_no_overload_and_a_standing_queue_is() {
        let start = Instant::now();
        let mut queue = Queue::seen_short(start);
        assert_eq!(queue.look(start + ms(60), LONG, MIN_REQUESTS), State::Strained);
        assert_eq!(queue.look(start + ms(99), LONG, MIN_REQUESTS), State::Strained, "99 ms may be a burst");
        assert_eq!(
            queue.look(start + ms(100), SHORT, MIN_REQUESTS),
            State::Calm,
            "it was: now the queue is short"
        );
        assert_eq!(queue.look(start + ms(150), LONG, MIN_REQUESTS), State::Strained);
        assert_eq!(
            queue.look(start + ms(200), LONG, MIN_REQUESTS),
            State::Overload,
            "never short for 100 ms"
        );
    }

    // a process that was halted is not overloaded by what has gathered in the meantime.
    #[test]
    fn one_long_wait_is_no_overload_however_long() {
        let start = Instant::now();
        let mut queue = Queue::seen_short(start);
        assert_eq!(queue.look(start + ms(5000), ms(4998), MIN_REQUESTS), State::Strained);
        assert_eq!(queue.look(start + ms(5002), SHORT, MIN_REQUESTS), State::Calm);
    }

    // others use the CPU.
    #[test]
    fn long_waits_of_few_are_no_overload() {
        let start = Instant::now();
        let mut queue = Queue::seen_short(start);
        for look in 1..20 {
            assert_eq!(queue.look(start + ms(look * 50), ms(48), MIN_REQUESTS - 1), State::Calm);
        }
    }

    // refusing shortens the queue, which is no reason to stop refusing.
    #[test]
    fn overload_ends_when_the_queue_has_been_short_for_a_second() {
        let start = Instant::now();
        let mut queue = Queue { short: start, long: start, state: State::Overload };
        assert_eq!(queue.look(start + ms(999), SHORT, MIN_REQUESTS), State::Overload);
        assert_eq!(queue.look(start + ms(999), LONG, MIN_REQUESTS), State::Overload);
        assert_eq!(queue.look(start + ms(1998), SHORT, MIN_REQUESTS), State::Overload);
        assert_eq!(queue.look(start + ms(1999), SHORT, MIN_REQUESTS), State::Calm);
    }

    //
    #[test]
    fn what_waited_is_refused_when_others_waited_before() {
        let pressure = LoadShedder::default();
        let late = |waited: Duration| pressure.start + ms(500) + waited;
        let refuses = |state: State, waited: Duration| {
            pressure.taken.store(MIN_REQUESTS, Ordering::Relaxed);
            pressure.state.store(state as u8, Ordering::Relaxed);
            pressure.admit(late(waited), &Share::default()).is_none()
        };
        assert!(!refuses(State::Overload, BURST * 9), "the probe rests");
        pressure.due.store(500_000, Ordering::Relaxed);
        assert!(!refuses(State::Calm, BURST * 9));
        assert!(!refuses(State::Strained, ms(99)));
        assert!(refuses(State::Strained, ms(100)));
        assert!(!refuses(State::Overload, ms(19)));
        assert!(refuses(State::Overload, ms(20)));
        assert_eq!(pressure.refused.load(Ordering::Relaxed), 2);
        assert_eq!(pressure.admit(late(ms(19)), &Share::default()), Some(ms(19)));
        pressure.taken.store(MIN_REQUESTS - 1, Ordering::Relaxed);
        assert_eq!(
            pressure.admit(late(ms(20)), &Share::default()),
            Some(ms(20)),
            "one more, and they are still too few"
        );
        assert_eq!(pressure.admit(late(ms(20)), &Share::default()), None);
    }

    // under overload, the peer that sends the most requests is refused.
    #[test]
    fn a_peer_that_asks_for_little_is_not_refused() {
        let pressure = LoadShedder::default();
        pressure.due.store(500_000, Ordering::Relaxed);
        pressure.state.store(State::Overload as u8, Ordering::Relaxed);
        let (flood, modest) = (Share::default(), Share::default());
        let admitted = |share: &Share, at: Duration| {
            pressure.taken.store(MIN_REQUESTS, Ordering::Relaxed);
            pressure.admit(pressure.start + at, share).is_some()
        };
        assert!((0..100).all(|_| !admitted(&flood, ms(600))), "alone it is all there is");
        assert!((0..25).all(|_| admitted(&modest, ms(600))), "25 are less than a quarter of 125");
        assert!((0..10).any(|_| !admitted(&modest, ms(600))), "35 are not");
        assert!(!admitted(&flood, ms(600)));
        assert!((0..100).all(|_| !admitted(&flood, ms(1600))));
        assert!(admitted(&modest, ms(1600)), "each second anew");
    }

    // A dead probe must not be mistaken for a waiting one.
    #[tokio::test]
    async fn without_a_probe_everything_is_taken() {
        let pressure = LoadShedder::default();
        pressure.admit(Instant::now(), &Share::default());
        let mut probe = Box::pin(pressure.probe());
        assert!((&mut probe).now_or_never().is_none());
        assert_ne!(pressure.due.load(Ordering::Relaxed), RESTS);
        drop(probe);
        assert_eq!(pressure.due.load(Ordering::Relaxed), RESTS);
        assert!(!pressure.awake.load(Ordering::Relaxed));
    }
}
