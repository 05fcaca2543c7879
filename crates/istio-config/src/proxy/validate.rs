//! What Istio's `ValidateMeshConfigProxyConfig` rejects in a complete proxy configuration; reports every violation at
//! once.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value};

use crate::duration::Duration;
use crate::proto::{Path, Step, Violation, shown};

/// All violations of a complete message at a path.
pub(crate) fn proxy_config(config: &Map<String, Value>, at: Path) -> Vec<Violation> {
    let mut check = Check::new(config, at);
    for required in ["configPath", "binaryPath", "discoveryAddress"] {
        if check.text(required).is_empty() {
            check.refuse(required, "a value that is not empty");
        }
    }
    if !config.contains_key("tracingServiceName") && check.text("serviceCluster").is_empty() {
        check.refuse("serviceCluster", "a value that is not empty, or tracingServiceName in its place");
    }
    if let Err(accepted) = duration_of_milliseconds(check.duration("drainDuration")) {
        check.refuse("drainDuration", accepted);
    } else if check.duration("drainDuration").nanos() % 1_000_000_000 != 0 {
        check.refuse("drainDuration", "a duration in whole seconds");
    }
    check.address_if_set(&["discoveryAddress"]);
    check.address_if_set(&["statsdUdpAddress"]);
    check.address_if_set(&["envoyMetricsServiceAddress"]);
    check.address_if_set(&["envoyMetricsService", "address"]);
    check.address_if_set(&["envoyAccessLogService", "address"]);
    check.port("proxyAdminPort");
    check.port("statusPort");
    if config.get("controlPlaneAuthPolicy").is_some_and(|policy| policy != "MUTUAL_TLS" && policy != "NONE") {
        check.refuse("controlPlaneAuthPolicy", "NONE or MUTUAL_TLS");
    }
    if let Some(tracing) = config.get("tracing") {
        tracing_violations(tracing, &mut check);
    }
    if let Some(provider) = config.get("privateKeyProvider") {
        private_key_provider(provider, &mut check);
    }
    if let Some(settings) = config.get("connectionSettings").and_then(Value::as_object) {
        connection_settings(settings, &mut check);
    }
    check.violations
}

/// Collects violations of one message.
pub(crate) struct Check<'a> {
    message: &'a Map<String, Value>,
    at: Path,
    pub(crate) violations: Vec<Violation>,
}

impl<'a> Check<'a> {
    pub(crate) fn new(message: &'a Map<String, Value>, at: Path) -> Check<'a> {
        Check { message, at, violations: Vec::new() }
    }

    /// A string field, empty if absent.
    pub(crate) fn text(&self, key: &str) -> &'a str {
        self.message.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// A duration field, zero if absent.
    pub(crate) fn duration(&self, key: &str) -> Duration {
        self.message.get(key).map(duration_of).unwrap_or_default()
    }

    pub(crate) fn port(&mut self, key: &str) {
        let port = self.message.get(key).and_then(Value::as_i64).unwrap_or_default();
        if !(1..=65535).contains(&port) {
            self.refuse(key, "a port from 1 to 65535");
        }
    }

    pub(crate) fn refuse(&mut self, key: &str, accepted: &str) {
        let found = self.message.get(key).map_or_else(|| "nothing (or its zero value)".to_owned(), shown);
        self.refuse_at(&[key], None, found, accepted);
    }

    pub(crate) fn refuse_at(&mut self, keys: &[&str], at: Option<usize>, found: String, accepted: &str) {
        let mut path = self.at.clone();
        path.0.extend(keys.iter().map(|key| Step::Key((*key).to_owned())));
        path.0.extend(at.map(Step::Index));
        self.violations.push(Violation::invalid(&path, found, accepted));
    }

    fn at(&self, keys: &[&str]) -> Option<&'a Value> {
        let (first, rest) = keys.split_first()?;
        rest.iter().try_fold(self.message.get(*first)?, |value, key| value.get(key))
    }

