//! Checks a template against the types of its data, without rendering it.
//!
//! Every finding holds for all data of these types, or, where a configured map is involved, for all data with this
//! map: nothing that would be right for some data is reported. Whatever cannot be known (the result of most functions,
//! a variable that is assigned twice) counts as right.

use std::collections::BTreeSet;

use super::Template;
use super::ast::{Branch, Node, Pipe, Range, Span, VariableId};
use super::error::Location;
use super::value::Value;

mod call;
mod constant;
mod truth;
mod types;

#[cfg(test)]
mod tests;

use truth::Truth;
use types::{Known, Ty};

/// A mistake in a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The place.
    pub at: Box<Location>,
    /// The mistake.
    pub mistake: Mistake,
}

/// A read of a key of a configured map that is not set, whatever the template does then. It is no mistake by itself: a
/// template may have a switch that is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsetRead {
    /// The place.
    pub at: Box<Location>,
    /// The keys from the data's root on, such as `Values`, `global`, `hub`.
    pub path: Vec<String>,
    /// How many keys at the end of the path are written at this place; the others come from `with` or a variable.
    pub written: usize,
    /// Whether a condition or a loop depends on it.
    pub in_condition: bool,
}

/// A problem at a place in a template; the first four fail whenever the place is reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// A field or method that the type does not have.
    #[error("can't evaluate field {name} in type {ty}")]
    UnknownField {
        /// The field.
        name: String,
        /// The Go type.
        ty: String,
        /// The fields and getters of the type.
        known: Vec<String>,
    },
    /// A wrong number of arguments.
    #[error("{0}")]
    Arguments(String),
    /// An argument, an index or a loop over a value of the wrong type.
    #[error("{0}")]
    WrongType(String),
    /// An invocation of a template that is not defined.
    #[error("template {name:?} not defined")]
    UnknownTemplate {
        /// The template.
        name: String,
        /// The defined ones.
        known: Vec<String>,
    },
    /// A branch that is never rendered.
    #[error("{0}")]
    DeadBranch(&'static str),
    /// A key of a configured map that is used without a default and is not set.
    #[error("{path} is not set: {consequence}")]
    UnsetValue {
        /// The path of the key, such as `.Values.global.hub`.
        path: String,
        /// The key.
        key: String,
        /// The keys next to it.
        known: Vec<String>,
        /// What happens.
        consequence: Consequence,
    },
}

/// What happens to a template that uses a key that is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Consequence {
    /// `<no value>` is rendered.
    #[error("it is rendered as <no value>")]
    NoValue,
    /// A function fails.
    #[error("the function {0} fails")]
    Fails(&'static str),
    /// Nothing is rendered, which may be intended.
    #[error("nothing is rendered")]
    Nothing,
}

impl Mistake {
    /// Whether rendering fails whenever the place is reached.
    pub fn is_error(&self) -> bool {
        match self {
            Mistake::UnknownField { .. }
            | Mistake::Arguments(_)
            | Mistake::WrongType(_)
            | Mistake::UnknownTemplate { .. } => true,
            Mistake::DeadBranch(_) | Mistake::UnsetValue { .. } => false,
        }
    }
}

impl Template {
    /// The mistakes that are certain for all data of the same types as `data`. Its untainted maps count as configured:
    /// they are the same whenever the template is rendered. Everything else in it is read for its type only.
    pub fn mistakes(&self, data: &Value<'_>) -> Vec<Finding> {
        let mut found = self.checked(data).found;
        found.sort_by_key(|finding| (finding.at.line, finding.at.column));
        found.dedup();
        found
    }

    /// Every read of a key of a configured map that is not set, even where no pod gets to. `data` is as for
    /// [`Template::mistakes`].
    pub fn unset_reads(&self, data: &Value<'_>) -> Vec<UnsetRead> {
        let mut unset = self.checked(data).unset;
        unset.sort_by_key(|read| (read.at.line, read.at.column));
        unset.dedup();
        unset
    }

