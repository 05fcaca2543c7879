//! The part of the proxy's environment that describes where it runs: cluster, network, and the parameters of the
//! webhook's URL path.

use std::collections::BTreeMap;

use serde_json::Value;

use super::view::{env_mut, variable};
use super::{Error, PostContext};
use crate::{names, pod, quirks::Quirk, warning::Warning};

/// The variables to set: those of the URL path plus cluster and network (Istio's `extractClusterAndNetwork`).
///
/// For the cluster, the URL overrides the values; for the network, the pod's label overrides both.
pub fn environment(
    pod: &Value,
    values: &Value,
    path_env: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let from_path = |name: &str| path_env.get(name).filter(|value| !value.is_empty()).cloned();
    let cluster = from_path(names::ENV_CLUSTER_ID)
        .unwrap_or_else(|| text(pod::at(values, &["global", "multiCluster", "clusterName"])));
    let label = pod::label(pod, names::LABEL_TOPOLOGY_NETWORK);
    let network = match label {
        Some(label) => label.to_owned(),
        None => {
            from_path(names::ENV_NETWORK).unwrap_or_else(|| text(pod::at(values, &["global", "network"])))
        }
    };
    let mut all = path_env.clone();
    for (name, value) in [(names::ENV_CLUSTER_ID, cluster), (names::ENV_NETWORK, network)] {
        if !value.is_empty() {
            all.insert(name.to_owned(), value);
        }
    }
    all
}

/// Sets the variables on the proxy, replacing existing ones (Istio's `updateClusterEnvs`).
pub(super) fn set(pod: &mut Value, context: &PostContext<'_>, _: &mut Vec<Warning>) -> Result<(), Error> {
    let environment = environment(context.received, context.values, context.path_env);
    if environment.is_empty() {
        return Ok(());
    }
    let Some(env) = env_mut(pod) else { return Ok(()) };
    env.retain(|variable| !environment.contains_key(pod::name(variable)));
    let place = if context.keeps(Quirk::ReorderVariables) { env.len() } else { place(env) };
    let all = environment.iter().map(|(name, value)| variable(name, value));
    env.splice(place..place, all);
    Ok(())
}

/// The position of the variables: at the end, but before those that later passes append and that an earlier injection
/// may have left. Istio always appends them, so injecting again changes the order.
fn place(env: &[Value]) -> usize {
    let later =
        |variable: &Value| matches!(pod::name(variable), names::ENV_PROMETHEUS | names::ENV_APP_PROBERS);
    env.iter().position(later).unwrap_or(env.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{inject::post::tests::Fixture, quirks::Quirks};

    fn map(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
        rows.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn url_wins_over_values_and_label_over_both() {
        let values = json!({"global": {"network": "v", "multiCluster": {"clusterName": "c"}}});
        let path = map(&[("ISTIO_META_CLUSTER_ID", "u"), ("ISTIO_META_NETWORK", "n"), ("FOO", "")]);
        let plain = json!({});
        let labeled = json!({"metadata": {"labels": {"topology.istio.io/network": "l"}}});
        let expect = |pod: &Value, path: &BTreeMap<String, String>, rows| {
            assert_eq!(environment(pod, &values, path), map(rows));
        };
        expect(&plain, &map(&[]), &[("ISTIO_META_CLUSTER_ID", "c"), ("ISTIO_META_NETWORK", "v")]);
        expect(&plain, &path, &[("ISTIO_META_CLUSTER_ID", "u"), ("ISTIO_META_NETWORK", "n"), ("FOO", "")]);
        expect(&labeled, &path, &[("ISTIO_META_CLUSTER_ID", "u"), ("ISTIO_META_NETWORK", "l"), ("FOO", "")]);
        assert_eq!(environment(&plain, &json!(7), &map(&[])), map(&[]));
    }

    #[test]
    fn replaces_and_appends_sorted() {
        let path_env = map(&[("ZED", "1"), ("ISTIO_META_NETWORK", "n"), ("EMPTY", "")]);
        let fixture = Fixture { path_env, ..Fixture::default() };
        let mut pod = json!({"spec": {"containers": [
            {"name": "app", "env": [{"name": "ZED", "value": "app"}]},
            {"name": "istio-proxy", "env": [{"name": "ZED", "value": "0"}, {"name": "KEEP", "valueFrom": {}}, 5]},
        ]}});
        set(&mut pod, &fixture.context(), &mut Vec::new()).unwrap();
        assert_eq!(pod.pointer("/spec/containers/0/env"), Some(&json!([{"name": "ZED", "value": "app"}])));
        assert_eq!(
            pod.pointer("/spec/containers/1/env"),
            Some(&json!([
                {"name": "KEEP", "valueFrom": {}},
                5,
                {"name": "EMPTY"},
                {"name": "ISTIO_META_NETWORK", "value": "n"},
                {"name": "ZED", "value": "1"},
            ]))
        );
    }

    #[test]
    fn goes_before_what_later_passes_left_unless_compatible() {
        let names_after = |quirks| {
            let path_env = map(&[("B", "1")]);
            let fixture = Fixture { path_env, quirks, ..Fixture::default() };
            let env =
                json!([{"name": "B"}, {"name": "A"}, {"name": "ISTIO_KUBE_APP_PROBERS", "value": "{}"}]);
            let mut pod = json!({"spec": {"containers": [{"name": "istio-proxy", "env": env}]}});
            set(&mut pod, &fixture.context(), &mut Vec::new()).unwrap();
            let env = pod.pointer("/spec/containers/0/env").unwrap().as_array().unwrap();
            env.iter().map(|variable| variable["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names_after(Quirks::NONE), ["A", "B", "ISTIO_KUBE_APP_PROBERS"]);
        assert_eq!(names_after(Quirks::ALL), ["A", "ISTIO_KUBE_APP_PROBERS", "B"]);
    }

    #[test]
    fn leaves_the_proxy_alone_when_nothing_is_known() {
        let fixture = Fixture::default();
        let mut pod = json!({"spec": {"containers": [{"name": "istio-proxy"}]}});
        let before = pod.clone();
        set(&mut pod, &fixture.context(), &mut Vec::new()).unwrap();
        assert_eq!(pod, before);
    }
}
