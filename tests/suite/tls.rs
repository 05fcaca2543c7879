//! TLS and connections, with real clients over loopback: which ones are accepted, closed, and when.

use std::{sync::Arc, time::Duration};

use outrigger::{
    inject::{Admission, Patch},
    server::{
        Server,
        options::{Certificate, MinVersion},
    },
};
use rustls::{
    ClientConfig, HandshakeKind,
    version::{TLS12, TLS13},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::*;

const SOON: Duration = Duration::from_millis(80);

fn only(harness: &Harness, version: &'static rustls::SupportedProtocolVersion) -> ClientConfig {
    ClientConfig::builder_with_protocol_versions(&[version])
        .with_root_certificates(harness.roots.clone())
        .with_no_client_auth()
}

#[tokio::test]
async fn speaks_tls_1_2_and_1_3_unless_told_otherwise() {
    let harness = start(injecting()).await;
    for version in [&TLS12, &TLS13] {
        let stream = harness.connect(only(&harness, version)).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
    }
}

// T-13
#[tokio::test]
async fn a_tls_1_2_client_is_refused_where_1_3_is_the_oldest() {
    let harness = start_with(injecting(), |options| options.tls_min_version = MinVersion::V1_3).await;
    assert!(harness.connect(only(&harness, &TLS12)).await.is_err());
    harness.connect(only(&harness, &TLS13)).await.unwrap();
    harness.metric("outrigger_tls_handshake_errors_total{reason=\"incompatible\"}", 1.0).await;
}

#[tokio::test]
async fn sessions_are_resumed() {
    let harness = start(injecting()).await;
    for version in [&TLS12, &TLS13] {
        let config = only(&harness, version);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut stream = harness.connect(config.clone()).await.unwrap();
            // Tickets of TLS 1.3 come with the first response.
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
            read_to_close(&mut stream).await;
            kinds.push(stream.get_ref().1.handshake_kind());
            let tickets = stream.get_ref().1.tls13_tickets_received();
            assert_eq!(tickets, u32::from(std::ptr::eq(version, &TLS13)), "each costs CPU time");
        }
        assert_ne!(kinds[0], Some(HandshakeKind::Resumed));
        assert_eq!(kinds[1], Some(HandshakeKind::Resumed), "{version:?}");
    }
}

#[tokio::test]
async fn alpn_chooses_the_protocol() {
    let harness = start(injecting()).await;
    for alpn in ["h2", "http/1.1"] {
        assert_eq!(harness.tls(alpn).await.get_ref().1.alpn_protocol(), Some(alpn.as_bytes()));
    }
    assert!(harness.connect(harness.client(b"spdy/3")).await.is_err());
}

// T-09, T-10
#[tokio::test]
async fn any_server_name_and_none_get_the_certificate() {
    let harness = start(injecting()).await;
    for name in ["somewhere.else", "127.0.0.1"] {
        let name = rustls::pki_types::ServerName::try_from(name).unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(harness.client(b"h2")));
        let error = within(connector.connect(name, harness.tcp().await)).await.unwrap_err();
        // The client received a certificate and rejected its name.
        assert!(error.to_string().contains("not valid for name"), "{error}");
    }
}

/// The certificate's entry in `/readyz?verbose`, and the status.
async fn of_certificate(harness: &Harness) -> (u16, String) {
    let answer = harness.admin("/readyz?verbose").await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.get(3..).is_some_and(|line| line.starts_with("certificate ")))
        .collect();
    assert_eq!(lines.len(), 1, "{text}");
    (answer.status.as_u16(), lines[0].to_owned())
}

