//! A parsed template.

use super::funcs::Function;
use super::value::{IntType, Text, UintType, Value};
use crate::gotypes::Enum;

/// A range in the source, in byte offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// Identifies a variable by its name; 0 is `$`.
pub(super) type VariableId = u16;

/// A template's body: the main one or a `define`.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) name: String,
    pub(super) body: Vec<Node>,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Text, as a range in the source.
    Text(Span),
    /// `{{pipeline}}`.
    Action(Pipe),
    /// `{{if}}…{{else if}}…{{else}}…{{end}}`, or the same with `with`.
    Branch(Branch),
    Range(Box<Range>),
    /// `{{template "name" pipeline}}`; `tree` is an index into the parsed trees.
    Template {
        at: Span,
        name: String,
        tree: Option<usize>,
        pipe: Option<Pipe>,
    },
    Break,
    Continue,
}

#[derive(Clone, Debug)]
pub(super) struct Branch {
    /// Whether the value becomes dot.
    pub(super) with: bool,
    pub(super) cases: Vec<(Pipe, Vec<Node>)>,
    pub(super) otherwise: Vec<Node>,
}

#[derive(Clone, Debug)]
pub(super) struct Range {
    pub(super) pipe: Pipe,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

#[derive(Clone, Debug)]
pub(super) struct Pipe {
    pub(super) at: Span,
    /// Whether the variables are assigned (`=`) rather than declared (`:=`).
    pub(super) assigns: bool,
    pub(super) variables: Vec<VariableId>,
    pub(super) commands: Vec<Command>,
}

#[derive(Clone, Debug)]
pub(super) struct Command {
    /// The function or operand.
    pub(super) head: Expr,
    pub(super) args: Vec<Expr>,
}

#[derive(Clone, Debug)]
pub(super) struct Expr {
    pub(super) at: Span,
    pub(super) kind: ExprKind,
}

#[derive(Clone, Debug)]
pub(super) enum ExprKind {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    String(String),
    /// `.a.b`.
    Field(Vec<String>),
    /// `$x.a.b`.
    Variable(VariableId, Vec<String>),
    /// `(pipeline).a.b`, `function.a.b`.
    Chain(Box<Expr>, Vec<String>),
    Function(&'static Function, Callee),
    Pipe(Box<Pipe>),
    /// The constant value of the original expression for every pod (see [`super::eval::specialize`]).
    Known(Constant),
}

/// A scalar that does not depend on any pod.
#[derive(Clone, Debug)]
pub(super) enum Constant {
    Missing,
    Nil,
    Bool(bool),
    Int(i64, IntType),
    Uint(u64, UintType),
    Float(f64),
    String(String),
    Enum(&'static Enum, i32),
}

impl Constant {
    /// The value as a constant; `None` if it is not a scalar, or is tainted.
    pub(super) fn of(value: &Value<'_>) -> Option<Constant> {
        Some(match value {
            Value::Missing => Constant::Missing,
            Value::Nil => Constant::Nil,
            Value::Bool(value) => Constant::Bool(*value),
            Value::Int(number, ty) => Constant::Int(*number, *ty),
            Value::Uint(number, ty) => Constant::Uint(*number, *ty),
            Value::Float(number) => Constant::Float(*number),
            Value::String(text) if !text.is_tainted() => Constant::String(text.stored().to_owned()),
            Value::Enum(of, number) => Constant::Enum(of, *number),
            _ => return None,
        })
    }

    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Constant::Missing => Value::Missing,
            Constant::Nil => Value::Nil,
            Constant::Bool(value) => Value::Bool(*value),
            Constant::Int(number, ty) => Value::Int(*number, *ty),
            Constant::Uint(number, ty) => Value::Uint(*number, *ty),
            Constant::Float(number) => Value::Float(*number),
            Constant::String(text) => Value::String(Text::clean(text.as_str())),
            Constant::Enum(of, number) => Value::Enum(of, *number),
        }
    }
}

/// How a function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callee {
    Plain,
    /// The builtin `and`, which evaluates only as many arguments as necessary.
    And,
    /// The builtin `or`, which does the same.
    Or,
}

/// A numeric constant, in each type that can represent it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Number {
    pub(super) int: Option<i64>,
    pub(super) uint: Option<u64>,
    pub(super) float: Option<f64>,
    /// Whether it is a float if the context does not determine the type.
    pub(super) is_float: bool,
}
