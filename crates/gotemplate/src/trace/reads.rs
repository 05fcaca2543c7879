//! Determines what every action of a template reads, and under which conditions it runs, from the template's text.
//!
//! Data is tracked by name through variables, `with`, `template`, parentheses and functions with literal keys. A loop's
//! item stands for the whole collection, and a function's result for everything that its arguments read. Both branches
//! of a condition count.

use std::collections::{BTreeMap, BTreeSet};

use super::Read;
use crate::ast::{Command, Expr, ExprKind, Node as Syntax, Pipe, VariableId};
use crate::parse::Parsed;

/// The maximum depth of template invocations; deeper ones are not followed.
const DEPTH: usize = 8;
/// The maximum number of visited nodes, counting those of a template once per invocation.
const VISITS: usize = 100_000;

/// The known facts about an action or a literal text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// What it reads.
    pub(super) reads: BTreeSet<Read>,
    /// The positions of the conditions and loops around it, outermost first, and what they read.
    pub(super) conditions: Vec<(u32, BTreeSet<Read>)>,
}

/// Every action and literal text of a template, by its position.
pub(super) fn of(parsed: &Parsed) -> BTreeMap<u32, Node> {
    let mut reader =
        Reader { parsed, variables: BTreeMap::new(), nodes: BTreeMap::new(), visits: VISITS, depth: 0 };
    let root = Data { path: Some(Vec::new()), reads: BTreeSet::new() };
    reader.tree(parsed.main, &root, &[]);
    reader.nodes
}

/// The known facts about a value.
#[derive(Clone, Debug, Default)]
struct Data {
    /// Its path from the template's data on, if the value is exactly this.
    path: Option<Read>,
    /// The data that it was computed from, apart from the path.
    reads: BTreeSet<Read>,
}

impl Data {
    fn all(self) -> BTreeSet<Read> {
        let mut reads = self.reads;
        reads.extend(self.path.filter(|path| !path.is_empty()));
        reads
    }

    fn field(mut self, names: &[String]) -> Data {
        if let Some(path) = &mut self.path {
            path.extend(names.iter().cloned());
        }
        self
    }
}

type Conditions = [(u32, BTreeSet<Read>)];

struct Reader<'a> {
    parsed: &'a Parsed,
    variables: BTreeMap<VariableId, Data>,
    nodes: BTreeMap<u32, Node>,
    visits: usize,
    depth: usize,
}

