//! The admin port: probes and metrics, in plain HTTP, on a thread of its own.
//!
//! A thread of its own so that a worker busy with a pod never delays a probe, and a port of its own so
//! that probes work whatever is asked of clients on the webhook's port.

use std::{fmt::Write, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{RawQuery, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{
    metrics::{self, Metrics},
    readiness::{self, Readiness},
    shutdown::{Phase, Watch},
    telemetry::Filter,
    tls::{CertificateStore, unix_now},
};

/// What the port shows.
pub(crate) struct Admin {
    pub(crate) readiness: Readiness,
    pub(crate) certificate: Arc<CertificateStore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) phase: Watch,
    pub(crate) log_filter: Option<Filter>,
}

/// Longest filter that is read.
const FILTER_BYTES: usize = 1024;

/// Name of the gate that opens with the first certificate.
pub(crate) const CERTIFICATE: &str = "certificate";

/// One line of `/readyz?verbose`.
struct Check {
    name: &'static str,
    problem: Option<String>,
    detail: String,
    /// What is wrong without keeping requests from being served.
    remark: Option<String>,
}

impl Admin {
    /// The routes of the port.
    pub(crate) fn router(self: Arc<Self>) -> Router {
        self.routes(Router::new())
    }

    /// The routes for peers on this very machine or in this very pod: they may change something.
    pub(crate) fn near_router(self: Arc<Self>) -> Router {
        self.routes(Router::new().route("/loglevel", get(show_log_filter).put(set_log_filter)))
    }

    fn routes(self: Arc<Self>, router: Router<Arc<Self>>) -> Router {
        router
            // Depends on nothing: whoever can answer lives.
            .route("/livez", get(async || "ok\n"))
            .route("/startupz", get(started))
            .route("/readyz", get(ready))
            .route("/metrics", get(show_metrics))
            .fallback(async || {
                (StatusCode::NOT_FOUND, "there is /livez, /readyz, /startupz and /metrics here\n")
            })
            .with_state(self)
    }

    fn checks(&self) -> Vec<Check> {
        let expired = self.certificate.validity().and_then(|validity| validity.problem(unix_now()));
        let mut checks: Vec<Check> = self.readiness.states().into_iter().map(Check::gate).collect();
        for check in checks.iter_mut().filter(|check| check.name == CERTIFICATE) {
            // Unlike what happens to the API server, an expired certificate does keep requests from being served.
            check.problem = check.problem.take().or_else(|| expired.map(|problem| problem.to_string()));
        }
        let stopping = self.phase.now() > Phase::Serving;
        checks.push(Check {
            name: "shutting-down",
            problem: stopping.then(|| "the server is shutting down".to_owned()),
            detail: String::new(),
            remark: None,
        });
        checks
    }
}

impl Check {
    fn gate((name, state): (&'static str, readiness::State)) -> Check {
        let readiness::State { open, problem, detail } = state;
        match problem {
            Some(problem) if open => Check { name, problem: None, detail, remark: Some(problem) },
            problem => Check { name, problem, detail, remark: None },
        }
    }
}

async fn show_log_filter(State(admin): State<Arc<Admin>>) -> Response {
    match &admin.log_filter {
        Some(filter) => format!("{}\n", filter.show()).into_response(),
        None => (StatusCode::NOT_FOUND, "the log's filter is not ours to change\n").into_response(),
    }
}

async fn set_log_filter(State(admin): State<Arc<Admin>>, body: Bytes) -> Response {
    let text = std::str::from_utf8(&body).map(str::trim).unwrap_or("\0");
    let accepted =
        "accepted is a filter such as info or info,outrigger=debug, or nothing for that of the start";
    match &admin.log_filter {
        None => show_log_filter(State(admin)).await,
        Some(_) if body.len() > FILTER_BYTES => {
            (StatusCode::PAYLOAD_TOO_LARGE, format!("the filter is longer than {FILTER_BYTES} bytes\n"))
                .into_response()
        }
        Some(filter) => match filter.set(text) {
            Ok(()) => {
                tracing::warn!(filter = filter.show(), "the log has another filter now");
                show_log_filter(State(admin)).await
            }
            Err(error) => (StatusCode::BAD_REQUEST, format!("{error}; {accepted}\n")).into_response(),
        },
    }
}

/// `/readyz`, with a line for each check under `?verbose` and whenever one fails, as Kubernetes' own servers do.
async fn ready(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Response {
    let checks = admin.checks();
    let ready = checks.iter().all(|check| check.problem.is_none());
    let verbose = query
        .is_some_and(|query| query.split('&').any(|pair| pair == "verbose" || pair.starts_with("verbose=")));
    if ready && !verbose {
        return "ok\n".into_response();
    }
    let mut text = String::new();
    for Check { name, problem, detail, remark } in checks {
        // Writing to a String does not fail.
        let _ = match problem {
            None if detail.is_empty() => writeln!(text, "[+]{name} ok"),
            None => writeln!(text, "[+]{name} ok: {detail}"),
            Some(problem) => writeln!(text, "[-]{name} failed: {problem}"),
        };
        if let Some(remark) = remark {
            let _ = writeln!(text, "[!]{name} {remark}");
        }
    }
    text.push_str(if ready { "readyz check passed\n" } else { "readyz check failed\n" });
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text).into_response()
}

/// Whether every gate was passed once: unlike `/readyz` it never falls back.
async fn started(State(admin): State<Arc<Admin>>) -> Response {
    let waiting: Vec<_> = admin.readiness.states().into_iter().filter(|(_, state)| !state.open).collect();
    if waiting.is_empty() {
        return "ok\n".into_response();
    }
    let text: String = waiting
        .into_iter()
        .map(|(name, state)| format!("[-]{name} failed: {}\n", state.problem.unwrap_or_default()))
        .collect();
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn show_metrics(State(admin): State<Arc<Admin>>) -> Response {
    match admin.metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "cannot write the metrics\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{Method, Request},
    };
    use tower::ServiceExt;

    use super::*;
    use crate::server::{
        shutdown::Control,
        telemetry::{self, Format, Lines},
    };

    fn admin(log_filter: Option<Filter>) -> Arc<Admin> {
        let (readiness, metrics) = (Readiness::default(), Arc::new(Metrics::new(Default::default())));
        let certificate = CertificateStore::new(readiness.gate(CERTIFICATE, ""), metrics.clone()).unwrap();
        let phase = Control::new().watch();
        Arc::new(Admin { readiness, certificate: Arc::new(certificate), metrics, phase, log_filter })
    }

    async fn answer(router: Router, method: Method, body: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri("/loglevel").body(Body::from(body.to_owned()));
        let response = router.oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_log_filter_is_changed_from_near_and_from_nowhere_else() {
        let lines = Lines::start(std::io::sink(), Default::default()).unwrap();
        let (_subscriber, filter) = telemetry::adjustable(Format::Json, "warn", lines).unwrap();
        let admin = admin(Some(filter));
        let put = async |router: Router, body: &str| answer(router, Method::PUT, body).await;
        assert_eq!(put(admin.clone().router(), "debug").await.0, StatusCode::NOT_FOUND);
        let shown = answer(admin.clone().near_router(), Method::GET, "").await.1;
        assert!(shown.contains("warn") && shown.contains("kube_client=off"), "{shown}");
        let (status, text) = put(admin.clone().near_router(), " info,outrigger=debug\n").await;
        assert_eq!(status, StatusCode::OK, "{text}");
        assert!(text.contains("outrigger=debug") && text.contains("info"), "{text}");
        for nonsense in ["outrigger=loud", "\0", "[{"] {
            let (status, text) = put(admin.clone().near_router(), nonsense).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{nonsense:?}");
            assert!(text.contains("accepted is a filter"), "{text}");
        }
        assert_eq!(
            put(admin.clone().near_router(), &"a".repeat(2000)).await.0,
            StatusCode::PAYLOAD_TOO_LARGE
        );
        assert!(answer(admin.clone().near_router(), Method::GET, "").await.1.contains("outrigger=debug"));
        assert_eq!(put(admin.near_router(), "").await, (StatusCode::OK, shown));
    }

    #[tokio::test]
    async fn a_log_of_somebody_else_is_left_alone() {
        for method in [Method::GET, Method::PUT] {
            assert_eq!(answer(admin(None).near_router(), method, "debug").await.0, StatusCode::NOT_FOUND);
        }
    }
}
