//! Handshakes that must fail, written byte by byte where no library would write them, and too many at once.

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, ClientConnection, pki_types::ServerName, version::TLS13};
use tokio::io::AsyncWriteExt;

use super::support::*;

/// The first byte of a record with an alert, and the meanings of alerts.
const ALERT: u8 = 0x15;
const HANDSHAKE_FAILURE: u8 = 40;
const PROTOCOL_VERSION: u8 = 70;

/// Prefixed with its length, in the given number of bytes.
fn sized(bytes: usize, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&length[4 - bytes..], content].concat()
}

/// A ClientHello with a maximum version and cipher suites.
fn client_hello(version: [u8; 2], suites: &[u16]) -> Vec<u8> {
    let suites: Vec<u8> = suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    let extension = |kind: u8, content: &[u8]| [&[0, kind][..], &sized(2, content)].concat();
    let extensions = [
        // supported_groups: P-256, X25519
        extension(10, &sized(2, &[0x00, 0x17, 0x00, 0x1d])),
        // ec_point_formats: uncompressed
        extension(11, &sized(1, &[0])),
        // signature_algorithms: ECDSA and RSA, with SHA-256
        extension(13, &sized(2, &[0x04, 0x03, 0x08, 0x04, 0x04, 0x01])),
    ]
    .concat();
    let hello = [
        &version[..],
        &[7; 32],
        // No session, no compression.
        &sized(1, &[]),
        &sized(2, &suites),
        &sized(1, &[0]),
        &sized(2, &extensions),
    ]
    .concat();
    let message = [&[0x01][..], &sized(3, &hello)].concat();
    [&[0x16, 0x03, 0x01][..], &sized(2, &message)].concat()
}

// T-13
#[tokio::test]
async fn old_versions_and_weak_ciphers_are_refused() {
    let harness = start(injecting()).await;
    // AES_128_CBC, 3DES and RC4, with and without forward secrecy.
    let weak = [0xc013, 0xc009, 0x002f, 0x000a, 0x0005];
    // ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, which would work with TLS 1.2.
    let strong = [0xc02b];
    let mut refused = 0.0;
    for (version, suites, wanted) in [
        ([3, 0], &strong[..], PROTOCOL_VERSION),
        ([3, 1], &strong, PROTOCOL_VERSION),
        ([3, 2], &strong, PROTOCOL_VERSION),
        ([3, 3], &weak, HANDSHAKE_FAILURE),
    ] {
        let mut stream = harness.tcp().await;
        stream.write_all(&client_hello(version, suites)).await.unwrap();
        let answer = read_to_close(&mut stream).await;
        assert_eq!((answer.first(), answer.last()), (Some(&ALERT), Some(&wanted)), "{version:?}: {answer:?}");
        refused += 1.0;
        harness.metric("outrigger_tls_handshake_errors_total{reason=\"incompatible\"}", refused).await;
    }
    // The same message with an accepted cipher suite gets a response.
    let mut stream = harness.tcp().await;
    stream.write_all(&client_hello([3, 3], &strong)).await.unwrap();
    let mut first = [0; 1];
    within(tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first)).await.unwrap();
    assert_eq!(first, [0x16], "a ServerHello");
}

// T-13: anybody could replay data that is sent before the handshake is complete.
#[tokio::test]
async fn no_data_is_taken_before_the_handshake_is_over() {
    let harness = start(injecting()).await;
    let mut config = ClientConfig::builder_with_protocol_versions(&[&TLS13])
        .with_root_certificates(harness.roots.clone())
        .with_no_client_auth();
    config.enable_early_data = true;
    let config = Arc::new(config);
    let mut stream = harness.connect((*config).clone()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    read_to_close(&mut stream).await;
    assert_eq!(stream.get_ref().1.tls13_tickets_received(), 1, "there is a session to resume");
    let name = ServerName::try_from("localhost").unwrap();
    let mut again = ClientConnection::new(config, name).unwrap();
    assert!(again.early_data().is_none(), "the session allows early data");
}

// T-15: at the cap, incomplete handshakes are evicted, and clients that were served are not affected.
#[tokio::test]
async fn a_flood_of_half_handshakes_stops_nobody() {
    const CAP: usize = 4;
    let harness = start_with(injecting(), |options| {
        options.limits.connections = CAP;
        options.timeouts.spared = Duration::ZERO;
    })
    .await;
    let mut served = harness.http1().await;
    let request = || post("/inject", review("v1", pod()));
    Answer::read(within(served.send_request(request())).await.unwrap()).await;
    let half = &client_hello([3, 3], &[0xc02b])[..20];
    let mut flood = Vec::new();
    for _ in 0..8 * CAP {
        let mut stream = harness.tcp().await;
        let _ = stream.write_all(half).await;
        flood.push(stream);
        if flood.len().is_multiple_of(CAP) {
            assert_eq!(harness.send(request()).await.status, 200);
            within(served.ready()).await.unwrap();
            let answer = within(served.send_request(request())).await.unwrap();
            assert_eq!(Answer::read(answer).await.status, 200);
        }
    }
    assert!(harness.metrics().await["outrigger_connections{listener=\"webhook\"}"] <= CAP as f64);
}
