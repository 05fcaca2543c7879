//! `.Field` and `.Method` of a value (`evalField`).

use super::{Eval, Outcome, record_field};
use crate::gotypes::Kind;
use crate::value::typed::seconds_and_nanos;
use crate::value::{IntType, Special, Text, Value};

impl<'a> Eval<'a> {
    /// Evaluates `.a.b.c` on a value. `args` is the number of arguments after the last name, including a piped one.
    pub(super) fn chain(
        &mut self,
        first: &Value<'a>,
        names: &'a [String],
        args: usize,
    ) -> Outcome<Value<'a>> {
        let Some((name, rest)) = names.split_first() else { return Ok(first.clone()) };
        let last = rest.len();
        let mut value = self.field(first, name, false, if last == 0 { args } else { 0 })?;
        let mut in_interface = holds_interfaces(first);
        for (index, name) in rest.iter().enumerate() {
            let args = if index + 1 == last { args } else { 0 };
            let next = self.field(&value, name, in_interface, args)?;
            in_interface = holds_interfaces(&value);
            value = next;
        }
        Ok(value)
    }

    /// One step. `in_interface` means that Go sees the receiver as an `interface{}`; this only affects messages.
    fn field(
        &mut self,
        receiver: &Value<'a>,
        name: &str,
        in_interface: bool,
        args: usize,
    ) -> Outcome<Value<'a>> {
        match receiver {
            Value::Missing => return Ok(Value::Missing),
            Value::Nil => return self.fail(format!("nil pointer evaluating interface {{}}.{name}")),
            Value::Map(map) => {
                if args > 0 {
                    return self.fail(format!("{name} is not a method but has arguments"));
                }
                return Ok(map.at(name).unwrap_or(Value::Missing));
            }
            Value::Struct(structure) => {
                if let Some(value) = structure.getter(name) {
                    return self.method(name, value, args);
                }
                if let Some(value) = structure.field(name) {
                    if structure.is_nil() {
                        return self.nil_pointer(receiver, name);
                    }
                    return self.no_arguments(name, value, args);
                }
            }
            Value::Record(record) => {
                if let Some(value) = record_field(record, name) {
                    return self.no_arguments(name, value, args);
                }
            }
            Value::Special(special) => {
                if let Some(value) = method(special, name) {
                    return self.method(name, value, args);
                }
                if let Some(value) = special_field(special, name) {
                    if special.is_nil() {
                        return self.nil_pointer(receiver, name);
                    }
                    return self.no_arguments(name, value, args);
                }
            }
            Value::Enum(of, number) => {
                let value = match name {
                    "String" => {
                        let known = of.value_name(*number);
                        known.map_or_else(|| Value::string(number.to_string()), Value::string)
                    }
                    "Number" => Value::Int(i64::from(*number), IntType::Int32),
                    _ => return self.no_such_field(receiver, name, in_interface),
                };
                return self.method(name, value, args);
            }
            Value::Pointer(pointer) if pointer.is_nil() => return self.nil_pointer(receiver, name),
            _ => {}
        }
        self.no_such_field(receiver, name, in_interface)
    }

    fn method(&mut self, name: &str, value: Value<'a>, args: usize) -> Outcome<Value<'a>> {
        if args > 0 {
            return self.fail(format!("wrong number of args for {name}: want 0 got {args}"));
        }
        Ok(value)
    }

    fn no_arguments(&mut self, name: &str, value: Value<'a>, args: usize) -> Outcome<Value<'a>> {
        if args > 0 {
            return self.fail(format!("{name} has arguments but cannot be invoked as function"));
        }
        Ok(value)
    }

    fn nil_pointer(&self, receiver: &Value<'a>, name: &str) -> Outcome<Value<'a>> {
        self.fail(format!("nil pointer evaluating {}.{name}", receiver.type_name()))
    }

    fn no_such_field(&self, receiver: &Value<'a>, name: &str, in_interface: bool) -> Outcome<Value<'a>> {
        let ty = if in_interface { "interface {}".into() } else { receiver.type_name() };
        self.fail(format!("can't evaluate field {name} in type {ty}"))
    }
}

fn holds_interfaces(value: &Value<'_>) -> bool {
    matches!(value, Value::Map(map) if map.holds_interfaces())
}

/// Methods without arguments that templates use.
pub(crate) fn method<'a>(special: &Special<'a>, name: &str) -> Option<Value<'a>> {
    let text = || special.json.and_then(serde_json::Value::as_str).unwrap_or_default();
    match (special.kind, name) {
        (_, "String") => Some(Value::String(Text::new(special.printed(), special.tainted))),
        (Kind::IntOrString, "IntValue") => Some(match special.json {
            Some(serde_json::Value::String(text)) => Value::int(text.parse().unwrap_or_default()),
            json => Value::int(json.and_then(serde_json::Value::as_i64).unwrap_or_default()),
        }),
        (Kind::Quantity, "IsZero") => {
            Some(Value::Bool(text().trim_end_matches(char::is_alphabetic).parse().unwrap_or(0.0) == 0.0))
        }
        (Kind::Time, "IsZero") => Some(Value::Bool(special.json.is_none())),
        (Kind::Duration, "GetSeconds") => Some(Value::Int(seconds_and_nanos(text()).0, IntType::Int64)),
        (Kind::Duration, "GetNanos") => {
            Some(Value::Int(i64::from(seconds_and_nanos(text()).1), IntType::Int32))
        }
        (_, "GetValue") => special.wrapped(),
        _ => None,
    }
}

/// Fields of types with their own methods.
pub(crate) fn special_field<'a>(special: &Special<'a>, name: &str) -> Option<Value<'a>> {
    let is_text = matches!(special.json, Some(serde_json::Value::String(_)));
    match (special.kind, name) {
        (Kind::Duration, "Seconds") => method(special, "GetSeconds"),
        (Kind::Duration, "Nanos") => method(special, "GetNanos"),
        (Kind::IntOrString, "Type") => Some(Value::Int(i64::from(is_text), IntType::Int64)),
        (Kind::IntOrString, "IntVal") => {
            let number = special.json.and_then(serde_json::Value::as_i64).unwrap_or_default();
            Some(Value::Int(number, IntType::Int32))
        }
        (Kind::IntOrString, "StrVal") => {
            let text = special.json.and_then(serde_json::Value::as_str).unwrap_or_default();
            Some(Value::String(Text::new(text, special.tainted)))
        }
        (_, "Value") => special.wrapped(),
        _ => None,
    }
}
