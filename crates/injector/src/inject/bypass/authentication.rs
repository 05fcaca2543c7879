//! Whether the proxy authenticates the control plane.

use kubernetes_yaml::{self as yaml, Limits};
use serde_json::Value;

use super::{NONE, Subject};
use crate::{names, warning::Warning};

/// The field in both spellings that protobuf's JSON has.
const AUTH_POLICY: [&str; 2] = ["controlPlaneAuthPolicy", "control_plane_auth_policy"];

/// The warning about an annotation that turns authentication off, unless the mesh does.
pub(super) fn turned_off(pod: &Subject<'_>) -> Option<Warning> {
    let ([field, _], of) = (AUTH_POLICY, names::ANNOTATION_PROXY_CONFIG);
    let is_required = pod.configured.get(field).and_then(Value::as_str) != Some(NONE);
    (is_required && pod.annotation(of).is_some_and(is_none)).then(|| {
        let message = format!("{of}: {field}: {NONE}: the proxy does not authenticate the control plane");
        Warning::new("BYPASS_CONTROL_PLANE", message)
    })
}

/// Whether a ProxyConfig turns authentication off. `NONE` is the zero of its type, so the effective ProxyConfig does not show it, but
/// the agent reads the annotation again.
fn is_none(text: &str) -> bool {
    // Without these letters, a text cannot name the field in any spelling.
    if !text.contains("uth") && !text.contains('\\') {
        return false;
    }
    let config = yaml::load(text, &Limits::default()).unwrap_or_default();
    AUTH_POLICY.iter().filter_map(|key| config.get(*key)).any(|policy| match policy {
        Value::String(name) => name == NONE,
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    })
}
