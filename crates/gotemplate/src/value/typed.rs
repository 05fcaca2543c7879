//! JSON interpreted as Go types: the value of a field, and its zero value if the JSON lacks it.

use std::borrow::Cow;

use serde_json::Value as Json;

use super::{IntType, List, Map, Text, UintType, Value};
use crate::gotypes::{Enum, Kind, Type};

/// A struct of the type tables or a pointer to one.
#[derive(Clone, Copy, Debug)]
pub struct Struct<'a> {
    /// Its type.
    pub ty: &'static Type,
    /// Its fields; `None` is the zero value, or nil for a pointer.
    pub json: Option<&'a Json>,
    /// Whether it came from the pod.
    pub tainted: bool,
    /// Whether it is a pointer.
    pub pointer: bool,
}

/// A pointer to something other than a struct.
#[derive(Clone, Copy, Debug)]
pub struct Pointer<'a> {
    /// What it points to.
    pub to: &'static Kind,
    /// `None` is nil.
    pub json: Option<&'a Json>,
    /// Whether it came from the pod.
    pub tainted: bool,
}

/// A Go type with its own methods: `Quantity`, `IntOrString`, `Time`, `Duration` and the wrapped scalars.
#[derive(Clone, Copy, Debug)]
pub struct Special<'a> {
    /// Which one.
    pub kind: &'static Kind,
    /// `None` is the zero value, or nil for pointer types.
    pub json: Option<&'a Json>,
    /// Whether it came from the pod.
    pub tainted: bool,
}

impl<'a> Struct<'a> {
    /// Whether it is a nil pointer.
    pub fn is_nil(&self) -> bool {
        self.pointer && self.json.is_none()
    }

    /// The value of a field by its Go name; `None` if the type has no such field. A nil pointer gives zero values.
    pub fn field(&self, name: &str) -> Option<Value<'a>> {
        self.ty.field_by_go(name).map(|field| self.value(&field.kind, field.json))
    }

    /// The result of a protobuf getter such as `GetTracing`; `None` if the type has no such getter.
    pub fn getter(&self, method: &str) -> Option<Value<'a>> {
        self.ty.field_by_getter(method).map(|field| self.value(&field.kind, field.json))
    }

    fn value(&self, kind: &'static Kind, key: &str) -> Value<'a> {
        // An embedded struct that JSON does not nest has an empty key.
        let json = if key.is_empty() { self.json } else { self.json.and_then(|json| json.get(key)) };
        Value::of_kind(kind, json, self.tainted)
    }
}

impl<'a> Pointer<'a> {
    /// Whether it is nil.
    pub fn is_nil(&self) -> bool {
        self.json.is_none()
    }

    /// What it points to.
    pub fn target(&self) -> Option<Value<'a>> {
        self.json.map(|json| Value::of_kind(self.to, Some(json), self.tainted))
    }
}

impl<'a> Special<'a> {
    /// Whether its Go type is a pointer.
    pub fn is_pointer(&self) -> bool {
        !matches!(self.kind, Kind::Quantity | Kind::IntOrString | Kind::Time)
    }

    /// Whether it is a nil pointer.
    pub fn is_nil(&self) -> bool {
        self.is_pointer() && self.json.is_none()
    }

    /// The result of its `String` method.
    pub fn printed(&self) -> Cow<'a, str> {
        let text = self.json.and_then(Json::as_str).unwrap_or_default();
        match self.kind {
            Kind::Quantity if self.json.is_none() => "0".into(),
            Kind::IntOrString => match self.json {
                Some(Json::String(text)) => text.as_str().into(),
                other => other.map(integer).unwrap_or_default().to_string().into(),
            },
            Kind::Duration => duration(text).into(),
            Kind::BoolValue
            | Kind::UInt32Value
            | Kind::Int32Value
            | Kind::DoubleValue
            | Kind::StringValue => {
                // Protobuf's text form omits a zero value.
                match self.json {
                    Some(Json::Bool(false)) | None => "".into(),
                    Some(json) if json == 0 || json == "" => "".into(),
                    Some(json) => format!("value:{json}").into(),
                }
            }
            _ => text.into(),
        }
    }

    /// The scalar inside a wrapper (`.Value`); Go's zero value if it is nil. `None` for other types.
    pub fn wrapped(&self) -> Option<Value<'a>> {
        let inner = match self.kind {
            Kind::BoolValue => &Kind::Bool,
            Kind::UInt32Value => &Kind::Uint,
            Kind::Int32Value => &Kind::Int,
            Kind::DoubleValue => &Kind::Float,
            Kind::StringValue => &Kind::String,
            _ => return None,
        };
        Some(Value::of_kind(inner, self.json, self.tainted))
    }
}

