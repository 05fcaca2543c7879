//! Labels and annotations from the configuration rather than from a template.

use serde_json::{Value, json};

use super::{Error, PostContext, cluster_env};
use crate::{names, pod, warning::Warning};

/// Labels the pod with its network if known (Istio's `applyMetadata`).
pub(super) fn label_network(
    pod: &mut Value,
    context: &PostContext<'_>,
    _: &mut Vec<Warning>,
) -> Result<(), Error> {
    let environment = cluster_env::environment(context.received, context.values, context.path_env);
    if let Some(network) = environment.get(names::ENV_NETWORK) {
        pod::labels_mut(pod).insert(names::LABEL_TOPOLOGY_NETWORK.to_owned(), json!(network));
    }
    Ok(())
}

/// Adds the configured `injectedAnnotations`, which override everything.
pub(super) fn annotate(
    pod: &mut Value,
    context: &PostContext<'_>,
    _: &mut Vec<Warning>,
) -> Result<(), Error> {
    if !context.injected_annotations.is_empty() {
        let all = context.injected_annotations.iter();
        pod::annotations_mut(pod).extend(all.map(|(key, value)| (key.clone(), json!(value))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::post::tests::Fixture;

    #[test]
    fn labels_the_network_of_the_url() {
        let mut fixture = Fixture::default();
        fixture.path_env.insert("ISTIO_META_NETWORK".to_owned(), "n".to_owned());
        let mut pod = json!({});
        label_network(&mut pod, &fixture.context(), &mut Vec::new()).unwrap();
        assert_eq!(pod, json!({"metadata": {"labels": {"topology.istio.io/network": "n"}}}));
    }

    #[test]
    fn keeps_the_pods_own_network() {
        let mut fixture = Fixture::default();
        fixture.path_env.insert("ISTIO_META_NETWORK".to_owned(), "n".to_owned());
        fixture.received = json!({"metadata": {"labels": {"topology.istio.io/network": "own"}}});
        let mut pod = fixture.received.clone();
        label_network(&mut pod, &fixture.context(), &mut Vec::new()).unwrap();
        assert_eq!(pod, fixture.received);
    }

    #[test]
    fn unknown_network_is_no_label() {
        let mut pod = json!({"metadata": {}});
        label_network(&mut pod, &Fixture::default().context(), &mut Vec::new()).unwrap();
        annotate(&mut pod, &Fixture::default().context(), &mut Vec::new()).unwrap();
        assert_eq!(pod, json!({"metadata": {}}));
    }

    #[test]
    fn configured_annotations_win() {
        let mut fixture = Fixture::default();
        fixture.injected_annotations.insert("a".to_owned(), "configured".to_owned());
        let mut pod = json!({"metadata": {"annotations": {"a": "own", "b": "own"}}});
        annotate(&mut pod, &fixture.context(), &mut Vec::new()).unwrap();
        assert_eq!(pod.pointer("/metadata/annotations"), Some(&json!({"a": "configured", "b": "own"})));
    }
}
