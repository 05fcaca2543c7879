//! Describes the data that templates read: where it is configured, and its value.

use std::borrow::Cow;

use serde_json::Value;

use crate::{
    config::InjectorConfig,
    inject::{AppliedDefault, PodRequest, proxy_config_without},
};
use gotemplate::{Read, gotypes::Type};
use istio_config::{defaults, gotypes};

/// A value that a template reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datum {
    /// Its place, such as `values.global.proxy.logLevel`, `annotation sidecar.istio.io/logLevel` or
    /// `proxyConfig.concurrency`.
    pub place: String,
    /// The value for this pod; `None` if it is absent.
    pub value: Option<Value>,
    /// Where it was set, such as `mesh.defaultConfig`; empty if the place says it.
    pub set_by: String,
}

/// The sources of all data about one pod.
pub(super) struct Sources<'a> {
    pub(super) mesh: &'a InjectorConfig,
    pub(super) request: &'a PodRequest,
    /// The annotations that others give the pod.
    pub(super) defaults: &'a [AppliedDefault<'a>],
    /// The ProxyConfigs below the pod's own.
    pub(super) proxy_configs: &'a [&'a str],
    /// The pod that the templates see.
    pub(super) pod: &'a Value,
    /// The effective ProxyConfig.
    pub(super) proxy_config: &'a Value,
}

impl Sources<'_> {
    /// Describes one read. `below` is the path of the field it was written to; its end may also be the end of the
    /// place: a template often writes a whole map.
    pub(super) fn datum(&self, read: &Read, below: &[String], written: Option<&Value>) -> Option<Datum> {
        let (root, path) = read.split_first()?;
        match root.as_str() {
            "Values" => Some(self.value(path, below, written)),
            "ProxyConfig" => Some(self.proxy_config(path, below, written)),
            "MeshConfig" => {
                let at = |config: &Value| by_go_names("mesh", &gotypes::MESH_CONFIG, config, path);
                let (place, value) = at(self.mesh.mesh_config());
                let set_by = match &value {
                    None => "",
                    Some(_) if at(defaults::mesh_config()).1 == value => "Istio's default",
                    Some(_) => "the configuration",
                };
                Some(Datum { place, value, set_by: set_by.to_owned() })
            }
            "ObjectMeta" => self.metadata(path),
            "Spec" => {
                let (place, value) = by_go_names(
                    "spec",
                    &crate::gotypes::POD_SPEC,
                    self.pod.get("spec").unwrap_or(&Value::Null),
                    path,
                );
                Some(Datum { place, value, set_by: "the pod".to_owned() })
            }
            other => {
                let (place, set_by) = computed(other)?;
                Some(Datum { place: place.to_owned(), value: None, set_by: set_by.to_owned() })
            }
        }
    }

    fn value(&self, path: &[String], below: &[String], written: Option<&Value>) -> Datum {
        let values = self.mesh.values();
        let found = path.iter().try_fold(values, |value, key| value.get(key));
        let narrowed = found.and_then(|found| narrow(found, below, written?));
        let (value, suffix) = narrowed.map_or((found, &[][..]), |(value, suffix)| (Some(value), suffix));
        let path: Vec<String> = path.iter().chain(suffix).cloned().collect();
        let default = path.iter().try_fold(InjectorConfig::default_values(), |value, key| value.get(key));
        let set_by = match (value, default) {
            (None | Some(Value::Null), _) => "",
            (Some(value), Some(default)) if value == default => "the embedded default",
            _ => "the configuration",
        };
        Datum {
            place: format!("values.{}", path.join(".")),
            value: value.cloned(),
            set_by: set_by.to_owned(),
        }
    }

    fn proxy_config(&self, path: &[String], below: &[String], written: Option<&Value>) -> Datum {
        let (mut place, mut value) =
            by_go_names("proxyConfig", &gotypes::PROXY_CONFIG, self.proxy_config, path);
        // The entries of a map such as proxyMetadata have different sources.
        let narrowed = value.as_ref().and_then(|found| {
            // A variable has the name of its entry.
            let of_variable = match below {
                [.., list, name, _] if list == "env" => {
                    found.get(name).map(|value| (value, std::slice::from_ref(name)))
                }
                _ => None,
            };
            of_variable.or_else(|| narrow(found, below, written?))
        });
        let narrowed = narrowed.map(|(value, suffix)| (value.clone(), suffix));
        let suffix = narrowed.as_ref().map_or(&[][..], |(_, suffix)| suffix);
        if let Some((narrower, suffix)) = &narrowed {
            value = Some(narrower.clone());
            place = suffix.iter().fold(place, |place, key| super::fields::join(&place, key));
        }
        let at = |config: &Value| {
            let whole = by_go_names("", &gotypes::PROXY_CONFIG, config, path).1;
            suffix.iter().try_fold(whole?, |value, key| value.get(key).cloned())
        };
        let without = |defaults: &[&str], annotation: bool, resources: bool| {
            let config = proxy_config_without(self.mesh, self.request, defaults, annotation, resources);
            config.map(Cow::into_owned).unwrap_or_default()
        };
        let set_by = if value.is_none() {
            ""
        } else if at(&without(self.proxy_configs, true, false)) != value {
            "annotation proxy.istio.io/config"
        } else if at(&without(&[], true, false)) != value {
            "annotation proxy.istio.io/config of the namespace"
        } else if at(&without(&[], true, true)) != value {
            "a ProxyConfig resource"
        } else if at(defaults::proxy_config()) != value {
            "mesh.defaultConfig"
        } else {
            "Istio's default"
        };
        Datum { place, value, set_by: set_by.to_owned() }
    }

    fn metadata(&self, path: &[String]) -> Option<Datum> {
        let metadata = self.pod.get("metadata")?;
        let (field, rest) = path.split_first()?;
        let (kind, key) = match (field.as_str(), rest) {
            ("Annotations", [key]) => ("annotation", key),
            ("Labels", [key]) => ("label", key),
            _ => {
                let (place, value) = by_go_names("metadata", &crate::gotypes::OBJECT_META, metadata, path);
                return Some(Datum { place, value, set_by: "the pod".to_owned() });
            }
        };
        let value = metadata.get(format!("{kind}s")).and_then(|map| map.get(key)).cloned();
        let default = self.defaults.iter().find(|default| kind == "annotation" && default.key == *key);
        let set_by = match (default, &value) {
            (Some(default), Some(_)) => default.source.to_string(),
            (None, Some(_)) => "the pod".to_owned(),
            (_, None) => String::new(),
        };
        Some(Datum { place: format!("{kind} {key}"), value, set_by })
    }
}

