//! Validates the values of each kind of annotation: small total parsers with Go's rules.
//!
//! Where Istio has a rule, that rule is here; unless its quirk is kept, ours is added to it. Nothing here knows a key.

use serde_json::Value;

use super::finding::Finding;
use super::volumes;
use crate::quantity::{self, Sign};
use crate::quirks::{Quirk, Quirks};
use crate::warning::shown_within;

/// Validates a ProxyConfig in YAML or JSON; the error contains the value found and the values expected.
pub type ProxyConfigCheck<'a> = &'a dyn Fn(&str) -> Result<(), String>;

/// The type of an annotation's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Exactly `true` or `false`; anything else counts as unset and is reported by the decision.
    Injection,
    /// Exactly `true` or `false`.
    TrueFalse,
    /// A boolean as Go's `strconv.ParseBool` reads it.
    GoBool,
    /// Comma-separated names of templates.
    Templates,
    /// An image reference.
    Image,
    /// The suffix of an image tag.
    ImageType,
    /// A Kubernetes quantity.
    Quantity,
    /// `add`, `keep` or `refuse`.
    PodLevelResources,
    /// A log level of Envoy.
    LogLevel,
    /// Comma-separated `component:level` of Envoy.
    ComponentLogLevels,
    /// Comma-separated `scope:level` of the agent.
    ScopeLogLevels,
    /// `REDIRECT`, `TPROXY` or `NONE`.
    InterceptionMode,
    /// Comma-separated IP prefixes, or `*` if `any`.
    Prefixes {
        /// Whether `*` is allowed, for every address.
        any: bool,
    },
    /// Comma-separated ports, or `*` if `any`.
    Ports {
        /// Whether `*` is allowed, for every port.
        any: bool,
    },
    /// Comma-separated names of network interfaces.
    Interfaces,
    /// One port; 0 disables the status server.
    StatusPort,
    /// One port, at least 1.
    Port,
    /// A whole number from 0 to 2147483647. Istio accepts unsigned 32-bit numbers, but cannot decode the result of its
    /// template for larger ones: the fields of a probe are signed.
    Int32,
    /// Name of a ConfigMap.
    ConfigMapName,
    /// JSON: volume sources by name, or a list of volumes.
    Volumes,
    /// JSON: mounts by name of the volume, or a list of mounts.
    VolumeMounts,
    /// A ProxyConfig in YAML or JSON.
    ProxyConfig,
    /// A JSON object of strings.
    StringMap,
    /// A JSON object.
    JsonObject,
    /// Comma-separated `port:path`.
    ScrapeTargets,
    /// Comma-separated networks, or a JSON list.
    Networks,
    /// A range of IDs, `start/size` or `first-last`.
    IdRange,
    /// Comma-separated ranges of IDs.
    IdRanges,
    /// Any text.
    Text,
}

use Finding::{Fine, Odd, Respelled, Wrong};

/// The maximum number of template names in a pod's annotation.
pub(super) const MOST_TEMPLATES: usize = 16;

