//! A self-signed certificate for trying things out: created in memory and gone with the process.

use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::key::Key;

/// Names of every self-signed certificate.
pub const NAMES: [&str; 4] = ["localhost", "127.0.0.1", "::1", "outrigger.outrigger-system.svc"];
/// T-02: verifiers' clocks may be behind.
const BACKDATED: Duration = Duration::from_secs(3600);
const VALID: Duration = Duration::from_secs(366 * 86_400);

/// A certificate and its key.
pub(crate) struct SelfSigned {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: Key,
}

/// Creates an ECDSA P-256 certificate that is valid for a year and is its own issuer.
///
/// # Errors
/// When a name is neither a DNS name nor an IP address.
pub(crate) fn make(names: &[String], now: SystemTime) -> Result<SelfSigned, rcgen::Error> {
    let mut all: Vec<String> = NAMES.iter().map(ToString::to_string).collect();
    for name in names {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    let mut parameters = CertificateParams::new(all)?;
    parameters.not_before = (now - BACKDATED).into();
    parameters.not_after = (now + VALID).into();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, "outrigger (self-signed)");
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?;
    Ok(SelfSigned {
        certificate: certificate.der().clone(),
        key: Zeroizing::new(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::chain, *};

    // T-02
    #[test]
    fn is_backdated() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let made = make(&["x.test".to_owned(), "10.0.0.1".to_owned()], now).unwrap();
        let validity = chain::validity(&made.certificate).unwrap();
        assert_eq!(validity.not_before, 1_800_000_000 - 3600);
        assert_eq!(validity.not_after, 1_800_000_000 + 366 * 86_400);
    }

    #[test]
    fn refuses_what_is_no_name() {
        assert!(make(&["ünïcode".to_owned()], SystemTime::UNIX_EPOCH + BACKDATED).is_err());
    }
}
