//! CEL expressions over a pod and its request, as API servers evaluate match conditions.
//!
//! The crate `cel` evaluates the language; Kubernetes' own libraries (quantities, URLs, authorizer and the like) are not in
//! it. It has no cost limit, so the cost is bounded before an expression runs: by the length of the longest list or map of
//! the pod, once for each nested loop ([`Expression::evaluate`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use ::cel::common::ast::{EntryExpr, Expr, IdedExpr};
use ::cel::{Context, Env, Program};
use regex::Regex;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value, json};

/// The longest expression, in bytes.
pub const LONGEST: usize = 4 << 10;
/// The deepest nesting of loops (`all`, `exists`, `exists_one`, `map`, `filter`).
pub const NESTED: u32 = 2;
/// How many steps one evaluation may take at most: nodes of the expression, each once for every element of every loop around
/// it. That is below a second.
pub const STEPS: u64 = 1_000_000;

/// The variables of an expression.
const VARIABLES: [&str; 4] = ["object", "oldObject", "request", "namespaceObject"];
/// Functions that the crate and all supported API servers have alike.
const COMMON: [&str; 18] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "string",
    "double",
    "bool",
    "has",
    "in",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
    "lowerAscii",
    "upperAscii",
];

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    for extension in [::cel::extensions::strings, ::cel::extensions::lists] {
        // Both are part of the crate and cannot collide; without one, its functions are unknown.
        let _ = env.add_extension(extension);
    }
    Arc::new(env)
});

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
    is_common: bool,
    may_read_names: bool,
}

/// The values of the variables for one pod.
pub struct Variables {
    context: Context<'static, 'static>,
    /// The length of the longest list or map in the pod.
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
            return Err(format!("{} loops in each other; at most {NESTED}", expression.depth));
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
        let references = program.references();
        let is_operator = |name: &str| !name.chars().next().is_some_and(char::is_alphabetic);
        let is_common =
            references.functions().into_iter().all(|name| is_operator(name) || COMMON.contains(&name));
        Ok(Expression {
            may_read_names: may_read_names(text),
            text: text.to_owned(),
            nodes: tree.nodes,
            depth: tree.depth,
            reads: tree.reads,
            is_common,
            program,
        })
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it reads a variable.
    pub fn reads(&self, variable: &str) -> bool {
        self.reads.contains(&variable)
    }

    /// Whether its value may depend on who creates the pod.
    pub fn reads_user(&self) -> bool {
        self.reads("request")
    }

    /// Whether it cannot be evaluated if it is not known who creates the pod.
    pub fn needs_user(&self) -> bool {
        self.text.contains("userInfo")
    }

    /// Whether an API server evaluates it alike as a match condition of a webhook: it uses no function that only one side
    /// has, and no variable that match conditions lack.
    pub fn is_match_condition(&self) -> bool {
        self.is_common && !self.reads("namespaceObject")
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
        let mut object = pod.clone();
        if let Some(object) = object.as_object_mut() {
            object.entry("apiVersion").or_insert_with(|| json!("v1"));
            object.entry("kind").or_insert_with(|| json!("Pod"));
            let metadata = object.entry("metadata").or_insert_with(|| json!({}));
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.remove("managedFields");
                metadata.entry("namespace").or_insert_with(|| json!(namespace));
            }
        }
        set_defaults(&mut object);
        let resource = json!({"group": "", "version": "v1", "resource": "pods"});
        let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
        let name = object.pointer("/metadata/name").cloned().unwrap_or_else(|| json!(""));
        let mut request = json!({
            "operation": "CREATE",
            "kind": kind,
            "requestKind": kind,
            "resource": resource,
            "requestResource": resource,
            "subResource": "",
            "requestSubResource": "",
            "namespace": namespace,
            "name": name,
            "dryRun": false,
        });
        let groups = user.map_or(0, |user| user.groups.len());
        if let (Some(User { name, groups }), Some(request)) = (user, request.as_object_mut()) {
            request.insert("userInfo".to_owned(), json!({"username": name, "groups": groups}));
        }
        let namespace_object = namespace_labels.map_or(Value::Null, |labels| {
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
        });
        let mut context = Context::with_env(ENV.clone());
        for (name, value) in [
            ("object", &object),
            ("oldObject", &Value::Null),
            ("request", &request),
            ("namespaceObject", &namespace_object),
        ] {
            // A value that cannot be converted is an unknown variable to the expression.
            let _ = context.add_variable(name, Signed(value));
        }
        Variables { context, longest: longest(&object).max(groups as u64) }
    }

    /// Evaluates a text, such as a match condition of any webhook.
    ///
    /// # Errors
    /// If it cannot be parsed, or as [`Expression::evaluate`].
    pub fn evaluate(&self, text: &str) -> Result<bool, String> {
        Expression::parse(text)?.evaluate(self)
    }
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Variables").field("longest", &self.longest).finish_non_exhaustive()
    }
}

