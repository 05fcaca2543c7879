//! The CAs that sign client certificates: parsed from PEM as a whole or not at all, and trusted only while they are
//! valid.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::CertificateDer,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use x509_parser::certificate::X509Certificate;

use super::{names::shown, until};
use crate::{pem::Pem, server::tls::chain::Validity};

/// The configured CAs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authorities(Vec<Authority>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Authority {
    der: CertificateDer<'static>,
    subject: String,
    validity: Validity,
}

/// The CAs that are valid during an interval.
pub(super) struct Trust {
    pub(super) authorities: Authorities,
    /// Verifies with the valid CAs; `None` if there is no valid one.
    pub(super) verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Identifies this set of CAs: differs if any certificate could be judged differently.
    pub(super) generation: u64,
    /// The interval in seconds since 1970, both ends included.
    pub(super) span: (i64, i64),
}

const ACCEPTED: &str = "expected only CA certificates in PEM";

impl Authorities {
    /// Parses PEM.
    ///
    /// # Errors
    /// A sentence with what was found and what was expected.
    pub(super) fn parse(text: &[u8], now: i64) -> Result<Authorities, String> {
        let pem = Pem::parse(text);
        let blocks = pem.only_certificates().map_err(|found| format!("{found}; {ACCEPTED}"))?;
        let mut all = Vec::new();
        for block in blocks {
            let found =
                |what: &str| format!("line {}: found a certificate that {what}; {ACCEPTED}", block.line);
            let (rest, certificate) =
                x509_parser::parse_x509_certificate(&block.der).map_err(|_| found("is not X.509"))?;
            if !rest.is_empty() {
                return Err(found("has trailing data"));
            }
            let subject = shown(&certificate.subject().to_string());
            if !is_ca(&certificate) {
                return Err(found(&format!("is not a CA certificate ({subject})")));
            }
            let der = CertificateDer::from(block.der.clone());
            RootCertStore::empty()
                .add(der.clone())
                .map_err(|error| found(&format!("cannot be used ({error})")))?;
            all.push(Authority { der, subject, validity: Validity::of(&certificate) });
        }
        if all.iter().all(|authority| authority.validity.not_after < now) {
            let last = all.iter().map(|authority| authority.validity.not_after).max().unwrap_or_default();
            return Err(format!(
                "found no CA that has not expired (the last one was {}); {ACCEPTED}",
                until(last)
            ));
        }
        Ok(Authorities(all))
    }

    /// Whether any of them is among the certificates of a text.
    pub(super) fn has_any_of(&self, text: &[u8]) -> bool {
        let pem = Pem::parse(text);
        pem.certificates().any(|block| self.0.iter().any(|authority| authority.der.as_ref() == block.der))
    }

    /// When the last of them expires.
    pub(super) fn not_after(&self) -> i64 {
        self.0.iter().map(|authority| authority.validity.not_after).max().unwrap_or_default()
    }
}

fn is_ca(certificate: &X509Certificate<'_>) -> bool {
    certificate.basic_constraints().ok().flatten().is_some_and(|constraints| constraints.value.ca)
}

impl fmt::Display for Authorities {
    /// Their subjects and expiry dates.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, authority) in self.0.iter().take(4).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(out, "{comma}{} ({})", authority.subject, until(authority.validity.not_after))?;
        }
        match self.0.len().saturating_sub(4) {
            0 => Ok(()),
            more => write!(out, " and {more} more"),
        }
    }
}

impl Trust {
    /// The CAs that are valid at a time. The library checks the validity of the certificates that a client presents,
    /// but not that of the CA at the end of the chain.
    pub(super) fn at(authorities: Authorities, now: i64) -> Trust {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let generation = MADE.fetch_add(1, Ordering::Relaxed);
        let mut roots = RootCertStore::empty();
        let mut span = (i64::MIN, i64::MAX);
        for Authority { der, validity, .. } in &authorities.0 {
            if now < validity.not_before {
                span.1 = span.1.min(validity.not_before - 1);
            } else if now > validity.not_after {
                span.0 = span.0.max(validity.not_after + 1);
            } else {
                span = (span.0.max(validity.not_before), span.1.min(validity.not_after));
                // It could be added before, when the text was parsed.
                let _ = roots.add(der.clone());
            }
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        // It fails only if there is no CA.
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().ok();
        Trust { authorities, verifier, generation, span }
    }

    /// Whether the same CAs are valid at another time.
    pub(super) fn counts_at(&self, now: i64) -> bool {
        self.span.0 <= now && now <= self.span.1
    }
}
