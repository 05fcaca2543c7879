//! Backoff for repairs that others may be undoing. Pure: the clock is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Recent repairs.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    many: usize,
    last: Option<Instant>,
}

/// Repairs without a delay; further ones mean that someone is undoing them (O-04).
const QUICK: usize = 5;
/// After this long without a repair the earlier ones are forgotten. Longer than the longest delay, so that an ongoing
/// conflict does not count as a new one.
const REMEMBERED: Duration = Duration::from_secs(600);
/// The longest delay.
const LONGEST: Duration = Duration::from_secs(300);

impl Repairs {
    /// How long to delay the next repair.
    pub(crate) fn delay(&mut self, now: Instant) -> Option<Duration> {
        let last = self.last.filter(|last| now.saturating_duration_since(*last) < REMEMBERED);
        let Some(last) = last else {
            *self = Repairs::default();
            return None;
        };
        let many = self.many.checked_sub(QUICK)?;
        let next = last + Duration::from_secs(1 << many.min(9)).min(LONGEST);
        next.checked_duration_since(now).filter(|delay| !delay.is_zero())
    }

    /// Records a repair.
    pub(crate) fn note(&mut self, now: Instant) {
        self.many = self.many.saturating_add(1);
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // O-04
    #[test]
    fn repairs_that_are_undone_at_once_become_rare() {
        let (mut repairs, start) = (Repairs::default(), Instant::now());
        let (mut now, mut made) = (start, Vec::new());
        while now < start + Duration::from_secs(3600) {
            now += repairs.delay(now).unwrap_or(Duration::ZERO) + Duration::from_millis(1);
            repairs.note(now);
            made.push(now - start);
        }
        let within = |seconds| made.iter().filter(|at| at.as_secs() < seconds).count();
        assert_eq!((within(1), within(15), within(60)), (5, 8, 10));
        assert!((10..=80).contains(&within(3600)), "{}", within(3600));
    }

    #[test]
    fn after_a_while_repairs_are_quick_again() {
        let (mut repairs, start) = (Repairs::default(), Instant::now());
        (0..20).for_each(|_| repairs.note(start));
        assert_eq!(repairs.delay(start), Some(LONGEST));
        assert_eq!(repairs.delay(start + REMEMBERED), None);
    }
}
