//! Why API servers would reject a certificate with any CA in the caBundle. Pure.
//!
//! They verify with Go's `crypto/tls` and `crypto/x509`, which are stricter than the library that serves. Such
//! problems show only when the first pod is created, as `failed calling webhook: tls: …`. The rules are those of
//! `x509.ParseCertificate`, of `Certificate.Verify` for a server, and of the TLS client.

use std::collections::HashSet;

use rustls::pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension, X509Extension},
    prelude::{SubjectPublicKeyInfo, X509Version},
    public_key::PublicKey,
    signature_algorithm::SignatureAlgorithm,
    x509::AlgorithmIdentifier,
};

use super::chain::Validity;

/// A certificate that limits the validity of a chain, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its name in a sentence.
    name: String,
    validity: Validity,
}

/// The problems of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Objections {
    /// Sentences that are true at any time.
    lasting: Vec<String>,
    /// The certificates that must be valid too, besides the server's own.
    links: Vec<Link>,
}

impl Objections {
    /// Checks a chain, the server's own certificate first.
    pub(crate) fn of(chain: &[CertificateDer<'_>]) -> Objections {
        let mut found = Objections::default();
        let mut seen = HashSet::new();
        for (at, der) in chain.iter().enumerate() {
            // Go puts the certificates after the server's own into a pool, where a duplicate changes nothing.
            if seen.insert(der.as_ref()) {
                found.look(at, der);
            }
        }
        found
    }

    /// The sentences that are true at a time.
    pub(crate) fn now(&self, now: i64) -> Vec<String> {
        let links = self.links.iter().filter_map(|Link { name, validity }| {
            let problem = validity.problem(now)?.to_string();
            Some(problem.replacen("the certificate", name, 1))
        });
        self.lasting.iter().cloned().chain(links).collect()
    }

    fn look(&mut self, at: usize, der: &[u8]) {
        let own = at == 0;
        let name =
            if own { "the certificate".to_owned() } else { format!("certificate {} of the chain", at + 1) };
        let mut object = |objection: String| self.lasting.push(format!("{name} {objection}"));
        if let Some(problem) = unreadable(der) {
            return object(problem);
        }
        let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) else { return };
        let key = certificate.public_key();
        if rsa_bits(key).is_some_and(|bits| bits > MOST_RSA_BITS) {
            object(format!("has an RSA key of more than {MOST_RSA_BITS} bits"));
        }
        let self_issued = certificate.subject().as_raw() == certificate.issuer().as_raw();
        // Go checks the root in the caBundle instead of one in the chain; a server certificate may be its own root.
        if !own && self_issued {
            return;
        }
        key_objection(key).into_iter().for_each(&mut object);
        if !self_issued && let Some(algorithm) = unverifiable(&certificate.signature_algorithm) {
            object(format!("is signed with {algorithm}"));
        }
        unhandled(&certificate).into_iter().for_each(&mut object);
        if let Ok(Some(usage)) = certificate.extended_key_usage()
            && !(usage.value.server_auth || usage.value.any)
        {
            object("is not for servers (extendedKeyUsage without serverAuth)".to_owned());
        }
        if own {
            if !has_names(&certificate) {
                object(
                    "is for no DNS name and no IP address (subjectAltName; a common name does not count)"
                        .to_owned(),
                );
            }
        } else {
            if !certificate.is_ca() {
                object("is not a CA certificate (basicConstraints)".to_owned());
            } else if let Ok(Some(usage)) = certificate.key_usage()
                && !usage.value.key_cert_sign()
            {
                object("may not sign certificates (keyUsage without keyCertSign)".to_owned());
            }
            self.links.push(Link { name, validity: Validity::of(&certificate) });
        }
    }
}

/// Go's TLS client accepts no larger keys (`maxRSAKeySize`).
const MOST_RSA_BITS: usize = 8192;
/// `crypto/rsa` accepts no smaller ones.
const LEAST_RSA_BITS: usize = 1024;

