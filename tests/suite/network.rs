//! Networks that are slow or broken between an API server and us, by a proxy that does it to connections.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    fault_proxy::{End, FaultProxy, Faults},
    support::{Answer, Harness, injecting, pod, post, read_to_close, review, start, within},
};

async fn tls(harness: &Harness, proxy: &FaultProxy, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = within(TcpStream::connect(proxy.address())).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    within(TlsConnector::from(Arc::new(harness.client(alpn))).connect(name, stream)).await
}

/// N-07: with 100 ms each way every request takes one round trip, on the connection that is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delay_costs_a_request_one_round_trip_and_no_connection() {
    const EACH_WAY: Duration = Duration::from_millis(100);
    const REQUESTS: usize = 5;
    let harness = start(injecting()).await;
    for alpn in [&b"http/1.1"[..], b"h2"] {
        let proxy = FaultProxy::to(harness.server.webhook_address()).await;
        let slow = Faults { delay: EACH_WAY, ..Faults::default() };
        proxy.set(slow, slow);
        let stream = TokioIo::new(tls(&harness, &proxy, alpn).await.unwrap());
        let (mut http1, mut http2) = (None, None);
        if alpn == b"h2" {
            let (sender, connection) = conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            http2 = Some(sender);
        } else {
            let (sender, connection) = conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            http1 = Some(sender);
        }
        let mut turns = Vec::new();
        for _ in 0..REQUESTS {
            let (before, since) = (proxy.turns(), Instant::now());
            let request = post("/inject", review("v1", pod()));
            let response = match (&mut http1, &mut http2) {
                (Some(sender), _) => within(sender.send_request(request)).await.unwrap(),
                (_, Some(sender)) => within(sender.send_request(request)).await.unwrap(),
                _ => unreachable!(),
            };
            assert_eq!(Answer::read(response).await.status, 200);
            assert!(since.elapsed() >= 2 * EACH_WAY, "the proxy delays");
            turns.push(proxy.turns() - before);
        }
        assert_eq!(proxy.connections(), 1);
        // The first one of HTTP/2 may meet the settings of the connection.
        assert!(turns[1..].iter().all(|turns| *turns <= 1), "{turns:?}");
    }
}

/// A request that comes byte by byte is answered, within the deadlines of the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trickle_within_the_deadlines_is_answered() {
    let harness = start(injecting()).await;
    let proxy = FaultProxy::to(harness.server.webhook_address()).await;
    let trickle = Faults { trickle: Some((64, Duration::from_millis(2))), ..Faults::default() };
    proxy.set(trickle, trickle);
    let stream = TokioIo::new(tls(&harness, &proxy, b"http/1.1").await.unwrap());
    let (mut sender, connection) = conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let response = within(sender.send_request(post("/inject", review("v1", pod())))).await.unwrap();
    assert_eq!(Answer::read(response).await.status, 200);
}

/// Connections that are reset, half closed or forgotten in the middle of a handshake or of a request leave nothing behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_connections_leave_nothing_behind() {
    let harness = super::support::start_with(injecting(), |options| {
        options.timeouts.handshake = Duration::from_millis(300);
        options.timeouts.header = Duration::from_millis(300);
        options.timeouts.body = Duration::from_millis(300);
    })
    .await;
    for end in [End::Reset, End::HalfClose, End::Silence] {
        // In the first message of TLS, in the last one, and in the request.
        for after in [20, 400, 900] {
            let proxy = FaultProxy::to(harness.server.webhook_address()).await;
            proxy.set(Faults { after: Some((after, end)), ..Faults::default() }, Faults::default());
            if let Ok(mut stream) = tls(&harness, &proxy, b"http/1.1").await {
                let request = format!(
                    "POST /inject HTTP/1.1\r\nhost: a\r\ncontent-length: 99999\r\n\r\n{}",
                    "x".repeat(2000)
                );
                if stream.write_all(request.as_bytes()).await.is_ok() {
                    read_to_close(&mut stream).await;
                }
            }
        }
    }
    harness.metric("outrigger_connections{listener=\"webhook\"}", 0.0).await;
    assert_eq!(harness.post("/inject", review("v1", pod())).await.status, 200);
}

/// What the proxy does, without a server of ours in it.
#[tokio::test]
async fn the_proxy_does_what_is_asked_of_it() {
    let echo = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = echo.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    let told = async |end: End| {
        let proxy = FaultProxy::to(target).await;
        proxy.set(Faults::default(), Faults { after: Some((3, end)), ..Faults::default() });
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut text = Vec::new();
        let read = tokio::time::timeout(Duration::from_millis(200), stream.read_to_end(&mut text)).await;
        assert!(text.len() <= 3, "{text:?}");
        read.map(|result| result.map_err(|error| error.kind()))
    };
    assert_eq!(told(End::HalfClose).await, Ok(Ok(3)));
    assert!(told(End::Silence).await.is_err(), "nothing comes, and no end");
    assert_eq!(told(End::Reset).await, Ok(Err(std::io::ErrorKind::ConnectionReset)));
}
