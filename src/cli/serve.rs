//! `outrigger serve`: turns flags into options and signals into phases, and prints one line when ready.

mod callers;
mod cluster;

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{ArgAction, Args, Command, FromArgMatches, ValueEnum};
use prometheus_client::metrics::counter::Counter;
use rustls::pki_types::ServerName;

use self::{
    callers::Callers,
    cluster::{CertificateFlag, InCluster},
};
use super::{
    cluster::Cluster,
    failure::{DATA, ERROR, RESOURCES, UNAVAILABLE, USAGE},
    signals::{Held, Signals},
};
use crate::server::configuration::bundle::Bundle;
use crate::server::configuration::folders::Folders;
use crate::server::duration::parse_duration;
use crate::server::kube::client;
use crate::server::observe::log as telemetry;
use crate::server::observe::log::{Filter, Format, Lines};
use crate::server::options::{
    Certificate, Limits, MinVersion as TlsVersion, Options, Origin, Pace, Timeouts,
};
use crate::server::{Handle, Server, StartError, memory, resources};

/// Serve the webhook over HTTPS, with probes and metrics on a second port.
///
/// SIGTERM or SIGINT shuts down gracefully; a second signal exits immediately. SIGHUP reloads configuration and
/// certificate, as does any change to their files.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger serve --standalone --bundle bundle.yaml --tls-san injector.example
  outrigger serve --standalone --config-dir /etc/outrigger --tls-cert tls.crt --tls-key tls.key
  outrigger serve --kubeconfig ~/.kube/config --revision canary")]
pub struct Serve {
    /// Run without a cluster: configuration from files, certificate from files or self-signed
    #[arg(long, env = "OUTRIGGER_STANDALONE")]
    standalone: bool,
    /// Bundle file [default: the embedded defaults]
    #[arg(long, env = "OUTRIGGER_BUNDLE", value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Directory with the configuration, such as a mounted ConfigMap: a file `bundle`, or Istio's `config`, `values`
    /// and `mesh`; may be repeated if these are in several
    #[arg(
        long,
        env = "OUTRIGGER_CONFIG_DIR",
        value_name = "DIR",
        value_delimiter = ',',
        conflicts_with = "bundle"
    )]
    config_dir: Vec<PathBuf>,
    /// Address of the webhook; an unspecified IPv6 address includes IPv4
    #[arg(long, env = "OUTRIGGER_LISTEN", value_name = "ADDR", default_value = "[::]:8443")]
    listen: SocketAddr,
    /// Address of probes and metrics
    #[arg(long, env = "OUTRIGGER_ADMIN", value_name = "ADDR", default_value = "[::]:8080")]
    admin: SocketAddr,
    /// Certificate chain in PEM; without it, a self-signed certificate is generated in memory
    #[arg(long, env = "OUTRIGGER_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate in PEM
    #[arg(long, env = "OUTRIGGER_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Additional DNS name or IP address for a generated certificate
    #[arg(
        long,
        env = "OUTRIGGER_TLS_SAN",
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = subject,
        conflicts_with = "tls_cert"
    )]
    tls_san: Vec<String>,
    /// Minimum TLS version to accept
    #[arg(long, env = "OUTRIGGER_TLS_MIN_VERSION", value_name = "VERSION", default_value = "1.2")]
    tls_min_version: MinVersion,
    /// Log format; `auto` is text on a terminal and JSON otherwise
    #[arg(long, env = "OUTRIGGER_LOG_FORMAT", value_name = "FORMAT", default_value = "auto")]
    log_format: LogFormat,
    /// Keep the last decisions for /debug/decisions on the admin port, which only clients on loopback can read: names and
    /// reasons, nothing else of pods
    #[arg(long, env = "OUTRIGGER_DEBUG_DECISIONS", value_name = "NUMBER", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=10_000))]
    debug_decisions: u16,
    /// Serve a read-only page about this replica at /ui on the admin port, for clients on loopback
    #[arg(long, env = "OUTRIGGER_ADMIN_PAGE")]
    admin_page: bool,
    /// OpenTelemetry collector for traces, over gRPC: http://HOST:4317
    #[cfg(feature = "otlp")]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", value_parser = collector)]
    otlp_endpoint: Option<String>,
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    in_cluster: InCluster,
    #[command(flatten)]
    callers: Callers,
    #[command(flatten)]
    tuning: Tuning,
}

