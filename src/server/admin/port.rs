//! The admin port's thread, and what is spoken on the port.

use std::{io, sync::Arc, thread, time::Duration};

use kube::Config;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{Admin, Doorkeeper, View, auth::TokenAuth};
use crate::server::http::connection::Http;
use crate::server::http::listener;
use crate::server::http::listener::{Acceptor, Connection};
use crate::server::http::registry::ConnectionRegistry;
use crate::server::kube::client;
use crate::server::observe::metrics::{Held, Metrics};
use crate::server::options::{AdminAuth, Options};
use crate::server::shutdown::Phase;
use crate::server::{handshake_failure, tls};

/// The first byte of a TLS handshake, which is none of an HTTP request.
const HANDSHAKE: u8 = 0x16;

/// How one connection is served, by what is spoken on it.
#[derive(Clone)]
struct Spoken {
    plain: Arc<Http<View>>,
    secure: Arc<Http<View>>,
    /// There is TLS only where tokens are read.
    tls: Option<TlsAcceptor>,
    first_byte: Duration,
    handshake: Duration,
    metrics: Arc<Metrics>,
}

/// Serves the admin port on a thread of its own until the server has stopped. `reviews` is the way to the API server that is
/// asked about tokens.
pub(crate) fn serve(
    socket: std::net::TcpListener,
    admin: Admin,
    options: &Options,
    reviews: Option<Config>,
) -> io::Result<()> {
    let options = options.clone();
    let tls = match options.admin_auth {
        AdminAuth::None => None,
        AdminAuth::Token => {
            let config = tls::server_config(admin.certificate.clone(), options.tls_min_version, None);
            let mut config = config.map_err(io::Error::other)?;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Some(TlsAcceptor::from(Arc::new(config)))
        }
    };
    thread::Builder::new().name("admin".to_owned()).spawn(move || {
        // Made here: a runtime must not be dropped inside another one, should the thread not start.
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "cannot serve the admin port");
                return;
            }
        };
        runtime.block_on(accept(socket, admin, &options, tls, reviews));
    })?;
    Ok(())
}

async fn accept(
    socket: std::net::TcpListener,
    mut admin: Admin,
    options: &Options,
    tls: Option<TlsAcceptor>,
    reviews: Option<Config>,
) {
    let (metrics, phase) = (admin.metrics.clone(), admin.phase.clone());
    let Ok(listener) = TcpListener::from_std(socket) else { return };
    if let Some(config) = reviews {
        // Made here, in the runtime it is used in: a busy worker does not keep anybody from being asked about.
        admin.doorkeeper = match client::counted(config, metrics.kube_api.clone()) {
            Ok(client) => Doorkeeper::Tokens(TokenAuth::new(client)),
            Err(error) => Doorkeeper::Unreachable(error.to_string()),
        };
    }
    let timeouts = Arc::new(options.timeouts.clone());
    // The admin port stays open to the very end: the probe that says "not ready" is on it.
    let http = |view| {
        let (timeouts, metrics) = (timeouts.clone(), metrics.clone());
        Arc::new(Http::new(view, &options.limits, timeouts, metrics, phase.clone(), Phase::Stopped))
    };
    let admin = Arc::new(admin);
    let spoken = |view: fn(Arc<Admin>, bool) -> Arc<View>| Spoken {
        plain: http(view(admin.clone(), false)),
        secure: http(view(admin.clone(), true)),
        tls: tls.clone(),
        first_byte: options.timeouts.first_byte,
        handshake: options.timeouts.handshake,
        metrics: metrics.clone(),
    };
    let (near, far) = (spoken(Admin::near), spoken(Admin::far));
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
    let how = Acceptor {
        name: "admin",
        permits: Arc::new(Semaphore::new(options.limits.admin_connections)),
        crowd: ConnectionRegistry::new(usize::MAX, Held::default(), metrics.clone()),
        spared: options.timeouts.spared,
        phase: phase.clone(),
        until: Phase::Stopped,
        metrics: metrics.clone(),
    };
    listener::accept(listener, how, serve).await;
}

impl Spoken {
    async fn serve(&self, stream: TcpStream, connection: &Connection) {
        let activity = connection.activity.clone();
        let Some(acceptor) = &self.tls else { return self.plain.serve(stream, false, activity, None).await };
        let mut first = [0];
        match timeout(self.first_byte, stream.peek(&mut first)).await {
            Ok(Ok(1)) if first == [HANDSHAKE] => {}
            Ok(Ok(1)) => return self.plain.serve(stream, false, activity, None).await,
            Ok(_) => return,
            Err(_) => return self.metrics.connection_timed_out("first_byte"),
        }
        let reason = match timeout(self.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => return self.secure.serve(stream, false, activity, None).await,
            Ok(Err(error)) => handshake_failure(&error),
            Err(_) => "timeout",
        };
        self.metrics.handshake_failed(reason);
        tracing::debug!(reason, "a TLS handshake on the admin port failed");
    }
}
