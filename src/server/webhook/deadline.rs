//! The API server's deadline, and the times by which a response can still reach it.
//!
//! API servers append their timeout to the URL: `?timeout=10s`. A response is sent within nine tenths of it or not at
//! all: a late response is wasted work, and tells the API server nothing about the cause.

use std::time::Duration;

use tokio::time::Instant;

use crate::server::duration::parse_duration;

/// The time available for a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    arrived: Instant,
    allowed: Duration,
}

/// The API server's maximum, and the default for a request without a timeout.
const LONGEST: Duration = Duration::from_secs(30);

impl Deadline {
    /// Parses the query of a request with its arrival time. Values that make no sense are ignored.
    pub(super) fn of(query: Option<&str>, arrived: Instant) -> Deadline {
        let named = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("timeout="));
        let allowed = named.and_then(|text| parse_duration(text).ok());
        let allowed =
            allowed.filter(|allowed| !allowed.is_zero()).map_or(LONGEST, |allowed| allowed.min(LONGEST));
        Deadline { arrived, allowed }
    }

    /// When the response must be ready.
    pub(super) fn answer_by(self) -> Instant {
        self.arrived + self.allowed.mul_f64(0.9)
    }

    /// The middle of the remaining time.
    pub(super) fn half(self) -> Instant {
        let now = Instant::now();
        now + self.answer_by().saturating_duration_since(now) / 2
    }

    /// The time after this duration, but no later than the response.
    pub(super) fn bound(self, within: Duration) -> Instant {
        self.answer_by().min(Instant::now() + within)
    }

    /// Whether there is no time left for a response.
    pub(super) fn passed(self) -> bool {
        Instant::now() >= self.answer_by()
    }

    /// Whether the API server has stopped waiting.
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
