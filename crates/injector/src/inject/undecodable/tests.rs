use serde_json::json;

use super::*;
use crate::{
    config::{Source, headed::headed},
    inject::{Facts, Outcome, PodRequest, Refusal, run},
};

/// A template with a limit from an annotation or a label, and with a port that is wrong for pods with a certain name.
const TEMPLATE: &str = "\
spec:
  containers:
  - name: istio-proxy
    image: proxy
    resources:
      limits:
        cpu: {{ annotation .ObjectMeta \"example.com/cpu\" \"1\" }}
        memory: {{ index .ObjectMeta.Labels \"memory\" | default \"1Gi\" }}
    {{- if eq .ObjectMeta.Name \"odd\" }}
    startupProbe:
      periodSeconds: {{ .Values.global.proxy.period }}
      failureThreshold: {{ .Values.global.proxy.nothing }}
    {{- end }}
";

fn refused(compat: &str, metadata: Value) -> Refusal {
    let bundle = json!({
        "compat": compat,
        "values": {"global": {"proxy": {"period": "30s"}}},
        "injector": {"templates": {"sidecar": TEMPLATE}},
    });
    let (mesh, _) =
        InjectorConfig::from_bundle(Source { name: "bundle", text: &headed(&bundle.to_string()) }).unwrap();
    let pod = json!({"kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "app"}]}});
    match run(&mesh, &PodRequest::new("shop", pod), &Facts::default()) {
        Ok(Outcome::Injected(injection)) => panic!("{:#}", injection.pod),
        Ok(Outcome::Skipped(skip)) => panic!("{:?}", skip.decision),
        Err(refusal) => refusal,
    }
}

#[test]
fn what_the_pod_says_is_told_to_its_author() {
    for compat in ["outrigger", "istio"] {
        let refusal = refused(compat, json!({"annotations": {"example.com/cpu": "2cores"}}));
        assert_eq!((refusal.code(), refusal.reason(), refusal.diagnosis()), (400, "UNDECODABLE", None));
        assert_eq!(
            refusal.to_string(),
            "annotation \"example.com/cpu\": found \"2cores\", which is invalid for spec.containers[istio-proxy].resources.limits[\"cpu\"]; expected a quantity such as 500m, 2 or 1.5Gi"
        );
        let refusal = refused(compat, json!({"labels": {"memory": "512MB"}}));
        assert_eq!(refusal.code(), 400);
        assert!(refusal.to_string().starts_with("label \"memory\": found \"512MB\", which "), "{refusal}");
    }
}

#[test]
fn a_value_of_the_users_own_proxy_is_told_where_they_wrote_it() {
    let (mesh, _) =
        InjectorConfig::from_bundle(Source { name: "bundle", text: &headed("nativeSidecars: enabled") })
            .unwrap();
    let proxy = json!({"name": "istio-proxy", "resources": {"limits": {"cpu": "2cores"}}});
    let pod = json!({"kind": "Pod", "metadata": {}, "spec": {"containers": [{"name": "app"}, proxy]}});
    let refusal = run(&mesh, &PodRequest::new("shop", pod), &Facts::default()).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "spec.containers[istio-proxy].resources.limits[\"cpu\"]: found \"2cores\"; expected a quantity such as 500m, 2 or 1.5Gi"
    );
    assert_eq!(refusal.code(), 400);
}

#[test]
fn what_the_configuration_says_goes_to_the_log_with_its_place() {
    let refusal = refused("outrigger", json!({"name": "odd"}));
    assert_eq!((refusal.code(), refusal.reason()), (422, "UNDECODABLE"));
    let told = refusal.to_string();
    assert!(
        told.starts_with("template sidecar cannot be used for this pod: spec.containers[istio-proxy]"),
        "{told}"
    );
    assert!(told.ends_with("; 1 more like it; see the injector's log"), "{told}");
    // The first by name is the threshold, which does not occur in the configuration.
    assert_eq!(
        refusal.diagnosis().as_deref(),
        Some(
            "template sidecar: spec.containers[istio-proxy].startupProbe.failureThreshold would be a string, but an API server expects an integer"
        )
    );
    let Refusal::Undecodable(undecodable) = refusal else { panic!() };
    assert_eq!(undecodable.more, 1);
}

#[test]
fn a_place_of_the_configuration_is_named_if_there_is_one_only() {
    let bundle = json!({"values": {"a": {"cpu": "2cores", "b": ["512MB", "512MB"]}, "c": "2cores"}});
    let (mesh, _) =
        InjectorConfig::from_bundle(Source { name: "bundle", text: &headed(&bundle.to_string()) }).unwrap();
    let at = |key: &str, value: Value| {
        let misfit = Misfit { place: String::new(), key: key.to_owned(), value, accepted: "" };
        configured_at(&mesh, &[], &misfit)
    };
    assert_eq!(at("cpu", json!("2cores")).as_deref(), Some("values.a.cpu"));
    assert_eq!(at("memory", json!("2cores")), None);
    assert_eq!(at("memory", json!("512MB")), None);
    assert_eq!(at("x", json!(15012)), None);
    assert_eq!(at("statNameLength", json!(189)).as_deref(), Some("mesh.defaultConfig.statNameLength"));
}

#[test]
fn json_in_an_annotation_is_looked_into() {
    let pod =
        json!({"metadata": {"annotations": {"a": "true", "v": "{\"x\": [{\"sizeLimit\": \"10MB\"}]}"}}});
    assert_eq!(saying(&pod, &json!("10MB")), Some(("annotation", "v".to_owned())));
    assert_eq!(saying(&pod, &json!({"sizeLimit": "10MB"})), Some(("annotation", "v".to_owned())));
    // A value that occurs everywhere gives no hint.
    assert_eq!(saying(&pod, &json!(true)), None);
    assert_eq!(saying(&pod, &json!("20MB")), None);
}
