//! Reads a pod without its `managedFields`: they are a third of the values of a pod that a controller made, and
//! irrelevant to injection.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::Unreadable;

/// Reads an object; null stands for the managed fields of its metadata.
pub(super) fn parse(object: &str) -> Result<Map<String, Value>, Unreadable> {
    let mut json = serde_json::Deserializer::from_str(object);
    // The text was bounded before it came here.
    json.disable_recursion_limit();
    json.deserialize_map(Level::Pod)
        .map_err(|error| Unreadable { line: error.line(), column: error.column() })
}

/// Where in a pod a map is.
#[derive(Clone, Copy)]
enum Level {
    Pod,
    Metadata,
}

impl<'de> Visitor<'de> for Level {
    type Value = Map<String, Value>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = match (self, key.as_str()) {
                (Level::Pod, "metadata") => map.next_value_seed(Metadata)?,
                (Level::Metadata, "managedFields") => map.next_value::<IgnoredAny>().map(|_| Value::Null)?,
                _ => map.next_value()?,
            };
            found.insert(key, value);
        }
        Ok(found)
    }
}

/// The metadata, which may be anything.
struct Metadata;

impl<'de> DeserializeSeed<'de> for Metadata {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Metadata {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        Level::Metadata.visit_map(map).map(Value::Object)
    }
    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut found = Vec::new();
        while let Some(value) = seq.next_element()? {
            found.push(value);
        }
        Ok(Value::Array(found))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
}
