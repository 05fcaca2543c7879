//! Orders the containers, which is the order in which the kubelet starts them.
//!
//! The proxy is the last container, so that `kubectl exec` still finds the application first; or the first one, if the
//! application should wait for it. A native proxy comes before every other init container except the one that redirects
//! traffic; otherwise, redirection comes last, so that init containers do not send traffic to a proxy that is not
//! running yet.

use std::collections::HashMap;

use serde_json::Value;

use super::{Error, PostContext};
use crate::{names, pod, quirks::Quirk, warning::Warning};

/// Moves our containers to their places (Istio's `reorderPod`).
pub(super) fn arrange(pod: &mut Value, context: &PostContext<'_>, _: &mut Vec<Warning>) -> Result<(), Error> {
    let place = if holds_application(context) { Place::First } else { Place::Last };
    if let Some(containers) = list_mut(pod, "containers") {
        put(containers, names::CONTAINER_PROXY, place);
    }
    if let Some(containers) = list_mut(pod, "initContainers") {
        let native = containers.iter().any(|container| is_named(container, names::CONTAINER_PROXY));
        let moves = if native { NATIVE.as_slice() } else { CLASSIC.as_slice() };
        for (name, place) in moves {
            put(containers, name, *place);
        }
    }
    if !context.keeps(Quirk::ReorderVariables) {
        for list in ["containers", "initContainers"] {
            keep_order_of_variables(pod, context.received, list);
        }
    }
    Ok(())
}

