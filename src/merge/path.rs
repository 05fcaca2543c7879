//! Where in a document a merge is, without a cost as long as nobody asks.

use std::fmt;

/// A place: a step, and the place it starts from.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Element(usize),
}

impl Path<'_> {
    /// The document itself.
    pub(super) const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    pub(super) fn field<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Field(name) }
    }

    pub(super) fn element(&self, index: usize) -> Path<'_> {
        Path { parent: Some(self), step: Step::Element(index) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return f.write_str("pod") };
        if parent.parent.is_some() {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Element(index) => write!(f, "[{index}]"),
            // A name with dots or slashes would read as a path.
            Step::Field(name) if name.contains(|c: char| !c.is_alphanumeric() && c != '_') => {
                write!(f, "[{name:?}]")
            }
            Step::Field(name) if parent.parent.is_none() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
        }
    }
}
