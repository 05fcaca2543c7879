//! MutatingWebhookConfigurations as values: their entries, selectors and caBundles.
//!
//! A revision has one configuration, and so does each of its tags. The entries have the names and selectors of Istio's
//! chart, so that the labels of namespaces and pods mean the same. Two things are added to every entry: namespaces that
//! must never wait for us (the system's and our own), and, unless disabled, conditions that exclude pods that are never
//! injected. Nothing here contacts a cluster.

mod advice;
mod backstop;
mod ca_bundle;
mod change;
mod check;
mod entry;
mod owned;
pub mod reinvocation;
pub mod selection;
mod tag;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

pub use backstop::{BackstopLevel, LABEL_BACKSTOP};
pub use ca_bundle::{
    CA_BUNDLE_MANAGER, COMMAND_MANAGER, ca_bundle, decode_ca_bundle, injection_annotation, is_injector,
    read_ca_bundle, set_ca_bundle,
};
pub use change::{Change, changes};
pub use entry::{entries, is_ours, rules};
pub use owned::{adopting_ca_bundles, applied_over, with_own_ca_bundles};
pub use tag::{check_names, helm_release, keeps_tag, revision_of, tag_of, tagged};

use crate::{config::guard::MatchCondition, names};
use entry::Entry;

/// Suffix of our entries' names, the same as Istio's, unless the settings change it.
pub const SUFFIX: &str = "sidecar-injector.istio.io";
/// The namespace that is omitted from object names.
pub const NAMESPACE: &str = "outrigger-system";
/// The revision that is omitted from object names, and whose namespaces are labeled `istio-injection=enabled`.
pub const DEFAULT_REVISION: &str = names::DEFAULT_REVISION;

/// Which pods the API server sends, where to, and what happens if no server responds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The revision, `default` for the one without a name.
    pub revision: String,
    /// Other names for the revision. A tag `default` makes the revision the default one.
    pub tags: Vec<String>,
    /// Whether the default revision also injects pods in namespaces without any label.
    pub enable_namespaces_by_default: bool,
    /// Our own namespace: part of object names, the Service's namespace, and never selected.
    pub namespace: String,
    /// Additional namespaces that are never selected.
    pub excluded_namespaces: Vec<String>,
    /// Suffix of the entries' names.
    pub suffix: String,
    /// The endpoint.
    pub client: Client,
    /// CA certificates in PEM with which the API server verifies the server; `None` leaves the caBundle to others. Only
    /// the certificates in it are written into the objects.
    pub ca_bundle: Option<String>,
    /// What happens to a pod if no server responds.
    pub failure_policy: FailurePolicy,
    /// Whether the API server calls again for a pod that another webhook, or an admission plugin, changed after us.
    pub reinvocation_policy: ReinvocationPolicy,
    /// How long the API server waits, 1 to 30 seconds.
    pub timeout_seconds: u32,
    /// Which pods the API server does not send at all.
    pub conditions: Conditions,
    /// Further conditions: those of the configuration's rules ([`Guard::match_conditions`](crate::config::Guard)).
    pub rules: Vec<MatchCondition>,
    /// Whether to send pods that opt out by their label. Istio's webhooks do not select them, but rules and policies
    /// may decide otherwise.
    pub sends_opt_outs: bool,
    /// Additional labels for the objects.
    pub labels: BTreeMap<String, String>,
}

/// The endpoint to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Client {
    /// A Service in the namespace of the settings.
    Service {
        /// Its name.
        name: String,
        /// Its port.
        port: u16,
        /// The path, which may carry parameters such as `/inject/cluster/east`.
        path: String,
    },
    /// An `https` URL.
    Url(String),
}

/// What happens to a pod if no server responds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailurePolicy {
    /// It is rejected.
    #[default]
    Fail,
    /// It is created without a proxy.
    Ignore,
}

/// Whether the API server calls again for a pod that another webhook changed after us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReinvocationPolicy {
    /// No.
    #[default]
    Never,
    /// Yes.
    IfNeeded,
}

