//! Detects pods that bypass their proxy, or that run it differently than configured.
//!
//! Nothing is changed or denied because of it: each is a feature of Istio, or something that a pod may do anyway. Each
//! has its own code starting with `BYPASS_`, in the log, the audit log and the metrics, so that a policy can build on
//! it. Repeating the configuration, or the result of an earlier injection, does not count.
//!
//! For an ordinary pod, this costs a few lookups and no allocation.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{
    post::PROXY_PORTS,
    reinject::PreviousInjection,
    template_containers::TemplateContainers,
    warning::{Warning, shown},
};
use crate::{names, pod};

/// The maximum number of warnings of one kind for a pod.
const MOST: usize = 8;

/// The input: a pod that gets a proxy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    /// The pod as received.
    pub(super) received: &'a Value,
    /// What an earlier injection left in it.
    pub(super) earlier: &'a PreviousInjection,
    /// What the templates create.
    pub(super) made: &'a TemplateContainers,
    /// The values.
    pub(super) values: &'a Value,
    /// The effective ProxyConfig.
    pub(super) proxy_config: &'a Value,
    /// The ProxyConfig that the pod would have without its own annotation.
    pub(super) configured: &'a Value,
    /// Port of the agent's status server.
    pub(super) status_port: i64,
}

/// All warnings about bypasses in a pod with a proxy.
pub(super) fn warnings(pod: &Subject<'_>, warnings: &mut Vec<Warning>) {
    let makes_proxy = pod.makes(names::CONTAINER_PROXY);
    if !makes_proxy {
        let asks = pod.annotation(names::ANNOTATION_TEMPLATES).is_some();
        warnings.extend(
            asks.then(|| Warning::new("BYPASS_TEMPLATES", "the requested templates create no istio-proxy")),
        );
        return;
    }
    tls(pod, warnings);
    proxy_config(pod, warnings);
    annotations(pod, warnings);
    own_containers(pod, warnings);
    environment(pod, warnings);
    if pod.makes(names::CONTAINER_INIT) || pod.makes(names::CONTAINER_VALIDATION) {
        traffic(pod, warnings);
        net_admin(pod, warnings);
    } else {
        redirection(pod, warnings);
    }
}

impl<'a> Subject<'a> {
    fn annotation(&self, key: &str) -> Option<&'a str> {
        pod::annotation(self.received, key)
    }

    pub(super) fn makes(&self, name: &str) -> bool {
        self.made.containers.iter().chain(&self.made.init_containers).any(|made| made == name)
    }

    /// The pod's own container with a name that the templates use, unless an injector created it.
    pub(super) fn own(&self, name: &str) -> Option<&'a Value> {
        match self.earlier.has_injected(name) {
            true => self.earlier.overrides.find(name),
            false => pod::find_container(self.received, name),
        }
    }

    /// Whether the pod's ProxyConfig differs in a key from the one without an annotation.
    fn changes(&self, key: &str) -> bool {
        let at = |config: &'a Value| config.get(key).filter(|value| !is_blank(value));
        !std::ptr::eq(self.proxy_config, self.configured)
            && at(self.proxy_config).is_some()
            && at(self.proxy_config) != at(self.configured)
    }

    /// An annotation, if it differs from the value that applies without it.
    pub(super) fn asks(&self, key: &str, value: &str) -> Option<&'a str> {
        let configured = pod::at(self.values, &["global", "proxy", value]).and_then(Value::as_str);
        self.annotation(key).filter(|asked| *asked != configured.unwrap_or_default())
    }
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

const TLS_MODE: &str = "security.istio.io/tlsMode";

fn tls(pod: &Subject<'_>, warnings: &mut Vec<Warning>) {
    let mode = pod::label(pod.received, TLS_MODE).filter(|mode| !matches!(*mode, "" | "istio"));
    if let Some(mode) = mode {
        let message = format!("label {TLS_MODE}: {}: clients send plain text to the pod", shown(mode));
        warnings.push(Warning::new("BYPASS_TLS_MODE", message));
    }
}

/// Fields of ProxyConfig that weaken the mesh's control over the proxy, by effect.
const BOOTSTRAP: [&str; 4] = ["binaryPath", "configPath", "customConfigFile", "proxyBootstrapTemplatePath"];
const TELEMETRY: [&str; 5] =
    ["envoyAccessLogService", "envoyMetricsService", "statsdUdpAddress", "tracing", "zipkinAddress"];

