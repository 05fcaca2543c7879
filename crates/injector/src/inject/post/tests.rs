use std::collections::BTreeMap;

use serde_json::json;

use super::super::Unobserved;
use super::*;

/// The data that a context borrows.
#[derive(Clone, Default)]
pub(super) struct Fixture {
    pub(super) received: Value,
    pub(super) made: TemplateContainers,
    pub(super) earlier: PreviousInjection,
    pub(super) mesh_config: Value,
    pub(super) proxy_config: Value,
    pub(super) values: Value,
    pub(super) path_env: BTreeMap<String, String>,
    pub(super) revision: String,
    pub(super) injected_annotations: BTreeMap<String, String>,
    pub(super) quirks: Quirks,
}

impl Fixture {
    pub(super) fn context(&self) -> PostContext<'_> {
        PostContext {
            received: &self.received,
            asked: &self.received,
            made: &self.made,
            earlier: &self.earlier,
            mesh_config: &self.mesh_config,
            proxy_config: &self.proxy_config,
            values: &self.values,
            path_env: &self.path_env,
            revision: &self.revision,
            injected_annotations: &self.injected_annotations,
            quirks: self.quirks,
        }
    }
}

fn merged() -> Value {
    json!({
        "metadata": {"annotations": {"prometheus.io/port": "8080"}},
        "spec": {"containers": [
            {"name": "istio-proxy", "env": [{"name": "ENVOY_SECURE_MERGED_METRICS_PORT", "value": "15091"}]},
            {"name": "app", "livenessProbe": {"httpGet": {"port": 80}}},
        ]},
    })
}

fn fixture() -> Fixture {
    Fixture {
        made: TemplateContainers {
            containers: vec!["istio-proxy".to_owned()],
            ..TemplateContainers::default()
        },
        values: json!({"sidecarInjectorWebhook": {"rewriteAppHTTPProbe": true}, "global": {"network": "n"}}),
        injected_annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        ..Fixture::default()
    }
}

#[test]
fn passes_work_together() {
    let mut pod = merged();
    assert_eq!(apply(&mut pod, &fixture().context(), &mut Unobserved), Ok(Vec::new()));
    assert_eq!(
        pod,
        json!({
            "metadata": {
                "labels": {"topology.istio.io/network": "n"},
                "annotations": {
                    "a": "b",
                    "prometheus.io/path": "/stats/prometheus",
                    "prometheus.io/port": "15020",
                    "prometheus.io/scrape": "true",
                    "prometheus.istio.io/secure-port": "15091",
                    "sidecar.istio.io/status": r#"{"initContainers":null,"containers":["istio-proxy"],"volumes":null,"imagePullSecrets":null,"revision":"default"}"#,
                },
            },
            "spec": {"containers": [
                {"name": "app", "livenessProbe": {"httpGet": {"path": "/app-health/app/livez", "port": 15020}}},
                {"name": "istio-proxy", "env": [
                    {"name": "ENVOY_SECURE_MERGED_METRICS_PORT", "value": "15091"},
                    {"name": "ISTIO_META_NETWORK", "value": "n"},
                    {"name": "ISTIO_PROMETHEUS_ANNOTATIONS", "value": r#"{"scrape":"","path":"","port":"8080"}"#},
                    {"name": "ISTIO_KUBE_APP_PROBERS", "value": r#"{"/app-health/app/livez":{"httpGet":{"port":80}}}"#},
                ]},
            ]},
        })
    );
}

#[test]
fn passes_change_nothing_the_second_time() {
    let mut once = merged();
    apply(&mut once, &fixture().context(), &mut Unobserved).unwrap();
    let mut twice = once.clone();
    apply(&mut twice, &fixture().context(), &mut Unobserved).unwrap();
    assert_eq!(twice, once);
}

#[test]
fn garbage_never_panics() {
    let garbage = [json!(null), json!(7), json!("x"), json!([]), json!({}), json!({"a": null})];
    for value in &garbage {
        for key in ["metadata", "spec"] {
            for inner in &garbage {
                let mut pods = vec![
                    value.clone(),
                    json!({key: value}),
                    json!({key: {"annotations": value, "labels": inner}}),
                ];
                pods.push(json!({"spec": {"containers": [value, {"name": "istio-proxy", "env": inner}], "initContainers": inner}}));
                pods.push(json!({"spec": {"containers": [{"name": "istio-proxy", "env": [value, inner]}, {"name": value, "ports": [inner],
                    "livenessProbe": {"httpGet": {"port": value, "httpHeaders": inner}}, "lifecycle": {"preStop": value}}]}}));
                for pod in pods {
                    for quirks in [Quirks::NONE, Quirks::ALL] {
                        let context = Fixture {
                            quirks,
                            received: inner.clone(),
                            mesh_config: value.clone(),
                            ..fixture()
                        };
                        let _ = apply(&mut pod.clone(), &context.context(), &mut Unobserved);
                    }
                }
            }
        }
    }
}
