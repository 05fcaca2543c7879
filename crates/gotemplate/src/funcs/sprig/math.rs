//! Arithmetic on anything that counts as a number ([`super::coerce`]). Numbers are never placeholders, even if they
//! were parsed from a text of the pod.

use super::super::{Call, FuncError, Limit, Param, Row};
use super::argument::{Outcome, bounded, float, int, real, rest, value};
use super::coerce::{to_float, to_int};
use super::decimal::Decimal;
use super::lists::int_list;
use super::number;
use crate::value::{IntType, Text, Value};

use Param::{Any, Float, Int, String as Str};

pub(super) const ROWS: &[Row] = &[
    // conversions
    Row::new("atoi", &[Str], |call, args| Ok(Value::int(number::atoi(&real(call, args, 0)?)))),
    Row::new("int", &[Any], |call, args| Ok(Value::int(to_int(call, value(args, 0)?)))),
    Row::new("int64", &[Any], |call, args| Ok(int64(to_int(call, value(args, 0)?)))),
    Row::new("float64", &[Any], |call, args| Ok(Value::Float(to_float(call, value(args, 0)?)))),
    Row::new("toDecimal", &[Any], |call, args| {
        let text = call.printed_real(value(args, 0)?);
        Ok(int64(number::parse_int(&text, 8).unwrap_or(0)))
    }),
    // whole numbers, wrapping as Go's do
    Row::new("add1", &[Any], |call, args| Ok(int64(to_int(call, value(args, 0)?).wrapping_add(1)))),
    Row::variadic("add", &[], Any, |call, args| {
        Ok(int64(args.iter().fold(0_i64, |sum, arg| sum.wrapping_add(to_int(call, arg)))))
    }),
    Row::new("sub", &[Any, Any], |call, args| {
        Ok(int64(to_int(call, value(args, 0)?).wrapping_sub(to_int(call, value(args, 1)?))))
    }),
    Row::variadic("mul", &[Any], Any, |call, args| {
        Ok(int64(args.iter().fold(1_i64, |product, arg| product.wrapping_mul(to_int(call, arg)))))
    }),
    Row::new("div", &[Any, Any], |call, args| divide(call, args, i64::wrapping_div)),
    Row::new("mod", &[Any, Any], |call, args| divide(call, args, i64::wrapping_rem)),
    Row::variadic("max", &[Any], Any, |call, args| fold_int(call, args, i64::max)),
    Row::variadic("biggest", &[Any], Any, |call, args| fold_int(call, args, i64::max)),
    Row::variadic("min", &[Any], Any, |call, args| fold_int(call, args, i64::min)),
    // floating point, computed in decimal
    Row::new("add1f", &[Any], |call, args| {
        let start = to_decimal(call, value(args, 0)?)?;
        Ok(Value::Float(start.add(&to_decimal(call, &Value::int(1))?).to_float()))
    }),
    Row::variadic("addf", &[], Any, |call, args| {
        let zero = Value::int(0);
        decimals(call, &zero, args, |one, two| Ok(one.add(two)))
    }),
    Row::variadic("subf", &[Any], Any, |call, args| {
        decimals(call, value(args, 0)?, rest(args, 1), |one, two| Ok(one.sub(two)))
    }),
    Row::variadic("mulf", &[Any], Any, |call, args| {
        decimals(call, value(args, 0)?, rest(args, 1), |one, two| Ok(one.mul(two)))
    }),
    Row::variadic("divf", &[Any], Any, |call, args| {
        decimals(call, value(args, 0)?, rest(args, 1), |one, two| {
            one.div(two).ok_or_else(|| "decimal division by 0".into())
        })
    }),
    Row::variadic("maxf", &[Any], Any, |call, args| fold_float(call, args, go_max)),
    Row::variadic("minf", &[Any], Any, |call, args| fold_float(call, args, |one, two| -go_max(-one, -two))),
    Row::new("floor", &[Any], |call, args| Ok(Value::Float(to_float(call, value(args, 0)?).floor()))),
    Row::new("ceil", &[Any], |call, args| Ok(Value::Float(to_float(call, value(args, 0)?).ceil()))),
    Row::variadic("round", &[Any, Int], Float, round),
    // sequences
    Row::new("until", &[Int], |call, args| {
        let count = int(args, 0)?;
        let numbers = steps(call, 0, count, count.signum() | 1)?;
        int_list(call, numbers)
    }),
    Row::new("untilStep", &[Int, Int, Int], |call, args| {
        let numbers = steps(call, int(args, 0)?, int(args, 1)?, int(args, 2)?)?;
        int_list(call, numbers)
    }),
    Row::variadic("seq", &[], Int, seq),
];

