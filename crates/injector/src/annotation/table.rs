//! The table: one row for each annotation that configures injection, is written by it, or is passed on to the agent.
//!
//! A new annotation is one row here; `docs/annotations.md` is generated from the table.

use super::parse::Kind;
use crate::names;

/// One annotation.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its section of the table.
    pub group: Group,
    /// The key.
    pub key: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// Who validates the value during injection.
    pub checked: Checked,
    /// Its readers: names of templates, or a part of the injector.
    pub read_by: &'static str,
    /// The default without the annotation.
    pub default: &'static str,
    /// Its effect, in one sentence.
    pub doc: &'static str,
    /// Why it is deprecated, and what to use instead.
    pub obsolete: Option<&'static str>,
}

/// The sections of the table, and of its documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Set by users on pods.
    Pod,
    /// Set by users on pods, owned by other projects.
    Foreign,
    /// Left on the pod for the agent, which reads it through the downward API.
    Agent,
    /// Written by the injector.
    Written,
    /// Declared in Istio's API but never read.
    Dead,
    /// Set on namespaces.
    Namespace,
}

/// The treatment of an invalid value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The pod is denied, as in Istio (`validateAnnotations`).
    ByIstio,
    /// The pod is denied, although Istio accepts it; under `compat: istio` this is a warning.
    ByUs,
    /// The pod is injected, with a warning.
    Warned,
    /// The pod is injected, and the reader of the value reports the problem and its consequence.
    ByReader,
    /// Not validated.
    Never,
}

