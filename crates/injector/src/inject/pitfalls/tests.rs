//! Each pitfall is reported, and neither the ordinary pod nor the pod that just avoids the pitfall is.

use serde_json::json;

use super::*;
use crate::{
    config::{InjectorConfig, Source},
    inject::{self, Facts, Outcome, PodRequest, Selection},
};

const ORDINARY: &str = "nativeSidecars: disabled";
const NATIVE: &str = "nativeSidecars: enabled";
const CNI: &str = "nativeSidecars: disabled\nvalues: {pilot: {cni: {enabled: true}}}";
const NATIVE_CNI: &str = "nativeSidecars: enabled\nvalues: {pilot: {cni: {enabled: true}}}";

/// The codes of this module.
const CODES: [&str; 8] = [
    "DISCOVERY_UNRESOLVED",
    "DUPLICATE_VOLUME",
    "HOST_USERS_WITH_CNI",
    "INIT_WITHOUT_NETWORK",
    "ORDINARY_PROXY_IN_JOB",
    "REQUEST_ABOVE_LIMIT",
    "RESOURCE_DEFAULTS_DROPPED",
    "UNKNOWN_REVISION",
];

fn mesh(more: &str) -> InjectorConfig {
    let text = format!("apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\n{more}");
    InjectorConfig::from_bundle(Source { name: "bundle", text: &text }).unwrap().0
}

/// The warnings of this module about an application's pod with additional metadata and additional parts of its spec.
fn warnings(bundle: &str, metadata: &Value, spec: &Value) -> Vec<(&'static str, String)> {
    let mut pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "app", "image": "a"}]}});
    for (field, more) in [("metadata", metadata), ("spec", spec)] {
        pod[field].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    let mesh = mesh(bundle);
    let facts = Facts { selection: Selection::ByApiServer, ..Facts::of(&mesh, "shop") };
    let outcome = inject::run(&mesh, &PodRequest::new("shop", pod), &facts).unwrap();
    assert!(matches!(outcome, Outcome::Injected(_)));
    for warning in outcome.warnings() {
        assert!(warning.message.chars().count() <= 120, "{warning}");
    }
    let ours = outcome.warnings().iter().filter(|warning| CODES.contains(&warning.code));
    ours.map(|warning| (warning.code, warning.message.clone())).collect()
}

fn codes(bundle: &str, metadata: &Value, spec: &Value) -> Vec<&'static str> {
    warnings(bundle, metadata, spec).into_iter().map(|(code, _)| code).collect()
}

fn of_spec(bundle: &str, spec: &Value) -> Vec<&'static str> {
    codes(bundle, &json!({}), spec)
}

fn annotated(annotations: &Value) -> Vec<&'static str> {
    codes(ORDINARY, &json!({ "annotations": annotations }), &json!({}))
}

#[test]
fn the_ordinary_pod_has_none() {
    let usual = json!({"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "hostUsers": true,
        "volumes": [{"name": "a"}, {"name": "b"}]});
    for bundle in [ORDINARY, NATIVE, CNI, NATIVE_CNI] {
        assert_eq!(of_spec(bundle, &json!({})), [""; 0], "{bundle}");
        assert_eq!(of_spec(bundle, &usual), [""; 0], "{bundle}");
    }
}

#[test]
fn a_job_does_not_end_beside_an_ordinary_proxy() {
    for policy in ["Never", "OnFailure"] {
        let spec = json!({ "restartPolicy": policy });
        assert_eq!(of_spec(ORDINARY, &spec), ["ORDINARY_PROXY_IN_JOB"]);
        assert_eq!(of_spec(NATIVE, &spec), [""; 0]);
        let native = json!({"annotations": {"sidecar.istio.io/nativeSidecar": "true"}});
        assert_eq!(codes(ORDINARY, &native, &spec), [""; 0]);
    }
    // A gateway's pod has nothing that could end.
    let gateway = json!({"annotations": {"inject.istio.io/templates": "gateway"}});
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "istio-proxy", "image": "auto"}]});
    assert_eq!(codes(ORDINARY, &gateway, &spec), [""; 0]);
}

