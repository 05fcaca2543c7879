//! Determines which values a template reads, according to its text.
//!
//! Values are tracked by name: through variables, `with`, parentheses and `index` with literal keys, but not through
//! computations.

use std::collections::{BTreeMap, BTreeSet};

use super::Template;
use super::ast::{Command, Expr, ExprKind, Node, Pipe, VariableId};

/// The name of the values in a template's data.
const VALUES: &str = "Values";

impl Template {
    /// The keys of values that the template and its definitions read: `[global, proxy, logLevel]`. A map that is passed
    /// on counts as a whole.
    pub fn values_read(&self) -> BTreeSet<Vec<String>> {
        let mut reader = Reader::default();
        for tree in &self.parsed.trees {
            reader.variables.clear();
            reader.body(&tree.body, None);
        }
        reader.found
    }
}

/// A path of keys below the values.
type Path = Vec<String>;

#[derive(Default)]
struct Reader {
    variables: BTreeMap<VariableId, Path>,
    found: BTreeSet<Path>,
}

impl Reader {
    fn body(&mut self, body: &[Node], dot: Option<&Path>) {
        for node in body {
            match node {
                Node::Action(pipe) => {
                    self.pipe(pipe, dot);
                }
                Node::Branch(branch) => {
                    for (pipe, body) in &branch.cases {
                        let value = self.pipe(pipe, dot);
                        self.body(body, if branch.with { value.as_ref() } else { dot });
                    }
                    self.body(&branch.otherwise, dot);
                }
                Node::Range(range) => {
                    self.pipe(&range.pipe, dot);
                    for variable in &range.pipe.variables {
                        self.variables.remove(variable);
                    }
                    self.body(&range.body, None);
                    self.body(&range.otherwise, dot);
                }
                Node::Template { pipe: Some(pipe), .. } => {
                    self.pipe(pipe, dot);
                }
                Node::Template { pipe: None, .. } | Node::Text(_) | Node::Break | Node::Continue => {}
            }
        }
    }

    /// The path of the values that a pipeline yields, if it only names them.
    fn pipe(&mut self, pipe: &Pipe, dot: Option<&Path>) -> Option<Path> {
        let values: Vec<Option<Path>> =
            pipe.commands.iter().map(|command| self.command(command, dot)).collect();
        let value = match values.as_slice() {
            [only] => only.clone(),
            _ => None,
        };
        for variable in &pipe.variables {
            match &value {
                Some(path) => self.variables.insert(*variable, path.clone()),
                None => self.variables.remove(variable),
            };
        }
        value
    }

    fn command(&mut self, Command { head, args }: &Command, dot: Option<&Path>) -> Option<Path> {
        let values: Vec<Option<Path>> = args.iter().map(|arg| self.expr(arg, dot)).collect();
        match (&head.kind, args.as_slice(), values.into_iter().next().flatten()) {
            (ExprKind::Function(function, _), [_, keys @ ..], Some(mut path)) if function.name == "index" => {
                for key in keys {
                    let ExprKind::String(key) = &key.kind else { return None };
                    path.push(key.clone());
                }
                Some(self.note(path))
            }
            (ExprKind::Function(..), ..) => None,
            (_, [], _) => self.expr(head, dot),
            _ => {
                self.expr(head, dot);
                None
            }
        }
    }

    fn expr(&mut self, expr: &Expr, dot: Option<&Path>) -> Option<Path> {
        let (base, names) = match &expr.kind {
            ExprKind::Dot => (dot.cloned(), [].as_slice()),
            ExprKind::Field(names) => (dot.cloned(), names.as_slice()),
            ExprKind::Variable(variable, names) => (self.variables.get(variable).cloned(), names.as_slice()),
            ExprKind::Chain(base, names) => (self.expr(base, dot), names.as_slice()),
            ExprKind::Pipe(pipe) => (self.pipe(pipe, dot), [].as_slice()),
            _ => return None,
        };
        // Regardless of the notation: `.Values.a`, `$.Values.a`, `.root.Values.a`.
        let path = match (names.iter().position(|name| name == VALUES), base) {
            (Some(at), _) => names.get(at + 1..).unwrap_or_default().to_vec(),
            (None, Some(base)) => base.into_iter().chain(names.iter().cloned()).collect(),
            (None, None) => return None,
        };
        Some(self.note(path))
    }

    fn note(&mut self, path: Path) -> Path {
        if !path.is_empty() {
            self.found.insert(path.clone());
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::funcs::sprig::FUNCTIONS;

    #[test]
    fn values_are_followed_by_their_names() {
        for (source, wanted) in [
            ("{{ .Values.a.b }}", vec!["a.b"]),
            ("{{ $.Values.a }}{{ (.Values.b).c }}", vec!["a", "b", "b.c"]),
            ("{{ $p := .Values.a }}{{ if $p.b }}{{ $p.c | quote }}{{ end }}", vec!["a", "a.b", "a.c"]),
            ("{{ with .Values.a }}{{ .b }}{{ else }}{{ .c }}{{ end }}", vec!["a", "a.b"]),
            ("{{ range .Values.a }}{{ .b }}{{ end }}", vec!["a"]),
            ("{{ index .Values.a \"b\" `c` }}", vec!["a", "a.b.c"]),
            ("{{ index .Values.a .X }}", vec!["a"]),
            ("{{ define \"y\" }}{{ .Values.a }}{{ end }}{{ template \"y\" . }}", vec!["a"]),
            ("{{ $v := .Values }}{{ $v.a.b }}", vec!["a.b"]),
            ("{{ toJson .Values.a | indent 2 }}{{ .Meta.Values2 }}", vec!["a"]),
        ] {
            let template = Template::parse("x", source, &FUNCTIONS).unwrap();
            let found: Vec<String> = template.values_read().iter().map(|path| path.join(".")).collect();
            assert_eq!(found, wanted, "{source}");
        }
    }
}
