//! Pages for people who would rather look than read: what happens to a pod and why, as HTML.
//!
//! Everything is rendered from data that other modules computed; nothing is decided here, and nothing is read or sent. Markup
//! is written with maud, so that elements are closed, attributes quoted and texts escaped by construction; only
//! [`layout`] writes text that is not escaped, and only its own style sheet.

pub mod diagnostics;
pub mod diff;
pub mod form;
pub mod layout;
pub mod playground;
pub mod reason;
pub mod report;
pub mod running;
pub mod templates;

use std::borrow::Cow;

use crate::warning::moves_cursor;

/// A text from outside, with escapes in place of characters that hide or reorder the text around them; lines stay
/// lines.
pub fn visible(text: &str) -> Cow<'_, str> {
    let is_hidden = |letter: char| moves_cursor(letter) && !matches!(letter, '\n' | '\t');
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let letter = |letter: char| {
        if is_hidden(letter) { letter.escape_unicode().to_string() } else { letter.to_string() }
    };
    Cow::Owned(text.chars().map(letter).collect())
}

/// A file that pages refer to.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its path.
    pub path: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Its content.
    pub content: &'static str,
}

/// The style sheet of all pages.
pub const STYLE: Asset = Asset {
    path: "/assets/outrigger.css",
    content_type: "text/css; charset=utf-8",
    content: include_str!("pages/assets/outrigger.css"),
};

/// Updates a form's result while its reader types; every page can be used without it.
pub const SCRIPT: Asset = Asset {
    path: "/assets/live.js",
    content_type: "text/javascript; charset=utf-8",
    content: include_str!("pages/assets/live.js"),
};

/// The icon of all pages.
pub const ICON: Asset = Asset {
    path: "/assets/icon.svg",
    content_type: "image/svg+xml",
    content: include_str!("pages/assets/icon.svg"),
};

/// All assets.
pub const ASSETS: [Asset; 3] = [STYLE, SCRIPT, ICON];

/// The headers of every response with a page or an asset: nothing is loaded from elsewhere, nothing runs that is not ours, no
/// other site can frame or embed a page, and nothing is stored ([Content Security Policy Level 3](https://www.w3.org/TR/CSP3/)).
pub const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    // Not `no-referrer`, with which browsers send `Origin: null` with our own forms.
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ("cache-control", "no-store"),
];

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn characters_that_reorder_text_are_shown_as_escapes() {
        assert_eq!(visible("a\n\tb ä"), "a\n\tb ä");
        assert_eq!(visible("a\u{202e}b\u{1b}\r"), "a\\u{202e}b\\u{1b}\\u{d}");
    }
}
