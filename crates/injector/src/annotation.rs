//! Validates the annotations of a pod.
//!
//! One table ([`TABLE`]) drives the checks, the warnings and `docs/annotations.md`. All violations of a pod are reported
//! at once. The effect of an annotation is implemented where it is read; nothing here changes a pod.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::names;
use crate::quirks::{Quirk, Quirks};
use crate::warning::{Warning, shown};

mod document;
mod finding;
mod keys;
mod parse;
mod spelling;
mod table;
mod volumes;

pub use document::markdown;
pub use keys::{is_opted_out, is_setting_of_pods, misspelt_setting, without_effect};
pub use parse::{Kind, ProxyConfigCheck, go_bool, port};
pub use table::{Checked, EMPTY_IS_UNSET, Group, Row, TABLE};
pub(crate) use volumes::user_items;

use finding::Finding;

/// An invalid value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Violation {
    /// Key of the annotation.
    pub key: &'static str,
    /// Its value, truncated and quoted for people.
    pub value: String,
    /// The problem; may be empty if `accepted` is sufficient.
    pub found: String,
    /// The expected value.
    pub accepted: &'static str,
}

impl Violation {
    /// The message for a value that is used nevertheless.
    pub fn doubt(&self) -> String {
        self.sentence("looks wrong")
    }

    fn sentence(&self, verdict: &str) -> String {
        let reason = if self.found.is_empty() { String::new() } else { format!(": {}", self.found) };
        let accepted = self.accepted.replace('`', "");
        format!("annotation {}: {} {verdict}{reason}; expected {accepted}", self.key, self.value)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence("is invalid"))
    }
}

/// Valid annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
    /// Values to use instead of the pod's, by key: the same value in a spelling that the proxy's init container
    /// accepts; empty if the annotation counts as unset.
    pub respelled: BTreeMap<&'static str, String>,
}

/// The table's row for a key.
pub fn row(key: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.key == key)
}

/// The annotations that configure injection, which the override policy checks: those of other projects only if a template
/// turns them into more than text.
pub fn settings() -> impl Iterator<Item = &'static str> {
    let is_setting = |row: &&Row| {
        matches!(row.group, Group::Pod | Group::Agent) || row.key == names::ANNOTATION_DATADOG_ENV
    };
    TABLE.iter().filter(is_setting).map(|row| row.key)
}

/// Validates a pod's annotations; under `compat: istio`, rejects exactly those that Istio's `validateAnnotations`
/// rejects.
///
/// Values that are not strings count as absent.
///
/// # Errors
/// Every invalid value, in the order of the keys.
pub fn check(
    annotations: &Map<String, Value>,
    labels: &Map<String, Value>,
    quirks: Quirks,
    proxy_config: ProxyConfigCheck<'_>,
) -> Result<Accepted, Vec<Violation>> {
    let mut accepted = Accepted::default();
    let mut violations = Vec::new();
    for (key, value) in annotations {
        let Some(value) = value.as_str() else { continue };
        let Some(row) = row(key).filter(|row| row.group != Group::Namespace) else { continue };
        accepted.warnings.extend(obsolete(row, labels));
        if matches!(row.checked, Checked::ByReader | Checked::Never) {
            continue;
        }
        if value.is_empty() && EMPTY_IS_UNSET.contains(&row.key) {
            // Some templates test whether the key exists.
            if !quirks.contains(Quirk::ShowEmptyAnnotations) && row.group == Group::Pod {
                accepted.respelled.insert(row.key, String::new());
            }
            continue;
        }
        match row.kind.find(value, quirks, proxy_config) {
            Finding::Fine => {}
            Finding::Odd(note) => accepted.warnings.push(ignored(row, value, &note)),
            Finding::Respelled(text) => {
                let note = format!("annotation {} is read without its blanks, which Istio rejects", row.key);
                accepted.warnings.push(Warning::new("BLANKS_IN_ANNOTATION", note));
                accepted.respelled.insert(row.key, text);
            }
            Finding::Wrong(found) => {
                let violation =
                    Violation { key: row.key, value: shown(value), found, accepted: row.kind.accepted() };
                if is_refused(row, quirks) {
                    violations.push(violation);
                } else {
                    accepted.warnings.push(Warning::new("DOUBTFUL_ANNOTATION", violation.doubt()));
                }
            }
        }
    }
    if violations.is_empty() { Ok(accepted) } else { Err(violations) }
}

fn is_refused(row: &Row, quirks: Quirks) -> bool {
    let quirk = match row.kind {
        Kind::Volumes | Kind::VolumeMounts => Quirk::AcceptInvalidUserVolumes,
        _ => Quirk::AcceptInvalidAnnotations,
    };
    match row.checked {
        Checked::ByIstio => true,
        Checked::ByUs => !quirks.contains(quirk),
        Checked::Warned | Checked::ByReader | Checked::Never => false,
    }
}

fn ignored(row: &Row, value: &str, note: &str) -> Warning {
    Warning::new("IGNORED_ANNOTATION", format!("annotation {}: {} {note}", row.key, shown(value)))
}

fn obsolete(row: &Row, labels: &Map<String, Value>) -> Option<Warning> {
    // Charts set both for old injectors; the label wins, and no warning is necessary.
    if row.key == names::INJECT && labels.contains_key(names::INJECT) {
        return None;
    }
    let advice = row.obsolete?;
    let code = if row.group == Group::Dead { "DEAD_ANNOTATION" } else { "DEPRECATED_ANNOTATION" };
    Some(Warning::new(code, format!("annotation {}: {advice}", row.key)))
}

#[cfg(test)]
mod tests;