const RSA: &str = "1.2.840.113549.1.1.1";
const RSASSA_PSS: &str = "1.2.840.113549.1.1.10";
const EC: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";
const SUBJECT_KEY_ID: &str = "2.5.29.14";
const AUTHORITY_KEY_ID: &str = "2.5.29.35";
const AUTHORITY_INFO_ACCESS: &str = "1.3.6.1.5.5.7.1.1";
/// P-224, P-256, P-384 and P-521.
const CURVES: [&str; 4] = ["1.3.132.0.33", "1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"];
/// SHA-256, SHA-384 and SHA-512 with RSA and with ECDSA, and Ed25519.
const SIGNATURES: [&str; 7] = [
    "1.2.840.113549.1.1.11",
    "1.2.840.113549.1.1.12",
    "1.2.840.113549.1.1.13",
    "1.2.840.10045.4.3.2",
    "1.2.840.10045.4.3.3",
    "1.2.840.10045.4.3.4",
    ED25519,
];
/// Well-known weak algorithms.
const WEAK_SIGNATURES: [(&str, &str); 4] = [
    ("1.2.840.113549.1.1.4", "MD5, which is insecure"),
    ("1.2.840.113549.1.1.5", "SHA-1, which is insecure"),
    ("1.2.840.10045.4.1", "SHA-1, which is insecure"),
    ("1.3.14.3.2.29", "SHA-1, which is insecure"),
];
/// Hashes for RSASSA-PSS, and the salt length of each in bytes: SHA-256, SHA-384 and SHA-512.
const PSS_HASHES: [(&str, u32); 3] =
    [("2.16.840.1.101.3.4.2.1", 32), ("2.16.840.1.101.3.4.2.2", 48), ("2.16.840.1.101.3.4.2.3", 64)];
/// Extensions of X.509 itself (2.5.29.N) that Go parses. Names and name constraints are checked by their content.
const HANDLED: [&str; 11] = [
    "2.5.29.15",
    "2.5.29.19",
    "2.5.29.17",
    "2.5.29.30",
    "2.5.29.31",
    "2.5.29.36",
    "2.5.29.37",
    "2.5.29.32",
    "2.5.29.33",
    "2.5.29.54",
    AUTHORITY_KEY_ID,
];

/// Why Go cannot parse a certificate at all. Such a certificate fails every handshake in which it is presented, and
/// is silently skipped in a caBundle.
pub(crate) fn unreadable(der: &[u8]) -> Option<String> {
    let Ok((rest, certificate)) = x509_parser::parse_x509_certificate(der) else {
        return Some("is not X.509 in DER".to_owned());
    };
    if !rest.is_empty() {
        return Some("has trailing data".to_owned());
    }
    if certificate.tbs_certificate.raw_serial().first().is_none_or(|byte| byte & 0x80 != 0) {
        return Some("has a negative serial number".to_owned());
    }
    if certificate.signature_algorithm != certificate.tbs_certificate.signature {
        return Some("names two different signature algorithms".to_owned());
    }
    if certificate.version() != X509Version::V3 && !certificate.extensions().is_empty() {
        return Some("has extensions but is not version 3".to_owned());
    }
    let mut seen = HashSet::new();
    for extension in certificate.extensions() {
        let oid = extension.oid.to_id_string();
        let never_critical = [SUBJECT_KEY_ID, AUTHORITY_KEY_ID, AUTHORITY_INFO_ACCESS];
        if extension.critical && never_critical.contains(&oid.as_str()) {
            return Some(format!("has an extension that must not be critical ({oid})"));
        }
        if !seen.insert(oid.clone()) {
            return Some(format!("has an extension twice ({oid})"));
        }
        if let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension()
            && names
                .general_names
                .iter()
                .any(|name| matches!(name, GeneralName::IPAddress(bytes) if !matches!(bytes.len(), 4 | 16)))
        {
            return Some("has an invalid IP address".to_owned());
        }
    }
    let key = certificate.public_key();
    match key.algorithm.algorithm.to_id_string().as_str() {
        RSA if key.algorithm.parameters.is_none() => Some("has an RSA key without parameters".to_owned()),
        EC if !curve(key).is_some_and(|curve| CURVES.contains(&curve.as_str())) => {
            Some("has a key on an unknown elliptic curve".to_owned())
        }
        _ => None,
    }
}

