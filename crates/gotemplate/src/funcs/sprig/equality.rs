//! `reflect.DeepEqual` over template values: same Go type, same content.

use super::super::{Call, FuncError};
use crate::value::{DEPTH, Value};

/// Whether two values are deeply equal; strings by their real content.
pub(in crate::funcs) fn deep_equal<'a>(
    call: &mut Call<'_, 'a>,
    one: &Value<'a>,
    two: &Value<'a>,
) -> Result<bool, FuncError> {
    equal_within(call, one, two, DEPTH)
}

/// Whether a list contains a value that is deeply equal.
pub(super) fn contains<'a>(
    call: &mut Call<'_, 'a>,
    items: &[Value<'a>],
    wanted: &Value<'a>,
) -> Result<bool, FuncError> {
    for item in items {
        if deep_equal(call, wanted, item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equal_within<'a>(
    call: &mut Call<'_, 'a>,
    one: &Value<'a>,
    two: &Value<'a>,
    depth: usize,
) -> Result<bool, FuncError> {
    call.spend(1)?;
    let depth =
        depth.checked_sub(1).ok_or_else(|| format!("values are nested deeper than {DEPTH} levels"))?;
    Ok(match (one, two) {
        (Value::Nil | Value::Missing, Value::Nil | Value::Missing) => true,
        (Value::Bool(one), Value::Bool(two)) => one == two,
        (Value::Int(one, of), Value::Int(two, other)) => one == two && of == other,
        (Value::Uint(one, of), Value::Uint(two, other)) => one == two && of == other,
        (Value::Float(one), Value::Float(two)) => one == two,
        (Value::String(one), Value::String(two)) => call.real(one) == call.real(two),
        (Value::Enum(of, one), Value::Enum(other, two)) => of.name == other.name && one == two,
        (Value::List(first), Value::List(second)) => {
            if one.type_name() != two.type_name()
                || first.is_nil() != second.is_nil()
                || first.len() != second.len()
            {
                return Ok(false);
            }
            for (item, other) in first.iter().zip(second.iter()) {
                if !equal_within(call, &item, &other, depth)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(first), Value::Map(second)) => {
            if one.type_name() != two.type_name()
                || first.is_nil() != second.is_nil()
                || first.len() != second.len()
            {
                return Ok(false);
            }
            for ((key, value), (other_key, other)) in first.entries().iter().zip(second.entries().iter()) {
                if key != other_key || !equal_within(call, value, other, depth)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Struct(one), Value::Struct(two)) => {
            one.ty.name == two.ty.name && one.pointer == two.pointer && one.json == two.json
        }
        (Value::Pointer(first), Value::Pointer(second)) => {
            one.type_name() == two.type_name() && first.json == second.json
        }
        (Value::Special(first), Value::Special(second)) => {
            one.type_name() == two.type_name() && first.json == second.json
        }
        (Value::Record(one), Value::Record(two)) => {
            if one.name != two.name || one.fields.len() != two.fields.len() {
                return Ok(false);
            }
            for ((name, value), (other_name, other)) in one.fields.iter().zip(&two.fields) {
                if name != other_name || !equal_within(call, value, other, depth)? {
                    return Ok(false);
                }
            }
            true
        }
        _ => false,
    })
}