fn proxy_config(pod: &Subject<'_>, warnings: &mut Vec<Warning>) {
    let of = names::ANNOTATION_PROXY_CONFIG;
    if pod.changes("discoveryAddress") {
        let message = format!("{of}: discoveryAddress is not the mesh's");
        warnings.push(Warning::new("BYPASS_CONTROL_PLANE", message));
    }
    for (code, fields) in [("BYPASS_BOOTSTRAP", &BOOTSTRAP[..]), ("BYPASS_TELEMETRY", &TELEMETRY[..])] {
        if let Some(field) = fields.iter().find(|field| pod.changes(field)) {
            warnings.push(Warning::new(code, format!("{of}: {field} is not the mesh's")));
        }
    }
}

fn annotations(pod: &Subject<'_>, warnings: &mut Vec<Warning>) {
    let set = |key: &str| pod.annotation(key).filter(|value| !value.is_empty());
    for (key, code, does) in [
        (names::ANNOTATION_DISCOVERY_ADDRESS, "BYPASS_CONTROL_PLANE", "names another control plane"),
        (names::ANNOTATION_BOOTSTRAP_OVERRIDE, "BYPASS_BOOTSTRAP", "gives the proxy another bootstrap"),
    ] {
        if set(key).is_some() {
            warnings.push(Warning::new(code, format!("annotation {key} {does}")));
        }
    }
    // Without a slash it is ignored.
    let image = names::ANNOTATION_PROXY_IMAGE;
    if set(image).is_some_and(|image| image.contains('/')) {
        warnings.push(Warning::new(
            "BYPASS_PROXY_IMAGE",
            format!("annotation {image} chooses the proxy's image"),
        ));
    }
}

/// Fields of our containers that determine their behavior.
const OF_INIT: [&str; 6] = ["args", "command", "env", "envFrom", "restartPolicy", "securityContext"];
const OF_PROXY: [&str; 3] = ["args", "command", "envFrom"];

fn own_containers(pod: &Subject<'_>, warnings: &mut Vec<Warning>) {
    let has = |own: &Value, field: &&&str| own.get(**field).is_some_and(|value| !is_blank(value));
    let image = |own: &Value| {
        own.get("image").and_then(Value::as_str).is_some_and(|image| !matches!(image, "" | names::IMAGE_AUTO))
    };
    for name in [names::CONTAINER_INIT, names::CONTAINER_VALIDATION] {
        let Some(own) = pod.own(name).filter(|_| pod.makes(name)) else { continue };
        let field = image(own).then_some("image");
        if let Some(field) = field.or_else(|| OF_INIT.iter().find(|field| has(own, field)).copied()) {
            let message = format!(
                "container {name}: the pod's own {field} is used instead of the template's and may disable redirection"
            );
            warnings.push(Warning::new("BYPASS_OWN_INIT", message));
        }
    }
    let name = names::CONTAINER_PROXY;
    let Some(own) = pod.own(name) else { return };
    if image(own) {
        let message = format!("container {name}: the pod's own image replaces the mesh's");
        warnings.push(Warning::new("BYPASS_PROXY_IMAGE", message));
    }
    if let Some(field) = OF_PROXY.iter().find(|field| has(own, field)) {
        let message = format!("container {name}: the pod's own {field} is used instead of the template's");
        warnings.push(Warning::new("BYPASS_PROXY_COMMAND", message));
    }
}

/// Variables that disable Envoy, redirection or the agent's trust checks. Those of `istio-iptables` take effect if the
/// template does not set the flag of the same name (its flags are bound to the environment); any variable with the
/// prefix is one of its flags.
const SWITCHES: [&str; 28] = [
    "BOOTSTRAP_XDS_AGENT",
    "CA_ADDR",
    "CA_PROVIDER",
    "CA_ROOT_CA",
    "CNI_MODE",
    "CREDENTIAL_FETCHER_TYPE",
    "CREDENTIAL_IDENTITY_PROVIDER",
    "DISABLE_ENVOY",
    "DRY_RUN",
    "ENVOY_PORT",
    "ENVOY_USER",
    "EXCLUDE_INTERFACES",
    "FILE_MOUNTED_CERTS",
    "HOST_NSENTER_EXEC",
    "INBOUND_CAPTURE_PORT",
    "INBOUND_TUNNEL_PORT",
    "ISTIOD_SAN",
    "ISTIO_BOOTSTRAP",
    "ISTIO_BOOTSTRAP_OVERRIDE",
    "ISTIO_META_INTERCEPTION_MODE",
    "KUBE_VIRT_INTERFACES",
    "NETWORK_NAMESPACE",
    "PROV_CERT",
    "PROXY_CONFIG",
    "PROXY_GID",
    "PROXY_UID",
    "SKIP_RULE_APPLY",
    "XDS_ROOT_CA",
];
const SWITCHES_BEGIN: [&str; 5] =
    ["ISTIO_EXCLUDE_", "ISTIO_INBOUND_", "ISTIO_LOCAL_", "ISTIO_OUTBOUND_", "ISTIO_SERVICE_"];

