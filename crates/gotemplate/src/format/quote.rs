//! Go's quoted strings (`strconv.Quote`).

/// A string in double quotes, as `%q` prints it.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    push_escaped(&mut quoted, text, false);
    quoted.push('"');
    quoted
}

/// Whether Go prints a character unescaped (`strconv.IsPrint`).
pub fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    // The standard library exposes this only through its own escapes. The preceding letter makes it judge a combining
    // mark on its own.
    let mut buffer = ['a', character].iter().collect::<String>();
    buffer = buffer.escape_debug().collect();
    !buffer.contains("\\u{")
}

/// Escapes a string for use between double quotes.
pub(super) fn push_escaped(out: &mut String, text: &str, ascii: bool) {
    for character in text.chars() {
        push_character(out, character, '"', ascii);
    }
}

/// A character in single quotes, as `%q` prints a number.
pub(super) fn quote_character(character: char, ascii: bool) -> String {
    let mut quoted = String::from("'");
    push_character(&mut quoted, character, '\'', ascii);
    quoted.push('\'');
    quoted
}

/// Whether a string can be written between back quotes (`strconv.CanBackquote`).
pub(super) fn can_backquote(text: &str) -> bool {
    text.chars().all(|c| c == '\t' || c != '`' && c != '\u{feff}' && c >= ' ' && c != '\u{7f}')
}

fn push_character(out: &mut String, character: char, quote: char, ascii: bool) {
    match character {
        _ if character == quote || character == '\\' => {
            out.push('\\');
            out.push(character);
        }
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        _ if (character.is_ascii() || !ascii) && is_printable(character) => out.push(character),
        _ => {
            let code = u32::from(character);
            let escape = match code {
                0..0x20 | 0x7f => format!("\\x{code:02x}"),
                0..0x10000 => format!("\\u{code:04x}"),
                _ => format!("\\U{code:08x}"),
            };
            out.push_str(&escape);
        }
    }
}
