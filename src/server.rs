//! The shell: an HTTPS server around the injector, with probes, metrics and graceful shutdown.
//!
//! In reading order: `options`, this file (composition), `http` (connections and their limits), `tls`, `kube` (API
//! server client), `configuration` (what requests are answered with), `certs`, `client_auth` (which clients may
//! call), `webhook` (the endpoint), `admin` (probes and metrics), `observe` (metrics, log and traces), `reload` and
//! `reloads` (watched files), `shutdown` (phases), `supervise` (background tasks).
//!
//! It performs I/O and makes no decisions about pods.

#![allow(clippy::disallowed_methods, reason = "the ban on I/O and clocks is for the pure core")]

mod admin;
pub mod bare_workloads;
pub mod canary;
pub mod certs;
pub mod client_auth;
mod clock;
pub mod configuration;
pub mod duration;
pub mod http;
mod jitter;
pub mod kube;
pub(crate) mod loopback;
pub mod memory;
#[cfg(test)]
mod metrics_reference;
pub mod namespace_audit;
pub mod observe;
pub mod options;
pub mod permissions;
mod readiness;
pub(crate) mod reading;
mod reload;
mod reloads;
pub mod resources;
mod shutdown;
mod supervise;
pub mod tls;
pub mod webhook;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

use crate::server::admin::{Admin, Doorkeeper, page::Page};
use crate::server::bare_workloads::BareWorkloadMetrics;
use crate::server::canary::CanaryMetrics;
use crate::server::certs::metrics::CertificateMetrics;
use crate::server::client_auth::{ClientAuth, metrics::ClientAuthMetrics};
use crate::server::clock::unix_now;
use crate::server::configuration::active::Configuration;
use crate::server::configuration::facts::LiveFacts;
use crate::server::configuration::metrics::ConfigurationMetrics;
use crate::server::configuration::slot::Slot;
use crate::server::http::connection::Http;
use crate::server::http::metrics::HttpMetrics;
use crate::server::http::overload::LoadShedder;
use crate::server::http::registry::ConnectionRegistry;
use crate::server::kube::metrics::KubeMetrics;
use crate::server::namespace_audit::NamespaceAuditMetrics;
use crate::server::observe::metrics;
use crate::server::options::{AdminAuth, Certificate, Options, Origin, Timeouts};
use crate::server::readiness::Readiness;
use crate::server::reloads::{CertificateFiles, ClientAuthFiles, ConfigurationFiles};
use crate::server::shutdown::{Control, Phase};
use crate::server::supervise::Supervisor;
use crate::server::tls::CertificateStore;
use crate::server::tls::chain::Problem;
use crate::server::tls::metrics::TlsMetrics;
use crate::server::webhook::{
    decisions::Decisions,
    endpoint::{Observers, Webhook},
    metrics::RequestMetrics,
    port::Port,
    traces::Traces,
    workload_events::WorkloadEvents,
};

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration was rejected.
    #[error("{0}")]
    Configuration(String),
    /// The certificate was rejected.
    #[error(transparent)]
    Certificate(#[from] tls::Error),
    /// The options for client authentication were rejected.
    #[error(transparent)]
    ClientAuth(#[from] client_auth::Error),
    /// There is no usable API server client.
    #[error(transparent)]
    Client(#[from] kube::client::Error),
    /// The server cannot bind an address or start a thread.
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

/// Controls a running server.
#[derive(Clone)]
pub struct Handle {
    control: Arc<Control>,
    readiness: Readiness,
    certificate: Arc<CertificateStore>,
    files: Files,
}

/// Sources that are read again when they change or on request.
#[derive(Clone)]
struct Files {
    configuration: Arc<ConfigurationFiles>,
    certificate: Arc<CertificateFiles>,
    client_auth: Arc<ClientAuthFiles>,
}

/// The result of a reload. Whatever failed keeps its previous state.
#[derive(Debug)]
pub struct Reloaded {
    /// The generation of the new configuration, or why it was rejected.
    pub configuration: Result<u64, String>,
    /// Whether the certificate was loaded, or why it was rejected.
    pub certificate: Result<(), String>,
    /// Whether the CA and the tokens for client authentication were loaded, or why one of them was rejected.
    pub client_auth: Result<(), String>,
}

/// The maximum time between two looks at the wall clock, which may be set.
const HOUR: u64 = 3600;
/// How long shutdown waits for the Lease to be released, and for the last traces to be sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

impl Server {
    /// Loads configuration and certificate, binds both ports and serves. Configuration from files is active when this
    /// returns; [`Handle::ready`] waits for configuration from the cluster.
    ///
    /// # Errors
    /// When any step fails; nothing is left running then.
    pub async fn start(options: Options) -> Result<Server, StartError> {
        let parts = Parts::load(&options)?;
        let sockets = Sockets::bind(&options)?;
        let (webhook_address, admin_address) = sockets.addresses()?;
        let listener = TcpListener::from_std(sockets.webhook)?;
        let in_cluster = parts.start_cluster(&options).await?;
        let handle = parts.handle();
        parts.watch_files(&options);
        parts.start_admin(sockets.admin, &options).await?;
        let life = parts.start_webhook(listener, options, in_cluster).await?;
        Ok(Server { webhook_address, admin_address, handle, life })
    }

    /// The address of the webhook, with its actual port.
    pub fn webhook_address(&self) -> SocketAddr {
        self.webhook_address
    }

    /// The address of probes and metrics, with its actual port.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Returns the handle that controls the server.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits for the shutdown that [`Handle::shutdown`] starts. Returns whether every request was finished.
    pub async fn ended(self) -> bool {
        self.life.await.unwrap_or(false)
    }
}

impl Handle {
    /// Starts a graceful shutdown. A second call exits at once.
    pub fn shutdown(&self) {
        match self.control.advance(Phase::Draining) {
            Phase::Serving => tracing::info!("shutting down: not ready from now on"),
            _ => {
                self.control.advance(Phase::Stopped);
            }
        }
    }

    /// Waits until requests can be served: every gate is open and API servers accept the certificate.
    pub async fn ready(&self) {
        let mut said = false;
        loop {
            // Subscribe before checking, so that no certificate in between is missed.
            let changed = self.readiness.changed();
            self.readiness.passed().await;
            let now = unix_now();
            let problem = self.certificate.validity().and_then(|validity| validity.problem(now));
            let Some(problem) = problem else { return };
            if !std::mem::replace(&mut said, true) {
                tracing::warn!(%problem, "not ready: API servers would reject the certificate");
            }
            let due = match problem {
                Problem::NotYet { from, .. } => u64::try_from(from - now).unwrap_or(1),
                Problem::Expired { .. } => HOUR,
            };
            let _ = tokio::time::timeout(Duration::from_secs(due.clamp(1, HOUR)), changed).await;
        }
    }

    /// Reads configuration and certificate from their files again. Each is applied as a whole or not at all.
    /// Configuration from the cluster is not touched.
    pub async fn reload(&self) -> Reloaded {
        let Files { configuration, certificate, client_auth } = &self.files;
        // Concurrently, so that one slow file system does not delay the others.
        let (configuration, certificate, client_auth) =
            tokio::join!(reload::now(configuration), reload::now(certificate), reload::now(client_auth));
        Reloaded { configuration, certificate, client_auth }
    }
}

/// Binds the sockets before anything is started, so that a port in use fails the start.
struct Sockets {
    webhook: std::net::TcpListener,
    admin: std::net::TcpListener,
}

impl Sockets {
    fn bind(options: &Options) -> io::Result<Sockets> {
        let webhook = http::listener::bind(options.listen)?;
        Ok(Sockets { webhook, admin: http::listener::bind(options.admin)? })
    }

    fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.webhook.local_addr()?, self.admin.local_addr()?))
    }
}

