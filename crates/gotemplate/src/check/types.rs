//! The static types of values, and the parts of configured maps.

use std::rc::Rc;

use serde_json::{Map as JsonMap, Value as Json};

use super::truth::Truth;
use crate::eval::field::{method, special_field};
use crate::funcs::Param;
use crate::gotypes::{Kind, Type};
use crate::value::typed::type_name;
use crate::value::{List, Map, Record, Special, Value};

/// The known facts about a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known<'d> {
    pub(super) ty: Ty<'d>,
    /// Whether it depends on the configuration, so that pods alone do not decide which value it has.
    pub(super) configured: bool,
}

/// The type of a value.
#[derive(Clone, Debug)]
pub(super) enum Ty<'d> {
    /// Any value.
    Unknown,
    /// A struct given field by field.
    Record(Rc<Record<'d>>),
    /// A struct of the type tables, or a pointer to one.
    Struct { ty: &'static Type, pointer: bool },
    /// Another kind of the type tables.
    Kind(&'static Kind),
    /// A configured value: its path, and its content, if it is set.
    Configured { path: Vec<String>, content: Option<Content<'d>> },
    /// A value of this Go type that has no fields.
    Scalar(&'static str),
}

/// A configured value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'d> {
    Map(&'d JsonMap<String, Json>),
    Other(&'d Json),
}

/// The result of looking up a field.
pub(super) enum Member<'d> {
    Field(Ty<'d>),
    Method(Ty<'d>),
    Entry(Ty<'d>),
    /// The type does not have it; the names that it has.
    Absent(Vec<String>),
}

impl<'d> Known<'d> {
    pub(super) fn unknown() -> Known<'d> {
        Known { ty: Ty::Unknown, configured: false }
    }

    /// The known facts about a value of the data. Only untainted values are configured.
    pub(super) fn of(value: &Value<'d>) -> Known<'d> {
        let configured = match value {
            Value::Struct(value) => !value.tainted,
            Value::Special(value) => !value.tainted,
            Value::Pointer(value) => !value.tainted,
            Value::String(text) => !text.is_tainted(),
            Value::List(List::Json { tainted, .. }) | Value::Map(Map::Json { tainted, .. }) => !tainted,
            Value::Record(_) => false,
            _ => true,
        };
        Known { ty: Ty::of(value), configured }
    }

    /// Whether a field depends on the configuration: data as a whole has parts of both.
    pub(super) fn is_configured_at(&self, field: &str) -> bool {
        match &self.ty {
            Ty::Record(record) => record.at(field).is_none_or(|value| Known::of(value).configured),
            _ => self.configured,
        }
    }

    /// Whether the value is true for all pods, for some, or as the configuration says.
    pub(super) fn truth(&self) -> Truth {
        match &self.ty {
            Ty::Configured { content, .. } => Truth::Configured(content.is_some_and(Content::is_true)),
            Ty::Struct { pointer: false, .. } | Ty::Record(_) => Truth::Always(true),
            _ if self.configured => Truth::DependsOnConfiguration,
            _ => Truth::DependsOnPod,
        }
    }
}

impl PartialEq for Ty<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Ty::Unknown, Ty::Unknown) => true,
            (Ty::Record(one), Ty::Record(other)) => Rc::ptr_eq(one, other),
            (Ty::Struct { ty: one, pointer }, Ty::Struct { ty: other, pointer: other_pointer }) => {
                std::ptr::eq(*one, *other) && pointer == other_pointer
            }
            (Ty::Kind(one), Ty::Kind(other)) => std::ptr::eq(*one, *other),
            (Ty::Configured { path: one, .. }, Ty::Configured { path: other, .. }) => one == other,
            (Ty::Scalar(one), Ty::Scalar(other)) => one == other,
            _ => false,
        }
    }
}

impl<'d> Content<'d> {
    fn of(json: &'d Json) -> Option<Content<'d>> {
        match json {
            Json::Null => None,
            Json::Object(map) => Some(Content::Map(map)),
            other => Some(Content::Other(other)),
        }
    }

    fn is_true(self) -> bool {
        match self {
            Content::Map(map) => !map.is_empty(),
            Content::Other(json) => Value::json(json, false).is_true(),
        }
    }

    fn get(self, key: &str) -> Option<Content<'d>> {
        match self {
            Content::Map(map) => map.get(key).and_then(Content::of),
            Content::Other(_) => None,
        }
    }

    /// The keys next to one of its own.
    pub(super) fn keys(self) -> Vec<String> {
        match self {
            Content::Map(map) => map.keys().cloned().collect(),
            Content::Other(_) => Vec::new(),
        }
    }
}

impl<'d> Ty<'d> {
    fn of(value: &Value<'d>) -> Ty<'d> {
        match value {
            Value::Missing | Value::Nil => Ty::Unknown,
            Value::Bool(_) => Ty::Scalar("bool"),
            Value::Int(..) | Value::Uint(..) | Value::Float(_) | Value::Enum(..) => match value.type_name() {
                std::borrow::Cow::Borrowed(name) => Ty::Scalar(name),
                std::borrow::Cow::Owned(_) => Ty::Unknown,
            },
            Value::String(_) => Ty::Scalar("string"),
            Value::List(List::Json { .. } | List::Owned(_)) | Value::Map(Map::Owned(_)) => Ty::Unknown,
            Value::Map(Map::Json { entries, of: Kind::Any, tainted: false }) => {
                Ty::Configured { path: Vec::new(), content: entries.map(Content::Map) }
            }
            Value::Map(Map::Json { .. }) => Ty::Unknown,
            Value::Struct(value) => Ty::Struct { ty: value.ty, pointer: value.pointer },
            Value::Pointer(_) => Ty::Unknown,
            Value::Special(special) => Ty::Kind(special.kind),
            Value::Record(record) => Ty::Record(Rc::clone(record)),
        }
    }

    pub(super) fn of_kind(kind: &'static Kind) -> Ty<'d> {
        match kind {
            Kind::Any => Ty::Unknown,
            Kind::Struct(ty) => Ty::Struct { ty, pointer: false },
            Kind::Pointer(Kind::Struct(ty)) => Ty::Struct { ty, pointer: true },
            other => Ty::Kind(other),
        }
    }

    /// The name of the Go type.
    pub(super) fn name(&self) -> String {
        match self {
            Ty::Unknown | Ty::Configured { .. } => "interface {}".to_owned(),
            Ty::Record(record) => record.name.to_owned(),
            Ty::Struct { ty, pointer } => format!("{}{}", if *pointer { "*" } else { "" }, ty.name),
            Ty::Kind(kind) => type_name(kind).into_owned(),
            Ty::Scalar(name) => (*name).to_owned(),
        }
    }

    /// A field, a method without arguments, or an entry of a map.
    pub(super) fn member(&self, name: &str) -> Member<'d> {
        let is_record_field = |record: &Rc<Record<'d>>| {
            record.fields.iter().map(|(known, _)| (*known).to_owned()).collect::<Vec<_>>()
        };
        match self {
            Ty::Unknown => Member::Entry(Ty::Unknown),
            Ty::Record(record) => match record.at(name) {
                Some(value) => Member::Field(Ty::of(value).named(name)),
                None => Member::Absent(is_record_field(record)),
            },
            Ty::Struct { ty, .. } => {
                if let Some(field) = ty.field_by_getter(name) {
                    return Member::Method(Ty::of_kind(&field.kind));
                }
                match ty.field_by_go(name) {
                    Some(field) => Member::Field(Ty::of_kind(&field.kind)),
                    None => Member::Absent(names(ty)),
                }
            }
            Ty::Configured { path, content } => {
                let mut path = path.clone();
                path.push(name.to_owned());
                // A field of a scalar fails, if it is reached; samples show whether it is.
                Member::Entry(match content {
                    Some(Content::Other(_)) => Ty::Unknown,
                    content => {
                        Ty::Configured { path, content: content.and_then(|content| content.get(name)) }
                    }
                })
            }
            Ty::Kind(Kind::Map(of)) => Member::Entry(Ty::of_kind(of)),
            Ty::Kind(Kind::Enum(_)) => match name {
                "String" => Member::Method(Ty::Scalar("string")),
                "Number" => Member::Method(Ty::Scalar("int32")),
                _ => Member::Absent(vec!["String".to_owned(), "Number".to_owned()]),
            },
            Ty::Kind(
                kind @ (Kind::Quantity
                | Kind::IntOrString
                | Kind::Time
                | Kind::Duration
                | Kind::BoolValue
                | Kind::UInt32Value
                | Kind::Int32Value
                | Kind::DoubleValue
                | Kind::StringValue),
            ) => {
                let special = Special { kind, json: None, tainted: false };
                if let Some(value) = method(&special, name) {
                    return Member::Method(Ty::of(&value));
                }
                match special_field(&special, name) {
                    Some(value) => Member::Field(Ty::of(&value)),
                    None => Member::Absent(Vec::new()),
                }
            }
            Ty::Kind(_) | Ty::Scalar(_) => Member::Absent(Vec::new()),
        }
    }

    /// A configured map, with the name under which the data has it.
    fn named(self, name: &str) -> Ty<'d> {
        match self {
            Ty::Configured { content, .. } => Ty::Configured { path: vec![name.to_owned()], content },
            other => other,
        }
    }

    /// The types of keys and items of a loop; `None` if Go cannot iterate over it.
    pub(super) fn items(&self) -> Option<(Ty<'d>, Ty<'d>)> {
        match self {
            Ty::Unknown | Ty::Configured { .. } => Some((Ty::Unknown, Ty::Unknown)),
            Ty::Kind(Kind::List(of) | Kind::Pointer(Kind::List(of))) => {
                Some((Ty::Scalar("int"), Ty::of_kind(of)))
            }
            Ty::Kind(Kind::Map(of) | Kind::Pointer(Kind::Map(of))) => {
                Some((Ty::Scalar("string"), Ty::of_kind(of)))
            }
            Ty::Kind(Kind::Int | Kind::Uint | Kind::Pointer(Kind::Int | Kind::Uint)) => {
                Some((Ty::Unknown, Ty::Unknown))
            }
            Ty::Scalar(name) if name.contains("int") => Some((Ty::Unknown, Ty::Unknown)),
            Ty::Record(_) | Ty::Struct { .. } | Ty::Kind(_) | Ty::Scalar(_) => None,
        }
    }

    /// The item at an index, or under a key that is a constant; `None` if the type has no items.
    pub(super) fn item(&self, key: Option<&str>) -> Option<Ty<'d>> {
        match (self, key) {
            (Ty::Configured { .. }, Some(key)) => match self.member(key) {
                Member::Entry(ty) => Some(ty),
                _ => Some(Ty::Unknown),
            },
            (Ty::Unknown | Ty::Configured { .. }, _) => Some(Ty::Unknown),
            (Ty::Kind(Kind::String | Kind::Bytes), _) | (Ty::Scalar("string"), _) => {
                Some(Ty::Scalar("uint8"))
            }
            (Ty::Kind(Kind::Pointer(_)), _) => Some(Ty::Unknown),
            (Ty::Kind(Kind::List(of) | Kind::Map(of)), _) => Some(Ty::of_kind(of)),
            (Ty::Record(_) | Ty::Struct { .. } | Ty::Kind(_) | Ty::Scalar(_), _) => None,
        }
    }

    /// Whether some value of this type can be passed to a parameter: the rules of `validateType`.
    pub(super) fn fits(&self, param: Param) -> bool {
        let name = match self {
            Ty::Unknown | Ty::Configured { .. } => return true,
            // One pointer is dereferenced.
            Ty::Kind(Kind::Pointer(to)) => return Ty::of_kind(to).fits(param),
            other => other.name(),
        };
        match param {
            Param::Any | Param::Reflect => true,
            Param::String => matches!(self, Ty::Kind(Kind::String | Kind::Bytes)) || name == "string",
            Param::AnyList => name == "[]interface {}",
            _ => {
                let wanted = param.type_name();
                name == wanted || name.strip_prefix('*') == Some(wanted)
            }
        }
    }
}

/// The fields of a struct, and the getters of a message.
fn names(ty: &'static Type) -> Vec<String> {
    let fields = ty.fields.iter().map(|field| field.go.to_owned());
    let getters = ty.fields.iter().filter(|_| ty.proto).map(|field| format!("Get{}", field.go));
    fields.chain(getters).collect()
}
