//! Rate-limits log lines about events that may happen thousands of times a second.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// Minimum interval between two lines about the same event.
const EVERY: Duration = Duration::from_secs(1);

/// Counts events, and logs their number at most once per interval.
#[derive(Debug)]
pub(crate) struct LogThrottle {
    start: Instant,
    /// When to log again, in milliseconds since `start`.
    next: AtomicU64,
    count: AtomicU64,
}

impl Default for LogThrottle {
    fn default() -> LogThrottle {
        LogThrottle { start: Instant::now(), next: AtomicU64::new(0), count: AtomicU64::new(0) }
    }
}

impl LogThrottle {
    /// Counts an event. Returns the number of events since the last log line if it is time to log again.
    pub(crate) fn count(&self, now: Instant) -> Option<u64> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let now = now.saturating_duration_since(self.start);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let due = |next: u64| (next <= millis(now)).then_some(millis(now + EVERY));
        self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).ok()?;
        Some(self.count.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_said_once_a_second_with_how_often_it_was() {
        let reminder = LogThrottle::default();
        let at = |milliseconds| reminder.start + Duration::from_millis(milliseconds);
        assert_eq!(reminder.count(at(0)), Some(1), "the first is said at once");
        assert_eq!(reminder.count(at(1)), None);
        assert_eq!(reminder.count(at(999)), None);
        assert_eq!(reminder.count(at(1000)), Some(3));
        assert_eq!(reminder.count(at(1001)), None);
    }
}
