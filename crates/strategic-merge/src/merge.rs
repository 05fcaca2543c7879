//! Kubernetes' strategic merge for pods, on JSON.
//!
//! Implements apimachinery's `strategicpatch.StrategicMergePatch` with the struct tags of `corev1.Pod`, including the
//! order of elements, and is tested against its answers (`hack/oracle/strategicmerge`). It differs where a pod that
//! stays JSON from end to end requires it:
//!
//! - A field that the table (`merge/schema.rs`) does not contain is merged by the default (maps by key, lists as a
//!   whole), and a list in place of an object, or vice versa, is not an error by itself: validating types is left to
//!   the API server. Go rejects a patch with unknown fields.
//! - Nulls and directives of the patch never remain in the result.
//! - The original is data: what looks like a directive there is not one.
//!
//! To change how two lists merge, change a row of `merge/schema.rs`. This module must not know the purpose of a
//! container: the caller decides which side wins.

mod directive;
mod list;
mod order;
mod scalar;
pub(crate) mod schema;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use self::directive::{Copying, Key};
use self::scalar::{Kind, Scalar};
pub use self::schema::key_of_list;
use self::schema::{Merge, Type};
use crate::place::Place;

/// Whether a patch may contain directives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directives {
    /// The patch is written by an administrator: `$patch`, `$retainKeys`, `$deleteFromPrimitiveList/…` and
    /// `$setElementOrder/…` are honored, and null deletes.
    Honor,
    /// The patch is user data: such keys are ordinary keys, and a null has no meaning, as in a typed object.
    Literal,
}

/// Why two documents cannot be merged. Paths refer to the patch's field or element, such as `spec.containers[2].env`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The pod or the patch is not an object.
    #[error("the {document} is {found}, expected an object")]
    NotAnObject {
        /// `pod` or `patch`.
        document: &'static str,
        /// Its type.
        found: &'static str,
    },
    /// An element of a keyed list lacks its key.
    #[error("{path}: an element {of} has no `{key}`, by which the elements of this list are matched")]
    MissingMergeKey {
        /// The list.
        path: String,
        /// `of the pod`, `of the patch` or `of its directive`.
        of: &'static str,
        /// The key.
        key: &'static str,
    },
    /// The merge key of an element is a list or an object.
    #[error("{path}: the `{key}` of an element is {found}, expected a string or a number")]
    BadMergeKey {
        /// The list.
        path: String,
        /// The key.
        key: &'static str,
        /// The type of its value.
        found: &'static str,
    },
    /// The elements of a list that is merged have different kinds, or one that cannot be merged.
    #[error("{path}: found {found} as an element, expected {accepted}")]
    BadElement {
        /// The list.
        path: String,
        /// The kind of the element.
        found: &'static str,
        /// The expected kind.
        accepted: &'static str,
    },
    /// A directive has an invalid value.
    #[error("{path}: `{directive}` is {found}, expected {accepted}")]
    BadDirective {
        /// The object or list that contains the directive.
        path: String,
        /// The directive's key.
        directive: String,
        /// Its value.
        found: String,
        /// The expected value.
        accepted: &'static str,
    },
    /// A field is set that `$retainKeys` does not name.
    #[error("{path}: `{field}` is set, but `$retainKeys` does not name it")]
    NotRetained {
        /// The object.
        path: String,
        /// The field.
        field: String,
    },
    /// The elements of the patch are not in the order of `$setElementOrder`.
    #[error("{path}: the elements of the patch are not all in `$setElementOrder`, in the same order")]
    OrderMismatch {
        /// The list.
        path: String,
    },
    /// `$setElementOrder` for a list that is empty on both sides.
    #[error("{path}: `$setElementOrder` has no elements to order")]
    NothingToOrder {
        /// The list.
        path: String,
    },
}

/// Merges a patch into a pod: Go's `strategicpatch.StrategicMergeMapPatch` for `corev1.Pod`.
///
/// A null patch changes nothing.
///
/// # Errors
/// If either is not an object, an element lacks its list's merge key, the elements of a list have different kinds, or a
/// directive is invalid.
pub fn pod(original: Value, patch: &Value, directives: Directives) -> Result<Value, Error> {
    merge_owned(original, patch.clone(), directives)
}