#[test]
fn a_control_plane_that_cannot_be_resolved_is_reported() {
    for policy in ["Default", "None"] {
        let spec = |searches: Value| json!({"dnsPolicy": policy, "dnsConfig": {"searches": searches}});
        for bundle in [ORDINARY, NATIVE] {
            assert_eq!(of_spec(bundle, &json!({ "dnsPolicy": policy })), ["DISCOVERY_UNRESOLVED"]);
            assert_eq!(of_spec(bundle, &spec(json!(["mesh.svc.cluster.local"]))), ["DISCOVERY_UNRESOLVED"]);
        }
        for search in ["cluster.local", "cluster.local."] {
            assert_eq!(of_spec(NATIVE, &spec(json!(["a.example", search]))), [""; 0]);
        }
        let alias = json!([{"ip": "10.0.0.1", "hostnames": ["istiod.istio-system.svc"]}]);
        assert_eq!(of_spec(NATIVE, &json!({"dnsPolicy": policy, "hostAliases": alias})), [""; 0]);
        let elsewhere = "mesh: {defaultConfig: {discoveryAddress: 'istiod.example.com:15012'}}";
        assert_eq!(of_spec(elsewhere, &json!({ "dnsPolicy": policy })), [""; 0]);
        let other = "nativeSidecars: enabled\nvalues: {global: {proxy: {clusterDomain: corp.example}}}";
        assert_eq!(of_spec(other, &spec(json!(["cluster.local"]))), ["DISCOVERY_UNRESOLVED"]);
        assert_eq!(of_spec(other, &spec(json!(["corp.example"]))), [""; 0]);
    }
    assert_eq!(of_spec(NATIVE, &json!({"dnsPolicy": "ClusterFirstWithHostNet"})), [""; 0]);
}

#[test]
fn one_resource_annotation_drops_the_defaults_of_the_other() {
    for (annotations, lost) in [
        (json!({"sidecar.istio.io/proxyCPU": "100m"}), Some("memory")),
        (json!({"sidecar.istio.io/proxyMemoryLimit": "1Gi"}), Some("cpu")),
        (json!({"sidecar.istio.io/proxyCPU": "100m", "sidecar.istio.io/proxyCPULimit": "1"}), Some("memory")),
        (json!({"sidecar.istio.io/proxyCPU": "100m", "sidecar.istio.io/proxyMemory": "1Gi"}), None),
        (json!({"sidecar.istio.io/proxyCPU": "100m", "sidecar.istio.io/proxyMemoryLimit": "1Gi"}), None),
        (json!({"sidecar.istio.io/logLevel": "info"}), None),
    ] {
        let found = warnings(ORDINARY, &json!({ "annotations": annotations }), &json!({}));
        assert_eq!(found.len(), usize::from(lost.is_some()), "{annotations}: {found:?}");
        if let (Some((code, message)), Some(lost)) = (found.first(), lost) {
            assert_eq!(*code, "RESOURCE_DEFAULTS_DROPPED");
            assert!(message.contains(&format!("neither {lost} request")), "{message}");
        }
    }
    // Nothing is lost where there is no default, or where the pod's own container provides it.
    let none = "values: {global: {proxy: {resources: {requests: {cpu: 100m, memory: null}, limits: null}}}}";
    let cpu = json!({"annotations": {"sidecar.istio.io/proxyCPU": "100m"}});
    assert_eq!(codes(none, &cpu, &json!({})), [""; 0]);
    let own = json!({"containers": [{"name": "app", "image": "a"},
        {"name": "istio-proxy", "image": "auto", "resources": {"requests": {"memory": "1Gi"}}}]});
    assert_eq!(codes(ORDINARY, &cpu, &own), [""; 0]);
    assert_eq!(annotated(&json!({})), [""; 0]);
}

#[test]
fn requests_of_the_proxy_that_do_not_fit_its_limits_are_reported() {
    let defaults = "values: {global: {proxy: {resources: {limits: {cpu: 2, memory: 1Gi}}}}}";
    let own = |resources: Value| {
        json!({"containers": [{"name": "app", "image": "a", "resources": {"requests": {"cpu": "9"}, "limits": {"cpu": "8"}}},
            {"name": "istio-proxy", "image": "auto", "resources": resources}]})
    };
    let told = |bundle: &str, metadata: Value, spec: Value| {
        let warnings = warnings(bundle, &metadata, &spec).into_iter();
        warnings.filter(|(code, _)| *code == "REQUEST_ABOVE_LIMIT").map(|(_, text)| text).collect::<Vec<_>>()
    };
    let advice = "so the API server rejects the pod; set both";
    // A request of the pod's own together with the limit in the values; the application's containers are not our
    // concern.
    for (request, shown) in [("3", "3"), ("2001m", "2001m"), ("64Ki", "65536")] {
        assert_eq!(
            told(defaults, json!({}), own(json!({"requests": {"cpu": request}}))),
            [format!("container \"istio-proxy\": cpu request {shown} exceeds limit 2, {advice}")]
        );
    }
    assert_eq!(
        told(defaults, json!({}), own(json!({"requests": {"cpu": "4", "memory": "2Gi"}}))),
        [
            format!("container \"istio-proxy\": cpu request 4 exceeds limit 2, {advice}"),
            format!("container \"istio-proxy\": memory request 2Gi exceeds limit 1Gi, {advice}")
        ]
    );
    // Two annotations that contradict each other.
    let annotations =
        json!({"annotations": {"sidecar.istio.io/proxyCPU": "3", "sidecar.istio.io/proxyCPULimit": "500m"}});
    assert_eq!(
        told(NATIVE, annotations, json!({})),
        ["istio-init", "istio-proxy"]
            .map(|name| format!("container \"{name}\": cpu request 3 exceeds limit 500m, {advice}"))
    );
    // Huge pages and extended resources cannot be overcommitted.
    let less = own(
        json!({"requests": {"hugepages-2Mi": "2Mi", "example.com/card": 1, "requests.kubernetes.io/a": 1},
        "limits": {"hugepages-2Mi": "4Mi", "example.com/card": 2, "requests.kubernetes.io/a": 2}}),
    );
    assert_eq!(
        told(defaults, json!({}), less),
        [
            format!("container \"istio-proxy\": \"example.com/card\" request 1 is not limit 2, {advice}"),
            format!("container \"istio-proxy\": \"hugepages-2Mi\" request 2Mi is not limit 4Mi, {advice}")
        ]
    );
    // Equal amounts, a limit of its own, and a resource without a limit.
    for fine in [
        json!({"requests": {"cpu": "2000m", "memory": "1024Mi"}}),
        json!({"requests": {"cpu": "4"}, "limits": {"cpu": "4"}}),
        json!({"requests": {"ephemeral-storage": "1Gi"}}),
    ] {
        assert_eq!(told(defaults, json!({}), own(fine)), [""; 0]);
    }
}

