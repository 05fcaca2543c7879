//! The setup of the tests about certificates: outrigger with its own ServiceAccount, webhook configurations with
//! entries of another tool, and the actions of operators and strangers.

mod found;
mod load;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::{
    control_plane::{ControlPlane, Flavour, PATIENCE, eventually, identity::Authority, settled},
    install::{NAMESPACE, Reach, SERVICE, service},
    outrigger_process::{Outrigger, OutriggerProcess},
    pods::{dry_run, is_injected},
};

pub use self::{found::Found, load::Load};

/// Time limit for repairing a damaged caBundle.
pub const REPAIRED: Duration = Duration::from_secs(5);
/// A second configuration.
pub const SECOND: &str = "outrigger-revision-tag-stable";
/// The Secret.
pub const SECRET: &str = "outrigger-certificate";
/// The ServiceAccount.
pub const ACCOUNT: &str = "outrigger";
/// The field manager that modifies our webhooks.
const SOMEBODY: &str = "e2e-somebody";
const SUFFIX: &str = "sidecar-injector.istio.io";

/// A control plane with the objects that the chart would create.
pub struct Scene {
    pub control_plane: ControlPlane,
    client: Client,
    kubeconfig: PathBuf,
    bundle: PathBuf,
}

/// A foreign CA, as a caBundle.
pub fn other_ca() -> String {
    Authority::new("somebody else").ca_bundle()
}

impl Scene {
    pub async fn set(flavour: Flavour) -> Scene {
        Scene::on(ControlPlane::start(flavour).await).await
    }

    /// On an existing control plane.
    pub async fn on(control_plane: ControlPlane) -> Scene {
        control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
        control_plane.create_namespace(NAMESPACE, &[("istio-injection", "disabled")]).await;
        control_plane.create_service_account(NAMESPACE, ACCOUNT).await;
        let client = control_plane.client().await;
        let kubeconfig = control_plane.kubeconfig_for(NAMESPACE, ACCOUNT).await;
        let bundle = control_plane.folder().join("bundle.yaml");
        fs::write(&bundle, "apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\n").expect("a file");
        let scene = Scene { control_plane, client, kubeconfig, bundle };
        scene.grant_without("", "").await;
        scene
    }

    /// The same with new connections, using the current kubeconfig.
    pub async fn again(mut self) -> Scene {
        self.client = self.control_plane.client().await;
        self
    }