/// [`pod`] with an owned patch, whose values are moved into the pod.
///
/// # Errors
/// As [`pod`].
pub fn merge_owned(original: Value, patch: Value, directives: Directives) -> Result<Value, Error> {
    let mut merged = match original {
        Value::Object(object) => object,
        Value::Null => Map::new(),
        other => {
            return Err(Error::NotAnObject { document: "pod", found: Kind::of(&other).name() });
        }
    };
    match patch {
        Value::Object(patch) => Merger { directives }.object(&mut merged, patch, Type::Pod, &Place::ROOT)?,
        Value::Null => {}
        other => return Err(Error::NotAnObject { document: "patch", found: Kind::of(&other).name() }),
    }
    Ok(Value::Object(merged))
}

/// Whether an object of a patch may contain a directive; all of them have the same prefix.
pub fn has_directives(object: &Map<String, Value>) -> bool {
    object.keys().any(|key| key.starts_with(directive::SIGN))
}

/// Whether a directive in an object of a patch determines what happens to the fields it does not have.
pub fn is_directed(object: &Map<String, Value>) -> bool {
    object.contains_key(directive::PATCH) || object.contains_key(directive::RETAIN_KEYS)
}

/// The parameters of one merge.
struct Merger {
    directives: Directives,
}

impl Merger {
    /// Go's `mergeMap`.
    fn object(
        &self,
        original: &mut Map<String, Value>,
        patch: Map<String, Value>,
        ty: Type,
        path: &Place<'_>,
    ) -> Result<(), Error> {
        if self.honors() && has_directives(&patch) {
            return self.object_with_directives(original, patch, ty, path);
        }
        patch.into_iter().try_for_each(|(field, value)| self.field(original, field, value, ty, path))
    }

    /// [`Merger::object`] with directives.
    fn object_with_directives(
        &self,
        original: &mut Map<String, Value>,
        patch: Map<String, Value>,
        ty: Type,
        path: &Place<'_>,
    ) -> Result<(), Error> {
        if let Some(directive) = patch.get(directive::PATCH) {
            return self.whole_object(original, &patch, directive, path);
        }
        self.retain_keys(original, &patch, path)?;
        let ordered = self.ordered_lists(original, &patch, ty, path)?;
        for (key, value) in patch {
            match Key::of(&key) {
                Key::Field(field) if !ordered.contains(field) => {
                    self.field(original, key, value, ty, path)?;
                }
                Key::DeleteFrom(field) => self.delete_from(original, field, &value, ty, path)?,
                Key::Nameless(directive) => return Err(nameless(directive, path)),
                Key::Field(_) | Key::Patch | Key::RetainKeys | Key::OrderOf(_) => {}
            }
        }
        Ok(())
    }

    /// Merges one field of an object.
    fn field(
        &self,
        original: &mut Map<String, Value>,
        field: String,
        value: Value,
        ty: Type,
        path: &Place<'_>,
    ) -> Result<(), Error> {
        if value.is_null() {
            if self.honors() {
                original.remove(&field);
            }
            return Ok(());
        }
        match (original.get_mut(&field), value) {
            (Some(Value::Object(original)), Value::Object(patch)) => {
                let below = match ty.field(&field) {
                    Some(Merge::Object(below)) => below,
                    _ => Type::Plain,
                };
                self.object(original, patch, below, &path.field(&field))
            }
            (Some(Value::Array(original)), Value::Array(patch)) => {
                self.list(original, patch, ty.field(&field), &path.field(&field))
            }
            (place, value) => {
                match (place, directive::taken(value, self.copying(Copying::Fresh))) {
                    (Some(place), Some(value)) => *place = value,
                    (None, Some(value)) => {
                        original.insert(field, value);
                    }
                    (_, None) => {
                        original.remove(&field);
                    }
                }
                Ok(())
            }
        }
    }

    /// Go's `handleDirectiveInMergeMap`.
    fn whole_object(
        &self,
        original: &mut Map<String, Value>,
        patch: &Map<String, Value>,
        directive: &Value,
        path: &Place<'_>,
    ) -> Result<(), Error> {
        match directive.as_str() {
            Some("replace") => *original = directive::taken_object(patch.clone(), Copying::Raw),
            Some("delete") => original.clear(),
            _ => {
                let accepted = "`replace` or `delete`";
                return Err(bad_directive(directive::PATCH, said(directive), accepted, path));
            }
        }
        Ok(())
    }

