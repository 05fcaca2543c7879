//! The admin port: probes and metrics, in plain HTTP, on a thread of its own.
//!
//! Where metrics are for those alone who have the right to get them (`auth`), the port speaks TLS too, with the webhook's
//! certificate: tokens are read over TLS and nowhere else. Probes are for everybody, and say less then.
//!
//! A thread of its own so that a worker busy with a pod never delays a probe, and a port of its own so
//! that probes work whatever is asked of clients on the webhook's port.

mod auth;
pub(crate) mod port;

use std::{error::Error, fmt::Write, sync::Arc};

use http_body_util::{BodyExt, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::{Body, Bytes, Incoming},
    header::{ACCEPT, ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE},
};
use tokio::time::Instant;

use self::auth::{Denied, TokenAuth};
use crate::server::certs::CA_BUNDLE;
use crate::server::clock::unix_now;
use crate::server::http::connection::{Answer, Endpoint, Response};
use crate::server::http::state::ConnectionState;
use crate::server::observe::log::Filter;
use crate::server::observe::metrics::{Exposition, Metrics};
use crate::server::readiness;
use crate::server::readiness::Readiness;
use crate::server::shutdown::{Phase, Watch};
use crate::server::tls::CertificateStore;

/// What the port shows.
pub(crate) struct Admin {
    pub(crate) readiness: Readiness,
    pub(crate) certificate: Arc<CertificateStore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) phase: Watch,
    pub(crate) log_filter: Option<Filter>,
    pub(crate) doorkeeper: Doorkeeper,
}

/// Who decides who may read metrics.
pub(crate) enum Doorkeeper {
    /// Nobody: everybody may.
    Nobody,
    /// The API server.
    Tokens(TokenAuth),
    /// The API server, which there is no way to.
    Unreachable(String),
}

/// The port as some peers see it.
pub(crate) struct View {
    admin: Arc<Admin>,
    near: bool,
    /// Whether nobody else reads along.
    secure: bool,
}

