//! Requests that are answered without a review: one table has the response and reason for each kind.

use std::borrow::Cow;

use hyper::{
    StatusCode,
    body::Bytes,
    header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};

use super::{path, review::Malformed, status};
use crate::codes::keys;
use crate::server::http::connection::{Answer, Response};

/// Why a request is not answered with a review.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Unknown path.
    NotFound,
    /// The client is not authenticated. The response does not say what would be accepted; the log does, at a limited
    /// rate.
    Unauthenticated,
    /// The client is known, but the certificate of its connection is no longer accepted.
    CertificateRevoked {
        /// An HTTP/2 client must see the end of the connection before it retries.
        http2: bool,
    },
    /// The server is overloaded.
    Overloaded,
    /// A method other than POST.
    Method,
    /// A content type other than JSON, or a content encoding.
    ContentType,
    /// The path contains an invalid environment variable.
    Path(path::Error),
    /// The body is too large.
    BodyTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body arrived too slowly.
    BodyTooSlow {
        /// Minimum rate in bytes per second.
        rate: usize,
    },
    /// The client left before its body was complete.
    ClientGone,
    /// There is no room.
    Shed(Shed),
    /// No configuration has been applied yet.
    NotReady,
    /// Too little time is left. The client is not asked to retry, because there is no time for that either.
    Deadline {
        /// Whether the body had been read.
        read: bool,
    },
    /// The runtime is shutting down.
    ShuttingDown,
    /// The body is not a review that can be answered.
    Malformed(Malformed),
    /// An internal error before there was a review to answer.
    Fault,
}

/// What there is no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shed {
    /// The body, while it arrives.
    Body,
    /// Another stream of a connection without a valid response.
    Probation,
    /// The body, while it waits for its turn.
    WaitingBody,
    /// Another large body.
    InFlight,
    /// The turn of a large body did not come in time.
    Turn,
    /// The answer.
    Answer,
}

impl Shed {
    /// Stable key for metrics.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Shed::Body | Shed::WaitingBody | Shed::Answer => "memory",
            Shed::Probation => "probation",
            Shed::InFlight => "in_flight",
            Shed::Turn => "large",
        }
    }
}

/// Whether the connection is closed after the response, because the rest of the request is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// No, the body was read.
    No,
    /// Unless the body could be discarded.
    Undrained,
    /// Yes, the rest of the body is not waited for.
    Yes,
}

/// One row of the table.
struct Row {
    status: StatusCode,
    /// Label value for log and metrics.
    reason: &'static str,
    /// The text for the creator of the pod.
    text: Cow<'static, str>,
    /// In seconds. API servers retry such a call within its deadline.
    retry_after: Option<&'static str>,
    close: Close,
}

/// Reason of requests refused under load.
pub(crate) const SHED: &str = keys::SHED;
/// Reason of requests whose client has gone.
pub(crate) const CLIENT_GONE: &str = keys::CLIENT_GONE;
/// Reason of requests from unauthenticated clients.
pub(crate) const UNAUTHENTICATED: &str = keys::UNAUTHENTICATED;
/// Reason of a request that panicked.
pub(crate) const PANIC: &str = keys::PANIC;

const SOON: Option<&str> = Some("1");

impl Refusal {
    /// The table.
    fn row(&self) -> Row {
        use Close::{No, Undrained, Yes};
        use StatusCode as Code;
        let (status, reason, retry_after, close, text) = match self {
            Refusal::NotFound => (
                Code::NOT_FOUND,
                keys::NOT_FOUND,
                None,
                Undrained,
                "nothing is served at this path; expected POST /inject".into(),
            ),
            Refusal::Unauthenticated => (
                Code::UNAUTHORIZED,
                UNAUTHENTICATED,
                None,
                Yes,
                "the caller is not authenticated; see outrigger's log for what was found and expected".into(),
            ),
            Refusal::CertificateRevoked { http2 } => (
                Code::SERVICE_UNAVAILABLE,
                UNAUTHENTICATED,
                Some(if *http2 { "1" } else { "0" }),
                Yes,
                "the certificate of this connection is no longer accepted; retry on a new connection".into(),
            ),
            Refusal::Overloaded => {
                (Code::TOO_MANY_REQUESTS, SHED, SOON, Undrained, status::OVERLOADED_TEXT.into())
            }
            Refusal::Method => (
                Code::METHOD_NOT_ALLOWED,
                keys::METHOD,
                None,
                Undrained,
                "the method is not allowed; expected POST".into(),
            ),
            Refusal::ContentType => (
                Code::UNSUPPORTED_MEDIA_TYPE,
                keys::CONTENT_TYPE,
                None,
                Undrained,
                "the content type is not supported; expected application/json without content encoding"
                    .into(),
            ),
            Refusal::Path(error) => {
                (Code::BAD_REQUEST, keys::PATH, None, Undrained, error.to_string().into())
            }
            Refusal::BodyTooLarge { limit } => (
                Code::PAYLOAD_TOO_LARGE,
                keys::BODY_TOO_LARGE,
                None,
                Yes,
                format!("the body is too large; expected at most {limit} bytes").into(),
            ),
            Refusal::BodyTimeout => (
                Code::REQUEST_TIMEOUT,
                keys::BODY_TIMEOUT,
                None,
                Yes,
                "the body did not arrive in time".into(),
            ),
            Refusal::BodyTooSlow { rate } => (
                Code::REQUEST_TIMEOUT,
                keys::BODY_TIMEOUT,
                None,
                Yes,
                format!("the body arrives too slowly; expected at least {rate} bytes per second").into(),
            ),
            Refusal::ClientGone => {
                (Code::BAD_REQUEST, CLIENT_GONE, None, Yes, "the body is incomplete".into())
            }
            Refusal::Shed(shed) => {
                let close = if matches!(shed, Shed::Body | Shed::Probation) { Yes } else { No };
                (Code::TOO_MANY_REQUESTS, SHED, SOON, close, "too many requests at once; retry later".into())
            }
            Refusal::NotReady => (
                Code::SERVICE_UNAVAILABLE,
                keys::NOT_READY,
                SOON,
                No,
                "no configuration has been applied yet; see /readyz on the admin port".into(),
            ),
            Refusal::Deadline { read } => {
                let close = if *read { No } else { Yes };
                (
                    Code::SERVICE_UNAVAILABLE,
                    keys::DEADLINE,
                    None,
                    close,
                    "not enough time left to respond".into(),
                )
            }
            Refusal::ShuttingDown => {
                (Code::INTERNAL_SERVER_ERROR, keys::SHUTDOWN, None, No, "the server is shutting down".into())
            }
            Refusal::Malformed(error) => {
                (Code::BAD_REQUEST, error.reason(), None, No, error.to_string().into())
            }
            Refusal::Fault => (Code::INTERNAL_SERVER_ERROR, PANIC, None, No, "internal error".into()),
        };
        Row { status, reason, text, retry_after, close }
    }

