//! The directives a patch may carry beside its data, and what is taken out when data is copied from a patch.

use serde_json::{Map, Value};

/// What every directive begins with.
pub(super) const SIGN: char = '$';
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

/// A value of the patch as it gets into the result; nothing if it is to be left out.
///
/// Nulls and directives never get into the result. In Go they do in places, and vanish when the result is decoded
/// into a typed pod; here the result is JSON to the end.
pub(super) fn taken(mut value: Value, how: Copying) -> Option<Value> {
    (is_plain(&value) || clean(&mut value, how)).then_some(value)
}

/// [`taken`] for the fields of an object.
pub(super) fn taken_object(mut object: Map<String, Value>, how: Copying) -> Map<String, Value> {
    clean_object(&mut object, how);
    object
}

/// [`taken`] for the elements of a list; a null that is an element stays one.
pub(super) fn taken_list(mut list: Vec<Value>, how: Copying) -> Vec<Value> {
    if !list.iter().all(is_plain) {
        list.retain_mut(|element| clean(element, how));
    }
    list
}

/// Whether there is nothing in a value that might have to be taken out: so it is nearly always, and looking costs less
/// than taking apart.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Object(object) => {
            object.iter().all(|(key, value)| !key.starts_with(SIGN) && !value.is_null() && is_plain(value))
        }
        Value::Array(list) => list.iter().all(is_plain),
        _ => true,
    }
}

/// Takes out what does not get into the result, and says whether the value itself does.
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
