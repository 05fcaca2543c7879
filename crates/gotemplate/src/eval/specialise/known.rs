//! What is known at a place of a template, whatever the pod.

use crate::absent_keys::{AbsentKeys, MapId};
use crate::ast::{Expr, ExprKind, VariableId};
use crate::value::{List, Map, Value};

/// What is known of a value.
#[derive(Clone)]
pub(super) enum Known<'a> {
    /// All of it; it never changes and is clean.
    Value(Value<'a>),
    /// It is the template's data, of which some fields are known.
    Root,
    /// It is the field of the data with this name, of whose maps it is known what they lack.
    Owner(&'static str),
    /// It is such a map.
    Map(MapId),
    /// Nothing.
    No,
}

impl<'a> Known<'a> {
    /// A map that a function made can be changed by another one, so it is not known for long.
    pub(super) fn frozen(value: Value<'a>) -> Known<'a> {
        let owned =
            matches!(value, Value::List(List::Owned(_)) | Value::Map(Map::Owned(_)) | Value::Record(_));
        if owned || value.is_tainted() { Known::No } else { Known::Value(value) }
    }

    pub(super) fn is_root(&self) -> bool {
        matches!(self, Known::Root)
    }
}

/// What is known at a place of the template.
pub(super) struct Env<'a> {
    pub(super) dot: Known<'a>,
    pub(super) variables: Vec<(VariableId, Known<'a>)>,
    pub(super) depth: usize,
}

impl<'a> Env<'a> {
    pub(super) fn variable(&self, variable: VariableId) -> &Known<'a> {
        let found = self.variables.iter().rev().find(|(known, _)| *known == variable);
        found.map_or(&Known::No, |(_, known)| known)
    }

    pub(super) fn declare_unknown(&mut self, variables: &[VariableId]) {
        self.variables.extend(variables.iter().map(|variable| (*variable, Known::No)));
    }
}

/// What is known of a dot or a variable, or of the maps whose keys are known.
pub(super) fn known_operand<'a>(absent: AbsentKeys, env: &Env<'a>, expr: &Expr) -> Known<'a> {
    let (base, names) = match &expr.kind {
        ExprKind::Dot => (&env.dot, &[][..]),
        ExprKind::Field(names) => (&env.dot, names.as_slice()),
        ExprKind::Variable(variable, names) => (env.variable(*variable), names.as_slice()),
        _ => return Known::No,
    };
    let (owner, names) = match (base, names) {
        (base, []) => return base.clone(),
        (Known::Root, [first, rest @ ..]) => (absent.owner(first), rest),
        (Known::Owner(owner), names) => (Some(*owner), names),
        _ => return Known::No,
    };
    match (owner, names) {
        (Some(owner), []) => Known::Owner(owner),
        (Some(owner), [name]) => absent.below(owner, name).map_or(Known::No, Known::Map),
        _ => Known::No,
    }
}