/// The metrics of all parts.
struct Metrics {
    http: HttpMetrics,
    tls: TlsMetrics,
    kube: KubeMetrics,
    certs: CertificateMetrics,
    canary: CanaryMetrics,
    namespace_audit: NamespaceAuditMetrics,
    bare_workloads: BareWorkloadMetrics,
    client_auth: ClientAuthMetrics,
    configuration: ConfigurationMetrics,
    requests: RequestMetrics,
    traces: Traces,
}

impl Metrics {
    /// Registers the metrics of all parts, and creates the supervisor that counts panics among them. `in_use` holds
    /// the active configuration; `dropped_log_lines` is the log's own counter.
    fn register(registry: &mut Registry, in_use: Slot, dropped_log_lines: Counter) -> (Metrics, Supervisor) {
        metrics::register(registry, dropped_log_lines);
        let own = metrics::own(registry);
        let supervisor = Supervisor::register(own);
        let http = HttpMetrics::register(own);
        let tls = TlsMetrics::register(own);
        let kube = KubeMetrics::register(own);
        let certs = CertificateMetrics::register(own);
        let canary = CanaryMetrics::register(own);
        let namespace_audit = NamespaceAuditMetrics::register(own);
        let bare_workloads = BareWorkloadMetrics::register(own);
        let client_auth = ClientAuthMetrics::register(own);
        let traces = Traces::register(own);
        let configuration = ConfigurationMetrics::register(own, in_use);
        let requests = RequestMetrics::register(registry, http.clone(), supervisor.panics());
        let metrics = Metrics {
            http,
            tls,
            kube,
            certs,
            canary,
            namespace_audit,
            bare_workloads,
            client_auth,
            configuration,
            requests,
            traces,
        };
        (metrics, supervisor)
    }
}

