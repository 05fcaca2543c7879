use serde_json::json;

use super::*;
use crate::proto::{golden, numbers};

fn load(text: &str) -> Result<Value, ProtoError> {
    mesh_config(&yaml::parse(text, &yaml::Limits::default()).unwrap(), "mesh")
}

/// The defaults with some fields replaced, or removed by null.
fn defaults_with(changes: Value) -> Value {
    let mut mesh = defaults::mesh_config().clone();
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => mesh.as_object_mut().unwrap().remove(key),
            value => mesh.as_object_mut().unwrap().insert(key.clone(), value.clone()),
        };
    }
    mesh
}

#[test]
fn an_empty_document_gives_the_defaults() {
    for text in ["", "{}", "null", "defaultConfig: null", "extensionProviders: []", "defaultProviders: {}"] {
        assert_eq!(&load(text).unwrap(), defaults::mesh_config(), "{text}");
    }
}

#[test]
fn defaults_are_canonical() {
    let decoded = proto::decode(&MESH_CONFIG, defaults::mesh_config()).strict("defaults").unwrap();
    assert_eq!(&decoded, defaults::mesh_config());
}

#[test]
fn zero_values_unset_defaults() {
    let mesh = load("enableTracing: false\nenableAutoMtls: false\ningressService: ''").unwrap();
    let wanted = json!({"enableTracing": null, "enableAutoMtls": false, "ingressService": null});
    assert_eq!(mesh, defaults_with(wanted));
}

#[test]
fn messages_and_lists_replace_their_defaults() {
    let mesh = load("localityLbSetting: {failoverPriority: [a]}\ndefaultServiceExportTo: [.]").unwrap();
    let wanted = json!({"localityLbSetting": {"failoverPriority": ["a"]}, "defaultServiceExportTo": ["."]});
    assert_eq!(mesh, defaults_with(wanted));
}

#[test]
fn the_proxy_default_is_merged_by_field() {
    let mesh = load("defaultConfig: {concurrency: 2, proxyMetadata: {A: b}, statNameLength: 0}").unwrap();
    let mut wanted = defaults::proxy_config().clone();
    wanted["concurrency"] = json!(2);
    wanted["proxyMetadata"] = json!({"A": "b"});
    wanted.as_object_mut().unwrap().remove("statNameLength");
    assert_eq!(mesh["defaultConfig"], wanted);
}

#[test]
fn default_providers_are_merged_by_field() {
    let mesh = load("defaultProviders: {metrics: [prometheus]}").unwrap();
    assert_eq!(mesh, defaults_with(json!({"defaultProviders": {"metrics": ["prometheus"]}})));
}

#[test]
fn extension_providers_are_merged_by_name() {
    let text = "\
extensionProviders:
- name: otel
  opentelemetry: {service: a, port: 1}
- name: envoy
  envoyFileAccessLog: {path: /b}
- name: otel
  opentelemetry: {service: c, port: 2}
";
    let wanted = json!([
        {"name": "prometheus", "prometheus": {}},
        {"name": "stackdriver", "stackdriver": {}},
        {"name": "envoy", "envoyFileAccessLog": {"path": "/b"}},
        {"name": "otel", "opentelemetry": {"service": "c", "port": 2}},
    ]);
    assert_eq!(load(text).unwrap()["extensionProviders"], wanted);
}

#[test]
fn trust_domain_aliases_are_sorted_and_unique() {
    let mesh = load("trustDomainAliases: [b, a, b]").unwrap();
    assert_eq!(mesh["trustDomainAliases"], json!(["a", "b"]));
}

#[test]
fn parts_that_are_merged_are_only_read_by_their_json_name() {
    let error = load("default_config: {concurrency: 1}").unwrap_err().to_string();
    assert_eq!(
        error,
        "mesh: line 1, column 1: default_config has no effect: Istio reads only \"defaultConfig\""
    );
    let document = yaml::parse("default_config: {concurrency: 1}", &yaml::Limits::default()).unwrap();
    let (mesh, ignored) = mesh_config_tolerant(&document, "mesh").unwrap();
    assert_eq!((&mesh, ignored.len()), (defaults::mesh_config(), 1));
}

#[test]
fn refuses_what_istio_refuses() {
    let cases = [
        ("proxyListenPort: 0", "mesh: line 1, column 18: proxyListenPort: found nothing"),
        (
            "connectTimeout: 0s",
            "mesh: line 1, column 17: connectTimeout: found \"0s\", expected a duration of at least 1ms",
        ),
        (
            "connectTimeout: 2h",
            "mesh: line 1, column 17: connectTimeout: found \"7200s\", expected a duration of at most 1h",
        ),
        ("protocolDetectionTimeout: 1us", "mesh: line 1, column 27: protocolDetectionTimeout: found"),
        ("trustDomain: ''", "mesh: line 1, column 14: trustDomain: found nothing"),
        ("trustDomain: a_b", "mesh: line 1, column 14: trustDomain: found \"a_b\""),
        ("trustDomainAliases: [a, -b]", "mesh: line 1, column 25: trustDomainAliases[1]: found \"-b\""),
        ("meshMTLS: {ecdhCurves: [P-256]}", "mesh: line 1, column 24: meshMTLS.ecdhCurves: found a list"),
        (
            "serviceSettings: [{hosts: [a.b, '*.c', a_b]}]",
            "mesh: line 1, column 40: serviceSettings[0].hosts[2]: found \"a_b\"",
        ),
        (
            "defaultConfig: {statusPort: 70000}",
            "mesh: line 1, column 29: defaultConfig.statusPort: found the number 70000",
        ),
        (
            "defaultConfig: {discoveryAddress: istiod}",
            "mesh: line 1, column 35: defaultConfig.discoveryAddress: found \"istiod\"",
        ),
    ];
    for (text, start) in cases {
        let error = load(text).unwrap_err().to_string();
        assert!(error.starts_with(start), "{text}\n{error}\nis not\n{start}");
    }
    for text in
        ["protocolDetectionTimeout: 0s", "trustDomain: a.b.", "connectTimeout: 1ms", "connectTimeout: 1h"]
    {
        load(text).unwrap();
    }
}

