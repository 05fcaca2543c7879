//! Folds pipelines: replaces known parts by constants.

use super::Specializer;
use super::known::{Env, Known, known_operand};
use crate::ast::{Callee, Command, Constant, Expr, ExprKind, Pipe, Span};
use crate::eval::{Eval, Outcome};
use crate::render::Runtime;
use crate::value::Value;

impl<'a> Specializer<'a> {
    /// The pipeline with constants where possible, and its value if known.
    pub(super) fn pipe_and_value(&mut self, env: &Env<'a>, pipe: &'a Pipe) -> (Pipe, Option<Value<'a>>) {
        let folded = self.pipe(env, pipe);
        if let [Command { head: Expr { kind: ExprKind::Known(constant), .. }, args }] =
            folded.commands.as_slice()
            && args.is_empty()
        {
            let value = owned(constant);
            return (folded, Some(value));
        }
        if !self.is_known(env, &pipe.commands) {
            return (folded, None);
        }
        let value = self.evaluated(env, |eval, dot| eval.commands(dot, &pipe.commands));
        (folded, value)
    }

    pub(super) fn pipe(&mut self, env: &Env<'a>, pipe: &'a Pipe) -> Pipe {
        let mut commands = Vec::with_capacity(pipe.commands.len());
        let known =
            pipe.commands.iter().take_while(|command| self.is_known(env, std::slice::from_ref(command)));
        let (prefix, mut rest) = pipe.commands.split_at_checked(known.count()).unwrap_or_default();
        match if prefix.is_empty() { None } else { self.constant(env, prefix) } {
            Some(constant) => commands.push(known_command(self.ended, constant)),
            None => rest = &pipe.commands,
        }
        for command in rest {
            let folded = self.command(env, command, !commands.is_empty());
            commands.push(folded);
        }
        Pipe { at: pipe.at, assigns: pipe.assigns, variables: pipe.variables.clone(), commands }
    }

    fn command(&mut self, env: &Env<'a>, command: &'a Command, is_piped: bool) -> Command {
        match command.head.kind {
            ExprKind::Function(_, callee @ (Callee::And | Callee::Or)) if !is_piped => {
                return self.logic(env, command, callee);
            }
            _ => {}
        }
        let head = if command.args.is_empty() && !is_piped {
            self.expr(env, &command.head)
        } else {
            command.head.clone()
        };
        Command { head, args: command.args.iter().map(|arg| self.expr(env, arg)).collect() }
    }

    /// `and` and `or` without the arguments that do not decide, up to the one that does.
    fn logic(&mut self, env: &Env<'a>, command: &'a Command, callee: Callee) -> Command {
        let mut args = Vec::with_capacity(command.args.len());
        for (index, arg) in command.args.iter().enumerate() {
            let folded = self.expr(env, arg);
            let decides = match &folded.kind {
                ExprKind::Known(constant) => Some(constant.value().is_true() == (callee == Callee::Or)),
                _ => None,
            };
            if decides == Some(false) && index + 1 < command.args.len() {
                continue;
            }
            args.push(folded);
            if decides == Some(true) {
                break;
            }
        }
        match args.as_slice() {
            [Expr { kind: ExprKind::Known(constant), at }] => known_command(*at, constant.clone()),
            _ => Command { head: command.head.clone(), args },
        }
    }

    fn expr(&mut self, env: &Env<'a>, expr: &'a Expr) -> Expr {
        // Errors are reported at the current position of evaluation, which may be inside parentheses.
        let mut at = expr.at;
        let kind = match &expr.kind {
            // A written constant is checked against the parameter differently.
            ExprKind::Dot
            | ExprKind::Variable(..)
            | ExprKind::Field(_)
            | ExprKind::Chain(..)
            | ExprKind::Function(..)
                if self.is_known_expr(env, expr) =>
            {
                let value = self.evaluated(env, |eval, dot| eval.evaluate(dot, expr));
                match value.as_ref().and_then(Constant::of) {
                    Some(constant) => {
                        at = self.ended;
                        ExprKind::Known(constant)
                    }
                    None => expr.kind.clone(),
                }
            }
            ExprKind::Pipe(pipe) => {
                let folded = self.pipe(env, pipe);
                match folded.commands.as_slice() {
                    [Command { head: Expr { kind: ExprKind::Known(constant), at: ended }, args }]
                        if args.is_empty() =>
                    {
                        at = *ended;
                        ExprKind::Known(constant.clone())
                    }
                    _ => ExprKind::Pipe(Box::new(folded)),
                }
            }
            ExprKind::Chain(base, names) => ExprKind::Chain(Box::new(self.expr(env, base)), names.clone()),
            kind => kind.clone(),
        };
        Expr { at, kind }
    }

