//! Serves pages to a browser on this machine, with the accept loop and the timeouts of the server's ports.

use std::{io, net::SocketAddr, sync::Arc};

use axum::Router;
use prometheus_client::registry::Registry;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::server::admin::Routes;
use crate::server::http::connection::{Http, Peer};
use crate::server::http::limits::{Limits, Timeouts};
use crate::server::http::listener::{self, Acceptor, Connection};
use crate::server::http::metrics::{Held, HttpMetrics};
use crate::server::http::registry::ConnectionRegistry;
use crate::server::shutdown::{Control, Phase};

/// Connections at once. A browser opens six.
const CONNECTIONS: usize = 32;

/// Listens on an address.
///
/// # Errors
/// The system's error, with the address.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    listener::bind(address)
}

/// Serves plain HTTP/1.1 until the process ends.
///
/// # Errors
/// If the socket cannot be used.
pub(crate) async fn serve(socket: std::net::TcpListener, router: Router) -> io::Result<()> {
    let listener = TcpListener::from_std(socket)?;
    // Nobody reads them: the process serves one person.
    let metrics = HttpMetrics::register(&mut Registry::default());
    let (limits, timeouts) = (Limits::default(), Arc::new(Timeouts::default()));
    let control = Control::new();
    let phase = control.watch();
    let http =
        Http::new(Routes(router), &limits, timeouts.clone(), metrics.clone(), phase.clone(), Phase::Stopped);
    let http = Arc::new(http);
    let acceptor = Acceptor {
        name: "loopback",
        permits: Arc::new(Semaphore::new(CONNECTIONS)),
        registry: ConnectionRegistry::new(CONNECTIONS, Held::default(), metrics.clone()),
        spared: timeouts.spared,
        phase,
        until: Phase::Stopped,
        metrics,
    };
    let serve = |stream: TcpStream, connection: Connection| {
        let http = http.clone();
        tokio::spawn(async move {
            let activity = connection.activity.clone();
            tokio::select! {
                () = http.serve(stream, false, activity, Peer::default()) => {}
                () = connection.activity.evicted.notified() => {}
            }
        });
    };
    listener::accept(listener, acceptor, serve).await;
    Ok(())
}
