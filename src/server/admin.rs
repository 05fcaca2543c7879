//! The admin port: probes and metrics, in plain HTTP, on a thread of its own.
//!
//! A thread of its own so that a worker busy with a pod never delays a probe, and a port of its own so
//! that probes work whatever is asked of clients on the webhook's port.

use std::{error::Error, fmt::Write, sync::Arc};

use http_body_util::{BodyExt, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::{Body, Bytes, Incoming},
    header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue, VARY},
};
use tokio::time::Instant;

use super::{
    activity::Activity,
    connection::{Answer, Endpoint, Response},
    metrics::{Exposition, Metrics},
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

/// The port as some peers see it.
pub(crate) struct View {
    admin: Arc<Admin>,
    near: bool,
}

impl Endpoint for View {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        _arrived: Instant,
        _connection: Arc<Activity>,
    ) -> Response {
        self.reply(request).await
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

impl View {
    async fn reply<B: Body<Error: Into<BoxError>>>(&self, request: Request<B>) -> Response {
        let (head, body) = request.into_parts();
        let (admin, uri) = (&self.admin, &head.uri);
        let read = matches!(head.method, Method::GET | Method::HEAD);
        match (uri.path(), read) {
            // Depends on nothing: whoever can answer lives.
            ("/livez", true) => text(StatusCode::OK, "ok\n"),
            ("/startupz", true) => admin.started(),
            ("/readyz", true) => admin.ready(uri.query()),
            ("/metrics", true) => {
                let accept = head.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
                admin.show_metrics(Exposition::asked(accept))
            }
            ("/loglevel", true) if self.near => admin.show_log_filter(),
            ("/loglevel", false) if self.near && head.method == Method::PUT => {
                match Limited::new(body, FILTER_BYTES).collect().await {
                    Ok(body) => admin.set_log_filter(&body.to_bytes()),
                    Err(_) => {
                        let refusal = format!("the filter is longer than {FILTER_BYTES} bytes\n");
                        text(StatusCode::PAYLOAD_TOO_LARGE, refusal)
                    }
                }
            }
            ("/livez" | "/startupz" | "/readyz" | "/metrics", false) => not_allowed("GET, HEAD"),
            ("/loglevel", false) if self.near => not_allowed("GET, HEAD, PUT"),
            _ => text(StatusCode::NOT_FOUND, "there is /livez, /readyz, /startupz and /metrics here\n"),
        }
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    typed(status, "text/plain; charset=utf-8", text)
}

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Answer::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn not_allowed(accepted: &'static str) -> Response {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("accepted is {accepted}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(accepted));
    response
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
    /// What peers on this very machine, or in this very pod, find; others find no log filter, which can be changed.
    pub(crate) fn near(self: Arc<Self>) -> Arc<View> {
        Arc::new(View { admin: self, near: true })
    }

    /// What everybody finds.
    pub(crate) fn far(self: Arc<Self>) -> Arc<View> {
        Arc::new(View { admin: self, near: false })
    }

    fn checks(&self) -> Vec<Check> {
        let now = unix_now();
        let expired = self.certificate.validity().and_then(|validity| validity.problem(now));
        let mut checks: Vec<Check> = self.readiness.states().into_iter().map(Check::gate).collect();
        for check in checks.iter_mut().filter(|check| check.name == CERTIFICATE) {
            // Unlike what happens to the API server, an expired certificate does keep requests from being served.
            check.problem = check.problem.take().or_else(|| expired.map(|problem| problem.to_string()));
            let objections = self.certificate.objections(now);
            if !objections.is_empty() {
                let refused = format!("API servers refuse it: {}", objections.join("; "));
                check.remark = Some(
                    check.remark.take().map_or(refused.clone(), |remark| format!("{remark}; {refused}")),
                );
            }
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

    fn show_log_filter(&self) -> Response {
        match &self.log_filter {
            Some(filter) => text(StatusCode::OK, format!("{}\n", filter.show())),
            None => text(StatusCode::NOT_FOUND, "the log's filter is not ours to change\n"),
        }
    }

    fn set_log_filter(&self, body: &[u8]) -> Response {
        let wanted = std::str::from_utf8(body).map(str::trim).unwrap_or("\0");
        let accepted =
            "accepted is a filter such as info or info,outrigger=debug, or nothing for that of the start";
        match self.log_filter.as_ref().map(|filter| (filter, filter.set(wanted))) {
            None => self.show_log_filter(),
            Some((filter, Ok(()))) => {
                tracing::warn!(filter = filter.show(), "the log has another filter now");
                self.show_log_filter()
            }
            Some((_, Err(error))) => text(StatusCode::BAD_REQUEST, format!("{error}; {accepted}\n")),
        }
    }

    /// `/readyz`, with a line for each check under `?verbose` and whenever one fails, as Kubernetes' own servers do.
    fn ready(&self, query: Option<&str>) -> Response {
        let checks = self.checks();
        let ready = checks.iter().all(|check| check.problem.is_none());
        let verbose = query.is_some_and(|query| {
            query.split('&').any(|pair| pair == "verbose" || pair.starts_with("verbose="))
        });
        if ready && !verbose {
            return text(StatusCode::OK, "ok\n");
        }
        let mut lines = String::new();
        for Check { name, problem, detail, remark } in checks {
            // Writing to a String does not fail. A check has one line: what is said to be wrong is not called ok too.
            let _ = match (problem, remark) {
                (Some(problem), Some(remark)) => writeln!(lines, "[-]{name} failed: {problem}; {remark}"),
                (Some(problem), None) => writeln!(lines, "[-]{name} failed: {problem}"),
                (None, Some(remark)) if detail.is_empty() => writeln!(lines, "[!]{name} {remark}"),
                (None, Some(remark)) => writeln!(lines, "[!]{name} {remark} ({detail})"),
                (None, None) if detail.is_empty() => writeln!(lines, "[+]{name} ok"),
                (None, None) => writeln!(lines, "[+]{name} ok: {detail}"),
            };
        }
        lines.push_str(if ready { "readyz check passed\n" } else { "readyz check failed\n" });
        text(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, lines)
    }

    /// Whether every gate was passed once: unlike `/readyz` it never falls back.
    fn started(&self) -> Response {
        let waiting: Vec<_> = self.readiness.states().into_iter().filter(|(_, state)| !state.open).collect();
        if waiting.is_empty() {
            return text(StatusCode::OK, "ok\n");
        }
        let lines: String = waiting
            .into_iter()
            .map(|(name, state)| format!("[-]{name} failed: {}\n", state.problem.unwrap_or_default()))
            .collect();
        text(StatusCode::SERVICE_UNAVAILABLE, lines)
    }

    fn show_metrics(&self, exposition: Exposition) -> Response {
        match self.metrics.encode(exposition) {
            Ok(lines) => {
                let mut response = typed(StatusCode::OK, exposition.content_type(), lines);
                response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
                response
            }
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "cannot write the metrics\n"),
        }
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

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;
    use crate::server::{
        shutdown::Control,
        telemetry::{self, Format, Lines},
    };

    fn admin(log_filter: Option<Filter>) -> Arc<Admin> {
        let (readiness, metrics) =
            (Readiness::default(), Arc::new(Metrics::new(Default::default(), Default::default())));
        let certificate = CertificateStore::new(readiness.gate(CERTIFICATE, ""), metrics.clone()).unwrap();
        let phase = Control::new().watch();
        Arc::new(Admin { readiness, certificate: Arc::new(certificate), metrics, phase, log_filter })
    }

    async fn answer(view: Arc<View>, method: Method, body: &str) -> (StatusCode, String) {
        let request =
            Request::builder().method(method).uri("/loglevel").body(Full::<Bytes>::from(body.to_owned()));
        let response = view.reply(request.unwrap()).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_log_filter_is_changed_from_near_and_from_nowhere_else() {
        let lines = Lines::start(std::io::sink(), Default::default()).unwrap();
        let (_subscriber, filter) = telemetry::adjustable(Format::Json, "warn", lines).unwrap();
        let admin = admin(Some(filter));
        let put = async |view: Arc<View>, body: &str| answer(view, Method::PUT, body).await;
        assert_eq!(put(admin.clone().far(), "debug").await.0, StatusCode::NOT_FOUND);
        let shown = answer(admin.clone().near(), Method::GET, "").await.1;
        assert!(shown.contains("warn") && shown.contains("kube_client=off"), "{shown}");
        let (status, text) = put(admin.clone().near(), " info,outrigger=debug\n").await;
        assert_eq!(status, StatusCode::OK, "{text}");
        assert!(text.contains("outrigger=debug") && text.contains("info"), "{text}");
        for nonsense in ["outrigger=loud", "\0", "[{", "garbage=,,", "info,outrigger=", ",,"] {
            let (status, text) = put(admin.clone().near(), nonsense).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{nonsense:?}");
            assert!(text.contains("accepted is a filter"), "{text}");
        }
        assert_eq!(put(admin.clone().near(), &"a".repeat(2000)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(answer(admin.clone().near(), Method::GET, "").await.1.contains("outrigger=debug"));
        assert_eq!(put(admin.near(), "").await, (StatusCode::OK, shown));
    }

    #[tokio::test]
    async fn a_log_of_somebody_else_is_left_alone() {
        for method in [Method::GET, Method::PUT] {
            assert_eq!(answer(admin(None).near(), method, "debug").await.0, StatusCode::NOT_FOUND);
        }
    }
}
