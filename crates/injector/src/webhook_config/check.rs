//! Validates a MutatingWebhookConfiguration by the API server's rules, before the API server rejects it.

use super::{Client, DEFAULT_REVISION, Settings};
use crate::pem::{ACCEPTED, Pem};

pub(super) const LABEL: &str =
    "a DNS label: up to 63 of a-z 0-9 -, beginning and ending with a letter or digit";

/// All problems, one sentence each.
pub(super) fn settings(settings: &Settings) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    let mut label = |what: &str, text: &str| {
        if !is_dns_label(text) {
            problems.push(format!("{what}: found {text:?}; expected {LABEL}"));
        }
    };
    label("revision", &settings.revision);
    label("namespace", &settings.namespace);
    for tag in &settings.tags {
        label("tag", tag);
    }
    for namespace in &settings.excluded_namespaces {
        label("excluded namespace", namespace);
    }
    let mut seen = Vec::new();
    for tag in &settings.tags {
        if *tag == settings.revision {
            problems.push(format!("tag: found {tag:?}, which is the revision; expected another name"));
        } else if seen.contains(&tag) {
            problems.push(format!("tag: found {tag:?} twice; expected every tag once"));
        }
        seen.push(tag);
    }
    let answers_to_default =
        settings.revision == DEFAULT_REVISION || seen.iter().any(|tag| *tag == DEFAULT_REVISION);
    if settings.enable_namespaces_by_default && !answers_to_default {
        problems.push(format!(
            "namespaces are enabled by default, but revision {:?} is not the default one; expected the revision or a tag \
             named {DEFAULT_REVISION:?}",
            settings.revision
        ));
    }
    if !is_suffix(&settings.suffix) {
        problems.push(format!(
            "name suffix: found {:?}; expected a DNS name of at least two parts, not under static.k8s.io",
            settings.suffix
        ));
    }
    if !(1..=30).contains(&settings.timeout_seconds) {
        problems.push(format!("timeout: found {}s; expected 1s to 30s", settings.timeout_seconds));
    }
    match &settings.client {
        Client::Service { name, port, path } => {
            if !is_service_name(name) {
                problems.push(format!("service: found {name:?}; expected {LABEL}, beginning with a letter"));
            }
            if *port == 0 {
                problems.push("port: found 0; expected 1 to 65535".to_owned());
            }
            if !is_path(path) {
                problems.push(format!(
                    "path: found {path:?}; expected a path such as /inject or /inject/cluster/east, of \
                     a-z 0-9 - . between the slashes"
                ));
            }
        }
        Client::Url(url) if !is_webhook_url(url) => problems.push(format!(
            "url: found {url:?}; expected https://HOST[:PORT]/PATH without user, query and fragment"
        )),
        Client::Url(_) => {}
    }
    if let Some(text) = &settings.ca_bundle
        && let Err(problem) = Pem::parse(text.as_bytes()).only_certificates()
    {
        problems.push(format!("CA bundle: {problem}; expected {ACCEPTED}"));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// `validation.IsDNS1123Label`.
pub(super) fn is_dns_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 63
        && text.starts_with(inner)
        && text.ends_with(inner)
        && text.chars().all(|c| inner(c) || c == '-')
}

/// The entries' names are fully qualified: with the prefix at least three parts (`ValidateWebhook`, DA-12).
fn is_suffix(text: &str) -> bool {
    text.len() <= 200
        && text.contains('.')
        && text.split('.').all(is_dns_label)
        && text != "static.k8s.io"
        && !text.ends_with(".static.k8s.io")
}

/// `validation.IsDNS1035Label`.
fn is_service_name(text: &str) -> bool {
    is_dns_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

/// `webhook.ValidateWebhookService`: every segment is a DNS subdomain, so parameters with other characters need a URL.
fn is_path(path: &str) -> bool {
    let segments = path.strip_prefix('/').map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    segments.is_some_and(|segments| {
        segments.is_empty() || segments.split('/').all(|segment| segment.split('.').all(is_dns_label))
    })
}

/// `webhook.ValidateWebhookURL` (DA-16).
fn is_webhook_url(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://") else { return false };
    let host = rest.split('/').next().unwrap_or_default();
    let port = match host.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => Some(port),
        _ => None,
    };
    !host.is_empty()
        && !host.starts_with(':')
        && !host.contains('@')
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
        && !rest.contains(['?', '#'])
        && !rest.contains(|c: char| c.is_whitespace() || c.is_control())
}
