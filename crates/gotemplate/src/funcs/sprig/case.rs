//! Letter case: Go's one-to-one case mapping and the word splitting behind `snakecase` and similar functions.
//!
//! Go maps one character to one character (`unicode.ToUpper`), so `ß` has no upper case here; Rust's own
//! `str::to_uppercase` may lengthen a string and must not be used.

use std::sync::LazyLock;

use regex::Regex;

/// `strings.ToUpper`.
pub(super) fn upper(text: &str) -> String {
    text.chars().map(to_upper).collect()
}

/// `strings.ToLower`.
pub fn lower(text: &str) -> String {
    text.chars().map(to_lower).collect()
}

/// `strings.Title`: the first letter of every word in title case, the rest as it is.
pub(super) fn title(text: &str) -> String {
    let mut previous = ' ';
    text.chars()
        .map(|c| {
            let mapped = if is_separator(previous) { to_title(c) } else { c };
            previous = c;
            mapped
        })
        .collect()
}

/// `goutils.Uncapitalize`: the first character of every word in lower case.
pub(super) fn untitle(text: &str) -> String {
    let mut word_starts = true;
    text.chars()
        .map(|c| {
            if is_space(c) {
                word_starts = true;
                c
            } else if word_starts {
                word_starts = false;
                to_lower(c)
            } else {
                c
            }
        })
        .collect()
}

/// `goutils.SwapCase`: swaps the case of every letter; a letter that starts a word gets title case.
pub(super) fn swap(text: &str) -> String {
    let mut word_starts = true;
    text.chars()
        .map(|c| {
            if is_upper(c) || is_title(c) {
                word_starts = false;
                to_lower(c)
            } else if is_lower(c) {
                let mapped = if word_starts { to_title(c) } else { to_upper(c) };
                word_starts = false;
                mapped
            } else {
                word_starts = is_space(c);
                c
            }
        })
        .collect()
}

/// `xstrings.ToPascalCase`: words joined by `_`, `-` or blanks become `PascalCase`; leading connectors stay.
pub(super) fn pascal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    let mut current = loop {
        let Some(c) = chars.next() else { return out };
        if !is_connector(c) {
            break c;
        }
        out.push(c);
        // If a text consists only of connectors, its last one is doubled, as upstream does.
        if chars.as_str().is_empty() {
            out.push(c);
            return out;
        }
    };
    let mut first_was_upper = is_upper(current);
    current = to_upper(current);
    for next in chars {
        let previous = std::mem::replace(&mut current, next);
        match (is_connector(previous), is_connector(next)) {
            (true, true) => out.push(previous),
            (true, false) => {
                first_was_upper = is_upper(next);
                current = to_upper(next);
            }
            (false, _) => {
                if first_was_upper {
                    if is_upper(next) {
                        current = to_lower(next);
                    } else {
                        first_was_upper = false;
                    }
                }
                out.push(previous);
            }
        }
    }
    out.push(current);
    out
}

/// `xstrings.ToSnakeCase` and `ToKebabCase`: lowercase words joined by `connector`.
pub(super) fn delimited(text: &str, connector: char) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut words = Words { rest: text };
    let mut word = words.next_word();
    while !words.rest.is_empty() {
        if word.kind != Kind::Connector {
            word.write(&mut out, connector);
        }
        let previous = word;
        word = words.next_word();
        match previous.kind {
            Kind::Number => word = words.write_run(word, &mut out, connector),
            Kind::Connector => previous.write(&mut out, connector),
            Kind::Punctuation => {}
            _ if word.kind != Kind::Number => {
                if !matches!(word.kind, Kind::Connector | Kind::Punctuation) {
                    out.push(connector);
                }
            }
            _ if words.rest.is_empty() => {}
            _ => {
                let number = word;
                word = words.next_word();
                if word.kind == Kind::Letters {
                    // `http2xx` is `http_2xx`: a number followed by letters starts a new word.
                    out.push(connector);
                    number.write(&mut out, connector);
                    word = words.write_run(word, &mut out, connector);
                } else {
                    // `Bld4Floor` is `bld4_floor`: any other number belongs to the preceding word.
                    number.write(&mut out, connector);
                    if !matches!(word.kind, Kind::Connector | Kind::Punctuation) {
                        out.push(connector);
                    }
                }
            }
        }
    }
    word.write(&mut out, connector);
    out
}

/// `unicode.IsSpace`.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, '\t'..='\r' | ' ' | '\u{85}' | '\u{a0}') || (c > '\u{ff}' && c.is_whitespace())
}

/// `unicode.ToUpper` of one character.
pub(super) fn to_upper(c: char) -> char {
    match c {
        '\u{1f80}'..='\u{1faf}' if (c as u32) & 8 == 0 => char::from_u32(c as u32 + 8).unwrap_or(c),
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => char::from_u32(c as u32 + 9).unwrap_or(c),
        _ => single(c.to_uppercase(), c),
    }
}

/// `unicode.ToLower` of one character.
pub(super) fn to_lower(c: char) -> char {
    if c == '\u{130}' { 'i' } else { single(c.to_lowercase(), c) }
}