impl Endpoint for View {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        _arrived: Instant,
        _connection: Arc<ConnectionState>,
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
        let denied = match uri.path() {
            "/metrics" if read => self.denied(&head.headers, "get", "/metrics").await,
            "/loglevel" if self.near => {
                let verb = if read { "get" } else { "put" };
                self.denied(&head.headers, verb, "/loglevel").await
            }
            _ => None,
        };
        if let Some(denied) = denied {
            return denied;
        }
        match (uri.path(), read) {
            // Depends on nothing: whoever can answer lives.
            ("/livez", true) => text(StatusCode::OK, "ok\n"),
            ("/startupz", true) => admin.started(self.tells(&head.headers).await),
            ("/readyz", true) => {
                let tells = self.tells(&head.headers).await;
                admin.ready(uri.query(), tells)
            }
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

impl View {
    /// What is answered to a request instead, if it may not be answered.
    async fn denied(&self, headers: &HeaderMap, verb: &str, path: &str) -> Option<Response> {
        let tokens = match &self.admin.doorkeeper {
            Doorkeeper::Nobody => return None,
            Doorkeeper::Tokens(tokens) => tokens,
            Doorkeeper::Unreachable(problem) => return Some(refusal(&Denied::Unanswered(problem.clone()))),
        };
        if !self.secure && headers.contains_key(AUTHORIZATION) {
            let told = "found a token over plain HTTP, where others may have read it; accepted is HTTPS, on this port\n";
            return Some(text(StatusCode::BAD_REQUEST, told));
        }
        tokens.judge(headers, verb, path).await.err().map(|denied| refusal(&denied))
    }

    /// Whether a probe is told more than whether it passes: if metrics are for it. The right to get `/readyz` says
    /// nothing: the role `system:public-info-viewer` gives it to everybody.
    async fn tells(&self, headers: &HeaderMap) -> bool {
        match self.admin.doorkeeper {
            Doorkeeper::Nobody => true,
            // The API server is not asked for a probe.
            _ => {
                headers.contains_key(AUTHORIZATION) && self.denied(headers, "get", "/metrics").await.is_none()
            }
        }
    }
}

fn refusal(denied: &Denied) -> Response {
    let status = match denied {
        Denied::NoToken | Denied::Unknown => StatusCode::UNAUTHORIZED,
        Denied::Forbidden { .. } => StatusCode::FORBIDDEN,
        Denied::Unanswered(_) => StatusCode::SERVICE_UNAVAILABLE,
        Denied::Busy => StatusCode::TOO_MANY_REQUESTS,
    };
    let mut response = text(status, format!("{denied}\n"));
    let headers = response.headers_mut();
    match status {
        StatusCode::UNAUTHORIZED => headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        StatusCode::FORBIDDEN => None,
        _ => headers.insert(RETRY_AFTER, HeaderValue::from_static("1")),
    };
    response
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
    pub(crate) fn near(self: Arc<Self>, secure: bool) -> Arc<View> {
        Arc::new(View { admin: self, near: true, secure })
    }

    /// What everybody finds.
    pub(crate) fn far(self: Arc<Self>, secure: bool) -> Arc<View> {
        Arc::new(View { admin: self, near: false, secure })
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

    /// `/readyz`, with a line for each check under `?verbose` and whenever one fails, as Kubernetes' own servers do; they
    /// withhold reasons from some peers, too.
    fn ready(&self, query: Option<&str>, tells: bool) -> Response {
        let mut checks = self.checks();
        if !tells {
            checks.iter_mut().for_each(Check::withhold);
        }
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

    /// Whether every gate was passed once: unlike `/readyz` it never falls back. A caBundle that trusts others is not this
    /// process's to wait for: to start it anew would change nothing.
    fn started(&self, tells: bool) -> Response {
        let waits = |(name, state): &(&str, readiness::State)| !state.open && *name != CA_BUNDLE;
        let waiting: Vec<_> = self.readiness.states().into_iter().filter(waits).collect();
        if waiting.is_empty() {
            return text(StatusCode::OK, "ok\n");
        }
        let lines: String = waiting
            .into_iter()
            .map(|(name, state)| {
                let problem = if tells { state.problem.unwrap_or_default() } else { WITHHELD.to_owned() };
                format!("[-]{name} failed: {problem}\n")
            })
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

/// What is said in place of a reason.
const WITHHELD: &str = "reason withheld";

impl Check {
    fn withhold(&mut self) {
        let withheld = |said: &mut String| WITHHELD.clone_into(said);
        self.problem.iter_mut().for_each(withheld);
        self.remark.iter_mut().for_each(withheld);
        self.detail.clear();
    }

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
    use crate::server::observe::log as telemetry;
    use crate::server::observe::log::{Format, Lines};
    use crate::server::shutdown::Control;

    fn admin(log_filter: Option<Filter>) -> Arc<Admin> {
        Arc::new(guarded(log_filter, Doorkeeper::Nobody))
    }

    fn guarded(log_filter: Option<Filter>, doorkeeper: Doorkeeper) -> Admin {
        let (readiness, metrics) =
            (Readiness::default(), Arc::new(Metrics::new(Default::default(), Default::default())));
        let certificate = CertificateStore::new(readiness.gate(CERTIFICATE, ""), metrics.clone()).unwrap();
        let phase = Control::new().watch();
        let certificate = Arc::new(certificate);
        Admin { readiness, certificate, metrics, phase, log_filter, doorkeeper }
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
        assert_eq!(put(admin.clone().far(false), "debug").await.0, StatusCode::NOT_FOUND);
        let shown = answer(admin.clone().near(false), Method::GET, "").await.1;
        assert!(shown.contains("warn") && shown.contains("kube_client=off"), "{shown}");
        let (status, text) = put(admin.clone().near(false), " info,outrigger=debug\n").await;
        assert_eq!(status, StatusCode::OK, "{text}");
        assert!(text.contains("outrigger=debug") && text.contains("info"), "{text}");
        for nonsense in ["outrigger=loud", "\0", "[{", "garbage=,,", "info,outrigger=", ",,"] {
            let (status, text) = put(admin.clone().near(false), nonsense).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{nonsense:?}");
            assert!(text.contains("accepted is a filter"), "{text}");
        }
        assert_eq!(put(admin.clone().near(false), &"a".repeat(2000)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(answer(admin.clone().near(false), Method::GET, "").await.1.contains("outrigger=debug"));
        assert_eq!(put(admin.near(false), "").await, (StatusCode::OK, shown));
    }

    async fn get(view: &View, target: &str, token: Option<&str>) -> (u16, String) {
        let mut request = Request::builder().uri(target).body(Full::<Bytes>::default()).unwrap();
        *request.headers_mut() = auth::tests::with_token(token);
        let response = view.reply(request).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn metrics_and_the_log_filter_are_for_those_who_may_and_probes_for_everybody() {
        let (tokens, _) = auth::tests::api_server();
        let admin = Arc::new(guarded(None, Doorkeeper::Tokens(tokens)));
        let secure = admin.clone().near(true);
        for (target, token, status) in [
            ("/metrics", None, 401),
            ("/metrics", Some("made-up"), 401),
            ("/metrics", Some("stranger"), 403),
            ("/metrics", Some("reader"), 200),
            ("/loglevel", None, 401),
            ("/loglevel", Some("reader"), 403),
            ("/livez", None, 200),
            ("/livez", Some("made-up"), 200),
            ("/readyz", None, 503),
            ("/startupz", None, 503),
            ("/elsewhere", None, 404),
        ] {
            let (found, text) = get(&secure, target, token).await;
            assert_eq!(found, status, "{target} {token:?}: {text}");
        }
        // A token in plain sight is worth nothing any more, whoever's it is.
        let plain = admin.clone().far(false);
        assert_eq!(get(&plain, "/metrics", Some("reader")).await.0, 400);
        assert_eq!(get(&plain, "/metrics", None).await.0, 401);
        assert_eq!(get(&plain, "/livez", Some("reader")).await.0, 200);
    }

    #[tokio::test]
    async fn probes_withhold_reasons_from_strangers() {
        let reason = "secrets \"outrigger-certificate\" cannot be read";
        for (doorkeeper, told) in
            [(Doorkeeper::Nobody, true), (Doorkeeper::Unreachable("x".to_owned()), false)]
        {
            let admin = guarded(None, doorkeeper);
            admin.certificate.trouble(reason);
            let admin = Arc::new(admin);
            let view = admin.far(false);
            for target in ["/readyz", "/readyz?verbose", "/startupz"] {
                let (status, text) = get(&view, target, None).await;
                assert_eq!(status, 503, "{target}");
                assert_eq!(text.contains(reason), told, "{target}: {text}");
                assert_eq!(
                    text.contains("[-]certificate failed: reason withheld"),
                    !told,
                    "{target}: {text}"
                );
            }
            let status = get(&view, "/metrics", None).await.0;
            assert_eq!(status, if told { 200 } else { 503 });
        }
    }

    #[tokio::test]
    async fn a_log_of_somebody_else_is_left_alone() {
        for method in [Method::GET, Method::PUT] {
            assert_eq!(answer(admin(None).near(false), method, "debug").await.0, StatusCode::NOT_FOUND);
        }
    }
}
