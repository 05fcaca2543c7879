//! `outrigger explain CODE`: what a reason or warning code means.

use super::{super::failure::Failure, files, wrap};
use crate::codes;
use injector::diagnose::CHECKS;

/// Prints what a code means.
pub(super) fn explain(typed: &str) -> Result<(), Failure> {
    match codes::find(typed) {
        Some(code) => files::print(&wrap::page_for_stdout(code.text())),
        None if let Some(section) = codes::finding(typed) => files::print(&wrap::page_for_stdout(section)),
        None => {
            let nearest: Vec<&str> = codes::nearest(typed).iter().map(|code| code.key).collect();
            let hint = match nearest.as_slice() {
                [] => "outrigger explain --codes lists all codes".to_owned(),
                some => format!("nearest: {}", some.join(", ")),
            };
            Err(Failure::usage(format!(
                "{typed} is neither a code nor KIND/NAME; {hint}; an object is named as in deployment/{typed}"
            )))
        }
    }
}

/// Every code and every check of the doctor, one per line with its meaning.
pub(super) fn list() -> String {
    let codes = codes::ALL.iter().map(|code| (code.key, code.summary));
    let rows: Vec<(&str, &str)> = codes.chain(CHECKS).collect();
    let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    rows.iter().map(|(key, about)| format!("{key:width$}  {about}\n")).collect()
}