/// Restores the received order of a container's variables if they are the same ones: during a second injection,
/// variables that the pod itself gave the proxy are merged at a different place than during the first.
fn keep_order_of_variables(pod: &mut Value, received: &Value, list: &str) {
    for container in list_mut(pod, list).into_iter().flatten() {
        let name = pod::name(container).to_owned();
        let same = pod::spec_list(received, list).iter().find(|earlier| is_named(earlier, &name));
        let (Some(earlier), Some(Value::Array(now))) =
            (same.and_then(|earlier| earlier.get("env")?.as_array()), container.get_mut("env"))
        else {
            continue;
        };
        let in_order = || earlier.iter().map(pod::name).eq(now.iter().map(pod::name));
        if earlier.len() != now.len() || in_order() {
            continue;
        }
        let places: HashMap<&str, usize> =
            earlier.iter().enumerate().map(|(place, variable)| (pod::name(variable), place)).collect();
        // The position is ambiguous for duplicate names.
        if places.len() == earlier.len()
            && now.iter().all(|variable| places.contains_key(pod::name(variable)))
        {
            now.sort_by_key(|variable| places.get(pod::name(variable)).copied());
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First,
    Last,
}

/// Redirection, proxy, core dumps, the rest.
const NATIVE: [(&str, Place); 4] = [
    (names::CONTAINER_CORE_DUMP, Place::First),
    (names::CONTAINER_PROXY, Place::First),
    (names::CONTAINER_VALIDATION, Place::First),
    (names::CONTAINER_INIT, Place::First),
];

/// Validation, the rest, redirection, core dumps.
const CLASSIC: [(&str, Place); 3] = [
    (names::CONTAINER_VALIDATION, Place::First),
    (names::CONTAINER_INIT, Place::Last),
    (names::CONTAINER_CORE_DUMP, Place::Last),
];

/// Whether the application waits until the proxy is ready, by ProxyConfig or by the older value.
fn holds_application(context: &PostContext<'_>) -> bool {
    let hold = |value: Option<&Value>| value.and_then(Value::as_bool).unwrap_or(false);
    hold(context.proxy_config.get("holdApplicationUntilProxyStarts"))
        || hold(pod::at(context.values, &["global", "proxy", "holdApplicationUntilProxyStarts"]))
}

/// Moves a container within its list; if several have the name, the last one is kept (Istio's `modifyContainers`).
fn put(containers: &mut Vec<Value>, name: &str, place: Place) {
    let Some(last) = containers.iter().rposition(|container| is_named(container, name)) else { return };
    let container = containers.remove(last);
    containers.retain(|other| !is_named(other, name));
    match place {
        Place::First => containers.insert(0, container),
        Place::Last => containers.push(container),
    }
}

fn is_named(container: &Value, name: &str) -> bool {
    pod::name(container) == name
}

fn list_mut<'a>(pod: &'a mut Value, key: &str) -> Option<&'a mut Vec<Value>> {
    pod.get_mut("spec")?.get_mut(key)?.as_array_mut()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inject::post::tests::Fixture;

    fn list(names: &[&str]) -> Value {
        names.iter().map(|name| json!({"name": name})).collect()
    }

    fn arranged(init: &[&str], containers: &[&str], fixture: &Fixture) -> (Vec<String>, Vec<String>) {
        let mut pod = json!({"spec": {"initContainers": list(init), "containers": list(containers)}});
        arrange(&mut pod, &fixture.context(), &mut Vec::new()).unwrap();
        let names = |key: &str| {
            let all = pod["spec"][key].as_array().unwrap();
            all.iter().map(|container| container["name"].as_str().unwrap().to_owned()).collect()
        };
        (names("initContainers"), names("containers"))
    }

    #[test]
    fn classic_proxy_is_last_and_redirection_after_init_containers() {
        let (init, containers) = arranged(
            &["istio-init", "a", "enable-core-dump", "istio-validation", "b"],
            &["istio-proxy", "x", "y"],
            &Fixture::default(),
        );
        assert_eq!(init, ["istio-validation", "a", "b", "istio-init", "enable-core-dump"]);
        assert_eq!(containers, ["x", "y", "istio-proxy"]);
    }

    #[test]
    fn native_proxy_is_before_init_containers_and_after_redirection() {
        let (init, containers) = arranged(
            &["a", "enable-core-dump", "b", "istio-proxy", "istio-validation", "istio-init"],
            &["x"],
            &Fixture::default(),
        );
        assert_eq!(init, ["istio-init", "istio-validation", "istio-proxy", "enable-core-dump", "a", "b"]);
        assert_eq!(containers, ["x"]);
    }

    #[test]
    fn application_that_waits_comes_after_the_proxy() {
        let by_proxy_config =
            Fixture { proxy_config: json!({"holdApplicationUntilProxyStarts": true}), ..Fixture::default() };
        let by_values = Fixture {
            values: json!({"global": {"proxy": {"holdApplicationUntilProxyStarts": true}}}),
            ..Fixture::default()
        };
        for fixture in [by_proxy_config, by_values] {
            assert_eq!(arranged(&[], &["x", "istio-proxy"], &fixture).1, ["istio-proxy", "x"]);
        }
        let no =
            Fixture { proxy_config: json!({"holdApplicationUntilProxyStarts": false}), ..Fixture::default() };
        assert_eq!(arranged(&[], &["istio-proxy", "x"], &no).1, ["x", "istio-proxy"]);
    }

    #[test]
    fn of_several_with_a_name_the_last_stays() {
        let first = json!({"name": "istio-proxy", "image": "a"});
        let last = json!({"name": "istio-proxy", "image": "b"});
        let mut pod = json!({"spec": {"containers": [first, last, {"name": "app"}]}});
        arrange(&mut pod, &Fixture::default().context(), &mut Vec::new()).unwrap();
        assert_eq!(pod["spec"]["containers"], json!([{"name": "app"}, last]));
    }

    #[test]
    fn the_same_variables_keep_their_order_with_and_without_init_containers() {
        let proxy = |names: [&str; 3]| json!({"name": "istio-proxy", "env": list(&names)});
        for init in [json!(null), list(&["istio-init"])] {
            let pod = |names| json!({"spec": {"containers": [proxy(names)], "initContainers": init}});
            let fixture = Fixture { received: pod(["A", "OWN", "B"]), ..Fixture::default() };
            let mut arranged = pod(["A", "B", "OWN"]);
            arrange(&mut arranged, &fixture.context(), &mut Vec::new()).unwrap();
            assert_eq!(arranged, fixture.received);
        }
    }

    #[test]
    fn lists_that_are_absent_stay_absent() {
        for pod in
            [json!({"spec": {}}), json!(null), json!({"spec": {"containers": {}, "initContainers": 3}})]
        {
            let mut arranged = pod.clone();
            arrange(&mut arranged, &Fixture::default().context(), &mut Vec::new()).unwrap();
            assert_eq!(arranged, pod);
        }
    }
}
