use serde_json::json;

use super::*;
use crate::config::{InjectorConfig, Source, headed::headed};
use crate::inject::{self, Facts, Outcome, PodRequest, Refusal};

fn mesh(text: &str) -> InjectorConfig {
    InjectorConfig::from_bundle(Source { name: "bundle", text: &headed(text) }).unwrap().0
}

fn pod(resources: Value, app: Value, annotations: Value) -> Value {
    json!({
        "metadata": {"name": "a", "annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": "a", "resources": app}], "resources": resources},
    })
}

fn run(mesh: &InjectorConfig, pod: &Value) -> Result<(Value, Vec<Warning>), Refusal> {
    let request = PodRequest::new("n", pod.clone());
    match inject::run(mesh, &request, &Facts::of(mesh, "n"))? {
        Outcome::Injected(injection) => Ok((injection.pod, injection.warnings)),
        Outcome::Skipped(skip) => panic!("{:?}", skip.decision),
    }
}

/// The pod's resources after injection; also checks that a second injection changes nothing.
fn resources(mesh: &InjectorConfig, pod: &Value) -> (Value, Vec<&'static str>) {
    let (once, warnings) = run(mesh, pod).unwrap();
    let (twice, _) = run(mesh, &once).unwrap();
    assert_eq!(twice, once, "{pod}");
    (once["spec"]["resources"].clone(), warnings.iter().map(|warning| warning.code).collect())
}

fn limits_of_ours(pod: &Value) -> Vec<(&str, &Value)> {
    let all = pod::init_containers(pod).iter().chain(pod::containers(pod));
    let ours = all.filter(|container| pod::name(container).starts_with("istio-"));
    ours.map(|container| (pod::name(container), &container["resources"]["limits"])).collect()
}

const NATIVE: &str = "nativeSidecars: enabled";
const ORDINARY: &str = "nativeSidecars: disabled";

#[test]
fn limits_alone_keep_what_they_stood_for() {
    for bundle in [NATIVE, ORDINARY] {
        let mesh = mesh(bundle);
        let limits = json!({"cpu": "500m", "memory": "1Gi"});
        let found = |app| resources(&mesh, &pod(json!({"limits": limits}), app, json!({})));
        assert_eq!(found(json!({})), (json!({"limits": limits, "requests": limits}), vec![]));
        // For CPUs, the API server adds up the containers' requests, as it did without the proxy.
        let with_cpu = found(json!({"requests": {"cpu": "100m"}}));
        assert_eq!(with_cpu, (json!({"limits": limits, "requests": {"memory": "1Gi"}}), vec![]));
        let both = found(json!({"limits": {"cpu": "100m", "memory": "64Mi"}}));
        assert_eq!(both, (json!({"limits": limits}), vec![]));
    }
}

#[test]
fn what_is_too_small_is_raised_by_the_share_of_the_proxy() {
    for bundle in [NATIVE, ORDINARY] {
        let mesh = mesh(bundle);
        for (before, after) in [
            (
                json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "1Gi"}}),
                json!({"requests": {"cpu": "150m", "memory": "192Mi"}, "limits": {"cpu": "200m", "memory": "1Gi"}}),
            ),
            (
                json!({"limits": {"cpu": "50m"}}),
                json!({"limits": {"cpu": "150m"}, "requests": {"cpu": "150m"}}),
            ),
            (json!({"requests": {"cpu": "99m"}}), json!({"requests": {"cpu": "199m"}})),
            (
                json!({"requests": {"cpu": 0.05}, "limits": {"cpu": 0.12}}),
                json!({"requests": {"cpu": "150m"}, "limits": {"cpu": "220m"}}),
            ),
            (
                json!({"requests": {"memory": "100M"}, "limits": {"memory": "100M"}}),
                json!({"requests": {"memory": "228632Ki"}, "limits": {"memory": "228632Ki"}}),
            ),
        ] {
            let after = after.to_string().replace("228632Ki", "234217728");
            let found = resources(&mesh, &pod(before.clone(), json!({}), json!({})));
            assert_eq!((found.0.to_string(), found.1), (after, vec!["POD_RESOURCES_RAISED"]), "{before}");
        }
    }
}