    /// Go's `applyRetainKeysDirective`.
    fn retain_keys(
        &self,
        original: &mut Map<String, Value>,
        patch: &Map<String, Value>,
        path: &Place<'_>,
    ) -> Result<(), Error> {
        let Some(directive) = patch.get(directive::RETAIN_KEYS) else { return Ok(()) };
        let refused = |found: &Value| {
            bad_directive(directive::RETAIN_KEYS, Kind::of(found).name(), "a list of field names", path)
        };
        let mut retained = BTreeSet::new();
        for name in directive.as_array().ok_or_else(|| refused(directive))? {
            // A scalar other than a string names no field; Go accepts it.
            if let Scalar::Text(name) = Scalar::of(name).ok_or_else(|| refused(name))? {
                retained.insert(name);
            }
        }
        for (key, value) in patch {
            let is_data = matches!(Key::of(key), Key::Field(_));
            if is_data && !value.is_null() && !retained.contains(key.as_str()) {
                return Err(Error::NotRetained { path: path.dotted(), field: key.clone() });
            }
        }
        original.retain(|key, _| retained.contains(key.as_str()));
        Ok(())
    }

    /// Merges and orders the lists with a `$setElementOrder` (Go: `mergePatchIntoOriginal`), and returns their names.
    fn ordered_lists(
        &self,
        original: &mut Map<String, Value>,
        patch: &Map<String, Value>,
        ty: Type,
        path: &Place<'_>,
    ) -> Result<BTreeSet<String>, Error> {
        let mut ordered = BTreeSet::new();
        for (key, order) in patch {
            let Key::OrderOf(field) = Key::of(key) else { continue };
            let path = path.field(field);
            let not_a_list = |value: &Value| bad_directive(key, Kind::of(value).name(), "a list", &path);
            let order = order.as_array().ok_or_else(|| not_a_list(order))?;
            let patch = match patch.get(field) {
                Some(value) => Some(value.as_array().ok_or_else(|| not_a_list(value))?),
                None => None,
            };
            match original.get_mut(field) {
                Some(Value::Array(original)) => {
                    self.ordered_list(original, patch, order, ty.field(field), &path)?;
                }
                Some(other) => return Err(bad_directive(key, said_of(other), "for a list", &path)),
                None => {
                    let Some(patch) = patch else { continue };
                    // Unlike other new lists: Go checks and orders it.
                    let mut created = directive::taken_list(patch.clone(), Copying::Fresh);
                    self.order_created(&mut created, patch, order, ty.field(field), &path)?;
                    original.insert(field.to_owned(), Value::Array(created));
                }
            }
            ordered.insert(field.to_owned());
        }
        Ok(ordered)
    }

    /// `$deleteFromPrimitiveList`.
    fn delete_from(
        &self,
        original: &mut Map<String, Value>,
        field: &str,
        elements: &Value,
        ty: Type,
        path: &Place<'_>,
    ) -> Result<(), Error> {
        if elements.is_null() {
            original.remove(field);
            return Ok(());
        }
        let path = path.field(field);
        match (original.get_mut(field), elements) {
            (Some(Value::Array(original)), Value::Array(elements)) => {
                self.delete_elements(original, elements, ty.field(field), &path)
            }
            // Without such a list, there is nothing to delete.
            _ => Ok(()),
        }
    }

    fn honors(&self) -> bool {
        self.directives == Directives::Honor
    }

    fn copying(&self, how: Copying) -> Copying {
        if self.honors() { how } else { Copying::Literal }
    }
}

fn nameless(directive: &str, path: &Place<'_>) -> Error {
    bad_directive(directive, "without a list's name", "a list's name after a slash", path)
}

fn bad_directive(
    directive: &str,
    found: impl Into<String>,
    accepted: &'static str,
    path: &Place<'_>,
) -> Error {
    Error::BadDirective {
        path: path.dotted(),
        directive: directive.to_owned(),
        found: found.into(),
        accepted,
    }
}

/// The value of a directive: its text, or its type if it is not text.
fn said(directive: &Value) -> String {
    match directive.as_str() {
        Some(text) => format!("`{text}`"),
        None => Kind::of(directive).name().to_owned(),
    }
}

fn said_of(field: &Value) -> String {
    format!("for a field that is {}", Kind::of(field).name())
}

#[cfg(test)]
mod tests;
