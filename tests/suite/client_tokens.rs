//! Authentication of callers by bearer token.

use std::path::PathBuf;

use http_body_util::Full;
use hyper::{Request, StatusCode};
use outrigger::server::{
    Server, StartError,
    client_auth::{Mode, Options},
};
use rustls::version::TLS13;

use super::{client_identity::*, support::*};

const TOKEN: &str = "canary-1-0123456789abcdef";
const NEXT_TOKEN: &str = "canary-2-0123456789abcdef";

#[tokio::test]
async fn a_token_is_asked_for_and_told_to_nobody() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "tokens", &format!("{TOKEN}\n"));
    let harness = authenticating(by_token(Mode::Require, folder.path())).await;
    let ask = async |token: Option<&str>, alpn: &str| {
        harness.call_as(harness.identified(&TLS13, None), alpn, token).await.unwrap()
    };
    for alpn in ["http/1.1", "h2"] {
        assert_eq!(ask(Some(TOKEN), alpn).await.status, 200);
        for token in [None, Some("canary-1-0123456789abcdeF"), Some("canary-1-0123456789abcde"), Some("")] {
            let answer = ask(token, alpn).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{token:?}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            assert_eq!(answer.json()["reason"], "Unauthorized");
            assert!(!String::from_utf8_lossy(&answer.body).contains("canary"));
        }
    }
    assert_eq!(harness.metrics().await[&refused("no_token")], 4.0);
    assert_eq!(harness.metrics().await[&refused("wrong_token")], 4.0);
    // Other paths reveal nothing more to an unauthenticated client.
    let stranger =
        harness.send(Request::get("/metrics").header("host", "x").body(Full::default()).unwrap()).await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);

    // While the API server switches to a new one, both are accepted.
    put(folder.path(), "tokens", &format!("{TOKEN}\n{NEXT_TOKEN}\n"));
    assert_eq!(harness.server.handle().reload().await.client_auth, Ok(()));
    assert_eq!(ask(Some(TOKEN), "h2").await.status, 200);
    assert_eq!(ask(Some(NEXT_TOKEN), "h2").await.status, 200);
    put(folder.path(), "tokens", NEXT_TOKEN);
    assert_eq!(harness.server.handle().reload().await.client_auth, Ok(()));
    assert_eq!(ask(Some(TOKEN), "h2").await.status, StatusCode::UNAUTHORIZED);
    for bad in ["", "short", "with a blank in its midst"] {
        put(folder.path(), "tokens", bad);
        let error = harness.server.handle().reload().await.client_auth.unwrap_err();
        assert!(error.contains("tokens: ") && !error.contains("midst"), "{error}");
        assert_eq!(ask(Some(NEXT_TOKEN), "h2").await.status, 200, "the last good ones stay");
        let (status, text) = harness.readyz_verbose().await;
        assert!(
            status == 200 && text.contains("[!]client-auth the newest client tokens were rejected"),
            "{text}"
        );
        let mut options = options(injecting());
        options.client_auth = by_token(Mode::Require, folder.path());
        assert!(matches!(Server::start(options).await, Err(StartError::ClientAuth(_))));
    }
    let (_, text) = harness.readyz_verbose().await;
    assert!(!text.contains("canary"), "{text}");
}

#[tokio::test]
async fn where_both_are_configured_both_are_needed() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("callers"));
    put(folder.path(), "ca.crt", &ca.pem);
    put(folder.path(), "tokens", TOKEN);
    let both = |mode| {
        let token_file: Option<PathBuf> = Some(folder.path().join("tokens"));
        Options { token_file, ..by_certificate(mode, folder.path()) }
    };
    let harness = authenticating(both(Mode::Require)).await;
    let own = ca.client(CALLER);
    let ask = async |identity: Option<&Identity>, token: Option<&str>| {
        harness
            .call_as(harness.identified(&TLS13, identity), "h2", token)
            .await
            .map(|answer| answer.status.as_u16())
    };
    assert_eq!(ask(Some(&own), Some(TOKEN)).await, Ok(200));
    assert_eq!(ask(Some(&own), None).await, Ok(401));
    assert!(ask(None, Some(TOKEN)).await.unwrap_err().contains("CertificateRequired"));
    let harness = authenticating(both(Mode::Request)).await;
    let config = harness.identified(&TLS13, Some(&own));
    assert_eq!(harness.call_as(config, "h2", None).await.unwrap().status, 200);
    assert_eq!(harness.metrics().await[&admitted("no_token")], 1.0);
}

// What docs/security.md says of the webhook's port to somebody who is not known.
#[tokio::test]
async fn strangers_learn_no_version_no_names_and_no_files_on_the_webhooks_port() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "tokens", TOKEN);
    let open = start(injecting()).await;
    let closed = authenticating(by_token(Mode::Require, folder.path())).await;
    let get = |path: &str| Request::get(path).header("host", "x").body(Full::default()).unwrap();
    for (harness, statuses) in [(&open, [404, 404, 405, 400, 400, 200]), (&closed, [401; 6])] {
        let mut bodies = std::collections::BTreeSet::new();
        for (request, status) in [
            get("/"),
            get("/metrics"),
            get("/inject"),
            post("/inject", "garbage"),
            post("/inject/FOO=1/x", review("v1", pod())),
            post("/inject", review("v1", pod())),
        ]
        .into_iter()
        .zip(statuses)
        {
            let answer = harness.send(request).await;
            assert_eq!(answer.status.as_u16(), status);
            let usual = ["allow", "connection", "content-length", "content-type", "date", "www-authenticate"];
            for name in answer.headers.keys() {
                assert!(usual.contains(&name.as_str()), "{name}");
            }
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let file = folder.path().display().to_string();
            for secret in [env!("CARGO_PKG_VERSION"), file.as_str(), TOKEN, "tls.crt"] {
                assert!(!text.contains(secret), "{secret}: {text}");
            }
            bodies.insert(text);
        }
        // To a stranger all paths and requests are one.
        assert!(statuses.contains(&200) || bodies.len() == 1, "{bodies:?}");
    }
}