/// Limits and timeouts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits and timeouts")]
struct Tuning {
    /// Maximum open connections; at the limit, idle ones are evicted or new ones refused
    #[arg(long, env = "OUTRIGGER_MAX_CONNECTIONS", default_value_t = Limits::default().connections, value_parser = count)]
    max_connections: usize,
    /// Maximum large requests at once; the rest get 429
    #[arg(long, env = "OUTRIGGER_MAX_IN_FLIGHT", default_value_t = Limits::default().in_flight, value_parser = count)]
    max_in_flight: usize,
    /// Available memory, such as 384Mi; with little of it, less is processed at once [default: the cgroup's limit]
    #[arg(long, env = "OUTRIGGER_MEMORY_LIMIT", value_name = "BYTES", value_parser = memory::parse)]
    memory_limit: Option<usize>,
    /// Time between the signal and closing the listener
    #[arg(long, env = "OUTRIGGER_DRAIN_DELAY", value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    drain_delay: Duration,
    /// Time between closing the listener and the end of the last request
    #[arg(long, env = "OUTRIGGER_SHUTDOWN_GRACE", value_name = "DURATION", default_value = "20s", value_parser = parse_duration)]
    shutdown_grace: Duration,
    /// Timeout of the TLS handshake
    #[arg(long, env = "OUTRIGGER_HANDSHAKE_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    handshake_timeout: Duration,
    /// Timeout between the handshake and the first byte
    #[arg(long, env = "OUTRIGGER_FIRST_BYTE_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    first_byte_timeout: Duration,
    /// Timeout of a request's header
    #[arg(long, env = "OUTRIGGER_HEADER_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    header_timeout: Duration,
    /// Timeout of a request's body
    #[arg(long, env = "OUTRIGGER_BODY_TIMEOUT", value_name = "DURATION", default_value = "15s", value_parser = parse_duration)]
    body_timeout: Duration,
    /// Timeout for a peer that does not read the response
    #[arg(long, env = "OUTRIGGER_WRITE_TIMEOUT", value_name = "DURATION", default_value = "15s", value_parser = parse_duration)]
    write_timeout: Duration,
    /// Timeout of connections without a request; keep it above the API servers' 90s
    #[arg(long, env = "OUTRIGGER_IDLE_TIMEOUT", value_name = "DURATION", default_value = "120s", value_parser = parse_duration)]
    idle_timeout: Duration,
    /// Age at which connections are closed gracefully
    #[arg(long, env = "OUTRIGGER_MAX_CONNECTION_AGE", value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    max_connection_age: Duration,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MinVersion {
    #[value(name = "1.2")]
    V1_2,
    #[value(name = "1.3")]
    V1_3,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
    Auto,
}

/// Time limit for the last log lines.
const LAST_LINES: Duration = Duration::from_secs(1);

impl Serve {
    /// Serves until a signal ends the process.
    pub(super) fn run(self, held: Held) -> ExitCode {
        if let Some(contradiction) = self.contradiction() {
            return complain(USAGE, contradiction);
        }
        resources::no_core_dumps();
        let descriptors = resources::raise_descriptors();
        let signals = match held.listen() {
            Ok(signals) => signals,
            Err(error) => return complain(code_of(&error), &format!("cannot listen for signals: {error}")),
        };
        let dropped = Counter::default();
        let format = self.format();
        let logging = start_log(format, dropped.clone());
        let (lines, log_filter) = match logging {
            Ok(logging) => logging,
            Err((code, error)) => return complain(code, &error),
        };
        let code = match runtime() {
            Ok(runtime) => {
                let options = self.options(dropped, Some(log_filter), descriptors);
                let code = runtime.block_on(serve(options, signals, format, &lines));
                runtime.shutdown_background();
                code
            }
            Err(error) => complain(
                code_of(&error),
                &format!(
                    "cannot start the server's threads: {error}; a limit on memory or threads was reached"
                ),
            ),
        };
        lines.flush(LAST_LINES);
        code
    }