fn is_switch(name: &str) -> bool {
    SWITCHES.contains(&name) || SWITCHES_BEGIN.iter().any(|start| name.starts_with(start))
}

fn environment(pod: &Subject<'_>, warnings: &mut Vec<Warning>) {
    const METADATA: &str = "proxyMetadata";
    if pod.changes(METADATA) {
        let configured = |name: &str| pod::at(pod.configured, &[METADATA, name]);
        let own = pod.proxy_config.get(METADATA).and_then(Value::as_object).into_iter().flatten();
        let own = own.filter(|(name, value)| is_switch(name) && configured(name) != Some(value));
        for (name, _) in own.take(MOST) {
            let of = names::ANNOTATION_PROXY_CONFIG;
            let message = format!("{of}: {METADATA} {} controls the agent", shown(name));
            warnings.push(Warning::new("BYPASS_PROXY_ENVIRONMENT", message));
        }
    }
    let proxy = names::CONTAINER_PROXY;
    let env = pod.own(proxy).and_then(|own| own.get("env")?.as_array());
    let set = env.into_iter().flatten().map(pod::name).filter(|name| is_switch(name));
    for name in set.take(MOST) {
        let message = format!("container {proxy}: variable {} controls the agent", shown(name));
        warnings.push(Warning::new("BYPASS_PROXY_ENVIRONMENT", message));
    }
}

const MODE: &str = "interceptionMode";
const NONE: &str = "NONE";

/// Warns if nothing is redirected because of the pod, and says what it then needs.
///
/// istiod configures listeners at the ports of Services, and Envoy, which may not use those below 1024, refuses all of
/// them. The CNI plugin accepts no `NONE`, so that the sandbox is never made.
fn redirection(pod: &Subject<'_>, warnings: &mut Vec<Warning>) {
    let is_off = |config: &Value| config.get(MODE).and_then(Value::as_str) == Some(NONE);
    let mode = names::ANNOTATION_INTERCEPTION_MODE;
    let by = match pod.annotation(mode) {
        Some(NONE) => Some(mode),
        Some(_) => None,
        None => is_off(pod.proxy_config).then_some(names::ANNOTATION_PROXY_CONFIG),
    };
    if let Some(by) = by.filter(|_| !is_off(pod.configured)) {
        let what = if by == mode { "" } else { "interceptionMode " };
        let needs = match pod::at(pod.values, &["pilot", "cni", "enabled"]) {
            Some(Value::Bool(true)) => "is refused by the CNI plugin: the pod cannot start",
            _ => "redirects nothing; add a Sidecar resource with ports from 1024",
        };
        let message = format!("annotation {by}: {what}{NONE} {needs}");
        warnings.push(Warning::new("BYPASS_INTERCEPTION_MODE", message));
    }
}

const INCLUDE_RANGES: &str = names::ANNOTATION_INCLUDE_OUTBOUND_RANGES;
const EXCLUDE_RANGES: &str = names::ANNOTATION_EXCLUDE_OUTBOUND_RANGES;

