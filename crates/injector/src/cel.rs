//! CEL expressions over a pod and its request, as API servers evaluate match conditions.
//!
//! The crate `cel` evaluates the language; Kubernetes' own libraries (quantities, URLs, authorizer and the like) are not in
//! it. It has no cost limit, so the cost is bounded before an expression runs: by the length of the longest list or map of
//! the pod, once for each nested loop ([`Expression::evaluate`]).

mod defaults;
mod functions;
mod reads;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use ::cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue};
use ::cel::{Context, Program};
use regex::Regex;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value, json};

use self::defaults::{longest, set_defaults};
use self::functions::ENV;
pub use self::reads::Reads;
use self::reads::{Part, chain};

/// The longest expression, in bytes.
pub const LONGEST: usize = 4 << 10;
/// The deepest nesting of loops (`all`, `exists`, `exists_one`, `map`, `filter`).
pub const NESTED: u32 = 2;
/// The maximum number of steps of one evaluation: the nodes of the expression, each counted once for every element of
/// every loop around it. This many take less than a second.
pub const STEPS: u64 = 1_000_000;

/// The variables of an expression.
const VARIABLES: [&str; 4] = [OBJECT, "oldObject", "request", "namespaceObject"];
const OBJECT: &str = "object";

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    text: String,
    program: Program,
    /// Nodes of the syntax tree.
    nodes: u64,
    /// The deepest nesting of loops.
    depth: u32,
    reads: Vec<&'static str>,
    parts: Reads,
    is_common: bool,
    may_read_names: bool,
}

/// The values of the variables for one pod.
pub struct Variables {
    context: Context<'static, 'static>,
    /// The length of the longest list or map in the pod; 0 if no expression has a loop.
    longest: u64,
}

/// Who creates a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name, such as `system:serviceaccount:kube-system:job-controller`.
    pub name: String,
    /// The groups.
    pub groups: Vec<String>,
}

