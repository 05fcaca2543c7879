//! Random annotations: every key of the table, with valid and invalid values of its kind.

use outrigger::{
    annotation::{Group, Kind, Row, TABLE},
    gotypes,
};
use serde_json::{Map, Value, json};

use super::{random::Random, text, typed};

/// Keys that Prometheus considers equal to those of the table.
const PROMETHEUS: &[&str] = &[
    "prometheus.io/port",
    "prometheus_io/port",
    "prometheus-io/path",
    "prometheus.io.scrape",
    "prometheus.io/scrape",
];

/// Annotations of a pod.
pub(crate) fn annotations(random: &mut Random) -> Map<String, Value> {
    let mut map = Map::new();
    let rows: Vec<&Row> = TABLE.iter().filter(|row| row.group != Group::Namespace).collect();
    let count = if random.percent(20) { 0 } else { random.within(1..6) };
    for _ in 0..count {
        let row = *random.pick(&rows);
        // A forged record is rare: most pods with a record were injected.
        if row.group == Group::Written && !random.percent(15) {
            continue;
        }
        let text = of_kind(random, row);
        map.insert(row.key.to_owned(), json!(text));
    }
    if random.percent(10) {
        let key = *random.pick(PROMETHEUS);
        map.insert(
            key.to_owned(),
            json!(*random.pick(&["9100", "/m", "true", "false", "15020", "15090", "0", "x", ""])),
        );
    }
    if random.percent(15) {
        map.insert("example.com/note".to_owned(), json!(*random.pick(ANY)));
    }
    map
}

