use serde_json::json;

use super::*;
use crate::mesh;
use crate::proto::{golden, numbers};

fn mesh_with(default_config: Value) -> Value {
    let mut mesh = defaults::mesh_config().clone();
    for (key, value) in default_config.as_object().unwrap() {
        mesh["defaultConfig"][key] = value.clone();
    }
    mesh
}

fn resources(objects: Value) -> ProxyConfigs {
    let objects = objects.as_array().unwrap().iter();
    ProxyConfigs::new(objects.map(|object| ProxyConfigResource::from_object(object).unwrap()))
}

fn object(namespace: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1beta1", "kind": "ProxyConfig",
        "metadata": {"namespace": namespace, "name": name, "creationTimestamp": "2026-01-02T03:04:05Z"}, "spec": spec})
}

fn effective(mesh: &Value, annotation: Option<&str>, objects: &ProxyConfigs) -> Value {
    let labels = json!({"app": "web"});
    effective_proxy_config(mesh, "istio-system", "shop", &labels, annotation, objects).unwrap().into_owned()
}

#[test]
fn borrows_the_mesh_default_when_nothing_else_speaks() {
    let mesh = mesh_with(json!({"concurrency": 2}));
    let others = resources(json!([object("elsewhere", "a", json!({"concurrency": 9}))]));
    let config = effective_proxy_config(&mesh, "istio-system", "shop", &Value::Null, None, &others).unwrap();
    assert!(matches!(config, Cow::Borrowed(_)));
    assert_eq!(*config, mesh["defaultConfig"]);
}

#[test]
fn the_tracing_service_name_stands_in_for_the_service_cluster() {
    let mesh = mesh::apply(&json!({"defaultConfig": {"tracingServiceName": "CANONICAL_NAME_ONLY"}}));
    let mesh = mesh.strict("mesh").unwrap();
    let nothing = ProxyConfigs::default();
    let config = effective_proxy_config(&mesh, "", "shop", &Value::Null, None, &nothing).unwrap();
    assert!(matches!(config, Cow::Borrowed(_)) && config.get("serviceCluster").is_none());
}

#[test]
fn the_built_in_default_shows_through_zero_values() {
    let mesh = mesh::apply(&json!({"defaultConfig": {"statNameLength": 0}})).strict("mesh").unwrap();
    assert_eq!(mesh["defaultConfig"].get("statNameLength"), None);
    assert_eq!(effective(&mesh, None, &ProxyConfigs::default())["statNameLength"], 189);
    assert_eq!(effective(&json!({}), None, &ProxyConfigs::default()), *defaults::proxy_config());
}

#[test]
fn each_word_overrules_the_weaker_ones() {
    let mesh = mesh_with(json!({"concurrency": 1, "proxyMetadata": {"M": "mesh", "X": "mesh"}}));
    let root = object(
        "istio-system",
        "a",
        json!({"concurrency": 2, "environmentVariables": {"X": "root", "R": "root"}}),
    );
    let namespace = object("shop", "b", json!({"concurrency": 3, "environmentVariables": {"X": "ns"}}));
    let annotation = "concurrency: 4\nproxyMetadata: {X: annotation}";
    let selector = object(
        "shop",
        "c",
        json!({"concurrency": 5, "selector": {"matchLabels": {"app": "web"}},
        "environmentVariables": {"X": "selector"}, "image": {"imageType": "debug"}}),
    );
    let steps = [
        (json!([]), None, 1, "mesh"),
        (json!([root]), None, 2, "root"),
        (json!([namespace, root]), None, 3, "ns"),
        (json!([namespace, root]), Some(annotation), 4, "annotation"),
        (json!([namespace, root, selector]), Some(annotation), 5, "selector"),
    ];
    for (objects, annotation, concurrency, x) in steps {
        let config = effective(&mesh, annotation, &resources(objects));
        assert_eq!(config["concurrency"], concurrency);
        assert_eq!(config["proxyMetadata"]["X"], x);
        assert_eq!(config["proxyMetadata"]["M"], "mesh");
    }
    let config = effective(&mesh, Some(annotation), &resources(json!([namespace, root, selector])));
    assert_eq!(config["image"]["imageType"], "debug");
    assert_eq!(config["proxyMetadata"]["R"], "root");
}

