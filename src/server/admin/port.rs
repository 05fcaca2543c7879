//! The admin port's thread, and the protocols that the port accepts.

use std::{io, sync::Arc, thread, time::Duration};

use kube::Config;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

use super::{Admin, AdminAuth, Doorkeeper, Routes, auth::TokenAuth, router};
use crate::server::http::connection::{Http, Peer};
use crate::server::http::limits::{Limits, Timeouts};
use crate::server::http::listener;
use crate::server::http::listener::Connection;
use crate::server::http::metrics::{Held, HttpMetrics};
use crate::server::http::registry::ConnectionRegistry;
use crate::server::kube::client;
use crate::server::kube::metrics::KubeApi;
use crate::server::shutdown::Phase;
use crate::server::tls::{self, MinVersion, acceptor::Acceptor, metrics::TlsMetrics};

/// The first byte of a TLS handshake; no HTTP request starts with it.
const HANDSHAKE: u8 = 0x16;

/// How connections are served, by protocol.
#[derive(Clone)]
struct Spoken {
    plain: Arc<Http<Routes>>,
    secure: Arc<Http<Routes>>,
    /// TLS is available only if tokens are read.
    tls: Option<Acceptor>,
    first_byte: Duration,
    metrics: HttpMetrics,
}

/// What the port needs from the rest of the server.
pub(crate) struct Terms {
    pub(crate) auth: AdminAuth,
    pub(crate) tls_min_version: MinVersion,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Arc<Timeouts>,
    /// The API server client for token checks.
    pub(crate) reviews: Option<Config>,
}

/// The metrics that the port registers.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) http: HttpMetrics,
    pub(crate) tls: TlsMetrics,
    pub(crate) kube_api: KubeApi,
}

/// Serves the admin port on its own thread until the server has stopped.
pub(crate) fn serve(
    socket: std::net::TcpListener,
    admin: Admin,
    terms: Terms,
    metrics: Metrics,
) -> io::Result<()> {
    let tls = match terms.auth {
        AdminAuth::None => None,
        AdminAuth::Token => {
            let config = tls::server_config(admin.certificate.clone(), terms.tls_min_version, None);
            let mut config = config.map_err(io::Error::other)?;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Some(Acceptor::new(config, terms.timeouts.handshake, metrics.tls.clone()))
        }
    };
    thread::Builder::new().name("admin".to_owned()).spawn(move || {
        // Created here, because a runtime must not be dropped inside another one if the thread cannot start.
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "cannot serve the admin port");
                return;
            }
        };
        runtime.block_on(accept(socket, admin, terms, tls, metrics));
    })?;
    Ok(())
}

async fn accept(
    socket: std::net::TcpListener,
    mut admin: Admin,
    terms: Terms,
    tls: Option<Acceptor>,
    metrics: Metrics,
) {
    let Terms { limits, timeouts, reviews, .. } = terms;
    let phase = admin.phase.clone();
    let Ok(listener) = TcpListener::from_std(socket) else { return };
    if let Some(config) = reviews {
        // Created in the runtime that uses it, so that a busy worker does not delay token checks.
        admin.doorkeeper = match client::counted(config, metrics.kube_api.clone()) {
            Ok(client) => Doorkeeper::Tokens(TokenAuth::new(client)),
            Err(error) => Doorkeeper::Unreachable(error.to_string()),
        };
    }
    let admin = Arc::new(admin);
    // The admin port stays open until the end, because it serves the probe that says "not ready".
    let http = |near, secure| {
        let routes = Routes(router(admin.clone(), near, secure));
        let (timeouts, metrics) = (timeouts.clone(), metrics.http.clone());
        Arc::new(Http::new(routes, &limits, timeouts, metrics, phase.clone(), Phase::Stopped))
    };
    let spoken = |near| Spoken {
        plain: http(near, false),
        secure: http(near, true),
        tls: tls.clone(),
        first_byte: timeouts.first_byte,
        metrics: metrics.http.clone(),
    };
    let (near, far) = (spoken(true), spoken(false));
    let serve = |stream: TcpStream, connection: Connection| {
        let is_near = stream.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
        let spoken = if is_near { near.clone() } else { far.clone() };
        tokio::spawn(async move {
            tokio::select! {
                () = spoken.serve(stream, &connection) => {}
                () = connection.activity.evicted.notified() => {}
            }
        });
    };
    let how = listener::Acceptor {
        name: "admin",
        permits: Arc::new(Semaphore::new(limits.admin_connections)),
        registry: ConnectionRegistry::new(usize::MAX, Held::default(), metrics.http.clone()),
        spared: timeouts.spared,
        phase: phase.clone(),
        until: Phase::Stopped,
        metrics: metrics.http.clone(),
    };
    listener::accept(listener, how, serve).await;
}

impl Spoken {
    async fn serve(&self, stream: TcpStream, connection: &Connection) {
        let activity = connection.activity.clone();
        let Some(tls) = &self.tls else {
            return self.plain.serve(stream, false, activity, Peer::default()).await;
        };
        let mut first = [0];
        match timeout(self.first_byte, stream.peek(&mut first)).await {
            Ok(Ok(1)) if first == [HANDSHAKE] => {}
            Ok(Ok(1)) => return self.plain.serve(stream, false, activity, Peer::default()).await,
            Ok(_) => return,
            Err(_) => return self.metrics.timed_out("first_byte"),
        }
        if let Ok(stream) = tls.accept(stream).await {
            self.secure.serve(stream, false, activity, Peer::default()).await;
        }
    }
}
