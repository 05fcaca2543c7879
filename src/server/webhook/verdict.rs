//! One review judged: read, decided, written, with every panic contained, and a record of it for log and metrics.
//!
//! Nothing of the pod but names goes into the record.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use crate::inject::limits;
use crate::inject::limits::{Excess, Weight};
use crate::names;
use crate::server::observe::metrics::Outcome;
use crate::server::webhook::engine::{Call, Engine, Injected, Judged, Subject, Verdict, Warning, Way};
use crate::server::webhook::handler::OUTLINE;
use crate::server::webhook::response::{Answer, Denial};
use crate::server::webhook::review::{Malformed, Matter, Review};
use crate::server::webhook::{response as answer, review};

/// What is known about a request when it is done.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) outcome: Outcome,
    pub(crate) reason: &'static str,
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) templates: String,
    /// What failed and where in the configuration.
    pub(crate) detail: String,
    /// The code of every warning.
    pub(crate) warning_codes: Vec<&'static str>,
    /// The same for people: each once.
    pub(crate) warnings: String,
    /// Bytes and operations.
    pub(crate) patch: Option<(usize, usize)>,
    pub(crate) dry_run: bool,
    pub(crate) reinvoked: bool,
    pub(crate) panicked: bool,
    /// How the engine found its answer, if it was asked.
    pub(crate) way: Option<Way>,
    /// When the body had been read and the first stage began.
    pub(crate) judged: Option<Instant>,
    /// Name of the stage and the time spent in it.
    pub(crate) stages: Vec<(&'static str, Duration)>,
}

impl Record {
    pub(crate) fn new(outcome: Outcome, reason: &'static str) -> Record {
        Record {
            outcome,
            reason,
            uid: String::new(),
            namespace: String::new(),
            name: String::new(),
            owner: String::new(),
            templates: String::new(),
            detail: String::new(),
            warning_codes: Vec::new(),
            warnings: String::new(),
            patch: None,
            dry_run: false,
            reinvoked: false,
            panicked: false,
            way: None,
            judged: None,
            stages: Vec::new(),
        }
    }
}

/// What goes back.
#[derive(Debug)]
pub enum Reply {
    /// An AdmissionReview, with status 200.
    Review(Vec<u8>),
    /// No review to answer: status 400.
    Malformed(Malformed),
    /// Our own fault before there was a review to answer: status 500.
    Fault,
}

/// Reason of a request in which something panicked.
pub(crate) const PANIC: &str = "PANIC";
/// Keys of the audit annotations: decision, reason, revision and hash of the configuration. The API server puts the
/// webhook's name and a slash before each (DA-08).
const AUDIT_KEYS: [&str; 4] = ["decision", "reason", "revision", "config-hash"];
/// Key of the audit annotation with the codes of warnings: a pod that a controller makes has nobody who reads them.
const AUDIT_WARNINGS: &str = "warnings";
/// I-16: a larger patch would not pass the API server.
const PATCH_BYTES: usize = 2 << 20;

/// A body of which so much is known as is needed to judge it.
pub(crate) struct Opened<'b> {
    body: &'b [u8],
    review: Result<Review<'b>, Malformed>,
    weight: Result<Weight, Excess>,
    watch: Stopwatch,
    began: Instant,
}

/// Reads the envelope of a body and weighs the pod in it; `tree` is how much memory the pod's tree may take.
pub(crate) fn open(body: &[u8], tree: usize) -> Opened<'_> {
    let mut watch = Stopwatch::start();
    let began = watch.last;
    let review = review::parse(body);
    let weight = match &review {
        Ok(Review { matter: Matter::Pod(object), .. }) => limits::check(object, tree),
        _ => Ok(Weight::default()),
    };
    watch.lap("decode");
    Opened { body, review, weight, watch, began }
}

impl Opened<'_> {
    /// How much memory judging it takes at most.
    pub(crate) fn memory(&self) -> usize {
        match &self.weight {
            Ok(weight) => limits::judging(weight.bytes),
            Err(_) => OUTLINE + self.body.len(),
        }
    }
}

/// The answer to one body, by an engine and the environment variables that the URL names: what the endpoint sends once it
/// has read a request, without HTTP around it.
pub fn reply(engine: &dyn Engine, body: &[u8], variables: BTreeMap<String, String>) -> Reply {
    judge(engine, open(body, limits::TREE), variables).0
}

