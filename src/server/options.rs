//! What a server is told: addresses, certificate, limits and timeouts, with their defaults and reasons.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use prometheus_client::metrics::counter::Counter;

use crate::server::configuration::cluster;
use crate::server::observe::log as telemetry;
use crate::server::webhook::{engine, handler};
use crate::server::{certs, client_auth, kube};

/// Everything a server needs to know.
#[derive(Clone)]
pub struct Options {
    /// Where the webhook listens. An unspecified IPv6 address is dual-stack, and falls back to IPv4.
    pub listen: SocketAddr,
    /// Where probes and metrics are served, in plain HTTP.
    pub admin: SocketAddr,
    /// Who may read metrics.
    pub admin_auth: AdminAuth,
    /// The serving certificate.
    pub certificate: Certificate,
    /// The oldest TLS version that is spoken.
    pub tls_min_version: TlsVersion,
    /// Who may call the webhook.
    pub client_auth: client_auth::Options,
    /// Where the configuration comes from.
    pub configuration: Origin,
    /// The way to the API server, if anything is to be done there.
    pub access: kube::client::Access,
    /// Caps.
    pub limits: Limits,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// How eagerly files are looked at.
    pub pace: Pace,
    /// The collector that traces are sent to, such as `http://collector:4317`.
    #[cfg(feature = "otlp")]
    pub otlp_endpoint: Option<String>,
    /// The filter of the log, if it may be exchanged on the admin port.
    pub log_filter: Option<telemetry::Filter>,
    /// Counts log lines that were dropped; shared with [`crate::server::observe::log`].
    pub dropped_log_lines: Counter,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            listen: SocketAddr::from(([0_u16; 8], 8443)),
            admin: SocketAddr::from(([0_u16; 8], 8080)),
            admin_auth: AdminAuth::default(),
            certificate: Certificate::SelfSigned { names: Vec::new() },
            tls_min_version: TlsVersion::default(),
            client_auth: client_auth::Options::default(),
            configuration: Origin::Source(Arc::new(handler::Bundle::default())),
            access: kube::client::Access::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            pace: Pace::default(),
            log_filter: None,
            #[cfg(feature = "otlp")]
            otlp_endpoint: None,
            dropped_log_lines: Counter::default(),
        }
    }
}

/// Where the configuration comes from.
#[derive(Clone)]
pub enum Origin {
    /// Something that is read at the start, at every reload, and when one of its files changes.
    Source(Arc<dyn engine::Source>),
    /// The cluster's own objects, which are watched.
    Cluster(Box<cluster::Options>),
}

/// Where the serving certificate comes from.
#[derive(Clone, Debug)]
pub enum Certificate {
    /// A CA and leaves of our own, kept in a Secret; we keep the caBundle of our webhooks.
    Controller(Box<certs::Options>),
    /// PEM files; read again at every reload.
    Files {
        /// The chain, leaf first.
        chain: PathBuf,
        /// The private key of the leaf.
        key: PathBuf,
    },
    /// Made in memory at the start.
    SelfSigned {
        /// DNS names and IP addresses in addition to the local ones.
        names: Vec<String>,
    },
}

/// Who may read metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdminAuth {
    /// Everybody.
    #[default]
    None,
    /// Whoever has a bearer token that the API server knows, and the right to get the path.
    Token,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2
    #[default]
    V1_2,
    /// TLS 1.3
    V1_3,
}

