//! Advice for the author of a manifest that no pod reveals: settings in places where nothing reads them, and effects of
//! a proxy on the owner of the pods.

use serde_json::Value;

use super::super::Rules;
use crate::{
    annotation,
    manifest::{Found, Identity, dotted},
    names,
    warning::{Warning, shown},
};

/// The maximum number of warnings of one kind for an object.
const MOST: usize = 8;

/// The place of a pod template in its object.
pub(super) fn place_in_object(found: &Found) -> String {
    dotted(found.pointer.strip_prefix(&found.object).unwrap_or(&found.pointer))
}

/// Reports a likely pod template that was not injected.
pub(super) fn likely_template(pointer: &str) -> Warning {
    let place = dotted(pointer);
    Warning::new(
        "LIKELY_POD_TEMPLATE",
        format!("has a pod template at {place}; name it with --pod-template-path"),
    )
}

/// Reports settings for pods in metadata that never reaches a pod: the object's own, and any between it and the
/// template.
pub(super) fn settings_elsewhere(
    document: &Value,
    identity: &Identity,
    templates: &[Found],
    rules: Rules,
    is_own: impl Fn(&str) -> bool,
) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = Vec::new();
    for found in templates {
        let template = metadata(document, found.metadata_holder());
        for holder in holders(document, found) {
            // istioctl uses the metadata of a CronJob's jobTemplate for the pod.
            if rules == Rules::TemplatesOnly && holder == found.metadata_holder() {
                continue;
            }
            let metadata = metadata(document, &holder);
            let whose = if holder == found.object {
                format!("the {}", identity.kind)
            } else {
                dotted(holder.strip_prefix(&found.object).unwrap_or(&holder))
            };
            let place = found.metadata_holder().strip_prefix(&found.object).unwrap_or_default();
            let place = format!("{}.metadata", dotted(place));
            let exact = settings(metadata, template, &is_own).into_iter().map(|(kind, key, value)| {
                let advice = if key == names::LABEL_INJECTION {
                    format!("it is for namespaces; on a pod, use {}", names::INJECT)
                } else {
                    format!("it belongs on {place}")
                };
                let value = value.as_str().map(|value| format!(": {}", shown(value))).unwrap_or_default();
                (format!("{kind} {key}{value}"), advice)
            });
            let misspelt = misspelt(metadata).into_iter();
            let misspelt =
                misspelt.map(|(key, meant)| (shown(key), format!("did you mean {meant}, on {place}?")));
            for (key, advice) in exact.chain(misspelt) {
                let said = format!("{key} on {whose} has no effect");
                let is_new = warnings.iter().all(|earlier| !earlier.message.starts_with(&said));
                if is_new && warnings.len() < MOST {
                    warnings.push(Warning::new("SETTING_NOT_ON_THE_POD", format!("{said}; {advice}")));
                }
            }
        }
    }
    warnings
}

/// Pointers to everything with metadata from the object down to the template, excluding the template.
fn holders(document: &Value, found: &Found) -> Vec<String> {
    let below = found.pointer.strip_prefix(&found.object).unwrap_or_default();
    let mut holders = Vec::new();
    let mut pointer = found.object.clone();
    for step in below.split('/').skip(1) {
        if document.pointer(&pointer).and_then(|value| value.get("metadata")).is_some() {
            holders.push(pointer.clone());
        }
        pointer = format!("{pointer}/{step}");
    }
    holders
}

fn metadata<'d>(document: &'d Value, holder: &str) -> Option<&'d Value> {
    document.pointer(holder)?.get("metadata")
}

/// Annotations and labels that only have a meaning on a pod, unless the template has the same value: `annotation` or `label`, key,
/// value.
///
/// Istio's own charts write the revision on every object: it is relevant only if the pods get a proxy of a different
/// one.
fn settings<'m>(
    metadata: Option<&'m Value>,
    template: Option<&Value>,
    is_own: impl Fn(&str) -> bool,
) -> Vec<(&'static str, &'m str, &'m Value)> {
    let mut keys: Vec<(&'static str, &str, &Value)> = Vec::new();
    for (field, kind) in [("annotations", "annotation"), ("labels", "label")] {
        let entries = metadata.and_then(|metadata| metadata.get(field)?.as_object());
        for (key, value) in entries.into_iter().flatten() {
            let is_said = || {
                let said = |field: &str| template.and_then(|template| template.get(field)?.get(key));
                said("labels") == Some(value) || said("annotations") == Some(value)
            };
            if key == names::REVISION
                && (value.as_str().is_some_and(&is_own) || annotation::is_opted_out(template))
            {
                continue;
            }
            let is_new = keys.iter().all(|(_, earlier, _)| earlier != key);
            if annotation::is_setting_of_pods(key) && is_new && !is_said() {
                keys.push((kind, key, value));
            }
        }
    }
    keys
}

/// Keys that are almost those of settings for pods, with these.
fn misspelt(metadata: Option<&Value>) -> Vec<(&str, &'static str)> {
    let of_field = |field: &'static str| {
        let entries = metadata.and_then(|metadata| metadata.get(field)?.as_object()).into_iter().flatten();
        entries.filter_map(move |(key, _)| {
            Some((key.as_str(), annotation::misspelt_setting(field == "labels", key)?))
        })
    };
    of_field("annotations").chain(of_field("labels")).collect()
}

/// The exit code of a proxy after SIGTERM.
const SIGTERM_EXIT_CODE: i64 = 143;

/// Reports rules of a Job that match the proxy's exit code.
pub(super) fn pod_failure_policy(document: &Value, found: &Found) -> Vec<Warning> {
    let job = found.pointer.rsplit_once('/').map_or("", |(job, _)| job);
    let rules = document.pointer(&format!("{job}/podFailurePolicy/rules")).and_then(Value::as_array);
    let counts_all = |rule: &Value| {
        let Some(codes) = rule.get("onExitCodes") else { return false };
        let names_nobody = codes.get("containerName").and_then(Value::as_str).unwrap_or_default().is_empty();
        let mut values = codes.get("values").and_then(Value::as_array).into_iter().flatten();
        let leaves_out = codes.get("operator").and_then(Value::as_str) == Some("NotIn")
            && values.any(|value| value.as_i64() == Some(SIGTERM_EXIT_CODE));
        names_nobody && !leaves_out
    };
    let all = rules.into_iter().flatten().enumerate().filter(|(_, rule)| counts_all(rule)).take(MOST);
    all.map(|(index, _)| {
        let message = format!(
            "podFailurePolicy.rules[{index}] also matches the proxy's exit code; name the application in \
             onExitCodes.containerName"
        );
        Warning::new("POLICY_COUNTS_THE_PROXY", message)
    })
    .collect()
}
