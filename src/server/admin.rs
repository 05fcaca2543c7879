//! The admin port: probes and metrics over plain HTTP, on its own thread.
//!
//! If metrics require authorization (`auth`), the port also speaks TLS with the webhook's certificate, and accepts
//! tokens over TLS only. Probes stay open to everyone but then show less.
//!
//! Its own thread, so that a worker busy with a pod never delays a probe; its own port, so that probes
//! work regardless of client authentication on the webhook's port.

mod auth;
pub(crate) mod page;
pub(crate) mod port;

use std::{
    convert::Infallible,
    fmt::Write,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{RawQuery, Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::Response,
    routing::get,
};
use futures::future::BoxFuture;
use hyper::{
    HeaderMap, Method, StatusCode,
    body::Incoming,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE},
};
use prometheus_client::registry::Registry;
use tower::{Service, ServiceExt};

use self::auth::{Denied, TokenAuth};
use self::page::Page;
use crate::pages::{ICON, STYLE};
use crate::server::certs::CA_BUNDLE;
use crate::server::clock::unix_now;
use crate::server::http::connection::{self, Answer};
use crate::server::observe::log::Filter;
use crate::server::observe::metrics::{self, Exposition};
use crate::server::readiness;
use crate::server::readiness::Readiness;
use crate::server::shutdown::{Phase, Watch};
use crate::server::tls::CertificateStore;
use crate::server::webhook::decisions::Decisions;

/// Who may read metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdminAuth {
    /// Everyone.
    #[default]
    None,
    /// Clients with a bearer token that the API server knows and whose user may get the path.
    Token,
}

/// The state that the port reports.
pub(crate) struct Admin {
    pub(crate) readiness: Readiness,
    pub(crate) certificate: Arc<CertificateStore>,
    pub(crate) metrics: Arc<Registry>,
    pub(crate) phase: Watch,
    pub(crate) log_filter: Option<Filter>,
    /// The last decisions, if they are kept.
    pub(crate) decisions: Option<Arc<Decisions>>,
    pub(crate) doorkeeper: Doorkeeper,
    /// What the page of the server shows, if it is turned on.
    pub(crate) page: Option<Page>,
}

/// How requests for metrics are authorized.
pub(crate) enum Doorkeeper {
    /// Not at all: everyone may read them.
    Nobody,
    /// By asking the API server.
    Tokens(TokenAuth),
    /// By the API server, but there is no client for it.
    Unreachable(String),
}

/// The port as seen by one kind of peer.
#[derive(Clone)]
struct View {
    admin: Arc<Admin>,
    /// Whether the connection is encrypted.
    secure: bool,
}

/// The routes for all connections of one kind: from peers on this machine or in this pod (`near`) or from others,
/// which cannot reach the log filter; and over TLS (`secure`) or not.
pub(crate) fn router(admin: Arc<Admin>, near: bool, secure: bool) -> Router {
    let view = View { admin, secure };
    let guard = from_fn_with_state(view.clone(), guard);
    let mut guarded = Router::new().route("/metrics", get(show_metrics));
    if near {
        guarded = guarded.route("/loglevel", get(show_log_filter).put(set_log_filter));
        guarded = guarded.route("/debug/decisions", get(show_decisions));
        let pages = Router::new()
            .route(page::PATH, get(page::show))
            .route(STYLE.path, get(page::show_style))
            .route(ICON.path, get(page::show_icon));
        guarded = guarded.merge(pages.route_layer(from_fn(page::guard)));
    }
    Router::new()
        // Depends on nothing: a process that responds is alive.
        .route("/livez", get(async || text(StatusCode::OK, "ok\n")))
        .route("/startupz", get(started))
        .route("/readyz", get(ready))
        .merge(guarded.route_layer(guard))
        .fallback(async || text(StatusCode::NOT_FOUND, "expected /livez, /readyz, /startupz or /metrics\n"))
        .method_not_allowed_fallback(async || text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"))
        .with_state(view)
}

/// The routes as a service for our own accept loop.
#[derive(Clone)]
pub(crate) struct Routes(pub(crate) Router);

impl Service<hyper::Request<Incoming>> for Routes {
    type Response = connection::Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<connection::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: hyper::Request<Incoming>) -> Self::Future {
        let router = self.0.clone();
        Box::pin(async move {
            let (head, body) = router.oneshot(request).await?.into_parts();
            // Every body is already complete, so there is nothing to wait for and nothing can fail.
            let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
            Ok(connection::Response::from_parts(head, Answer::new(bytes)))
        })
    }
}

