//! Protobuf messages as JSON, read and written by the type tables.
//!
//! Istio reads its documents with the legacy `jsonpb.Unmarshaler`: fields by JSON or proto name, durations in Go's
//! notation, numbers in strings, null for "not set", unknown fields dropped. This module accepts the same and produces
//! the canonical form: camelCase, enums by name, no zero values. Nothing here knows the meaning of a field.

mod scalar;
mod violation;

use serde_json::{Map, Value};

use crate::gotypes;
use gotemplate::gotypes::{Field, Kind, Type};
use kubernetes_yaml as yaml;

pub use violation::{Fault, Path, ProtoError, Step, Violation};
pub(crate) use violation::{nearest, shown};

/// A message decoded from a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The canonical message.
    pub message: Map<String, Value>,
    /// All problems of the document; values with a violation that Istio does not tolerate are absent from the message.
    pub violations: Vec<Violation>,
}

impl Decoded {
    /// The message, and the violations that Istio would have ignored.
    ///
    /// # Errors
    /// All violations, if Istio would reject one.
    pub fn tolerant(self, source: &str) -> Result<(Value, Vec<Violation>), ProtoError> {
        if self.violations.iter().all(Violation::is_tolerated) {
            Ok((Value::Object(self.message), self.violations))
        } else {
            Err(ProtoError { source: source.to_owned(), violations: self.violations })
        }
    }

    /// The message of a document without any violation.
    ///
    /// # Errors
    /// All violations.
    pub fn strict(self, source: &str) -> Result<Value, ProtoError> {
        if self.violations.is_empty() {
            Ok(Value::Object(self.message))
        } else {
            Err(ProtoError { source: source.to_owned(), violations: self.violations })
        }
    }
}

/// Reads a message of a type from JSON.
pub fn decode(ty: &'static Type, document: &Value) -> Decoded {
    decode_onto(ty, document, Map::new())
}

/// Reads a message from JSON over another one: a given field replaces the other's as a whole, even by a zero value
/// (`jsonpb.Unmarshal` into a message that is not empty); null leaves it.
pub fn decode_onto(ty: &'static Type, document: &Value, base: Map<String, Value>) -> Decoded {
    let mut decoder = Decoder { path: Path::default(), violations: Vec::new() };
    let mut message = base;
    decoder.message(ty, document, &mut message);
    Decoded { message, violations: decoder.violations }
}

/// A message as protobuf's JSON prints it: camelCase, durations in seconds, enums by name, no zero values. Values that
/// the message cannot contain are omitted too.
pub fn to_proto_json(ty: &'static Type, document: &Value) -> Value {
    Value::Object(decode(ty, document).message)
}

/// Merges a canonical message over another field by field, like Istio's `mergeWithPrecedence`: fields of the upper one
/// replace those of the lower one.
pub fn overlay(ty: &'static Type, upper: &Map<String, Value>, lower: &mut Map<String, Value>) {
    for (key, value) in upper {
        displace_siblings(ty, key, lower);
        lower.insert(key.clone(), value.clone());
    }
}

/// The members of the oneof that contains a field, including the field itself, in the order of their declaration.
pub(crate) fn siblings(ty: &Type, json: &str) -> Option<&'static [&'static str]> {
    oneofs(ty).iter().copied().find(|members| members.contains(&json))
}

fn oneofs(ty: &Type) -> &'static [&'static [&'static str]] {
    let table = gotypes::ONEOFS;
    table
        .binary_search_by(|(name, _)| (*name).cmp(ty.name))
        .ok()
        .and_then(|at| table.get(at))
        .map_or(&[], |row| row.1)
}

/// Setting a member of a oneof unsets the others.
fn displace_siblings(ty: &Type, json: &str, message: &mut Map<String, Value>) {
    for member in siblings(ty, json).unwrap_or_default() {
        if *member != json {
            message.remove(*member);
        }
    }
}

/// A document that is not YAML.
pub(crate) fn unreadable(source: &str, error: &yaml::Error) -> ProtoError {
    let fault = Fault::Unreadable { why: error.to_string() };
    ProtoError {
        source: source.to_owned(),
        violations: vec![Violation { path: Path::default(), mark: None, fault }],
    }
}

struct Decoder {
    path: Path,
    violations: Vec<Violation>,
}

impl Decoder {
    fn message(&mut self, ty: &'static Type, document: &Value, message: &mut Map<String, Value>) {
        let given = match document {
            Value::Null => return,
            Value::Object(given) => given,
            other => return self.invalid(other, &format!("a mapping with the fields of {}", ty.name)),
        };
        for (key, value) in given {
            let Some(field) = field_by_any_name(ty, key) else {
                let names = ty.fields.iter().map(|field| field.json);
                self.at(Step::Key(key.clone()), |this| {
                    this.fault(Fault::Unknown { nearest: nearest(key, names) })
                });
                continue;
            };
            if let Some(because) = overruled(ty, field, key, given) {
                self.at(Step::Key(key.clone()), |this| this.fault(Fault::Ignored { because }));
            } else if !value.is_null() {
                self.at(Step::Key(key.clone()), |this| this.field(ty, field, value, message));
            }
        }
    }

