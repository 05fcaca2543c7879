//! The data for templates: Istio's `SidecarTemplateData`, field for field.
//!
//! Everything that the pod's author can influence is tainted here, once; the template engine tracks it from then on.

use serde_json::{Value, json};

use super::openshift::ProxyIds;
use crate::{
    config::InjectorConfig,
    gotypes, names,
    pod::{self, Workload},
};
use gotemplate::value::{IntType, Text, Value as TemplateValue};

/// The parts of a context.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The pod without an earlier injection, with its namespace filled in.
    pub pod: &'a Value,
    /// `{apiVersion, kind}` of the workload: see [`type_meta`].
    pub type_meta: &'a Value,
    /// `{name, namespace}` of the workload: see [`deployment_meta`].
    pub deployment_meta: &'a Value,
    /// The effective ProxyConfig.
    pub proxy_config: &'a Value,
    /// Whether an annotation or a ProxyConfig resource influenced it.
    pub proxy_config_tainted: bool,
    /// The mesh's MeshConfig.
    pub mesh_config: &'a Value,
    /// The values.
    pub values: &'a Value,
    /// The injector's revision.
    pub revision: &'a str,
    /// Whether the cluster runs native sidecars.
    pub native_sidecars: bool,
    /// The proxy's image.
    pub proxy_image: &'a str,
    /// The image of the init container.
    pub proxy_init_image: &'a str,
    /// Whether an annotation influenced the images.
    pub image_tainted: bool,
    /// The proxy's user and group.
    pub ids: ProxyIds,
    /// The effective compliance policy, or "".
    pub compliance_policy: &'a str,
}

/// Stands for a part that is not known.
static UNKNOWN: Value = Value::Null;

impl<'a> Parts<'a> {
    /// What a configuration alone determines, without a pod; `proxy_config` is the mesh's, if that is known.
    pub(crate) fn of_configuration(mesh: &'a InjectorConfig, proxy_config: Option<&'a Value>) -> Parts<'a> {
        Parts {
            pod: &UNKNOWN,
            type_meta: &UNKNOWN,
            deployment_meta: &UNKNOWN,
            proxy_config: proxy_config.unwrap_or(&UNKNOWN),
            proxy_config_tainted: false,
            mesh_config: mesh.mesh_config(),
            values: mesh.values(),
            revision: mesh.revision(),
            native_sidecars: false,
            proxy_image: "",
            proxy_init_image: "",
            image_tainted: true,
            ids: ProxyIds::default(),
            compliance_policy: mesh.compliance_policy(),
        }
    }
}

/// `{apiVersion, kind}` of a workload.
pub fn type_meta(workload: &Workload) -> Value {
    json!({"apiVersion": workload.api_version, "kind": workload.kind})
}

/// `{name, namespace}` of a workload, with the keys of Go's `types.NamespacedName`.
pub fn deployment_meta(workload: &Workload) -> Value {
    json!({"Name": workload.name, "Namespace": workload.namespace})
}

/// The data for rendering a template.
pub fn template_data<'a>(parts: &Parts<'a>) -> TemplateValue<'a> {
    let image = |image: &'a str| TemplateValue::String(Text::new(image, parts.image_tainted));
    let id = |id: i64| TemplateValue::Int(id, IntType::Int64);
    TemplateValue::record(
        "inject.SidecarTemplateData",
        vec![
            ("TypeMeta", TemplateValue::of_type(&gotypes::TYPE_META, Some(parts.type_meta), true)),
            (
                "DeploymentMeta",
                TemplateValue::of_type(&gotypes::NAMESPACED_NAME, Some(parts.deployment_meta), true),
            ),
            ("ObjectMeta", TemplateValue::of_type(&gotypes::OBJECT_META, parts.pod.get("metadata"), true)),
            ("Spec", TemplateValue::of_type(&gotypes::POD_SPEC, parts.pod.get("spec"), true)),
            (
                "ProxyConfig",
                TemplateValue::pointer_to(
                    &istio_config::gotypes::PROXY_CONFIG,
                    Some(parts.proxy_config),
                    parts.proxy_config_tainted,
                ),
            ),
            (
                "MeshConfig",
                TemplateValue::pointer_to(
                    &istio_config::gotypes::MESH_CONFIG,
                    Some(parts.mesh_config),
                    false,
                ),
            ),
            ("Values", TemplateValue::json(parts.values, false)),
            ("Revision", TemplateValue::string(parts.revision)),
            ("NativeSidecars", TemplateValue::Bool(parts.native_sidecars)),
            ("ProxyImage", image(parts.proxy_image)),
            ("ProxyInitImage", image(parts.proxy_init_image)),
            ("ProxyUID", id(parts.ids.user)),
            ("ProxyGID", id(parts.ids.group)),
            ("InboundTrafficPolicyMode", TemplateValue::string(inbound_mode(parts.mesh_config))),
            ("CompliancePolicy", TemplateValue::string(parts.compliance_policy)),
        ],
    )
}

/// The fields that the configuration alone determines, `ProxyConfig`, which it determines for most pods, and
/// `ObjectMeta`, whose absent keys are known.
const CONFIGURED: [&str; 7] = [
    "Values",
    "MeshConfig",
    "Revision",
    "InboundTrafficPolicyMode",
    "CompliancePolicy",
    "ProxyConfig",
    "ObjectMeta",
];

/// The part of a template's data that is the same for every pod of a configuration; with the ProxyConfig, for pods to
/// which the mesh's applies unchanged.
pub fn configured<'a>(parts: &Parts<'a>, with_proxy_config: bool) -> TemplateValue<'a> {
    let TemplateValue::Record(data) = template_data(parts) else { return TemplateValue::Missing };
    let is_wanted = |name: &str| CONFIGURED.contains(&name) && (with_proxy_config || name != "ProxyConfig");
    let fields = data.fields.iter().filter(|(name, _)| is_wanted(name));
    TemplateValue::record(data.name, fields.cloned().collect())
}

/// How inbound traffic reaches the application (Istio's `InboundTrafficPolicyMode`).
fn inbound_mode(mesh_config: &Value) -> &'static str {
    match pod::at(mesh_config, &["inboundTrafficPolicy", "mode"]).and_then(Value::as_str) {
        Some("LOCALHOST") => "localhost",
        _ => "passthrough",
    }
}

/// Whether the pod's annotations influence the images.
pub fn image_is_annotated(pod: &Value) -> bool {
    pod::annotation(pod, names::ANNOTATION_PROXY_IMAGE_TYPE).is_some()
}