/// Lets a request pass if its caller may read metrics or change the filter.
async fn guard(State(view): State<View>, request: Request, next: Next) -> Response {
    let verb = if *request.method() == Method::PUT { "put" } else { "get" };
    match view.denied(request.headers(), verb, request.uri().path()).await {
        Some(denied) => denied,
        None => next.run(request).await,
    }
}

async fn started(State(view): State<View>, headers: HeaderMap) -> Response {
    view.admin.started(view.tells(&headers).await)
}

async fn ready(State(view): State<View>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let tells = view.tells(&headers).await;
    view.admin.ready(query.as_deref(), tells)
}

async fn show_metrics(State(view): State<View>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    view.admin.show_metrics(Exposition::asked(accept))
}

async fn show_log_filter(State(view): State<View>) -> Response {
    view.admin.show_log_filter()
}

async fn show_decisions(State(view): State<View>, RawQuery(query): RawQuery) -> Response {
    let Some(decisions) = &view.admin.decisions else {
        return text(StatusCode::NOT_FOUND, "no decisions are kept; start with --debug-decisions N\n");
    };
    let namespace = query.as_deref().and_then(|query| query.strip_prefix("namespace="));
    typed(StatusCode::OK, "application/json", format!("{:#}\n", decisions.to_value(namespace)))
}

async fn set_log_filter(State(view): State<View>, request: Request) -> Response {
    match to_bytes(request.into_body(), FILTER_BYTES).await {
        Ok(body) => view.admin.set_log_filter(&body),
        Err(_) => {
            let refusal = format!("expected a log filter of at most {FILTER_BYTES} bytes\n");
            text(StatusCode::PAYLOAD_TOO_LARGE, refusal)
        }
    }
}

impl View {
    /// The refusal of a request that is not authorized; `None` if it is authorized.
    async fn denied(&self, headers: &HeaderMap, verb: &str, path: &str) -> Option<Response> {
        let tokens = match &self.admin.doorkeeper {
            Doorkeeper::Nobody => return None,
            Doorkeeper::Tokens(tokens) => tokens,
            Doorkeeper::Unreachable(problem) => return Some(refusal(&Denied::Unanswered(problem.clone()))),
        };
        if !self.secure && headers.contains_key(AUTHORIZATION) {
            let told = "found a token sent over plain HTTP, where others may have read it; expected HTTPS on this port\n";
            return Some(text(StatusCode::BAD_REQUEST, told));
        }
        tokens.judge(headers, verb, path).await.err().map(|denied| refusal(&denied))
    }

