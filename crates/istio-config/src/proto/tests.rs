use serde_json::json;

use super::*;
use crate::gotypes::{BETA_PROXY_CONFIG, MESH_CONFIG, PROXY_CONFIG};

#[derive(serde::Deserialize)]
struct Row {
    name: String,
    message: String,
    #[serde(default)]
    base: String,
    text: String,
    #[serde(default)]
    value: Value,
    canonical: Option<Value>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    unknown: bool,
}

/// Documents that we intentionally treat differently, with the reason.
const DIFFERENCES: &[(&str, &str)] = &[];

fn rows() -> Vec<Row> {
    let fixture: Value = serde_json::from_str(include_str!("../../tests/fixtures/meshconfig.json")).unwrap();
    serde_json::from_value(fixture["documents"].clone()).unwrap()
}

fn type_of(message: &str) -> &'static Type {
    match message {
        "MeshConfig" => &MESH_CONFIG,
        "ProxyConfig" => &PROXY_CONFIG,
        "beta.ProxyConfig" => &BETA_PROXY_CONFIG,
        other => panic!("no type for {other}"),
    }
}

fn agrees(row: &Row, document: &Value) -> Result<(), String> {
    let ty = type_of(&row.message);
    let base = yaml::load(&row.base, &yaml::Limits::default()).unwrap();
    let base = decode(ty, &base).message;
    let decoded = decode_onto(ty, document, base);
    let unknown = decoded.violations.iter().any(|violation| matches!(violation.fault, Fault::Unknown { .. }));
    let violations = decoded.violations.clone();
    let ours = decoded.tolerant("test").map(|(value, _)| numbers_as_floats(&value)).ok();
    let theirs = row.canonical.as_ref().map(numbers_as_floats);
    if ours != theirs {
        return Err(format!("ours {ours:?}\n theirs {theirs:?} {}\n violations {violations:?}", row.error));
    }
    if ours.is_some() && unknown != row.unknown {
        return Err(format!("unknown fields: ours {unknown}, theirs {}", row.unknown));
    }
    Ok(())
}

/// 10 and 10.0 are the same number in JSON.
pub(crate) fn numbers_as_floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64().unwrap()),
        Value::Array(items) => items.iter().map(numbers_as_floats).collect(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), numbers_as_floats(value))).collect()
        }
        other => other.clone(),
    }
}

/// A file of the recorded answers, in `shared/istio-golden` next to the project or above it.
#[allow(clippy::disallowed_methods, reason = "tests may read files")]
pub(crate) fn golden(file: &str) -> Option<String> {
    let found = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .skip(1)
        .find_map(|above| std::fs::read_to_string(above.join("shared/istio-golden").join(file)).ok());
    if found.is_none() {
        eprintln!("skipped: no shared/istio-golden/{file}");
    }
    found
}

