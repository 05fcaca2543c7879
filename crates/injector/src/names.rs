//! Every label, annotation, container, port and environment name that the injector knows, once.
//!
//! Nothing is decided here: the meaning of a name is implemented where it is read.

/// Namespace label that opts a namespace in (`enabled`) or out.
pub const LABEL_INJECTION: &str = "istio-injection";
/// Revision or tag: label of namespaces and pods, and annotation written on injected pods.
pub const REVISION: &str = "istio.io/rev";
/// The explicit name of the revision without a name.
pub const DEFAULT_REVISION: &str = "default";
/// Our label on a webhook configuration with its revision. Istio's `istio.io/rev` is not used: a control plane of that
/// revision writes its own CA into every configuration with that label.
pub const LABEL_CONFIGURATION_REVISION: &str = "outrigger.dev/revision";
/// Our label on a webhook configuration with its tag.
pub const LABEL_CONFIGURATION_TAG: &str = "outrigger.dev/tag";
/// Our annotation on the webhook configuration of a revision with the tags, comma-separated, whose caBundle its server
/// manages while they point to it.
pub const ANNOTATION_MOVABLE_TAGS: &str = "outrigger.dev/movable-tags";
/// Pod label and (deprecated) annotation that opts a single pod in (`true`) or out (`false`).
pub const INJECT: &str = "sidecar.istio.io/inject";
/// Label every namespace carries with its own name.
pub const LABEL_NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Label naming the network a pod is on.
pub const LABEL_TOPOLOGY_NETWORK: &str = "topology.istio.io/network";
/// Annotation of mirror pods, which cannot be changed.
pub const ANNOTATION_MIRROR_POD: &str = "kubernetes.io/config.mirror";
/// The group of every kubelet's user.
pub const GROUP_NODES: &str = "system:nodes";
/// Annotation Linkerd leaves on pods it injected.
pub const ANNOTATION_LINKERD_PROXY_VERSION: &str = "linkerd.io/proxy-version";
/// Name of Linkerd's proxy container.
pub const CONTAINER_LINKERD_PROXY: &str = "linkerd-proxy";

