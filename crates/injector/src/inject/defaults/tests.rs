//! Defaults of namespaces: pod before namespace before values, and nothing that is not listed.

use serde_json::json;

use super::*;
use crate::{
    config::{Namespace, Source},
    inject::{self, Outcome, PodRequest, Selection},
};

const ALL: &str = "namespaceDefaults: [sidecar.istio.io/proxyCPU, sidecar.istio.io/proxyCPULimit, \
    sidecar.istio.io/proxyMemory, sidecar.istio.io/proxyMemoryLimit, sidecar.istio.io/logLevel, \
    sidecar.istio.io/componentLogLevel, sidecar.istio.io/agentLogLevel, sidecar.istio.io/nativeSidecar, \
    inject.istio.io/templates, proxy.istio.io/config]\nnativeSidecars: disabled\n";

fn mesh(more: &str) -> InjectorConfig {
    let text = format!("apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\n{more}");
    InjectorConfig::from_bundle(Source { name: "bundle", text: &text }).unwrap().0
}

fn run(mesh: &InjectorConfig, namespace: &Value, own: &Value) -> Result<Outcome, Refusal> {
    let namespace = Namespace {
        name: "shop".to_owned(),
        annotations: namespace.as_object().unwrap().clone(),
        ..Namespace::default()
    };
    let pod = json!({
        "metadata": {"name": "web", "annotations": own},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    });
    let facts =
        Facts { namespace: Some(&namespace), selection: Selection::ByApiServer, ..Facts::of(mesh, "shop") };
    inject::run(mesh, &PodRequest::new("shop", pod), &facts)
}

fn injected(mesh: &InjectorConfig, namespace: &Value, own: &Value) -> (Value, Vec<Warning>) {
    match run(mesh, namespace, own).unwrap() {
        Outcome::Injected(injection) => (injection.pod, injection.warnings),
        other => panic!("{other:?}"),
    }
}

fn proxy(pod: &Value) -> &Value {
    pod::find_sidecar(pod).unwrap()
}

fn has_arg(pod: &Value, arg: &str) -> bool {
    proxy(pod)["args"].as_array().unwrap().iter().any(|found| found == arg)
}

#[test]
fn each_annotation_of_a_namespace_applies_unless_the_pod_has_its_own() {
    type Holds = fn(&Value, &str) -> bool;
    let arg: Holds = |pod, wanted| has_arg(pod, wanted);
    let cases: [(&str, &str, &str, &str, &str, Holds); 10] = [
        (
            "sidecar.istio.io/logLevel",
            "debug",
            "trace",
            "--proxyLogLevel=debug",
            "--proxyLogLevel=trace",
            arg,
        ),
        (
            "sidecar.istio.io/componentLogLevel",
            "http:debug",
            "http:trace",
            "--proxyComponentLogLevel=http:debug",
            "--proxyComponentLogLevel=http:trace",
            arg,
        ),
        (
            "sidecar.istio.io/agentLogLevel",
            "all:debug",
            "all:warn",
            "--log_output_level=all:debug",
            "--log_output_level=all:warn",
            arg,
        ),
        ("sidecar.istio.io/proxyCPU", "50m", "60m", "50m", "60m", |pod, cpu| {
            proxy(pod)["resources"]["requests"]["cpu"] == cpu
        }),
        ("sidecar.istio.io/proxyMemory", "50Mi", "60Mi", "50Mi", "60Mi", |pod, memory| {
            proxy(pod)["resources"]["requests"]["memory"] == memory
        }),
        ("sidecar.istio.io/proxyCPULimit", "3", "4", "3", "4", |pod, cpu| {
            proxy(pod)["resources"]["limits"]["cpu"] == cpu
        }),
        ("sidecar.istio.io/proxyMemoryLimit", "3Gi", "4Gi", "3Gi", "4Gi", |pod, memory| {
            proxy(pod)["resources"]["limits"]["memory"] == memory
        }),
        ("sidecar.istio.io/nativeSidecar", "true", "false", "initContainers", "containers", |pod, list| {
            pod::find(pod::spec_list(pod, list), names::CONTAINER_PROXY).is_some()
        }),
        ("inject.istio.io/templates", "gateway", "sidecar", "gateway", "sidecar", |pod, name| {
            let init = pod::find(pod::init_containers(pod), names::CONTAINER_INIT).is_some();
            init == (name == "sidecar")
        }),
        (
            "proxy.istio.io/config",
            "concurrency: 3",
            "concurrency: 4",
            "\"concurrency\":3",
            "\"concurrency\":4",
            |pod, text| {
                let env = proxy(pod)["env"].as_array().unwrap();
                let config = env.iter().find(|variable| variable["name"] == "PROXY_CONFIG").unwrap();
                config["value"].as_str().unwrap().contains(text)
            },
        ),
    ];
    let (listed, unlisted) = (mesh(ALL), mesh("nativeSidecars: disabled\n"));
    for (key, namespaces, pods, by_namespace, by_pod, holds) in cases {
        let templates = "inject.istio.io/templates";
        // The gateway template needs the image `auto`.
        let is_gateway = key == templates;
        let namespace = json!({ key: namespaces });
        let (pod, _) = injected(&listed, &namespace, &json!({}));
        assert!(holds(&pod, by_namespace), "{key}: {:#}", proxy(&pod));
        let own = pod["metadata"]["annotations"].get(key);
        assert!(own.is_none(), "{key}: nothing is left on the pod, found {own:?}");
        let (pod, _) = injected(&listed, &namespace, &json!({ key: pods }));
        assert!(holds(&pod, by_pod), "{key} of the pod: {:#}", proxy(&pod));
        let (pod, _) = injected(&unlisted, &namespace, &json!({}));
        assert!(is_gateway || !holds(&pod, by_namespace), "{key} is not listed: {:#}", proxy(&pod));
        let (with, _) = injected(&unlisted, &namespace, &json!({}));
        let (without, _) = injected(&unlisted, &json!({}), &json!({}));
        assert_eq!(with, without, "{key} is not listed");
    }
}

