//! Parses the content of an action: declarations, commands, operands.

use super::{Context, NESTING, Parse, Parser, literal, span};
use crate::ast::{Callee, Command, Expr, ExprKind, Pipe, Span, VariableId};
use crate::format::quote;
use crate::funcs::{Row, is_builtin};
use crate::lex::{Kind, Token};

impl Parser<'_> {
    pub(super) fn pipeline(&mut self, context: Context) -> Parse<Pipe> {
        let start = self.peek_word();
        let mut pipe =
            Pipe { at: span(start, start), assigns: false, variables: Vec::new(), commands: Vec::new() };
        self.declarations(&mut pipe, context)?;
        let end = if context == Context::Parentheses { Kind::RightParen } else { Kind::RightDelim };
        loop {
            let token = self.peek_word();
            match token.kind {
                kind if kind == end => {
                    self.take();
                    break;
                }
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParen => {
                    let command = self.command()?;
                    pipe.at.end = command.args.last().unwrap_or(&command.head).at.end;
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(token, context.name()),
            }
        }
        check(&pipe, context)?;
        Ok(pipe)
    }

    /// `$x :=`, `$x =`, and for loops `$i, $x :=`.
    fn declarations(&mut self, pipe: &mut Pipe, context: Context) -> Parse<()> {
        while self.peek_word().kind == Kind::Variable {
            let before = self.next;
            let variable = self.take();
            let after = self.peek_word();
            match after.kind {
                Kind::Assign | Kind::Declare => {
                    pipe.assigns = after.kind == Kind::Assign;
                    self.take();
                    self.declare(pipe, variable)?;
                    return Ok(());
                }
                Kind::Char if self.text(after) == "," => {
                    self.take();
                    self.declare(pipe, variable)?;
                    if context != Context::Range || pipe.variables.len() >= 2 {
                        return Err(format!("too many declarations in {}", context.name()));
                    }
                    match self.peek_word().kind {
                        Kind::Variable | Kind::RightDelim | Kind::RightParen => {}
                        _ => return Err("range can only initialize variables".to_owned()),
                    }
                }
                _ => {
                    self.next = before;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn declare(&mut self, pipe: &mut Pipe, token: Token) -> Parse<()> {
        let name = self.text(token);
        let id = match self.names.iter().position(|known| known == name) {
            Some(id) => id,
            None => {
                self.names.push(name.to_owned());
                self.names.len() - 1
            }
        };
        let id = VariableId::try_from(id).map_err(|_| "too many variables".to_owned())?;
        pipe.variables.push(id);
        self.scope.push(id);
        Ok(())
    }

    fn command(&mut self) -> Parse<Command> {
        let mut operands = Vec::new();
        loop {
            self.peek_word();
            if let Some(operand) = self.operand()? {
                operands.push(operand);
            }
            let token = self.take();
            match token.kind {
                Kind::Space => {}
                Kind::RightDelim | Kind::RightParen => {
                    self.next -= 1;
                    break;
                }
                Kind::Pipe => break,
                _ => return self.unexpected(token, "operand"),
            }
        }
        let mut operands = operands.into_iter();
        let head = operands.next().ok_or("empty command")?;
        Ok(Command { head, args: operands.collect() })
    }

    fn operand(&mut self) -> Parse<Option<Expr>> {
        let Some(mut term) = self.term()? else { return Ok(None) };
        if self.peek().kind != Kind::Field {
            return Ok(Some(term));
        }
        let mut fields = Vec::new();
        let mut end = term.at.end;
        while self.peek().kind == Kind::Field {
            let token = self.take();
            end = token.end as u32;
            fields.push(self.text(token).trim_start_matches('.').to_owned());
        }
        match &mut term.kind {
            ExprKind::Field(names) | ExprKind::Variable(_, names) => names.append(&mut fields),
            ExprKind::Bool(_) | ExprKind::String(_) | ExprKind::Number(_) | ExprKind::Nil | ExprKind::Dot => {
                let text = self.source.get(term.at.start as usize..term.at.end as usize).unwrap_or_default();
                return Err(format!("unexpected . after term {}", quote(text)));
            }
            _ => {
                let at = Span { start: term.at.start, end };
                return Ok(Some(Expr { at, kind: ExprKind::Chain(Box::new(term), fields) }));
            }
        }
        term.at.end = end;
        Ok(Some(term))
    }

    fn term(&mut self) -> Parse<Option<Expr>> {
        let token = self.take_word();
        let text = self.text(token);
        let kind = match token.kind {
            Kind::Identifier => self.function(text)?,
            Kind::Dot => ExprKind::Dot,
            Kind::Nil => ExprKind::Nil,
            Kind::Variable => {
                let id = self.names.iter().position(|known| known == text);
                let id = id.and_then(|id| VariableId::try_from(id).ok()).filter(|id| self.scope.contains(id));
                let id = id.ok_or_else(|| format!("undefined variable {}", quote(text)))?;
                ExprKind::Variable(id, Vec::new())
            }
            Kind::Field => ExprKind::Field(vec![text.trim_start_matches('.').to_owned()]),
            Kind::Bool => ExprKind::Bool(text == "true"),
            Kind::CharConstant => ExprKind::Number(literal::character(text)?),
            Kind::Complex => return Err(format!("complex constants are not supported: {}", quote(text))),
            Kind::Number => ExprKind::Number(literal::number(text)?),
            Kind::LeftParen => {
                self.nesting += 1;
                if self.nesting > NESTING {
                    return Err("max expression depth exceeded".to_owned());
                }
                let pipe = self.pipeline(Context::Parentheses)?;
                self.nesting -= 1;
                let end = self.token(self.next - 1);
                return Ok(Some(Expr { at: span(token, end), kind: ExprKind::Pipe(Box::new(pipe)) }));
            }
            Kind::String | Kind::RawString => ExprKind::String(self.string(token)?),
            _ => {
                self.next -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Expr { at: span(token, token), kind }))
    }

    fn function(&self, name: &str) -> Parse<ExprKind> {
        match self.functions.row(name) {
            Some(Row::Function(function)) => {
                let callee = match name {
                    // A table may define its own `and`; then it is an ordinary function.
                    "and" if is_builtin(function) => Callee::And,
                    "or" if is_builtin(function) => Callee::Or,
                    _ => Callee::Plain,
                };
                Ok(ExprKind::Function(function, callee))
            }
            Some(Row::Refused { reason, .. }) => {
                Err(format!("function {} is refused: {reason}", quote(name)))
            }
            None => Err(format!("function {} not defined", quote(name))),
        }
    }
}

fn check(pipe: &Pipe, context: Context) -> Parse<()> {
    if pipe.commands.is_empty() {
        return Err(format!("missing value for {}", context.name()));
    }
    for (index, command) in pipe.commands.iter().enumerate().skip(1) {
        match command.head.kind {
            ExprKind::Bool(_) | ExprKind::Dot | ExprKind::Nil | ExprKind::Number(_) | ExprKind::String(_) => {
                return Err(format!("non executable command in pipeline stage {}", index + 1));
            }
            _ => {}
        }
    }
    Ok(())
}
