//! `eq`, `ne`, `lt`, `le`, `gt`, `ge`: Go compares values of the same basic kind, and integers of different signedness.

use serde_json::Value as Json;

use super::{Call, FuncError, Result};
use crate::format;
use crate::gotypes::{Kind, Type};
use crate::value::{DEPTH, Text, Value};

pub(super) fn eq<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<'a> {
    let Some((first, rest)) = args.split_first() else { return Err(MISSING.into()) };
    if rest.is_empty() {
        return Err(MISSING.into());
    }
    for other in rest {
        if equal(call, first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

pub(super) fn ne<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<'a> {
    let (one, two) = pair(args)?;
    Ok(Value::Bool(!equal(call, one, two)?))
}

pub(super) fn lt<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<'a> {
    let (one, two) = pair(args)?;
    Ok(Value::Bool(less(call, one, two)?))
}

pub(super) fn le<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<'a> {
    let (one, two) = pair(args)?;
    Ok(Value::Bool(less(call, one, two)? || equal(call, one, two)?))
}

pub(super) fn gt<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<'a> {
    let (one, two) = pair(args)?;
    Ok(Value::Bool(!(less(call, one, two)? || equal(call, one, two)?)))
}

pub(super) fn ge<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<'a> {
    let (one, two) = pair(args)?;
    Ok(Value::Bool(!less(call, one, two)?))
}

const MISSING: &str = "missing argument for comparison";
const BAD_TYPE: &str = "invalid type for comparison";

enum Basic<'v, 'a> {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    String(&'v Text<'a>),
}

fn pair<'v, 'a>(args: &'v [Value<'a>]) -> std::result::Result<(&'v Value<'a>, &'v Value<'a>), FuncError> {
    match args {
        [one, two] => Ok((one, two)),
        _ => Err(MISSING.into()),
    }
}

fn basic<'v, 'a>(value: &'v Value<'a>) -> Option<Basic<'v, 'a>> {
    Some(match value {
        Value::Bool(value) => Basic::Bool(*value),
        Value::Int(number, _) => Basic::Int(*number),
        Value::Enum(_, number) => Basic::Int(i64::from(*number)),
        Value::Uint(number, _) => Basic::Uint(*number),
        Value::Float(number) => Basic::Float(*number),
        Value::String(text) => Basic::String(text),
        _ => return None,
    })
}

fn incompatible(one: &Value<'_>, two: &Value<'_>) -> FuncError {
    let (one, two) = (one.type_name(), two.type_name());
    format!("incompatible types for comparison: {one} and {two}").into()
}

fn equal<'a>(
    call: &mut Call<'_, 'a>,
    one: &Value<'a>,
    two: &Value<'a>,
) -> std::result::Result<bool, FuncError> {
    use Basic::{Bool, Float, Int, String, Uint};
    match (basic(one), basic(two)) {
        (Some(Bool(one)), Some(Bool(two))) => Ok(one == two),
        (Some(Int(one)), Some(Int(two))) => Ok(one == two),
        (Some(Uint(one)), Some(Uint(two))) => Ok(one == two),
        (Some(Float(one)), Some(Float(two))) => Ok(one == two),
        (Some(String(one)), Some(String(two))) => Ok(call.real(one) == call.real(two)),
        (Some(Int(int)), Some(Uint(uint))) | (Some(Uint(uint)), Some(Int(int))) => {
            Ok(u64::try_from(int) == Ok(uint))
        }
        (None, None) => equal_composite(call, one, two),
        // A basic value never equals nil, and Go does not consider the comparison an error.
        _ if is_nothing(one) || is_nothing(two) => Ok(false),
        _ => Err(incompatible(one, two)),
    }
}

fn is_nothing(value: &Value<'_>) -> bool {
    matches!(value, Value::Missing | Value::Nil)
}

