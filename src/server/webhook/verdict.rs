//! Processes one review: parse, decide, write, with every panic contained and a record for log and metrics.
//!
//! The record contains nothing of the pod but names.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use tokio::time::Instant;

use injector::codes::keys::{ALREADY_INJECTED, PATCH_TOO_LARGE};

use crate::codes::keys;
use crate::inject::limits;
use crate::inject::limits::{Excess, Weight};
use crate::inject::{Admission, AdmissionDecision, AdmissionRequest, CacheStatus, Subject};
use crate::names;
use crate::server::configuration::engine::Engine;
use crate::server::webhook::record::{Outcome, PatchSize, Record, Stages};
use crate::server::webhook::refusal::{PANIC, Refusal};
use crate::server::webhook::response::{self, AdmissionResponse, Denial};
use crate::server::webhook::review::{self, Asked, Malformed, Review};
use crate::warning::Warning;

/// The response.
#[derive(Debug)]
pub enum Reply {
    /// An AdmissionReview, with status 200.
    Review(Vec<u8>),
    /// Not a review that can be answered: status 400.
    Malformed(Malformed),
    /// An internal error before there was a review to answer: status 500.
    Fault,
}

/// Keys of the audit annotations: decision, reason, revision and hash of the configuration. The API server prefixes
/// each with the webhook's name and a slash (DA-08).
const AUDIT_KEYS: [&str; 4] = ["decision", "reason", "revision", "config-hash"];
/// Key of the audit annotation with the codes of warnings, because nobody reads the warnings of a pod that a
/// controller creates.
const AUDIT_WARNINGS: &str = "warnings";
/// Key of the audit annotation with the configuration's rule that applied, and its reason.
const AUDIT_RULE: &str = "rule";
/// I-16: a larger patch would not pass the API server.
const PATCH_BYTES: usize = 2 << 20;

/// A body whose envelope has been parsed.
pub(crate) struct Opened<'b> {
    body: &'b [u8],
    review: Result<Review<'b>, Malformed>,
    weight: Result<Weight, Excess>,
    /// When the first stage started.
    pub(crate) began: Instant,
    decode: Duration,
}

/// Parses the envelope of a body and estimates the memory of its pod; `tree` is the maximum memory of the pod's tree.
pub(crate) fn open(body: &[u8], tree: usize) -> Opened<'_> {
    let began = Instant::now();
    let review = review::parse(body);
    let weight = match &review {
        Ok(Review { asked: Asked::Pod(object), .. }) => limits::check(object, tree),
        _ => Ok(Weight::default()),
    };
    Opened { body, review, weight, began, decode: began.elapsed() }
}

impl Opened<'_> {
    /// Maximum memory that processing it needs.
    pub(crate) fn memory(&self) -> usize {
        match &self.weight {
            Ok(weight) => limits::judging(weight.bytes),
            Err(_) => OUTLINE + self.body.len(),
        }
    }
}

/// The response to one body, from an engine and the environment variables in the URL: what the endpoint sends for a
/// request, without HTTP.
pub fn reply(engine: &dyn Engine, body: &[u8], variables: BTreeMap<String, String>) -> Reply {
    match judge(engine, open(body, limits::TREE), variables).0 {
        Ok(bytes) => Reply::Review(bytes),
        Err(Refusal::Malformed(error)) => Reply::Malformed(error),
        Err(_) => Reply::Fault,
    }
}

/// The response to a review, or why there is none, and the record.
pub(crate) type Reviewed = (Result<Vec<u8>, Refusal>, Record);

/// Processes one body.
pub(crate) fn judge(
    engine: &dyn Engine,
    opened: Opened<'_>,
    variables: BTreeMap<String, String>,
) -> Reviewed {
    // No state that outlives the call is changed in it, so nothing can be left half changed.
    catch_unwind(AssertUnwindSafe(|| judge_review(engine, opened, variables)))
        .unwrap_or_else(|_| (Err(Refusal::Fault), Record { panicked: true, ..Record::failed(PANIC) }))
}

/// The response to a body whose pod would be injected but is skipped, because its namespace does not ask for it.
pub(crate) fn leave_alone(engine: &dyn Engine, body: &[u8], record: Record, sentence: String) -> Reviewed {
    let Ok(Review { version, .. }) = review::parse(body) else { return (Err(Refusal::Fault), record) };
    let subject = Subject {
        namespace: record.namespace.clone(),
        name: record.name.clone(),
        owner: record.owner.clone(),
        reinvoked: record.reinvoked,
    };
    let mut record = Record {
        outcome: Outcome::Skipped,
        templates: String::new(),
        warning_codes: Vec::new(),
        warnings: String::new(),
        told: String::new(),
        patch: None,
        ..record
    };
    let mut admission = Admission::skipped(review::NAMESPACE_NOT_SELECTED, subject);
    admission.warnings.push(Warning::new(review::NAMESPACE_NOT_SELECTED, sentence));
    let answer = write(admission, engine, &mut record);
    (response::encode(version, &record.uid, &answer).map_err(|_| Refusal::Fault), record)
}