    fn format(&self) -> Format {
        let terminal = io::stderr().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        match self.log_format {
            LogFormat::Json => Format::Json,
            LogFormat::Auto if !terminal => Format::Json,
            LogFormat::Text | LogFormat::Auto => Format::Text { color: terminal && !plain },
        }
    }

    /// Detects conflicting flags.
    fn contradiction(&self) -> Option<&'static str> {
        let from = self.in_cluster.certificate;
        match from {
            Some(CertificateFlag::Files) if self.tls_cert.is_none() => {
                Some("--certificate files needs --tls-cert and --tls-key")
            }
            Some(CertificateFlag::Controller | CertificateFlag::SelfSigned) if self.tls_cert.is_some() => {
                Some("--tls-cert needs --certificate files")
            }
            Some(CertificateFlag::Controller) if self.standalone => {
                Some("--certificate controller needs a cluster and conflicts with --standalone")
            }
            _ if self.in_cluster.restarts() && !self.elects() => Some(
                "--bare-workloads restart needs --certificate controller, whose Lease says which replica restarts; \
                 --bare-workloads report does not",
            ),
            _ => self.callers.contradiction(self.standalone),
        }
    }

    /// Whether replicas elect one of them.
    fn elects(&self) -> bool {
        let is_ours = matches!(self.in_cluster.certificate, None | Some(CertificateFlag::Controller));
        is_ours && self.tls_cert.is_none() && !self.standalone
    }

    fn options(
        self,
        dropped_log_lines: Counter,
        log_filter: Option<Filter>,
        descriptors: Option<u64>,
    ) -> Options {
        let memory_limit = self.tuning.memory_limit.or_else(memory::of_cgroup);
        let limits = memory::fitted(limits(&self.tuning, descriptors), memory_limit);
        let from = self.in_cluster.certificate;
        let certificate = match (self.tls_cert, self.tls_key) {
            (Some(chain), Some(key)) => Certificate::Files { chain, key },
            _ if self.standalone || from == Some(CertificateFlag::SelfSigned) => {
                let service = Some(self.in_cluster.called()).filter(|name| subject(name).is_ok());
                Certificate::SelfSigned { names: self.tls_san.into_iter().chain(service).collect() }
            }
            _ => Certificate::Controller(Box::new(self.in_cluster.controlled(&self.tls_san))),
        };
        let configuration = if !self.config_dir.is_empty() {
            let installation = self.in_cluster.installation();
            Origin::Source(Arc::new(Folders::new(self.config_dir, installation)))
        } else if let Some(file) = self.bundle {
            Origin::Source(Arc::new(Bundle::of(file)))
        } else if self.standalone {
            Origin::Source(Arc::new(Bundle::default()))
        } else {
            Origin::Cluster(Box::new(self.in_cluster.watched()))
        };
        Options {
            listen: self.listen,
            admin: self.admin,
            certificate,
            tls_min_version: match self.tls_min_version {
                MinVersion::V1_2 => TlsVersion::V1_2,
                MinVersion::V1_3 => TlsVersion::V1_3,
            },
            admin_auth: self.callers.admin(),
            client_auth: self.callers.options(),
            configuration,
            limits,
            timeouts: Timeouts {
                handshake: self.tuning.handshake_timeout,
                first_byte: self.tuning.first_byte_timeout,
                header: self.tuning.header_timeout,
                body: self.tuning.body_timeout,
                write: self.tuning.write_timeout,
                idle: self.tuning.idle_timeout,
                max_age: self.tuning.max_connection_age,
                drain_delay: self.tuning.drain_delay,
                grace: self.tuning.shutdown_grace,
                ..Timeouts::default()
            },
            access: self.cluster.access(),
            pace: Pace::default(),
            log_filter,
            debug_decisions: self.debug_decisions.into(),
            canary: self.in_cluster.canary(),
            namespace_audit: self.in_cluster.namespace_audit(),
            bare_workloads: self.in_cluster.bare_workloads(),
            admin_page: self.admin_page,
            #[cfg(feature = "otlp")]
            otlp_endpoint: self.otlp_endpoint,
            #[cfg(not(feature = "otlp"))]
            otlp_endpoint: None,
            dropped_log_lines,
        }
    }
}

