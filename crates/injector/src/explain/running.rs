//! How a running pod differs from the result of an injection today.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fields;
use crate::{names, quantity};

/// A field in which a running pod differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its path.
    pub path: String,
    /// The running pod's value; `None` if it has none.
    pub running: Option<Value>,
    /// The value that would be injected now; `None` if nothing would be.
    pub now: Option<Value>,
}

/// The lists and maps of an injected container whose entries only an injection creates: an entry that would not be
/// injected now is a difference. Everything else in a running pod may be a default of the API server.
const COMPLETE: [&str; 5] = ["args", "command", "env", "ports", "volumeMounts"];

/// The fields in which a running pod differs from the injection of today, by path. `containers` are the names of the
/// containers that were injected.
pub(super) fn differences<'w>(
    running: &Value,
    now: &Value,
    written: impl Iterator<Item = (&'w str, Option<&'w Value>)>,
    containers: &[String],
) -> Vec<Difference> {
    let running = fields::of(running);
    let now = fields::of(now);
    // The record of the injection differs whenever anything does.
    let is_record = |path: &str| path == fields::join("metadata.annotations", names::ANNOTATION_STATUS);
    let mut all: BTreeMap<Vec<(usize, String)>, Difference> = BTreeMap::new();
    let mut note = |path: &str, running: Option<&Value>, now: Option<&Value>| {
        let difference = Difference { path: path.to_owned(), running: running.cloned(), now: now.cloned() };
        all.insert(fields::order(path), difference);
    };
    for (path, wanted) in written.filter(|(path, _)| !is_record(path)) {
        let live = running.get(path);
        let is_equal = match (live, wanted) {
            (Some(live), Some(wanted)) => is_equal(live, wanted),
            // An API server drops empty maps and lists, and null.
            (None, Some(wanted)) => fields::is_empty(wanted),
            (_, None) => true,
        };
        if !is_equal {
            note(path, live, wanted);
        }
    }
    for (path, live) in &running {
        let steps = fields::split(path);
        let is_injected = matches!(steps.as_slice(), [spec, list, name, field, ..]
            if spec == "spec" && list.ends_with("ontainers") && containers.contains(name)
                && COMPLETE.contains(&field.as_str()));
        // Defaulted by API servers, and added by the ServiceAccount plugin.
        let is_defaulted = steps.last().is_some_and(|last| {
            matches!(last.as_str(), "protocol" | "apiVersion" | "recursiveReadOnly" | "divisor")
        }) || path.contains("/var/run/secrets/kubernetes.io/serviceaccount");
        if is_injected && !is_defaulted && !now.contains_key(path) {
            note(path, Some(live), None);
        }
    }
    all.into_values().collect()
}

/// Whether two values are the same to an API server, which rewrites quantities.
fn is_equal(live: &Value, wanted: &Value) -> bool {
    if live == wanted {
        return true;
    }
    let canonical = |value: &Value| match value {
        Value::String(text) => quantity::canonical(text),
        Value::Number(number) => quantity::canonical(&number.to_string()),
        _ => None,
    };
    matches!((canonical(live), canonical(wanted)), (Some(live), Some(wanted)) if live == wanted)
}
