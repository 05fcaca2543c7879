//! Lists and maps: borrowed from JSON, or created by functions and then shared.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value as Json;

use super::{DEPTH, Key, Value};
use crate::gotypes::Kind;

/// The Go type of the elements of a list or map created by a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elem {
    /// `interface{}`.
    Any,
    /// `string`.
    String,
    /// `int`.
    Int,
    /// `[]interface{}`.
    AnyList,
}

/// A slice.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// Created by a function; never changed afterward.
    Owned(Rc<OwnedList<'a>>),
    /// A view of JSON; `None` is a nil slice.
    Json {
        /// The array.
        items: Option<&'a [Json]>,
        /// The kind of each item.
        of: &'static Kind,
        /// Whether it came from the pod.
        tainted: bool,
    },
}

/// A slice created by a function.
#[derive(Debug)]
pub struct OwnedList<'a> {
    /// The items.
    pub items: Vec<Value<'a>>,
    /// Their Go type.
    pub of: Elem,
}

/// A map with string keys.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// Created by a function. Functions such as `set` change it in place, visible through every copy, as in Go.
    Owned(Rc<OwnedMap<'a>>),
    /// A view of JSON; `None` is a nil map.
    Json {
        /// The object.
        entries: Option<&'a serde_json::Map<String, Json>>,
        /// The kind of each value.
        of: &'static Kind,
        /// Whether it came from the pod.
        tainted: bool,
    },
}

/// A map created by a function.
#[derive(Debug)]
pub struct OwnedMap<'a> {
    pub(super) entries: RefCell<BTreeMap<Key<'a>, Value<'a>>>,
    /// The Go type of the values.
    pub of: Elem,
}

/// Why a map could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The map is part of the template's input.
    #[error("the template's input cannot be changed; copy it with deepCopy first")]
    Input,
    /// The map would contain itself.
    #[error("a map cannot contain itself, nor more than {DEPTH} levels")]
    Nesting,
}

impl<'a> List<'a> {
    /// The number of items.
    pub fn len(&self) -> usize {
        match self {
            List::Owned(list) => list.items.len(),
            List::Json { items, .. } => items.map_or(0, <[Json]>::len),
        }
    }

    /// Whether it has no items.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is a nil slice.
    pub fn is_nil(&self) -> bool {
        matches!(self, List::Json { items: None, .. })
    }

    /// One item.
    pub fn at(&self, index: usize) -> Option<Value<'a>> {
        match self {
            List::Owned(list) => list.items.get(index).cloned(),
            List::Json { items, of, tainted } => {
                Some(Value::of_kind(of, Some((*items)?.get(index)?), *tainted))
            }
        }
    }

    /// All items in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.at(index))
    }

    /// Whether its items are interfaces (`[]interface{}`), so that an item can be nil.
    pub fn holds_interfaces(&self) -> bool {
        match self {
            List::Owned(list) => list.of == Elem::Any,
            List::Json { of, .. } => matches!(of, Kind::Any),
        }
    }
}

impl<'a> Map<'a> {
    /// The number of entries.
    pub fn len(&self) -> usize {
        match self {
            Map::Owned(map) => map.entries.borrow().len(),
            Map::Json { entries, .. } => entries.map_or(0, serde_json::Map::len),
        }
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is a nil map.
    pub fn is_nil(&self) -> bool {
        matches!(self, Map::Json { entries: None, .. })
    }

    /// The value of a key (the real text), if the map has it.
    pub fn at(&self, key: &str) -> Option<Value<'a>> {
        match self {
            Map::Owned(map) => map.entries.borrow().get(key).cloned(),
            Map::Json { entries, of, tainted } => {
                Some(Value::of_kind(of, Some((*entries)?.get(key)?), *tainted))
            }
        }
    }

    /// All current entries in the order of their keys.
    pub fn entries(&self) -> Vec<(Key<'a>, Value<'a>)> {
        match self {
            Map::Owned(map) => {
                map.entries.borrow().iter().map(|(key, value)| (key.clone(), value.clone())).collect()
            }
            Map::Json { entries: None, .. } => Vec::new(),
            Map::Json { entries: Some(entries), of, tainted } => entries
                .iter()
                .map(|(key, value)| {
                    let key = Key { text: Cow::Borrowed(key.as_str()), tainted: *tainted };
                    (key, Value::of_kind(of, Some(value), *tainted))
                })
                .collect(),
        }
    }

    /// Whether its values are interfaces (`map[string]interface{}`), so that a value can be nil.
    pub fn holds_interfaces(&self) -> bool {
        match self {
            Map::Owned(map) => map.of == Elem::Any,
            Map::Json { of, .. } => matches!(of, Kind::Any),
        }
    }

