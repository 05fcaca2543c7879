//! Reports problems in a MeshConfig or ProxyConfig in the words of every other configuration error.

use serde_json::Value;

use super::decode::{At, Decoder, join};
use super::error::{Fault, Place, quoted};
use istio_config::mesh;
use istio_config::proto::{self, Violation};

/// Reads MeshConfig over Istio's defaults. Anything that Istio ignores in it is a warning.
pub(super) fn read_mesh(decoder: &mut Decoder<'_>, at: &At<'_>) -> Value {
    match mesh::mesh_config_tolerant(at.node, "") {
        Ok((value, ignored)) => {
            for violation in &ignored {
                decoder.warn(&violation_path(&at.path, &violation.path), violation_message(&violation.fault));
            }
            if value.pointer("/defaultConfig/interceptionMode").and_then(Value::as_str) == Some("NONE") {
                let message = "NONE redirects nothing: each pod needs a Sidecar resource with ports from 1024; \
                               with the CNI plugin no pod can start";
                decoder.warn(&join(&join(&at.path, "defaultConfig"), "interceptionMode"), message);
            }
            value
        }
        Err(error) => {
            let unreadable =
                |violation: &Violation| matches!(violation.fault, proto::Fault::Unreadable { .. });
            for violation in error.violations.iter().filter(|violation| !violation.is_tolerated()) {
                if unreadable(violation) && !decoder.problems.is_empty() {
                    // A scalar or key without a JSON form: already reported with its own place.
                    continue;
                }
                decoder.problem_at(
                    violation.mark.map(Place::from),
                    violation_path(&at.path, &violation.path),
                    Fault::Proto(violation_message(&violation.fault)),
                );
            }
            Value::Null
        }
    }
}

pub(super) fn violation_path(path: &str, steps: &proto::Path) -> String {
    steps.0.iter().fold(path.to_owned(), |path, step| match step {
        proto::Step::Key(key) => join(&path, key),
        proto::Step::Index(index) => format!("{path}[{index}]"),
    })
}

pub(super) fn violation_message(fault: &proto::Fault) -> String {
    match fault {
        proto::Fault::Unknown { nearest } => {
            let near = nearest.map(|name| format!("; nearest: {}", quoted(name))).unwrap_or_default();
            format!("unknown key, ignored{near}")
        }
        proto::Fault::Unreadable { why } => why.clone(),
        proto::Fault::Ignored { because } => format!("has no effect: {because}"),
        proto::Fault::Invalid { found, accepted } => format!("found {found}; expected {accepted}"),
    }
}
