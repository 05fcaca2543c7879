//! Functions on strings. Those that only move text preserve its taint piece by piece; all others examine the content,
//! and their result is tainted as a whole if any argument is.

use std::borrow::Cow;

use super::super::{Call, FuncError, Limit, Param, Row};
use super::argument::{Outcome, bounded, computed, int, real, text, value};
use super::case;
use crate::stand_in::{keeps_stand_ins, longest};
use crate::value::{Elem, Key, Segment, Taint, Text, Value};

use Param::{Any, Int, String as Str};

pub(super) const ROWS: &[Row] = &[
    Row::new("hello", &[], |_, _| Ok(Value::string("Hello!"))),
    // case
    Row::new("upper", &[Str], |call, args| map_text(call, args, case::upper)),
    Row::new("lower", &[Str], |call, args| map_text(call, args, case::lower)),
    Row::new("title", &[Str], |call, args| map_text(call, args, case::title)),
    Row::new("untitle", &[Str], |call, args| map_text(call, args, case::untitle)),
    Row::new("swapcase", &[Str], |call, args| map_text(call, args, case::swap)),
    Row::new("camelcase", &[Str], |call, args| map_text(call, args, case::pascal)),
    Row::new("snakecase", &[Str], |call, args| map_text(call, args, |text| case::delimited(text, '_'))),
    Row::new("kebabcase", &[Str], |call, args| map_text(call, args, |text| case::delimited(text, '-'))),
    // edges
    Row::new("trim", &[Str], |call, args| {
        trim_edges(call, args, "", |text| text.trim_matches(case::is_space))
    }),
    Row::new("trimAll", &[Str, Str], trim_all),
    Row::new("trimall", &[Str, Str], trim_all),
    Row::new("trimPrefix", &[Str, Str], trim_prefix),
    Row::new("trimSuffix", &[Str, Str], trim_suffix),
    Row::new("trunc", &[Int, Str], trunc),
    Row::new("substr", &[Int, Int, Str], substr),
    Row::new("abbrev", &[Int, Str], |call, args| abbreviate(call, args, 0, int(args, 0)?, 1)),
    Row::new("abbrevboth", &[Int, Int, Str], |call, args| {
        abbreviate(call, args, int(args, 0)?, int(args, 1)?, 2)
    }),
    Row::new("nospace", &[Str], |call, args| map_text(call, args, nospace)),
    Row::new("initials", &[Str], |call, args| map_text(call, args, initials)),
    // questions
    Row::new("contains", &[Str, Str], |call, args| compare(call, args, |part, whole| whole.contains(part))),
    Row::new("hasPrefix", &[Str, Str], |call, args| {
        compare(call, args, |part, whole| whole.starts_with(part))
    }),
    Row::new("hasSuffix", &[Str, Str], |call, args| compare(call, args, |part, whole| whole.ends_with(part))),
    // building
    Row::new("repeat", &[Int, Str], repeat),
    Row::new("replace", &[Str, Str, Str], replace),
    Row::new("plural", &[Str, Str, Int], |_, args| Ok(value(args, usize::from(int(args, 2)? != 1))?.clone())),
    Row::new("wrap", &[Int, Str], |call, args| wrap(call, args, "\n", false)),
    Row::new("wrapWith", &[Int, Str, Str], |call, args| {
        let separator = real(call, args, 1)?;
        wrap(call, args, if separator.is_empty() { "\n" } else { &separator }, true)
    }),
    Row::variadic("cat", &[], Any, cat),
    Row::variadic("quote", &[], Any, quote),
    Row::variadic("squote", &[], Any, squote),
    Row::new("indent", &[Int, Str], |call, args| indent(call, args, "")),
    Row::new("nindent", &[Int, Str], |call, args| indent(call, args, "\n")),
    Row::new("toString", &[Any], |call, args| Ok(Value::String(call.printed(value(args, 0)?)))),
    // lists of strings
    Row::new("join", &[Str, Any], join),
    Row::new("toStrings", &[Any], |call, args| {
        let items = texts_of(call, value(args, 0)?)?;
        Ok(Value::list_of(Elem::String, items.into_iter().map(Value::String).collect()))
    }),
    Row::new("sortAlpha", &[Any], sort_alpha),
    Row::new("splitList", &[Str, Str], split_list),
    Row::new("split", &[Str, Str], |call, args| split(call, args, 0, -1, 1)),
    Row::new("splitn", &[Str, Int, Str], |call, args| split(call, args, 0, int(args, 1)?, 2)),
];

