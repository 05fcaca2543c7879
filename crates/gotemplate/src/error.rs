//! Errors in templates, with their places.

use std::fmt;

use super::ast::Span;
use super::limits::Limit;

/// A place in a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The template's name.
    pub template: String,
    /// 1-based.
    pub line: u32,
    /// 1-based, in characters.
    pub column: u32,
    /// The source line, with a caret below it.
    pub snippet: String,
}

/// A template that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {message}{}", Snippet(.at))]
pub struct ParseError {
    /// The place.
    pub at: Box<Location>,
    /// The problem, in Go's words where Go has them.
    pub message: String,
}

/// A template that cannot be rendered with its data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {problem}{}", Snippet(.at))]
pub struct RenderError {
    /// The place.
    pub at: Box<Location>,
    /// The problem.
    pub problem: Problem,
}

/// Why a render stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The template does not fit its data; in Go's words.
    #[error("{0}")]
    Evaluation(String),
    /// A function failed.
    #[error("error calling {name}: {message}")]
    Function {
        /// The function's name.
        name: &'static str,
        /// Its message.
        message: String,
    },
    /// A limit was reached.
    #[error(transparent)]
    Limit(#[from] Limit),
}

impl Location {
    pub(super) fn new(template: &str, source: &str, at: Span) -> Box<Location> {
        let start = (at.start as usize).min(source.len());
        let before = source.get(..start).unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() as u32 + 1;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let indent = before.get(line_start..).unwrap_or_default();
        let text = source.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
        let column = indent.chars().count() as u32 + 1;
        // A tab before the caret must be as wide as the one above it.
        let padding: String = indent.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let snippet = format!("{text}\n{padding}^");
        Box::new(Location { template: template.to_owned(), line, column, snippet })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "template {}, line {}, column {}", self.template, self.line, self.column)
    }
}

struct Snippet<'l>(&'l Location);

impl fmt::Display for Snippet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.0.snippet.lines() {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}
