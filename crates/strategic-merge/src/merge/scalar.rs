//! Scalars as strategic merge compares them: Go's `==` on values decoded from JSON.

use serde_json::Value;

/// A JSON value that is neither a list nor a map. An integer never equals a float, as in Go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    /// The bits of a float, with a single zero.
    Float(u64),
    Text(&'a str),
}

/// The kind of a value, as far as a list's elements must have the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Integer,
    Float,
    Text,
    List,
    Map,
}

impl<'a> Scalar<'a> {
    /// The value as a scalar, if it is one.
    pub(super) fn of(value: &'a Value) -> Option<Scalar<'a>> {
        match value {
            Value::Null => Some(Scalar::Null),
            Value::Bool(bool) => Some(Scalar::Bool(*bool)),
            Value::Number(number) => Some(match number.as_i64() {
                Some(integer) => Scalar::Integer(integer),
                // Adding zero turns negative zero into positive zero, which it equals.
                None => Scalar::Float((number.as_f64().unwrap_or_default() + 0.0).to_bits()),
            }),
            Value::String(text) => Some(Scalar::Text(text)),
            Value::Array(_) | Value::Object(_) => None,
        }
    }
}

impl Kind {
    pub(super) fn of(value: &Value) -> Kind {
        match value {
            Value::Null => Kind::Null,
            Value::Bool(_) => Kind::Bool,
            Value::Number(number) if number.is_i64() => Kind::Integer,
            Value::Number(_) => Kind::Float,
            Value::String(_) => Kind::Text,
            Value::Array(_) => Kind::List,
            Value::Object(_) => Kind::Map,
        }
    }

    /// The kind's name in an error.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Integer => "an integer",
            Kind::Float => "a number with a fraction",
            Kind::Text => "a string",
            Kind::List => "a list",
            Kind::Map => "an object",
        }
    }
}
