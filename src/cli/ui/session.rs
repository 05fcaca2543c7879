//! Who may use the pages: the browser that followed the printed link, and nobody else on this machine or on the web.
//!
//! A loopback port can be reached by every process and user of the machine, and, through a name that resolves to 127.0.0.1 (DNS
//! rebinding), by every website that is open in the browser. Hence three checks: the `Host` header names the loopback port, a
//! request that changes anything comes from our own page, and a cookie proves that the link was followed.

use std::sync::atomic::{AtomicBool, Ordering};

use hyper::{
    HeaderMap,
    header::{COOKIE, HOST, HeaderName, ORIGIN},
};
use subtle::ConstantTimeEq;

use crate::server::http::host::is_loopback;

/// Bytes of a secret: 128 bits cannot be guessed.
const SECRET_BYTES: usize = 16;

/// The secrets of one run.
pub(super) struct Session {
    port: u16,
    token: String,
    cookie: String,
    is_token_used: AtomicBool,
}

/// What to do with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// It is exchanged for the session's cookie.
    Opened,
    /// It was exchanged before.
    Used,
    /// It is not the token.
    Wrong,
}

/// The system provides no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system provides no random bytes for the token of the link")]
pub(super) struct NoRandomness;

impl Session {
    /// New secrets for the server on a port.
    pub(super) fn new(port: u16) -> Result<Session, NoRandomness> {
        Ok(Session { port, token: secret()?, cookie: secret()?, is_token_used: AtomicBool::new(false) })
    }

    /// The path of the link that opens the session.
    pub(super) fn link(&self) -> String {
        format!("/?token={}", self.token)
    }

    /// Exchanges the token of a link, once.
    pub(super) fn exchange(&self, token: &str) -> Exchange {
        if !is_equal(token, &self.token) {
            return Exchange::Wrong;
        }
        match self.is_token_used.swap(true, Ordering::SeqCst) {
            false => Exchange::Opened,
            true => Exchange::Used,
        }
    }

    /// The value of `Set-Cookie`. No script can read it, no other site's request carries it, and the browser forgets it when
    /// it ends. The name contains the port, because cookies of one host are shared by all of its ports.
    pub(super) fn set_cookie(&self) -> String {
        format!("{}={}; Path=/; HttpOnly; SameSite=Strict", self.cookie_name(), self.cookie)
    }

    /// Whether the request has the session's cookie.
    pub(super) fn has_cookie(&self, headers: &HeaderMap) -> bool {
        let name = self.cookie_name();
        let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        all.flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .any(|(key, value)| key == name && is_equal(value, &self.cookie))
    }

    /// Whether the request names this port on loopback as its host, exactly once.
    pub(super) fn is_own_host(&self, headers: &HeaderMap) -> bool {
        self.is_only(headers, &HOST, "")
    }

    /// Whether a request that a page sends comes from a page of ours. Browsers send `Origin` with every POST; a client that is not
    /// a browser sends none, and has no cookie that others could abuse.
    pub(super) fn is_own_origin(&self, headers: &HeaderMap) -> bool {
        !headers.contains_key(ORIGIN) || self.is_only(headers, &ORIGIN, "http://")
    }

    fn is_only(&self, headers: &HeaderMap, name: &HeaderName, scheme: &str) -> bool {
        let mut values = headers.get_all(name).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let host = value.to_str().ok().and_then(|value| value.strip_prefix(scheme));
        host.and_then(|host| host.rsplit_once(':'))
            .is_some_and(|(host, port)| is_loopback(host) && port == self.port.to_string())
    }

    fn cookie_name(&self) -> String {
        format!("outrigger-ui-{}", self.port)
    }
}

/// A random secret in hexadecimal digits.
fn secret() -> Result<String, NoRandomness> {
    let mut bytes = [0; SECRET_BYTES];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Compares secrets in a time that depends on their length only.
fn is_equal(found: &str, secret: &str) -> bool {
    found.as_bytes().ct_eq(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(all: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn secrets_are_long_and_never_the_same() {
        let (one, other) = (Session::new(1).unwrap(), Session::new(1).unwrap());
        let all = [&one.token, &one.cookie, &other.token, &other.cookie];
        assert!(all.iter().all(|secret| secret.len() == 2 * SECRET_BYTES));
        let different: std::collections::BTreeSet<_> = all.into_iter().collect();
        assert_eq!(different.len(), 4);
    }

    #[test]
    fn a_token_opens_one_session() {
        let session = Session::new(1).unwrap();
        let token = session.token.clone();
        for wrong in ["", "0", &token[1..], &session.cookie.clone()] {
            assert_eq!(session.exchange(wrong), Exchange::Wrong, "{wrong}");
        }
        assert_eq!(session.exchange(&token), Exchange::Opened);
        assert_eq!(session.exchange(&token), Exchange::Used);
    }

    #[test]
    fn only_the_own_cookie_counts() {
        let session = Session::new(7).unwrap();
        let own = format!("outrigger-ui-7={}", session.cookie);
        for (cookie, counts) in [
            (own.as_str(), true),
            (&format!("a=b; {own}; c=d"), true),
            (&format!("outrigger-ui-8={}", session.cookie), false),
            (&format!("outrigger-ui-7={}", session.token), false),
            (&own[..own.len() - 1], false),
            ("outrigger-ui-7=", false),
            ("", false),
        ] {
            assert_eq!(session.has_cookie(&headers(&[(COOKIE, cookie)])), counts, "{cookie}");
        }
        assert!(!session.has_cookie(&HeaderMap::new()));
        for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(session.set_cookie().contains(part));
        }
    }

    #[test]
    fn other_hosts_are_not_ours() {
        let session = Session::new(7070).unwrap();
        for own in ["127.0.0.1:7070", "localhost:7070", "LocalHost:7070", "[::1]:7070"] {
            assert!(session.is_own_host(&headers(&[(HOST, own)])), "{own}");
            assert!(session.is_own_origin(&headers(&[(ORIGIN, &format!("http://{own}"))])), "{own}");
        }
        for other in [
            "",
            "localhost",
            "127.0.0.1:7071",
            "rebound.example:7070",
            "127.0.0.1.example:7070",
            "localhost.example:7070",
            "0.0.0.0:7070",
            "127.0.0.1:7070@example",
            "127.0.0.1:07070",
            "localhost:7070 ",
        ] {
            assert!(!session.is_own_host(&headers(&[(HOST, other)])), "{other}");
            assert!(!session.is_own_origin(&headers(&[(ORIGIN, &format!("http://{other}"))])), "{other}");
        }
        let twice = [(HOST, "localhost:7070"), (HOST, "localhost:7070")];
        assert!(!session.is_own_host(&headers(&twice)) && !session.is_own_host(&HeaderMap::new()));
        for origin in ["null", "https://localhost:7070", "http://localhost"] {
            assert!(!session.is_own_origin(&headers(&[(ORIGIN, origin)])), "{origin}");
        }
        assert!(session.is_own_origin(&HeaderMap::new()));
    }
}