#[test]
fn what_is_large_enough_stays() {
    for bundle in [NATIVE, ORDINARY] {
        for before in [
            json!({"requests": {"cpu": "100m", "memory": "128Mi"}}),
            json!({"requests": {"cpu": "1"}, "limits": {"cpu": "1", "memory": "2Gi"}, "claims": []}),
            json!({"requests": {"cpu": 1}}),
            json!({}),
            json!({"requests": {}, "limits": null}),
            json!(null),
        ] {
            let app =
                if before["limits"].is_object() { json!({"requests": {"memory": "1Gi"}}) } else { json!({}) };
            let before = pod(before, app, json!({}));
            assert_eq!(resources(&mesh(bundle), &before), (before["spec"]["resources"].clone(), vec![]));
        }
    }
}

#[test]
fn a_pod_that_could_not_be_created_anyway_is_left_to_the_api_server() {
    for (resources, app) in [
        (json!({"requests": {"cpu": "50m"}}), json!({"requests": {"cpu": "60m"}})),
        (json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "40m"}}), json!({})),
        (json!({"requests": {"cpu": "lots"}}), json!({})),
        (json!({"requests": {"cpu": "50m"}}), json!({"limits": {"cpu": []}})),
        (json!({"requests": {"cpu": "-1"}}), json!({})),
        (json!({"requests": {"example.com/gpu": "1"}}), json!({})),
    ] {
        let before = pod(resources.clone(), app, json!({}));
        assert_eq!(run(&mesh(NATIVE), &before).unwrap().0["spec"]["resources"], resources);
    }
}

#[test]
fn limits_of_the_configuration_are_no_more_than_those_of_the_pod() {
    for bundle in [NATIVE, ORDINARY] {
        let before = pod(json!({"limits": {"cpu": "500m", "memory": "0.5Gi"}}), json!({}), json!({}));
        let (after, _) = run(&mesh(bundle), &before).unwrap();
        let limits = json!({"cpu": "500m", "memory": "0.5Gi"});
        assert_eq!(limits_of_ours(&after), [("istio-init", &limits), ("istio-proxy", &limits)]);

        let before = pod(json!({"limits": {"cpu": "3", "memory": "2Gi"}}), json!({}), json!({}));
        let (after, _) = run(&mesh(bundle), &before).unwrap();
        let limits = json!({"cpu": "2000m", "memory": "1024Mi"});
        assert_eq!(limits_of_ours(&after), [("istio-init", &limits), ("istio-proxy", &limits)]);
    }
}

#[test]
fn limits_that_the_user_asks_for_raise_those_of_the_pod() {
    let annotations = json!({"sidecar.istio.io/proxyCPU": "10m", "sidecar.istio.io/proxyCPULimit": "1",
        "sidecar.istio.io/proxyMemory": "10Mi"});
    let before = pod(json!({"limits": {"cpu": "500m"}}), json!({}), annotations);
    for bundle in [NATIVE, ORDINARY] {
        let (found, warnings) = resources(&mesh(bundle), &before);
        assert_eq!(found, json!({"limits": {"cpu": "1500m"}, "requests": {"cpu": "500m"}}));
        assert_eq!(warnings, ["POD_RESOURCES_RAISED"]);
    }
    let mut own = pod(json!({"limits": {"cpu": "500m"}}), json!({}), json!({}));
    let proxy = json!({"name": "istio-proxy", "image": "auto", "resources": {"limits": {"cpu": "400m"}}});
    own["spec"]["containers"].as_array_mut().unwrap().push(proxy);
    for bundle in [NATIVE, ORDINARY] {
        let (after, _) = run(&mesh(bundle), &own).unwrap();
        assert_eq!(pod::find_sidecar(&after).unwrap()["resources"]["limits"]["cpu"], "400m");
        resources(&mesh(bundle), &own);
    }
}

