//! Tells Prometheus the port that serves the merged metrics over mutual TLS.

use serde_json::{Value, json};

use super::view::env;
use super::{Error, PostContext};
use crate::{inject::scraping::is_spelling, names, pod, warning::Warning};

/// Writes the annotation from the proxy's environment unless the pod has it in any spelling (Istio's
/// `applySecurePrometheusAnnotation`).
pub(super) fn announce(pod: &mut Value, _: &PostContext<'_>, _: &mut Vec<Warning>) -> Result<(), Error> {
    if pod::annotations(pod).any(|(key, _)| is_spelling(key, SECURE_PORT)) {
        return Ok(());
    }
    if let Some(port) = env(pod).iter().find_map(port_of).map(|port| json!(port)) {
        pod::annotations_mut(pod).insert(names::ANNOTATION_PROMETHEUS_SECURE_PORT.to_owned(), port);
    }
    Ok(())
}

/// The annotation's key as Prometheus sees it.
const SECURE_PORT: &str = "prometheus_istio_io_secure_port";

fn port_of(variable: &Value) -> Option<&str> {
    let named = variable.get("name")?.as_str()? == names::ENV_SECURE_METRICS_PORT;
    variable.get("value")?.as_str().filter(|value| named && !value.is_empty() && *value != "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::post::tests::Fixture;

    const KEY: &str = names::ANNOTATION_PROMETHEUS_SECURE_PORT;

    fn announced(annotations: Value, env: Value) -> Value {
        let mut pod = json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "istio-proxy", "env": env}]}});
        announce(&mut pod, &Fixture::default().context(), &mut Vec::new()).unwrap();
        pod.pointer("/metadata/annotations").unwrap().clone()
    }

    #[test]
    fn copies_the_port_of_the_proxy() {
        let env = json!([{"name": "ENVOY_SECURE_MERGED_METRICS_PORT", "value": "15091"}]);
        assert_eq!(announced(json!({}), env.clone()), json!({KEY: "15091"}));
        let own = json!({"prometheus_istio_io_secure_port": "1"});
        assert_eq!(announced(own.clone(), env), own, "any spelling counts");
    }

    #[test]
    fn no_port_is_no_annotation() {
        for value in [json!(""), json!("0"), json!(15091), json!(null)] {
            let env = json!([{"name": "ENVOY_SECURE_MERGED_METRICS_PORT", "value": value}, {"name": "X", "value": "1"}]);
            assert_eq!(announced(json!({}), env), json!({}));
        }
    }
}