impl Reader<'_> {
    fn tree(&mut self, index: usize, dot: &Data, conditions: &Conditions) {
        let Some(tree) = self.parsed.trees.get(index).filter(|_| self.depth < DEPTH) else { return };
        let outer = std::mem::replace(&mut self.variables, BTreeMap::from([(0, dot.clone())]));
        self.depth += 1;
        self.body(&tree.body, dot, conditions);
        self.depth -= 1;
        self.variables = outer;
    }

    fn body(&mut self, body: &[Syntax], dot: &Data, conditions: &Conditions) {
        for node in body {
            let Some(visits) = self.visits.checked_sub(1) else { return };
            self.visits = visits;
            match node {
                Syntax::Text(at) => self.note(at.start, BTreeSet::new(), conditions),
                Syntax::Action(pipe) => {
                    let reads = self.pipe(pipe, dot).all();
                    self.note(pipe.at.start, reads, conditions);
                }
                Syntax::Branch(branch) => {
                    let mut conditions = conditions.to_vec();
                    for (pipe, body) in &branch.cases {
                        let value = self.pipe(pipe, dot);
                        conditions.push((pipe.at.start, value.clone().all()));
                        self.body(body, if branch.with { &value } else { dot }, &conditions);
                    }
                    self.body(&branch.otherwise, dot, &conditions);
                }
                Syntax::Range(range) => {
                    let over = self.pipe(&range.pipe, dot);
                    let reads = over.all();
                    let item = Data { path: None, reads: reads.clone() };
                    for variable in &range.pipe.variables {
                        self.variables.insert(*variable, item.clone());
                    }
                    let mut conditions = conditions.to_vec();
                    conditions.push((range.pipe.at.start, reads));
                    self.body(&range.body, &item, &conditions);
                    self.body(&range.otherwise, dot, &conditions);
                }
                Syntax::Template { tree, pipe, .. } => {
                    let argument = pipe.as_ref().map(|pipe| self.pipe(pipe, dot)).unwrap_or_default();
                    if let Some(tree) = tree {
                        self.tree(*tree, &argument, conditions);
                    }
                }
                Syntax::Break | Syntax::Continue => {}
            }
        }
    }

    fn note(&mut self, at: u32, reads: BTreeSet<Read>, conditions: &Conditions) {
        let node = self.nodes.entry(at).or_default();
        node.reads.extend(reads);
        node.conditions = conditions.to_vec();
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Data) -> Data {
        let mut value = Data::default();
        for (index, command) in pipe.commands.iter().enumerate() {
            let next = self.command(command, dot);
            // A piped value is an argument of the next command.
            value = if index == 0 {
                next
            } else {
                let mut reads = value.all();
                reads.extend(next.all());
                Data { path: None, reads }
            };
        }
        for variable in &pipe.variables {
            let known = self.variables.get(variable).cloned().filter(|_| pipe.assigns);
            let data = match known {
                // Either assignment may have happened.
                Some(known) => {
                    let mut reads = known.all();
                    reads.extend(value.clone().all());
                    Data { path: None, reads }
                }
                None => value.clone(),
            };
            self.variables.insert(*variable, data);
        }
        value
    }

    fn command(&mut self, Command { head, args }: &Command, dot: &Data) -> Data {
        let ExprKind::Function(function, _) = &head.kind else {
            let value = self.expr(head, dot);
            if args.is_empty() {
                return value;
            }
            let mut reads = value.all();
            reads.extend(args.iter().flat_map(|arg| self.expr(arg, dot).all()));
            return Data { path: None, reads };
        };
        let values: Vec<Data> = args.iter().map(|arg| self.expr(arg, dot)).collect();
        let key = |index: usize| match args.get(index).map(|arg| &arg.kind) {
            Some(ExprKind::String(key)) => Some(key.clone()),
            _ => None,
        };
        let path = values.first().and_then(|value| value.path.clone());
        let keyed = match (function.name, path) {
            ("index" | "get" | "hasKey" | "isset", Some(mut path)) => {
                let keys: Option<Vec<String>> = (1..args.len()).map(key).collect();
                keys.map(|keys| {
                    path.extend(keys);
                    path
                })
            }
            // Istio's function: the annotation of an object's metadata, or a default.
            ("annotation", Some(mut path)) => key(1).map(|key| {
                path.extend(["Annotations".to_owned(), key]);
                path
            }),
            _ => None,
        };
        let is_value = matches!(function.name, "index" | "get");
        match keyed {
            Some(path) => {
                let mut reads: BTreeSet<Read> = values.into_iter().skip(1).flat_map(Data::all).collect();
                if is_value {
                    return Data { path: Some(path), reads };
                }
                reads.insert(path);
                Data { path: None, reads }
            }
            None => Data { path: None, reads: values.into_iter().flat_map(Data::all).collect() },
        }
    }

    fn expr(&mut self, expr: &Expr, dot: &Data) -> Data {
        match &expr.kind {
            ExprKind::Dot => dot.clone(),
            ExprKind::Field(names) => dot.clone().field(names),
            ExprKind::Variable(variable, names) => {
                self.variables.get(variable).cloned().unwrap_or_default().field(names)
            }
            ExprKind::Chain(base, names) => self.expr(base, dot).field(names),
            ExprKind::Pipe(pipe) => self.pipe(pipe, dot),
            _ => Data::default(),
        }
    }
}
