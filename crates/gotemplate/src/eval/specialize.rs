//! Evaluates in advance what depends only on the configuration: most of a template is the same for every pod.
//!
//! Everything that depends only on known data is evaluated here by the evaluator itself and becomes text, a constant or
//! the branch taken; everything else, and everything that fails or came from a pod, stays as written. The specialized
//! template therefore renders the same text, with the same placeholders and the same errors, only faster. It takes
//! fewer steps, so it may stay below a limit that the original would have reached.

use std::collections::BTreeSet;

use crate::Template;
use crate::absent_keys::{Keys, Present};
use crate::ast::{Branch, Command, Expr, Node, Pipe, Range, Span, Tree, VariableId};
use crate::limits::Limits;
use crate::parse::Parsed;
use crate::render::Scope;
use crate::value::Value;

mod fold;
mod known;
mod piece;

pub(crate) use piece::keys;

use known::{Env, Known, known_operand};
use piece::{Piece, leaves_loop, refers_to, scan, uses_dot, without_unused};

/// Limit on visited nodes, counting those of repeated bodies each time: above it, the template is not specialized.
const VISITS: usize = 50_000;
/// Maximum depth of template invocations.
const DEPTH: usize = 16;
/// Maximum number of items of a known list whose loop is unrolled.
const ITEMS: usize = 64;

/// The template for all data whose fields agree with `known`, a record of some of them; `None` if specialization does
/// not pay off.
pub(crate) fn specialize<'a>(
    template: &'a Template,
    known: &Value<'a>,
    (keys, present): (&'a Keys, Present),
    scope: &'a Scope,
    limits: &'a Limits,
) -> Option<Template> {
    let mut assigned = BTreeSet::new();
    for tree in &template.parsed.trees {
        scan(&tree.body, &mut assigned)?;
    }
    // `$` is declared nowhere; assignments to it are not tracked.
    if assigned.contains(&0) {
        return None;
    }
    let mut this = Specializer {
        template,
        root: known.clone(),
        keys,
        present,
        scope,
        limits,
        assigned,
        source: format!("{}\n", template.source),
        trees: template.parsed.trees.clone(),
        steps: limits.steps,
        visits: VISITS,
        bytes: limits.bytes,
        ended: Span { start: 0, end: 0 },
    };
    let main = template.parsed.main;
    let mut env = Env { dot: Known::Root, variables: vec![(0, Known::Root)], depth: 0 };
    let pieces = this.body(&mut env, &template.parsed.trees.get(main)?.body)?;
    let body = this.finish(pieces);
    this.trees.get_mut(main)?.body = body;
    piece::clear_unused(&mut this.trees, main);
    let variables = template.parsed.variables.clone();
    let parsed = Parsed { trees: this.trees, main, variables };
    Some(Template { name: template.name.clone(), source: this.source, parsed })
}

struct Specializer<'a> {
    template: &'a Template,
    /// The known fields of the data.
    root: Value<'a>,
    keys: &'a Keys,
    present: Present,
    scope: &'a Scope,
    limits: &'a Limits,
    /// Variables that change after their declaration.
    assigned: BTreeSet<VariableId>,
    /// The template's source, followed by the texts rendered here.
    source: String,
    trees: Vec<Tree>,
    /// The remaining budget: steps of the evaluator, nodes, bytes of text.
    steps: usize,
    visits: usize,
    bytes: usize,
    /// The position of the last evaluation.
    ended: Span,
}

impl<'a> Specializer<'a> {
    // ---- bodies; `None` is a template that is not worth it ----

    fn body(&mut self, env: &mut Env<'a>, nodes: &'a [Node]) -> Option<Vec<Piece>> {
        let mark = env.variables.len();
        let mut pieces = Vec::new();
        for node in nodes {
            self.visits = self.visits.checked_sub(1)?;
            match node {
                Node::Text(at) => {
                    let text = self.text(*at).to_owned();
                    pieces.push(self.paid(text)?);
                }
                Node::Action(pipe) => pieces.push(self.action(env, pipe)?),
                Node::Branch(branch) => pieces.extend(self.branch(env, branch)?),
                Node::Range(range) => pieces.extend(self.range(env, range)?),
                Node::Template { at, name, tree, pipe } => {
                    pieces.extend(self.invocation(env, *at, name, *tree, pipe.as_ref())?);
                }
                Node::Break | Node::Continue => pieces.push(Piece::Node(node.clone())),
            }
        }
        env.variables.truncate(mark);
        Some(without_unused(pieces))
    }

