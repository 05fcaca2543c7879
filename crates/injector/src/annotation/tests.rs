use serde_json::json;

use super::*;

fn no_proxy_config(_: &str) -> Result<(), String> {
    Ok(())
}

fn check_one(key: &str, value: &str, quirks: Quirks) -> Result<Accepted, Vec<Violation>> {
    let annotations = Map::from_iter([(key.to_owned(), json!(value))]);
    check(&annotations, &Map::new(), quirks, &no_proxy_config)
}

fn refuses(key: &str, value: &str, quirks: Quirks) -> bool {
    check_one(key, value, quirks).is_err()
}

const RANGES: &str = "traffic.sidecar.istio.io/includeOutboundIPRanges";

/// The answers of Go's own parsers (`hack/oracle/annotations`).
fn oracle(kind: &str) -> Vec<(String, Value)> {
    let fixture: Value = serde_json::from_str(include_str!("../../tests/fixtures/annotations.json")).unwrap();
    fixture[kind].as_object().unwrap().clone().into_iter().collect()
}

#[test]
fn quantities_are_gos() {
    for (text, expected) in oracle("quantity") {
        let found = crate::quantity::sign(&text).map_or(Value::Null, |sign| match sign {
            crate::quantity::Sign::Negative => json!(-1),
            crate::quantity::Sign::Zero => json!(0),
            crate::quantity::Sign::Positive => json!(1),
        });
        assert_eq!(found, expected, "{text:?}");
    }
}

// TM-13
#[test]
fn booleans_are_gos() {
    for (text, expected) in oracle("bool") {
        assert_eq!(json!(go_bool(&text)), expected, "{text:?}");
    }
}

// TM-13
#[test]
fn prefixes_are_gos() {
    for (text, expected) in oracle("prefix") {
        assert_eq!(parse::is_prefix(&text), expected == true, "{text:?}");
    }
}

// TM-13
#[test]
fn numbers_are_gos() {
    for (text, expected) in oracle("port") {
        assert_eq!(json!(port(&text)), expected, "{text:?}");
    }
    for (text, expected) in oracle("uint32") {
        let refused = refuses("readiness.status.sidecar.istio.io/periodSeconds", &text, Quirks::ALL);
        // The field that receives the value is signed.
        let fits = expected.as_u64().is_some_and(|number| i32::try_from(number).is_ok());
        assert_eq!(refused, !fits, "{text:?}");
    }
}

/// (key, accepted by both, rejected by both), for values that Istio validates.
#[test]
fn istios_checks_hold_in_both_modes() {
    let rows: [(&str, &[&str], &[&str]); 13] = [
        (
            "sidecar.istio.io/interceptionMode",
            &["REDIRECT", "TPROXY", "NONE"],
            &["", "redirect", "REDIRECT ", "bogus"],
        ),
        ("status.sidecar.istio.io/port", &["0", "15020", " 123 "], &["", "abc", "-1", "65536", "1,2"]),
        (
            "readiness.status.sidecar.istio.io/failureThreshold",
            &["0", "2147483647"],
            &["", " 1", "-1", "x", "2147483648", "4294967295"],
        ),
        (
            RANGES,
            &["", "*", "10.0.0.0/8", "10.0.0.0/8,fd00::/8"],
            &["bad", "10.0.0.1", "*,10.0.0.0/8", "10.0.0.0/8,", " *"],
        ),
        ("traffic.sidecar.istio.io/excludeOutboundIPRanges", &["", "1.2.3.4/32"], &["*", "x/33"]),
        (
            "traffic.sidecar.istio.io/includeInboundPorts",
            &["", " ", "*", "80,8080", "80, 8080"],
            &["a", "99999", "80,", "*,80", " *"],
        ),
        ("traffic.sidecar.istio.io/excludeInboundPorts", &["", "22, 23"], &["-1", "*"]),
        ("traffic.sidecar.istio.io/excludeOutboundPorts", &["", "7,8,9"], &["x", "*"]),
        (
            "traffic.sidecar.istio.io/excludeInterfaces",
            &["", "eth1,net1", "eth1, net1"],
            &["1eth", "eth1,", "a b", "abcdefghijklmnop", "é"],
        ),
        ("istio.io/reroute-virtual-interfaces", &["vmbr0", "a.b-c_d"], &[" ", "-a"]),
        ("prometheus.istio.io/merge-metrics", &["true", "T", "0"], &["", "z", "yes"]),
        ("sidecar.istio.io/proxyCPU", &["100m", "0.25", "+"], &["", "1 Gi", "1\n", "a"]),
        ("sidecar.istio.io/proxyMemoryLimit", &["1Gi"], &["1GI"]),
    ];
    for (key, accepted, refused) in rows {
        for quirks in [Quirks::ALL, Quirks::NONE] {
            for value in accepted {
                assert!(!refuses(key, value, quirks), "{key}={value:?} {quirks:?}");
            }
            for value in refused {
                assert!(refuses(key, value, quirks), "{key}={value:?} {quirks:?}");
            }
        }
    }
}

