//! Slow, lossy or interrupted networks between an API server and the webhook: nothing leaks, and other clients are not
//! affected.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    fault_proxy::{BlackHole, Fault, FaultProxy},
    support::*,
};

const CONNECTIONS: &str = "outrigger_connections{listener=\"webhook\"}";
const IN_FLIGHT: &str = "outrigger_in_flight_requests";
const GONE: &str = "outrigger_requests_total{outcome=\"error\",reason=\"CLIENT_GONE\"}";
const LATE: &str = "outrigger_deadline_exceeded_total";

impl Harness {
    async fn behind_proxy(&self) -> FaultProxy {
        FaultProxy::before(self.server.webhook_address()).await
    }

    async fn tls_by(&self, proxy: &FaultProxy) -> TlsStream<TcpStream> {
        let stream = within(TcpStream::connect(proxy.address())).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(self.client(b"http/1.1")));
        within(connector.connect(name, stream)).await.unwrap()
    }
}

/// A request in bytes; with `Expect`, the server signals when it starts reading the body.
fn request(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /inject HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    head.into_bytes()
}

/// Reads one response from a connection that stays open.
async fn answer(stream: &mut TlsStream<TcpStream>) -> String {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse::<usize>().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        let count = within(stream.read(&mut buffer)).await.unwrap();
        assert_ne!(count, 0, "closed after {text:?}");
        read.extend_from_slice(&buffer[..count]);
    }
}

/// A connection whose server waits for the second half of a body.
async fn half_sent(harness: &Harness, proxy: &FaultProxy) -> TlsStream<TcpStream> {
    let body = review("v1", pod());
    let mut stream = harness.tls_by(proxy).await;
    stream.write_all(&request(&body)).await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 100 "));
    stream.write_all(&body[..body.len() / 2]).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

/// Nothing remains of the connection, and other clients are served.
async fn nothing_is_left(harness: &Harness) {
    harness.metric(CONNECTIONS, 0.0).await;
    harness.metric(IN_FLIGHT, 0.0).await;
    assert_eq!(harness.post("/inject", review("v1", pod())).await.status, 200);
}

// N-07: latency costs one round trip per review on a kept connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_distant_api_server_pays_one_round_trip_for_each_review() {
    const ONE_WAY: Duration = Duration::from_millis(20);
    let harness = start(injecting()).await;
    let proxy = harness.behind_proxy().await;
    proxy.set(Fault::Delay(ONE_WAY));
    let stream = hyper_util::rt::TokioIo::new(harness.tls_by(&proxy).await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut flights = Vec::new();
    for _ in 0..5 {
        within(sender.ready()).await.unwrap();
        let began = Instant::now();
        let answer = within(sender.send_request(post("/inject", review("v1", pod())))).await.unwrap();
        assert_eq!(Answer::read(answer).await.status, 200);
        assert!(began.elapsed() >= 2 * ONE_WAY, "the proxy delays: {:?}", began.elapsed());
        flights.push(proxy.flights());
    }
    let [first, .., last] = flights[..] else { unreachable!() };
    assert_eq!(last - first, 4, "{flights:?}");
    // ClientHello; Finished, together with the first request unless the server's ticket is faster.
    assert!((2..=3).contains(&first), "a handshake of TLS 1.3 is one round trip: {flights:?}");
    assert_eq!(proxy.connections(), 1);
}

// N-07: jitter may split the bytes anywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_arrives_byte_by_byte_is_the_same_request() {
    // Regardless of the machine's speed.
    let harness = start_with(injecting(), |options| {
        options.timeouts.header = PATIENCE;
        options.timeouts.body = PATIENCE;
        options.timeouts.write = PATIENCE;
    })
    .await;
    let proxy = harness.behind_proxy().await;
    let whole = harness.post("/inject", review("v1", pod())).await;
    let mut stream = harness.tls_by(&proxy).await;
    proxy.set(Fault::Trickle(Duration::ZERO));
    let body = review("v1", pod());
    stream.write_all(&request(&body)).await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 100 "));
    stream.write_all(&body).await.unwrap();
    let answered = answer(&mut stream).await;
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    assert_eq!(answered.split_once("\r\n\r\n").unwrap().1.as_bytes(), &whole.body[..]);
}

// N-04
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_in_the_middle_of_a_body_leaves_nothing_behind() {
    let harness = start(injecting()).await;
    let proxy = harness.behind_proxy().await;
    for resets in 1..=3 {
        proxy.set(Fault::None);
        let mut stream = half_sent(&harness, &proxy).await;
        proxy.set(Fault::Reset);
        read_to_close(&mut stream).await;
        harness.metric(GONE, f64::from(resets)).await;
        nothing_is_left(&harness).await;
    }
}

