//! The values of templates: Go's values, as far as templates can distinguish them.
//!
//! JSON is borrowed and examined lazily; values created by functions are shared, so copying a value is cheap. Strings
//! track whether they came from the pod ([`Taint`]). Nothing here prints: see [`super::format`].

use std::borrow::{Borrow, Cow};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value as Json;

use crate::gotypes::{Enum, Kind, Type};

mod collection;
pub(crate) mod typed;

use collection::Walk;
pub use collection::{ChangeError, Elem, List, Map, OwnedList, OwnedMap};
pub use typed::{Pointer, Special, Struct};

/// The maximum nesting of lists and maps before a walk over them gives up.
pub const DEPTH: usize = 100;

/// A Go value.
#[derive(Clone, Debug, Default)]
pub enum Value<'a> {
    /// No value at all: a key that a map lacks. Prints `<no value>`, and all its fields are missing too.
    #[default]
    Missing,
    /// A nil `interface{}`: JSON's null, the constant `nil`.
    Nil,
    /// `bool`.
    Bool(bool),
    /// A signed integer.
    Int(i64, IntType),
    /// An unsigned integer.
    Uint(u64, UintType),
    /// `float64`; also every number in a JSON document.
    Float(f64),
    /// `string`.
    String(Text<'a>),
    /// A slice.
    List(List<'a>),
    /// A map with string keys.
    Map(Map<'a>),
    /// A Go struct of the type tables, or a pointer to one (possibly nil).
    Struct(Struct<'a>),
    /// A pointer to something other than a struct, such as `*int64` (possibly nil).
    Pointer(Pointer<'a>),
    /// A Go type with its own methods: quantities, durations, wrapped scalars, …
    Special(Special<'a>),
    /// A value of a protobuf enum.
    Enum(&'static Enum, i32),
    /// A struct that this crate builds field by field: a template's data, a function's result.
    Record(Rc<Record<'a>>),
}

/// The signed integer types that are distinguished (`%T`, `typeOf`, arguments).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntType {
    /// `int`: constants, lengths.
    Int,
    /// `int32`: runes.
    Int32,
    /// `int64`.
    Int64,
}

/// The unsigned integer types that are distinguished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UintType {
    /// `uint8`: a byte of a string.
    Uint8,
    /// `uint32`.
    Uint32,
    /// `uint64`.
    Uint64,
}

/// Whether a text came from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taint {
    /// None of it did.
    Clean,
    /// All of it did, or was computed from something that did; it is printed as a single placeholder.
    Whole,
    /// Clean text in which placeholders (`\u{E000}index\u{E001}`) stand for tainted parts.
    Mixed,
}

/// A string with its taint.
#[derive(Clone, Debug)]
pub struct Text<'a> {
    text: Cow<'a, str>,
    taint: Taint,
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment<'t> {
    /// Written by the administrator or this crate.
    Clean(&'t str),
    /// From the pod: the real text.
    Tainted(String),
}

/// A key of a map; equality and order are based on the real text.
#[derive(Clone, Debug)]
pub struct Key<'a> {
    /// The real text, without placeholders.
    pub text: Cow<'a, str>,
    /// Whether it came from the pod.
    pub tainted: bool,
}

/// A struct built field by field; a field can also represent a method without arguments.
#[derive(Debug)]
pub struct Record<'a> {
    /// The Go name with its package, such as `inject.SidecarTemplateData`.
    pub name: &'static str,
    /// Fields by Go name.
    pub fields: Vec<(&'static str, Value<'a>)>,
    /// Its printed form, if the Go type has a `String` method.
    pub printed: Option<Text<'a>>,
}

impl<'a> Key<'a> {
    /// A key created by this crate.
    pub fn clean(text: String) -> Key<'a> {
        Key { text: text.into(), tainted: false }
    }
}

impl<'a> Text<'a> {
    /// Text written by the administrator or this crate.
    pub fn clean(text: impl Into<Cow<'a, str>>) -> Text<'a> {
        let text = text.into();
        // Clean text that happens to contain placeholder characters must not forge a placeholder.
        let taint = if has_placeholder_characters(&text) { Taint::Whole } else { Taint::Clean };
        Text { text, taint }
    }

    /// Text that came from the pod.
    pub fn whole(text: impl Into<Cow<'a, str>>) -> Text<'a> {
        Text { text: text.into(), taint: Taint::Whole }
    }

    /// Clean, or whole if `tainted`.
    pub fn new(text: impl Into<Cow<'a, str>>, tainted: bool) -> Text<'a> {
        if tainted { Text::whole(text) } else { Text::clean(text) }
    }

    /// Text whose placeholders were all created by this render: the result of moving parts of such texts around.
    pub(crate) fn moved(text: impl Into<Cow<'a, str>>) -> Text<'a> {
        let text = text.into();
        let taint = if has_placeholder_characters(&text) { Taint::Mixed } else { Taint::Clean };
        Text { text, taint }
    }

    /// The text as stored: real for clean and whole texts, with placeholders for mixed ones. Code that examines the
    /// content uses [`super::funcs::Call::real`].
    pub fn stored(&self) -> &str {
        &self.text
    }

    /// The stored text, without copying if possible.
    pub fn into_stored(self) -> Cow<'a, str> {
        self.text
    }

    /// Its taint.
    pub fn taint(&self) -> Taint {
        self.taint
    }

    /// Whether any of it came from the pod.
    pub fn is_tainted(&self) -> bool {
        self.taint != Taint::Clean
    }

    /// Whether it is empty; correct for mixed texts too, because a placeholder is never empty.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Key<'_> {}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.as_ref().cmp(other.text.as_ref())
    }
}

impl Borrow<str> for Key<'_> {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl<'a> Key<'a> {
    /// The key as a string value.
    pub fn to_value(&self) -> Value<'a> {
        Value::String(Text::new(self.text.clone(), self.tainted))
    }
}

impl<'a> Value<'a> {
    /// Whether Go sees a nil interface.
    pub fn is_nil(&self) -> bool {
        matches!(self, Value::Nil | Value::Missing)
    }

    /// A clean string.
    pub fn string(text: impl Into<Cow<'a, str>>) -> Value<'a> {
        Value::String(Text::clean(text))
    }

    /// An `int`.
    pub fn int(number: i64) -> Value<'a> {
        Value::Int(number, IntType::Int)
    }

    /// An `[]interface{}`.
    pub fn list(items: Vec<Value<'a>>) -> Value<'a> {
        Value::list_of(Elem::Any, items)
    }

    /// A slice of a given type.
    pub fn list_of(of: Elem, items: Vec<Value<'a>>) -> Value<'a> {
        Value::List(List::Owned(Rc::new(OwnedList { items, of })))
    }

    /// A `map[string]interface{}`.
    pub fn map(entries: BTreeMap<Key<'a>, Value<'a>>) -> Value<'a> {
        Value::map_of(Elem::Any, entries)
    }

    /// A map of a given type.
    pub fn map_of(of: Elem, entries: BTreeMap<Key<'a>, Value<'a>>) -> Value<'a> {
        Value::Map(Map::Owned(Rc::new(OwnedMap { entries: RefCell::new(entries), of })))
    }

    /// A struct built from its fields, without a `String` method.
    pub fn record(name: &'static str, fields: Vec<(&'static str, Value<'a>)>) -> Value<'a> {
        Value::Record(Rc::new(Record { name, fields, printed: None }))
    }

    /// A struct of the type tables; an absent JSON is its zero value.
    pub fn of_type(ty: &'static Type, json: Option<&'a Json>, tainted: bool) -> Value<'a> {
        Value::Struct(Struct { ty, json: json.filter(|json| !json.is_null()), tainted, pointer: false })
    }

    /// A pointer to a struct of the type tables; an absent JSON is nil.
    pub fn pointer_to(ty: &'static Type, json: Option<&'a Json>, tainted: bool) -> Value<'a> {
        Value::Struct(Struct { ty, json: json.filter(|json| !json.is_null()), tainted, pointer: true })
    }

    /// JSON decoded into an `interface{}`: all numbers are `float64`, as `sigs.k8s.io/yaml` and `encoding/json` do.
    pub fn json(json: &'a Json, tainted: bool) -> Value<'a> {
        match json {
            Json::Null => Value::Nil,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => Value::Float(number.as_f64().unwrap_or_default()),
            Json::String(text) => Value::String(Text::new(text.as_str(), tainted)),
            Json::Array(items) => Value::List(List::Json { items: Some(items), of: &Kind::Any, tainted }),
            Json::Object(entries) => {
                Value::Map(Map::Json { entries: Some(entries), of: &Kind::Any, tainted })
            }
        }
    }

    /// Owned JSON decoded into an `interface{}`, for example the result of a function.
    pub fn from_json(json: Json, tainted: bool) -> Value<'a> {
        match json {
            Json::Null => Value::Nil,
            Json::Bool(value) => Value::Bool(value),
            Json::Number(number) => Value::Float(number.as_f64().unwrap_or_default()),
            Json::String(text) => Value::String(Text::new(text, tainted)),
            Json::Array(items) => {
                Value::list(items.into_iter().map(|item| Value::from_json(item, tainted)).collect())
            }
            Json::Object(entries) => Value::map(
                entries
                    .into_iter()
                    .map(|(key, item)| (Key { text: key.into(), tainted }, Value::from_json(item, tainted)))
                    .collect(),
            ),
        }
    }

    /// The string, if it is one.
    pub fn as_text(&self) -> Option<&Text<'a>> {
        if let Value::String(text) = self { Some(text) } else { None }
    }

    /// The list, if it is one.
    pub fn as_list(&self) -> Option<&List<'a>> {
        if let Value::List(list) = self { Some(list) } else { None }
    }

    /// The map, if it is one.
    pub fn as_map(&self) -> Option<&Map<'a>> {
        if let Value::Map(map) = self { Some(map) } else { None }
    }

    /// Whether `if` considers it true (Go's `isTrue`).
    pub fn is_true(&self) -> bool {
        match self {
            Value::Missing | Value::Nil => false,
            Value::Bool(value) => *value,
            Value::Int(number, _) => *number != 0,
            Value::Uint(number, _) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::String(text) => !text.is_empty(),
            Value::List(list) => !list.is_empty(),
            Value::Map(map) => !map.is_empty(),
            Value::Struct(value) => !value.is_nil(),
            Value::Pointer(pointer) => !pointer.is_nil(),
            Value::Special(special) => !special.is_nil(),
            Value::Enum(_, number) => *number != 0,
            Value::Record(_) => true,
        }
    }

    /// Whether any string in it came from the pod. Values that are nested too deeply count as tainted.
    pub fn is_tainted(&self) -> bool {
        match self {
            Value::String(text) => text.is_tainted(),
            _ => self.is_tainted_within(&mut Walk::default()),
        }
    }

    fn is_tainted_within(&self, walk: &mut Walk) -> bool {
        match self {
            Value::String(text) => text.is_tainted(),
            Value::List(List::Json { items, tainted, .. }) => *tainted && items.is_some(),
            Value::List(List::Owned(list)) => {
                walk.inside(|walk| list.items.iter().any(|item| item.is_tainted_within(walk)))
            }
            Value::Map(Map::Json { entries, tainted, .. }) => *tainted && entries.is_some(),
            Value::Map(Map::Owned(map)) => walk.inside(|walk| {
                let entries = map.entries.borrow();
                entries.iter().any(|(key, value)| key.tainted || value.is_tainted_within(walk))
            }),
            Value::Struct(value) => value.tainted && value.json.is_some(),
            Value::Pointer(pointer) => pointer.tainted && pointer.json.is_some(),
            Value::Special(special) => special.tainted && special.json.is_some(),
            Value::Record(record) => {
                walk.inside(|walk| record.fields.iter().any(|(_, value)| value.is_tainted_within(walk)))
            }
            Value::Missing
            | Value::Nil
            | Value::Bool(_)
            | Value::Int(..)
            | Value::Uint(..)
            | Value::Float(_)
            | Value::Enum(..) => false,
        }
    }

    /// The name of its Go type, such as `map[string]interface {}`; `<nil>` for `nil`, which has none.
    pub fn type_name(&self) -> Cow<'static, str> {
        match self {
            Value::Missing | Value::Nil => "<nil>".into(),
            Value::Bool(_) => "bool".into(),
            Value::Int(_, IntType::Int) => "int".into(),
            Value::Int(_, IntType::Int32) => "int32".into(),
            Value::Int(_, IntType::Int64) => "int64".into(),
            Value::Uint(_, UintType::Uint8) => "uint8".into(),
            Value::Uint(_, UintType::Uint32) => "uint32".into(),
            Value::Uint(_, UintType::Uint64) => "uint64".into(),
            Value::Float(_) => "float64".into(),
            Value::String(_) => "string".into(),
            Value::List(List::Owned(list)) => format!("[]{}", list.of.type_name()).into(),
            Value::List(List::Json { of, .. }) => format!("[]{}", typed::type_name(of)).into(),
            Value::Map(Map::Owned(map)) => format!("map[string]{}", map.of.type_name()).into(),
            Value::Map(Map::Json { of, .. }) => format!("map[string]{}", typed::type_name(of)).into(),
            Value::Struct(value) if value.pointer => format!("*{}", value.ty.name).into(),
            Value::Struct(value) => value.ty.name.into(),
            Value::Pointer(pointer) => format!("*{}", typed::type_name(pointer.to)).into(),
            Value::Special(special) => typed::type_name(special.kind),
            Value::Enum(of, _) => of.name.into(),
            Value::Record(record) => record.name.into(),
        }
    }

    /// The name of its Go kind, such as `map`, `slice`, `ptr`; `invalid` for `nil`.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Value::Missing | Value::Nil => "invalid",
            Value::Bool(_) => "bool",
            Value::Int(_, IntType::Int) => "int",
            Value::Int(_, IntType::Int32) | Value::Enum(..) => "int32",
            Value::Int(_, IntType::Int64) => "int64",
            Value::Uint(_, UintType::Uint8) => "uint8",
            Value::Uint(_, UintType::Uint32) => "uint32",
            Value::Uint(_, UintType::Uint64) => "uint64",
            Value::Float(_) => "float64",
            Value::String(_) => "string",
            Value::List(_) => "slice",
            Value::Map(_) => "map",
            Value::Struct(value) if value.pointer => "ptr",
            Value::Special(special) if special.is_pointer() => "ptr",
            Value::Pointer(_) => "ptr",
            Value::Struct(_) | Value::Special(_) | Value::Record(_) => "struct",
        }
    }
}

impl<'a> Record<'a> {
    /// A field's value.
    pub fn at(&self, field: &str) -> Option<&Value<'a>> {
        self.fields.iter().find(|(name, _)| *name == field).map(|(_, value)| value)
    }
}

/// Whether a text contains U+E000 or U+E001.
pub(crate) fn has_placeholder_characters(text: &str) -> bool {
    // Both start with this byte in UTF-8, which is rare: searching for it is cheaper than decoding.
    text.as_bytes().contains(&0xee) && text.contains(['\u{E000}', '\u{E001}'])
}
