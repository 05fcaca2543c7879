use super::*;
use crate::inject::post::tests::Fixture;

fn fixture(quirks: Quirks) -> Fixture {
    Fixture {
        values: json!({"sidecarInjectorWebhook": {"rewriteAppHTTPProbe": true}}),
        quirks,
        ..Fixture::default()
    }
}

fn pod(app: Value) -> Value {
    json!({"metadata": {"annotations": {}}, "spec": {"containers": [app, {"name": "istio-proxy"}]}})
}

fn run(pod: &Value, fixture: &Fixture) -> (Value, Vec<Warning>) {
    let mut pod = pod.clone();
    let mut warnings = Vec::new();
    rewrite(&mut pod, &fixture.context(), &mut warnings).unwrap();
    (pod, warnings)
}

/// The agent's table in the proxy's environment.
fn table(pod: &Value) -> String {
    let env = crate::inject::post::view::env(pod).iter();
    let mut found = env.filter(|variable| pod::name(variable) == "ISTIO_KUBE_APP_PROBERS");
    found.next().map(|variable| variable["value"].as_str().unwrap().to_owned()).unwrap_or_default()
}

#[test]
fn http_probe_goes_to_the_agent() {
    let before = pod(
        json!({"name": "app", "ports": [{"name": "web", "containerPort": 80}], "readinessProbe": {
            "httpGet": {"path": "/ready", "port": "web", "scheme": "HTTPS", "httpHeaders": [{"name": "a", "value": "b"}]},
            "timeoutSeconds": 5, "periodSeconds": 7,
        }}),
    );
    let (after, warnings) = run(&before, &fixture(Quirks::NONE));
    assert_eq!(
        after["spec"]["containers"][0]["readinessProbe"],
        json!({
            "httpGet": {"path": "/app-health/app/readyz", "port": 15020, "scheme": "HTTP", "httpHeaders": [{"name": "a", "value": "b"}]},
            "timeoutSeconds": 5, "periodSeconds": 7,
        })
    );
    assert_eq!(
        table(&after),
        r#"{"/app-health/app/readyz":{"httpGet":{"path":"/ready","port":80,"scheme":"HTTPS","httpHeaders":[{"name":"a","value":"b"}]},"timeoutSeconds":5}}"#
    );
    assert!(warnings.is_empty());
}

#[test]
fn tcp_and_grpc_become_http() {
    let before = pod(json!({"name": "app",
        "livenessProbe": {"tcpSocket": {"port": 5432}, "failureThreshold": 2},
        "startupProbe": {"grpc": {"port": 7, "service": null}},
        "readinessProbe": {"grpc": {"port": 15020, "service": "s"}, "timeoutSeconds": 0},
    }));
    let (after, _) = run(&before, &fixture(Quirks::NONE));
    let app = &after["spec"]["containers"][0];
    assert_eq!(
        app["livenessProbe"],
        json!({"httpGet": {"path": "/app-health/app/livez", "port": 15020}, "failureThreshold": 2})
    );
    assert_eq!(app["startupProbe"], json!({"httpGet": {"path": "/app-health/app/startupz", "port": 15020}}));
    assert_eq!(
        table(&after),
        concat!(
            r#"{"/app-health/app/livez":{"tcpSocket":{"port":5432}},"#,
            r#""/app-health/app/readyz":{"grpc":{"port":15020,"service":"s"}},"#,
            r#""/app-health/app/startupz":{"grpc":{"port":7,"service":null}}}"#
        )
    );
}

#[test]
fn lifecycle_hooks_go_to_the_agent() {
    let before = pod(json!({"name": "app", "lifecycle": {
        "preStop": {"httpGet": {"port": 1, "path": "/stop"}},
        "postStart": {"tcpSocket": {"port": 2}},
    }}));
    let (after, _) = run(&before, &fixture(Quirks::NONE));
    assert_eq!(
        after["spec"]["containers"][0]["lifecycle"],
        json!({
            "preStop": {"httpGet": {"port": 15020, "path": "/app-lifecycle/app/prestopz"}},
            "postStart": {"httpGet": {"port": 15020, "path": "/app-lifecycle/app/poststartz"}},
        })
    );
    assert_eq!(
        table(&after),
        r#"{"/app-lifecycle/app/poststartz":{"tcpSocket":{"port":2}},"/app-lifecycle/app/prestopz":{"httpGet":{"path":"/stop","port":1}}}"#
    );
}

