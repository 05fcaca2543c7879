//! Values of the chart as the bundle that the chart makes of them, without what it derives (`_bundle.tpl`, `_facts.tpl`):
//! the address of istiod, tracing, and what a profile or a platform puts beneath the values.

use kubernetes_yaml::{Kind, Node};

use super::tree::{head, scalar, text};

/// Keys that only charts have at their root.
const CHART: [&str; 30] = [
    "_internal_defaults_do_not_set",
    "affinity",
    "autoscaling",
    "autoscaleEnabled",
    "certificates",
    "clientAuth",
    "cni",
    "configuration",
    "defaultRevision",
    "env",
    "image",
    "istiodRemote",
    "meshConfig",
    "monitoring",
    "networkPolicy",
    "nodeSelector",
    "platform",
    "podAnnotations",
    "podDisruptionBudget",
    "podLabels",
    "profile",
    "rbac",
    "replicaCount",
    "resources",
    "server",
    "service",
    "serviceAccount",
    "tolerations",
    "validatingAdmissionPolicy",
    "webhook",
];

/// Keys of `sidecarInjectorWebhook` that become the injector's configuration.
const CONFIGURED: [&str; 5] =
    ["templates", "defaultTemplates", "neverInjectSelector", "alwaysInjectSelector", "injectedAnnotations"];

/// Parts of an istiod values file that are put together.
const PARTS: [&str; 8] =
    ["global", "meshConfig", "sidecarInjectorWebhook", "istiodRemote", "gateways", "pilot", "cni", "env"];

/// Whether a document is values of a chart rather than values for templates.
pub(super) fn is_values(tree: &Node, keys: &[String]) -> bool {
    let has_configured =
        CONFIGURED.iter().any(|key| tree.at(&["sidecarInjectorWebhook", key]).is_some_and(is_given));
    has_configured || keys.iter().any(|key| CHART.contains(&key.as_str()))
}

/// The bundle.
pub(super) fn bundle(values: &Node) -> Node {
    let mark = values.mark;
    let inner = values.at(&["_internal_defaults_do_not_set"]);
    let all = merged(inner.map(|inner| pick(inner, &PARTS)), Some(pick(values, &PARTS)))
        .unwrap_or(Node { mark, kind: Kind::Mapping(Vec::new()) });
    let pilot = merged(
        Some(pick(&all, &["cni", "env"])),
        all.at(&["pilot"]).map(|pilot| pick(pilot, &["cni", "env"])),
    );
    let webhook = all.at(&["sidecarInjectorWebhook"]);
    let given = |path: &[&str]| values.at(path).filter(|node| is_given(node)).cloned();

    let mut injector = Vec::new();
    let mut add = |key: &str, node: Option<Node>| {
        injector.extend(node.filter(is_given).map(|node| (scalar(key, node.mark), node)));
    };
    add("policy", all.at(&["global", "proxy", "autoInject"]).cloned());
    for key in CONFIGURED {
        add(key, webhook.and_then(|webhook| webhook.at(&[key])).cloned());
    }
    add("aliases", given(&["configuration", "aliases"]));

    let mut own = Vec::new();
    let mut add = |key: &str, node: Option<Node>| {
        own.extend(node.filter(is_given).map(|node| (scalar(key, node.mark), node)));
    };
    add("revision", given(&["revision"]));
    add("revisionTags", given(&["revisionTags"]));
    add("global", all.at(&["global"]).cloned());
    add("sidecarInjectorWebhook", webhook.map(|webhook| without(webhook, &CONFIGURED)));
    add("pilot", pilot.clone());
    add(
        "gateways",
        all.at(&["gateways"]).map(|gateways| pick(gateways, &["securityContext", "seccompProfile"])),
    );

    let mut bundle = head(mark);
    let mut add = |key: &str, node: Option<Node>| {
        bundle.extend(node.filter(is_given).map(|node| (scalar(key, node.mark), node)));
    };
    add("injector", Some(Node { mark, kind: Kind::Mapping(injector) }));
    add("values", Some(Node { mark, kind: Kind::Mapping(own) }));
    add("mesh", all.at(&["meshConfig"]).cloned());
    add("revision", given(&["revision"]));
    add("compat", given(&["configuration", "compat"]));
    let of_env = |name: &str| pilot.as_ref().and_then(|pilot| pilot.at(&["env", name])).cloned();
    add(
        "nativeSidecars",
        given(&["configuration", "nativeSidecars"]).or(of_env("ENABLE_NATIVE_SIDECARS").and_then(native)),
    );
    add("compliancePolicy", given(&["configuration", "compliancePolicy"]).or(of_env("COMPLIANCE_POLICY")));
    let platform = ["global.platform", "platform"].into_iter().find_map(|path| {
        let path: Vec<&str> = path.split('.').collect();
        values.at(&path).filter(|_| text(values, &path).is_some_and(|name| name == "openshift"))
    });
    add("platform", platform.cloned());
    let env = merged(
        pilot.as_ref().and_then(|pilot| pilot.at(&["env"])).cloned(),
        given(&["configuration", "templateEnv"]),
    );
    add("env", env.map(as_strings));
    let bundle = Node { mark, kind: Kind::Mapping(bundle) };
    merged(Some(bundle.clone()), given(&["configuration", "bundle"])).unwrap_or(bundle)
}

