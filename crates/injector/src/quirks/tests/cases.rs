//! One case per quirk.

use serde_json::{Value, json};

use super::{Case, injected};
use crate::quirks::Quirk;

/// Ordinary and native sidecars, by the embedded template.
const CLASSIC: &str = "nativeSidecars: disabled";
const NATIVE: &str = "nativeSidecars: enabled";

/// A configuration with one small template.
fn template(text: &str) -> String {
    let text = text.replace('\n', "\n      ");
    format!("{CLASSIC}\ninjector:\n  templates:\n    sidecar: |\n      {text}\n")
}

/// The proxy and nothing else.
const PROXY: &str = "spec:\n  containers:\n  - {name: istio-proxy, image: 'ours:1'}";
/// The same, and in an annotation the containers that the template was shown.
const SHOWS_CONTAINERS: &str = "metadata:\n  annotations:\n    shown: '{{ range .Spec.Containers }}{{ .Name }} {{ end }}'\nspec:\n  containers:\n  - {name: istio-proxy, image: 'ours:1'}";

/// A pod with annotations; `spec` is laid over one container `app`.
fn pod(annotations: Value, spec: Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": "p", "annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    });
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    pod
}

fn annotated(key: &str, value: &str) -> Value {
    pod(json!({key: value}), json!({}))
}

/// A pod whose application has this handler as its liveness probe.
fn probed(annotations: Value, probe: Value) -> Value {
    pod(annotations, json!({"containers": [{"name": "app", "image": "app:1", "livenessProbe": probe}]}))
}

fn containers(containers: Value) -> Value {
    pod(json!({}), json!({"containers": containers}))
}

const PROBE_PORT: &str = "/spec/containers/@app/livenessProbe/httpGet/port";

