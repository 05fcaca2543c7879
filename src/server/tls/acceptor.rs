//! Accepts TLS on a connection, with a timeout and a reason for failures.

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

/// A failed handshake, already counted.
#[derive(Debug)]
pub(crate) struct Failed {
    /// A stable key.
    pub(crate) reason: &'static str,
    /// The rest of the connection, unless the timeout expired.
    pub(crate) stream: Option<TcpStream>,
}

/// Reason of handshakes that failed because of the client's certificate.
pub(crate) const CLIENT_CERTIFICATE: &str = "client_certificate";

impl Acceptor {
    /// Handshakes must complete `within` this time.
    pub(crate) fn new(config: ServerConfig, within: Duration, metrics: TlsMetrics) -> Acceptor {
        Acceptor { tls: TlsAcceptor::from(Arc::new(config)), within, metrics }
    }

    /// Performs the handshake.
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

/// A stable key for the failure of a handshake.
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
        // T-14: an HTTP request instead of a handshake.
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => "not_tls",
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => "malformed",
        Error::PeerIncompatible(_) => "incompatible",
        Error::AlertReceived(_) => "alert",
        Error::NoApplicationProtocol => "alpn",
        Error::NoCertificatesPresented | Error::InvalidCertificate(_) => CLIENT_CERTIFICATE,
        _ => "other",
    }
}
