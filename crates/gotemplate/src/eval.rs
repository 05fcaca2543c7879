//! Executes a parsed template on its data, like Go's `text/template` (`state.walk` and related functions).

use std::rc::Rc;

use super::Template;
use super::ast::{Branch, Node, Pipe, Range, Span, VariableId};
use super::error::{Location, Problem, RenderError};
use super::limits::{Limit, Limits};
use super::render::{Rendered, Runtime, Scope};
use super::trace::Written;
use super::value::{Taint, Value};

mod command;
mod field;
pub(super) mod specialize;

/// The maximum nesting of evaluation, over all templates that invoke each other: the stack is finite.
const NESTING: usize = 400;

/// Renders the main body; with a `trace`, it also returns which node wrote which part of the output.
pub(super) fn render<'a>(
    template: &'a Template,
    dot: &Value<'a>,
    scope: &'a Scope,
    limits: &'a Limits,
    trace: Option<Vec<Written>>,
) -> Result<(Rendered, Vec<Written>), RenderError> {
    let mut eval = Eval {
        template,
        runtime: Runtime::new(scope, limits),
        out: String::with_capacity(template.source.len()),
        variables: vec![(0, dot.clone())],
        arguments: Vec::new(),
        at: Span { start: 0, end: 0 },
        depth: 0,
        nesting: 0,
        trace,
    };
    let tree = template.parsed.trees.get(template.parsed.main);
    match eval.body(dot, tree.map(|tree| tree.body.as_slice()).unwrap_or_default()) {
        Ok(_) => Ok((eval.runtime.into_rendered(eval.out), eval.trace.unwrap_or_default())),
        Err(problem) => {
            let at = Location::new(&template.name, &template.source, eval.at);
            Err(RenderError { at, problem: *problem })
        }
    }
}

/// Control flow after a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// An error is the problem; its place is [`Eval::at`].
type Outcome<T> = Result<T, Box<Problem>>;

struct Eval<'a> {
    template: &'a Template,
    runtime: Runtime<'a>,
    out: String,
    /// Variables in scope, innermost last. Like Go, they are looked up by name at run time: a declaration inside an
    /// argument that `and` never evaluates does not exist.
    variables: Vec<(VariableId, Value<'a>)>,
    /// Arguments of the calls in progress.
    arguments: Vec<Value<'a>>,
    /// The current position, for errors.
    at: Span,
    /// Depth of template invocations.
    depth: usize,
    nesting: usize,
    /// Receives which node wrote which part of the output.
    trace: Option<Vec<Written>>,
}

impl From<Limit> for Box<Problem> {
    fn from(limit: Limit) -> Self {
        Box::new(Problem::Limit(limit))
    }
}

impl<'a> Eval<'a> {
    fn fail<T>(&self, message: impl Into<String>) -> Outcome<T> {
        Err(Box::new(Problem::Evaluation(message.into())))
    }

