//! The webhook's port: the layers of a connection.

use std::sync::Arc;

use hyper::http::Extensions;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

use super::endpoint::Webhook;
use crate::server::client_auth::{self, Caller, ClientAuth};
use crate::server::http::connection::{Http, Peer};
use crate::server::http::listener::{self, Connection};
use crate::server::shutdown::{Phase, Watch};
use crate::server::tls::acceptor::{Acceptor, CLIENT_CERTIFICATE};

/// Serves the webhook.
pub(crate) struct Port {
    pub(crate) tls: Acceptor,
    pub(crate) http: Http<Webhook>,
    pub(crate) client_auth: Option<Arc<ClientAuth>>,
    pub(crate) phase: Watch,
}

impl Port {
    /// Accepts connections until the server closes. Each lives until its peer or a deadline ends it, it is evicted,
    /// or the server stops.
    pub(crate) async fn serve(self, listener: TcpListener, how: listener::Acceptor) {
        let port = Arc::new(self);
        let serve = |stream, connection: Connection| {
            let port = port.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = port.connection(stream, &connection) => {}
                    () = connection.activity.evicted.notified() => {}
                    () = port.phase.reached(Phase::Stopped) => {}
                }
            });
        };
        listener::accept(listener, how, serve).await;
    }

    /// TLS, then HTTP.
    async fn connection(&self, stream: TcpStream, connection: &Connection) {
        let Some((stream, peer)) = self.handshake(stream).await else { return };
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        self.http.serve(stream, http2, connection.activity.clone(), peer).await;
    }

    /// Informs a client whose certificate is rejected.
    async fn handshake(&self, stream: TcpStream) -> Option<(TlsStream<TcpStream>, Peer)> {
        let Some(auth) = &self.client_auth else {
            return Some((self.tls.accept(stream).await.ok()?, Peer::default()));
        };
        let address = stream.peer_addr().ok().map(|peer| peer.ip().to_canonical());
        let (accepted, refusal) = client_auth::noting(self.tls.accept(stream)).await;
        match accepted {
            Ok(stream) => {
                let certificates = stream.get_ref().1.peer_certificates();
                let caller = Arc::new(Caller::new(auth.clone(), address, certificates));
                let mut extensions = Extensions::new();
                extensions.insert(caller.clone());
                let expired = Box::pin(async move { caller.outdated().await });
                Some((stream, Peer { extensions, expired }))
            }
            Err(failed) => {
                if failed.reason == CLIENT_CERTIFICATE {
                    auth.report(&refusal.unwrap_or_else(client_auth::no_certificate), address);
                    if let Some(stream) = failed.stream {
                        client_auth::part(stream).await;
                    }
                }
                None
            }
        }
    }
}