/// (key, accepted, rejected by us and warned about under `compat: istio`).
// TM-13
#[test]
fn what_istio_lets_pass_is_refused_only_by_us() {
    let rows: [(&str, &[&str], &[&str]); 12] = [
        ("sidecar.istio.io/nativeSidecar", &["true", "false", ""], &["False", "no", "1"]),
        ("sidecar.istio.io/capNetBindService", &["true", "false", ""], &["yes"]),
        (
            "inject.istio.io/templates",
            &["sidecar", " a , b "],
            &["", "a,", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"],
        ),
        ("sidecar.istio.io/proxyImageType", &["", "debug", "x-1.2_y"], &["a b", "a/b", "a:b", "é"]),
        ("sidecar.istio.io/proxyImage", &["a/b:c", "auto", ""], &["a b/c", "a/b\n"]),
        ("sidecar.istio.io/logLevel", &["debug", "warning", ""], &["DEBUG", "loud"]),
        (
            "sidecar.istio.io/componentLogLevel",
            &["misc:error,upstream:trace"],
            &["misc", "misc:loud", "a:info,,b:info"],
        ),
        (
            "sidecar.istio.io/agentLogLevel",
            &["default:debug", "debug", "ads:info,all:none"],
            &["ads:loud", "", "ads:info,"],
        ),
        ("sidecar.istio.io/bootstrapOverride", &["boot-cm", "a.b"], &["", "A", "a_b", "-a", "a..b"]),
        (
            "sidecar.istio.io/userVolume",
            &["{}", "", r#"{"a":{"emptyDir":{}}}"#, r#"[{"name":"a"}]"#],
            &["a", "1", r#"{"a":1}"#, "[1]", "[{}]"],
        ),
        ("sidecar.istio.io/userVolumeMount", &[r#"{"a":{"mountPath":"/a"}}"#, "[]"], &["{", "null"]),
        ("traffic.sidecar.istio.io/includeOutboundPorts", &["443,8443", ""], &["*", "x"]),
    ];
    for (key, accepted, refused) in rows {
        for value in accepted {
            assert!(!refuses(key, value, Quirks::NONE), "{key}={value:?}");
        }
        for value in refused {
            assert!(refuses(key, value, Quirks::NONE), "{key}={value:?}");
            let warnings = check_one(key, value, Quirks::ALL).unwrap().warnings;
            assert_eq!(warnings[0].code, "DOUBTFUL_ANNOTATION", "{key}={value:?}");
        }
    }
    assert!(refuses("sidecar.istio.io/proxyCPU", "-1", Quirks::NONE));
    assert!(!refuses("sidecar.istio.io/proxyCPU", "-1", Quirks::ALL));
}

#[test]
fn blanks_in_prefixes_are_respelled_only_by_us() {
    let value = "10.0.0.0/8, 1.2.3.4/32";
    assert!(refuses(RANGES, value, Quirks::ALL));
    let accepted = check_one(RANGES, value, Quirks::NONE).unwrap();
    assert_eq!(accepted.respelled[RANGES], "10.0.0.0/8,1.2.3.4/32");
    assert_eq!(accepted.warnings[0].code, "BLANKS_IN_ANNOTATION");
    assert!(refuses(RANGES, "10.0.0.0/8, x", Quirks::NONE));
}

#[test]
fn unreadable_values_of_soft_rows_are_warned_about() {
    for (key, value) in [
        ("sidecar.istio.io/rewriteAppHTTPProbers", "x"),
        ("apm.datadoghq.com/env", r#"{"a":1}"#),
        ("k8s.v1.cni.cncf.io/networks", "[1"),
        ("prometheus.istio.io/scrape-targets", ":/metrics"),
    ] {
        for quirks in [Quirks::ALL, Quirks::NONE] {
            let warnings = check_one(key, value, quirks).unwrap().warnings;
            assert_eq!(warnings[0].code, "DOUBTFUL_ANNOTATION", "{key}");
        }
    }
    // The reader of the value reports it.
    assert!(check_one("sidecar.istio.io/status", "x", Quirks::NONE).unwrap().warnings.is_empty());
    let image = check_one("sidecar.istio.io/proxyImage", "proxyv9", Quirks::NONE).unwrap();
    assert_eq!(image.warnings[0].code, "IGNORED_ANNOTATION");
}

#[test]
fn all_violations_come_at_once() {
    let annotations = json!({
        "sidecar.istio.io/proxyCPU": "lots",
        "traffic.sidecar.istio.io/excludeInboundPorts": "80,http",
        "status.sidecar.istio.io/port": "99999",
        "example.com/other": "x",
    });
    let violations =
        check(annotations.as_object().unwrap(), &Map::new(), Quirks::ALL, &no_proxy_config).unwrap_err();
    let texts: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "annotation sidecar.istio.io/proxyCPU: \"lots\" is invalid; expected a quantity such as 100m, 0.5, 128Mi",
            "annotation status.sidecar.istio.io/port: \"99999\" is invalid; expected a port from 0 to 65535; \
             0 disables the status server",
            "annotation traffic.sidecar.istio.io/excludeInboundPorts: \"80,http\" is invalid: wrong item \"http\"; \
             expected comma-separated ports from 0 to 65535",
        ]
    );
}

#[test]
fn proxy_config_is_checked_by_the_function_given() {
    let annotations = Map::from_iter([("proxy.istio.io/config".to_owned(), json!("concurrency: -1"))]);
    let refuse = |text: &str| Err(format!("field concurrency of {text:?} is negative"));
    let violations = check(&annotations, &Map::new(), Quirks::ALL, &refuse).unwrap_err();
    assert_eq!(violations[0].found, "field concurrency of \"concurrency: -1\" is negative");
}

#[test]
fn obsolete_keys_are_warned_about() {
    let code = |key: &str| check_one(key, "x", Quirks::NONE).unwrap().warnings[0].code;
    assert_eq!(code("sidecar.istio.io/inject"), "DEPRECATED_ANNOTATION");
    assert_eq!(code("traffic.sidecar.istio.io/kubevirtInterfaces"), "DEPRECATED_ANNOTATION");
    assert_eq!(code("sidecar.istio.io/enableCoreDump"), "DEAD_ANNOTATION");
    let annotations = Map::from_iter([("sidecar.istio.io/inject".to_owned(), json!("true"))]);
    let accepted = check(&annotations, &annotations, Quirks::NONE, &no_proxy_config).unwrap();
    assert!(accepted.warnings.is_empty(), "the label is also present");
}

/// Users of kubectl see at least the beginning of a warning; the API server may truncate it at 256 characters.
#[test]
fn warnings_are_short_enough() {
    let value = "é\u{1b},é".repeat(600);
    for row in TABLE {
        let warnings =
            check_one(row.key, &value, Quirks::ALL).map(|accepted| accepted.warnings).unwrap_or_default();
        for warning in warnings {
            let length = warning.message.chars().count();
            assert!(length <= 256, "{length}: {warning}");
        }
    }
}

#[test]
fn values_that_are_no_strings_are_absent() {
    let annotations = json!({"sidecar.istio.io/proxyCPU": 7, "status.sidecar.istio.io/port": null, "sidecar.istio.io/inject": {}});
    let accepted =
        check(annotations.as_object().unwrap(), &Map::new(), Quirks::NONE, &no_proxy_config).unwrap();
    assert_eq!(accepted, Accepted::default());
}

#[test]
fn no_key_stands_twice() {
    let keys: std::collections::BTreeSet<_> = TABLE.iter().map(|row| row.key).collect();
    assert_eq!(keys.len(), TABLE.len());
}

/// `UPDATE_DOCS=1` writes the file instead.
#[test]
#[allow(clippy::disallowed_methods, reason = "a test may read and write the project's files")]
fn documentation_is_made_from_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/annotations.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, markdown()).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == markdown(),
        "docs/annotations.md differs from the table; run the tests with UPDATE_DOCS=1"
    );
}

#[test]
fn what_counts_as_not_set_when_empty_is_taken_from_the_templates() {
    for key in super::EMPTY_IS_UNSET {
        let row = row(key).unwrap_or_else(|| panic!("{key}"));
        for quirks in [Quirks::NONE, Quirks::ALL] {
            let accepted = check_one(key, "", quirks).unwrap_or_else(|_| panic!("{key}"));
            assert!(accepted.warnings.is_empty(), "{key}: {:?}", accepted.warnings);
            let is_taken = quirks == Quirks::NONE && row.group == Group::Pod;
            assert_eq!(accepted.respelled.contains_key(key), is_taken, "{key}");
        }
    }
    for key in
        ["sidecar.istio.io/agentLogLevel", "sidecar.istio.io/bootstrapOverride", "sidecar.istio.io/proxyCPU"]
    {
        assert!(refuses(key, "", Quirks::NONE), "{key}");
    }
}
