//! The body of every response that is not an AdmissionReview: a Kubernetes `Status`, the only kind of body whose text
//! API servers pass on to the creator of the pod (`rest.Result.Error` of client-go). Pure.

use hyper::StatusCode;
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    status: &'static str,
    message: &'a str,
    reason: &'static str,
    code: u16,
}

#[derive(Serialize)]
struct Empty {}

/// Writes a failure.
pub(super) fn failure(code: StatusCode, message: &str) -> Vec<u8> {
    let status = Status {
        kind: "Status",
        api_version: "v1",
        metadata: Empty {},
        status: "Failure",
        message,
        reason: reason(code),
        code: code.as_u16(),
    };
    // Texts and numbers: writing them cannot fail.
    serde_json::to_vec(&status).unwrap_or_default()
}

/// The text for requests refused under overload.
pub(super) const OVERLOADED_TEXT: &str = "server overloaded; retry later";
/// The response to requests refused under overload, which must cost almost nothing.
pub(super) const OVERLOADED: &[u8] = br#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"server overloaded; retry later","reason":"TooManyRequests","code":429}"#;

/// `metav1.StatusReason` of a code.
fn reason(code: StatusCode) -> &'static str {
    match code {
        StatusCode::BAD_REQUEST => "BadRequest",
        StatusCode::UNAUTHORIZED => "Unauthorized",
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::METHOD_NOT_ALLOWED => "MethodNotAllowed",
        StatusCode::REQUEST_TIMEOUT => "Timeout",
        StatusCode::PAYLOAD_TOO_LARGE => "RequestEntityTooLarge",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "UnsupportedMediaType",
        StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
        _ => "InternalError",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn is_a_status_with_message_reason_and_code() {
        let found: Value = serde_json::from_slice(&failure(StatusCode::BAD_REQUEST, "a \"b\"")).unwrap();
        let wanted = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "a \"b\"",
            "reason": "BadRequest", "code": 400,
        });
        assert_eq!(found, wanted);
    }

    #[test]
    fn the_constant_is_what_would_be_written() {
        assert_eq!(failure(StatusCode::TOO_MANY_REQUESTS, OVERLOADED_TEXT), OVERLOADED);
    }
}
