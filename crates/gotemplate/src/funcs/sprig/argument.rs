//! Typed access to arguments. The engine has checked them against the row, so a mismatch here means that the row and
//! the function disagree; it is reported and never panics.

use std::borrow::Cow;

use super::super::{Call, FuncError, Limit};
use crate::value::{List, Map, Text, Value};

/// The result of a function.
pub type Outcome<'a> = Result<Value<'a>, FuncError>;

/// An argument of any type.
pub fn value<'t, 'a>(args: &'t [Value<'a>], at: usize) -> Result<&'t Value<'a>, FuncError> {
    args.get(at).ok_or_else(|| mismatch(at, "a value"))
}

/// A `string` argument.
pub fn text<'t, 'a>(args: &'t [Value<'a>], at: usize) -> Result<&'t Text<'a>, FuncError> {
    args.get(at).and_then(Value::as_text).ok_or_else(|| mismatch(at, "a string"))
}

/// The real content of a `string` argument.
pub fn real<'t, 'a>(
    call: &Call<'_, 'a>,
    args: &'t [Value<'a>],
    at: usize,
) -> Result<Cow<'t, str>, FuncError> {
    Ok(call.real(text(args, at)?))
}

/// An `int` or `int64` argument.
pub fn int(args: &[Value<'_>], at: usize) -> Result<i64, FuncError> {
    match args.get(at) {
        Some(Value::Int(number, _)) => Ok(*number),
        _ => Err(mismatch(at, "an integer")),
    }
}

/// A `float64` argument.
pub fn float(args: &[Value<'_>], at: usize) -> Result<f64, FuncError> {
    match args.get(at) {
        Some(Value::Float(number)) => Ok(*number),
        _ => Err(mismatch(at, "a float64")),
    }
}

/// A `bool` argument.
pub fn boolean(args: &[Value<'_>], at: usize) -> Result<bool, FuncError> {
    match args.get(at) {
        Some(Value::Bool(value)) => Ok(*value),
        _ => Err(mismatch(at, "a bool")),
    }
}

/// An argument declared as a map.
pub fn map<'t, 'a>(args: &'t [Value<'a>], at: usize) -> Result<&'t Map<'a>, FuncError> {
    args.get(at).and_then(Value::as_map).ok_or_else(|| mismatch(at, "a map"))
}

/// An argument declared as a list.
pub fn list<'t, 'a>(args: &'t [Value<'a>], at: usize) -> Result<&'t List<'a>, FuncError> {
    args.get(at).and_then(Value::as_list).ok_or_else(|| mismatch(at, "a list"))
}

/// The arguments from `at` on.
pub fn rest<'t, 'a>(args: &'t [Value<'a>], at: usize) -> &'t [Value<'a>] {
    args.get(at..).unwrap_or_default()
}

/// Checks that a result is not too long.
pub fn bounded(call: &Call<'_, '_>, bytes: usize) -> Result<(), Limit> {
    let limit = call.limits().bytes;
    if bytes > limit { Err(Limit::Bytes(limit)) } else { Ok(()) }
}

/// A string computed from the real content of the arguments.
pub fn computed<'a>(call: &Call<'_, 'a>, text: impl Into<Cow<'a, str>>, args: &[Value<'a>]) -> Outcome<'a> {
    let text = text.into();
    bounded(call, text.len())?;
    Ok(call.computed(text, args))
}

fn mismatch(at: usize, wanted: &str) -> FuncError {
    FuncError::Message(format!("argument {} is not {wanted}, although its row declares it", at + 1))
}
