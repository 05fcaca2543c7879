//! The proxy's image reference, from hub, name, tag and variant (Istio's `ProxyImage` and `ProxyInitImage`).

use serde_json::Value;

use crate::{names, pod};

/// Variants that Istio publishes: a known one at the end of a tag is replaced, not appended to.
const KNOWN_TYPES: [&str; 2] = ["distroless", "debug"];
/// The variant with the plain tag.
const DEFAULT_TYPE: &str = "default";
const DEFAULT_NAME: &str = "proxyv2";

/// The proxy's image. `image_type` is the ProxyConfig's; the pod's annotation overrides it, and it overrides
/// `global.variant`.
pub fn proxy(values: &Value, image_type: Option<&str>, pod: &Value) -> String {
    reference(values, "proxy", image_type, pod)
}

/// The image of the init and validation containers.
pub fn init(values: &Value, pod: &Value) -> String {
    reference(values, "proxy_init", None, pod)
}

fn reference(values: &Value, section: &str, image_type: Option<&str>, pod: &Value) -> String {
    let global = values.get("global");
    let setting = |key: &str| global.and_then(|global| global.get(key));
    let hub = setting("hub").and_then(Value::as_str).unwrap_or_default();
    let name = setting(section)
        .and_then(|section| section.get("image"))
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
        .unwrap_or(DEFAULT_NAME);
    let tag = match setting("tag") {
        Some(Value::String(tag)) => tag.clone(),
        Some(Value::Number(tag)) => tag.to_string(),
        _ => String::new(),
    };
    let variant = setting("variant").and_then(Value::as_str).unwrap_or_default();
    let configured = image_type.filter(|image_type| !image_type.is_empty()).unwrap_or(variant);
    let image_type = pod::annotation(pod, names::ANNOTATION_PROXY_IMAGE_TYPE).unwrap_or(configured);
    format!("{hub}/{name}:{}", typed_tag(&tag, image_type))
}

fn typed_tag(tag: &str, image_type: &str) -> String {
    if image_type.is_empty() {
        return tag.to_owned();
    }
    let bare = KNOWN_TYPES.iter().find_map(|known| tag.strip_suffix(known)?.strip_suffix('-')).unwrap_or(tag);
    if image_type == DEFAULT_TYPE { bare.to_owned() } else { format!("{bare}-{image_type}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values(tag: Value, variant: &str) -> Value {
        json!({"global": {"hub": "hub.example/mesh", "tag": tag, "variant": variant, "proxy": {"image": "envoy"}}})
    }

    #[test]
    fn joins_hub_name_and_tag() {
        assert_eq!(proxy(&values(json!("1.2"), ""), None, &Value::Null), "hub.example/mesh/envoy:1.2");
        assert_eq!(init(&values(json!("1.2"), ""), &Value::Null), "hub.example/mesh/proxyv2:1.2");
    }

    #[test]
    fn takes_a_tag_that_yaml_read_as_a_number() {
        assert_eq!(proxy(&values(json!(1.3), ""), None, &Value::Null), "hub.example/mesh/envoy:1.3");
    }

    #[test]
    fn annotation_beats_proxy_config_beats_variant() {
        let values = values(json!("1.2-distroless"), "debug");
        let annotated = json!({"metadata": {"annotations": {"sidecar.istio.io/proxyImageType": "default"}}});
        assert_eq!(proxy(&values, None, &Value::Null), "hub.example/mesh/envoy:1.2-debug");
        assert_eq!(proxy(&values, Some("custom"), &Value::Null), "hub.example/mesh/envoy:1.2-custom");
        assert_eq!(proxy(&values, Some("custom"), &annotated), "hub.example/mesh/envoy:1.2");
    }
}
