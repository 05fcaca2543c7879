//! Reports problems in a MeshConfig or ProxyConfig in the words of every other configuration error.

use serde_json::Value;

use super::decode::{At, Decoder, join};
use super::error::{Fault, Place, quoted};
use istio_config::mesh;
use istio_config::proto::{self, Offence};

/// Reads MeshConfig over Istio's defaults. Anything that Istio ignores in it is a warning.
pub(super) fn read_mesh(decoder: &mut Decoder<'_>, at: &At<'_>) -> Value {
    match mesh::mesh_config_tolerant(at.node, "") {
        Ok((value, ignored)) => {
            for offence in &ignored {
                decoder.warn(&offence_path(&at.path, &offence.path), offence_message(&offence.fault));
            }
            value
        }
        Err(error) => {
            let unreadable = |offence: &Offence| matches!(offence.fault, proto::Fault::Unreadable { .. });
            for offence in error.offences.iter().filter(|offence| !offence.is_tolerated()) {
                if unreadable(offence) && !decoder.problems.is_empty() {
                    // A scalar or key without a JSON form: already reported with its own place.
                    continue;
                }
                decoder.problem_at(
                    offence.mark.map(Place::from),
                    offence_path(&at.path, &offence.path),
                    Fault::Proto(offence_message(&offence.fault)),
                );
            }
            Value::Null
        }
    }
}

pub(super) fn offence_path(path: &str, steps: &proto::Path) -> String {
    steps.0.iter().fold(path.to_owned(), |path, step| match step {
        proto::Step::Key(key) => join(&path, key),
        proto::Step::Index(index) => format!("{path}[{index}]"),
    })
}

pub(super) fn offence_message(fault: &proto::Fault) -> String {
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
