//! TLS: the serving certificate, which can be replaced while connections arrive, and the protocol settings.

pub(in crate::server) mod acceptor;
pub mod chain;
pub mod files;
pub(crate) mod key;
pub(crate) mod metrics;
pub(crate) mod objections;
pub mod self_signed;

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::SystemTime,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::{
    CipherSuite, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{
        ClientHello, NoClientAuth, NoServerSessionStorage, ProducesTickets, ResolvesServerCert,
        danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use self::{
    chain::{Problem, Validity, date},
    metrics::TlsMetrics,
    objections::Objections,
};
use crate::server::clock::unix_now;
use crate::server::readiness::Gate;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files are unusable.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// The self-signed certificate cannot be created.
    #[error("cannot create a self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
    /// A certificate that was just created cannot be used.
    #[error("cannot use the self-signed certificate: {0}")]
    Unusable(#[source] rustls::Error),
    /// Its validity cannot be read.
    #[error(transparent)]
    Validity(#[from] chain::Error),
    /// It is not valid now, and there is another one.
    #[error("{0}")]
    Untimely(Problem),
    /// Its files are being written and have to be read again.
    #[error("{0}")]
    Busy(String),
    /// An error of the TLS library.
    #[error("cannot set up TLS: {0}")]
    Library(#[source] rustls::Error),
}

impl Error {
    /// Whether the system lacks memory, as far as the crypto library tells: it has one error for everything (`RingUnspecified`), and
    /// with parameters of our own nothing else can fail.
    pub fn is_exhausted(&self) -> bool {
        matches!(self, Error::SelfSigned(rcgen::Error::RingUnspecified) | Error::Unusable(_))
    }
}

/// The source of a certificate that is not kept in the cluster.
#[derive(Clone, Debug)]
pub enum Origin {
    /// PEM files, read again at every reload.
    Files {
        /// The chain, leaf first.
        chain: PathBuf,
        /// The private key of the leaf.
        key: PathBuf,
    },
    /// Created in memory at the start.
    SelfSigned {
        /// DNS names and IP addresses in addition to the local ones.
        names: Vec<String>,
    },
}

/// Minimum TLS version to accept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2
    #[default]
    V1_2,
    /// TLS 1.3
    V1_3,
}

/// No time at which to read a certificate again.
const NEVER: i64 = i64::MAX;

/// A certificate that is ready to serve.
pub(crate) struct Serving {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) validity: Validity,
    objections: Objections,
}

/// The active certificate, once there is one. Handshakes in progress keep the one they started with.
pub(crate) struct CertificateStore {
    current: ArcSwapOption<Serving>,
    /// When to read a certificate again that was rejected because it is not valid yet, in seconds since 1970.
    valid_from: AtomicI64,
    tickets: Tickets,
    gate: Gate,
    metrics: TlsMetrics,
}

impl CertificateStore {
    /// Creates a store without a certificate: handshakes fail until one is installed.
    ///
    /// # Errors
    /// When the TLS library cannot create keys for session tickets.
    pub(crate) fn new(gate: Gate, metrics: TlsMetrics) -> Result<CertificateStore, Error> {
        let tickets = Tickets::new().map_err(Error::Library)?;
        let valid_from = AtomicI64::new(NEVER);
        Ok(CertificateStore { current: ArcSwapOption::empty(), valid_from, tickets, gate, metrics })
    }

    /// Loads or creates a certificate and serves it; on an error the active one stays. This includes a new one that
    /// is not valid now: API servers would reject it, so serving it helps nobody. `busy` tells whether its files are
    /// being written; it is asked after reading, because a truncated chain is still a chain.
    ///
    /// # Errors
    /// When there is no usable certificate, or its files are being written.
    pub(crate) fn read(&self, origin: &Origin, busy: impl Fn() -> Option<String>) -> Result<(), Error> {
        self.valid_from.store(NEVER, Ordering::Relaxed);
        let key = match origin {
            Origin::Files { chain, key } => files::load(chain, key).map_err(Error::from),
            Origin::SelfSigned { names } => self_signed(names),
        };
        if let Some(busy) = busy() {
            return Err(Error::Busy(busy));
        }
        self.outcome(key.and_then(|key| {
            self.timely(&key)?;
            self.swap(key)
        }))
    }

    /// Whether a certificate that was not valid yet when it was read has become valid; reported once.
    pub(crate) fn is_due(&self, now: i64) -> bool {
        let is_due = |from: i64| (from <= now).then_some(NEVER);
        self.valid_from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due).is_ok()
    }

    /// Applies a certificate; on an error the active one stays.
    ///
    /// # Errors
    /// When its validity cannot be read.
    pub(crate) fn install(&self, key: CertifiedKey) -> Result<(), Error> {
        self.outcome(self.swap(key))
    }

    /// Records that a new certificate cannot be used, and why.
    pub(crate) fn refused(&self, error: &str) {
        self.metrics.loaded(None);
        self.gate.trouble(format!("the newest certificate was rejected: {error}"));
        if self.current.load().is_some() {
            tracing::error!(error, "certificate rejected; keeping the last good one");
        } else {
            tracing::error!(error, "certificate rejected; no earlier one to keep");
        }
    }

    /// Records a problem with certificates; the caller logs it.
    pub(crate) fn trouble(&self, problem: &str) {
        self.gate.trouble(problem);
    }

    /// The validity period of the active certificate.
    pub(crate) fn validity(&self) -> Option<Validity> {
        self.current.load().as_ref().map(|serving| serving.validity)
    }

    /// Why API servers would reject the active certificate, as far as that can be told without their CA. Its validity
    /// period is not repeated here.
    pub(crate) fn objections(&self, now: i64) -> Vec<String> {
        self.current.load().as_ref().map(|serving| serving.objections.now(now)).unwrap_or_default()
    }

    fn outcome(&self, result: Result<(), Error>) -> Result<(), Error> {
        if let Err(error) = &result {
            self.refused(&error.to_string());
        }
        result
    }

    /// Rejects a certificate that is not valid now, unless there is nothing else to serve.
    fn timely(&self, key: &CertifiedKey) -> Result<(), Error> {
        let current = self.current.load();
        if current.as_ref().is_none_or(|serving| serving.key.cert == key.cert) {
            return Ok(());
        }
        let validity = chain::validity(key.cert.first().ok_or(chain::Error)?)?;
        let Some(problem) = validity.problem(unix_now()) else { return Ok(()) };
        if let Problem::NotYet { from, .. } = problem {
            self.valid_from.store(from, Ordering::Relaxed);
        }
        Err(Error::Untimely(problem))
    }

    fn swap(&self, key: CertifiedKey) -> Result<(), Error> {
        let leaf = key.cert.first().ok_or(chain::Error)?;
        let validity = chain::validity(leaf)?;
        let earlier = self.current.load_full();
        let same = earlier.as_ref().is_some_and(|serving| serving.key.cert == key.cert);
        let objections = Objections::of(&key.cert);
        if !same {
            let now = unix_now();
            let of_time = validity.problem(now).map(|problem| problem.to_string());
            for problem in of_time.into_iter().chain(objections.now(now)) {
                tracing::warn!(problem, "API servers would reject the certificate");
            }
        }
        self.current.store(Some(Arc::new(Serving { key: Arc::new(key), validity, objections })));
        if !same {
            // A resumed session presents no certificate, so tickets become invalid with the certificate they were
            // issued under.
            self.tickets.renew().map_err(Error::Library)?;
            if earlier.is_some() {
                tracing::info!(not_after = validity.not_after, "certificate applied");
            }
        }
        self.metrics.loaded(Some((validity.not_before, validity.not_after)));
        self.gate.open(format!("valid until {}", date(validity.not_after)));
        Ok(())
    }
}

impl fmt::Debug for CertificateStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CertificateStore").field("validity", &self.validity()).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // T-09, T-10: there is one certificate, whatever server name is requested.
        self.current.load().as_ref().map(|serving| serving.key.clone())
    }
}

