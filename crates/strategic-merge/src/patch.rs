//! The smallest RFC 6902 patch from one document to another.
//!
//! Objects are compared by key, lists by element: by the merge key of the list where Kubernetes has one
//! ([`crate::merge`]'s table), by value otherwise. So a container put in front of others is one `add`, and nothing
//! that stays as it was appears in the patch. What is only good style for a pod is good for any JSON: the patch is
//! right whatever the documents are. Nothing here knows what a patch is for.
//!
//! `/metadata/managedFields` belongs to the API server and is never touched.

mod list;
mod view;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::view::View;
use crate::place::Place;

/// One step of a patch; serialises to RFC 6902's form. Values are borrowed from the document they are in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation<'v> {
    /// Puts a value where none was, or before the element that stands there.
    Add {
        /// JSON pointer to the place; its last step may be `-`, the end of a list.
        path: String,
        /// The value.
        value: Cow<'v, Value>,
    },
    /// Takes a value away.
    Remove {
        /// JSON pointer to the value.
        path: String,
    },
    /// Puts a value in place of another.
    Replace {
        /// JSON pointer to the value.
        path: String,
        /// The new value.
        value: Cow<'v, Value>,
    },
    /// Takes an element out of a list and puts it back elsewhere in it.
    Move {
        /// JSON pointer to where it is.
        from: String,
        /// JSON pointer to where it goes, counted without it.
        path: String,
    },
}

impl Operation<'_> {
    /// JSON pointer to what the operation changes.
    pub fn path(&self) -> &str {
        match self {
            Operation::Add { path, .. }
            | Operation::Remove { path }
            | Operation::Replace { path, .. }
            | Operation::Move { path, .. } => path,
        }
    }
}

/// Why a patch is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A path is no JSON pointer.
    #[error("operation {index} has a path that is no JSON pointer: {path}")]
    BadPointer {
        /// Which operation, from 0.
        index: usize,
        /// The path.
        path: String,
    },
    /// An operation does not apply.
    #[error("operation {index} at {path} does not apply: {reason}")]
    DoesNotApply {
        /// Which operation, from 0.
        index: usize,
        /// Where.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// The patched document is not the wanted one.
    #[error("the patched document differs from the wanted one at {path}")]
    Differs {
        /// JSON pointer to the first difference; `/` stands for the document.
        path: String,
    },
}

/// The patch that makes `wanted` of `received`, but for `/metadata/managedFields`, which stays as received.
///
/// Operations are in the order in which they apply. Equal documents give none.
pub fn diff<'v>(received: &'v Value, wanted: &'v Value) -> Vec<Operation<'v>> {
    let mut differ = Differ { operations: Vec::new() };
    differ.value(received, wanted, None, &Place::ROOT);
    differ.operations
}

