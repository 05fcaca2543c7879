//! The functions of `github.com/Masterminds/sprig/v3` (`TxtFuncMap`), as far as they are pure.
//!
//! Each group is a table of rows next to its code. Functions that need a clock, randomness, keys or the network are
//! rejected with a reason when a template is parsed. If Go panics inside a function, ours fails with an error, as Go's
//! templates also report such a panic.

use super::{FunctionTable, Row};

pub mod argument;
pub mod case;
mod coerce;
mod decimal;
mod defaults;
pub mod dicts;
pub mod duration;
mod encoding;
mod equality;
pub mod json;
mod lists;
mod math;
mod number;
mod paths;
mod reflect;
mod refused;
mod regex;
mod semver;
pub mod strings;
mod url;

/// sprig's functions in groups; no name repeats.
pub const GROUPS: &[&[Row]] = &[
    strings::ROWS,
    lists::ROWS,
    dicts::ROWS,
    defaults::ROWS,
    math::ROWS,
    reflect::ROWS,
    json::ROWS,
    encoding::ROWS,
    regex::ROWS,
    semver::ROWS,
    paths::ROWS,
    url::ROWS,
    duration::ROWS,
    refused::ROWS,
];

/// sprig's functions alone, without Istio's.
pub static FUNCTIONS: FunctionTable = FunctionTable { tables: GROUPS };

#[cfg(test)]
mod tests;