    /// A value without any keys, for looking up absent ones.
    fn empty(&self, known: &Known<'a>) -> Option<Value<'a>> {
        let Value::Record(root) = &self.root else { return None };
        match known {
            Known::Owner(owner) => root.at(owner).cloned(),
            Known::Map(map) => {
                let [owner, name] = self.keys.of.map(*map)?;
                match root.at(owner)? {
                    Value::Struct(owner) => owner.field(name),
                    other => Some(other.clone()),
                }
            }
            _ => None,
        }
    }

    fn constant(&mut self, env: &Env<'a>, commands: &'a [Command]) -> Option<Constant> {
        Constant::of(&self.evaluated(env, |eval, dot| eval.commands(dot, commands))?)
    }

    /// Evaluates known expressions; `None` if evaluation fails or creates a placeholder.
    pub(super) fn evaluated<T>(
        &mut self,
        env: &Env<'a>,
        work: impl FnOnce(&mut Eval<'a>, &Value<'a>) -> Outcome<T>,
    ) -> Option<T> {
        let value = |known: &Known<'a>| match known {
            Known::Value(value) => Some(value.clone()),
            Known::Root => Some(self.root.clone()),
            Known::Owner(_) | Known::Map(_) => self.empty(known),
            Known::No => None,
        };
        let dot = value(&env.dot).unwrap_or_default();
        let known = env.variables.iter().filter_map(|(variable, known)| Some((*variable, value(known)?)));
        let mut eval = Eval {
            template: self.template,
            runtime: Runtime::new(self.scope, self.limits),
            out: String::new(),
            variables: known.collect(),
            arguments: Vec::new(),
            at: Span { start: 0, end: 0 },
            depth: 0,
            nesting: 0,
            trace: None,
        };
        eval.runtime.steps = self.steps;
        let result = work(&mut eval, &dot);
        self.steps = eval.runtime.steps;
        self.ended = eval.at;
        result.ok().filter(|_| eval.runtime.placeholders.is_empty())
    }

    /// Whether commands depend only on known values.
    fn is_known(&self, env: &Env<'a>, commands: &[Command]) -> bool {
        commands.iter().enumerate().all(|(index, command)| {
            let mut exprs = std::iter::once(&command.head).chain(&command.args);
            exprs.all(|expr| self.is_known_expr(env, expr))
                || (index == 0 && self.asks_for_what_is_not_there(env, command))
        })
    }

    /// Whether a command looks up an absent key in a map, and depends on nothing else.
    fn asks_for_what_is_not_there(&self, env: &Env<'a>, command: &Command) -> bool {
        let ExprKind::Function(function, Callee::Plain) = &command.head.kind else { return false };
        let absent = self.keys.of;
        let Some(lookup) = absent.lookup(function.name) else { return false };
        let [of, key, others @ ..] = command.args.as_slice() else { return false };
        let map = match (lookup.map, known_operand(absent, env, of)) {
            (Some(map), Known::Owner(owner)) if absent.map(map).is_some_and(|path| path[0] == owner) => map,
            (None, Known::Map(map)) => map,
            _ => return false,
        };
        if !others.iter().all(|other| self.is_known_expr(env, other)) {
            return false;
        }
        let lacks = |key: &str| self.keys.lacks(self.present, map, key);
        match (&key.kind, known_operand(absent, env, key)) {
            (ExprKind::String(key), _) => lacks(key),
            (_, Known::Value(Value::String(key))) => !key.is_tainted() && lacks(key.stored()),
            _ => false,
        }
    }

    fn is_known_expr(&self, env: &Env<'a>, expr: &Expr) -> bool {
        let has = |known: &Known<'a>, names: &[String]| match known {
            Known::Value(_) => true,
            Known::Root => names.first().is_some_and(|name| self.is_known_field(name)),
            Known::Owner(_) | Known::Map(_) | Known::No => false,
        };
        match &expr.kind {
            ExprKind::Nil
            | ExprKind::Bool(_)
            | ExprKind::Number(_)
            | ExprKind::String(_)
            | ExprKind::Known(_)
            | ExprKind::Function(..) => true,
            ExprKind::Dot => has(&env.dot, &[]),
            ExprKind::Field(names) => has(&env.dot, names),
            ExprKind::Variable(variable, names) => has(env.variable(*variable), names),
            ExprKind::Chain(base, names) => match known_operand(self.keys.of, env, base) {
                Known::Root => has(&Known::Root, names),
                _ => self.is_known_expr(env, base),
            },
            ExprKind::Pipe(pipe) => pipe.variables.is_empty() && self.is_known(env, &pipe.commands),
        }
    }

    fn is_known_field(&self, name: &str) -> bool {
        self.keys.of.owner(name).is_none()
            && matches!(&self.root, Value::Record(record) if record.at(name).is_some())
    }
}

fn known_command(at: Span, constant: Constant) -> Command {
    // A nil at the end of a command is missing, even if the enclosing pipeline is removed.
    let constant = if let Constant::Nil = constant { Constant::Missing } else { constant };
    Command { head: Expr { at, kind: ExprKind::Known(constant) }, args: Vec::new() }
}

/// A constant without a reference to the template.
fn owned<'a>(constant: &Constant) -> Value<'a> {
    match constant.value() {
        Value::String(text) => Value::string(text.into_stored().into_owned()),
        Value::Missing | Value::Nil => Value::Missing,
        Value::Bool(value) => Value::Bool(value),
        Value::Int(number, ty) => Value::Int(number, ty),
        Value::Uint(number, ty) => Value::Uint(number, ty),
        Value::Float(number) => Value::Float(number),
        Value::Enum(of, number) => Value::Enum(of, number),
        _ => Value::Missing,
    }
}
