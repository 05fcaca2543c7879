//! Private keys: parsed from PEM with error texts of our own, and wiped from memory once they are loaded.
//!
//! The signing key belongs to aws-lc, which wipes memory that it frees. Everything before that is wiped here: the
//! text, its base64, the DER.

use rustls::{
    InconsistentKeys,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};
use zeroize::Zeroizing;

use crate::pem::{self, Block, Pem};

/// The DER of a private key, wiped on drop.
pub(crate) type Key = Zeroizing<PrivateKeyDer<'static>>;

/// Parses the first private key in a text. An error says what was found, without any content.
///
/// # Errors
/// When there is none, a block is malformed, or the key is encrypted.
pub(crate) fn read(text: &[u8]) -> Result<Key, String> {
    let pem = Pem::parse(text);
    pem.whole()?;
    let is_encrypted = |block: &Block| {
        block.label == "ENCRYPTED PRIVATE KEY" || block.has_headers && block.label.ends_with("PRIVATE KEY")
    };
    if pem.blocks.iter().any(is_encrypted) {
        return Err("an encrypted private key".to_owned());
    }
    let key = |block: &Block| {
        let der = || block.der.clone();
        Some(Zeroizing::new(match block.label.as_str() {
            "PRIVATE KEY" => PrivateKeyDer::Pkcs8(der().into()),
            "RSA PRIVATE KEY" => PrivateKeyDer::Pkcs1(der().into()),
            "EC PRIVATE KEY" => PrivateKeyDer::Sec1(der().into()),
            _ => return None,
        }))
    };
    pem.blocks.iter().find_map(key).ok_or_else(|| {
        let mut labels: Vec<&str> = pem.blocks.iter().map(|block| block.label.as_str()).collect();
        labels.dedup();
        match labels.as_slice() {
            [] if text.first() == Some(&0x30) => "no private key in PEM; it may be DER".to_owned(),
            [] => "no private key".to_owned(),
            labels => format!("no private key but {}", pem::shown(&labels.join(", "))),
        }
    })
}

/// Builds a chain and its key like [`CertifiedKey::from_der`], which would keep a copy of the key.
///
/// # Errors
/// When the key cannot be used, or does not match the first certificate.
pub(crate) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: &Key,
) -> Result<CertifiedKey, rustls::Error> {
    let certified = CertifiedKey::new(chain, any_supported_type(key)?);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(error) => Err(error),
    }
}
