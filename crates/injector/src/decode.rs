//! Checks whether an API server can decode a pod: every field has the JSON type and the format that its Go type reads.
//!
//! An unquoted `value: {{ .Values.port }}` renders to valid YAML and to a pod that no API server can decode, and so
//! does `cpu: 2cores`. The API server then rejects every pod, regardless of the webhook's failure policy, and names
//! neither the field nor the webhook. Unknown fields are accepted: they may be newer than the tables. Values that
//! decode but are invalid are left to the API server.

use std::fmt::{self, Write};

use serde_json::Value;

use crate::{
    gotypes::{self, OBJECT_META, POD_SPEC},
    pod, quantity, rfc3339,
    warning::{shown, shown_within},
};
use gotemplate::gotypes::{Kind, Type};
use strategic_merge::patch::Operation;

/// A value in a pod that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The place, such as `spec.containers[istio-proxy].resources.limits["cpu"]`.
    pub place: String,
    /// The field's name, or the key of a map.
    pub(crate) key: String,
    /// The value.
    pub(crate) value: Value,
    /// The values that an API server accepts there.
    pub accepted: &'static str,
}

/// The parts of a pod that are checked.
static ROOTS: [(&str, Kind); 2] =
    [("metadata", Kind::Struct(&OBJECT_META)), ("spec", Kind::Struct(&POD_SPEC))];

/// Every value in a pod that cannot be decoded.
pub fn misfits(pod: &Value) -> Vec<Misfit> {
    let mut found = Vec::new();
    for (key, kind) in &ROOTS {
        if let Some(value) = pod.get(key) {
            let at = At { parent: None, step: Step::Field(key), field: None };
            walk(value, kind, &at, &mut found);
        }
    }
    found
}

/// Whether the values that a patch adds to a pod can be decoded.
pub fn is_decodable(operations: &[Operation<'_>]) -> bool {
    operations.iter().all(|operation| {
        let (Operation::Add { path, value } | Operation::Replace { path, value }) = operation else {
            return true;
        };
        let mut found = Vec::new();
        if let Some((kind, field)) = kind_at(path) {
            walk(value, kind, &At { parent: None, step: Step::Field(""), field }, &mut found);
        }
        found.is_empty()
    })
}

/// The kind of the value that a JSON pointer leads to, and the last field on the way.
fn kind_at(pointer: &str) -> Option<(&'static Kind, Option<GoField>)> {
    let mut steps = pointer.split('/').skip(1);
    let first = steps.next()?;
    let mut kind = &ROOTS.iter().find(|(key, _)| *key == first)?.1;
    let mut field = None;
    for step in steps {
        let holder = match kind {
            Kind::Pointer(kind) => *kind,
            kind => kind,
        };
        kind = match holder {
            Kind::List(kind) | Kind::Map(kind) => *kind,
            Kind::Struct(ty) => {
                // No field name contains a character that pointers escape.
                let known = ty.field_by_json(step)?;
                field = Some((*ty, known.json));
                &known.kind
            }
            _ => return None,
        };
    }
    Some((kind, field))
}

/// A struct and the JSON name of a field of it.
type GoField = (&'static Type, &'static str);

/// The position of a walk.
#[derive(Clone, Copy)]
struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
    /// The enclosing field, also inside its lists and maps.
    field: Option<GoField>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Key(&'a str),
    Element(usize, &'a Value),
}

fn walk(value: &Value, kind: &'static Kind, at: &At<'_>, found: &mut Vec<Misfit>) {
    let below = |step, field| At { parent: Some(at), step, field };
    let accepted = match (kind, value) {
        // Equivalent to an absent field everywhere.
        (_, Value::Null) => return,
        (Kind::Pointer(kind), _) => return walk(value, kind, at, found),
        (Kind::Struct(ty), Value::Object(fields)) => {
            for (key, value) in fields {
                if let Some(field) = ty.field_by_json(key) {
                    walk(value, &field.kind, &below(Step::Field(key), Some((*ty, field.json))), found);
                }
            }
            return;
        }
        (Kind::List(kind), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, kind, &below(Step::Element(index, item), at.field), found);
            }
            return;
        }
        (Kind::Map(kind), Value::Object(entries)) => {
            for (key, value) in entries {
                walk(value, kind, &below(Step::Key(key), at.field), found);
            }
            return;
        }
        _ => match unreadable(value, kind, at.field) {
            Some(accepted) => accepted,
            None => return,
        },
    };
    let key = match at.step {
        Step::Field(key) | Step::Key(key) => key.to_owned(),
        Step::Element(..) => String::new(),
    };
    found.push(Misfit { place: at.to_string(), key, value: value.clone(), accepted });
}