#[test]
fn decodes_as_istio_does() {
    let rows = rows();
    assert!(rows.len() >= 200 && rows.iter().filter(|row| row.canonical.is_none()).count() >= 50);
    let mut wrong = String::new();
    for row in &rows {
        let name = format!("{}: {}", row.message, row.name);
        let verdict = match yaml::load(&row.text, &yaml::Limits::default()) {
            Ok(document) => {
                if row.error.starts_with("json: unsupported") {
                    agrees(row, &document)
                } else {
                    agrees(row, &row.value).and_then(|()| agrees(row, &document))
                }
            }
            Err(_) if row.canonical.is_none() => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        let listed = DIFFERENCES.iter().any(|(listed, _)| *listed == name);
        match verdict {
            Err(why) if !listed => wrong += &format!("{name}\n {why}\n"),
            Ok(()) if listed => wrong += &format!("{name} is listed as different, and is not\n"),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn canonical_messages_decode_to_themselves() {
    for row in rows() {
        let Some(canonical) = row.canonical else { continue };
        let again = decode(type_of(&row.message), &canonical).strict("test").unwrap();
        assert_eq!(numbers_as_floats(&again), numbers_as_floats(&canonical), "{}: {}", row.message, row.name);
    }
}

#[test]
fn every_violation_of_a_document_is_named() {
    let text = "\
trustDomain: 5
enableTracin: true
defaultConfig:
  proxyMetadata:
    A: 1
    B: x
  statusPort: abc
  interceptionMode: TPROX
  drainDuration: 10
extensionProviders:
- name: a
- zipkin:
    port: -1
";
    let document = yaml::parse(text, &yaml::Limits::default()).unwrap();
    let decoded = decode(&MESH_CONFIG, &document.to_value().unwrap());
    let told: Vec<String> =
        decoded.violations.into_iter().map(|it| it.located(&document).to_string()).collect();
    let starts = [
        "line 9, column 18: defaultConfig.drainDuration: found the number 10, expected a duration in quotes with a unit",
        "line 8, column 21: defaultConfig.interceptionMode: found \"TPROX\", expected one of REDIRECT, TPROXY, NONE (the nearest is TPROXY)",
        "line 5, column 8: defaultConfig.proxyMetadata.A: found the number 1, expected a string: put it in quotes, \"1\"",
        "line 7, column 15: defaultConfig.statusPort: found \"abc\", expected a whole number from -2147483648 to 2147483647",
        "line 2, column 1: found unknown field enableTracin, the nearest known one is \"enableTracing\"",
        "line 13, column 11: extensionProviders[1].zipkin.port: found the number -1, expected a whole number from 0 to",
        "line 1, column 14: trustDomain: found the number 5, expected a string",
    ];
    assert_eq!(told.len(), starts.len(), "{told:#?}");
    for (told, start) in told.iter().zip(starts) {
        assert!(told.starts_with(start), "{told}\nis not\n{start}");
    }
}

#[test]
fn strict_refuses_what_istio_ignores() {
    let decoded = decode(&PROXY_CONFIG, &json!({"concurency": 1}));
    let error = decoded.clone().strict("values.yaml").unwrap_err().to_string();
    assert_eq!(
        error,
        "values.yaml: found unknown field concurency, the nearest known one is \"concurrency\""
    );
    let (message, ignored) = decoded.tolerant("values.yaml").unwrap();
    assert_eq!((message, ignored.len()), (json!({}), 1));
    let twice = decode(&PROXY_CONFIG, &json!({"tracing": {"zipkin": {}, "datadog": {"address": "a:1"}}}));
    assert_eq!(twice.message, *json!({"tracing": {"datadog": {"address": "a:1"}}}).as_object().unwrap());
    assert_eq!(
        twice.violations[0].to_string(),
        "tracing.zipkin has no effect: \"datadog\" is also given, and only one of them may be"
    );
}

#[test]
fn a_repeated_key_is_reported_where_it_counts() {
    let document = yaml::parse("statusPort: 1\nstatusPort: x\n", &yaml::Limits::default()).unwrap();
    let mut decoded = decode(&PROXY_CONFIG, &document.to_value().unwrap());
    let violation = decoded.violations.remove(0).located(&document);
    assert_eq!(violation.mark.unwrap().line, 2);
}

#[test]
fn proto_names_are_exact() {
    for key in ["drain_duration", "drainDuration"] {
        assert_eq!(field_by_any_name(&PROXY_CONFIG, key).unwrap().json, "drainDuration");
    }
    for key in [
        "drain-duration",
        "drainxduration",
        "drain__duration",
        "drain_duration_",
        "drainduration",
        "drain_Duration",
    ] {
        assert!(field_by_any_name(&PROXY_CONFIG, key).is_none(), "{key}");
    }
}

#[test]
fn prints_canonical_json() {
    let loose = json!({"drain_duration": "1m", "interceptionMode": 1, "concurrency": "2", "meshId": "", "x": 1,
        "proxyMetadata": {}, "statusPort": "no", "tracing": {"sampling": 100.0}, "statsCompression": false});
    let wanted = json!({"drainDuration": "60s", "interceptionMode": "TPROXY", "concurrency": 2,
        "tracing": {"sampling": 100}, "statsCompression": false});
    assert_eq!(to_proto_json(&PROXY_CONFIG, &loose), wanted);
}

/// Documents with known and unknown keys and arbitrary values.
fn documents() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let keys: Vec<String> = [&MESH_CONFIG, &PROXY_CONFIG]
        .iter()
        .flat_map(|ty| ty.fields.iter().map(|field| field.json.to_owned()))
        .chain(
            ["zipkin", "datadog", "mode", "name", "address", "pollDelay", "text", "labels", "x"]
                .map(str::to_owned),
        )
        .collect();
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3i64..9).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof!["", "0", "10s", "1h", "JSON", "TPROXY", "7", "NaN", "[a-z]{0,3}"].prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(keys.clone()), inner, 0..9)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_is_decoded_is_canonical(document in documents()) {
        for ty in [&MESH_CONFIG, &PROXY_CONFIG, &BETA_PROXY_CONFIG] {
            let once = decode(ty, &document);
            let again = decode(ty, &Value::Object(once.message.clone()));
            proptest::prop_assert!(again.violations.is_empty(), "{:?}", again.violations);
            proptest::prop_assert_eq!(again.message, once.message);
        }
        let mesh = crate::mesh::apply(&document);
        let again = crate::mesh::apply(&Value::Object(mesh.message));
        let unknown = again.violations.iter().find(|violation| violation.is_tolerated());
        proptest::prop_assert!(unknown.is_none(), "{:?}", unknown);
    }
}

#[test]
fn unlike_words_are_no_suggestions() {
    let names = || MESH_CONFIG.fields.iter().map(|field| field.json);
    assert_eq!(nearest("enabletracing", names()), Some("enableTracing"));
    assert_eq!(nearest("mixerAddress", names()), None);
    assert_eq!(nearest("x", names()), None);
}

#[test]
fn tables_of_exceptions_name_existing_fields() {
    fn types(ty: &'static Type, seen: &mut Vec<&'static Type>) {
        if seen.iter().any(|known| known.name == ty.name) {
            return;
        }
        seen.push(ty);
        for field in ty.fields {
            let mut kind = &field.kind;
            while let Kind::Pointer(inner) | Kind::List(inner) | Kind::Map(inner) = kind {
                kind = inner;
            }
            if let Kind::Struct(ty) = kind {
                types(ty, seen);
            }
        }
    }
    let mut seen = Vec::new();
    for root in [&MESH_CONFIG, &PROXY_CONFIG, &BETA_PROXY_CONFIG] {
        types(root, &mut seen);
    }
    let has = |ty: &str, json: &str| seen.iter().any(|it| it.name == ty && it.field_by_json(json).is_some());
    assert!(gotypes::ONEOFS.is_sorted_by_key(|row| row.0));
    for (ty, groups) in gotypes::ONEOFS {
        assert!(groups.iter().flat_map(|group| group.iter()).all(|json| has(ty, json)), "{ty}");
    }
    assert!(gotypes::WIDE.iter().all(|(ty, json)| has(ty, json)));
    assert!(gotypes::IRREGULAR_NAMES.iter().all(|(ty, _, json)| has(ty, json)));
}