impl Kind {
    /// The expected value, for errors and for the documentation.
    pub fn accepted(self) -> &'static str {
        match self {
            Kind::Injection | Kind::TrueFalse => "`true`, `false`",
            Kind::GoBool => "`true`, `false`, `1`, `0`, `t`, `f` (also `True`, `TRUE`, `T` …)",
            Kind::Templates => "comma-separated template names, 16 at most",
            Kind::Image => "an image reference that contains a `/`",
            Kind::ImageType => "suffix of an image tag, such as `debug`, `distroless`; `default` for none",
            Kind::Quantity => "a quantity such as `100m`, `0.5`, `128Mi`",
            Kind::PodLevelResources => "`add`, `keep`, `refuse`",
            Kind::LogLevel => "`trace`, `debug`, `info`, `warning`, `error`, `critical`, `off`",
            Kind::ComponentLogLevels => "comma-separated `component:level`, such as `misc:error,http:debug`",
            Kind::ScopeLogLevels => {
                "comma-separated `scope:level` with levels `none`, `error`, `warn`, `info`, `debug`"
            }
            Kind::InterceptionMode => "`REDIRECT`, `TPROXY`, `NONE`",
            Kind::Prefixes { any: true } => "`*`, or comma-separated prefixes such as `10.0.0.0/8,fd00::/8`",
            Kind::Prefixes { any: false } => "comma-separated prefixes such as `10.0.0.0/8,fd00::/8`",
            Kind::Ports { any: true } => "`*`, or comma-separated ports from 0 to 65535",
            Kind::Ports { any: false } => "comma-separated ports from 0 to 65535",
            Kind::Interfaces => {
                "comma-separated interface names: at most 15 letters, digits, `_`, `.`, `-`, a letter first"
            }
            Kind::StatusPort => "a port from 0 to 65535; 0 disables the status server",
            Kind::Port => "a port from 1 to 65535",
            Kind::Int32 => "a whole number from 0 to 2147483647",
            Kind::ConfigMapName => "name of a ConfigMap: lower-case letters, digits, `-` and `.`",
            Kind::Volumes => "JSON: an object of volume sources by name, or a list of volumes",
            Kind::VolumeMounts => {
                "JSON: an object of mounts by name of their volume, or a list of mounts; each with a `mountPath` of its own"
            }
            Kind::ProxyConfig => "a ProxyConfig in YAML or JSON",
            Kind::StringMap => "a JSON object whose values are strings",
            Kind::JsonObject => "a JSON object",
            Kind::ScrapeTargets => "comma-separated `port:path`; the path is optional",
            Kind::Networks => "comma-separated network names, or a JSON list",
            Kind::IdRange => "a range of IDs: `start/size` or `first-last`",
            Kind::IdRanges => "comma-separated ranges of IDs: `start/size` or `first-last`",
            Kind::Text => "any text",
        }
    }

    /// Problems of a value.
    pub(super) fn find(self, value: &str, quirks: Quirks, proxy_config: ProxyConfigCheck<'_>) -> Finding {
        match self {
            Kind::Injection | Kind::Text => Fine,
            Kind::TrueFalse => is(matches!(value, "true" | "false")),
            Kind::GoBool => is(go_bool(value).is_some()),
            Kind::Templates => templates(value),
            Kind::Image => image(value),
            Kind::ImageType => is(value.len() <= 128 && value.bytes().all(is_tag_byte)),
            Kind::Quantity => quantity(value, quirks),
            Kind::PodLevelResources => is(matches!(value, "add" | "keep" | "refuse")),
            // The agent ignores an empty level, which charts tend to write.
            Kind::LogLevel => is(value.is_empty() || is_envoy_level(value)),
            Kind::ComponentLogLevels if value.is_empty() => Fine,
            Kind::ComponentLogLevels => each(value, |item| {
                item.split_once(':')
                    .is_some_and(|(component, level)| is_word(component) && is_envoy_level(level))
            }),
            Kind::ScopeLogLevels => each(value, |item| {
                item.rsplit_once(':')
                    .map_or(is_agent_level(item), |(scope, level)| is_word(scope) && is_agent_level(level))
            }),
            Kind::InterceptionMode => is(matches!(value, "REDIRECT" | "TPROXY" | "NONE")),
            Kind::Prefixes { any } => prefixes(value, any, quirks),
            Kind::Ports { any } => ports(value, any),
            Kind::Interfaces => interfaces(value),
            Kind::StatusPort => is(port(value).is_some()),
            Kind::Port => is(port(value).is_some_and(|port| port > 0)),
            Kind::Int32 => is(uint(value, i32::MAX.unsigned_abs().into()).is_some()),
            Kind::ConfigMapName => is(is_dns_subdomain(value)),
            Kind::Volumes => volumes::volumes(value),
            Kind::VolumeMounts => volumes::mounts(value),
            Kind::ProxyConfig => proxy_config(value).map_or_else(Wrong, |()| Fine),
            Kind::StringMap => json_object(value, Value::is_string),
            Kind::JsonObject => json_object(value, |_| true),
            Kind::ScrapeTargets => scrape_targets(value),
            Kind::Networks => networks(value),
            Kind::IdRange => id_range(value),
            Kind::IdRanges => value.split(',').map(id_range).find(|finding| *finding != Fine).unwrap_or(Fine),
        }
    }
}

/// A boolean as Go's `strconv.ParseBool` reads it.
pub fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// A port with blanks around it, 0 included (Istio's `parsePort`).
pub fn port(text: &str) -> Option<u16> {
    uint(text.trim(), u64::from(u16::MAX)).and_then(|number| u16::try_from(number).ok())
}

/// Digits only, as Go's `strconv.ParseUint` with base 10.
fn uint(text: &str, largest: u64) -> Option<u64> {
    // Rust's own parser accepts a sign, Go's does not.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number <= largest)
}

/// An IP prefix by the rules of Go's `netip.ParsePrefix`: no blanks, no zone, no leading zeros, bits after a `/`.
pub(super) fn is_prefix(text: &str) -> bool {
    let Some((address, bits)) = text.rsplit_once('/') else { return false };
    let most = match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    let canonical = bits == "0" || !bits.starts_with('0');
    canonical && uint(bits, most).is_some()
}

