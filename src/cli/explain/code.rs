//! `outrigger explain CODE`: what a reason or warning code means.

use super::{super::failure::Failure, files, wrap};
use crate::codes;
use injector::diagnose::CHECKS;

/// Prints what a code means.
pub(super) fn explain(typed: &str) -> Result<(), Failure> {
    match codes::find(typed) {
        Some(code) => files::print(&wrap::page_for_stdout(code.text())),
        None if let Some((check, about)) = finding(typed) => {
            let page = format!("# {check}\n\n*finding of outrigger doctor*: {about}.\n");
            files::print(&wrap::page_for_stdout(page))
        }
        None => {
            let nearest: Vec<&str> = codes::nearest(typed).iter().map(|code| code.key).collect();
            let hint = match nearest.as_slice() {
                [] => "docs/reasons lists all codes".to_owned(),
                some => format!("nearest: {}", some.join(", ")),
            };
            Err(Failure::usage(format!(
                "{typed} is neither a code nor KIND/NAME; {hint}; an object is named as in deployment/{typed}"
            )))
        }
    }
}

/// A check of the doctor, by its key.
fn finding(typed: &str) -> Option<&'static (&'static str, &'static str)> {
    let key = typed.to_ascii_lowercase().replace('_', "-");
    CHECKS.iter().find(|(check, _)| *check == key)
}
