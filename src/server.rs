//! The shell: an HTTPS server around the injection, with probes, metrics and an orderly end.
//!
//! In reading order: `options` (what it is told), this file (how the parts come together), `listener` (accepting),
//! `connection` and `stream` (one connection and its deadlines), `tls`, `webhook` (the endpoint), `configuration`
//! (what requests are judged by), `admin` (probes and metrics), `shutdown` (phases), `telemetry` (the log).
//!
//! It may do I/O; it must not decide anything about pods.

#![allow(clippy::disallowed_methods, reason = "the ban on I/O and clocks is for the pure core")]

mod admin;
mod configuration;
mod connection;
mod crowd;
mod listener;
mod metrics;
pub mod options;
mod process;
mod shutdown;
mod stream;
pub mod telemetry;
pub mod tls;
pub mod webhook;

use std::{io, net::SocketAddr, sync::Arc, thread, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use self::{
    admin::Admin,
    configuration::Configuration,
    connection::Http,
    listener::{Acceptor, Connection},
    metrics::Metrics,
    options::{Options, Timeouts},
    shutdown::{Control, Phase},
    stream::Activity,
    tls::CertificateStore,
    webhook::endpoint::Webhook,
};

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is refused.
    #[error("{0}")]
    Configuration(String),
    /// The certificate is refused.
    #[error(transparent)]
    Certificate(#[from] tls::Error),
    /// An address cannot be listened on, or a thread cannot be started.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A running server.
pub struct Server {
    webhook_address: SocketAddr,
    admin_address: SocketAddr,
    handle: Handle,
    life: JoinHandle<bool>,
}

/// Steers a running server.
#[derive(Clone)]
pub struct Handle {
    control: Arc<Control>,
    configuration: Arc<Configuration>,
    certificate: Arc<CertificateStore>,
    metrics: Arc<Metrics>,
}

/// What a reload did; what failed is as it was before.
#[derive(Debug)]
pub struct Reloaded {
    /// The generation of the new configuration, or why it was refused.
    pub configuration: Result<u64, String>,
    /// Whether the certificate was read, or why it was refused.
    pub certificate: Result<(), String>,
}

/// Connections on the admin port.
const ADMIN_CONNECTIONS: usize = 128;

impl Server {
    /// Loads configuration and certificate, listens on both ports and serves. It is ready when this returns.
    ///
    /// # Errors
    /// When any of that cannot be done; then nothing is left running.
    pub async fn start(options: Options) -> Result<Server, StartError> {
        let metrics = Arc::new(Metrics::new(options.dropped_log_lines.clone()));
        let configuration = Configuration::open(options.source.clone(), &metrics)
            .map(Arc::new)
            .map_err(StartError::Configuration)?;
        let certificate = Arc::new(CertificateStore::open(options.certificate.clone())?);
        let validity = certificate.validity();
        metrics.certificate_loaded(Some((validity.not_before, validity.not_after)));
        let tls = tls::server_config(certificate.clone(), options.tls_min_version)?;

        let webhook_socket = listener::bind(options.listen)?;
        let admin_socket = listener::bind(options.admin)?;
        let webhook_address = webhook_socket.local_addr()?;
        let admin_address = admin_socket.local_addr()?;
        let listener = TcpListener::from_std(webhook_socket)?;

        let control = Arc::new(Control::new());
        let timeouts = Arc::new(options.timeouts.clone());
        let handle = Handle {
            control: control.clone(),
            configuration: configuration.clone(),
            certificate: certificate.clone(),
            metrics: metrics.clone(),
        };
        let admin = Admin {
            configuration: configuration.clone(),
            certificate,
            metrics: metrics.clone(),
            phase: control.watch(),
        };
        serve_admin(admin_socket, admin, &options)?;

        let webhook =
            Arc::new(Webhook::new(configuration, metrics.clone(), &options.limits, &options.timeouts));
        let http = Http::new(
            webhook.router(),
            &options.limits,
            timeouts,
            metrics.clone(),
            control.watch(),
            Phase::Closing,
        );
        let http = Arc::new(http);
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let connections = Arc::new(Semaphore::new(options.limits.connections));
        let serve = {
            let (phase, metrics) = (control.watch(), metrics.clone());
            let handshake = options.timeouts.handshake;
            move |stream, connection: Connection| {
                let activity = connection.activity.clone();
                let serving =
                    serve_tls(stream, acceptor.clone(), http.clone(), handshake, metrics.clone(), activity);
                let phase = phase.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = serving => {}
                        () = connection.activity.evicted.notified() => {}
                        () = phase.reached(Phase::Stopped) => {}
                    }
                });
            }
        };
        let how = Acceptor {
            name: "webhook",
            permits: connections.clone(),
            spared: options.timeouts.spared,
            phase: control.watch(),
            until: Phase::Closing,
            metrics,
        };
        tokio::spawn(listener::accept(listener, how, serve));
        let life = tokio::spawn(live(control, connections, options.limits.connections, options.timeouts));
        Ok(Server { webhook_address, admin_address, handle, life })
    }

    /// Where the webhook listens, with the real port.
    pub fn webhook_address(&self) -> SocketAddr {
        self.webhook_address
    }

    /// Where probes and metrics are served, with the real port.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Steers the server.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits for the end that [`Handle::shutdown`] asks for. Tells whether every request was finished.
    pub async fn ended(self) -> bool {
        self.life.await.unwrap_or(false)
    }
}

