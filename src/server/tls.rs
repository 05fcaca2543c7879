//! TLS: the serving certificate, which can be exchanged while connections come in, and the protocol settings.

pub mod chain;
pub mod files;
pub mod self_signed;

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use self::chain::Validity;
use super::options::{Certificate, TlsVersion};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// The self-signed certificate.
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
    /// A certificate that was just made cannot be used.
    #[error("cannot use the self-signed certificate: {0}")]
    Unusable(#[source] rustls::Error),
    /// Its validity cannot be read.
    #[error(transparent)]
    Validity(#[from] chain::Error),
    /// The TLS library.
    #[error("cannot set up TLS: {0}")]
    Library(#[source] rustls::Error),
}

/// A certificate that is ready to serve.
pub(crate) struct Serving {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) validity: Validity,
}

/// The certificate in use. Handshakes that have begun keep the one they got.
pub(crate) struct CertificateStore {
    origin: Certificate,
    current: ArcSwap<Serving>,
}

impl CertificateStore {
    /// Loads the certificate for the first time.
    pub(crate) fn open(origin: Certificate) -> Result<CertificateStore, Error> {
        let serving = load(&origin)?;
        Ok(CertificateStore { origin, current: ArcSwap::from_pointee(serving) })
    }

    /// Reads the files again; on an error the certificate in use stays. A self-signed one stays as it is.
    pub(crate) fn reload(&self) -> Result<Validity, Error> {
        if let Certificate::Files { .. } = self.origin {
            self.current.store(Arc::new(load(&self.origin)?));
        }
        Ok(self.validity())
    }

    pub(crate) fn validity(&self) -> Validity {
        self.current.load().validity
    }
}

impl fmt::Debug for CertificateStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CertificateStore").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // T-09, T-10: whatever name is asked for, there is one certificate.
        Some(self.current.load().key.clone())
    }
}

fn load(origin: &Certificate) -> Result<Serving, Error> {
    let key = match origin {
        Certificate::Files { chain, key } => files::load(chain, key)?,
        Certificate::SelfSigned { names } => {
            let made = self_signed::make(names, SystemTime::now())?;
            CertifiedKey::from_der(vec![made.certificate], made.key, &aws_lc_rs::default_provider())
                .map_err(Error::Unusable)?
        }
    };
    let leaf = key.cert.first().ok_or(chain::Error)?;
    let validity = chain::validity(leaf)?;
    Ok(Serving { key: Arc::new(key), validity })
}

/// Protocol settings: versions, ALPN, session tickets.
pub(crate) fn server_config(
    certificate: Arc<CertificateStore>,
    oldest: TlsVersion,
) -> Result<ServerConfig, Error> {
    let versions: &[&rustls::SupportedProtocolVersion] = match oldest {
        TlsVersion::V1_2 => &[&TLS13, &TLS12],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .map_err(Error::Library)?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // API servers open one connection per concurrent call: resumption keeps bursts cheap.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(Error::Library)?;
    Ok(config)
}

/// Now in seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
