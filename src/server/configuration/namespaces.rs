//! Namespaces: the annotations that a configuration may read, the labels, and what these say about injection.
//!
//! The labels about injection only trigger a closer look (see `selection`). The API server selects the namespaces that want
//! injection, and knows sooner than any watch.

use std::{borrow::Cow, collections::HashSet, fmt, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use crate::server::configuration::facts::{Injection, LiveFacts, PackedLabels};
use crate::server::kube::request::Target;
use crate::server::kube::slim::slim_resource;
use crate::server::kube::watch::{Keeper, Watched};
use crate::{config, names};

/// The decoded fields of a namespace.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Whole")]
pub(in crate::server) struct Namespace {
    metadata: ObjectMeta,
    annotations: Annotations,
    labels: PackedLabels,
    injection: Injection,
}

slim_resource!(Namespace = "Namespace", "namespaces", "", "v1", ClusterResourceScope, metadata_api);

/// A namespace from the watch.
#[derive(Deserialize)]
struct Whole {
    metadata: Meta,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: String,
    #[serde(default)]
    resource_version: Option<String>,
    annotations: Option<Annotations>,
    labels: Option<Labels>,
}

/// The relevant annotations.
#[derive(Clone, Debug, Default)]
struct Annotations(Vec<(&'static str, Box<str>)>);

/// All labels, in a form that takes little memory.
#[derive(Clone, Debug, Default)]
struct Labels {
    packed: PackedLabels,
    injection: Option<Box<str>>,
    revision: Option<Box<str>>,
}

/// The annotation with this key, if a configuration may read it.
fn known(key: &str) -> Option<&'static str> {
    let openshift = [names::ANNOTATION_OPENSHIFT_UID_RANGE, names::ANNOTATION_OPENSHIFT_GROUPS];
    openshift.into_iter().chain(config::DEFAULTS).find(|known| *known == key)
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Annotations, D::Error> {
        let mut kept = Vec::new();
        each_text(deserializer, |key, value| kept.extend(known(key).map(|key| (key, value.into()))))?;
        Ok(Annotations(kept))
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
        let mut labels = Labels::default();
        let mut packed = PackedLabels::builder();
        each_text(deserializer, |key, value| {
            match key {
                names::LABEL_INJECTION => labels.injection = Some(value.into()),
                names::REVISION => labels.revision = Some(value.into()),
                _ => {}
            }
            packed.push(key, value);
        })?;
        labels.packed = packed.finish();
        Ok(labels)
    }
}

/// Calls a function with each entry of a map of strings, which are not kept.
fn each_text<'de, D: Deserializer<'de>>(
    deserializer: D,
    visit: impl FnMut(&str, &str),
) -> Result<(), D::Error> {
    struct Entries<F>(F);
    impl<'de, F: FnMut(&str, &str)> Visitor<'de> for Entries<F> {
        type Value = ();
        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a map of strings")
        }
        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some((key, value)) = map.next_entry::<Cow<'de, str>, Cow<'de, str>>()? {
                (self.0)(&key, &value);
            }
            Ok(())
        }
    }
    deserializer.deserialize_map(Entries(visit))
}

/// Follows the namespaces.
pub(in crate::server) struct NamespaceKeeper {
    facts: Arc<LiveFacts>,
    /// Whether a list is being read, and the names in it.
    listing: bool,
    listed: HashSet<String>,
    /// Whether the server works without them, because the configuration reads none.
    optional: bool,
    /// How many there are, and how many have annotations that a configuration may read.
    kept: (usize, usize),
}

/// Selects the metadata of all namespaces.
pub(in crate::server) fn watched() -> Watched<Namespace> {
    Watched { target: Target::all("namespaces"), api: |client, _| Api::all(client), page: 100 }
}

impl From<Whole> for Namespace {
    fn from(Whole { metadata }: Whole) -> Namespace {
        let Meta { name, resource_version, annotations, labels } = metadata;
        let metadata = ObjectMeta { name: Some(name), resource_version, ..ObjectMeta::default() };
        let Labels { packed, injection, revision } = labels.unwrap_or_default();
        let injection = Injection::of(injection.as_deref(), revision.as_deref());
        Namespace { metadata, annotations: annotations.unwrap_or_default(), labels: packed, injection }
    }
}

impl Namespace {
    /// What its labels say about injection.
    pub(in crate::server) fn injection(&self) -> Injection {
        self.injection
    }
}

impl NamespaceKeeper {
    pub(in crate::server) fn new(facts: Arc<LiveFacts>, optional: bool) -> NamespaceKeeper {
        NamespaceKeeper { facts, listing: false, listed: HashSet::new(), optional, kept: (0, 0) }
    }
}

impl Keeper for NamespaceKeeper {
    type Object = Namespace;

    fn begin(&mut self) {
        self.listing = true;
        self.listed.clear();
    }

