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
    Rules, contribution::Contribution, privileges, reinject::PreviousInjection, render,
    template_containers::TemplateContainers,
};
use crate::{
    config::InjectorConfig,
    names, pod,
    warning::{Warning, shown},
};

mod authentication;
mod datadog;
mod mounts;

pub(super) use datadog::variables as variables_of_datadog;

/// The maximum number of warnings of one kind for a pod.
const MOST: usize = 8;

/// The input: a pod that gets a proxy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    /// The pod as received.
    pub(super) received: &'a Value,
    /// The pod with its proxy.
    pub(super) merged: &'a Value,
    /// What an earlier injection left in it.
    pub(super) earlier: &'a PreviousInjection,
    /// What its own containers with names of ours contribute.
    pub(super) own: &'a [Contribution<'a>],
    /// What the templates create.
    pub(super) made: &'a TemplateContainers,
    /// The values.
    pub(super) values: &'a Value,
    /// The effective ProxyConfig.
    pub(super) proxy_config: &'a Value,
    /// The ProxyConfig that the pod would have without its own annotation.
    pub(super) configured: &'a Value,
    /// Whether it requests templates that redirect no traffic although the default ones do.
    pub(super) loses_redirection: bool,
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
    mounts::user_mounts(pod, warnings);
    mounts::of_proxy_volumes(pod, warnings);
    forged_containers(pod, warnings);
    own_containers(pod, warnings);
    environment(pod, warnings);
    if pod.makes(names::CONTAINER_INIT) || pod.makes(names::CONTAINER_VALIDATION) {
        traffic(pod, warnings);
        net_admin(pod, warnings);
    } else if !redirection(pod, warnings) && pod.loses_redirection {
        let message = "the requested templates redirect no traffic to istio-proxy";
        warnings.push(Warning::new("BYPASS_TEMPLATES", message));
    }
}

impl<'a> Subject<'a> {
    fn annotation(&self, key: &str) -> Option<&'a str> {
        pod::annotation(self.received, key)
    }

    pub(super) fn makes(&self, name: &str) -> bool {
        makes(self.made, name)
    }

    /// What the pod's own container with such a name contributes to the result.
    pub(super) fn own(&self, name: &str) -> Option<&'a Value> {
        let own = self.own.iter().map(|own| own.container.as_ref());
        let own = own.into_iter().find(|own| pod::name(own) == name);
        own.or_else(|| match self.makes(name) || self.earlier.has_injected(name) {
            true => None,
            false => pod::find_container(self.received, name),
        })
    }

    /// Whether the pod's ProxyConfig differs in a key from the one without an annotation.
    fn changes(&self, key: &str) -> bool {
        let at = |config: &'a Value| config.get(key).filter(|value| !is_blank(value));
        !std::ptr::eq(self.proxy_config, self.configured)
            && at(self.proxy_config).is_some()
            && at(self.proxy_config) != at(self.configured)
    }

    /// Whether the pod's ProxyConfig empties a key of the one without an annotation.
    fn clears(&self, key: &str) -> bool {
        let is_set = |config: &Value| config.get(key).is_some_and(|value| !is_blank(value));
        is_set(self.configured) && !is_set(self.proxy_config)
    }

    /// An annotation, if it differs from the value that applies without it.
    pub(super) fn asks(&self, key: &str, value: &str) -> Option<&'a str> {
        let configured = pod::at(self.values, &["global", "proxy", value]).and_then(Value::as_str);
        self.annotation(key).filter(|asked| *asked != configured.unwrap_or_default())
    }
}

