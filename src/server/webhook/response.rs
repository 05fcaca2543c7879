//! Writes the response to an AdmissionReview. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::review::Version;
use crate::warning::Warning;

/// The content of the response.
#[derive(Debug, Default, PartialEq)]
pub struct AdmissionResponse {
    /// Why the pod is denied; `None` if it is allowed.
    pub denial: Option<Denial>,
    /// The JSON patch, as JSON text. Only for allowed pods that change.
    pub patch: Option<Vec<u8>>,
    /// For the user of kubectl.
    pub warnings: Vec<Warning>,
    /// For the audit log.
    pub audit: Vec<(&'static str, String)>,
}

/// A denial.
#[derive(Debug, PartialEq, Eq)]
pub struct Denial {
    /// HTTP-like: 400, 403, 413, 422 or 500.
    pub code: u16,
    /// Shown to the user of kubectl.
    pub message: String,
}

/// Writes the response in the version of the request.
///
/// # Errors
/// When serialization fails, which it does not for these types.
pub fn encode(version: Version, uid: &str, answer: &AdmissionResponse) -> Result<Vec<u8>, serde_json::Error> {
    let patch = answer.patch.as_deref().filter(|_| answer.denial.is_none());
    let room = patch.map_or(0, |patch| patch.len().div_ceil(3) * 4);
    let mut out = Vec::with_capacity(room + REST);
    serde_json::to_writer(
        &mut out,
        &Review {
            kind: "AdmissionReview",
            api_version: version.api_version(),
            response: Response {
                uid,
                allowed: answer.denial.is_none(),
                status: answer.denial.as_ref().map(|denial| Status {
                    code: denial.code,
                    reason: status_reason(denial.code),
                    message: &denial.message,
                }),
                patch_type: patch.is_some().then_some("JSONPatch"),
                audit_annotations: Annotations(&answer.audit),
                warnings: clean_warnings(&answer.warnings),
            },
        },
    )?;
    if let Some(patch) = patch {
        append_patch(&mut out, patch, room);
    }
    Ok(out)
}

/// Capacity for everything but the patch.
const REST: usize = 512;

/// Appends the patch to the response, where it is the last field of the review. It is nine tenths of a response, so
/// it is written directly into the buffer that is sent.
fn append_patch(out: &mut Vec<u8>, patch: &[u8], room: usize) {
    out.truncate(out.len() - "}}".len());
    out.extend_from_slice(b",\"patch\":\"");
    let start = out.len();
    out.resize(start + room, 0);
    let written =
        out.get_mut(start..).map_or(0, |rest| STANDARD.encode_slice(patch, rest).unwrap_or_default());
    debug_assert_eq!(written, room);
    out.extend_from_slice(b"\"}}");
}

/// Maximum length of a warning in characters. Kubernetes advises 120, and API servers may cut at 256 (DA-07): most warnings are short, and
/// those that are longer end with what to do.
pub const WARNING_LENGTH: usize = 256;
/// Maximum length of all warnings of a response in characters: API servers pass on no more (DA-07).
pub const WARNINGS_LENGTH: usize = 4096;

/// Formats warnings as Kubernetes advises: one line, at most [`WARNING_LENGTH`] characters, no prefix, no duplicates, and no more than API
/// servers pass on.
fn clean_warnings(warnings: &[Warning]) -> Vec<String> {
    let mut clean: Vec<String> = Vec::new();
    let mut left = WARNINGS_LENGTH;
    for warning in warnings.iter().filter(|warning| warning.is_shown()) {
        let warning = shorten(&one_line(&warning.message), WARNING_LENGTH);
        let length = warning.chars().count();
        if warning.is_empty() || clean.contains(&warning) || length > left {
            continue;
        }
        left -= length;
        clean.push(warning);
    }
    clean
}

fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = text.trim();
    text.strip_prefix("Warning:").unwrap_or(text).trim().to_owned()
}

/// Truncates at a word boundary if there is one in the second half, and marks the cut with an ellipsis.
fn shorten(text: &str, length: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(length) else {
        return text.to_owned();
    };
    let last = text.char_indices().nth(length - 1).map_or(end, |(at, _)| at);
    let head = text.get(..last).unwrap_or_default();
    let cut = head.rfind(' ').filter(|at| *at >= head.len() / 2).unwrap_or(head.len());
    format!("{}…", head.get(..cut).unwrap_or_default().trim_end_matches([' ', ',', ';', ':']))
}

