//! The functions that Istio's injector adds to sprig's; they override sprig's functions of the same name.
//!
//! Their signatures are Istio's (`createInjectionFuncmap`): a `map[string]string` where sprig accepts any map, and so
//! on. The engine checks them.

use argument::{Outcome, bounded, computed, int, map, real, text, value};
use gotemplate::funcs::sprig::{self, argument, dicts, json};
use gotemplate::funcs::{Call, FunctionTable, Param, Row};
use gotemplate::value::{Elem, Key, Map, Text, Value};

mod document;
mod pod;

use Param::{Any, Int, Named, String as Str, StringMap};

/// Every function available to a template written for Istio: Go's builtins, sprig's functions and Istio's.
pub static FUNCTIONS: FunctionTable = FunctionTable { tables: &TABLES };

/// Istio's own functions.
pub const ROWS: &[Row] = &[
    // over the pod
    Row::new("annotation", &[Named("v1.ObjectMeta"), Str, Any], pod::annotation),
    Row::new("applicationPorts", &[Named("[]v1.Container")], pod::application_ports),
    Row::new("includeInboundPorts", &[Named("[]v1.Container")], pod::include_inbound_ports),
    Row::new("excludeInboundPort", &[Any, Str], pod::exclude_inbound_port),
    Row::new("excludeInterfaces", &[Str], same),
    Row::new("kubevirtInterfaces", &[Str], same),
    Row::new("appendMultusNetwork", &[Str, Str], pod::append_multus_network),
    Row::new(
        "otelResourceAttributes",
        &[Named("*v1alpha1.MeshConfig"), StringMap, StringMap, Str, Named("[]v1.Container")],
        pod::otel_resource_attributes,
    ),
    // documents
    Row::new("toJSON", &[StringMap], document::struct_to_json),
    Row::new("fromJSON", &[Str], document::from_json),
    Row::new("structToJSON", &[Any], document::struct_to_json),
    Row::new("protoToJSON", &[Any], document::proto_to_json),
    Row::new("toYaml", &[Any], document::to_yaml),
    Row::new("omitNil", &[Any], document::omit_nil),
    Row::new("formatDuration", &[Named("*durationpb.Duration")], document::format_duration),
    // maps of strings
    Row::new("isset", &[StringMap, Str], |call, args| {
        let key = call.real(text(args, 1)?);
        Ok(Value::Bool(map(args, 0)?.at(&key).is_some()))
    }),
    Row::variadic("omit", &[StringMap], Str, |call, args| dicts::omit(call, args, Elem::String)),
    Row::variadic("strdict", &[], Str, strdict),
    Row::variadic("mergeMaps", &[], StringMap, merge_maps),
    Row::variadic("toJsonMap", &[], StringMap, |call, args| {
        let merged = merge_maps(call, args)?;
        let format = json::Format { escape_html: true, pretty: false };
        Ok(Value::String(json::write(call, &merged, format)?))
    }),
    // texts
    Row::new("indent", &[Int, Str], indent),
    Row::new("contains", &[Str, Str], |call, args| {
        Ok(Value::Bool(real(call, args, 1)?.contains(real(call, args, 0)?.as_ref())))
    }),
    Row::new("toLower", &[Str], |call, args| {
        let lower = sprig::case::lower(&real(call, args, 0)?);
        computed(call, lower, args)
    }),
    Row::new("directory", &[Str], |call, args| {
        let path = real(call, args, 0)?;
        let directory = path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or_default().to_owned();
        computed(call, directory, args)
    }),
    Row::new("valueOrDefault", &[Any, Any], |_, args| {
        let given = value(args, 0)?;
        let unset = given.is_nil() || given.as_text().is_some_and(Text::is_empty);
        Ok(value(args, usize::from(unset))?.clone())
    }),
    Row::new("env", &[Str, Str], |call, args| {
        let name = real(call, args, 0)?;
        match call.env(&name).filter(|found| !found.is_empty()) {
            Some(found) => Ok(call.computed(found, args)),
            None => Ok(value(args, 1)?.clone()),
        }
    }),
];

const TABLES: [&[Row]; sprig::GROUPS.len() + 1] = {
    let mut tables = [ROWS; sprig::GROUPS.len() + 1];
    let mut at = 0;
    while at < sprig::GROUPS.len() {
        #[allow(clippy::indexing_slicing, reason = "checked at compile time")]
        {
            tables[at] = sprig::GROUPS[at];
        }
        at += 1;
    }
    tables
};

fn same<'a>(_: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(value(args, 0)?.clone())
}

/// Keys and values alternate; a last key without a value gets an empty one.
fn strdict<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut entries = std::collections::BTreeMap::new();
    for pair in args.chunks(2) {
        let key = text(pair, 0)?;
        let key = Key { text: call.real(key).into_owned().into(), tainted: key.is_tainted() };
        entries.insert(key, pair.get(1).cloned().unwrap_or_else(|| Value::string("")));
    }
    Ok(Value::map_of(Elem::String, entries))
}

/// Merges all maps; later ones win. Without maps, the result is a nil map.
fn merge_maps<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    if args.is_empty() {
        let nil = Map::Json { entries: None, of: &gotemplate::gotypes::Kind::String, tainted: false };
        return Ok(Value::Map(nil));
    }
    let mut merged = std::collections::BTreeMap::new();
    for at in 0..args.len() {
        for (key, value) in dicts::entries(call, map(args, at)?)? {
            // An equal key that already exists would be kept, and with it the taint of the overwritten entry.
            merged.remove(&key);
            merged.insert(key, value);
        }
    }
    Ok(Value::map_of(Elem::String, merged))
}

/// Blanks before every line but the first.
fn indent<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let source = text(args, 1)?;
    let width = usize::try_from(int(args, 0)?.unsigned_abs()).unwrap_or(usize::MAX);
    // The lines inside a text from the pod are substituted into a scalar later, so only what the template wrote is
    // indented.
    let stored = source.stored();
    if source.taint() == gotemplate::value::Taint::Whole || !stored.contains('\n') {
        return Ok(value(args, 1)?.clone());
    }
    bounded(call, stored.matches('\n').count().saturating_mul(width).saturating_add(stored.len()))?;
    let indented = stored.replace('\n', &format!("\n{}", " ".repeat(width)));
    Ok(Value::String(call.mixed(indented)))
}

#[cfg(test)]
mod tests;
