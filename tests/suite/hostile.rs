//! Attackers: while each of them is active, well-behaved clients get their responses.

use std::{io, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use hyper_util::rt::TokioIo;
use outrigger::{
    inject::{Admission, Patch},
    server::{configuration::engine::Engine, options::Options},
};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::{
    attacker::{self, *},
    support::*,
};

/// The attacker, which shares its address with well-behaved clients.
const HERE: [u8; 4] = [127, 0, 0, 1];
/// An unrelated client.
const ELSEWHERE: [u8; 4] = [127, 0, 0, 2];

/// Lets incomplete requests wait long, so that only memory decides which of them end.
fn patient(options: &mut Options) {
    let long = 10 * PATIENCE;
    (options.timeouts.body, options.timeouts.slow_body, options.timeouts.write) = (long, long, long);
}

impl Harness {
    /// A connection that comes from an address.
    async fn tls_from(&self, from: [u8; 4], alpn: &str) -> io::Result<Tls> {
        let config = self.client(alpn.as_bytes());
        within(attacker::connect(self.server.webhook_address(), from, config)).await
    }

    /// An HTTP/2 connection that can send any frames.
    async fn raw(&self, from: [u8; 4], settings: &[(u16, u32)]) -> Raw {
        Raw::begin(self.tls_from(from, "h2").await.unwrap(), settings).await.unwrap()
    }

    async fn http1_from(&self, from: [u8; 4]) -> Sender1 {
        let stream = TokioIo::new(self.tls_from(from, "http/1.1").await.unwrap());
        let (sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// The behavior of an API server: reviews on a kept connection, on new ones, and concurrently on an HTTP/2
    /// connection. All of them get responses.
    ///
    /// A machine that is busy with something else delays the server until it sheds load, which is no effect of an attack: that
    /// alone may be asked again.
    async fn is_well(&self, from: [u8; 4], body: &[u8]) {
        const SHED: &str = "outrigger_shed_total{reason=\"overload\"}";
        for _ in 0..10 {
            let before = self.metrics().await.get(SHED).copied().unwrap_or_default();
            let Err(refused) = self.answers(from, body).await else { return };
            let after = self.metrics().await.get(SHED).copied().unwrap_or_default();
            assert!(after > before, "{from:?}: {refused:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("the machine is overloaded");
    }

    /// Asks as an API server does; the first response that is not 200 ends it.
    async fn answers(&self, from: [u8; 4], body: &[u8]) -> Result<(), Box<Answer>> {
        let good = |answer: Answer| if answer.status == 200 { Ok(()) } else { Err(Box::new(answer)) };
        let mut kept = self.http1_from(from).await;
        for count in 0..20 {
            let mut other = None;
            let sender = if count % 4 == 3 { other.insert(self.http1_from(from).await) } else { &mut kept };
            within(sender.ready()).await.unwrap();
            let answer = within(sender.send_request(post("/inject", body.to_vec()))).await.unwrap();
            good(Answer::read(answer).await)?;
        }
        let stream = TokioIo::new(self.tls_from(from, "h2").await.unwrap());
        let executor = hyper_util::rt::TokioExecutor::new();
        let (sender, connection) = hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
        tokio::spawn(connection);
        let asked = (0..20).map(|_| {
            let mut sender = sender.clone();
            async move { sender.send_request(post("https://x/inject", body.to_vec())).await }
        });
        for answer in within(futures::future::join_all(asked)).await {
            good(Answer::read(answer.unwrap()).await)?;
        }
        Ok(())
    }
}

fn small() -> Vec<u8> {
    review("v1", pod())
}

// H-02, R-01: 256 streams over two connections, each with a single byte of its body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn begun_streams_keep_nobody_from_being_answered() {
    let harness = start_with(injecting(), patient).await;
    let mut attack = Vec::new();
    for _ in 0..2 {
        let mut raw = harness.raw(HERE, &[]).await;
        let begun: Vec<u8> =
            streams(128).flat_map(|stream| [posts(stream), frame(DATA, 0, stream, b"{")].concat()).collect();
        raw.write(&begun).await.unwrap();
        attack.push(raw);
    }
    harness.metric("outrigger_in_flight_requests", 256.0).await;
    harness.is_well(ELSEWHERE, &small()).await;
    harness.is_well(HERE, &small()).await;
    let metrics = harness.metrics().await;
    assert_eq!(metrics["outrigger_in_flight_requests"], 256.0, "the attack lasts");
    assert_eq!(metrics["outrigger_requests_total{outcome=\"error\",reason=\"SHED\"}"], 0.0);
}

// R-01: a peer without a valid response gets few streams, and waiting ones proceed with the first valid response.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_on_probation_wait_for_a_good_answer() {
    let harness = start_with(injecting(), patient).await;
    let mut raw = harness.raw(HERE, &[]).await;
    let begun: Vec<u8> = streams(16).flat_map(posts).collect();
    raw.write(&begun).await.unwrap();
    harness.metric("outrigger_in_flight_requests", 16.0).await;
    let body = small();
    let whole = |stream| [posts(stream), frame(DATA, END_STREAM, stream, &body)].concat();
    raw.write(&(0..60).flat_map(|number| whole(101 + 2 * number)).collect::<Vec<_>>()).await.unwrap();
    // All of them wait, until one in progress makes room for one that gets a valid response.
    harness.metric("outrigger_in_flight_requests", 76.0).await;
    raw.write(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())).await.unwrap();
    harness.metric("outrigger_requests_total{outcome=\"injected\",reason=\"POLICY_ENABLED\"}", 60.0).await;
    harness.metric("outrigger_in_flight_requests", 15.0).await;
}

// H-02, R-01: the same over 256 connections of HTTP/1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn begun_bodies_keep_nobody_from_being_answered() {
    let harness = start_with(injecting(), patient).await;
    let begin = |_| async {
        let mut stream = harness.tls_from(HERE, "http/1.1").await.unwrap();
        stream.write_all(&[&head(100)[..], b"{"].concat()).await.unwrap();
        stream
    };
    let attack: Vec<_> = stream::iter(0..256).map(begin).buffer_unordered(16).collect().await;
    // A busy machine may have rejected a few of a burst.
    let lasts = async || harness.metrics().await["outrigger_in_flight_requests"] >= 240.0;
    within(async {
        while !lasts().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    harness.is_well(ELSEWHERE, &small()).await;
    harness.is_well(HERE, &small()).await;
    assert!(lasts().await);
    drop(attack);
}

// H-03: at the connection limit, the peer with the most connections loses one, and no other peer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn begun_bodies_do_not_fill_the_cap_of_connections() {
    let harness = start_with(injecting(), |options| {
        options.limits.connections = 12;
        options.timeouts.spared = PATIENCE;
        patient(options);
    })
    .await;
    let mut served = harness.http1_from(ELSEWHERE).await;
    assert_eq!(within(served.send_request(post("/inject", small()))).await.unwrap().status(), 200);
    let mut attack = Vec::new();
    for _ in 0..20 {
        // At the limit this one is refused: its own peer has the most.
        let Ok(mut stream) = harness.tls_from(HERE, "http/1.1").await else { continue };
        let _ = stream.write_all(&[&head(100)[..], b"{"].concat()).await;
        attack.push(stream);
    }
    assert_eq!(attack.len(), 11);
    harness.is_well(ELSEWHERE, &small()).await;
    within(served.ready()).await.unwrap();
    assert_eq!(within(served.send_request(post("/inject", small()))).await.unwrap().status(), 200);
}

// R-01, R-04: five connections with bodies of 8 MiB that lack only one byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn almost_complete_bodies_give_way() {
    let harness = start_with(injecting(), patient).await;
    let most = vec![b' '; (8 << 20) - 1];
    let mut attack = Vec::new();
    for _ in 0..5 {
        let mut stream = harness.tls_from(HERE, "http/1.1").await.unwrap();
        // The last of them finds no room.
        let _ = stream.write_all(&[&head(8 << 20)[..], &most].concat()).await;
        attack.push(stream);
    }
    let full = async {
        while harness.metrics().await["outrigger_held_bytes"] < f64::from(20 << 20) {
            tokio::task::yield_now().await;
        }
    };
    within(full).await;
    harness.is_well(ELSEWHERE, &small()).await;
    harness.is_well(HERE, &small()).await;
    // Large ones need the room.
    let large = review("v1", {
        let mut pod = pod();
        pod["metadata"]["annotations"] = json!({"a": "x".repeat(6 << 20)});
        pod
    });
    for from in [ELSEWHERE, HERE] {
        let mut sender = harness.http1_from(from).await;
        let answer = within(sender.send_request(post("/inject", large.clone()))).await.unwrap();
        assert_eq!(answer.status(), 200, "{from:?}");
    }
    let metrics = harness.metrics().await;
    assert!(metrics["outrigger_evicted_total{reason=\"body\"}"] >= 1.0, "{metrics:?}");
    assert!(metrics["outrigger_held_bytes"] <= f64::from(32 << 20));
}

/// Responses of some 225 KB.
fn verbose() -> Arc<dyn Engine> {
    scripted(|_| {
        let json = format!(r#"[{{"op":"add","path":"/x","value":"{}"}}]"#, "x".repeat(168_000));
        Admission { patch: Some(Patch { json, operations: 1 }), ..injected(1) }
    })
}

/// Sends requests on the given number of streams and grants each of them this window, unless it ends earlier.
async fn without_window(harness: &Harness, from: [u8; 4], window: u32, count: u32) -> Raw {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let mut raw = harness.raw(from, &[(INITIAL_WINDOW_SIZE, window)]).await;
    let body = small();
    for stream in streams(count) {
        if raw.write(&[posts(stream), frame(DATA, END_STREAM, stream, &body)].concat()).await.is_err() {
            break;
        }
    }
    raw
}

// H-09, N-06: fourteen connections do not read their responses, which would take 250 MB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_not_taken_are_bounded_and_give_way() {
    let harness = start_with(verbose(), patient).await;
    let mut attack = Vec::new();
    let mut most: f64 = 0.0;
    for _ in 0..14 {
        attack.push(without_window(&harness, HERE, 0, 80).await);
        most = most.max(harness.metrics().await["outrigger_held_bytes"]);
    }
    harness.is_well(ELSEWHERE, &small()).await;
    // For its neighbors at the same address, a connection that has stalled for a second gives way.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    harness.is_well(HERE, &small()).await;
    let metrics = harness.metrics().await;
    most = most.max(metrics["outrigger_held_bytes"]);
    // The memory for a request is also counted while it is being received.
    assert!(most <= f64::from(34 << 20), "{most}");
    let given_up = ["answer", "connection"].map(|reason| {
        let name = format!("outrigger_evicted_total{{reason=\"{reason}\"}}");
        metrics.get(&name).copied().unwrap_or_default()
    });
    assert!(given_up.iter().sum::<f64>() >= 1.0, "{metrics:?}");
    drop(attack);
    harness.metric("outrigger_held_bytes", 0.0).await;
}

// H-09, N-06: a zero window keeps the response with its stream, a window of one byte passes it to the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_taken_in_time_resets_its_stream() {
    let harness = start_with(verbose(), |options| options.timeouts.write = Duration::from_millis(150)).await;
    let raw = without_window(&harness, HERE, 0, 3).await;
    harness.metric("outrigger_evicted_total{reason=\"late_answer\"}", 3.0).await;
    harness.metric("outrigger_held_bytes", 0.0).await;
    let frames = within(raw.frames_after(Vec::new())).await;
    let mut reset: Vec<u32> =
        frames.iter().filter(|(kind, ..)| *kind == RST_STREAM).map(|frame| frame.1).collect();
    reset.sort_unstable();
    assert_eq!(reset, [1, 3, 5], "{:?}", kinds(&frames));

    let raw = without_window(&harness, HERE, 1, 3).await;
    harness.metric("outrigger_held_bytes", 0.0).await;
    within(raw.frames_after(Vec::new())).await;
    harness.metric("outrigger_connections{listener=\"webhook\"}", 0.0).await;
}