impl User {
    /// Reads `request.userInfo` of an AdmissionReview.
    pub fn from_json(text: &str) -> User {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let groups = value.get("groups").and_then(Value::as_array).into_iter().flatten();
        User {
            name: value.get("username").and_then(Value::as_str).unwrap_or_default().to_owned(),
            groups: groups.filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// If it cannot be parsed, reads an unknown variable, or may cost too much: the reason, for people.
    pub fn compile(text: &str) -> Result<Expression, String> {
        if text.len() > LONGEST {
            return Err(format!("{} bytes; at most {LONGEST}", text.len()));
        }
        let expression = Expression::parse(text)?;
        if expression.depth > NESTED {
            return Err(format!("{} nested loops; at most {NESTED}", expression.depth));
        }
        Ok(expression)
    }

    fn parse(text: &str) -> Result<Expression, String> {
        let compiled = catch_unwind(AssertUnwindSafe(|| ENV.compile(text)));
        let program = compiled
            .map_err(|_| "the expression is not understood".to_owned())?
            .map_err(|error| one_line(&error.to_string()))?;
        let mut tree = Tree::default();
        tree.visit(program.expression(), &mut Vec::new(), 0);
        if let Some(unknown) = tree.unknown {
            return Err(format!("unknown variable {unknown}; known: object, request, namespaceObject"));
        }
        if let Some(unknown) = tree.functions.iter().find(|name| !functions::is_known(name)) {
            return Err(format!("function {unknown} is not known here"));
        }
        if !is_boolean(program.expression()) {
            // API servers refuse these, too: they evaluate to bool by their types, or do not compile.
            return Err(
                "the value may be something other than a boolean; compare it, as in `… == true`".to_owned()
            );
        }
        for pattern in &tree.patterns {
            functions::prepare(pattern)?;
        }
        let is_common = tree.functions.iter().all(|name| functions::is_common(name));
        Ok(Expression {
            may_read_names: may_read_names(text),
            text: text.to_owned(),
            nodes: tree.nodes,
            depth: tree.depth,
            parts: Reads {
                object: tree.object,
                request: tree.reads.contains(&"request"),
                namespace_object: tree.reads.contains(&"namespaceObject"),
                has_loops: tree.depth > 0,
            },
            reads: tree.reads,
            is_common,
            program,
        })
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The parts of the variables that it reads.
    pub fn parts(&self) -> &Reads {
        &self.parts
    }

    /// Whether it reads a variable.
    pub fn reads(&self, variable: &str) -> bool {
        self.reads.contains(&variable)
    }

    /// Whether its value may depend on who creates the pod.
    pub fn reads_user(&self) -> bool {
        self.reads("request")
    }

    /// Whether it cannot be evaluated unless the pod's creator is known.
    pub fn needs_user(&self) -> bool {
        self.text.contains("userInfo")
    }

    /// Whether an API server evaluates it to the same result as a match condition of a webhook: it uses no function
    /// that only one side has, and no variable that match conditions lack.
    pub fn is_match_condition(&self) -> bool {
        self.is_common && !self.reads("namespaceObject")
    }

    /// Whether an API server evaluates it to the same result in a ValidatingAdmissionPolicy, which knows the namespace.
    pub fn is_common(&self) -> bool {
        self.is_common
    }

    /// Whether it may read a generated name, which differs between the replicas of a workload.
    pub fn may_read_names(&self) -> bool {
        self.may_read_names
    }

    /// Evaluates it.
    ///
    /// # Errors
    /// If it cannot be evaluated for this pod, would cost too much, or is not a boolean: the reason, for people, which may
    /// quote the pod.
    pub fn evaluate(&self, variables: &Variables) -> Result<bool, String> {
        let rounds = variables.longest.max(1).checked_pow(self.depth);
        let steps = rounds.and_then(|rounds| rounds.checked_mul(self.nodes)).unwrap_or(u64::MAX);
        if steps > STEPS {
            let longest = variables.longest;
            return Err(format!("a list of {longest} elements would take too many steps; at most {STEPS}"));
        }
        // The crate's interpreter may panic, and the pod gets an answer nevertheless.
        let run = catch_unwind(AssertUnwindSafe(|| self.program.execute(&variables.context)));
        match run.map_err(|_| "the expression is not understood".to_owned())? {
            Ok(::cel::Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(format!("found {}; expected a boolean", other.type_of())),
            Err(error) => Err(one_line(&error.to_string())),
        }
    }
}

impl Variables {
    /// The variables for a pod that is created in a namespace.
    pub fn of(
        pod: &Value,
        namespace: &str,
        user: Option<&User>,
        namespace_labels: Option<&Map<String, Value>>,
    ) -> Variables {
        Variables::of_parts(&Reads::all(), pod, namespace, user, namespace_labels)
    }

    /// [`of`](Variables::of), for expressions that read no more than these parts.
    pub fn of_parts(
        parts: &Reads,
        pod: &Value,
        namespace: &str,
        user: Option<&User>,
        namespace_labels: Option<&Map<String, Value>>,
    ) -> Variables {
        let mut object = parts.object.of(pod);
        set_defaults(&mut object, pod, namespace, &parts.object);
        let mut context = Context::with_env(ENV.clone());
        // A value that cannot be converted is an unknown variable to the expression.
        let mut add = |name: &str, value: &Value| {
            let _ = context.add_variable(name, Signed(value));
        };
        add("object", &object);
        add("oldObject", &Value::Null);
        if parts.request {
            add("request", &request_of(pod, namespace, user));
        }
        if parts.namespace_object {
            let namespace_object = namespace_labels.map_or(Value::Null, |labels| {
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
            });
            add("namespaceObject", &namespace_object);
        }
        let groups = user.map_or(0, |user| user.groups.len() as u64);
        let longest = if parts.has_loops { longest(pod).max(groups) } else { 0 };
        Variables { context, longest }
    }

    /// Evaluates a text, such as a match condition of any webhook.
    ///
    /// # Errors
    /// If it cannot be parsed, or as [`Expression::evaluate`].
    pub fn evaluate(&self, text: &str) -> Result<bool, String> {
        Expression::parse(text)?.evaluate(self)
    }
}

/// The request, as far as it is known.
fn request_of(pod: &Value, namespace: &str, user: Option<&User>) -> Value {
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let mut request = json!({
        "operation": "CREATE",
        "kind": kind,
        "requestKind": kind,
        "resource": resource,
        "requestResource": resource,
        "namespace": namespace,
        "dryRun": false,
        "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
    });
    // Empty fields are absent: a generated name does not exist yet, and pods are created without a subresource.
    if let (Some(name), Some(request)) = (pod.pointer("/metadata/name"), request.as_object_mut()) {
        request.insert("name".to_owned(), name.clone());
    }
    if let (Some(User { name, groups }), Some(request)) = (user, request.as_object_mut()) {
        request.insert("userInfo".to_owned(), json!({"username": name, "groups": groups}));
    }
    request
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Variables").field("longest", &self.longest).finish_non_exhaustive()
    }
}

/// The findings in a syntax tree.
#[derive(Default)]
struct Tree {
    nodes: u64,
    depth: u32,
    reads: Vec<&'static str>,
    /// The parts of the pod that it reads.
    object: Part,
    unknown: Option<String>,
    /// The names of functions and operators.
    functions: Vec<String>,
    /// Literal patterns of `matches`.
    patterns: Vec<String>,
}

impl Tree {
    fn visit<'e>(&mut self, node: &'e IdedExpr, bound: &mut Vec<&'e str>, depth: u32) {
        self.nodes += 1;
        self.depth = self.depth.max(depth);
        match &node.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => {
                if let Some(known) = VARIABLES.into_iter().find(|known| known == name) {
                    self.reads.push(known);
                    if known == OBJECT {
                        self.object.add(&[]);
                    }
                } else if !bound.contains(&name.as_str()) && !TYPES.contains(&name.as_str()) {
                    self.unknown.get_or_insert_with(|| name.clone());
                }
            }
            Expr::Call(call) => {
                self.functions.push(call.func_name.clone());
                self.patterns.extend(literal_pattern(call));
                for part in call.target.as_deref().into_iter().chain(&call.args) {
                    self.visit(part, bound, depth);
                }
            }
            Expr::List(list) => list.elements.iter().for_each(|part| self.visit(part, bound, depth)),
            Expr::Select(select) => match chain(node, OBJECT).filter(|_| !bound.contains(&OBJECT)) {
                Some(path) => {
                    // The other selections and the variable.
                    self.nodes += path.len() as u64;
                    self.reads.push(OBJECT);
                    self.object.add(&path);
                }
                None => self.visit(&select.operand, bound, depth),
            },
            Expr::Map(map) => self.entries(map.entries.iter().map(|entry| &entry.expr), bound, depth),
            Expr::Struct(of) => self.entries(of.entries.iter().map(|entry| &entry.expr), bound, depth),
            Expr::Comprehension(of) => {
                self.visit(&of.iter_range, bound, depth);
                self.visit(&of.accu_init, bound, depth);
                let before = bound.len();
                bound.extend([of.iter_var.as_str(), of.accu_var.as_str()]);
                bound.extend(of.iter_var2.as_deref());
                for part in [&of.loop_cond, &of.loop_step, &of.result] {
                    self.visit(part, bound, depth + 1);
                }
                bound.truncate(before);
            }
        }
    }

    fn entries<'e>(
        &mut self,
        entries: impl Iterator<Item = &'e EntryExpr>,
        bound: &mut Vec<&'e str>,
        depth: u32,
    ) {
        for entry in entries {
            match entry {
                EntryExpr::StructField(field) => self.visit(&field.value, bound, depth),
                EntryExpr::MapEntry(entry) => {
                    self.visit(&entry.key, bound, depth);
                    self.visit(&entry.value, bound, depth);
                }
            }
        }
    }
}