#[test]
fn selectors_speak_for_their_own_namespace_only() {
    let spec = json!({"concurrency": 7, "selector": {"matchLabels": {"app": "web"}}});
    let mesh = mesh_with(json!({}));
    for namespace in ["istio-system", "elsewhere"] {
        assert!(
            effective(&mesh, None, &resources(json!([object(namespace, "a", spec.clone())])))
                .get("concurrency")
                .is_none()
        );
    }
    for labels in [json!({"app": "api"}), json!({"app": 1}), Value::Null, json!("app")] {
        let objects = resources(json!([object("shop", "a", spec.clone())]));
        let config = effective_proxy_config(&mesh, "istio-system", "shop", &labels, None, &objects).unwrap();
        assert!(config.get("concurrency").is_none(), "{labels}");
    }
}

#[test]
fn an_empty_selector_matches_nothing() {
    let objects = resources(json!([object("shop", "a", json!({"concurrency": 7, "selector": {}}))]));
    assert!(effective(&mesh_with(json!({})), None, &objects).get("concurrency").is_none());
}

#[test]
fn the_oldest_object_speaks_alone() {
    let mut old = object("shop", "z", json!({"concurrency": 1}));
    old["metadata"]["creationTimestamp"] = json!("2025-01-01T00:00:00Z");
    let twin = object("shop", "a", json!({"concurrency": 2, "image": {"imageType": "debug"}}));
    let other = object("shop", "b", json!({"concurrency": 3}));
    let config = effective(&mesh_with(json!({})), None, &resources(json!([twin, old, other])));
    assert_eq!((&config["concurrency"], config.get("image")), (&json!(1), None));
    let config = effective(&mesh_with(json!({})), None, &resources(json!([other, twin])));
    assert_eq!(config["concurrency"], 2);
}

#[test]
fn objects_are_checked() {
    let error =
        ProxyConfigResource::from_object(&object("n", "x", json!({"environmentVariables": {"A": 1}})));
    let error = error.unwrap_err().to_string();
    assert!(
        error.starts_with("ProxyConfig n/x: environmentVariables.A: found the number 1, expected"),
        "{error}"
    );
    let unknown = ProxyConfigResource::from_object(&object("n", "x", json!({"concurency": 1}))).unwrap();
    assert_eq!(unknown.ignored.len(), 1);
}

#[test]
fn proxy_headers_keep_what_an_annotation_leaves() {
    let mesh =
        mesh_with(json!({"proxyHeaders": {"forwardedClientCert": "SANITIZE", "server": {"value": "a"},
        "metadataExchangeHeaders": {"mode": "IN_MESH"}}}));
    let config = effective(&mesh, Some("proxyHeaders: {server: {disabled: true}}"), &ProxyConfigs::default());
    let wanted = json!({"forwardedClientCert": "SANITIZE", "server": {"disabled": true}});
    assert_eq!(config["proxyHeaders"], wanted);
}

#[test]
fn zero_values_of_an_annotation_count_only_in_manual_injection() {
    let mesh = mesh_with(json!({"interceptionMode": "TPROXY", "concurrency": 2}));
    let text = "interceptionMode: REDIRECT\nconcurrency: 0";
    let webhook = effective(&mesh, Some(text), &ProxyConfigs::default());
    assert_eq!((&webhook["interceptionMode"], &webhook["concurrency"]), (&json!("TPROXY"), &json!(0)));
    let manual = annotated_mesh_default(&mesh, text).unwrap();
    assert_eq!((manual.get("interceptionMode"), &manual["concurrency"]), (None, &json!(0)));
}