/// The options of a server that is started elsewhere, with these arguments (after `serve`) and variables. Neither the environment nor
/// the open files of this process count.
///
/// # Errors
/// If an argument is unknown or invalid.
pub(super) fn options_of(
    mut arguments: Vec<String>,
    variables: &BTreeMap<String, String>,
) -> Result<Options, String> {
    let command = Serve::augment_args(Command::new("serve").no_binary_name(true));
    let set_by_variables = command.get_arguments().filter_map(|flag| {
        let name = format!("--{}", flag.get_long()?);
        let value = variables.get(flag.get_env()?.to_str()?)?;
        let is_given = arguments.iter().any(|argument| argument.split('=').next() == Some(&name));
        match flag.get_action() {
            _ if is_given => None,
            ArgAction::SetTrue => (value == "true").then_some(name),
            _ => Some(format!("{name}={value}")),
        }
    });
    let set_by_variables: Vec<String> = set_by_variables.collect();
    arguments.extend(set_by_variables);
    let command = command.mut_args(|flag| flag.env(None));
    let matches = command.try_get_matches_from(arguments);
    let serve = matches.and_then(|matches| Serve::from_arg_matches(&matches));
    let first_line = |error: clap::Error| {
        let text = error.to_string();
        text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    };
    Ok(serve.map_err(first_line)?.options(Counter::default(), None, None))
}

/// The limits; connections are also capped by the available file descriptors.
fn limits(tuning: &Tuning, descriptors: Option<u64>) -> Limits {
    let limits =
        Limits { connections: tuning.max_connections, in_flight: tuning.max_in_flight, ..Limits::default() };
    let Some(open_files) = descriptors else { return limits };
    let share = resources::share(open_files, limits.connections, limits.admin_connections);
    if share.webhook < limits.connections {
        let (wanted, connections) = (limits.connections, share.webhook);
        tracing::warn!(
            open_files,
            wanted,
            connections,
            "limit of open files is too low for --max-connections; connections are capped"
        );
    }
    Limits { connections: share.webhook, admin_connections: share.admin, ..limits }
}

/// Threads besides the workers: for the admin port, for files, and for large pods.
const SPARE: usize = 3;

/// Tests whether that many threads can be started. The check comes before tokio starts them: with too few threads it
/// panics, and then waits forever for the ones it got.
fn threads_can_be_had(count: usize) -> io::Result<()> {
    let mut held = Vec::new();
    for _ in 0..count {
        let (hold, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().spawn(move || wait.recv().is_ok())?;
        held.push((hold, thread));
    }
    for (hold, thread) in held {
        drop(hold);
        // The thread does nothing that could panic.
        let _ = thread.join();
    }
    Ok(())
}

/// The server's runtime.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    // With a single CPU, use one more worker than CPUs: accepting connections must not wait for a pod.
    let workers = std::thread::available_parallelism().map_or(2, |cpus| cpus.get().max(2));
    threads_can_be_had(workers + SPARE)?;
    let build = || tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    std::panic::catch_unwind(build)
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::OutOfMemory, "cannot start a thread")))
}

/// The exit code for an error of the operating system at startup.
fn code_of(error: &io::Error) -> u8 {
    if resources::is_exhausted(error) { RESOURCES } else { ERROR }
}

/// Parses a number of connections or requests.
fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=1_000_000) => Ok(number),
        _ => Err(format!("found {text:?}; expected a number from 1 to 1000000")),
    }
}

/// Parses the address of a collector. There is no TLS: the collector, or an agent of it, runs on the same node.
#[cfg(feature = "otlp")]
fn collector(text: &str) -> Result<String, String> {
    let uri: Option<hyper::Uri> = text.parse().ok();
    match uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.host()?))) {
        Some(("http", _)) => Ok(text.to_owned()),
        _ => Err(format!("found {text:?}; expected http://HOST:PORT of a gRPC collector")),
    }
}

/// Parses a subject of a certificate.
fn subject(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    match ServerName::try_from(name) {
        Ok(ServerName::IpAddress(_)) if name != text => Err(refused_subject(text)),
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(refused_subject(text)),
    }
}

