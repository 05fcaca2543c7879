//! Until when the API server listens, and until when things must have happened for it to hear the answer.
//!
//! API servers append their timeout to the URL: `?timeout=10s`. The answer is on its way after nine tenths of it or not
//! at all: an answer that comes too late is work for nothing, and the API server learns nothing about why.

use std::time::Duration;

use tokio::time::Instant;

use crate::server::duration::parse_duration;

/// The time a request has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    arrived: Instant,
    allowed: Duration,
}

/// What API servers allow at most; also what a request has that says nothing.
const LONGEST: Duration = Duration::from_secs(30);

impl Deadline {
    /// Reads the query of a request that arrived at some time. What cannot be meant is not meant.
    pub(super) fn of(query: Option<&str>, arrived: Instant) -> Deadline {
        let named = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("timeout="));
        let allowed = named.and_then(|text| parse_duration(text).ok());
        let allowed =
            allowed.filter(|allowed| !allowed.is_zero()).map_or(LONGEST, |allowed| allowed.min(LONGEST));
        Deadline { arrived, allowed }
    }

    /// Until when the answer must be made.
    pub(super) fn answer_by(self) -> Instant {
        self.arrived + self.allowed.mul_f64(0.9)
    }

    /// Half of the time that is left.
    pub(super) fn half(self) -> Instant {
        let now = Instant::now();
        now + self.answer_by().saturating_duration_since(now) / 2
    }

    /// Something that may take this long from now, and not longer than the answer.
    pub(super) fn bound(self, within: Duration) -> Instant {
        self.answer_by().min(Instant::now() + within)
    }

    /// Whether there is no time left to make an answer.
    pub(super) fn passed(self) -> bool {
        Instant::now() >= self.answer_by()
    }

    /// Whether nobody listens any more.
    pub(super) fn missed(self) -> bool {
        Instant::now() >= self.arrived + self.allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // DA-17
    #[test]
    fn the_answer_is_due_after_nine_tenths_of_the_timeout() {
        let arrived = Instant::now();
        for (query, milliseconds) in [
            (Some("timeout=10s"), 9000),
            (Some("a=b&timeout=1s"), 900),
            (Some("timeout=500ms"), 450),
            (Some("timeout=1h"), 27_000),
            (Some("timeout=0"), 27_000),
            (Some("timeout=soon"), 27_000),
            (Some("Timeout=1s"), 27_000),
            (None, 27_000),
        ] {
            let due = Deadline::of(query, arrived).answer_by();
            assert_eq!(due - arrived, Duration::from_millis(milliseconds), "{query:?}");
        }
    }

    #[test]
    fn what_waited_for_the_timeout_has_no_time_left() {
        let now = Instant::now();
        let Some(long_ago) = now.checked_sub(Duration::from_millis(950)) else { return };
        let late = Deadline::of(Some("timeout=1s"), long_ago);
        assert!(late.passed() && !late.missed());
        assert!(late.bound(Duration::from_secs(15)) < now && late.half() >= now);
        assert!(!Deadline::of(Some("timeout=2s"), long_ago).passed());
    }
}