fn int64<'a>(number: i64) -> Value<'a> {
    Value::Int(number, IntType::Int64)
}

fn divide<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>], divided: fn(i64, i64) -> i64) -> Outcome<'a> {
    let (one, two) = (to_int(call, value(args, 0)?), to_int(call, value(args, 1)?));
    if two == 0 { Err("runtime error: integer divide by zero".into()) } else { Ok(int64(divided(one, two))) }
}

fn fold_int<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>], choose: fn(i64, i64) -> i64) -> Outcome<'a> {
    let first = to_int(call, value(args, 0)?);
    Ok(int64(rest(args, 1).iter().fold(first, |best, arg| choose(best, to_int(call, arg)))))
}

fn fold_float<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>], choose: fn(f64, f64) -> f64) -> Outcome<'a> {
    let first = to_float(call, value(args, 0)?);
    Ok(Value::Float(rest(args, 1).iter().fold(first, |best, arg| choose(best, to_float(call, arg)))))
}

/// `math.Max`: infinity first, then NaN, then the larger number.
fn go_max(one: f64, two: f64) -> f64 {
    if one == f64::INFINITY || two == f64::INFINITY {
        f64::INFINITY
    } else if one.is_nan() || two.is_nan() {
        f64::NAN
    } else if one == 0.0 && two == 0.0 {
        if one.is_sign_negative() { two } else { one }
    } else {
        one.max(two)
    }
}

fn to_decimal<'a>(call: &mut Call<'_, 'a>, value: &Value<'a>) -> Result<Decimal, FuncError> {
    let number = to_float(call, value);
    Decimal::from_float(number).ok_or_else(|| format!("cannot calculate in decimal with {number}").into())
}

fn decimals<'a>(
    call: &mut Call<'_, 'a>,
    first: &Value<'a>,
    others: &[Value<'a>],
    step: fn(&Decimal, &Decimal) -> Result<Decimal, FuncError>,
) -> Outcome<'a> {
    let mut result = to_decimal(call, first)?;
    for other in others {
        let other = to_decimal(call, other)?;
        // Long multiplication takes time proportional to the product of both lengths.
        call.spend(1 + result.digits() * other.digits() / 1_000)?;
        result = step(&result, &other)?;
    }
    Ok(Value::Float(result.to_float()))
}

fn round<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let up_from = if args.len() > 2 { float(args, 2)? } else { 0.5 };
    let places = int(args, 1)?.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
    let scale = 10_f64.powi(i32::try_from(places).unwrap_or(0));
    let scaled = scale * to_float(call, value(args, 0)?);
    let rounded = if scaled.fract() >= up_from { scaled.ceil() } else { scaled.floor() };
    Ok(Value::Float(rounded / scale))
}

/// The numbers from `start` up to, but not including, `stop`; none if `step` has the wrong direction.
fn steps(call: &Call<'_, '_>, start: i64, stop: i64, step: i64) -> Result<Vec<i64>, FuncError> {
    let limit = call.limits().items;
    let ahead = if stop < start { step < 0 } else { step > 0 };
    let mut numbers = Vec::new();
    let mut next = Some(start);
    while let Some(number) =
        next.filter(|number| ahead && if step < 0 { *number > stop } else { *number < stop })
    {
        if numbers.len() >= limit {
            return Err(Limit::Items(limit).into());
        }
        numbers.push(number);
        next = number.checked_add(step);
    }
    Ok(numbers)
}

/// The numbers as a text, like the output of the shell's `seq`.
fn seq<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let (start, step, end) = match args.len() {
        1 => (1, None, int(args, 0)?),
        2 => (int(args, 0)?, None, int(args, 1)?),
        3 => (int(args, 0)?, Some(int(args, 1)?), int(args, 2)?),
        _ => return Ok(Value::string("")),
    };
    let direction = if end < start { -1 } else { 1 };
    if direction < 0 && step.is_some_and(|step| step > 0) {
        return Ok(Value::string(""));
    }
    let numbers = steps(call, start, end.saturating_add(direction), step.unwrap_or(direction))?;
    call.spend(numbers.len())?;
    let texts: Vec<_> = numbers.iter().map(i64::to_string).collect();
    let joined = texts.join(" ");
    bounded(call, joined.len())?;
    Ok(Value::String(Text::clean(joined)))
}
