//! Go's `text/template`, so that templates written for Istio or similar tools render unchanged.
//!
//! [`Template::parse`] once, [`Template::render`] per pod. Texts from the pod never become structure: see
//! [`value::Taint`] and [`Placeholder`].
//!
//! ```
//! use gotemplate::{Limits, Scope, Template, Value, funcs::sprig};
//!
//! let template = Template::parse("greeting", "hello {{ .name | upper }}", &sprig::FUNCTIONS)?;
//! let data = serde_json::json!({"name": "mesh"});
//! let (scope, limits) = (Scope::default(), Limits::default());
//!
//! // Trusted data becomes ordinary text.
//! let rendered = template.render(&Value::json(&data, false), &scope, &limits)?;
//! assert_eq!(rendered.text, "hello MESH");
//!
//! // Untrusted data is represented by a placeholder.
//! let rendered = template.render(&Value::json(&data, true), &scope, &limits)?;
//! assert_eq!(rendered.text, "hello \u{E000}0\u{E001}");
//! assert_eq!(rendered.placeholders[0].raw, "MESH");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In reading order: [`gotypes`] (the shapes of Go structs, as data), [`value`] (the values of templates), [`funcs`]
//! (the functions), [`absent_keys`] (keys that are known to be absent before there is data), [`check`] (mistakes that
//! can be found without data).

pub mod absent_keys;
mod ast;
pub mod check;
mod error;
mod eval;
pub mod format;
pub mod funcs;
pub mod gotypes;
mod lex;
pub mod limits;
mod parse;
mod reads;
pub mod regexp;
mod render;
mod stand_in;
mod trace;
pub mod value;

#[cfg(test)]
mod tests;

use absent_keys::{AbsentKeys, Keys, Present};
pub use error::{Location, ParseError, Problem, RenderError};
pub use funcs::FunctionTable;
pub use limits::{Limit, Limits};
pub use render::{Placeholder, Rendered, Scope};
pub use stand_in::{LONGEST, STAND_IN, STAND_IN_END, StandIns, push_stand_in};
pub use trace::{Read, Source, Traced, Written};
pub use value::Value;

/// A parsed template with all its definitions.
#[derive(Debug)]
pub struct Template {
    name: String,
    source: String,
    parsed: parse::Parsed,
}

impl Template {
    /// Parses a template; functions are resolved now, by name.
    ///
    /// # Errors
    /// If Go would reject the source, if it uses a rejected function, or if it contains U+E000 or U+E001, which mark
    /// text from the pod.
    pub fn parse(name: &str, source: &str, functions: &FunctionTable) -> Result<Template, ParseError> {
        if let Some(at) = source.find(['\u{E000}', '\u{E001}']) {
            let at = ast::Span { start: at as u32, end: at as u32 };
            let message = "a template may not contain U+E000 or U+E001".to_owned();
            return Err(ParseError { at: Location::new(name, source, at), message });
        }
        let parsed = parse::parse(name, source, functions)?;
        Ok(Template { name: name.to_owned(), source: source.to_owned(), parsed })
    }

    /// The name it was parsed under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text it was parsed from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The template for data whose fields agree with `known`, a record of some of them, and whose maps contain, of
    /// `keys`, only those that are present: it renders the same output, but faster. The maps in `known` are empty.
    /// `None` if the template is too large, or declares variables inside parentheses.
    pub fn specialize<'a>(
        &'a self,
        known: &Value<'a>,
        (keys, present): (&'a Keys, Present),
        scope: &'a Scope,
        limits: &'a Limits,
    ) -> Option<Template> {
        eval::specialize::specialize(self, known, (keys, present), scope, limits)
    }

    /// The keys that it looks up in maps of its data.
    pub fn keys(&self, of: AbsentKeys) -> Keys {
        Keys::new(of, eval::specialize::keys(&self.parsed.trees, of))
    }

    /// Renders the template over its data.
    ///
    /// # Errors
    /// If the data does not fit, a function fails or a limit is exceeded; the partial output is discarded.
    pub fn render<'a>(
        &'a self,
        dot: &Value<'a>,
        scope: &'a Scope,
        limits: &'a Limits,
    ) -> Result<Rendered, RenderError> {
        eval::render(self, dot, scope, limits, None).map(|(rendered, _)| rendered)
    }

    /// [`Template::render`], with the node of the template that wrote each part of the output. Slower, for explaining a
    /// result.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render_traced<'a>(
        &'a self,
        dot: &Value<'a>,
        scope: &'a Scope,
        limits: &'a Limits,
    ) -> Result<Traced<'a>, RenderError> {
        let (rendered, written) = eval::render(self, dot, scope, limits, Some(Vec::new()))?;
        Ok(Traced::new(self, rendered, written))
    }
}