/// The tasks that talk to the API server, if they were started.
#[derive(Default)]
struct InCluster {
    /// The task that releases the Lease at the end.
    controller: Option<JoinHandle<()>>,
    workload_events: Option<WorkloadEvents>,
}

/// The parts of a server, loaded but not started.
struct Parts {
    control: Arc<Control>,
    readiness: Readiness,
    supervisor: Supervisor,
    registry: Arc<Registry>,
    metrics: Metrics,
    configuration: Arc<Configuration>,
    certificate: Arc<CertificateStore>,
    client_auth: Option<Arc<ClientAuth>>,
    decisions: Option<Arc<Decisions>>,
    files: Files,
}

impl Parts {
    /// Creates all parts and loads everything that comes from files.
    fn load(options: &Options) -> Result<Parts, StartError> {
        let readiness = Readiness::default();
        let mut registry = Registry::default();
        let in_use = Slot::default();
        let dropped = options.dropped_log_lines.clone();
        let (metrics, supervisor) = Metrics::register(&mut registry, in_use.clone(), dropped);

        let configuration = Arc::new(Configuration::new(
            options.configuration.key(),
            in_use,
            readiness.gate("config", "no configuration loaded yet"),
            metrics.configuration.clone(),
        ));
        let gate = readiness.gate(admin::CERTIFICATE, "no certificate loaded yet");
        let certificate = Arc::new(CertificateStore::new(gate, metrics.tls.clone())?);
        let callers = Arc::new(reload::Files::new(options.client_auth.files()));
        let files_of_configuration =
            ConfigurationFiles::start(options.configuration.source(), configuration.clone())
                .map_err(|unread| StartError::Configuration(unread.to_string()))?;
        let files_of_certificate =
            CertificateFiles::start(options.certificate.origin(), certificate.clone())?;
        let client_auth = ClientAuth::new(&options.client_auth, &readiness, metrics.client_auth.clone())?;
        let files = Files {
            configuration: files_of_configuration,
            certificate: files_of_certificate,
            client_auth: ClientAuthFiles::new(callers, client_auth.clone()),
        };

        Ok(Parts {
            control: Arc::new(Control::new()),
            readiness,
            supervisor,
            registry: Arc::new(registry),
            metrics,
            configuration,
            certificate,
            client_auth,
            decisions: Some(options.debug_decisions)
                .filter(|most| *most > 0)
                .map(|most| Arc::new(Decisions::new(most))),
            files,
        })
    }

    fn handle(&self) -> Handle {
        Handle {
            control: self.control.clone(),
            readiness: self.readiness.clone(),
            certificate: self.certificate.clone(),
            files: self.files.clone(),
        }
    }

