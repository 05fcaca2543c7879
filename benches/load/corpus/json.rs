//! JSON text with its fields in the given order, as Go writes structs, and the reviews that API servers put around pods.

use std::fmt::{Display, Write};

use serde_json::{Map, Value};

use crate::prng::Prng;

/// The hour in which everything was created.
pub const REQUEST_TIME: &str = "2026-11-22T14:";

/// An object being written.
#[derive(Debug)]
pub struct Object(String);

impl Object {
    pub fn new() -> Object {
        Object("{".to_owned())
    }

    /// With a field whose value is JSON.
    pub fn with(mut self, key: &str, value: impl Display) -> Object {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let _ = write!(self.0, "{}:{value}", text(key));
        self
    }

    pub fn with_if(self, wanted: bool, key: &str, value: impl FnOnce() -> String) -> Object {
        if wanted { self.with(key, value()) } else { self }
    }

    /// With a list, unless it is empty: `omitempty`.
    pub fn with_list(self, key: &str, items: &[String]) -> Object {
        if items.is_empty() { self } else { self.with(key, list(items)) }
    }

    /// With a map of strings in the order of its keys, unless it is empty.
    pub fn with_strings(self, key: &str, strings: &Map<String, Value>) -> Object {
        if strings.is_empty() { self } else { self.with(key, Value::from(strings.clone())) }
    }

    pub fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// A JSON string.
pub fn text(value: &str) -> Value {
    Value::from(value)
}

pub fn list(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

/// The volume of the ServiceAccount's token.
pub fn token_volume(name: &str) -> String {
    format!(
        r#"{{"name":"{name}","projected":{{"sources":[{{"serviceAccountToken":{{"expirationSeconds":3607,"path":"token"}}}},{{"configMap":{{"name":"kube-root-ca.crt","items":[{{"key":"ca.crt","path":"ca.crt"}}]}}}},{{"downwardAPI":{{"items":[{{"path":"namespace","fieldRef":{{"apiVersion":"v1","fieldPath":"metadata.namespace"}}}}]}}}}],"defaultMode":420}}}}"#
    )
}

/// The mount of it in every container.
pub fn token_mount(name: &str) -> String {
    format!(
        r#"{{"name":"{name}","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}}"#
    )
}

/// An AdmissionReview of the creation of a pod by a controller.
pub fn review(object: &str, prng: &mut Prng) -> String {
    let pod = r#"{"group":"","version":"v1","kind":"Pod"}"#;
    let pods = r#"{"group":"","version":"v1","resource":"pods"}"#;
    let user = r#"{"username":"system:serviceaccount:kube-system:replicaset-controller","uid":"8ac2b3a6-53a6-4b4e-8d5e-2b1f4f5a2f60","groups":["system:serviceaccounts","system:serviceaccounts:kube-system","system:authenticated"],"extra":{"authentication.kubernetes.io/credential-id":["JTI=2d1c8f0e-5a3b-4a6d-9f0e-7c1b2a3d4e5f"]}}"#;
    format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"{}","kind":{pod},"resource":{pods},"requestKind":{pod},"requestResource":{pods},"namespace":"default","operation":"CREATE","userInfo":{user},"object":{object},"oldObject":null,"dryRun":false,"options":{{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"}}}}}}"#,
        prng.uuid()
    )
}

/// `managedFields` of a pod that a controller made: the owner of each field that the controller has set.
pub fn managed_fields(pod: &str, prng: &mut Prng) -> String {
    let pod: Value = serde_json::from_str(pod).expect("the generator writes JSON");
    let mut fields = Map::new();
    for (part, values) in pod.as_object().expect("a pod") {
        let Value::Object(values) = values else { continue };
        let owned = values.iter().filter(|(key, _)| !ADMITTED.contains(&key.as_str()));
        let owned = owned.map(|(key, value)| (format!("f:{key}"), owned_fields(key, value)));
        fields.insert(format!("f:{part}"), Value::Object(owned.collect()));
    }
    format!(
        r#"[{{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","time":"{REQUEST_TIME}{:02}:{:02}Z","fieldsType":"FieldsV1","fieldsV1":{}}}]"#,
        prng.below(60),
        prng.below(60),
        Value::Object(fields)
    )
}

/// Fields that admission sets before us, which have no recorded owner; and the namespace, which never has one.
const ADMITTED: [&str; 4] = ["namespace", "preemptionPolicy", "priority", "tolerations"];

/// The keys of lists whose items are owned one by one.
fn keys_of(list: &str) -> &'static [&'static str] {
    match list {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" => &["name"],
        "ports" => &["containerPort", "protocol"],
        "volumeMounts" => &["mountPath"],
        "ownerReferences" => &["uid"],
        "topologySpreadConstraints" => &["topologyKey", "whenUnsatisfiable"],
        _ => &[],
    }
}

fn owned_fields(name: &str, value: &Value) -> Value {
    let mut fields = Map::new();
    let dot = || (".".to_owned(), Value::Object(Map::new()));
    match value {
        Value::Object(values) if !values.is_empty() => {
            fields.extend([dot()]);
            fields.extend(values.iter().map(|(key, value)| (format!("f:{key}"), owned_fields(key, value))));
        }
        Value::Array(items) if !keys_of(name).is_empty() => {
            if !matches!(name, "containers" | "initContainers") {
                fields.extend([dot()]);
            }
            for item in items {
                if item["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-")) {
                    continue;
                }
                let key: Map<String, Value> =
                    keys_of(name).iter().map(|key| ((*key).to_owned(), item[*key].clone())).collect();
                let owned = if name == "ownerReferences" { &Value::Null } else { item };
                fields.insert(format!("k:{}", Value::Object(key)), owned_fields("", owned));
            }
        }
        _ => {}
    }
    Value::Object(fields)
}