    fn checked<'t, 'd>(&'t self, data: &Value<'d>) -> Checker<'t, 'd> {
        let dot = Known::of(data);
        let mut checker = Checker {
            template: self,
            root: dot.clone(),
            variables: vec![(0, dot.clone())],
            assigned: BTreeSet::new(),
            invoked: Vec::new(),
            found: Vec::new(),
            unset: Vec::new(),
            in_condition: false,
        };
        for tree in &self.parsed.trees {
            checker.note_assigned(&tree.body);
        }
        if let Some(tree) = self.parsed.trees.get(self.parsed.main) {
            checker.body(&tree.body, &dot, true);
        }
        checker
    }
}

/// One walk over a template.
struct Checker<'t, 'd> {
    template: &'t Template,
    /// The data of the main body.
    root: Known<'d>,
    /// Variables in scope, innermost last; 0 is `$`.
    variables: Vec<(VariableId, Known<'d>)>,
    /// Variables with an assignment (`=`): their type depends on the path that was taken.
    assigned: BTreeSet<VariableId>,
    /// Invocations that were already followed: the tree, its argument, whether it is reached.
    invoked: Vec<(usize, Known<'d>, bool)>,
    found: Vec<Finding>,
    unset: Vec<UnsetRead>,
    /// Whether the expression is one of a condition or a loop.
    in_condition: bool,
}

impl<'t, 'd> Checker<'t, 'd> {
    fn report(&mut self, at: Span, mistake: Mistake) {
        let at = Location::new(&self.template.name, &self.template.source, at);
        self.found.push(Finding { at, mistake });
    }

    fn source(&self, at: Span) -> &'t str {
        self.template.source.get(at.start as usize..at.end as usize).unwrap_or_default()
    }

    /// `reached` means that some pod reaches these nodes under this configuration.
    fn body(&mut self, nodes: &'t [Node], dot: &Known<'d>, reached: bool) {
        for node in nodes {
            match node {
                Node::Text(_) | Node::Break | Node::Continue => {}
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot, reached);
                    if pipe.variables.is_empty() && reached {
                        self.check_printed(pipe, &value);
                    }
                }
                Node::Branch(branch) => self.branch(branch, dot, reached),
                Node::Range(range) => self.range(range, dot, reached),
                Node::Template { at, name, tree, pipe } => {
                    self.invoke(*at, name, *tree, pipe.as_ref(), dot, reached);
                }
            }
        }
    }

    fn branch(&mut self, branch: &'t Branch, dot: &Known<'d>, reached: bool) {
        let mark = self.variables.len();
        let mut reached = reached;
        // A constant condition decides about everything that follows; reported once.
        let mut decided = false;
        let mut earlier: Vec<&str> = Vec::new();
        for (index, (pipe, body)) in branch.cases.iter().enumerate() {
            let is_last = index + 1 == branch.cases.len();
            let value = self.condition(pipe, dot, reached);
            let truth = self.truth(pipe, &value);
            let text = self.source(pipe.at);
            let repeats = pipe.variables.is_empty() && earlier.contains(&text);
            if !decided {
                let has_more = !is_last || !branch.otherwise.is_empty();
                match truth {
                    Truth::Always(false) => self.report(pipe.at, Mistake::DeadBranch(ALWAYS_FALSE)),
                    Truth::Always(true) if has_more => {
                        self.report(pipe.at, Mistake::DeadBranch(ALWAYS_TRUE));
                        decided = true;
                    }
                    _ if repeats => self.report(pipe.at, Mistake::DeadBranch(REPEATED)),
                    _ => {}
                }
            }
            let inner = if branch.with { &value } else { dot };
            self.body(body, inner, reached && !repeats && truth.holds_for_some_pods(true));
            reached = reached && truth.holds_for_some_pods(false);
            earlier.push(text);
        }
        self.body(&branch.otherwise, dot, reached);
        self.variables.truncate(mark);
    }

    fn condition(&mut self, pipe: &'t Pipe, dot: &Known<'d>, reached: bool) -> Known<'d> {
        self.in_condition = true;
        let value = self.pipe(pipe, dot, reached);
        self.in_condition = false;
        value
    }

    fn range(&mut self, range: &'t Range, dot: &Known<'d>, reached: bool) {
        let mark = self.variables.len();
        let over = self.condition(&range.pipe, dot, reached);
        let (key, item) = match over.ty.items() {
            Some(items) => items,
            None => {
                let message = format!("range can't iterate over a value of type {}", over.ty.name());
                self.report(range.pipe.at, Mistake::WrongType(message));
                (Ty::Unknown, Ty::Unknown)
            }
        };
        let configured = over.configured;
        let (key, item) = (Known { ty: key, configured }, Known { ty: item, configured });
        // `pipe` has declared them with the type of the list.
        let declared = if range.pipe.assigns { &[] } else { range.pipe.variables.as_slice() };
        match declared {
            [] => {}
            [only] => self.variables.push((*only, item.clone())),
            [first, second, ..] => {
                self.variables.push((*first, key));
                self.variables.push((*second, item.clone()));
            }
        }
        let truth = over.truth();
        self.body(&range.body, &item, reached && truth.holds_for_some_pods(true));
        self.variables.truncate(mark);
        self.body(&range.otherwise, dot, reached && truth.holds_for_some_pods(false));
        self.variables.truncate(mark);
    }

    fn invoke(
        &mut self,
        at: Span,
        name: &str,
        tree: Option<usize>,
        pipe: Option<&'t Pipe>,
        dot: &Known<'d>,
        reached: bool,
    ) {
        let argument = match pipe {
            Some(pipe) => self.pipe(pipe, dot, reached),
            None => Known { ty: Ty::Unknown, configured: true },
        };
        let template = self.template;
        let Some((index, tree)) = tree.and_then(|index| Some((index, template.parsed.trees.get(index)?)))
        else {
            let trees = template.parsed.trees.iter().map(|tree| tree.name.clone());
            let known = trees.filter(|tree| *tree != template.name).collect();
            return self.report(at, Mistake::UnknownTemplate { name: name.to_owned(), known });
        };
        let invocation = (index, argument, reached);
        if self.invoked.contains(&invocation) || self.invoked.len() >= INVOCATIONS {
            return;
        }
        let (_, argument, _) = &invocation;
        let argument = argument.clone();
        self.invoked.push(invocation);
        let outer = std::mem::replace(&mut self.variables, vec![(0, argument.clone())]);
        self.body(&tree.body, &argument, reached);
        self.variables = outer;
    }

    /// Collects the variables that are assigned, as opposed to declared.
    fn note_assigned(&mut self, nodes: &'t [Node]) {
        for node in nodes {
            match node {
                Node::Text(_) | Node::Break | Node::Continue => {}
                Node::Action(pipe) => self.note(pipe),
                Node::Template { pipe, .. } => pipe.iter().for_each(|pipe| self.note(pipe)),
                Node::Branch(branch) => {
                    for (pipe, body) in &branch.cases {
                        self.note(pipe);
                        self.note_assigned(body);
                    }
                    self.note_assigned(&branch.otherwise);
                }
                Node::Range(range) => {
                    self.note(&range.pipe);
                    self.note_assigned(&range.body);
                    self.note_assigned(&range.otherwise);
                }
            }
        }
    }

    fn note(&mut self, pipe: &'t Pipe) {
        if pipe.assigns {
            self.assigned.extend(&pipe.variables);
        }
        constant::each_nested_pipe(pipe, &mut |pipe| {
            if pipe.assigns {
                self.assigned.extend(&pipe.variables);
            }
        });
    }
}

/// More than any template needs: one that invokes itself with ever deeper values ends here.
const INVOCATIONS: usize = 1000;

const ALWAYS_FALSE: &str = "the condition is always false, so this branch is never rendered";
const ALWAYS_TRUE: &str = "the condition is always true, so the branches after this one are never rendered";
const REPEATED: &str = "an earlier branch has the same condition, so this one is never rendered";
