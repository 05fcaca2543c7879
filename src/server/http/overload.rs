//! How long work waits before anything looks at it, and whether more of it is taken.
//!
//! Pods are judged by the worker that read them, so under overload the queue is where nothing counts it: in sockets and
//! among the runtime's tasks. A probe stands in the same queue: it asks to be run at a moment, and how late it is run
//! is how long everything waits. A queue that is gone within [`BURST`] was a burst, and is served; one that stands
//! longer is overload, and from then on whatever arrives while things wait for longer than [`TARGET`] is refused before
//! its body is looked at. (The idea is CoDel's: it is the standing queue that does harm, not the long one.) One long
//! wait alone says nothing: the process may have been halted, and be able to do at once what has gathered. And a wait
//! with next to no requests in it is not theirs: others use the CPU, and refusing would help nobody.
//!
//! A peer that asks for less than half of what peers ask for on average is not refused: the queue is not its doing.

use std::{
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// How long work may wait while there is more than can be done.
const TARGET: Duration = Duration::from_millis(20);
/// A queue that stands for longer than this is no burst.
const BURST: Duration = Duration::from_millis(100);
/// Without a wait over [`TARGET`] for this long there is no overload any more.
const CALM: Duration = Duration::from_secs(1);
/// A wait in which fewer requests than this were taken is not because of requests.
const CROWD: u32 = 8;
/// How often the probe stands in the queue.
const EVERY: Duration = Duration::from_millis(2);
/// How many times in a row nothing has to have arrived before the probe rests.
const QUIET: u32 = 50;
/// The time in which it is counted who asks for how much.
const SHARES: Duration = Duration::from_secs(1);
/// How often the log says that requests are refused.
const REMINDER: Duration = Duration::from_secs(1);

/// Measures the wait and decides what is refused.
#[derive(Debug)]
pub(crate) struct LoadShedder {
    start: Instant,
    /// When the probe is due, in microseconds from `start`; [`RESTS`] while it rests.
    due: AtomicU64,
    state: AtomicU8,
    /// Requests that were taken since the probe last looked.
    taken: AtomicU32,
    awake: AtomicBool,
    wake: Notify,
    refused: AtomicU64,
    /// What all peers asked for while things waited, and how many they are.
    asked: Share,
    peers: Share,
}

/// Counts within one period of [`SHARES`]: the number of the period in the upper half, the count in the lower.
#[derive(Debug, Default)]
pub(crate) struct Share(AtomicU64);

impl Share {
    /// Counts one, and gives how many there are in this period.
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

/// What the probe thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum State {
    /// The last wait was short.
    Calm,
    /// It was long.
    Strained,
    /// There is more to do than can be done.
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
    /// How long what is looked at now has waited; nothing if that is too long for it to be taken. The share is that of
    /// its peer.
    pub(crate) fn admit(&self, now: Instant, share: &Share) -> Option<Duration> {
        if !self.awake.load(Ordering::Relaxed) && !self.awake.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
        let waited = self.waited(now);
        let bound = self.bound();
        let modest = bound < Duration::MAX && self.is_modest(now, share);
        if waited >= bound && !modest && self.taken.load(Ordering::Relaxed) >= CROWD {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(waited)
    }

    /// Counts a request; tells whether its peer asks for less than half of the average.
    fn is_modest(&self, now: Instant, share: &Share) -> bool {
        let periods = now.saturating_duration_since(self.start).as_secs() / SHARES.as_secs();
        // Told from nothing, which is period zero.
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

    /// Stands in the queue for as long as there is anything to measure; never ends.
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
                    tracing::warn!(refused, "there is more to do than can be done; requests are refused");
                }
            }
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.start).as_micros()).unwrap_or(RESTS - 1)
    }
}

/// Puts the probe to rest when it is dropped: the moment at which a probe was due that is no more must not be taken for
/// an endless wait.
struct AtRest<'a>(&'a LoadShedder);

impl Drop for AtRest<'_> {
    fn drop(&mut self) {
        self.0.due.store(RESTS, Ordering::Relaxed);
        self.0.state.store(State::Calm as u8, Ordering::Relaxed);
        self.0.awake.store(false, Ordering::Release);
    }
}

