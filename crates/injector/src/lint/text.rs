//! Texts inside files: a key of a ConfigMap, a template in a `|` block. Places in them become places in the file.

use std::borrow::Cow;

use kubernetes_yaml::{Kind, Limits, Node, Style};

use super::{Diagnostic, Rule, Severity};
use crate::config::{Place, Source};
use crate::explain::fields;

/// A text of a configuration.
#[derive(Clone, Debug)]
pub(super) struct Text<'a> {
    /// Its name in errors and warnings: the file's, or a key of a ConfigMap.
    pub(super) name: String,
    pub(super) text: Cow<'a, str>,
    /// The file that contains it.
    file: Source<'a>,
    /// The scalar in the file; `None` if the text is the file.
    scalar: Option<Node>,
}

/// The texts of one configuration.
#[derive(Clone, Debug)]
pub(super) struct Texts<'a> {
    all: Vec<Text<'a>>,
    /// The origin of texts that are not here.
    origin: String,
}

impl<'a> Text<'a> {
    /// A whole file.
    pub(super) fn file(file: Source<'a>) -> Text<'a> {
        Text { name: file.name.to_owned(), text: Cow::Borrowed(file.text), file, scalar: None }
    }

    /// The text of a scalar in a file.
    pub(super) fn scalar(file: Source<'a>, name: &str, scalar: &Node) -> Option<Text<'a>> {
        let Kind::Scalar { text, .. } = &scalar.kind else { return None };
        let (text, scalar) = (Cow::Owned(text.clone()), Some(scalar.clone()));
        Some(Text { name: name.to_owned(), text, file, scalar })
    }

    pub(super) fn source(&self) -> Source<'_> {
        Source { name: &self.name, text: &self.text }
    }

    /// A place in the text as a place in the file; the start of the scalar if its lines are not lines of the file.
    fn in_file(&self, place: Place) -> Place {
        match &self.scalar {
            None => place,
            Some(scalar) => {
                in_block(self.file.text, scalar, place).unwrap_or_else(|| Place::from(scalar.mark))
            }
        }
    }

    /// A place in a template, which is the content of a scalar of this text.
    pub(super) fn in_template(&self, template: &Node, place: Place) -> Place {
        let inner = in_block(&self.text, template, place).unwrap_or_else(|| Place::from(template.mark));
        self.in_file(inner)
    }
}

impl<'a> Texts<'a> {
    pub(super) fn of(all: Vec<Text<'a>>) -> Texts<'a> {
        Texts { all, origin: String::new() }
    }

    pub(super) fn of_file(file: Source<'a>) -> Texts<'a> {
        Texts::of(vec![Text::file(file)])
    }

    /// Texts that are not here, such as those of a cluster.
    pub(super) fn elsewhere(origin: &str) -> Texts<'a> {
        Texts { all: Vec::new(), origin: origin.to_owned() }
    }

    pub(super) fn first(&self) -> Source<'_> {
        self.all.first().map_or(Source { name: "", text: "" }, Text::source)
    }

    pub(super) fn first_text(&self) -> Option<&Text<'a>> {
        self.all.first()
    }

    /// Splits the name of a text off a path; the first text's if there is none.
    pub(super) fn split_path<'p>(&self, path: &'p str) -> (String, &'p str) {
        for text in &self.all {
            if path == text.name {
                return (text.name.clone(), "");
            }
            let rest = path.strip_prefix(&text.name).and_then(|rest| rest.strip_prefix(": "));
            if let Some(rest) = rest {
                return (text.name.clone(), rest);
            }
        }
        (self.first().name.to_owned(), path)
    }

    /// The tree of a text, if it is one of several: paths of its warnings refer to it.
    pub(super) fn parsed(&self, name: &str) -> Option<Node> {
        let text = self.all.iter().find(|text| text.name == name && text.scalar.is_some())?;
        kubernetes_yaml::parse(&text.text, &Limits::default()).ok()
    }

    /// A diagnostic for a place in one of the texts.
    pub(super) fn diagnostic(
        &self,
        name: &str,
        place: Option<Place>,
        severity: Severity,
        rule: Rule,
        message: String,
    ) -> Diagnostic {
        let text = self.all.iter().find(|text| text.name == name);
        // Without the text itself, the place is still one in the text of that name.
        let file = match text.or(self.all.first()) {
            Some(text) => text.file.name.to_owned(),
            None if name.is_empty() => self.origin.clone(),
            None => name.to_owned(),
        };
        let place = match text {
            Some(text) => place.map(|place| text.in_file(place)),
            None if self.all.is_empty() => place,
            None => None,
        };
        let snippet = text.zip(place).and_then(|(text, place)| snippet(text.file.text, place));
        Diagnostic { severity, rule, message, file, place, snippet, template: None }
    }

    /// The file of the first text, or the origin of texts that are not here.
    pub(super) fn file(&self) -> String {
        self.all.first().map_or_else(|| self.origin.clone(), |text| text.file.name.to_owned())
    }
}

/// The line at a place.
pub(super) fn snippet(text: &str, place: Place) -> Option<String> {
    let line = text.lines().nth(usize::try_from(place.line).ok()?.checked_sub(1)?)?;
    Some(line.trim_end().to_owned())
}

/// Converts a place in a scalar to a place in the text that contains it. Only the lines of a `|` block are lines of the
/// text.
fn in_block(text: &str, scalar: &Node, place: Place) -> Option<Place> {
    let Kind::Scalar { text: content, style: Style::Literal, .. } = &scalar.kind else { return None };
    let index = usize::try_from(place.line).ok()?.checked_sub(1)?;
    let own = content.lines().nth(index).unwrap_or_default();
    // A block is marked at its first line.
    let line = (scalar.mark.line + place.line).checked_sub(1)?;
    let whole = text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?)?;
    let indentation = whole.strip_suffix(own)?;
    if !indentation.trim().is_empty() {
        return None;
    }
    Some(Place { line, column: place.column + u32::try_from(indentation.chars().count()).ok()? })
}

/// The node at a path such as `injector.aliases.x[0]`, or the deepest one on the way to it.
pub(super) fn deepest<'n>(tree: &'n Node, path: &str) -> &'n Node {
    let mut node = tree;
    for step in fields::split(path) {
        match node.at(&[step.as_str()]) {
            Some(below) => node = below,
            None => {
                // A key in another case, or one that was removed.
                break;
            }
        }
    }
    node
}