    fn text_at(&self, keys: &[&str]) -> &'a str {
        self.at(keys).and_then(Value::as_str).unwrap_or_default()
    }

    fn address_if_set(&mut self, keys: &[&str]) {
        if !self.text_at(keys).is_empty() {
            self.address(keys, self.text_at(keys));
        }
    }

    fn address(&mut self, keys: &[&str], address: &str) {
        if !is_proxy_address(address) {
            let found = self.at(keys).map_or_else(|| "nothing".to_owned(), shown);
            self.refuse_at(
                keys,
                None,
                found,
                "host:port with a host name or IP address and a port from 1 to 65535",
            );
        }
    }
}

fn tracing_violations(tracing: &Value, check: &mut Check<'_>) {
    if tracing.get("lightstep").is_some() {
        let address = ["tracing", "lightstep", "address"];
        check.address(&address, check.text_at(&address));
        let token = ["tracing", "lightstep", "accessToken"];
        if check.text_at(&token).is_empty() {
            check.refuse_at(&token, None, "nothing".to_owned(), "an access token");
        }
    }
    for tracer in ["zipkin", "datadog"] {
        if tracing.get(tracer).is_some() {
            let address = ["tracing", tracer, "address"];
            // The node's address is only known at run time.
            check.address(&address, &check.text_at(&address).replacen("$(HOST_IP)", "127.0.0.1", 1));
        }
    }
    if let Some(settings) = tracing.get("tlsSettings").and_then(Value::as_object) {
        tls_settings(settings, check);
    }
}

/// `ValidateTLS` for a message without a namespace.
fn tls_settings(settings: &Map<String, Value>, check: &mut Check<'_>) {
    let text = |key: &str| settings.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut refuse = |key: &str, accepted: &str| {
        let found = settings.get(key).map_or_else(|| "nothing".to_owned(), shown);
        check.refuse_at(&["tracing", "tlsSettings", key], None, found, accepted);
    };
    let has_credential = !text("credentialName").is_empty();
    if text("credentialName").starts_with("configmap://") {
        refuse("credentialName", "the name of a Secret: a ConfigMap would need a namespace");
    }
    let mode = text("mode");
    let (simple, mutual) = (mode == "SIMPLE", mode == "MUTUAL");
    if settings.get("insecureSkipVerify") == Some(&Value::Bool(true)) {
        let with_authority = !text("caCertificates").is_empty() || settings.contains_key("subjectAltNames");
        if simple && (with_authority || has_credential) || mutual && with_authority {
            refuse("insecureSkipVerify", "false with caCertificates, credentialName or subjectAltNames");
        }
    }
    if (simple || mutual) && has_credential {
        for key in ["clientCertificate", "caCertificates", "privateKey", "caCrl"] {
            if !text(key).is_empty() {
                refuse(key, "nothing with credentialName");
            }
        }
    } else if mutual {
        for key in ["clientCertificate", "privateKey"] {
            if text(key).is_empty() {
                refuse(key, "a path, for mode MUTUAL");
            }
        }
    }
}

fn private_key_provider(provider: &Value, check: &mut Check<'_>) {
    let Some(kind) = ["cryptomb", "qat"].into_iter().find(|kind| provider.get(kind).is_some()) else {
        return check.refuse_at(&["privateKeyProvider"], None, "no provider".to_owned(), "cryptomb or qat");
    };
    let keys = ["privateKeyProvider", kind, "pollDelay"];
    let delay = check.at(&keys).map(duration_of).unwrap_or_default();
    if delay == Duration::default() {
        let found = check.at(&keys).map_or_else(|| "nothing".to_owned(), shown);
        check.refuse_at(&keys, None, found, "a duration that is not zero");
    }
}

