//! `outrigger explain CODE`: what a reason or warning code means.

use super::{super::failure::Failure, files, wrap};
use crate::codes;
use injector::{codes::edits, diagnose::CHECKS};

/// Prints what a code means.
pub(super) fn explain(typed: &str) -> Result<(), Failure> {
    match codes::find(typed) {
        Some(code) => files::print(&wrap::page_for_stdout(code.text())),
        None if let Some(section) = codes::finding(typed) => files::print(&wrap::page_for_stdout(section)),
        None => {
            let typed_key = typed.to_ascii_lowercase().replace('_', "-");
            let checks = CHECKS.iter().map(|(check, _)| *check);
            let checks = checks.filter(|check| edits(&typed_key, check) <= MOST_TYPOS);
            let nearest: Vec<&str> =
                codes::nearest(typed).iter().map(|code| code.key).chain(checks).collect();
            let hint = match nearest.as_slice() {
                [] => format!(
                    "outrigger explain --codes lists all codes; an object is named as in deployment/{typed}"
                ),
                some => format!("nearest: {}", some.join(", ")),
            };
            Err(Failure::usage(format!("{typed} is neither a code nor KIND/NAME; {hint}")))
        }
    }
}

/// The most mistyped letters for which a check of the doctor is suggested.
const MOST_TYPOS: usize = 2;

/// Every code and every check of the doctor, one per line with its meaning.
pub(super) fn list() -> String {
    let codes = codes::ALL.iter().map(|code| (code.key, code.summary));
    let rows: Vec<(&str, &str)> = codes.chain(CHECKS).collect();
    let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    rows.iter().map(|(key, about)| format!("{key:width$}  {about}\n")).collect()
}