    /// Starts the tasks that talk to the API server, if there are any.
    async fn start_cluster(&self, options: &Options) -> Result<InCluster, StartError> {
        let watched = match &options.configuration {
            Origin::Cluster(watched) => Some(watched),
            Origin::Source(_) => None,
        };
        let controlled = match &options.certificate {
            Certificate::Controller(controlled) => Some(controlled),
            _ => None,
        };
        let callers = self.client_auth.as_ref().zip(options.client_auth.config_map());
        let canary = options.canary.as_ref();
        let audit = options.namespace_audit.as_ref();
        let bare = options.bare_workloads.as_ref();
        let asks_nothing = watched.is_none() && controlled.is_none() && callers.is_none();
        if asks_nothing && canary.is_none() && audit.is_none() && bare.is_none() {
            return Ok(InCluster::default());
        }
        let KubeMetrics { requests, watches } = &self.metrics.kube;
        let client = kube::client::connect_counted(&options.access, requests.clone()).await?;
        if let Some((auth, of)) = callers {
            let (supervisor, phase) = (self.supervisor.clone(), self.control.watch());
            let client = client.clone();
            client_auth::config_map::follow(client, of, auth, &self.readiness, watches, supervisor, phase);
        }
        if let Some(watched) = watched {
            let targets = configuration::cluster::Targets {
                configuration: self.configuration.clone(),
                facts: Arc::new(LiveFacts::default()),
                readiness: self.readiness.clone(),
                watches: watches.clone(),
                supervisor: self.supervisor.clone(),
                phase: self.control.watch(),
            };
            configuration::cluster::start(client.clone(), watched.as_ref().clone(), targets);
        }
        let workload_events = watched.filter(|watched| watched.workload_events).map(|watched| {
            let (events, write) = WorkloadEvents::new(client.clone(), &watched.identity);
            tokio::spawn(write);
            events
        });
        let controller = controlled.map(|controlled| {
            let targets = certs::Targets {
                certificate: self.certificate.clone(),
                readiness: self.readiness.clone(),
                metrics: self.metrics.certs.clone(),
                supervisor: self.supervisor.clone(),
                phase: self.control.watch(),
            };
            certs::start(client.clone(), controlled.as_ref().clone(), targets)
        });
        let leading = controller.as_ref().map(|controller| controller.leading.clone());
        if let Some(canary) = canary {
            let (metrics, phase) = (self.metrics.canary.clone(), self.control.watch());
            let (client, leading) = (client.clone(), leading.clone());
            canary::start(client, canary.clone(), metrics, leading, self.supervisor.clone(), phase);
        }
        if let Some(audit) = audit {
            let (metrics, phase) = (self.metrics.namespace_audit.clone(), self.control.watch());
            let (client, leading) = (client.clone(), leading.clone());
            namespace_audit::start(client, audit.clone(), metrics, leading, self.supervisor.clone(), phase);
        }
        if let Some(bare) = bare {
            let targets = bare_workloads::Targets {
                configuration: self.configuration.clone(),
                metrics: self.metrics.bare_workloads.clone(),
                leading,
                supervisor: self.supervisor.clone(),
                phase: self.control.watch(),
            };
            bare_workloads::start(client, bare.clone(), targets);
        }
        let controller = controller.map(|controller| controller.task);
        Ok(InCluster { controller, workload_events })
    }

    /// Watches files and reloads them when they change.
    fn watch_files(&self, options: &Options) {
        let Files { configuration, certificate, client_auth } = &self.files;
        let terms = || (self.control.watch(), options.pace.clone(), self.supervisor.clone());
        let (phase, pace, supervisor) = terms();
        reload::watch(configuration.clone(), phase, pace, supervisor);
        let (phase, pace, supervisor) = terms();
        reload::watch(certificate.clone(), phase, pace, supervisor);
        let (phase, pace, supervisor) = terms();
        reload::watch(client_auth.clone(), phase, pace, supervisor);
    }