fn connection_settings(settings: &Map<String, Value>, check: &mut Check<'_>) {
    const LEAST: [(&str, i64); 7] = [
        ("listenerPerConnectionBufferLimitBytes", 0),
        ("clusterPerConnectionBufferLimitBytes", 0),
        ("httpMaxConcurrentStreams", 1),
        ("http2InitialStreamWindowSize", 65535),
        ("http2InitialConnectionWindowSize", 65535),
        ("listenerConnectionLimit", 1),
        ("globalDownstreamConnectionLimit", 1),
    ];
    const NOT_NEGATIVE: [&str; 7] = [
        "httpIdleTimeout",
        "httpMaxConnectionDuration",
        "httpDrainTimeout",
        "httpRequestTimeout",
        "httpRequestHeadersTimeout",
        "httpStreamIdleTimeout",
        "httpMaxStreamDuration",
    ];
    for (key, least) in LEAST {
        if let Some(value) = settings.get(key).filter(|value| value.as_i64().is_some_and(|set| set < least)) {
            let accepted = format!("a number of at least {least}");
            check.refuse_at(&["connectionSettings", key], None, shown(value), &accepted);
        }
    }
    for key in NOT_NEGATIVE {
        if let Some(value) = settings.get(key).filter(|value| duration_of(value) < Duration::default()) {
            check.refuse_at(
                &["connectionSettings", key],
                None,
                shown(value),
                "a duration that is not negative",
            );
        }
    }
}

fn duration_of(value: &Value) -> Duration {
    value.as_str().and_then(|text| Duration::parse(text).ok()).unwrap_or_default()
}

/// `ValidateDuration`: at least a millisecond, in whole milliseconds.
///
/// # Errors
/// The expected value.
pub(crate) fn duration_of_milliseconds(duration: Duration) -> Result<(), &'static str> {
    match duration.nanos() {
        ..1_000_000 => Err("a duration of at least 1ms"),
        nanos if nanos % 1_000_000 != 0 => Err("a duration in whole milliseconds"),
        _ => Ok(()),
    }
}

/// `ValidateProxyAddress`: a host name or IP address, and a port.
pub(crate) fn is_proxy_address(address: &str) -> bool {
    let Some((host, port)) = split_host_port(address) else { return false };
    port.parse::<i64>().is_ok_and(|port| (1..=65535).contains(&port))
        && (is_domain(host) || is_ip_address(host))
}

/// Go's `net.SplitHostPort`.
fn split_host_port(address: &str) -> Option<(&str, &str)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let clean = |part: &str| !part.contains(['[', ']']);
    (clean(host) && clean(port)).then_some((host, port))
}

/// `ValidateFQDN`.
fn is_domain(domain: &str) -> bool {
    !domain.is_empty() && domain.len() <= 255 && has_dns_labels(domain)
}

/// `ValidateWildcardDomain`: a domain whose first label may be or start with `*`.
pub(crate) fn is_wildcard_domain(domain: &str) -> bool {
    if domain.is_empty() || domain.len() > 255 {
        return false;
    }
    let (first, rest) = domain.split_once('.').map_or((domain, None), |(first, rest)| (first, Some(rest)));
    let first =
        first.strip_prefix('*').map(|label| label.strip_prefix('-').unwrap_or(label)).unwrap_or(first);
    let wild = domain == "*" || first.is_empty() && domain.starts_with("*.");
    (wild || is_dns_label(first)) && rest.is_none_or(has_dns_labels)
}

/// `ValidateDNS1123Labels`: the last label may be empty but not a number.
fn has_dns_labels(domain: &str) -> bool {
    let (labels, last) =
        domain.rsplit_once('.').map_or((None, domain), |(labels, last)| (Some(labels), last));
    last.parse::<i64>().is_err()
        && (last.is_empty() || is_dns_label(last))
        && labels.is_none_or(|labels| labels.split('.').all(is_dns_label))
}

/// Istio's `labels.IsDNS1123Label`: upper case is allowed.
pub(crate) fn is_dns_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&label.len())
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Go's `netip.ParseAddr`.
fn is_ip_address(text: &str) -> bool {
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    match zone {
        Some(zone) => !zone.is_empty() && address.parse::<Ipv6Addr>().is_ok(),
        None => address.parse::<Ipv4Addr>().is_ok() || address.parse::<Ipv6Addr>().is_ok(),
    }
}