pub(super) fn of(quirk: Quirk) -> Case {
    let app = || json!({"name": "app", "image": "app:1"});
    let proxy = || json!({"name": "istio-proxy", "image": "mine:1"});
    let http = |port: Value| json!({"httpGet": {"port": port}});
    let status_port = |port: &str| json!({"status.sidecar.istio.io/port": port});
    match quirk {
        Quirk::InjectMirrorPods => Case::new("", annotated("kubernetes.io/config.mirror", "x"), "outcome")
            .istio("injected")
            .outrigger("MIRROR_POD"),
        Quirk::InjectWindowsPods => {
            Case::new("", pod(json!({}), json!({"os": {"name": "windows"}})), "outcome")
                .istio("injected")
                .outrigger("WINDOWS_POD")
        }
        Quirk::InjectLinkerdPods => {
            let mut pod = annotated("linkerd.io/proxy-version", "2");
            pod["spec"]["containers"] = json!([app(), {"name": "linkerd-proxy", "image": "l"}]);
            Case::new("", pod, "outcome").istio("injected").outrigger("INJECTED_BY_LINKERD")
        }
        Quirk::AcceptInvalidAnnotations => {
            Case::new("", annotated("sidecar.istio.io/logLevel", "loud"), "outcome")
                .istio("injected")
                .outrigger("INVALID_ANNOTATION")
        }
        Quirk::AcceptInvalidUserVolumes => {
            let mount = r#"{"v": {"mountPath": "/v"}}"#;
            Case::new("", annotated("sidecar.istio.io/userVolumeMount", mount), "outcome")
                .istio("injected")
                .outrigger("INVALID_ANNOTATION")
        }
        Quirk::AcceptNegativeQuantities => {
            Case::new("", annotated("sidecar.istio.io/proxyCPU", "-1"), "outcome")
                .istio("injected")
                .outrigger("INVALID_ANNOTATION")
        }
        Quirk::RejectBlanksInPrefixes => {
            let key = "traffic.sidecar.istio.io/includeOutboundIPRanges";
            Case::new("", annotated(key, "10.0.0.0/8, 1.2.3.4/32"), "outcome")
                .istio("INVALID_ANNOTATION")
                .outrigger("injected")
        }
        Quirk::ShowEmptyAnnotations => {
            let key = "sidecar.istio.io/proxyImageType";
            let text = format!(
                "metadata:\n  annotations:\n    seen: '{{{{ isset .ObjectMeta.Annotations `{key}` }}}}'"
            );
            Case::new(template(&text), annotated(key, ""), "/metadata/annotations/seen")
                .istio("true")
                .outrigger("false")
        }
        Quirk::RewriteProbesOfUnknownPorts => {
            Case::new("", probed(json!({}), http(json!("nope"))), PROBE_PORT).istio(15020).outrigger("nope")
        }
        Quirk::ScrapeStatusPortOfMesh => {
            Case::new("", pod(status_port("15099"), json!({})), "/metadata/annotations/prometheus.io~1port")
                .istio("15020")
                .outrigger("15099")
        }
        Quirk::UseStatusPortZero => {
            Case::new("", probed(status_port("0"), http(json!(80))), PROBE_PORT).istio(0).outrigger(80)
        }
        Quirk::ScrapeWithoutAgent => {
            let pod = annotated("inject.istio.io/templates", "grpc-simple");
            Case::new("", pod, "/metadata/annotations/prometheus.io~1port").istio("15020")
        }
        Quirk::ReadBlankInStatusPortAsZero => {
            Case::new("", probed(status_port(" 15099 "), http(json!(80))), PROBE_PORT)
                .istio(0)
                .outrigger(15099)
                .needs(&[Quirk::UseStatusPortZero])
        }
        Quirk::RewriteProbesWithHost => {
            let probe = json!({"httpGet": {"host": "example.com", "port": 80}});
            Case::new("", probed(json!({}), probe), PROBE_PORT).istio(15020).outrigger(80)
        }
        Quirk::RewriteProbesBeforeProxy => {
            let setup = json!({"name": "setup", "image": "s:1", "startupProbe": http(json!(80))});
            let pod = pod(json!({}), json!({"initContainers": [setup]}));
            Case::new(CLASSIC, pod, "/spec/initContainers/@setup/startupProbe/httpGet/port")
                .istio(15020)
                .outrigger(80)
        }
        Quirk::IgnorePodLevelResources => {
            let pod = pod(json!({}), json!({"resources": {"limits": {"cpu": "1"}}}));
            Case::new(CLASSIC, pod, "/spec/resources/requests").outrigger(json!({"cpu": "1"}))
        }
        Quirk::LeavePreStopToUsers => {
            let pod = annotated("outrigger.dev/preStopSleepSeconds", "5");
            Case::new("", pod, "/spec/containers/@app/lifecycle/preStop/sleep/seconds").outrigger(5)
        }
        Quirk::LeaveTokenToAdmission => {
            let mount = "/var/run/secrets/kubernetes.io/serviceaccount";
            let token = json!({"name": "kube-api-access-x7x7x", "mountPath": mount});
            let pod = pod(
                json!({}),
                json!({
                    "volumes": [{"name": "kube-api-access-x7x7x", "projected": {}}],
                    "containers": [{"name": "app", "image": "app:1", "volumeMounts": [token]}],
                }),
            );
            Case::new(CLASSIC, pod, "/spec/initContainers/@istio-init/volumeMounts/*")
                .outrigger(json!(["kube-api-access-x7x7x"]))
        }
        Quirk::MergeExclusiveFields => {
            let volume = json!({"name": "istio-data", "hostPath": {"path": "/data"}});
            Case::new("", pod(json!({}), json!({"volumes": [volume]})), "/spec/volumes/@istio-data/emptyDir")
                .istio(json!({}))
        }
        Quirk::KeepRestartPolicyOfProxy => {
            let proxy = json!({"name": "istio-proxy", "image": "auto", "restartPolicy": "Never"});
            Case::new(
                NATIVE,
                containers(json!([app(), proxy])),
                "/spec/initContainers/@istio-proxy/restartPolicy",
            )
            .istio("Never")
            .outrigger("Always")
        }
        Quirk::DuplicateProxyOfUser => {
            let pod = pod(json!({}), json!({"initContainers": [proxy()]}));
            Case::new(template(PROXY), pod, "/spec/initContainers/*")
                .istio(json!(["istio-proxy"]))
                .outrigger(json!([]))
                .needs(&[Quirk::AcceptDuplicateContainers])
        }
        Quirk::AcceptDuplicateContainers => {
            let pod = pod(json!({}), json!({"containers": [app(), proxy()], "initContainers": [proxy()]}));
            Case::new("", pod, "outcome").istio("injected").outrigger("DUPLICATE_CONTAINER")
        }
        Quirk::DuplicateVariables => {
            let text = format!("{PROXY}\n    env: [{{name: A, value: '1'}}, {{name: A, value: '2'}}]")
                .replace("{name: istio-proxy, image: 'ours:1'}", "name: istio-proxy");
            Case::new(template(&text), annotated("a", "b"), "/spec/containers/@istio-proxy/env/*")
                .istio(json!(["A", "A"]))
                .outrigger(json!(["A"]))
        }
        Quirk::ForgetOverrides => {
            let bundle = template(PROXY);
            let pod = injected(&bundle, &containers(json!([app(), proxy()])));
            Case::new(bundle, pod, "/spec/containers/@istio-proxy/image").istio("ours:1").outrigger("mine:1")
        }
        Quirk::TreatMovedProxyAsUsers => {
            let text = PROXY.replace("containers", "initContainers");
            let bundle = template(&text).replace(CLASSIC, NATIVE);
            let pod = injected(&template(&PROXY.replace("ours:1", "old:1")), &annotated("a", "b"));
            Case::new(bundle, pod, "/spec/initContainers/@istio-proxy/image")
                .istio("old:1")
                .outrigger("ours:1")
        }
        Quirk::TreatInjectedIdsAsUsers => {
            let mut pod = injected(CLASSIC, &annotated("a", "b"));
            let proxy = pod["spec"]["containers"].as_array_mut().unwrap().last_mut().unwrap();
            proxy["securityContext"]["runAsUser"] = json!(1234);
            Case::new(CLASSIC, pod, "/spec/initContainers/@istio-init/args/6").istio("1234").outrigger("1337")
        }
        Quirk::MoveExtendedContainers => {
            let bundle =
                template(&format!("{SHOWS_CONTAINERS}\n  - {{name: app, env: [{{name: A, value: b}}]}}"));
            let pod = injected(&bundle, &containers(json!([app(), {"name": "other", "image": "o:1"}])));
            Case::new(bundle, pod, "/metadata/annotations/shown").istio("other app ").outrigger("app other ")
        }
        Quirk::ReorderVariables => {
            let bundle =
                format!("{}values: {{global: {{multiCluster: {{clusterName: c}}}}}}\n", template(PROXY));
            let pod = injected(&bundle, &annotated("prometheus.io/port", "8080"));
            let (cluster, prometheus) = ("ISTIO_META_CLUSTER_ID", "ISTIO_PROMETHEUS_ANNOTATIONS");
            Case::new(bundle, pod, "/spec/containers/@istio-proxy/env/*")
                .istio(json!([prometheus, cluster]))
                .outrigger(json!([cluster, prometheus]))
        }
        Quirk::ShowProxyInItsPlace => {
            let pod = containers(json!([proxy(), app()]));
            Case::new(template(SHOWS_CONTAINERS), pod, "/metadata/annotations/shown")
                .istio("istio-proxy app ")
                .outrigger("app istio-proxy ")
        }
        Quirk::TrustOverrides => {
            let forged = json!({"containers": [proxy()]}).to_string();
            let pod = annotated("proxy.istio.io/overrides", &forged);
            Case::new(template(PROXY), pod, "/spec/containers/@istio-proxy/image")
                .istio("mine:1")
                .outrigger("ours:1")
        }
        Quirk::RejectEmptyOverrides => Case::new("", annotated("proxy.istio.io/overrides", ""), "outcome")
            .istio("MALFORMED_ANNOTATION")
            .outrigger("injected"),
        Quirk::HideContainersOfStatus => {
            let forged = json!({"containers": ["app"]}).to_string();
            let pod = annotated("sidecar.istio.io/status", &forged);
            Case::new(template(SHOWS_CONTAINERS), pod, "/metadata/annotations/shown")
                .istio("")
                .outrigger("app ")
        }
        Quirk::DuplicateProxyOfTemplates => {
            let tuned = "    tuned: |\n      spec: {containers: [{name: istio-proxy, tty: true}]}\n";
            let native = PROXY.replace("containers", "initContainers");
            let bundle = format!("{}{tuned}  defaultTemplates: [sidecar, tuned]\n", template(&native));
            Case::new(bundle.replace(CLASSIC, NATIVE), annotated("a", "b"), "/spec/containers/*")
                .istio(json!(["app", "istio-proxy"]))
                .outrigger(json!(["app"]))
                .needs(&[Quirk::AcceptDuplicateContainers])
        }
        Quirk::RemoveFieldsLeftEmpty => {
            let pod = pod(json!({}), json!({"tolerations": [{"key": "a"}]}));
            Case::new(template("spec:\n  tolerations:"), pod, "/spec/tolerations")
                .outrigger(json!([{"key": "a"}]))
        }
        Quirk::RemoveVolumeSourcesLeftEmpty => {
            let pod = pod(json!({}), json!({"volumes": [{"name": "data", "emptyDir": {}}]}));
            let text = "spec:\n  volumes:\n  - name: data\n    emptyDir:";
            Case::new(template(text), pod, "/spec/volumes/@data/emptyDir")
                .outrigger(json!({}))
                .needs(&[Quirk::MergeExclusiveFields])
        }
        Quirk::EndNamespaceInNewline => {
            let pod = annotated("inject.istio.io/templates", "grpc-simple");
            let place = "/spec/initContainers/@grpc-bootstrap-init/env/@ISTIO_NAMESPACE/value";
            Case::new("", pod, place).istio("istio-system\n").outrigger("istio-system")
        }
        Quirk::AcceptInvalidPolicy => Case::new("injector: {policy: maybe}", annotated("a", "b"), "outcome")
            .istio("POLICY_INVALID")
            .outrigger("configuration rejected"),
        Quirk::IgnoreInvalidSelectors => {
            let selector = "injector: {neverInjectSelector: [{matchExpressions: [{key: a, operator: Has}]}]}";
            Case::new(selector, annotated("a", "b"), "outcome")
                .istio("injected")
                .outrigger("configuration rejected")
        }
        Quirk::AcceptUnknownDefaultTemplates => {
            Case::new("injector: {defaultTemplates: [none]}", annotated("a", "b"), "outcome")
                .istio("UNKNOWN_TEMPLATE")
                .outrigger("configuration rejected")
        }
        Quirk::AcceptAliasesOfUnknownTemplates => {
            Case::new("injector: {aliases: {both: [none]}}", annotated("a", "b"), "check")
                .istio("accepted")
                .outrigger("configuration rejected")
        }
    }
}
