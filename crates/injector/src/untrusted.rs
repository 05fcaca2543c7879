//! Untrusted text in messages for people.

/// The maximum number of characters of an untrusted text that are shown.
pub const SHOWN: usize = 64;

/// An untrusted text for display: control characters escaped, at most [`SHOWN`] characters, quoted.
pub fn shown(text: &str) -> String {
    shown_within(text, SHOWN)
}

/// [`shown`] with a custom limit.
pub fn shown_within(text: &str, limit: usize) -> String {
    let mut out = String::from("\"");
    let mut left = limit;
    for character in text.chars() {
        // Quotes and other letters stay readable; characters that control a terminal do not.
        let escaped: String =
            if moves_cursor(character) { character.escape_default().collect() } else { character.into() };
        match left.checked_sub(escaped.chars().count()) {
            Some(rest) => left = rest,
            None => {
                out.push('…');
                break;
            }
        }
        out.push_str(&escaped);
    }
    out.push('"');
    out
}

/// Whether a character controls a terminal, or is one of those by which Unicode hides or reorders text.
pub fn moves_cursor(character: char) -> bool {
    let hidden = matches!(character,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    character.is_control() || hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_short_text_as_it_is() {
        assert_eq!(shown("10.0.0.0/8"), "\"10.0.0.0/8\"");
    }

    #[test]
    fn shortens_long_text_to_64_characters() {
        let text = shown(&"ä".repeat(65));
        assert_eq!(text, format!("\"{}…\"", "ä".repeat(64)));
        assert_eq!(shown(&"ä".repeat(64)), format!("\"{}\"", "ä".repeat(64)));
    }

    #[test]
    fn escapes_count_for_the_limit() {
        assert_eq!(shown_within("a\u{1b}b", 7), "\"a\\u{1b}…\"");
        assert_eq!(shown_within("a\u{1b}b", 8), "\"a\\u{1b}b\"");
        assert_eq!(shown_within("a\u{1b}b", 6), "\"a…\"");
    }

    #[test]
    fn escapes_what_moves_a_cursor() {
        assert_eq!(shown("a\u{1b}[2Jb\n\u{202e}"), "\"a\\u{1b}[2Jb\\n\\u{202e}\"");
    }
}