    fn field(
        &mut self,
        ty: &'static Type,
        field: &'static Field,
        value: &Value,
        message: &mut Map<String, Value>,
    ) {
        let wide = gotypes::WIDE.contains(&(ty.name, field.json));
        let Some(value) = self.value(&field.kind, wide, value) else { return };
        displace_siblings(ty, field.json, message);
        if siblings(ty, field.json).is_none() && is_zero(&field.kind, &value) {
            message.remove(field.json);
        } else {
            message.insert(field.json.to_owned(), value);
        }
    }

    /// The canonical form of a value; `None` after a violation.
    fn value(&mut self, kind: &'static Kind, wide: bool, value: &Value) -> Option<Value> {
        match kind {
            Kind::Struct(ty) => {
                let (mut message, before) = (Map::new(), self.refusals());
                self.message(ty, value, &mut message);
                (self.refusals() == before).then_some(Value::Object(message))
            }
            Kind::Pointer(kind) => self.value(kind, wide, value),
            Kind::List(kind) => {
                let Value::Array(items) = value else {
                    self.invalid(value, "a list");
                    return None;
                };
                let decoded = items.iter().enumerate();
                let decoded =
                    decoded.map(|(at, item)| self.at(Step::Index(at), |this| this.value(kind, wide, item)));
                // Not a short-circuiting collect, because every element's violation is reported.
                decoded.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
            }
            Kind::Map(kind) => {
                let Value::Object(entries) = value else {
                    self.invalid(value, "a mapping");
                    return None;
                };
                let mut decoded = Map::new();
                for (key, item) in entries {
                    let item = self.at(Step::Key(key.clone()), |this| this.value(kind, wide, item));
                    decoded.extend(item.map(|item| (key.clone(), item)));
                }
                Some(Value::Object(decoded))
            }
            scalar => match scalar::canonical(scalar, wide, value) {
                Ok(value) => Some(value),
                Err(accepted) => {
                    self.invalid(value, &accepted);
                    None
                }
            },
        }
    }

    fn at<T>(&mut self, step: Step, inner: impl FnOnce(&mut Self) -> T) -> T {
        self.path.0.push(step);
        let result = inner(self);
        self.path.0.pop();
        result
    }

    fn refusals(&self) -> usize {
        self.violations.iter().filter(|violation| !violation.is_tolerated()).count()
    }

    fn invalid(&mut self, found: &Value, accepted: &str) {
        self.fault(Fault::Invalid { found: shown(found), accepted: accepted.to_owned() });
    }

    fn fault(&mut self, fault: Fault) {
        self.violations.push(Violation { path: self.path.clone(), mark: None, fault });
    }
}

/// A field by its JSON name or by its name in the .proto file.
fn field_by_any_name(ty: &'static Type, key: &str) -> Option<&'static Field> {
    ty.field_by_json(key).or_else(|| ty.fields.iter().find(|field| is_proto_name(ty, field.json, key)))
}

fn is_proto_name(ty: &Type, json: &str, key: &str) -> bool {
    let mut irregular =
        gotypes::IRREGULAR_NAMES.iter().filter(|row| row.0 == ty.name && row.2 == json).peekable();
    if irregular.peek().is_some() {
        return irregular.any(|row| row.1 == key);
    }
    let mut rest = key.bytes();
    for byte in json.bytes() {
        if byte.is_ascii_uppercase() && rest.next() != Some(b'_') {
            return false;
        }
        if rest.next() != Some(byte.to_ascii_lowercase()) {
            return false;
        }
    }
    rest.next().is_none()
}

/// Why a key has no effect: its JSON name, or a later member of its oneof, is also given.
fn overruled(
    ty: &'static Type,
    field: &'static Field,
    key: &str,
    given: &Map<String, Value>,
) -> Option<String> {
    if key != field.json && given.contains_key(field.json) {
        return Some(format!("{:?} is also given", field.json));
    }
    let (_, later) = {
        let members = siblings(ty, field.json)?;
        members.split_at(members.iter().position(|member| *member == field.json)? + 1)
    };
    let is_set = |member: &&&str| {
        given.iter().any(|(key, value)| {
            !value.is_null() && field_by_any_name(ty, key).is_some_and(|field| field.json == **member)
        })
    };
    later.iter().find(is_set).map(|member| format!("{member:?} is also given, and only one of them may be"))
}

/// Whether protobuf's JSON omits a value; messages and wrappers have presence, so their zero counts as a value.
fn is_zero(kind: &Kind, value: &Value) -> bool {
    match kind {
        Kind::Enum(ty) => value.as_str().is_some_and(|name| ty.number(name) == Some(0)),
        Kind::Bool | Kind::Int | Kind::Uint | Kind::Float | Kind::String | Kind::Bytes => match value {
            Value::Bool(set) => !set,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => {
                text.is_empty() || text == "0" && !matches!(kind, Kind::String | Kind::Bytes)
            }
            _ => false,
        },
        Kind::List(_) => value.as_array().is_some_and(Vec::is_empty),
        Kind::Map(_) => value.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

#[cfg(test)]
pub(crate) use tests::{golden, numbers_as_floats as numbers};

#[cfg(test)]
mod tests;