    fn put(&mut self, namespace: Namespace) {
        let Namespace { metadata, annotations: Annotations(annotations), labels, injection } = namespace;
        let name = metadata.name.unwrap_or_default();
        self.facts.put_namespace(&name, annotations, labels, injection);
        if self.listing {
            self.listed.insert(name);
        }
    }

    fn remove(&mut self, namespace: Namespace) {
        self.facts.remove_namespace(&namespace.metadata.name.unwrap_or_default());
    }

    fn complete(&mut self) {
        self.listing = false;
        let listed = std::mem::take(&mut self.listed);
        self.facts.retain_namespaces(|name| listed.contains(name));
        self.settle();
    }

    fn settle(&mut self) {
        self.kept = self.facts.namespaces();
    }

    fn detail(&self) -> String {
        match self.kept {
            (all, 0) => format!("{all} namespaces"),
            (all, annotated) => format!("{annotated} namespaces with relevant annotations, {all} in total"),
        }
    }

    /// Without them, the API server's selection is not checked.
    fn forbidden(&mut self) -> bool {
        self.optional
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::configuration::facts::LabelUse;

    fn namespace(name: &str, range: Option<&str>) -> Namespace {
        let annotations = match range {
            Some(range) => {
                serde_json::json!({names::ANNOTATION_OPENSHIFT_UID_RANGE: range, names::ANNOTATION_LOG_LEVEL: "debug", "other": "x"})
            }
            None => serde_json::json!({"other": "x"}),
        };
        serde_json::from_value(serde_json::json!({
            "kind": "PartialObjectMetadata",
            "metadata": {"name": name, "labels": {"a": "b", "istio-injection": "enabled"}, "annotations": annotations},
        }))
        .unwrap()
    }

    #[test]
    fn keeps_what_a_configuration_may_read_and_nothing_else() {
        let facts = Arc::new(LiveFacts::default());
        let mut keeper = NamespaceKeeper::new(facts.clone(), true);
        assert_eq!(facts.injection("shop"), None, "nothing is known before the list is complete");
        keeper.begin();
        keeper.put(namespace("shop", Some("1000650000/10000")));
        keeper.put(namespace("plain", None));
        keeper.put(serde_json::from_str(r#"{"metadata":{"name":"bare"}}"#).unwrap());
        keeper.put(serde_json::from_str(r#"{"metadata":{"name":"null","annotations":null}}"#).unwrap());
        keeper.complete();
        assert_eq!(facts.namespaces(), (4, 1));
        let injection = ["shop", "bare", "null", "new"].map(|name| facts.injection(name).unwrap());
        let unlabeled = Injection::Unlabeled;
        assert_eq!(injection, [Injection::Selected, unlabeled, unlabeled, unlabeled]);
        let shop = facts.namespace("shop", LabelUse::None).unwrap();
        assert_eq!(shop.annotations.len(), 2);
        assert!(shop.labels.is_empty());
        let labels = facts.namespace("shop", LabelUse::All).unwrap().labels.clone();
        assert_eq!(
            serde_json::Value::Object(labels),
            serde_json::json!({"a": "b", "istio-injection": "enabled", "kubernetes.io/metadata.name": "shop"})
        );
        assert!(
            facts.namespace("plain", LabelUse::None).is_none()
                && facts.namespace("new", LabelUse::All).is_none()
        );
        assert!(facts.namespace("plain", LabelUse::PodSecurity).is_none(), "no label of Pod Security");
        keeper.put(
            serde_json::from_str(
                r#"{"metadata":{"name":"plain","labels":{"pod-security.kubernetes.io/enforce":"baseline"}}}"#,
            )
            .unwrap(),
        );
        let labels = facts.namespace("plain", LabelUse::PodSecurity).unwrap().labels.clone();
        assert_eq!(labels["pod-security.kubernetes.io/enforce"], "baseline");
        assert!(facts.namespace("plain", LabelUse::None).is_none());
        assert_eq!(keeper.detail(), "1 namespaces with relevant annotations, 4 in total");
    }

    #[test]
    fn follows_changes_and_forgets_what_is_gone() {
        let facts = Arc::new(LiveFacts::default());
        let mut keeper = NamespaceKeeper::new(facts.clone(), true);
        keeper.begin();
        for name in ["a", "b", "c"] {
            keeper.put(namespace(name, Some("1/1")));
        }
        keeper.complete();
        keeper.put(namespace("a", Some("2/1")));
        keeper.put(namespace("b", None));
        keeper.remove(namespace("c", None));
        keeper.settle();
        assert_eq!(
            facts.namespace("a", LabelUse::None).unwrap().annotations[names::ANNOTATION_OPENSHIFT_UID_RANGE],
            "2/1"
        );
        assert_eq!(facts.namespaces(), (2, 1));
        keeper.begin();
        keeper.put(namespace("d", Some("1/1")));
        keeper.complete();
        assert!(
            facts.namespace("a", LabelUse::None).is_none() && facts.namespace("d", LabelUse::None).is_some()
        );
    }
}
