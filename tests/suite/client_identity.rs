//! Clients that present certificates and tokens, and the CAs that sign them.

use std::{
    error::Error,
    path::Path,
    time::{Duration, SystemTime},
};

use http_body_util::Full;
use hyper::{
    Request,
    body::Bytes,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use outrigger::server::client_auth::{AllowedNames, CaSource, Certificates, Mode, Options};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ClientConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

use super::support::*;

/// The common name of API servers.
pub(crate) const CALLER: &str = "apiserver-webhook-client";
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A CA in memory.
pub(crate) struct Ca {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    pub(crate) der: CertificateDer<'static>,
}

/// A client's credentials.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: Vec<u8>,
    pub(crate) pem: String,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Ca {
        Ca::tuned(name, |_| {})
    }

    pub(crate) fn tuned(name: &str, tune: impl FnOnce(&mut CertificateParams)) -> Ca {
        let key = KeyPair::generate().unwrap();
        let mut parameters = ca_parameters(name);
        tune(&mut parameters);
        let certificate = parameters.self_signed(&key).unwrap();
        Ca { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(parameters, key) }
    }

    /// An intermediate CA.
    pub(crate) fn below(&self, name: &str) -> Ca {
        let key = KeyPair::generate().unwrap();
        let parameters = ca_parameters(name);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Ca { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(parameters, key) }
    }

    /// A client's certificate for a common name.
    pub(crate) fn client(&self, name: &str) -> Identity {
        self.client_with(name, |_| {})
    }

    pub(crate) fn client_with(&self, name: &str, tune: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        parameters.not_before = (SystemTime::now() - HOUR).into();
        parameters.not_after = (SystemTime::now() + HOUR).into();
        tune(&mut parameters);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let chain = vec![certificate.der().clone()];
        Identity { chain, key: key.serialize_der(), pem: certificate.pem() }
    }
}

pub(crate) fn ca_parameters(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    parameters.not_before = (SystemTime::now() - HOUR).into();
    parameters.not_after = (SystemTime::now() + HOUR).into();
    parameters
}

/// Certificates of the CA in `ca.crt` of a folder, for one name.
pub(crate) fn by_certificate(mode: Mode, folder: &Path) -> Options {
    let these = AllowedNames::These(vec!["somebody".to_owned(), CALLER.to_owned()]);
    Options { mode, certificates: Some(certificates(folder, these)), token_file: None }
}

pub(crate) fn certificates(folder: &Path, names: AllowedNames) -> Certificates {
    let cluster_ca = folder.join("cluster-ca.crt");
    Certificates { ca: CaSource::File(folder.join("ca.crt")), names, cluster_ca }
}

pub(crate) fn by_token(mode: Mode, folder: &Path) -> Options {
    Options { mode, certificates: None, token_file: Some(folder.join("tokens")) }
}

/// A server that authenticates its callers; `folder` has its files.
pub(crate) async fn authenticating(options: Options) -> Harness {
    start_with(injecting(), |all| all.client_auth = options).await
}

impl Harness {
    pub(crate) fn identified(
        &self,
        version: &'static SupportedProtocolVersion,
        identity: Option<&Identity>,
    ) -> ClientConfig {
        let config = ClientConfig::builder_with_protocol_versions(&[version])
            .with_root_certificates(self.roots.clone());
        match identity {
            None => config.with_no_client_auth(),
            Some(Identity { chain, key, .. }) => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
                config.with_client_auth_cert(chain.clone(), key).unwrap()
            }
        }
    }

    /// A connection for requests, or the TLS alert.
    pub(crate) async fn call_as(
        &self,
        mut config: ClientConfig,
        alpn: &str,
        token: Option<&str>,
    ) -> Result<Answer, String> {
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let stream = self.connect(config).await.map_err(|error| error.to_string())?;
        let mut request = post("/inject", review("v1", pod()));
        if let Some(token) = token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        exchange(stream, alpn, request).await.map_err(|error| chain(&error))
    }

    pub(crate) async fn auth_failures(&self) -> Vec<(String, f64)> {
        let all = self.metrics().await.into_iter();
        all.filter(|(name, _)| name.starts_with("outrigger_client_auth_failures_total")).collect()
    }

    pub(crate) async fn readyz_verbose(&self) -> (u16, String) {
        let answer = self.admin("/readyz?verbose").await;
        (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned())
    }
}

pub(crate) async fn exchange(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    alpn: &str,
    request: Request<Full<Bytes>>,
) -> hyper::Result<Answer> {
    let stream = TokioIo::new(stream);
    let response = if alpn == "h2" {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        let connection = tokio::spawn(connection);
        match within(sender.send_request(request)).await {
            Ok(response) => response,
            // Which of the two reports the alert depends on timing.
            Err(error) => return Err(within(connection).await.unwrap().err().unwrap_or(error)),
        }
    } else {
        let (mut sender, connection) = http1::handshake(stream).await?;
        let connection = tokio::spawn(connection);
        match within(sender.send_request(request)).await {
            Ok(response) => response,
            Err(error) => return Err(within(connection).await.unwrap().err().unwrap_or(error)),
        }
    };
    Ok(Answer::read(response).await)
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

pub(crate) fn refused(reason: &str) -> String {
    format!("outrigger_client_auth_failures_total{{reason=\"{reason}\",outcome=\"refused\"}}")
}

pub(crate) fn admitted(reason: &str) -> String {
    format!("outrigger_client_auth_failures_total{{reason=\"{reason}\",outcome=\"admitted\"}}")
}

/// Replaces a file atomically.
pub(crate) fn put(folder: &Path, name: &str, text: &str) {
    let new = folder.join(format!(".{name}.new"));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, folder.join(name)).unwrap();
}