    /// Whether a probe shows reasons: only if the caller may read metrics. The right to get `/readyz` does not
    /// suffice, because the role `system:public-info-viewer` grants it to everyone.
    async fn tells(&self, headers: &HeaderMap) -> bool {
        match self.admin.doorkeeper {
            Doorkeeper::Nobody => true,
            // Probes cause no request to the API server.
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

fn text(status: StatusCode, text: impl Into<Body>) -> Response {
    typed(status, "text/plain; charset=utf-8", text)
}

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Maximum length of a log filter in bytes.
const FILTER_BYTES: usize = 1024;

/// Name of the gate that opens with the first certificate.
pub(crate) const CERTIFICATE: &str = "certificate";

/// One line of `/readyz?verbose`.
struct Check {
    name: &'static str,
    problem: Option<String>,
    detail: String,
    /// Problems that do not prevent requests from being served.
    remark: Option<String>,
}

impl Admin {
    fn checks(&self) -> Vec<Check> {
        let now = unix_now();
        let expired = self.certificate.validity().and_then(|validity| validity.problem(now));
        let mut checks: Vec<Check> = self.readiness.states().into_iter().map(Check::gate).collect();
        for check in checks.iter_mut().filter(|check| check.name == CERTIFICATE) {
            // Unlike API server errors, an expired certificate does prevent requests from being served.
            check.problem = check.problem.take().or_else(|| expired.map(|problem| problem.to_string()));
            let objections = self.certificate.objections(now);
            if !objections.is_empty() {
                let refused = format!("API servers would reject it: {}", objections.join("; "));
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
            None => text(StatusCode::NOT_FOUND, "the log filter cannot be changed in this process\n"),
        }
    }

    fn set_log_filter(&self, body: &[u8]) -> Response {
        let wanted = std::str::from_utf8(body).map(str::trim).unwrap_or("\0");
        let accepted = "expected a filter such as info or info,outrigger=debug, or an empty body to restore the initial one";
        match self.log_filter.as_ref().map(|filter| (filter, filter.set(wanted))) {
            None => self.show_log_filter(),
            Some((filter, Ok(()))) => {
                tracing::warn!(filter = filter.show(), "log filter changed");
                self.show_log_filter()
            }
            Some((_, Err(error))) => text(StatusCode::BAD_REQUEST, format!("{error}; {accepted}\n")),
        }
    }

    /// `/readyz`, with a line for each check under `?verbose` and on failure, as Kubernetes' own servers do. They
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
            // Writing to a String cannot fail. Each check prints one line, so a failed check is not also listed as
            // ok.
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

    /// `/startupz`: whether every gate has been open once. Unlike `/readyz` it never reverts. A caBundle that trusts
    /// others is not a reason to restart this process, because a restart would change nothing.
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
        match metrics::encode(&self.metrics, exposition) {
            Ok(lines) => {
                let mut response = typed(StatusCode::OK, exposition.content_type(), lines);
                response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
                response
            }
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "cannot write the metrics\n"),
        }
    }
}

/// Shown in place of a reason.
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
    use super::*;
    use crate::server::observe::log as telemetry;
    use crate::server::observe::log::{Format, Lines};
    use crate::server::shutdown::Control;
    use crate::server::tls::metrics::TlsMetrics;

    fn admin(log_filter: Option<Filter>) -> Arc<Admin> {
        Arc::new(guarded(log_filter, Doorkeeper::Nobody))
    }

    fn guarded(log_filter: Option<Filter>, doorkeeper: Doorkeeper) -> Admin {
        let (readiness, metrics) = (Readiness::default(), Arc::default());
        let gate = readiness.gate(CERTIFICATE, "");
        let certificate = CertificateStore::new(gate, TlsMetrics::default()).unwrap();
        let phase = Control::new().watch();
        let certificate = Arc::new(certificate);
        let (decisions, page) = (None, None);
        Admin { readiness, certificate, metrics, phase, log_filter, decisions, doorkeeper, page }
    }

    async fn send(
        router: &Router,
        request: hyper::http::request::Builder,
        body: &str,
    ) -> (StatusCode, String) {
        let response =
            router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn filter_of(router: &Router, method: Method, body: &str) -> (StatusCode, String) {
        send(router, Request::builder().method(method).uri("/loglevel"), body).await
    }

    async fn fetch(router: &Router, target: &str, token: Option<&str>) -> (u16, String) {
        let mut request = Request::builder().uri(target);
        *request.headers_mut().unwrap() = auth::tests::with_token(token);
        let (status, text) = send(router, request, "").await;
        (status.as_u16(), text)
    }

    #[tokio::test]
    async fn decisions_are_shown_to_near_clients_if_they_are_kept() {
        let without = router(admin(None), true, false);
        let (status, text) = fetch(&without, "/debug/decisions", None).await;
        assert_eq!(status, 404);
        assert!(text.contains("--debug-decisions"), "{text}");

        let decisions = Some(Arc::new(Decisions::new(3)));
        let admin = Arc::new(Admin { decisions, ..guarded(None, Doorkeeper::Nobody) });
        let (status, text) =
            fetch(&router(admin.clone(), true, false), "/debug/decisions?namespace=a", None).await;
        assert_eq!(status, 200);
        assert!(text.contains("\"kind\": \"DecisionList\""), "{text}");
        assert_eq!(fetch(&router(admin, false, false), "/debug/decisions", None).await.0, 404);
    }

    #[tokio::test]
    async fn other_methods_are_not_allowed_and_heads_have_no_body() {
        let router = router(admin(None), true, false);
        for (target, allowed) in
            [("/livez", "GET,HEAD"), ("/metrics", "GET,HEAD"), ("/loglevel", "GET,HEAD,PUT")]
        {
            let request = Request::builder().method(Method::POST).uri(target).body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{target}");
            assert_eq!(response.headers()["allow"], allowed, "{target}");
        }
        let head = Request::builder().method(Method::HEAD).uri("/livez");
        assert_eq!(send(&router, head, "").await, (StatusCode::OK, String::new()));
        assert_eq!(fetch(&router, "/livez", None).await, (200, "ok\n".to_owned()));
        assert_eq!(fetch(&router, "/livez/", None).await.0, 404);
    }

    #[tokio::test]
    async fn the_log_filter_is_changed_from_near_and_from_nowhere_else() {
        let lines = Lines::start(std::io::sink(), Default::default()).unwrap();
        let (_subscriber, filter) = telemetry::adjustable(Format::Json, "warn", lines).unwrap();
        let admin = admin(Some(filter));
        let (near, far) = (router(admin.clone(), true, false), router(admin, false, false));
        let put = async |router: &Router, body: &str| filter_of(router, Method::PUT, body).await;
        assert_eq!(put(&far, "debug").await.0, StatusCode::NOT_FOUND);
        let shown = filter_of(&near, Method::GET, "").await.1;
        assert!(shown.contains("warn") && shown.contains("kube_client=off"), "{shown}");
        let (status, text) = put(&near, " info,outrigger=debug\n").await;
        assert_eq!(status, StatusCode::OK, "{text}");
        assert!(text.contains("outrigger=debug") && text.contains("info"), "{text}");
        for nonsense in ["outrigger=loud", "\0", "[{", "garbage=,,", "info,outrigger=", ",,"] {
            let (status, text) = put(&near, nonsense).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{nonsense:?}");
            assert!(text.contains("expected a filter"), "{text}");
        }
        assert_eq!(put(&near, &"a".repeat(2000)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(filter_of(&near, Method::GET, "").await.1.contains("outrigger=debug"));
        assert_eq!(put(&near, "").await, (StatusCode::OK, shown));
    }

    #[tokio::test]
    async fn metrics_and_the_log_filter_are_for_those_who_may_and_probes_for_everybody() {
        let (tokens, _) = auth::tests::api_server();
        let admin = Arc::new(guarded(None, Doorkeeper::Tokens(tokens)));
        let secure = router(admin.clone(), true, true);
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
            let (found, text) = fetch(&secure, target, token).await;
            assert_eq!(found, status, "{target} {token:?}: {text}");
        }
        // A token sent in plain text is worthless from then on, regardless of its user.
        let plain = router(admin, false, false);
        assert_eq!(fetch(&plain, "/metrics", Some("reader")).await.0, 400);
        assert_eq!(fetch(&plain, "/metrics", None).await.0, 401);
        assert_eq!(fetch(&plain, "/livez", Some("reader")).await.0, 200);
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
            let router = router(admin, false, false);
            for target in ["/readyz", "/readyz?verbose", "/startupz"] {
                let (status, text) = fetch(&router, target, None).await;
                assert_eq!(status, 503, "{target}");
                assert_eq!(text.contains(reason), told, "{target}: {text}");
                assert_eq!(
                    text.contains("[-]certificate failed: reason withheld"),
                    !told,
                    "{target}: {text}"
                );
            }
            let status = fetch(&router, "/metrics", None).await.0;
            assert_eq!(status, if told { 200 } else { 503 });
        }
    }

    #[tokio::test]
    async fn a_log_of_somebody_else_is_left_alone() {
        for method in [Method::GET, Method::PUT] {
            let near = router(admin(None), true, false);
            assert_eq!(filter_of(&near, method, "debug").await.0, StatusCode::NOT_FOUND);
        }
    }
}
