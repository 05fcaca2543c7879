//! Random jitter for pauses, so that replicas that failed together do not retry together. Not for secrets.

use std::time::Duration;

/// A number from 0 (inclusive) to 1 (exclusive).
pub(crate) fn fraction() -> f64 {
    fastrand::f64()
}

/// A duration between two multiples of another one, such as 0.8 and 1.2.
pub(crate) fn between(least: f64, most: f64, of: Duration) -> Duration {
    of.mul_f64(least + (most - least) * fraction())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jittered_durations_stay_in_their_range_and_differ() {
        let of = Duration::from_secs(10);
        let drawn: Vec<Duration> = (0..100).map(|_| between(0.8, 1.2, of)).collect();
        assert!(drawn.iter().all(|one| (8.0..12.0).contains(&one.as_secs_f64())), "{drawn:?}");
        assert!(drawn.iter().any(|one| *one < of) && drawn.iter().any(|one| *one > of), "{drawn:?}");
    }
}