// N-04: the client has closed its sending side but still reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_connection_is_closed() {
    let harness = start(injecting()).await;
    let proxy = harness.behind_proxy().await;
    let mut stream = half_sent(&harness, &proxy).await;
    proxy.set(Fault::HalfClose);
    read_to_close(&mut stream).await;
    harness.metric(GONE, 1.0).await;
    nothing_is_left(&harness).await;
}

// N-08, H-02: a client that vanishes in the middle of a request occupies it for the body timeout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_vanishes_is_given_up() {
    let harness = start_with(injecting(), |options| {
        options.timeouts.body = Duration::from_millis(100);
        options.timeouts.idle = Duration::from_millis(100);
    })
    .await;
    let proxy = harness.behind_proxy().await;
    let stream = half_sent(&harness, &proxy).await;
    proxy.set(Fault::Drop);
    harness.metric(LATE, 1.0).await;
    nothing_is_left(&harness).await;
    drop(stream);
}

// N-08: between two requests, for the idle timeout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_vanishes_between_requests_is_given_up() {
    let harness = start_with(injecting(), |options| options.timeouts.idle = Duration::from_millis(100)).await;
    let proxy = harness.behind_proxy().await;
    let mut stream = harness.tls_by(&proxy).await;
    let body = review("v1", pod());
    stream.write_all(&[request(&body), body].concat()).await.unwrap();
    while !answer(&mut stream).await.contains("HTTP/1.1 200 ") {}
    proxy.set(Fault::Drop);
    nothing_is_left(&harness).await;
}

// Checks the assumptions of the other tests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_faults_are_what_they_are_called() {
    // A server that says again what it hears.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let echo = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    let proxy = FaultProxy::before(address).await;
    let connect = async || within(TcpStream::connect(proxy.address())).await.unwrap();
    let mut buffer = [0; 16];
    const SOON: Duration = Duration::from_millis(50);

    let mut stream = connect().await;
    stream.write_all(b"one").await.unwrap();
    within(stream.read_exact(&mut buffer[..3])).await.unwrap();
    assert_eq!((&buffer[..3], proxy.sent_up(), proxy.sent_down(), proxy.flights()), (&b"one"[..], 3, 3, 1));

    proxy.set(Fault::Stall);
    stream.write_all(b"two").await.unwrap();
    assert!(tokio::time::timeout(SOON, stream.read(&mut buffer)).await.is_err(), "nothing is delivered");
    proxy.set(Fault::Delay(SOON));
    let began = Instant::now();
    within(stream.read_exact(&mut buffer[..3])).await.unwrap();
    assert_eq!(&buffer[..3], b"two", "what was held is delivered");
    stream.write_all(b"six").await.unwrap();
    within(stream.read_exact(&mut buffer[..3])).await.unwrap();
    assert!(began.elapsed() >= 2 * SOON, "there and back");

    proxy.set(Fault::Trickle(Duration::from_millis(1)));
    stream.write_all(b"ten").await.unwrap();
    assert_eq!(within(stream.read(&mut buffer)).await.unwrap(), 1, "byte by byte");
    within(stream.read_exact(&mut buffer[..2])).await.unwrap();

    proxy.set(Fault::Drop);
    stream.write_all(b"lost").await.unwrap();
    assert!(tokio::time::timeout(SOON, stream.read(&mut buffer)).await.is_err(), "nothing comes");
    proxy.set(Fault::None);
    stream.write_all(b"new").await.unwrap();
    within(stream.read_exact(&mut buffer[..3])).await.unwrap();
    assert_eq!(&buffer[..3], b"new", "what was lost is lost");

    proxy.set(Fault::HalfClose);
    assert_eq!(within(stream.read(&mut buffer)).await.unwrap(), 0, "the echo of the end");

    proxy.set(Fault::None);
    let mut stream = connect().await;
    stream.write_all(b"one").await.unwrap();
    within(stream.read_exact(&mut buffer[..3])).await.unwrap();
    proxy.set(Fault::Reset);
    let error = within(stream.read(&mut buffer)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(proxy.connections(), 2);

    let nowhere = BlackHole::new().await;
    let reached = tokio::time::timeout(SOON * 4, TcpStream::connect(nowhere.address())).await;
    assert!(reached.is_err(), "neither made nor refused: {reached:?}");
    let gone = proxy.address();
    drop(proxy);
    within(async {
        while TcpStream::connect(gone).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    echo.abort();
}
