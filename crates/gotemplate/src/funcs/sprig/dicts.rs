//! Functions on maps. They move values, so every key and value keeps its own taint.
//!
//! As in Go, `set`, `unset`, `merge` and `mergeOverwrite` change their first argument in place, which is visible in
//! every variable with the same map. A map of the template's input is never changed: `set` and `unset` fail on it, and
//! `merge` returns a merged copy; in Go the change would be visible to all later requests.

use std::collections::BTreeMap;

use super::super::{Call, FuncError, Param, Row};
use super::argument::{Outcome, map, rest, text, value};
use crate::value::{DEPTH, Elem, Key, List, Map, Value};

use Param::{Any, AnyMap, String as Str};

pub(super) const ROWS: &[Row] = &[
    Row::variadic("dict", &[], Any, dict),
    Row::new("get", &[AnyMap, Str], |call, args| {
        let key = call.real(text(args, 1)?);
        Ok(map(args, 0)?.at(&key).unwrap_or_else(|| Value::string("")))
    }),
    Row::new("hasKey", &[AnyMap, Str], |call, args| {
        let key = call.real(text(args, 1)?);
        Ok(Value::Bool(map(args, 0)?.at(&key).is_some()))
    }),
    Row::new("set", &[AnyMap, Str, Any], set),
    Row::new("unset", &[AnyMap, Str], unset),
    Row::variadic("pluck", &[Str], AnyMap, pluck),
    Row::variadic("keys", &[], AnyMap, keys),
    Row::new("values", &[AnyMap], |call, args| {
        let entries = entries(call, map(args, 0)?)?;
        Ok(Value::list(entries.into_iter().map(|(_, value)| value).collect()))
    }),
    Row::variadic("pick", &[AnyMap], Str, pick),
    Row::variadic("omit", &[AnyMap], Str, |call, args| omit(call, args, Elem::Any)),
    Row::variadic("dig", &[], Any, dig),
    Row::variadic("merge", &[AnyMap], AnyMap, |call, args| merge(call, args, false)),
    Row::variadic("mustMerge", &[AnyMap], AnyMap, |call, args| merge(call, args, false)),
    Row::variadic("mergeOverwrite", &[AnyMap], AnyMap, |call, args| merge(call, args, true)),
    Row::variadic("mustMergeOverwrite", &[AnyMap], AnyMap, |call, args| merge(call, args, true)),
    Row::new("deepCopy", &[Any], deep_copy),
    Row::new("mustDeepCopy", &[Any], deep_copy),
];

/// The text of a value as a key; tainted if the value is.
pub(in crate::funcs) fn key_of<'a>(call: &mut Call<'_, 'a>, value: &Value<'a>) -> Key<'a> {
    Key { text: call.printed_real(value).into(), tainted: value.is_tainted() }
}

/// The map without the keys given as further arguments, with values of type `of`.
pub fn omit<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>], of: Elem) -> Outcome<'a> {
    let mut kept: BTreeMap<_, _> = entries(call, map(args, 0)?)?.into_iter().collect();
    for key in rest(args, 1).iter().filter_map(Value::as_text) {
        kept.remove(call.real(key).as_ref());
    }
    Ok(Value::map_of(of, kept))
}

/// The entries of a map; their cost is charged.
pub fn entries<'a>(call: &mut Call<'_, 'a>, map: &Map<'a>) -> Result<Vec<(Key<'a>, Value<'a>)>, FuncError> {
    call.spend(map.len())?;
    Ok(map.entries())
}

fn dict<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut made = BTreeMap::new();
    for pair in args.chunks(2) {
        let Some(key) = pair.first() else { continue };
        let value = pair.get(1).cloned().unwrap_or_else(|| Value::string(""));
        made.insert(key_of(call, key), value);
    }
    Ok(Value::map(made))
}

fn set<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let key = key_of(call, value(args, 1)?);
    let changed = map(args, 0)?;
    if changed.is_nil() {
        return Err("assignment to entry in nil map".into());
    }
    changed.insert(key, value(args, 2)?.clone())?;
    Ok(value(args, 0)?.clone())
}

fn unset<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let key = call.real(text(args, 1)?);
    let changed = map(args, 0)?;
    // Removing an absent key changes nothing, so it is allowed on every map.
    if changed.at(&key).is_some() {
        changed.remove(&key)?;
    }
    Ok(value(args, 0)?.clone())
}

fn pluck<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let key = call.real(text(args, 0)?);
    let found = rest(args, 1).iter().filter_map(Value::as_map).filter_map(|map| map.at(&key));
    Ok(Value::list(found.collect()))
}

/// Go returns the keys in random order; here they are sorted.
fn keys<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut all = Vec::new();
    for map in args.iter().filter_map(Value::as_map) {
        all.extend(entries(call, map)?.into_iter().map(|(key, _)| key.to_value()));
    }
    Ok(Value::list_of(Elem::String, all))
}