impl<'a> Subject<'a> {
    /// The items of a list that applies without annotations.
    fn configured(&self, value: &str) -> impl Iterator<Item = &'a str> + Clone {
        items(pod::at(self.values, &["global", "proxy", value]).and_then(Value::as_str))
    }

    /// The items of an annotation's list that the configuration does not have.
    pub(super) fn added(&self, key: &str, value: &str) -> impl Iterator<Item = &'a str> {
        let configured = self.configured(value);
        items(self.annotation(key)).filter(move |item| !configured.clone().any(|other| other == *item))
    }

    /// The items of the configuration that an annotation's list does not have.
    pub(super) fn left_out(&self, key: &str, value: &str) -> impl Iterator<Item = &'a str> {
        let asked = self.annotation(key);
        let is_listed = move |item: &str| {
            asked.is_none_or(|asked| items(Some(asked)).any(|other| other == item || other == "*"))
        };
        self.configured(value).filter(move |item| !is_listed(item))
    }
}

fn items(list: Option<&str>) -> impl Iterator<Item = &str> + Clone {
    list.unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty())
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
    for field in ["discoveryAddress", "caCertificatesPem"].into_iter().filter(|field| pod.changes(field)) {
        let message = format!("{of}: {field} is not the mesh's");
        warnings.push(Warning::new("BYPASS_CONTROL_PLANE", message));
    }
    warnings.extend(authentication::turned_off(pod));
    // The annotation proxyImageType is validated; this field may contain anything.
    let image = pod::at(pod.proxy_config, &["image", "imageType"]).and_then(Value::as_str);
    let is_type =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if pod.changes("image") && image.is_some_and(|image| !is_type(image)) {
        let message = format!("{of}: image.imageType chooses the proxy's image");
        warnings.push(Warning::new("BYPASS_PROXY_IMAGE", message));
    }
    for (code, fields) in [("BYPASS_BOOTSTRAP", &BOOTSTRAP[..]), ("BYPASS_TELEMETRY", &TELEMETRY[..])] {
        if let Some(field) = fields.iter().find(|field| pod.changes(field) || pod.clears(field)) {
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

/// The warning about a volume of the pod's own that the status attributes to an injector.
pub(super) fn forged_volume(name: &str) -> Warning {
    let status = names::ANNOTATION_STATUS;
    Warning::new(
        FORGED,
        format!("annotation {status} names volume {}, which no injection wrote this way", shown(name)),
    )
}

const FORGED: &str = "FORGED_RECORD";

/// Warns about containers of the pod's own that the status attributes to an injector. Variables that control nothing are
/// not worth a warning: other webhooks and earlier versions of a template leave some.
fn forged_containers(pod: &Subject<'_>, warnings: &mut Vec<Warning>) {
    for own in pod.own {
        let name = pod::name(&own.container);
        let fields = own.unexplained.as_ref().and_then(Value::as_object).into_iter().flatten();
        let is_switch = |variable: &Value| is_switch(pod::name(variable));
        let field = fields.filter(|(key, _)| *key != "name").find_map(|(key, value)| match value {
            Value::Array(env) if key == "env" => env.iter().any(is_switch).then_some(key),
            _ => Some(key),
        });
        if let Some(field) = field.filter(|_| OURS.contains(&name)) {
            let status = names::ANNOTATION_STATUS;
            let message =
                format!("annotation {status} names container {name}; no injection wrote its {field}");
            warnings.push(Warning::new(FORGED, message));
        }
    }
}

/// The containers on which the mesh depends.
const OURS: [&str; 3] = [names::CONTAINER_PROXY, names::CONTAINER_INIT, names::CONTAINER_VALIDATION];

/// Fields of our containers that determine their behavior.
const OF_INIT: [&str; 11] = [
    "args",
    "command",
    "env",
    "envFrom",
    "lifecycle",
    "restartPolicy",
    "restartPolicyRules",
    "securityContext",
    "volumeDevices",
    "volumeMounts",
    "workingDir",
];
const OF_PROXY: [&str; 5] = ["args", "command", "envFrom", "volumeDevices", "workingDir"];
/// Programs that run in the proxy while it serves. A `preStop` hook, which many pods have, runs at its end.
const PROGRAMS: [&[&str]; 4] = [
    &["lifecycle", "postStart", "exec"],
    &["livenessProbe", "exec"],
    &["readinessProbe", "exec"],
    &["startupProbe", "exec"],
];

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
    let runs = |path: &&&[&str]| pod::at(own, path).is_some_and(|exec| !exec.is_null());
    let mounts = own.get("volumeMounts").and_then(Value::as_array).into_iter().flatten();
    let replaces =
        |mount: &Value| mount.get("mountPath").and_then(Value::as_str).is_some_and(mounts::replaces_files);
    let field = OF_PROXY.iter().find(|field| has(own, field)).copied();
    let field = field.or_else(|| PROGRAMS.iter().find(runs).and_then(|path| path.first().copied()));
    let field = field.or_else(|| mounts.into_iter().any(replaces).then_some("volumeMounts"));
    // The kubelet mounts a file there.
    let messages = own.get("terminationMessagePath").and_then(Value::as_str);
    let replaces = |path: &str| path != "/dev/termination-log" && mounts::replaces_files(path);
    let field = field.or_else(|| messages.is_some_and(replaces).then_some("terminationMessagePath"));
    if let Some(field) = field {
        let message = format!("container {name}: the pod's own {field} is used instead of the template's");
        warnings.push(Warning::new("BYPASS_PROXY_COMMAND", message));
    }
}

/// Variables that disable Envoy, redirection or the agent's trust checks. Those of `istio-iptables` take effect if the
/// template does not set the flag of the same name (its flags are bound to the environment); any variable with the
/// prefix is one of its flags.
const SWITCHES: [&str; 44] = [
    "BOOTSTRAP_XDS_AGENT",
    "CA_ADDR",
    "CA_PROVIDER",
    "CA_ROOT_CA",
    "CLEANUP_ONLY",
    "CNI_MODE",
    "CREDENTIAL_FETCHER_TYPE",
    "CREDENTIAL_IDENTITY_PROVIDER",
    "DISABLE_ENVOY",
    "DRY_RUN",
    "ENVOY_PATH",
    "ENVOY_PORT",
    "ENVOY_USER",
    "EXCLUDE_INTERFACES",
    "FILE_MOUNTED_CERTS",
    "FORCE_APPLY",
    "FORCE_IPTABLES_BINARY",
    "GCONV_PATH",
    "HOST_NSENTER_EXEC",
    "INBOUND_CAPTURE_PORT",
    "INBOUND_TUNNEL_PORT",
    "ISTIOD_SAN",
    "ISTIO_BOOTSTRAP",
    "ISTIO_BOOTSTRAP_OVERRIDE",
    "ISTIO_META_INTERCEPTION_MODE",
    "KUBE_VIRT_INTERFACES",
    "NATIVE_NFTABLES",
    "NETWORK_NAMESPACE",
    "PATH",
    "PILOT_CERT_PROVIDER",
    "POD_NAME",
    "POD_NAMESPACE",
    "PROV_CERT",
    "PROXY_CONFIG",
    "PROXY_GID",
    "PROXY_UID",
    "RECONCILE",
    "SERVICE_ACCOUNT",
    "SKIP_RULE_APPLY",
    "TRUST_DOMAIN",
    "WORKLOAD_IDENTITY_SOCKET_FILE",
    "XDS_AUTH_PROVIDER",
    "XDS_ROOT_CA",
    "XTABLES_LIBDIR",
];
/// Those of the dynamic linker load code; those with metadata replace any other.
const SWITCHES_BEGIN: [&str; 8] = [
    "ISTIO_EXCLUDE_",
    "ISTIO_INBOUND_",
    "ISTIO_LOCAL_",
    "ISTIO_METAJSON_",
    "ISTIO_META_TLS_",
    "ISTIO_OUTBOUND_",
    "ISTIO_SERVICE_",
    "LD_",
];

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
    let of = names::ANNOTATION_DATADOG_ENV;
    for name in datadog::variables(pod).iter().filter(|name| is_switch(name)).take(MOST) {
        let message = format!("annotation {of}: variable {} controls the agent", shown(name));
        warnings.push(Warning::new("BYPASS_PROXY_ENVIRONMENT", message));
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

/// Warns if nothing is redirected because of the interception mode that the pod chooses, and says what it then needs;
/// returns whether the mode is the reason.
///
/// istiod configures listeners at the ports of Services, and Envoy, which may not use those below 1024, refuses all of
/// them. The CNI plugin does not accept `NONE`, so the pod's sandbox is never created.
fn redirection(pod: &Subject<'_>, warnings: &mut Vec<Warning>) -> bool {
    let is_off = |config: &Value| config.get(MODE).and_then(Value::as_str) == Some(NONE);
    let mode = names::ANNOTATION_INTERCEPTION_MODE;
    let by = match pod.annotation(mode) {
        Some(NONE) => Some(mode),
        Some(_) => None,
        None => is_off(pod.proxy_config).then_some(names::ANNOTATION_PROXY_CONFIG),
    };
    let is_reason = by.is_some();
    if let Some(by) = by.filter(|_| !is_off(pod.configured)) {
        let what = if by == mode { "" } else { "interceptionMode " };
        let needs = match pod::at(pod.values, &["pilot", "cni", "enabled"]) {
            Some(Value::Bool(true)) => "is refused by the CNI plugin: the pod cannot start",
            _ => "redirects nothing; add a Sidecar resource with ports from 1024",
        };
        let message = format!("annotation {by}: {what}{NONE} {needs}");
        warnings.push(Warning::new("BYPASS_INTERCEPTION_MODE", message));
    }
    is_reason
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
    let set = |key: &str| pod.annotation(key).is_some_and(|value| !value.trim().is_empty());
    let some = [
        (INCLUDE_RANGES, no_outbound.is_none() && narrows(pod, INCLUDE_RANGES, "includeIPRanges")),
        (EXCLUDE_RANGES, no_outbound.is_none() && exclude.is_some()),
        (inbound, narrows(pod, inbound, "includeInboundPorts")),
        (names::ANNOTATION_EXCLUDE_INBOUND_PORTS, !no_inbound && excludes_ports(pod)),
        (names::ANNOTATION_STATUS_PORT, status_port(pod).is_some()),
        (
            names::ANNOTATION_EXCLUDE_OUTBOUND_PORTS,
            pod.added(names::ANNOTATION_EXCLUDE_OUTBOUND_PORTS, EXCLUDE_OUTBOUND_PORTS).next().is_some(),
        ),
        (
            names::ANNOTATION_INCLUDE_OUTBOUND_PORTS,
            pod.left_out(names::ANNOTATION_INCLUDE_OUTBOUND_PORTS, INCLUDE_OUTBOUND_PORTS).next().is_some(),
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

pub(super) const EXCLUDE_OUTBOUND_PORTS: &str = "excludeOutboundPorts";
pub(super) const INCLUDE_OUTBOUND_PORTS: &str = "includeOutboundPorts";
const EXCLUDE_INBOUND_PORTS: &str = "excludeInboundPorts";

/// Whether a pod includes something, but not all that the configuration includes.
pub(super) fn narrows(pod: &Subject<'_>, key: &str, value: &str) -> bool {
    let Some(asked) = pod.asks(key, value).filter(|asked| !asked.trim().is_empty()) else { return false };
    if items(Some(asked)).any(|item| item == "*") {
        return false;
    }
    let mut configured = pod.configured(value).peekable();
    // Where nothing is included, anything is more.
    configured.peek().is_some() && pod.left_out(key, value).next().is_some()
}

/// Whether incoming ports are excluded that are neither the configuration's nor the proxy's own.
fn excludes_ports(pod: &Subject<'_>) -> bool {
    listed_inbound(pod).next().is_some()
}

/// The port that the pod gives the agent's status server, which the template exempts from redirection, whatever listens
/// there.
fn status_port<'a>(pod: &Subject<'a>) -> Option<&'a str> {
    let port = pod.annotation(names::ANNOTATION_STATUS_PORT)?.trim();
    let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
    (is_port && !is_proxys(pod, port) && !pod.configured(EXCLUDE_INBOUND_PORTS).any(|other| other == port))
        .then_some(port)
}

/// Whether a port is the one that the configuration gives the agent's status server, or another one of the proxy that
/// every pod may exempt: Envoy serves health checks and metrics there in plain text.
fn is_proxys(pod: &Subject<'_>, port: &str) -> bool {
    const OPEN: [i64; 3] = [15020, 15021, 15090];
    let number = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
    let configured =
        [pod::at(pod.values, &["global", "proxy", "statusPort"]), pod.configured.get("statusPort")];
    let port: i64 = port.parse().unwrap_or_default();
    OPEN.contains(&port) || configured.into_iter().flatten().filter_map(number).any(|other| other == port)
}

/// The incoming ports that a pod excludes, by any annotation, without the configuration's and the proxy's own, which our
/// template writes there for the CNI plugin.
pub(super) fn excluded_inbound<'a>(pod: &Subject<'a>) -> impl Iterator<Item = &'a str> {
    listed_inbound(pod).chain(status_port(pod))
}

fn listed_inbound<'a>(pod: &Subject<'a>) -> impl Iterator<Item = &'a str> {
    let ports = pod.added(names::ANNOTATION_EXCLUDE_INBOUND_PORTS, EXCLUDE_INBOUND_PORTS);
    let (pod, status_port) = (*pod, status_port(pod));
    // An earlier injection wrote it into the list.
    ports.filter(move |port| !is_proxys(&pod, port) && status_port != Some(*port))
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
    let mut added = privileges::capability_list(container.get("securityContext"), "add");
    added
        .find(|name| ADMINISTERS.iter().any(|other| name.eq_ignore_ascii_case(other)))
        .map(|name| Cow::Owned(format!("capabilities.add {}", name.to_ascii_uppercase())))
}

