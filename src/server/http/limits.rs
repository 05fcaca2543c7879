//! What clients may make the server hold, and how long they may take, with the reasons for the defaults.

use std::time::Duration;

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