impl Handle {
    /// Begins the orderly end; asked for a second time, ends at once.
    pub fn shutdown(&self) {
        match self.control.advance(Phase::Draining) {
            Phase::Serving => tracing::info!("shutting down: not ready from now on"),
            _ => {
                self.control.advance(Phase::Stopped);
            }
        }
    }

    /// Reads configuration and certificate again. Each is taken into use whole or not at all.
    pub async fn reload(&self) -> Reloaded {
        let handle = self.clone();
        let reload = move || Reloaded {
            configuration: handle.configuration.reload(&handle.metrics),
            certificate: handle.reload_certificate(),
        };
        let reloaded = tokio::task::spawn_blocking(reload).await.unwrap_or_else(|_| Reloaded {
            configuration: Err("the reload was cut off".to_owned()),
            certificate: Err("the reload was cut off".to_owned()),
        });
        match &reloaded.configuration {
            Ok(generation) => tracing::info!(generation, "the configuration was reloaded"),
            Err(error) => tracing::error!(error, "the configuration is refused; the last good one stays"),
        }
        match &reloaded.certificate {
            Ok(()) => tracing::info!("the certificate was reloaded"),
            Err(error) => tracing::error!(error, "the certificate is refused; the last good one stays"),
        }
        reloaded
    }

    fn reload_certificate(&self) -> Result<(), String> {
        let reloaded = self.certificate.reload();
        let validity = reloaded.as_ref().ok().map(|validity| (validity.not_before, validity.not_after));
        self.metrics.certificate_loaded(validity);
        reloaded.map(|_| ()).map_err(|error| error.to_string())
    }
}

/// From the first signal to the end. Tells whether every connection ended by itself.
async fn live(control: Arc<Control>, connections: Arc<Semaphore>, cap: usize, timeouts: Timeouts) -> bool {
    let phase = control.watch();
    phase.reached(Phase::Draining).await;
    tokio::select! {
        () = tokio::time::sleep(timeouts.drain_delay) => {}
        () = phase.reached(Phase::Stopped) => {}
    }
    control.advance(Phase::Closing);
    // All permits back: no connection is left.
    let all = u32::try_from(cap).unwrap_or(u32::MAX);
    let finished = tokio::select! {
        _all = connections.acquire_many(all) => true,
        () = tokio::time::sleep(timeouts.grace) => false,
        () = phase.reached(Phase::Stopped) => connections.available_permits() == cap,
    };
    control.advance(Phase::Stopped);
    finished
}

/// One connection on the webhook's port.
async fn serve_tls(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    http: Arc<Http>,
    within: Duration,
    metrics: Arc<Metrics>,
    activity: Arc<Activity>,
) {
    let stream = match tokio::time::timeout(within, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let reason = handshake_failure(&error);
            metrics.handshake_failed(reason);
            tracing::debug!(reason, "a TLS handshake failed");
            return;
        }
        Err(_) => {
            metrics.handshake_failed("timeout");
            tracing::debug!(reason = "timeout", "a TLS handshake failed");
            return;
        }
    };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    http.serve(stream, http2, activity).await;
}

/// A stable key for why a handshake failed.
fn handshake_failure(error: &io::Error) -> &'static str {
    use rustls::{Error, InvalidMessage};
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
        _ => "other",
    }
}

/// Serves the admin port on a thread of its own until the server has stopped.
fn serve_admin(socket: std::net::TcpListener, admin: Admin, options: &Options) -> io::Result<()> {
    let metrics = admin.metrics.clone();
    let phase = admin.phase.clone();
    let timeouts = Arc::new(options.timeouts.clone());
    let spared = options.timeouts.spared;
    // The admin port stays open to the very end: the probe that says "not ready" is on it.
    let http = Http::new(
        Arc::new(admin).router(),
        &options.limits,
        timeouts,
        metrics.clone(),
        phase.clone(),
        Phase::Stopped,
    );
    let http = Arc::new(http);
    thread::Builder::new().name("admin".to_owned()).spawn(move || {
        // Made here: a runtime must not be dropped inside another one, should the thread not start.
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "cannot serve the admin port");
                return;
            }
        };
        runtime.block_on(async move {
            let Ok(listener) = TcpListener::from_std(socket) else { return };
            let connections = Arc::new(Semaphore::new(ADMIN_CONNECTIONS));
            let serve = |stream, connection: Connection| {
                let http = http.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = http.serve(stream, false, connection.activity.clone()) => {}
                        () = connection.activity.evicted.notified() => {}
                    }
                });
            };
            let how = Acceptor {
                name: "admin",
                permits: connections,
                spared,
                phase,
                until: Phase::Stopped,
                metrics,
            };
            listener::accept(listener, how, serve).await;
        });
    })?;
    Ok(())
}
