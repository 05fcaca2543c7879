//! The directives a patch may carry beside its data, and what is taken out when data is copied from a patch.

use serde_json::{Map, Value};

/// `$patch`: what to do with the object it is in.
pub(super) const PATCH: &str = "$patch";
/// `$retainKeys`: the fields that stay.
pub(super) const RETAIN_KEYS: &str = "$retainKeys";
/// `$deleteFromPrimitiveList/<field>`: elements that go.
pub(super) const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList";
/// `$setElementOrder/<field>`: the order of a list's elements.
pub(super) const SET_ELEMENT_ORDER: &str = "$setElementOrder";

/// What a key of a patch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// A field's name.
    Field(&'a str),
    Patch,
    RetainKeys,
    /// The field whose elements go.
    DeleteFrom(&'a str),
    /// The field whose elements are put in order.
    OrderOf(&'a str),
    /// A directive that needs a field's name after a slash and has none.
    Nameless(&'static str),
}

impl<'a> Key<'a> {
    /// Reads a key, where directives are honoured.
    pub(super) fn of(key: &'a str) -> Key<'a> {
        match key {
            PATCH => return Key::Patch,
            RETAIN_KEYS => return Key::RetainKeys,
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

/// How a value gets from the patch into the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copying {
    /// As the value of a field that was not there (Go: `discardNullValuesFromPatch`, `removeDirectives`): an object
    /// with `$patch` is left out, whatever it says.
    Fresh,
    /// As an element, a replaced list or a replaced object: an object with `$patch` stays, the directive goes.
    Raw,
    /// As the user's own data: nothing is a directive.
    Literal,
}

/// Copies a value of the patch; nothing if it is to be left out.
///
/// Nulls and directives never get into the result. In Go they do in places, and vanish when the result is decoded
/// into a typed pod; here the result is JSON to the end.
pub(super) fn copy(value: &Value, how: Copying) -> Option<Value> {
    match value {
        Value::Object(object) => {
            if how == Copying::Fresh && object.contains_key(PATCH) {
                return None;
            }
            Some(Value::Object(copy_object(object, how)))
        }
        Value::Array(list) => Some(Value::Array(copy_list(list, how))),
        scalar => Some(scalar.clone()),
    }
}

/// [`copy`] for the fields of an object.
pub(super) fn copy_object(object: &Map<String, Value>, how: Copying) -> Map<String, Value> {
    object
        .iter()
        .filter(|(key, value)| {
            !value.is_null() && (how == Copying::Literal || matches!(Key::of(key), Key::Field(_)))
        })
        .filter_map(|(key, value)| Some((key.clone(), copy(value, how)?)))
        .collect()
}

/// [`copy`] for the elements of a list; a null that is an element stays one.
pub(super) fn copy_list(list: &[Value], how: Copying) -> Vec<Value> {
    list.iter().filter_map(|element| copy(element, how)).collect()
}
