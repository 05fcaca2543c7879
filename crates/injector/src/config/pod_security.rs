//! The consequence if the Pod Security level of a namespace forbids what injection adds.

use serde_json::{Map, Value, json};

use super::decode::{At, Decoder};
use crate::pod_security::{Level, NEWEST, parse_minor};

/// The settings `podSecurity` of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSecurity {
    /// The consequence of a violation.
    pub violations: Violations,
    /// The changes that may be made to avoid one, each once.
    pub adapt: Vec<Adaptation>,
    /// The level of namespaces without labels, as the API server's `PodSecurityConfiguration` says.
    pub default: Level,
    /// The minor version of the API server, which `latest` means.
    pub latest: u32,
}

/// The consequence of a violation of the level that a namespace enforces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Violations {
    /// The user is warned; the API server will reject the pod.
    #[default]
    Warn,
    /// The pod is denied, with the setting that avoids it.
    Deny,
    /// Nothing: levels are not read.
    Ignore,
}

/// A change of the values for pods of a namespace whose level forbids the configured ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Adaptation {
    /// `global.proxy.seccompProfile.type: RuntimeDefault`.
    SeccompProfile,
    /// `pilot.cni.enabled: true`.
    Cni,
}

const KEYS: [&str; 4] = ["violations", "adapt", "default", "latest"];
const LATEST: &str = "a version from v1.0, such as v1.34";

impl Default for PodSecurity {
    fn default() -> PodSecurity {
        PodSecurity {
            violations: Violations::Warn,
            adapt: Vec::new(),
            default: Level::Privileged,
            latest: NEWEST,
        }
    }
}

impl PodSecurity {
    /// Whether levels are read.
    pub fn is_read(&self) -> bool {
        self.violations != Violations::Ignore || !self.adapt.is_empty()
    }

    /// Whether results depend on the levels, so that these must be known.
    pub fn must_be_known(&self) -> bool {
        self.violations == Violations::Deny || !self.adapt.is_empty()
    }

    /// The settings as they appear in a bundle.
    pub(super) fn to_value(&self) -> Value {
        json!({
            "violations": self.violations.as_str(),
            "adapt": self.adapt.iter().map(|it| it.as_str()).collect::<Vec<_>>(),
            "default": self.default.as_str(),
            "latest": format!("v1.{}", self.latest),
        })
    }

    /// Every combination of the allowed changes, those that change least first.
    pub(super) fn combinations(&self) -> Vec<Vec<Adaptation>> {
        let allowed = |all: &[Adaptation]| all.iter().all(|it| self.adapt.contains(it));
        let all = [
            &[Adaptation::SeccompProfile][..],
            &[Adaptation::Cni],
            &[Adaptation::Cni, Adaptation::SeccompProfile],
        ];
        all.into_iter().filter(|some| allowed(some)).map(<[Adaptation]>::to_vec).collect()
    }
}

impl Violations {
    /// Its value in a bundle.
    pub fn as_str(self) -> &'static str {
        match self {
            Violations::Warn => "warn",
            Violations::Deny => "deny",
            Violations::Ignore => "ignore",
        }
    }
}

impl Adaptation {
    /// Its value in a bundle.
    pub fn as_str(self) -> &'static str {
        match self {
            Adaptation::SeccompProfile => "seccompProfile",
            Adaptation::Cni => "cni",
        }
    }

    /// The values that it sets, for people.
    pub fn setting(self) -> &'static str {
        match self {
            Adaptation::SeccompProfile => "global.proxy.seccompProfile.type: RuntimeDefault",
            Adaptation::Cni => "pilot.cni.enabled: true",
        }
    }

    fn value(self) -> (&'static [&'static str], Value) {
        match self {
            // All of it is replaced: the fields of a profile of another type do not fit this one.
            Adaptation::SeccompProfile => {
                (&["global", "proxy", "seccompProfile"], json!({"type": "RuntimeDefault"}))
            }
            Adaptation::Cni => (&["pilot", "cni", "enabled"], Value::Bool(true)),
        }
    }
}

/// The bundle with the changes, and without further ones.
pub(super) fn adapted(bundle: &Value, changes: &[Adaptation]) -> Value {
    let mut bundle: Map<String, Value> = bundle.as_object().cloned().unwrap_or_default();
    if let Some(settings) = bundle.get_mut("podSecurity").and_then(Value::as_object_mut) {
        settings.insert("adapt".to_owned(), json!([]));
    }
    let values = bundle.entry("values").or_insert_with(|| json!({}));
    for change in changes {
        let (path, value) = change.value();
        set(values, path, value);
    }
    Value::Object(bundle)
}

/// Sets a value at a path; anything on the way that is not a map is replaced.
fn set(values: &mut Value, path: &[&str], value: Value) {
    let Some((key, rest)) = path.split_first() else {
        *values = value;
        return;
    };
    if !values.is_object() {
        *values = json!({});
    }
    if let Some(map) = values.as_object_mut() {
        set(map.entry(*key).or_insert(Value::Null), rest, value);
    }
}

pub(super) fn read(decoder: &mut Decoder<'_>, at: &At<'_>) -> PodSecurity {
    let mut settings = PodSecurity::default();
    let Some(mut fields) = decoder.record(at, &KEYS) else { return settings };
    if let Some(at) = fields.take("violations") {
        let words = [Violations::Warn, Violations::Deny, Violations::Ignore].map(|it| (it.as_str(), it));
        settings.violations = decoder.one_of(&at, &words).unwrap_or_default();
    }
    if let Some(at) = fields.take("adapt") {
        let words = [Adaptation::Cni, Adaptation::SeccompProfile].map(|it| (it.as_str(), it));
        for at in decoder.list(&at, "a list of cni, seccompProfile") {
            settings.adapt.extend(decoder.one_of(&at, &words));
        }
        settings.adapt.sort_unstable();
        settings.adapt.dedup();
    }
    if let Some(at) = fields.take("default") {
        let words = [Level::Privileged, Level::Baseline, Level::Restricted].map(|it| (it.as_str(), it));
        settings.default = decoder.one_of(&at, &words).unwrap_or_default();
    }
    if let Some(at) = fields.take("latest") {
        match decoder.string(&at, LATEST).map(|text| parse_minor(&text)) {
            Some(Some(minor)) => settings.latest = minor.min(NEWEST),
            Some(None) => decoder.refuse(&at, LATEST),
            None => {}
        }
    }
    settings
}
