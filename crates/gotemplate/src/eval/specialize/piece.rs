//! Pieces of a body during specialization, and what they refer to.

use std::collections::BTreeSet;

use crate::absent_keys::{AbsentKeys, MapId};
use crate::ast::{Branch, Command, Expr, ExprKind, Node, Pipe, Span, Tree, VariableId};

/// A piece of a body.
pub(super) enum Piece {
    /// Text that is the same for every pod.
    Text(String),
    /// A declaration whose value is known and cannot fail: it is removed if nothing refers to it.
    Declaration(Node),
    Node(Node),
}

impl Piece {
    fn node(&self) -> Option<&Node> {
        match self {
            Piece::Text(_) => None,
            Piece::Declaration(node) | Piece::Node(node) => Some(node),
        }
    }

    /// Whether it declares variables that are visible to the following pieces.
    pub(super) fn declares(&self) -> bool {
        matches!(self.node(), Some(Node::Action(pipe)) if !pipe.variables.is_empty() && !pipe.assigns)
    }
}

/// Removes declarations that nothing refers to.
pub(super) fn without_unused(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut kept: Vec<Piece> = Vec::with_capacity(pieces.len());
    // From the end, because references come after the declaration.
    for piece in pieces.into_iter().rev() {
        let is_used = match &piece {
            Piece::Declaration(Node::Action(pipe)) => {
                pipe.variables.iter().any(|variable| refers_to(&kept, *variable))
            }
            _ => true,
        };
        if is_used {
            kept.push(piece);
        }
    }
    kept.reverse();
    kept
}

/// The nodes, with adjacent texts joined and appended to the source.
pub(super) fn finish(pieces: Vec<Piece>, source: &mut String) -> Vec<Node> {
    let mut nodes = Vec::with_capacity(pieces.len());
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(piece) => text.push_str(&piece),
            Piece::Declaration(node) | Piece::Node(node) => {
                end_text(&mut text, source, &mut nodes);
                nodes.push(node);
            }
        }
    }
    end_text(&mut text, source, &mut nodes);
    nodes
}

fn end_text(text: &mut String, source: &mut String, nodes: &mut Vec<Node>) {
    if !text.is_empty() {
        let start = source.len() as u32;
        source.push_str(text);
        nodes.push(Node::Text(Span { start, end: source.len() as u32 }));
        text.clear();
    }
}

/// Records the variables that are assigned; `None` if a variable is declared inside parentheses, where it exists only
/// if it was evaluated.
pub(super) fn scan(nodes: &[Node], assigned: &mut BTreeSet<VariableId>) -> Option<()> {
    for node in nodes {
        for pipe in pipes(node) {
            if pipe.assigns {
                assigned.extend(&pipe.variables);
            }
            let nested = |expr: &Expr| {
                has(expr, &|expr| matches!(&expr.kind, ExprKind::Pipe(pipe) if !pipe.variables.is_empty()))
            };
            if exprs(pipe).any(nested) {
                return None;
            }
        }
        for body in bodies(node) {
            scan(body, assigned)?;
        }
    }
    Some(())
}

/// The keys that templates look up in maps, as far as they are literal: directly, or in a list.
pub(crate) fn keys(trees: &[Tree], of: AbsentKeys) -> Vec<(MapId, String)> {
    fn in_command(Command { head, args }: &Command, of: AbsentKeys, keys: &mut Vec<(MapId, String)>) {
        let name = if let ExprKind::Function(function, _) = &head.kind { function.name } else { "" };
        let (asked, map) = match (name, of.lookup(name), args.as_slice()) {
            (_, Some(lookup), [_, key, ..]) => (std::slice::from_ref(key), lookup.map),
            ("list", _, items) => (items, None),
            _ => (&[][..], None),
        };
        for expr in asked {
            if let ExprKind::String(key) = &expr.kind {
                // If the map is an argument, it may be any of them.
                let maps = of.ids().filter(|id| map.is_none_or(|map| map == *id));
                keys.extend(maps.map(|map| (map, key.clone())));
            }
        }
        for expr in std::iter::once(head).chain(args) {
            if let ExprKind::Pipe(pipe) = &expr.kind {
                pipe.commands.iter().for_each(|command| in_command(command, of, keys));
            }
        }
    }
    fn in_body(body: &[Node], of: AbsentKeys, keys: &mut Vec<(MapId, String)>) {
        for node in body {
            for pipe in pipes(node) {
                pipe.commands.iter().for_each(|command| in_command(command, of, keys));
            }
            bodies(node).for_each(|body| in_body(body, of, keys));
        }
    }
    let mut keys = Vec::new();
    trees.iter().for_each(|tree| in_body(&tree.body, of, &mut keys));
    keys
}

