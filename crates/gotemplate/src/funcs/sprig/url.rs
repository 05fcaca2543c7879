//! Parses and prints URLs like Go's `net/url`.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use super::super::{Call, FuncError, Param, Row};
use super::argument::{Outcome, computed, map, real};
use super::strings::quote_content;
use crate::value::{Key, Map, Value};

pub(super) const ROWS: &[Row] =
    &[Row::new("urlParse", &[Param::String], parse), Row::new("urlJoin", &[Param::AnyMap], join)];

/// A part of a URL; each part allows different unescaped characters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Path,
    Host,
    Zone,
    User,
    Fragment,
}

/// The parts of a URL, unescaped.
#[derive(Debug, Default)]
struct Url {
    scheme: String,
    opaque: String,
    user: Option<User>,
    host: String,
    path: String,
    query: String,
    fragment: String,
}

#[derive(Debug)]
struct User {
    name: String,
    password: Option<String>,
}

fn parse<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let text = real(call, args, 0)?;
    let url = Url::parse(&text)?;
    let hostname = url.hostname().to_owned();
    let userinfo = url.user.as_ref().map(User::print).unwrap_or_default();
    let parts = [
        ("scheme", url.scheme),
        ("host", url.host),
        ("hostname", hostname),
        ("path", url.path),
        ("query", url.query),
        ("opaque", url.opaque),
        ("fragment", url.fragment),
        ("userinfo", userinfo),
    ];
    let entries = parts.map(|(name, part)| (Key::clean(name.to_owned()), call.computed(part, args)));
    Ok(Value::map(BTreeMap::from(entries)))
}

fn join<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let parts = map(args, 0)?;
    let userinfo = part(call, parts, "userinfo")?;
    let user = if userinfo.is_empty() {
        None
    } else {
        Url::parse(&format!("proto://{userinfo}@host")).map_err(|error| format!("userinfo: {error}"))?.user
    };
    let url = Url {
        scheme: part(call, parts, "scheme")?,
        opaque: part(call, parts, "opaque")?,
        user,
        host: part(call, parts, "host")?,
        path: part(call, parts, "path")?,
        query: part(call, parts, "query")?,
        fragment: part(call, parts, "fragment")?,
    };
    computed(call, url.print(), args)
}

fn part<'a>(call: &Call<'_, 'a>, parts: &Map<'a>, name: &str) -> Result<String, FuncError> {
    match parts.at(name) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(call.real(&text).into_owned()),
        Some(other) => Err(format!("key {name} must be a string, found {}", other.kind_name()).into()),
    }
}

impl Url {
    /// `url.Parse`.
    fn parse(text: &str) -> Result<Url, String> {
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let fail = |reason: &str| format!("{text:?} is not a URL: {reason}");
        let mut url = Url::without_fragment(rest).map_err(|reason| fail(&reason))?;
        url.fragment = unescape(fragment, Place::Fragment).map_err(|reason| fail(&reason))?;
        Ok(url)
    }

    fn without_fragment(text: &str) -> Result<Url, String> {
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err("it contains a control character".into());
        }
        let mut url = Url::default();
        if text == "*" {
            url.path = "*".into();
            return Ok(url);
        }
        let (scheme, rest) = scheme(text)?;
        url.scheme = scheme.to_ascii_lowercase();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        url.query = query.to_owned();
        if !rest.starts_with('/') {
            if !url.scheme.is_empty() {
                url.opaque = rest.to_owned();
                return Ok(url);
            }
            if rest.split('/').next().is_some_and(|first| first.contains(':')) {
                return Err("its first path segment contains a colon".into());
            }
        }
        let mut path = rest;
        let has_authority = !url.scheme.is_empty() || !rest.starts_with("///");
        if let Some(authority) = rest.strip_prefix("//").filter(|_| has_authority) {
            let end = authority.find('/').unwrap_or(authority.len());
            let (authority, after) = authority.split_at_checked(end).unwrap_or((authority, ""));
            path = after;
            url.authority(authority)?;
        }
        url.path = unescape(path, Place::Path)?;
        Ok(url)
    }

    fn authority(&mut self, text: &str) -> Result<(), String> {
        let (userinfo, host) = match text.rsplit_once('@') {
            Some((userinfo, host)) => (Some(userinfo), host),
            None => (None, text),
        };
        self.host = host_of(&self.scheme, host)?;
        let Some(userinfo) = userinfo else { return Ok(()) };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
        if !userinfo.chars().all(allowed) {
            return Err("its user information contains a character that must be escaped".into());
        }
        let (name, password) = match userinfo.split_once(':') {
            Some((name, password)) => (name, Some(unescape(password, Place::User)?)),
            None => (userinfo, None),
        };
        self.user = Some(User { name: unescape(name, Place::User)?, password });
        Ok(())
    }

    /// The host without port and brackets (`URL.Hostname`).
    fn hostname(&self) -> &str {
        let host = match self.host.rfind(':').and_then(|at| self.host.split_at_checked(at)) {
            Some((host, port)) if is_port(port) => host,
            _ => &self.host,
        };
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// `URL.String`.
    fn print(&self) -> String {
        let mut out = String::new();
        if !self.scheme.is_empty() {
            out.push_str(&self.scheme);
            out.push(':');
        }
        if self.opaque.is_empty() {
            if !self.host.is_empty()
                || self.user.is_some()
                || (!self.scheme.is_empty() && !self.path.is_empty())
            {
                out.push_str("//");
            }
            if let Some(user) = &self.user {
                out.push_str(&user.print());
                out.push('@');
            }
            out.push_str(&escape(&self.host, Place::Host));
            let path = if self.path == "*" { "*".to_owned() } else { escape(&self.path, Place::Path) };
            if !path.is_empty() && !path.starts_with('/') && !self.host.is_empty() {
                out.push('/');
            }
            if out.is_empty() && path.split('/').next().is_some_and(|first| first.contains(':')) {
                out.push_str("./");
            }
            out.push_str(&path);
        } else {
            out.push_str(&self.opaque);
        }
        if !self.query.is_empty() {
            out.push('?');
            out.push_str(&self.query);
        }
        if !self.fragment.is_empty() {
            out.push('#');
            out.push_str(&escape(&self.fragment, Place::Fragment));
        }
        out
    }
}