/// Which pods the API server does not send at all (`matchConditions`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conditions {
    /// Pods on the host's network and mirror pods, which are never injected and need not wait for us.
    #[default]
    Preset,
    /// Only pods on the host's network: with `compat: istio`, mirror pods are injected.
    HostNetwork,
    /// None.
    None,
}

/// The purpose of one configuration.
#[derive(Clone, Copy)]
enum Kind<'a> {
    Revision,
    Tag(&'a str),
    /// Namespaces without any label. It has an object of its own, so that it can be deleted as a whole when no longer
    /// wanted. A mere entry could not: its caBundle belongs to another manager, and server-side apply keeps fields that
    /// others own.
    Auto,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            revision: DEFAULT_REVISION.to_owned(),
            tags: Vec::new(),
            enable_namespaces_by_default: false,
            namespace: NAMESPACE.to_owned(),
            excluded_namespaces: Vec::new(),
            suffix: SUFFIX.to_owned(),
            client: Client::Service {
                name: service_name(DEFAULT_REVISION),
                port: 443,
                path: "/inject".to_owned(),
            },
            ca_bundle: None,
            failure_policy: FailurePolicy::default(),
            reinvocation_policy: ReinvocationPolicy::default(),
            timeout_seconds: 10,
            conditions: Conditions::default(),
            rules: Vec::new(),
            sends_opt_outs: false,
            labels: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Whether an API server would accept the settings.
    ///
    /// # Errors
    /// One sentence per invalid setting: the value found and the values expected.
    pub fn check(&self) -> Result<(), Vec<String>> {
        check::settings(self)
    }

    /// The configurations of the revision, of its tags, and for namespaces without any label.
    pub fn objects(&self) -> Vec<Value> {
        self.kinds().into_iter().map(|kind| self.object(kind)).collect()
    }

    /// The names of [`objects`](Settings::objects), in their order.
    pub fn object_names(&self) -> Vec<String> {
        self.kinds().into_iter().map(|kind| self.name(kind)).collect()
    }

    /// The name of a configuration that other settings may have created and these do not include.
    pub fn unwanted_object_name(&self) -> Option<String> {
        (!self.enable_namespaces_by_default).then(|| self.name(Kind::Auto))
    }

    fn kinds(&self) -> Vec<Kind<'_>> {
        let mut kinds = vec![Kind::Revision];
        kinds.extend(self.tags.iter().map(|tag| Kind::Tag(tag)));
        if self.enable_namespaces_by_default {
            kinds.push(Kind::Auto);
        }
        kinds
    }

    fn name(&self, kind: Kind<'_>) -> String {
        match kind {
            Kind::Revision => revision_name(&self.revision, &self.namespace),
            Kind::Tag(tag) => tag_name(tag, &self.namespace),
            Kind::Auto => {
                with_namespace(with_revision("outrigger-auto-injector", &self.revision), &self.namespace)
            }
        }
    }

    fn object(&self, kind: Kind<'_>) -> Value {
        let mut labels = self.labels.clone();
        labels.insert("app.kubernetes.io/name".to_owned(), "outrigger".to_owned());
        labels.insert(names::LABEL_CONFIGURATION_REVISION.to_owned(), self.revision.clone());
        if let Kind::Tag(tag) = kind {
            labels.insert(names::LABEL_CONFIGURATION_TAG.to_owned(), tag.to_owned());
        }
        let entries = self.entries_of(kind);
        let webhooks: Vec<Value> = entries.iter().map(|entry| self.webhook(entry)).collect();
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": self.name(kind), "labels": labels},
            "webhooks": webhooks,
        })
    }

    /// Namespaces that are never selected: the system's, our own and the given ones.
    fn never_selected(&self) -> Vec<&str> {
        let mut excluded: Vec<&str> = names::IGNORED_NAMESPACES.to_vec();
        for name in std::iter::once(&self.namespace).chain(&self.excluded_namespaces) {
            if !excluded.contains(&name.as_str()) {
                excluded.push(name);
            }
        }
        excluded
    }

    fn webhook(&self, entry: &Entry) -> Value {
        let excluded = self.never_selected();
        let mut webhook = json!({
            "name": entry.name(&self.suffix),
            "clientConfig": self.client_config(),
            "rules": rules(),
            "namespaceSelector": {"matchExpressions": entry.namespace_selector(&excluded)},
            "objectSelector": entry.object_selector(self.sends_opt_outs),
            "failurePolicy": self.failure_policy.as_str(),
            "matchPolicy": "Equivalent",
            "reinvocationPolicy": self.reinvocation_policy.as_str(),
            "sideEffects": "None",
            "timeoutSeconds": self.timeout_seconds,
            "admissionReviewVersions": ["v1", "v1beta1"],
        });
        let mut conditions = self.conditions.to_values();
        conditions
            .extend(self.rules.iter().map(|rule| json!({"name": rule.name, "expression": rule.expression})));
        if let Some(webhook) = webhook.as_object_mut().filter(|_| !conditions.is_empty()) {
            webhook.insert("matchConditions".to_owned(), Value::Array(conditions));
        }
        webhook
    }

    fn client_config(&self) -> Value {
        let mut config = Map::new();
        match &self.client {
            Client::Url(url) => config.insert("url".to_owned(), json!(url)),
            Client::Service { name, port, path } => config.insert(
                "service".to_owned(),
                json!({"name": name, "namespace": self.namespace, "port": port, "path": path}),
            ),
        };
        if let Some(pem) = &self.ca_bundle {
            config.insert("caBundle".to_owned(), json!(ca_bundle::encoded(pem)));
        }
        Value::Object(config)
    }
}