/// What is found in a syntax tree.
#[derive(Default)]
struct Tree {
    nodes: u64,
    depth: u32,
    reads: Vec<&'static str>,
    unknown: Option<String>,
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
                } else if !bound.contains(&name.as_str()) && !TYPES.contains(&name.as_str()) {
                    self.unknown.get_or_insert_with(|| name.clone());
                }
            }
            Expr::Call(call) => {
                for part in call.target.as_deref().into_iter().chain(&call.args) {
                    self.visit(part, bound, depth);
                }
            }
            Expr::List(list) => list.elements.iter().for_each(|part| self.visit(part, bound, depth)),
            Expr::Select(select) => self.visit(&select.operand, bound, depth),
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

/// Names of types, which are identifiers too.
const TYPES: [&str; 10] =
    ["bool", "bytes", "double", "dyn", "int", "list", "map", "null_type", "string", "uint"];

/// Whether an expression may read a name that differs between the pods of a controller: everything else than parts of the spec
/// without volumes, hostname and affinity, the namespace, and labels and annotations with literal keys, which the patch cache
/// finds in the configuration.
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

/// The length of the longest list or map; a text counts as one element for each KiB.
fn longest(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().map(longest).max().unwrap_or(0).max(items.len() as u64),
        Value::Object(map) => map.values().map(longest).max().unwrap_or(0).max(map.len() as u64),
        Value::String(text) => text.len() as u64 / 1024,
        _ => 0,
    }
}

/// Fills in what API servers fill in before they evaluate conditions (`SetDefaults_Pod`, `SetDefaults_Container`, the
/// ServiceAccount plugin), as far as conditions look at it.
fn set_defaults(pod: &mut Value) {
    let spec = pod.as_object_mut().map(|pod| pod.entry("spec").or_insert_with(|| json!({})));
    let Some(spec) = spec.and_then(Value::as_object_mut) else { return };
    for (key, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("securityContext", json!({})),
        ("schedulerName", json!("default-scheduler")),
        ("enableServiceLinks", json!(true)),
        ("serviceAccountName", json!("default")),
    ] {
        spec.entry(key).or_insert(value);
    }
    let account = spec.get("serviceAccountName").cloned().unwrap_or_default();
    spec.entry("serviceAccount").or_insert(account);
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
            let tag = image.rsplit_once('/').map_or(image, |(_, name)| name).rsplit_once(':');
            let is_moving = !image.contains('@') && tag.is_none_or(|(_, tag)| tag == "latest");
            let policy = if is_moving { "Always" } else { "IfNotPresent" };
            for (key, value) in [
                ("resources", json!({})),
                ("imagePullPolicy", json!(policy)),
                ("terminationMessagePath", json!("/dev/termination-log")),
                ("terminationMessagePolicy", json!("File")),
            ] {
                container.entry(key).or_insert(value);
            }
            for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(port) = port.as_object_mut() {
                    port.entry("protocol").or_insert_with(|| json!("TCP"));
                }
            }
        }
    }
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