/// Empties the trees that are not reachable from the main one.
pub(super) fn clear_unused(trees: &mut [Tree], main: usize) {
    fn invoked(body: &[Node], found: &mut Vec<usize>) {
        for node in body {
            if let Node::Template { tree: Some(tree), .. } = node {
                found.push(*tree);
            }
            bodies(node).for_each(|body| invoked(body, found));
        }
    }
    let mut used = BTreeSet::new();
    let mut pending = vec![main];
    while let Some(index) = pending.pop() {
        if let Some(tree) = trees.get(index).filter(|_| used.insert(index)) {
            invoked(&tree.body, &mut pending);
        }
    }
    for (index, tree) in trees.iter_mut().enumerate() {
        if !used.contains(&index) {
            tree.body = Vec::new();
        }
    }
}

/// Whether the pieces refer to a variable of this name, in any scope.
pub(super) fn refers_to(pieces: &[Piece], variable: VariableId) -> bool {
    fn in_node(node: &Node, variable: VariableId) -> bool {
        pipes(node).any(|pipe| {
            (pipe.assigns && pipe.variables.contains(&variable))
                || in_pipe(pipe, &|expr| matches!(&expr.kind, ExprKind::Variable(id, _) if *id == variable))
        }) || bodies(node).any(|body| body.iter().any(|node| in_node(node, variable)))
    }
    pieces.iter().filter_map(Piece::node).any(|node| in_node(node, variable))
}

/// Whether the pieces depend on the enclosing dot.
pub(super) fn uses_dot(pieces: &[Piece]) -> bool {
    fn in_node(node: &Node) -> bool {
        let rebound = |node: &Node| match node {
            Node::Branch(branch) if branch.with => branch.otherwise.iter().any(in_node),
            Node::Range(range) => range.otherwise.iter().any(in_node),
            node => bodies(node).any(|body| body.iter().any(in_node)),
        };
        pipes(node)
            .any(|pipe| in_pipe(pipe, &|expr| matches!(&expr.kind, ExprKind::Dot | ExprKind::Field(_))))
            || rebound(node)
    }
    pieces.iter().filter_map(Piece::node).any(in_node)
}

/// Whether the pieces leave an enclosing loop.
pub(super) fn leaves_loop(pieces: &[Piece]) -> bool {
    fn in_node(node: &Node) -> bool {
        match node {
            Node::Break | Node::Continue => true,
            Node::Range(range) => range.otherwise.iter().any(in_node),
            node => bodies(node).any(|body| body.iter().any(in_node)),
        }
    }
    pieces.iter().filter_map(Piece::node).any(in_node)
}

fn pipes(node: &Node) -> impl Iterator<Item = &Pipe> {
    let cases: &[_] = match node {
        Node::Branch(Branch { cases, .. }) => cases,
        _ => &[],
    };
    let own = match node {
        Node::Action(pipe) => Some(pipe),
        Node::Range(range) => Some(&range.pipe),
        Node::Template { pipe, .. } => pipe.as_ref(),
        _ => None,
    };
    cases.iter().map(|(pipe, _)| pipe).chain(own)
}

fn bodies(node: &Node) -> impl Iterator<Item = &[Node]> {
    let (cases, own, otherwise): (&[_], Option<&[Node]>, Option<&[Node]>) = match node {
        Node::Branch(branch) => (&branch.cases, None, Some(&branch.otherwise)),
        Node::Range(range) => (&[], Some(&range.body), Some(&range.otherwise)),
        _ => (&[], None, None),
    };
    cases.iter().map(|(_, body)| body.as_slice()).chain(own).chain(otherwise)
}

fn in_pipe(pipe: &Pipe, is_it: &dyn Fn(&Expr) -> bool) -> bool {
    exprs(pipe).any(|expr| has(expr, is_it))
}

fn exprs(pipe: &Pipe) -> impl Iterator<Item = &Expr> {
    pipe.commands.iter().flat_map(|Command { head, args }| std::iter::once(head).chain(args))
}

/// Whether an expression, or one inside it, satisfies a predicate.
fn has(expr: &Expr, is_it: &dyn Fn(&Expr) -> bool) -> bool {
    is_it(expr)
        || match &expr.kind {
            ExprKind::Chain(base, _) => has(base, is_it),
            ExprKind::Pipe(pipe) => in_pipe(pipe, is_it),
            _ => false,
        }
}
