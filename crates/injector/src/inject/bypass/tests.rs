//! Each way to bypass the proxy is reported; ordinary pods cause no warnings.

use serde_json::json;

use super::*;
use crate::{
    config::{InjectorConfig, Source},
    inject::{self, Facts, Outcome, PodRequest},
};

fn mesh(more: &str) -> InjectorConfig {
    let text = format!("apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\n{more}");
    InjectorConfig::from_bundle(Source { name: "bundle", text: &text }).unwrap().0
}

fn outcome(mesh: &InjectorConfig, pod: &Value) -> Outcome {
    let request = PodRequest::new("shop", pod.clone());
    inject::run(mesh, &request, &Facts::of(mesh, "shop")).unwrap()
}

fn of(warnings: &[Warning]) -> Vec<&'static str> {
    warnings.iter().map(|warning| warning.code).collect()
}

/// The codes of a pod's warnings, which are the same when the pod is injected again.
fn codes(mesh: &InjectorConfig, pod: &Value) -> Vec<&'static str> {
    let once = outcome(mesh, pod);
    let found = of(once.warnings());
    for warning in once.warnings() {
        assert!(warning.message.chars().count() <= 120, "{warning}");
    }
    if let Outcome::Injected(injection) = once {
        let again = outcome(mesh, &injection.pod);
        assert_eq!(of(again.warnings()), found, "again, {pod}");
    }
    found
}

/// An application with additional metadata and additional parts of its spec.
fn pod(metadata: &Value, spec: &Value) -> Value {
    let mut pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "app", "image": "a"}]}});
    for (field, more) in [("metadata", metadata), ("spec", spec)] {
        pod[field].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    pod
}

fn annotated(key: &str, value: &str) -> Value {
    pod(&json!({"annotations": {key: value}}), &json!({}))
}

/// A pod with its own container under a name that the template also uses.
fn own(list: &str, name: &str, more: &Value) -> Value {
    let mut container = json!({"name": name, "image": "auto"});
    container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut pod = pod(&json!({}), &json!({}));
    pod::spec_list_mut(&mut pod, list).push(container);
    pod
}

const CLASSIC: &str = "nativeSidecars: disabled";
const CNI: &str = "nativeSidecars: disabled\nvalues: {pilot: {cni: {enabled: true}}}";
const CONFIG: &str = "proxy.istio.io/config";

fn traffic(key: &str, value: &str) -> Value {
    annotated(&format!("traffic.sidecar.istio.io/{key}"), value)
}