#[test]
fn a_configured_limit_without_a_request_is_one() {
    let text = "{nativeSidecars: disabled, values: {global: {proxy: {resources: {requests: null, limits: {cpu: 300m, memory: null}}}}}}";
    let before = pod(json!({"limits": {"cpu": "200m"}}), json!({"requests": {"cpu": "100m"}}), json!({}));
    let (found, warnings) = resources(&mesh(text), &before);
    assert_eq!(
        found,
        json!({"limits": {"cpu": "500m"}}),
        "the API server makes the request of the containers"
    );
    assert_eq!(warnings, ["POD_RESOURCES_RAISED"]);
}

#[test]
fn huge_pages_are_requested_to_their_limit() {
    let text = "{nativeSidecars: enabled, values: {global: {proxy: {resources: {limits: {hugepages-2Mi: 4Mi}, requests: {hugepages-2Mi: 4Mi}}}}}}";
    let app = json!({"limits": {"hugepages-2Mi": "64Mi", "cpu": "1"}});
    let huge = |kind: &str, size: &str| json!({kind: {"cpu": "2", "hugepages-2Mi": size}});
    let both = |size: &str| json!({"limits": {"hugepages-2Mi": size}, "requests": {"hugepages-2Mi": size, "cpu": "2"}});
    for (before, after) in [
        (huge("limits", "64Mi"), huge("limits", "68Mi")),
        (huge("limits", "128Mi"), huge("limits", "128Mi")),
        (both("64Mi"), both("68Mi")),
        (both("96Mi"), both("96Mi")),
    ] {
        assert_eq!(resources(&mesh(text), &pod(before.clone(), app.clone(), json!({}))).0, after, "{before}");
        let fits = resources(&mesh(NATIVE), &pod(before.clone(), app.clone(), json!({}))).0;
        assert_eq!(fits, before, "a proxy without such pages needs none");
    }
}

#[test]
fn a_pod_that_was_injected_gets_only_the_difference() {
    let before = pod(json!({"requests": {"cpu": "50m"}}), json!({}), json!({}));
    let (once, _) = run(&mesh(NATIVE), &before).unwrap();
    assert_eq!(once["spec"]["resources"]["requests"]["cpu"], "150m");
    let larger = "{nativeSidecars: enabled, values: {global: {proxy: {resources: {requests: {cpu: 300m}}}}}}";
    assert_eq!(run(&mesh(larger), &once).unwrap().0["spec"]["resources"]["requests"]["cpu"], "350m");
}

#[test]
fn limits_alone_are_known_in_a_pod_that_another_injector_made_smaller() {
    let limits = json!({"limits": {"cpu": "500m"}});
    let (istio, _) =
        run(&mesh("{compat: istio, nativeSidecars: true}"), &pod(limits, json!({}), json!({}))).unwrap();
    let (found, _) = resources(&mesh(NATIVE), &istio);
    assert_eq!(found, json!({"limits": {"cpu": "500m"}, "requests": {"cpu": "500m"}}));
}

#[test]
fn an_init_container_may_need_more_than_proxy_and_application_together() {
    let mut before = pod(json!({"requests": {"cpu": "1"}}), json!({"requests": {"cpu": "300m"}}), json!({}));
    before["spec"]["initContainers"] = json!([{"name": "load", "resources": {"requests": {"cpu": "1"}}}]);
    let requests = |bundle| resources(&mesh(bundle), &before).0["requests"]["cpu"].clone();
    assert_eq!(requests(ORDINARY), "1", "an ordinary proxy runs after it");
    assert_eq!(requests(NATIVE), "1100m", "a native one beside it");
}

