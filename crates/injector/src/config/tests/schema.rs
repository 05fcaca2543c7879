//! The chart's schema takes the values that the injector takes: helm refuses what no replica would apply.
//!
//! `hack/chart/schema.py` writes the schema from the same table ([`values::SHAPE`]).

use regex::Regex;
use serde_json::{Value, json};

use super::super::values::{self, Shape};
use super::*;

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/outrigger/values.schema.json");

/// Where the chart takes less than the injector, and why.
const NARROWER: [(&str, &str); 4] = [
    ("revision", "it becomes a part of names"),
    ("revisionTags", "they become parts of names"),
    ("global.proxy.autoInject", "the chart makes it the policy"),
    ("global.multiCluster", "it has no other keys"),
];

/// Whole numbers in quotes that the injector takes, and the chart does not.
const UNUSUAL: [&str; 2] = ["+7", "4294967295"];

/// The place of a value in the schema.
fn place<'s>(schema: &'s Value, path: &[&str]) -> &'s Value {
    let follow = |place: &'s Value| match place.get("$ref").and_then(Value::as_str) {
        Some(reference) => schema.pointer(reference.trim_start_matches('#')).unwrap(),
        None => place,
    };
    path.iter().fold(schema, |place, step| {
        follow(place.get("properties").and_then(|all| all.get(step)).unwrap_or_else(|| panic!("{path:?}")))
    })
}

/// Whether a schema takes a value, by the keywords that places with a type of the injector have.
fn takes(schema: &Value, value: &Value) -> bool {
    let is_integer = || value.as_f64().is_some_and(|number| number.fract() == 0.0);
    let is = |name: &Value| match name.as_str().unwrap() {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => is_integer(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    };
    let within = |key: &str, holds: fn(f64, f64) -> bool| match (value.as_f64(), schema.get(key)) {
        (Some(number), Some(bound)) => holds(number, bound.as_f64().unwrap()),
        _ => true,
    };
    let matches =
        |pattern: &str| value.as_str().is_none_or(|text| Regex::new(pattern).unwrap().is_match(text));
    let items = || value.as_array().into_iter().flatten();
    schema
        .get("type")
        .is_none_or(|names| names.as_array().map_or_else(|| is(names), |all| all.iter().any(is)))
        && schema.get("enum").is_none_or(|words| words.as_array().unwrap().contains(value))
        && within("minimum", |number, bound| number >= bound)
        && within("maximum", |number, bound| number <= bound)
        && schema.get("pattern").and_then(Value::as_str).is_none_or(matches)
        && schema.get("items").is_none_or(|inner| items().all(|item| takes(inner, item)))
}

/// Whether the injector takes the values with this one at the path.
fn injector_takes(path: &[&str], value: &Value) -> bool {
    let nested = path.iter().rev().fold(value.clone(), |inner, step| json!({ *step: inner }));
    let bundle =
        json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "Bundle", "values": nested}).to_string();
    InjectorConfig::from_bundle(Source { name: "bundle", text: &bundle }).is_ok()
}

fn walk<'a>(shape: &'a Shape, path: &mut Vec<&'a str>, found: &mut Vec<Vec<&'a str>>) {
    if !path.is_empty() {
        found.push(path.clone());
    }
    if let Shape::Fields(fields) = shape {
        for (key, inner) in *fields {
            path.push(key);
            walk(inner, path, found);
            path.pop();
        }
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may read the project's files")]
fn the_schema_of_the_chart_takes_what_the_injector_takes() {
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(SCHEMA).unwrap()).unwrap();
    let mut paths = Vec::new();
    walk(&values::SHAPE, &mut Vec::new(), &mut paths);
    let words = [
        "",
        "x",
        "8080",
        "+7",
        "-1",
        "4294967295",
        "4294967296",
        "99999999999",
        "true",
        "none",
        "zipkin",
        "add",
    ];
    let others = [
        json!(8080),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(3.0),
        json!(4_294_967_295_u64),
        json!(4_294_967_296_u64),
        json!(true),
        json!([]),
        json!(["a"]),
        json!([1]),
        json!([null]),
        json!({}),
        json!(null),
    ];
    let candidates: Vec<Value> = words.iter().map(|word| json!(word)).chain(others).collect();
    let (mut wrong, mut refused) = (Vec::new(), 0);
    for path in &paths {
        let place = place(&schema, path);
        let name = path.join(".");
        for value in &candidates {
            let (helm, injector) = (takes(place, value), injector_takes(path, value));
            refused += usize::from(!injector);
            let is_narrower = NARROWER.iter().any(|(narrower, _)| *narrower == name)
                || value.as_str().is_some_and(|text| UNUSUAL.contains(&text));
            if helm && !injector || injector && !helm && !is_narrower {
                wrong.push(format!("{name}: {value}: the chart {helm}, the injector {injector}"));
            }
        }
    }
    assert!(refused > 500, "{refused}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