impl User {
    fn print(&self) -> String {
        let name = escape(&self.name, Place::User);
        match &self.password {
            Some(password) => format!("{name}:{}", escape(password, Place::User)),
            None => name,
        }
    }
}

/// The scheme, if any, and the rest.
fn scheme(text: &str) -> Result<(&str, &str), String> {
    let none = Ok(("", text));
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
    let Some((scheme, rest)) = end.and_then(|end| text.split_at_checked(end)) else { return none };
    let Some(rest) = rest.strip_prefix(':') else { return none };
    if scheme.is_empty() {
        return Err("its scheme is missing".into());
    }
    if scheme.starts_with(|c: char| c.is_ascii_alphabetic()) { Ok((scheme, rest)) } else { none }
}

fn host_of(scheme: &str, host: &str) -> Result<String, String> {
    let bad_port = |port: &str| format!("{port:?} after the host is not a port");
    let Some(open) = host.rfind('[') else {
        let colon = if matches!(scheme, "http" | "https") { host.find(':') } else { host.rfind(':') };
        if let Some(port) = colon.and_then(|at| host.get(at..)).filter(|port| !is_port(port)) {
            return Err(bad_port(port));
        }
        return unescape(host, Place::Host);
    };
    if open > 0 {
        return Err("its host has a bracket in the middle".into());
    }
    let Some((address, port)) = host.strip_prefix('[').and_then(|host| host.rsplit_once(']')) else {
        return Err("its host lacks a closing bracket".into());
    };
    if !is_port(port) {
        return Err(bad_port(port));
    }
    let zone = address.find("%25").unwrap_or(address.len());
    let (number, zone) = address.split_at_checked(zone).unwrap_or((address, ""));
    let address = format!("{}{}", unescape(number, Place::Host)?, unescape(zone, Place::Zone)?);
    let (number, zone) = match address.split_once('%') {
        Some((number, zone)) => (number, Some(zone)),
        None => (address.as_str(), None),
    };
    if number.parse::<Ipv6Addr>().is_err() || zone == Some("") {
        return Err(format!("{address:?} is not an IPv6 address"));
    }
    Ok(format!("[{address}]{port}"))
}

/// Nothing, or a colon and digits.
fn is_port(text: &str) -> bool {
    text.is_empty()
        || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|digit| digit.is_ascii_digit()))
}

fn stands_as_it_is(byte: u8, place: Place) -> bool {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        return true;
    }
    let others: &[u8] = match place {
        Place::Path => b"$&+,/:;=@",
        Place::User => b"$&+,;=",
        Place::Host | Place::Zone => b"!$&'()*+,;=:[]<>\"",
        Place::Fragment => b"!$&()*+,/:;=?@",
    };
    others.contains(&byte)
}

fn escape(text: &str, place: Place) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if stands_as_it_is(byte, place) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Decodes `%XX`; invalid UTF-8 becomes U+FFFD.
fn unescape(text: &str, place: Place) -> Result<String, String> {
    let in_host = matches!(place, Place::Host | Place::Zone);
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits: Vec<u8> = bytes.by_ref().take(2).collect();
            let shown = || format!("%{}", String::from_utf8_lossy(&digits));
            let value = match digits.as_slice() {
                [high, low] => hex_digit(*high).zip(hex_digit(*low)).map(|(high, low)| high << 4 | low),
                _ => None,
            };
            let Some(value) = value else { return Err(format!("{} is not a valid escape", shown())) };
            let allowed = match place {
                Place::Host => value >= 0x80 || value == b'%',
                Place::Zone => value == b'%' || value == b' ' || stands_as_it_is(value, Place::Host),
                _ => true,
            };
            if !allowed {
                return Err(format!("{} may not be escaped in a host", shown()));
            }
            out.push(value);
        } else if in_host && byte.is_ascii() && !stands_as_it_is(byte, place) {
            let mut shown = String::new();
            quote_content(&mut shown, &char::from(byte).to_string());
            return Err(format!("\"{shown}\" is not allowed in a host"));
        } else {
            out.push(byte);
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