fn pick<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let source = map(args, 0)?;
    let mut picked = BTreeMap::new();
    for wanted in rest(args, 1).iter().filter_map(Value::as_text) {
        let text = call.real(wanted).into_owned();
        if let Some(found) = source.at(&text) {
            picked.insert(Key { text: text.into(), tainted: wanted.is_tainted() }, found);
        }
    }
    Ok(Value::map(picked))
}

fn dig<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let [path @ .., default, last] = args else { return Err("dig needs at least three arguments".into()) };
    if path.is_empty() {
        return Err("dig needs at least three arguments".into());
    }
    let mut current = last.clone();
    let mut keys = Vec::with_capacity(path.len());
    for key in path {
        let Some(key) = key.as_text() else {
            return Err(format!("a key of dig must be a string, not {}", key.type_name()).into());
        };
        keys.push(call.real(key).into_owned());
    }
    for key in keys {
        let Value::Map(map) = &current else {
            return Err(format!("dig expects a map at {key:?}, found {}", current.type_name()).into());
        };
        match map.at(&key) {
            Some(next) => current = next,
            None => return Ok(default.clone()),
        }
    }
    Ok(current)
}

/// Merges all further maps into the first (`mergo.Merge` or `mergo.MergeWithOverwrite`).
fn merge<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>], overwrite: bool) -> Outcome<'a> {
    let target = match map(args, 0)? {
        owned @ Map::Owned(_) => Value::Map(owned.clone()),
        input => Value::map(entries(call, input)?.into_iter().collect()),
    };
    for source in rest(args, 1).iter().filter_map(Value::as_map) {
        if let Value::Map(target) = &target {
            merge_into(call, target, source, overwrite, DEPTH)?;
        }
    }
    Ok(target)
}

/// One step of mergo's `deepMerge` for maps.
fn merge_into<'a>(
    call: &mut Call<'_, 'a>,
    target: &Map<'a>,
    source: &Map<'a>,
    overwrite: bool,
    depth: usize,
) -> Result<(), FuncError> {
    let depth = depth.checked_sub(1).ok_or_else(|| format!("maps are nested deeper than {DEPTH} levels"))?;
    for (key, new) in entries(call, source)? {
        let old = target.at(&key.text);
        let keep = match (&old, &new) {
            // A nil never fills a gap, but it overwrites.
            (_, Value::Nil) => !overwrite,
            (Some(Value::Map(old)), Value::Map(new)) if !(old.is_empty() && new.is_empty()) => {
                let merged = owned(call, old)?;
                merge_into(call, &merged, new, overwrite, depth)?;
                if !merged.is_same(old) {
                    target.insert(key, Value::Map(merged))?;
                }
                continue;
            }
            (Some(old), _) => old.is_true() && !overwrite,
            (None, _) => false,
        };
        if !keep {
            target.insert(key, new)?;
        }
    }
    Ok(())
}

/// A map that may be changed: the map itself, or a copy if it belongs to the input.
fn owned<'a>(call: &mut Call<'_, 'a>, map: &Map<'a>) -> Result<Map<'a>, FuncError> {
    if matches!(map, Map::Owned(_)) {
        return Ok(map.clone());
    }
    match Value::map(entries(call, map)?.into_iter().collect()) {
        Value::Map(copy) => Ok(copy),
        _ => Err("a copied map is not a map".into()),
    }
}

fn deep_copy<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let source = value(args, 0)?;
    if source.is_nil() {
        return Err("nil cannot be copied".into());
    }
    copied(call, source, DEPTH)
}

/// Copies lists and maps, whether they come from a function or from the input.
fn copied<'a>(call: &mut Call<'_, 'a>, source: &Value<'a>, depth: usize) -> Outcome<'a> {
    let depth =
        depth.checked_sub(1).ok_or_else(|| format!("values are nested deeper than {DEPTH} levels"))?;
    call.spend(1)?;
    Ok(match source {
        Value::List(list) if list.is_nil() => source.clone(),
        Value::List(List::Owned(list)) => {
            let items: Result<_, _> = list.items.iter().map(|item| copied(call, item, depth)).collect();
            Value::list_of(list.of, items?)
        }
        Value::List(list) if list.holds_interfaces() => {
            let items: Result<_, _> = list.iter().map(|item| copied(call, &item, depth)).collect();
            Value::list(items?)
        }
        Value::Map(map) if map.is_nil() => Value::map(BTreeMap::new()),
        Value::Map(map) => {
            let of = match map {
                Map::Owned(owned) => owned.of,
                Map::Json { of: crate::gotypes::Kind::String, .. } => Elem::String,
                Map::Json { of: crate::gotypes::Kind::Any, .. } => Elem::Any,
                // Maps of other types have no mutable form.
                Map::Json { .. } => return Ok(source.clone()),
            };
            let mut made = BTreeMap::new();
            for (key, item) in entries(call, map)? {
                made.insert(key, copied(call, &item, depth)?);
            }
            Value::map_of(of, made)
        }
        other => other.clone(),
    })
}
