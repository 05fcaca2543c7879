//! The Lease as a record: its holder, whether it is free, and its next version. Pure: the clock is an argument.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use tokio::time::Instant;

/// The relevant fields of a Lease. As long as they stay the same, its holder has not renewed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Record {
    /// Empty if there is no holder.
    pub(in crate::server) holder: String,
    duration: Duration,
    renewed: Option<Timestamp>,
    transitions: i32,
}

/// A Lease and since when, on our own clock, it has been unchanged.
#[derive(Debug)]
pub(in crate::server) struct Observed {
    pub(in crate::server) lease: Lease,
    pub(in crate::server) record: Record,
    since: Instant,
}

/// The assumed duration of a Lease with an invalid one.
const USUAL: Duration = Duration::from_secs(15);
/// Maximum duration that is honored.
const LONGEST: Duration = Duration::from_secs(60);

impl Observed {
    pub(in crate::server) fn new(lease: Lease, now: Instant) -> Observed {
        Observed { record: Record::of(&lease), lease, since: now }
    }

    /// Records the current state of the Lease.
    pub(in crate::server) fn note(&mut self, lease: Lease, now: Instant) {
        let record = Record::of(&lease);
        if record != self.record {
            (self.record, self.since) = (record, now);
        }
        self.lease = lease;
    }

    /// Whether `identity` may acquire it.
    pub(in crate::server) fn free(&self, identity: &str, now: Instant) -> bool {
        self.record.holder.is_empty()
            || self.record.holder == identity
            || now.saturating_duration_since(self.since) >= self.record.duration
    }
}

impl Record {
    fn of(lease: &Lease) -> Record {
        let spec = lease.spec.clone().unwrap_or_default();
        let duration = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Record {
            holder: spec.holder_identity.unwrap_or_default(),
            duration: duration.filter(|seconds| *seconds > 0).map_or(USUAL, Duration::from_secs).min(LONGEST),
            renewed: spec.renew_time.map(|time| time.0),
            transitions: spec.lease_transitions.unwrap_or(0),
        }
    }
}

/// A new Lease that `identity` holds.
pub(in crate::server) fn made(
    namespace: &str,
    name: &str,
    identity: &str,
    duration: Duration,
    time: Timestamp,
) -> Lease {
    let lease = Lease {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..Lease::default()
    };
    taken(&lease, identity, duration, time)
}

/// A Lease that `identity` acquires or renews.
pub(in crate::server) fn taken(lease: &Lease, identity: &str, duration: Duration, time: Timestamp) -> Lease {
    let before = lease.spec.clone().unwrap_or_default();
    let same = before.holder_identity.as_deref() == Some(identity);
    let transitions = before.lease_transitions.unwrap_or(0);
    let first = before.acquire_time.is_none();
    let mut lease = lease.clone();
    lease.metadata.managed_fields = None;
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(duration.as_secs()).ok(),
        acquire_time: if same { before.acquire_time } else { Some(MicroTime(time)) },
        renew_time: Some(MicroTime(time)),
        lease_transitions: Some(if same || first { transitions } else { transitions.saturating_add(1) }),
        ..before
    });
    lease
}

/// A Lease without a holder.
pub(in crate::server) fn released(lease: &Lease, time: Timestamp) -> Lease {
    let mut lease = lease.clone();
    lease.metadata.managed_fields = None;
    let before = lease.spec.take().unwrap_or_default();
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        renew_time: Some(MicroTime(time)),
        ..before
    });
    lease
}

/// When the API server last recorded a change by `manager`, in seconds since 1970.
pub(in crate::server) fn written_at(lease: &Lease, manager: &str) -> Option<i64> {
    let entries = lease.metadata.managed_fields.iter().flatten();
    let ours = entries.filter(|entry| entry.manager.as_deref() == Some(manager));
    ours.filter_map(|entry| Some(entry.time.as_ref()?.0.as_second())).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn held_by(identity: &str, time: Timestamp) -> Lease {
        made("ns", "leader", identity, DURATION, time)
    }

    #[test]
    fn a_lease_is_free_only_after_it_was_seen_unchanged_for_its_whole_duration() {
        let start = Instant::now();
        // The holder's clock is years off, which does not matter.
        let mut seen = Observed::new(held_by("a", at(-100_000_000)), start);
        assert!(!seen.free("b", start + Duration::from_millis(14_999)));
        assert!(seen.free("b", start + DURATION));
        seen.note(held_by("a", at(-99_999_995)), start + Duration::from_secs(14));
        assert!(!seen.free("b", start + Duration::from_secs(28)));
        assert!(seen.free("b", start + Duration::from_secs(29)));
    }

    #[test]
    fn a_look_that_finds_nothing_new_does_not_prolong_a_lease() {
        let start = Instant::now();
        let mut seen = Observed::new(held_by("a", at(0)), start);
        seen.note(held_by("a", at(0)), start + Duration::from_secs(10));
        assert!(seen.free("b", start + DURATION));
    }

    #[test]
    fn a_lease_that_was_given_back_is_free_at_once() {
        let start = Instant::now();
        let seen = Observed::new(released(&held_by("a", at(0)), at(3)), start);
        assert!(seen.free("b", start));
        assert_eq!(seen.record.holder, "");
    }

    #[test]
    fn a_restarted_holder_takes_its_own_lease_back_at_once() {
        let start = Instant::now();
        assert!(Observed::new(held_by("a", at(0)), start).free("a", start));
    }

    #[test]
    fn a_nonsense_duration_is_not_waited_for() {
        let start = Instant::now();
        for seconds in [None, Some(0), Some(-5), Some(i32::MAX)] {
            let mut lease = held_by("a", at(0));
            lease.spec.as_mut().unwrap().lease_duration_seconds = seconds;
            let seen = Observed::new(lease, start);
            assert!(!seen.free("b", start + Duration::from_secs(14)), "{seconds:?}");
            assert!(seen.free("b", start + LONGEST), "{seconds:?}");
        }
    }

    #[test]
    fn transitions_count_changes_of_the_holder() {
        let first = held_by("a", at(0));
        assert_eq!(first.spec.as_ref().unwrap().lease_transitions, Some(0));
        let renewed = taken(&first, "a", DURATION, at(5)).spec.unwrap();
        assert_eq!((renewed.lease_transitions, renewed.acquire_time), (Some(0), Some(MicroTime(at(0)))));
        let taken = taken(&released(&first, at(6)), "b", DURATION, at(7)).spec.unwrap();
        assert_eq!((taken.lease_transitions, taken.acquire_time), (Some(1), Some(MicroTime(at(7)))));
        assert_eq!(taken.lease_duration_seconds, Some(15));
    }

    // L-10
    #[test]
    fn the_api_servers_clock_is_read_from_our_own_write() {
        let mut lease = held_by("a", at(0));
        assert_eq!(written_at(&lease, "outrigger-lease"), None);
        let managed = serde_json::json!([
            {"manager": "kubectl", "operation": "Update", "time": "2027-01-15T09:00:00Z"},
            {"manager": "outrigger-lease", "operation": "Update", "time": "2027-01-15T08:00:07Z"},
        ]);
        lease.metadata.managed_fields = serde_json::from_value(managed).unwrap();
        assert_eq!(written_at(&lease, "outrigger-lease"), Some(1_800_000_007));
    }
}
