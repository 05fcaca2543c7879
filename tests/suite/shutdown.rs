//! Graceful shutdown over real TLS: who still gets a response, and who is asked to disconnect.

use super::support::*;

// L-01
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_finishes_what_is_in_flight() {
    let (engine, gate) = gated();
    let harness = start_with(engine, |options| options.timeouts.drain_delay = PATIENCE).await;
    let (mut second, goodbye) = harness.http2().await;
    let handle = harness.server.handle();
    let in_flight = tokio::spawn(async move {
        second.send_request(post("https://localhost/inject", review("v1", large_pod()))).await
    });
    gate.wait_for(1).await;
    assert_eq!(harness.admin("/readyz").await.status, 200);
    handle.shutdown();
    let ready = harness.admin("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(String::from_utf8_lossy(&ready.body).contains("[-]shutting-down failed"));
    // Clients that do not know yet are still served, and asked to disconnect.
    gate.release.send(()).unwrap();
    gate.release.send(()).unwrap();
    let late = harness.post("/inject", review("v1", large_pod())).await;
    assert_eq!((late.status.as_u16(), late.header("connection")), (200, "close"));
    assert_eq!(within(in_flight).await.unwrap().unwrap().status(), 200);
    drop(goodbye);
}

// L-01: HTTP/2 peers get GOAWAY, requests in flight get their response, new connections nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_drain_delay_only_requests_in_flight_are_left() {
    let (engine, gate) = gated();
    let harness = start(engine).await;
    let (mut second, goodbye) = harness.http2().await;
    let idle = harness.http1().await;
    let in_flight = tokio::spawn(async move {
        second.send_request(post("https://localhost/inject", review("v1", large_pod()))).await
    });
    gate.wait_for(1).await;
    harness.server.handle().shutdown();
    within(async {
        while !idle.is_closed() {
            tokio::task::yield_now().await
        }
    })
    .await;
    let address = harness.server.webhook_address();
    within(async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await
        }
    })
    .await;
    assert_eq!(harness.admin("/readyz").await.status, 503);
    gate.release.send(()).unwrap();
    assert_eq!(within(in_flight).await.unwrap().unwrap().status(), 200);
    within(goodbye).await.unwrap().unwrap();
    assert!(within(harness.server.ended()).await, "nothing was cut off");
}

// L-03
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_shutdown_ends_at_once() {
    let harness = start_with(injecting(), |options| options.timeouts.drain_delay = PATIENCE * 10).await;
    let handle = harness.server.handle();
    handle.shutdown();
    handle.shutdown();
    assert!(within(harness.server.ended()).await);
}