/// The pattern of a call to `matches`, if it is a literal.
fn literal_pattern(call: &CallExpr) -> Option<String> {
    match &call.args.last()?.expr {
        Expr::Literal(LiteralValue::String(pattern)) if call.func_name == "matches" => {
            Some(pattern.inner().to_owned())
        }
        _ => None,
    }
}

/// Whether a value is a boolean whatever the pod is.
fn is_boolean(node: &IdedExpr) -> bool {
    match &node.expr {
        Expr::Literal(LiteralValue::Boolean(_)) => true,
        Expr::Select(select) => select.test,
        Expr::Call(CallExpr { func_name, args, .. }) => match (func_name.as_str(), args.as_slice()) {
            ("_?_:_", [_, one, other]) => is_boolean(one) && is_boolean(other),
            (
                "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" | "_&&_" | "_||_" | "!_" | "@in" | "bool"
                | "contains" | "endsWith" | "hasValue" | "matches" | "startsWith",
                _,
            ) => true,
            _ => false,
        },
        // The macros `all` and `exists` collect a boolean; `exists_one` compares a number at the end.
        Expr::Comprehension(of) => match &of.result.expr {
            Expr::Ident(name) => *name == of.accu_var && is_boolean(&of.accu_init),
            _ => is_boolean(&of.result),
        },
        _ => false,
    }
}

/// Names of types, which are identifiers too.
const TYPES: [&str; 10] =
    ["bool", "bytes", "double", "dyn", "int", "list", "map", "null_type", "string", "uint"];

/// Whether an expression may read a name that differs between the pods of a controller. It cannot if it reads only the
/// namespace, parts of the spec other than volumes, hostname and affinity, and labels and annotations with literal
/// keys, which the patch cache finds in the configuration.
fn may_read_names(text: &str) -> bool {
    static OBJECT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\bobject\b").ok());
    static SHARED: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let labels = r"object\.metadata\.(labels|annotations)";
        Regex::new(&format!(
            r#"\bobject\.spec\.\w+|\bobject\.metadata\.namespace\b|\b{labels}\[('[^'\\]*'|"[^"\\]*")\]|\bin {labels}\s*(\)|&&|\|\||$)|\bhas\({labels}\)"#
        ))
        .ok()
    });
    static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\brequest\.name\b").ok());
    let (Some(object), Some(shared), Some(name)) = (OBJECT.as_ref(), SHARED.as_ref(), NAME.as_ref()) else {
        return true;
    };
    name.is_match(text)
        || text.contains("request[")
        || ["volume", "hostname", "affinity"].iter().any(|field| text.to_ascii_lowercase().contains(field))
        || object.find_iter(text).count() != shared.find_iter(text).count()
}

fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(160).collect()
}

/// JSON for CEL: whole numbers are `int`, as in Kubernetes' types, and not `uint`.
struct Signed<'a>(&'a Value);

impl Serialize for Signed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Number(number) => match number.as_i64() {
                Some(number) => serializer.serialize_i64(number),
                None => number.serialize(serializer),
            },
            Value::Array(items) => serializer.collect_seq(items.iter().map(Signed)),
            Value::Object(map) => {
                let mut out = serializer.serialize_map(Some(map.len()))?;
                for (key, value) in map {
                    out.serialize_entry(key, &Signed(value))?;
                }
                out.end()
            }
            other => other.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests;