fn is(accepted: bool) -> Finding {
    if accepted { Fine } else { Wrong(String::new()) }
}

/// Validates every item of a comma-separated list; blanks around items are not allowed.
fn each(value: &str, accepts: impl Fn(&str) -> bool) -> Finding {
    match value.split(',').find(|item| !accepts(item)) {
        Some(item) => wrong_item(item, value),
        None => Fine,
    }
}

/// An invalid item of a list; an item that is the whole list has already been shown.
fn wrong_item(item: &str, list: &str) -> Finding {
    if item == list {
        return Wrong(String::new());
    }
    if item.trim().is_empty() {
        return Wrong("an item is empty".to_owned());
    }
    Wrong(format!("wrong item {}", shown_within(item, 24)))
}

fn templates(value: &str) -> Finding {
    let count = value.split(',').count();
    if count > MOST_TEMPLATES {
        return Wrong(format!("{count} names are too many"));
    }
    if value.split(',').any(|name| name.trim().is_empty()) {
        return Wrong("a name is empty".to_owned());
    }
    Fine
}

fn image(value: &str) -> Finding {
    if value.len() > 1024 || value.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Wrong("it has blanks or control characters, or is too long".to_owned());
    }
    if value.contains('/') { Fine } else { Odd("has no / and is ignored".to_owned()) }
}

fn quantity(value: &str, quirks: Quirks) -> Finding {
    match quantity::sign(value) {
        None => Wrong(String::new()),
        // The API server rejects such a pod; reporting it here names the annotation.
        Some(Sign::Negative) if !quirks.contains(Quirk::AcceptNegativeQuantities) => {
            Wrong("it is negative".to_owned())
        }
        Some(_) => Fine,
    }
}

fn prefixes(value: &str, any: bool, quirks: Quirks) -> Finding {
    if value.is_empty() || (any && value == "*") {
        return Fine;
    }
    let Some(item) = value.split(',').find(|item| !is_prefix(item)) else { return Fine };
    let is_list = value.split(',').all(|item| is_prefix(item.trim()));
    if !is_list || quirks.contains(Quirk::RejectBlanksInPrefixes) {
        return wrong_item(item, value);
    }
    Respelled(value.split(',').map(str::trim).collect::<Vec<_>>().join(","))
}

fn ports(value: &str, any: bool) -> Finding {
    let list = value.trim();
    if list.is_empty() || (any && value == "*") {
        return Fine;
    }
    each(list, |item| port(item).is_some())
}

/// Istio's `ValidateInterfaceNames`.
fn interfaces(value: &str) -> Finding {
    if value.is_empty() {
        return Fine;
    }
    each(value, |item| {
        let name = item.trim();
        name.len() <= 15
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
    })
}

fn json_object(value: &str, accepts: impl Fn(&Value) -> bool) -> Finding {
    match serde_json::from_str::<Value>(value) {
        Err(_) => Wrong("it is not JSON".to_owned()),
        Ok(Value::Object(map)) => match map.iter().find(|(_, item)| !accepts(item)) {
            Some((key, _)) => Wrong(format!("the value of {} is not a string", shown_within(key, 24))),
            None => Fine,
        },
        Ok(_) => Wrong("it is not an object".to_owned()),
    }
}

fn scrape_targets(value: &str) -> Finding {
    let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
    for item in items {
        let port_text = item.split_once(':').map_or(item, |(port, _)| port);
        if port(port_text).is_none_or(|port| port == 0) {
            return wrong_item(item, value);
        }
    }
    Fine
}

fn networks(value: &str) -> Finding {
    if !value.trim_start().starts_with('[') {
        return Fine;
    }
    is(serde_json::from_str::<Vec<Value>>(value).is_ok())
}

fn id_range(value: &str) -> Finding {
    let both = value.split_once('/').or_else(|| value.split_once('-'));
    let number = |text: &str| uint(text.trim(), u64::from(u32::MAX)).is_some();
    is(both.is_some_and(|(start, end)| number(start) && number(end)))
}

fn is_envoy_level(text: &str) -> bool {
    matches!(text, "trace" | "debug" | "info" | "warning" | "warn" | "error" | "critical" | "off")
}

fn is_agent_level(text: &str) -> bool {
    matches!(text, "none" | "fatal" | "error" | "warn" | "info" | "debug")
}

/// Names of log scopes and components.
fn is_word(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
    !text.is_empty() && text.bytes().all(inner)
}

fn is_tag_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

/// `validation.IsDNS1123Subdomain`.
fn is_dns_subdomain(text: &str) -> bool {
    let word = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(word)
}
