//! Client certificates: every kind of rejection with its counted reason, and changes of the CA.

use std::{
    io,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use hyper::{
    StatusCode,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use outrigger::server::{
    Server, StartError,
    client_auth::{AllowedNames, CaSource, ConfigMapKey, Mode, Options},
};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, SanType};
use rustls::{
    HandshakeKind,
    version::{TLS12, TLS13},
};
use tokio::io::AsyncWriteExt;

use super::{client_identity::*, support::*};

/// A caller: its description, its certificate, and the reason and alert of its rejection.
type Case = (&'static str, Option<Identity>, Option<(&'static str, &'static str)>);

/// Every cell of the matrix, for the CA `ca`.
fn cases(ca: &Ca) -> Vec<Case> {
    let by = |certificate: Identity| Some(certificate);
    let san = |name: &str| vec![SanType::DnsName(name.try_into().unwrap())];
    let past = |parameters: &mut CertificateParams| {
        parameters.not_before = (SystemTime::now() - 2 * HOUR).into();
        parameters.not_after = (SystemTime::now() - HOUR).into();
    };
    let future = |parameters: &mut CertificateParams| {
        parameters.not_before = (SystemTime::now() + HOUR).into();
        parameters.not_after = (SystemTime::now() + 2 * HOUR).into();
    };
    let intermediate = ca.below("an intermediate CA");
    let mut chained = intermediate.client(CALLER);
    chained.chain.push(intermediate.der.clone());
    let unchained = intermediate.client(CALLER);
    // The same name with a different key: a CA that was created anew.
    let twin = Ca::new("callers");
    let alternative =
        |sans: Vec<SanType>| ca.client_with("x", |parameters| parameters.subject_alt_names = sans);
    vec![
        ("the common name", by(ca.client(CALLER)), None),
        ("a DNS name", by(alternative(san(CALLER))), None),
        ("a URI", by(alternative(vec![SanType::URI("somebody".try_into().unwrap())])), None),
        ("an intermediate CA", by(chained), None),
        ("no extendedKeyUsage", by(ca.client_with(CALLER, |p| p.extended_key_usages.clear())), None),
        ("nothing", None, Some(("no_certificate", "CertificateRequired"))),
        ("another CA", by(Ca::new("others").client(CALLER)), Some(("unknown_ca", "UnknownCA"))),
        ("a CA of the same name", by(twin.client(CALLER)), Some(("unknown_ca", "UnknownCA"))),
        ("a missing intermediate CA", by(unchained), Some(("unknown_ca", "UnknownCA"))),
        ("another name", by(ca.client("kubelet")), Some(("name", "AccessDenied"))),
        ("a longer name", by(ca.client(&format!("{CALLER}.evil"))), Some(("name", "AccessDenied"))),
        ("a pattern", by(alternative(san("*.example"))), Some(("name", "AccessDenied"))),
        ("the past", by(ca.client_with(CALLER, past)), Some(("expired", "CertificateExpired"))),
        ("the future", by(ca.client_with(CALLER, future)), Some(("not_yet_valid", "CertificateExpired"))),
        (
            "a server",
            by(ca.client_with(CALLER, |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])),
            Some(("purpose", "UnsupportedCertificate")),
        ),
    ]
}

// T-11
#[tokio::test]
async fn t_11_require_refuses_the_handshake_of_whoever_is_not_known() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("callers"));
    std::fs::write(folder.path().join("ca.crt"), &ca.pem).unwrap();
    for (version, alpn) in [(&TLS13, "http/1.1"), (&TLS13, "h2"), (&TLS12, "http/1.1"), (&TLS12, "h2")] {
        let harness = authenticating(by_certificate(Mode::Require, folder.path())).await;
        let mut failed = 0.0;
        for (what, identity, refusal) in cases(&ca) {
            let config = harness.identified(version, identity.as_ref());
            let before = harness.metrics().await;
            match (harness.call_as(config, alpn, None).await, refusal) {
                (Ok(answer), None) => assert_eq!(answer.status, 200, "{what}"),
                (Err(error), Some((reason, alert))) => {
                    assert!(error.contains(&format!("fatal alert: {alert}")), "{alpn}: {what}: {error}");
                    failed += 1.0;
                    let so_far = before.get(&refused(reason)).copied().unwrap_or_default();
                    harness.metric(&refused(reason), so_far + 1.0).await;
                }
                (found, wanted) => panic!("{alpn}: {what}: {found:?}, wanted {wanted:?}"),
            }
        }
        harness.metric("outrigger_tls_handshake_errors_total{reason=\"client_certificate\"}", failed).await;
        // No client got as far as a request.
        assert_eq!(harness.metrics().await["sidecar_injection_requests_total"], 5.0);
        // Probes and metrics are on another port.
        for path in ["/livez", "/readyz", "/startupz", "/metrics"] {
            assert_eq!(harness.admin(path).await.status, 200, "{path}");
        }
    }
}

