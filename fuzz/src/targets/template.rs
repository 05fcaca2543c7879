//! The text of a template: parsed or refused, and rendered for pods without a panic; specialized, it renders the same.

use std::sync::LazyLock;

use outrigger::{
    config::InjectorConfig,
    inject::{self, Facts, Outcome, PodRequest, Refusal},
    template::Problem,
};
use serde_json::{Value, json};

use super::promises;
use crate::{Fate, meshes};

/// A template that assigns to `$` is not specialized.
const AS_IT_IS: &str = "{{if false}}{{$ = 1}}{{end}}";

static PODS: LazyLock<[Value; 3]> = LazyLock::new(|| {
    [
        json!({"metadata": {"name": "bare"}, "spec": {"containers": [{"name": "app", "image": "a"}]}}),
        json!({
            "metadata": {
                "generateName": "web-6d4cf56db6-", "namespace": "shop",
                "labels": {"app": "a: b", "pod-template-hash": "6d4cf56db6", "version": "017"},
                "annotations": {"example.com/note": "\"quoted\"\n- {{ .Values }}", "a": "1"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6d4cf56db6", "uid": "u", "controller": true}],
            },
            "spec": {
                "serviceAccountName": "sa: # b", "nodeName": "no",
                "containers": [
                    {"name": "app", "image": "a", "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 81}]},
                    {"name": "istio-proxy", "image": "auto", "env": [{"name": "A", "value": "$patch"}]},
                ],
                "volumes": [{"name": "v", "emptyDir": {}}],
                "terminationGracePeriodSeconds": 30,
            },
        }),
        json!({
            "metadata": {"name": "a", "annotations": {
                "proxy.istio.io/config": "{\"proxyMetadata\": {\"K\": \"v: w\"}, \"concurrency\": 2}", "b": "", "sidecar.istio.io/proxyImageType": "debug",
            }},
            "spec": {"initContainers": [{"name": "i", "image": "b"}], "containers": [{"name": "c", "image": "d"}], "securityContext": {"fsGroup": 5}},
        }),
    ]
});

pub(super) fn check(bytes: &[u8]) -> Fate {
    let Ok(text) = std::str::from_utf8(bytes) else { return Fate::Drop };
    let Some(mesh) = meshes::with_template(text) else { return Fate::Keep };
    let plain = meshes::with_template(&format!("{text}{AS_IT_IS}"));
    for pod in PODS.iter() {
        let fast = said(&mesh, pod);
        assert_eq!(fast, said(&mesh, pod), "a different answer for the same pod");
        // The specialized template takes fewer steps, so that it may end where the plain one does not.
        if let Some(plain) = &plain
            && let (Some(fast), Some(plain)) = (fast, said(plain, pod))
        {
            assert_eq!(fast, plain, "the specialized template says something else");
        }
    }
    Fate::Keep
}

/// The outcome for a pod, in short; `None` if a limit is reached.
fn said(mesh: &InjectorConfig, pod: &Value) -> Option<String> {
    Some(match inject::run(mesh, &PodRequest::new("shop", pod.clone()), &Facts::of(mesh, "shop")) {
        Ok(Outcome::Injected(injection)) => {
            let wanted = injection.clone().whole_pod(pod);
            assert_eq!(promises::apply(pod, injection.patch_json.as_bytes()), wanted);
            injection.patch_json
        }
        Ok(Outcome::Skipped(skip)) => skip.decision.sentence,
        Err(Refusal::Render { source, .. }) if matches!(source.problem, Problem::Limit(_)) => return None,
        Err(refusal) => {
            promises::not_our_fault("template", &refusal);
            refusal.reason().to_owned()
        }
    })
}