    /// Grants the documented permissions, except one verb on one resource.
    pub async fn grant_without(&self, resource: &str, verb: &str) {
        let rule = |group: &str, of: &str, names: &[&str], verbs: &[&str]| {
            let verbs: Vec<&str> =
                verbs.iter().copied().filter(|one| (of, *one) != (resource, verb)).collect();
            let mut rule = json!({"apiGroups": [group], "resources": [of], "verbs": verbs});
            if !names.is_empty() {
                rule["resourceNames"] = json!(names);
            }
            rule
        };
        let role = |kind: &str, rules: Vec<Value>| {
            // A rule without verbs is rejected.
            let rules: Vec<Value> = rules
                .into_iter()
                .filter(|rule| rule["verbs"].as_array().is_some_and(|verbs| !verbs.is_empty()))
                .collect();
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
                "metadata": {"name": ACCOUNT, "namespace": if kind == "Role" { NAMESPACE } else { "" }}, "rules": rules,
            })
        };
        let binding = |kind: &str, role: &str| {
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
                "metadata": {"name": ACCOUNT, "namespace": if role == "Role" { NAMESPACE } else { "" }},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": ACCOUNT},
                "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
            })
        };
        let objects = [
            role(
                "Role",
                vec![
                    rule("", "secrets", &[SECRET], &["get", "list", "watch", "update"]),
                    rule("", "secrets", &[], &["create"]),
                    rule("coordination.k8s.io", "leases", &["outrigger-leader"], &["get", "update"]),
                    rule("coordination.k8s.io", "leases", &[], &["create"]),
                    rule("events.k8s.io", "events", &[], &["create", "patch"]),
                ],
            ),
            role(
                "ClusterRole",
                vec![rule(
                    "admissionregistration.k8s.io",
                    "mutatingwebhookconfigurations",
                    &["outrigger-sidecar-injector", SECOND],
                    &["get", "list", "watch", "patch"],
                )],
            ),
            binding("RoleBinding", "Role"),
            binding("ClusterRoleBinding", "ClusterRole"),
        ];
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.control_plane.apply(&list.to_string()).await;
    }

    /// An outrigger that manages certificates and caBundle, with the embedded configuration.
    pub fn outrigger(&self, identity: &str) -> Outrigger {
        self.outrigger_by(identity, &self.kubeconfig)
    }

    /// The same with another kubeconfig.
    pub fn outrigger_by(&self, identity: &str, kubeconfig: &Path) -> Outrigger {
        Outrigger::serve()
            .flag("kubeconfig", kubeconfig.display())
            .flag("bundle", self.bundle.display())
            .flag("identity", identity)
            .flag("tls-san", "127.0.0.1")
            .flag("webhook-configurations", format!("outrigger-sidecar-injector,{SECOND}"))
    }

    /// Creates a configuration with two of our webhooks around one of another tool, without any caBundle.
    pub async fn install(&self, name: &str, reach: &Reach) {
        let client = match reach {
            Reach::Service(port) => {
                self.control_plane.apply(&service(*port).to_string()).await;
                json!({"service": {"namespace": NAMESPACE, "name": SERVICE, "path": "/inject", "port": port}})
            }
            Reach::Url(url) => json!({"url": url}),
        };
        let webhook = |name: &str, client: &Value, namespaces: Value| {
            json!({
                "name": name, "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "failurePolicy": "Fail", "timeoutSeconds": 10, "namespaceSelector": namespaces,
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
            })
        };
        let nowhere = json!({"matchLabels": {"no-namespace": "has-this"}});
        let object = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [
                webhook(&format!("namespace.{SUFFIX}"), &client, json!({"matchLabels": {"istio-injection": "enabled"}})),
                webhook("vault.hashicorp.com", &json!({"url": "https://127.0.0.1:1/mutate"}), nowhere.clone()),
                webhook(&format!("object.{SUFFIX}"), &client, nowhere),
            ],
        });
        self.control_plane
            .kubectl_with(&["create", "-f", "-"], &object.to_string())
            .await
            .expect("kubectl create");
    }

    fn configurations(&self) -> Api<DynamicObject> {
        let kind =
            GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration");
        Api::all_with(self.client.clone(), &ApiResource::from_gvk(&kind))
    }

    async fn configuration(&self, name: &str) -> DynamicObject {
        self.configurations().get(name).await.expect("a configuration")
    }

    async fn webhooks(&self, name: &str) -> Vec<Value> {
        self.configuration(name).await.data["webhooks"].as_array().cloned().unwrap_or_default()
    }

    /// The names of the webhooks in their order.
    pub async fn webhook_names(&self, name: &str) -> Vec<String> {
        let webhooks = self.webhooks(name).await;
        webhooks.iter().map(|webhook| webhook["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// A webhook by its name.
    pub async fn webhook(&self, name: &str, webhook: &str) -> Value {
        let webhooks = self.webhooks(name).await;
        webhooks.into_iter().find(|found| found["name"] == webhook).expect("a webhook")
    }

    /// The caBundle of one of our two webhooks, not counting those of others.
    pub async fn ca_bundle(&self, name: &str, ours: usize) -> String {
        let webhooks = self.webhooks(name).await;
        let ours = webhooks.iter().filter(|webhook| is_ours(webhook)).nth(ours).expect("a webhook of ours");
        ours["clientConfig"]["caBundle"].as_str().unwrap_or_default().to_owned()
    }

    /// Sets the caBundle of one of our webhooks as another user.
    pub async fn set_ca_bundle(&self, name: &str, ours: usize, value: &str) {
        let webhooks = self.webhooks(name).await;
        let names = webhooks.iter().filter(|webhook| is_ours(webhook));
        let webhook = names.map(|webhook| &webhook["name"]).nth(ours).expect("a webhook of ours");
        let patch = json!({"webhooks": [{"name": webhook, "clientConfig": {"caBundle": value}}]});
        self.patch_configuration(name, &Patch::Strategic(patch)).await;
    }

    /// Removes the rules of one of our webhooks as another user, so that no pod is sent to it.
    pub async fn take_rules(&self, name: &str, ours: usize) {
        let webhooks = self.webhooks(name).await;
        let names = webhooks.iter().filter(|webhook| is_ours(webhook));
        let webhook = names.map(|webhook| &webhook["name"]).nth(ours).expect("a webhook of ours");
        let patch = json!({"webhooks": [{"name": webhook, "rules": null}]});
        self.patch_configuration(name, &Patch::Strategic(patch)).await;
    }

    /// Waits until every webhook of ours has rules.
    pub async fn wait_active(&self, name: &str) {
        settled("our webhooks have rules", PATIENCE, async || {
            let webhooks = self.webhooks(name).await;
            let ours = webhooks.iter().filter(|webhook| is_ours(webhook));
            let waits = ours.filter(|webhook| webhook["rules"].as_array().is_none_or(Vec::is_empty)).count();
            if waits == 0 { Ok(()) } else { Err(format!("{waits} have none")) }
        })
        .await;
    }

    async fn patch_configuration(&self, name: &str, patch: &Patch<Value>) {
        let parameters = PatchParams { field_manager: Some(SOMEBODY.to_owned()), ..PatchParams::default() };
        self.configurations().patch(name, &parameters, patch).await.expect("a patch");
    }

    /// Reverses the order of the webhooks as another user.
    pub async fn reorder(&self, name: &str) {
        let mut webhooks = self.webhooks(name).await;
        webhooks.reverse();
        self.patch_configuration(name, &Patch::Merge(json!({"webhooks": webhooks}))).await;
    }

    /// Sets a label on a configuration.
    pub async fn label(&self, name: &str, label: &str) {
        self.control_plane.kubectl(&["label", "mutatingwebhookconfiguration", name, label]).await;
    }

    /// Deletes a configuration.
    pub async fn delete(&self, name: &str) {
        self.control_plane.kubectl(&["delete", "mutatingwebhookconfiguration", name]).await;
    }

    /// The fields of webhooks and their clientConfig that outrigger owns.
    pub async fn owned_fields(&self, name: &str) -> Vec<String> {
        let managed = self.configuration(name).await.metadata.managed_fields.unwrap_or_default();
        let ours =
            managed.into_iter().filter(|entry| entry.manager.as_deref() == Some("outrigger-ca-bundle"));
        let mut fields: Vec<String> = ours
            .flat_map(|entry| {
                let fields = entry.fields_v1.expect("fields").0;
                let webhooks = fields["f:webhooks"].as_object().cloned().unwrap_or_default();
                assert_eq!(fields.as_object().expect("fields").len(), 1, "{fields}");
                webhooks.into_values().flat_map(|webhook| {
                    let mut fields = webhook.as_object().cloned().unwrap_or_default();
                    let client = fields.remove("f:clientConfig").unwrap_or_default();
                    // The key of an entry is owned with the entry.
                    fields.retain(|key, _| key != "." && key != "f:name");
                    let more = fields.into_iter().map(|(key, _)| key);
                    client
                        .as_object()
                        .cloned()
                        .unwrap_or_default()
                        .into_iter()
                        .map(|(key, _)| key)
                        .chain(more)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        fields.sort();
        fields.dedup();
        fields
    }

    /// Our CAs and one more, as a caBundle.
    pub async fn bundle_and(&self, more: &str) -> String {
        let mut both = STANDARD.decode(self.secret().await.ca_bundle()).expect("base64");
        both.extend(STANDARD.decode(more).expect("base64"));
        STANDARD.encode(both)
    }

    /// The caBundle of the first of our webhooks as it would be in a block of YAML.
    pub async fn indented(&self, name: &str) -> String {
        let bundle = STANDARD.decode(self.ca_bundle(name, 0).await).expect("base64");
        let lines = String::from_utf8(bundle).expect("PEM");
        STANDARD.encode(lines.lines().map(|line| format!("  {line}\n")).collect::<String>())
    }

    /// Waits until all our webhooks in a configuration have our CAs. Returns the elapsed time.
    pub async fn wait_repaired(&self, name: &str) -> Duration {
        let start = Instant::now();
        settled("the caBundle is set", PATIENCE, async || {
            let wanted = self.secret().await.ca_bundle();
            for ours in 0..2 {
                let found = self.ca_bundle(name, ours).await;
                if found != wanted {
                    return Err(format!("webhook {ours} of {name} has {} bytes", found.len()));
                }
            }
            Ok(())
        })
        .await;
        start.elapsed()
    }

    /// Waits until one of our webhooks trusts our CAs and those of a caBundle, and no others.
    pub async fn wait_union(&self, name: &str, ours: usize, more: &str) {
        let read = |bundle: &str| -> std::collections::BTreeSet<Vec<u8>> {
            let pem = STANDARD.decode(bundle).expect("base64");
            CertificateDer::pem_slice_iter(&pem).map(|der| der.expect("a certificate").to_vec()).collect()
        };
        let both = self.bundle_and(more).await;
        settled("the caBundle is the union", PATIENCE, async || {
            let found = self.ca_bundle(name, ours).await;
            if read(&found) == read(&both) { Ok(()) } else { Err(format!("{} bytes", found.len())) }
        })
        .await;
    }

    pub async fn wait_in_sync(&self, outrigger: &OutriggerProcess, name: &str) {
        let label = format!("config={name:?}");
        settled(&format!("{name} is in sync"), PATIENCE, async || {
            let value = outrigger.metric("outrigger_ca_bundle_in_sync", &[&label]).await;
            if value == 1.0 { Ok(()) } else { Err(outrigger.log()) }
        })
        .await;
    }

    /// Waits for a note in `/readyz?verbose`.
    pub async fn wait_remark(&self, outrigger: &OutriggerProcess, remark: &str) {
        settled(&format!("/readyz says {remark:?}"), PATIENCE, async || {
            let body = outrigger.readyz().await.map(|answer| answer.body).unwrap_or_default();
            if body.contains(remark) { Ok(()) } else { Err(format!("{body}\n{}", outrigger.log())) }
        })
        .await;
    }

    /// Waits for an Event on the Secret.
    pub async fn wait_event(&self, reason: &str) {
        self.wait_events(reason, "", 1).await;
    }

    /// Waits for this many Events on the Secret with a text; a series counts as often as its `count` says.
    pub async fn wait_events(&self, reason: &str, text: &str, count: u64) {
        settled(&format!("{count} Events {reason}"), PATIENCE, async || {
            let list = ["get", "events", "-n", NAMESPACE, "-o", "json"];
            let events: Value =
                serde_json::from_str(&self.control_plane.kubectl(&list).await).expect("a list");
            let on_ours = |event: &&Value| {
                event["involvedObject"]["name"] == SECRET
                    && event["reason"] == reason
                    && event["message"].as_str().is_some_and(|message| message.contains(text))
            };
            let times = |event: &Value| event["series"]["count"].as_u64().unwrap_or(1);
            let found: u64 =
                events["items"].as_array().expect("a list").iter().filter(on_ours).map(times).sum();
            if found >= count { Ok(()) } else { Err(format!("{found}: {events}")) }
        })
        .await;
    }

    /// Waits until the webhooks work.
    pub async fn wait_injected(&self) {
        settled("pods get their proxies", PATIENCE, async || {
            let pod = dry_run(&self.client, "shop", &pod("probe")).await?;
            if is_injected(&pod) { Ok(()) } else { Err("not injected".to_owned()) }
        })
        .await;
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub async fn secret(&self) -> Found {
        eventually("there is a Secret", PATIENCE, async || {
            self.secrets().get_opt(SECRET).await.ok().flatten().map(Found)
        })
        .await
    }

    pub async fn wait_secret(&self, wanted: impl Fn(&Found) -> bool) -> Found {
        eventually("the Secret is as wanted", PATIENCE, async || {
            let secret = self.secrets().get_opt(SECRET).await.ok().flatten().map(Found);
            secret.filter(&wanted)
        })
        .await
    }

    pub async fn patch_secret(&self, patch: Value) {
        self.secrets().patch(SECRET, &PatchParams::default(), &Patch::Merge(patch)).await.expect("a patch");
    }

    pub async fn delete_secret(&self) {
        self.control_plane.kubectl(&["delete", "secret", SECRET, "-n", NAMESPACE]).await;
    }

    /// An operator asks for a new leaf or CA.
    pub async fn rotate(&self, what: &str) {
        self.patch_secret(json!({"metadata": {"annotations": {"outrigger.dev/rotate": what}}})).await;
    }

    /// Deletes Secret and Lease: as before the first start.
    pub async fn forget(&self) {
        let objects = ["delete", "secret/outrigger-certificate", "lease/outrigger-leader", "-n", NAMESPACE];
        self.control_plane.kubectl(&objects).await;
    }

    /// How many Secrets of ours were created, by the audit log.
    pub fn created_secrets(&self) -> usize {
        let created = |entry: &&Value| {
            entry["verb"] == "create"
                && entry["objectRef"]["resource"] == "secrets"
                && entry["objectRef"]["name"] == SECRET
                && entry["stage"] == "ResponseComplete"
                && entry["responseStatus"]["code"] == 201
        };
        self.control_plane.audit().iter().filter(created).count()
    }

    /// The certificate that a replica serves to a client that trusts the Secret's CAs, or the error of the handshake.
    pub async fn served(&self, replica: &OutriggerProcess, secret: &Found) -> Result<Vec<u8>, String> {
        let mut roots = RootCertStore::empty();
        for ca in secret.authorities() {
            roots.add(ca).expect("a CA");
        }
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(roots)
                .with_no_client_auth();
        let name = ServerName::try_from(format!("{SERVICE}.{NAMESPACE}.svc")).expect("a name");
        let exchange = async {
            let stream = TcpStream::connect(("127.0.0.1", replica.webhook_port())).await?;
            TlsConnector::from(Arc::new(config)).connect(name, stream).await
        };
        let stream = exchange.await.map_err(|error| error.to_string())?;
        let chain = stream.get_ref().1.peer_certificates().expect("a certificate");
        Ok(chain[0].to_vec())
    }

    /// The replica that leads.
    pub async fn leader<'a>(&self, replicas: &'a [OutriggerProcess]) -> &'a OutriggerProcess {
        &replicas[self.leader_place(replicas).await]
    }

    /// Which replica leads.
    pub async fn leader_place(&self, replicas: &[OutriggerProcess]) -> usize {
        eventually("one replica leads", PATIENCE, async || {
            for (at, replica) in replicas.iter().enumerate() {
                if replica.metric("outrigger_leader", &[]).await == 1.0 {
                    return Some(at);
                }
            }
            None
        })
        .await
    }

    /// The number of failed webhook calls of the API server.
    pub async fn rejections(&self) -> f64 {
        let name = "apiserver_admission_webhook_rejection_count";
        self.control_plane.metric(name, &[r#"error_type="calling_webhook_error""#]).await
    }
}

fn is_ours(webhook: &Value) -> bool {
    webhook["name"].as_str().is_some_and(|name| name.ends_with(SUFFIX))
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]}})
}
