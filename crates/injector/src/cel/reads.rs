//! The parts of the variables that expressions read: nothing else has to be converted for a pod.
//!
//! Most expressions read a few fields, and converting a whole pod costs more than everything else about a rule.

use std::collections::BTreeMap;

use ::cel::common::ast::{Expr, IdedExpr};
use serde_json::{Map, Value};

/// The parts that some expressions read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Of the pod.
    pub(super) object: Part,
    pub(super) request: bool,
    pub(super) namespace_object: bool,
    /// Whether one has a loop, so that its cost depends on the pod.
    pub(super) has_loops: bool,
}

/// A part of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// Some fields of an object.
    Fields(BTreeMap<String, Part>),
}

impl Default for Part {
    fn default() -> Part {
        Part::Fields(BTreeMap::new())
    }
}

impl Reads {
    /// Everything.
    pub(super) fn all() -> Reads {
        Reads { object: Part::Whole, request: true, namespace_object: true, has_loops: true }
    }

    /// Whether all parts that others read are among these.
    pub fn contains(&self, others: &Reads) -> bool {
        self.object.contains(&others.object)
            && (self.request || !others.request)
            && (self.namespace_object || !others.namespace_object)
            && (self.has_loops || !others.has_loops)
    }

    /// Adds the parts that others read.
    pub fn extend(&mut self, others: &Reads) {
        self.object.extend(&others.object);
        self.request |= others.request;
        self.namespace_object |= others.namespace_object;
        self.has_loops |= others.has_loops;
    }
}

impl Part {
    /// Adds the field at the end of a path; without a path, everything.
    pub(super) fn add(&mut self, path: &[&str]) {
        match (path.split_first(), self) {
            (_, Part::Whole) => {}
            (None, part) => *part = Part::Whole,
            (Some((first, rest)), Part::Fields(fields)) => {
                fields.entry((*first).to_owned()).or_default().add(rest);
            }
        }
    }

    fn contains(&self, other: &Part) -> bool {
        match (self, other) {
            (Part::Whole, _) => true,
            (_, Part::Whole) => false,
            (Part::Fields(own), Part::Fields(others)) => {
                others.iter().all(|(field, part)| own.get(field).is_some_and(|own| own.contains(part)))
            }
        }
    }

    fn extend(&mut self, other: &Part) {
        match (&mut *self, other) {
            (Part::Whole, _) => {}
            (_, Part::Whole) => *self = Part::Whole,
            (Part::Fields(own), Part::Fields(others)) => {
                for (field, part) in others {
                    own.entry(field.clone()).or_default().extend(part);
                }
            }
        }
    }

    /// The part of a field, if it is read.
    pub(super) fn field(&self, name: &str) -> Option<&Part> {
        match self {
            Part::Whole => Some(self),
            Part::Fields(fields) => fields.get(name),
        }
    }

    /// The part of a value. A value of another type is kept whole, so that an expression fails for it as it would for the whole pod.
    pub(super) fn of(&self, value: &Value) -> Value {
        match (self, value) {
            (Part::Fields(fields), Value::Object(all)) => {
                let of_field = |(name, part): (&String, &Part)| Some((name.clone(), part.of(all.get(name)?)));
                Value::Object(fields.iter().filter_map(of_field).collect::<Map<String, Value>>())
            }
            _ => value.clone(),
        }
    }
}

/// The path of fields that an expression selects from the variable, if it is nothing but a chain of such selections.
pub(super) fn chain<'e>(node: &'e IdedExpr, variable: &str) -> Option<Vec<&'e str>> {
    match &node.expr {
        Expr::Ident(name) => (name == variable).then(Vec::new),
        Expr::Select(select) => {
            let mut path = chain(&select.operand, variable)?;
            path.push(&select.field);
            Some(path)
        }
        _ => None,
    }
}
