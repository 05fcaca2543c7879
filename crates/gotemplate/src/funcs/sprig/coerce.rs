//! Converts values of any type to numbers, by the rules of `github.com/spf13/cast`; anything else counts as 0.

use super::super::Call;
use super::number;
use crate::value::Value;

/// `cast.ToInt64`: 0 if the value is not a number.
pub(super) fn to_int<'a>(call: &mut Call<'_, 'a>, value: &Value<'a>) -> i64 {
    match value {
        Value::Bool(value) => i64::from(*value),
        Value::Int(number, _) => *number,
        // Go preserves the bits.
        Value::Uint(number, _) => *number as i64,
        Value::Float(number) => number::truncate(*number),
        Value::Enum(_, number) => i64::from(*number),
        Value::String(text) => {
            let text = call.real(text);
            number::parse_int(number::whole_part(&text), 0).unwrap_or(0)
        }
        Value::Pointer(pointer) => pointer.target().map_or(0, |target| to_int(call, &target)),
        _ => 0,
    }
}

/// `cast.ToFloat64`: 0 if the value is not a number.
pub(super) fn to_float<'a>(call: &mut Call<'_, 'a>, value: &Value<'a>) -> f64 {
    match value {
        Value::Float(number) => *number,
        Value::Uint(number, _) => *number as f64,
        Value::String(text) => number::parse_float(&call.real(text)).unwrap_or(0.0),
        Value::Pointer(pointer) => pointer.target().map_or(0.0, |target| to_float(call, &target)),
        other => to_int(call, other) as f64,
    }
}
