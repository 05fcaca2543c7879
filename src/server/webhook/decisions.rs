//! The last decisions of this replica, for `/debug/decisions` on the admin port: names, reasons and codes, nothing else of
//! a pod and no values.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use serde_json::{Value, json};

use super::record::{Record, clip};
use crate::{inject::CacheStatus, server::clock::unix_now};

/// The last decisions, at most a fixed number.
#[derive(Debug)]
pub(crate) struct Decisions {
    most: usize,
    recent: Mutex<VecDeque<Value>>,
}

impl Decisions {
    /// Keeps the last `most` decisions.
    pub(crate) fn new(most: usize) -> Decisions {
        Decisions { most, recent: Mutex::default() }
    }

    /// Keeps the decision of a request that is done. Requests without an answered review are in the log only.
    pub(super) fn observe(&self, record: &Record) {
        if record.uid.is_empty() {
            return;
        }
        let engine = record.active.as_ref().map(|active| &active.engine);
        let decision = json!({
            "time": unix_now(),
            "uid": clip(&record.uid),
            "namespace": clip(&record.namespace),
            "name": clip(&record.name),
            "owner": clip(&record.owner),
            "outcome": record.outcome.key(),
            "reason": record.reason,
            "warnings": record.warning_codes,
            "templates": clip(&record.templates),
            "patchOperations": record.patch.map_or(0, |patch| patch.operations),
            "durationMs": record.took.as_micros() as f64 / 1000.0,
            "dryRun": record.dry_run,
            "reinvoked": record.reinvoked,
            "cache": record.served.map(|served| match served {
                CacheStatus::Hit => "hit",
                CacheStatus::Miss => "miss",
                CacheStatus::Stale => "stale",
            }),
            "revision": engine.map(|engine| engine.revision()),
            "configHash": engine.map(|engine| engine.hash()),
        });
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        while recent.len() >= self.most {
            recent.pop_front();
        }
        recent.push_back(decision);
    }

    /// The decisions, newest first; only those of a namespace, if one is given.
    pub(in crate::server) fn to_value(&self, namespace: Option<&str>) -> Value {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let is_wanted =
            |decision: &&Value| namespace.is_none_or(|namespace| decision["namespace"] == namespace);
        let items: Vec<&Value> = recent.iter().rev().filter(is_wanted).collect();
        json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "DecisionList", "items": items})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(uid: &str, namespace: &str) -> Record {
        let told = "a warning that quotes the pod".to_owned();
        Record {
            uid: uid.to_owned(),
            namespace: namespace.to_owned(),
            reason: "POLICY_ENABLED",
            told,
            ..Record::default()
        }
    }

    #[test]
    fn the_last_decisions_are_kept_newest_first_and_without_values() {
        let decisions = Decisions::new(2);
        for (uid, namespace) in [("1", "a"), ("2", "a"), ("", "a"), ("3", "b")] {
            decisions.observe(&record(uid, namespace));
        }
        let uids = |namespace: Option<&str>| {
            let list = decisions.to_value(namespace);
            assert!(!list.to_string().contains("quotes"), "{list}");
            list["items"].as_array().unwrap().iter().map(|one| one["uid"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(uids(None), ["3", "2"]);
        assert_eq!(uids(Some("a")), ["2"]);
        assert_eq!(uids(Some("none")), Vec::<Value>::new());
    }
}