/// The part of a map that became the written value: the longest end of the written field's path that leads to it.
fn narrow<'v, 'b>(
    found: &'v Value,
    below: &'b [String],
    written: &Value,
) -> Option<(&'v Value, &'b [String])> {
    if !found.is_object() && !found.is_array() {
        return None;
    }
    (0..below.len()).find_map(|start| {
        let suffix = below.get(start..)?;
        let value = suffix.iter().try_fold(found, |value, step| match value {
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            value => value.get(step),
        })?;
        (value == written).then_some((value, suffix))
    })
}

/// A place below a root, from Go's names to JSON's, and its value.
fn by_go_names(root: &str, ty: &'static Type, document: &Value, path: &[String]) -> (String, Option<Value>) {
    let mut place = root.to_owned();
    let (mut ty, mut value) = (Some(ty), Some(document));
    for name in path {
        let field = ty.and_then(|ty| ty.field_by_go(name).or_else(|| ty.field_by_getter(name)));
        let key = field.map_or(name.as_str(), |field| field.json);
        place = super::fields::join(&place, key);
        value = value.and_then(|value| value.get(key));
        ty = field.and_then(|field| field.kind.message());
    }
    (place, value.cloned())
}

/// Data that is computed for templates, and its sources.
fn computed(name: &str) -> Option<(&'static str, &'static str)> {
    Some(match name {
        "ProxyImage" => (
            "the proxy's image",
            "values.global.hub, tag, variant and proxy.image, ProxyConfig image.imageType, annotation \
             sidecar.istio.io/proxyImageType",
        ),
        "ProxyInitImage" => (
            "the init container's image",
            "values.global.hub, tag, variant and proxy_init.image, annotation sidecar.istio.io/proxyImageType",
        ),
        "NativeSidecars" => {
            ("native sidecars", "nativeSidecars of the configuration and the nodes' kubelet versions")
        }
        "Revision" => ("the revision", "revision of the configuration"),
        "ProxyUID" => ("the proxy's user", "Istio's 1337, or the namespace's range on OpenShift"),
        "ProxyGID" => ("the proxy's group", "Istio's 1337, or the namespace's range on OpenShift"),
        "TypeMeta" | "DeploymentMeta" => ("the workload", "the pod's owner"),
        "InboundTrafficPolicyMode" => ("the inbound traffic policy", "mesh.inboundTrafficPolicy.mode"),
        "CompliancePolicy" => ("the compliance policy", "compliancePolicy of the configuration"),
        _ => return None,
    })
}