#[test]
fn every_way_to_pass_the_proxy_by_is_told() {
    let app =
        |context: Value| json!({"containers": [{"name": "app", "image": "a", "securityContext": context}]});
    let init = |more: Value| own("initContainers", "istio-init", &more);
    let proxy = |more: Value| own("containers", "istio-proxy", &more);
    let label = |key: &str, value: &str| pod(&json!({"labels": {key: value}}), &json!({}));
    let mounted = |mounts: &str| {
        let volumes = json!({"volumes": [{"name": "x", "emptyDir": {}}]});
        pod(&json!({"annotations": {"sidecar.istio.io/userVolumeMount": mounts}}), &volumes)
    };
    // A container that mounts the volume with the proxy's certificates.
    let writes = |list: &str, more: Value| {
        let mut mount = json!({"name": "workload-certs", "mountPath": "/x"});
        mount.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        own(list, "writer", &json!({"image": "w", "volumeMounts": [mount]}))
    };
    let rows = [
        (label("security.istio.io/tlsMode", "disabled"), "BYPASS_TLS_MODE"),
        (label("sidecar.istio.io/inject", "false"), "BYPASS_OPTED_OUT"),
        (pod(&json!({}), &json!({"hostNetwork": true})), "BYPASS_HOST_NETWORK"),
        (annotated("sidecar.istio.io/interceptionMode", "NONE"), "BYPASS_INTERCEPTION_MODE"),
        (annotated(CONFIG, "interceptionMode: NONE"), "BYPASS_INTERCEPTION_MODE"),
        (traffic("includeOutboundIPRanges", ""), "BYPASS_OUTBOUND"),
        (traffic("excludeOutboundIPRanges", "10.0.0.0/8,0.0.0.0/0"), "BYPASS_OUTBOUND"),
        (traffic("excludeOutboundIPRanges", "::/0"), "BYPASS_OUTBOUND"),
        (traffic("includeInboundPorts", ""), "BYPASS_INBOUND"),
        (traffic("includeInboundPorts", "80"), "BYPASS_SOME_TRAFFIC"),
        (traffic("excludeInboundPorts", "8080"), "BYPASS_SOME_TRAFFIC"),
        (traffic("includeOutboundIPRanges", "10.0.0.0/8"), "BYPASS_SOME_TRAFFIC"),
        (traffic("excludeOutboundIPRanges", "10.0.0.0/8"), "BYPASS_SOME_TRAFFIC"),
        (traffic("excludeOutboundPorts", "5432"), "BYPASS_SOME_TRAFFIC"),
        (traffic("excludeInterfaces", "eth1"), "BYPASS_SOME_TRAFFIC"),
        (annotated("istio.io/reroute-virtual-interfaces", "net1"), "BYPASS_SOME_TRAFFIC"),
        (init(json!({"image": "mine"})), "BYPASS_OWN_INIT"),
        (init(json!({"args": ["--dry-run"]})), "BYPASS_OWN_INIT"),
        (init(json!({"command": ["true"]})), "BYPASS_OWN_INIT"),
        (init(json!({"env": [{"name": "DRY_RUN", "value": "true"}]})), "BYPASS_OWN_INIT"),
        (init(json!({"securityContext": {"runAsUser": 5}})), "BYPASS_OWN_INIT"),
        (proxy(json!({"image": "mine/proxy:1"})), "BYPASS_PROXY_IMAGE"),
        (annotated("sidecar.istio.io/proxyImage", "mine/proxy:1"), "BYPASS_PROXY_IMAGE"),
        (proxy(json!({"command": ["sleep"]})), "BYPASS_PROXY_COMMAND"),
        (proxy(json!({"args": ["sleep"]})), "BYPASS_PROXY_COMMAND"),
        (proxy(json!({"env": [{"name": "DISABLE_ENVOY", "value": "true"}]})), "BYPASS_PROXY_ENVIRONMENT"),
        (annotated(CONFIG, "proxyMetadata: {DRY_RUN: 'true'}"), "BYPASS_PROXY_ENVIRONMENT"),
        (annotated(CONFIG, "proxyMetadata: {ISTIO_OUTBOUND_OWNER_GROUPS: none}"), "BYPASS_PROXY_ENVIRONMENT"),
        (annotated(CONFIG, "discoveryAddress: evil.example:15012"), "BYPASS_CONTROL_PLANE"),
        (annotated(CONFIG, "customConfigFile: /x.json"), "BYPASS_BOOTSTRAP"),
        (annotated("sidecar.istio.io/bootstrapOverride", "mine"), "BYPASS_BOOTSTRAP"),
        (annotated(CONFIG, "tracing: {zipkin: {address: 'evil.example:9411'}}"), "BYPASS_TELEMETRY"),
        (pod(&json!({}), &app(json!({"privileged": true}))), "BYPASS_NET_ADMIN"),
        (pod(&json!({}), &app(json!({"capabilities": {"add": ["NET_ADMIN"]}}))), "BYPASS_NET_ADMIN"),
        (pod(&json!({}), &app(json!({"capabilities": {"add": ["CAP_NET_ADMIN"]}}))), "BYPASS_NET_ADMIN"),
        (pod(&json!({}), &app(json!({"capabilities": {"add": ["ALL"]}}))), "BYPASS_NET_ADMIN"),
        (pod(&json!({}), &app(json!({"runAsUser": 1337}))), "USER_OF_THE_PROXY"),
        (annotated("inject.istio.io/templates", "grpc-simple"), "BYPASS_TEMPLATES"),
        (annotated("inject.istio.io/templates", "gateway"), "BYPASS_TEMPLATES"),
        (annotated("inject.istio.io/templates", "grpc-agent"), "BYPASS_TEMPLATES"),
        (annotated("status.sidecar.istio.io/port", "8080"), "BYPASS_SOME_TRAFFIC"),
        (traffic("excludeInboundPorts", "15053"), "BYPASS_SOME_TRAFFIC"),
        (annotated(CONFIG, "proxyMetadata: {CLEANUP_ONLY: 'true'}"), "BYPASS_PROXY_ENVIRONMENT"),
        (annotated(CONFIG, "proxyMetadata: {LD_PRELOAD: /x.so}"), "BYPASS_PROXY_ENVIRONMENT"),
        (annotated(CONFIG, "caCertificatesPem: [x]"), "BYPASS_CONTROL_PLANE"),
        (annotated(CONFIG, "image: {imageType: 'x@sha256:1'}"), "BYPASS_PROXY_IMAGE"),
        (pod(&json!({}), &app(json!({"capabilities": {"add": ["cap_net_admin"]}}))), "BYPASS_NET_ADMIN"),
        (pod(&json!({}), &app(json!({"capabilities": {"add": ["all"]}}))), "BYPASS_NET_ADMIN"),
        (pod(&json!({}), &app(json!({"capabilities": {"add": ["SYS_MODULE"]}}))), "BYPASS_NET_ADMIN"),
        (init(json!({"volumeMounts": [{"name": "x", "mountPath": "/usr/local/bin"}]})), "BYPASS_OWN_INIT"),
        (
            proxy(json!({"volumeMounts": [{"name": "x", "mountPath": "/usr/local/bin"}]})),
            "BYPASS_PROXY_COMMAND",
        ),
        (proxy(json!({"lifecycle": {"postStart": {"exec": {"command": ["x"]}}}})), "BYPASS_PROXY_COMMAND"),
        (proxy(json!({"livenessProbe": {"exec": {"command": ["x"]}}})), "BYPASS_PROXY_COMMAND"),
        (mounted(r#"{"x":{"mountPath":"/usr/local/bin"}}"#), "BYPASS_PROXY_COMMAND"),
        (mounted(r#"{"x":{"MountPath":"/usr/local/bin"}}"#), "BYPASS_PROXY_COMMAND"),
        (mounted(r#"[{"name":"x","mountPath":"/usr/local/bin"}]"#), "BYPASS_PROXY_COMMAND"),
        (mounted(r#"{"x":{"mountPath":"usr/local/bin"}}"#), "BYPASS_PROXY_COMMAND"),
        (mounted(r#"{"x":{"mountPath":"./etc/ssl"}}"#), "BYPASS_PROXY_COMMAND"),
        (mounted(r#"{"x":{"mountPath":"var"}}"#), "BYPASS_PROXY_COMMAND"),
        (mounted(r#"{"x":{"mountPath":"/etc/certs"}}"#), "BYPASS_PROXY_COMMAND"),
        (proxy(json!({"workingDir": "/tmp"})), "BYPASS_PROXY_COMMAND"),
        (proxy(json!({"terminationMessagePath": "/etc/resolv.conf"})), "BYPASS_PROXY_COMMAND"),
        (init(json!({"workingDir": "/tmp"})), "BYPASS_OWN_INIT"),
        (annotated(CONFIG, "controlPlaneAuthPolicy: NONE"), "BYPASS_CONTROL_PLANE"),
        (annotated(CONFIG, "control_plane_auth_policy: 0"), "BYPASS_CONTROL_PLANE"),
        (annotated(CONFIG, r#"{"control\u0050laneAuthPolicy": "NONE"}"#), "BYPASS_CONTROL_PLANE"),
        (annotated(CONFIG, "proxyMetadata: {LD_AUDIT: /x.so}"), "BYPASS_PROXY_ENVIRONMENT"),
        (annotated(CONFIG, "proxyMetadata: {ISTIO_METAJSON_X: '{}'}"), "BYPASS_PROXY_ENVIRONMENT"),
        (
            annotated(CONFIG, "proxyMetadata: {ISTIO_META_TLS_SERVER_ROOT_CERT: /x}"),
            "BYPASS_PROXY_ENVIRONMENT",
        ),
        (annotated(CONFIG, "proxyMetadata: {POD_NAMESPACE: other}"), "BYPASS_PROXY_ENVIRONMENT"),
        (
            pod(&json!({}), &json!({"volumes": [{"name": "workload-certs", "configMap": {"name": "x"}}]})),
            "OWN_VOLUME",
        ),
        (writes("containers", json!({})), "BYPASS_PROXY_VOLUME"),
        (writes("initContainers", json!({})), "BYPASS_PROXY_VOLUME"),
        (
            {
                let mut pod = annotated("inject.istio.io/templates", "gateway");
                pod["spec"]["containers"] = json!([{"name": "istio-proxy", "image": "auto"}]);
                pod["spec"]["initContainers"] =
                    json!([{"name": "app", "image": "a", "restartPolicy": "Always"}]);
                pod
            },
            "BYPASS_TEMPLATES",
        ),
        (
            pod(
                &json!({}),
                &json!({"initContainers": [
                    {"name": "b", "image": "b", "restartPolicy": "Always", "securityContext": {"runAsUser": 1337}},
                ]}),
            ),
            "USER_OF_THE_PROXY",
        ),
        (
            {
                let mut pod = proxy(json!({"securityContext": {"runAsUser": 1000}}));
                pod["spec"]["containers"][0]["securityContext"] = json!({"runAsUser": 1000});
                pod
            },
            "USER_OF_THE_PROXY",
        ),
    ];
    let classic = mesh(CLASSIC);
    for (pod, code) in &rows {
        assert_eq!(codes(&classic, pod), [*code], "{pod}");
    }
    for pod in [
        writes("containers", json!({"readOnly": true})),
        pod(&json!({}), &json!({"volumes": [{"name": "workload-certs", "emptyDir": {"medium": "Memory"}}]})),
        annotated(CONFIG, "controlPlaneAuthPolicy: MUTUAL_TLS"),
        mounted(r#"{"x":{"mountPath":"data/usr"}}"#),
        proxy(json!({"terminationMessagePath": "/dev/termination-log"})),
    ] {
        assert_eq!(codes(&classic, &pod), [""; 0], "{pod}");
    }
    // Two of them also have another code, for their other peculiarities.
    let former = traffic("kubevirtInterfaces", "net1");
    assert_eq!(codes(&classic, &former), ["DEPRECATED_ANNOTATION", "BYPASS_SOME_TRAFFIC"]);
    let address = annotated("sidecar.istio.io/discoveryAddress", "evil.example:15012");
    assert_eq!(codes(&classic, &address), ["DEPRECATED_ANNOTATION", "BYPASS_CONTROL_PLANE"]);
    for code in crate::codes::CORE.iter().map(|code| code.key).filter(|key| key.starts_with("BYPASS_")) {
        assert!(rows.iter().any(|(_, row)| *row == code), "no row has {code}");
    }
}

#[test]
fn variables_of_datadogs_annotation_count_where_the_proxy_has_them() {
    let key = "apm.datadoghq.com/env";
    let traced = format!("{CLASSIC}\nvalues: {{global: {{proxy: {{tracer: datadog}}}}}}");
    let both = "BYPASS_PROXY_ENVIRONMENT";
    for (bundle, variables, wanted) in [
        (traced.as_str(), r#"{"DD_ENV":"prod"}"#, &[][..]),
        (&traced, r#"{"DISABLE_ENVOY":"true"}"#, &[both]),
        (&traced, r#"{"CA_ADDR":"evil.example:1","DRY_RUN":"true"}"#, &[both, both]),
        (CLASSIC, r#"{"DISABLE_ENVOY":"true"}"#, &[]),
    ] {
        assert_eq!(codes(&mesh(bundle), &annotated(key, variables)), wanted, "{variables}");
    }
}

#[test]
fn without_redirection_the_pod_is_told_what_it_needs() {
    let (key, with_sidecar) =
        ("sidecar.istio.io/interceptionMode", "a Sidecar resource with ports from 1024");
    for (bundle, pod, wanted) in [
        (CLASSIC, annotated(key, "NONE"), with_sidecar),
        (CLASSIC, annotated(CONFIG, "interceptionMode: NONE"), with_sidecar),
        (CNI, annotated(key, "NONE"), "refused by the CNI plugin"),
    ] {
        let outcome = outcome(&mesh(bundle), &pod);
        let [warning] = outcome.warnings() else { panic!("{:?}", outcome.warnings()) };
        assert!(warning.message.contains(wanted), "{warning}");
    }
}

/// With the CNI plugin, the effective values are written into annotations; these are not the pod's own choice.
#[test]
fn what_an_injection_wrote_is_not_the_pods_doing() {
    let plain = pod(&json!({}), &json!({}));
    for text in [
        CNI.to_owned(),
        CLASSIC.to_owned(),
        "nativeSidecars: enabled".to_owned(),
        format!("{CNI}\nmesh: {{defaultConfig: {{interceptionMode: NONE}}}}"),
        format!("{CNI}\nmesh: {{defaultConfig: {{interceptionMode: TPROXY, statusPort: 15099}}}}"),
        "values: {pilot: {cni: {enabled: true}}, global: {proxy: {includeIPRanges: 10.0.0.0/8, \
         excludeIPRanges: 10.1.0.0/16, includeInboundPorts: '80', excludeInboundPorts: '22', \
         excludeOutboundPorts: '5432'}}}"
            .to_owned(),
    ] {
        assert_eq!(codes(&mesh(&text), &plain), [""; 0], "{text}");
    }
}

#[test]
fn what_ordinary_pods_do_is_not_told() {
    let classic = mesh(CLASSIC);
    for pod in [
        pod(&json!({}), &json!({})),
        pod(
            &json!({"annotations": {"sidecar.istio.io/proxyCPU": "1", "sidecar.istio.io/proxyMemory": "1Gi"}}),
            &json!({}),
        ),
        annotated(CONFIG, "holdApplicationUntilProxyStarts: true"),
        annotated(CONFIG, "proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true', OUTPUT_CERTS: /certs}"),
        // Same as in the mesh.
        annotated(CONFIG, "interceptionMode: REDIRECT\ndiscoveryAddress: istiod.istio-system.svc:15012"),
        traffic("includeOutboundIPRanges", "*"),
        traffic("includeInboundPorts", "*"),
        traffic("excludeOutboundPorts", ""),
        traffic("excludeInboundPorts", "15020,15090"),
        annotated("status.sidecar.istio.io/port", "15020"),
        annotated("status.sidecar.istio.io/port", "0"),
        annotated(CONFIG, "image: {imageType: distroless}"),
        own(
            "containers",
            "istio-proxy",
            &json!({"volumeMounts": [{"name": "x", "mountPath": "/etc/istio/ingressgateway-certs"}]}),
        ),
        own("containers", "istio-proxy", &json!({"resources": {"limits": {"cpu": "1"}}})),
        own("containers", "istio-proxy", &json!({"env": [{"name": "MINE", "value": "1"}]})),
        own("initContainers", "istio-init", &json!({"resources": {"limits": {"cpu": "1"}}})),
        pod(&json!({"labels": {"security.istio.io/tlsMode": "istio"}}), &json!({})),
        // A gateway, by its template.
        {
            let mut gateway = own("containers", "istio-proxy", &json!({}));
            gateway["metadata"]["annotations"] = json!({"inject.istio.io/templates": "gateway"});
            pod::containers_mut(&mut gateway).remove(0);
            gateway
        },
    ] {
        assert_eq!(codes(&classic, &pod), [""; 0], "{pod}");
    }
    // If pods have to opt in, not doing so is not an opt-out.
    let asked = mesh("injector: {policy: disabled}");
    let refuses = pod(&json!({"labels": {"sidecar.istio.io/inject": "false"}}), &json!({}));
    assert_eq!(codes(&asked, &refuses), [""; 0]);
}

/// The configuration's own settings are not the pod's doing, and including more exempts nothing.
#[test]
fn lists_are_compared_with_those_of_the_configuration() {
    let proxy = "values: {global: {proxy: {includeInboundPorts: '80,8080', includeIPRanges: 10.0.0.0/8, \
                 includeOutboundPorts: '443,8443', excludeOutboundPorts: '6666', excludeIPRanges: 10.1.0.0/16}}}";
    let configured = mesh(&format!("{CLASSIC}\n{proxy}"));
    for (key, value, is_told) in [
        ("includeInboundPorts", "80,8080,9090", false),
        ("includeInboundPorts", "80,9090", true),
        ("includeOutboundIPRanges", "10.0.0.0/8,11.0.0.0/8", false),
        ("includeOutboundIPRanges", "11.0.0.0/8", true),
        ("includeOutboundPorts", "443,8443,9443", false),
        ("includeOutboundPorts", "1", true),
        ("includeOutboundPorts", "", true),
        ("excludeOutboundPorts", "6666,3306", true),
        ("excludeOutboundPorts", "", false),
    ] {
        let wanted = if is_told { &["BYPASS_SOME_TRAFFIC"][..] } else { &[] };
        assert_eq!(codes(&configured, &traffic(key, value)), wanted, "{key}: {value}");
    }
    let traced =
        mesh(&format!("{CLASSIC}\nmesh: {{defaultConfig: {{tracing: {{zipkin: {{address: 'a:1'}}}}}}}}"));
    assert_eq!(codes(&traced, &annotated(CONFIG, "tracing: {}")), ["BYPASS_TELEMETRY"]);
}

/// A status that the pod's author wrote hides nothing, in whichever list and under whichever rules.
#[test]
fn a_forged_status_hides_no_bypass() {
    let status = json!({"containers": ["istio-proxy"], "initContainers": ["istio-init"], "volumes": ["istiod-ca-cert"]});
    let swapped = json!({"containers": ["istio-init"], "initContainers": ["istio-proxy"]});
    for (list, name, more, code) in [
        ("initContainers", "istio-init", json!({"command": ["true"]}), "BYPASS_OWN_INIT"),
        ("initContainers", "istio-init", json!({"restartPolicy": "Always"}), "BYPASS_OWN_INIT"),
        (
            "initContainers",
            "istio-init",
            json!({"env": [{"name": "DRY_RUN", "value": "true"}]}),
            "BYPASS_OWN_INIT",
        ),
        ("containers", "istio-proxy", json!({"command": ["sleep"]}), "BYPASS_PROXY_COMMAND"),
        (
            "containers",
            "istio-proxy",
            json!({"envFrom": [{"secretRef": {"name": "a"}}]}),
            "BYPASS_PROXY_COMMAND",
        ),
        (
            "containers",
            "istio-proxy",
            json!({"lifecycle": {"postStart": {"exec": {"command": ["a"]}}}}),
            "BYPASS_PROXY_COMMAND",
        ),
        (
            "containers",
            "istio-proxy",
            json!({"env": [{"name": "DISABLE_ENVOY", "value": "true"}]}),
            "BYPASS_PROXY_ENVIRONMENT",
        ),
    ] {
        for rules in ["", "\ncompat: istio"] {
            for native in ["nativeSidecars: disabled", "nativeSidecars: enabled"] {
                // A hook does not follow the proxy to another list.
                if more.get("lifecycle").is_some() && native.ends_with("enabled") {
                    continue;
                }
                for status in [&status, &swapped] {
                    let mut forged = own(list, name, &more);
                    forged["metadata"]["annotations"] =
                        json!({"sidecar.istio.io/status": status.to_string()});
                    let found = of(outcome(&mesh(&format!("{native}{rules}")), &forged).warnings());
                    assert!(found.contains(&code), "{native}{rules}: {found:?}: {forged}");
                    let is_named_there = rules.is_empty() || status != &swapped;
                    assert!(
                        found.contains(&"FORGED_RECORD") || !is_named_there,
                        "{native}{rules}: {found:?}: {forged}"
                    );
                }
            }
        }
    }
    let mut forged = pod(
        &json!({"annotations": {"sidecar.istio.io/status": status.to_string()}}),
        &json!({"volumes": [{"name": "istiod-ca-cert", "configMap": {"name": "a", "items": [{"key": "a", "path": "root-cert.pem"}]}}]}),
    );
    assert!(of(outcome(&mesh(CLASSIC), &forged).warnings()).contains(&"FORGED_RECORD"));
    // An annotation that only Istio trusts, without a status.
    let record = json!({"containers": [{"name": "istio-proxy", "command": ["sleep"]}]}).to_string();
    forged["metadata"]["annotations"] = json!({ "proxy.istio.io/overrides": record });
    let found = of(outcome(&mesh(&format!("{CLASSIC}\ncompat: istio")), &forged).warnings());
    assert!(found.contains(&"BYPASS_PROXY_COMMAND"), "{found:?}");
}

/// What a record restores was in no pod that an API server accepted, and it would reject the result.
#[test]
fn a_record_of_two_sources_is_told() {
    for compat in ["outrigger", "istio"] {
        let mesh = mesh(&format!("{CLASSIC}\ncompat: {compat}"));
        let Outcome::Injected(first) = outcome(&mesh, &pod(&json!({}), &json!({}))) else {
            panic!("{compat}")
        };
        for (source, is_restored) in [
            (json!({"secretRef": {"name": "a"}}), false),
            (json!({"secretRef": {"name": "a"}, "configMapRef": {"name": "b"}}), compat == "outrigger"),
        ] {
            let mut forged = first.pod.clone();
            let record = json!({"containers": [{"name": "istio-proxy", "envFrom": [source]}]}).to_string();
            forged["metadata"]["annotations"]["proxy.istio.io/overrides"] = json!(record);
            let Outcome::Injected(again) = outcome(&mesh, &forged) else { panic!("{compat}") };
            let told: Vec<&str> = again
                .warnings
                .iter()
                .filter(|warning| warning.code == "SEVERAL_OF_ONE")
                .map(|warning| warning.message.as_str())
                .collect();
            let found = crate::unions::violations(&again.pod);
            assert_eq!(told, found.iter().map(ToString::to_string).collect::<Vec<_>>(), "{compat} {source}");
            assert_eq!(!found.is_empty(), is_restored, "{compat} {source}");
        }
    }
}

/// As it comes from an API server, which has filled in defaults, and after other webhooks.
#[test]
fn an_injected_pod_with_defaults_is_no_forgery() {
    for bundle in [CLASSIC, CNI, "nativeSidecars: enabled"] {
        let mesh = mesh(bundle);
        let probe = json!({"httpGet": {"path": "/", "port": 80}});
        let app = json!({"name": "app", "image": "a", "readinessProbe": probe});
        let Outcome::Injected(first) = outcome(&mesh, &pod(&json!({}), &json!({"containers": [app]}))) else {
            panic!("{bundle}")
        };
        let mut pod = first.pod.clone();
        let token = json!({"name": "kube-api-access-12345", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"});
        for list in ["containers", "initContainers"] {
            for container in pod::spec_list_mut(&mut pod, list) {
                container["terminationMessagePath"] = json!("/dev/termination-log");
                container["terminationMessagePolicy"] = json!("File");
                container["imagePullPolicy"] = json!("IfNotPresent");
                for probe in ["readinessProbe", "startupProbe"] {
                    if let Some(probe) = container.get_mut(probe) {
                        probe["httpGet"]["scheme"] = json!("HTTP");
                        probe["successThreshold"] = json!(1);
                    }
                }
                if let Some(Value::Array(env)) = container.get_mut("env") {
                    for field in env.iter_mut().filter_map(|item| item.pointer_mut("/valueFrom/fieldRef")) {
                        field["apiVersion"] = json!("v1");
                    }
                    env.push(json!({"name": "AWS_ROLE_ARN", "value": "a"}));
                }
                if let Some(Value::Array(mounts)) = container.get_mut("volumeMounts") {
                    mounts.push(token.clone());
                }
            }
        }
        assert_eq!(of(outcome(&mesh, &pod).warnings()), [""; 0], "{bundle}");
    }
}

#[test]
fn a_bypass_counts_as_such_under_istios_rules_too() {
    let istio = mesh(&format!("{CLASSIC}\ncompat: istio"));
    let pod = traffic("includeOutboundIPRanges", "");
    assert_eq!(of(outcome(&istio, &pod).warnings()), ["BYPASS_OUTBOUND"]);
}

// I-10
#[test]
fn a_record_that_does_not_fit_the_pod_is_told() {
    let classic = mesh(CLASSIC);
    let status = |names: &[&str]| json!({"containers": names}).to_string();
    let strange = json!({"containers": [{"name": "app", "image": "forged"}]}).to_string();
    for annotations in [
        json!({"sidecar.istio.io/status": status(&["istio-proxy"])}),
        json!({"proxy.istio.io/overrides": strange}),
    ] {
        let pod = pod(&json!({"annotations": annotations}), &json!({}));
        assert_eq!(of(outcome(&classic, &pod).warnings()), ["FORGED_RECORD"], "{pod}");
    }
}