#[test]
fn proxy_configs_are_merged_by_field() {
    let mesh = mesh(ALL);
    let namespace =
        json!({"proxy.istio.io/config": "concurrency: 3\nproxyMetadata: {A: namespace, B: namespace}"});
    let own = json!({"proxy.istio.io/config": "proxyMetadata: {A: pod}"});
    let (pod, warnings) = injected(&mesh, &namespace, &own);
    let env = proxy(&pod)["env"].as_array().unwrap();
    let value =
        |name: &str| env.iter().find(|variable| variable["name"] == name).map(|it| it["value"].clone());
    assert_eq!((value("A"), value("B")), (Some(json!("pod")), Some(json!("namespace"))));
    assert!(value("PROXY_CONFIG").unwrap().as_str().unwrap().contains("\"concurrency\":3"));
    assert_eq!(warnings, []);
}

#[test]
fn a_namespaces_choice_is_no_bypass_of_its_pods() {
    let mesh = mesh(ALL);
    let config = json!({"proxy.istio.io/config": "discoveryAddress: other.example.com:15012"});
    assert_eq!(injected(&mesh, &config, &json!({})).1, []);
    let codes: Vec<_> =
        injected(&mesh, &json!({}), &config).1.into_iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["BYPASS_CONTROL_PLANE"]);
}

#[test]
fn invalid_annotations_of_a_namespace_are_named_as_such() {
    let mesh = mesh(ALL);
    let namespace = json!({"sidecar.istio.io/proxyCPU": "much", "sidecar.istio.io/logLevel": "loud"});
    let refusal = run(&mesh, &namespace, &json!({})).unwrap_err();
    assert_eq!((refusal.reason(), refusal.code()), ("INVALID_ANNOTATION", 400));
    let text = refusal.to_string();
    let wanted = "namespace \"shop\": 2 invalid annotations; annotation sidecar.istio.io/";
    assert!(text.starts_with(wanted) && text.contains("\"much\"") && text.contains("\"loud\""), "{text}");
    // A pod with values of its own does not depend on them.
    let own = json!({"sidecar.istio.io/proxyCPU": "1", "sidecar.istio.io/logLevel": "info"});
    assert!(run(&mesh, &namespace, &own).is_ok());
    let (_, warnings) = injected(&mesh, &json!({"proxy.istio.io/config": "concurency: 1"}), &json!({}));
    assert!(warnings[0].message.starts_with("namespace \"shop\": proxy.istio.io/config"), "{warnings:?}");
}

#[test]
fn an_empty_annotation_of_the_pod_leaves_the_values() {
    let mesh = mesh(ALL);
    let namespace = json!({"sidecar.istio.io/nativeSidecar": "true"});
    let (pod, _) = injected(&mesh, &namespace, &json!({"sidecar.istio.io/nativeSidecar": ""}));
    assert!(pod::find(pod::containers(&pod), names::CONTAINER_PROXY).is_some());
}