    /// A piece of the template as Go names it, for messages.
    fn source(&self, at: Span) -> &'a str {
        self.template.source.get(at.start as usize..at.end as usize).unwrap_or_default()
    }

    fn enter(&mut self) -> Outcome<()> {
        self.nesting += 1;
        if self.nesting > NESTING {
            return Err(Limit::Nesting(NESTING).into());
        }
        Ok(())
    }

    fn body(&mut self, dot: &Value<'a>, nodes: &'a [Node]) -> Outcome<Flow> {
        self.enter()?;
        for node in nodes {
            self.runtime.spend(1)?;
            let flow = match node {
                Node::Text(at) => {
                    let start = self.out.len();
                    self.write(self.source(*at))?;
                    self.wrote(start, *at, true);
                    Flow::Next
                }
                Node::Action(pipe) => {
                    let value = self.pipeline(dot, pipe)?;
                    if pipe.variables.is_empty() {
                        let start = self.out.len();
                        self.print(&value)?;
                        self.wrote(start, pipe.at, false);
                    }
                    Flow::Next
                }
                Node::Branch(branch) => self.branch(dot, branch)?,
                Node::Range(range) => self.range(dot, range)?,
                Node::Template { at, name, tree, pipe } => {
                    self.at = *at;
                    self.invoke(dot, name, *tree, pipe.as_ref())?;
                    Flow::Next
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::Next {
                self.nesting -= 1;
                return Ok(flow);
            }
        }
        self.nesting -= 1;
        Ok(Flow::Next)
    }

    /// Traces that a node wrote everything since `start`.
    fn wrote(&mut self, start: usize, at: Span, is_text: bool) {
        if let Some(trace) = &mut self.trace
            && start < self.out.len()
        {
            let source = at.start as usize..at.end as usize;
            trace.push(Written { output: start..self.out.len(), source, is_text });
        }
    }

    fn write(&mut self, text: &str) -> Outcome<()> {
        if self.out.len() + text.len() > self.runtime.limits.bytes {
            return Err(Limit::Bytes(self.runtime.limits.bytes).into());
        }
        self.out.push_str(text);
        Ok(())
    }

    fn print(&mut self, value: &Value<'a>) -> Outcome<()> {
        match value {
            Value::String(text) => match text.taint() {
                Taint::Whole => {
                    self.runtime.push_placeholder(&mut self.out, text.stored(), false);
                    self.write("")
                }
                Taint::Clean | Taint::Mixed => self.write(text.stored()),
            },
            _ => {
                let text = super::format::printed(&mut self.runtime, value);
                self.write(text.stored())
            }
        }
    }

    fn branch(&mut self, dot: &Value<'a>, branch: &'a Branch) -> Outcome<Flow> {
        let mark = self.variables.len();
        let mut flow = None;
        for (pipe, body) in &branch.cases {
            let value = self.pipeline(dot, pipe)?;
            if value.is_true() {
                flow = Some(self.body(if branch.with { &value } else { dot }, body)?);
                break;
            }
        }
        let flow = match flow {
            Some(flow) => flow,
            None => self.body(dot, &branch.otherwise)?,
        };
        self.variables.truncate(mark);
        Ok(flow)
    }

    fn range(&mut self, dot: &Value<'a>, range: &'a Range) -> Outcome<Flow> {
        let mark = self.variables.len();
        let mut over = self.pipeline(dot, &range.pipe)?;
        if let Value::Pointer(pointer) = &over
            && let Some(target) = pointer.target()
        {
            over = target;
        }
        let ran = match &over {
            Value::Int(count, ty) => {
                self.check_range_variables(&range.pipe, &over)?;
                let count = *count;
                self.repeat(range, (0..count.max(0)).map(|number| (Value::Missing, Value::Int(number, *ty))))?
            }
            Value::Uint(count, ty) => {
                self.check_range_variables(&range.pipe, &over)?;
                self.repeat(range, (0..*count).map(|number| (Value::Missing, Value::Uint(number, *ty))))?
            }
            Value::List(list) => {
                let items = list.iter().enumerate();
                self.repeat(range, items.map(|(index, item)| (Value::int(index as i64), item)))?
            }
            Value::Map(map) => {
                let entries = map.entries().into_iter();
                self.repeat(range, entries.map(|(key, item)| (key.to_value(), item)))?
            }
            Value::Missing | Value::Nil => false,
            other => {
                let shown = self.shown(&other.clone());
                return self.fail(format!("range can't iterate over {shown}"));
            }
        };
        let flow = if ran { Flow::Next } else { self.body(dot, &range.otherwise)? };
        self.variables.truncate(mark);
        Ok(flow)
    }

    fn check_range_variables(&mut self, pipe: &Pipe, over: &Value<'a>) -> Outcome<()> {
        if pipe.variables.len() > 1 {
            let shown = self.shown(over);
            return self.fail(format!("can't use {shown} to iterate over more than one variable"));
        }
        Ok(())
    }

    /// Runs the loop; returns whether it ran at all.
    fn repeat(
        &mut self,
        range: &'a Range,
        items: impl Iterator<Item = (Value<'a>, Value<'a>)>,
    ) -> Outcome<bool> {
        let mark = self.variables.len();
        let mut ran = false;
        for (index, item) in items {
            ran = true;
            self.runtime.spend(1)?;
            self.bind(range, mark, index, &item)?;
            let flow = self.body(&item, &range.body)?;
            self.variables.truncate(mark);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(ran)
    }

    /// Assigns a loop's variables. Declared ones are on top of the stack, the second one last.
    fn bind(&mut self, range: &Range, mark: usize, index: Value<'a>, item: &Value<'a>) -> Outcome<()> {
        match (range.pipe.variables.as_slice(), range.pipe.assigns) {
            ([], _) => {}
            ([variable], true) => self.assign(*variable, item.clone())?,
            ([first, second, ..], true) => {
                self.assign(*first, index)?;
                self.assign(*second, item.clone())?;
            }
            (declared, false) => {
                if let Some(slot) = mark.checked_sub(1).and_then(|top| self.variables.get_mut(top)) {
                    slot.1 = item.clone();
                }
                if declared.len() > 1
                    && let Some(slot) = mark.checked_sub(2).and_then(|top| self.variables.get_mut(top))
                {
                    slot.1 = index;
                }
            }
        }
        Ok(())
    }

    fn invoke(
        &mut self,
        dot: &Value<'a>,
        name: &str,
        tree: Option<usize>,
        pipe: Option<&'a Pipe>,
    ) -> Outcome<()> {
        let Some(tree) = tree.and_then(|tree| self.template.parsed.trees.get(tree)) else {
            return self.fail(format!("template {} not defined", super::format::quote(name)));
        };
        if self.depth == self.runtime.limits.recursion {
            return Err(Limit::Recursion(self.depth).into());
        }
        let value = match pipe {
            Some(pipe) => self.pipeline(dot, pipe)?,
            None => Value::Missing,
        };
        let outer = std::mem::replace(&mut self.variables, vec![(0, value.clone())]);
        self.depth += 1;
        self.body(&value, &tree.body)?;
        self.depth -= 1;
        self.variables = outer;
        Ok(())
    }

    fn assign(&mut self, variable: VariableId, value: Value<'a>) -> Outcome<()> {
        match self.variables.iter_mut().rev().find(|(known, _)| *known == variable) {
            Some(slot) => {
                slot.1 = value;
                Ok(())
            }
            None => self.undefined(variable),
        }
    }

    fn undefined<T>(&self, variable: VariableId) -> Outcome<T> {
        let name = self.template.parsed.variables.get(usize::from(variable));
        self.fail(format!("undefined variable: {}", name.map(String::as_str).unwrap_or_default()))
    }

    /// A value for an error message, which must not contain text from the pod.
    fn shown(&mut self, value: &Value<'a>) -> String {
        if value.is_tainted() {
            return format!("a {} from the pod", value.type_name());
        }
        super::format::printed_real(&mut self.runtime, value)
    }
}

/// Copies a record's field cheaply if it is shared.
fn record_field<'a>(record: &Rc<super::value::Record<'a>>, name: &str) -> Option<Value<'a>> {
    record.at(name).cloned()
}
