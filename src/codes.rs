//! The whole catalog of codes: those of the core, and those of requests that never reach it.
//!
//! `outrigger explain CODE` and `docs/reasons/` are made from it.

use std::sync::LazyLock;

pub use injector::codes::{Code, Kind, page};

injector::codes! {
    /// The codes of the server: objects outside of the webhook's rule, and requests answered without a review.
    SERVER, "/docs/reasons/";
    BODY_TIMEOUT: Refusal, "turned away with 408: the body did not arrive in time";
    BODY_TOO_LARGE: Refusal, "turned away with 413: the body exceeds the size limit";
    CLIENT_GONE: Refusal, "not answered: the client disconnected before the response";
    CONTENT_TYPE: Refusal, "turned away with 415: the content type is not `application/json`, or the body is compressed";
    DEADLINE: Refusal, "turned away with 503: not enough of the API server's timeout was left for an answer";
    EMPTY_BODY: Refusal, "turned away with 400: the body is empty";
    JSON_LIMITS: Denial Refusal, "denied: the object is nested deeper than 256 levels";
    MALFORMED_REVIEW: Refusal, "turned away with 400: a field of the AdmissionReview is missing or invalid";
    METHOD: Refusal, "turned away with 405: the method is not POST";
    NOT_AN_ADMISSION_REVIEW: Refusal, "turned away with 400: the body is JSON, but not an AdmissionReview of a known version";
    NOT_FOUND: Refusal, "turned away with 404: nothing is served at this path";
    NOT_JSON: Refusal, "turned away with 400: the body is not JSON";
    NOT_READY: Refusal, "turned away with 503: no configuration has been applied yet";
    OTHER_OPERATION: Skip, "not injected: the request is not the creation of a pod";
    OTHER_RESOURCE: Skip, "not injected: the request is about a resource other than pods";
    PANIC: Denial Refusal, "failed with 500: a bug in outrigger; the server continues";
    PATH: Refusal, "turned away with 400: the path of the URL does not name valid environment variables";
    POD_TOO_LARGE: Denial, "denied: the pod exceeds a limit of size or nesting";
    SHED: Refusal, "turned away with 429: the server is overloaded, or a limit on bodies is reached";
    SHUTDOWN: Refusal, "turned away with 500: the server is shutting down";
    SUBRESOURCE: Skip, "not injected: the request is about a subresource of a pod";
    UNAUTHENTICATED: Refusal, "turned away with 401 or 503: the caller is not, or is no longer, authenticated";
}

/// Every code, sorted by key.
pub static ALL: LazyLock<Vec<&'static Code>> = LazyLock::new(|| {
    let mut all: Vec<&Code> = injector::codes::CORE.iter().chain(SERVER).collect();
    all.sort_by_key(|code| code.key);
    all
});

/// The code that a person means: letter case does not matter, and `-` or a blank may stand for `_`.
pub fn find(typed: &str) -> Option<&'static Code> {
    let key = injector::codes::normalized(typed);
    ALL.iter().find(|code| code.key == key).copied()
}

/// The codes that a misspelled or incomplete key may mean, nearest first, at most three.
pub fn nearest(typed: &str) -> Vec<&'static Code> {
    injector::codes::nearest(ALL.iter().copied(), typed)
}

/// The page about the findings of `outrigger doctor`: a section for each check.
const FINDINGS: &str = include_str!("../docs/findings.md");

/// What a finding of `outrigger doctor` means and how to fix it, in Markdown; letter case does not matter, and `_` or a blank may
/// stand for `-`.
pub fn finding(typed: &str) -> Option<String> {
    let key = typed.trim().to_ascii_lowercase().replace(['_', ' '], "-");
    let (_, rest) = FINDINGS.split_once(&format!("\n## {key}\n"))?;
    let section = rest.split("\n## ").next().unwrap_or_default();
    Some(format!("# {key}\n{}\n", section.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_occurs_once() {
        assert!(ALL.windows(2).all(|pair| pair[0].key < pair[1].key));
    }

    #[test]
    fn findings_have_a_section_with_what_to_do() {
        let text = finding("CERTIFICATE_UNTRUSTED").expect("a section");
        assert!(text.starts_with("# certificate-untrusted\n\n*error*: "), "{text}");
        assert!(
            text.contains("outrigger webhook adopt NAME") && !text.contains("configuration-invalid"),
            "{text}"
        );
        assert_eq!(finding("nothing"), None);
    }

    #[test]
    fn codes_are_found_however_they_are_typed() {
        for typed in ["not-ready", "Not_Ready", " NOT_READY "] {
            assert_eq!(find(typed).map(|code| code.key), Some("NOT_READY"), "{typed}");
        }
        assert_eq!(find("host-network").map(|code| code.key), Some("HOST_NETWORK"));
        assert_eq!(find("ready"), None);
        assert_eq!(nearest("no-ready").first().map(|code| code.key), Some("NOT_READY"));
    }
}