fn is_nil(value: &Value<'_>) -> bool {
    match value {
        Value::Missing | Value::Nil => true,
        Value::List(list) => list.is_nil(),
        Value::Map(map) => map.is_nil(),
        Value::Struct(structure) => structure.is_nil(),
        Value::Pointer(pointer) => pointer.is_nil(),
        Value::Special(special) => special.is_nil(),
        _ => false,
    }
}

/// Lists, maps and structs can be compared with nil, pointers with each other, structs field by field.
fn equal_composite<'a>(
    call: &mut Call<'_, 'a>,
    one: &Value<'a>,
    two: &Value<'a>,
) -> std::result::Result<bool, FuncError> {
    if one.kind_name() != two.kind_name() && !is_nothing(one) && !is_nothing(two) {
        let (one_type, two_type) = (one.type_name(), two.type_name());
        let (one, two) = (shown(call, one, "%s"), shown(call, two, "%v"));
        return Err(format!("non-comparable types {one}: {one_type}, {two_type}: {two}").into());
    }
    if is_nil(one) || is_nil(two) {
        return Ok(is_nil(one) && is_nil(two));
    }
    let same = |one: Option<&Json>, two: Option<&Json>| matches!((one, two), (Some(one), Some(two)) if std::ptr::eq(one, two));
    match (one, two) {
        (Value::Struct(one), Value::Struct(two)) if one.pointer || two.pointer => {
            Ok(one.pointer == two.pointer && same(one.json, two.json))
        }
        (Value::Pointer(one), Value::Pointer(two)) => Ok(same(one.json, two.json)),
        (Value::Special(one), Value::Special(two)) if one.is_pointer() => Ok(same(one.json, two.json)),
        (Value::Special(one), Value::Special(two)) => Ok(one.json == two.json),
        (Value::Struct(one), Value::Struct(two)) if is_comparable(two.ty, DEPTH) => {
            if !std::ptr::eq(one.ty, two.ty) {
                return Ok(false);
            }
            for field in two.ty.fields {
                let fields = (one.field(field.go), two.field(field.go));
                let (Some(one), Some(two)) = fields else { return Ok(false) };
                if !equal(call, &one, &two)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => Err(format!("non-comparable type {}: {}", shown(call, two, "%s"), two.type_name()).into()),
    }
}

/// Whether Go can compare values of a struct type.
fn is_comparable(ty: &Type, depth: usize) -> bool {
    depth > 0
        && ty.fields.iter().all(|field| match &field.kind {
            Kind::List(_) | Kind::Map(_) | Kind::Bytes => false,
            Kind::Struct(ty) => is_comparable(ty, depth - 1),
            _ => true,
        })
}

/// A value for a message, which must not contain text from the pod.
fn shown<'a>(call: &mut Call<'_, 'a>, value: &Value<'a>, verb: &'static str) -> String {
    if value.is_tainted() {
        return "from the pod".to_owned();
    }
    format::printf(call.runtime, &Text::clean(verb), std::slice::from_ref(value)).into_stored().into_owned()
}

fn less<'a>(
    call: &mut Call<'_, 'a>,
    one: &Value<'a>,
    two: &Value<'a>,
) -> std::result::Result<bool, FuncError> {
    use Basic::{Float, Int, String, Uint};
    match (basic(one).ok_or(BAD_TYPE)?, basic(two).ok_or(BAD_TYPE)?) {
        (Basic::Bool(_), Basic::Bool(_)) => Err(BAD_TYPE.into()),
        (Int(one), Int(two)) => Ok(one < two),
        (Uint(one), Uint(two)) => Ok(one < two),
        (Float(one), Float(two)) => Ok(one < two),
        (String(one), String(two)) => Ok(call.real(one) < call.real(two)),
        // A negative integer is less than any unsigned one.
        (Int(one), Uint(two)) => Ok(u64::try_from(one).map_or(true, |one| one < two)),
        (Uint(one), Int(two)) => Ok(u64::try_from(two).is_ok_and(|two| one < two)),
        _ => Err(incompatible(one, two)),
    }
}