    /// Go's zero value for a key that the map lacks (`index`).
    pub fn zero(&self) -> Value<'a> {
        match self {
            Map::Owned(map) => map.of.zero(),
            Map::Json { of, tainted, .. } => Value::of_kind(of, None, *tainted),
        }
    }

    /// Sets an entry in place.
    ///
    /// # Errors
    /// If the map is part of the template's input, or the value contains the map.
    pub fn insert(&self, key: Key<'a>, value: Value<'a>) -> Result<(), ChangeError> {
        let Map::Owned(map) = self else { return Err(ChangeError::Input) };
        if value.reaches(map, &mut Walk::default()) {
            return Err(ChangeError::Nesting);
        }
        map.entries.borrow_mut().insert(key, value);
        Ok(())
    }

    /// Removes an entry in place.
    ///
    /// # Errors
    /// If the map is part of the template's input.
    pub fn remove(&self, key: &str) -> Result<Option<Value<'a>>, ChangeError> {
        let Map::Owned(map) = self else { return Err(ChangeError::Input) };
        Ok(map.entries.borrow_mut().remove(key))
    }

    /// Whether both are the same map, so that a change to one is visible in the other.
    pub fn is_same(&self, other: &Map<'a>) -> bool {
        matches!((self, other), (Map::Owned(one), Map::Owned(two)) if Rc::ptr_eq(one, two))
    }
}

impl Elem {
    /// The name of the Go type.
    pub fn type_name(self) -> &'static str {
        match self {
            Elem::Any => "interface {}",
            Elem::String => "string",
            Elem::Int => "int",
            Elem::AnyList => "[]interface {}",
        }
    }

    pub(super) fn zero<'a>(self) -> Value<'a> {
        match self {
            Elem::Any => Value::Nil,
            Elem::String => Value::string(""),
            Elem::Int => Value::int(0),
            Elem::AnyList => Value::List(List::Json { items: None, of: &Kind::Any, tainted: false }),
        }
    }
}

impl<'a> Value<'a> {
    /// Whether `map` is this value or inside it, or the walk gave up.
    fn reaches(&self, map: &Rc<OwnedMap<'a>>, walk: &mut Walk) -> bool {
        match self {
            Value::List(List::Owned(list)) => {
                walk.inside(|walk| list.items.iter().any(|item| item.reaches(map, walk)))
            }
            Value::Map(Map::Owned(own)) if Rc::ptr_eq(own, map) => true,
            Value::Map(Map::Owned(own)) => {
                walk.inside(|walk| own.entries.borrow().values().any(|value| value.reaches(map, walk)))
            }
            Value::Record(record) => {
                walk.inside(|walk| record.fields.iter().any(|(_, value)| value.reaches(map, walk)))
            }
            _ => false,
        }
    }
}

impl Drop for OwnedList<'_> {
    fn drop(&mut self) {
        drop_flat(std::mem::take(&mut self.items));
    }
}

impl Drop for OwnedMap<'_> {
    fn drop(&mut self) {
        drop_flat(std::mem::take(self.entries.get_mut()).into_values().collect());
    }
}

/// Drops values without recursion: a template can nest lists as deep as its step budget, deeper than the stack.
fn drop_flat(mut pending: Vec<Value<'_>>) {
    while let Some(value) = pending.pop() {
        match value {
            Value::List(List::Owned(mut list)) => {
                if let Some(list) = Rc::get_mut(&mut list) {
                    pending.append(&mut list.items);
                }
            }
            Value::Map(Map::Owned(mut map)) => {
                if let Some(map) = Rc::get_mut(&mut map) {
                    pending.extend(std::mem::take(map.entries.get_mut()).into_values());
                }
            }
            _ => {}
        }
    }
}

/// A walk over nested lists and maps that gives up, and then answers yes, if it goes too deep or takes too long: maps
/// can contain each other in more ways than there is time to visit.
pub(super) struct Walk {
    depth: usize,
    visits: usize,
}

impl Default for Walk {
    fn default() -> Self {
        Walk { depth: DEPTH, visits: 10_000 }
    }
}

impl Walk {
    /// Visits the content of a list or map.
    pub(super) fn inside(&mut self, look: impl FnOnce(&mut Walk) -> bool) -> bool {
        if self.depth == 0 || self.visits == 0 {
            return true;
        }
        self.depth -= 1;
        self.visits -= 1;
        let found = look(self);
        self.depth += 1;
        found
    }
}