/// What an earlier injection added: JSON `{initContainers,containers,volumes,imagePullSecrets,revision}`.
pub const ANNOTATION_STATUS: &str = "sidecar.istio.io/status";
/// The user's own proxy containers as they were before injection: JSON `{containers,initContainers}`.
pub const ANNOTATION_OVERRIDES: &str = "proxy.istio.io/overrides";
pub use istio_config::proxy::ANNOTATION as ANNOTATION_PROXY_CONFIG;
/// Comma-separated template names to use instead of the default ones.
pub const ANNOTATION_TEMPLATES: &str = "inject.istio.io/templates";
/// `true` or `false`: run the proxy as a native sidecar.
pub const ANNOTATION_NATIVE_SIDECAR: &str = "sidecar.istio.io/nativeSidecar";
/// Volumes to add to the pod: JSON sources by name, or a JSON list.
pub const ANNOTATION_USER_VOLUME: &str = "sidecar.istio.io/userVolume";
/// Mounts to add to the proxy: JSON mounts by name of the volume, or a JSON list.
pub const ANNOTATION_USER_VOLUME_MOUNT: &str = "sidecar.istio.io/userVolumeMount";
/// How traffic is redirected: `REDIRECT`, `TPROXY` or `NONE`.
pub const ANNOTATION_INTERCEPTION_MODE: &str = "sidecar.istio.io/interceptionMode";
/// Variant of the proxy image, such as `debug` or `distroless`.
pub const ANNOTATION_PROXY_IMAGE_TYPE: &str = "sidecar.istio.io/proxyImageType";
/// Whether probes are rewritten to go through the agent.
pub const ANNOTATION_REWRITE_PROBES: &str = "sidecar.istio.io/rewriteAppHTTPProbers";
/// Port of the agent's status server for this pod.
pub const ANNOTATION_STATUS_PORT: &str = "status.sidecar.istio.io/port";
/// Whether the application's metrics are merged with the proxy's.
pub const ANNOTATION_PROMETHEUS_MERGE: &str = "prometheus.istio.io/merge-metrics";
/// mTLS port of the merged metrics.
pub const ANNOTATION_PROMETHEUS_SECURE_PORT: &str = "prometheus.istio.io/secure-port";
/// CPU request of the proxy.
pub const ANNOTATION_PROXY_CPU: &str = "sidecar.istio.io/proxyCPU";
/// Memory request of the proxy.
pub const ANNOTATION_PROXY_MEMORY: &str = "sidecar.istio.io/proxyMemory";
/// CPU limit of the proxy.
pub const ANNOTATION_PROXY_CPU_LIMIT: &str = "sidecar.istio.io/proxyCPULimit";
/// Memory limit of the proxy.
pub const ANNOTATION_PROXY_MEMORY_LIMIT: &str = "sidecar.istio.io/proxyMemoryLimit";
/// Log level of Envoy.
pub const ANNOTATION_LOG_LEVEL: &str = "sidecar.istio.io/logLevel";
/// Log levels of components of Envoy.
pub const ANNOTATION_COMPONENT_LOG_LEVEL: &str = "sidecar.istio.io/componentLogLevel";
/// Log levels of the agent.
pub const ANNOTATION_AGENT_LOG_LEVEL: &str = "sidecar.istio.io/agentLogLevel";
/// Ports whose incoming traffic is redirected to the proxy, or `*`.
pub const ANNOTATION_INCLUDE_INBOUND_PORTS: &str = "traffic.sidecar.istio.io/includeInboundPorts";
/// Ports whose incoming traffic is not redirected to the proxy.
pub const ANNOTATION_EXCLUDE_INBOUND_PORTS: &str = "traffic.sidecar.istio.io/excludeInboundPorts";
/// Outgoing ports whose traffic is redirected whatever its destination.
pub const ANNOTATION_INCLUDE_OUTBOUND_PORTS: &str = "traffic.sidecar.istio.io/includeOutboundPorts";
/// Ports whose outgoing traffic is not redirected to the proxy.
pub const ANNOTATION_EXCLUDE_OUTBOUND_PORTS: &str = "traffic.sidecar.istio.io/excludeOutboundPorts";
/// Destinations whose traffic is redirected to the proxy, or `*`.
pub const ANNOTATION_INCLUDE_OUTBOUND_RANGES: &str = "traffic.sidecar.istio.io/includeOutboundIPRanges";
/// Destinations whose traffic is not redirected to the proxy.
pub const ANNOTATION_EXCLUDE_OUTBOUND_RANGES: &str = "traffic.sidecar.istio.io/excludeOutboundIPRanges";
/// Network interfaces whose traffic is not redirected to the proxy.
pub const ANNOTATION_EXCLUDE_INTERFACES: &str = "traffic.sidecar.istio.io/excludeInterfaces";
/// Virtual interfaces whose incoming traffic counts as outgoing.
pub const ANNOTATION_REROUTED_INTERFACES: &str = "istio.io/reroute-virtual-interfaces";
/// Former name of [`ANNOTATION_REROUTED_INTERFACES`].
pub const ANNOTATION_KUBEVIRT_INTERFACES: &str = "traffic.sidecar.istio.io/kubevirtInterfaces";
/// Image of the proxy.
pub const ANNOTATION_PROXY_IMAGE: &str = "sidecar.istio.io/proxyImage";
/// ConfigMap with a bootstrap configuration for Envoy.
pub const ANNOTATION_BOOTSTRAP_OVERRIDE: &str = "sidecar.istio.io/bootstrapOverride";
/// Datadog's: variables of the proxy, if the tracer is Datadog's.
pub const ANNOTATION_DATADOG_ENV: &str = "apm.datadoghq.com/env";
/// Address of the control plane.
pub const ANNOTATION_DISCOVERY_ADDRESS: &str = "sidecar.istio.io/discoveryAddress";
/// Whether the proxy may listen on ports below 1024.
pub const ANNOTATION_LOW_PORTS: &str = "sidecar.istio.io/capNetBindService";
/// Ours: `add`, `keep` or `refuse`, the treatment of pod-level resources that are too small for the proxy.
pub const ANNOTATION_POD_LEVEL_RESOURCES: &str = "outrigger.dev/podLevelResources";
/// Ours: how long the application's containers wait before they end, in seconds; 0 for not at all.
pub const ANNOTATION_PRE_STOP_SLEEP: &str = "outrigger.dev/preStopSleepSeconds";
/// Ours, on pod templates: when outrigger restarted the workload, because its pods had no proxy.
pub const ANNOTATION_RESTARTED_AT: &str = "outrigger.dev/restartedAt";
/// Ours, on workloads and namespaces: `false` keeps outrigger from restarting them.
pub const ANNOTATION_RESTART: &str = "outrigger.dev/restart";
/// OpenShift: the range of user IDs of a namespace.
pub const ANNOTATION_OPENSHIFT_UID_RANGE: &str = "openshift.io/sa.scc.uid-range";
/// OpenShift: the range of supplemental groups of a namespace.
pub const ANNOTATION_OPENSHIFT_GROUPS: &str = "openshift.io/sa.scc.supplemental-groups";