macro_rules! rows {
    ($($group:ident { $($key:expr, $kind:expr, $checked:ident, $read_by:literal, $default:literal $(, obsolete: $obsolete:literal)? => $doc:literal;)* })*) => {
        &[$($(Row {
            group: Group::$group,
            key: $key,
            kind: $kind,
            checked: Checked::$checked,
            read_by: $read_by,
            default: $default,
            doc: $doc,
            obsolete: { let _obsolete: Option<&'static str> = None; $(let _obsolete = Some($obsolete);)? _obsolete },
        },)*)*]
    };
}

use Kind::*;

/// Annotations that count as unset if they are empty, as some charts write them. Istio does the same; empty values of
/// other annotations are rejected by its checks, or by the agent.
pub const EMPTY_IS_UNSET: &[&str] = &[
    names::ANNOTATION_PROXY_IMAGE,
    names::ANNOTATION_PROXY_IMAGE_TYPE,
    names::ANNOTATION_REWRITE_PROBES,
    names::ANNOTATION_NATIVE_SIDECAR,
    names::ANNOTATION_LOW_PORTS,
    names::ANNOTATION_USER_VOLUME,
    names::ANNOTATION_USER_VOLUME_MOUNT,
    names::ANNOTATION_PROMETHEUS_SECURE_PORT,
    names::ANNOTATION_POD_LEVEL_RESOURCES,
    names::ANNOTATION_PRE_STOP_SLEEP,
    "prometheus.io/scrape",
    "k8s.v1.cni.cncf.io/networks",
    names::ANNOTATION_DATADOG_ENV,
    names::ANNOTATION_STATUS,
    names::ANNOTATION_OVERRIDES,
];

/// Every annotation, by section.
#[rustfmt::skip]
pub const TABLE: &[Row] = rows! {
    Pod {
        names::INJECT, Injection, Never, "decision", "`policy`", obsolete: "use the pod label of the same name" =>
            "Opts the pod in or out; the label of the same name wins.";
        names::ANNOTATION_TEMPLATES, Templates, ByUs, "render", "`defaultTemplates`" =>
            "Templates to inject instead of the default ones, in this order; a name may be an alias.";
        names::ANNOTATION_PROXY_IMAGE, Image, ByUs, "sidecar, gateway, grpc-agent", "hub, image and tag of the values" =>
            "Image of the proxy; in the sidecar template, also of the init container. Ignored unless it contains a `/`.";
        names::ANNOTATION_PROXY_IMAGE_TYPE, ImageType, ByUs, "all templates", "`global.variant`, or `image.imageType` of the ProxyConfig" =>
            "Variant of the proxy image: replaces a known suffix of the tag, or else is appended to it.";
        names::ANNOTATION_PROXY_CPU, Quantity, ByIstio, "sidecar, grpc-agent", "`global.proxy.resources`" =>
            "CPU request of the proxy. If any of these four annotations is present, all resources in the values are ignored, unless the bundle has `resources: perField`.";
        names::ANNOTATION_PROXY_MEMORY, Quantity, ByIstio, "sidecar, grpc-agent", "`global.proxy.resources`" =>
            "Memory request of the proxy.";
        names::ANNOTATION_PROXY_CPU_LIMIT, Quantity, ByIstio, "sidecar, grpc-agent", "`global.proxy.resources`" =>
            "CPU limit of the proxy.";
        names::ANNOTATION_PROXY_MEMORY_LIMIT, Quantity, ByIstio, "sidecar, grpc-agent", "`global.proxy.resources`" =>
            "Memory limit of the proxy.";
        names::ANNOTATION_POD_LEVEL_RESOURCES, PodLevelResources, ByUs, "pod_resources", "`sidecarInjectorWebhook.podLevelResources`, else `add`" =>
            "Treatment of pod-level requests and limits (`spec.resources`) that are too small for the proxy: add its share, keep them, or deny the pod. No effect under `compat: istio`.";
        names::ANNOTATION_PRE_STOP_SLEEP, Int32, ByUs, "pre_stop", "`sidecarInjectorWebhook.preStopSleepSeconds`, else none" =>
            "How long containers without a `preStop` hook of their own sleep before they end, so that no request fails during a rolling update; 0 for no sleep. Denied unless it is less than `terminationGracePeriodSeconds`. No effect under `compat: istio`.";
        names::ANNOTATION_LOG_LEVEL, LogLevel, ByUs, "sidecar, gateway, grpc-agent", "`global.proxy.logLevel`" =>
            "Log level of Envoy.";
        names::ANNOTATION_COMPONENT_LOG_LEVEL, ComponentLogLevels, ByUs, "sidecar, gateway, grpc-agent", "`global.proxy.componentLogLevel`" =>
            "Log levels of components of Envoy.";
        names::ANNOTATION_AGENT_LOG_LEVEL, ScopeLogLevels, ByUs, "sidecar, gateway, grpc-agent", "`global.logging.level`" =>
            "Log levels of the agent and of the init container.";
        names::ANNOTATION_INTERCEPTION_MODE, InterceptionMode, ByIstio, "sidecar", "`interceptionMode` of the ProxyConfig" =>
            "How traffic is redirected to the proxy; `NONE` omits the init container.";
        names::ANNOTATION_INCLUDE_OUTBOUND_RANGES, Prefixes { any: true }, ByIstio, "sidecar", "`global.proxy.includeIPRanges`" =>
            "Destinations whose traffic is redirected. Blanks after commas are removed; Istio rejects them.";
        names::ANNOTATION_EXCLUDE_OUTBOUND_RANGES, Prefixes { any: false }, ByIstio, "sidecar", "`global.proxy.excludeIPRanges`" =>
            "Destinations whose traffic is not redirected.";
        names::ANNOTATION_INCLUDE_INBOUND_PORTS, Ports { any: true }, ByIstio, "sidecar", "`global.proxy.includeInboundPorts`" =>
            "Ports whose incoming traffic is redirected.";
        names::ANNOTATION_EXCLUDE_INBOUND_PORTS, Ports { any: false }, ByIstio, "sidecar", "`global.proxy.excludeInboundPorts`" =>
            "Ports whose incoming traffic is not redirected, in addition to the proxy's own.";
        "traffic.sidecar.istio.io/includeOutboundPorts", Ports { any: false }, ByUs, "sidecar", "`global.proxy.includeOutboundPorts`" =>
            "Ports whose outgoing traffic is redirected regardless of its destination.";
        names::ANNOTATION_EXCLUDE_OUTBOUND_PORTS, Ports { any: false }, ByIstio, "sidecar", "`global.proxy.excludeOutboundPorts`" =>
            "Ports whose outgoing traffic is not redirected.";
        names::ANNOTATION_EXCLUDE_INTERFACES, Interfaces, ByIstio, "sidecar, agent", "none" =>
            "Network interfaces whose traffic is not redirected.";
        names::ANNOTATION_REROUTED_INTERFACES, Interfaces, ByIstio, "sidecar", "none" =>
            "Virtual interfaces whose incoming traffic counts as outgoing.";
        names::ANNOTATION_KUBEVIRT_INTERFACES, Interfaces, ByIstio, "sidecar", "none", obsolete: "use istio.io/reroute-virtual-interfaces" =>
            "The former name of `istio.io/reroute-virtual-interfaces`, which wins.";
        names::ANNOTATION_STATUS_PORT, StatusPort, ByIstio, "sidecar, grpc-agent, probes, agent", "`global.proxy.statusPort`" =>
            "Port of the agent's status server; 0 disables it.";
        "readiness.status.sidecar.istio.io/initialDelaySeconds", Int32, ByIstio, "sidecar, grpc-agent", "`global.proxy.readinessInitialDelaySeconds`" =>
            "`initialDelaySeconds` of the proxy's readiness probe.";
        "readiness.status.sidecar.istio.io/periodSeconds", Int32, ByIstio, "sidecar, grpc-agent", "`global.proxy.readinessPeriodSeconds`" =>
            "`periodSeconds` of the proxy's readiness probe.";
        "readiness.status.sidecar.istio.io/failureThreshold", Int32, ByIstio, "sidecar, grpc-agent", "`global.proxy.readinessFailureThreshold`" =>
            "`failureThreshold` of the proxy's readiness probe.";
        names::ANNOTATION_REWRITE_PROBES, GoBool, Warned, "probes", "`sidecarInjectorWebhook.rewriteAppHTTPProbe`" =>
            "Whether the application's probes go through the agent; an invalid value is ignored.";
        names::ANNOTATION_NATIVE_SIDECAR, TrueFalse, ByUs, "sidecar, render", "`nativeSidecars` and the versions of the nodes" =>
            "Whether the proxy is a native sidecar: an init container with `restartPolicy: Always`.";
        names::ANNOTATION_LOW_PORTS, TrueFalse, ByUs, "sidecar", "`global.proxy.capNetBindService`" =>
            "Whether the proxy may listen on ports below 1024.";
        names::ANNOTATION_BOOTSTRAP_OVERRIDE, ConfigMapName, ByUs, "sidecar, gateway, grpc-agent", "none" =>
            "ConfigMap with a bootstrap configuration for Envoy.";
        names::ANNOTATION_USER_VOLUME, Volumes, ByUs, "sidecar, grpc-agent", "none" =>
            "Volumes to add to the pod, with names that neither the pod nor a template uses.";
        names::ANNOTATION_USER_VOLUME_MOUNT, VolumeMounts, ByUs, "sidecar, grpc-agent", "none" =>
            "Mounts to add to the proxy, for volumes of the pod, at paths that the template does not use.";
        names::ANNOTATION_PROXY_CONFIG, ProxyConfig, ByIstio, "sidecar, gateway, grpc-agent, agent", "`defaultConfig` of the mesh" =>
            "ProxyConfig of this pod; overrides the mesh's and ProxyConfig resources without a selector.";
        names::ANNOTATION_PROMETHEUS_MERGE, GoBool, ByIstio, "prometheus", "`enablePrometheusMerge` of the mesh" =>
            "Whether the agent serves the application's metrics together with the proxy's.";
        "prometheus.istio.io/scrape-targets", ScrapeTargets, Warned, "prometheus", "none" =>
            "Ports and paths of the application's metrics, if it has several. A port of the proxy is rejected.";
        names::ANNOTATION_PROMETHEUS_SECURE_PORT, Port, Warned, "prometheus", "`ENVOY_SECURE_MERGED_METRICS_PORT` of the proxy" =>
            "Port that serves the merged metrics over mutual TLS.";
    }
    Foreign {
        "prometheus.io/scrape", GoBool, Warned, "prometheus", "`true`" =>
            "`false` leaves all these annotations alone. Every spelling that Prometheus considers equal counts.";
        "prometheus.io/port", Text, Never, "prometheus", "none" =>
            "Port of the application's metrics, passed to the agent and replaced by the agent's. If metrics are merged, the pod is denied unless this is a port from 1 to 65535 and not one of the proxy's, as in Istio.";
        "prometheus.io/path", Text, Never, "prometheus", "none" =>
            "Path of the application's metrics, passed to the agent and replaced by `/stats/prometheus`.";
        "kubectl.kubernetes.io/default-container", Text, Never, "sidecar, gateway, grpc-agent", "the first application container" =>
            "Container that kubectl uses by default; set if absent.";
        "kubectl.kubernetes.io/default-logs-container", Text, Never, "sidecar, gateway, grpc-agent", "the first application container" =>
            "Container whose logs kubectl shows; set if absent.";
        "k8s.v1.cni.cncf.io/networks", Networks, Warned, "sidecar", "none" =>
            "Networks of Multus; with the CNI plugin under Multus, `default/istio-cni` is appended. `[]` becomes a list with only that one; Istio writes `[, …]`, which Multus cannot parse.";
        names::ANNOTATION_DATADOG_ENV, StringMap, Warned, "sidecar", "none" =>
            "With the tracer `datadog`: environment of the proxy.";
        "resource.opentelemetry.io/service.namespace", Text, Never, "sidecar", "namespace of the pod" =>
            "With an OpenTelemetry provider that has semantic conventions: attribute `service.namespace`.";
        "resource.opentelemetry.io/service.version", Text, Never, "sidecar", "the label of the version, or the image's tag" =>
            "Likewise: attribute `service.version`.";
        "resource.opentelemetry.io/service.instance.id", Text, Never, "sidecar", "namespace, pod and container" =>
            "Likewise: attribute `service.instance.id`.";
        names::ANNOTATION_MIRROR_POD, Text, Never, "decision", "none" =>
            "Marks mirror pods, which are skipped with a warning (under `compat: istio`, they are injected).";
        names::ANNOTATION_LINKERD_PROXY_VERSION, Text, Never, "decision", "none" =>
            "Together with a container `linkerd-proxy`, shows that Linkerd has injected the pod, which is skipped with a warning (under `compat: istio`, it is injected). Alone it only causes a warning.";
    }
    Agent {
        "sidecar.istio.io/extraStatTags", Text, Never, "agent", "none" => "Tags to extract from the names of metrics.";
        "sidecar.istio.io/statsInclusionPrefixes", Text, Never, "agent", "none" => "Prefixes of metrics that Envoy keeps.";
        "sidecar.istio.io/statsInclusionSuffixes", Text, Never, "agent", "none" => "Suffixes of metrics that Envoy keeps.";
        "sidecar.istio.io/statsInclusionRegexps", Text, Never, "agent", "none" => "Patterns of metrics that Envoy keeps.";
        "sidecar.istio.io/statsHistogramBuckets", Text, Never, "agent", "none" => "Buckets of histograms, by prefix.";
        "sidecar.istio.io/statsHistogramBins", Text, Never, "agent", "none" => "Number of bins of histograms, by prefix.";
        "sidecar.istio.io/statsFlushInterval", Text, Never, "agent", "none" => "How often Envoy flushes its metrics.";
        "sidecar.istio.io/statsEvictionInterval", Text, Never, "agent", "none" => "When Envoy evicts metrics that do not change.";
        names::ANNOTATION_DISCOVERY_ADDRESS, Text, Never, "agent", "none", obsolete: "use discoveryAddress in proxy.istio.io/config" =>
            "Address of the control plane.";
    }
    Written {
        names::REVISION, Text, Never, "none", "none" => "Revision that injected the pod.";
        names::ANNOTATION_STATUS, JsonObject, ByReader, "reinject", "none" =>
            "Names of everything that was injected, needed to inject the pod again.";
        names::ANNOTATION_OVERRIDES, JsonObject, ByUs, "reinject, overrides", "none" =>
            "The pod's own containers that a template changed, in their original form.";
    }
    Dead {
        "sidecar.istio.io/enableCoreDump", Text, Never, "none", "none", obsolete: "it no longer has an effect" => "Allowed core dumps.";
        "sidecar.istio.io/controlPlaneAuthPolicy", Text, Never, "none", "none", obsolete: "it no longer has an effect" => "How the agent authenticated to the control plane.";
        "sidecar.istio.io/statsCompression", Text, Never, "none", "none", obsolete: "it no longer has an effect" => "Compression of metrics.";
        "readiness.status.sidecar.istio.io/applicationPorts", Text, Never, "none", "none", obsolete: "it no longer has an effect" => "Ports that had to accept connections before the pod was ready.";
    }
    Namespace {
        names::ANNOTATION_OPENSHIFT_UID_RANGE, IdRange, Never, "context", "1337" =>
            "On OpenShift: the last ID is the proxy's user.";
        names::ANNOTATION_OPENSHIFT_GROUPS, IdRanges, Never, "context", "the range of user IDs" =>
            "On OpenShift: the last ID of the first range is the proxy's group.";
    }
};
