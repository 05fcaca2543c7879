//! The known facts at a position in a template, for every pod.

use crate::absent_keys::{AbsentKeys, MapId};
use crate::ast::{Expr, ExprKind, VariableId};
use crate::value::{List, Map, Value};

/// The known facts about a value.
#[derive(Clone)]
pub(super) enum Known<'a> {
    /// All of it; it never changes and is clean.
    Value(Value<'a>),
    /// It is the template's data, some fields of which are known.
    Root,
    /// It is the field of the data with this name; the absent keys of its maps are known.
    Owner(&'static str),
    /// It is such a map.
    Map(MapId),
    /// Nothing.
    No,
}

impl<'a> Known<'a> {
    /// A map created by a function can be changed by another one, so it does not stay known.
    pub(super) fn frozen(value: Value<'a>) -> Known<'a> {
        let owned =
            matches!(value, Value::List(List::Owned(_)) | Value::Map(Map::Owned(_)) | Value::Record(_));
        if owned || value.is_tainted() { Known::No } else { Known::Value(value) }
    }

    pub(super) fn is_root(&self) -> bool {
        matches!(self, Known::Root)
    }
}

/// The known facts at a position in the template.
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

/// The known facts about a dot or a variable, or about the maps with known keys.
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
