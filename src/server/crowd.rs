//! All connections of a listener, so that at the cap one that does nothing gives way to one that may do something.
//!
//! Those that never finished a request go first: whoever floods the port with silent connections crowds out his own
//! before those of an API server.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::stream::Activity;

/// Connections by number, in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    next: u64,
    present: BTreeMap<u64, Arc<Activity>>,
}

/// A connection's place in the crowd, given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    number: u64,
    crowd: Arc<Crowd>,
}

impl Crowd {
    /// Joins.
    pub(crate) fn join(self: &Arc<Self>, activity: Arc<Activity>) -> Place {
        let mut members = self.lock();
        let number = members.next;
        members.next += 1;
        members.present.insert(number, activity);
        Place { number, crowd: self.clone() }
    }

    /// Tells one idle connection to end, if there is one that has been idle for longer than `spared`.
    pub(crate) fn evict(&self, spared: Duration) -> bool {
        let mut members = self.lock();
        let idle = members.present.iter().filter_map(|(number, activity)| {
            let (served, idle) = activity.idleness()?;
            // Never served before served, and the longest idle first.
            (idle > spared).then_some((served, std::cmp::Reverse(idle), *number))
        });
        let Some((_, _, number)) = idle.min() else { return false };
        let Some(activity) = members.present.remove(&number) else { return false };
        activity.evicted.notify_one();
        true
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.lock().present.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // H-03
    #[test]
    fn the_silent_go_before_the_idle_and_the_busy_stay() {
        let crowd = Arc::new(Crowd::default());
        let [busy, idle, silent, left] = std::array::from_fn(|_| Activity::new());
        let (_busy, _) = busy.begin();
        drop(idle.begin());
        let _places = [&busy, &idle, &silent].map(|activity| crowd.join(activity.clone()));
        drop(crowd.join(left));
        let evicted = || {
            let went = crowd.evict(Duration::ZERO);
            let present: Vec<u64> = crowd.lock().present.keys().copied().collect();
            (went, present)
        };
        assert!(!crowd.evict(Duration::from_secs(3600)), "the young are spared");
        assert_eq!(evicted(), (true, vec![0, 1]), "the silent one goes first");
        assert_eq!(evicted(), (true, vec![0]), "then the idle one");
        assert_eq!(evicted(), (false, vec![0]), "the busy one stays");
    }
}