/// The patch as it travels: a JSON array of operations; nothing if it is longer than `limit` bytes.
pub fn to_json_within(operations: &[Operation<'_>], limit: usize) -> Option<String> {
    // Most patches have a proxy in them, which is longer than this.
    let room = if operations.is_empty() { 2 } else { 8 << 10 };
    let mut json = Bounded { json: Vec::with_capacity(room), limit };
    // Strings and JSON values always serialise, and to UTF-8.
    serde_json::to_writer(&mut json, operations).ok()?;
    String::from_utf8(json.json).ok()
}

/// [`to_json_within`] without a limit.
pub fn to_json(operations: &[Operation<'_>]) -> String {
    to_json_within(operations, usize::MAX).unwrap_or_else(|| "[]".to_owned())
}

/// A text that is written no further than up to a length.
struct Bounded {
    json: Vec<u8>,
    limit: usize,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() > self.limit - self.json.len() {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        self.json.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Reads a patch as it travels.
///
/// # Errors
/// If it is no JSON array of the operations that [`diff`] makes.
pub fn from_json(json: &str) -> Result<Vec<Operation<'static>>, serde_json::Error> {
    serde_json::from_str(json)
}

/// Applies a patch.
///
/// # Errors
/// If an operation does not apply, such as the removal of what is not there.
pub fn apply(document: &Value, operations: &[Operation<'_>]) -> Result<Value, Error> {
    View::patched(document, operations).map(|view| view.to_value())
}

/// Proves that a patch applies to `received` and gives `wanted`, but for `/metadata/managedFields`, which must stay
/// as received.
///
/// # Errors
/// If an operation does not apply, or the outcome is another.
pub fn verify(received: &Value, operations: &[Operation<'_>], wanted: &Value) -> Result<(), Error> {
    let patched = View::patched(received, operations)?;
    // Where the patch replaces all of the metadata there are no managed fields to keep.
    let keeps = received.get(METADATA).is_some_and(Value::is_object)
        && wanted.get(METADATA).is_some_and(Value::is_object);
    if keeps && !patched.keeps(received, [METADATA, MANAGED_FIELDS]) {
        return Err(Error::Differs { path: format!("/{METADATA}/{MANAGED_FIELDS}") });
    }
    if patched.is(wanted, [METADATA, MANAGED_FIELDS]) {
        return Ok(());
    }
    let patched = patched.to_value();
    let first = diff(&patched, wanted).first().map(|difference| difference.path().to_owned());
    let path = first.filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
    Err(Error::Differs { path })
}

const METADATA: &str = "metadata";
const MANAGED_FIELDS: &str = "managedFields";

/// A patch being written.
struct Differ<'v> {
    operations: Vec<Operation<'v>>,
}

impl<'v> Differ<'v> {
    /// Compares two values, and says whether anything of the first stays. `field` is the name of the field they are
    /// in, if they are in one.
    fn value(&mut self, from: &'v Value, to: &'v Value, field: Option<&str>, place: &Place<'_>) -> bool {
        match (from, to) {
            (Value::Object(before), Value::Object(after)) => self.object(before, after, to, place),
            (Value::Array(before), Value::Array(after)) => self.list(before, after, to, field, place),
            _ if from == to => true,
            _ => {
                self.replace(to, place);
                false
            }
        }
    }

    /// Compares two objects, of which `whole` is the second.
    fn object(
        &mut self,
        from: &'v Map<String, Value>,
        to: &'v Map<String, Value>,
        whole: &'v Value,
        place: &Place<'_>,
    ) -> bool {
        let start = self.operations.len();
        let mut stays = from.is_empty() && to.is_empty();
        let mut found = 0;
        // Both are sorted, so that as a rule the next field of the one is that of the other.
        let mut next = from.iter().peekable();
        for (key, value) in to {
            while next.next_if(|(before, _)| *before < key).is_some() {}
            let before = match next.next_if(|(before, _)| *before == key) {
                Some((_, before)) => Some(before),
                None => from.get(key),
            };
            found += usize::from(before.is_some());
            let place = place.field(key);
            match before {
                _ if place.is(METADATA, MANAGED_FIELDS) => stays = true,
                Some(before) => stays |= self.value(before, value, Some(key), &place),
                None => {
                    let value = Cow::Borrowed(value);
                    self.operations.push(Operation::Add { path: place.pointer(), value });
                }
            }
        }
        if found < from.len() {
            let mut removals = Vec::new();
            for key in from.keys().filter(|key| !to.contains_key(*key)) {
                let place = place.field(key);
                if place.is(METADATA, MANAGED_FIELDS) {
                    stays = true;
                } else {
                    removals.push(Operation::Remove { path: place.pointer() });
                }
            }
            self.operations.splice(start..start, removals);
        }
        self.settle(start, stays, whole, place);
        stays
    }

    /// Where nothing stays, one `replace` does what many operations do. The document itself is never replaced while
    /// it is an object: not every implementation can.
    fn settle(&mut self, start: usize, stays: bool, whole: &'v Value, place: &Place<'_>) {
        if !stays && !place.is_root() && self.operations.len() > start + 1 {
            self.operations.truncate(start);
            self.replace(whole, place);
        }
    }

    fn replace(&mut self, value: &'v Value, place: &Place<'_>) {
        self.operations.push(Operation::Replace { path: place.pointer(), value: Cow::Borrowed(value) });
    }
}

#[cfg(test)]
mod tests;
