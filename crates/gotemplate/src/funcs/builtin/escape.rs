//! `html`, `js`, `urlquery`: escape text for other languages.

use super::{Call, Result};
use crate::format;
use crate::value::{Text, Value};

pub(super) fn html<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<'a> {
    escaped(call, args, |out, text| {
        for character in text.chars() {
            match character {
                '\0' => out.push(char::REPLACEMENT_CHARACTER),
                '"' => out.push_str("&#34;"),
                '\'' => out.push_str("&#39;"),
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                _ => out.push(character),
            }
        }
    })
}

pub(super) fn js<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<'a> {
    escaped(call, args, |out, text| {
        for character in text.chars() {
            match character {
                '\\' | '\'' | '"' => {
                    out.push('\\');
                    out.push(character);
                }
                '<' | '>' | '&' | '=' => push_unicode(out, character),
                _ if character.is_ascii_control() && character != '\u{7f}' => push_unicode(out, character),
                _ if character.is_ascii() || format::is_printable(character) => out.push(character),
                _ => push_unicode(out, character),
            }
        }
    })
}

pub(super) fn urlquery<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Result<'a> {
    escaped(call, args, |out, text| {
        for byte in text.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    out.push(char::from(byte));
                }
                b' ' => out.push('+'),
                _ => out.push_str(&format!("%{byte:02X}")),
            }
        }
    })
}

fn push_unicode(out: &mut String, character: char) {
    out.push_str(&format!("\\u{:04X}", u32::from(character)));
}

/// The arguments printed together (`evalArgs`), escaped.
fn escaped<'a>(
    call: &mut Call<'_, 'a>,
    args: &[Value<'a>],
    escape: impl Fn(&mut String, &str),
) -> Result<'a> {
    let printable: Vec<Value<'a>> = args
        .iter()
        .map(|arg| if matches!(arg, Value::Nil) { Value::string("<no value>") } else { arg.clone() })
        .collect();
    let text = format::print(call.runtime, &printable);
    let mut out = String::new();
    escape(&mut out, &call.real(&text));
    Ok(Value::String(Text::new(out, text.is_tainted())))
}
