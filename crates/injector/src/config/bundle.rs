//! The bundle: the whole configuration in one YAML or JSON document.

use serde_json::Value;

use super::decode::{At, Decoder, Duplicates, Fields, Unknown};
use super::label::is_dns_label;
use super::{
    Compat, Fault, Guard, Installation, NativeSidecars, Platform, ProxyResources, facts, namespace_defaults,
    namespace_limits, pod_security, proxy_objects,
};

/// The format's `apiVersion`.
pub(super) const API_VERSION: &str = "outrigger.dev/v1alpha1";
/// The format's `kind`.
pub(super) const KIND: &str = "Bundle";
/// The identification that every bundle must have.
const HEAD: [(&str, &str); 2] = [("apiVersion", API_VERSION), ("kind", KIND)];

const KEYS: [&str; 20] = [
    "apiVersion",
    "kind",
    "revision",
    "injector",
    "values",
    "mesh",
    "compat",
    "platform",
    "nativeSidecars",
    "compliancePolicy",
    "nodes",
    "proxyConfigs",
    "namespaces",
    "env",
    "namespaceDefaults",
    "resources",
    "rules",
    "overridePolicy",
    "podSecurity",
    "namespaceLimits",
];

/// A bundle in parts: its three large sections as written, the rest as values.
pub(super) struct Parts<'n> {
    pub(super) installation: Installation,
    pub(super) injector: Option<At<'n>>,
    pub(super) values: Option<At<'n>>,
    pub(super) mesh: Option<At<'n>>,
    pub(super) guard: Guard,
}

/// The smallest bundle: everything else comes from the embedded defaults.
pub(super) const SMALLEST: &str = "{apiVersion: outrigger.dev/v1alpha1, kind: Bundle}";

/// Splits a bundle into parts. `None` if it is not a bundle at all; then only that was reported.
pub(super) fn read<'n>(decoder: &mut Decoder<'_>, root: &At<'n>) -> Option<Parts<'n>> {
    if !is_bundle(decoder, root) {
        return None;
    }
    for (key, accepted) in HEAD {
        if root.node.at(&[key]).is_none_or(|node| root.key(key, node).is_null()) {
            // A text that lost its head, or any unrelated file, does not request the embedded defaults.
            let fault = Fault::not_accepted("nothing", accepted);
            decoder.problem_on(root.node, key.to_owned(), fault);
        }
    }
    decoder.inspect(root, Duplicates::Refuse);
    let mut fields = decoder.fields(root, &KEYS, Unknown::Refuse);
    Some(Parts {
        installation: installation(decoder, &mut fields),
        injector: fields.take("injector"),
        values: fields.take("values"),
        mesh: fields.take("mesh"),
        guard: Guard::read(decoder, fields.take("rules").as_ref(), fields.take("overridePolicy").as_ref()),
    })
}

/// Whether the document identifies itself as a bundle: gives one clear message for a wrong file, and for an empty one,
/// such as a file that was truncated and is about to be written.
fn is_bundle(decoder: &mut Decoder<'_>, root: &At<'_>) -> bool {
    if root.is_null() {
        let fault = Fault::not_accepted("nothing", format!("a bundle, at least {SMALLEST}"));
        decoder.problem(root, fault);
        return false;
    }
    if !matches!(root.node.kind, kubernetes_yaml::Kind::Mapping(_)) {
        decoder.refuse(root, "a map with the keys of a bundle");
        return false;
    }
    let before = decoder.problems.len();
    for (key, accepted) in HEAD {
        let given = root.node.at(&[key]).map(|node| root.key(key, node));
        if let Some(at) = given.filter(|at| !at.is_null()) {
            decoder.one_of(&at, &[(accepted, ())]);
        }
    }
    decoder.problems.len() == before
}

fn installation(decoder: &mut Decoder<'_>, fields: &mut Fields<'_>) -> Installation {
    let mut installation = Installation::default();
    if let Some(at) = fields.take("revision") {
        installation.revision = revision(decoder, &at);
    }
    if let Some(at) = fields.take("compat") {
        let words = [("outrigger", Compat::Outrigger), ("istio", Compat::Istio)];
        installation.compat = decoder.one_of(&at, &words).unwrap_or_default();
    }
    if let Some(at) = fields.take("platform") {
        let words = [("", Platform::Kubernetes), ("openshift", Platform::OpenShift)];
        installation.platform = decoder.one_of(&at, &words).unwrap_or_default();
    }
    if let Some(at) = fields.take("nativeSidecars") {
        installation.native_sidecars = native_sidecars(decoder, &at);
    }
    if let Some(at) = fields.take("compliancePolicy") {
        installation.compliance_policy = decoder.string(&at, "a string").unwrap_or_default();
    }
    if let Some(at) = fields.take("nodes") {
        installation.nodes = facts::nodes(decoder, &at).into_iter().collect();
    }
    if let Some(at) = fields.take("proxyConfigs") {
        installation.proxy_configs = proxy_objects::read(decoder, &at);
    }
    if let Some(at) = fields.take("namespaces") {
        let all = facts::namespaces(decoder, &at);
        installation.namespaces =
            all.into_iter().map(|namespace| (namespace.name.clone(), namespace)).collect();
    }
    if let Some(at) = fields.take("env") {
        installation.env = decoder.string_map(&at);
    }
    if let Some(at) = fields.take("namespaceDefaults") {
        installation.namespace_defaults = namespace_defaults::read(decoder, &at);
    }
    if let Some(at) = fields.take("resources") {
        let words = [("replace", ProxyResources::Replace), ("perField", ProxyResources::PerField)];
        installation.resources = decoder.one_of(&at, &words).unwrap_or_default();
    }
    if let Some(at) = fields.take("podSecurity") {
        installation.pod_security = pod_security::read(decoder, &at);
    }
    if let Some(at) = fields.take("namespaceLimits") {
        installation.namespace_limits = namespace_limits::read(decoder, &at);
    }
    installation
}

/// The syntax of a revision, which becomes a label value and a part of service names.
pub(super) const REVISION: &str =
    "a DNS label: up to 63 of a-z 0-9 -, beginning and ending with a letter or digit";

fn revision(decoder: &mut Decoder<'_>, at: &At<'_>) -> String {
    match at.value() {
        Value::String(text) if is_dns_label(&text) => text,
        _ => {
            decoder.refuse(at, REVISION);
            String::new()
        }
    }
}

fn native_sidecars(decoder: &mut Decoder<'_>, at: &At<'_>) -> NativeSidecars {
    match at.value() {
        Value::Bool(true) => NativeSidecars::Enabled,
        Value::Bool(false) => NativeSidecars::Disabled,
        _ => {
            let words = [
                ("auto", NativeSidecars::Auto),
                ("enabled", NativeSidecars::Enabled),
                ("disabled", NativeSidecars::Disabled),
            ];
            decoder.one_of(at, &words).unwrap_or_default()
        }
    }
}
