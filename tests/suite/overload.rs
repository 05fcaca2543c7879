//! The server under overload: deadlines of API servers, large bodies, rejected requests.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use futures::StreamExt;
use tokio::io::AsyncWriteExt;

use super::support::*;

/// A request line and headers, without the empty line that ends them.
fn head(query: &str, length: usize) -> String {
    format!(
        "POST /inject{query} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n"
    )
}

// DA-17: the API server gets an explicit response if there is no result in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_would_come_too_late_is_given_up_while_the_api_server_listens() {
    let (engine, gate) = gated();
    let harness = start(engine).await;
    let began = Instant::now();
    let answer = harness.post("/inject?timeout=500ms", review("v1", large_pod())).await;
    assert_eq!(answer.status, 503);
    assert!(began.elapsed() >= Duration::from_millis(450));
    assert_eq!(answer.header("retry-after"), "", "there is no time left for another try");
    harness.metric("outrigger_deadline_exceeded_total", 1.0).await;
    harness.metric("outrigger_requests_total{outcome=\"error\",reason=\"DEADLINE\"}", 1.0).await;
    gate.release.send(()).unwrap();
}

// DA-17, R-01: while one large body is processed, the next one may wait for half of its time, so that another replica
// can be tried.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_waits_for_its_turn_and_no_longer_than_half_of_its_time() {
    let (engine, gate) = gated();
    let harness = start_with(engine, |options| options.limits.large_bodies = 1).await;
    let mut busy = harness.http1().await;
    let first =
        tokio::spawn(async move { busy.send_request(post("/inject", review("v1", large_pod()))).await });
    gate.wait_for(1).await;
    let began = Instant::now();
    let shed = harness.post("/inject?timeout=1s", review("v1", large_pod())).await;
    assert_eq!((shed.status.as_u16(), shed.header("retry-after")), (429, "1"));
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    harness.metric("outrigger_shed_total{reason=\"large\"}", 1.0).await;
    // A request that is in time gets its slot.
    let mut patient = harness.http1().await;
    let second =
        tokio::spawn(async move { patient.send_request(post("/inject", review("v1", large_pod()))).await });
    harness.metric("outrigger_in_flight_requests", 2.0).await;
    gate.release.send(()).unwrap();
    assert_eq!(within(first).await.unwrap().unwrap().status(), 200);
    gate.release.send(()).unwrap();
    assert_eq!(within(second).await.unwrap().unwrap().status(), 200);
    assert_eq!(gate.entered.load(Ordering::SeqCst), 2, "what was refused was not judged");
}

// small bodies do not wait behind large ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_body_is_judged_while_large_ones_take_all_their_places() {
    let entered = Arc::new(AtomicUsize::new(0));
    let (release, released) = mpsc::channel::<()>();
    let (released, count) = (Mutex::new(released), entered.clone());
    let engine = scripted(move |call| {
        if call.pod["metadata"]["annotations"].is_object() {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = released.lock().unwrap().recv_timeout(PATIENCE);
        }
        injected(1)
    });
    let harness = start_with(engine, |options| options.limits.large_bodies = 1).await;
    let mut large = Vec::new();
    for _ in 0..3 {
        let mut sender = harness.http1().await;
        large.push(tokio::spawn(async move {
            sender.send_request(post("/inject", review("v1", large_pod()))).await
        }));
    }
    harness.metric("outrigger_in_flight_requests", 3.0).await;
    assert_eq!(harness.post("/inject", review("v1", pod())).await.status, 200);
    assert!(entered.load(Ordering::SeqCst) <= 1);
    // They arrive in any order.
    for _ in &large {
        release.send(()).unwrap();
    }
    for answer in large {
        assert_eq!(within(answer).await.unwrap().unwrap().status(), 200);
    }
}

// H-02, DA-17
#[tokio::test]
async fn a_body_is_waited_for_no_longer_than_the_api_server_listens() {
    let harness = start(injecting()).await;
    let mut stream = harness.tls("http/1.1").await;
    stream.write_all(format!("{}\r\n{{", head("?timeout=100ms", 100)).as_bytes()).await.unwrap();
    let answer = String::from_utf8(read_to_close(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    harness.metric("outrigger_deadline_exceeded_total", 1.0).await;
}

// DA-17: the API server's timeout started with the first byte.
#[tokio::test]
async fn a_request_that_waited_for_its_timeout_is_not_judged() {
    let judged = Arc::new(AtomicUsize::new(0));
    let count = judged.clone();
    let harness = start(scripted(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        injected(1)
    }))
    .await;
    let body = review("v1", pod());
    let mut stream = harness.tls("http/1.1").await;
    stream.write_all(head("?timeout=1ms", body.len()).as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(20) {
        harness.admin("/livez").await;
    }
    stream.write_all(&[b"\r\n", &*body].concat()).await.unwrap();
    let answer = String::from_utf8(read_to_close(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(judged.load(Ordering::SeqCst), 0);
    harness.metric("outrigger_requests_total{outcome=\"error\",reason=\"DEADLINE\"}", 1.0).await;
}

// with one worker and 10 ms per pod, sixteen concurrent clients wait for 160 ms.
#[tokio::test]
async fn a_standing_queue_is_turned_away_and_its_connections_go_on() {
    let (_nobody, never) = mpsc::channel::<()>();
    let never = Mutex::new((never, _nobody));
    let harness = start(scripted(move |_| {
        let _ = never.lock().unwrap().0.recv_timeout(Duration::from_millis(10));
        injected(1)
    }))
    .await;
    let turned_away = async |mut sender: Sender1| {
        loop {
            let answer = sender.send_request(post("/inject", review("v1", pod()))).await.unwrap();
            let answer = Answer::read(answer).await;
            if answer.status != 200 {
                return (sender, answer);
            }
        }
    };
    let mut asking = futures::stream::FuturesUnordered::new();
    for _ in 0..16 {
        asking.push(turned_away(harness.http1().await));
    }
    let (mut sender, answer) = within(asking.next()).await.unwrap();
    drop(asking);
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, "1"));
    assert_eq!(answer.header("connection"), "", "a new connection would cost more than the request");
    assert_eq!(answer.json()["kind"], "Status");
    assert_eq!(answer.json()["code"], 429);
    let metrics = harness.metrics().await;
    for name in [
        "outrigger_shed_total{reason=\"overload\"}",
        "outrigger_requests_total{outcome=\"error\",reason=\"SHED\"}",
    ] {
        assert!(metrics[name] >= 1.0, "{name}");
    }
    // Alone, it is served again, on the same connection.
    within(async {
        while sender.send_request(post("/inject", review("v1", pod()))).await.unwrap().status() != 200 {
            sender.ready().await.unwrap();
        }
    })
    .await;
}