/// Caps on what clients can make the server hold.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections on the webhook's port; at the cap idle ones give way, or new ones are refused.
    pub connections: usize,
    /// Open connections on the admin port, likewise.
    pub admin_connections: usize,
    /// Large bodies that are judged or wait for that; more are answered 429. Small ones never wait.
    pub in_flight: usize,
    /// Bytes of one body. An API server sends the object twice, 3 MiB each.
    pub body_bytes: usize,
    /// Bytes of all bodies and answers that are held at once, with 4 KiB for each of them; what peers that hold most
    /// do not complete or do not take gives way to more.
    pub buffered_bytes: usize,
    /// Bytes of a body that have to arrive each second once [`Timeouts::slow_body`] is over.
    pub body_rate: usize,
    /// Large bodies that are judged at once, each on a thread of its own beside the workers; more wait.
    pub large_bodies: usize,
    /// Memory that judging them may take together, by what their pods weigh; more wait. A pod that alone would take more is
    /// refused: see [`limits`](crate::inject::limits).
    pub judged_bytes: usize,
    /// Streams of one HTTP/2 connection.
    pub streams: u32,
    /// Bytes of a request's header.
    pub header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 2000,
            admin_connections: 128,
            in_flight: 256,
            body_bytes: 8 << 20,
            buffered_bytes: 32 << 20,
            body_rate: 4 << 10,
            large_bodies: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            judged_bytes: 172 << 20,
            streams: 128,
            header_bytes: 64 << 10,
        }
    }
}

/// How long clients may take, and how long the server takes to end.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// The TLS handshake.
    pub handshake: Duration,
    /// From the end of the handshake to the first byte. Longer than the others: a Go client that opens connections
    /// in a burst parks those it did not need, and meets a closed one at its next request.
    pub first_byte: Duration,
    /// From the first byte of a request to the end of its header.
    pub header: Duration,
    /// From the end of the header to the end of the body.
    pub body: Duration,
    /// How long a body may arrive as slowly as it likes: long enough for a first packet that is lost a few times.
    pub slow_body: Duration,
    /// Writing an answer to a peer that does not read.
    pub write: Duration,
    /// Silence between two requests. Longer than the 90 s of API servers, so that they are the ones who close: a
    /// request that meets a connection closed by us is not repeated.
    pub idle: Duration,
    /// At the cap, connections that have been idle for less than this do not give way to new ones.
    pub spared: Duration,
    /// Age at which a connection is closed gracefully, so that connections spread over replicas again.
    pub max_age: Duration,
    /// From the signal to the end of accepting, so that endpoints are updated before.
    pub drain_delay: Duration,
    /// From the end of accepting to the end of the last request.
    pub grace: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            handshake: Duration::from_secs(10),
            first_byte: Duration::from_secs(30),
            header: Duration::from_secs(10),
            body: Duration::from_secs(15),
            slow_body: Duration::from_secs(5),
            write: Duration::from_secs(15),
            idle: Duration::from_secs(120),
            spared: Duration::from_secs(1),
            max_age: Duration::from_secs(600),
            drain_delay: Duration::from_secs(5),
            grace: Duration::from_secs(20),
        }
    }
}

/// How eagerly files of the configuration and the certificate are looked at.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Between two looks when the system reports nothing; network file systems and some links are not reported.
    pub poll: Duration,
    /// How long nothing is reported before files are read: those that belong together are written one by one.
    pub quiet: Duration,
    /// How long that may take altogether. A new certificate is to be served within a second.
    pub longest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            poll: Duration::from_secs(10),
            quiet: Duration::from_millis(100),
            longest: Duration::from_millis(500),
        }
    }
}

/// Reads a duration such as `500ms`, `5s`, `1.5s`, `2m`, `1m30s` or `0`, as Go writes them.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refused =
        || format!("found {text:?}; accepted is a duration such as 500ms, 5s, 2m or 1h, up to 87840h");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = 0.0_f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refused)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let scale = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(refused()),
        };
        total += number.parse::<f64>().map_err(|_| refused())? * scale;
        rest = tail;
    }
    if text.is_empty() || total > 86_400.0 * 3660.0 {
        return Err(refused());
    }
    Duration::try_from_secs_f64(total).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        for (text, milliseconds) in
            [("0", 0), ("5s", 5000), ("500ms", 500), ("1.5s", 1500), ("1m30s", 90_000), ("1h", 3_600_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "5 s", "5d", "1..5s", "99999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
