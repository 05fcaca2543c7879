//! Detects pods for Windows.
//!
//! `spec.os` is optional, and most manifests for Windows do not set it: they require nodes with the label that every
//! kubelet sets. Neither sign can be faked: a kubelet on Linux rejects a pod with another OS
//! (`rejectPodAdmissionBasedOnOSField`, `rejectPodAdmissionBasedOnOSSelector`) and one whose required nodes do not
//! include its own (`GeneralPredicates`), even if `spec.nodeName` bypasses the scheduler. Node requirements take
//! precedence over the options for Windows, which charts for both systems set and with which a pod also runs on Linux.

use serde_json::Value;

use crate::pod;

/// The node labels with the OS. The kubelet sets both; the second is the older name.
const LABELS: [&str; 2] = ["kubernetes.io/os", "beta.kubernetes.io/os"];
const WINDOWS: &str = "windows";
const LINUX: &str = "linux";

/// Why a pod is for Windows, in the words of its manifest; `None` if it is for Linux or does not say.
pub(super) fn windows(pod: &Value) -> Option<String> {
    let spec = pod.get("spec")?;
    let text = |path: &[&str]| pod::at(spec, path).and_then(Value::as_str);
    if let Some(os) = text(&["os", "name"]) {
        return os.eq_ignore_ascii_case(WINDOWS).then(|| "spec.os.name: windows".to_owned());
    }
    let selected = LABELS.into_iter().find_map(|label| Some((label, text(&["nodeSelector", label])?)));
    if let Some((label, os)) = selected {
        return (os == WINDOWS).then(|| format!("node selector {label}: windows"));
    }
    match required(spec) {
        Some(Nodes::Windows) => return Some("a required node affinity for Windows".to_owned()),
        Some(Nodes::Linux) => return None,
        None => {}
    }
    let containers = ["initContainers", "containers", "ephemeralContainers"];
    let mut holders =
        std::iter::once(spec).chain(containers.iter().flat_map(|list| pod::spec_list(pod, list)));
    let has_options = |holder: &Value| {
        let options = pod::at(holder, &["securityContext", "windowsOptions"]).and_then(Value::as_object);
        options.is_some_and(|options| options.values().any(|value| !value.is_null()))
    };
    holders.any(has_options).then(|| "securityContext.windowsOptions".to_owned())
}

/// The nodes on which a pod can run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nodes {
    Windows,
    Linux,
}

/// The nodes that the required node affinity selects, if all its terms agree.
fn required(spec: &Value) -> Option<Nodes> {
    let path =
        ["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"];
    let terms = pod::at(spec, &path)?.as_array()?;
    // A term without requirements matches no node.
    let mut found = terms.iter().filter(|term| !is_empty(term)).map(asked);
    let first = found.next()??;
    found.all(|other| other == Some(first)).then_some(first)
}

fn is_empty(term: &Value) -> bool {
    let has = |field: &str| term.get(field).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    !has("matchExpressions") && !has("matchFields")
}

