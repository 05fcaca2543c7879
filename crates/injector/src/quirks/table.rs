//! The table of quirks: one entry defines the variant of the enum, its documentation and its row.

use super::{Row, Section};

macro_rules! quirks {
    ($($section:ident {
        $($name:ident: $upstream:literal, $shown:ident,
            istio: $istio:literal,
            outrigger: $outrigger:literal,
            reason: $reason:literal;)*
    })*) => {
        /// A behavior of Istio that `compat: outrigger` deviates from; the name says what Istio does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Quirk {
            $($(
                #[doc = concat!("Istio (`", $upstream, "`): ", $istio, ".")]
                $name,
            )*)*
        }

        /// Every quirk, in the order of the enum and of `docs/compatibility.md`.
        pub const TABLE: &[Row] = &[$($(Row {
            quirk: Quirk::$name,
            name: stringify!($name),
            section: Section::$section,
            upstream: $upstream,
            istio: $istio,
            outrigger: $outrigger,
            reason: $reason,
            is_recorded: is_recorded!($shown),
        },)*)*];
    };
}

/// Whether the recorded responses of Istio show a quirk; for the others there is only the test in `tests.rs`.
macro_rules! is_recorded {
    (recorded) => {
        true
    };
    (unrecorded) => {
        false
    };
}

