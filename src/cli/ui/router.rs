//! The routes of `outrigger ui`: who may see them, what is limited, and the pages behind them.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{get, post},
};
use futures::StreamExt;
use hyper::{
    HeaderMap, Method, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, SET_COOKIE},
};
use maud::html;
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use super::session::{Exchange, Session};
use crate::{
    codes,
    pages::{
        ASSETS, Asset, HEADERS,
        form::{InvalidForm, MOST_BYTES},
        layout, playground, reason, templates,
    },
};

/// The longest body that is read, in bytes: a form of [`MOST_BYTES`], a third of which take three bytes each.
const MOST_BODY: usize = 2 * MOST_BYTES;
/// The longest body that is read to its end before it is refused, in bytes.
const MOST_DRAINED: usize = 64 << 20;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Evaluations at once; each uses a core.
const EVALUATIONS: usize = 2;
/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// What all requests share.
pub(super) struct Site {
    pub(super) session: Session,
    pub(super) start: playground::Input,
    pub(super) turns: Arc<Semaphore>,
}

impl Site {
    pub(super) fn new(session: Session, start: playground::Input) -> Arc<Site> {
        Arc::new(Site { session, start, turns: Arc::new(Semaphore::new(EVALUATIONS)) })
    }
}

type Shared = State<Arc<Site>>;

/// The routes.
pub(super) fn router(site: Arc<Site>) -> Router {
    let pages = Router::new()
        .route("/", get(show).post(submit))
        .route("/evaluate", post(evaluate))
        .route("/templates", get(show_templates).post(submit_templates))
        .route("/templates/evaluate", post(evaluate_templates))
        .route("/reasons", get(async || html_of(StatusCode::OK, reason::index())))
        .route("/reasons/{code}", get(show_reason))
        .route_layer(from_fn_with_state(site.clone(), needs_session));
    let assets = ASSETS
        .iter()
        .fold(Router::new(), |router, asset| router.route(asset.path, get(async || file(asset))));
    pages
        .merge(assets)
        .fallback(async || told(StatusCode::NOT_FOUND, "Not found", "Nothing is served at this address."))
        .layer(from_fn_with_state(site.clone(), guard))
        .with_state(site)
}

