//! The webhook for advice: a ValidatingWebhookConfiguration that sends workloads as they are applied. It admits everything, and its
//! failure policy is `Ignore`, so nothing ever waits for it longer than its timeout.

use serde_json::{Map, Value, json};

use super::{Client, Settings, with_namespace, with_revision};
use crate::names;

/// How long the API server waits for advice, in seconds.
const TIMEOUT: u32 = 2;
/// The part of its entry's name before the suffix.
const PREFIX: &str = "advice.";
/// The path that it calls.
const PATH: &str = "/advise";

impl Settings {
    /// The configuration that asks for advice about workloads.
    pub fn advice(&self) -> Value {
        let mut labels = self.labels.clone();
        labels.insert("app.kubernetes.io/name".to_owned(), "outrigger".to_owned());
        labels.insert(names::LABEL_CONFIGURATION_REVISION.to_owned(), self.revision.clone());
        let excluded = self.never_selected();
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {
                "name": with_namespace(with_revision("outrigger-advice", &self.revision), &self.namespace),
                "labels": labels,
            },
            "webhooks": [{
                "name": format!("{PREFIX}{}", self.suffix),
                "clientConfig": self.advice_client(),
                "rules": rules(),
                "namespaceSelector": {"matchExpressions": [
                    {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": excluded},
                ]},
                "failurePolicy": "Ignore",
                "matchPolicy": "Equivalent",
                "sideEffects": "None",
                "timeoutSeconds": self.timeout_seconds.min(TIMEOUT),
                "admissionReviewVersions": ["v1", "v1beta1"],
                "matchConditions": conditions(),
            }],
        })
    }

    fn advice_client(&self) -> Value {
        let mut config = Map::new();
        match &self.client {
            Client::Url(url) => {
                let host = url.find("://").map_or(0, |at| at + 3);
                let end = url.get(host..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| host + at);
                config.insert("url".to_owned(), json!(format!("{}{PATH}", url.get(..end).unwrap_or(url))))
            }
            Client::Service { name, port, path: _ } => config.insert(
                "service".to_owned(),
                json!({"name": name, "namespace": self.namespace, "port": port, "path": PATH}),
            ),
        };
        if let Some(pem) = &self.ca_bundle {
            config.insert("caBundle".to_owned(), json!(super::ca_bundle::encoded(pem)));
        }
        Value::Object(config)
    }
}

/// The kinds of Kubernetes that have a pod template.
fn rules() -> Value {
    let rule = |group: &str, resources: &[&str]| {
        json!({"operations": ["CREATE", "UPDATE"], "apiGroups": [group], "apiVersions": ["v1"], "resources": resources,
            "scope": "Namespaced"})
    };
    json!([
        rule("apps", &["deployments", "statefulsets", "daemonsets", "replicasets"]),
        rule("batch", &["jobs", "cronjobs"]),
        rule("", &["replicationcontrollers"]),
    ])
}

/// Leaves out objects that a controller creates, whose warnings nobody sees, and updates that do not change the pods.
fn conditions() -> Value {
    json!([
        {
            "name": "applied-by-a-user",
            "expression": "!has(object.metadata.ownerReferences) || \
                !object.metadata.ownerReferences.exists(o, has(o.controller) && o.controller)",
        },
        {
            "name": "changes-the-spec",
            "expression": "request.operation != 'UPDATE' || !has(object.spec) || !has(oldObject.spec) || \
                object.spec != oldObject.spec",
        },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_waits_for_it_or_is_changed_by_it() {
        let settings = Settings { revision: "canary".to_owned(), timeout_seconds: 10, ..Settings::default() };
        let object = settings.advice();
        assert_eq!(object["kind"], "ValidatingWebhookConfiguration");
        assert_eq!(object["metadata"]["name"], "outrigger-advice-canary");
        let webhook = &object["webhooks"][0];
        assert_eq!((&webhook["failurePolicy"], &webhook["sideEffects"]), (&json!("Ignore"), &json!("None")));
        assert_eq!(webhook["timeoutSeconds"], 2);
        assert_eq!(webhook["clientConfig"]["service"]["path"], "/advise");
        let excluded = webhook["namespaceSelector"]["matchExpressions"][0]["values"].as_array().unwrap();
        assert!(excluded.contains(&json!("outrigger-system")) && excluded.contains(&json!("kube-system")));
    }

    #[test]
    fn a_url_keeps_its_host() {
        for (url, wanted) in [
            ("https://injector.example:8443/inject/cluster/east", "https://injector.example:8443/advise"),
            ("https://injector.example", "https://injector.example/advise"),
        ] {
            let settings = Settings { client: Client::Url(url.to_owned()), ..Settings::default() };
            assert_eq!(settings.advice()["webhooks"][0]["clientConfig"]["url"], wanted);
        }
    }
}
