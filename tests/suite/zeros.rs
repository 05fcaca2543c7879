//! Compares manifests by their meaning in Go: an absent field that is not a pointer equals its zero value.

use outrigger::gotypes::{Kind, POD_SPEC, Type};
use serde_json::Value;

use super::equal::differences;

/// The differences between two lists of documents, each with the number of the document and the path.
pub(crate) fn document_differences(mut ours: Vec<Value>, mut theirs: Vec<Value>) -> Vec<String> {
    if ours.len() != theirs.len() {
        return vec![format!("ours has {} documents, theirs {}", ours.len(), theirs.len())];
    }
    for object in ours.iter_mut().chain(&mut theirs).filter(|object| object.is_object()) {
        without_test(object);
        each_pod(object, &mut |pod| pod["spec"] = without_zeros(&pod["spec"], &POD_SPEC));
    }
    let each = ours.iter().zip(&theirs).enumerate();
    each.flat_map(|(index, (ours, theirs))| {
        differences(ours, theirs).into_iter().map(move |found| format!("{index}{found}"))
    })
    .collect()
}

/// A DeploymentConfig's `test` is not a pointer either.
fn without_test(object: &mut Value) {
    if object["kind"] == "DeploymentConfig" && object["spec"]["test"] == false {
        object["spec"].as_object_mut().unwrap().remove("test");
    }
    object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten().for_each(without_test);
}

/// Calls a function for every pod and pod template of an object.
pub(crate) fn each_pod(object: &mut Value, with: &mut dyn FnMut(&mut Value)) {
    match object["kind"].as_str() {
        Some("List") => object
            .get_mut("items")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .for_each(|item| each_pod(item, with)),
        Some("Pod") => with(object),
        Some("CronJob") => at(object, "/spec/jobTemplate/spec/template", with),
        Some("Service" | "Thing") | None => {}
        Some(_) => at(object, "/spec/template", with),
    }
}

fn at(object: &mut Value, pointer: &str, with: &mut dyn FnMut(&mut Value)) {
    if let Some(template) = object.pointer_mut(pointer) {
        with(template);
    }
}

/// Removes zeros without a meaning in Go: an absent field that is not a pointer equals its zero value.
fn without_zeros(value: &Value, ty: &Type) -> Value {
    fn of_kind(value: &Value, kind: &Kind) -> Value {
        match (value, kind) {
            (_, Kind::Pointer(kind)) => of_kind(value, kind),
            (Value::Object(_), Kind::Struct(ty)) => without_zeros(value, ty),
            (Value::Array(items), Kind::List(kind)) => items.iter().map(|item| of_kind(item, kind)).collect(),
            _ => value.clone(),
        }
    }
    let Value::Object(map) = value else { return value.clone() };
    let fields = map.iter().filter_map(|(key, value)| {
        let Some(field) = ty.field_by_json(key) else { return Some((key.clone(), value.clone())) };
        let zero = match field.kind {
            Kind::Bool => *value == Value::Bool(false),
            Kind::Int | Kind::Uint => *value == 0,
            Kind::String => *value == "",
            _ => false,
        };
        (!zero).then(|| (key.clone(), of_kind(value, &field.kind)))
    });
    Value::Object(fields.collect())
}
