//! Regular expressions with Go's syntax and semantics, on an engine that is linear in the length of the text.

use regex::{Regex, RegexBuilder};

mod re2;

/// Size limit of a compiled expression in bytes.
const COMPILED_SIZE: usize = 1 << 20;

/// Compiles a pattern as Go's `regexp.Compile` does.
///
/// # Errors
/// The reason, if Go rejects the pattern, or if it is too large when compiled (1 MiB, a limit that Go does not have).
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = re2::translate(pattern).map_err(|reason| failed(pattern, &reason))?;
    RegexBuilder::new(&translated)
        .size_limit(COMPILED_SIZE)
        .build()
        .map_err(|_| failed(pattern, "not understood or too large"))
}

fn failed(pattern: &str, reason: &str) -> String {
    format!("regular expression {pattern:?}: {reason}")
}
