//! `outrigger explain CODE`: what a reason or warning code means.

use super::{super::failure::Failure, files};

/// Prints what a code means.
pub(super) fn explain(code: &str) -> Result<(), Failure> {
    let _ = (code, files::print);
    Err(Failure::usage("codes"))
}
