//! Creates CAs and certificates: ECDSA P-256, backdated, with CAs that can sign only end-entity certificates. The
//! clock is an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{super::tls::chain::Validity, plan::BACKDATED};

/// Why nothing can be created.
#[derive(Debug, thiserror::Error)]
#[error("cannot create a certificate: {0}")]
pub(crate) struct Error(#[from] rcgen::Error);

/// A certificate and its key.
pub(crate) struct Made {
    pub(crate) der: CertificateDer<'static>,
    /// In PEM.
    pub(crate) certificate: String,
    /// In PEM.
    pub(crate) key: Zeroizing<String>,
}

/// RFC 5280, ub-common-name.
const LONGEST_COMMON_NAME: usize = 64;

/// Creates a CA that is valid for `lifetime` seconds from now.
///
/// # Errors
/// When the cryptographic library fails.
pub(crate) fn authority(now: i64, lifetime: i64) -> Result<Made, Error> {
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = common_name(&name_of(&key.subject_public_key_info()));
    parameters.not_before = at(now - BACKDATED);
    parameters.not_after = at(now + lifetime);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = parameters.self_signed(&key)?;
    Ok(made(&certificate, &key))
}

/// The name of a CA with a key. Each key has its own name, because verifiers find the issuer by name.
fn name_of(key: &[u8]) -> String {
    let mark: String = Sha256::digest(key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("outrigger CA {mark}")
}

/// Whether a certificate is a CA of this program: its name has our form and follows from its key.
pub(crate) fn is_authority(ca: &CertificateDer<'_>) -> bool {
    x509_parser::parse_x509_certificate(ca).is_ok_and(|(_, ca)| {
        let wanted = name_of(ca.public_key().raw);
        ca.subject().iter_common_name().any(|name| name.as_str().is_ok_and(|name| name == wanted))
    })
}

/// Creates a server certificate for `names`, issued by a CA, valid for `lifetime` seconds from now but no longer than
/// the CA.
///
/// # Errors
/// When the CA's key cannot be used, or a name is neither a DNS name nor an IP address.
pub(crate) fn leaf(
    (ca, ca_key): (&CertificateDer<'_>, &str),
    ca_validity: Validity,
    names: &[String],
    now: i64,
    lifetime: i64,
) -> Result<Made, Error> {
    let issuer = Issuer::from_ca_cert_der(ca, KeyPair::from_pem(ca_key)?)?;
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name = match names.first() {
        Some(name) if name.len() <= LONGEST_COMMON_NAME => common_name(name),
        _ => DistinguishedName::new(),
    };
    parameters.not_before = at((now - BACKDATED).max(ca_validity.not_before));
    parameters.not_after = at((now + lifetime).min(ca_validity.not_after));
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    let certificate = parameters.signed_by(&key, &issuer)?;
    Ok(made(&certificate, &key))
}

fn made(certificate: &rcgen::Certificate, key: &KeyPair) -> Made {
    Made {
        der: certificate.der().clone(),
        certificate: certificate.pem(),
        key: Zeroizing::new(key.serialize_pem()),
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// The type used to create certificates is reachable through the standard library's.
fn at<T: From<SystemTime>>(seconds: i64) -> T {
    (UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))).into()
}
