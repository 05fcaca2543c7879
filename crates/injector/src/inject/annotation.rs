//! The annotations of a pod: what they mean, and whether their values can be used.
//!
//! One table ([`TABLE`]) drives the checks, the warnings and `docs/annotations.md`. All offences of a pod are reported at
//! once. What an annotation does is decided where it is read; nothing here changes a pod.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use super::warning::{Warning, shown};
use crate::names;
use crate::quirks::{Quirk, Quirks};

mod document;
mod finding;
mod keys;
mod parse;
mod spelling;
mod table;
mod volumes;

pub use document::markdown;
pub use keys::{is_opted_out, is_setting_of_pods, without_effect};
pub use parse::{Kind, ProxyConfigCheck, go_bool, port};
pub use table::{Checked, EMPTY_IS_UNSET, Group, Row, TABLE};
pub(super) use volumes::user_items;

use finding::Finding;

/// A value that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Offence {
    /// Key of the annotation.
    pub key: &'static str,
    /// Its value, shortened and quoted for people.
    pub value: String,
    /// What is wrong about it; may be empty when `accepted` says it all.
    pub found: String,
    /// What is accepted.
    pub accepted: &'static str,
}

impl Offence {
    /// The sentence for a value that is taken all the same.
    pub fn doubt(&self) -> String {
        self.sentence("looks wrong")
    }

    fn sentence(&self, verdict: &str) -> String {
        let reason = if self.found.is_empty() { String::new() } else { format!(", {}", self.found) };
        let accepted = self.accepted.replace('`', "");
        format!("annotation {}: {} {verdict}{reason}; accepted: {accepted}", self.key, self.value)
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence("is not accepted"))
    }
}

/// Annotations that can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// What the person should know.
    pub warnings: Vec<Warning>,
    /// Values to use in place of the pod's, by key: the same in a spelling that the proxy's init container takes; empty
    /// where the annotation is to count as not set.
    pub respelt: BTreeMap<&'static str, String>,
}

/// The row of a key.
pub fn row(key: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.key == key)
}

/// Checks a pod's annotations; under `compat: istio` exactly what Istio's `validateAnnotations` refuses is refused.
///
/// Values that are no strings count as absent.
///
/// # Errors
/// Every value that is not accepted, in the order of the keys.
pub fn check(
    annotations: &Map<String, Value>,
    labels: &Map<String, Value>,
    quirks: Quirks,
    proxy_config: ProxyConfigCheck<'_>,
) -> Result<Accepted, Vec<Offence>> {
    let mut accepted = Accepted::default();
    let mut offences = Vec::new();
    for (key, value) in annotations {
        let Some(value) = value.as_str() else { continue };
        let Some(row) = row(key).filter(|row| row.group != Group::Namespace) else { continue };
        accepted.warnings.extend(obsolete(row, labels));
        if matches!(row.checked, Checked::ByReader | Checked::Never) {
            continue;
        }
        if value.is_empty() && EMPTY_IS_UNSET.contains(&row.key) {
            // Some templates ask whether the key is there.
            if !quirks.contains(Quirk::ShowEmptyAnnotations) && row.group == Group::Pod {
                accepted.respelt.insert(row.key, String::new());
            }
            continue;
        }
        match row.kind.find(value, quirks, proxy_config) {
            Finding::Fine => {}
            Finding::Odd(note) => accepted.warnings.push(ignored(row, value, &note)),
            Finding::Respelt(text) => {
                let note = format!("annotation {} is read without its blanks, which Istio refuses", row.key);
                accepted.warnings.push(Warning::new("BLANKS_IN_ANNOTATION", note));
                accepted.respelt.insert(row.key, text);
            }
            Finding::Wrong(found) => {
                let offence =
                    Offence { key: row.key, value: shown(value), found, accepted: row.kind.accepted() };
                if is_refused(row, quirks) {
                    offences.push(offence);
                } else {
                    accepted.warnings.push(Warning::new("DOUBTFUL_ANNOTATION", offence.doubt()));
                }
            }
        }
    }
    if offences.is_empty() { Ok(accepted) } else { Err(offences) }
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
    // Charts set both for old injectors; the label is then what counts and nobody needs to be told.
    if row.key == names::INJECT && labels.contains_key(names::INJECT) {
        return None;
    }
    let advice = row.obsolete?;
    let code = if row.group == Group::Dead { "DEAD_ANNOTATION" } else { "DEPRECATED_ANNOTATION" };
    Some(Warning::new(code, format!("annotation {}: {advice}", row.key)))
}

#[cfg(test)]
mod tests;