/// A value for a row, usually of its kind.
pub(crate) fn of_kind(random: &mut Random, row: &Row) -> String {
    if random.percent(4) {
        return (*random.pick(ANY)).to_owned();
    }
    match row.key {
        "sidecar.istio.io/status" => return status(random),
        "proxy.istio.io/overrides" => return overrides(random),
        "prometheus.io/port" => {
            return (*random.pick(&["9100", "8080", "15020", "15090", "080", "0", "x", ""])).to_owned();
        }
        "prometheus.io/path" => return (*random.pick(&["/m", "metrics", ""])).to_owned(),
        "inject.istio.io/templates" => {
            return (*random.pick(&[
                "sidecar",
                "gateway",
                "grpc-agent",
                "grpc-simple",
                "sidecar,custom",
                "custom,sidecar",
                " sidecar , custom",
                "alias",
                "custom",
                "missing",
                "",
                "sidecar,gateway",
                "both,custom",
                "grpc-agent,custom",
            ]))
            .to_owned();
        }
        _ => {}
    }
    let pool: &[&str] = match row.kind {
        Kind::Injection => &["true", "false", "", "yes", "True"],
        Kind::TrueFalse => &["true", "false", "false", "true", "True", "", "1"],
        Kind::GoBool => &["true", "false", "1", "0", "T", "F", "yes", "TRUE", ""],
        Kind::Templates => &["sidecar"],
        Kind::Image => &["example.com/p/proxyv2:1", "reg/x@sha256:1", "noslash", "auto", "a/b", ""],
        Kind::ImageType => &["debug", "distroless", "default", "", "odd-type"],
        Kind::Quantity => {
            &["100m", "1", "0.5", "128Mi", "1Gi", "2000m", "0", "1e3", "1.5Gi", "x", "100 m", ""]
        }
        Kind::LogLevel => &["debug", "info", "warning", "", "trace", "loud"],
        Kind::ComponentLogLevels => &["misc:error", "misc:error,http:debug", "", "x", "a:b:c"],
        Kind::ScopeLogLevels => &["default:info", "debug", "all:warn,ads:debug", "", "x:y"],
        Kind::InterceptionMode => &["REDIRECT", "TPROXY", "NONE", "none", ""],
        Kind::Prefixes { .. } => &[
            "*",
            "10.0.0.0/8",
            "10.0.0.0/8,fd00::/8",
            "10.0.0.1",
            "",
            "10.0.0.0/8, 10.1.0.0/16",
            "*,10.0.0.0/8",
            "x/8",
            "10.0.0.0/33",
        ],
        Kind::Ports { .. } => {
            &["*", "80", "80,443", "80, 443", "", "0", "65535", "65536", "http", "80,", "-1"]
        }
        Kind::Interfaces => &["eth0", "net1,net2", "", "br-x", "eth0, eth1", "a b", "averyveryverylongname"],
        Kind::StatusPort => &["15099", "0", "15020", "080", "65536", "-1", " 15099 ", ""],
        Kind::Port => &["15021", "1", "0", "x", ""],
        Kind::PodLevelResources => &["add", "keep", "refuse", "Add", ""],
        Kind::Int32 => &["0", "1", "30", "300", "-1", "2147483647", "1.5", " 5", "x", ""],
        Kind::ConfigMapName => &["boot", "a.b-c", "Not A Name", ""],
        Kind::Volumes => &[
            r#"[{"name":"uv","emptyDir":{}}]"#,
            r#"{"uv":{"emptyDir":{}}}"#,
            r#"[{"name":"uv","secret":{"secretName":"s"}}]"#,
            r#"{"uv":{"configMap":{"name":"c"}},"uw":{"hostPath":{"path":"/x"}}}"#,
            "[]",
            "{}",
            "",
            "x",
            "[1]",
            "null",
            r#"{"istio-envoy":{"hostPath":{"path":"/x"}}}"#,
        ],
        Kind::VolumeMounts => &[
            r#"[{"name":"uv","mountPath":"/uv"}]"#,
            r#"{"uv":{"mountPath":"/uv"}}"#,
            r#"{"uv":{"mountPath":"/uv","readOnly":true}}"#,
            "[]",
            "{}",
            "",
            "x",
            "null",
            r#"{"istio-envoy":{"mountPath":"/etc/istio/proxy"}}"#,
        ],
        Kind::ProxyConfig => return proxy_config(random),
        Kind::StringMap => {
            &[r#"{"DD_A":"b"}"#, r#"{"DD_A":"b","DD_B":"017"}"#, "{}", "", "[]", "x", r#"{"A":1}"#]
        }
        Kind::JsonObject => &["{}", "[]", "", "null", r#"{"containers":["app"]}"#, "x"],
        Kind::ScrapeTargets => {
            &["9100:/a", "9100:/a,9101", "9100", "x", "15020:/a", "", "9100:/a,15090", "0:/x", "9100:a"]
        }
        Kind::Networks => {
            &["net1", "net1,net2", r#"[{"name":"n"}]"#, "", "[]", "x/y@eth1", "[1", r#" [{"name":"n"}]"#]
        }
        Kind::IdRange | Kind::IdRanges => &["1000620000/10000"],
        Kind::Text => ANY,
    };
    (*random.pick(pool)).to_owned()
}

/// Any text.
pub(crate) const ANY: &[&str] = &[
    "x",
    "",
    "app",
    "istio-proxy",
    "true",
    "017",
    "a: b",
    "# c",
    "- x",
    "{",
    "[]",
    "\"",
    "'",
    "line\nline\n",
    "{{ .Spec }}",
    "é\u{2028}",
    "  blank  ",
    "1e3",
    "null",
    "a,b",
    "/p",
    "%s",
    "1",
];

/// A ProxyConfig as people and programs write it, occasionally with input that Istio's decoder rejects.
pub(crate) fn proxy_config(random: &mut Random) -> String {
    const WRITTEN: &[&str] = &[
        "holdApplicationUntilProxyStarts: true",
        "concurrency: 0",
        "concurrency: 4\n",
        "{}",
        "",
        "null",
        "[]",
        "x",
        "proxyMetadata:\n  ISTIO_META_DNS_CAPTURE: \"true\"\n",
        "proxyMetadata: {A: 1}",
        "proxyMetadata: {A: true, B: null}",
        "interceptionMode: TPROXY",
        "interceptionMode: 1",
        "interceptionMode: tproxy",
        "statusPort: 15030",
        "statusPort: \"15030\"",
        "drainDuration: 10s",
        "drainDuration: 10",
        "terminationDrainDuration: 1m",
        "image: {imageType: debug}",
        "unknown: 1",
        "tracing: {zipkin: {address: z:9411}}",
        "tracing: {}",
        "tracing:\n  tlsSettings: {mode: SIMPLE, caCertificates: /ca.pem}",
        "proxyStatsMatcher:\n  inclusionPrefixes: [a, b]\n",
        "readinessProbe: {httpGet: {path: /x, port: 80}}",
        "concurrency: -1",
        "concurrency: 1.0",
        "concurrency: 1e1",
        "holdApplicationUntilProxyStarts: \"true\"",
        "a: b: c",
        "{\"concurrency\": 2}",
        "proxyMetadata:\n  ENVOY_SECURE_MERGED_METRICS_PORT: \"15091\"\n",
        "discoveryAddress: istiod.other:15012",
        "discovery_address: x:1",
        "runtimeValues: {a: b}",
        "gatewayTopology: {numTrustedProxies: 2}",
        "meshId: m",
        "serviceCluster: x",
        "tracingServiceName: CANONICAL_NAME_ONLY",
    ];
    if random.percent(50) {
        return (*random.pick(WRITTEN)).to_owned();
    }
    let mut value = typed::structure(random, &gotypes::PROXY_CONFIG, 3);
    if let (Some(map), true) = (value.as_object_mut(), random.percent(10)) {
        let keys: Vec<String> = map.keys().cloned().collect();
        if !keys.is_empty() {
            let key = random.pick(&keys).clone();
            map.insert(
                key,
                random.pick(&[json!(null), json!("x"), json!(1), json!([]), json!({}), json!(true)]).clone(),
            );
        }
    }
    if random.percent(40) { value.to_string() } else { text::yaml(random, &value) }
}

fn status(random: &mut Random) -> String {
    const WRITTEN: &[&str] = &[
        r#"{"initContainers":["istio-init"],"containers":["istio-proxy"],"volumes":["istio-envoy"],"imagePullSecrets":null,"revision":"default"}"#,
        r#"{"initContainers":["istio-validation","istio-proxy"],"containers":null,"volumes":[],"imagePullSecrets":[],"revision":"x"}"#,
        r#"{"containers":["app-0"]}"#,
        r#"{"containers":["app-0","app-1","init-0"],"initContainers":["init-0"]}"#,
        "{}",
        "",
        "x",
        "null",
        "[]",
        r#"{"containers":[]}"#,
    ];
    (*random.pick(WRITTEN)).to_owned()
}

fn overrides(random: &mut Random) -> String {
    const WRITTEN: &[&str] = &[
        r#"{"containers":[{"name":"istio-proxy","resources":{"limits":{"cpu":"1"}}}]}"#,
        r#"{"containers":[{"name":"istio-proxy","image":"own/x:1","resources":{}}],"initContainers":[{"name":"istio-init","resources":{}}]}"#,
        r#"{"initContainers":[{"name":"istio-proxy","args":["a"],"resources":{}}]}"#,
        r#"{"containers":[{"name":"app-0","env":[{"name":"A","value":"b"}],"resources":{}}]}"#,
        "{}",
        "",
        "x",
        "null",
        "[]",
    ];
    (*random.pick(WRITTEN)).to_owned()
}
