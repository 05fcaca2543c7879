//! Functions on lists. They move items, so every item keeps its own taint.

use super::super::{Call, FuncError, Limit, Param, Row};
use super::argument::{Outcome, int, rest, value};
use super::coerce::to_int;
use super::equality;
use crate::gotypes::Kind;
use crate::value::{Elem, List, Value};

use Param::{Any, Int};

pub(super) const ROWS: &[Row] = &[
    Row::variadic("list", &[], Any, |_, args| Ok(Value::list(args.to_vec()))),
    Row::variadic("tuple", &[], Any, |_, args| Ok(Value::list(args.to_vec()))),
    Row::new("first", &[Any], first),
    Row::new("mustFirst", &[Any], first),
    Row::new("last", &[Any], last),
    Row::new("mustLast", &[Any], last),
    Row::new("rest", &[Any], tail),
    Row::new("mustRest", &[Any], tail),
    Row::new("initial", &[Any], initial),
    Row::new("mustInitial", &[Any], initial),
    Row::new("append", &[Any, Any], append),
    Row::new("mustAppend", &[Any, Any], append),
    Row::new("push", &[Any, Any], append),
    Row::new("mustPush", &[Any, Any], append),
    Row::new("prepend", &[Any, Any], prepend),
    Row::new("mustPrepend", &[Any, Any], prepend),
    Row::new("reverse", &[Any], reverse),
    Row::new("mustReverse", &[Any], reverse),
    Row::new("compact", &[Any], compact),
    Row::new("mustCompact", &[Any], compact),
    Row::new("uniq", &[Any], uniq),
    Row::new("mustUniq", &[Any], uniq),
    Row::variadic("without", &[Any], Any, without),
    Row::variadic("mustWithout", &[Any], Any, without),
    Row::new("has", &[Any, Any], has),
    Row::new("mustHas", &[Any, Any], has),
    Row::variadic("slice", &[Any], Any, slice),
    Row::variadic("mustSlice", &[Any], Any, slice),
    Row::variadic("concat", &[], Any, concat),
    Row::new("chunk", &[Int, Any], chunk),
    Row::new("mustChunk", &[Int, Any], chunk),
];

/// A nil `[]interface{}`.
pub(super) fn nil_list<'a>() -> Value<'a> {
    Value::List(List::Json { items: None, of: &Kind::Any, tainted: false })
}

/// The items of an argument that must be a list.
fn items<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>], at: usize) -> Result<Vec<Value<'a>>, FuncError> {
    let list = list_at(call, args, at)?;
    call.spend(list.len())?;
    Ok(list.iter().collect())
}

fn list_at<'t, 'a>(call: &Call<'_, 'a>, args: &'t [Value<'a>], at: usize) -> Result<&'t List<'a>, FuncError> {
    match value(args, at)? {
        Value::List(list) => Ok(list),
        other if other.is_nil() => Err(format!("{} expects a list, found nil", call.name()).into()),
        other => Err(complaint(call.name(), other.kind_name()).into()),
    }
}

/// sprig's own words.
fn complaint(function: &str, kind: &str) -> String {
    let verb = function.strip_prefix("must").unwrap_or(function).to_ascii_lowercase();
    match verb.as_str() {
        "append" | "push" => format!("Cannot push on type {kind}"),
        "prepend" | "compact" => format!("Cannot {verb} on type {kind}"),
        "chunk" => format!("Cannot chunk type {kind}"),
        "concat" => format!("Cannot concat type {kind} as list"),
        "slice" => format!("list should be type of slice or array but {kind}"),
        _ => format!("Cannot find {verb} on type {kind}"),
    }
}

fn first<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(list_at(call, args, 0)?.at(0).unwrap_or(Value::Nil))
}

fn last<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let list = list_at(call, args, 0)?;
    Ok(list.len().checked_sub(1).and_then(|at| list.at(at)).unwrap_or(Value::Nil))
}

fn tail<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let items = items(call, args, 0)?;
    Ok(if items.is_empty() { nil_list() } else { Value::list(rest(&items, 1).to_vec()) })
}

fn initial<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut items = items(call, args, 0)?;
    Ok(if items.pop().is_none() { nil_list() } else { Value::list(items) })
}

fn append<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut items = items(call, args, 0)?;
    items.push(value(args, 1)?.clone());
    Ok(Value::list(items))
}

fn prepend<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut items = items(call, args, 0)?;
    items.insert(0, value(args, 1)?.clone());
    Ok(Value::list(items))
}

fn reverse<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut items = items(call, args, 0)?;
    items.reverse();
    Ok(Value::list(items))
}

fn compact<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut items = items(call, args, 0)?;
    items.retain(Value::is_true);
    Ok(Value::list(items))
}

fn uniq<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut kept: Vec<Value<'a>> = Vec::new();
    for item in items(call, args, 0)? {
        if !equality::contains(call, &kept, &item)? {
            kept.push(item);
        }
    }
    Ok(Value::list(kept))
}

fn without<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut kept = Vec::new();
    for item in items(call, args, 0)? {
        if !equality::contains(call, rest(args, 1), &item)? {
            kept.push(item);
        }
    }
    Ok(Value::list(kept))
}

fn has<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    if value(args, 1)?.is_nil() {
        return Ok(Value::Bool(false));
    }
    let items = items(call, args, 1)?;
    Ok(Value::Bool(equality::contains(call, &items, value(args, 0)?)?))
}

/// `slice list from to`; the result is of the list's own type.
fn slice<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let list = list_at(call, args, 0)?;
    let length = list.len();
    if length == 0 {
        return Ok(Value::Nil);
    }
    let out_of_bounds = || FuncError::from("reflect.Value.Slice: slice index out of bounds");
    let mut position = |at: usize, default: usize| match args.get(at) {
        None => Ok(default),
        Some(given) => usize::try_from(to_int(call, given)).map_err(|_| out_of_bounds()),
    };
    let (from, to) = (position(1, 0)?, position(2, length)?);
    if from > to || to > length {
        return Err(out_of_bounds());
    }
    Ok(match list {
        List::Owned(owned) => {
            Value::list_of(owned.of, owned.items.get(from..to).ok_or_else(out_of_bounds)?.to_vec())
        }
        List::Json { items, of, tainted } => Value::List(List::Json {
            items: items.and_then(|items| items.get(from..to)),
            of,
            tainted: *tainted,
        }),
    })
}

fn concat<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut all = Vec::new();
    for at in 0..args.len() {
        all.append(&mut items(call, args, at)?);
    }
    Ok(if all.is_empty() { nil_list() } else { Value::list(all) })
}

fn chunk<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let items = items(call, args, 1)?;
    let size = match usize::try_from(int(args, 0)?) {
        Ok(size) if size > 0 => size,
        _ => return Err("the size of a chunk must be at least 1".into()),
    };
    let chunks = items.chunks(size).map(|chunk| Value::list(chunk.to_vec())).collect();
    Ok(Value::list_of(Elem::AnyList, chunks))
}

/// A list of `int`s, within the limit on items.
pub(super) fn int_list<'a>(call: &mut Call<'_, 'a>, numbers: Vec<i64>) -> Outcome<'a> {
    let limit = call.limits().items;
    if numbers.len() > limit {
        return Err(Limit::Items(limit).into());
    }
    call.spend(numbers.len())?;
    Ok(Value::list_of(Elem::Int, numbers.into_iter().map(Value::int).collect()))
}
