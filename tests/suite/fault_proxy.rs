//! A faulty network: a TCP proxy that delays, drops, stalls, trickles, half-closes and resets on command, and a port on
//! which connections are never accepted.
//!
//! Nothing is random: a fault applies from the moment it is set until the next one is, to existing and new connections,
//! and traffic is counted. Everything ends when the value is dropped.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::Instant,
};

/// The fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Every piece arrives this much later, in order, regardless of its size: latency, not limited bandwidth.
    Delay(Duration),
    /// Everything sent is accepted and lost, including the end of a connection: the peer has vanished, or never
    /// responds.
    Drop,
    /// Nothing is delivered until another fault is set; then everything is.
    Stall,
    /// Byte by byte, each in its own segment, with a pause after each.
    Trickle(Duration),
    /// The client's side is closed towards the server, which can still respond.
    HalfClose,
    /// Every connection is reset, on both sides.
    Reset,
}

/// The proxy. It belongs to the runtime it is made in.
pub(crate) struct FaultProxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

/// Traffic counters.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    up: AtomicUsize,
    down: AtomicUsize,
    flights: AtomicUsize,
    /// The last piece went to the server.
    upwards: AtomicBool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // The connections are a JoinSet of this task, and end with it.
        self.accepting.abort();
    }
}

impl FaultProxy {
    /// A proxy on a free port of loopback before an address.
    pub(crate) async fn before(upstream: SocketAddr) -> FaultProxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port of loopback");
        let address = listener.local_addr().expect("an address");
        let (fault, faults) = watch::channel(Fault::None);
        let seen = Arc::new(Seen::default());
        let counted = seen.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                counted.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(carry(client, upstream, faults.clone(), counted.clone()));
            }
        });
        FaultProxy { address, fault, seen, accepting }
    }

    /// The address for clients.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the fault from now on.
    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Connections that clients have made.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Bytes that clients have sent, lost ones included.
    pub(crate) fn sent_up(&self) -> usize {
        self.seen.up.load(Ordering::SeqCst)
    }

    /// Bytes that the server has sent, including lost ones.
    pub(crate) fn sent_down(&self) -> usize {
        self.seen.down.load(Ordering::SeqCst)
    }

    /// How often a client sent first or after the server had sent: the round trips, if a single connection is in use.
    pub(crate) fn flights(&self) -> usize {
        self.seen.flights.load(Ordering::SeqCst)
    }
}

impl Seen {
    fn piece(&self, way: Way, bytes: usize) {
        let upwards = way == Way::Up;
        let counter = if upwards { &self.up } else { &self.down };
        counter.fetch_add(bytes, Ordering::SeqCst);
        if !self.upwards.swap(upwards, Ordering::SeqCst) && upwards {
            self.flights.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// One connection, to its end.
async fn carry(mut client: TcpStream, upstream: SocketAddr, faults: watch::Receiver<Fault>, seen: Arc<Seen>) {
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    for side in [&client, &server] {
        side.set_nodelay(true).expect("a socket");
    }
    let reset = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let both = async {
            tokio::join!(
                pump(Way::Up, from_client, to_server, faults.clone(), &seen),
                pump(Way::Down, from_server, to_client, faults.clone(), &seen),
            )
        };
        let mut resets = faults.clone();
        tokio::select! {
            _ = both => false,
            reset = resets.wait_for(|fault| *fault == Fault::Reset) => reset.is_ok(),
        }
    };
    if reset {
        for side in [&client, &server] {
            // Closing a socket that does not linger is a reset.
            SockRef::from(side).set_linger(Some(Duration::ZERO)).expect("a socket");
        }
    }
}

/// One direction, until its source ends or its sink is gone.
async fn pump(
    way: Way,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut faults: watch::Receiver<Fault>,
    seen: &Seen,
) {
    let (queue, mut queued) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let reads = faults.clone();
    let read = async move {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            seen.piece(way, count);
            let due = match *reads.borrow() {
                Fault::Drop => continue,
                Fault::Delay(by) => Instant::now() + by,
                _ => Instant::now(),
            };
            if queue.send((due, buffer[..count].to_vec())).is_err() {
                return;
            }
        }
    };
    let write = async move {
        let mut halves = faults.clone();
        let half_closed =
            async { way == Way::Up && halves.wait_for(|fault| *fault == Fault::HalfClose).await.is_ok() };
        let deliver = async {
            while let Some((due, piece)) = queued.recv().await {
                tokio::time::sleep_until(due).await;
                let _ = faults.wait_for(|fault| *fault != Fault::Stall).await;
                let fault = *faults.borrow();
                let size = if matches!(fault, Fault::Trickle(_)) { 1 } else { piece.len() };
                for part in piece.chunks(size) {
                    if to.write_all(part).await.is_err() {
                        return;
                    }
                    if let Fault::Trickle(pause) = fault {
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        };
        tokio::select! {
            () = deliver => {}
            closed = half_closed, if way == Way::Up => debug_assert!(closed, "the proxy is gone"),
        }
        // The end of a connection is lost, too.
        let _ = faults.wait_for(|fault| *fault != Fault::Drop).await;
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

/// A loopback port on which connections are neither accepted nor refused: its queue is full, so the system drops
/// connection attempts.
pub(crate) struct BlackHole {
    address: SocketAddr,
    _listener: Socket,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    /// Fills a queue.
    pub(crate) async fn new() -> BlackHole {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port of loopback");
        listener.listen(0).expect("a listener");
        let address = listener.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
        let mut queued = Vec::new();
        for _ in 0..16 {
            // On loopback, a connection is established immediately.
            match tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
                Ok(made) => queued.push(made.expect("a connection")),
                Err(_) => return BlackHole { address, _listener: listener, _queued: queued },
            }
        }
        panic!("the queue of a listener does not fill up");
    }

    /// An unreachable address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}