/// The pod of a body, a JSON object.
pub(crate) fn pod(body: &[u8]) -> Option<&str> {
    match review::parse(body).ok()?.asked {
        Asked::Pod(object) => Some(object),
        Asked::Outside(_) | Asked::Workload(_) => None,
    }
}

/// Denies a body that is nested too deep to be parsed, with a review if version and uid can be determined.
fn too_deep(body: &[u8], error: Malformed) -> Reviewed {
    let mut record = Record::failed(error.reason());
    if let Some((version, uid)) = review::addressee(body) {
        let denial = Denial { code: TOO_LARGE, message: error.to_string() };
        let answer = AdmissionResponse { denial: Some(denial), ..AdmissionResponse::default() };
        if let Ok(encoded) = response::encode(version, &uid, &answer) {
            record.outcome = Outcome::Denied;
            record.uid = uid;
            return (Ok(encoded), record);
        }
    }
    (Err(Refusal::Malformed(error)), record)
}

/// Decides about a pod that is too large: it is skipped if it would not be injected, and denied otherwise.
fn excessive(
    object: &str,
    namespace: &str,
    excess: &Excess,
    ask: impl FnOnce(&str) -> Option<Admission>,
) -> Admission {
    let outline = limits::outline(object).filter(|outline| Weight::of(outline).bytes <= OUTLINE);
    outline.as_deref().and_then(ask).unwrap_or_else(|| {
        let message = format!(
            "the pod is too large to be injected: {excess}; with the label {}: \"false\" it is created without a proxy",
            names::INJECT
        );
        let decision =
            AdmissionDecision::Deny { code: TOO_LARGE, reason: POD_TOO_LARGE, message, detail: String::new() };
        let subject = Subject { namespace: namespace.to_owned(), ..Subject::default() };
        Admission { decision, ..Admission::skipped("", subject) }
    })
}

/// Maximum memory in bytes for what is parsed of a pod that is too large to be reviewed.
const OUTLINE: usize = 8 << 20;
/// The code for "too large" in HTTP and Kubernetes.
const TOO_LARGE: u16 = 413;
/// Reason of the denial of a pod that exceeds a limit.
const POD_TOO_LARGE: &str = keys::POD_TOO_LARGE;

fn judge_review(engine: &dyn Engine, opened: Opened<'_>, variables: BTreeMap<String, String>) -> Reviewed {
    let Opened { body, review, weight, began: _, decode } = opened;
    let malformed = |error: Malformed| {
        let record = Record::failed(error.reason());
        (Err(Refusal::Malformed(error)), record)
    };
    let mut last = Instant::now();
    let mut lap = || {
        let now = Instant::now();
        Some(now - std::mem::replace(&mut last, now))
    };
    let review = match review {
        Ok(review) => review,
        Err(error @ Malformed::Depth(_)) => return too_deep(body, error),
        Err(error) => return malformed(error),
    };
    let Review { version, uid, namespace, name, dry_run, user_info, asked } = review;
    let mut record = Record { uid, namespace, name, dry_run, outcome: Outcome::Skipped, ..Record::default() };
    let admission = match asked {
        Asked::Outside(reason) => {
            let subject = Subject { namespace: record.namespace.clone(), ..Subject::default() };
            Admission::skipped(reason, subject)
        }
        // Never happens: only reviews for advice are parsed into workloads.
        Asked::Workload(_) => {
            let subject = Subject { namespace: record.namespace.clone(), ..Subject::default() };
            Admission::skipped(review::OTHER_RESOURCE, subject)
        }
        Asked::Pod(object) => {
            let admitted = || match &weight {
                Ok(_) => {
                    engine.review(AdmissionRequest::new(object, &record.namespace, &variables).by(user_info))
                }
                Err(excess) => {
                    let ask = |outline: &str| {
                        let request = AdmissionRequest::new(outline, &record.namespace, &variables);
                        engine.leaves_alone(request.by(user_info))
                    };
                    Ok(excessive(object, &record.namespace, excess, ask))
                }
            };
            match catch_unwind(AssertUnwindSafe(admitted)) {
                Ok(Ok(admission)) => {
                    record.served = Some(admission.served);
                    admission
                }
                Ok(Err(error)) => return malformed(review::unreadable(body, object, error)),
                Err(_) => {
                    record.panicked = true;
                    let subject = Subject { namespace: record.namespace.clone(), ..Subject::default() };
                    let (message, detail) = (String::new(), String::new());
                    let decision = AdmissionDecision::Deny { code: 500, reason: PANIC, message, detail };
                    Admission { decision, ..Admission::skipped("", subject) }
                }
            }
        }
    };
    let inject = lap();
    let answer = write(admission, engine, &mut record);
    let encoded = response::encode(version, &record.uid, &answer);
    record.stages = Stages { read: None, decode: Some(decode), inject, encode: lap() };
    (encoded.map_err(|_| Refusal::Fault), record)
}

