//! One render: its budget, its placeholders and its result.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;

use super::limits::{Limit, Limits};
use super::stand_in::StandIns;
use super::value::Segment;

/// The environment of a template besides its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The environment variables that the function `env` may read.
    pub env: BTreeMap<String, String>,
}

/// A rendered template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The text; texts from the pod are written as `\u{E000}index\u{E001}`.
    pub text: String,
    /// The values of the placeholders.
    pub placeholders: Vec<Placeholder>,
    /// The stand-ins on whose content the result depends.
    pub looked_at: StandIns,
}

/// A text from the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholder {
    /// The original text.
    pub raw: String,
    /// Whether the placeholder is between double quotes that a function wrote.
    pub escaped: bool,
}

impl Placeholder {
    /// Its value in a text that is read as characters: the content of a JSON string between quotes, otherwise
    /// unchanged.
    pub fn substituted(&self) -> Cow<'_, str> {
        if !self.escaped {
            return Cow::Borrowed(&self.raw);
        }
        let quoted = serde_json::Value::from(self.raw.as_str()).to_string();
        let content = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default();
        Cow::Owned(content.to_owned())
    }
}

/// The state shared by functions during a render.
#[derive(Debug)]
pub(crate) struct Runtime<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) limits: &'a Limits,
    pub(crate) steps: usize,
    pub(crate) placeholders: Vec<Placeholder>,
    looked_at: Cell<StandIns>,
}

impl<'a> Runtime<'a> {
    pub(crate) fn new(scope: &'a Scope, limits: &'a Limits) -> Runtime<'a> {
        Runtime {
            scope,
            limits,
            steps: limits.steps,
            placeholders: Vec::new(),
            looked_at: Cell::new(StandIns::NONE),
        }
    }

    /// Called with every text of the pod on whose content a result depends.
    pub(crate) fn look_at(&self, text: &str) {
        self.looked_at.set(self.looked_at.get() | StandIns::of(text));
    }

    /// Finishes the render.
    pub(crate) fn into_rendered(self, text: String) -> Rendered {
        let looked_at = self.looked_at.get();
        Rendered { text, placeholders: self.placeholders, looked_at }
    }

    pub(crate) fn spend(&mut self, steps: usize) -> Result<(), Limit> {
        self.steps = self.steps.checked_sub(steps).ok_or(Limit::Steps(self.limits.steps))?;
        Ok(())
    }

    pub(crate) fn push_placeholder(&mut self, out: &mut String, raw: &str, escaped: bool) {
        if raw.is_empty() {
            return;
        }
        out.push('\u{E000}');
        out.push_str(&self.placeholders.len().to_string());
        out.push('\u{E001}');
        self.placeholders.push(Placeholder { raw: raw.to_owned(), escaped });
    }

    /// The text with every placeholder replaced by its value.
    pub(crate) fn expand(&self, text: &str) -> String {
        let real = self.expand_unseen(text);
        self.look_at(&real);
        real
    }

    /// [`Self::expand`] for a result that holds for everything that a stand-in may stand for.
    pub(crate) fn expand_unseen(&self, text: &str) -> String {
        let mut real = String::with_capacity(text.len());
        self.for_each_piece(text, |piece| match piece {
            Ok(clean) => real.push_str(clean),
            Err(placeholder) => real.push_str(&placeholder.substituted()),
        });
        real
    }

    pub(crate) fn segments<'t>(&self, text: &'t str) -> Vec<Segment<'t>> {
        let mut segments = Vec::new();
        self.for_each_piece(text, |piece| {
            segments.push(match piece {
                Ok(clean) => Segment::Clean(clean),
                Err(placeholder) => Segment::Tainted(placeholder.substituted().into_owned()),
            });
        });
        segments
    }

    fn for_each_piece<'t>(&self, text: &'t str, mut visit: impl FnMut(Result<&'t str, &Placeholder>)) {
        let mut rest = text;
        while let Some((clean, after)) = rest.split_once('\u{E000}') {
            if !clean.is_empty() {
                visit(Ok(clean));
            }
            let Some((index, after)) = after.split_once('\u{E001}') else {
                rest = after;
                continue;
            };
            if let Some(placeholder) =
                index.parse().ok().and_then(|index: usize| self.placeholders.get(index))
            {
                visit(Err(placeholder));
            }
            rest = after;
        }
        if !rest.is_empty() {
            visit(Ok(rest));
        }
    }
}
