//! Which scalars fit which of Go's types (`encoding/json`, and the `UnmarshalJSON` methods of Kubernetes' types).

use serde_json::Value;

use crate::{quantity, rfc3339};
use gotemplate::gotypes::Kind;

/// Whether a scalar that is not null fits a field.
pub(super) fn fits(value: &Value, kind: &Kind, narrow: bool) -> bool {
    match (kind, value) {
        (Kind::Bool, value) => value.is_boolean(),
        (Kind::Int, Value::Number(number)) => {
            number.as_i64().is_some_and(|number| !narrow || i32::try_from(number).is_ok())
        }
        (Kind::Uint, Value::Number(number)) => number.is_u64(),
        (Kind::Float, value) => value.is_number(),
        (Kind::Quantity, Value::String(text)) => quantity::sign(text.trim()).is_some(),
        (Kind::Quantity, Value::Number(number)) => quantity::sign(&number.to_string()).is_some(),
        (Kind::IntOrString, Value::Number(number)) => {
            number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
        }
        (Kind::Time, Value::String(text)) => rfc3339::is_time(text),
        (Kind::String | Kind::Bytes | Kind::IntOrString, Value::String(_)) | (Kind::Any, _) => true,
        _ => false,
    }
}

/// The values that fit a scalar field.
pub(super) fn accepted(kind: &Kind, narrow: bool) -> &'static str {
    match kind {
        Kind::Bool => "true or false, without quotes",
        Kind::Int | Kind::Uint if narrow => "an integer of 32 bits, without quotes",
        Kind::Int | Kind::Uint => "an integer, without quotes",
        Kind::Float => "a number, without quotes",
        Kind::Quantity => quantity::ACCEPTED,
        Kind::IntOrString => "an integer of 32 bits or a string",
        Kind::Time => rfc3339::ACCEPTED,
        _ => "a string (in quotes, or a block after |)",
    }
}
