//! Warnings for the user who created a pod that is allowed.
//!
//! Warnings are sent in `AdmissionReview.response.warnings`, which kubectl prints. Kubernetes recommends at most 120
//! characters each and may truncate at 256, so every untrusted text in a warning is shortened with [`shown`].

use std::fmt;

use crate::codes::{self, Code, Kind};

/// One warning for the user who created the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Stable machine key, such as `MISSPELT_ANNOTATION`.
    pub code: &'static str,
    /// One sentence without a period; untrusted text in it is already shortened.
    pub message: String,
}

impl Warning {
    /// A warning with a stable key, one of [`codes::CORE`], and a sentence.
    pub fn new(code: &'static str, message: impl Into<String>) -> Warning {
        debug_assert!(codes::of_core(code).is_some_and(Code::is_warning), "{code} has no row");
        Warning { code, message: message.into() }
    }

    /// Whether the user who creates the pod sees it, and not only the administrator of the mesh. Codes that are only
    /// recorded describe rights that ordinary pods make use of, such as a database's port that is not redirected, so the
    /// user already knows, or pods that an ordinary user cannot change.
    pub fn is_shown(&self) -> bool {
        !codes::of_core(self.code).is_some_and(|code| code.is(Kind::Record))
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

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

/// Control characters, and those by which Unicode hides or reorders text.
fn moves_cursor(character: char) -> bool {
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
