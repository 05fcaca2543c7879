//! Match conditions: CEL expressions over the object and the request.
//!
//! The crate `cel` evaluates the language; Kubernetes' own libraries (quantities, URLs, authorizer and the like) are not in
//! it. An expression that needs them cannot be evaluated here, and that is said.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cel::{Context, Env};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Value, json};

/// The variables of a match condition for the creation of a pod.
pub(super) struct Variables {
    object: Value,
    request: Value,
}

impl Variables {
    /// The variables for a pod that is created in a namespace.
    pub(super) fn of(pod: &Value, namespace: &str) -> Variables {
        let mut object = pod.clone();
        if let Some(object) = object.as_object_mut() {
            object.entry("apiVersion").or_insert_with(|| json!("v1"));
            object.entry("kind").or_insert_with(|| json!("Pod"));
            let metadata = object.entry("metadata").or_insert_with(|| json!({}));
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.entry("namespace").or_insert_with(|| json!(namespace));
            }
        }
        let resource = json!({"group": "", "version": "v1", "resource": "pods"});
        let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
        let name = object.pointer("/metadata/name").cloned().unwrap_or_else(|| json!(""));
        let request = json!({
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
        Variables { object, request }
    }

    /// Evaluates a condition.
    ///
    /// # Errors
    /// If it cannot be parsed or evaluated, or is not a boolean: the reason, for people.
    pub(super) fn evaluate(&self, expression: &str) -> Result<bool, String> {
        // It is somebody else's text and somebody else's parser: whatever happens, there is an explanation.
        catch_unwind(AssertUnwindSafe(|| self.run(expression)))
            .unwrap_or_else(|_| Err("the expression is not understood".to_owned()))
    }

    fn run(&self, expression: &str) -> Result<bool, String> {
        let mut env = Env::stdlib();
        for extension in [cel::extensions::strings, cel::extensions::lists] {
            env.add_extension(extension).map_err(|error| error.to_string())?;
        }
        let env = Arc::new(env);
        let program = env.compile(expression).map_err(|error| one_line(&error.to_string()))?;
        let mut context = Context::with_env(env);
        for (name, value) in
            [("object", &self.object), ("oldObject", &Value::Null), ("request", &self.request)]
        {
            context.add_variable(name, Signed(value)).map_err(|error| error.to_string())?;
        }
        match program.execute(&context) {
            Ok(cel::Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(format!("found {}; expected a boolean", other.type_of())),
            Err(error) => Err(one_line(&error.to_string())),
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
