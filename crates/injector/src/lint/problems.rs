//! The problems and warnings of a configuration as diagnostics.

use kubernetes_yaml::Node;

use super::diagnostic::{Diagnostic, Rule, Severity};
use super::text::{Texts, deepest};
use crate::config::{ConfigError, Fault, Place, Problem, Warning};

/// The problems of a configuration; paths without a place are looked up in the tree.
pub(super) fn configuration(texts: &Texts<'_>, error: &ConfigError, tree: Option<&Node>) -> Vec<Diagnostic> {
    error.problems().iter().map(|problem| of_problem(texts, problem, tree)).collect()
}

fn of_problem(texts: &Texts<'_>, problem: &Problem, tree: Option<&Node>) -> Diagnostic {
    let inner = problem.place.or_else(|| Some(Place::from(deepest(tree?, &problem.path).mark)));
    let message = match &problem.fault {
        // The snippet follows in the file's own lines.
        Fault::Template(text) => text.lines().next().unwrap_or_default().to_owned(),
        fault => with_path(&problem.path, &fault.to_string()),
    };
    texts.diagnostic(&problem.source, inner, Severity::Error, super::rule_of(&problem.fault), message)
}

/// A warning about a configuration. Its path starts with the name of its text, if there are several.
pub(super) fn of_warning(texts: &Texts<'_>, warning: &Warning, tree: Option<&Node>) -> Diagnostic {
    let (name, path) = texts.split_path(&warning.path);
    let own = texts.parsed(&name);
    let tree = own.as_ref().or(tree);
    let inner = tree.filter(|_| !path.is_empty()).map(|tree| Place::from(deepest(tree, path).mark));
    let message = with_path(path, &warning.message);
    texts.diagnostic(&name, inner, Severity::Warning, Rule::DoubtfulConfiguration, message)
}

fn with_path(path: &str, message: &str) -> String {
    if path.is_empty() { message.to_owned() } else { format!("{path}: {message}") }
}
