//! Single values: the input that `jsonpb` accepts for each kind, and their canonical form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

use crate::duration::Duration;
use gotemplate::gotypes::{Enum, Kind};

use super::violation::nearest;

/// The canonical form of a value; null, which occurs only in lists and maps, is the kind's zero value.
///
/// # Errors
/// The expected value.
pub(super) fn canonical(kind: &Kind, wide: bool, value: &Value) -> Result<Value, String> {
    match kind {
        Kind::Bool | Kind::BoolValue => boolean(value),
        Kind::Int | Kind::Int32Value if wide => integer(value, i64::MIN.into(), i64::MAX.into()).map(as_text),
        Kind::Uint | Kind::UInt32Value if wide => integer(value, 0, u64::MAX.into()).map(as_text),
        Kind::Int | Kind::Int32Value => integer(value, i32::MIN.into(), i32::MAX.into()).map(as_number),
        Kind::Uint | Kind::UInt32Value => integer(value, 0, u32::MAX.into()).map(as_number),
        Kind::Float | Kind::DoubleValue => float(value),
        Kind::String | Kind::StringValue => string(value),
        Kind::Bytes => bytes(value),
        Kind::Enum(ty) => enumerator(ty, value),
        Kind::Duration => duration(value),
        Kind::Any => structure(value),
        // Istio's messages contain none of the others; they are returned unchanged.
        _ => Ok(value.clone()),
    }
}

fn boolean(value: &Value) -> Result<Value, String> {
    match value {
        Value::Null => Ok(Value::Bool(false)),
        Value::Bool(_) => Ok(value.clone()),
        Value::String(text) if matches!(text.as_str(), "true" | "false") => {
            Err(format!("{text} without quotes"))
        }
        _ => Err("true or false".to_owned()),
    }
}

fn string(value: &Value) -> Result<Value, String> {
    match value {
        Value::Null => Ok(Value::String(String::new())),
        Value::String(_) => Ok(value.clone()),
        Value::Bool(_) | Value::Number(_) => Err(format!("a string: put it in quotes, \"{value}\"")),
        _ => Err("a string".to_owned()),
    }
}

/// An integer in a range, optionally as a string that contains a JSON number.
fn integer(value: &Value, least: i128, most: i128) -> Result<i128, String> {
    let number = match value {
        Value::Null => Some(0),
        Value::Number(number) => whole(number),
        Value::String(text) => json_integer(text.trim_matches([' ', '\t', '\r', '\n'])),
        _ => None,
    };
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("a whole number from {least} to {most}"))
}

fn whole(number: &Number) -> Option<i128> {
    if let Some(number) = number.as_i128() {
        return Some(number);
    }
    // YAML reads 1.0 and 1e3 as floating-point numbers; Go writes them into JSON as 1 and 1000.
    let float = number.as_f64()?;
    (float.fract() == 0.0 && float.abs() < 1e21).then_some(float as i128)
}

fn json_integer(text: &str) -> Option<i128> {
    if text == "null" {
        return Some(0);
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

fn as_number(number: i128) -> Value {
    i64::try_from(number).map_or(Value::Null, Value::from)
}

fn as_text(number: i128) -> Value {
    Value::String(number.to_string())
}

fn float(value: &Value) -> Result<Value, String> {
    let number = match value {
        Value::Null => Some(0.0),
        Value::Number(number) => number.as_f64(),
        Value::String(text) if matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity") => {
            return Ok(value.clone());
        }
        Value::String(text) => serde_json::from_str::<Option<f64>>(text).map(Option::unwrap_or_default).ok(),
        _ => None,
    };
    number.and_then(short).ok_or_else(|| "a number".to_owned())
}

/// A float as a number, without a fraction if it is whole.
fn short(float: f64) -> Option<Value> {
    if float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 {
        return Some(Value::from(float as i64));
    }
    Number::from_f64(float).map(Value::Number)
}

fn bytes(value: &Value) -> Result<Value, String> {
    match value {
        Value::Null => Ok(Value::String(String::new())),
        Value::String(text) if STANDARD.decode(text.replace(['\r', '\n'], "")).is_ok() => {
            Ok(Value::String(text.replace(['\r', '\n'], "")))
        }
        _ => Err("a string in base64".to_owned()),
    }
}

fn enumerator(ty: &Enum, value: &Value) -> Result<Value, String> {
    let number = match value {
        Value::Null => Some(0),
        Value::String(name) if ty.number(name).is_some() => return Ok(value.clone()),
        Value::Number(number) => whole(number).and_then(|number| i32::try_from(number).ok()),
        _ => None,
    };
    if let Some(number) = number {
        // Numbers without a name are kept: a newer release may define one.
        return Ok(ty.value_name(number).map_or_else(|| Value::from(number), Value::from));
    }
    let names: Vec<&str> = ty.values.iter().map(|(name, _)| *name).collect();
    let accepted = names.join(", ");
    let like = value.as_str().and_then(|name| nearest(name, ty.values.iter().map(|(name, _)| *name)));
    let off = matches!(value, Value::Bool(_)) && ["ON", "OFF"].iter().any(|name| ty.number(name).is_some());
    Err(match like {
        None if off => format!("one of {accepted}, OFF in quotes (YAML reads it as false)"),
        Some(like) => format!("one of {accepted} (the nearest is {like})"),
        None => format!("one of {accepted}"),
    })
}

fn duration(value: &Value) -> Result<Value, String> {
    match value {
        Value::Null => Ok(Value::from("0s")),
        Value::String(text) => match Duration::parse(text) {
            Ok(duration) => Ok(Value::String(duration.to_proto())),
            Err(error) => Err(error.accepted().to_owned()),
        },
        Value::Number(number) => Err(format!("a duration in quotes with a unit, such as \"{number}s\"")),
        _ => Err("a duration such as \"10s\"".to_owned()),
    }
}

/// A protobuf Struct: any JSON mapping, with floating-point numbers.
fn structure(value: &Value) -> Result<Value, String> {
    match value {
        Value::Null => Ok(Value::Object(Map::new())),
        Value::Object(_) => Ok(doubles(value)),
        _ => Err("a mapping".to_owned()),
    }
}

fn doubles(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().and_then(short).unwrap_or_else(|| value.clone()),
        Value::Array(items) => items.iter().map(doubles).collect(),
        Value::Object(entries) => entries.iter().map(|(key, value)| (key.clone(), doubles(value))).collect(),
        other => other.clone(),
    }
}