/// What is known of the queue. Time is an argument.
#[derive(Debug)]
struct Queue {
    /// When it was last short.
    short: Instant,
    /// When it was last long.
    long: Instant,
    state: State,
}

impl Queue {
    fn seen_short(now: Instant) -> Queue {
        Queue { short: now, long: now, state: State::Calm }
    }

    /// Takes note of a wait that ended now, in which so many requests were taken.
    fn look(&mut self, now: Instant, waited: Duration, taken: u32) -> State {
        let long = waited >= TARGET && taken >= CROWD;
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
        assert_eq!(queue.look(start + ms(60), LONG, CROWD), State::Strained);
        assert_eq!(queue.look(start + ms(99), LONG, CROWD), State::Strained, "99 ms may be a burst");
        assert_eq!(queue.look(start + ms(100), SHORT, CROWD), State::Calm, "it was: now the queue is short");
        assert_eq!(queue.look(start + ms(150), LONG, CROWD), State::Strained);
        assert_eq!(queue.look(start + ms(200), LONG, CROWD), State::Overload, "never short for 100 ms");
    }

    // a process that was halted is not overloaded by what has gathered in the meantime.
    #[test]
    fn one_long_wait_is_no_overload_however_long() {
        let start = Instant::now();
        let mut queue = Queue::seen_short(start);
        assert_eq!(queue.look(start + ms(5000), ms(4998), CROWD), State::Strained);
        assert_eq!(queue.look(start + ms(5002), SHORT, CROWD), State::Calm);
    }

    // others use the CPU.
    #[test]
    fn long_waits_of_few_are_no_overload() {
        let start = Instant::now();
        let mut queue = Queue::seen_short(start);
        for look in 1..20 {
            assert_eq!(queue.look(start + ms(look * 50), ms(48), CROWD - 1), State::Calm);
        }
    }

    // refusing shortens the queue, which is no reason to stop refusing.
    #[test]
    fn overload_ends_when_the_queue_has_been_short_for_a_second() {
        let start = Instant::now();
        let mut queue = Queue { short: start, long: start, state: State::Overload };
        assert_eq!(queue.look(start + ms(999), SHORT, CROWD), State::Overload);
        assert_eq!(queue.look(start + ms(999), LONG, CROWD), State::Overload);
        assert_eq!(queue.look(start + ms(1998), SHORT, CROWD), State::Overload);
        assert_eq!(queue.look(start + ms(1999), SHORT, CROWD), State::Calm);
    }

    //
    #[test]
    fn what_waited_is_refused_when_others_waited_before() {
        let pressure = LoadShedder::default();
        let late = |waited: Duration| pressure.start + ms(500) + waited;
        let refuses = |state: State, waited: Duration| {
            pressure.taken.store(CROWD, Ordering::Relaxed);
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
        pressure.taken.store(CROWD - 1, Ordering::Relaxed);
        assert_eq!(pressure.admit(late(ms(20)), &Share::default()), Some(ms(20)), "one more is no crowd");
        assert_eq!(pressure.admit(late(ms(20)), &Share::default()), None);
    }

    // under overload it is the peer that asks most who is refused.
    #[test]
    fn a_peer_that_asks_for_little_is_not_refused() {
        let pressure = LoadShedder::default();
        pressure.due.store(500_000, Ordering::Relaxed);
        pressure.state.store(State::Overload as u8, Ordering::Relaxed);
        let (flood, modest) = (Share::default(), Share::default());
        let admitted = |share: &Share, at: Duration| {
            pressure.taken.store(CROWD, Ordering::Relaxed);
            pressure.admit(pressure.start + at, share).is_some()
        };
        assert!((0..100).all(|_| !admitted(&flood, ms(600))), "alone it is all there is");
        assert!((0..25).all(|_| admitted(&modest, ms(600))), "25 are less than a quarter of 125");
        assert!((0..10).any(|_| !admitted(&modest, ms(600))), "35 are not");
        assert!(!admitted(&flood, ms(600)));
        assert!((0..100).all(|_| !admitted(&flood, ms(1600))));
        assert!(admitted(&modest, ms(1600)), "each second anew");
    }

    // A probe that died must not be taken for one that waits.
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
