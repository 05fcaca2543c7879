//! A patched document that shares every part not touched by an operation with the received one, and with the patch.
//!
//! Only parts on the path of an operation are opened, so applying a patch costs as much as its length, and comparing
//! the result with another document copies nothing. This module knows nothing about how patches are created, which
//! makes it a proof.

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map::Entry},
};

use serde_json::{Map, Value};

use super::{Error, Operation};

const NOTHING_THERE: &str = "no value at this path";
const NO_SUCH_ELEMENT: &str = "the list has no such element";
const INTO_ITSELF: &str = "a value cannot be moved into itself";

/// A document after a patch.
pub(super) struct View<'v> {
    root: Node<'v>,
}

enum Node<'v> {
    /// A value from a document or from the patch.
    Whole(&'v Value),
    /// An object with the changes to its fields; `None` marks a removed one.
    Object(&'v Map<String, Value>, Fields<'v>),
    List(Vec<Node<'v>>),
}

type Fields<'v> = BTreeMap<Cow<'v, str>, Option<Node<'v>>>;

impl<'v> View<'v> {
    /// The document with every operation applied, by RFC 6902.
    pub(super) fn patched(document: &'v Value, operations: &'v [Operation<'_>]) -> Result<View<'v>, Error> {
        let mut root = Node::Whole(document);
        for (index, operation) in operations.iter().enumerate() {
            apply(&mut root, operation).map_err(|failure| match failure {
                Failure::BadPointer(path) => Error::BadPointer { index, path: path.to_owned() },
                Failure::DoesNotApply(reason) => {
                    Error::DoesNotApply { index, path: operation.path().to_owned(), reason }
                }
            })?;
        }
        Ok(View { root })
    }

    /// Whether the field `inner` of the field `outer` is the same as in `document`, or absent in both.
    pub(super) fn keeps(&self, document: &Value, [outer, inner]: [&str; 2]) -> bool {
        let before = document.get(outer).and_then(|outer| outer.get(inner));
        let after = self.root().field(outer).and_then(|outer| outer.field(inner));
        match (after, before) {
            (Some(after), Some(before)) => after.is(before),
            (after, before) => after.is_none() && before.is_none(),
        }
    }

    /// Whether this equals `wanted`, ignoring the field `inner` of the field `outer` in both.
    pub(super) fn is(&self, wanted: &Value, [outer, inner]: [&str; 2]) -> bool {
        self.root().is_but(wanted, None, |name, ours, theirs| {
            if name == outer { ours.is_but(theirs, Some(inner), |_, a, b| a.is(b)) } else { ours.is(theirs) }
        })
    }

    /// A copy of the document.
    pub(super) fn to_value(&self) -> Value {
        self.root.to_value()
    }

    fn root(&self) -> Part<'_, 'v> {
        Part::Opened(&self.root)
    }
}

/// A read-only part of the document.
#[derive(Clone, Copy)]
enum Part<'n, 'v> {
    Whole(&'v Value),
    Opened(&'n Node<'v>),
}

impl<'n, 'v> Part<'n, 'v> {
    fn field(self, name: &str) -> Option<Part<'n, 'v>> {
        let (received, changed) = self.as_object()?;
        match changed.and_then(|changed| changed.get(name)) {
            Some(field) => field.as_ref().map(Part::Opened),
            None => received.get(name).map(Part::Whole),
        }
    }

    /// The received object, and the changes to it.
    fn as_object(self) -> Option<(&'v Map<String, Value>, Option<&'n Fields<'v>>)> {
        match self {
            Part::Whole(Value::Object(object)) | Part::Opened(Node::Whole(Value::Object(object))) => {
                Some((object, None))
            }
            Part::Opened(Node::Object(object, changed)) => Some((object, Some(changed))),
            _ => None,
        }
    }

    fn is(self, wanted: &Value) -> bool {
        match (self, wanted) {
            (Part::Whole(value), _) => same(value, wanted),
            (Part::Opened(Node::Whole(value)), _) => same(value, wanted),
            (Part::Opened(Node::List(ours)), Value::Array(theirs)) => {
                ours.len() == theirs.len()
                    && ours.iter().zip(theirs).all(|(ours, theirs)| Part::Opened(ours).is(theirs))
            }
            (Part::Opened(Node::Object(..)), Value::Object(_)) => {
                self.is_but(wanted, None, |_, ours, theirs| ours.is(theirs))
            }
            (Part::Opened(Node::List(_) | Node::Object(..)), _) => false,
        }
    }

    /// [`Part::is`] with a different comparison for an object's fields, one of which may be ignored.
    fn is_but(
        self,
        wanted: &Value,
        except: Option<&str>,
        same: impl Fn(&str, Part<'n, 'v>, &Value) -> bool,
    ) -> bool {
        let (Some((received, changed)), Value::Object(theirs)) = (self.as_object(), wanted) else {
            return self.is(wanted);
        };
        let (mut replaced, mut set) = (0, 0);
        for (name, field) in changed.into_iter().flatten() {
            replaced += usize::from(received.contains_key(name.as_ref()));
            set += usize::from(field.is_some());
        }
        let passed_over = |is_there: bool| usize::from(is_there);
        let ours = received.len() - replaced + set
            - passed_over(except.is_some_and(|name| self.field(name).is_some()));
        let wanted = theirs.len() - passed_over(except.is_some_and(|name| theirs.contains_key(name)));
        ours == wanted
            && theirs
                .iter()
                .filter(|(name, _)| except != Some(name.as_str()))
                .all(|(name, theirs)| self.field(name).is_some_and(|ours| same(name, ours, theirs)))
    }
}

/// Whether two values are equal; a patch's values may be those of the expected document itself.
fn same(ours: &Value, theirs: &Value) -> bool {
    std::ptr::eq(ours, theirs) || ours == theirs
}

impl<'v> Node<'v> {
    /// Makes its fields or elements individually accessible.
    fn open(&mut self) -> &mut Node<'v> {
        match self {
            Node::Whole(Value::Object(object)) => *self = Node::Object(object, Fields::new()),
            Node::Whole(Value::Array(list)) => *self = Node::List(list.iter().map(Node::Whole).collect()),
            _ => {}
        }
        self
    }

    /// The field or element that a step of a path leads to.
    fn below(&mut self, step: Cow<'v, str>) -> Option<&mut Node<'v>> {
        match self.open() {
            Node::Object(received, changed) => match changed.entry(step) {
                Entry::Occupied(field) => field.into_mut().as_mut(),
                Entry::Vacant(field) => {
                    let value = received.get(field.key().as_ref())?;
                    field.insert(Some(Node::Whole(value))).as_mut()
                }
            },
            Node::List(list) => list.get_mut(number(&step)?),
            Node::Whole(_) => None,
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Node::Whole(value) => (*value).clone(),
            Node::List(list) => list.iter().map(Node::to_value).collect(),
            Node::Object(received, changed) => {
                let mut object = (*received).clone();
                for (name, field) in changed {
                    match field {
                        Some(field) => object.insert(name.clone().into_owned(), field.to_value()),
                        None => object.remove(name.as_ref()),
                    };
                }
                Value::Object(object)
            }
        }
    }
}

/// Why an operation was not performed.
enum Failure<'v> {
    /// The path that is not a pointer.
    BadPointer(&'v str),
    DoesNotApply(&'static str),
}

fn apply<'v>(root: &mut Node<'v>, operation: &'v Operation<'_>) -> Result<(), Failure<'v>> {
    match operation {
        Operation::Add { path, value } => add(root, pointer(path)?, Node::Whole(value)),
        Operation::Remove { path } => remove(root, pointer(path)?).map(drop),
        Operation::Replace { path, value } => {
            let target = pointer(path)?.walk(root).ok_or(Failure::DoesNotApply(NOTHING_THERE))?;
            *target = Node::Whole(value);
            Ok(())
        }
        Operation::Move { from, path } => {
            let (from, path) = (pointer(from)?, pointer(path)?);
            if path.0.strip_prefix(from.0).is_some_and(|rest| rest.starts_with('/')) {
                return Err(Failure::DoesNotApply(INTO_ITSELF));
            }
            let moved = remove(root, from)?;
            add(root, path, moved)
        }
    }
}

fn add<'v>(root: &mut Node<'v>, path: Pointer<'v>, value: Node<'v>) -> Result<(), Failure<'v>> {
    let Some((parent, last)) = path.split_last() else {
        *root = value;
        return Ok(());
    };
    match parent.walk(root).map(Node::open) {
        Some(Node::Object(_, changed)) => {
            changed.insert(last, Some(value));
            Ok(())
        }
        Some(Node::List(list)) => {
            let place = if last == "-" { Some(list.len()) } else { number(&last) };
            match place.filter(|place| *place <= list.len()) {
                Some(place) => {
                    list.insert(place, value);
                    Ok(())
                }
                None => Err(Failure::DoesNotApply(NO_SUCH_ELEMENT)),
            }
        }
        Some(Node::Whole(_)) | None => Err(Failure::DoesNotApply(NOTHING_THERE)),
    }
}

fn remove<'v>(root: &mut Node<'v>, path: Pointer<'v>) -> Result<Node<'v>, Failure<'v>> {
    let parent = path.split_last().and_then(|(parent, last)| Some((parent.walk(root)?.open(), last)));
    let removed = match parent {
        Some((Node::Object(received, changed), name)) => match received.get(name.as_ref()) {
            Some(value) => changed.insert(name, None).unwrap_or(Some(Node::Whole(value))),
            // A value that was not received is dropped.
            None => changed.remove(name.as_ref()).flatten(),
        },
        Some((Node::List(list), place)) => {
            number(&place).filter(|place| *place < list.len()).map(|place| list.remove(place))
        }
        _ => None,
    };
    removed.ok_or(Failure::DoesNotApply(NOTHING_THERE))
}

