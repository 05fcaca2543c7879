//! Checks the volumes and mounts that a pod requests by annotation against the templates' output: an API server rejects
//! two volumes with one name, two mounts at one path and a mount of a missing volume, and names neither the annotation
//! nor the proxy.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    annotation::{Violation, row, user_items},
    names, pod,
    warning::{shown, shown_within},
};

/// Checks that volumes and mounts from the annotations have names and paths that the rendered templates do not use.
///
/// # Errors
/// Every annotation with a conflict.
pub(super) fn check_names(received: &Value, overlays: &[(&str, Value)]) -> Result<(), Vec<Violation>> {
    let mut violations = Vec::new();
    for (key, name_of) in
        [(names::ANNOTATION_USER_VOLUME, "name"), (names::ANNOTATION_USER_VOLUME_MOUNT, "mountPath")]
    {
        let Some(value) = pod::annotation(received, key).filter(|value| !value.is_empty()) else { continue };
        let asked: Vec<String> = user_items(value).iter().filter_map(|item| text(item, name_of)).collect();
        let taken = overlays.iter().find_map(|(_, overlay)| match name_of {
            "name" => twice(pod::spec_list(overlay, "volumes"), name_of, &asked),
            _ => ["containers", "initContainers"].iter().find_map(|list| {
                let proxy = pod::find(pod::spec_list(overlay, list), names::CONTAINER_PROXY)?;
                twice(proxy.get("volumeMounts")?.as_array()?, name_of, &asked)
            }),
        });
        let Some(taken) = taken else { continue };
        let noun = if name_of == "name" {
            "a volume of the template"
        } else {
            "where the template mounts another volume"
        };
        violations.push(violation(key, value, format!("{} is {noun}", shown_within(taken, 48))));
    }
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

/// Checks that the pod has the volumes that the annotation mounts into the proxy.
///
/// # Errors
/// The annotation, if it mounts a missing volume.
pub(super) fn check_mounts(received: &Value, merged: &Value) -> Result<(), Vec<Violation>> {
    let key = names::ANNOTATION_USER_VOLUME_MOUNT;
    let Some(value) = pod::annotation(received, key).filter(|value| !value.is_empty()) else { return Ok(()) };
    let mounts = pod::find_sidecar(merged).and_then(|proxy| proxy.get("volumeMounts")?.as_array());
    let names = |list: &'_ [Value]| -> BTreeSet<String> {
        list.iter().map(|item| pod::name(item).to_owned()).collect()
    };
    let (mounts, volumes) =
        (names(mounts.map_or(&[], Vec::as_slice)), names(pod::spec_list(merged, "volumes")));
    let missing = user_items(value).into_iter().find_map(|item| {
        let name = pod::name(&item);
        // A template may ignore the annotation's mounts.
        (mounts.contains(name) && !volumes.contains(name)).then(|| shown_within(name, 48))
    });
    match missing {
        Some(name) => Err(vec![violation(key, value, format!("the pod has no volume {name}"))]),
        None => Ok(()),
    }
}

fn violation(key: &str, value: &str, found: String) -> Violation {
    let row = row(key);
    Violation {
        key: row.map_or("", |row| row.key),
        value: shown(value),
        found,
        accepted: row.map_or("", |row| row.kind.accepted()),
    }
}

fn text(item: &Value, key: &str) -> Option<String> {
    item.get(key)?.as_str().map(str::to_owned)
}

/// The first of the requested texts that two elements share.
fn twice<'a>(elements: &[Value], key: &str, asked: &'a [String]) -> Option<&'a str> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for text in elements.iter().filter_map(|element| element.get(key)?.as_str()) {
        *times.entry(text).or_default() += 1;
    }
    asked.iter().map(String::as_str).find(|wanted| times.get(wanted).is_some_and(|times| *times > 1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(key: &str, value: &Value) -> Value {
        json!({"metadata": {"annotations": {key: value.to_string()}}})
    }

    #[test]
    fn a_volume_of_a_templates_name_is_refused() {
        let pod = pod(names::ANNOTATION_USER_VOLUME, &json!({"data": {"emptyDir": {}}}));
        let overlay = |names: &[&str]| {
            let volumes: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
            json!({"spec": {"volumes": volumes}})
        };
        assert_eq!(check_names(&pod, &[("t", overlay(&["data", "other"]))]), Ok(()));
        // Each template may have it once: sidecar and grpc-agent both read the annotation.
        assert_eq!(check_names(&pod, &[("t", overlay(&["data"])), ("u", overlay(&["data"]))]), Ok(()));
        let violations = check_names(&pod, &[("t", overlay(&["data", "data"]))]).unwrap_err();
        assert_eq!(violations[0].key, names::ANNOTATION_USER_VOLUME);
        assert_eq!(violations[0].found, "\"data\" is a volume of the template");
    }

    #[test]
    fn a_mount_in_a_templates_place_is_refused() {
        let pod = pod(names::ANNOTATION_USER_VOLUME_MOUNT, &json!({"v": {"mountPath": "/etc/istio/proxy"}}));
        let mounts = json!([{"name": "w", "mountPath": "/etc/istio/proxy"}, {"name": "v", "mountPath": "/etc/istio/proxy"}]);
        let overlay = json!({"spec": {"initContainers": [{"name": "istio-proxy", "volumeMounts": mounts}]}});
        let violations = check_names(&pod, &[("t", overlay)]).unwrap_err();
        assert_eq!(violations[0].key, names::ANNOTATION_USER_VOLUME_MOUNT);
    }

    #[test]
    fn a_mount_without_its_volume_is_refused_where_it_is_mounted() {
        let pod = pod(names::ANNOTATION_USER_VOLUME_MOUNT, &json!([{"name": "v", "mountPath": "/v"}]));
        let merged = |mounts: Value, volumes: Value| json!({"spec": {"containers": [{"name": "istio-proxy", "volumeMounts": mounts}], "volumes": volumes}});
        let mount = json!([{"name": "v", "mountPath": "/v"}]);
        assert!(check_mounts(&pod, &merged(mount.clone(), json!([]))).is_err());
        assert_eq!(check_mounts(&pod, &merged(mount, json!([{"name": "v"}]))), Ok(()));
        assert_eq!(check_mounts(&pod, &merged(json!([]), json!([]))), Ok(()));
    }
}
