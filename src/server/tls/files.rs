//! The serving certificate from PEM files. Every error names the file, and a mismatch names both.

use std::path::{Path, PathBuf};

use rustls::{InconsistentKeys, pki_types::CertificateDer, sign::CertifiedKey};
use zeroize::Zeroizing;

use super::{
    key,
    objections::{rsa_size, useless},
};
use crate::{pem::Pem, server::reading};

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read; the error names it.
    #[error(transparent)]
    Read(Box<dyn std::error::Error + Send + Sync>),
    /// A file does not have the expected content.
    #[error("{}: found {found}; expected {accepted}", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// Its content.
        found: String,
        /// The expected content.
        accepted: &'static str,
    },
    /// Key and certificate do not match.
    #[error("the private key in {} does not match the certificate in {}", key.display(), chain.display())]
    Mismatch {
        /// File of the chain.
        chain: PathBuf,
        /// File of the key.
        key: PathBuf,
    },
}

const CHAIN: &str = "a certificate chain in PEM, the server's own certificate first";
const KEY: &str =
    "one unencrypted private key in PEM (PKCS#8, PKCS#1 or SEC1; RSA of 2048 to 8192 bits, ECDSA or Ed25519)";
/// Maximum size of a certificate file.
const FILE_BYTES: u64 = 1 << 20;

/// Loads a chain and its key.
///
/// # Errors
/// When a file cannot be read or is not the right kind of PEM, or the two do not match.
pub(crate) fn load(chain_file: &Path, key_file: &Path) -> Result<CertifiedKey, Error> {
    let text = read(chain_file)?;
    let pem = Pem::parse(&text);
    pem.whole().map_err(|problem| content(chain_file, problem, CHAIN))?;
    let chain: Vec<CertificateDer<'static>> =
        pem.certificates().map(|block| CertificateDer::from(block.der.clone())).collect();
    let Some(leaf) = chain.first().cloned() else {
        let der = if text.first() == Some(&0x30) { " in PEM; it may be DER" } else { "" };
        return Err(content(chain_file, format!("no certificate{der}"), CHAIN));
    };
    super::chain::validity(&leaf)
        .map_err(|_| content(chain_file, "a certificate that is not X.509".to_owned(), CHAIN))?;
    let key = key::read(&read(key_file)?).map_err(|found| content(key_file, found, KEY))?;
    key::certified(chain, &key).map_err(|error| match error {
        // Checked first, because unusable keys do not match either.
        _ if let Some(problem) = useless(&leaf) => {
            content(chain_file, format!("a certificate that {problem}"), CHAIN)
        }
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            Error::Mismatch { chain: chain_file.to_owned(), key: key_file.to_owned() }
        }
        rustls::Error::InvalidCertificate(error) => {
            content(chain_file, format!("a certificate that cannot be used ({error})"), CHAIN)
        }
        _ => {
            let size = rsa_size(&leaf).map(|bits| format!(" (RSA, {bits} bits)")).unwrap_or_default();
            content(key_file, format!("a private key that cannot be used{size}"), KEY)
        }
    })
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    match reading::read(file, FILE_BYTES) {
        Ok(whole) => Ok(whole.bytes),
        Err(reading::Error::TooLarge { bytes, .. }) => {
            Err(content(file, format!("{bytes} bytes"), "a PEM file of at most 1 MiB"))
        }
        Err(error) => Err(Error::Read(Box::new(error))),
    }
}

