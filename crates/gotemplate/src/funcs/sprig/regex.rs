//! Functions with regular expressions.

use regex::{Captures, Regex};

use super::super::{Call, FuncError, Limit, Param, Row};
use super::argument::{Outcome, bounded, computed, int, real, value};
use crate::gotypes::Kind;
use crate::regexp;
use crate::value::{Elem, List, Value};

use Param::{Int, String as Str};

pub(super) const ROWS: &[Row] = &[
    Row::new("regexMatch", &[Str, Str], |call, args| match is_match(call, args) {
        Err(FuncError::Message(_)) => Ok(Value::Bool(false)),
        other => other,
    }),
    Row::new("mustRegexMatch", &[Str, Str], is_match),
    Row::new("regexFind", &[Str, Str], find),
    Row::new("mustRegexFind", &[Str, Str], find),
    Row::new("regexFindAll", &[Str, Str, Int], find_all),
    Row::new("mustRegexFindAll", &[Str, Str, Int], find_all),
    Row::new("regexReplaceAll", &[Str, Str, Str], |call, args| replace_all(call, args, expand)),
    Row::new("mustRegexReplaceAll", &[Str, Str, Str], |call, args| replace_all(call, args, expand)),
    Row::new("regexReplaceAllLiteral", &[Str, Str, Str], |call, args| {
        replace_all(call, args, |out, _, _, replacement| out.push_str(replacement))
    }),
    Row::new("mustRegexReplaceAllLiteral", &[Str, Str, Str], |call, args| {
        replace_all(call, args, |out, _, _, replacement| out.push_str(replacement))
    }),
    Row::new("regexSplit", &[Str, Str, Int], split),
    Row::new("mustRegexSplit", &[Str, Str, Int], split),
    Row::new("regexQuoteMeta", &[Str], |call, args| {
        let mut quoted = String::new();
        for c in real(call, args, 0)?.chars() {
            if r"\.+*?()|[]{}^$".contains(c) {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        computed(call, quoted, args)
    }),
];

/// Compiles the first argument; charges for compiling it and for searching the second.
fn compiled<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<Regex, FuncError> {
    let pattern = real(call, args, 0)?;
    let limit = call.limits().pattern;
    if pattern.len() > limit {
        return Err(Limit::Pattern(limit).into());
    }
    let searched = real(call, args, 1)?.len();
    call.spend(10 + pattern.len() + searched / 64)?;
    Ok(regexp::compile(&pattern)?)
}

fn is_match<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let pattern = compiled(call, args)?;
    Ok(Value::Bool(pattern.is_match(&real(call, args, 1)?)))
}

fn find<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let pattern = compiled(call, args)?;
    let text = real(call, args, 1)?;
    let found = pattern.find(&text).map_or("", |found| found.as_str()).to_owned();
    computed(call, found, args)
}

/// A `[]string` that is nil where Go's is.
fn strings<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>], found: Option<Vec<String>>) -> Outcome<'a> {
    let Some(found) = found else {
        return Ok(Value::List(List::Json { items: None, of: &Kind::String, tainted: false }));
    };
    call.spend(found.len())?;
    let items = found.into_iter().map(|text| call.computed(text, args)).collect();
    Ok(Value::list_of(Elem::String, items))
}

fn at_most(number: i64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn find_all<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let pattern = compiled(call, args)?;
    let text = real(call, args, 1)?;
    let most = at_most(int(args, 2)?);
    let found: Vec<_> = pattern.find_iter(&text).take(most).map(|found| found.as_str().to_owned()).collect();
    strings(call, args, if found.is_empty() { None } else { Some(found) })
}

/// Go's `Regexp.Split`.
fn split<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let pattern = compiled(call, args)?;
    let text = real(call, args, 1)?;
    let most = at_most(int(args, 2)?);
    if most == 0 {
        return strings(call, args, None);
    }
    if text.is_empty() && !value(args, 0)?.as_text().is_none_or(|pattern| pattern.is_empty()) {
        return strings(call, args, Some(vec![String::new()]));
    }
    let mut parts = Vec::new();
    let (mut begin, mut end) = (0, 0);
    for found in pattern.find_iter(&text).take(most) {
        if parts.len() == most - 1 {
            break;
        }
        end = found.start();
        if found.end() != 0 {
            parts.push(text.get(begin..end).unwrap_or_default().to_owned());
        }
        begin = found.end();
    }
    if end != text.len() {
        parts.push(text.get(begin..).unwrap_or_default().to_owned());
    }
    strings(call, args, Some(parts))
}

fn replace_all<'a>(
    call: &mut Call<'_, 'a>,
    args: &[Value<'a>],
    append: fn(&mut String, &Regex, &Captures<'_>, &str),
) -> Outcome<'a> {
    let pattern = compiled(call, args)?;
    let (text, replacement) = (real(call, args, 1)?, real(call, args, 2)?);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for captures in pattern.captures_iter(&text) {
        let Some(found) = captures.get(0) else { continue };
        out.push_str(text.get(done..found.start()).unwrap_or_default());
        append(&mut out, &pattern, &captures, &replacement);
        bounded(call, out.len())?;
        done = found.end();
    }
    out.push_str(text.get(done..).unwrap_or_default());
    computed(call, out, args)
}

/// Go's `Regexp.Expand`: `$1`, `${1}`, `$name`, `${name}`, `$$`; an unknown group is empty.
fn expand(out: &mut String, pattern: &Regex, captures: &Captures<'_>, template: &str) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = group_name(after) {
            let group = match group_number(name) {
                Some(number) => captures.get(number),
                None if pattern.capture_names().flatten().any(|known| known == name) => captures.name(name),
                None => None,
            };
            out.push_str(group.map_or("", |group| group.as_str()));
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
}

/// The group name after a `$`, and the rest.
fn group_name(text: &str) -> Option<(&str, &str)> {
    let (braced, text) = match text.strip_prefix('{') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let end = text.find(|c: char| !(c == '_' || c.is_alphanumeric())).unwrap_or(text.len());
    let (name, after) = text.split_at_checked(end)?;
    let after = if braced { after.strip_prefix('}')? } else { after };
    if name.is_empty() { None } else { Some((name, after)) }
}

fn group_number(name: &str) -> Option<usize> {
    if name.len() > 1 && name.starts_with('0') {
        return None;
    }
    if name.bytes().all(|digit| digit.is_ascii_digit()) { name.parse().ok() } else { None }
}
