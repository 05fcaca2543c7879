//! Limits on what clients can make the server hold, and timeouts, with the reasons for the defaults.

use std::time::Duration;

/// Caps on what clients can make the server hold.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections on the webhook's port. At the cap, idle ones are evicted or new ones refused.
    pub connections: usize,
    /// Open connections on the admin port; likewise.
    pub admin_connections: usize,
    /// Large bodies that are being processed or waiting; more are answered with 429. Small ones never wait.
    pub in_flight: usize,
    /// Maximum size of a body in bytes. An API server sends the object twice, 3 MiB each.
    pub body_bytes: usize,
    /// Bytes of all bodies and answers held at once, counting 4 KiB for each. Incomplete bodies and unread answers of
    /// the peers that hold the most are reclaimed when more is needed.
    pub buffered_bytes: usize,
    /// Minimum rate of a body in bytes per second, once [`Timeouts::slow_body`] is over.
    pub body_rate: usize,
    /// Large bodies processed at once, each on its own thread in addition to the workers; more wait.
    pub large_bodies: usize,
    /// Memory that processing them may use together, estimated from their pods; more wait. A pod that would need more
    /// on its own is refused: see [`limits`](crate::inject::limits).
    pub judged_bytes: usize,
    /// Maximum number of streams per HTTP/2 connection.
    pub streams: u32,
    /// Maximum size of a request's header in bytes.
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

/// Timeouts for clients, and for the server's own shutdown.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// The TLS handshake.
    pub handshake: Duration,
    /// From the end of the handshake to the first byte. Longer than the others: a Go client that opens connections in
    /// a burst keeps those it did not need, and would get a closed one for its next request.
    pub first_byte: Duration,
    /// From the first byte of a request to the end of its header.
    pub header: Duration,
    /// From the end of the header to the end of the body.
    pub body: Duration,
    /// Grace period in which a body may arrive at any rate: long enough for a first packet that is lost a few times.
    pub slow_body: Duration,
    /// Writing an answer to a peer that does not read.
    pub write: Duration,
    /// Silence between two requests. Longer than the 90 s of API servers, so that they close first: they do not
    /// retry a request sent on a connection that we have closed.
    pub idle: Duration,
    /// At the cap, connections that have been idle for less than this are not evicted for new ones.
    pub spared: Duration,
    /// Age at which a connection is closed gracefully, so that connections spread over replicas again.
    pub max_age: Duration,
    /// From the signal until accepting stops, so that endpoints are updated first.
    pub drain_delay: Duration,
    /// From the end of accepting until the last request is aborted.
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