/// Warns about annotations that exempt some or all traffic from redirection.
fn traffic(pod: &Subject<'_>, warnings: &mut Vec<Warning>) {
    let asked = |key: &str, value: &str| pod.asks(key, value);
    let include = asked(INCLUDE_RANGES, "includeIPRanges");
    let exclude = asked(EXCLUDE_RANGES, "excludeIPRanges").filter(|text| !text.trim().is_empty());
    let is_everything = |prefix: &str| matches!(prefix.trim(), "0.0.0.0/0" | "::/0");
    let no_outbound = match (include, exclude) {
        (Some(include), _) if include.trim().is_empty() => Some(INCLUDE_RANGES),
        (_, Some(exclude)) if exclude.split(',').any(is_everything) => Some(EXCLUDE_RANGES),
        _ => None,
    };
    if let Some(key) = no_outbound {
        let message = format!("annotation {key}: no outgoing traffic is redirected to the proxy");
        warnings.push(Warning::new("BYPASS_OUTBOUND", message));
    }
    let inbound = names::ANNOTATION_INCLUDE_INBOUND_PORTS;
    let include_inbound = asked(inbound, "includeInboundPorts");
    let no_inbound = include_inbound.is_some_and(|ports| ports.trim().is_empty());
    if no_inbound {
        let message = format!("annotation {inbound}: no incoming traffic is redirected to the proxy");
        warnings.push(Warning::new("BYPASS_INBOUND", message));
    }
    let narrowed = |asked: Option<&str>| asked.is_some_and(|asked| !matches!(asked.trim(), "" | "*"));
    let set = |key: &str| pod.annotation(key).is_some_and(|value| !value.trim().is_empty());
    let some = [
        (INCLUDE_RANGES, no_outbound.is_none() && narrowed(include)),
        (EXCLUDE_RANGES, no_outbound.is_none() && exclude.is_some()),
        (inbound, narrowed(include_inbound)),
        (names::ANNOTATION_EXCLUDE_INBOUND_PORTS, !no_inbound && excludes_ports(pod)),
        (
            names::ANNOTATION_EXCLUDE_OUTBOUND_PORTS,
            narrowed(asked(names::ANNOTATION_EXCLUDE_OUTBOUND_PORTS, "excludeOutboundPorts")),
        ),
        (names::ANNOTATION_EXCLUDE_INTERFACES, set(names::ANNOTATION_EXCLUDE_INTERFACES)),
        (names::ANNOTATION_REROUTED_INTERFACES, set(names::ANNOTATION_REROUTED_INTERFACES)),
        (names::ANNOTATION_KUBEVIRT_INTERFACES, set(names::ANNOTATION_KUBEVIRT_INTERFACES)),
    ];
    for (key, _) in some.into_iter().filter(|(_, does)| *does) {
        let message = format!("annotation {key} exempts some traffic from the proxy");
        warnings.push(Warning::new("BYPASS_SOME_TRAFFIC", message));
    }
}

/// Whether incoming ports are excluded that are neither the configuration's nor the proxy's own.
fn excludes_ports(pod: &Subject<'_>) -> bool {
    excluded_inbound(pod).next().is_some()
}

/// The incoming ports that a pod excludes, without the configuration's and the proxy's own, which our template writes there
/// for the CNI plugin.
pub(super) fn excluded_inbound<'a>(pod: &Subject<'a>) -> impl Iterator<Item = &'a str> {
    const VALUE: &str = "excludeInboundPorts";
    let asked = pod.asks(names::ANNOTATION_EXCLUDE_INBOUND_PORTS, VALUE).unwrap_or_default();
    let configured = pod::at(pod.values, &["global", "proxy", VALUE]).and_then(Value::as_str);
    let is_configured = move |port: &str| {
        configured.is_some_and(|configured| configured.split(',').any(|other| other.trim() == port))
    };
    let status_port = pod.status_port;
    let is_proxys = move |port: &str| {
        let port: i64 = port.parse().unwrap_or_default();
        port == status_port || PROXY_PORTS.iter().any(|(own, _)| *own == port)
    };
    let ports = asked.split(',').map(str::trim).filter(|port| !port.is_empty());
    ports.filter(move |port| !is_configured(port) && !is_proxys(port))
}

/// Warns about application containers that can undo redirection.
fn net_admin(pod: &Subject<'_>, warnings: &mut Vec<Warning>) {
    let containers = pod::init_containers(pod.received).iter().chain(pod::containers(pod.received));
    let own = containers.filter(|container| !pod.makes(pod::name(container)));
    let found = own.filter_map(|container| Some((container, administers(container)?)));
    for (container, by) in found.take(MOST) {
        let name = shown(pod::name(container));
        let message = format!("container {name} can undo redirection: securityContext {by}");
        warnings.push(Warning::new("BYPASS_NET_ADMIN", message));
    }
}

fn administers(container: &Value) -> Option<Cow<'static, str>> {
    let context = container.get("securityContext").and_then(Value::as_object)?;
    let is_privileged = |context: &Map<String, Value>| context.get("privileged") == Some(&Value::Bool(true));
    if is_privileged(context) {
        return Some(Cow::Borrowed("privileged"));
    }
    let added = context.get("capabilities")?.get("add")?.as_array()?.iter().filter_map(Value::as_str);
    let mut all = added.map(|name| name.strip_prefix("CAP_").unwrap_or(name));
    all.find(|name| matches!(*name, "NET_ADMIN" | "ALL" | "SYS_ADMIN"))
        .map(|name| Cow::Owned(format!("capabilities.add {name}")))
}

#[cfg(test)]
mod tests;