fn refused_subject(text: &str) -> String {
    format!("found {text:?}; expected a DNS name, optionally starting with \"*.\", or an IP address")
}

fn start_log(format: Format, dropped: Counter) -> Result<(Lines, Filter), (u8, String)> {
    let lines = Lines::start(io::stderr(), dropped).map_err(|error| {
        let told =
            format!("cannot start the logging thread: {error}; a limit on memory or threads was reached");
        (code_of(&error), told)
    })?;
    let filter = std::env::var("RUST_LOG").unwrap_or_default();
    let (subscriber, filter) = telemetry::adjustable(format, &filter, lines.clone()).map_err(|error| {
        (USAGE, format!("RUST_LOG: {error}; expected a filter such as info or outrigger=debug"))
    })?;
    // Fails only if a program that uses this library has set its own subscriber; then that one is used.
    let _ = tracing::subscriber::set_global_default(subscriber);
    telemetry::log_panics();
    Ok((lines, filter))
}

async fn serve(options: Options, mut signals: Signals, format: Format, lines: &Lines) -> ExitCode {
    let started = tokio::select! {
        started = tokio::spawn(Server::start(options)) => started,
        _ = signals.terminate.recv() => return ExitCode::SUCCESS,
        _ = signals.interrupt.recv() => return ExitCode::SUCCESS,
    };
    let server = match started {
        Ok(Ok(server)) => server,
        Ok(Err(error)) => {
            let code = match error {
                StartError::Io(ref error) => code_of(error),
                StartError::Client(_) => UNAVAILABLE,
                StartError::Certificate(ref error) if error.is_exhausted() => RESOURCES,
                StartError::Configuration(_) | StartError::Certificate(_) | StartError::ClientAuth(_) => DATA,
            };
            let advice = match error {
                StartError::Client(client::Error::Neither(_)) => {
                    "; outside a cluster, use --standalone or --kubeconfig"
                }
                StartError::Io(ref error) if resources::is_exhausted(error) => {
                    "; a limit on memory, threads or descriptors was reached"
                }
                StartError::Certificate(ref error) if error.is_exhausted() => {
                    "; most likely a limit on memory was reached"
                }
                _ => "",
            };
            return complain(code, &format!("{error}{advice}"));
        }
        Err(_) => return complain(ERROR, "interrupted during startup"),
    };
    let line = ready_line(format, server.webhook_address(), server.admin_address());
    let handle = server.handle();
    let mut ready = std::pin::pin!(handle.ready());
    let mut said = false;
    let mut ended = std::pin::pin!(server.ended());
    loop {
        tokio::select! {
            () = &mut ready, if !said => {
                said = true;
                lines.line(line.clone());
            }
            finished = &mut ended => {
                return if finished { ExitCode::SUCCESS } else { complain(ERROR, "some requests were aborted") };
            }
            _ = signals.terminate.recv() => handle.shutdown(),
            _ = signals.interrupt.recv() => handle.shutdown(),
            _ = signals.hangup.recv() => reload(&handle),
        }
    }
}

fn reload(handle: &Handle) {
    let handle = handle.clone();
    tokio::spawn(async move {
        let reloaded = handle.reload().await;
        tracing::info!(
            configuration = reloaded.configuration.is_ok(),
            certificate = reloaded.certificate.is_ok(),
            client_auth = reloaded.client_auth.is_ok(),
            "configuration and certificate reloaded"
        );
    });
}

/// The line that reports the addresses of the server.
fn ready_line(format: Format, webhook: SocketAddr, admin: SocketAddr) -> Vec<u8> {
    let line = match format {
        Format::Json => serde_json::json!({
            "level": "INFO",
            "message": "ready",
            "webhook": format!("https://{webhook}"),
            "admin": format!("http://{admin}"),
        })
        .to_string(),
        Format::Text { .. } => format!("outrigger is ready: webhook https://{webhook} admin http://{admin}"),
    };
    format!("{line}\n").into_bytes()
}

fn complain(code: u8, text: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {text}");
    ExitCode::from(code)
}
