//! The functions that are part of Go's `text/template`.

use super::{Call, FuncError, Param, Row};
use crate::format;
use crate::value::{List, Text, UintType, Value};

mod compare;
mod escape;

/// Go's builtins.
pub static BUILTINS: &[Row] = &[
    Row::variadic("and", &[Param::Reflect], Param::Reflect, logic),
    Row::variadic("call", &[Param::Reflect], Param::Reflect, call_function),
    Row::variadic("eq", &[Param::Reflect], Param::Reflect, compare::eq),
    Row::new("ge", &[Param::Reflect, Param::Reflect], compare::ge),
    Row::new("gt", &[Param::Reflect, Param::Reflect], compare::gt),
    Row::variadic("html", &[], Param::Any, escape::html),
    Row::variadic("index", &[Param::Reflect], Param::Reflect, index),
    Row::variadic("js", &[], Param::Any, escape::js),
    Row::new("le", &[Param::Reflect, Param::Reflect], compare::le),
    Row::new("len", &[Param::Reflect], length),
    Row::new("lt", &[Param::Reflect, Param::Reflect], compare::lt),
    Row::new("ne", &[Param::Reflect, Param::Reflect], compare::ne),
    Row::new("not", &[Param::Reflect], not),
    Row::variadic("or", &[Param::Reflect], Param::Reflect, logic),
    Row::variadic("print", &[], Param::Any, print),
    Row::variadic("printf", &[Param::String], Param::Any, printf),
    Row::variadic("println", &[], Param::Any, println),
    Row::variadic("slice", &[Param::Reflect], Param::Reflect, slice),
    Row::variadic("urlquery", &[], Param::Any, escape::urlquery),
];

type Result<'a> = std::result::Result<Value<'a>, FuncError>;

/// `and` and `or` determine which arguments are evaluated, so the engine implements them itself.
fn logic<'a>(_: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<'a> {
    Ok(args.last().cloned().unwrap_or_default())
}

/// `call` calls a function that is a value; our values never are.
fn call_function<'a>(_: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<'a> {
    match args.first() {
        None | Some(Value::Missing | Value::Nil) => Err("call of nil".into()),
        Some(value) => Err(format!("non-function of type {}", value.type_name()).into()),
    }
}

fn not<'a>(_: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<'a> {
    Ok(Value::Bool(!args.first().is_some_and(Value::is_true)))
}

fn print<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<'a> {
    Ok(Value::String(format::print(call.runtime, args)))
}

fn println<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<'a> {
    Ok(Value::String(format::println(call.runtime, args)))
}

fn printf<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<'a> {
    match args {
        [Value::String(format), rest @ ..] => Ok(Value::String(format::printf(call.runtime, format, rest))),
        _ => Err("value is nil; should be of type string".into()),
    }
}

fn length<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<'a> {
    let value = args.first().cloned().unwrap_or_default();
    // Go dereferences pointers and interfaces here.
    let length = match indirect(&value).ok_or("len of nil pointer")? {
        Value::String(text) => call.real(&text).len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        Value::Missing => return Err("reflect: call of reflect.Value.Type on zero Value".into()),
        other => return Err(format!("len of type {}", other.type_name()).into()),
    };
    Ok(Value::int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn index<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<'a> {
    let Some((first, indexes)) = args.split_first() else { return Err("index of untyped nil".into()) };
    if matches!(first, Value::Missing | Value::Nil) {
        return Err("index of untyped nil".into());
    }
    let mut item = first.clone();
    for index in indexes {
        item = match indirect(&item).ok_or("index of nil pointer")? {
            Value::List(list) => {
                let at = position(index, list.len())?;
                list.at(at).ok_or("reflect: slice index out of range")?
            }
            Value::String(text) => {
                let real = call.real(&text);
                let at = position(index, real.len())?;
                let byte = real.as_bytes().get(at).ok_or("reflect: string index out of range")?;
                Value::Uint(u64::from(*byte), UintType::Uint8)
            }
            Value::Map(map) => match index {
                Value::String(key) => map.at(&call.real(key)).unwrap_or_else(|| map.zero()),
                Value::Missing | Value::Nil => {
                    return Err("value is nil; should be of type string".into());
                }
                _ => {
                    let ty = index.type_name();
                    return Err(format!("value has type {ty}; should be string").into());
                }
            },
            other => return Err(format!("can't index item of type {}", other.type_name()).into()),
        };
    }
    Ok(item)
}

fn slice<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<'a> {
    let Some((first, indexes)) = args.split_first() else { return Err("slice of untyped nil".into()) };
    if matches!(first, Value::Missing | Value::Nil) {
        return Err("slice of untyped nil".into());
    }
    let item = indirect(first).ok_or("slice of nil pointer")?;
    if indexes.len() > 3 {
        return Err(format!("too many slice indexes: {}", indexes.len()).into());
    }
    let length = match &item {
        Value::String(_) if indexes.len() == 3 => return Err("cannot 3-index slice a string".into()),
        Value::String(text) => call.real(text).len(),
        Value::List(list) => list.len(),
        other => return Err(format!("can't slice item of type {}", other.type_name()).into()),
    };
    let mut bounds = [0, length, length];
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        *bound = position(index, length)?;
    }
    let [start, end, capacity] = bounds;
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}").into());
    }
    if end > capacity {
        return Err(format!("invalid slice index: {end} > {capacity}").into());
    }
    match &item {
        Value::String(text) => {
            let tainted = text.is_tainted();
            let real = call.real(text);
            let part = real.get(start..end).ok_or("a string cannot be sliced inside a character")?;
            Ok(Value::String(Text::new(part.to_owned(), tainted)))
        }
        Value::List(List::Json { items, of, tainted }) => {
            let items = items.and_then(|items| items.get(start..end));
            Ok(Value::List(List::Json { items, of, tainted: *tainted }))
        }
        Value::List(List::Owned(list)) => {
            let items = list.items.get(start..end).unwrap_or_default().to_vec();
            Ok(Value::list_of(list.of, items))
        }
        _ => Err("can't slice item".into()),
    }
}

/// The target of a pointer; `None` for nil.
fn indirect<'a>(value: &Value<'a>) -> Option<Value<'a>> {
    match value {
        Value::Nil => None,
        Value::Pointer(pointer) => pointer.target(),
        Value::Struct(structure) if structure.is_nil() => None,
        _ => Some(value.clone()),
    }
}

/// Parses an index (`indexArg`): the length itself is accepted, as in Go.
fn position(index: &Value<'_>, length: usize) -> std::result::Result<usize, FuncError> {
    let number = match index {
        Value::Int(number, _) => *number,
        Value::Uint(number, _) => i64::try_from(*number).unwrap_or(-1),
        Value::Enum(_, number) => i64::from(*number),
        Value::Missing | Value::Nil => return Err("cannot index slice/array with nil".into()),
        other => return Err(format!("cannot index slice/array with type {}", other.type_name()).into()),
    };
    match usize::try_from(number) {
        Ok(position) if position <= length => Ok(position),
        _ => Err(format!("index out of range: {number}").into()),
    }
}