/// Judges one body.
pub(crate) fn judge(
    engine: &dyn Engine,
    opened: Opened<'_>,
    variables: BTreeMap<String, String>,
) -> (Reply, Record) {
    // Nothing that outlives the call is changed in it, so nothing can be left half changed.
    catch_unwind(AssertUnwindSafe(|| judge_review(engine, opened, variables))).unwrap_or_else(|_| {
        let record = Record { panicked: true, ..Record::new(Outcome::Error, PANIC) };
        (Reply::Fault, record)
    })
}

/// The answer to a body whose pod was injected and is to be left alone: its namespace does not ask for it.
pub(crate) fn leave_alone(
    engine: &dyn Engine,
    body: &[u8],
    record: Record,
    sentence: String,
) -> (Reply, Record) {
    let Ok(Review { version, .. }) = review::parse(body) else { return (Reply::Fault, record) };
    let mut record = Record {
        outcome: Outcome::Skipped,
        templates: String::new(),
        warning_codes: Vec::new(),
        warnings: String::new(),
        patch: None,
        ..record
    };
    let warning = Warning { code: review::NAMESPACE_NOT_SELECTED, is_shown: true, text: sentence };
    let verdict = Verdict::Skipped { reason: review::NAMESPACE_NOT_SELECTED, warnings: vec![warning] };
    let answer = write(verdict, engine, &mut record);
    match answer::encode(version, &record.uid, &answer) {
        Ok(encoded) => (Reply::Review(encoded), record),
        Err(_) => (Reply::Fault, record),
    }
}

/// The pod of a body, a JSON object.
pub(crate) fn pod(body: &[u8]) -> Option<&str> {
    match review::parse(body).ok()?.matter {
        Matter::Pod(object) => Some(object),
        Matter::Outside(_) => None,
    }
}

/// Refuses a body that is nested too deep to be read, by a review if it can be made out whom to answer.
fn too_deep(body: &[u8], error: Malformed) -> (Reply, Record) {
    let mut record = Record::new(Outcome::Error, error.reason());
    if let Some((version, uid)) = review::addressee(body) {
        let denial = Denial { code: TOO_LARGE, message: error.to_string() };
        let answer = Answer { denial: Some(denial), ..Answer::default() };
        if let Ok(encoded) = answer::encode(version, &uid, &answer) {
            record.outcome = Outcome::Denied;
            record.uid = uid;
            return (Reply::Review(encoded), record);
        }
    }
    (Reply::Malformed(error), record)
}

/// What becomes of a pod that is too large: it stays as it is if nobody wants it injected, else it is refused.
fn excessive(engine: &dyn Engine, call: &Call<'_>, excess: &Excess) -> Judged {
    engine.leaves_alone(call).unwrap_or_else(|| {
        let message = format!(
            "the pod is too large to be injected: {excess}; with the label {}: \"false\" it is created without a proxy",
            names::INJECT
        );
        let verdict =
            Verdict::Refused { code: TOO_LARGE, reason: POD_TOO_LARGE, message, detail: String::new() };
        Judged { verdict, subject: Subject { namespace: call.namespace.to_owned(), ..Subject::default() }, way: Way::Whole }
    })
}

/// HTTP's and Kubernetes' code for what is too large.
const TOO_LARGE: u16 = 413;
/// Reason of the refusal of a pod that is over a limit.
const POD_TOO_LARGE: &str = "POD_TOO_LARGE";

