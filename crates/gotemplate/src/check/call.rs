//! Pipelines, fields, calls and their arguments.

use super::types::{Content, Known, Member, Ty};
use super::{Checker, Consequence, Location, Mistake, UnsetRead};
use crate::ast::{Command, Expr, ExprKind, Number, Pipe, Span};
use crate::funcs::{Function, Param};

impl<'t, 'd> Checker<'t, 'd> {
    pub(super) fn pipe(&mut self, pipe: &'t Pipe, dot: &Known<'d>, reached: bool) -> Known<'d> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value, reached));
        }
        let value = value.unwrap_or_else(Known::unknown);
        if !pipe.assigns {
            let variables = pipe.variables.iter().map(|variable| (*variable, value.clone()));
            self.variables.extend(variables);
        }
        value
    }

    /// A key that is printed as it is, although it is not set.
    pub(super) fn check_printed(&mut self, pipe: &'t Pipe, value: &Known<'d>) {
        if let [Command { head, args }] = pipe.commands.as_slice()
            && args.is_empty()
        {
            self.check_set(head, value, Consequence::NoValue);
        }
    }

    fn check_set(&mut self, expr: &'t Expr, value: &Known<'d>, consequence: Consequence) {
        let Ty::Configured { path, content: None } = &value.ty else { return };
        let Some((key, above)) = path.split_last() else { return };
        let known = self.content_at(above).map(Content::keys).unwrap_or_default();
        let mistake = Mistake::UnsetValue {
            path: path.iter().map(|key| format!(".{key}")).collect(),
            key: key.clone(),
            known,
            consequence,
        };
        self.report(expr.at, mistake);
    }

    /// The configured value at a path from the data's root.
    fn content_at(&self, path: &[String]) -> Option<Content<'d>> {
        let (root, rest) = path.split_first()?;
        let Ty::Record(record) = &self.root.ty else { return None };
        let first = Known::of(record.at(root)?).ty;
        let found = rest.iter().try_fold(first, |ty, key| ty.item(Some(key)))?;
        match found {
            Ty::Configured { content, .. } => content,
            _ => None,
        }
    }

    fn command(
        &mut self,
        command: &'t Command,
        dot: &Known<'d>,
        piped: Option<Known<'d>>,
        reached: bool,
    ) -> Known<'d> {
        let Command { head, args } = command;
        let count = args.len() + usize::from(piped.is_some());
        match &head.kind {
            ExprKind::Function(function, _) => self.call(function, head, args, dot, piped, reached),
            ExprKind::Field(names) => {
                self.operands(args, dot, reached);
                self.chain(dot.clone(), names, head.at, head.at.start, count)
            }
            ExprKind::Variable(variable, names) if !names.is_empty() => {
                self.operands(args, dot, reached);
                let value = self.variable(*variable);
                self.chain(value, names, head.at, head.at.start, count)
            }
            ExprKind::Chain(base, names) => {
                self.operands(args, dot, reached);
                let value = self.expr(base, dot, reached);
                self.chain(value, names, head.at, base.at.end, count)
            }
            _ => {
                self.operands(args, dot, reached);
                if count > 0 {
                    let source = self.source(head.at);
                    let message = format!("can't give argument to non-function {source}");
                    self.report(head.at, Mistake::Arguments(message));
                }
                self.expr(head, dot, reached)
            }
        }
    }

    fn operands(&mut self, args: &'t [Expr], dot: &Known<'d>, reached: bool) {
        for arg in args {
            self.expr(arg, dot, reached);
        }
    }

    fn expr(&mut self, expr: &'t Expr, dot: &Known<'d>, reached: bool) -> Known<'d> {
        let scalar = |name| Known { ty: Ty::Scalar(name), configured: false };
        match &expr.kind {
            ExprKind::Dot => dot.clone(),
            ExprKind::Nil | ExprKind::Known(_) => Known::unknown(),
            ExprKind::Bool(_) => scalar("bool"),
            ExprKind::Number(Number { is_float: true, .. }) => scalar("float64"),
            ExprKind::Number(_) => scalar("int"),
            ExprKind::String(_) => scalar("string"),
            ExprKind::Field(names) => self.chain(dot.clone(), names, expr.at, expr.at.start, 0),
            ExprKind::Variable(variable, names) => {
                let value = self.variable(*variable);
                self.chain(value, names, expr.at, expr.at.start, 0)
            }
            ExprKind::Chain(base, names) => {
                let value = self.expr(base, dot, reached);
                self.chain(value, names, expr.at, base.at.end, 0)
            }
            ExprKind::Function(function, _) => self.call(function, expr, &[], dot, None, reached),
            ExprKind::Pipe(pipe) => self.pipe(pipe, dot, reached),
        }
    }

    fn variable(&self, variable: u16) -> Known<'d> {
        if self.assigned.contains(&variable) {
            return Known { ty: Ty::Unknown, configured: true };
        }
        let found = self.variables.iter().rev().find(|(known, _)| *known == variable);
        found.map_or(Known { ty: Ty::Unknown, configured: true }, |(_, value)| value.clone())
    }

    /// `.a.b.c` of a value; `args` is the number of arguments after the last name. The names are in the source at `at`,
    /// from the offset `from` on.
    fn chain(&mut self, value: Known<'d>, names: &[String], at: Span, from: u32, args: usize) -> Known<'d> {
        let mut value = value;
        let mut from = from;
        for (index, name) in names.iter().enumerate() {
            let args = if index + 1 == names.len() { args } else { 0 };
            let rest = self.source(Span { start: from, end: at.end });
            let start = from + rest.find(&format!(".{name}")).map_or(0, |dot| dot as u32 + 1);
            let place = Span { start, end: start + name.len() as u32 };
            from = place.end;
            let configured = value.is_configured_at(name);
            value = Known { ty: self.member(&value.ty, name, place, args), configured };
        }
        self.note_unset(at, &value.ty, names.len());
        value
    }

    /// Notes a configured value that is not set; `written` counts the keys that the place itself contains.
    fn note_unset(&mut self, at: Span, ty: &Ty<'d>, written: usize) {
        if let Ty::Configured { path, content: None } = ty {
            let at = Location::new(&self.template.name, &self.template.source, at);
            let in_condition = self.in_condition;
            self.unset.push(UnsetRead { at, path: path.clone(), written, in_condition });
        }
    }

    fn member(&mut self, ty: &Ty<'d>, name: &str, at: Span, args: usize) -> Ty<'d> {
        let (found, message) = match ty.member(name) {
            Member::Field(found) => {
                (found, format!("{name} has arguments but cannot be invoked as function"))
            }
            Member::Method(found) => (found, format!("wrong number of args for {name}: want 0 got {args}")),
            Member::Entry(Ty::Unknown) => return Ty::Unknown,
            Member::Entry(found) => (found, format!("{name} is not a method but has arguments")),
            Member::Absent(known) => {
                let mistake = Mistake::UnknownField { name: name.to_owned(), ty: ty.name(), known };
                self.report(at, mistake);
                return Ty::Unknown;
            }
        };
        if args > 0 {
            self.report(at, Mistake::Arguments(message));
        }
        found
    }

    fn call(
        &mut self,
        function: &'static Function,
        head: &'t Expr,
        args: &'t [Expr],
        dot: &Known<'d>,
        piped: Option<Known<'d>>,
        reached: bool,
    ) -> Known<'d> {
        let name = function.name;
        let count = args.len() + usize::from(piped.is_some());
        let fixed = function.params.len();
        let is_wrong = match function.variadic {
            Some(_) => count < fixed,
            None => count != fixed,
        };
        if is_wrong {
            let at_least = if function.variadic.is_some() { "at least " } else { "" };
            let message = format!("wrong number of args for {name}: want {at_least}{fixed} got {count}");
            self.report(head.at, Mistake::Arguments(message));
        }
        let mut given: Vec<Known<'d>> = Vec::new();
        for (index, arg) in args.iter().enumerate() {
            let value = self.expr(arg, dot, reached);
            if let Some(param) = param(function, index).filter(|_| !is_wrong) {
                self.check_argument(function, param, arg, &value, reached);
            }
            given.push(value);
        }
        if let Some(piped) = piped {
            if let Some(param) = param(function, args.len()).filter(|_| !is_wrong) {
                self.check_type(function, param, head, &piped, reached);
            }
            given.push(piped);
        }
        let configured = given.iter().any(|value| value.configured);
        let ty = if name == "index" { self.index(head, args, &given) } else { Ty::Unknown };
        Known { ty, configured }
    }

    /// An argument: a constant takes the parameter's type, as far as it can.
    fn check_argument(
        &mut self,
        function: &'static Function,
        param: Param,
        arg: &'t Expr,
        value: &Known<'d>,
        reached: bool,
    ) {
        let wanted = match (param, &arg.kind) {
            (Param::Any | Param::Reflect, ExprKind::Bool(_) | ExprKind::Number(_) | ExprKind::String(_)) => {
                return;
            }
            (Param::Bool, ExprKind::Bool(_)) | (Param::String, ExprKind::String(_)) => return,
            (Param::Int | Param::Int64, ExprKind::Number(Number { int: Some(_), .. })) => return,
            (Param::Float, ExprKind::Number(Number { float: Some(_), .. })) => return,
            (_, ExprKind::Bool(_) | ExprKind::Number(_) | ExprKind::String(_)) => match param {
                Param::Int | Param::Int64 => "integer",
                Param::Float => "float",
                other => other.type_name(),
            },
            (_, ExprKind::Nil) => return,
            _ => return self.check_type(function, param, arg, value, reached),
        };
        let found = self.source(arg.at);
        let message = format!("wrong argument for {}: expected {wanted}; found {found}", function.name);
        self.report(arg.at, Mistake::WrongType(message));
    }

    fn check_type(
        &mut self,
        function: &'static Function,
        param: Param,
        at: &'t Expr,
        value: &Known<'d>,
        reached: bool,
    ) {
        let name = function.name;
        if !value.ty.fits(param) {
            let (wanted, got) = (param.type_name(), value.ty.name());
            let message = format!("wrong type for argument of {name}: expected {wanted}; got {got}");
            self.report(at.at, Mistake::WrongType(message));
        } else if reached {
            let consequence = match param {
                Param::String | Param::Bool | Param::Int | Param::Int64 | Param::Float => {
                    Consequence::Fails(name)
                }
                _ if matches!(name, "quote" | "squote" | "print" | "toString") => Consequence::Nothing,
                _ => return,
            };
            self.check_set(at, value, consequence);
        }
    }

    fn index(&mut self, head: &'t Expr, args: &'t [Expr], given: &[Known<'d>]) -> Ty<'d> {
        let Some((first, keys)) = given.split_first() else { return Ty::Unknown };
        let mut ty = first.ty.clone();
        for index in 0..keys.len() {
            let key = match args.get(index + 1).map(|arg| &arg.kind) {
                Some(ExprKind::String(key)) => Some(key.as_str()),
                _ => None,
            };
            ty = match ty.item(key) {
                Some(item) => item,
                None => {
                    let message = format!("can't index a value of type {}", ty.name());
                    self.report(head.at, Mistake::WrongType(message));
                    return Ty::Unknown;
                }
            };
        }
        self.note_unset(head.at, &ty, keys.len());
        ty
    }
}

/// The parameter for an argument.
fn param(function: &Function, index: usize) -> Option<Param> {
    function.params.get(index).copied().or(function.variadic)
}