/// Capabilities with which a container can change the rules of redirection: directly, or by code in the kernel (Linux's
/// `capabilities(7)`).
const ADMINISTERS: [&str; 4] = ["NET_ADMIN", "ALL", "SYS_ADMIN", "SYS_MODULE"];

fn makes(made: &TemplateContainers, name: &str) -> bool {
    made.containers.iter().chain(&made.init_containers).any(|made| made == name)
}

/// Whether a pod requests templates that redirect no traffic although the default ones do; default templates that
/// cannot be rendered count as ones that do. A gateway has no traffic of an application to redirect. The default
/// templates are rendered only for a pod that meets all other conditions.
pub(super) fn loses_redirection(
    received: &Value,
    made: &TemplateContainers,
    rules: Rules,
    mesh: &InjectorConfig,
    view: &render::View<'_>,
    namespace: &str,
) -> bool {
    let redirecting = [names::CONTAINER_INIT, names::CONTAINER_VALIDATION];
    let is_proxy = |container: &Value| pod::name(container) == names::CONTAINER_PROXY;
    // An application may be a native sidecar.
    let sidecars = pod::init_containers(received)
        .iter()
        .filter(|container| container.get("restartPolicy").and_then(Value::as_str) == Some("Always"));
    if pod::annotation(received, names::ANNOTATION_TEMPLATES).is_none()
        || redirecting.iter().any(|name| makes(made, name))
        || pod::containers(received).iter().chain(sidecars).all(is_proxy)
    {
        return false;
    }
    let made = render::select(rules, mesh, &Value::Null)
        .and_then(|templates| privileges::unasked(mesh, view, namespace, &templates));
    made.map_or(true, |made| {
        redirecting.iter().any(|name| pod::find(pod::init_containers(&made), name).is_some())
    })
}

#[cfg(test)]
mod tests;
