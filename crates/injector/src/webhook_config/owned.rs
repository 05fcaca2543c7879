//! Server-side apply from one manager's perspective: the fields it owns in a configuration, and the result of an apply.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{ca_bundle, entries};

/// The fields of entries that a manager has applied, by name, according to the API server's bookkeeping
/// (`managedFields`).
struct Owned<'a>(BTreeMap<String, &'a Value>);

impl<'a> Owned<'a> {
    fn by(manager: &str, configuration: &'a Value) -> Owned<'a> {
        let managers = configuration.pointer("/metadata/managedFields").and_then(Value::as_array);
        let applied = managers.into_iter().flatten().filter(|entry| {
            let is = |key: &str, text: &str| entry.get(key).and_then(Value::as_str) == Some(text);
            is("manager", manager) && is("operation", "Apply")
        });
        let fields = applied.filter_map(|entry| entry.pointer("/fieldsV1/f:webhooks")?.as_object()).flatten();
        Owned(fields.filter_map(|(key, fields)| Some((entry_name(key)?, fields))).collect())
    }

    fn entry(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn field(&self, name: &str, path: &[&str]) -> bool {
        self.0
            .get(name)
            .and_then(|fields| path.iter().try_fold(*fields, |fields, key| fields.get(key)))
            .is_some()
    }
}

/// The name in a key of a list map, such as `k:{"name":"a.b"}`.
fn entry_name(key: &str) -> Option<String> {
    let key: Value = serde_json::from_str(key.strip_prefix("k:")?).ok()?;
    Some(key.get("name")?.as_str()?.to_owned())
}

/// A configuration to apply, with the caBundles that the same manager applied earlier: applying it without them would
/// remove them. Those of other managers are unaffected.
pub fn with_own_ca_bundles(mut wanted: Value, live: &Value, manager: &str) -> Value {
    let owned = Owned::by(manager, live);
    let mine: BTreeMap<&str, &str> = entries(live)
        .filter(|(name, _)| owned.field(name, &["f:clientConfig", "f:caBundle"]))
        .filter_map(|(name, entry)| Some((name, ca_bundle(entry)?)))
        .collect();
    for webhook in wanted.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
        let bundle = webhook.get("name").and_then(Value::as_str).and_then(|name| mine.get(name)).copied();
        if let (Some(bundle), Some(config)) =
            (bundle, webhook.get_mut("clientConfig").and_then(Value::as_object_mut))
        {
            config.entry("caBundle").or_insert_with(|| bundle.into());
        }
    }
    wanted
}

/// The configuration that a manager applies to own the current caBundle of the entries selected by name, including the
/// fields it owns already and would lose by omitting them; `None` if no selected entry has a caBundle. It contains the
/// object's version, so that no newer caBundle is overwritten.
pub fn adopting_ca_bundles(
    configuration: &Value,
    is_chosen: impl Fn(&str) -> bool,
    manager: &str,
) -> Option<Value> {
    let owned = Owned::by(manager, configuration);
    let mut adopts = false;
    let webhooks: Vec<Value> = entries(configuration)
        .filter_map(|(name, entry)| {
            let mut fields = Map::new();
            let is_owned = owned.field(name, &["f:clientConfig", "f:caBundle"]);
            if let Some(bundle) = ca_bundle(entry).filter(|_| is_owned || is_chosen(name)) {
                adopts |= is_chosen(name);
                fields.insert("clientConfig".to_owned(), json!({"caBundle": bundle}));
            }
            if let Some(rules) = entry.get("rules").filter(|_| owned.field(name, &["f:rules"])) {
                fields.insert("rules".to_owned(), rules.clone());
            }
            (!fields.is_empty()).then(|| {
                fields.insert("name".to_owned(), json!(name));
                Value::Object(fields)
            })
        })
        .collect();
    adopts.then(|| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {
                "name": configuration.pointer("/metadata/name"),
                "resourceVersion": configuration.pointer("/metadata/resourceVersion"),
            },
            "webhooks": webhooks,
        })
    })
}

/// The expected result after the manager applies another configuration: entries and fields that it owns and no longer
/// wants are removed, those of others stay. The API server knows the exact result; this predicts it offline.
pub fn applied_over(live: &Value, wanted: &Value, manager: &str) -> Value {
    if live.is_null() {
        return wanted.clone();
    }
    let owned = Owned::by(manager, live);
    let wants = |name: &str| entries(wanted).find(|(other, _)| *other == name).map(|(_, entry)| entry);
    let is_new = |name: &str| entries(live).all(|(other, _)| other != name);
    let kept = entries(live).filter_map(|(name, entry)| match wants(name) {
        Some(wanted) => Some(merged(entry, wanted, !owned.field(name, &["f:matchConditions"]))),
        None => (!owned.entry(name)).then(|| entry.clone()),
    });
    let new = entries(wanted).filter(|(name, _)| is_new(name)).map(|(_, entry)| entry.clone());
    let webhooks: Vec<Value> = kept.chain(new).collect();
    let mut after = live.clone();
    if let Some(after) = after.as_object_mut() {
        after.insert("webhooks".to_owned(), Value::Array(webhooks));
        let labels =
            wanted.pointer("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default();
        if let Some(metadata) = after.get_mut("metadata").and_then(Value::as_object_mut) {
            let all = metadata.entry("labels").or_insert_with(|| Value::Object(Map::new()));
            if let Some(all) = all.as_object_mut() {
                all.extend(labels);
            }
        }
    }
    after
}

fn merged(live: &Value, wanted: &Value, keeps_conditions: bool) -> Value {
    let (Some(live), Some(wanted)) = (live.as_object(), wanted.as_object()) else { return wanted.clone() };
    let mut all = live.clone();
    if !keeps_conditions {
        all.remove("matchConditions");
    }
    all.extend(wanted.clone());
    let bundle = live.get("clientConfig").and_then(|config| config.get("caBundle"));
    if let (Some(bundle), Some(config)) = (bundle, all.get_mut("clientConfig").and_then(Value::as_object_mut))
    {
        config.entry("caBundle").or_insert_with(|| bundle.clone());
    }
    Value::Object(all)
}