/// The strings of a list, without nil items; any other value counts as a list of itself (`strslice`).
pub(in crate::funcs) fn texts_of<'a>(
    call: &mut Call<'_, 'a>,
    value: &Value<'a>,
) -> Result<Vec<Text<'a>>, FuncError> {
    match value {
        Value::List(list) => {
            call.spend(list.len())?;
            let items: Vec<_> = list.iter().filter(|item| !item.is_nil()).collect();
            Ok(items.iter().map(|item| call.printed(item)).collect())
        }
        value if value.is_nil() => Ok(Vec::new()),
        value => Ok(vec![call.printed(value)]),
    }
}

/// Appends a text: clean and mixed ones as stored, whole ones as a placeholder.
pub fn push_text<'a>(call: &mut Call<'_, 'a>, out: &mut String, text: &Text<'a>) {
    match text.taint() {
        Taint::Whole => call.push_placeholder(out, text.stored(), false),
        Taint::Clean | Taint::Mixed => out.push_str(text.stored()),
    }
}

/// `strconv.Quote` of the content, without the surrounding quotes.
pub(super) fn quote_content(out: &mut String, text: &str) {
    use std::fmt::Write as _;
    for c in text.chars() {
        // Writing to a string cannot fail.
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\u{7}' => write!(out, "\\a"),
            '\u{8}' => write!(out, "\\b"),
            '\t' => write!(out, "\\t"),
            '\n' => write!(out, "\\n"),
            '\u{b}' => write!(out, "\\v"),
            '\u{c}' => write!(out, "\\f"),
            '\r' => write!(out, "\\r"),
            c if is_print(c) => write!(out, "{c}"),
            c if (c as u32) < 0x80 => write!(out, "\\x{:02x}", c as u32),
            c if (c as u32) < 0x1_0000 => write!(out, "\\u{:04x}", c as u32),
            c => write!(out, "\\U{:08x}", c as u32),
        };
    }
}

/// `strconv.IsPrint`, based on the classes that Rust's own escaping uses.
fn is_print(c: char) -> bool {
    match c {
        ' '..='~' => true,
        c if c.is_ascii() || c.is_whitespace() => false,
        // The replacement character for invalid bytes is printable; combining marks are too, although `escape_debug`
        // escapes them.
        c => c.escape_debug().count() == 1 || is_mark(c),
    }
}

fn is_mark(c: char) -> bool {
    // After a letter, `str::escape_debug` escapes only unprintable characters.
    let mut with_letter = String::from("a");
    with_letter.push(c);
    with_letter.escape_debug().count() == 2
}

fn map_text<'a>(
    call: &mut Call<'_, 'a>,
    args: &[Value<'a>],
    change: impl FnOnce(&str) -> String,
) -> Outcome<'a> {
    let changed = change(&real(call, args, 0)?);
    computed(call, changed, args)
}

fn compare<'a>(
    call: &mut Call<'_, 'a>,
    args: &[Value<'a>],
    holds: impl FnOnce(&str, &str) -> bool,
) -> Outcome<'a> {
    Ok(Value::Bool(holds(&real(call, args, 0)?, &real(call, args, 1)?)))
}