impl FailurePolicy {
    /// Its value in an entry.
    pub fn as_str(self) -> &'static str {
        match self {
            FailurePolicy::Fail => "Fail",
            FailurePolicy::Ignore => "Ignore",
        }
    }
}

impl ReinvocationPolicy {
    /// Its value in an entry.
    pub fn as_str(self) -> &'static str {
        match self {
            ReinvocationPolicy::Never => "Never",
            ReinvocationPolicy::IfNeeded => "IfNeeded",
        }
    }
}

/// The name of the configuration of a revision whose server is in the given namespace.
pub fn revision_name(revision: &str, namespace: &str) -> String {
    with_namespace(with_revision("outrigger-sidecar-injector", revision), namespace)
}

/// The name of the configuration of a tag.
pub fn tag_name(tag: &str, namespace: &str) -> String {
    with_namespace(format!("outrigger-revision-tag-{tag}"), namespace)
}

fn with_namespace(name: String, namespace: &str) -> String {
    if namespace == NAMESPACE { name } else { format!("{name}-{namespace}") }
}

/// The name of a revision's Service.
pub fn service_name(revision: &str) -> String {
    with_revision("outrigger", revision)
}

/// `stem`, or `stem-revision` for any revision but the default one.
pub fn with_revision(stem: &str, revision: &str) -> String {
    if revision == DEFAULT_REVISION { stem.to_owned() } else { format!("{stem}-{revision}") }
}

impl Conditions {
    /// Excludes pods that the injector skips regardless of their labels. The expressions must be valid for every pod: they
    /// test for presence first, because a failing expression rejects the pod (DA-14). Anybody who can create pods can write
    /// the annotation of mirror pods; real mirror pods are created by kubelets.
    pub fn to_values(self) -> Vec<Value> {
        let (mirror, nodes) = (names::ANNOTATION_MIRROR_POD, names::GROUP_NODES);
        let host_network = json!({
            "name": "not-on-the-host-network",
            "expression": "!has(object.spec.hostNetwork) || !object.spec.hostNetwork",
        });
        let mirror_pod = json!({
            "name": "not-a-mirror-pod",
            "expression": format!(
                "!has(object.metadata.annotations) || !('{mirror}' in object.metadata.annotations) \
                 || !(has(request.userInfo.groups) && '{nodes}' in request.userInfo.groups)"
            ),
        });
        match self {
            Conditions::Preset => vec![host_network, mirror_pod],
            Conditions::HostNetwork => vec![host_network],
            Conditions::None => Vec::new(),
        }
    }
}
