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
    configuration::Configuration,
    metrics::{self, Metrics},
    shutdown::{Phase, Watch},
    tls::{CertificateStore, unix_now},
};

/// What the port shows.
pub(crate) struct Admin {
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) certificate: Arc<CertificateStore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) phase: Watch,
}

/// One line of `/readyz?verbose`.
struct Check {
    name: &'static str,
    problem: Option<String>,
    detail: String,
}

impl Admin {
    /// The routes of the port.
    pub(crate) fn router(self: Arc<Self>) -> Router {
        Router::new()
            // Depends on nothing: whoever can answer lives.
            .route("/livez", get(async || "ok\n"))
            // The port opens after the first complete configuration is in use, so this is always so.
            .route("/startupz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/metrics", get(show_metrics))
            .fallback(async || {
                (StatusCode::NOT_FOUND, "there is /livez, /readyz, /startupz and /metrics here\n")
            })
            .with_state(self)
    }

    fn checks(&self) -> [Check; 3] {
        let active = self.configuration.current();
        let expired = self.certificate.validity().problem(unix_now());
        let stopping = self.phase.now() > Phase::Serving;
        [
            Check {
                name: "config",
                problem: None,
                detail: format!("generation {} hash {}", active.generation, active.engine.hash()),
            },
            Check {
                name: "certificate",
                problem: expired.map(|problem| problem.to_string()),
                detail: String::new(),
            },
            Check {
                name: "shutting-down",
                problem: stopping.then(|| "the server is shutting down".to_owned()),
                detail: String::new(),
            },
        ]
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
    for Check { name, problem, detail } in checks {
        // Writing to a String does not fail.
        let _ = match problem {
            None if detail.is_empty() => writeln!(text, "[+]{name} ok"),
            None => writeln!(text, "[+]{name} ok: {detail}"),
            Some(problem) => writeln!(text, "[-]{name} failed: {problem}"),
        };
    }
    text.push_str(if ready { "readyz check passed\n" } else { "readyz check failed\n" });
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text).into_response()
}

async fn show_metrics(State(admin): State<Arc<Admin>>) -> Response {
    match admin.metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "cannot write the metrics\n").into_response(),
    }
}
