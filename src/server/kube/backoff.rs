//! Backoff between requests to the API server, and timeouts for its responses.
//!
//! kube-runtime's `StreamBackoff` (5.0) does not fit: it ignores `Retry-After`, and starts over with every `Init`,
//! which precedes each attempt to list. Pure: the random number is an argument.

use std::time::Duration;

/// Timeouts and backoff of watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timings {
    /// Maximum duration requested for a watch; some are up to a quarter shorter, so that they do not all end at once.
    /// A watch that stays silent five seconds longer is considered dead and restarted.
    pub watch: Duration,
    /// Silence after which a request is aborted. Together with the previous one: how long a frozen API server can go
    /// unnoticed.
    pub answer: Duration,
    /// The first pause after a failure; it doubles with each further failure.
    pub retry_first: Duration,
    /// The longest such pause.
    pub retry_longest: Duration,
    /// Interval of checks for a resource that the API server does not have.
    pub absent: Duration,
}

impl Default for Timings {
    fn default() -> Timings {
        Timings {
            watch: Duration::from_secs(60),
            answer: Duration::from_secs(15),
            retry_first: Duration::from_millis(250),
            retry_longest: Duration::from_secs(5),
            absent: Duration::from_secs(30),
        }
    }
}

/// The pause after a failure: doubles each time, up to a cap, and differs between replicas.
///
/// The pause is between half and all of the step. A requested `Retry-After` is honored in full, up to a minute.
pub(in crate::server::kube) fn retry(
    timings: &Timings,
    failures: u32,
    asked: Option<Duration>,
    dice: u64,
) -> Duration {
    /// Maximum `Retry-After` that is honored.
    const MOST: Duration = Duration::from_secs(60);
    let doubled = timings.retry_first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let step = doubled.min(timings.retry_longest);
    let jittered = step / 2 + part(step / 2, dice);
    match asked {
        Some(asked) => asked.min(MOST) + part(timings.retry_first, dice),
        None => jittered,
    }
}

/// The requested duration of a watch in seconds, different for each.
pub(in crate::server::kube) fn watch_seconds(timings: &Timings, dice: u64) -> u32 {
    let longest = timings.watch.as_secs().max(1);
    u32::try_from(longest - dice % (longest / 4 + 1)).unwrap_or(u32::MAX)
}

/// A fraction of a duration.
fn part(of: Duration, dice: u64) -> Duration {
    // A 53-bit fraction is exact in a float.
    let share = (dice >> 11) as f64 / (1_u64 << 53) as f64;
    of.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_a_cap_and_differs() {
        let timings = Timings::default();
        let (low, high) = (0, u64::MAX);
        let mut before = Duration::ZERO;
        for failures in 1..40 {
            let (least, most) = (retry(&timings, failures, None, low), retry(&timings, failures, None, high));
            assert!(least >= before && least * 2 >= most && most <= timings.retry_longest, "{failures}");
            before = least;
        }
        assert_eq!(before * 2, timings.retry_longest);
        assert!(retry(&timings, 1, None, high) <= timings.retry_first);
    }

    // K-08
    #[test]
    fn what_the_api_server_asks_for_is_waited_for() {
        let timings = Timings::default();
        let wait = retry(&timings, 1, Some(Duration::from_secs(3)), u64::MAX / 2);
        assert!(wait >= Duration::from_secs(3) && wait < Duration::from_secs(4), "{wait:?}");
        assert!(retry(&timings, 1, Some(Duration::from_secs(86_400)), 0) <= Duration::from_secs(61));
    }

    #[test]
    fn watches_do_not_all_end_at_once() {
        let timings = Timings::default();
        let lasts: Vec<u32> = [0, 1, 17, u64::MAX].map(|dice| watch_seconds(&timings, dice)).to_vec();
        assert!(lasts.iter().all(|seconds| (45..=60).contains(seconds)), "{lasts:?}");
        assert!(lasts.windows(2).any(|pair| pair[0] != pair[1]));
        assert_eq!(watch_seconds(&Timings { watch: Duration::from_secs(1), ..timings }, u64::MAX), 1);
    }
}
