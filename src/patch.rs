//! The smallest RFC 6902 patch from one document to another.
//!
//! Objects are compared by key, lists by element: by the merge key of the list where Kubernetes has one
//! ([`crate::merge`]'s table), by value otherwise. So a container put in front of others is one `add`, and nothing
//! that stays as it was appears in the patch. What is only good style for a pod is good for any JSON: the patch is
//! right whatever the documents are. Nothing here knows what a patch is for.
//!
//! `/metadata/managedFields` belongs to the API server and is never touched.

mod list;

use serde::Serialize;
use serde_json::{Map, Value};

/// One step of a patch; serialises to RFC 6902's form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// Puts a value where none was, or before the element that stands there.
    Add {
        /// JSON pointer to the place; its last step may be `-`, the end of a list.
        path: String,
        /// The value.
        value: Value,
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
        value: Value,
    },
    /// Takes an element out of a list and puts it back elsewhere in it.
    Move {
        /// JSON pointer to where it is.
        from: String,
        /// JSON pointer to where it goes, counted without it.
        path: String,
    },
}

impl Operation {
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
#[derive(Debug, thiserror::Error)]
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
        reason: json_patch::PatchErrorKind,
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
pub fn diff(received: &Value, wanted: &Value) -> Vec<Operation> {
    let mut differ = Differ { path: String::new(), operations: Vec::new() };
    differ.value(received, wanted, None);
    differ.operations
}

/// The patch as it travels: a JSON array of operations.
pub fn to_json(operations: &[Operation]) -> String {
    // Strings and JSON values always serialise.
    serde_json::to_string(operations).unwrap_or_else(|_| "[]".to_owned())
}

/// Applies a patch.
///
/// # Errors
/// If an operation does not apply, such as the removal of what is not there.
pub fn apply(mut document: Value, operations: &[Operation]) -> Result<Value, Error> {
    let steps = operations
        .iter()
        .enumerate()
        .map(|(index, operation)| as_library(index, operation))
        .collect::<Result<Vec<_>, _>>()?;
    // It keeps no record for undoing: on failure the document is gone.
    json_patch::patch_unsafe(&mut document, &steps).map_err(|error| Error::DoesNotApply {
        index: error.operation,
        path: error.path.to_string(),
        reason: error.kind,
    })?;
    Ok(document)
}

/// Proves that a patch applies to `received` and gives `wanted`, but for `/metadata/managedFields`, which must stay
/// as received.
///
/// # Errors
/// If an operation does not apply, or the outcome is another.
pub fn verify(received: &Value, operations: &[Operation], wanted: &Value) -> Result<(), Error> {
    let patched = apply(received.clone(), operations)?;
    let fields = |document: &Value| document.pointer(MANAGED_FIELDS).cloned();
    // Where the patch replaces all of the metadata there are no managed fields to keep.
    let keeps = received.get("metadata").is_some_and(Value::is_object)
        && wanted.get("metadata").is_some_and(Value::is_object);
    if keeps && fields(received) != fields(&patched) {
        return Err(Error::Differs { path: MANAGED_FIELDS.to_owned() });
    }
    if patched == *wanted {
        return Ok(());
    }
    match diff(&patched, wanted).first() {
        None => Ok(()),
        Some(difference) if difference.path().is_empty() => Err(Error::Differs { path: "/".to_owned() }),
        Some(difference) => Err(Error::Differs { path: difference.path().to_owned() }),
    }
}

const MANAGED_FIELDS: &str = "/metadata/managedFields";

/// A patch being written.
struct Differ {
    /// JSON pointer to what is being compared.
    path: String,
    operations: Vec<Operation>,
}

impl Differ {
    /// Compares two values, and says whether anything of the first stays. `field` is the name of the field they are
    /// in, if they are in one.
    fn value(&mut self, from: &Value, to: &Value, field: Option<&str>) -> bool {
        match (from, to) {
            (Value::Object(from), Value::Object(to)) => self.object(from, to),
            (Value::Array(from), Value::Array(to)) => self.list(from, to, field),
            _ if from == to => true,
            _ => {
                self.replace(to.clone());
                false
            }
        }
    }

    fn object(&mut self, from: &Map<String, Value>, to: &Map<String, Value>) -> bool {
        let start = self.operations.len();
        let mut stays = from.is_empty() && to.is_empty();
        for key in from.keys().filter(|key| !to.contains_key(*key)) {
            self.below(key, |differ| {
                if differ.path == MANAGED_FIELDS {
                    stays = true;
                } else {
                    let path = differ.path.clone();
                    differ.operations.push(Operation::Remove { path });
                }
            });
        }
        for (key, value) in to {
            self.below(key, |differ| match from.get(key) {
                _ if differ.path == MANAGED_FIELDS => stays = true,
                Some(before) => stays |= differ.value(before, value, Some(key)),
                None => {
                    let path = differ.path.clone();
                    differ.operations.push(Operation::Add { path, value: value.clone() });
                }
            });
        }
        self.settle(start, stays, || Value::Object(to.clone()));
        stays
    }

    /// Where nothing stays, one `replace` does what many operations do. The document itself is never replaced while
    /// it is an object: not every implementation can.
    fn settle(&mut self, start: usize, stays: bool, whole: impl FnOnce() -> Value) {
        if !stays && !self.path.is_empty() && self.operations.len() > start + 1 {
            self.operations.truncate(start);
            self.replace(whole());
        }
    }

    fn replace(&mut self, value: Value) {
        self.operations.push(Operation::Replace { path: self.path.clone(), value });
    }

    /// Does something one step further down.
    fn below(&mut self, step: &str, work: impl FnOnce(&mut Differ)) {
        let length = self.path.len();
        self.path.push('/');
        for c in step.chars() {
            match c {
                '~' => self.path.push_str("~0"),
                '/' => self.path.push_str("~1"),
                c => self.path.push(c),
            }
        }
        work(self);
        self.path.truncate(length);
    }
}

fn as_library(index: usize, operation: &Operation) -> Result<json_patch::PatchOperation, Error> {
    use json_patch::{AddOperation, MoveOperation, PatchOperation, RemoveOperation, ReplaceOperation};
    let pointer = |path: &str| {
        json_patch::jsonptr::PointerBuf::parse(path)
            .map_err(|_| Error::BadPointer { index, path: path.to_owned() })
    };
    Ok(match operation {
        Operation::Add { path, value } => {
            PatchOperation::Add(AddOperation { path: pointer(path)?, value: value.clone() })
        }
        Operation::Remove { path } => PatchOperation::Remove(RemoveOperation { path: pointer(path)? }),
        Operation::Replace { path, value } => {
            PatchOperation::Replace(ReplaceOperation { path: pointer(path)?, value: value.clone() })
        }
        Operation::Move { from, path } => {
            PatchOperation::Move(MoveOperation { from: pointer(from)?, path: pointer(path)? })
        }
    })
}

#[cfg(test)]
mod tests;
