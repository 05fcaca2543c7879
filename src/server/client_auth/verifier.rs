//! Verification of client certificates in handshakes.

use std::{cell::RefCell, fmt, sync::Arc, time::Duration};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use x509_parser::certificate::X509Certificate;

use super::{
    ClientAuth, Refusal,
    names::{Names, shown},
    until,
};
use crate::server::clock::unix_now;
use crate::server::tls::chain::Validity;

/// A certificate that was accepted.
pub(super) struct Accepted {
    /// The CAs it was accepted with.
    pub(super) generation: u64,
    /// The interval for which it is valid, in seconds since 1970, both ends included.
    pub(super) span: (i64, i64),
}

/// A certificate that was rejected.
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    /// The error for the client's TLS library.
    error: Error,
}

/// Requests a client certificate, and verifies it with the CAs in effect at that time.
pub(crate) struct Verifier {
    auth: Arc<ClientAuth>,
    algorithms: WebPkiSupportedAlgorithms,
}

tokio::task_local! {
    /// Why the certificate of the current handshake was rejected. The library reports only its own error, which
    /// becomes an alert and names neither the name that was found nor the expected ones.
    static NOTED: RefCell<Option<Refusal>>;
}

/// Performs a handshake; also returns why the certificate was rejected.
pub(crate) async fn noting<T>(handshake: impl Future<Output = T>) -> (T, Option<Refusal>) {
    let noted = NOTED.scope(RefCell::new(None), async {
        let done = handshake.await;
        (done, NOTED.with(RefCell::take))
    });
    noted.await
}

/// The reason for a client that presented no certificate; the library reports that case completely.
pub(crate) fn no_certificate() -> Refusal {
    Refusal { reason: "no_certificate", detail: "found no client certificate".to_owned() }
}

/// Closes a connection whose certificate was rejected. Its peer already considers the handshake complete and sends a
/// request. Closing with that unread would make the kernel reset the connection and lose the alert with the reason.
pub(crate) async fn part(mut stream: TcpStream) {
    const TIMEOUT: Duration = Duration::from_millis(500);
    const MAX_BYTES: u64 = 64 << 10;
    let read = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(MAX_BYTES), &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(TIMEOUT, read).await;
}

impl ClientAuth {
    /// Verifies the certificates that a client presented, its own first.
    pub(super) fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<Accepted, Refused> {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(Refused { refusal: no_certificate(), error: Error::NoCertificatesPresented });
        };
        let now = unix_now();
        let trust = self.trust(now);
        let Some((trust, verifier)) =
            trust.as_ref().and_then(|trust| Some((trust, trust.verifier.as_ref()?)))
        else {
            let detail = "no client CA is currently valid".to_owned();
            return Err(Refused::new("no_ca", detail, CertificateError::UnknownIssuer));
        };
        let Ok((_, certificate)) = x509_parser::parse_x509_certificate(leaf) else {
            let detail = "found a certificate that is not X.509".to_owned();
            return Err(Refused::new("malformed", detail, CertificateError::BadEncoding));
        };
        let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or_default()));
        if let Err(error) = verifier.verify_client_cert(leaf, intermediates, time) {
            return Err(self.unverified(&certificate, error));
        }
        let names = Names::of(&certificate);
        if let Some(certificates) = &self.certificates
            && !certificates.names.allow(&names)
        {
            let detail = format!("the certificate is for {names}; expected {}", certificates.names);
            return Err(Refused::new("name", detail, CertificateError::ApplicationVerificationFailure));
        }
        let mut span = trust.span;
        for der in chain {
            if let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) {
                let validity = Validity::of(&certificate);
                span = (span.0.max(validity.not_before), span.1.min(validity.not_after));
            }
        }
        Ok(Accepted { generation: trust.generation, span })
    }

    fn unverified(&self, certificate: &X509Certificate<'_>, error: Error) -> Refused {
        use CertificateError as Problem;
        let Error::InvalidCertificate(problem) = error else {
            return Refused::new("malformed", error.to_string(), error);
        };
        let names = Names::of(certificate);
        match problem {
            // From a CA with the same name but another key, so it is not the same CA.
            Problem::UnknownIssuer | Problem::BadSignature => {
                let issuer = shown(&certificate.issuer().to_string());
                let trust = self.trust.load();
                let known = trust.as_ref().map(|trust| trust.authorities.to_string()).unwrap_or_default();
                let detail = format!(
                    "the certificate for {names} was signed by {issuer:?}; expected a certificate signed by {known}"
                );
                Refused::new("unknown_ca", detail, Problem::UnknownIssuer)
            }
            Problem::Expired | Problem::ExpiredContext { .. } => {
                let end = until(Validity::of(certificate).not_after);
                Refused::new("expired", format!("the certificate for {names} was {end}"), problem)
            }
            Problem::NotValidYet | Problem::NotValidYetContext { .. } => {
                let detail = format!("the certificate for {names} is not valid yet (is the clock right?)");
                Refused::new("not_yet_valid", detail, problem)
            }
            Problem::InvalidPurpose | Problem::InvalidPurposeContext { .. } => {
                let detail = format!("the certificate for {names} is not for clients (extendedKeyUsage)");
                Refused::new("purpose", detail, problem)
            }
            problem => {
                let error = Error::InvalidCertificate(problem);
                Refused::new("malformed", format!("the certificate for {names}: {error}"), error)
            }
        }
    }
}

impl Refused {
    fn new(reason: &'static str, detail: String, error: impl Into<Error>) -> Refused {
        Refused { refusal: Refusal { reason, detail }, error: error.into() }
    }
}

impl Verifier {
    pub(super) fn new(auth: Arc<ClientAuth>) -> Verifier {
        Verifier { auth, algorithms: aws_lc_rs::default_provider().signature_verification_algorithms }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Verifier").field("auth", &self.auth).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.auth.refuses()
    }

    /// None: a client then presents a certificate of another CA, which the log can name, and the names of our CAs are
    /// not disclosed.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // In permissive mode, `Caller` reports the requests.
        if !self.auth.refuses() {
            return Ok(ClientCertVerified::assertion());
        }
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        match self.auth.verify(&chain) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(Refused { refusal, error }) => {
                // There is no scope if a handshake does not use `noting`.
                let _ = NOTED.try_with(|noted| noted.replace(Some(refusal)));
                Err(error)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
