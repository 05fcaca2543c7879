//! Walks over JSON text to find the positions of values, without building anything.
//!
//! The text should be valid JSON. If it is not, or if a name is written with escapes, the walk ends with `None`, and
//! the caller uses the full parser.

use std::ops::Range;

/// A position in a JSON text.
#[derive(Debug)]
pub struct Scan<'t> {
    text: &'t str,
    at: usize,
}

/// The result of a walk: `None` if the text is not as expected.
pub(crate) type Walked = Option<()>;

impl<'t> Scan<'t> {
    /// Starts a walk over a text that starts with a JSON value.
    pub fn new(text: &'t str) -> Scan<'t> {
        Scan { text, at: 0 }
    }

    /// Visits the entries of an object; skips anything else. The visitor consumes each entry's value.
    pub fn entries(&mut self, mut visit: impl FnMut(&mut Self, &'t str) -> Walked) -> Walked {
        if self.peek()? != b'{' {
            return self.value().map(drop);
        }
        self.at += 1;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let key = self.text.get(self.string()?)?;
            if key.contains('\\') {
                return None;
            }
            self.expect(b':')?;
            visit(self, key)?;
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Visits the elements of a list; skips anything else. The visitor consumes each element.
    pub(crate) fn elements(&mut self, mut visit: impl FnMut(&mut Self) -> Walked) -> Walked {
        if self.peek()? != b'[' {
            return self.value().map(drop);
        }
        self.at += 1;
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            visit(self)?;
            match self.next()? {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Consumes a string without escapes and returns the range of its content; anything else is skipped and gives
    /// `None` inside.
    pub fn text(&mut self) -> Option<Option<Range<usize>>> {
        if self.peek()? != b'"' {
            return self.value().map(|_| None);
        }
        let content = self.string()?;
        let plain = !self.text.get(content.clone())?.contains('\\');
        Some(plain.then_some(content))
    }

    /// Consumes a string that contains the text of a JSON object with a field, and returns the range of its content as
    /// written; anything else is skipped and gives `None` inside.
    pub(crate) fn object_in_string(&mut self) -> Option<Option<Range<usize>>> {
        if self.peek()? != b'"' {
            return self.value().map(|_| None);
        }
        let content = self.string()?;
        let is_object = self
            .text
            .get(content.clone())?
            .strip_prefix("{\\\"")
            .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_alphanumeric()));
        Some(is_object.then_some(content))
    }

    /// Consumes any value and returns its range.
    pub fn value(&mut self) -> Option<Range<usize>> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => {
                self.string()?;
            }
            b'{' | b'[' => {
                let mut depth = 0_usize;
                loop {
                    match self.bytes().get(self.at)? {
                        b'"' => {
                            self.string()?;
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            _ => {
                let rest = self.bytes().get(start..)?;
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
                self.at += rest.iter().position(ends).unwrap_or(rest.len());
            }
        }
        Some(start..self.at)
    }

    /// Consumes a string and returns the range of its content, including escapes.
    fn string(&mut self) -> Option<Range<usize>> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            let rest = self.bytes().get(self.at..)?;
            self.at += quote_or_escape(rest)? + 1;
            if self.bytes().get(self.at - 1) == Some(&b'"') {
                return Some(start..self.at - 1);
            }
            self.at += 1;
        }
    }

    fn bytes(&self) -> &'t [u8] {
        self.text.as_bytes()
    }

    /// The next byte that is not blank.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes().get(self.at)?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, wanted: u8) -> Walked {
        (self.next()? == wanted).then_some(())
    }
}

/// The position of the next quote or backslash. Most strings of a pod are too short for a call to `memchr2` to pay off,
/// so the first two words are examined here.
fn quote_or_escape(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    // The lowest set bit belongs to the first zero byte.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let (words, _) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().take(2).enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let passed = words.len().min(2) * 8;
    memchr::memchr2(b'"', b'\\', bytes.get(passed..)?).map(|at| passed + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, value::RawValue};

    use super::*;

    fn keys_and_values(text: &str) -> Option<Vec<(String, String)>> {
        let mut found = Vec::new();
        let mut scan = Scan::new(text);
        scan.entries(|scan, key| {
            found.push((key.to_owned(), text[scan.value()?].to_owned()));
            Some(())
        })?;
        Some(found)
    }

    #[test]
    fn values_are_where_the_parser_says_they_are() {
        let text = " {\"a\" : [1, {\"b\":\"]}\\\"\"} ] ,\"c\":-1.5e3,\"d\":\"\",\"e\":{},\"f\":null } ";
        let expected: Vec<(String, Box<RawValue>)> =
            serde_json::from_str::<std::collections::BTreeMap<String, Box<RawValue>>>(text)
                .unwrap()
                .into_iter()
                .collect();
        let found = keys_and_values(text).unwrap();
        assert_eq!(found.len(), expected.len());
        for ((key, value), (expected_key, expected)) in found.iter().zip(&expected) {
            assert_eq!((key, value.as_str()), (expected_key, expected.get()));
        }
    }

    #[test]
    fn what_is_no_json_or_has_escaped_keys_gives_nothing() {
        for text in [
            "",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":\"x",
            "{\"\\u0061\":1}",
            "{\"a\":[1",
            "{\"a\" 1}",
        ] {
            assert_eq!(keys_and_values(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_quote_or_escape_is_found_where_it_is(bytes in "[\"!#\\\\\\[\\]\u{a2}\u{dc}a]{0,40}") {
            let wanted = |byte: &u8| matches!(byte, b'"' | b'\\');
            prop_assert_eq!(quote_or_escape(bytes.as_bytes()), bytes.as_bytes().iter().position(wanted));
        }

        #[test]
        fn any_text_is_walked_without_a_panic(text in "[\\[\\]{}\",:\\\\a1 \u{e000}]{0,40}") {
            keys_and_values(&text);
            Scan::new(&text).elements(|scan| scan.text().map(drop));
        }

        #[test]
        fn every_value_of_json_ends_where_it_ends(keys in proptest::collection::vec("[a-z]{1,3}", 0..4), inner in "[\\x20-\\x7e]{0,12}") {
            let value: Value = keys.into_iter().map(|key| (key, Value::from(vec![inner.clone(), inner.clone()]))).collect::<serde_json::Map<_, _>>().into();
            let text = value.to_string();
            prop_assert_eq!(Scan::new(&text).value(), Some(0..text.len()));
        }
    }
}