/// The proxy container.
pub const CONTAINER_PROXY: &str = "istio-proxy";
/// The init container that redirects traffic with iptables.
pub const CONTAINER_INIT: &str = "istio-init";
/// The init container that checks the redirection made by the CNI plugin.
pub const CONTAINER_VALIDATION: &str = "istio-validation";
/// The init container that allows core dumps.
pub const CONTAINER_CORE_DUMP: &str = "enable-core-dump";
/// The image that means "the injector's image" on a user's own proxy container.
pub const IMAGE_AUTO: &str = "auto";

/// Environment variable with the cluster's ID.
pub const ENV_CLUSTER_ID: &str = "ISTIO_META_CLUSTER_ID";
/// Environment variable with the network's name.
pub const ENV_NETWORK: &str = "ISTIO_META_NETWORK";
/// Variable of the agent that keeps it from running Envoy.
pub const ENV_DISABLE_ENVOY: &str = "DISABLE_ENVOY";
/// Variable of the agent that lets it answer the pod's DNS queries.
pub const ENV_DNS_CAPTURE: &str = "ISTIO_META_DNS_CAPTURE";
/// Environment variable with the rewritten probes.
pub const ENV_APP_PROBERS: &str = "ISTIO_KUBE_APP_PROBERS";
/// Environment variable with the application's own Prometheus annotations.
pub const ENV_PROMETHEUS: &str = "ISTIO_PROMETHEUS_ANNOTATIONS";
/// Environment variable with the mTLS port of the merged metrics.
pub const ENV_SECURE_METRICS_PORT: &str = "ENVOY_SECURE_MERGED_METRICS_PORT";

/// Templates in Istio's injector ConfigMap that are not for pods: its Gateway controller renders them, with different
/// data.
pub const GATEWAY_CONTROLLER_TEMPLATES: [&str; 4] =
    ["waypoint", "kube-gateway", "agentgateway", "agentgateway-waypoint"];

/// Where the ServiceAccount admission plugin mounts the token (`DefaultAPITokenMountPath`).
pub const TOKEN_MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// That plugin's prefix of the name of the token's volume, followed by five characters.
pub const TOKEN_VOLUME: &str = "kube-api-access-";

/// UID and GID of the proxy unless the platform says otherwise.
pub const PROXY_UID: i64 = 1337;

/// Namespaces that are never injected (Istio's `IgnoredNamespaces`).
pub const IGNORED_NAMESPACES: [&str; 4] =
    ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];
