//! Random values of Go's types: every field of every struct, and therefore every member of every union.

use outrigger::gotypes::{Field, Kind, Type};
use serde_json::{Map, Value, json};

use super::random::Random;

pub(crate) const STRINGS: &[&str] = &[
    "a",
    "b",
    "x-1",
    "data",
    "main",
    "",
    "true",
    "017",
    "1e3",
    "no",
    "null",
    "0x1F",
    "é",
    "with blank",
    "a: b",
    "# c",
    "{}",
    "[]",
    "/path/x",
    "istio-proxy",
    "1.5",
    "~",
    "-",
    "'q'",
    "\"q\"",
    "line\nline",
    "$(POD_NAME)",
    "{{ .x }}",
];
const QUANTITIES: &[&str] = &["100m", "1", "0", "2", "1500m", "128Mi", "1Gi", "64Ki", "1k", "5M", "1G"];
const KEYS: &[&str] = &["a", "b", "cpu", "memory", "app", "key.example.com/x"];

/// A value for a field.
pub(crate) fn value(random: &mut Random, kind: &Kind, depth: usize) -> Value {
    match kind {
        Kind::Bool | Kind::BoolValue => json!(random.percent(50)),
        Kind::Int | Kind::Int32Value => json!(*random.pick(&[0i64, 1, 2, 7, 80, 1337, 5000, -1])),
        Kind::Uint | Kind::UInt32Value => json!(*random.pick(&[0u32, 1, 2, 80, 15021, 65535])),
        Kind::Float | Kind::DoubleValue => json!(*random.pick(&[0.0f64, 0.5, 1.0, 12.25, 100.0])),
        Kind::String | Kind::StringValue => json!(*random.pick(STRINGS)),
        Kind::Bytes => json!("YQ=="),
        Kind::Any => json!({"a": 1}),
        Kind::Quantity => json!(*random.pick(QUANTITIES)),
        Kind::IntOrString => match random.below(3) {
            0 => json!(*random.pick(&["http", "metrics", "missing"])),
            _ => json!(*random.pick(&[80, 8080, 9090, 15020])),
        },
        Kind::Time => json!("2024-05-01T10:00:00Z"),
        Kind::Duration => json!(*random.pick(&["1s", "45s", "0s", "1.5s", "60s", "3600s"])),
        Kind::Enum(all) => match random.below(4) {
            0 => json!(random.pick(all.values).1),
            _ => json!(random.pick(all.values).0),
        },
        Kind::Struct(ty) => structure(random, ty, depth),
        Kind::Pointer(kind) => value(random, kind, depth),
        Kind::List(kind) => {
            let count = if depth == 0 { 0 } else { random.below(3) };
            (0..count).map(|_| value(random, kind, depth)).collect()
        }
        Kind::Map(kind) => {
            let count = random.below(3);
            let pairs = (0..count).map(|_| ((*random.pick(KEYS)).to_owned(), value(random, kind, depth)));
            Value::Object(pairs.collect())
        }
    }
}

/// A struct with some of its fields; elements with a name get one.
pub(crate) fn structure(random: &mut Random, ty: &Type, depth: usize) -> Value {
    let mut map = Map::new();
    if depth == 0 || ty.fields.is_empty() {
        return Value::Object(map);
    }
    if let Some(name) =
        ty.fields.iter().find(|field| field.json == "name" && matches!(field.kind, Kind::String))
    {
        map.insert("name".to_owned(), json!(format!("{}-{}", name.json, random.below(5))));
    }
    for _ in 0..random.within(1..4) {
        let field = random.pick(ty.fields);
        put(random, field, &mut map, depth - 1);
    }
    Value::Object(map)
}

/// A struct with one of its fields, like a union; plus `name` if there is one.
pub(crate) fn union(random: &mut Random, ty: &Type, depth: usize) -> Value {
    let members: Vec<&Field> = ty.fields.iter().filter(|field| field.kind.message().is_some()).collect();
    let mut map = Map::new();
    if let Some(field) = (!members.is_empty()).then(|| *random.pick(&members)) {
        put(random, field, &mut map, depth);
    }
    Value::Object(map)
}

fn put(random: &mut Random, field: &Field, map: &mut Map<String, Value>, depth: usize) {
    if !field.json.is_empty() && !map.contains_key(field.json) {
        map.insert(field.json.to_owned(), value(random, &field.kind, depth));
    }
}

/// The type of a field of a list or a map of structs.
pub(crate) fn element(ty: &Type, field: &str) -> &'static Type {
    fn inner(kind: &'static Kind) -> Option<&'static Type> {
        match kind {
            Kind::List(kind) | Kind::Map(kind) | Kind::Pointer(kind) => inner(kind),
            Kind::Struct(ty) => Some(ty),
            _ => None,
        }
    }
    let field = ty.field_by_json(field).unwrap_or_else(|| panic!("{}.{field}", ty.name));
    inner(&field.kind).unwrap_or_else(|| panic!("{}.{} is no struct", ty.name, field.json))
}