impl<'a> Value<'a> {
    /// JSON interpreted as a kind; absent JSON and null give the zero value.
    pub fn of_kind(kind: &'static Kind, json: Option<&'a Json>, tainted: bool) -> Value<'a> {
        let json = json.filter(|json| !json.is_null());
        match kind {
            Kind::Bool => Value::Bool(json.and_then(Json::as_bool).unwrap_or_default()),
            Kind::Int => Value::Int(json.map(integer).unwrap_or_default(), IntType::Int64),
            Kind::Uint => Value::Uint(json.map(unsigned).unwrap_or_default(), UintType::Uint32),
            Kind::Float => Value::Float(json.map(float).unwrap_or_default()),
            Kind::String | Kind::Bytes => {
                Value::String(Text::new(json.and_then(Json::as_str).unwrap_or_default(), tainted))
            }
            Kind::Any => json.map_or(Value::Nil, |json| Value::json(json, tainted)),
            Kind::Enum(of) => Value::Enum(of, json.map(|json| enum_number(of, json)).unwrap_or_default()),
            Kind::Struct(ty) => Value::of_type(ty, json, tainted),
            Kind::Pointer(Kind::Struct(ty)) => Value::pointer_to(ty, json, tainted),
            Kind::Pointer(to) => Value::Pointer(Pointer { to, json, tainted }),
            Kind::List(of) => Value::List(List::Json {
                items: json.and_then(Json::as_array).map(Vec::as_slice),
                of,
                tainted,
            }),
            Kind::Map(of) => Value::Map(Map::Json { entries: json.and_then(Json::as_object), of, tainted }),
            Kind::Quantity
            | Kind::IntOrString
            | Kind::Time
            | Kind::Duration
            | Kind::BoolValue
            | Kind::UInt32Value
            | Kind::Int32Value
            | Kind::DoubleValue
            | Kind::StringValue => {
                // Numbers and booleans are never tainted.
                let tainted = tainted && matches!(json, Some(Json::String(_)));
                Value::Special(Special { kind, json, tainted })
            }
        }
    }
}

/// The Go name of a kind's type.
pub(crate) fn type_name(kind: &Kind) -> Cow<'static, str> {
    match kind {
        Kind::Bool => "bool".into(),
        Kind::Int => "int64".into(),
        Kind::Uint => "uint32".into(),
        Kind::Float => "float64".into(),
        Kind::String => "string".into(),
        Kind::Bytes => "[]uint8".into(),
        Kind::Any => "interface {}".into(),
        Kind::Quantity => "resource.Quantity".into(),
        Kind::IntOrString => "intstr.IntOrString".into(),
        Kind::Time => "v1.Time".into(),
        Kind::Duration => "*durationpb.Duration".into(),
        Kind::BoolValue => "*wrapperspb.BoolValue".into(),
        Kind::UInt32Value => "*wrapperspb.UInt32Value".into(),
        Kind::Int32Value => "*wrapperspb.Int32Value".into(),
        Kind::DoubleValue => "*wrapperspb.DoubleValue".into(),
        Kind::StringValue => "*wrapperspb.StringValue".into(),
        Kind::Enum(of) => of.name.into(),
        Kind::Struct(ty) => ty.name.into(),
        Kind::Pointer(to) => format!("*{}", type_name(to)).into(),
        Kind::List(of) => format!("[]{}", type_name(of)).into(),
        Kind::Map(of) => format!("map[string]{}", type_name(of)).into(),
    }
}

/// Seconds and nanoseconds of a duration such as `1.5s`.
pub(crate) fn seconds_and_nanos(text: &str) -> (i64, i32) {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(magnitude) => (true, magnitude),
        None => (false, text),
    };
    let number = magnitude.strip_suffix('s').unwrap_or(magnitude);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let seconds: i64 = whole.parse().unwrap_or_default();
    let nanos: i32 =
        format!("{fraction:0<9}").get(..9).and_then(|nanos| nanos.parse().ok()).unwrap_or_default();
    if negative { (-seconds, -nanos) } else { (seconds, nanos) }
}

/// A duration in protobuf's text form.
fn duration(text: &str) -> String {
    match seconds_and_nanos(text) {
        (0, 0) => String::new(),
        (seconds, 0) => format!("seconds:{seconds}"),
        (0, nanos) => format!("nanos:{nanos}"),
        (seconds, nanos) => format!("seconds:{seconds} nanos:{nanos}"),
    }
}

/// Protobuf's JSON writes 64-bit integers as strings.
fn integer(json: &Json) -> i64 {
    match json {
        Json::String(text) => text.parse().unwrap_or_default(),
        Json::Number(number) => {
            // `as` saturates, which is right for a number that no integer field can hold.
            number.as_i64().unwrap_or_else(|| number.as_f64().unwrap_or_default() as i64)
        }
        _ => 0,
    }
}

fn unsigned(json: &Json) -> u64 {
    match json {
        Json::String(text) => text.parse().unwrap_or_default(),
        Json::Number(number) => number.as_u64().unwrap_or_else(|| number.as_f64().unwrap_or_default() as u64),
        _ => 0,
    }
}

fn float(json: &Json) -> f64 {
    match json {
        Json::String(text) => text.parse().unwrap_or_default(),
        _ => json.as_f64().unwrap_or_default(),
    }
}

fn enum_number(of: &Enum, json: &Json) -> i32 {
    match json {
        Json::String(name) => of.number(name).unwrap_or_default(),
        _ => json.as_i64().and_then(|number| i32::try_from(number).ok()).unwrap_or_default(),
    }
}