fn status_reason(code: u16) -> &'static str {
    match code {
        400 => "BadRequest",
        403 => "Forbidden",
        413 => "RequestEntityTooLarge",
        422 => "Invalid",
        _ => "InternalError",
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    kind: &'static str,
    api_version: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    audit_annotations: Annotations<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Status<'a> {
    code: u16,
    reason: &'static str,
    message: &'a str,
}

struct Annotations<'a>(&'a [(&'static str, String)]);

impl Annotations<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Annotations<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn warning(text: impl Into<String>) -> Warning {
        Warning { code: "OWN_VOLUME", message: text.into() }
    }

    fn encoded(version: Version, answer: &AdmissionResponse) -> Value {
        serde_json::from_slice(&encode(version, "u-1", answer).unwrap()).unwrap()
    }

    // DA-02, DA-03, DA-04, DA-05
    #[test]
    fn a_patch_comes_with_its_type() {
        let answer = AdmissionResponse {
            patch: Some(b"[]".to_vec()),
            audit: vec![("decision", "injected".into())],
            ..AdmissionResponse::default()
        };
        for version in [Version::V1, Version::V1Beta1] {
            assert_eq!(
                encoded(version, &answer),
                json!({"kind": "AdmissionReview", "apiVersion": version.api_version(), "response": {
                    "uid": "u-1", "allowed": true, "patch": "W10=", "patchType": "JSONPatch",
                    "auditAnnotations": {"decision": "injected"},
                }})
            );
        }
    }

    #[test]
    fn warnings_for_the_record_are_shown_to_nobody() {
        let quiet = Warning { code: "BYPASS_OPTED_OUT", ..warning("quiet") };
        assert!(!quiet.is_shown());
        let answer =
            AdmissionResponse { warnings: vec![quiet, warning("told")], ..AdmissionResponse::default() };
        assert_eq!(encoded(Version::V1, &answer)["response"]["warnings"], json!(["told"]));
    }

    // DA-04
    #[test]
    fn neither_patch_nor_type_without_a_change() {
        assert_eq!(
            encoded(Version::V1, &AdmissionResponse::default())["response"],
            json!({"uid": "u-1", "allowed": true})
        );
    }

    // DA-06
    #[test]
    fn a_denial_has_code_reason_and_message_and_never_a_patch() {
        for (code, reason) in [
            (400, "BadRequest"),
            (403, "Forbidden"),
            (413, "RequestEntityTooLarge"),
            (422, "Invalid"),
            (500, "InternalError"),
        ] {
            let answer = AdmissionResponse {
                denial: Some(Denial { code, message: "no".into() }),
                patch: Some(b"[]".to_vec()),
                ..AdmissionResponse::default()
            };
            assert_eq!(
                encoded(Version::V1, &answer)["response"],
                json!({"uid": "u-1", "allowed": false, "status": {"code": code, "reason": reason, "message": "no"}})
            );
        }
    }

    // DA-07
    #[test]
    fn warnings_are_short_single_lines_without_prefix() {
        // What to do is at the end of a warning that is longer than advised.
        let whole = format!("{}; did you mean this?", "x".repeat(150));
        let long = "word ".repeat(60);
        let answer = AdmissionResponse {
            warnings: vec![
                warning("Warning: plain"),
                warning("two\nlines"),
                warning("plain"),
                warning(" "),
                warning(whole.clone()),
                warning(long),
                warning("é".repeat(300)),
            ],
            ..AdmissionResponse::default()
        };
        let warnings = encoded(Version::V1, &answer)["response"]["warnings"].clone();
        let warnings: Vec<String> = serde_json::from_value(warnings).unwrap();
        assert_eq!(warnings.len(), 5);
        assert_eq!(warnings[..3], ["plain".to_owned(), "two lines".to_owned(), whole]);
        assert!(warnings[3].ends_with("word…"), "{}", warnings[3]);
        assert!(warnings.iter().all(|warning| warning.chars().count() <= WARNING_LENGTH));
        assert_eq!(shorten(&"x".repeat(120), 120).chars().count(), 120);
    }

    #[test]
    fn warnings_stay_under_the_limit_of_the_api_server() {
        let answer = AdmissionResponse {
            warnings: (0..500).map(|n| warning(format!("{n} {}", "x".repeat(200)))).collect(),
            ..AdmissionResponse::default()
        };
        let total: usize = clean_warnings(&answer.warnings).iter().map(|w| w.chars().count()).sum();
        assert!(total <= 4096, "{total}");
    }
}
