//! The shell: an HTTPS server around the injection, with probes, metrics and an orderly end.
//!
//! In reading order: `options` (what it is told), this file (how the parts come together), `listener` (accepting),
//! `connection`, `stream` and `frames` (one connection, its deadlines and its floods), `crowd`, `state` and `budget`
//! (who gives way when connections or memory run short), `pressure` (what is refused under overload), `tls`, `client_auth` (who may
//! call), `webhook` (the endpoint), `configuration` (what requests are judged by), `admin` (probes and metrics), `shutdown` (phases),
//! `supervise` (tasks that do not die silently), `telemetry` (the log).
//!
//! It may do I/O; it must not decide anything about pods.

#![allow(clippy::disallowed_methods, reason = "the ban on I/O and clocks is for the pure core")]

mod admin;
pub mod certs;
pub mod client_auth;
mod clock;
pub mod configuration;
mod http;
mod jitter;
pub mod kube;
pub mod memory;
pub mod observe;
pub mod options;
mod readiness;
pub(crate) mod reading;
mod reload;
pub mod resources;
mod shutdown;
mod supervise;
pub mod tls;
pub mod webhook;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::server::admin::{Admin, Doorkeeper};
use crate::server::client_auth::{Caller, ClientAuth};
use crate::server::clock::unix_now;
use crate::server::configuration::active::{Configuration, Slot, Unread};
use crate::server::configuration::facts::LiveFacts;
use crate::server::http::connection::Http;
use crate::server::http::listener::{Acceptor, Connection};
use crate::server::http::overload::LoadShedder;
use crate::server::http::registry::ConnectionRegistry;
use crate::server::http::state::ConnectionState;
use crate::server::observe::metrics::Metrics;
use crate::server::options::{AdminAuth, Certificate, Options, Origin, Timeouts};
use crate::server::readiness::Readiness;
use crate::server::reload::Part;
use crate::server::shutdown::{Control, Phase};
use crate::server::supervise::Supervisor;
use crate::server::tls::CertificateStore;
use crate::server::tls::chain::Problem;
use crate::server::webhook::endpoint::Webhook;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is refused.
    #[error("{0}")]
    Configuration(String),
    /// The certificate is refused.
    #[error(transparent)]
    Certificate(#[from] tls::Error),
    /// What callers are known by is refused.
    #[error(transparent)]
    ClientAuth(#[from] client_auth::Error),
    /// There is no way to the API server.
    #[error(transparent)]
    Client(#[from] kube::client::Error),
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
    origin: Origin,
    configuration: Arc<Configuration>,
    certificate_origin: Certificate,
    certificate: Arc<CertificateStore>,
    client_auth: Option<Arc<ClientAuth>>,
    client_auth_files: Arc<reload::Files>,
    readiness: Readiness,
    configuration_files: Arc<reload::Files>,
    certificate_files: Arc<reload::Files>,
}

/// What a reload did; what failed is as it was before.
#[derive(Debug)]
pub struct Reloaded {
    /// The generation of the new configuration, or why it was refused.
    pub configuration: Result<u64, String>,
    /// Whether the certificate was read, or why it was refused.
    pub certificate: Result<(), String>,
    /// Whether the CA and the tokens of callers were read, or why one of them was refused.
    pub client_auth: Result<(), String>,
}

/// Seconds. Clocks may be set.
const HOUR: u64 = 3600;
/// How long the end of the server waits for the Lease to be given back, and for the last traces to be sent.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Server {
    /// Loads configuration and certificate, listens on both ports and serves. What comes from files is in use when this
    /// returns; what comes from the cluster is waited for by [`Handle::ready`].
    ///
    /// # Errors
    /// When any of that cannot be done; then nothing is left running.
    pub async fn start(options: Options) -> Result<Server, StartError> {
        let in_use = Slot::default();
        let metrics = Arc::new(Metrics::new(options.dropped_log_lines.clone(), in_use.clone()));
        let readiness = Readiness::default();
        let control = Arc::new(Control::new());
        let source = match &options.configuration {
            Origin::Source(_) => "bundle",
            Origin::Cluster(_) => "cluster",
        };
        let gate = readiness.gate("config", "there is no configuration yet");
        let configuration = Arc::new(Configuration::new(source, in_use, gate, metrics.clone()));
        let gate = readiness.gate(admin::CERTIFICATE, "there is no certificate yet");
        let certificate = Arc::new(CertificateStore::new(gate, metrics.clone())?);
        let [configuration_files, certificate_files, client_auth_files] =
            watched_files(&options).map(|files| Arc::new(reload::Files::new(files)));
        // Who writes is not known before files are watched.
        let nobody = || None;
        if let Origin::Source(source) = &options.configuration {
            let read = configuration.read(source.as_ref(), nobody);
            read.map_err(|unread| StartError::Configuration(unread.to_string()))?;
        }
        certificate.read(&options.certificate, nobody)?;
        let client_auth = ClientAuth::new(&options.client_auth, &readiness, metrics.clone())?;
        let verifier = client_auth.as_ref().and_then(ClientAuth::verifier);
        let tls = tls::server_config(certificate.clone(), options.tls_min_version, verifier)?;

        let webhook_socket = http::listener::bind(options.listen)?;
        let admin_socket = http::listener::bind(options.admin)?;
        let webhook_address = webhook_socket.local_addr()?;
        let admin_address = admin_socket.local_addr()?;
        let listener = TcpListener::from_std(webhook_socket)?;

        let controller = start_cluster(
            &options,
            &configuration,
            &certificate,
            client_auth.as_ref(),
            &readiness,
            &metrics,
            &control,
        )
        .await?;
        let reviews = match options.admin_auth {
            AdminAuth::None => None,
            AdminAuth::Token => Some(kube::client::config(&options.access).await?),
        };
        let timeouts = Arc::new(options.timeouts.clone());
        let handle = Handle {
            control: control.clone(),
            origin: options.configuration.clone(),
            configuration: configuration.clone(),
            certificate_origin: options.certificate.clone(),
            certificate: certificate.clone(),
            client_auth: client_auth.clone(),
            client_auth_files: client_auth_files.clone(),
            readiness: readiness.clone(),
            configuration_files: configuration_files.clone(),
            certificate_files: certificate_files.clone(),
        };
        let supervisor = Supervisor::new(metrics.panics.clone());
        for (part, files) in [
            (Part::Configuration, configuration_files),
            (Part::Certificate, certificate_files),
            (Part::Callers, client_auth_files),
        ] {
            let (phase, pace) = (control.watch(), options.pace.clone());
            reload::watch(part, files, handle.clone(), phase, pace, supervisor.clone());
        }
        let admin = Admin {
            readiness,
            certificate,
            metrics: metrics.clone(),
            phase: control.watch(),
            log_filter: options.log_filter.clone(),
            doorkeeper: Doorkeeper::Nobody,
        };
        admin::port::serve(admin_socket, admin, &options, reviews)?;

        let pressure = Arc::new(LoadShedder::default());
        watch_pressure(pressure.clone(), control.watch(), supervisor);
        let webhook =
            Webhook::new(configuration, metrics.clone(), pressure, &options.limits, &options.timeouts);
        #[cfg(feature = "otlp")]
        let traces = match options.otlp_endpoint.clone() {
            Some(endpoint) => {
                Some(Arc::new(observe::traces::Traces::start(endpoint, metrics.spans.clone()).await?))
            }
            None => None,
        };
        #[cfg(feature = "otlp")]
        let webhook = webhook.with_traces(traces.clone());
        let webhook = Arc::new(webhook);
        let crowd =
            ConnectionRegistry::new(options.limits.buffered_bytes, metrics.held.clone(), metrics.clone());
        let http =
            Http::new(webhook, &options.limits, timeouts, metrics.clone(), control.watch(), Phase::Closing);
        let http = Arc::new(http);
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let connections = Arc::new(Semaphore::new(options.limits.connections));
        let serve = {
            let (phase, metrics) = (control.watch(), metrics.clone());
            let handshake = options.timeouts.handshake;
            move |stream, connection: Connection| {
                let activity = connection.activity.clone();
                let door = Door { acceptor: acceptor.clone(), within: handshake, auth: client_auth.clone() };
                let serving = serve_tls(stream, door, http.clone(), metrics.clone(), activity);
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
            crowd,
            spared: options.timeouts.spared,
            phase: control.watch(),
            until: Phase::Closing,
            metrics,
        };
        tokio::spawn(http::listener::accept(listener, how, serve));
        let life = live(control, connections, options.limits.connections, options.timeouts, controller);
        #[cfg(feature = "otlp")]
        let life = async move {
            let finished = life.await;
            if let Some(traces) = traces {
                traces.flush(LAST_WORDS).await;
            }
            finished
        };
        let life = tokio::spawn(life);
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

    /// Waits until requests are served as API servers want it: everything that must have happened before has happened, and the
    /// certificate is valid.
    pub async fn ready(&self) {
        let mut said = false;
        loop {
            // Before looking, so that no certificate in between is missed.
            let changed = self.readiness.changed();
            self.readiness.passed().await;
            let now = unix_now();
            let problem = self.certificate.validity().and_then(|validity| validity.problem(now));
            let Some(problem) = problem else { return };
            if !std::mem::replace(&mut said, true) {
                tracing::warn!(%problem, "not ready: API servers refuse the certificate");
            }
            let due = match problem {
                Problem::NotYet { from, .. } => u64::try_from(from - now).unwrap_or(1),
                Problem::Expired { .. } => HOUR,
            };
            let _ = tokio::time::timeout(Duration::from_secs(due.clamp(1, HOUR)), changed).await;
        }
    }

    /// Reads configuration and certificate from their files again. Each is taken into use whole or not at all; what
    /// comes from the cluster is not touched.
    pub async fn reload(&self) -> Reloaded {
        let of_configuration = asked_for(&self.configuration_files, {
            let handle = self.clone();
            move || handle.reload_configuration()
        });
        let of_certificate = asked_for(&self.certificate_files, {
            let handle = self.clone();
            move || handle.reload_certificate()
        });
        let of_callers = asked_for(&self.client_auth_files, {
            let handle = self.clone();
            move || handle.reload_client_auth()
        });
        // At once: none waits for a file system that another one is on.
        let (configuration, certificate, client_auth) =
            tokio::join!(of_configuration, of_certificate, of_callers);
        Reloaded { configuration, certificate, client_auth }
    }

    /// A certificate that was made here stays as it is.
    fn reload_certificate(&self) -> Result<(), String> {
        let (origin, files) = (&self.certificate_origin, &self.certificate_files);
        if !matches!(origin, Certificate::Files { .. }) {
            return Ok(());
        }
        let read = self.certificate.read(origin, || files.being_written());
        files.taken(read.is_ok());
        if let Err(tls::Error::Busy(_)) = &read {
            files.forget();
        }
        read.map_err(|error| error.to_string())
    }

    /// A CA in a ConfigMap is watched.
    fn reload_client_auth(&self) -> Result<(), String> {
        let Some(auth) = &self.client_auth else { return Ok(()) };
        let read = auth.read();
        self.client_auth_files.taken(read.is_ok());
        read.map_err(|error| error.to_string())
    }

    fn reload_configuration(&self) -> Result<u64, String> {
        let Origin::Source(source) = &self.origin else {
            return Ok(self.configuration.current().map_or(0, |active| active.generation));
        };
        let files = &self.configuration_files;
        let read = self.configuration.read(source.as_ref(), || files.being_written());
        files.taken(read.is_ok());
        if let Err(Unread::Busy(_)) = &read {
            files.forget();
        }
        read.map_err(|unread| unread.to_string())
    }
}

/// Reloads a part that somebody asks for.
async fn asked_for<T: Send + 'static>(
    files: &Arc<reload::Files>,
    reload: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    reload::written_soon(files).await;
    let files = files.clone();
    let reload = move || {
        // Whoever watches them need not read them again.
        files.changed();
        reload()
    };
    tokio::task::spawn_blocking(reload).await.unwrap_or_else(|_| Err("the reload was cut off".to_owned()))
}

/// Measures how long work waits, until the server has stopped.
fn watch_pressure(pressure: Arc<LoadShedder>, phase: shutdown::Watch, supervisor: Supervisor) {
    tokio::spawn(async move {
        let probe = || {
            let pressure = pressure.clone();
            async move { pressure.probe().await }
        };
        tokio::select! {
            () = supervisor.keep("the wait of requests is measured", probe) => {}
            () = phase.reached(Phase::Stopped) => {}
        }
    });
}

/// Starts what talks to the API server, if anything does. Gives the task that has a Lease to give back.
async fn start_cluster(
    options: &Options,
    configuration: &Arc<Configuration>,
    certificate: &Arc<CertificateStore>,
    client_auth: Option<&Arc<ClientAuth>>,
    readiness: &Readiness,
    metrics: &Arc<Metrics>,
    control: &Arc<Control>,
) -> Result<Option<JoinHandle<()>>, StartError> {
    let watched = match &options.configuration {
        Origin::Cluster(watched) => Some(watched),
        Origin::Source(_) => None,
    };
    let controlled = match &options.certificate {
        Certificate::Controller(controlled) => Some(controlled),
        _ => None,
    };
    let callers = client_auth.zip(options.client_auth.config_map());
    if watched.is_none() && controlled.is_none() && callers.is_none() {
        return Ok(None);
    }
    let client = kube::client::connect_counted(&options.access, metrics.kube_api.clone()).await?;
    if let Some((auth, of)) = callers {
        client_auth::config_map::follow(client.clone(), of, auth, readiness, metrics, control.watch());
    }
    if let Some(watched) = watched {
        let targets = configuration::cluster::Targets {
            configuration: configuration.clone(),
            facts: Arc::new(LiveFacts::default()),
            readiness: readiness.clone(),
            metrics: metrics.clone(),
            phase: control.watch(),
        };
        configuration::cluster::start(client.clone(), watched.as_ref().clone(), targets);
    }
    Ok(controlled.map(|controlled| {
        let targets = certs::Targets {
            certificate: certificate.clone(),
            readiness: readiness.clone(),
            metrics: metrics.clone(),
            phase: control.watch(),
        };
        certs::start(client, controlled.as_ref().clone(), targets)
    }))
}

/// The files whose change is a reason to reload: those of the configuration, and those of the certificate.
fn watched_files(options: &Options) -> [Vec<std::path::PathBuf>; 3] {
    let of_configuration = match &options.configuration {
        Origin::Source(source) => source.files(),
        Origin::Cluster(_) => Vec::new(),
    };
    let of_certificate = match &options.certificate {
        Certificate::Files { chain, key } => vec![chain.clone(), key.clone()],
        Certificate::SelfSigned { .. } | Certificate::Controller(_) => Vec::new(),
    };
    [of_configuration, of_certificate, options.client_auth.files()]
}

/// From the first signal to the end. Tells whether every connection ended by itself.
async fn live(
    control: Arc<Control>,
    connections: Arc<Semaphore>,
    cap: usize,
    timeouts: Timeouts,
    controller: Option<JoinHandle<()>>,
) -> bool {
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
    if let Some(controller) = controller {
        // It began to end with the draining; a Lease that is not given back costs the next leader a few seconds.
        let _ = tokio::time::timeout(LAST_WORDS, controller).await;
    }
    finished
}

/// What a connection passes through before there are requests.
struct Door {
    acceptor: TlsAcceptor,
    within: Duration,
    auth: Option<Arc<ClientAuth>>,
}

/// One connection on the webhook's port.
async fn serve_tls(
    stream: TcpStream,
    door: Door,
    http: Arc<Http<Webhook>>,
    metrics: Arc<Metrics>,
    activity: Arc<ConnectionState>,
) {
    let Door { acceptor, within, auth } = door;
    let peer = stream.peer_addr().ok().map(|peer| peer.ip().to_canonical());
    let handshake = acceptor.accept(stream).into_fallible();
    let (accepted, refusal) = client_auth::noting(tokio::time::timeout(within, handshake)).await;
    let stream = match accepted {
        Ok(Ok(stream)) => stream,
        Ok(Err((error, stream))) => {
            let reason = handshake_failure(&error);
            metrics.handshake_failed(reason);
            tracing::debug!(reason, "a TLS handshake failed");
            if reason == client_auth::CLIENT_CERTIFICATE
                && let Some(auth) = auth
            {
                auth.report(&refusal.unwrap_or_else(client_auth::no_certificate), peer);
                client_auth::part(stream).await;
            }
            return;
        }
        Err(_) => {
            metrics.handshake_failed("timeout");
            tracing::debug!(reason = "timeout", "a TLS handshake failed");
            return;
        }
    };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let caller = auth.map(|auth| Arc::new(Caller::new(auth, peer, stream.get_ref().1.peer_certificates())));
    http.serve(stream, http2, activity, caller).await;
}

/// A stable key for why a handshake failed.
pub(crate) fn handshake_failure(error: &io::Error) -> &'static str {
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
        Error::NoCertificatesPresented | Error::InvalidCertificate(_) => client_auth::CLIENT_CERTIFICATE,
        _ => "other",
    }
}
