//! Pod Security levels: which fields of a pod a namespace's level forbids.
//!
//! API servers judge every pod by the labels of its namespace (`k8s.io/pod-security-admission`). The same rules are here as a
//! pure function, so that an injector can tell in advance which field of an injected container will be refused.
//! `hack/oracle/podsecurity` records the answers of Kubernetes' own evaluator, and the tests compare.

use std::fmt;

use serde_json::{Map, Value};

mod checks;
#[cfg(test)]
mod tests;

use crate::untrusted::shown;

/// The newest minor version whose rules this module knows; later versions are judged by its rules.
pub const NEWEST: u32 = 37;
/// The prefix of the labels, before `enforce`, `audit` and `warn`.
pub const LABELS: &str = "pod-security.kubernetes.io/";

/// A level of the Pod Security Standards, from the most permissive to the strictest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything is allowed.
    #[default]
    Privileged,
    /// Known privilege escalations are not.
    Baseline,
    /// Current best practices are required.
    Restricted,
}

/// A level, and the version of Kubernetes whose rules it means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelVersion {
    /// The level.
    pub level: Level,
    /// The minor version; `None` is `latest`, that of the API server.
    pub minor: Option<u32>,
}

/// The levels that the labels of a namespace set (`api.Policy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Violations are refused.
    pub enforce: LevelVersion,
    /// Violations are recorded in the audit log.
    pub audit: LevelVersion,
    /// The user is warned of violations.
    pub warn: LevelVersion,
}

/// A field that a level does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check that found it, by Kubernetes' ID (`policy.CheckID`).
    pub check: &'static str,
    /// Whose field it is.
    pub subject: Subject,
    /// The field, relative to the subject.
    pub field: &'static str,
    /// Its value; `None` if it would have to be set.
    pub found: Option<String>,
}

/// Whose field is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The pod's.
    Pod,
    /// A container's, by name: of any kind.
    Container(String),
    /// A volume's, by name.
    Volume(String),
}

impl Level {
    /// The level with this name.
    pub fn parse(text: &str) -> Option<Level> {
        [Level::Privileged, Level::Baseline, Level::Restricted]
            .into_iter()
            .find(|level| level.as_str() == text)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }
}

/// The minor version of a label or setting such as `v1.33` (`api.ParseVersion`); `None` if the text is not a version.
/// `latest` is not one.
pub fn parse_minor(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("v1.")?;
    let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
    (is_number && (digits == "0" || !digits.starts_with('0'))).then(|| digits.parse().ok())?
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.minor {
            Some(minor) => write!(f, "{}:v1.{minor}", self.level.as_str()),
            None => write!(f, "{}:latest", self.level.as_str()),
        }
    }
}

impl Policy {
    /// The same level for everything, as an API server without labels and configuration has it.
    pub fn of_level(level: Level) -> Policy {
        let version = LevelVersion { level, minor: None };
        Policy { enforce: version, audit: version, warn: version }
    }

    /// The policy of a namespace with these labels; everything that they do not set comes from `defaults`
    /// (`api.PolicyToEvaluate`).
    pub fn of_labels(labels: &Map<String, Value>, defaults: Policy) -> Policy {
        if !labels.keys().any(|key| is_label(key)) {
            return defaults;
        }
        let label =
            |mode: &str, part: &str| labels.get(&format!("{LABELS}{mode}{part}")).and_then(Value::as_str);
        let mut policy = defaults;
        // A version that cannot be parsed is the latest one.
        let version = |mode: &str, default: Option<u32>| match label(mode, "-version") {
            Some(text) => parse_minor(text),
            None => default,
        };
        let enforced = label("enforce", "");
        if let Some(text) = enforced {
            policy.enforce.level = Level::parse(text).unwrap_or(Level::Restricted);
        }
        policy.enforce.minor = version("enforce", policy.enforce.minor);
        for (mode, place) in [("audit", &mut policy.audit), ("warn", &mut policy.warn)] {
            if let Some(text) = label(mode, "") {
                place.level = Level::parse(text).unwrap_or(Level::Privileged);
            }
            place.minor = version(mode, place.minor);
        }
        // The user is also warned of a stricter level that is enforced.
        let is_valid = enforced.is_some_and(|text| Level::parse(text).is_some());
        if label("warn", "").is_none() && is_valid && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if label("warn", "-version").is_none() {
                policy.warn.minor = policy.enforce.minor;
            }
        }
        policy
    }

    /// Whether it neither forbids, records nor warns of anything.
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|version| version.level == Level::Privileged)
    }
}

/// Whether a key is one of the labels.
pub fn is_label(key: &str) -> bool {
    key.starts_with(LABELS)
}

/// Every field of a pod that the level does not allow, in the order of the checks; `latest` is the minor version of the API
/// server (`policy.Evaluator`). Unlike Kubernetes', the answer names the containers that lack a setting even if others
/// have a forbidden one.
pub fn evaluate(pod: &Value, asked: LevelVersion, latest: u32) -> Vec<Finding> {
    let latest = latest.min(NEWEST);
    let minor = asked.minor.map_or(latest, |minor| minor.min(latest));
    checks::all(pod, asked.level, minor)
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Pod => f.write_str("the pod"),
            Subject::Container(name) => write!(f, "container {}", shown(name)),
            Subject::Volume(name) => write!(f, "volume {}", shown(name)),
        }
    }
}

impl Finding {
    /// The field and its problem.
    pub fn problem(&self) -> String {
        match &self.found {
            Some(found) if found.is_empty() => self.field.to_owned(),
            Some(found) => format!("{} {}", self.field, shown(found)),
            None => format!("{} is not set", self.field),
        }
    }
}
