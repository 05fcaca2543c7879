//! A pod that is never created: a server-side dry run that shows whether the API server really calls us.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, PostParams},
};
use serde_json::{Map, Value, json};

use super::super::cluster::{ApiError, Reason, Session, Target};
use crate::{config::Selector, names, webhook_config::entries};
use injector::diagnose::probe;
pub(in crate::cli) use injector::diagnose::probe::injected_by;

/// A pod that some entry selects, reduced to its labels.
pub(in crate::cli) struct Probe {
    pub(in crate::cli) labels: Map<String, Value>,
    /// Name of the entry.
    pub(in crate::cli) entry: String,
    /// How long the API server waits for each call of the entry's webhook.
    pub(in crate::cli) timeout: Duration,
    /// How long the API server may take to report the result.
    pub(in crate::cli) patience: Duration,
}

/// Time for the API server itself and for other webhooks.
const MARGIN: Duration = Duration::from_secs(5);
/// Default of `timeoutSeconds`.
const TIMEOUT: u64 = 10;

/// The labels of a namespace. Without permission to read it, only the label with its name is assumed.
pub(super) async fn namespace_labels(
    session: &Session,
    name: &str,
    patience: Duration,
) -> Result<Map<String, Value>, ApiError> {
    let target = Target::named("namespaces", name);
    let api: Api<Namespace> = Api::all(session.client.clone());
    let labels = match session.call_within(patience, "get", &target, api.get(name)).await {
        Ok(namespace) => namespace.metadata.labels.unwrap_or_default(),
        Err(error) if error.is_forbidden() => {
            [(names::LABEL_NAMESPACE_NAME.to_owned(), name.to_owned())].into()
        }
        Err(error) => return Err(error),
    };
    Ok(labels.into_iter().map(|(key, value)| (key, Value::String(value))).collect())
}

/// Every namespace, with its labels.
pub(in crate::cli) async fn namespaces(session: &Session) -> Result<Vec<Namespace>, ApiError> {
    session.list_all(&Target::all("namespaces"), &Api::all(session.client.clone())).await
}

/// Names of the namespaces that use a tag; those labeled `istio-injection=enabled` use the default one.
pub(in crate::cli) fn using(all: &[Namespace], tag: &str, is_default: bool) -> Vec<String> {
    let uses = |namespace: &&Namespace| {
        let label = |key: &str| namespace.metadata.labels.as_ref().and_then(|labels| labels.get(key));
        match label(names::LABEL_INJECTION) {
            Some(injection) => is_default && injection == "enabled",
            None => label(names::REVISION).is_some_and(|revision| revision == tag),
        }
    };
    all.iter().filter(uses).filter_map(|namespace| namespace.metadata.name.clone()).collect()
}

/// The first set of pod labels that an entry of the configuration selects in a namespace.
pub(in crate::cli) fn choose(
    configuration: &Value,
    namespace: &Map<String, Value>,
    revision: &str,
) -> Option<Probe> {
    let candidates = [json!({}), json!({names::INJECT: "true"}), json!({names::REVISION: revision})];
    let selects = |entry: &Value, key: &str, labels: &Map<String, Value>| {
        let selector = entry.get(key).cloned().unwrap_or_else(|| json!({}));
        Selector::from_value(&selector).is_some_and(|selector| selector.matches(labels))
    };
    candidates.into_iter().filter_map(|labels| labels.as_object().cloned()).find_map(|labels| {
        let entry = entries(configuration).find(|(_, entry)| {
            selects(entry, "namespaceSelector", namespace) && selects(entry, "objectSelector", &labels)
        });
        let (name, entry) = entry?;
        let timeout = entry.get("timeoutSeconds").and_then(Value::as_u64).unwrap_or(TIMEOUT);
        let timeout = Duration::from_secs(timeout.min(30));
        // With reinvocation, the API server may wait for the webhook twice.
        let again = entry.get("reinvocationPolicy").and_then(Value::as_str) == Some("IfNeeded");
        let patience = timeout * if again { 2 } else { 1 } + MARGIN;
        Some(Probe { entry: name.to_owned(), labels, timeout, patience })
    })
}

/// The pod as the API server would create it.
pub(in crate::cli) async fn dry_run(
    session: &Session,
    namespace: &str,
    labels: &Map<String, Value>,
    patience: Duration,
) -> Result<Value, ApiError> {
    let kind = GroupVersionKind::gvk("", "v1", "Pod");
    let api: Api<DynamicObject> = Api::namespaced_with(
        session.client.clone(),
        namespace,
        &ApiResource::from_gvk_with_plural(&kind, "pods"),
    );
    let target = Target::namespaced("pods", namespace, "");
    let pod: DynamicObject = serde_json::from_value(probe::pod(labels))
        .map_err(|error| ApiError::because("create", &target, Reason::Refused(error.to_string())))?;
    let parameters = PostParams { dry_run: true, field_manager: None };
    let created = session.call_within(patience, "create", &target, api.create(&parameters, &pod)).await?;
    Ok(json!(created))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_waited_for_longer_than_the_webhook_is() {
        let chosen = |entry: Value| {
            let mut entry = entry;
            entry["name"] = json!("object.sidecar-injector.istio.io");
            let found = choose(&json!({"webhooks": [entry]}), &Map::new(), "default").unwrap();
            (found.timeout.as_secs(), found.patience.as_secs())
        };
        assert_eq!(chosen(json!({})), (10, 15));
        assert_eq!(chosen(json!({"timeoutSeconds": 30})), (30, 35));
        assert_eq!(chosen(json!({"timeoutSeconds": 2, "reinvocationPolicy": "IfNeeded"})), (2, 9));
    }
}
