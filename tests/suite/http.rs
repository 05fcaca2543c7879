//! HTTP/1 input besides reviews: unusual requests, malformed ones, and rejections before a body was read.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::*;

/// A request that ends its connection when it is reached.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// Sends bytes on a separate connection and reads until the server closes it.
async fn exchanged(harness: &Harness, bytes: &[u8]) -> String {
    let mut stream = harness.tls("http/1.1").await;
    stream.write_all(bytes).await.unwrap();
    String::from_utf8(read_to_close(&mut stream).await).unwrap()
}

/// The status codes of responses.
fn codes(answers: &str) -> Vec<&str> {
    answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect()
}

// H-11: a rejection before the body was read announces the end of the connection if it causes it, and does so
// immediately.
#[tokio::test]
async fn an_early_refusal_says_whether_its_connection_goes_on() {
    let harness = start(injecting()).await;
    const JSON: &str = "content-type: application/json\r\n";
    for (line, headers, status) in [
        ("POST /nowhere", JSON, "404"),
        ("PUT /inject", JSON, "405"),
        ("POST /inject", "content-type: text/plain\r\n", "415"),
        ("POST /inject", "content-type: application/json\r\ncontent-encoding: gzip\r\n", "415"),
        ("POST /inject/FOO=1/v", JSON, "400"),
    ] {
        let head = format!("{line} HTTP/1.1\r\nhost: x\r\n{headers}");
        let whole = format!("{head}content-length: 2\r\n\r\n{{}}");
        let answers = exchanged(&harness, &[whole.as_bytes(), LAST].concat()).await;
        assert_eq!(codes(&answers), [status, "404"], "{answers}");
        assert_eq!(answers.matches("connection: close").count(), 1, "{answers}");
        for begun in [
            "content-length: 9000000\r\n\r\n{",
            "expect: 100-continue\r\ncontent-length: 2\r\n\r\n",
            "transfer-encoding: chunked\r\n\r\n1\r\n{",
        ] {
            let began = Instant::now();
            let answers = exchanged(&harness, format!("{head}{begun}").as_bytes()).await;
            assert_eq!(codes(&answers), [status], "{answers}");
            assert!(answers.contains("connection: close"), "{begun}: {answers}");
            assert!(began.elapsed() < Duration::from_secs(1), "it waits for nothing");
        }
    }
}

// H-11
#[tokio::test]
async fn what_an_api_server_does_not_ask_for_is_refused_in_words() {
    let harness = start(injecting()).await;
    let body = review("v1", pod());
    let head = |more: &str| {
        let length = body.len();
        format!(
            "POST /inject HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{more}content-length: {length}\r\n\r\n"
        )
    };
    // A client that waits for a 100 gets it.
    let mut stream = harness.tls("http/1.1").await;
    stream.write_all(head("expect: 100-continue\r\n").as_bytes()).await.unwrap();
    let mut buffer = [0; 25];
    within(stream.read_exact(&mut buffer)).await.unwrap();
    assert_eq!(&buffer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&[&body[..], LAST].concat()).await.unwrap();
    let answers = String::from_utf8(read_to_close(&mut stream).await).unwrap();
    assert_eq!(codes(&answers), ["200", "404"], "{answers}");
    // No upgrade happens; the request gets a response.
    let websocket = head("connection: upgrade\r\nupgrade: websocket\r\n");
    let h2c = head("connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n");
    for upgrade in [websocket, h2c] {
        let answers = exchanged(&harness, &[upgrade.as_bytes(), &body, LAST].concat()).await;
        assert_eq!(codes(&answers), ["200", "404"], "{answers}");
    }
    for line in ["CONNECT example.com:443", "CONNECT /inject", "TRACE /inject", "DELETE /inject", "PRI *"] {
        let request = format!("{line} HTTP/1.1\r\nhost: x\r\n\r\n");
        let answers = exchanged(&harness, &[request.as_bytes(), LAST].concat()).await;
        assert!(["400", "404", "405"].contains(&codes(&answers)[0]), "{line}: {answers}");
    }
    assert_eq!(harness.post("/inject", body.clone()).await.status, 200);
}

// H-04
#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_turn() {
    let harness = start(injecting()).await;
    let body = review("v1", pod());
    let head = format!(
        "POST /inject HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let good = [head.as_bytes(), &body].concat();
    let lost = b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n";
    let answers = exchanged(&harness, &[&good[..], lost, &good, LAST].concat()).await;
    assert_eq!(codes(&answers), ["200", "404", "200", "404"]);
    // The bytes after a malformed request are not interpreted as a request.
    for broken in [
        "POST /inject HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "POST /inject HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nz\r\n",
        "POST /inject HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}X",
        "POST /inject HTTP/1.1\r\nhost : x\r\n\r\n",
        "POST /inject HTTP/1.1\r\nhost: x\r\ncontent-length: 18446744073709551616\r\n\r\n",
    ] {
        let answers = exchanged(&harness, &[broken.as_bytes(), &good].concat()).await;
        assert_eq!(codes(&answers), ["400"], "{broken}: {answers}");
    }
    // If both lengths are given, the chunks count and the connection ends with the response, by RFC 9112.
    let chunks = format!("{:x}\r\n", body.len());
    let both = head.replace("\r\n\r\n", "\r\ntransfer-encoding: chunked\r\n\r\n");
    let both = [both.as_bytes(), chunks.as_bytes(), &body, b"\r\n0\r\n\r\n", LAST].concat();
    let answers = exchanged(&harness, &both).await;
    assert!([&["200"][..], &["400"], &["200", "404"]].contains(&&codes(&answers)[..]), "{answers}");
}

// H-05
#[tokio::test]
async fn header_bombs_are_refused() {
    let harness = start(injecting()).await;
    let many = (0..10_000).map(|n| format!("a{n}: b\r\n")).collect::<String>();
    let long = format!("a: {}\r\n", "x".repeat(1 << 20));
    for bomb in [many, long] {
        let mut stream = harness.tls("http/1.1").await;
        let head = format!("POST /inject HTTP/1.1\r\nhost: x\r\n{bomb}\r\n");
        // The server may close before everything is written.
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = read_to_close(&mut stream).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    assert_eq!(harness.post("/inject", review("v1", pod())).await.status, 200);
}

// H-04
#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let harness = start(injecting()).await;
    for head in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: +5\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: gzip\r\n",
        "bad header\r\n",
    ] {
        let mut stream = harness.tls("http/1.1").await;
        let request = format!(
            "POST /inject HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{head}\r\n5\r\nhello\r\n0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = String::from_utf8(read_to_close(&mut stream).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{head:?}: {answer}");
    }
}
