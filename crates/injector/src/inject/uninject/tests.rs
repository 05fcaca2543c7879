use super::*;

fn injected(status: Value, more: Value) -> Value {
    let mut pod = json!({
        "metadata": {"labels": {"app": "web"}, "annotations": {"sidecar.istio.io/status": status.to_string()}},
        "spec": {"containers": [{"name": "app", "image": "i"}, {"name": "istio-proxy", "image": "p"}]},
    });
    pod["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    pod
}

fn without(pod: &Value) -> Uninjected {
    uninject(pod, "web").unwrap().unwrap()
}

#[test]
fn a_pod_without_a_status_is_none() {
    assert!(uninject(&json!({"spec": {}}), "").unwrap().is_none());
    let forged = json!({"metadata": {"annotations": {"sidecar.istio.io/status": "7"}}});
    assert!(uninject(&forged, "").is_err());
}

#[test]
fn volumes_go_unless_the_application_mounts_them() {
    let status = json!({"containers": ["istio-proxy"], "volumes": ["istio-data", "istio-envoy"]});
    let mut pod = injected(
        status,
        json!({"volumes": [{"name": "istio-data"}, {"name": "istio-envoy"}, {"name": "c"}]}),
    );
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "istio-envoy", "mountPath": "/b"}]);
    let Uninjected { pod, remarks } = without(&pod);
    assert_eq!(pod["spec"]["volumes"], json!([{"name": "istio-envoy"}, {"name": "c"}]));
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    assert!(pod["metadata"].get("annotations").is_none());
}

#[test]
fn values_that_injection_does_not_set_stay_with_a_remark() {
    let mut pod = injected(json!({"containers": ["istio-proxy"], "revision": "a"}), json!({}));
    pod["metadata"]["labels"] = json!({"app": "web", "service.istio.io/canonical-name": "mine",
        "service.istio.io/canonical-revision": "latest", "security.istio.io/tlsMode": "istio"});
    pod["metadata"]["annotations"]["istio.io/rev"] = json!("a");
    let Uninjected { pod, remarks } = without(&pod);
    assert_eq!(pod["metadata"], json!({"labels": {"app": "web", "service.istio.io/canonical-name": "mine"}}));
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    assert!(remarks[0].contains("canonical-name"), "{remarks:?}");
}

#[test]
fn a_probe_without_a_record_is_remarked() {
    let mut pod = injected(json!({"containers": ["istio-proxy"]}), json!({}));
    pod["spec"]["containers"][0]["livenessProbe"] =
        json!({"httpGet": {"path": "/app-health/app/livez", "port": 15020}});
    let Uninjected { remarks, .. } = without(&pod);
    assert_eq!(
        remarks,
        [
            "spec.containers[0].livenessProbe still asks the agent: ISTIO_KUBE_APP_PROBERS of the proxy has no entry \
          /app-health/app/livez"
        ]
    );
}

#[test]
fn scrape_settings_and_handlers_come_from_the_environment() {
    let mut pod = injected(json!({"containers": ["istio-proxy"]}), json!({}));
    let probers = json!({
        "/app-health/app/livez": {"tcpSocket": {"port": 90}},
        "/app-health/app/readyz": {"grpc": {"port": 80, "service": null}},
        "/app-health/app/startupz": {"httpGet": {"port": 80, "scheme": "HTTPS"}},
    });
    let redirected =
        |end: &str| json!({"httpGet": {"path": format!("/app-health/app/{end}"), "port": 15020}});
    pod["spec"]["containers"][0] = json!({"name": "app", "ports": [{"name": "http", "containerPort": 80}],
        "livenessProbe": redirected("livez"), "readinessProbe": redirected("readyz"), "startupProbe": redirected("startupz")});
    pod["spec"]["containers"][1]["env"] = json!([
        {"name": "ISTIO_KUBE_APP_PROBERS", "value": probers.to_string()},
        {"name": "ISTIO_PROMETHEUS_ANNOTATIONS", "value": "{\"scrape\":\"true\",\"path\":\"\",\"port\":\"80\"}"},
    ]);
    for (key, value) in [("port", "15020"), ("path", "/stats/prometheus"), ("scrape", "true")] {
        pod["metadata"]["annotations"][format!("prometheus.io/{key}")] = json!(value);
    }
    let Uninjected { pod, remarks } = without(&pod);
    let app = &pod["spec"]["containers"][0];
    assert_eq!(app["livenessProbe"], json!({"tcpSocket": {"port": 90}}));
    assert_eq!(app["readinessProbe"], json!({"grpc": {"port": 80}}));
    assert_eq!(app["startupProbe"], json!({"httpGet": {"port": "http", "scheme": "HTTPS"}}));
    assert_eq!(
        pod["metadata"]["annotations"],
        json!({"prometheus.io/scrape": "true", "prometheus.io/port": "80"})
    );
    assert_eq!(remarks.len(), 1, "{remarks:?}");
}

#[test]
fn a_volume_with_two_sources_keeps_the_users() {
    let status = json!({"containers": ["istio-proxy"], "volumes": ["istio-data", "istio-envoy"]});
    let volumes = json!([
        {"name": "istio-data", "emptyDir": {}, "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "istio-envoy", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]);
    let Uninjected { pod, remarks } = without(&injected(status, json!({"volumes": volumes})));
    let own = json!([{"name": "istio-data", "persistentVolumeClaim": {"claimName": "data"}}]);
    assert_eq!(pod["spec"]["volumes"], own);
    assert_eq!(remarks.len(), 2, "{remarks:?}");
    assert!(remarks[0].starts_with("spec.volumes: istio-data") && remarks[1].contains("istio-envoy"));
}

#[test]
fn an_init_container_named_like_an_ordinary_proxy_returns_to_its_place() {
    let status = json!({"containers": ["istio-proxy"], "initContainers": ["istio-init"]});
    let list = json!([{"name": "a"}, {"name": "istio-init"}, {"name": "istio-proxy", "image": "own"}, {"name": "b"}]);
    let Uninjected { pod, remarks } = without(&injected(status, json!({"initContainers": list})));
    let own = json!([{"name": "a"}, {"name": "istio-proxy", "image": "own"}, {"name": "b"}]);
    assert_eq!(pod["spec"]["initContainers"], own);
    assert_eq!(pod["spec"]["containers"], json!([{"name": "app", "image": "i"}]));
    assert_eq!(remarks.len(), 1, "{remarks:?}");
}

#[test]
fn what_templates_of_others_may_have_added_is_remarked() {
    let status = json!({"containers": ["istio-proxy", "helper"], "volumes": ["istio-data", "scratch"]});
    let Uninjected { remarks, .. } = without(&injected(status, json!({})));
    let remarks: Vec<String> = remarks.into_iter().filter(|remark| remark.starts_with("metadata")).collect();
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    assert!(remarks[0].ends_with("they added container \"helper\", volume \"scratch\""), "{remarks:?}");
    let mut gateway =
        injected(json!({"containers": ["istio-proxy"]}), json!({"securityContext": {"runAsUser": 5}}));
    assert_eq!(without(&gateway).remarks, Vec::<String>::new());
    gateway["spec"]["containers"][1]["args"] = json!(["proxy", "router"]);
    assert_eq!(without(&gateway).remarks.len(), 1);
}