// T-11
#[tokio::test]
async fn t_11_request_refuses_nobody_and_counts_whom_require_would_refuse() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("callers"));
    std::fs::write(folder.path().join("ca.crt"), &ca.pem).unwrap();
    let harness = authenticating(by_certificate(Mode::Request, folder.path())).await;
    for (version, alpn) in [(&TLS13, "http/1.1"), (&TLS12, "h2")] {
        for (what, identity, refusal) in cases(&ca) {
            let before: f64 = harness.auth_failures().await.iter().map(|(_, count)| count).sum();
            let name = refusal.map(|(reason, _)| admitted(reason));
            let of_reason = async || match &name {
                Some(name) => harness.metrics().await.get(name).copied().unwrap_or_default(),
                None => 0.0,
            };
            let reason_before = of_reason().await;
            let config = harness.identified(version, identity.as_ref());
            let answer =
                harness.call_as(config, alpn, None).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(answer.status, 200, "{what}");
            let after: f64 = harness.auth_failures().await.iter().map(|(_, count)| count).sum();
            let expected = if refusal.is_some() { 1.0 } else { 0.0 };
            assert_eq!(after - before, expected, "{alpn}: {what}");
            assert_eq!(of_reason().await - reason_before, expected, "{alpn}: {what}");
        }
    }
    let metrics = harness.metrics().await;
    assert!(!metrics.contains_key("outrigger_tls_handshake_errors_total{reason=\"client_certificate\"}"));
}

#[tokio::test]
async fn none_asks_for_nothing() {
    let harness = start(injecting()).await;
    let stray = Ca::new("callers").client(CALLER);
    for identity in [None, Some(&stray)] {
        let answer = harness.call_as(harness.identified(&TLS13, identity), "http/1.1", None).await.unwrap();
        assert_eq!(answer.status, 200);
    }
    let names: Vec<_> = harness.metrics().await.into_keys().collect();
    assert!(
        !names.iter().any(|name| name.contains("client_auth") || name.contains("client_ca")),
        "{names:?}"
    );
}

