//! The port of the agent's status server, the target of probes and scrapes.

use serde_json::Value;

use super::view::atoi;
use crate::config::Compat;
use crate::inject::annotation;
use crate::{names, pod};

/// Port of the agent for metrics, and for recognizing probes that are already rewritten; 0 if the server is disabled.
///
/// The pod's annotation overrides the mesh's `defaultConfig.statusPort`. Istio reads only the latter here, so that with
/// the annotation its metrics point to a port on which nothing listens.
pub fn status_port(pod: &Value, mesh_config: &Value, compat: Compat) -> i64 {
    let own = match compat {
        Compat::Outrigger => pod::annotation(pod, names::ANNOTATION_STATUS_PORT).and_then(annotation::port),
        Compat::Istio => None,
    };
    own.map_or_else(|| of_mesh(mesh_config), i64::from)
}

/// Port for rewritten probes. Istio reads the annotation here (`patchRewriteProbe`), but blanks in it result in 0.
pub(super) fn probe_port(pod: &Value, mesh_config: &Value, compat: Compat) -> i64 {
    match (compat, pod::annotation(pod, names::ANNOTATION_STATUS_PORT)) {
        (Compat::Istio, Some(text)) => atoi(text).unwrap_or(0),
        _ => status_port(pod, mesh_config, compat),
    }
}

fn of_mesh(mesh_config: &Value) -> i64 {
    pod::at(mesh_config, &["defaultConfig", "statusPort"]).and_then(Value::as_i64).unwrap_or(DEFAULT)
}

/// Istio's `DefaultMeshConfig`, for a MeshConfig without its defaults filled in.
const DEFAULT: i64 = 15020;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(port: &str) -> Value {
        json!({"metadata": {"annotations": {"status.sidecar.istio.io/port": port}}})
    }

    #[test]
    fn annotation_counts_for_us_everywhere_and_for_istio_in_probes() {
        let mesh = json!({"defaultConfig": {"statusPort": 15099}});
        assert_eq!(status_port(&pod("123"), &mesh, Compat::Outrigger), 123);
        assert_eq!(status_port(&pod("123"), &mesh, Compat::Istio), 15099);
        assert_eq!(probe_port(&pod("123"), &mesh, Compat::Outrigger), 123);
        assert_eq!(probe_port(&pod("123"), &mesh, Compat::Istio), 123);
    }

    #[test]
    fn blanks_make_it_zero_only_for_istio() {
        let mesh = json!({});
        assert_eq!(probe_port(&pod(" 123 "), &mesh, Compat::Outrigger), 123);
        assert_eq!(probe_port(&pod(" 123 "), &mesh, Compat::Istio), 0);
        assert_eq!(probe_port(&json!({}), &mesh, Compat::Istio), 15020);
        assert_eq!(probe_port(&json!({}), &json!({"defaultConfig": 1}), Compat::Outrigger), 15020);
    }
}
