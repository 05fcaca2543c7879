//! Reads a document of cases.

use kubernetes_yaml::{Kind, Limits, Node};
use regex::Regex;
use serde_json::{Map, Value};

use super::{Assertion, Case, Check, Expected};
use crate::{
    cel::User,
    codes::{CORE, Code, Kind as Role},
    config::{Namespace, Place, Source, suggest},
};

/// Why cases cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct InvalidTest {
    /// The place in the file.
    pub place: Place,
    /// The field, such as `cases[0].expect.reason`.
    pub path: String,
    /// The problem.
    pub message: String,
}

const DOCUMENT: [&str; 3] = ["apiVersion", "kind", "cases"];
const CASE: [&str; 8] = ["name", "pod", "podFile", "namespace", "user", "values", "mesh", "expect"];
const EXPECT: [&str; 6] = ["injected", "reason", "rule", "warnings", "denied", "fields"];
const FIELD: [&str; 6] = ["path", "equal", "contains", "matches", "exists", "absent"];

/// Reads all cases; `file` reads a file that a case names.
///
/// # Errors
/// All problems of the document.
pub fn read(
    source: Source<'_>,
    file: &dyn Fn(&str) -> Result<String, String>,
) -> Result<Vec<Case>, Vec<InvalidTest>> {
    let root = kubernetes_yaml::parse(source.text, &Limits::default()).map_err(|error| {
        let (place, message) = (Place::from(error.mark()), error.to_string());
        vec![InvalidTest { place, path: source.name.to_owned(), message }]
    })?;
    let mut reader = Reader { file, problems: Vec::new() };
    let cases = reader.document(&root);
    if reader.problems.is_empty() { Ok(cases) } else { Err(reader.problems) }
}

struct Reader<'f> {
    file: &'f dyn Fn(&str) -> Result<String, String>,
    problems: Vec<InvalidTest>,
}

