//! A parsed template.

use super::funcs::Function;

/// Where something stands in the source: byte offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// The number of a variable's name; 0 is `$`.
pub(super) type VariableId = u16;

/// A template's body: the main one or a `define`.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) name: String,
    pub(super) body: Vec<Node>,
}

#[derive(Debug)]
pub(super) enum Node {
    /// Text, by where it stands in the source.
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

#[derive(Debug)]
pub(super) struct Branch {
    /// Whether the value becomes dot.
    pub(super) with: bool,
    pub(super) cases: Vec<(Pipe, Vec<Node>)>,
    pub(super) otherwise: Vec<Node>,
}

#[derive(Debug)]
pub(super) struct Range {
    pub(super) pipe: Pipe,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) at: Span,
    /// Whether the variables are assigned (`=`), not declared (`:=`).
    pub(super) assigns: bool,
    pub(super) variables: Vec<VariableId>,
    pub(super) commands: Vec<Command>,
}

#[derive(Debug)]
pub(super) struct Command {
    /// What is evaluated or called.
    pub(super) head: Expr,
    pub(super) args: Vec<Expr>,
}

#[derive(Debug)]
pub(super) struct Expr {
    pub(super) at: Span,
    pub(super) kind: ExprKind,
}

#[derive(Debug)]
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
}

/// How a function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callee {
    Plain,
    /// The builtin `and`, which evaluates no more arguments than it needs.
    And,
    /// The builtin `or`, likewise.
    Or,
}

/// A numeric constant, as each of the types that can hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Number {
    pub(super) int: Option<i64>,
    pub(super) uint: Option<u64>,
    pub(super) float: Option<f64>,
    /// Whether it is a float where nothing says what type it should be.
    pub(super) is_float: bool,
}
