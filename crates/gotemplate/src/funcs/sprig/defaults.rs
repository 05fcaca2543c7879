//! Functions for defaults and conditions; they select one of their arguments and return it unchanged.

use super::super::{Param, Row};
use super::argument::{boolean, text, value};
use crate::value::Value;

use Param::{Any, Bool, String as Str};

pub(super) const ROWS: &[Row] = &[
    Row::variadic("default", &[Any], Any, |_, args| {
        let given = args.get(1).filter(|given| !is_empty(given));
        given.map_or_else(|| value(args, 0).cloned(), |given| Ok(given.clone()))
    }),
    Row::new("empty", &[Any], |_, args| Ok(Value::Bool(is_empty(value(args, 0)?)))),
    Row::variadic("coalesce", &[], Any, |_, args| {
        Ok(args.iter().find(|arg| !is_empty(arg)).cloned().unwrap_or(Value::Nil))
    }),
    Row::variadic("all", &[], Any, |_, args| Ok(Value::Bool(!args.iter().any(is_empty)))),
    Row::variadic("any", &[], Any, |_, args| Ok(Value::Bool(!args.iter().all(is_empty)))),
    Row::new("ternary", &[Any, Any, Bool], |_, args| {
        Ok(value(args, usize::from(!boolean(args, 2)?))?.clone())
    }),
    Row::new("fail", &[Str], |call, args| Err(call.real(text(args, 0)?).as_ref().into())),
];

/// sprig's `empty`: whether the value is the zero value of its type; structs never are.
fn is_empty(value: &Value<'_>) -> bool {
    !value.is_true()
}
