//! A line in the log for what may happen thousands of times a second.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// How often the log says the same thing.
const EVERY: Duration = Duration::from_secs(1);

/// Counts what happens, and says how often it did at most once a second.
#[derive(Debug)]
pub(crate) struct LogThrottle {
    start: Instant,
    /// When it may be said again, in milliseconds from `start`.
    next: AtomicU64,
    count: AtomicU64,
}

impl Default for LogThrottle {
    fn default() -> LogThrottle {
        LogThrottle { start: Instant::now(), next: AtomicU64::new(0), count: AtomicU64::new(0) }
    }
}

impl LogThrottle {
    /// Counts, and gives how often it has happened since it was last said if it is time to say it.
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
