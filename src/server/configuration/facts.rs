//! The current cluster state: nodes and namespaces, read by requests and written by watches.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use serde_json::{Map, Value};

use crate::{
    config::{InjectorConfig, LimitRange, Namespace, Nodes, ResourceQuota},
    pod_security,
};

/// The current nodes and namespaces.
#[derive(Debug, Default)]
pub(crate) struct LiveFacts {
    nodes: ArcSwapOption<Nodes>,
    namespaces: RwLock<HashMap<Box<str>, Known>>,
    /// Of namespaces that have some.
    limits: RwLock<HashMap<Box<str>, Arc<LimitsOfNamespace>>>,
    /// Whether the first list of namespaces is complete.
    listed: AtomicBool,
    enabled_by_default: AtomicBool,
}

/// The LimitRanges and ResourceQuotas of a namespace, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct LimitsOfNamespace {
    pub(crate) limit_ranges: Vec<LimitRange>,
    pub(crate) resource_quotas: Vec<ResourceQuota>,
}

/// The stored state of a namespace.
#[derive(Debug)]
struct Known {
    annotations: Annotations,
    labels: PackedLabels,
    injection: Injection,
}

/// What the labels of a namespace say about injection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Injection {
    /// `istio-injection: enabled`, or some revision or tag.
    Selected,
    /// `istio-injection` with another value.
    Disabled,
    /// Neither label.
    Unlabeled,
}

/// Which labels of a namespace a configuration reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LabelUse {
    /// None.
    None,
    /// All of them if one is about Pod Security, else none.
    PodSecurity,
    /// All of them.
    All,
}

/// A few annotations with known keys. A map for each of 20,000 namespaces would use most of the memory.
type Annotations = Box<[(&'static str, Box<str>)]>;

/// The label that every namespace has: its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Labels as one text: each key and value ends with a NUL, which neither contains.
#[derive(Clone, Debug, Default)]
pub(crate) struct PackedLabels(Box<str>);

/// Collects [`PackedLabels`].
#[derive(Debug, Default)]
pub(crate) struct LabelPacker(String);

impl LabelUse {
    /// What a configuration reads.
    pub(crate) fn of(config: &InjectorConfig) -> LabelUse {
        match (config.reads_namespace_labels(), config.pod_security().is_read()) {
            (true, _) => LabelUse::All,
            (false, true) => LabelUse::PodSecurity,
            (false, false) => LabelUse::None,
        }
    }
}

impl PackedLabels {
    /// Nothing yet.
    pub(crate) fn builder() -> LabelPacker {
        LabelPacker::default()
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut texts = self.0.split_terminator('\0');
        std::iter::from_fn(move || Some((texts.next()?, texts.next()?)))
    }
}

impl LabelPacker {
    /// Adds a label, except the one that repeats the name.
    pub(crate) fn push(&mut self, key: &str, value: &str) {
        if key != NAME_LABEL && !key.contains('\0') && !value.contains('\0') {
            for text in [key, value] {
                self.0.push_str(text);
                self.0.push('\0');
            }
        }
    }

    /// The labels.
    pub(crate) fn finish(self) -> PackedLabels {
        PackedLabels(self.0.into())
    }
}

impl LiveFacts {
    /// The nodes, once their first list is complete.
    pub(crate) fn nodes(&self) -> Option<Arc<Nodes>> {
        self.nodes.load_full()
    }

    /// A namespace with its relevant annotations, and with its labels if `labels` asks for them: the API server has
    /// selected by them already, but rules may read them. `None` if it has neither, or is not known.
    pub(crate) fn namespace(&self, name: &str, labels: LabelUse) -> Option<Arc<Namespace>> {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        let known = namespaces.get(name)?;
        let with_labels = match labels {
            LabelUse::None => false,
            LabelUse::PodSecurity => known.labels.iter().any(|(key, _)| pod_security::is_label(key)),
            LabelUse::All => true,
        };
        if !with_labels && known.annotations.is_empty() {
            return None;
        }
        let annotations =
            known.annotations.iter().map(|(key, value)| ((*key).to_owned(), Value::from(&**value))).collect();
        let mut labels = Map::new();
        if with_labels {
            labels.extend(known.labels.iter().map(|(key, value)| (key.to_owned(), Value::from(value))));
            labels.insert(NAME_LABEL.to_owned(), Value::from(name));
        }
        Some(Arc::new(Namespace { name: name.to_owned(), labels, annotations, ..Namespace::default() }))
    }

    /// The LimitRanges and ResourceQuotas of a namespace, if it has any.
    pub(crate) fn limits(&self, namespace: &str) -> Option<Arc<LimitsOfNamespace>> {
        self.limits.read().unwrap_or_else(PoisonError::into_inner).get(namespace).cloned()
    }

    /// Changes the LimitRanges and ResourceQuotas of a namespace.
    pub(crate) fn change_limits(&self, namespace: &str, change: impl FnOnce(&mut LimitsOfNamespace)) {
        let mut all = self.limits.write().unwrap_or_else(PoisonError::into_inner);
        let mut limits = all.remove(namespace).unwrap_or_default();
        change(Arc::make_mut(&mut limits));
        if !limits.limit_ranges.is_empty() || !limits.resource_quotas.is_empty() {
            all.insert(namespace.into(), limits);
        }
    }

    /// Replaces the nodes.
    pub(crate) fn replace_nodes(&self, nodes: Nodes) {
        self.nodes.store(Some(Arc::new(nodes)));
    }

    /// What the labels of a namespace said last; `None` before the first complete list.
    pub(crate) fn injection(&self, namespace: &str) -> Option<Injection> {
        if !self.listed.load(Ordering::Acquire) {
            return None;
        }
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        // An unknown namespace is new.
        Some(namespaces.get(namespace).map_or(Injection::Unlabeled, |known| known.injection))
    }

    /// Whether namespaces without any label are injected.
    pub(crate) fn is_enabled_by_default(&self) -> bool {
        self.enabled_by_default.load(Ordering::Acquire)
    }

    /// Stores whether namespaces without any label are injected.
    pub(crate) fn enable_by_default(&self, enabled: bool) {
        self.enabled_by_default.store(enabled, Ordering::Release);
    }

    /// How many namespaces are known, and how many of them have relevant annotations.
    pub(crate) fn namespaces(&self) -> (usize, usize) {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        let annotated = namespaces.values().filter(|known| !known.annotations.is_empty()).count();
        (namespaces.len(), annotated)
    }

    /// Completes a list: removes all namespaces whose name is not wanted.
    pub(crate) fn retain_namespaces(&self, wanted: impl Fn(&str) -> bool) {
        self.namespaces.write().unwrap_or_else(PoisonError::into_inner).retain(|name, _| wanted(name));
        self.listed.store(true, Ordering::Release);
    }

    /// Stores the relevant parts of a namespace.
    pub(crate) fn put_namespace(
        &self,
        name: &str,
        annotations: Vec<(&'static str, Box<str>)>,
        labels: PackedLabels,
        injection: Injection,
    ) {
        let known = Known { annotations: annotations.into(), labels, injection };
        self.namespaces.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), known);
    }

    /// Removes a namespace.
    pub(crate) fn remove_namespace(&self, name: &str) {
        self.namespaces.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}