fn judge_review(
    engine: &dyn Engine,
    opened: Opened<'_>,
    variables: BTreeMap<String, String>,
) -> (Reply, Record) {
    let Opened { body, review, weight, mut watch, began } = opened;
    let review = match review {
        Ok(review) => review,
        Err(error @ Malformed::Depth(_)) => return too_deep(body, error),
        Err(error) => {
            let record = Record::new(Outcome::Error, error.reason());
            return (Reply::Malformed(error), record);
        }
    };
    let Review { version, uid, namespace, name, dry_run, matter } = review;
    let mut record =
        Record { uid, namespace, name, dry_run, judged: Some(began), ..Record::new(Outcome::Skipped, "") };
    let verdict = match matter {
        Matter::Outside(reason) => Verdict::Skipped { reason, warnings: Vec::new() },
        Matter::Pod(object) => {
            let call = Call { body, object, namespace: &record.namespace, variables: &variables };
            let judged = || match &weight {
                Ok(_) => engine.judge(&call),
                Err(excess) => Ok(excessive(engine, &call, excess)),
            };
            match catch_unwind(AssertUnwindSafe(judged)) {
                Ok(Ok(judged)) => {
                    record.way = Some(judged.way);
                    record.namespace = judged.subject.namespace;
                    record.owner = judged.subject.owner;
                    record.reinvoked = judged.subject.reinvoked;
                    if record.name.is_empty() {
                        record.name = judged.subject.name;
                    }
                    judged.verdict
                }
                Ok(Err(error)) => {
                    let record = Record::new(Outcome::Error, error.reason());
                    return (Reply::Malformed(error), record);
                }
                Err(_) => {
                    record.panicked = true;
                    Verdict::Refused {
                        code: 500,
                        reason: PANIC,
                        message: String::new(),
                        detail: String::new(),
                    }
                }
            }
        }
    };
    watch.lap("inject");
    let answer = write(verdict, engine, &mut record);
    let encoded = answer::encode(version, &record.uid, &answer);
    watch.lap("encode");
    record.stages = watch.laps;
    match encoded {
        Ok(encoded) => (Reply::Review(encoded), record),
        Err(_) => {
            record.outcome = Outcome::Error;
            (Reply::Fault, record)
        }
    }
}

fn write(verdict: Verdict, engine: &dyn Engine, record: &mut Record) -> Answer {
    let mut answer = Answer::default();
    match verdict {
        Verdict::Injected(Injected { patch, .. }) if patch.len() > PATCH_BYTES => {
            refuse(&mut answer, record, 500, "PATCH_TOO_LARGE", String::new());
        }
        Verdict::Injected(Injected { patch, operations, templates, reason, warnings }) => {
            record.reason = reason;
            record.templates = templates.join(",");
            warn(&mut answer, record, warnings);
            // DA-04: the API server takes an empty patch with a type for an error.
            if operations > 0 {
                record.outcome = Outcome::Injected;
                record.patch = Some((patch.len(), operations));
                answer.patch = Some(patch);
            }
        }
        Verdict::Skipped { reason, warnings } => {
            record.reason = reason;
            warn(&mut answer, record, warnings);
        }
        Verdict::Refused { code, reason, message, detail } => {
            record.detail = detail;
            refuse(&mut answer, record, code, reason, message);
        }
    }
    let values = [record.outcome.key(), record.reason, engine.revision(), engine.hash()];
    answer.audit = AUDIT_KEYS.into_iter().zip(values.map(str::to_owned)).collect();
    if !record.warnings.is_empty() {
        answer.audit.push((AUDIT_WARNINGS, record.warnings.clone()));
    }
    answer
}

/// Passes warnings on, and their codes to log, metrics and audit log: what they say may quote the pod.
fn warn(answer: &mut Answer, record: &mut Record, warnings: Vec<Warning>) {
    for warning in &warnings {
        if !record.warning_codes.contains(&warning.code) {
            if !record.warnings.is_empty() {
                record.warnings.push(',');
            }
            record.warnings.push_str(warning.code);
        }
        record.warning_codes.push(warning.code);
    }
    answer.warnings = warnings;
}

fn refuse(answer: &mut Answer, record: &mut Record, code: u16, reason: &'static str, message: String) {
    record.reason = reason;
    let denial = if matches!(code, 400..=499) {
        record.outcome = Outcome::Denied;
        Denial { code, message }
    } else {
        record.outcome = Outcome::Error;
        // Whatever the engine says about its own fault is not for the person who runs kubectl.
        Denial {
            code: 500,
            message: format!(
                "outrigger could not inject the sidecar because of an internal error ({reason}); whoever runs the \
                 cluster finds request {} in outrigger's log",
                record.uid
            ),
        }
    };
    answer.denial = Some(denial);
}

struct Stopwatch {
    last: Instant,
    laps: Vec<(&'static str, Duration)>,
}

impl Stopwatch {
    fn start() -> Stopwatch {
        Stopwatch { last: Instant::now(), laps: Vec::with_capacity(3) }
    }

    fn lap(&mut self, stage: &'static str) {
        let now = Instant::now();
        self.laps.push((stage, now - self.last));
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // DA-08: an audit annotation whose key is no qualified name is dropped by the API server.
    #[test]
    fn audit_keys_are_the_name_part_of_qualified_names() {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        for key in AUDIT_KEYS.into_iter().chain([AUDIT_WARNINGS]) {
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
