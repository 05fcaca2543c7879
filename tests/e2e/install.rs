//! Puts a webhook in place without the chart: a Service the API server can reach, and a MutatingWebhookConfiguration.

use std::path::PathBuf;

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use super::{
    control_plane::{ControlPlane, PATIENCE, from_json, identity::Authority, settled},
    outrigger_process::OutriggerProcess,
};

/// The namespace of the Service, as the chart has it.
pub const NAMESPACE: &str = "outrigger-system";
/// The Service, as the chart has it.
pub const SERVICE: &str = "outrigger";

/// A serving certificate in files and the CA to be trusted for it.
pub struct Serving {
    /// Its issuer.
    pub authority: Authority,
    /// The chain in PEM.
    pub certificate: PathBuf,
    /// The key in PEM.
    pub key: PathBuf,
}

impl Serving {
    /// A certificate for the Service and for loopback, in the folder of the control plane.
    pub fn new(control_plane: &ControlPlane) -> Serving {
        let authority = Authority::new("webhook");
        let name = format!("{SERVICE}.{NAMESPACE}.svc");
        let pair = authority.server(&[&name, "localhost", "127.0.0.1"]);
        let (certificate, key) = pair.write(control_plane.folder(), "webhook").expect("files");
        Serving { authority, certificate, key }
    }
}

/// How the API server reaches the webhook.
#[derive(Clone, Debug)]
pub enum Reach {
    /// By the Service, whose port on loopback this is: HTTP/1.1, TLS for `outrigger.outrigger-system.svc`.
    Service(u16),
    /// By a URL: HTTP/2 on loopback.
    Url(String),
}

impl Reach {
    /// By the Service, straight to one process.
    pub fn service_of(process: &OutriggerProcess) -> Reach {
        Reach::Service(process.webhook_port())
    }

    /// By URL, straight to one process.
    pub fn url_of(process: &OutriggerProcess) -> Reach {
        Reach::Url(process.url())
    }
}

/// A MutatingWebhookConfiguration with one webhook, for namespaces with the label `istio-injection: enabled` and pods
/// without the label `sidecar.istio.io/inject: "false"`.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Its name.
    pub name: String,
    /// How it is reached.
    pub reach: Reach,
    /// `caBundle`, base64.
    pub ca_bundle: String,
    /// `Fail` or `Ignore`.
    pub failure_policy: &'static str,
    /// `Never` or `IfNeeded`.
    pub reinvocation_policy: &'static str,
    /// Seconds.
    pub timeout: u32,
    /// Only these namespaces; all when empty. With it, tests can share a control plane.
    pub namespaces: Vec<String>,
}

impl Webhook {
    /// A webhook with `failurePolicy: Fail`.
    pub fn new(name: &str, reach: Reach, authority: &Authority) -> Webhook {
        Webhook {
            name: name.to_owned(),
            reach,
            ca_bundle: authority.ca_bundle(),
            failure_policy: "Fail",
            reinvocation_policy: "Never",
            timeout: 10,
            namespaces: Vec::new(),
        }
    }

    /// The MutatingWebhookConfiguration.
    pub fn configuration(&self) -> Value {
        let mut namespaces = vec![json!({"key": "istio-injection", "operator": "In", "values": ["enabled"]})];
        if !self.namespaces.is_empty() {
            let key = "kubernetes.io/metadata.name";
            namespaces.push(json!({"key": key, "operator": "In", "values": self.namespaces}));
        }
        let mut client = match &self.reach {
            Reach::Service(port) => {
                json!({"service": {"namespace": NAMESPACE, "name": SERVICE, "path": "/inject", "port": port}})
            }
            Reach::Url(url) => json!({"url": url}),
        };
        client["caBundle"] = json!(self.ca_bundle);
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": self.name},
            "webhooks": [{
                "name": "namespace.sidecar-injector.istio.io",
                "clientConfig": client,
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
                "matchPolicy": "Equivalent",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1", "v1beta1"],
                "failurePolicy": self.failure_policy,
                "reinvocationPolicy": self.reinvocation_policy,
                "timeoutSeconds": self.timeout,
                "namespaceSelector": {"matchExpressions": namespaces},
                "objectSelector": {"matchExpressions": [
                    {"key": "sidecar.istio.io/inject", "operator": "NotIn", "values": ["false"]},
                ]},
            }],
        })
    }

    /// Applies the Service (with its namespace) and the configuration; the API server acts on them some time later.
    pub async fn apply(&self, control_plane: &ControlPlane) {
        let mut objects = vec![];
        if let Reach::Service(port) = self.reach {
            objects.push(json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": NAMESPACE, "labels": {"istio-injection": "disabled"}},
            }));
            objects.push(service(port));
        }
        objects.push(self.configuration());
        control_plane.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()).await;
    }

    /// Applies it and waits until pods of a namespace are sent to it. An injected pod shows that, or a refusal that
    /// names the webhook; with `Ignore` and no server, nothing does.
    pub async fn install(&self, control_plane: &ControlPlane, namespace: &str) {
        self.apply(control_plane).await;
        let pods: Api<Pod> = Api::namespaced(control_plane.client().await, namespace);
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let probe: Pod = from_json(json!({
            "metadata": {"name": "probe"}, "spec": {"containers": [{"name": "probe", "image": "probe"}]},
        }));
        settled("the API server calls the webhook", PATIENCE, async || {
            match pods.create(&dry_run, &probe).await {
                Ok(Pod { metadata: ObjectMeta { annotations: Some(found), .. }, .. })
                    if found.contains_key("sidecar.istio.io/status") =>
                {
                    Ok(())
                }
                Ok(_) => Err("the pod was left as it is".to_owned()),
                Err(error) if error.to_string().contains("failed calling webhook") => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }
}

/// The Service: `localhost` under the name of the Service, so that neither endpoints nor kube-proxy are needed.
pub fn service(port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"name": "https", "port": port}]},
    })
}