/// Helm's truth: neither empty nor null, false or zero.
fn is_given(node: &Node) -> bool {
    match &node.kind {
        Kind::Mapping(entries) => !entries.is_empty(),
        Kind::Sequence(items) => !items.is_empty(),
        Kind::Scalar { text, .. } => !text.is_empty() && !node.is_null() && text != "false" && text != "0",
    }
}

fn pick(node: &Node, keys: &[&str]) -> Node {
    filtered(node, |key| keys.contains(&key))
}

fn without(node: &Node, keys: &[&str]) -> Node {
    filtered(node, |key| !keys.contains(&key))
}

fn filtered(node: &Node, is_wanted: impl Fn(&str) -> bool) -> Node {
    let Kind::Mapping(entries) = &node.kind else { return node.clone() };
    let entries = entries.iter().filter(|(key, _)| key.key_text().is_ok_and(|key| is_wanted(&key)));
    Node { mark: node.mark, kind: Kind::Mapping(entries.cloned().collect()) }
}

/// `mustMergeOverwrite`: maps are merged, everything else replaces.
fn merged(base: Option<Node>, top: Option<Node>) -> Option<Node> {
    let (Some(base), Some(top)) = (&base, &top) else { return top.or(base) };
    let (Kind::Mapping(low), Kind::Mapping(high)) = (&base.kind, &top.kind) else { return Some(top.clone()) };
    let mut entries = Vec::new();
    for (key, value) in low {
        let over = key.key_text().ok().and_then(|key| top.at(&[key.as_str()]));
        if over.is_none() {
            entries.push((key.clone(), value.clone()));
        }
    }
    for (key, value) in high {
        let below = key.key_text().ok().and_then(|key| base.at(&[key.as_str()])).cloned();
        let value = merged(below, Some(value.clone())).unwrap_or_else(|| value.clone());
        entries.push((key.clone(), value));
    }
    Some(Node { mark: top.mark, kind: Kind::Mapping(entries) })
}

/// Istiod's switch as the bundle's word; other values mean `auto`.
fn native(node: Node) -> Option<Node> {
    let Kind::Scalar { text, .. } = &node.kind else { return None };
    match text.as_str() {
        "true" => Some(scalar("enabled", node.mark)),
        "false" => Some(scalar("disabled", node.mark)),
        _ => None,
    }
}

/// Environment variables are strings, however they are written.
fn as_strings(node: Node) -> Node {
    let Kind::Mapping(entries) = node.kind else { return node };
    let entries =
        entries.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| match &value.kind {
            Kind::Scalar { text, .. } => {
                let text = scalar(text, value.mark);
                (key, text)
            }
            _ => (key, value),
        });
    Node { mark: node.mark, kind: Kind::Mapping(entries.collect()) }
}
