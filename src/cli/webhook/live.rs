//! Reads MutatingWebhookConfigurations from the API server, and applies them as one field manager.

use std::time::Duration;

use kube::{
    Api,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
        PostParams, Preconditions,
    },
};
use serde_json::{Value, json};

use super::super::cluster::{ApiError, Reason, Session, Target};
use crate::webhook_config;

/// Our field manager's name.
pub(in crate::cli) const FIELD_MANAGER: &str = webhook_config::COMMAND_MANAGER;

/// Applies a configuration; returns the resulting object (with a dry run, the object that would result).
pub(in crate::cli) async fn apply(
    session: &Session,
    name: &str,
    wanted: &Value,
    dry_run: bool,
    force: bool,
) -> Result<Value, ApiError> {
    apply_as(FIELD_MANAGER, session, name, wanted, dry_run, force).await
}

/// Like [`apply`], as another field manager.
pub(in crate::cli) async fn apply_as(
    manager: &str,
    session: &Session,
    name: &str,
    wanted: &Value,
    dry_run: bool,
    force: bool,
) -> Result<Value, ApiError> {
    let parameters =
        PatchParams { dry_run, force, field_manager: Some(manager.to_owned()), field_validation: None };
    let object = session
        .call("patch", &target(name), api(session).patch(name, &parameters, &Patch::Apply(wanted)))
        .await?;
    Ok(json!(object))
}

/// Reads an existing configuration.
pub(in crate::cli) async fn read(
    session: &Session,
    name: &str,
    patience: Duration,
) -> Result<Option<Value>, ApiError> {
    match session.call_within(patience, "get", &target(name), api(session).get(name)).await {
        Ok(object) => Ok(Some(json!(object))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lists every configuration with a label, whatever its value.
pub(in crate::cli) async fn list(session: &Session, label: &str) -> Result<Vec<Value>, ApiError> {
    let parameters = ListParams::default().labels(label);
    let found = session.call("list", &target(""), api(session).list(&parameters)).await?;
    Ok(found.items.iter().map(|object| json!(object)).collect())
}

/// Creates a configuration, or replaces the version it names, regardless of who owns its fields.
pub(in crate::cli) async fn put(session: &Session, wanted: &Value, replace: bool) -> Result<Value, ApiError> {
    let name = wanted.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let verb = if replace { "update" } else { "create" };
    let target = target(name);
    let object: DynamicObject = serde_json::from_value(wanted.clone())
        .map_err(|error| ApiError::because(verb, &target, Reason::Refused(error.to_string())))?;
    let parameters = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) };
    let api = api(session);
    let object = if replace {
        session.call(verb, &target, api.replace(name, &parameters, &object)).await?
    } else {
        session.call(verb, &target, api.create(&parameters, &object)).await?
    };
    Ok(json!(object))
}

/// Deletes a configuration if it still has the given version.
pub(in crate::cli) async fn delete(
    session: &Session,
    name: &str,
    version: Option<&str>,
) -> Result<(), ApiError> {
    let preconditions = version.map(|version| Preconditions {
        resource_version: Some(version.to_owned()),
        ..Preconditions::default()
    });
    let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
    session.call("delete", &target(name), api(session).delete(name, &parameters)).await?;
    Ok(())
}

fn target(name: &str) -> Target {
    Target::named("mutatingwebhookconfigurations", name)
}

/// JSON from end to end, which preserves fields that a newer API server adds.
fn api(session: &Session) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration");
    Api::all_with(
        session.client.clone(),
        &ApiResource::from_gvk_with_plural(&kind, "mutatingwebhookconfigurations"),
    )
}

/// The wanted object with the caBundles that we set ourselves earlier: applying it without them would remove them.
/// Those of others are unaffected. The object's version ensures that a newer caBundle is not overwritten.
pub(in crate::cli) fn keeping_ca_bundles(wanted: &Value, live: &Value) -> Value {
    let mut kept = webhook_config::with_own_ca_bundles(wanted.clone(), live, FIELD_MANAGER);
    let version = live.pointer("/metadata/resourceVersion");
    if let Some(version) = version.filter(|_| kept != *wanted)
        && let Some(metadata) = kept.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.insert("resourceVersion".to_owned(), version.clone());
    }
    kept
}