#[test]
fn annotations_are_refused_with_all_violations() {
    let text = "\
configPath: ''
discoveryAddress: istiod
drainDuration: 1500ms
proxyAdminPort: 0
statusPort: 65536
statsdUdpAddress: a_b:1
controlPlaneAuthPolicy: INHERIT
envoyMetricsService: {address: ':1'}
tracing:
  zipkin: {address: '$(HOST_IP)'}
  tlsSettings: {mode: MUTUAL, privateKey: a, credentialName: ''}
privateKeyProvider: {qat: {pollDelay: 0s}}
connectionSettings: {httpMaxConcurrentStreams: 0, httpIdleTimeout: -1s}
";
    let error = proxy_config_annotation(text).unwrap_err();
    let paths: Vec<String> = error.violations.iter().map(|violation| violation.path.to_string()).collect();
    let wanted = [
        "configPath",
        "drainDuration",
        "discoveryAddress",
        "statsdUdpAddress",
        "envoyMetricsService.address",
        "proxyAdminPort",
        "statusPort",
        "controlPlaneAuthPolicy",
        "tracing.zipkin.address",
        "tracing.tlsSettings.clientCertificate",
        "privateKeyProvider.qat.pollDelay",
        "connectionSettings.httpMaxConcurrentStreams",
        "connectionSettings.httpIdleTimeout",
    ];
    assert_eq!(paths, wanted, "{error}");
    assert!(
        error.to_string().starts_with("proxy.istio.io/config: line 1, column 13: configPath: found"),
        "{error}"
    );
}

