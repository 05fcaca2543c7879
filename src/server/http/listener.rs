//! Listening sockets and the accept loop.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::server::http::metrics::HttpMetrics;
use crate::server::http::registry::{ConnectionRegistry, Peer};
use crate::server::http::state::{ConnectionState, Registration};
use crate::server::shutdown::{Phase, Watch};

/// The kernel's backlog of connections.
const BACKLOG: i32 = 1024;
/// N-08: a vanished peer is noticed within 30 + 3 × 10 s.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_TRIES: u32 = 3;
/// pauses after process-wide errors such as too many open files.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Listens on an address. An unspecified IPv6 address is dual-stack, and falls back to IPv4 if IPv6 is not available.
///
/// # Errors
/// The system's error, with the address.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let bound = listen(address).or_else(|error| {
        // N-09
        if !(address.is_ipv6() && address.ip().is_unspecified()) || error.kind() == io::ErrorKind::AddrInUse {
            return Err(error);
        }
        let fallback = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
        tracing::warn!(%address, %fallback, %error, "IPv6 is not available; listening on IPv4 only");
        listen(fallback)
    });
    bound.map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A restart must not wait for connections of the previous process.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Connections inherit both, which saves several system calls for each. A failure to set them is not worth failing
    // the start.
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_TRIES);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_nodelay(true);
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The parameters of a listener.
pub(crate) struct Acceptor {
    /// For metrics and the log.
    pub(crate) name: &'static str,
    /// One permit per connection.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) registry: Arc<ConnectionRegistry>,
    /// Idle connections younger than this are not evicted.
    pub(crate) spared: Duration,
    pub(crate) phase: Watch,
    /// The phase in which it stops.
    pub(crate) until: Phase,
    pub(crate) metrics: HttpMetrics,
}

/// How long an evicted connection may take to close.
const GIVING_WAY: Duration = Duration::from_millis(100);

/// Accepts connections until a phase is reached. At the cap, another connection is evicted; if there is none to
/// evict, the new connection is refused at once.
pub(crate) async fn accept(listener: TcpListener, how: Acceptor, serve: impl Fn(TcpStream, Connection)) {
    let Acceptor { name, permits, registry, spared, phase, until, metrics } = how;
    let mut pause = SHORTEST_PAUSE;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = phase.reached(until) => return,
        };
        match accepted {
            Ok((stream, address)) => {
                pause = SHORTEST_PAUSE;
                let peer = Peer::of(address.ip());
                let mut permit = permits.clone().try_acquire_owned().ok();
                if permit.is_none() && registry.evict(spared, peer) {
                    metrics.shed("idle");
                    let freed = tokio::time::timeout(GIVING_WAY, permits.clone().acquire_owned()).await;
                    permit = freed.ok().and_then(Result::ok);
                }
                let Some(permit) = permit else {
                    metrics.shed("connections");
                    continue;
                };
                metrics.opened(name);
                let place = Registration::new(&registry, peer);
                let (activity, metrics) = (place.activity.clone(), metrics.clone());
                serve(stream, Connection { name, metrics, activity, _place: place, _permit: permit });
            }
            // The peer gave up while it waited, which is not our error.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionRefused
                ) => {}
            Err(error) => {
                metrics.accept_failed(name);
                tracing::warn!(listener = name, %error, "cannot accept connections; pausing");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = phase.reached(until) => return,
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Counts a connection while it is open.
pub(crate) struct Connection {
    name: &'static str,
    metrics: HttpMetrics,
    pub(crate) activity: Arc<ConnectionState>,
    _place: Registration,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.closed(self.name);
    }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    // N-08
    #[test]
    fn connections_inherit_keepalive_and_no_delay() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.keepalive().unwrap() && accepted.tcp_nodelay().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), KEEPALIVE_AFTER);
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), KEEPALIVE_EVERY);
        assert_eq!(accepted.tcp_keepalive_retries().unwrap(), KEEPALIVE_TRIES);
    }
}
