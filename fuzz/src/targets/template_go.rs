//! Templates against `text/template` with sprig: the same output, or no output from either.

use std::{fs, sync::LazyLock};

use outrigger::template::{
    FunctionTable, Limits, Problem, Scope, Template, funcs::sprig, value::Value as Data,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{Fate, input, oracle};

/// Longer texts say nothing that shorter ones do not.
const LONGEST: usize = 2048;

/// The source of Go's answers for the tests: `crates/gotemplate/tests/fixtures/template.json`.
#[derive(Deserialize)]
pub(crate) struct Fixture {
    pub(crate) files: Vec<File>,
    pub(crate) rows: Vec<Row>,
}

#[derive(Deserialize)]
pub(crate) struct File {
    pub(crate) file: String,
    #[serde(rename = "type")]
    kind: String,
    data: Value,
}

#[derive(Deserialize)]
pub(crate) struct Row {
    pub(crate) file: String,
    pub(crate) template: String,
}

/// The data that templates are rendered with, which the first byte of an input chooses.
pub(crate) static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let path = input::repository().join("crates/gotemplate/tests/fixtures/template.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut fixture: Fixture = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}"));
    fixture.files.retain(|file| file.kind != "sample" && !file.data.is_null());
    fixture
});

pub(super) fn check(bytes: &[u8]) -> Fate {
    let Some((first, text)) = bytes.split_first() else { return Fate::Drop };
    let Ok(text) = std::str::from_utf8(text) else { return Fate::Drop };
    if text.len() > LONGEST || is_otherwise(text) {
        return Fate::Drop;
    }
    let data = &FIXTURE.files[usize::from(*first) % FIXTURE.files.len()].data;
    let ours = match render(text, data) {
        Ours::Is(ours) => ours,
        Ours::Limited => return Fate::Drop,
    };
    let Some(answer) = oracle::template(text, data) else { return Fate::Drop };
    if answer.unstable {
        return Fate::Drop;
    }
    let theirs = answer.text.as_deref().ok_or(answer.phase.as_str());
    let same = match (&ours, theirs) {
        (Ok(ours), Ok(theirs)) => ours == theirs,
        (Err((phase, _)), Err(theirs)) => *phase == theirs,
        _ => false,
    };
    assert!(same, "{text:?}\nours   {ours:?}\ntheirs {theirs:?} {}", answer.error);
    Fate::Keep
}

/// The intended differences, from the tables of the tests `core_rows_match_go` and `answers_as_sprig_does`.
fn is_otherwise(text: &str) -> bool {
    const WORDS: &[&str] = &[
        // The environment differs.
        "env",
        // `call` and the methods of semver and of times.
        "call",
        "Compare",
        "GreaterThan",
        "LessThan",
        "Equal",
        "Original",
        "Inc",
        "Set",
        "Metadata",
        // The address of a value.
        "%p",
    ];
    WORDS.iter().any(|word| text.contains(word)) || has_complex_number(text)
}

/// Complex numbers are refused: nobody's templates compute with them.
fn has_complex_number(text: &str) -> bool {
    text.as_bytes().windows(2).any(|pair| (pair[0].is_ascii_hexdigit() || pair[0] == b'.') && pair[1] == b'i')
}

enum Ours {
    /// Output, or the phase and the message of an error.
    Is(Result<String, (&'static str, String)>),
    /// A limit was reached, or something unsupported was requested.
    Limited,
}

static FUNCTIONS: &FunctionTable = &sprig::FUNCTIONS;

fn render(text: &str, data: &Value) -> Ours {
    let template = match Template::parse("t", text, FUNCTIONS) {
        Ok(template) => template,
        Err(error) if error.message.contains("refused") || error.message.contains("U+E000") => {
            return Ours::Limited;
        }
        Err(error) if error.message.contains("levels deep") => return Ours::Limited,
        // Go's strings are bytes, ours are text.
        Err(error) if error.message.contains("is not UTF-8") => return Ours::Limited,
        Err(error) => return Ours::Is(Err(("parse", error.message))),
    };
    let (scope, limits) = (Scope::default(), Limits::default());
    match template.render(&Data::json(data, false), &scope, &limits) {
        Ok(rendered) => Ours::Is(Ok(rendered.text)),
        Err(error) => match error.problem {
            Problem::Limit(_) => Ours::Limited,
            problem => {
                let message = problem.to_string();
                // The input is shared by all requests, and a map that contains itself has no text.
                let is_kept =
                    message.contains("cannot be changed") || message.contains("cannot contain itself");
                if is_kept { Ours::Limited } else { Ours::Is(Err(("exec", message))) }
            }
        },
    }
}
