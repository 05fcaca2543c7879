//! What the path of the webhook's URL says: environment variables for the proxy.
//!
//! Pure and total: any path gives parameters or a refusal, never a panic. Follows Istio's `parseInjectEnvs`, with
//! the percent-decoding that Go's `net/url` does before it: once, over the whole path, so that `%2F` separates.

use std::collections::BTreeMap;

use crate::names;

/// Parameters found in the path, and what was wrong with the rest of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Environment variable name → value.
    pub variables: BTreeMap<String, String>,
    /// A key at the end of the path without a value; it is ignored.
    pub odd_key: Option<String>,
}

/// Why a path is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("the path has a broken percent-escape at byte {0}; accepted is % and two hexadecimal digits")]
    Escape(usize),
    /// The decoded path is not UTF-8.
    #[error("the path is not UTF-8 after percent-decoding")]
    Utf8,
    /// The decoded path has a control character, which no environment variable may carry.
    #[error("the path has a control character after percent-decoding")]
    Control,
}

/// Reads `/inject`, `/inject/k1/v1/k2/v2…` or the deprecated `/inject/:ENV:a=b:ENV:c=d` as it came over the wire.
///
/// # Errors
/// When the percent-encoding is broken, or what it encodes is not plain text.
pub fn parse(raw: &str) -> Result<Parameters, Error> {
    let decoded = percent_decode(raw)?;
    if decoded.chars().any(char::is_control) {
        return Err(Error::Control);
    }
    let path = decoded.strip_suffix('/').unwrap_or(&decoded);
    // "/inject/rest": the empty text before the first slash, the word, and the rest.
    let Some(rest) = path.splitn(3, '/').nth(2) else {
        return Ok(Parameters::default());
    };
    Ok(if rest.starts_with(":ENV:") { legacy(rest) } else { pairs(rest) })
}

fn pairs(rest: &str) -> Parameters {
    let mut found = Parameters::default();
    let mut segments = rest.split('/');
    while let Some(key) = segments.next() {
        match segments.next() {
            Some(value) => found.add(key, value.replace("--slash--", "/")),
            None => found.odd_key = Some(key.to_owned()),
        }
    }
    found
}

fn legacy(rest: &str) -> Parameters {
    let mut found = Parameters::default();
    for pair in rest.split(":ENV:") {
        if let Some((key, value)) = pair.split_once('=') {
            found.add(key, value.to_owned());
        }
    }
    found
}

impl Parameters {
    fn add(&mut self, key: &str, value: String) {
        let name = match key {
            "" => return,
            "cluster" => names::ENV_CLUSTER_ID.to_owned(),
            "net" => names::ENV_NETWORK.to_owned(),
            other => other.to_uppercase(),
        };
        self.variables.insert(name, value);
    }
}

fn percent_decode(raw: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes().enumerate();
    while let Some((at, byte)) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|(_, b)| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(Error::Escape(at));
        };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| Error::Escape(at))?);
    }
    String::from_utf8(bytes).map_err(|_| Error::Utf8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(path: &str) -> Vec<(String, String)> {
        parse(path).unwrap().variables.into_iter().collect()
    }

    fn expect(path: &str, wanted: &[(&str, &str)]) {
        let wanted: Vec<_> = wanted.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(read(path), wanted, "{path}");
    }

    #[test]
    fn reads_pairs() {
        expect("/inject", &[]);
        expect("/inject/", &[]);
        expect("/inject/cluster/c1/net/n1", &[("ISTIO_META_CLUSTER_ID", "c1"), ("ISTIO_META_NETWORK", "n1")]);
        expect("/inject/cluster/c1/", &[("ISTIO_META_CLUSTER_ID", "c1")]);
        expect("/inject/a_b/V", &[("A_B", "V")]);
        expect("/inject/k/1/K/2", &[("K", "2")]);
        expect("/inject//v/k/w", &[("K", "w")]);
        expect("/inject/k//l/w", &[("K", ""), ("L", "w")]);
    }

    #[test]
    fn slash_marker_works_in_values_only() {
        expect("/inject/u/http:--slash----slash--h--slash--p", &[("U", "http://h/p")]);
        expect("/inject/a--slash--b/v", &[("A--SLASH--B", "v")]);
    }

    #[test]
    fn decodes_percent_exactly_once_before_splitting() {
        expect("/inject/k/a%20b", &[("K", "a b")]);
        expect("/inject/k/%2541", &[("K", "%41")]);
        expect("/inject%2Fk%2Fv", &[("K", "v")]);
        expect("/inject/k/%E2%82%AC", &[("K", "€")]);
        expect("/inject/k/a+b", &[("K", "a+b")]);
    }

    #[test]
    fn reads_the_deprecated_form() {
        expect("/inject/:ENV:a=b:ENV:c=d", &[("A", "b"), ("C", "d")]);
        expect(
            "/inject/:ENV:cluster=c:ENV:net=n",
            &[("ISTIO_META_CLUSTER_ID", "c"), ("ISTIO_META_NETWORK", "n")],
        );
        expect("/inject/:ENV:a=:ENV:=b:ENV:c:ENV:u=http://h/p=q", &[("A", ""), ("U", "http://h/p=q")]);
    }

    #[test]
    fn names_the_odd_key() {
        let found = parse("/inject/a/b/c").unwrap();
        assert_eq!(found.odd_key.as_deref(), Some("c"));
        assert_eq!(found.variables.len(), 1);
    }

    #[test]
    fn refuses_what_is_no_text() {
        assert_eq!(parse("/inject/k/%"), Err(Error::Escape(10)));
        assert_eq!(parse("/inject/k/%4"), Err(Error::Escape(10)));
        assert_eq!(parse("/inject/k/%zz"), Err(Error::Escape(10)));
        assert_eq!(parse("/inject/k/%+1"), Err(Error::Escape(10)));
        assert_eq!(parse("/inject/k/%FF"), Err(Error::Utf8));
        assert_eq!(parse("/inject/k/%00"), Err(Error::Control));
    }

    proptest! {
        // H-10
        #[test]
        fn never_panics(path in "\\PC*") {
            let _ = parse(&path);
        }

        #[test]
        fn never_panics_on_near_misses(path in "/inject(/|%2F|%|:ENV:|=|[a-z]{1,3}|--slash--|%[0-9a-f]{2}|\\.\\.){0,20}") {
            let _ = parse(&path);
        }

        #[test]
        fn what_was_encoded_comes_back(key in "[a-z]{1,8}", value in "[^/\\p{C}]{1,12}") {
            prop_assume!(!value.contains("--slash--") && key != "net" && key != "cluster");
            let encoded: String = value.bytes().map(|b| format!("%{b:02X}")).collect();
            let found = parse(&format!("/inject/{key}/{encoded}")).unwrap();
            prop_assert_eq!(found.variables.get(&key.to_uppercase()), Some(&value));
        }
    }
}