#[test]
fn refuses_policies_that_istio_refuses() {
    let cases = [
        (
            "localityLbSetting: {distribute: [{from: a, to: {a: 100}}], failover: [{from: a, to: b}]}",
            "localityLbSetting",
        ),
        (
            "localityLbSetting: {distribute: [{from: a, to: {a: 50, b: 40}}]}",
            "localityLbSetting.distribute[0]",
        ),
        (
            "localityLbSetting: {distribute: [{from: a, to: {a: 0, b: 100}}]}",
            "localityLbSetting.distribute[0]",
        ),
        ("localityLbSetting: {distribute: [{from: '*/a', to: {a: 100}}]}", "localityLbSetting.distribute[0]"),
        ("localityLbSetting: {distribute: [{from: a/, to: {a: 100}}]}", "localityLbSetting.distribute[0]"),
        ("localityLbSetting: {failover: [{from: a, to: a}]}", "localityLbSetting.failover[0]"),
        ("localityLbSetting: {failover: [{from: a/b, to: c}]}", "localityLbSetting.failover[0]"),
        (
            "localityLbSetting: {failover: [{from: a, to: b}], failoverPriority: [x, topology.istio.io/subzone]}",
            "localityLbSetting.failoverPriority[1]",
        ),
        (
            "zoneAwareLbSetting: {failoverPriority: [topology.kubernetes.io/zone]}",
            "zoneAwareLbSetting.failoverPriority[0]",
        ),
        ("zoneAwareLbSetting: {failover: [{from: '*', to: b}]}", "zoneAwareLbSetting.failover[0]"),
        ("defaultTrafficPolicy: {connectionPool: {}}", "defaultTrafficPolicy.connectionPool"),
        (
            "defaultTrafficPolicy: {connectionPool: {http: {maxRetries: -1}}}",
            "defaultTrafficPolicy.connectionPool.http.maxRetries",
        ),
        (
            "defaultTrafficPolicy: {connectionPool: {http: {idleTimeout: 1us}}}",
            "defaultTrafficPolicy.connectionPool.http.idleTimeout",
        ),
        (
            "defaultTrafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}}",
            "defaultTrafficPolicy.connectionPool.http",
        ),
        (
            "defaultTrafficPolicy: {connectionPool: {tcp: {tcpKeepalive: {time: 0s}}}}",
            "defaultTrafficPolicy.connectionPool.tcp.tcpKeepalive.time",
        ),
        (
            "defaultTrafficPolicy: {connectionPool: {tcp: {idleTimeout: -1s}}}",
            "defaultTrafficPolicy.connectionPool.tcp.idleTimeout",
        ),
        (
            "defaultTrafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}",
            "defaultTrafficPolicy.outlierDetection.maxEjectionPercent",
        ),
        (
            "defaultTrafficPolicy: {outlierDetection: {consecutiveLocalOriginFailures: 1}}",
            "defaultTrafficPolicy.outlierDetection.consecutiveLocalOriginFailures",
        ),
    ];
    for (text, path) in cases {
        let error = load(text).expect_err(text);
        assert!(
            error.violations.iter().all(|violation| violation.path.to_string() == path),
            "{text}: {error}"
        );
    }
    let accepted = "\
localityLbSetting: {distribute: [{from: 'a/*', to: {'a/*': 80, 'b/c/*': 20}}]}
zoneAwareLbSetting: {failover: [{from: a, to: b}], failoverPriority: [x]}
defaultTrafficPolicy:
  connectionPool: {tcp: {idleTimeout: 0s, connectTimeout: 1s, maxConnections: 0}, http: {useClientProtocol: true}}
  outlierDetection: {consecutiveLocalOriginFailures: 3, splitExternalLocalOriginErrors: true, minHealthPercent: 100}
";
    load(accepted).unwrap();
}

/// Istio's own complete configurations decode to themselves. Skipped if the recorded answers are absent.
#[test]
fn complete_configurations_are_kept() {
    let Some(settings) = golden("settings.json") else { return };
    let settings: Vec<Value> = serde_json::from_str(&settings).unwrap();
    assert_eq!(settings.len(), 52);
    for (at, setting) in settings.iter().enumerate() {
        let given = &setting["meshConfig"];
        let decoded = proto::decode(&MESH_CONFIG, given).strict("mesh").unwrap();
        assert_eq!(numbers(&decoded), numbers(given), "setting {at}");
        // Also over the defaults, except for fields whose zero value the recording omits.
        let text = yaml::to_string(given);
        let mut over = load(&text).unwrap();
        for key in ["enableTracing"] {
            if given.get(key).is_none() {
                over.as_object_mut().unwrap().remove(key);
            }
        }
        assert_eq!(numbers(&over), numbers(given), "setting {at} over the defaults");
    }
}
