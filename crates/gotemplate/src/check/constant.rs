//! Conditions: which are constant, and what the others depend on.

use super::truth::Truth;
use super::types::Known;
use super::{Checker, Ty};
use crate::ast::{Callee, Command, Expr, ExprKind, Pipe};

impl<'t, 'd> Checker<'t, 'd> {
    /// The known facts about a condition; `value` is the type of its value.
    pub(super) fn truth(&self, pipe: &Pipe, value: &Known<'d>) -> Truth {
        let of_value = || match value.ty {
            // `{{ if $x }}` with a struct is a constant, too.
            Ty::Unknown if value.configured => Truth::DependsOnConfiguration,
            _ => value.truth(),
        };
        match pipe.commands.as_slice() {
            [only] => command(only).unwrap_or_else(of_value),
            _ => of_value(),
        }
    }
}

/// The truth of a command that is a constant, or a combination of constants.
fn command(Command { head, args }: &Command) -> Option<Truth> {
    let ExprKind::Function(function, callee) = &head.kind else {
        return if args.is_empty() { expr(head) } else { None };
    };
    match (callee, function.name, args.as_slice()) {
        (Callee::And, _, args) => combined(args, false),
        (Callee::Or, _, args) => combined(args, true),
        (_, "not", [arg]) => expr(arg).map(Truth::negated),
        (_, "eq", [one, other]) => equal(one, other).map(Truth::Always),
        (_, "ne", [one, other]) => equal(one, other).map(|equal| Truth::Always(!equal)),
        _ => None,
    }
}

/// `and` and `or`: one argument that decides is enough.
fn combined(args: &[Expr], decides: bool) -> Option<Truth> {
    let all: Vec<Option<Truth>> = args.iter().map(expr).collect();
    if all.contains(&Some(Truth::Always(decides))) {
        return Some(Truth::Always(decides));
    }
    let is_undecided = |truth: &Option<Truth>| *truth == Some(Truth::Always(!decides));
    (!all.is_empty() && all.iter().all(is_undecided)).then_some(Truth::Always(!decides))
}

fn expr(expr: &Expr) -> Option<Truth> {
    match &expr.kind {
        ExprKind::Bool(value) => Some(Truth::Always(*value)),
        ExprKind::String(text) => Some(Truth::Always(!text.is_empty())),
        ExprKind::Number(number) => {
            let is_zero = number.int.map_or_else(|| number.float == Some(0.0), |int| int == 0);
            Some(Truth::Always(!is_zero))
        }
        ExprKind::Pipe(pipe) if pipe.variables.is_empty() => match pipe.commands.as_slice() {
            [only] => command(only),
            _ => None,
        },
        _ => None,
    }
}

/// Whether two constants are equal; `None` if they are not constants, or cannot be compared.
fn equal(one: &Expr, other: &Expr) -> Option<bool> {
    match (&one.kind, &other.kind) {
        (ExprKind::Bool(one), ExprKind::Bool(other)) => Some(one == other),
        (ExprKind::String(one), ExprKind::String(other)) => Some(one == other),
        (ExprKind::Number(one), ExprKind::Number(other)) if one.is_float == other.is_float => {
            Some((one.int, one.float) == (other.int, other.float))
        }
        _ => None,
    }
}

/// Calls a function for every pipeline in parentheses inside a pipeline.
pub(super) fn each_nested_pipe<'p>(pipe: &'p Pipe, visit: &mut impl FnMut(&'p Pipe)) {
    fn within<'p>(expr: &'p Expr, visit: &mut dyn FnMut(&'p Pipe)) {
        match &expr.kind {
            ExprKind::Pipe(pipe) => {
                visit(pipe);
                below(pipe, visit);
            }
            ExprKind::Chain(base, _) => within(base, visit),
            _ => {}
        }
    }
    fn below<'p>(pipe: &'p Pipe, visit: &mut dyn FnMut(&'p Pipe)) {
        for Command { head, args } in &pipe.commands {
            within(head, visit);
            args.iter().for_each(|arg| within(arg, visit));
        }
    }
    below(pipe, visit);
}
