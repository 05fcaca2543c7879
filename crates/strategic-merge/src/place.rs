//! The position of a walk in a document, which costs nothing until it is printed.

use std::fmt::{self, Write};

/// A place: a step, and the place it starts from.
#[derive(Clone, Copy)]
pub struct Place<'a> {
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
    pub const ROOT: Place<'static> = Place { parent: None, step: Step::Root };

    /// The field of an object at this place.
    pub fn field<'b>(&'b self, name: &'b str) -> Place<'b> {
        Place { parent: Some(self), step: Step::Field(name) }
    }

    /// The element of a list at this place.
    pub fn element(&self, index: usize) -> Place<'_> {
        Place { parent: Some(self), step: Step::Element(index) }
    }

    /// After the last element.
    pub fn end(&self) -> Place<'_> {
        Place { parent: Some(self), step: Step::End }
    }

    /// Whether this is the document itself.
    pub fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    /// Whether this is the field `below` of the document's field `field`.
    pub fn is(&self, field: &str, below: &str) -> bool {
        let (Step::Field(last), Some(parent)) = (self.step, self.parent) else { return false };
        last == below
            && matches!(parent.step, Step::Field(name) if name == field)
            && parent.parent.is_some_and(Place::is_root)
    }

    /// As a JSON pointer (RFC 6901): `/spec/containers/2/env`.
    pub fn pointer(&self) -> String {
        Pointer(self).to_string()
    }

    /// In the usual notation for pods: `spec.containers[2].env`.
    pub fn dotted(&self) -> String {
        Dotted(self).to_string()
    }
}

struct Pointer<'a>(&'a Place<'a>);

impl fmt::Display for Pointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.0.parent else { return Ok(()) };
        Pointer(parent).fmt(f)?;
        f.write_char('/')?;
        match self.0.step {
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

struct Dotted<'a>(&'a Place<'a>);

impl fmt::Display for Dotted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.0.parent else { return f.write_str("pod") };
        if !parent.is_root() {
            Dotted(parent).fmt(f)?;
        }
        match self.0.step {
            Step::Root => Ok(()),
            Step::Element(index) => write!(f, "[{index}]"),
            Step::End => f.write_str("[-]"),
            // A name with dots or slashes would look like a path.
            Step::Field(name) if name.contains(|c: char| !c.is_alphanumeric() && c != '_') => {
                write!(f, "[{name:?}]")
            }
            Step::Field(name) if parent.is_root() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_for_patches_and_for_people() {
        let root = Place::ROOT;
        assert_eq!((root.pointer(), root.dotted()), (String::new(), "pod".to_owned()));
        let (spec, key) = (root.field("spec"), "a.b/c~d");
        let list = spec.field("containers");
        let element = list.element(2);
        let odd = element.field(key);
        assert_eq!(element.field("env").pointer(), "/spec/containers/2/env");
        assert_eq!(element.field("env").dotted(), "spec.containers[2].env");
        assert_eq!(
            (odd.pointer(), odd.dotted()),
            ("/spec/containers/2/a.b~1c~0d".to_owned(), "spec.containers[2][\"a.b/c~d\"]".to_owned())
        );
        assert_eq!(
            (list.end().pointer(), list.end().dotted()),
            ("/spec/containers/-".to_owned(), "spec.containers[-]".to_owned())
        );
        assert!(list.is("spec", "containers") && !element.field("containers").is("spec", "containers"));
    }
}