    fn body_with_dot(&mut self, env: &mut Env<'a>, dot: Known<'a>, nodes: &'a [Node]) -> Option<Vec<Piece>> {
        let outer = std::mem::replace(&mut env.dot, dot);
        let pieces = self.body(env, nodes);
        env.dot = outer;
        pieces
    }

    fn text(&self, at: Span) -> &'a str {
        self.template.source.get(at.start as usize..at.end as usize).unwrap_or_default()
    }

    fn finish(&mut self, pieces: Vec<Piece>) -> Vec<Node> {
        piece::finish(pieces, &mut self.source)
    }

    /// Pieces in place of a branch: their declarations end with them.
    fn scoped(&mut self, pieces: Vec<Piece>) -> Vec<Piece> {
        if !pieces.iter().any(Piece::declares) {
            return pieces;
        }
        let otherwise = self.finish(pieces);
        vec![Piece::Node(Node::Branch(Branch { with: false, cases: Vec::new(), otherwise }))]
    }

    fn paid(&mut self, text: String) -> Option<Piece> {
        self.bytes = self.bytes.checked_sub(text.len())?;
        Some(Piece::Text(text))
    }

    fn action(&mut self, env: &mut Env<'a>, pipe: &'a Pipe) -> Option<Piece> {
        let (folded, value) = self.pipe_and_value(env, pipe);
        if pipe.variables.is_empty() {
            let text = value.and_then(|value| {
                self.evaluated(env, |eval, _| {
                    eval.print(&value)?;
                    Ok(std::mem::take(&mut eval.out))
                })
            });
            return text.map_or_else(|| Some(Piece::Node(Node::Action(folded))), |text| self.paid(text));
        }
        let is_known = value.is_some();
        if !pipe.assigns {
            match lone_expr(pipe).map_or(Known::No, |expr| known_operand(self.keys.of, env, expr)) {
                known @ (Known::Owner(_) | Known::Map(_)) => self.declare_known(env, &pipe.variables, &known),
                _ => self.declare(env, &pipe.variables, value),
            }
        }
        let node = Node::Action(folded);
        Some(if is_known && !pipe.assigns { Piece::Declaration(node) } else { Piece::Node(node) })
    }

    fn declare(&self, env: &mut Env<'a>, variables: &[VariableId], value: Option<Value<'a>>) {
        self.declare_known(env, variables, &value.map_or(Known::No, Known::frozen));
    }

    fn declare_known(&self, env: &mut Env<'a>, variables: &[VariableId], known: &Known<'a>) {
        for variable in variables {
            let known = if self.assigned.contains(variable) { Known::No } else { known.clone() };
            env.variables.push((*variable, known));
        }
    }

    fn branch(&mut self, env: &mut Env<'a>, branch: &'a Branch) -> Option<Vec<Piece>> {
        let mark = env.variables.len();
        let mut cases = Vec::new();
        let mut taken = None;
        for (pipe, body) in &branch.cases {
            let (folded, value) = self.pipe_and_value(env, pipe);
            let decided = value.as_ref().map(Value::is_true).filter(|_| pipe.variables.is_empty());
            if decided == Some(false) {
                continue;
            }
            if !pipe.assigns {
                self.declare(env, &pipe.variables, value.clone());
            }
            let body = if branch.with {
                self.body_with_dot(env, value.map_or(Known::No, Known::frozen), body)?
            } else {
                self.body(env, body)?
            };
            if decided == Some(true) && !(branch.with && uses_dot(&body)) {
                taken = Some(body);
                break;
            }
            cases.push((folded, self.finish(body)));
            if decided == Some(true) {
                taken = Some(Vec::new());
                break;
            }
        }
        let otherwise = match taken {
            Some(body) => body,
            None => self.body(env, &branch.otherwise)?,
        };
        env.variables.truncate(mark);
        if cases.is_empty() {
            return Some(self.scoped(otherwise));
        }
        let otherwise = self.finish(otherwise);
        Some(vec![Piece::Node(Node::Branch(Branch { with: branch.with, cases, otherwise }))])
    }

    fn range(&mut self, env: &mut Env<'a>, range: &'a Range) -> Option<Vec<Piece>> {
        let (pipe, over) = self.pipe_and_value(env, &range.pipe);
        let items = over.as_ref().filter(|_| !range.pipe.assigns).and_then(items);
        if let Some(items) = items
            && let Some(pieces) = self.unrolled(env, range, items)?
        {
            return Some(pieces);
        }
        let mark = env.variables.len();
        if !range.pipe.assigns {
            env.declare_unknown(&range.pipe.variables);
        }
        let body = self.body_with_dot(env, Known::No, &range.body)?;
        let body = self.finish(body);
        let otherwise = self.body(env, &range.otherwise)?;
        let otherwise = self.finish(otherwise);
        env.variables.truncate(mark);
        Some(vec![Piece::Node(Node::Range(Box::new(Range { pipe, body, otherwise })))])
    }

    /// The loop's bodies one after the other, if none of them needs the loop any longer.
    fn unrolled(
        &mut self,
        env: &mut Env<'a>,
        range: &'a Range,
        items: Vec<(Value<'a>, Value<'a>)>,
    ) -> Option<Option<Vec<Piece>>> {
        let mark = env.variables.len();
        let variables = &range.pipe.variables;
        let is_free = |pieces: &[Piece]| !variables.iter().any(|variable| refers_to(pieces, *variable));
        if items.is_empty() {
            env.declare_unknown(variables);
            let pieces = self.body(env, &range.otherwise)?;
            env.variables.truncate(mark);
            return Some(is_free(&pieces).then(|| self.scoped(pieces)));
        }
        let mut all = Vec::new();
        for (index, item) in items {
            match variables.as_slice() {
                [] => {}
                [one] => self.declare(env, &[*one], Some(item.clone())),
                [first, second, ..] => {
                    self.declare(env, &[*first], Some(index));
                    self.declare(env, &[*second], Some(item.clone()));
                }
            }
            let pieces = self.body_with_dot(env, Known::frozen(item), &range.body)?;
            env.variables.truncate(mark);
            if uses_dot(&pieces) || !is_free(&pieces) || leaves_loop(&pieces) {
                return Some(None);
            }
            all.extend(self.scoped(pieces));
        }
        Some(Some(all))
    }

    fn invocation(
        &mut self,
        env: &mut Env<'a>,
        at: Span,
        name: &str,
        tree: Option<usize>,
        pipe: Option<&'a Pipe>,
    ) -> Option<Vec<Piece>> {
        let node = |tree, pipe| Piece::Node(Node::Template { at, name: name.to_owned(), tree, pipe });
        let (argument, pipe) = match pipe {
            None => (Known::Value(Value::Missing), None),
            Some(pipe) => {
                let (folded, value) = self.pipe_and_value(env, pipe);
                let whole = lone_expr(pipe).map_or(Known::No, |expr| known_operand(self.keys.of, env, expr));
                let argument = if whole.is_root() { whole } else { value.map_or(Known::No, Known::frozen) };
                (argument, Some(folded))
            }
        };
        let declared = pipe.as_ref().map(|pipe| pipe.variables.as_slice()).unwrap_or_default();
        if !declared.is_empty() {
            // They belong to the enclosing body.
            env.declare_unknown(declared);
            return Some(vec![node(tree, pipe)]);
        }
        let body = tree.and_then(|tree| self.template.parsed.trees.get(tree));
        let Some(body) = body.filter(|_| env.depth < DEPTH && !matches!(argument, Known::No)) else {
            return Some(vec![node(tree, pipe)]);
        };
        let variables = vec![(0, argument.clone())];
        let mut inner = Env { dot: argument, variables, depth: env.depth + 1 };
        let pieces = self.body(&mut inner, &body.body)?;
        let same_dot = inner.dot.is_root() && env.dot.is_root();
        let same_root = inner.dot.is_root() && env.variable(0).is_root();
        if (same_dot || !uses_dot(&pieces)) && (same_root || !refers_to(&pieces, 0)) {
            return Some(self.scoped(pieces));
        }
        let body = self.finish(pieces);
        self.trees.push(Tree { name: name.to_owned(), body });
        Some(vec![node(Some(self.trees.len() - 1), pipe)])
    }
}

/// The only operand of a pipeline.
fn lone_expr(pipe: &Pipe) -> Option<&Expr> {
    match pipe.commands.as_slice() {
        [Command { head, args }] if args.is_empty() => Some(head),
        _ => None,
    }
}

/// Keys and items of a collection; `None` if there are too many, or if it is not a collection.
fn items<'a>(over: &Value<'a>) -> Option<Vec<(Value<'a>, Value<'a>)>> {
    match over {
        Value::List(list) if list.len() <= ITEMS => {
            let items = list.iter().enumerate();
            Some(items.map(|(index, item)| (Value::int(i64::try_from(index).unwrap_or(0)), item)).collect())
        }
        Value::Map(map) if map.len() <= ITEMS => {
            Some(map.entries().into_iter().map(|(key, item)| (key.to_value(), item)).collect())
        }
        Value::Missing | Value::Nil => Some(Vec::new()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