#[test]
fn what_does_not_use_the_network_stays() {
    let before = pod(json!({"name": "app",
        "livenessProbe": {"exec": {"command": ["true"]}},
        "readinessProbe": null,
        "lifecycle": {"preStop": {"sleep": {"seconds": 1}}, "postStart": {"grpc": {"port": 1}}},
    }));
    assert_eq!(run(&before, &fixture(Quirks::ALL)).0, before);
}

// TM-12
#[test]
fn native_sidecars_and_init_containers_are_rewritten_and_the_proxy_is_not() {
    let probe = json!({"httpGet": {"port": 8080}});
    let before = json!({"spec": {
        "initContainers": [
            {"name": "istio-proxy", "restartPolicy": "Always", "readinessProbe": probe},
            {"name": "side", "restartPolicy": "Always", "startupProbe": probe},
        ],
        "containers": [{"name": "app", "livenessProbe": probe}],
    }});
    let (after, _) = run(&before, &fixture(Quirks::NONE));
    assert_eq!(
        table(&after),
        r#"{"/app-health/app/livez":{"httpGet":{"port":8080}},"/app-health/side/startupz":{"httpGet":{"port":8080}}}"#
    );
    assert_eq!(after["spec"]["initContainers"][0]["readinessProbe"], probe);
    assert_eq!(
        after["spec"]["initContainers"][1]["startupProbe"]["httpGet"]["path"],
        "/app-health/side/startupz"
    );
}

#[test]
fn rewritten_handlers_are_not_entered_again() {
    let before = pod(
        json!({"name": "app", "livenessProbe": {"httpGet": {"path": "/app-health/app/livez", "port": 15020}}}),
    );
    let (after, _) = run(&before, &fixture(Quirks::NONE));
    assert_eq!(after, before);
}

#[test]
fn unknown_named_port_keeps_the_probe_unless_compatible() {
    let before = pod(
        json!({"name": "app", "ports": [{"name": "", "containerPort": 1}], "livenessProbe": {"tcpSocket": {"port": "web"}}}),
    );
    let (after, warnings) = run(&before, &fixture(Quirks::NONE));
    assert_eq!(after, before);
    assert_eq!(warnings[0].code, "UNKNOWN_PROBE_PORT");
    let (after, warnings) = run(&before, &fixture(Quirks::ALL));
    assert_eq!(after["spec"]["containers"][0]["livenessProbe"]["httpGet"]["path"], "/app-health/app/livez");
    assert_eq!((table(&after), warnings.len()), (String::new(), 0));
}