fn to_title(c: char) -> char {
    match c {
        '\u{1c4}'..='\u{1c6}' => '\u{1c5}',
        '\u{1c7}'..='\u{1c9}' => '\u{1c8}',
        '\u{1ca}'..='\u{1cc}' => '\u{1cb}',
        '\u{1f1}'..='\u{1f3}' => '\u{1f2}',
        // Georgian has capitals only for whole words.
        '\u{10d0}'..='\u{10ff}' => c,
        _ => to_upper(c),
    }
}

fn single(mut mapped: impl Iterator<Item = char>, c: char) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(only), None) => only,
        _ => c,
    }
}

fn is_upper(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_uppercase() } else { in_class(&UPPER, c) }
}

fn is_lower(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_lowercase() } else { in_class(&LOWER, c) }
}

fn is_title(c: char) -> bool {
    !c.is_ascii() && in_class(&TITLE, c)
}

fn is_letter(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphabetic() } else { in_class(&LETTER, c) }
}

fn is_punctuation(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_punctuation() && !matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '`' | '|' | '~')
    } else {
        in_class(&PUNCTUATION, c)
    }
}

fn is_separator(c: char) -> bool {
    if c.is_ascii() { !c.is_ascii_alphanumeric() && c != '_' } else { !is_letter(c) && is_space(c) }
}

fn is_connector(c: char) -> bool {
    c == '-' || c == '_' || is_space(c)
}

/// A letter of a script with words; Han characters count as single symbols.
fn is_alphabet(c: char) -> bool {
    is_letter(c)
        && !matches!(c, '\u{4e00}'..='\u{9fcc}' | '\u{3400}'..='\u{4d85}' | '\u{20000}'..='\u{2b81d}')
}

static UPPER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\p{Lu}$").ok());
static LOWER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\p{Ll}$").ok());
static TITLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\p{Lt}$").ok());
static LETTER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\p{L}$").ok());
static PUNCTUATION: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\p{P}$").ok());

fn in_class(class: &LazyLock<Option<Regex>>, c: char) -> bool {
    class.as_ref().is_some_and(|class| class.is_match(c.encode_utf8(&mut [0; 4])))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    None,
    Number,
    Upper,
    Letters,
    Connector,
    Punctuation,
    Other,
}

#[derive(Clone, Copy)]
struct Word<'a> {
    kind: Kind,
    text: &'a str,
}

impl Word<'_> {
    fn write(&self, out: &mut String, connector: char) {
        match self.kind {
            Kind::Connector => out.extend(self.text.chars().map(|_| connector)),
            Kind::Upper => out.extend(self.text.chars().map(|c| if is_upper(c) { to_lower(c) } else { c })),
            _ => out.push_str(self.text),
        }
    }
}

struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    /// Writes the letters and numbers from `word` on, and a connector if another word follows; returns that word.
    fn write_run(&mut self, mut word: Word<'a>, out: &mut String, connector: char) -> Word<'a> {
        while matches!(word.kind, Kind::Letters | Kind::Number) {
            word.write(out, connector);
            word = self.next_word();
        }
        if !matches!(word.kind, Kind::None | Kind::Punctuation | Kind::Connector) {
            out.push(connector);
        }
        word
    }

    fn next_word(&mut self) -> Word<'a> {
        let Some(first) = self.rest.chars().next() else { return Word { kind: Kind::None, text: "" } };
        let (kind, end) = if is_connector(first) {
            (Kind::Connector, self.run(is_connector))
        } else if is_punctuation(first) {
            (Kind::Punctuation, self.run(is_punctuation))
        } else if is_upper(first) {
            (Kind::Upper, self.upper_word())
        } else if is_alphabet(first) {
            (Kind::Letters, self.run(|c| is_alphabet(c) && !is_upper(c)))
        } else if first.is_numeric() {
            (Kind::Number, self.run(char::is_numeric))
        } else {
            let other = |c| !(is_connector(c) || is_alphabet(c) || char::is_numeric(c) || is_punctuation(c));
            (Kind::Other, self.run(other))
        };
        let (text, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        Word { kind, text }
    }

    /// Length in bytes of the longest prefix whose characters are in `class`; the first character always counts.
    fn run(&self, class: impl Fn(char) -> bool) -> usize {
        self.rest.char_indices().skip(1).find(|&(_, c)| !class(c)).map_or(self.rest.len(), |(at, _)| at)
    }

    /// `HTTPStatus` is `HTTP` and `Status`: the last capital before lowercase letters starts the next word.
    fn upper_word(&self) -> usize {
        match self.rest.chars().nth(1) {
            Some(second) if is_upper(second) => {
                let end = self.run(is_upper);
                let (capitals, after) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
                match (after.chars().next(), capitals.chars().next_back()) {
                    (Some(next), Some(last)) if is_alphabet(next) => end - last.len_utf8(),
                    _ => end,
                }
            }
            Some(second) if is_alphabet(second) => self.run(|c| is_alphabet(c) && !is_upper(c)),
            _ => self.rest.chars().next().map_or(0, char::len_utf8),
        }
    }
}
