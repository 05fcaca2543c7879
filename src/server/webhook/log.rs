//! The one line of each request in the log.

use super::{
    record::{Outcome, Record, clip},
    refusal::CLIENT_GONE,
};
use crate::inject::CacheStatus;

/// Writes the line of a request that is done.
pub(super) fn observe(record: &Record) {
    if record.served == Some(CacheStatus::Stale) {
        let (namespace, owner) = (clip(&record.namespace), clip(&record.owner));
        tracing::error!(
            namespace,
            owner,
            "a bug in outrigger: the cached patch of a pod's sibling differs from the patch computed for the \
             pod; the pod got the right patch, and the cached one is dropped"
        );
    }
    let engine = record.active.as_ref().map(|active| &active.engine);
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                $level,
                uid = clip(&record.uid),
                namespace = clip(&record.namespace),
                name = clip(&record.name),
                owner = filled(clip(&record.owner)),
                revision = engine.map(|engine| engine.revision()),
                config_hash = engine.map(|engine| engine.hash()),
                outcome = record.outcome.key(),
                reason = record.reason,
                rule = filled(&record.rule),
                detail = filled(&record.detail),
                templates = filled(clip(&record.templates)),
                warnings = filled(&record.warnings),
                patch_ops = record.patch.map_or(0, |patch| patch.operations),
                bytes_in = record.bytes_in,
                bytes_out = record.bytes_out,
                duration_ms = record.took.as_micros() as f64 / 1000.0,
                dry_run = record.dry_run,
                reinvoked = record.reinvoked,
                status = Some(record.status).filter(|status| *status != 0),
                "request"
            )
        };
    }
    // A client that has gone is not our problem.
    if record.outcome == Outcome::Error && record.reason != CLIENT_GONE {
        line!(tracing::Level::WARN)
    } else {
        line!(tracing::Level::INFO)
    }
}

/// An empty field is left out.
fn filled(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
