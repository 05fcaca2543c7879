//! The directives that a patch may contain besides its data, and what is removed when data is copied from a patch.

use serde_json::{Map, Value};

/// The prefix of every directive.
pub(super) const SIGN: char = '$';
/// `$patch`: what to do with the object that contains it.
pub(super) const PATCH: &str = "$patch";
/// `$retainKeys`: the fields that stay.
pub(super) const RETAIN_KEYS: &str = "$retainKeys";
/// `$deleteFromPrimitiveList/<field>`: elements to remove.
pub(super) const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList";
/// `$setElementOrder/<field>`: the order of a list's elements.
pub(super) const SET_ELEMENT_ORDER: &str = "$setElementOrder";

/// The meaning of a patch's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// A field's name.
    Field(&'a str),
    Patch,
    RetainKeys,
    /// The field whose elements are removed.
    DeleteFrom(&'a str),
    /// The field whose elements are ordered.
    OrderOf(&'a str),
    /// A directive that lacks the required field name after a slash.
    Nameless(&'static str),
}

impl<'a> Key<'a> {
    /// Parses a key in a patch with directives.
    pub(super) fn of(key: &'a str) -> Key<'a> {
        match key {
            PATCH => return Key::Patch,
            RETAIN_KEYS => return Key::RetainKeys,
            _ if !key.starts_with(SIGN) => return Key::Field(key),
            _ => {}
        }
        if let Some(rest) = key.strip_prefix(DELETE_FROM_PRIMITIVE_LIST) {
            return rest.strip_prefix('/').map_or(Key::Nameless(DELETE_FROM_PRIMITIVE_LIST), Key::DeleteFrom);
        }
        if let Some(rest) = key.strip_prefix(SET_ELEMENT_ORDER) {
            return rest.strip_prefix('/').map_or(Key::Nameless(SET_ELEMENT_ORDER), Key::OrderOf);
        }
        Key::Field(key)
    }
}

/// How a value is copied from the patch into the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copying {
    /// As the value of a new field (Go: `discardNullValuesFromPatch`, `removeDirectives`): an object with `$patch` is
    /// dropped, whatever its value.
    Fresh,
    /// As an element, a replaced list or a replaced object: an object with `$patch` is kept without the directive.
    Raw,
    /// As the user's own data: nothing is a directive.
    Literal,
}

/// A value of the patch as it is copied into the result; `None` if it is dropped.
///
/// Nulls and directives never enter the result. In Go they sometimes do, and disappear when the result is decoded into
/// a typed pod; here the result stays JSON.
pub(super) fn taken(mut value: Value, how: Copying) -> Option<Value> {
    (is_plain(&value) || clean(&mut value, how)).then_some(value)
}

/// [`taken`] for the fields of an object.
pub(super) fn taken_object(mut object: Map<String, Value>, how: Copying) -> Map<String, Value> {
    clean_object(&mut object, how);
    object
}

/// [`taken`] for the elements of a list; a null element stays.
pub(super) fn taken_list(mut list: Vec<Value>, how: Copying) -> Vec<Value> {
    if !list.iter().all(is_plain) {
        list.retain_mut(|element| clean(element, how));
    }
    list
}

/// Whether a value contains nothing to remove: this is almost always the case, and checking is cheaper than rebuilding.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Object(object) => {
            object.iter().all(|(key, value)| !key.starts_with(SIGN) && !value.is_null() && is_plain(value))
        }
        Value::Array(list) => list.iter().all(is_plain),
        _ => true,
    }
}

/// Removes what does not enter the result, and returns whether the value itself does.
fn clean(value: &mut Value, how: Copying) -> bool {
    match value {
        Value::Object(object) if how == Copying::Fresh && object.contains_key(PATCH) => false,
        Value::Object(object) => {
            clean_object(object, how);
            true
        }
        Value::Array(list) => {
            list.retain_mut(|element| clean(element, how));
            true
        }
        _ => true,
    }
}

fn clean_object(object: &mut Map<String, Value>, how: Copying) {
    object.retain(|key, value| {
        let is_data = how == Copying::Literal || matches!(Key::of(key), Key::Field(_));
        is_data && !value.is_null() && clean(value, how)
    });
}