// T-01, T-19
#[tokio::test]
async fn what_api_servers_refuse_of_a_certificate_is_said() {
    let harness = start_with(injecting(), |options| {
        let Certificate::Files { chain, .. } = &options.certificate else { unreachable!() };
        write_certificate(chain.parent().unwrap(), |parameters| {
            parameters.subject_alt_names.clear();
            parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        });
    })
    .await;
    let (status, line) = of_certificate(&harness).await;
    // It is served nevertheless: clients may require less.
    assert_eq!(status, 200);
    assert!(
        line.starts_with("[!]certificate API servers would reject it: the certificate is not for servers")
            && line.contains("is for no DNS name")
            && line.contains("(valid until "),
        "{line}"
    );
    write_certificate(harness.folder.path(), |_| {});
    assert_eq!(harness.server.handle().reload().await.certificate, Ok(()));
    let (status, line) = of_certificate(&harness).await;
    assert!(status == 200 && line.starts_with("[+]certificate ok: valid until "), "{line}");
    // An expired one prevents readiness, and other problems are reported with it.
    let harness = start_with(injecting(), |options| {
        let Certificate::Files { chain, .. } = &options.certificate else { unreachable!() };
        write_certificate(chain.parent().unwrap(), |parameters| {
            parameters.not_before = rcgen::date_time_ymd(2000, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(2001, 1, 1);
            parameters.subject_alt_names.clear();
        });
    })
    .await;
    let (status, line) = of_certificate(&harness).await;
    assert!(status == 503 && line.starts_with("[-]certificate failed: the certificate expired "), "{line}");
    assert!(line.contains("; API servers would reject it: the certificate is for no DNS name"), "{line}");
    write_certificate(harness.folder.path(), |_| {});
    assert_eq!(harness.server.handle().reload().await.certificate, Ok(()));
    // A rejected one is a note on the active one, which is not reported as ok.
    std::fs::write(harness.folder.path().join("tls.crt"), "").unwrap();
    assert!(harness.server.handle().reload().await.certificate.is_err());
    let (status, line) = of_certificate(&harness).await;
    assert!(
        status == 200 && line.starts_with("[!]certificate the newest certificate was rejected"),
        "{line}"
    );
}

// T-14
#[tokio::test]
async fn plain_http_is_closed_at_once() {
    let harness = start(injecting()).await;
    let mut stream = harness.tcp().await;
    stream.write_all(b"POST /inject HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_to_close(&mut stream).await;
    harness.metric("outrigger_tls_handshake_errors_total{reason=\"not_tls\"}", 1.0).await;
}

// T-14
#[tokio::test]
async fn tls_to_the_admin_port_is_closed_at_once() {
    let harness = start(injecting()).await;
    let stream = tokio::net::TcpStream::connect(harness.server.admin_address()).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(harness.client(b"http/1.1")));
    assert!(within(connector.connect(name, stream)).await.is_err());
}

// T-15
#[tokio::test]
async fn a_stalled_handshake_is_given_up() {
    let harness = start_with(injecting(), |options| options.timeouts.handshake = SOON).await;
    let mut stream = harness.tcp().await;
    stream.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    read_to_close(&mut stream).await;
    harness.metric("outrigger_tls_handshake_errors_total{reason=\"timeout\"}", 1.0).await;
    harness.metric("outrigger_connections{listener=\"webhook\"}", 0.0).await;
}

// H-01: after the handshake nothing at all.
#[tokio::test]
async fn a_silent_client_is_closed_in_http1_and_http2() {
    let harness = start_with(injecting(), |options| options.timeouts.first_byte = SOON).await;
    for alpn in ["http/1.1", "h2"] {
        let mut stream = harness.tls(alpn).await;
        read_to_close(&mut stream).await;
    }
    harness.metric("outrigger_connections_timed_out_total{reason=\"first_byte\"}", 2.0).await;
    harness.metric("outrigger_connections{listener=\"webhook\"}", 0.0).await;
}

// H-01
#[tokio::test]
async fn a_header_that_drips_in_is_closed() {
    let harness = start_with(injecting(), |options| options.timeouts.header = SOON).await;
    let mut stream = harness.tls("http/1.1").await;
    let drip = async {
        for byte in b"POST /inject HTTP/1.1\r\nhost: x\r\n".iter().cycle() {
            if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            let mut buffer = [0; 64];
            let read = tokio::time::timeout(Duration::from_millis(5), stream.read(&mut buffer)).await;
            if matches!(read, Ok(Ok(0) | Err(_))) {
                return;
            }
        }
    };
    within(drip).await;
    harness.metric("outrigger_connections_timed_out_total{reason=\"header\"}", 1.0).await;
}

// H-01: a second request's header timeout starts with its own first byte.
#[tokio::test]
async fn a_half_header_after_a_request_is_closed_and_idle_is_not() {
    let harness = start_with(injecting(), |options| options.timeouts.header = SOON).await;
    let mut stream = harness.tls("http/1.1").await;
    for _ in 0..2 {
        // Idle for longer than the header timeout.
        stream.write_all(b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut buffer = [0; 1024];
        assert!(within(stream.read(&mut buffer)).await.unwrap() > 0);
        assert!(tokio::time::timeout(SOON * 2, stream.read(&mut buffer)).await.is_err(), "still open");
    }
    stream.write_all(b"GET /x HTTP/1.1\r\nho").await.unwrap();
    read_to_close(&mut stream).await;
    harness.metric("outrigger_connections_timed_out_total{reason=\"header\"}", 1.0).await;
}

// H-01: an HTTP/2 client that stops within the preface, or after it.
#[tokio::test]
async fn an_http2_client_without_requests_is_closed() {
    let harness = start_with(injecting(), |options| options.timeouts.header = SOON).await;
    for preface in [&b"PRI * HTTP"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        let mut stream = harness.tls("h2").await;
        stream.write_all(preface).await.unwrap();
        read_to_close(&mut stream).await;
    }
    harness.metric("outrigger_connections_timed_out_total{reason=\"header\"}", 2.0).await;
}

// H-03
#[tokio::test]
async fn idle_connections_are_closed_in_http1_and_http2() {
    let harness = start_with(injecting(), |options| options.timeouts.idle = SOON).await;
    let mut http1 = harness.http1().await;
    within(http1.send_request(post("/inject", review("v1", pod())))).await.unwrap();
    within(async {
        while !http1.is_closed() {
            tokio::task::yield_now().await
        }
    })
    .await;
    let (mut http2, connection) = harness.http2().await;
    let answer = within(http2.send_request(post("/inject", review("v1", pod())))).await.unwrap();
    Answer::read(answer).await;
    // GOAWAY, not a reset: the client's connection ends without an error.
    within(connection).await.unwrap().unwrap();
    harness.metric("outrigger_connections{listener=\"webhook\"}", 0.0).await;
}

// H-03
#[tokio::test]
async fn connections_over_the_cap_are_refused_at_once() {
    let harness = start_with(injecting(), |options| {
        options.limits.connections = 1;
        options.timeouts.spared = PATIENCE;
    })
    .await;
    let first = harness.tls("http/1.1").await;
    assert!(harness.connect(harness.client(b"http/1.1")).await.is_err());
    harness.metric("outrigger_shed_total{reason=\"connections\"}", 1.0).await;
    drop(first);
    harness.metric("outrigger_connections{listener=\"webhook\"}", 0.0).await;
    harness.tls("http/1.1").await;
}

// H-03, T-15
#[tokio::test]
async fn at_the_cap_a_silent_connection_gives_way() {
    let harness = start_with(injecting(), |options| {
        options.limits.connections = 2;
        options.timeouts.spared = Duration::ZERO;
    })
    .await;
    let mut served = harness.http1().await;
    let request = || post("/inject", review("v1", pod()));
    Answer::read(within(served.send_request(request())).await.unwrap()).await;
    for _ in 0..5 {
        // Each evicts the one before it, never the one that was served.
        let mut silent = harness.tcp().await;
        assert_eq!(harness.post("/inject", review("v1", pod())).await.status, 200);
        read_to_close(&mut silent).await;
        harness.metric("outrigger_connections{listener=\"webhook\"}", 1.0).await;
    }
    assert_eq!(within(served.send_request(request())).await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_old_connection_is_closed_with_its_next_answer() {
    let harness = start_with(injecting(), |options| options.timeouts.max_age = Duration::ZERO).await;
    let answer = harness.post("/inject", review("v1", pod())).await;
    assert_eq!((answer.status.as_u16(), answer.header("connection")), (200, "close"));
}

fn raw_request() -> Vec<u8> {
    let body = review("v1", large_pod());
    let head = format!(
        "POST /inject HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

// L-01: a request that crosses the end of its connection gets a response, and API servers retry it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_is_closed_with_an_answer_to_what_may_be_on_its_way() {
    let harness = start(injecting()).await;
    let mut stream = harness.tls("http/1.1").await;
    stream.write_all(&raw_request()).await.unwrap();
    let mut first = vec![0; 12];
    within(stream.read_exact(&mut first)).await.unwrap();
    assert_eq!(first, b"HTTP/1.1 200");
    harness.metric("outrigger_in_flight_requests", 0.0).await;
    harness.server.handle().shutdown();
    let address = harness.server.webhook_address();
    within(async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await
        }
    })
    .await;
    // A reset would make this fail, or lose the response.
    for _ in 0..8 {
        stream.write_all(&raw_request()).await.unwrap();
    }
    let answers = String::from_utf8(read_to_close(&mut stream).await).unwrap();
    let (_, last) = answers.split_once("HTTP/1.1 ").unwrap();
    assert!(last.starts_with("503 "), "{last}");
    assert!(last.contains("\r\nRetry-After: 0\r\n") && last.contains("\r\nConnection: close\r\n"), "{last}");
    drop(stream);
    assert!(within(harness.server.ended()).await);
}

// L-01
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_answer_said_that_it_is_closed_is_closed_without_a_word() {
    let (engine, gate) = gated();
    let harness = start(engine).await;
    let mut stream = harness.tls("http/1.1").await;
    stream.write_all(&raw_request()).await.unwrap();
    gate.wait_for(1).await;
    harness.server.handle().shutdown();
    gate.release.send(()).unwrap();
    let answers = String::from_utf8(read_to_close(&mut stream).await).unwrap();
    assert!(answers.starts_with("HTTP/1.1 200 ") && answers.contains("connection: close"), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
}

// N-06
#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let large = scripted(|_| {
        let value = "x".repeat(1 << 20);
        let json = format!(r#"[{{"op":"add","path":"/x","value":"{value}"}}]"#);
        Admission { patch: Some(Patch { json, operations: 1 }), ..injected(1) }
    });
    let harness = start_with(large, |options| options.timeouts.write = SOON).await;
    let body = review("v1", pod());
    let request = format!(
        "POST /inject HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = harness.tls("http/1.1").await;
    for _ in 0..32 {
        if stream.write_all(request.as_bytes()).await.is_err() || stream.write_all(&body).await.is_err() {
            break;
        }
    }
    let _ = stream.flush().await;
    harness.metric("outrigger_connections_timed_out_total{reason=\"write\"}", 1.0).await;
    harness.metric("outrigger_connections{listener=\"webhook\"}", 0.0).await;
}

// T-03, T-04
#[tokio::test]
async fn a_reload_takes_a_new_certificate_and_keeps_the_old_one_when_it_is_bad() {
    let mut harness = start(injecting()).await;
    let handle = harness.server.handle();
    let old = harness.roots.clone();

    std::fs::write(harness.folder.path().join("tls.crt"), "garbage").unwrap();
    let error = handle.reload().await.certificate.unwrap_err();
    assert!(error.contains("tls.crt"), "{error}");
    assert_eq!(harness.post("/inject", review("v1", pod())).await.status, 200);
    harness.metric("outrigger_tls_reload_total{result=\"error\"}", 1.0).await;

    let mut open = harness.http1().await;
    let new = write_certificate(harness.folder.path(), |_| {});
    handle.reload().await.certificate.unwrap();
    assert!(
        harness.connect(harness.client(b"http/1.1")).await.is_err(),
        "the old root is not enough any more"
    );
    let mut roots = rustls::RootCertStore::empty();
    roots.add(new).unwrap();
    harness.roots = Arc::new(roots);
    assert_eq!(harness.post("/inject", review("v1", pod())).await.status, 200);
    // Open connections are not affected.
    assert_eq!(within(open.send_request(post("/inject", review("v1", pod())))).await.unwrap().status(), 200);
    drop(old);
}

// T-01, T-02
#[tokio::test]
async fn readiness_says_what_is_wrong_with_the_certificate() {
    for (tune, wanted) in [
        (
            (|p| p.not_after = rcgen::date_time_ymd(2001, 1, 1)) as fn(&mut rcgen::CertificateParams),
            "expired on 2001-01-01T00:00:00Z, ",
        ),
        (|p| p.not_before = rcgen::date_time_ymd(4000, 1, 1), "becomes valid on 4000-01-01T00:00:00Z, in "),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path(), tune);
        let harness = start_with(injecting(), |options| options.certificate = files(&folder)).await;
        let answer = harness.admin("/readyz").await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 503, "{text}");
        assert!(text.contains("[-]certificate failed") && text.contains(wanted), "{text}");
        assert_eq!(harness.admin("/livez").await.status, 200);
    }
}

// T-01, T-02
#[tokio::test]
async fn a_reload_takes_no_certificate_that_is_not_valid_now() {
    type Tune = fn(&mut rcgen::CertificateParams);
    let expired: Tune = |p| p.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let not_yet: Tune = |p| p.not_before = rcgen::date_time_ymd(4000, 1, 1);
    let harness = start(injecting()).await;
    let handle = harness.server.handle();
    for (tune, why) in [(expired, "expired on 2001-01-01T"), (not_yet, "becomes valid on 4000-01-01T")] {
        write_certificate(harness.folder.path(), tune);
        let error = handle.reload().await.certificate.unwrap_err();
        assert!(error.contains(why), "{error}");
        harness.connect(harness.client(b"http/1.1")).await.unwrap();
        let answer = harness.admin("/readyz?verbose").await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let line = format!("[!]certificate the newest certificate was rejected: the certificate {why}");
        assert!(answer.status == 200 && text.contains(&line) && text.contains("(valid until "), "{text}");
    }
    // If the active one is also unusable, a usable one is accepted.
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), expired);
    let harness = start_with(injecting(), |options| options.certificate = files(&folder)).await;
    let handle = harness.server.handle();
    handle.reload().await.certificate.unwrap();
    write_certificate(folder.path(), not_yet);
    assert!(handle.reload().await.certificate.unwrap_err().contains("becomes valid on"));
    let text = String::from_utf8_lossy(&harness.admin("/readyz").await.body).into_owned();
    assert!(text.contains("[-]certificate failed: the certificate expired on 2001-01-01T"), "{text}");
    write_certificate(folder.path(), |_| {});
    handle.reload().await.certificate.unwrap();
    assert_eq!(harness.admin("/readyz").await.status, 200);
}

