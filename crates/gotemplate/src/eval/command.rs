//! Pipelines, commands, calls and their arguments (`evalPipeline`, `evalCommand`, `evalCall`, `evalArg`).

use super::{Eval, Outcome};
use crate::ast::{Callee, Command, Expr, ExprKind, Number, Pipe, VariableId};
use crate::error::Problem;
use crate::funcs::{Call, FuncError, Function, Param};
use crate::limits::Limit;
use crate::value::{Elem, IntType, List, Map, Value};

impl<'a> Eval<'a> {
    pub(super) fn pipeline(&mut self, dot: &Value<'a>, pipe: &'a Pipe) -> Outcome<Value<'a>> {
        self.at = pipe.at;
        let value = self.commands(dot, &pipe.commands)?;
        for variable in &pipe.variables {
            if pipe.assigns {
                self.assign(*variable, value.clone())?;
            } else {
                self.variables.push((*variable, value.clone()));
            }
        }
        Ok(value)
    }

    /// Evaluates commands, each with the value of the previous one.
    pub(super) fn commands(&mut self, dot: &Value<'a>, commands: &'a [Command]) -> Outcome<Value<'a>> {
        let mut value = None;
        for command in commands {
            let result = match self.command(dot, command, value)? {
                // Go dereferences the interface here and gets an invalid value.
                Value::Nil => Value::Missing,
                result => result,
            };
            value = Some(result);
        }
        Ok(value.unwrap_or_default())
    }

    /// Evaluates one command; `piped` is the value of the previous one.
    fn command(
        &mut self,
        dot: &Value<'a>,
        command: &'a Command,
        piped: Option<Value<'a>>,
    ) -> Outcome<Value<'a>> {
        self.runtime.spend(1)?;
        let head = &command.head;
        let count = command.args.len() + usize::from(piped.is_some());
        self.at = head.at;
        match &head.kind {
            ExprKind::Field(names) => self.chain(dot, names, count),
            ExprKind::Variable(variable, names) if names.is_empty() => {
                let value = self.variable(*variable)?;
                self.check_no_arguments(head, count)?;
                Ok(value)
            }
            ExprKind::Variable(variable, names) => {
                let value = self.variable(*variable)?;
                self.chain(&value, names, count)
            }
            ExprKind::Chain(base, names) => {
                let value = self.evaluate(dot, base)?;
                self.at = head.at;
                self.chain(&value, names, count)
            }
            ExprKind::Function(function, callee) => {
                self.call(dot, function, *callee, head, &command.args, piped)
            }
            ExprKind::Pipe(pipe) => {
                self.check_no_arguments(head, count)?;
                self.nested(dot, pipe)
            }
            ExprKind::Dot
            | ExprKind::Bool(_)
            | ExprKind::Number(_)
            | ExprKind::String(_)
            | ExprKind::Known(_) => {
                self.check_no_arguments(head, count)?;
                self.evaluate(dot, head)
            }
            ExprKind::Nil => {
                self.check_no_arguments(head, count)?;
                self.fail("nil is not a command")
            }
        }
    }

    fn check_no_arguments(&self, head: &Expr, count: usize) -> Outcome<()> {
        if count > 0 {
            let source = self.source(head.at);
            let inside = source.strip_prefix('(').and_then(|source| source.strip_suffix(')'));
            return self.fail(format!("can't give argument to non-function {}", inside.unwrap_or(source)));
        }
        Ok(())
    }

    fn nested(&mut self, dot: &Value<'a>, pipe: &'a Pipe) -> Outcome<Value<'a>> {
        self.enter()?;
        let value = self.pipeline(dot, pipe)?;
        self.nesting -= 1;
        Ok(value)
    }

    fn variable(&self, variable: VariableId) -> Outcome<Value<'a>> {
        match self.variables.iter().rev().find(|(known, _)| *known == variable) {
            Some((_, value)) => Ok(value.clone()),
            None => self.undefined(variable),
        }
    }

    /// Evaluates an expression in a context that accepts any type.
    pub(super) fn evaluate(&mut self, dot: &Value<'a>, expr: &'a Expr) -> Outcome<Value<'a>> {
        self.at = expr.at;
        match &expr.kind {
            ExprKind::Dot => Ok(dot.clone()),
            ExprKind::Nil => Ok(Value::Nil),
            ExprKind::Bool(value) => Ok(Value::Bool(*value)),
            ExprKind::Number(number) => self.constant(number, expr),
            ExprKind::String(text) => Ok(Value::string(text.as_str())),
            ExprKind::Field(names) => self.chain(dot, names, 0),
            ExprKind::Variable(variable, names) => {
                let value = self.variable(*variable)?;
                if names.is_empty() { Ok(value) } else { self.chain(&value, names, 0) }
            }
            ExprKind::Chain(base, names) => {
                let value = self.evaluate(dot, base)?;
                self.at = expr.at;
                self.chain(&value, names, 0)
            }
            ExprKind::Function(function, callee) => self.call(dot, function, *callee, expr, &[], None),
            ExprKind::Pipe(pipe) => self.nested(dot, pipe),
            ExprKind::Known(constant) => Ok(constant.value()),
        }
    }

    /// A number in a context that does not determine its type (`idealConstant`).
    fn constant(&self, number: &Number, expr: &Expr) -> Outcome<Value<'a>> {
        match number {
            Number { is_float: true, float: Some(float), .. } => Ok(Value::Float(*float)),
            Number { int: Some(int), .. } => Ok(Value::int(*int)),
            _ => self.fail(format!("{} overflows int", self.source(expr.at))),
        }
    }

    fn call(
        &mut self,
        dot: &Value<'a>,
        function: &'static Function,
        callee: Callee,
        head: &'a Expr,
        args: &'a [Expr],
        piped: Option<Value<'a>>,
    ) -> Outcome<Value<'a>> {
        self.runtime.spend(1)?;
        let count = args.len() + usize::from(piped.is_some());
        let fixed = function.params.len();
        let name = function.name;
        if function.variadic.is_some() && count < fixed {
            return self
                .fail(format!("wrong number of args for {name}: want at least {fixed} got {}", args.len()));
        }
        if function.variadic.is_none() && count != fixed {
            return self.fail(format!("wrong number of args for {name}: want {fixed} got {count}"));
        }
        if callee != Callee::Plain {
            return self.logic(dot, callee, args, piped);
        }
        let base = self.arguments.len();
        for (index, arg) in args.iter().enumerate() {
            let param = param(function, index);
            let value = self.argument(dot, param, arg)?;
            self.arguments.push(value);
        }
        if let Some(piped) = piped {
            let value = self.validate(piped, param(function, args.len()))?;
            self.arguments.push(value);
        }
        let arguments = self.arguments.get(base..).unwrap_or_default();
        let mut call = Call { name, runtime: &mut self.runtime };
        let result = (function.run)(&mut call, arguments);
        self.arguments.truncate(base);
        self.at = head.at;
        match result {
            Ok(value) => {
                self.charge(&value)?;
                Ok(value)
            }
            Err(FuncError::Message(message)) => Err(Box::new(Problem::Function { name, message })),
            Err(FuncError::Limit(limit)) => Err(limit.into()),
        }
    }

    /// Charges steps for a function's result by its size: doubling a string or list takes little source code.
    fn charge(&mut self, value: &Value<'a>) -> Outcome<()> {
        match value {
            Value::String(text) => {
                let length = text.stored().len();
                if length > self.runtime.limits.bytes {
                    return Err(Limit::Bytes(self.runtime.limits.bytes).into());
                }
                self.runtime.spend(length / 64)?;
            }
            Value::List(List::Owned(list)) => self.runtime.spend(list.items.len())?,
            Value::Map(Map::Owned(_)) => self.runtime.spend(1)?,
            _ => {}
        }
        Ok(())
    }

    /// `and` and `or` (short-circuit).
    fn logic(
        &mut self,
        dot: &Value<'a>,
        callee: Callee,
        args: &'a [Expr],
        piped: Option<Value<'a>>,
    ) -> Outcome<Value<'a>> {
        self.enter()?;
        let mut value = Value::Missing;
        for arg in args {
            value = self.argument(dot, Param::Reflect, arg)?;
            if value.is_true() == (callee == Callee::Or) {
                self.nesting -= 1;
                return Ok(value);
            }
        }
        self.nesting -= 1;
        Ok(piped.unwrap_or(value))
    }

    /// Evaluates an argument for a parameter.
    fn argument(&mut self, dot: &Value<'a>, param: Param, expr: &'a Expr) -> Outcome<Value<'a>> {
        self.at = expr.at;
        match &expr.kind {
            ExprKind::Nil => self.nil(param),
            ExprKind::Bool(_) | ExprKind::Number(_) | ExprKind::String(_) => {
                self.constant_for(dot, param, expr)
            }
            _ => {
                let value = self.evaluate(dot, expr)?;
                self.validate(value, param)
            }
        }
    }

    fn nil(&self, param: Param) -> Outcome<Value<'a>> {
        match zero(param) {
            Some(value) => Ok(value),
            None => self.fail(format!("cannot assign nil to {}", param.type_name())),
        }
    }

    /// A constant for a parameter; it gets the parameter's type if possible.
    fn constant_for(&mut self, dot: &Value<'a>, param: Param, expr: &'a Expr) -> Outcome<Value<'a>> {
        let found = self.source(expr.at);
        match (param, &expr.kind) {
            (Param::Any | Param::Reflect, _) => self.evaluate(dot, expr),
            (Param::Bool, ExprKind::Bool(value)) => Ok(Value::Bool(*value)),
            (Param::Bool, _) => self.fail(format!("expected bool; found {found}")),
            (Param::String, ExprKind::String(text)) => Ok(Value::string(text.as_str())),
            (Param::String, _) => self.fail(format!("expected string; found {found}")),
            (Param::Int, ExprKind::Number(Number { int: Some(int), .. })) => Ok(Value::int(*int)),
            (Param::Int64, ExprKind::Number(Number { int: Some(int), .. })) => {
                Ok(Value::Int(*int, IntType::Int64))
            }
            (Param::Int | Param::Int64, _) => self.fail(format!("expected integer; found {found}")),
            (Param::Float, ExprKind::Number(Number { float: Some(float), .. })) => Ok(Value::Float(*float)),
            (Param::Float, _) => self.fail(format!("expected float; found {found}")),
            _ => self.fail(format!("can't handle {found} for arg of type {}", param.type_name())),
        }
    }

    /// Checks that a value can be passed to a parameter (`validateType`).
    fn validate(&self, value: Value<'a>, param: Param) -> Outcome<Value<'a>> {
        let fits = match (param, &value) {
            (Param::Reflect, _) => return Ok(value),
            (_, Value::Missing) => {
                return match zero(param) {
                    Some(zero) => Ok(zero),
                    None => self.fail(format!("invalid value; expected {}", param.type_name())),
                };
            }
            (Param::Any, _)
            | (Param::String, Value::String(_))
            | (Param::Bool, Value::Bool(_))
            | (Param::Int, Value::Int(_, IntType::Int))
            | (Param::Int64, Value::Int(_, IntType::Int64))
            | (Param::Float, Value::Float(_)) => true,
            (Param::StringList, Value::List(List::Owned(list))) => list.of == Elem::String,
            (Param::AnyList, Value::List(list)) => list.holds_interfaces(),
            (Param::AnyMap, Value::Map(map)) => map.holds_interfaces(),
            (Param::StringMap, Value::Map(Map::Owned(map))) => map.of == Elem::String,
            (_, Value::Nil) => false,
            _ => value.type_name() == param.type_name(),
        };
        if fits {
            return Ok(value);
        }
        // Go dereferences one pointer.
        let wanted = param.type_name();
        match &value {
            Value::Pointer(pointer) if value.type_name().strip_prefix('*') == Some(wanted) => {
                match pointer.target() {
                    Some(target) => Ok(target),
                    None => self.fail(format!("dereference of nil pointer of type {wanted}")),
                }
            }
            Value::Struct(structure) if structure.pointer && structure.ty.name == wanted => {
                if structure.is_nil() {
                    return self.fail(format!("dereference of nil pointer of type {wanted}"));
                }
                Ok(Value::of_type(structure.ty, structure.json, structure.tainted))
            }
            Value::Nil => self.fail(format!("wrong type for value; expected {wanted}; got interface {{}}")),
            _ => {
                let got = value.type_name();
                self.fail(format!("wrong type for value; expected {wanted}; got {got}"))
            }
        }
    }
}

/// The parameter for an argument.
fn param(function: &Function, index: usize) -> Param {
    function.params.get(index).copied().or(function.variadic).unwrap_or(Param::Any)
}

/// The nil value of a parameter, if its type has one.
fn zero<'a>(param: Param) -> Option<Value<'a>> {
    use crate::gotypes::Kind;
    match param {
        Param::Any => Some(Value::Nil),
        Param::Reflect => Some(Value::Missing),
        Param::StringList => Some(Value::List(List::Json { items: None, of: &Kind::String, tainted: false })),
        Param::AnyList => Some(Value::List(List::Json { items: None, of: &Kind::Any, tainted: false })),
        Param::AnyMap => Some(Value::Map(Map::Json { entries: None, of: &Kind::Any, tainted: false })),
        Param::StringMap => Some(Value::Map(Map::Json { entries: None, of: &Kind::String, tainted: false })),
        Param::Named(name) if name.starts_with(['*', '[']) || name.starts_with("map[") => Some(Value::Nil),
        Param::String | Param::Bool | Param::Int | Param::Int64 | Param::Float | Param::Named(_) => None,
    }
}