    /// Key for log and metrics.
    pub(crate) fn reason(&self) -> &'static str {
        self.row().reason
    }

    /// Whether the connection has to be closed afterward; `drained` tells whether the body was discarded completely.
    pub(crate) fn closes(&self, drained: bool) -> bool {
        match self.row().close {
            Close::No => false,
            Close::Undrained => !drained,
            Close::Yes => true,
        }
    }

    /// Additional response headers.
    fn header(&self) -> Option<(HeaderName, &'static str)> {
        match self {
            Refusal::Method => Some((ALLOW, "POST")),
            Refusal::Unauthenticated => Some((WWW_AUTHENTICATE, "Bearer")),
            _ => None,
        }
    }

    /// Writes it as a Kubernetes `Status`.
    pub(crate) fn response(&self) -> Response {
        let Row { status, text, retry_after, .. } = self.row();
        let body = match self {
            // Under overload, a response must cost almost nothing.
            Refusal::Overloaded => Bytes::from_static(status::OVERLOADED),
            _ => status::failure(status, &text).into(),
        };
        let mut response = json(status, body);
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// A JSON response.
pub(super) fn json(status: StatusCode, bytes: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Answer::new(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status, reason, Retry-After, and whether the connection is closed after a body that was not drained, and after
    /// one that was.
    type Expected = (Refusal, u16, &'static str, Option<&'static str>, bool, bool);

    fn table() -> Vec<Expected> {
        use Refusal as R;
        vec![
            (R::NotFound, 404, "NOT_FOUND", None, true, false),
            (R::Unauthenticated, 401, "UNAUTHENTICATED", None, true, true),
            (R::CertificateRevoked { http2: true }, 503, "UNAUTHENTICATED", Some("1"), true, true),
            (R::CertificateRevoked { http2: false }, 503, "UNAUTHENTICATED", Some("0"), true, true),
            (R::Overloaded, 429, "SHED", Some("1"), true, false),
            (R::Method, 405, "METHOD", None, true, false),
            (R::ContentType, 415, "CONTENT_TYPE", None, true, false),
            (R::Path(path::Error::Utf8), 400, "PATH", None, true, false),
            (R::BodyTooLarge { limit: 1 }, 413, "BODY_TOO_LARGE", None, true, true),
            (R::BodyTimeout, 408, "BODY_TIMEOUT", None, true, true),
            (R::BodyTooSlow { rate: 1 }, 408, "BODY_TIMEOUT", None, true, true),
            (R::ClientGone, 400, "CLIENT_GONE", None, true, true),
            (R::Shed(Shed::Body), 429, "SHED", Some("1"), true, true),
            (R::Shed(Shed::Probation), 429, "SHED", Some("1"), true, true),
            (R::Shed(Shed::WaitingBody), 429, "SHED", Some("1"), false, false),
            (R::Shed(Shed::InFlight), 429, "SHED", Some("1"), false, false),
            (R::Shed(Shed::Turn), 429, "SHED", Some("1"), false, false),
            (R::Shed(Shed::Answer), 429, "SHED", Some("1"), false, false),
            (R::NotReady, 503, "NOT_READY", Some("1"), false, false),
            (R::Deadline { read: false }, 503, "DEADLINE", None, true, true),
            (R::Deadline { read: true }, 503, "DEADLINE", None, false, false),
            (R::ShuttingDown, 500, "SHUTDOWN", None, false, false),
            (R::Malformed(Malformed::Empty), 400, "EMPTY_BODY", None, false, false),
            (R::Fault, 500, "PANIC", None, false, false),
        ]
    }

    #[test]
    fn every_refusal_is_answered_as_documented() {
        for (refusal, status, reason, retry_after, closes, closes_drained) in table() {
            let response = refusal.response();
            let header =
                |name| response.headers().get(name).map(|value: &HeaderValue| value.to_str().unwrap());
            assert_eq!(response.status().as_u16(), status, "{refusal:?}");
            assert_eq!(refusal.reason(), reason, "{refusal:?}");
            assert_eq!(header(RETRY_AFTER), retry_after, "{refusal:?}");
            assert_eq!(
                (refusal.closes(false), refusal.closes(true)),
                (closes, closes_drained),
                "{refusal:?}"
            );
            assert_eq!(header(ALLOW), (status == 405).then_some("POST"), "{refusal:?}");
            assert_eq!(header(WWW_AUTHENTICATE), (status == 401).then_some("Bearer"), "{refusal:?}");
            assert_eq!(header(CONTENT_TYPE), Some("application/json"), "{refusal:?}");
        }
    }
}