// T-02
#[tokio::test]
async fn a_certificate_that_becomes_valid_is_taken_then() {
    let mut harness = start_with(injecting(), |options| {
        options.pace.poll = Duration::from_millis(50);
        options.pace.quiet = Duration::from_millis(5);
    })
    .await;
    let handle = harness.server.handle();
    // Certificates count whole seconds.
    let soon = std::time::SystemTime::now() + Duration::from_millis(1_000);
    let new = write_certificate(harness.folder.path(), |p| p.not_before = soon.into());
    let _ = handle.reload().await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(new).unwrap();
    harness.roots = Arc::new(roots);
    within(async {
        while harness.connect(harness.client(b"http/1.1")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_self_signed_certificate_needs_no_files() {
    let mut options = options(injecting());
    options.certificate = Certificate::SelfSigned { names: vec!["x.test".to_owned(), "10.1.2.3".to_owned()] };
    let server = Server::start(options).await.unwrap();
    let harness = Harness {
        server,
        roots: Arc::new(rustls::RootCertStore::empty()),
        folder: tempfile::tempdir().unwrap(),
    };
    assert_eq!(harness.admin("/readyz").await.status, 200);
    let error = harness.connect(harness.client(b"h2")).await.unwrap_err().to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
}

// N-10
#[tokio::test]
async fn a_port_in_use_is_named() {
    let harness = start(injecting()).await;
    let mut options = options(injecting());
    options.listen = harness.server.webhook_address();
    let error = Server::start(options).await.err().unwrap().to_string();
    assert!(error.contains(&harness.server.webhook_address().to_string()), "{error}");
}

// N-09
#[tokio::test]
async fn an_unspecified_ipv6_address_takes_ipv4_too() {
    let harness = start_with(injecting(), |options| {
        options.listen = "[::]:0".parse().unwrap();
    })
    .await;
    let port = harness.server.webhook_address().port();
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
}
