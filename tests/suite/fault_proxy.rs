//! A proxy for TCP that does to connections what networks do: it delays, trickles, drops, half-closes and resets.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
};

/// What becomes of the bytes of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Everything comes so much later.
    pub(crate) delay: Duration,
    /// So many bytes at once, with a pause after them.
    pub(crate) trickle: Option<(usize, Duration)>,
    /// What comes after so many bytes.
    pub(crate) after: Option<(usize, End)>,
}

/// How a direction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing comes any more, and nobody is told: a host that is gone, a firewall that forgot.
    Silence,
    /// It is closed, and the other direction is not.
    HalfClose,
    /// The connection is reset, both ways.
    Reset,
}

/// A proxy in front of an address; it ends when it is dropped.
pub(crate) struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    /// From the client to the server, and back.
    faults: Mutex<[Faults; 2]>,
    connections: AtomicUsize,
    turns: AtomicUsize,
}

impl FaultProxy {
    /// A proxy without a fault, on a free port of loopback.
    pub(crate) async fn to(target: SocketAddr) -> FaultProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        let of_proxy = shared.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                of_proxy.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(carry(client, target, of_proxy.clone()));
            }
        });
        FaultProxy { address, shared, _tasks: tasks }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the faults from the client to the server, and from the server to the client, for connections that come.
    pub(crate) fn set(&self, forth: Faults, back: Faults) {
        *self.shared.faults.lock().unwrap() = [forth, back];
    }

    /// Connections that came.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How often a client spoke after the server had: round trips, whatever a machine's load does to time.
    pub(crate) fn turns(&self) -> usize {
        self.shared.turns.load(Ordering::SeqCst)
    }
}

/// Who spoke last on a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Nobody,
    Client,
    Server,
}

async fn carry(client: TcpStream, target: SocketAddr, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let [forth, back] = *shared.faults.lock().unwrap();
    let last = Arc::new(Mutex::new(Speaker::Nobody));
    let ((client_read, client_write), (server_read, server_write)) =
        (client.into_split(), server.into_split());
    let spoke = |who: Speaker| {
        let (last, shared) = (last.clone(), shared.clone());
        move || {
            let before = std::mem::replace(&mut *last.lock().unwrap(), who);
            if (before, who) == (Speaker::Server, Speaker::Client) {
                shared.turns.fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    tokio::join!(
        one_way(client_read, server_write, forth, spoke(Speaker::Client)),
        one_way(server_read, client_write, back, spoke(Speaker::Server)),
    );
}

async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faults: Faults, spoke: impl Fn()) {
    let (sender, mut delayed) = tokio::sync::mpsc::unbounded_channel();
    let read = async move {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let count = match from.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(count) => count,
            };
            spoke();
            let due = tokio::time::Instant::now() + faults.delay;
            if sender.send((due, buffer[..count].to_vec())).is_err() {
                return;
            }
        }
    };
    let write = async move {
        let mut passed = 0;
        while let Some((due, bytes)) = delayed.recv().await {
            tokio::time::sleep_until(due).await;
            let step = faults.trickle.map_or(bytes.len(), |(step, _)| step.max(1));
            for chunk in bytes.chunks(step) {
                let left = faults
                    .after
                    .map_or(chunk.len(), |(after, _)| after.saturating_sub(passed).min(chunk.len()));
                if to.write_all(&chunk[..left]).await.is_err() {
                    return;
                }
                passed += left;
                if let Some((after, end)) = faults.after
                    && passed >= after
                {
                    match end {
                        End::Silence => std::future::pending().await,
                        End::HalfClose => return drop(to.shutdown().await),
                        End::Reset => {
                            SockRef::from(to.as_ref()).set_linger(Some(Duration::ZERO)).unwrap();
                            return;
                        }
                    }
                }
                if let Some((_, pause)) = faults.trickle {
                    tokio::time::sleep(pause).await;
                }
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}