/// A JSON pointer (RFC 6901).
#[derive(Clone, Copy)]
struct Pointer<'v>(&'v str);

fn pointer(text: &str) -> Result<Pointer<'_>, Failure<'_>> {
    let escapes = |text: &str| text.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    let is_pointer = (text.is_empty() || text.starts_with('/')) && escapes(text);
    if is_pointer { Ok(Pointer(text)) } else { Err(Failure::BadPointer(text)) }
}

impl<'v> Pointer<'v> {
    /// The target of the pointer.
    fn walk<'n>(self, root: &'n mut Node<'v>) -> Option<&'n mut Node<'v>> {
        self.0.split('/').skip(1).try_fold(root, |node, step| node.below(unescaped(step)))
    }

    /// The pointer without its last step, and that step; `None` if it points to the document.
    fn split_last(self) -> Option<(Pointer<'v>, Cow<'v, str>)> {
        let (parent, last) = self.0.rsplit_once('/')?;
        Some((Pointer(parent), unescaped(last)))
    }
}

fn unescaped(step: &str) -> Cow<'_, str> {
    if step.contains('~') {
        Cow::Owned(step.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(step)
    }
}

/// The list index in a step: digits without leading zeros.
fn number(step: &str) -> Option<usize> {
    let plain = step == "0" || (!step.starts_with('0') && step.bytes().all(|digit| digit.is_ascii_digit()));
    if plain { step.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
