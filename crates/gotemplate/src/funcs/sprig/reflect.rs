//! Functions that inspect Go types.

use super::super::{Param, Row};
use super::argument::{real, value};
use super::equality::deep_equal;
use crate::value::Value;

use Param::{Any, String as Str};

pub(super) const ROWS: &[Row] = &[
    Row::new("typeOf", &[Any], |_, args| Ok(Value::string(value(args, 0)?.type_name()))),
    Row::new("kindOf", &[Any], |_, args| Ok(Value::string(value(args, 0)?.kind_name()))),
    Row::new("typeIs", &[Str, Any], |call, args| {
        Ok(Value::Bool(real(call, args, 0)? == value(args, 1)?.type_name()))
    }),
    Row::new("typeIsLike", &[Str, Any], |call, args| {
        let (wanted, found) = (real(call, args, 0)?, value(args, 1)?.type_name());
        Ok(Value::Bool(found.strip_prefix('*').is_some_and(|found| found == wanted) || found == wanted))
    }),
    Row::new("kindIs", &[Str, Any], |call, args| {
        Ok(Value::Bool(real(call, args, 0)? == value(args, 1)?.kind_name()))
    }),
    Row::new("deepEqual", &[Any, Any], |call, args| {
        Ok(Value::Bool(deep_equal(call, value(args, 0)?, value(args, 1)?)?))
    }),
];
