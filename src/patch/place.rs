//! Where in a document a comparison is, written as a JSON pointer only where something differs.

use std::fmt::{self, Write};

/// A place: a step, and the place it starts from.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Element(usize),
    End,
}

impl Place<'_> {
    /// The document itself.
    pub(super) const ROOT: Place<'static> = Place { parent: None, step: Step::Root };

    pub(super) fn field<'b>(&'b self, name: &'b str) -> Place<'b> {
        Place { parent: Some(self), step: Step::Field(name) }
    }

    pub(super) fn element(&self, index: usize) -> Place<'_> {
        Place { parent: Some(self), step: Step::Element(index) }
    }

    /// Behind the last element.
    pub(super) fn end(&self) -> Place<'_> {
        Place { parent: Some(self), step: Step::End }
    }

    pub(super) fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    /// Whether this is the field `below` of the document's field `field`.
    pub(super) fn is(&self, field: &str, below: &str) -> bool {
        let (Step::Field(last), Some(parent)) = (self.step, self.parent) else { return false };
        last == below
            && matches!(parent.step, Step::Field(name) if name == field)
            && parent.parent.is_some_and(Place::is_root)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.fmt(f)?;
        f.write_char('/')?;
        match self.step {
            Step::Root => Ok(()),
            Step::Element(index) => write!(f, "{index}"),
            Step::End => f.write_char('-'),
            Step::Field(name) if !name.contains(['~', '/']) => f.write_str(name),
            Step::Field(name) => name.chars().try_for_each(|c| match c {
                '~' => f.write_str("~0"),
                '/' => f.write_str("~1"),
                c => f.write_char(c),
            }),
        }
    }
}