#[test]
fn ports_without_a_name_are_not_found_and_the_last_of_a_name_is() {
    let ports = json!([{"name": "", "containerPort": 1}, {"name": "a", "containerPort": 2}, {"name": "a", "containerPort": 3}]);
    let before = pod(json!({"name": "app", "ports": ports,
        "livenessProbe": {"tcpSocket": {"port": ""}}, "readinessProbe": {"tcpSocket": {"port": "a"}}}));
    let (after, warnings) = run(&before, &fixture(Quirks::NONE));
    assert_eq!(table(&after), r#"{"/app-health/app/readyz":{"tcpSocket":{"port":3}}}"#);
    assert_eq!(warnings.len(), 1);
}

#[test]
fn status_port_of_the_pod_is_asked() {
    let mut before = pod(json!({"name": "app", "livenessProbe": {"httpGet": {"port": 123, "path": "/own"}}}));
    before["metadata"]["annotations"] = json!({"status.sidecar.istio.io/port": "123"});
    let (after, _) = run(&before, &fixture(Quirks::ALL));
    assert_eq!(after["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"], 123);
    assert!(table(&after).contains("/own"), "Istio takes only the mesh's port for the agent's");
    let (after, _) = run(&before, &fixture(Quirks::NONE));
    assert_eq!(table(&after), "");
}

#[test]
fn no_status_server_no_rewriting_unless_compatible() {
    let mut before = pod(json!({"name": "app", "livenessProbe": {"httpGet": {"port": 80}}}));
    before["metadata"]["annotations"] = json!({"status.sidecar.istio.io/port": "0"});
    assert_eq!(run(&before, &fixture(Quirks::NONE)).0, before);
    let (after, _) = run(&before, &fixture(Quirks::ALL));
    assert_eq!(after["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"], 0);
}

#[test]
fn annotation_beats_values_when_it_can_be_read() {
    let app = json!({"name": "app", "livenessProbe": {"httpGet": {"port": 80}}});
    let off = Fixture { values: json!({}), ..fixture(Quirks::NONE) };
    for (own, fixture, rewritten) in [
        ("false", fixture(Quirks::NONE), false),
        ("f", fixture(Quirks::NONE), false),
        ("x", fixture(Quirks::NONE), true),
        ("1", off.clone(), true),
        ("x", off, false),
    ] {
        let mut before = pod(app.clone());
        before["metadata"]["annotations"] = json!({"sidecar.istio.io/rewriteAppHTTPProbers": own});
        assert_eq!(run(&before, &fixture).0 != before, rewritten, "{own}");
    }
}

#[test]
fn without_a_proxy_nothing_is_rewritten() {
    let before =
        json!({"spec": {"containers": [{"name": "app", "livenessProbe": {"httpGet": {"port": 80}}}]}});
    assert_eq!(run(&before, &fixture(Quirks::ALL)).0, before);
}

fn injected_before(existing: &str, annotations: Value) -> Value {
    json!({"metadata": {"annotations": annotations}, "spec": {"containers": [
        {"name": "app", "livenessProbe": {"httpGet": {"path": "/new", "port": 80}}},
        {"name": "istio-proxy", "env": [{"name": "A"}, {"name": "ISTIO_KUBE_APP_PROBERS", "value": existing}]},
    ]}})
}

#[test]
fn earlier_table_wins() {
    let existing = r#"{"/app-health/app/livez":{"httpGet":{"path":"/old","port":"x","unknown":1}},"/app-health/b/livez":{"grpc":{}}}"#;
    let (after, _) =
        run(&injected_before(existing, json!({"sidecar.istio.io/status": "{}"})), &fixture(Quirks::ALL));
    assert_eq!(
        table(&after),
        r#"{"/app-health/app/livez":{"httpGet":{"path":"/old","port":"x"}},"/app-health/b/livez":{"grpc":{"port":0,"service":null}}}"#
    );
    assert_eq!(after["spec"]["containers"][1]["env"].as_array().unwrap().len(), 2);
}

#[test]
fn without_a_status_the_table_is_appended() {
    let (after, _) = run(&injected_before("{}", json!({})), &fixture(Quirks::ALL));
    assert_eq!(after["spec"]["containers"][1]["env"].as_array().unwrap().len(), 3);
}

#[test]
fn unreadable_earlier_table_stays() {
    for existing in ["", "x", "[]", r#"{"a":1}"#] {
        let before = injected_before(existing, json!({"sidecar.istio.io/status": "{}"}));
        let (after, warnings) = run(&before, &fixture(Quirks::ALL));
        assert_eq!(table(&after), existing);
        assert_eq!(warnings[0].code, "PROBES_NOT_MERGED");
    }
}

#[test]
fn garbage_is_absent() {
    let before = pod(
        json!({"name": 7, "ports": {"a": 1}, "livenessProbe": {"httpGet": "x", "tcpSocket": [], "grpc": 1}, "lifecycle": 3}),
    );
    assert_eq!(run(&before, &fixture(Quirks::NONE)).0, before);
    let before = pod(
        json!({"livenessProbe": {"httpGet": {"port": {}, "path": 3, "scheme": [], "httpHeaders": [1, {"name": 2}]}, "timeoutSeconds": 1e300}}),
    );
    let (after, _) = run(&before, &fixture(Quirks::NONE));
    assert_eq!(
        table(&after),
        r#"{"/app-health//livez":{"httpGet":{"port":0,"httpHeaders":[{"name":"","value":""}]}}}"#
    );
}

#[test]
fn a_handler_that_asks_another_host_is_left_alone_unless_compatible() {
    let hook = json!({"httpGet": {"port": 1, "host": "203.0.113.7", "path": "/"}});
    let before = pod(json!({"name": "app",
        "readinessProbe": {"httpGet": {"host": "203.0.113.7", "port": 6443, "scheme": "HTTPS", "path": "/readyz"}},
        "livenessProbe": {"tcpSocket": {"host": "db.example.com", "port": 5432}},
        "lifecycle": {"preStop": hook, "postStart": {"tcpSocket": {"host": "db.example.com", "port": 5432}}},
        "startupProbe": {"httpGet": {"host": "", "port": 80, "httpHeaders": [{"name": "Host", "value": "a.example"}]}},
    }));
    let (after, warnings) = run(&before, &fixture(Quirks::NONE));
    let mut expected = before.clone();
    expected["spec"]["containers"][0]["startupProbe"]["httpGet"] = json!({
        "host": "", "port": 15020, "path": "/app-health/app/startupz", "httpHeaders": [{"name": "Host", "value": "a.example"}],
    });
    assert_eq!(after["spec"]["containers"][0], expected["spec"]["containers"][0]);
    assert!(warnings.is_empty(), "{warnings:?}");
    let (after, _) = run(&before, &fixture(Quirks::ALL));
    let readiness = &after["spec"]["containers"][0]["readinessProbe"]["httpGet"];
    assert_eq!((&readiness["host"], &readiness["port"]), (&json!("203.0.113.7"), &json!(15020)));
    assert_eq!(after["spec"]["containers"][0]["livenessProbe"]["httpGet"]["host"], Value::Null);
}

#[test]
fn a_handler_that_asks_the_node_is_left_alone_with_a_warning() {
    for host in ["127.0.0.1", "localhost", "::1"] {
        let before = pod(json!({"name": "app", "livenessProbe": {"httpGet": {"host": host, "port": 80}},
            "lifecycle": {"preStop": {"tcpSocket": {"host": host, "port": 80}}}}));
        let (after, warnings) = run(&before, &fixture(Quirks::NONE));
        assert_eq!(after, before);
        let codes: Vec<_> = warnings.iter().map(|warning| warning.code).collect();
        assert_eq!(codes, ["PROBE_ASKS_THE_NODE"; 2]);
        assert!(warnings[0].message.starts_with("livenessProbe of container \"app\""), "{}", warnings[0]);
        assert!(warnings.iter().all(|warning| warning.message.len() <= 120), "{warnings:?}");
    }
}

/// An ordinary proxy, a helper that is a native sidecar, and the init container that redirects or validates.
fn with_helper(ours: &str) -> Value {
    let request = |port: u16| json!({"httpGet": {"path": "/x", "port": port}});
    json!({"metadata": {"annotations": {}}, "spec": {
        "initContainers": [
            {"name": "helper", "restartPolicy": "Always", "ports": [{"name": "web", "containerPort": 8090}],
             "startupProbe": {"httpGet": {"path": "/x", "port": "web"}}, "livenessProbe": request(8090),
             "readinessProbe": {"grpc": {"port": 8090}},
             "lifecycle": {"postStart": {"tcpSocket": {"port": 8091}}, "preStop": request(8090)}},
            {"name": ours},
        ],
        "containers": [{"name": "app", "startupProbe": request(80)}, {"name": "istio-proxy"}],
    }})
}

#[test]
fn what_an_init_container_awaits_before_an_ordinary_proxy_is_left_alone() {
    let before = with_helper("istio-init");
    let (after, warnings) = run(&before, &fixture(Quirks::NONE));
    let (helper, received) = (&after["spec"]["initContainers"][0], &before["spec"]["initContainers"][0]);
    assert_eq!(helper["startupProbe"], received["startupProbe"]);
    assert_eq!(helper["lifecycle"]["postStart"], received["lifecycle"]["postStart"]);
    assert_eq!(helper["lifecycle"]["preStop"]["httpGet"]["path"], "/app-lifecycle/helper/prestopz");
    assert_eq!(helper["livenessProbe"]["httpGet"]["path"], "/app-health/helper/livez");
    assert_eq!(helper["readinessProbe"]["httpGet"]["path"], "/app-health/helper/readyz");
    assert_eq!(after["spec"]["containers"][0]["startupProbe"]["httpGet"]["path"], "/app-health/app/startupz");
    assert!(!table(&after).contains("/app-health/helper/startupz"));
    assert!(of_awaited(&warnings).is_empty(), "{warnings:?}");

    let (after, _) = run(&before, &fixture(Quirks::ALL));
    let helper = &after["spec"]["initContainers"][0];
    assert_eq!(helper["startupProbe"]["httpGet"]["path"], "/app-health/helper/startupz");
    assert_eq!(helper["lifecycle"]["postStart"]["httpGet"]["path"], "/app-lifecycle/helper/poststartz");
}

#[test]
fn with_the_cni_plugin_ports_have_to_be_excluded_for_it() {
    let ports = |include: Option<&str>, exclude: Option<&str>| {
        let mut before = with_helper("istio-validation");
        let annotations = before["metadata"]["annotations"].as_object_mut().unwrap();
        for (key, value) in [("include", include), ("exclude", exclude)] {
            let key = format!("traffic.sidecar.istio.io/{key}InboundPorts");
            annotations.extend(value.map(|value| (key, json!(value))));
        }
        let (after, warnings) = run(&before, &fixture(Quirks::NONE));
        assert_eq!(after["spec"]["initContainers"][0]["startupProbe"]["httpGet"]["port"], "web");
        assert!(
            warnings
                .iter()
                .all(|warning| warning.code == "PROBE_BEFORE_PROXY" && warning.message.len() <= 160)
        );
        of_awaited(&warnings).iter().map(|warning| warning.message.clone()).collect::<Vec<_>>()
    };
    let both = ports(Some("*"), Some("15020"));
    assert_eq!(both.len(), 2, "{both:?}");
    assert!(
        both[0].contains("add 8090 to annotation traffic.sidecar.istio.io/excludeInboundPorts"),
        "{both:?}"
    );
    assert_eq!(ports(None, None).len(), 2);
    assert_eq!(ports(Some("*"), Some("15020, 8090")).len(), 1);
    assert_eq!(ports(Some("*"), Some("8091,8090")).len(), 0);
    assert_eq!(ports(Some("80,443"), None).len(), 0);
    assert_eq!(ports(Some(""), None).len(), 0);
    assert_eq!(ports(Some("8091"), Some("8090")).len(), 1);
}

#[test]
fn what_fails_before_the_proxy_runs_is_told_where_nothing_is_rewritten() {
    let mut quiet = fixture(Quirks::NONE);
    quiet.values = json!({"sidecarInjectorWebhook": {"rewriteAppHTTPProbe": false}});
    for (annotation, value, fixture) in [
        ("sidecar.istio.io/rewriteAppHTTPProbers", "false", fixture(Quirks::NONE)),
        ("status.sidecar.istio.io/port", "0", fixture(Quirks::NONE)),
        ("example.com/none", "", quiet),
    ] {
        let mut before = with_helper("istio-validation");
        before["metadata"]["annotations"][annotation] = json!(value);
        let (after, warnings) = run(&before, &fixture);
        assert_eq!(after, before, "{annotation}");
        let codes: Vec<_> = warnings.iter().map(|warning| warning.code).collect();
        assert_eq!(codes, ["PROBE_BEFORE_PROXY"; 2], "{annotation}");
        let istio = Fixture { quirks: Quirks::ALL, ..fixture };
        assert!(of_awaited(&run(&before, &istio).1).is_empty(), "{annotation}");
    }
}

/// The warnings about handlers that must succeed before the kubelet starts the next container.
fn of_awaited(warnings: &[Warning]) -> Vec<&Warning> {
    warnings.iter().filter(|warning| !warning.message.starts_with("livenessProbe")).collect()
}

#[test]
fn a_liveness_probe_before_an_ordinary_proxy_is_told() {
    let probed = |proxy: &str| {
        let helper = json!({"name": "helper", "restartPolicy": "Always", "livenessProbe": {"httpGet": {"port": 8090}}});
        let mut pod = json!({"metadata": {"annotations": {}}, "spec": {"initContainers": [helper], "containers": [{"name": "app"}]}});
        pod["spec"][proxy].as_array_mut().unwrap().push(json!({"name": "istio-proxy"}));
        pod
    };
    for quirks in [Quirks::NONE, Quirks::ALL] {
        let (_, warnings) = run(&probed("containers"), &fixture(quirks));
        let codes: Vec<_> = warnings.iter().map(|warning| warning.code).collect();
        assert_eq!(codes, ["PROBE_BEFORE_PROXY"]);
        assert!(run(&probed("initContainers"), &fixture(quirks)).1.is_empty());
    }
}
