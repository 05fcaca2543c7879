//! Bearer tokens of clients. Only digests are stored, and they are compared in constant time. Pure.

use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderValue},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The accepted tokens.
pub(super) struct Tokens(Vec<[u8; 32]>);

/// Minimum length; a shorter token could be guessed.
const SHORTEST: usize = 16;
const LONGEST: usize = 4096;
const MOST: usize = 16;

impl Tokens {
    /// Parses one token per line. Several tokens allow for a rotation.
    ///
    /// # Errors
    /// A sentence with what was found, never a token itself, and what was expected.
    pub(super) fn parse(text: &[u8]) -> Result<Tokens, String> {
        let mut digests = Vec::new();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let token = line.trim_ascii();
            if token.is_empty() {
                continue;
            }
            let line = index + 1;
            if !(SHORTEST..=LONGEST).contains(&token.len()) {
                let found = token.len();
                return Err(format!(
                    "line {line}: found {found} characters; expected one token of {SHORTEST} to {LONGEST} characters per line"
                ));
            }
            if !token.iter().all(u8::is_ascii_graphic) {
                return Err(format!(
                    "line {line}: found whitespace or another invalid character; expected visible ASCII"
                ));
            }
            digests.push(Sha256::digest(token).into());
        }
        match digests.len() {
            0 => Err("found no token; expected one per line".to_owned()),
            1..=MOST => Ok(Tokens(digests)),
            found => Err(format!("found {found} tokens; expected at most {MOST}")),
        }
    }

    /// Whether a token is accepted. Compares all of them regardless of matches.
    pub(super) fn accept(&self, token: &[u8]) -> bool {
        let presented: [u8; 32] = Sha256::digest(token).into();
        let found = self.0.iter().map(|digest| digest.ct_eq(&presented));
        found.fold(subtle::Choice::from(0), |all, one| all | one).into()
    }
}

/// The bearer token in a request's headers, if there is exactly one.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = value.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef";
    const OTHER: &str = "ghijklmnopqrstuvwxyz";

    #[test]
    fn tokens_are_accepted_to_the_byte() {
        let tokens = Tokens::parse(format!("{ONE}\r\n\n  {OTHER}\n").as_bytes()).unwrap();
        for (token, wanted) in [
            (ONE, true),
            (OTHER, true),
            ("0123456789abcdeF", false),
            ("0123456789abcdef0", false),
            ("0123456789abcde", false),
            ("", false),
        ] {
            assert_eq!(tokens.accept(token.as_bytes()), wanted, "{token:?}");
        }
    }

    #[test]
    fn a_file_is_refused_by_its_line_and_without_a_token_in_the_text() {
        let many = format!("{ONE}\n").repeat(17);
        for (text, found) in [
            ("", "found no token"),
            ("\n \n", "found no token"),
            ("short-secret", "line 1: found 12 characters"),
            ("0123456789abcdef\nwith a blank in its middle", "line 2: found whitespace"),
            ("0123456789abcdef\u{e9}", "line 1: found whitespace"),
            (&many, "found 17 tokens"),
        ] {
            let error = Tokens::parse(text.as_bytes()).err().unwrap();
            assert!(error.contains(found) && error.contains("expected"), "{error}");
            assert!(!error.contains("secret") && !error.contains("middle"), "{error}");
        }
    }

    #[test]
    fn one_header_of_the_scheme_is_read() {
        for (values, wanted) in [
            (&["Bearer abc"][..], Some("abc")),
            (&["bearer  abc "], Some("abc")),
            (&["Basic abc"], None),
            (&["Bearer"], None),
            (&["Bearer "], None),
            (&["Bearerabc"], None),
            (&["Bearer abc", "Bearer abc"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            assert_eq!(bearer(&headers), wanted.map(str::as_bytes), "{values:?}");
        }
    }
}