// N-06: an HTTP/1 peer that does not read is evicted, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_http1_peers_do_not_take_are_counted() {
    let harness = start_with(verbose(), |options| options.limits.buffered_bytes = 1 << 20).await;
    let mut attack = Vec::new();
    for _ in 0..12 {
        let mut stream = harness.tls_from(HERE, "http/1.1").await.unwrap();
        let body = small();
        // More responses than the kernel buffers for a peer that reads none.
        let requests = [head(body.len()), body].concat().repeat(60);
        let _ = stream.write_all(&requests).await;
        attack.push(stream);
    }
    let mut sender = harness.http1_from(ELSEWHERE).await;
    for _ in 0..20 {
        within(sender.ready()).await.unwrap();
        let answer = within(sender.send_request(post("/inject", small()))).await.unwrap();
        assert_eq!(Answer::read(answer).await.status, 200);
    }
    assert!(harness.metrics().await["outrigger_held_bytes"] <= f64::from(1 << 20));
}

// H-02
#[tokio::test]
async fn a_body_that_comes_too_slowly_is_given_up_before_its_time() {
    let harness = start_with(injecting(), |options| {
        options.timeouts.slow_body = Duration::from_millis(50);
        options.limits.body_rate = 100_000;
    })
    .await;
    let mut stream = harness.tls("http/1.1").await;
    stream.write_all(&[&head(1000)[..], b"{"].concat()).await.unwrap();
    let answer = String::from_utf8(read_to_close(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"), "{answer}");
    harness.metric("outrigger_evicted_total{reason=\"slow_body\"}", 1.0).await;
}

// H-07
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_are_told_to_go_away() {
    let harness = start(injecting()).await;
    let open = posts(1);
    let weight = [0, 0, 0, 0, 16];
    for (name, flood) in [
        ("pings", frame(PING, 0, 0, &[7; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9])),
        ("priorities", frame(PRIORITY, 0, 1, &weight)),
        ("windows", frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
        ("unknown frames", frame(0xfe, 0, 0, b"?")),
        ("empty pieces", frame(DATA, 0, 1, b"")),
        ("tiny pieces", frame(DATA, 0, 1, b" ")),
    ] {
        let raw = harness.raw(HERE, &[]).await;
        let attack = tokio::spawn(raw.frames_after([open.clone(), flood.repeat(50_000)].concat()));
        let frames = within(attack).await.unwrap();
        let farewells = farewells(&frames);
        assert!(farewells.contains(&ENHANCE_YOUR_CALM), "{name}: {farewells:?}");
        harness.metric("outrigger_connections{listener=\"webhook\"}", 0.0).await;
    }
    harness.is_well(HERE, &small()).await;
    assert!(harness.metrics().await["outrigger_evicted_total{reason=\"flood\"}"] >= 5.0);
}

// H-07: a legitimate client may ping, open windows and reset streams.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_client_is_no_flood() {
    let harness = start(injecting()).await;
    let (mut read, mut write) = harness.raw(HERE, &[]).await.split();
    let reading = tokio::spawn(async move { closed(&mut read).await });
    let body = small();
    for stream in streams(400) {
        let windows = frame(WINDOW_UPDATE, 0, 0, &1000_u32.to_be_bytes()).repeat(6);
        let request = [posts(stream), frame(DATA, END_STREAM, stream, &body), windows].concat();
        write.write_all(&request).await.unwrap();
        write.flush().await.unwrap();
        let answered = "outrigger_requests_total{outcome=\"injected\",reason=\"POLICY_ENABLED\"}";
        if stream % 100 == 1 {
            harness.metric(answered, f64::from(stream / 2 + 1)).await;
        }
    }
    let metrics = harness.metrics().await;
    assert!(!metrics.keys().any(|name| name.starts_with("outrigger_evicted_total")), "{metrics:?}");
    assert!(!reading.is_finished());
}

// H-06: CVE-2023-44487
#[tokio::test]
async fn rapid_resets_are_told_to_go_away() {
    let harness = start(injecting()).await;
    let reset = |stream| {
        // GET https /, in static table entries.
        let opened = frame(HEADERS, END_STREAM | END_HEADERS, stream, &[0x82, 0x87, 0x84]);
        [opened, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    let raw = harness.raw(HERE, &[]).await;
    let frames = within(raw.frames_after(streams(2000).flat_map(reset).collect())).await;
    assert!(!farewells(&frames).is_empty(), "{:?}", kinds(&frames));
    harness.is_well(HERE, &small()).await;
}

// H-06: one by one, so that each is accepted before it is reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_of_accepted_streams_are_told_to_go_away() {
    let harness = start(injecting()).await;
    let (mut read, mut write) = harness.raw(HERE, &[]).await.split();
    let reading = tokio::spawn(async move { read_to_close(&mut read).await });
    for stream in streams(10_000) {
        let reset = [posts(stream), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat();
        if write.write_all(&reset).await.is_err() || reading.is_finished() {
            break;
        }
    }
    within(reading).await.unwrap();
    harness.metric("outrigger_connections{listener=\"webhook\"}", 0.0).await;
    harness.metric("outrigger_in_flight_requests", 0.0).await;
}

// H-07: CVE-2024-27316
#[tokio::test]
async fn a_header_without_end_is_told_to_go_away() {
    let harness = start(injecting()).await;
    let field = [&[0x00, 0x01, b'a', 0x7f, 0x00][..], &[b'x'; 127]].concat();
    let more = frame(CONTINUATION, 0, 1, &field.repeat(50)).repeat(1000);
    let raw = harness.raw(HERE, &[]).await;
    let frames = within(raw.frames_after([frame(HEADERS, 0, 1, &[0x82, 0x87, 0x84]), more].concat())).await;
    assert!(!farewells(&frames).is_empty(), "{:?}", kinds(&frames));
    harness.is_well(HERE, &small()).await;
}

// H-07: a header field that is stored in the table once and referenced repeatedly has no size on the wire.
#[tokio::test]
async fn a_header_that_grows_when_it_is_decoded_is_refused() {
    let harness = start(injecting()).await;
    let mut block = vec![0x83, 0x87, 0x84, 0x40, 0x01, b'a', 0x7f, 0xa1, 0x1e];
    block.extend([b'x'; 4000]);
    block.extend([0xbe; 12_000]);
    let raw = harness.raw(HERE, &[]).await;
    let bomb = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block);
    let frames = within(raw.frames_after(bomb)).await;
    let refused = farewells(&frames).iter().any(|code| *code != 0) || kinds(&frames).contains(&HEADERS);
    assert!(refused, "{:?}", kinds(&frames));
    assert_eq!(harness.metrics().await["sidecar_injection_requests_total"], 0.0);
    harness.is_well(HERE, &small()).await;
}

// H-08: CVE-2025-8671, errors by the peer that make us reset its streams.
#[tokio::test]
async fn streams_that_the_peer_makes_us_reset_are_told_to_go_away() {
    let harness = start(injecting()).await;
    let wrong =
        |stream| [posts(stream), frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())].concat();
    let raw = harness.raw(HERE, &[]).await;
    let frames = within(raw.frames_after(streams(1000).flat_map(wrong).collect())).await;
    assert!(farewells(&frames).contains(&ENHANCE_YOUR_CALM), "{:?}", farewells(&frames));
    harness.is_well(HERE, &small()).await;
}

// H-09: streams beyond the limit are refused, and too many of them end the connection.
#[tokio::test]
async fn ten_thousand_streams_at_once_are_told_to_go_away() {
    let harness = start(injecting()).await;
    let raw = harness.raw(HERE, &[]).await;
    let frames = within(raw.frames_after(streams(10_000).flat_map(posts).collect())).await;
    assert!(farewells(&frames).contains(&ENHANCE_YOUR_CALM), "{:?}", farewells(&frames));
    harness.is_well(HERE, &small()).await;
}

// H-09
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_over_the_cap_wait_for_the_others() {
    let (engine, gate) = gated();
    let harness = start_with(engine, |options| options.limits.streams = 2).await;
    let (mut sender, _connection) = harness.http2().await;
    // With this response, the client has the server's settings.
    assert_eq!(within(sender.send_request(post("https://localhost/", ""))).await.unwrap().status(), 404);
    let requests: Vec<_> = (0..5)
        .map(|_| {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                sender.send_request(post("https://localhost/inject", review("v1", large_pod()))).await
            })
        })
        .collect();
    gate.wait_for(1).await;
    assert!(harness.metrics().await["outrigger_in_flight_requests"] <= 2.0);
    for _ in 0..5 {
        gate.release.send(()).unwrap();
    }
    for request in requests {
        assert_eq!(within(request).await.unwrap().unwrap().status(), 200);
    }
}