/// Trims characters out of `trimmed` from the ends of the last argument. Trimming clean ends leaves the rest unchanged,
/// so rendered structure such as `toYaml x | trim` remains structure.
fn trim_edges<'a>(
    call: &mut Call<'_, 'a>,
    args: &[Value<'a>],
    trimmed: &str,
    cut: impl FnOnce(&str) -> &str,
) -> Outcome<'a> {
    let source = text(args, args.len().saturating_sub(1))?;
    let content = if keeps_stand_ins(trimmed) { call.real_of_any(source) } else { call.real(source) };
    let kept = cut(&content);
    // `kept` is a part of `content`, so their addresses show how much was trimmed at each end.
    let head = (kept.as_ptr() as usize).saturating_sub(content.as_ptr() as usize);
    let tail = content.len().saturating_sub(head + kept.len());
    let others_clean = args.iter().rev().skip(1).all(|arg| !arg.is_tainted());
    if source.taint() == Taint::Mixed && others_clean {
        let stored = source.stored();
        let clean_head = stored.find('\u{E000}').unwrap_or(0);
        let clean_tail = stored.rfind('\u{E001}').map_or(0, |at| stored.len() - at - '\u{E001}'.len_utf8());
        if let (true, true, Some(kept)) =
            (head <= clean_head, tail <= clean_tail, stored.get(head..stored.len().saturating_sub(tail)))
        {
            return Ok(Value::String(call.mixed(kept.to_owned())));
        }
    }
    let kept = kept.to_owned();
    computed(call, kept, args)
}

fn trim_all<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let set = real(call, args, 0)?;
    trim_edges(call, args, &set, |text| text.trim_matches(|c| set.contains(c)))
}

fn trim_prefix<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let prefix = real(call, args, 0)?;
    trim_edges(call, args, &prefix, |text| text.strip_prefix(prefix.as_ref()).unwrap_or(text))
}

fn trim_suffix<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let suffix = real(call, args, 0)?;
    trim_edges(call, args, &suffix, |text| text.strip_suffix(suffix.as_ref()).unwrap_or(text))
}

/// The bytes `from..to` of a text; Go may split a character, whose halves become U+FFFD here.
fn bytes(text: &str, from: usize, to: usize) -> Result<Cow<'_, str>, FuncError> {
    let length = text.len();
    text.as_bytes().get(from..to).map(String::from_utf8_lossy).ok_or_else(|| {
        let range =
            if to > length { format!("[:{to}] with length {length}") } else { format!("[{from}:{to}]") };
        FuncError::Message(format!("runtime error: slice bounds out of range {range}"))
    })
}

fn trunc<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let count = int(args, 0)?;
    let size = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    // A name that fits in any case is only passed on.
    if size >= longest(&call.real_of_any(text(args, 1)?)) {
        return Ok(value(args, 1)?.clone());
    }
    let text = real(call, args, 1)?;
    if size >= text.len() {
        return Ok(value(args, 1)?.clone());
    }
    let kept = if count < 0 { bytes(&text, text.len() - size, text.len())? } else { bytes(&text, 0, size)? };
    computed(call, kept.into_owned(), args)
}

fn substr<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let (start, end) = (int(args, 0)?, int(args, 1)?);
    let text = real(call, args, 2)?;
    let position = |number: i64| usize::try_from(number).ok();
    let (from, to) = match (position(start), position(end)) {
        (None, Some(end)) => (0, end),
        (None, None) => {
            return Err(FuncError::Message(format!("runtime error: slice bounds out of range [:{end}]")));
        }
        (Some(start), Some(end)) if end <= text.len() => (start, end),
        (Some(start), _) => (start, text.len()),
    };
    let part = bytes(&text, from, to)?.into_owned();
    computed(call, part, args)
}

/// `goutils.AbbreviateFull` of argument `at`.
fn abbreviate<'a>(
    call: &mut Call<'_, 'a>,
    args: &[Value<'a>],
    left: i64,
    right: i64,
    at: usize,
) -> Outcome<'a> {
    let text = real(call, args, at)?;
    let length = i64::try_from(text.len()).unwrap_or(i64::MAX);
    if right < 4 || (left > 0 && right < 7) || length <= right {
        return Ok(value(args, at)?.clone());
    }
    let abbreviated = abbreviated(&text, left, right, length)?;
    computed(call, abbreviated, args)
}