#[test]
fn annotations_are_judged_one_by_one() {
    let refused = [
        ("concurrency: two", "concurrency"),
        ("[]", ""),
        ("text", ""),
        ("serviceCluster: ''", "serviceCluster"),
        ("drainDuration: 0s", "drainDuration"),
        ("binaryPath: ''", "binaryPath"),
        ("tracing: {lightstep: {address: 'a:1'}}", "tracing.lightstep.accessToken"),
        ("tracing: {lightstep: {accessToken: a}}", "tracing.lightstep.address"),
        ("tracing: {datadog: {}}", "tracing.datadog.address"),
        ("tracing: {zipkin: {}}", "tracing.zipkin.address"),
        ("tracing: {tlsSettings: {credentialName: 'configmap://a'}}", "tracing.tlsSettings.credentialName"),
        ("tracing: {tlsSettings: {mode: SIMPLE, credentialName: a, caCrl: b}}", "tracing.tlsSettings.caCrl"),
        (
            "tracing: {tlsSettings: {mode: SIMPLE, insecureSkipVerify: true, credentialName: a}}",
            "tracing.tlsSettings.insecureSkipVerify",
        ),
        ("privateKeyProvider: {}", "privateKeyProvider"),
        ("privateKeyProvider: {cryptomb: {}}", "privateKeyProvider.cryptomb.pollDelay"),
        ("envoyAccessLogService: {address: a}", "envoyAccessLogService.address"),
        ("envoyMetricsServiceAddress: a", "envoyMetricsServiceAddress"),
        (
            "connectionSettings: {http2InitialStreamWindowSize: 65534}",
            "connectionSettings.http2InitialStreamWindowSize",
        ),
        (
            "connectionSettings: {listenerPerConnectionBufferLimitBytes: -1}",
            "connectionSettings.listenerPerConnectionBufferLimitBytes",
        ),
    ];
    for (text, path) in refused {
        let error = proxy_config_annotation(text).expect_err(text);
        assert_eq!(error.violations.len(), 1, "{text}: {error}");
        assert_eq!(error.violations[0].path.to_string(), path, "{text}");
    }
    let accepted = [
        "",
        "{}",
        "unknown: 1",
        "tracing: {}",
        "tracingServiceName: CANONICAL_NAME_ONLY",
        "controlPlaneAuthPolicy: NONE",
        "tracing: {zipkin: {address: '$(HOST_IP):9411'}}",
        "tracing: {zipkin: {address: '[::1]:9411'}}",
        "tracing: {tlsSettings: {mode: MUTUAL, clientCertificate: a, privateKey: b}}",
        "tracing: {tlsSettings: {mode: SIMPLE, insecureSkipVerify: true}}",
        "connectionSettings: {listenerPerConnectionBufferLimitBytes: 0}",
    ];
    for text in accepted {
        proxy_config_annotation(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    assert_eq!(proxy_config_annotation("unknown: 1").unwrap().ignored.len(), 1);
}

#[test]
fn an_annotation_that_is_no_yaml_is_refused_with_its_place() {
    let error = proxy_config_annotation("concurrency: [1").unwrap_err().to_string();
    assert!(error.starts_with("proxy.istio.io/config: line "), "{error}");
    let mesh = mesh_with(json!({}));
    let nothing = ProxyConfigs::default();
    for text in ["a: [", "concurrency: x"] {
        assert!(
            effective_proxy_config(&mesh, "r", "n", &Value::Null, Some(text), &nothing).is_err(),
            "{text}"
        );
        assert!(annotated_mesh_default(&mesh, text).is_err(), "{text}");
    }
}

#[test]
fn addresses_are_judged_as_go_does() {
    let fixture: Value = serde_json::from_str(include_str!("../../tests/fixtures/meshconfig.json")).unwrap();
    let rows = fixture["addresses"].as_array().unwrap();
    assert!(rows.len() >= 40);
    for row in rows {
        let text = row["text"].as_str().unwrap();
        assert_eq!(validate::is_proxy_address(text), row["ok"].as_bool().unwrap(), "{text:?}");
    }
}

#[test]
fn what_equals_the_default_is_not_printed() {
    let mesh = mesh_with(json!({"drainDuration": "12s", "concurrency": 0, "tracing": {}}));
    let printed = proto_json_diff_from_default(&mesh["defaultConfig"]);
    assert_eq!(printed, json!({"drainDuration": "12s", "concurrency": 0, "tracing": {}}));
    assert_eq!(proto_json_diff_from_default(defaults::proxy_config()), json!({}));
}

/// Every PROXY_CONFIG that Istio wrote equals the one we compute. Skipped if the recorded answers are absent.
#[test]
fn proxy_config_of_injected_pods_is_istios() {
    let (Some(settings), Some(calls)) = (golden("settings.json"), golden("webhook.jsonl")) else {
        return;
    };
    let settings: Vec<Value> = serde_json::from_str(&settings).unwrap();
    let mut compared = 0;
    for line in calls.lines() {
        let call: Value = serde_json::from_str(line).unwrap();
        let mesh = &settings[call["setting"].as_u64().unwrap() as usize]["meshConfig"];
        let containers =
            ["containers", "initContainers"].map(|list| call["patched"]["spec"][list].as_array());
        let env = containers.into_iter().flatten().flatten().filter(|it| it["name"] == "istio-proxy");
        let env = env.filter_map(|it| it["env"].as_array()).flatten().find(|it| it["name"] == "PROXY_CONFIG");
        // If the user has set the variable, theirs wins, even in a pod that was injected before.
        if call["pod"].to_string().contains("PROXY_CONFIG") {
            continue;
        }
        let Some(text) = env.and_then(|env| env["value"].as_str()) else { continue };
        let theirs: Value = serde_json::from_str(text).unwrap();
        let meta = &call["pod"]["metadata"];
        let annotation = meta["annotations"]["proxy.istio.io/config"].as_str();
        let namespace = call["namespace"].as_str().unwrap();
        let nothing = ProxyConfigs::default();
        let ours =
            effective_proxy_config(mesh, "istio-system", namespace, &meta["labels"], annotation, &nothing);
        let ours = proto_json_diff_from_default(&ours.unwrap());
        assert_eq!(numbers(&ours), numbers(&theirs), "{}", call["name"]);
        compared += 1;
    }
    assert!(compared > 490, "{compared} compared");
}
