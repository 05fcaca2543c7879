//! CA certificates: those of a file before they are published, and those that are public already.

use std::path::Path;

use serde_json::Value;

use super::super::{failure::Failure, files};
use crate::{
    pem::{self, ACCEPTED, Pem},
    server::tls::objections::unreadable,
    webhook_config::{self, entries},
};

/// Reads a file of CA certificates. The result is encoded anew and contains nothing but the certificates.
pub(super) fn read(file: &Path) -> Result<String, Failure> {
    let (name, bytes) = files::read_bytes(file)?;
    let refused =
        |problem: String| Failure::usage(format!("CA bundle: {problem} ({name}); expected {ACCEPTED}"));
    let pem = Pem::parse(&bytes);
    let blocks = pem.only_certificates().map_err(|problem| match bytes.as_slice() {
        [0x30, ..] if pem == Pem::default() => {
            refused("found no certificate in PEM; it may be DER".to_owned())
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            refused("found no certificate in PEM; it may be UTF-16".to_owned())
        }
        _ => refused(problem),
    })?;
    let mut text = String::new();
    for block in blocks {
        if let Some(problem) = unreadable(&block.der) {
            let line = block.line;
            return Err(refused(format!(
                "line {line}: found a certificate that API servers cannot read: it {problem}"
            )));
        }
        text.push_str(&pem::encode(pem::CERTIFICATE, &block.der));
    }
    Ok(text)
}

/// Why an API server finds no certificate in a caBundle.
pub(in crate::cli) fn problem(bundle: &str) -> Option<String> {
    let pem = webhook_config::read_ca_bundle(bundle);
    let mut problems = pem.certificates().filter_map(|block| Some((block.line, unreadable(&block.der)?)));
    if pem.certificates().any(|block| unreadable(&block.der).is_none()) {
        return None;
    }
    let found = match problems.next() {
        Some((line, problem)) => format!("line {line}: it {problem}"),
        None => pem.whole().err().or_else(|| pem.only_certificates().err()).unwrap_or_default(),
    };
    Some(found)
}

/// Warnings about the caBundles of a configuration as it is now.
pub(in crate::cli) fn remarks(name: &str, configuration: &Value) -> Vec<String> {
    let bundles =
        || entries(configuration).filter_map(|(name, entry)| Some((name, webhook_config::ca_bundle(entry)?)));
    let with_keys: Vec<&str> = bundles()
        .filter(|(_, bundle)| webhook_config::read_ca_bundle(bundle).private_key().is_some())
        .map(|(entry, _)| entry)
        .collect();
    let mut remarks = Vec::new();
    if !with_keys.is_empty() {
        remarks.push(format!(
            "{name}: the caBundle of {} contains a private key, visible to everybody who can read webhook configurations; replace \
             that key, and apply again with --ca-bundle and certificates alone",
            with_keys.join(", ")
        ));
    }
    for (entry, problem) in bundles().filter_map(|(entry, bundle)| Some((entry, problem(bundle)?))) {
        remarks.push(format!(
            "{name}: the caBundle of {entry} contains no certificate that API servers can read: {problem}"
        ));
    }
    remarks
}
