//! Explanations as JSON: `apiVersion: outrigger.dev/v1alpha1`, `kind: ExplanationList`. docs/explain.md describes the
//! fields; new ones may be added, others keep their meaning.

use serde_json::{Map, Value, json};

use super::{
    super::{registered::Called, source::Configured},
    Explained, Fields, Running,
};
use crate::inject::{decision::StepOutcome, manual};
use injector::explain::{Datum, Field, Verdict, Writer, is_at_or_below};

/// All explanations.
pub(super) fn list(configured: &Configured, all: &[Explained], fields: &Fields<'_>) -> Value {
    json!({
        "apiVersion": "outrigger.dev/v1alpha1",
        "kind": "ExplanationList",
        "configuration": {
            "origin": configured.origin,
            "revision": configured.mesh.revision(),
            "hash": configured.mesh.hash(),
        },
        "items": all.iter().map(|explained| item(explained, fields)).collect::<Vec<_>>(),
    })
}

fn item(explained: &Explained, fields: &Fields<'_>) -> Value {
    let object = &explained.object;
    let mut item = Map::new();
    let mut put = |key: &str, value: Value| {
        item.insert(key.to_owned(), value);
    };
    put(
        "object",
        json!({
            "apiVersion": object.api_version,
            "kind": object.kind,
            "namespace": object.namespace,
            "name": object.name,
            "podTemplate": explained.place,
        }),
    );
    // Nothing is known about what another revision does.
    put("injected", json!(explained.other_revision.is_none().then(|| explained.is_injected())));
    put("otherRevision", json!(explained.other_revision));
    put("selectionKnown", json!(!explained.is_selection_unknown));
    put("leftUnchanged", json!(explained.left_alone.map(|why| why.to_string())));
    let decision = |decision: &crate::inject::decision::Decision| json!({"inject": decision.inject, "reason": decision.reason.key(), "message": decision.sentence});
    match &explained.explanation.verdict {
        Verdict::Injected { injection, fields: written } => {
            put("decision", decision(&injection.decision));
            put("templates", json!(injection.templates));
            put("fieldsWritten", json!(written.len()));
            let wanted: Vec<Value> = match fields {
                Fields::None => Vec::new(),
                Fields::All => written.iter().map(field).collect(),
                Fields::Below(paths) => written
                    .iter()
                    .filter(|field| paths.iter().any(|path| is_at_or_below(&field.path, path)))
                    .map(field)
                    .collect(),
            };
            put("fields", json!(wanted));
        }
        Verdict::Skipped(skipped) => put("decision", decision(skipped)),
        Verdict::Denied(refusal) => put(
            "denied",
            json!({
                "reason": refusal.reason(),
                "code": refusal.code(),
                "message": refusal.to_string(),
                "explanation": manual::explained(refusal),
            }),
        ),
    }
    put("rules", explained.explanation.steps.iter().map(step).collect());
    put("apiServer", explained.called.iter().flatten().map(Called::to_value).collect());
    put(
        "warnings",
        explained
            .warnings()
            .iter()
            .map(|warning| json!({"code": warning.code, "message": warning.message}))
            .collect(),
    );
    put(
        "running",
        match &explained.running {
            Running::No => Value::Null,
            Running::Bare => json!({"injected": false}),
            Running::Injected(differences) => json!({
                "injected": true,
                "differences": differences
                    .iter()
                    .map(|one| json!({"path": one.path, "running": one.running, "now": one.now}))
                    .collect::<Vec<_>>(),
            }),
        },
    );
    put(
        "pods",
        json!(explained.pods.as_ref().map(|pods| {
            json!({
                "injected": pods.injected,
                "bare": pods.bare,
                "wanted": pods.wanted,
                "refusal": pods.refusal,
            })
        })),
    );
    put("next", json!(explained.next));
    Value::Object(item)
}

fn step(step: &crate::inject::decision::Step) -> Value {
    let (outcome, decision) = match &step.outcome {
        StepOutcome::Passed => ("passed", None),
        StepOutcome::NotReached => ("notReached", None),
        StepOutcome::Decided(decision) => (if decision.inject { "injects" } else { "skips" }, Some(decision)),
    };
    json!({
        "rule": step.rule.key(),
        "lookedAt": step.looked_at,
        "outcome": outcome,
        "reason": decision.map(|decision| decision.reason.key()),
        "message": decision.map(|decision| &decision.sentence),
    })
}

fn field(field: &Field) -> Value {
    let mut value = json!({
        "path": field.path,
        "value": field.value,
        "writer": writer(&field.writer),
        "replaced": field
            .replaced
            .iter()
            .map(|(by, value)| json!({"value": value, "writer": writer(by)}))
            .collect::<Vec<_>>(),
    });
    if field.value.is_none()
        && let Some(map) = value.as_object_mut()
    {
        map.insert("removed".to_owned(), json!(true));
    }
    value
}

fn writer(writer: &Writer) -> Value {
    match writer {
        Writer::Pod => json!({"kind": "pod"}),
        Writer::User => json!({"kind": "user"}),
        Writer::Pass(name) => json!({"kind": "step", "name": name}),
        Writer::Template(line) => json!({
            "kind": "template",
            "name": line.template,
            "line": line.line.as_ref().map(|(number, _)| number),
            "text": line.line.as_ref().map(|(_, text)| text),
            "reads": line.data.iter().map(datum).collect::<Vec<_>>(),
            "conditions": line
                .conditions
                .iter()
                .map(|(number, data)| json!({"line": number, "reads": data.iter().map(datum).collect::<Vec<_>>()}))
                .collect::<Vec<_>>(),
        }),
    }
}

fn datum(datum: &Datum) -> Value {
    json!({"place": datum.place, "value": datum.value, "setBy": datum.set_by})
}