fn abbreviated(text: &str, left: i64, right: i64, length: i64) -> Result<String, FuncError> {
    // All positions are within the text: `4 <= right < length`, and `offset` is clamped to it.
    let cut = |from: i64, to: i64| {
        bytes(text, usize::try_from(from).unwrap_or(0), usize::try_from(to).unwrap_or(0))
    };
    let mut offset = left.min(length);
    if length - offset < right - 3 {
        offset = length - (right - 3);
    }
    if offset <= 4 {
        return Ok(format!("{}...", cut(0, right - 3)?));
    }
    if offset + right - 3 < length {
        // The rest is longer than `right - 3`, so it is abbreviated again, on the right only. Upstream returns nothing
        // if there is no room.
        let kept = right - 3;
        return Ok(if kept < 4 {
            "...".to_owned()
        } else {
            format!("...{}...", cut(offset, offset + kept - 3)?)
        });
    }
    Ok(format!("...{}", cut(length - (right - 3), length)?))
}

/// `goutils.DeleteWhiteSpace` mistakes bytes for characters, so a text with blanks loses its encoding.
fn nospace(text: &str) -> String {
    let as_latin1 = |byte: &u8| char::from(*byte);
    if text.as_bytes().iter().any(|byte| case::is_space(as_latin1(byte))) {
        text.as_bytes().iter().map(as_latin1).filter(|c| !case::is_space(*c)).collect()
    } else {
        text.to_owned()
    }
}

/// `goutils.Initials`, which makes the same mistake.
fn initials(text: &str) -> String {
    let mut after_gap = true;
    let mut out = String::new();
    for c in text.as_bytes().iter().map(|byte| char::from(*byte)) {
        let gap = case::is_space(c);
        if !gap && after_gap {
            out.push(c);
        }
        after_gap = gap;
    }
    out
}

fn repeat<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let text = real(call, args, 1)?;
    let count = usize::try_from(int(args, 0)?).map_err(|_| "strings: negative Repeat count")?;
    let limit = call.limits().repeat;
    if text.is_empty() {
        return Ok(Value::string(""));
    }
    if text.len().checked_mul(count).is_none_or(|bytes| bytes > limit) {
        return Err(Limit::Repeat(limit).into());
    }
    let repeated = text.repeat(count);
    computed(call, repeated, args)
}

fn replace<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let (old, new, source) = (real(call, args, 0)?, real(call, args, 1)?, real(call, args, 2)?);
    let matches = source.matches(old.as_ref()).count();
    bounded(call, matches.saturating_mul(new.len()).saturating_add(source.len()))?;
    let replaced = source.replace(old.as_ref(), &new);
    computed(call, replaced, args)
}

/// `goutils.WrapCustom`; the text is the last argument, the width the first.
fn wrap<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>], separator: &str, break_words: bool) -> Outcome<'a> {
    let source = real(call, args, args.len().saturating_sub(1))?;
    let width = usize::try_from(int(args, 0)?.max(1)).unwrap_or(usize::MAX);
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while rest.len() > width {
        if let Some((b' ', after)) = rest.split_first() {
            rest = after;
            continue;
        }
        let space = rest.iter().take(width.saturating_add(1)).rposition(|byte| *byte == b' ');
        let (end, skip) = match space {
            Some(space) => (space, 1),
            None if break_words => (width, 0),
            None => match rest.iter().skip(width).position(|byte| *byte == b' ') {
                Some(space) => (width + space, 1),
                None => break,
            },
        };
        let (line, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        out.extend_from_slice(line);
        out.extend_from_slice(separator.as_bytes());
        bounded(call, out.len())?;
        rest = after.get(skip..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    let wrapped = String::from_utf8_lossy(&out).into_owned();
    computed(call, wrapped, args)
}

/// Prints all values, separated by blanks; nil values are skipped.
fn cat<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut out = String::new();
    for (index, item) in args.iter().filter(|item| !item.is_nil()).enumerate() {
        if index > 0 {
            out.push(' ');
        }
        let printed = call.printed(item);
        push_text(call, &mut out, &printed);
        bounded(call, out.len())?;
    }
    Ok(Value::String(call.mixed(out)))
}

fn quote<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut out = String::new();
    for item in args.iter().filter(|item| !item.is_nil()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push('"');
        let printed = call.printed(item);
        for segment in call.segments(&printed) {
            match segment {
                Segment::Clean(text) => quote_content(&mut out, text),
                Segment::Tainted(raw) => call.push_placeholder(&mut out, &raw, true),
            }
        }
        out.push('"');
        bounded(call, out.len())?;
    }
    Ok(Value::String(call.mixed(out)))
}