/// The nodes that a term selects: one requirement is enough, because all of them have to be met.
fn asked(term: &Value) -> Option<Nodes> {
    let requirements = term.get("matchExpressions")?.as_array()?;
    requirements.iter().find_map(|requirement| {
        let key = requirement.get("key")?.as_str()?;
        let values: Vec<&str> =
            requirement.get("values")?.as_array()?.iter().filter_map(Value::as_str).collect();
        let all = |os: &str| !values.is_empty() && values.iter().all(|value| *value == os);
        match requirement.get("operator")?.as_str()? {
            "In" if !LABELS.contains(&key) => None,
            "In" if all(WINDOWS) => Some(Nodes::Windows),
            "In" if all(LINUX) => Some(Nodes::Linux),
            // Every node has the newer label, and there are only two systems.
            "NotIn" if key != "kubernetes.io/os" => None,
            "NotIn" if values.contains(&LINUX) => Some(Nodes::Windows),
            "NotIn" if values.contains(&WINDOWS) => Some(Nodes::Linux),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn affinity(terms: Value) -> Value {
        json!({"spec": {"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms},
            "preferredDuringSchedulingIgnoredDuringExecution": [],
        }}}})
    }

    fn os(operator: &str, values: &[&str]) -> Value {
        json!({"key": "kubernetes.io/os", "operator": operator, "values": values})
    }

    #[test]
    fn a_pod_for_windows_is_known_by_each_of_its_signs() {
        let term = |requirement: Value| json!([{"matchExpressions": [{"key": "a", "operator": "Exists"}, requirement]}]);
        for pod in [
            json!({"spec": {"os": {"name": "windows"}}}),
            json!({"spec": {"nodeSelector": {"kubernetes.io/os": "windows", "a": "b"}}}),
            json!({"spec": {"nodeSelector": {"beta.kubernetes.io/os": "windows"}}}),
            affinity(term(os("In", &["windows"]))),
            affinity(term(json!({"key": "beta.kubernetes.io/os", "operator": "In", "values": ["windows"]}))),
            affinity(term(os("NotIn", &["linux"]))),
            affinity(
                json!([{"matchExpressions": [os("In", &["windows"])]}, {}, {"matchExpressions": [os("In", &["windows"])]}]),
            ),
            json!({"spec": {"securityContext": {"windowsOptions": {"runAsUserName": "ContainerUser"}}}}),
            json!({"spec": {"containers": [{}, {"securityContext": {"windowsOptions": {"hostProcess": false}}}]}}),
            json!({"spec": {"initContainers": [{"securityContext": {"windowsOptions": {"gmsaCredentialSpecName": "a"}}}]}}),
        ] {
            assert!(windows(&pod).is_some(), "{pod}");
        }
    }

    #[test]
    fn a_pod_that_may_run_on_linux_is_not_for_windows() {
        let options = json!({"windowsOptions": {"runAsUserName": "ContainerUser"}});
        let on_linux = |more: Value| {
            let mut pod = json!({"spec": {"securityContext": options}});
            pod["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            pod
        };
        let mut by_affinity = affinity(json!([{"matchExpressions": [os("In", &["linux"])]}]));
        by_affinity["spec"]["securityContext"] = options.clone();
        for pod in [
            json!({}),
            json!({"spec": {"nodeSelector": {"kubernetes.io/os": "linux"}}}),
            json!({"spec": {"nodeSelector": {"os": "windows"}}}),
            on_linux(json!({"os": {"name": "linux"}})),
            on_linux(json!({"nodeSelector": {"kubernetes.io/os": "linux"}})),
            by_affinity,
            affinity(json!([])),
            affinity(json!([{}])),
            affinity(json!([{"matchExpressions": [os("In", &["windows", "linux"])]}])),
            affinity(
                json!([{"matchExpressions": [os("In", &["windows"])]}, {"matchExpressions": [{"key": "a", "operator": "Exists"}]}]),
            ),
            affinity(
                json!([{"matchExpressions": [os("In", &["windows"])]}, {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]),
            ),
            affinity(json!([{"matchExpressions": [os("In", &[])]}])),
            affinity(json!([{"matchExpressions": [os("Exists", &[])]}])),
            affinity(
                json!([{"matchExpressions": [{"key": "beta.kubernetes.io/os", "operator": "NotIn", "values": ["linux"]}]}]),
            ),
            json!({"spec": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "preference": {"matchExpressions": [os("In", &["windows"])]}},
            ]}}}}),
            json!({"spec": {"securityContext": {"windowsOptions": {}}, "containers": [{"securityContext": {"windowsOptions": null}}]}}),
        ] {
            assert_eq!(windows(&pod), None, "{pod}");
        }
    }

    /// The options for Windows count where the required nodes say nothing about their system.
    #[test]
    fn requirements_beat_the_options_for_windows_only_if_they_name_the_system() {
        let with = |requirement: Value, options: &Value| {
            let mut pod = affinity(json!([{"matchExpressions": [requirement]}]));
            pod["spec"]["securityContext"] = json!({ "windowsOptions": options });
            windows(&pod)
        };
        let options = json!({"runAsUserName": "ContainerUser"});
        let other = |operator: &str, value: &str| json!({"key": "example.com/os", "operator": operator, "values": [value]});
        for (requirement, alone, with_options) in [
            (os("NotIn", &["windows"]), false, false),
            (os("NotIn", &["plan9"]), false, true),
            (os("In", &["windows", "linux"]), false, true),
            (other("In", "windows"), false, true),
            (other("In", "linux"), false, true),
            (other("NotIn", "linux"), false, true),
        ] {
            assert_eq!(with(requirement.clone(), &json!({})).is_some(), alone, "{requirement}");
            assert_eq!(with(requirement.clone(), &options).is_some(), with_options, "{requirement}");
        }
    }
}