/// The expected value, if the Go type cannot read the given one; otherwise `None`.
fn unreadable(value: &Value, kind: &'static Kind, field: Option<GoField>) -> Option<&'static str> {
    let (is_read, accepted) = match kind {
        Kind::Struct(_) | Kind::Map(_) => (false, "an object"),
        Kind::List(_) => (false, "a list"),
        Kind::Bool => (value.is_boolean(), "true or false"),
        Kind::Int if field.is_some_and(|(ty, json)| gotypes::is_wide(ty.name, json)) => {
            (value.is_i64(), "an integer of 64 bits")
        }
        Kind::Int => match value.as_i64() {
            Some(number) => (i32::try_from(number).is_ok(), INT32),
            None if value.is_u64() => (false, INT32),
            None => (false, "an integer"),
        },
        Kind::Uint => (value.is_u64(), "an integer from 0"),
        Kind::IntOrString if value.is_i64() => {
            (value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()), INT32)
        }
        Kind::IntOrString => (value.is_string(), "an integer or a string"),
        Kind::Quantity => (is_quantity(value), quantity::ACCEPTED),
        Kind::Time => (value.as_str().is_some_and(rfc3339::is_time), rfc3339::ACCEPTED),
        Kind::Float => (value.is_number(), "a number"),
        Kind::String => (value.is_string(), "a string"),
        // Pods do not contain any of them; a test checks this against the tables.
        Kind::Any
        | Kind::Bytes
        | Kind::Duration
        | Kind::BoolValue
        | Kind::UInt32Value
        | Kind::Int32Value
        | Kind::DoubleValue
        | Kind::StringValue
        | Kind::Enum(_)
        | Kind::Pointer(_) => (true, ""),
    };
    (!is_read).then_some(accepted)
}

const INT32: &str = "an integer from -2147483648 to 2147483647";

/// Go's `Quantity.UnmarshalJSON`: blanks around the text are ignored, escapes are decoded.
fn is_quantity(value: &Value) -> bool {
    match value {
        Value::String(text) if text.contains(|c: char| c.is_control()) => false,
        Value::String(text) => quantity::sign(text.trim()).is_some(),
        Value::Number(number) => quantity::sign(&number.to_string()).is_some(),
        _ => false,
    }
}

impl Misfit {
    /// The type of the value, without its content.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        }
    }

    /// The value: a scalar as it is.
    pub fn found(&self) -> String {
        match &self.value {
            Value::String(text) => shown(text),
            scalar @ (Value::Bool(_) | Value::Number(_)) => scalar.to_string(),
            _ => self.kind().to_owned(),
        }
    }

    /// A hint for the user.
    fn hint(&self) -> &'static str {
        match &self.value {
            Value::String(text) if text.contains(NO_VALUE) => {
                "; a template writes <no value> for an absent key"
            }
            Value::Bool(_) | Value::Number(_) if self.accepted == "a string" => "; quote it in YAML",
            _ => "",
        }
    }
}

/// The output of Go's templates for a key that a map does not have.
pub(crate) const NO_VALUE: &str = "<no value>";

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Misfit { place, accepted, .. } = self;
        write!(f, "{place} would be {}, but an API server expects {accepted}{}", self.found(), self.hint())
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field(name) if self.parent.is_none() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Key(key) => write!(f, "[{}]", shown(key)),
            // Elements are identified by name if they have one.
            Step::Element(index, item) => match pod::name(item) {
                "" => write!(f, "[{index}]"),
                name => {
                    f.write_char('[')?;
                    let is_plain =
                        name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
                    if is_plain {
                        f.write_str(name)?
                    } else {
                        f.write_str(&shown_within(name, 24))?
                    }
                    f.write_char(']')
                }
            },
        }
    }
}

#[cfg(test)]
mod tests;
