//! Istio's functions that read and write JSON and YAML.

use std::collections::BTreeMap;

use serde_json::{Map as JsonMap, Number, Value as Json};

use gotemplate::funcs::sprig::argument::{Outcome, bounded, computed, real, value};
use gotemplate::funcs::sprig::duration;
use gotemplate::funcs::sprig::json::{self, Format};
use gotemplate::funcs::{Call, FuncError};
use gotemplate::value::{DEPTH, Key, Text, Value};
use istio_config::proxy::proto_json_diff_from_default;
use kubernetes_yaml as yaml;

const FORMAT: Format = Format { escape_html: true, pretty: false };

/// JSON; nil, a nil map and values without a JSON form give `{}`.
pub(super) fn struct_to_json<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let source = value(args, 0)?;
    let nil_map = call.name() == "toJSON" && source.as_map().is_some_and(super::Map::is_nil);
    if source.is_nil() || nil_map {
        return Ok(Value::string("{}"));
    }
    match json::write(call, source, FORMAT) {
        Ok(text) => Ok(Value::String(text)),
        Err(FuncError::Message(_)) => Ok(Value::string("{}")),
        Err(limit) => Err(limit),
    }
}

/// The value of a JSON text; the string `{}` if it is invalid.
pub(super) fn from_json<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let tainted = value(args, 0)?.is_tainted();
    Ok(match json::parsed(&real(call, args, 0)?) {
        Ok(json) => Value::from_json(json, tainted),
        Err(_) => Value::string("{}"),
    })
}

/// A ProxyConfig as JSON without the fields that have their built-in default; other messages unchanged.
pub(super) fn proto_to_json<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let message = match value(args, 0)? {
        Value::Struct(message) if message.ty.proto && message.pointer => message,
        source if source.is_nil() => return Ok(Value::string("{}")),
        other => {
            return Err(format!("protoToJSON expects a protobuf message, found {}", other.type_name()).into());
        }
    };
    let Some(json) = message.json else { return Ok(Value::string("{}")) };
    let cleaned = if message.ty.name == istio_config::gotypes::PROXY_CONFIG.name {
        proto_json_diff_from_default(json)
    } else {
        json.clone()
    };
    Ok(Value::String(json::write_json(call, &cleaned, message.tainted, FORMAT)?))
}

/// YAML as `sigs.k8s.io/yaml` writes it; a value without a JSON form gives an empty text.
///
/// A text from the pod, also as a key, becomes one double-quoted scalar; all structure is ours.
pub(super) fn to_yaml<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let tree = match tree(call, value(args, 0)?) {
        Ok(tree) => tree,
        Err(FuncError::Message(_)) => return Ok(Value::string("")),
        Err(limit) => return Err(limit),
    };
    let written = yaml::to_string(&tree);
    bounded(call, written.len())?;
    // Every placeholder is a whole scalar of its own, so it only needs quotes around it.
    let quoted = written.replace('\u{E000}', "\"\u{E000}").replace('\u{E001}', "\u{E001}\"");
    Ok(Value::String(call.mixed(quoted)))
}

/// Removes nil values from maps and lists, at any depth; anything that becomes empty is nil itself.
pub(super) fn omit_nil<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(without_nil(call, value(args, 0)?, DEPTH)?
        .unwrap_or_else(|| value(args, 0).cloned().unwrap_or_default()))
}

/// `time.Duration.String`; nil is `0s`.
pub(super) fn format_duration<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let nanoseconds = match value(args, 0)? {
        Value::Special(special) => match special.json.and_then(Json::as_str) {
            Some(text) => {
                duration::parse(text).ok_or_else(|| format!("{text:?} is not a protobuf duration"))?
            }
            None => 0,
        },
        _ => 0,
    };
    computed(call, duration::print(nanoseconds), args)
}

