//! The codes of the core.

use crate::codes;

codes! {
    /// Every code of the core, sorted by key.
    CORE, "/reasons/";
    ALREADY_INJECTED: Skip, "not changed: the pod arrived with its proxy, and nothing is missing";
    ALWAYS_INJECT_SELECTOR: Inject, "injected: a selector of `alwaysInjectSelector` matches the pod";
    ANNOTATION_AS_LABEL: Warning, "an annotation used as a label, which has no effect";
    BLANKS_IN_ANNOTATION: Warning, "blanks around a value, which are ignored";
    BYPASS_BOOTSTRAP: Warning,
        "the pod gives its proxy a custom bootstrap configuration, which may lack what the mesh relies on";
    BYPASS_CONTROL_PLANE: Warning,
        "the pod names a control plane other than the mesh's, or does not authenticate it";
    BYPASS_HOST_NETWORK: Record, "not injected because of `hostNetwork`";
    BYPASS_INBOUND: Warning, "the pod exempts all incoming traffic from redirection";
    BYPASS_INTERCEPTION_MODE: Warning, "the pod disables redirection: `interceptionMode: NONE`";
    BYPASS_NET_ADMIN: Warning,
        "a container of the application is privileged or can undo redirection (`NET_ADMIN`)";
    BYPASS_OPTED_OUT: Record, "not injected because the pod opted out";
    BYPASS_OUTBOUND: Warning, "the pod exempts all outgoing traffic from redirection";
    BYPASS_OWN_INIT: Warning, "the pod's own init container controls redirection";
    BYPASS_PROXY_COMMAND: Warning,
        "the pod's own `istio-proxy` runs something else, or what it needs may be replaced";
    BYPASS_PROXY_ENVIRONMENT: Warning,
        "the pod sets a variable that disables the proxy, redirection or trust checks";
    BYPASS_PROXY_IMAGE: Warning, "the pod chooses the image of its proxy";
    BYPASS_PROXY_VOLUME: Warning,
        "a container of the application can write into a volume of the proxy, such as the one with its certificates";
    BYPASS_SOME_TRAFFIC: Record, "the pod exempts ports, addresses or interfaces from redirection";
    BYPASS_TELEMETRY: Record, "the pod sends traces, logs or metrics of its proxy elsewhere";
    BYPASS_TEMPLATES: Record, "the pod requests templates that create no `istio-proxy`";
    BYPASS_TLS_MODE: Warning, "the pod's label tells clients not to use mutual TLS";
    DEAD_ANNOTATION: Warning, "an annotation of Istio's API that is no longer read";
    DEPRECATED_ANNOTATION: Warning, "an annotation that still works but has a successor";
    DISCOVERY_UNRESOLVED: Warning,
        "`dnsPolicy` keeps the proxy from resolving its control plane, so the pod never starts";
    DOUBTFUL_ANNOTATION: Warning, "a value that is valid but probably unintended";
    DUPLICATE_CONTAINER: Denial, "denied: two containers of the pod would have the same name";
    DUPLICATE_VOLUME: Warning, "two volumes of the pod have the same name";
    FORGED_RECORD: Warning,
        "the record of an earlier injection names something that is not in the pod, or that no injection created";
    HOST_NETWORK: Skip, "not injected: the pod uses its node's network (`hostNetwork: true`)";
    HOST_USERS_WITH_CNI: Record,
        "a pod with `hostUsers: false` relies on the CNI plugin, and older versions of the plugin fail for it";
    IGNORED_ANNOTATION: Warning, "a value that has no effect";
    IGNORED_NAMESPACE: Skip,
        "not injected: the namespace is one that is never injected, such as `kube-system`";
    IGNORED_PROXY_CONFIG_FIELD: Warning, "an unknown field of `proxy.istio.io/config`";
    IMAGE_AUTO_LEFT: Warning, "a container keeps the image `auto` and cannot start";
    INIT_WITHOUT_NETWORK: Record,
        "with the CNI plugin, traffic of an init container is redirected to a proxy that does not run yet";
    INJECTED_BY_LINKERD: Skip, "not injected: the pod already contains Linkerd's proxy";
    INVALID_ANNOTATION: Denial, "denied: one or more annotations have an invalid value";
    INVALID_INJECT_VALUE: Warning, "`sidecar.istio.io/inject` is neither `true` nor `false`";
    INVALID_PROMETHEUS: Denial,
        "denied: the pod's scrape annotations cannot be combined with the proxy's metrics";
    INVALID_PROXY_CONFIG: Denial, "denied: the annotation `proxy.istio.io/config` cannot be parsed";
    KEY_CASE: Manifest, "a key whose case differs from the Kubernetes field's, which kubectl rejects";
    LABEL_AS_ANNOTATION: Warning, "a label used as an annotation, which has no effect";
    LIKELY_POD_TEMPLATE: Manifest, "a likely pod template that was left alone";
    LIMIT_RANGE_VIOLATED: Warning,
        "a LimitRange of the namespace forbids the proxy's requests or limits; the API server will reject the pod";
    LINKERD_MARK_ALONE: Warning, "one of Linkerd's two marks without the other; the pod is injected";
    MALFORMED_ANNOTATION: Denial,
        "denied: an annotation that records an earlier injection cannot be parsed";
    MALFORMED_STATUS: Warning, "the record of an earlier injection cannot be parsed";
    MERGE_DIRECTIVE: Denial, "denied: a string of the pod would become a merge directive";
    MERGE_FAILED: Denial, "denied: the output of a template cannot be merged into the pod";
    MIRROR_POD: Skip, "not injected: the pod has the annotation of mirror pods, which only a kubelet runs";
    MISSPELT_ANNOTATION: Warning, "an unknown annotation similar to a known one";
    MISSPELT_LABEL: Warning, "an unknown label similar to a known one";
    NAMESPACE_DISABLED: Skip,
        "not injected: the namespace label `istio-injection` has a value other than `enabled`";
    NAMESPACE_HAS_BOTH_LABELS: Warning,
        "the namespace has `istio-injection` and `istio.io/rev`; the first one decides";
    NAMESPACE_LABEL_ON_POD: Warning, "a namespace label on a pod, where it has no effect";
    NAMESPACE_NOT_ENABLED: Skip, "not injected: neither the namespace nor the pod requests a proxy";
    NAMESPACE_NOT_SELECTED: Skip Warning,
        "not injected: the API server selected the pod, but neither its namespace nor the pod requests a proxy";
    NEVER_INJECT_SELECTOR: Skip, "not injected: a selector of `neverInjectSelector` matches the pod";
    NOT_A_POD: Skip Denial, "not injected: the object is not a pod, or is not shaped like one";
    ORDINARY_PROXY_IN_JOB: Warning,
        "the proxy is an ordinary container, so a pod with `restartPolicy` `Never` or `OnFailure` does not end";
    OVERLAY_UNUSABLE: Denial, "denied: the output of a template is not a usable overlay for the pod";
    OVERRIDE_AUDITED: Record, "an entry of the override policy with `action: audit` does not allow what the pod changes";
    OVERRIDE_DENIED: Denial, "denied: the override policy does not allow what the pod changes";
    OVERRIDE_WARNED: Warning, "an entry of the override policy with `action: warn` does not allow what the pod changes";
    OWN_VOLUME: Warning, "a volume of the pod replaces a template's volume of the same name";
    PATCH_TOO_LARGE: Denial, "denied: the patch exceeds 2 MiB";
    PATCH_UNVERIFIED: Denial,
        "denied: applying the patch does not yield the intended pod, a bug in outrigger";
    POD_OPTED_IN: Inject, "injected: the pod opts in with `sidecar.istio.io/inject`";
    POD_OPTED_OUT: Skip, "not injected: the pod opts out with `sidecar.istio.io/inject`";
    POD_REQUESTS_LOWERED: Warning,
        "`compat: istio`: pod-level limits without requests, so the pod requests less than without the proxy";
    POD_RESOURCES_RAISED: Warning, "pod-level requests or limits were raised by the proxy's share";
    POD_RESOURCES_TOO_SMALL: Warning Denial,
        "pod-level requests or limits are too small for the proxy; the API server will reject the pod";
    POD_SECURITY_ADAPTED: Record,
        "values were changed for the pod, because the Pod Security level of its namespace forbids the result of the configured ones";
    POD_SECURITY_AUDITED: Record,
        "injection adds something that a Pod Security level of the namespace audits or warns about";
    POD_SECURITY_VIOLATED: Warning Denial,
        "injection adds something that the Pod Security level of the namespace forbids; the API server will reject the pod";
    POLICY_COUNTS_THE_PROXY: Manifest, "a rule of a Job's `podFailurePolicy` matches the proxy's exit code";
    POLICY_DISABLED: Skip, "not injected: the policy is `disabled`, and the pod does not opt in";
    POLICY_ENABLED: Inject, "injected: the policy is `enabled`, and no other rule applies";
    POLICY_INVALID: Skip, "not injected: the policy is neither `enabled` nor `disabled`";
    PORT_OF_THE_PROXY: Warning, "a container uses one of the proxy's ports";
    PRE_STOP_SLEEP_TOO_LONG: Warning, "the value `preStopSleepSeconds` is not less than the pod's grace period; no hook is added";
    PRIVILEGED_PROXY: Warning Denial,
        "the pod requests more privileges for an injected container than the configuration grants";
    PROBES_NOT_MERGED: Warning,
        "the pod's existing list of probes for the agent cannot be parsed and is unchanged";
    PROBE_ASKS_THE_NODE: Warning,
        "a probe or hook with the host `localhost` or `127.0.0.1` goes to the node, not to the pod";
    PROBE_BEFORE_PROXY: Warning, "a probe or hook of an init container fails before the proxy runs";
    PROXY_CONFIG_FIELD: Warning, "a field of ProxyConfig used as a label or annotation";
    PROXY_LIMIT_ABOVE_POD: Warning, "`compat: istio`: a limit of the proxy exceeds the pod's";
    PROXY_RESTART_POLICY: Warning, "`restartPolicy` of the user's own proxy does not fit a native sidecar";
    QUOTA_EXCEEDED: Warning,
        "a quota of the namespace has too little room for the proxy, or requires a request or limit that the proxy lacks";
    RENDER_FAILED: Denial, "denied: a template cannot be rendered for the pod";
    REQUEST_ABOVE_LIMIT: Warning,
        "a container that injection adds requests more of a resource than its limit; the API server will reject the pod";
    RESOURCE_DEFAULTS_DROPPED: Warning,
        "a resource annotation replaces all default resources, so the proxy has no request or limit for the other resource";
    REVISION_MISMATCH: Skip, "not injected: the namespace or the pod requests another revision";
    REVISION_OF_THE_NAMESPACE: Warning,
        "the pod's label `istio.io/rev` is ignored because the namespace has a label";
    RULE_APPLIED: Record, "a rule of the configuration applies to the pod";
    RULE_FAILED: Denial, "denied: the expression of a rule cannot be evaluated for the pod";
    RULE_FORCE: Inject, "injected: a rule of the configuration says `inject: force`";
    RULE_NEVER: Skip, "not injected: a rule of the configuration says `inject: never`";
    SETTING_NOT_ON_THE_POD: Manifest, "a pod setting on the workload, where it has no effect";
    SEVERAL_OF_ONE: Warning, "two handlers, sources or values where an API server accepts only one";
    SKIPPED_LINKERD_POD: Warning, "not injected: the pod has both marks of Linkerd";
    SKIPPED_MIRROR_POD: Warning, "not injected: the pod has the annotation of mirror pods";
    SKIPPED_WINDOWS_POD: Warning, "not injected: the pod is for Windows nodes";
    STAND_IN: Denial, "denied: text in the pod that outrigger reserves for internal use";
    TOO_MANY_TEMPLATES: Denial,
        "denied: `inject.istio.io/templates` names more templates than a pod may request";
    UNDECODABLE: Denial, "denied: no API server could decode the resulting pod";
    UNKNOWN_PROBE_PORT: Warning, "a probe or hook names a port that its container does not define";
    UNKNOWN_REVISION: Record,
        "the pod's label `istio.io/rev` names a revision or tag that this injector does not know";
    UNKNOWN_TEMPLATE: Denial, "denied: `inject.istio.io/templates` names a template that does not exist";
    UNQUOTED_VALUE: Manifest, "an unquoted value for a string field, which kubectl rejects";
    USER_OF_THE_PROXY: Warning, "a container runs as the proxy's user, so its traffic is not redirected";
    WINDOWS_POD: Skip, "not injected: the pod is for Windows nodes";
}