/// Checks the host and the origin of every request, and gives every response its headers.
async fn guard(State(site): Shared, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let mut response = if !site.session.is_own_host(headers) {
        told(
            StatusCode::MISDIRECTED_REQUEST,
            "Another host",
            "The request names a host other than this server; open the link that outrigger ui printed.",
        )
    } else if *request.method() != Method::GET && !site.session.is_own_origin(headers) {
        told(StatusCode::FORBIDDEN, "Another site", "The request comes from another site.")
    } else {
        next.run(request).await
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// Exchanges the token of the printed link for a cookie; everything else needs the cookie.
async fn needs_session(State(site): Shared, request: Request, next: Next) -> Response {
    let token = request.uri().query().and_then(|query| query.strip_prefix("token="));
    let has_cookie = site.session.has_cookie(request.headers());
    match token.filter(|_| request.method() == Method::GET && request.uri().path() == "/") {
        // A reload of the link.
        Some(_) if has_cookie => html_of(StatusCode::OK, layout::entrance("/")),
        Some(token) => match site.session.exchange(token) {
            Exchange::Opened => {
                let mut response = html_of(StatusCode::OK, layout::entrance("/"));
                if let Ok(cookie) = HeaderValue::from_str(&site.session.set_cookie()) {
                    response.headers_mut().insert(SET_COOKIE, cookie);
                }
                response
            }
            Exchange::Used => told(
                StatusCode::FORBIDDEN,
                "The link was used before",
                "The link works for one browser. Start outrigger ui again for a new link.",
            ),
            Exchange::Wrong => no_session(),
        },
        None if has_cookie => next.run(request).await,
        None => no_session(),
    }
}

fn no_session() -> Response {
    told(StatusCode::UNAUTHORIZED, "No session", "Open the link that outrigger ui printed.")
}

async fn show(State(site): Shared) -> Response {
    let input = site.start.clone();
    site.playground(input).await
}

/// The form without a script. Texts that are too large to be evaluated are not sent back either.
async fn submit(State(site): Shared, request: Request) -> Response {
    match site.form_of(request, |form| playground::Input::of_form(form, &site.start)).await {
        Ok(input) => site.playground(input).await,
        Err((status, message)) => {
            html_of(status, playground::page(&site.start, &playground::Evaluation::failed(message)))
        }
    }
}

/// The form with a script: only the result is sent back.
async fn evaluate(State(site): Shared, request: Request) -> Response {
    let evaluation = match site.form_of(request, |form| playground::Input::of_form(form, &site.start)).await {
        Ok(input) => site.evaluated(move || playground::evaluate(&input)).await,
        Err(refusal) => Err(refusal),
    };
    let (status, evaluation) = settled(evaluation, playground::Evaluation::failed);
    html_of(status, playground::result(&evaluation).into_string())
}

async fn show_templates(State(site): Shared) -> Response {
    let input = templates::Input::start(site.start.bundle.clone());
    site.templates(input).await
}

async fn submit_templates(State(site): Shared, request: Request) -> Response {
    match site.form_of(request, templates::Input::of_form).await {
        Ok(input) => site.templates(input).await,
        Err((status, message)) => {
            let input = templates::Input::start(site.start.bundle.clone());
            html_of(status, templates::page(&input, &templates::Evaluation::failed(message)))
        }
    }
}

async fn evaluate_templates(State(site): Shared, request: Request) -> Response {
    let evaluation = match site.form_of(request, templates::Input::of_form).await {
        Ok(input) => site.evaluated(move || templates::evaluate(&input)).await,
        Err(refusal) => Err(refusal),
    };
    let (status, evaluation) = settled(evaluation, templates::Evaluation::failed);
    html_of(status, templates::result(&evaluation).into_string())
}

async fn show_reason(Path(code): Path<String>) -> Response {
    match codes::find(&code) {
        Some(code) => html_of(StatusCode::OK, reason::show(code)),
        None => {
            told(StatusCode::NOT_FOUND, "No such code", "outrigger has no reason or warning of this name.")
        }
    }
}

/// A status and a sentence for the reader.
type Refusal = (StatusCode, String);

impl Site {
    async fn playground(&self, input: playground::Input) -> Response {
        let evaluation = self
            .evaluated({
                let input = input.clone();
                move || playground::evaluate(&input)
            })
            .await;
        let (status, evaluation) = settled(evaluation, playground::Evaluation::failed);
        html_of(status, playground::page(&input, &evaluation))
    }

    async fn templates(&self, input: templates::Input) -> Response {
        let evaluation = self
            .evaluated({
                let input = input.clone();
                move || templates::evaluate(&input)
            })
            .await;
        let (status, evaluation) = settled(evaluation, templates::Evaluation::failed);
        html_of(status, templates::page(&input, &evaluation))
    }

    /// Reads a form within its limits.
    async fn form_of<I>(
        &self,
        request: Request,
        read: impl FnOnce(&[u8]) -> Result<I, InvalidForm>,
    ) -> Result<I, Refusal> {
        let too_large = |found: String| {
            let expected = "expected at most 3 MiB, because an API server accepts no larger request";
            (StatusCode::PAYLOAD_TOO_LARGE, format!("Found {found}; {expected}."))
        };
        let length =
            request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(length) = length.filter(|length: &usize| *length > MOST_BODY) {
            drain(request.into_body()).await;
            return Err(too_large(format!("a form of {length} bytes")));
        }
        match timeout(BODY_TIMEOUT, to_bytes(request.into_body(), MOST_BODY)).await {
            Ok(Ok(form)) => read(&form).map_err(|invalid| match invalid {
                InvalidForm::TooLarge { found } => too_large(format!("{found} bytes")),
                InvalidForm::Missing(_) => (StatusCode::BAD_REQUEST, invalid.to_string()),
            }),
            Ok(Err(_)) => Err(too_large("a larger form".to_owned())),
            Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "The form did not arrive in time.".to_owned())),
        }
    }

    /// Evaluates an input on a thread of its own, in turn with others.
    async fn evaluated<E: Send + 'static>(
        &self,
        evaluate: impl FnOnce() -> E + Send + 'static,
    ) -> Result<E, Refusal> {
        let turn = timeout(TURN, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let busy = "Other evaluations are still running; try again.";
            return Err((StatusCode::SERVICE_UNAVAILABLE, busy.to_owned()));
        };
        let evaluation = spawn_blocking(move || {
            // Held until the evaluation ends, even if the browser no longer waits for it.
            let _turn = turn;
            evaluate()
        });
        let defect = "A bug in outrigger: the evaluation ended early. Please report the input.";
        evaluation.await.map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, defect.to_owned()))
    }
}

/// Reads a body to its end without keeping it, within limits, so that the browser sees the response and not a closed connection.
async fn drain(body: Body) {
    let mut data = body.into_data_stream();
    let read = async {
        let mut left = MOST_DRAINED;
        while let Some(Ok(part)) = data.next().await {
            match left.checked_sub(part.len()) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    let _ = timeout(BODY_TIMEOUT, read).await;
}

/// The status of an evaluation, and what is shown in its place if it failed.
fn settled<E>(evaluation: Result<E, Refusal>, failed: impl FnOnce(String) -> E) -> (StatusCode, E) {
    match evaluation {
        Ok(evaluation) => (StatusCode::OK, evaluation),
        Err((status, message)) => (status, failed(message)),
    }
}

fn told(status: StatusCode, title: &str, text: &str) -> Response {
    html_of(status, layout::notice(title, &html! { h1 { (title) } p { (text) } }))
}

fn file(asset: &'static Asset) -> Response {
    typed(StatusCode::OK, asset.content_type, asset.content)
}

fn html_of(status: StatusCode, page: String) -> Response {
    typed(status, "text/html; charset=utf-8", page)
}

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Arc<Site> {
        Site::new(Session::new(1).unwrap(), playground::Input::start(None))
    }

    #[tokio::test(start_paused = true)]
    async fn evaluations_wait_for_their_turn_but_not_forever() {
        let site = site();
        let all = site.turns.clone().try_acquire_many_owned(u32::try_from(EVALUATIONS).unwrap()).unwrap();
        let refused = site.evaluated(|| ()).await.unwrap_err();
        assert_eq!(refused.0, StatusCode::SERVICE_UNAVAILABLE);
        drop(all);
        assert_eq!(site.evaluated(|| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn a_panic_is_contained_and_gives_its_turn_back() {
        let site = site();
        let refused = site.evaluated(|| -> () { panic!("a defect") }).await.unwrap_err();
        assert_eq!(refused.0, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(site.turns.available_permits(), EVALUATIONS);
    }
}
