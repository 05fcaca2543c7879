//! Parses the path of the webhook's URL: environment variables for the proxy.
//!
//! Pure and total: any path yields parameters or an error, never a panic. Follows Istio's `parseInjectEnvs`, with the
//! percent-decoding that Go's `net/url` does before it: once, over the whole path, so that `%2F` separates.

use std::collections::BTreeMap;

use crate::names;

/// The parameters in the path, and the problems with the rest of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Environment variable name → value.
    pub variables: BTreeMap<String, String>,
    /// A key without a value, or "" for a value without a key; both are ignored.
    pub odd_key: Option<String>,
}

/// Why a path is rejected.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("the path has a broken percent-escape at byte {0}; expected % and two hexadecimal digits")]
    Escape(usize),
    /// The decoded path is not UTF-8.
    #[error("the path is not UTF-8 after percent-decoding")]
    Utf8,
    /// The decoded path contains a control character, which no environment variable can contain.
    #[error("the path has a control character after percent-decoding")]
    Control,
    /// A key that is not a valid name of an environment variable, so that the API server would reject every pod.
    #[error(
        "the path names the environment variable {0:?}; expected letters, digits, '_', '-' and '.', not starting \
         with a digit or '..'"
    )]
    Name(String),
}

/// Parses `/inject`, `/inject/k1/v1/k2/v2…` or the deprecated `/inject/:ENV:a=b:ENV:c=d` as received.
///
/// # Errors
/// When the percent-encoding is malformed, the decoded text is not plain text, or a key is not a valid variable name.
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
    if rest.starts_with(":ENV:") { legacy(rest) } else { pairs(rest) }
}

fn pairs(rest: &str) -> Result<Parameters, Error> {
    let mut found = Parameters::default();
    let mut segments = rest.split('/');
    while let Some(key) = segments.next() {
        match segments.next() {
            Some(value) => found.add(key, value.replace("--slash--", "/"))?,
            None => found.odd_key = Some(key.to_owned()),
        }
    }
    Ok(found)
}

fn legacy(rest: &str) -> Result<Parameters, Error> {
    let mut found = Parameters::default();
    for pair in rest.split(":ENV:").filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((key, value)) => found.add(key, value.to_owned())?,
            None => found.odd_key = Some(pair.to_owned()),
        }
    }
    Ok(found)
}

impl Parameters {
    fn add(&mut self, key: &str, value: String) -> Result<(), Error> {
        let name = match key {
            "" => {
                self.odd_key = Some(String::new());
                return Ok(());
            }
            "cluster" => names::ENV_CLUSTER_ID.to_owned(),
            "net" => names::ENV_NETWORK.to_owned(),
            other => other.to_uppercase(),
        };
        if !is_variable_name(&name) {
            return Err(Error::Name(name));
        }
        self.variables.insert(name, value);
        Ok(())
    }
}

/// Whether every API server accepts it as the name of an environment variable (Kubernetes' `IsEnvVarName`; newer ones
/// accept more).
fn is_variable_name(name: &str) -> bool {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
    name.chars().all(allowed)
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && !matches!(name, "" | ".")
        && !name.starts_with("..")
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
        expect("/inject/:ENV:a=:ENV:u=http://h/p=q", &[("A", ""), ("U", "http://h/p=q")]);
    }

    #[test]
    fn names_what_is_ignored() {
        for (path, key) in [
            ("/inject/a/b/c", "c"),
            ("/inject//v/a/b", ""),
            ("/inject/:ENV:a=b:ENV:c", "c"),
            ("/inject/:ENV:a=b:ENV:=d", ""),
        ] {
            let found = parse(path).unwrap();
            assert_eq!(found.odd_key.as_deref(), Some(key), "{path}");
            assert_eq!(found.variables.len(), 1, "{path}");
        }
        assert_eq!(parse("/inject/:ENV:a=b").unwrap().odd_key, None);
    }

    #[test]
    fn refuses_what_names_no_variable() {
        for (path, name) in [
            ("/inject/FOO=1/v", "FOO=1"),
            ("/inject/$patch/replace", "$PATCH"),
            ("/inject/a%20b/v", "A B"),
            ("/inject/1a/v", "1A"),
            ("/inject/../v", ".."),
            ("/inject/./v", "."),
            ("/inject/é/v", "É"),
            ("/inject/:ENV:a b=c", "A B"),
        ] {
            assert_eq!(parse(path), Err(Error::Name(name.to_owned())), "{path}");
        }
        expect("/inject/my.var-1/v", &[("MY.VAR-1", "v")]);
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