    /// Starts the admin port, which waits for nothing else.
    async fn start_admin(&self, socket: std::net::TcpListener, options: &Options) -> Result<(), StartError> {
        let reviews = match options.admin_auth {
            AdminAuth::None => None,
            AdminAuth::Token => Some(kube::client::config(&options.access).await?),
        };
        let terms = admin::port::Terms {
            auth: options.admin_auth,
            tls_min_version: options.tls_min_version,
            limits: options.limits.clone(),
            timeouts: Arc::new(options.timeouts.clone()),
            reviews,
        };
        let metrics = admin::port::Metrics {
            http: self.metrics.http.clone(),
            tls: self.metrics.tls.clone(),
            kube_api: self.metrics.kube.requests.clone(),
        };
        let admin = Admin {
            readiness: self.readiness.clone(),
            certificate: self.certificate.clone(),
            metrics: self.registry.clone(),
            phase: self.control.watch(),
            log_filter: options.log_filter.clone(),
            decisions: self.decisions.clone(),
            doorkeeper: Doorkeeper::Nobody,
            page: options.admin_page.then(|| Page {
                configuration: self.configuration.clone(),
                renews: matches!(options.certificate, Certificate::Controller { .. }),
            }),
        };
        Ok(admin::port::serve(socket, admin, terms, metrics)?)
    }

    /// Starts the webhook. Returns the task that lives as long as the server.
    async fn start_webhook(
        self,
        listener: TcpListener,
        options: Options,
        InCluster { controller, workload_events }: InCluster,
    ) -> Result<JoinHandle<bool>, StartError> {
        let Parts {
            control, supervisor, metrics, configuration, certificate, client_auth, decisions, ..
        } = self;
        let Options { limits, timeouts, .. } = &options;
        let verifier = client_auth.as_ref().and_then(ClientAuth::verifier);
        let tls = tls::server_config(certificate, options.tls_min_version, verifier)?;
        let tls = tls::acceptor::Acceptor::new(tls, timeouts.handshake, metrics.tls);
        let overload = Arc::new(LoadShedder::default());
        measure_overload(overload.clone(), control.watch(), supervisor);
        let traces = metrics.traces.start(options.otlp_endpoint.clone()).await?;
        let observers =
            Observers { metrics: metrics.requests, traces: traces.clone(), workload_events, decisions };
        let webhook = Webhook::new(configuration, observers, overload, limits, timeouts);
        let (phase, of_ports) = (control.watch(), metrics.http);
        let shared = Arc::new(timeouts.clone());
        let http = Http::new(webhook, limits, shared, of_ports.clone(), phase.clone(), Phase::Closing);
        let connections = Arc::new(Semaphore::new(limits.connections));
        let how = http::listener::Acceptor {
            name: "webhook",
            permits: connections.clone(),
            registry: ConnectionRegistry::new(limits.buffered_bytes, of_ports.held.clone(), of_ports.clone()),
            spared: timeouts.spared,
            phase: phase.clone(),
            until: Phase::Closing,
            metrics: of_ports,
        };
        tokio::spawn(Port { tls, http, client_auth, phase }.serve(listener, how));
        let life = live(control, connections, limits.connections, timeouts.clone(), controller);
        Ok(tokio::spawn(async move {
            let finished = life.await;
            traces.flush(FLUSH_TIMEOUT).await;
            finished
        }))
    }
}

/// Measures the queueing delay until the server has stopped.
fn measure_overload(overload: Arc<LoadShedder>, phase: shutdown::Watch, supervisor: Supervisor) {
    tokio::spawn(async move {
        let probe = || {
            let overload = overload.clone();
            async move { overload.probe().await }
        };
        tokio::select! {
            () = supervisor.keep("overload probe", probe) => {}
            () = phase.reached(Phase::Stopped) => {}
        }
    });
}

/// Runs from the first signal to the exit. Returns whether every connection ended by itself.
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
    // All permits are back: no connection is left.
    let all = u32::try_from(cap).unwrap_or(u32::MAX);
    let finished = tokio::select! {
        _all = connections.acquire_many(all) => true,
        () = tokio::time::sleep(timeouts.grace) => false,
        () = phase.reached(Phase::Stopped) => connections.available_permits() == cap,
    };
    control.advance(Phase::Stopped);
    if let Some(controller) = controller {
        // The release started with draining. A Lease that is not released delays the next leader by a few seconds.
        let _ = tokio::time::timeout(FLUSH_TIMEOUT, controller).await;
    }
    finished
}
