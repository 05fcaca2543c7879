//! Replaces a Service, its endpoints and kube-proxy: one port in front of several processes.
//!
//! API servers reject loopback addresses in EndpointSlices, and other addresses are not available on every machine (a
//! dummy interface requires privileges). With a Service of type ExternalName for `localhost` and this balancer's port,
//! the API server calls as in production: HTTP/1.1, TLS for `<service>.<namespace>.svc`, and a connection that stays
//! with the replica it was established with.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{
    control_plane::{PATIENCE, until},
    outrigger_process::{OutriggerProcess, get},
};

/// The readiness probe, like a kubelet's.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Probe period.
    pub period: Duration,
    /// Consecutive failures that make a process unready; one success makes it ready.
    pub failures: u32,
}

impl Default for Probe {
    fn default() -> Self {
        Probe { period: Duration::from_millis(100), failures: 1 }
    }
}

/// A loopback port whose connections are distributed over the ready processes, in turn. Belongs to the runtime that
/// created it.
pub struct Balancer {
    port: u16,
    probe: Probe,
    backends: Arc<Mutex<Vec<Backend>>>,
    accepting: JoinHandle<()>,
}

struct Backend {
    name: String,
    webhook: u16,
    ready: bool,
    /// Being deleted: never ready again.
    terminating: bool,
    connections: usize,
    probing: JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.probing.abort();
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Balancer {
    /// Starts a balancer without processes; connections are closed immediately.
    pub async fn start(probe: Probe) -> Balancer {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let port = listener.local_addr().expect("an address").port();
        let backends: Arc<Mutex<Vec<Backend>>> = Arc::default();
        let accepting = tokio::spawn(accept(listener, backends.clone()));
        Balancer { port, probe, backends, accepting }
    }

    /// The port for the Service.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Adds a process: it gets connections while its `/readyz` succeeds.
    pub fn add(&self, name: &str, process: &OutriggerProcess) {
        self.add_ports(name, process.webhook_port(), process.admin_port());
    }

    /// Puts the ports of a process behind the balancer.
    pub fn add_ports(&self, name: &str, webhook: u16, admin: u16) {
        let (backends, probe, who) = (self.backends.clone(), self.probe, name.to_owned());
        let probing = tokio::spawn(async move {
            let mut failures = 0;
            loop {
                let answered = tokio::time::timeout(Duration::from_secs(1), get(admin, "/readyz")).await;
                let ready = matches!(answered, Ok(Some(answer)) if answer.status == 200);
                failures = if ready { 0 } else { failures + 1 };
                if let Some(backend) = lock(&backends).iter_mut().find(|backend| backend.name == who) {
                    backend.ready =
                        !backend.terminating && (ready || backend.ready && failures < probe.failures);
                }
                tokio::time::sleep(probe.period).await;
            }
        });
        let name = name.to_owned();
        let backend = Backend { name, webhook, ready: false, terminating: false, connections: 0, probing };
        lock(&self.backends).push(backend);
    }

    /// Stops new connections to a process, as for a pod that is being deleted; existing ones stay.
    pub fn terminating(&self, name: &str) {
        if let Some(backend) = lock(&self.backends).iter_mut().find(|backend| backend.name == name) {
            (backend.terminating, backend.ready) = (true, false);
        }
    }

    /// Removes a process; its connections stay.
    pub fn remove(&self, name: &str) {
        lock(&self.backends).retain(|backend| backend.name != name);
    }

    /// The processes that get connections now.
    pub fn ready(&self) -> Vec<String> {
        lock(&self.backends)
            .iter()
            .filter(|backend| backend.ready)
            .map(|backend| backend.name.clone())
            .collect()
    }

    /// The number of connections that a process has received.
    pub fn connections(&self, name: &str) -> usize {
        lock(&self.backends)
            .iter()
            .find(|backend| backend.name == name)
            .map_or(0, |backend| backend.connections)
    }

    /// Waits until exactly these many processes get connections.
    pub async fn wait_ready(&self, count: usize) {
        until(&format!("{count} processes are ready"), PATIENCE, async || self.ready().len() == count).await;
    }
}

fn lock(backends: &Mutex<Vec<Backend>>) -> std::sync::MutexGuard<'_, Vec<Backend>> {
    backends.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, backends: Arc<Mutex<Vec<Backend>>>) {
    let turn = AtomicUsize::new(0);
    while let Ok((stream, _)) = listener.accept().await {
        let chosen = {
            let mut backends = lock(&backends);
            let mut ready: Vec<&mut Backend> = backends.iter_mut().filter(|backend| backend.ready).collect();
            let turn = turn.fetch_add(1, Ordering::Relaxed) % ready.len().max(1);
            ready.get_mut(turn).map(|backend| {
                backend.connections += 1;
                backend.webhook
            })
        };
        // Without a process, or if it refuses, the connection is closed: kube-proxy does not try another one either.
        if let Some(port) = chosen {
            tokio::spawn(forward(stream, port));
        }
    }
}

async fn forward(mut client: TcpStream, port: u16) {
    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}
