//! Certificates in handshakes.

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

/// A certificate that is accepted.
pub(super) struct Accepted {
    /// By which CAs.
    pub(super) generation: u64,
    /// For how long, in seconds since 1970, both ends included.
    pub(super) span: (i64, i64),
}

/// A certificate that is not.
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    /// What the caller's TLS library is told.
    error: Error,
}

/// Asks callers for a certificate, and verifies it by what is in force at that time.
pub(crate) struct Verifier {
    auth: Arc<ClientAuth>,
    algorithms: WebPkiSupportedAlgorithms,
}

tokio::task_local! {
    /// Why the certificate of the handshake that is under way is refused: the library passes on an error of its own,
    /// which becomes an alert and says neither which name was found nor which ones are accepted.
    static NOTED: RefCell<Option<Refusal>>;
}

/// Does a handshake; gives why the certificate was refused, too.
pub(crate) async fn noting<T>(handshake: impl Future<Output = T>) -> (T, Option<Refusal>) {
    let noted = NOTED.scope(RefCell::new(None), async {
        let done = handshake.await;
        (done, NOTED.with(RefCell::take))
    });
    noted.await
}

/// Why a caller is refused that presented nothing; of that the library says all there is.
pub(crate) fn no_certificate() -> Refusal {
    Refusal { reason: "no_certificate", detail: "found no client certificate".to_owned() }
}

/// Closes a connection whose certificate was refused. Its peer thinks by then that the handshake is done, and sends a
/// request: closing with that unread would make the kernel reset the connection, and the alert that says why be lost.
pub(crate) async fn part(mut stream: TcpStream) {
    const MOMENT: Duration = Duration::from_millis(500);
    const BYTES: u64 = 64 << 10;
    let read = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(BYTES), &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(MOMENT, read).await;
}

impl ClientAuth {
    /// Verifies the certificates that a caller presented, its own first.
    pub(super) fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<Accepted, Refused> {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(Refused { refusal: no_certificate(), error: Error::NoCertificatesPresented });
        };
        let now = unix_now();
        let trust = self.trust(now);
        let Some((trust, verifier)) =
            trust.as_ref().and_then(|trust| Some((trust, trust.verifier.as_ref()?)))
        else {
            let detail = "no CA of callers is known that is valid now".to_owned();
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
            let detail = format!("the certificate is for {names}; accepted is {}", certificates.names);
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
            // Of a CA with the same name and another key: it is not the CA all the same.
            Problem::UnknownIssuer | Problem::BadSignature => {
                let issuer = shown(&certificate.issuer().to_string());
                let trust = self.trust.load();
                let known = trust.as_ref().map(|trust| trust.authorities.to_string()).unwrap_or_default();
                let detail = format!(
                    "the certificate for {names} was signed by {issuer:?}; accepted is what was signed by {known}"
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

    /// None: a client that has a certificate of another CA presents it then, and the log can say which one it was. And
    /// nobody is told the names of our CAs.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // Where nobody is refused, requests are told of, by `Caller`.
        if !self.auth.refuses() {
            return Ok(ClientCertVerified::assertion());
        }
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        match self.auth.verify(&chain) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(Refused { refusal, error }) => {
                // There is no scope where a handshake is not `noting`.
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