quirks! {
    Selection {
        InjectMirrorPods: "injectRequired", unrecorded,
            istio: "injects mirror pods",
            outrigger: "skips them (`MIRROR_POD`)",
            reason: "nobody may change them; the kubelet's static pod would not have the proxy";
        InjectWindowsPods: "injectRequired", unrecorded,
            istio: "injects Windows pods",
            outrigger: "skips them (`WINDOWS_POD`), including those identified by their node selector, required node affinity or `windowsOptions`",
            reason: "the proxy's image is for Linux, so the pod would not start";
        InjectLinkerdPods: "injectRequired", unrecorded,
            istio: "injects pods that Linkerd has injected",
            outrigger: "skips them (`INJECTED_BY_LINKERD`) if they have both the annotation and the container",
            reason: "two proxies would redirect each other's traffic";
    }
    Annotations {
        AcceptInvalidAnnotations: "validateAnnotations", unrecorded,
            istio: "does not validate some of the annotations it uses",
            outrigger: "denies pods with invalid values (see `denied` in [annotations.md](annotations.md)); under `compat: istio` they cause warnings",
            reason: "the proxy would fail later, or the value would become part of an argument unexpectedly";
        AcceptInvalidUserVolumes: "validateAnnotations", recorded,
            istio: "uses `sidecar.istio.io/userVolume` and `userVolumeMount` unchanged",
            outrigger: "denies unknown fields, two sources, a name used by a template, a mount that replaces a template's, and the mount of a volume that the pod does not have; under `compat: istio` it warns",
            reason: "the API server rejects the pod and names neither the annotation nor the proxy, or drops the field silently";
        AcceptNegativeQuantities: "validateAnnotations", unrecorded,
            istio: "accepts a negative quantity",
            outrigger: "denies it",
            reason: "the API server rejects the pod anyway, without naming the annotation";
        RejectBlanksInPrefixes: "validateAnnotations", unrecorded,
            istio: "rejects blanks in a list of prefixes",
            outrigger: "accepts them, removes them from the list, and warns",
            reason: "blanks are fine in lists of ports";
        ShowEmptyAnnotations: "RunTemplate", unrecorded,
            istio: "lets templates see an annotation with an empty value as it is",
            outrigger: "hides it where an empty value means that the annotation is not set (see `empty means unset` in [annotations.md](annotations.md))",
            reason: "a template that tests whether the annotation exists would use the empty value";
    }
    Probes {
        RewriteProbesOfUnknownPorts: "applyRewrite", recorded,
            istio: "rewrites a handler whose port name does not exist in its container",
            outrigger: "leaves it alone and warns (`UNKNOWN_PROBE_PORT`)",
            reason: "the agent cannot handle it, so the probe would always fail";
        ScrapeStatusPortOfMesh: "applyPrometheusMerge", recorded,
            istio: "points Prometheus to the mesh's status port regardless of `status.sidecar.istio.io/port`",
            outrigger: "points it to the pod's",
            reason: "nothing listens on the other one";
        UseStatusPortZero: "applyRewrite", recorded,
            istio: "with status port 0, sends probes to port 0 and Prometheus to the mesh's port",
            outrigger: "leaves probes and metrics alone",
            reason: "there is no status server; the API server rejects port 0";
        ReadBlankInStatusPortAsZero: "patchRewriteProbe", unrecorded,
            istio: "for probes, treats a `status.sidecar.istio.io/port` with a blank as 0",
            outrigger: "parses the port",
            reason: "the annotation's validation accepts the blank";
        ScrapeWithoutAgent: "applyPrometheusMerge", recorded,
            istio: "points Prometheus to the agent in pods whose templates create no `istio-proxy`, such as those of `grpc-simple`",
            outrigger: "leaves the annotations alone",
            reason: "nothing listens on port 15020 there, and the application's own metrics were lost";
        RewriteProbesWithHost: "applyRewrite", recorded,
            istio: "rewrites a handler with a `host`: an HTTP request then goes to port 15020 of that host, and `tcpSocket` loses the host",
            outrigger: "leaves it alone; warns about `127.0.0.1`, `localhost` and similar hosts (`PROBE_ASKS_THE_NODE`)",
            reason: "the kubelet connects to that host and not to the pod, so the proxy does not interfere; 127.0.0.1 is the node, and Pod Security `baseline` rejects any host";
        RewriteProbesBeforeProxy: "applyRewrite", unrecorded,
            istio: "rewrites startup probes and `postStart` hooks of init containers that run before an ordinary proxy",
            outrigger: "leaves them alone; with the CNI plugin it warns and suggests `excludeInboundPorts` (`PROBE_BEFORE_PROXY`), whether probes are rewritten or not",
            reason: "the kubelet waits for them before it starts the proxy that would have to respond: the pod never starts";
    }
    Resources {
        IgnorePodLevelResources: "postProcessPod", unrecorded,
            istio: "does not change `spec.resources`",
            outrigger: "a pod with only limits keeps the requests that they imply; a budget that is too small for the proxy is raised by its share; the proxy's limits from the configuration are capped at the pod's ([configuration.md](configuration.md#pods-with-pod-level-resources))",
            reason: "otherwise the pod would request less than without the proxy, could not be created, or would not start";
        LeavePreStopToUsers: "postProcessPod", unrecorded,
            istio: "adds no `preStop` hook to the application, and has no setting for it",
            outrigger: "adds a sleep to containers without a hook of their own if `outrigger.dev/preStopSleepSeconds` or the value `sidecarInjectorWebhook.preStopSleepSeconds` asks for it ([pod-lifecycle.md](pod-lifecycle.md#rollouts-without-a-failed-request))",
            reason: "a rolling update fails the requests of clients that do not yet know that an endpoint is gone";
        LeaveTokenToAdmission: "postProcessPod", unrecorded,
            istio: "leaves the ServiceAccount token to admission",
            outrigger: "mounts it into injected containers as admission would, that is, unless the pod has `automountServiceAccountToken: false`",
            reason: "with `reinvocationPolicy: IfNeeded`, this second change makes the API server call the webhook again for every pod";
    }
    Unions {
        MergeExclusiveFields: "applyOverlayYAML", recorded,
            istio: "keeps the template's kind beside the user's",
            outrigger: "the user's replaces it, in the user's own `istio-proxy` and in volumes; of two templates, the later one's. For a volume there is a warning, because its name may be the same by accident. Under `compat: istio` a warning names the container or volume and the field",
            reason: "the pod could not be created";
        KeepRestartPolicyOfProxy: "reapplyOverwrittenContainers", unrecorded,
            istio: "keeps `restartPolicy: Never` of a user's `istio-proxy` that becomes a native sidecar",
            outrigger: "sets `Always`, with a warning",
            reason: "an init container that exits cannot have hooks, and the proxy should keep running";
        DuplicateProxyOfUser: "reapplyOverwrittenContainers", recorded,
            istio: "adds a second container `istio-proxy` if the user's is an init container and the template's is not",
            outrigger: "moves the user's to the template's list",
            reason: "an API server rejects the pod";
        AcceptDuplicateContainers: "RunTemplate", recorded,
            istio: "accepts a pod with `istio-proxy` in both lists, or with its own container that has the name of one of the template's init containers",
            outrigger: "denies it with `DUPLICATE_CONTAINER` and names the container",
            reason: "it is ambiguous whose settings apply, and an API server rejects two containers with one name without mentioning the injector";
        DuplicateVariables: "applyOverlayYAML", unrecorded,
            istio: "writes a variable twice if `proxyMetadata` sets one that the template also sets, or if the user's own `istio-proxy` has it twice; likewise if either sets `ISTIO_PROMETHEUS_ANNOTATIONS`",
            outrigger: "writes it once, with the last value, which a kubelet would use; the user's value of `ISTIO_PROMETHEUS_ANNOTATIONS` is kept",
            reason: "server-side apply rejects the manifest; a second injection changed the pod";
    }
    Reinjection {
        ForgetOverrides: "reapplyOverwrittenContainers", recorded,
            istio: "loses the user's settings of the proxy (image, arguments, IDs), although they were recorded",
            outrigger: "keeps them",
            reason: "they belong to the user";
        TreatMovedProxyAsUsers: "reapplyOverwrittenContainers", recorded,
            istio: "treats the previously injected proxy as the user's own if it changes between container and native sidecar; or keeps both",
            outrigger: "moves it and recreates it; injected init containers that are no longer needed are removed",
            reason: "the pod had the old image and did not know its new containers, or had two containers with one name";
        TreatInjectedIdsAsUsers: "adjustInitContainerUser", unrecorded,
            istio: "treats the IDs of the injected proxy as the user's",
            outrigger: "only those set by the user",
            reason: "the init container's arguments changed";
        MoveExtendedContainers: "reinsertOverrides", recorded,
            istio: "moves containers that templates extend to the end",
            outrigger: "keeps their position",
            reason: "the user determines the order in which they start";
        ReorderVariables: "updateClusterEnvs", recorded,
            istio: "sets cluster and network after the variables that previous steps appended",
            outrigger: "before them; a container with the same variables as before keeps their order",
            reason: "the order of the environment changed";
        ShowProxyInItsPlace: "reinsertOverrides", recorded,
            istio: "lets templates see the user's own proxy at its original position",
            outrigger: "always as the last container, its final position",
            reason: "the order of the list of ports changed; telemetry named the pod after its proxy";
        TrustOverrides: "reapplyOverwrittenContainers", recorded,
            istio: "reads `proxy.istio.io/overrides` regardless of the status, and never rewrites it",
            outrigger: "uses only those overrides that the status names, and updates the annotation",
            reason: "anyone who may create pods may write both annotations; the second injection gave a different pod";
        RejectEmptyOverrides: "reapplyOverwrittenContainers", unrecorded,
            istio: "denies a pod with an empty `proxy.istio.io/overrides`",
            outrigger: "treats it as absent, as it does an empty `sidecar.istio.io/status`",
            reason: "an empty annotation records nothing";
        HideContainersOfStatus: "stripPod", unrecorded,
            istio: "hides every container that the status names from templates",
            outrigger: "only those that the templates create",
            reason: "a container from a forged or outdated status reappeared at the next injection";
    }
    Templates {
        DuplicateProxyOfTemplates: "applyOverlayYAML", recorded,
            istio: "adds a second container `istio-proxy` if a template extends the native sidecar of an earlier one under `containers`",
            outrigger: "the first template with the proxy determines its list, and the others extend it there",
            reason: "an API server rejects the pod, and a template that tunes the proxy should not need to know whether it is native";
        RemoveFieldsLeftEmpty: "applyOverlayYAML", unrecorded,
            istio: "removes a list of the pod if a template leaves it empty (`containers:` above a loop over nothing, `tolerations: []`)",
            outrigger: "a list, map or object that is empty or null directly under `spec` or `metadata` has no effect, even if `null` is written explicitly; use `$patch` to remove it",
            reason: "every pod silently lost its own containers, volumes or tolerations";
        RemoveVolumeSourcesLeftEmpty: "applyOverlayYAML", recorded,
            istio: "removes the source of the pod's volume if a template has a volume of that name with an empty source (`emptyDir:`)",
            outrigger: "an empty source has no effect; use `$patch` to remove it",
            reason: "the pod silently lost the source of its own volume";
        EndNamespaceInNewline: "grpc-simple.yaml", recorded,
            istio: "ends the variable `ISTIO_NAMESPACE` of its template `grpc-simple` with a newline",
            outrigger: "the embedded template does not; Istio's own text of the template keeps it",
            reason: "the address of istiod contained a blank, so gRPC never found it";
    }
    Configuration {
        AcceptInvalidPolicy: "injectRequired", unrecorded,
            istio: "accepts any `policy` and then injects nothing",
            outrigger: "rejects the configuration",
            reason: "a typo would silently turn off injection";
        IgnoreInvalidSelectors: "injectRequired", unrecorded,
            istio: "ignores a selector it cannot parse",
            outrigger: "rejects the configuration",
            reason: "pods that should be left alone would be injected";
        AcceptUnknownDefaultTemplates: "selectTemplates", unrecorded,
            istio: "accepts default templates that do not exist",
            outrigger: "rejects the configuration",
            reason: "every pod would be denied later";
        AcceptAliasesOfUnknownTemplates: "resolveAliases", unrecorded,
            istio: "accepts aliases for templates that do not exist",
            outrigger: "rejects the configuration",
            reason: "pods that request them would be denied later";
    }
}