impl ProducesTickets for CertificateStore {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.tickets.current().lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.current().encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.tickets.current().decrypt(cipher)
    }
}

/// Keys for session tickets, which can be discarded.
struct Tickets(ArcSwap<Arc<dyn ProducesTickets>>);

impl Tickets {
    fn new() -> Result<Tickets, rustls::Error> {
        Ok(Tickets(ArcSwap::from_pointee(aws_lc_rs::Ticketer::new()?)))
    }

    fn current(&self) -> Arc<Arc<dyn ProducesTickets>> {
        self.0.load_full()
    }

    fn renew(&self) -> Result<(), rustls::Error> {
        self.0.store(Arc::new(aws_lc_rs::Ticketer::new()?));
        Ok(())
    }
}

fn self_signed(names: &[String]) -> Result<CertifiedKey, Error> {
    let made = self_signed::make(names, SystemTime::now())?;
    key::certified(vec![made.certificate], &made.key).map_err(Error::Unusable)
}

/// The cipher suites in our order of preference, which is Go's, so that API servers get their first choice. Its
/// AES-128 goes with SHA-256, which CPUs compute in hardware; the SHA-384 that goes with AES-256 takes an eighth of a
/// handshake.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    // Stable: otherwise the library's order is kept.
    provider.cipher_suites.sort_by_key(|suite| {
        !matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    });
    provider
}

/// Protocol settings: versions, ALPN, session tickets.
///
/// `callers` requests client certificates. Sessions are not resumed then: see `client_auth`.
pub(crate) fn server_config(
    certificate: Arc<CertificateStore>,
    oldest: MinVersion,
    callers: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, Error> {
    let resumes = callers.is_none();
    let versions: &[&rustls::SupportedProtocolVersion] = match oldest {
        MinVersion::V1_2 => &[&TLS13, &TLS12],
        MinVersion::V1_3 => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(versions)
        .map_err(Error::Library)?
        .with_client_cert_verifier(callers.unwrap_or_else(|| Arc::new(NoClientAuth)))
        .with_cert_resolver(certificate.clone());
    config.ignore_client_order = true;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // API servers open one connection per concurrent call; resumption keeps bursts cheap. The state of a session is
    // entirely in its ticket. One ticket per connection suffices; a second one costs work.
    if resumes {
        config.ticketer = certificate;
    }
    config.send_tls13_tickets = usize::from(resumes);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    //
    #[test]
    fn an_error_without_a_reason_is_a_lack_of_memory_and_a_wrong_name_is_not() {
        assert!(Error::SelfSigned(rcgen::Error::RingUnspecified).is_exhausted());
        assert!(!self_signed(&["ä.test".to_owned()]).unwrap_err().is_exhausted());
    }
}