/// The response and its record.
fn write(admission: Admission, engine: &dyn Engine, record: &mut Record) -> AdmissionResponse {
    let mut answer = AdmissionResponse::default();
    let Admission { decision, patch, warnings, rule, subject, served: _ } = admission;
    record.rule = rule;
    record.namespace = subject.namespace;
    record.owner = subject.owner;
    record.reinvoked = subject.reinvoked;
    if record.name.is_empty() {
        record.name = subject.name;
    }
    match (decision, patch) {
        (AdmissionDecision::Inject { .. }, Some(patch)) if patch.json.len() > PATCH_BYTES => {
            refuse(&mut answer, record, 500, PATCH_TOO_LARGE, String::new());
        }
        (AdmissionDecision::Inject { reason, templates }, patch) => {
            record.templates = templates.join(",");
            warn(&mut answer, record, warnings);
            // DA-04: the API server treats an empty patch with a type as an error.
            match patch.filter(|patch| patch.operations > 0) {
                Some(patch) => {
                    record.reason = reason;
                    record.outcome = Outcome::Injected;
                    record.patch = Some(PatchSize { bytes: patch.json.len(), operations: patch.operations });
                    answer.patch = Some(patch.json.into_bytes());
                }
                // The outcome is that of a skip, and so is the reason.
                None => record.reason = ALREADY_INJECTED,
            }
        }
        (AdmissionDecision::Skip { reason }, _) => {
            record.reason = reason;
            warn(&mut answer, record, warnings);
        }
        (AdmissionDecision::Deny { code, reason, message, detail }, _) => {
            record.detail = detail;
            refuse(&mut answer, record, code, reason, message);
        }
    }
    let values = [record.outcome.key(), record.reason, engine.revision(), engine.hash()];
    answer.audit = AUDIT_KEYS.into_iter().zip(values.map(str::to_owned)).collect();
    if !record.rule.is_empty() {
        answer.audit.push((AUDIT_RULE, record.rule.clone()));
    }
    if !record.warnings.is_empty() {
        answer.audit.push((AUDIT_WARNINGS, record.warnings.clone()));
    }
    answer
}

/// Adds warnings, and their codes to log, metrics and audit log; the warnings themselves may quote the pod.
fn warn(answer: &mut AdmissionResponse, record: &mut Record, warnings: Vec<Warning>) {
    for warning in &warnings {
        if !record.warning_codes.contains(&warning.code) {
            if !record.warnings.is_empty() {
                record.warnings.push(',');
            }
            record.warnings.push_str(warning.code);
        }
        record.warning_codes.push(warning.code);
    }
    // A pod with a cached patch has the same warnings as its sibling.
    if record.served != Some(CacheStatus::Hit) {
        let shown: Vec<&str> =
            warnings.iter().filter(|one| one.is_shown()).map(|one| one.message.as_str()).collect();
        record.told = shown.join("; ");
    }
    answer.warnings = warnings;
}

fn refuse(
    answer: &mut AdmissionResponse,
    record: &mut Record,
    code: u16,
    reason: &'static str,
    message: String,
) {
    record.reason = reason;
    let denial = if matches!(code, 400..=499) {
        record.outcome = Outcome::Denied;
        record.told.clone_from(&message);
        Denial { code, message }
    } else {
        record.outcome = Outcome::Error;
        // The engine's internal errors are not for the user of kubectl.
        Denial {
            code: 500,
            message: format!(
                "outrigger could not inject the sidecar because of an internal error ({reason}); see \
                 outrigger's log for request {}",
                record.uid
            ),
        }
    };
    answer.denial = Some(denial);
}

#[cfg(test)]
mod tests {
    use super::*;

    // DA-08: an audit annotation whose key is no qualified name is dropped by the API server.
    #[test]
    fn audit_keys_are_the_name_part_of_qualified_names() {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        for key in AUDIT_KEYS.into_iter().chain([AUDIT_WARNINGS, AUDIT_RULE]) {
            let bytes = key.as_bytes();
            assert!((1..=63).contains(&bytes.len()), "{key}");
            assert!(bytes.iter().all(|byte| inner(*byte)), "{key}");
            assert!(
                bytes[0].is_ascii_alphanumeric() && bytes[bytes.len() - 1].is_ascii_alphanumeric(),
                "{key}"
            );
        }
    }
}