// T-12
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t_12_a_rotated_ca_fails_no_request() {
    let (folder, old, new) = (tempfile::tempdir().unwrap(), Ca::new("callers"), Ca::new("callers"));
    put(folder.path(), "ca.crt", &old.pem);
    let harness = Arc::new(authenticating(by_certificate(Mode::Require, folder.path())).await);
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    // Like API servers: each uses the certificate that it was configured with last.
    let presented = Arc::new(std::sync::Mutex::new(old.client(CALLER)));
    let clients: Vec<_> = ["http/1.1", "h2"]
        .into_iter()
        .map(|alpn| {
            let (harness, stop, answered, presented) =
                (harness.clone(), stop.clone(), answered.clone(), presented.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let identity = presented.lock().unwrap().clone();
                    let config = harness.identified(&TLS13, Some(&identity));
                    assert_eq!(harness.call_as(config, alpn, None).await.unwrap().status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let loaded = |count: f64| {
        let harness = harness.clone();
        async move {
            harness.metric("outrigger_client_auth_reload_total{what=\"ca\",result=\"success\"}", count).await;
        }
    };
    let some_more = async || {
        let before = answered.load(Ordering::Relaxed);
        within(async {
            while answered.load(Ordering::Relaxed) < before + 20 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    some_more().await;
    put(folder.path(), "ca.crt", &format!("{}{}", old.pem, new.pem));
    loaded(2.0).await;
    some_more().await;
    *presented.lock().unwrap() = new.client(CALLER);
    some_more().await;
    put(folder.path(), "ca.crt", &new.pem);
    loaded(3.0).await;
    some_more().await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        within(client).await.unwrap();
    }
    assert_eq!(harness.auth_failures().await, []);
    let error =
        harness.call_as(harness.identified(&TLS13, Some(&old.client(CALLER))), "h2", None).await.unwrap_err();
    assert!(error.contains("UnknownCA"), "{error}");
}

// T-12: open connections end with the CA, too.
#[tokio::test]
async fn t_12_a_ca_that_is_gone_ends_open_connections_at_their_next_request() {
    let (folder, old, new) = (tempfile::tempdir().unwrap(), Ca::new("old"), Ca::new("new"));
    put(folder.path(), "ca.crt", &old.pem);
    let harness = authenticating(by_certificate(Mode::Require, folder.path())).await;
    let mut config = harness.identified(&TLS13, Some(&old.client(CALLER)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = harness.connect(config).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let answer = within(sender.send_request(post("/inject", review("v1", pod())))).await.unwrap();
    assert_eq!(Answer::read(answer).await.status, 200);
    put(folder.path(), "ca.crt", &new.pem);
    assert_eq!(harness.server.handle().reload().await.client_auth, Ok(()));
    // A request that crosses the end of the connection gets a response that asks for a retry, as on shutdown.
    if let Ok(answer) = within(sender.send_request(post("/inject", review("v1", pod())))).await {
        let answer = Answer::read(answer).await;
        assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "0"));
        assert_eq!(answer.header("connection"), "close");
    }
    let _ = within(connection).await.unwrap();
    harness.metric("outrigger_connections{listener=\"webhook\"}", 0.0).await;
}

/// If nothing can close the connection, requests are rejected nevertheless.
#[tokio::test]
async fn t_12_a_ca_that_is_gone_refuses_streams_of_open_connections() {
    let (folder, old, new) = (tempfile::tempdir().unwrap(), Ca::new("old"), Ca::new("new"));
    put(folder.path(), "ca.crt", &old.pem);
    let (engine, gate) = gated();
    let harness =
        start_with(engine, |all| all.client_auth = by_certificate(Mode::Require, folder.path())).await;
    let mut config = harness.identified(&TLS13, Some(&old.client(CALLER)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TokioIo::new(harness.connect(config).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    // A request in progress keeps the connection open, and gets its response.
    let first = sender.send_request(post("/inject", review("v1", large_pod())));
    let first = tokio::spawn(first);
    gate.wait_for(1).await;
    put(folder.path(), "ca.crt", &new.pem);
    assert_eq!(harness.server.handle().reload().await.client_auth, Ok(()));
    if let Ok(answer) = within(sender.send_request(post("/inject", review("v1", pod())))).await {
        let answer = Answer::read(answer).await;
        assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
        assert_eq!(answer.json()["kind"], "Status");
        harness.metric(&refused("unknown_ca"), 1.0).await;
        let metrics = harness.metrics().await;
        assert_eq!(metrics["outrigger_requests_total{outcome=\"error\",reason=\"UNAUTHENTICATED\"}"], 1.0);
    }
    gate.release.send(()).unwrap();
    let answer = within(first).await.unwrap().unwrap();
    assert_eq!(Answer::read(answer).await.status, 200);
    drop(sender);
    within(connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_certificate_that_expires_ends_its_connection() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("callers"));
    put(folder.path(), "ca.crt", &ca.pem);
    let harness = authenticating(by_certificate(Mode::Require, folder.path())).await;
    let short = ca.client_with(CALLER, |p| p.not_after = (SystemTime::now() + Duration::from_secs(2)).into());
    let mut config = harness.identified(&TLS13, Some(&short));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = harness.connect(config).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut good = 0;
    let until_closed = async {
        while let Ok(answer) = within(sender.send_request(post("/inject", review("v1", pod())))).await {
            match Answer::read(answer).await.status.as_u16() {
                200 => good += 1,
                // It crossed the end of the connection.
                status => assert_eq!(status, 503),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(until_closed).await;
    assert!(good > 0);
    let error =
        harness.call_as(harness.identified(&TLS13, Some(&short)), "http/1.1", None).await.unwrap_err();
    assert!(error.contains("CertificateExpired"), "{error}");
}

// A resumed session carries a certificate that was verified by the CAs of its time.
#[tokio::test]
async fn sessions_are_not_resumed_where_certificates_are_asked_for() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("callers"));
    put(folder.path(), "ca.crt", &ca.pem);
    for mode in [Mode::Request, Mode::Require] {
        let harness = authenticating(by_certificate(mode, folder.path())).await;
        for version in [&TLS12, &TLS13] {
            let config = harness.identified(version, Some(&ca.client(CALLER)));
            for _ in 0..2 {
                let mut stream = harness.connect(config.clone()).await.unwrap();
                stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
                assert!(read_to_close(&mut stream).await.starts_with(b"HTTP/1.1 404"));
                let kind = stream.get_ref().1.handshake_kind();
                assert!(
                    kind.is_some() && kind != Some(HandshakeKind::Resumed),
                    "{mode:?} {version:?}: {kind:?}"
                );
            }
        }
    }
}

/// Texts that are not a CA for callers, with a part of the error message.
fn bad_cas(good: &Ca) -> Vec<(String, &'static str)> {
    let leaf = good.client(CALLER).pem;
    let expired = Ca::tuned("of old", |parameters| {
        parameters.not_before = rcgen::date_time_ymd(2000, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2001, 1, 1);
    });
    let key = KeyPair::generate().unwrap().serialize_pem();
    vec![
        (String::new(), "found no certificate"),
        ("garbage".to_owned(), "found no certificate"),
        (good.pem[..good.pem.len() / 2].to_owned(), "found a broken block CERTIFICATE"),
        (format!("{}{}", good.pem, &good.pem[..60]), "found a broken block CERTIFICATE"),
        (format!("{}{key}", good.pem), "found a private key"),
        (leaf.clone(), "is not a CA certificate (CN=apiserver-webhook-client)"),
        (format!("{}{leaf}", good.pem), "is not a CA certificate"),
        (expired.pem, "found no CA that has not expired (the last one was valid until 2001-01-01T00:00:00Z)"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), "is not X.509"),
        ("x".repeat((1 << 20) + 1), "expected at most 1048576"),
    ]
}

// T-12
#[tokio::test]
async fn t_12_a_bad_ca_is_refused_at_the_start_and_keeps_the_last_good_one_later() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("callers"));
    put(folder.path(), "ca.crt", &ca.pem);
    let harness = authenticating(by_certificate(Mode::Require, folder.path())).await;
    let config = || harness.identified(&TLS13, Some(&ca.client(CALLER)));
    let good = async || {
        assert_eq!(harness.call_as(config(), "http/1.1", None).await.unwrap().status, 200);
        let (status, text) = harness.readyz_verbose().await;
        (
            status,
            text.lines().find(|line| line[3..].starts_with("client-auth ")).unwrap_or_default().to_owned(),
        )
    };
    let (status, line) = good().await;
    assert!(status == 200 && line.starts_with("[+]client-auth ok: CN=callers (valid until "), "{line}");
    for (index, (text, found)) in bad_cas(&ca).into_iter().enumerate() {
        put(folder.path(), "ca.crt", &text);
        let error = harness.server.handle().reload().await.client_auth.unwrap_err();
        assert!(
            error.contains(found) && error.contains("ca.crt: ") && error.contains("accepted "),
            "{error}"
        );
        let (status, line) = good().await;
        assert_eq!(status, 200, "a refused reload takes no replica out of service");
        assert!(line.starts_with("[!]client-auth the newest client CA was rejected: "), "{line}");
        // Both SIGHUP and the file watch may have read it.
        let failed =
            harness.metrics().await["outrigger_client_auth_reload_total{what=\"ca\",result=\"error\"}"];
        assert!(failed > index as f64, "{failed}");

        let mut options = options(injecting());
        options.client_auth = by_certificate(Mode::Require, folder.path());
        match Server::start(options).await {
            Err(StartError::ClientAuth(error)) => assert!(error.to_string().contains(found), "{error}"),
            other => panic!("{found}: {:?}", other.err()),
        }
    }
    std::fs::remove_file(folder.path().join("ca.crt")).unwrap();
    assert!(harness.server.handle().reload().await.client_auth.unwrap_err().contains("No such file"));
    good().await;
    put(folder.path(), "ca.crt", &ca.pem);
    assert_eq!(harness.server.handle().reload().await.client_auth, Ok(()));
    let (_, line) = good().await;
    assert!(line.starts_with("[+]client-auth ok"), "{line}");
}

// Trust starts and ends with the CA.
#[tokio::test]
async fn a_ca_is_trusted_while_it_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let in_seconds = |seconds: u64| SystemTime::now() + Duration::from_secs(seconds);
    let ending = Ca::tuned("ending", |parameters| parameters.not_after = in_seconds(2).into());
    let coming = Ca::tuned("coming", |parameters| parameters.not_before = in_seconds(2).into());
    put(folder.path(), "ca.crt", &format!("{}{}", ending.pem, coming.pem));
    let harness = authenticating(by_certificate(Mode::Require, folder.path())).await;
    let passes = async |ca: &Ca| {
        let config = harness.identified(&TLS13, Some(&ca.client(CALLER)));
        harness.call_as(config, "http/1.1", None).await.is_ok()
    };
    assert!(passes(&ending).await);
    assert!(!passes(&coming).await);
    let turned = async {
        while !passes(&coming).await || passes(&ending).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(turned).await;
}

// A CA that also signs users' and components' certificates does not make their owners API servers.
#[tokio::test]
async fn a_ca_of_the_whole_cluster_needs_names() {
    let (folder, cluster, own) = (tempfile::tempdir().unwrap(), Ca::new("kubernetes"), Ca::new("own"));
    put(folder.path(), "cluster-ca.crt", &cluster.pem);
    let any = || Options {
        mode: Mode::Require,
        certificates: Some(certificates(folder.path(), AllowedNames::Any)),
        token_file: None,
    };
    let started = async |client_auth: Options| {
        let mut options = options(injecting());
        options.client_auth = client_auth;
        Server::start(options).await.map(drop).map_err(|error| error.to_string())
    };
    put(folder.path(), "ca.crt", &cluster.pem);
    let error = started(any()).await.unwrap_err();
    assert!(error.contains("expected names in --client-allowed-names"), "{error}");
    assert_eq!(started(by_certificate(Mode::Require, folder.path())).await, Ok(()));
    let mut published = any();
    if let Some(certificates) = &mut published.certificates {
        certificates.ca = CaSource::ConfigMap(ConfigMapKey {
            namespace: "kube-system".to_owned(),
            name: "extension-apiserver-authentication".to_owned(),
            key: "requestheader-client-ca-file".to_owned(),
        });
    }
    let error = started(published).await.unwrap_err();
    assert!(error.contains("expected names in --client-allowed-names"), "{error}");

    put(folder.path(), "ca.crt", &own.pem);
    let harness = authenticating(any()).await;
    let stranger = own.client("whatever");
    assert_eq!(
        harness.call_as(harness.identified(&TLS13, Some(&stranger)), "h2", None).await.unwrap().status,
        200
    );
    put(folder.path(), "ca.crt", &format!("{}{}", own.pem, cluster.pem));
    let error = harness.server.handle().reload().await.client_auth.unwrap_err();
    assert!(error.contains("expected names in --client-allowed-names"), "{error}");
    let user = cluster.client("jane");
    assert!(harness.call_as(harness.identified(&TLS13, Some(&user)), "h2", None).await.is_err());
}

/// The flags, from outside.
#[test]
fn a_process_says_what_is_wrong_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    put(folder.path(), "bad.crt", "garbage");
    let run = |flags: &[String]| -> io::Result<(Option<i32>, String)> {
        let output = Command::new(env!("CARGO_BIN_EXE_outrigger"))
            .args(["serve", "--standalone", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0"])
            .args(flags)
            .env_remove("RUST_LOG")
            .output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let require = "--client-auth=require".to_owned();
    let names = "--client-allowed-names=x".to_owned();
    for (flags, code, found) in [
        (vec![require.clone()], 64, "--client-auth needs --client-ca-file"),
        (
            vec![require.clone(), format!("--client-ca-file={}", file("bad.crt"))],
            64,
            "--client-allowed-names is required",
        ),
        (
            vec![require.clone(), names.clone(), format!("--client-ca-file={}", file("bad.crt"))],
            65,
            "bad.crt: found no certificate",
        ),
        (
            vec![require.clone(), names, format!("--client-ca-file={}", file("none.crt"))],
            65,
            "none.crt: No such file",
        ),
        (vec![require, format!("--client-token-file={}", file("none"))], 65, "none: No such file"),
    ] {
        let (ended, text) = run(&flags).unwrap();
        assert_eq!(ended, Some(code), "{flags:?}: {text}");
        assert!(text.lines().any(|line| line.starts_with("error: ") && line.contains(found)), "{text}");
    }
}
