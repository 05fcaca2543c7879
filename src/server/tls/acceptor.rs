//! Accepting TLS on a connection: within its time, and with a reason when it fails.

use std::{io, sync::Arc, time::Duration};

use rustls::{Error, InvalidMessage, ServerConfig};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::metrics::TlsMetrics;

/// Accepts TLS.
#[derive(Clone)]
pub(crate) struct Acceptor {
    tls: TlsAcceptor,
    within: Duration,
    metrics: TlsMetrics,
}

/// A handshake that failed, and was counted.
#[derive(Debug)]
pub(crate) struct Failed {
    /// A stable key.
    pub(crate) reason: &'static str,
    /// What is left of the connection, unless time was over.
    pub(crate) stream: Option<TcpStream>,
}

/// Reason of handshakes that failed because of the client's certificate.
pub(crate) const CLIENT_CERTIFICATE: &str = "client_certificate";

impl Acceptor {
    /// Handshakes have to be done `within` this time.
    pub(crate) fn new(config: ServerConfig, within: Duration, metrics: TlsMetrics) -> Acceptor {
        Acceptor { tls: TlsAcceptor::from(Arc::new(config)), within, metrics }
    }

    /// Does the handshake.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Failed> {
        let failed = match timeout(self.within, self.tls.accept(stream).into_fallible()).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err((error, stream))) => Failed { reason: reason(&error), stream: Some(stream) },
            Err(_) => Failed { reason: "timeout", stream: None },
        };
        self.metrics.handshake_failed(failed.reason);
        tracing::debug!(reason = failed.reason, "TLS handshake failed");
        Err(failed)
    }
}

/// A stable key for why a handshake failed.
fn reason(error: &io::Error) -> &'static str {
    let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                "closed"
            }
            _ => "io",
        };
    };
    match inner {
        // T-14: an HTTP request where a handshake should be.
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => "not_tls",
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => "malformed",
        Error::PeerIncompatible(_) => "incompatible",
        Error::AlertReceived(_) => "alert",
        Error::NoApplicationProtocol => "alpn",
        Error::NoCertificatesPresented | Error::InvalidCertificate(_) => CLIENT_CERTIFICATE,
        _ => "other",
    }
}
