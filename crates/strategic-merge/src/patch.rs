//! The smallest RFC 6902 patch from one document to another.
//!
//! Objects are compared by key, lists by element: by the list's merge key if Kubernetes defines one ([`crate::merge`]'s
//! table), by value otherwise. A container inserted before others is therefore one `add`, and unchanged parts do not
//! appear in the patch. Knowledge about pods only affects the style: the patch is correct for any JSON. Nothing here
//! knows the purpose of a patch.
//!
//! `/metadata/managedFields` belongs to the API server and is never changed.

mod list;
mod view;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::view::View;
use crate::place::Place;

/// One operation of a patch; serializes to RFC 6902. Values are borrowed from the document that contains them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation<'v> {
    /// Adds a value at an empty place, or before an existing element.
    Add {
        /// JSON pointer to the place; its last step may be `-`, the end of a list.
        path: String,
        /// The value.
        value: Cow<'v, Value>,
    },
    /// Removes a value.
    Remove {
        /// JSON pointer to the value.
        path: String,
    },
    /// Replaces a value.
    Replace {
        /// JSON pointer to the value.
        path: String,
        /// The new value.
        value: Cow<'v, Value>,
    },
    /// Moves an element within a list.
    Move {
        /// JSON pointer to its current place.
        from: String,
        /// JSON pointer to its new place, after its removal from the old one.
        path: String,
    },
}

impl Operation<'_> {
    /// JSON pointer to the place that the operation changes.
    pub fn path(&self) -> &str {
        match self {
            Operation::Add { path, .. }
            | Operation::Remove { path }
            | Operation::Replace { path, .. }
            | Operation::Move { path, .. } => path,
        }
    }
}

/// Why a patch is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A path is not a JSON pointer.
    #[error("operation {index} has a path that is not a JSON pointer: {path}")]
    BadPointer {
        /// The index of the operation, from 0.
        index: usize,
        /// The path.
        path: String,
    },
    /// An operation does not apply.
    #[error("operation {index} at {path} does not apply: {reason}")]
    DoesNotApply {
        /// The index of the operation, from 0.
        index: usize,
        /// The place.
        path: String,
        /// The reason.
        reason: &'static str,
    },
    /// The patched document is not the expected one.
    #[error("the patched document differs from the expected one at {path}")]
    Differs {
        /// JSON pointer to the first difference; `/` denotes the document.
        path: String,
    },
}

/// The patch from `received` to `wanted`, except for `/metadata/managedFields`, which stays as received.
///
/// Operations are in the order in which they apply. Equal documents give none.
pub fn diff<'v>(received: &'v Value, wanted: &'v Value) -> Vec<Operation<'v>> {
    let mut differ = Differ { operations: Vec::new() };
    differ.value(received, wanted, None, &Place::ROOT);
    differ.operations
}

/// The serialized patch: a JSON array of operations; `None` if it is longer than `limit` bytes.
pub fn to_json_within(operations: &[Operation<'_>], limit: usize) -> Option<String> {
    // Most patches contain a proxy, which is longer than this.
    let room = if operations.is_empty() { 2 } else { 8 << 10 };
    let mut json = Bounded { json: Vec::with_capacity(room), limit };
    // Strings and JSON values always serialize to UTF-8.
    serde_json::to_writer(&mut json, operations).ok()?;
    String::from_utf8(json.json).ok()
}

/// [`to_json_within`] without a limit.
pub fn to_json(operations: &[Operation<'_>]) -> String {
    to_json_within(operations, usize::MAX).unwrap_or_else(|| "[]".to_owned())
}

/// A buffer with a maximum length.
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

/// Parses a serialized patch.
///
/// # Errors
/// If it is not a JSON array of the operations that [`diff`] creates.
pub fn from_json(json: &str) -> Result<Vec<Operation<'static>>, serde_json::Error> {
    serde_json::from_str(json)
}

/// Applies a patch.
///
/// # Errors
/// If an operation does not apply, such as the removal of an absent value.
pub fn apply(document: &Value, operations: &[Operation<'_>]) -> Result<Value, Error> {
    View::patched(document, operations).map(|view| view.to_value())
}

/// Verifies that a patch applies to `received` and results in `wanted`, except for `/metadata/managedFields`, which
/// must stay as received.
///
/// # Errors
/// If an operation does not apply, or the result differs.
pub fn verify(received: &Value, operations: &[Operation<'_>], wanted: &Value) -> Result<(), Error> {
    let patched = View::patched(received, operations)?;
    // If the patch replaces all of the metadata, there are no managed fields to preserve.
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

/// A patch under construction.
struct Differ<'v> {
    operations: Vec<Operation<'v>>,
}

impl<'v> Differ<'v> {
    /// Compares two values, and returns whether any part of the first one stays. `field` is the name of the field that
    /// contains them, if any.
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

    /// Compares two objects; `whole` is the second.
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
        // Both are sorted, so the next fields usually correspond.
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

    /// If nothing stays, one `replace` does the work of many operations. The document itself is never replaced while it
    /// is an object, because not every implementation supports this.
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