fn content(file: &Path, found: String, accepted: &'static str) -> Error {
    Error::Content { file: file.to_owned(), found, accepted }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let certificate =
            rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn load_texts(chain: &str, key: &str) -> Result<CertifiedKey, String> {
        let folder = tempfile::tempdir().unwrap();
        let (chain_file, key_file) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        std::fs::write(&chain_file, chain).unwrap();
        std::fs::write(&key_file, key).unwrap();
        load(&chain_file, &key_file).map_err(|error| error.to_string())
    }

    // T-19
    #[test]
    fn takes_every_usual_kind_of_key() {
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ED25519,
            &rcgen::PKCS_RSA_SHA256,
        ] {
            let (chain, key) = pair(algorithm);
            load_texts(&chain, &key).unwrap();
        }
    }

    // T-04
    #[test]
    fn a_mismatch_names_both_files() {
        let (chain, _) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
        let (_, key) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
        let error = load_texts(&chain, &key).unwrap_err();
        assert!(error.contains("tls.key does not match") && error.contains("tls.crt"), "{error}");
    }

    // T-04
    #[test]
    fn refuses_half_written_files() {
        let (chain, key) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
        for (chain, key, file) in [
            ("", key.as_str(), "tls.crt"),
            (&chain[..chain.len() / 2], &key, "tls.crt"),
            (&key, &key, "tls.crt"),
            (&chain, "", "tls.key"),
            (&chain, &key[..key.len() / 2], "tls.key"),
            (&chain, &chain, "tls.key"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key, "tls.crt"),
            (&chain, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "tls.key"),
        ] {
            let error = load_texts(chain, key).unwrap_err();
            assert!(error.contains(file) && error.contains("expected"), "{error}");
        }
    }

    #[test]
    fn a_chain_is_read_whole_or_not_at_all() {
        let (chain, key) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
        let (other, _) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
        let loaded =
            load_texts(&format!("a comment\r\n{chain}{other}{key}"), &format!("{chain}{key}")).unwrap();
        assert_eq!(loaded.cert.len(), 2, "the key is no part of the chain");
        for (chain, key, found) in [
            (format!("{}{other}", chain.trim_end()), key.clone(), "line 1: found a broken block CERTIFICATE"),
            (
                chain.replace("-----BEGIN", "  -----BEGIN"),
                key.clone(),
                "line 1: found a broken block CERTIFICATE",
            ),
            (format!("{chain}{}", &other[..60]), key.clone(), "it has no END line of its own"),
            (chain.clone(), format!("  {key}"), "line 1: found a broken block PRIVATE KEY"),
            (chain.clone(), key.replace(" PRIVATE", " ENCRYPTED PRIVATE"), "found an encrypted private key"),
        ] {
            let error = load_texts(&chain, &key).unwrap_err();
            assert!(error.contains(found), "{found}: {error}");
        }
    }

    // Errors never contain content of a file, nor a list of bytes instead of text.
    #[test]
    fn errors_are_sentences() {
        let (chain, key) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
        let body = key.lines().nth(1).unwrap().to_owned();
        for (key, found) in [
            (
                key.replace("-----END PRIVATE KEY-----\n", ""),
                "line 1: found a broken block PRIVATE KEY: it has no END line of its own",
            ),
            (key.replace("END PRIVATE", "END RSA PRIVATE"), "its END line has another label"),
            (
                key.replace("-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY"),
                "its BEGIN line does not end with -----",
            ),
            (key.replace(&body, "!!!!"), "it is not base64"),
            (key.replace("PRIVATE KEY", "PUBLIC KEY"), "found no private key but PUBLIC KEY; expected"),
            (chain.clone(), "found no private key but CERTIFICATE; expected"),
            ("nonsense\n".to_owned(), "found no private key; expected"),
            (String::new(), "found no private key; expected"),
        ] {
            let error = load_texts(&chain, &key).unwrap_err();
            assert!(error.contains(found), "{found}: {error}");
            let lists = error.split(['[', ',']).filter(|part| part.trim().parse::<u8>().is_ok()).count();
            assert!(lists == 0 && !error.contains(&body[..16]), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load(Path::new("/nonexistent/tls.crt"), Path::new("/k")).unwrap_err().to_string();
        assert!(error.starts_with("/nonexistent/tls.crt: "), "{error}");
    }
}
