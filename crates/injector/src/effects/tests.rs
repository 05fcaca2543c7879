use serde_json::json;

use super::*;
use crate::config::Source;

fn config(more: &str) -> InjectorConfig {
    let text = format!("apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\n{more}");
    InjectorConfig::from_bundle(Source { name: "bundle", text: &text }).unwrap().0
}

fn pod(name: &str, annotations: Value) -> PodRequest {
    PodRequest::new(
        "shop",
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": annotations},
            "spec": {"containers": [{"name": "web", "image": "web"}]}}),
    )
}

fn injected(config: &InjectorConfig, request: &PodRequest) -> PodRequest {
    let Ok(Outcome::Injected(injection)) =
        inject::run(config, request, &Facts::of(config, &request.namespace))
    else {
        panic!("not injected")
    };
    PodRequest { pod: injection.whole_pod(&request.pod), ..request.clone() }
}

#[test]
fn equal_changes_are_one_group_and_denials_come_first() {
    let old = config("");
    let new = config("values: {global: {tag: 1.99.0}}\n");
    let mut report = Report::default();
    for name in ["a", "b", "c"] {
        report.add(name, what_if(&old, &new, &pod(name, json!({}))));
    }
    report.add(
        "own",
        what_if(&old, &new, &pod("own", json!({"sidecar.istio.io/proxyImage": "example.com/mine:1"}))),
    );
    assert_eq!((report.subjects(), report.identical), (4, 1));
    let groups = report.groups();
    assert_eq!(groups[0].subjects, ["a", "b", "c"], "{groups:?}");
    assert_eq!(groups[0].classes(), [Class::Image]);
    assert!(
        groups[0].differences.iter().all(|one| one.path.ends_with(".image")),
        "{:?}",
        groups[0].differences
    );
    assert_eq!(what_if(&old, &old, &pod("a", json!({}))), None);

    // The new configuration does not render, but only for some pods.
    let fails = config(
        "values: {global: {tag: 1.99.0}}\ninjector: {defaultTemplates: [sidecar, strict], templates: {strict: '{{ if eq .ObjectMeta.Name \"b\" }}{{ fail \"no\" }}{{ end }}{}'}}\n",
    );
    let mut report = Report::default();
    for name in ["a", "b", "c"] {
        report.add(name, what_if(&old, &fails, &pod(name, json!({}))));
    }
    let groups = report.groups();
    assert!(groups[0].breaks() && groups[0].subjects == ["b"], "{groups:?}");
    assert_eq!(groups[0].classes()[0], Class::Missing);
    assert!(!groups[1].breaks());
}

#[test]
fn a_running_pod_is_compared_with_the_injection_of_today() {
    let old = config("");
    let running = injected(&old, &pod("a", json!({})));
    assert_eq!(stale(&old, &running), None);
    let new = config("values: {global: {tag: 1.99.0, proxy: {resources: {requests: {cpu: 321m}}}}}\n");
    let (before, after, differences) = stale(&new, &running).unwrap();
    assert_eq!((before, after), (Effect::Injected, Effect::Injected));
    let group = Group { before: Effect::Injected, after: Effect::Injected, differences, subjects: vec!["a"] };
    assert_eq!(group.classes(), [Class::Image, Class::Resources]);
    // Without a proxy, although it would get one.
    let (before, after, _) = stale(&old, &pod("bare", json!({}))).unwrap();
    assert_eq!((before, after), (Effect::Skipped(BARE), Effect::Injected));
    let opted_out = PodRequest::new(
        "shop",
        json!({"metadata": {"name": "a", "labels": {"sidecar.istio.io/inject": "false"}},
            "spec": {"containers": [{"name": "web", "image": "web"}]}}),
    );
    assert_eq!(stale(&old, &opted_out), None);
}

#[test]
fn reports_of_parts_make_the_report_of_the_whole() {
    let (old, new) = (config(""), config("values: {global: {tag: 1.99.0}}\n"));
    let (mut one, mut two) = (Report::default(), Report::default());
    one.add("a", what_if(&old, &new, &pod("a", json!({}))));
    two.add("b", what_if(&old, &new, &pod("b", json!({}))));
    two.add("c", None);
    one.merge(two);
    assert_eq!((one.subjects(), one.identical, one.groups()[0].subjects.len()), (3, 1, 2));
}

#[test]
fn fields_belong_to_parts() {
    for (path, wanted) in [
        ("spec.initContainers[istio-proxy].image", Class::Image),
        ("spec.containers[istio-proxy].resources.limits.cpu", Class::Resources),
        ("spec.containers[istio-proxy].env[A].value", Class::Args),
        ("spec.initContainers[istio-init].args[3]", Class::Args),
        ("spec.initContainers[istio-init].securityContext.runAsUser", Class::Security),
        ("spec.securityContext.fsGroup", Class::Security),
        ("spec.volumes[istio-token].projected.sources[0].serviceAccountToken.path", Class::Other),
        ("metadata.labels[a/image]", Class::Other),
    ] {
        assert_eq!(class(path), wanted, "{path}");
    }
}