/// Why a certificate is unusable for everyone, including the library that serves.
pub(super) fn useless(der: &[u8]) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let old = certificate.version() != X509Version::V3;
    key_objection(certificate.public_key())
        .or_else(|| unhandled(&certificate))
        .or_else(|| unreadable(der))
        .or_else(|| old.then(|| "is not X.509 version 3".to_owned()))
}

/// The size of a certificate's RSA key in bits.
pub(super) fn rsa_size(der: &[u8]) -> Option<usize> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    rsa_bits(certificate.public_key())
}

fn curve(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    Some(key.algorithm.parameters.as_ref()?.as_oid().ok()?.to_id_string())
}

/// The problem with a key that signs a handshake or a certificate.
fn key_objection(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    match key.algorithm.algorithm.to_id_string().as_str() {
        RSA => {
            let bits = rsa_bits(key).filter(|bits| *bits < LEAST_RSA_BITS)?;
            Some(format!("has an RSA key of {bits} bits, fewer than {LEAST_RSA_BITS}"))
        }
        EC | ED25519 => None,
        RSASSA_PSS => Some("has a key restricted to RSASSA-PSS, not a plain RSA key".to_owned()),
        other => Some(format!("has a key of an unknown type ({other})")),
    }
}

fn rsa_bits(key: &SubjectPublicKeyInfo<'_>) -> Option<usize> {
    let Ok(PublicKey::RSA(key)) = key.parsed() else { return None };
    let zeros = key.modulus.iter().position(|byte| *byte != 0)?;
    let modulus = key.modulus.get(zeros..)?;
    Some(modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?)
}

/// A signature algorithm that Go does not verify.
fn unverifiable(algorithm: &AlgorithmIdentifier<'_>) -> Option<String> {
    let oid = algorithm.algorithm.to_id_string();
    if SIGNATURES.contains(&oid.as_str()) {
        return None;
    }
    if let Some((_, weak)) = WEAK_SIGNATURES.iter().find(|(weak, _)| *weak == oid) {
        return Some((*weak).to_owned());
    }
    if oid == RSASSA_PSS {
        return pss_problem(algorithm).map(str::to_owned);
    }
    Some(format!("an unknown algorithm ({oid})"))
}

/// Go supports three sets of RSASSA-PSS parameters.
fn pss_problem(algorithm: &AlgorithmIdentifier<'_>) -> Option<&'static str> {
    let Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) = SignatureAlgorithm::try_from(algorithm) else {
        return Some("RSASSA-PSS with unreadable parameters");
    };
    let hash = parameters.hash_algorithm_oid();
    let Some((_, salt)) = PSS_HASHES.iter().find(|(known, _)| *known == hash.to_id_string()) else {
        return Some("RSASSA-PSS with an unsupported hash");
    };
    if parameters.mask_gen_algorithm().is_ok_and(|mask| mask.hash != *hash) {
        return Some("RSASSA-PSS with two hashes");
    }
    // OpenSSL's default is the longest salt that fits.
    (parameters.salt_length() != *salt)
        .then_some("RSASSA-PSS with a salt whose length differs from the hash's")
}

fn unhandled(certificate: &X509Certificate<'_>) -> Option<String> {
    let extension = certificate.extensions().iter().find(|extension| is_unhandled(extension))?;
    Some(format!("has an unknown critical extension ({})", extension.oid))
}

/// Whether Go rejects a certificate because of a critical extension.
fn is_unhandled(extension: &X509Extension<'_>) -> bool {
    let handled = match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => names.general_names.iter().any(|name| {
            matches!(
                name,
                GeneralName::DNSName(_)
                    | GeneralName::IPAddress(_)
                    | GeneralName::RFC822Name(_)
                    | GeneralName::URI(_)
            )
        }),
        _ => HANDLED.contains(&extension.oid.to_id_string().as_str()),
    };
    extension.critical && !handled
}

/// Whether it has any name that identifies a server.
fn has_names(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject_alternative_name().ok().flatten().is_some_and(|names| {
        let names = &names.value.general_names;
        names.iter().any(|name| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_)))
    })
}

#[cfg(test)]
mod tests;