#[test]
fn volumes_with_one_name_are_reported_once() {
    let spec = |names: &[&str]| {
        let volumes: Vec<Value> = names.iter().map(|name| json!({"name": name, "emptyDir": {}})).collect();
        json!({ "volumes": volumes })
    };
    assert_eq!(of_spec(NATIVE, &spec(&["a", "b", "a", "a"])), ["DUPLICATE_VOLUME"]);
    assert_eq!(of_spec(NATIVE, &spec(&["a", "a", "b", "b"])), ["DUPLICATE_VOLUME"; 2]);
    assert_eq!(of_spec(NATIVE, &spec(&["a", "b"])), [""; 0]);
}

#[test]
fn the_cni_plugin_redirects_before_an_ordinary_proxy_runs() {
    let init = |more: Value| {
        let mut container = json!({"name": "migrate", "image": "m"});
        container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"initContainers": [container]})
    };
    assert_eq!(of_spec(CNI, &init(json!({}))), ["INIT_WITHOUT_NETWORK"]);
    assert_eq!(of_spec(CNI, &init(json!({"securityContext": {"runAsUser": 1337}}))), [""; 0]);
    for bundle in [ORDINARY, NATIVE, NATIVE_CNI] {
        assert_eq!(of_spec(bundle, &init(json!({}))), [""; 0], "{bundle}");
    }
    let inbound = json!({"annotations": {"traffic.sidecar.istio.io/includeOutboundIPRanges": ""}});
    assert_eq!(codes(CNI, &inbound, &init(json!({}))), [""; 0]);
}

#[test]
fn user_namespaces_rely_on_the_cni_plugin() {
    let spec = json!({"hostUsers": false});
    for bundle in [CNI, NATIVE_CNI] {
        assert_eq!(of_spec(bundle, &spec), ["HOST_USERS_WITH_CNI"]);
    }
    for bundle in [ORDINARY, NATIVE] {
        assert_eq!(of_spec(bundle, &spec), [""; 0]);
    }
}

#[test]
fn a_revision_that_is_not_known_is_recorded() {
    let labeled = |revision: &str| json!({"labels": {"istio.io/rev": revision}});
    let tagged = "values: {revisionTags: [stable]}";
    for known in ["default", "stable"] {
        assert_eq!(codes(tagged, &labeled(known), &json!({})), [""; 0], "{known}");
    }
    assert_eq!(codes(tagged, &labeled("canary"), &json!({})), ["UNKNOWN_REVISION"]);
    let same = "namespaces: [{name: shop, labels: {istio.io/rev: canary}}]";
    assert_eq!(codes(same, &labeled("canary"), &json!({})), [""; 0]);
    let other = "namespaces: [{name: shop, labels: {istio.io/rev: default}}]";
    assert_eq!(codes(other, &labeled("canary"), &json!({})), ["UNKNOWN_REVISION"]);
}

#[test]
fn what_only_the_installation_can_tell_is_not_shown() {
    for (code, is_shown) in [
        ("HOST_USERS_WITH_CNI", false),
        ("INIT_WITHOUT_NETWORK", false),
        ("UNKNOWN_REVISION", false),
        ("ORDINARY_PROXY_IN_JOB", true),
        ("DISCOVERY_UNRESOLVED", true),
    ] {
        assert_eq!(Warning::new(code, "").is_shown(), is_shown, "{code}");
    }
}