#[test]
fn resources_are_merged_per_field_or_replaced() {
    let values = "values: {global: {proxy: {resources: {requests: {cpu: 100m, memory: 128Mi}, \
                  limits: {cpu: 2, memory: 1Gi}}}}}\n";
    let [replace, per_field] =
        ["replace", "perField"].map(|how| mesh(&format!("{ALL}{values}resources: {how}\n")));
    let none = json!({});
    let resources = |mesh: &InjectorConfig, namespace: &Value, own: &Value| {
        let (pod, warnings) = injected(mesh, namespace, own);
        let codes: Vec<&str> = warnings.iter().map(|warning| warning.code).collect();
        (proxy(&pod)["resources"].clone(), codes.join(","), warnings)
    };
    let cpu = json!({"sidecar.istio.io/proxyCPU": "200m"});
    let dropped = "RESOURCE_DEFAULTS_DROPPED";
    let (found, codes, _) = resources(&replace, &none, &cpu);
    assert_eq!((found, codes.as_str()), (json!({"requests": {"cpu": "200m"}}), dropped));
    let (_, _, warnings) = resources(&replace, &cpu, &none);
    let wanted = "namespace \"shop\": sidecar.istio.io/proxyCPU replaces all default resources";
    assert!(warnings[0].message.starts_with(wanted), "{warnings:?}");

    let merged =
        json!({"requests": {"cpu": "200m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}});
    for (namespace, own) in [(&none, &cpu), (&cpu, &none)] {
        let (found, codes, _) = resources(&per_field, namespace, own);
        assert_eq!((&found, codes.as_str()), (&merged, ""));
    }
    // Without any annotation, the values apply as written.
    let (found, _, _) = resources(&per_field, &none, &none);
    assert_eq!(found["limits"]["cpu"], json!(2));
    // Amounts that were asked for stay, and a request is never above its limit.
    let (found, _, _) = resources(&per_field, &none, &json!({"sidecar.istio.io/proxyCPU": "3"}));
    assert_eq!((&found["requests"]["cpu"], &found["limits"]["cpu"]), (&json!("3"), &json!("3")));
    let (found, _, _) = resources(&per_field, &none, &json!({"sidecar.istio.io/proxyMemoryLimit": "64Mi"}));
    assert_eq!((&found["requests"]["memory"], &found["limits"]["memory"]), (&json!("64Mi"), &json!("64Mi")));
    // The pod's request is above the namespace's limit: both were asked for.
    let (found, _, _) = resources(
        &per_field,
        &json!({"sidecar.istio.io/proxyCPULimit": "1"}),
        &json!({"sidecar.istio.io/proxyCPU": "3"}),
    );
    assert_eq!((&found["requests"]["cpu"], &found["limits"]["cpu"]), (&json!("3"), &json!("1")));
}

#[test]
fn only_known_annotations_may_be_defaults() {
    let text =
        "apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\nnamespaceDefaults: [sidecar.istio.io/proxyCpu]\n";
    let error = InjectorConfig::from_bundle(Source { name: "bundle.yaml", text }).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "bundle.yaml:3:21: namespaceDefaults[0]: found \"sidecar.istio.io/proxyCpu\"; expected "
        ) && error.ends_with("nearest: \"sidecar.istio.io/proxyCPU\""),
        "{error}"
    );
}

#[test]
fn the_cache_distinguishes_what_is_read_of_a_namespace() {
    use crate::inject::{AdmissionRequest, CacheStatus, Injector};
    let injector = Injector::new(mesh(ALL));
    let pod = |suffix: &str| {
        json!({
            "metadata": {"name": format!("web-{suffix}"), "generateName": "web-", "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d9c8b6f5", "uid": "u", "controller": true},
            ]},
            "spec": {"containers": [{"name": "web", "image": "web"}]},
        })
        .to_string()
    };
    let none = BTreeMap::new();
    let review = |suffix: &str, level: &str, other: &str| {
        let namespace = Namespace {
            name: "shop".to_owned(),
            annotations: json!({"sidecar.istio.io/logLevel": level, "openshift.io/sa.scc.uid-range": other})
                .as_object()
                .unwrap()
                .clone(),
            ..Namespace::default()
        };
        let facts = Facts { namespace: Some(&namespace), selection: Selection::ByApiServer, nodes: None };
        let pod = pod(suffix);
        let admission = injector.review(AdmissionRequest::new(&pod, "shop", &none), &facts).unwrap();
        (admission.served, admission.patch.unwrap().json.contains(&format!("--proxyLogLevel={level}")))
    };
    for suffix in ["aaaaa", "bbbbb"] {
        assert_eq!(review(suffix, "debug", "1/1"), (CacheStatus::Miss, true));
    }
    assert_eq!(review("ccccc", "debug", "1/1"), (CacheStatus::Hit, true));
    assert_eq!(review("ddddd", "trace", "1/1"), (CacheStatus::Miss, true), "the namespace has changed");
}