#[test]
fn annotation_and_values_choose_what_becomes_of_it() {
    let small = json!({"requests": {"cpu": "50m"}, "limits": {"memory": "1Gi"}});
    let kept = json!({"requests": {"cpu": "50m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}});
    let annotated = |policy: &str| json!({"outrigger.dev/podLevelResources": policy});
    let valued = |policy: &str| {
        format!(
            "{{nativeSidecars: enabled, values: {{sidecarInjectorWebhook: {{podLevelResources: {policy}}}}}}}"
        )
    };
    for (bundle, annotations) in [
        (NATIVE.to_owned(), annotated("keep")),
        (valued("keep"), json!({})),
        (valued("refuse"), annotated("keep")),
    ] {
        let before = pod(small.clone(), json!({}), annotations);
        assert_eq!(resources(&mesh(&bundle), &before), (kept.clone(), vec!["POD_RESOURCES_TOO_SMALL"]));
    }
    for (bundle, annotations) in [(NATIVE.to_owned(), annotated("refuse")), (valued("refuse"), json!({}))] {
        let refusal = run(&mesh(&bundle), &pod(small.clone(), json!({}), annotations)).unwrap_err();
        assert_eq!((refusal.reason(), refusal.code()), ("POD_RESOURCES_TOO_SMALL", 400));
        let said = refusal.to_string();
        assert!(said.contains("requests.cpu is 50m, but needs to be at least 100m with the proxy"), "{said}");
    }
    let unknown = run(&mesh(NATIVE), &pod(small, json!({}), annotated("grow"))).unwrap_err();
    assert_eq!(unknown.reason(), "INVALID_ANNOTATION");
    let unknown =
        InjectorConfig::from_bundle(Source { name: "bundle", text: &headed(&valued("grow")) }).unwrap_err();
    assert!(unknown.to_string().contains("podLevelResources"), "{unknown}");
}

#[test]
fn for_istio_nothing_changes_and_the_user_is_told() {
    let mesh = mesh("{compat: istio, nativeSidecars: false}");
    for (resources, code, said) in [
        (
            json!({"limits": {"cpu": "3", "memory": "2Gi"}}),
            "POD_REQUESTS_LOWERED",
            "requests.cpu from 3 to 100m",
        ),
        (json!({"requests": {"cpu": "50m"}}), "POD_RESOURCES_TOO_SMALL", "requests.cpu is 50m"),
        (
            json!({"requests": {"cpu": "200m", "memory": "1Gi"}, "limits": {"cpu": "1"}}),
            "PROXY_LIMIT_ABOVE_POD",
            "limits.cpu of the proxy is 2, but the pod's is 1",
        ),
    ] {
        let (after, warnings) = run(&mesh, &pod(resources.clone(), json!({}), json!({}))).unwrap();
        assert_eq!(after["spec"]["resources"], resources);
        let limits = json!({"cpu": "2000m", "memory": "1024Mi"});
        assert_eq!(limits_of_ours(&after), [("istio-init", &limits), ("istio-proxy", &limits)]);
        let found: Vec<_> = warnings.iter().filter(|warning| warning.code == code).collect();
        assert!(found.len() == 1 && found[0].message.contains(said), "{warnings:?}");
    }
}

#[test]
fn what_is_kept_is_the_same_when_the_pod_is_injected_again() {
    let before =
        json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "60m", "memory": "1Gi"}});
    for bundle in [NATIVE, ORDINARY] {
        for (bundle, annotations) in [
            (bundle.to_owned(), json!({"outrigger.dev/podLevelResources": "keep"})),
            (
                format!("{bundle}\nvalues: {{sidecarInjectorWebhook: {{podLevelResources: keep}}}}"),
                json!({"outrigger.dev/podLevelResources": ""}),
            ),
        ] {
            let mesh = mesh(&bundle);
            let before = pod(before.clone(), json!({}), annotations);
            let (once, first) = run(&mesh, &before).unwrap();
            let (twice, second) = run(&mesh, &once).unwrap();
            assert_eq!(twice, once);
            assert_eq!(second, first);
            assert_eq!(once["spec"]["resources"], before["spec"]["resources"]);
            assert!(limits_of_ours(&once).iter().all(|(_, limits)| limits["cpu"] == "100m"), "{once}");
        }
    }
}
