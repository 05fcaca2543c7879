//! The functions that expressions may call.

use std::sync::{Arc, LazyLock};

use ::cel::common::types::{CelBool, CelString};
use ::cel::{DeclarationError, Env, ExecutionError};
use gotemplate::regexp;
use quick_cache::{Weighter, sync::Cache};
use regex::Regex;

/// Functions that the crate and all supported API servers have, with the same results.
const COMMON: [&str; 17] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "double",
    "bool",
    "has",
    "in",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
    "lowerAscii",
    "upperAscii",
];

/// Functions that are evaluated here, but not to the same result by every supported API server.
const MORE: [&str; 25] = [
    "bytes",
    "charAt",
    "distinct",
    "dyn",
    "flatten",
    "format",
    "hasValue",
    "indexOf",
    "join",
    "lastIndexOf",
    "or",
    "orValue",
    "optFlatMap",
    "optMap",
    "replace",
    "reverse",
    "slice",
    "sort",
    "split",
    "string",
    "substring",
    "trim",
    "type",
    "uint",
    "value",
];

/// The language with the extensions for texts and lists.
pub(super) static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    for extension in [::cel::extensions::strings, ::cel::extensions::lists, regular_expressions] {
        // All are known when this is compiled and cannot collide; without one, its functions are unknown.
        let _ = env.add_extension(extension);
    }
    Arc::new(env)
});

/// Compiled patterns that expressions contain as literals, by their texts. (One that is read from a pod is compiled each time.)
static PATTERNS: LazyLock<Cache<String, Arc<Regex>, Length>> =
    LazyLock::new(|| Cache::with_weighter(256, 64 << 10, Length));

/// Weighs a pattern by the length of its text.
#[derive(Clone)]
struct Length;

impl Weighter<String, Arc<Regex>> for Length {
    fn weight(&self, pattern: &String, _: &Arc<Regex>) -> u64 {
        pattern.len() as u64 + 64
    }
}

/// Whether all supported API servers have a function, and evaluate it as it is evaluated here.
pub(super) fn is_common(name: &str) -> bool {
    is_operator(name) || COMMON.contains(&name)
}

/// Whether a function is evaluated here.
pub(super) fn is_known(name: &str) -> bool {
    is_common(name) || MORE.contains(&name)
}

fn is_operator(name: &str) -> bool {
    !name.chars().next().is_some_and(char::is_alphabetic)
}

/// Compiles the literal pattern of a call to `matches` in advance.
///
/// # Errors
/// Why Go, and with it an API server, rejects the pattern.
pub(super) fn prepare(pattern: &str) -> Result<(), String> {
    if PATTERNS.get(pattern).is_none() {
        PATTERNS.insert(pattern.to_owned(), Arc::new(regexp::compile(pattern)?));
    }
    Ok(())
}

/// `matches` with Go's regular expressions, as in `cel-go`. The crate's own implementation, its feature `regex`, uses
/// Rust's, whose `\d`, `\w`, `\s` and `\b` are not limited to ASCII.
fn regular_expressions(env: &mut Env) -> Result<(), DeclarationError> {
    ::cel::add_overload!(env, fn matches: (CelString, CelString) -> Result<CelBool>, id = "matches")?;
    ::cel::add_member_overload!(env, fn matches: (CelString, CelString) -> Result<CelBool>)
}

fn matches(text: &CelString<'_>, pattern: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    let holds = |regex: &Regex| CelBool::from(regex.is_match(text.inner()));
    if let Some(regex) = PATTERNS.get(pattern.inner()) {
        return Ok(holds(&regex));
    }
    match regexp::compile(pattern.inner()) {
        Ok(regex) => Ok(holds(&regex)),
        Err(reason) => Err(ExecutionError::function_error("matches", reason)),
    }
}