/// The value without nils; `None` if it had none. Nil itself, and values that consist only of nils, give nil.
fn without_nil<'a>(
    call: &mut Call<'_, 'a>,
    source: &Value<'a>,
    depth: usize,
) -> Result<Option<Value<'a>>, FuncError> {
    let depth =
        depth.checked_sub(1).ok_or_else(|| format!("values are nested deeper than {DEPTH} levels"))?;
    call.spend(1)?;
    match source {
        Value::Nil | Value::Missing => Ok(Some(Value::Nil)),
        Value::Map(map) if map.holds_interfaces() => {
            let mut changed = false;
            let mut kept: BTreeMap<Key<'a>, Value<'a>> = BTreeMap::new();
            for (key, item) in map.entries() {
                let cleaned = without_nil(call, &item, depth)?;
                changed |= cleaned.is_some();
                let item = cleaned.unwrap_or(item);
                if !item.is_nil() {
                    kept.insert(key, item);
                }
            }
            Ok(match (changed, kept.is_empty()) {
                (false, _) => None,
                (true, true) => Some(Value::Nil),
                (true, false) => Some(Value::map(kept)),
            })
        }
        Value::List(list) if list.holds_interfaces() => {
            let mut changed = false;
            let mut kept = Vec::new();
            for item in list.iter() {
                let cleaned = without_nil(call, &item, depth)?;
                changed |= cleaned.is_some();
                let item = cleaned.unwrap_or(item);
                if !item.is_nil() {
                    kept.push(item);
                }
            }
            Ok(match (changed, kept.is_empty()) {
                (false, _) => None,
                (true, true) => Some(Value::Nil),
                (true, false) => Some(Value::list(kept)),
            })
        }
        _ => Ok(None),
    }
}

/// A value as JSON, with a placeholder for every text from the pod.
fn tree<'a>(call: &mut Call<'_, 'a>, value: &Value<'a>) -> Result<Json, FuncError> {
    tree_within(call, value, DEPTH)
}

fn tree_within<'a>(call: &mut Call<'_, 'a>, value: &Value<'a>, depth: usize) -> Result<Json, FuncError> {
    let depth =
        depth.checked_sub(1).ok_or_else(|| format!("values are nested deeper than {DEPTH} levels"))?;
    call.spend(1)?;
    Ok(match value {
        Value::Missing | Value::Nil => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(number, _) => Json::from(*number),
        Value::Uint(number, _) => Json::from(*number),
        Value::Enum(_, number) => Json::from(*number),
        Value::Float(number) => Json::Number(json_number(*number)?),
        Value::String(text) => Json::String(leaf(call, text)),
        Value::List(list) if list.is_nil() => Json::Null,
        Value::List(list) => {
            let items: Result<_, _> = list.iter().map(|item| tree_within(call, &item, depth)).collect();
            Json::Array(items?)
        }
        Value::Map(map) if map.is_nil() => Json::Null,
        Value::Map(map) => {
            let mut made = JsonMap::new();
            for (key, item) in map.entries() {
                let key = leaf(call, &Text::new(key.text, key.tainted));
                made.insert(key, tree_within(call, &item, depth)?);
            }
            Json::Object(made)
        }
        Value::Struct(value) => match value.json {
            Some(json) => input_tree(call, json, value.tainted)?,
            None if value.pointer => Json::Null,
            None => Json::Object(JsonMap::new()),
        },
        Value::Pointer(pointer) => {
            pointer.json.map_or(Ok(Json::Null), |json| input_tree(call, json, pointer.tainted))?
        }
        Value::Special(special) => {
            special.json.map_or(Ok(Json::Null), |json| input_tree(call, json, special.tainted))?
        }
        Value::Record(record) => match &record.printed {
            Some(printed) => Json::String(leaf(call, printed)),
            None => {
                let mut made = JsonMap::new();
                for (name, item) in &record.fields {
                    made.insert((*name).to_owned(), tree_within(call, item, depth)?);
                }
                Json::Object(made)
            }
        },
    })
}

fn input_tree<'a>(call: &mut Call<'_, 'a>, json: &Json, tainted: bool) -> Result<Json, FuncError> {
    call.spend(1)?;
    Ok(match json {
        Json::String(text) => Json::String(leaf(call, &Text::new(text.to_owned(), tainted))),
        Json::Array(items) => {
            let items: Result<_, _> = items.iter().map(|item| input_tree(call, item, tainted)).collect();
            Json::Array(items?)
        }
        Json::Object(entries) => {
            let mut made = JsonMap::new();
            for (key, item) in entries {
                let key = leaf(call, &Text::new(key.to_owned(), tainted));
                made.insert(key, input_tree(call, item, tainted)?);
            }
            Json::Object(made)
        }
        plain => plain.clone(),
    })
}

/// The text, or a single placeholder for all of it if any part came from the pod.
fn leaf<'a>(call: &mut Call<'_, 'a>, text: &Text<'a>) -> String {
    let content = call.real(text).into_owned();
    if !text.is_tainted() {
        return content;
    }
    let mut placeholder = String::new();
    call.push_placeholder(&mut placeholder, &content, true);
    placeholder
}

/// Whole floats are integers, as in Go's JSON below 1e21.
fn json_number(number: f64) -> Result<Number, FuncError> {
    if number.fract() == 0.0 && number.abs() < 9e18 {
        return Ok(Number::from(number as i64));
    }
    Number::from_f64(number).ok_or_else(|| format!("{number} has no JSON form").into())
}
