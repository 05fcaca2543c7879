//! An admission: the decision about a pod that an API server sends.

use serde_json::Value;

use super::{Outcome, Refusal, Skip, Warning, decision::Reason};
use crate::{codes::keys, names, pod};

/// The decision about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Whether the pod is admitted, and whether it is changed.
    pub decision: AdmissionDecision,
    /// The patch; only with [`AdmissionDecision::Inject`].
    pub patch: Option<Patch>,
    /// Warnings for the user who created the pod.
    pub warnings: Vec<Warning>,
    /// The configuration's rule that applies, with its reason, for the log; empty for none.
    pub rule: String,
    /// The pod's properties, for the log.
    pub subject: Subject,
    /// Whether the patch was cached.
    pub served: CacheStatus,
}

/// Whether a pod is admitted, and whether it is changed. `reason` is a stable key from a small set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdmissionDecision {
    /// Admitted with a patch.
    Inject {
        /// The reason.
        reason: &'static str,
        /// Names of the templates used.
        templates: Vec<String>,
    },
    /// Admitted unchanged.
    Skip {
        /// The reason.
        reason: &'static str,
    },
    /// Denied.
    Deny {
        /// An HTTP status: 400, 403, 413, 422 or 500.
        code: u16,
        /// The reason.
        reason: &'static str,
        /// For the user who created the pod. Not used with code 500.
        message: String,
        /// For the log: the cause and its place in the configuration, without content of the pod; may be empty.
        detail: String,
    },
}

/// A JSON patch (RFC 6902) as it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// Its text.
    pub json: String,
    /// Number of operations in it.
    pub operations: usize,
}

/// The properties of a pod for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The namespace the decision is about.
    pub namespace: String,
    /// The pod's name, or the prefix of its future name; empty if it has neither.
    pub name: String,
    /// `Kind/name` of its owner; empty if it has none.
    pub owner: String,
    /// Whether it carries the status annotation of an earlier injection.
    pub reinvoked: bool,
}

/// Whether a patch was cached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheStatus {
    /// Cached, for a sibling of the pod.
    Hit,
    /// Computed for this pod.
    #[default]
    Miss,
    /// Computed for this pod, and different from the cached one: a bug. The pod gets the right one.
    Stale,
}

/// The reason for an object that is not a pod although the request is about pods.
pub const NOT_A_POD: &str = keys::NOT_A_POD;

impl Admission {
    /// The result of the pipeline for a pod.
    pub(super) fn of(outcome: Outcome, subject: Subject) -> Admission {
        let reason = outcome.decision().reason.key();
        let rule = outcome.decision().rule.clone().unwrap_or_default();
        let (decision, patch, warnings) = match outcome {
            Outcome::Skipped(Skip { warnings, .. }) => (AdmissionDecision::Skip { reason }, None, warnings),
            // Counted by the effect on the pod.
            Outcome::Injected(injection) if injection.operations == 0 => {
                (AdmissionDecision::Skip { reason: Reason::AlreadyInjected.key() }, None, injection.warnings)
            }
            Outcome::Injected(injection) => {
                let patch = Patch { json: injection.patch_json, operations: injection.operations };
                let decision = AdmissionDecision::Inject { reason, templates: injection.templates };
                (decision, Some(patch), injection.warnings)
            }
        };
        Admission { decision, patch, warnings, rule, subject, served: CacheStatus::Miss }
    }

    /// A pod that is left unchanged.
    pub fn skipped(reason: &'static str, subject: Subject) -> Admission {
        Admission {
            decision: AdmissionDecision::Skip { reason },
            patch: None,
            warnings: Vec::new(),
            rule: String::new(),
            subject,
            served: CacheStatus::Miss,
        }
    }

    /// A pod that is denied.
    pub fn denied(refusal: &Refusal, subject: Subject) -> Admission {
        let decision = AdmissionDecision::Deny {
            code: refusal.code(),
            reason: refusal.reason(),
            message: refusal.to_string(),
            detail: refusal.diagnosis().unwrap_or_default(),
        };
        Admission { decision, ..Admission::skipped("", subject) }
    }

    pub(super) fn not_a_pod(namespace: &str) -> Admission {
        let subject = Subject { namespace: namespace.to_owned(), ..Subject::default() };
        Admission::skipped(NOT_A_POD, subject)
    }
}

impl Patch {
    /// The patch as the crate `json-patch` represents it.
    pub fn to_json_patch(&self) -> json_patch::Patch {
        // Serialized operations can always be parsed.
        serde_json::from_str(&self.json).unwrap_or_default()
    }
}

impl Subject {
    /// The properties of a pod in a namespace, for the log.
    pub fn of(namespace: &str, pod: &Value) -> Subject {
        let metadata = |key: &str| pod.get("metadata").and_then(|metadata| metadata.get(key));
        let text = |key: &str| metadata(key).and_then(Value::as_str).filter(|name| !name.is_empty());
        let owners = metadata("ownerReferences").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let controls = |owner: &&Value| owner.get("controller").and_then(Value::as_bool) == Some(true);
        let owner = owners.iter().find(controls).or_else(|| owners.first());
        let owner = owner.and_then(|owner| {
            Some(format!("{}/{}", owner.get("kind")?.as_str()?, owner.get("name")?.as_str()?))
        });
        Subject {
            namespace: namespace.to_owned(),
            name: text("name").or_else(|| text("generateName")).unwrap_or_default().to_owned(),
            owner: owner.unwrap_or_default(),
            reinvoked: pod::annotation(pod, names::ANNOTATION_STATUS).is_some(),
        }
    }
}

impl CacheStatus {
    /// Stable key for metrics.
    pub const fn key(self) -> &'static str {
        match self {
            CacheStatus::Hit => "hit",
            CacheStatus::Miss => "miss",
            CacheStatus::Stale => "stale",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_owner_is_the_controller() {
        let owner_of =
            |references: Value| Subject::of("", &json!({"metadata": {"ownerReferences": references}})).owner;
        let a = json!({"kind": "A", "name": "a"});
        let b = json!({"kind": "B", "name": "b", "controller": true});
        assert_eq!(owner_of(json!([a, b])), "B/b");
        assert_eq!(owner_of(json!([a])), "A/a");
        for odd in [json!([]), json!([1]), json!("x"), json!([{"kind": 1, "name": "a"}])] {
            assert_eq!(owner_of(odd), "");
        }
    }
}