impl Reader<'_> {
    fn problem(&mut self, node: &Node, path: &str, message: impl Into<String>) {
        let place = Place::from(node.mark);
        self.problems.push(InvalidTest { place, path: path.to_owned(), message: message.into() });
    }

    fn found(&mut self, node: &Node, path: &str, expected: &str) {
        let found = match node.to_value() {
            Ok(value @ (Value::String(_) | Value::Number(_) | Value::Bool(_))) => value.to_string(),
            _ => node.kind_name().to_owned(),
        };
        self.problem(node, path, format!("found {found}; expected {expected}"));
    }

    /// Checks that a node is a map with known keys.
    fn map(&mut self, node: &Node, path: &str, known: &[&str]) -> bool {
        let Kind::Mapping(entries) = &node.kind else {
            self.found(node, path, &format!("a map with the keys {}", known.join(", ")));
            return false;
        };
        for (key, _) in entries {
            let text = key.key_text().unwrap_or_default();
            if !known.contains(&text.as_str()) {
                let near = suggest::nearest(&text, known.iter().copied());
                let near = near.map(|near| format!("; nearest: {near:?}")).unwrap_or_default();
                let known = known.join(", ");
                self.problem(key, path, format!("found the unknown key {text:?}; expected {known}{near}"));
            }
        }
        true
    }

    fn items<'n>(&mut self, node: Option<&'n Node>, path: &str) -> &'n [Node] {
        match node.map(|node| (&node.kind, node)) {
            Some((Kind::Sequence(items), _)) => items,
            Some((_, node)) => {
                self.found(node, path, "a list");
                &[]
            }
            None => &[],
        }
    }

    fn string(&mut self, node: Option<&Node>, path: &str) -> Option<String> {
        let node = node?;
        match node.to_value() {
            Ok(Value::String(text)) => Some(text),
            _ => {
                self.found(node, path, "a string");
                None
            }
        }
    }

    fn boolean(&mut self, node: Option<&Node>, path: &str) -> Option<bool> {
        let node = node?;
        match node.to_value() {
            Ok(Value::Bool(value)) => Some(value),
            _ => {
                self.found(node, path, "true or false");
                None
            }
        }
    }

    fn document(&mut self, root: &Node) -> Vec<Case> {
        if !self.map(root, "document", &DOCUMENT) {
            return Vec::new();
        }
        for (key, wanted) in [("apiVersion", "outrigger.dev/v1alpha1"), ("kind", "TemplateTests")] {
            match root.at(&[key]) {
                Some(node) if node.to_value().is_ok_and(|value| value == wanted) => {}
                Some(node) => self.found(node, key, wanted),
                None => self.problem(root, key, format!("found nothing; expected {wanted}")),
            }
        }
        let items = self.items(root.at(&["cases"]), "cases");
        if items.is_empty() && self.problems.is_empty() {
            self.problem(root, "cases", "found none; expected at least one case");
        }
        items
            .iter()
            .enumerate()
            .filter_map(|(index, node)| self.case(node, &format!("cases[{index}]")))
            .collect()
    }

    fn case(&mut self, node: &Node, path: &str) -> Option<Case> {
        if !self.map(node, path, &CASE) {
            return None;
        }
        let at = |key: &str| format!("{path}.{key}");
        let name = self.string(node.at(&["name"]), &at("name"));
        if node.at(&["name"]).is_none() {
            self.problem(node, &at("name"), "found nothing; expected the case's name");
        }
        let pod = self.pod(node, path)?;
        let (namespace, is_labeled) = self.namespace(node.at(&["namespace"]), &at("namespace"), &pod);
        let user = self.user(node.at(&["user"]), &at("user"));
        let mut section = |key: &str| {
            let section = node.at(&[key])?;
            match section.to_value() {
                Ok(value @ Value::Object(_)) => Some(value),
                _ => {
                    self.found(section, &at(key), "a map");
                    None
                }
            }
        };
        let (values, mesh) = (section("values"), section("mesh"));
        let Some(expect) = node.at(&["expect"]) else {
            self.problem(
                node,
                &at("expect"),
                format!("found nothing; expected a map with {}", EXPECT.join(", ")),
            );
            return None;
        };
        let expected = self.expect(expect, &at("expect"));
        let place = Place::from(node.mark);
        Some(Case { name: name?, place, pod, namespace, is_labeled, user, values, mesh, expected })
    }

    /// The pod, inline or from a file.
    fn pod(&mut self, node: &Node, path: &str) -> Option<Value> {
        let (pod, place, path) = match (node.at(&["pod"]), node.at(&["podFile"])) {
            (Some(pod), None) => (pod.to_value().ok(), pod, format!("{path}.pod")),
            (None, Some(file)) => {
                let path = format!("{path}.podFile");
                let name = self.string(Some(file), &path)?;
                match (self.file)(&name) {
                    Ok(text) => match kubernetes_yaml::load(&text, &Limits::default()) {
                        Ok(pod) => (Some(pod), file, path),
                        Err(error) => {
                            self.problem(file, &path, format!("{name}: {error}"));
                            return None;
                        }
                    },
                    Err(message) => {
                        self.problem(file, &path, message);
                        return None;
                    }
                }
            }
            _ => {
                self.problem(node, path, "found neither or both of pod and podFile; expected one");
                return None;
            }
        };
        let kind = pod.as_ref().and_then(|pod| pod.get("kind")).and_then(Value::as_str);
        if let Some(kind) = kind.filter(|kind| *kind != "Pod") {
            self.problem(place, &path, format!("found an object of kind {kind}; expected a Pod"));
            return None;
        }
        if pod.as_ref().is_none_or(|pod| pod.get("spec").is_none()) {
            self.problem(place, &path, "found no spec; expected a Pod");
            return None;
        }
        pod
    }

    /// The namespace: by name, or with its labels, which then decide.
    fn namespace(&mut self, node: Option<&Node>, path: &str, pod: &Value) -> (Namespace, bool) {
        let own = crate::pod::namespace(pod);
        let named = |name: &str| Namespace { name: name.to_owned(), ..Namespace::default() };
        let Some(node) = node else { return (named(if own.is_empty() { "default" } else { own }), false) };
        if let Ok(Value::String(name)) = node.to_value() {
            return (named(&name), false);
        }
        if !self.map(node, path, &["name", "labels", "annotations"]) {
            return (named(own), false);
        }
        let name = self.string(node.at(&["name"]), &format!("{path}.name")).unwrap_or_else(|| own.to_owned());
        let strings = |key: &str| match node.at(&[key]).map(Node::to_value) {
            Some(Ok(Value::Object(map))) => map,
            _ => Map::new(),
        };
        let (labels, annotations) = (strings("labels"), strings("annotations"));
        let namespace = Namespace { name, labels, annotations, ..Namespace::default() };
        (namespace, node.at(&["labels"]).is_some())
    }

    /// Who creates the pod: a name, or name and groups.
    fn user(&mut self, node: Option<&Node>, path: &str) -> Option<User> {
        let node = node?;
        if let Ok(Value::String(name)) = node.to_value() {
            return Some(User { name, groups: Vec::new() });
        }
        if !self.map(node, path, &["name", "groups"]) {
            return None;
        }
        let name = self.string(node.at(&["name"]), &format!("{path}.name")).unwrap_or_default();
        let path = format!("{path}.groups");
        let groups = self.items(node.at(&["groups"]), &path);
        let groups = groups.iter().filter_map(|group| self.string(Some(group), &path)).collect();
        Some(User { name, groups })
    }

    fn expect(&mut self, node: &Node, path: &str) -> Expected {
        let mut expected = Expected::default();
        if !self.map(node, path, &EXPECT) {
            return expected;
        }
        let at = |key: &str| format!("{path}.{key}");
        expected.injected = self.boolean(node.at(&["injected"]), &at("injected"));
        expected.denied = self.string(node.at(&["denied"]), &at("denied"));
        expected.reason = self.string(node.at(&["reason"]), &at("reason"));
        expected.rule = self.string(node.at(&["rule"]), &at("rule"));
        if let (Some(reason), Some(at_node)) = (&expected.reason, node.at(&["reason"])) {
            let is_reason =
                |code: &Code| [Role::Inject, Role::Skip, Role::Denial].iter().any(|role| code.is(*role));
            let known = keys(is_reason);
            if !known.contains(&reason.as_str()) {
                self.unknown(at_node, &at("reason"), reason, &known);
            }
        }
        if let Some(list) = node.at(&["warnings"]) {
            let mut codes = Vec::new();
            let known = keys(|code| code.kinds.iter().any(|kind| kind.is_warning()));
            for (index, item) in self.items(Some(list), &at("warnings")).iter().enumerate() {
                let path = format!("{path}.warnings[{index}]");
                let Some(code) = self.string(Some(item), &path) else { continue };
                if !known.contains(&code.as_str()) {
                    self.unknown(item, &path, &code, &known);
                }
                codes.push(code);
            }
            expected.warnings = Some(codes);
        }
        let fields = self.items(node.at(&["fields"]), &at("fields"));
        for (index, field) in fields.iter().enumerate() {
            let path = format!("{path}.fields[{index}]");
            expected.fields.extend(self.assertion(field, &path));
        }
        expected
    }

    fn unknown(&mut self, node: &Node, path: &str, found: &str, known: &[&str]) {
        let near = suggest::nearest(found, known.iter().copied());
        let near = near.map(|near| format!("; nearest: {near:?}")).unwrap_or_default();
        self.problem(node, path, format!("found the unknown code {found:?}{near}"));
    }

    fn assertion(&mut self, node: &Node, path: &str) -> Option<Assertion> {
        if !self.map(node, path, &FIELD) {
            return None;
        }
        let Some(field) = self.string(node.at(&["path"]), &format!("{path}.path")) else {
            self.problem(node, path, "found no path; expected one, such as spec.containers[web].image");
            return None;
        };
        let value = |key: &str| node.at(&[key]).map(|node| node.to_value().unwrap_or_default());
        let mut checks: Vec<Check> = Vec::new();
        checks.extend(value("equal").map(Check::Equal));
        checks.extend(value("contains").map(Check::Contains));
        if let Some(pattern) = self.string(node.at(&["matches"]), &format!("{path}.matches")) {
            match Regex::new(&pattern) {
                Ok(pattern) => checks.push(Check::Matches(pattern)),
                Err(error) => {
                    let message = error.to_string();
                    let cause = message.lines().last().unwrap_or_default().trim().to_owned();
                    self.problem(node, &format!("{path}.matches"), format!("found {pattern:?}: {cause}"));
                }
            }
        }
        for (key, yes, no) in
            [("exists", Check::Exists, Check::Absent), ("absent", Check::Absent, Check::Exists)]
        {
            if let Some(wanted) = self.boolean(node.at(&[key]), &format!("{path}.{key}")) {
                checks.push(if wanted { yes } else { no });
            }
        }
        let mut checks = checks.into_iter();
        match (checks.next(), checks.next()) {
            (Some(check), None) => Some(Assertion { path: field, check }),
            _ => {
                let expected = "expected one of equal, contains, matches, exists, absent";
                self.problem(node, path, format!("found none or several; {expected}"));
                None
            }
        }
    }
}

/// The keys of the codes that are wanted.
fn keys(is_wanted: impl Fn(&Code) -> bool) -> Vec<&'static str> {
    CORE.iter().filter(|code| is_wanted(code)).map(|code| code.key).collect()
}
