//! The admin port: probes and metrics, in plain HTTP, on a thread of its own.
//!
//! A thread of its own so that a worker busy with a pod never delays a probe, and a port of its own so
//! that probes work whatever is asked of clients on the webhook's port.

use std::{fmt::Write, sync::Arc};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{
    metrics::{self, Metrics},
    readiness::{self, Readiness},
    shutdown::{Phase, Watch},
    tls::{CertificateStore, unix_now},
};

/// What the port shows.
pub(crate) struct Admin {
    pub(crate) readiness: Readiness,
    pub(crate) certificate: Arc<CertificateStore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) phase: Watch,
}

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
        Router::new()
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