fn squote<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut out = String::new();
    for item in args.iter().filter(|item| !item.is_nil()) {
        out.push_str(if out.is_empty() { "'" } else { " '" });
        let printed = call.printed(item);
        push_text(call, &mut out, &printed);
        out.push('\'');
        bounded(call, out.len())?;
    }
    Ok(Value::String(call.mixed(out)))
}

/// Indents every line that the template's author wrote. Lines inside a text from the pod are unaffected: it is
/// substituted into a scalar after the YAML was parsed, when indentation no longer matters.
fn indent<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>], before: &str) -> Outcome<'a> {
    let width = usize::try_from(int(args, 0)?).map_err(|_| "strings: negative Repeat count")?;
    let source = text(args, 1)?;
    let mut stored = String::new();
    push_text(call, &mut stored, source);
    let lines = stored.matches('\n').count() + 1;
    bounded(call, lines.saturating_mul(width).saturating_add(stored.len()))?;
    let pad = " ".repeat(width);
    let indented = format!("{before}{pad}{}", stored.replace('\n', &format!("\n{pad}")));
    Ok(Value::String(call.mixed(indented)))
}

fn join<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let separator = text(args, 0)?;
    let mut out = String::new();
    for (index, item) in texts_of(call, value(args, 1)?)?.iter().enumerate() {
        if index > 0 {
            push_text(call, &mut out, separator);
        }
        push_text(call, &mut out, item);
        bounded(call, out.len())?;
    }
    Ok(Value::String(call.mixed(out)))
}

fn sort_alpha<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let source = value(args, 0)?;
    let texts = match source {
        Value::List(_) => texts_of(call, source)?,
        source => vec![call.printed(source)],
    };
    let mut keyed: Vec<_> = texts.into_iter().map(|text| (call.real(&text).into_owned(), text)).collect();
    keyed.sort_by(|one, two| one.0.cmp(&two.0));
    let items = keyed.into_iter().map(|(_, text)| Value::String(text)).collect();
    Ok(Value::list_of(Elem::String, items))
}

/// `strings.Split`: an empty separator splits into characters.
fn pieces(text: &str, separator: &str, most: i64) -> Vec<String> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    match (separator.is_empty(), most) {
        (_, 0) => Vec::new(),
        (false, most) => text.splitn(most, separator).map(str::to_owned).collect(),
        (true, most) => {
            let mut rest = text;
            let mut parts = Vec::new();
            while let Some(c) = rest.chars().next() {
                if parts.len() + 1 == most {
                    parts.push(std::mem::take(&mut rest).to_owned());
                } else {
                    parts.push(c.to_string());
                    rest = rest.get(c.len_utf8()..).unwrap_or_default();
                }
            }
            parts
        }
    }
}

fn split_list<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let parts = pieces(&real(call, args, 1)?, &real(call, args, 0)?, -1);
    call.spend(parts.len())?;
    let items = parts.into_iter().map(|part| call.computed(part, args)).collect();
    Ok(Value::list_of(Elem::String, items))
}

/// A map from `_0`, `_1`, … to the parts.
fn split<'a>(
    call: &mut Call<'_, 'a>,
    args: &[Value<'a>],
    separator: usize,
    most: i64,
    source: usize,
) -> Outcome<'a> {
    let parts = pieces(&real(call, args, source)?, &real(call, args, separator)?, most);
    call.spend(parts.len())?;
    let entries = parts
        .into_iter()
        .enumerate()
        .map(|(index, part)| (Key::clean(format!("_{index}")), call.computed(part, args)));
    Ok(Value::map_of(Elem::String, entries.collect()))
}
