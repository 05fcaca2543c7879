//! The entries of a configuration: which labels of a namespace and a pod select which entry.
//!
//! At most one entry of all configurations selects a pod, as long as every revision and tag has one configuration and
//! one of them is the default: a pod without any request matches none, and no pod matches two.

use serde_json::{Value, json};

use super::DEFAULT_REVISION;
use crate::names::{INJECT, LABEL_INJECTION, LABEL_NAMESPACE_NAME, REVISION};

/// One entry, for one way to request injection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    way: Way,
    /// The revision or tag that it handles.
    revision: String,
}

/// How injection is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The namespace names the revision.
    RevisionOfNamespace,
    /// The pod names the revision, the namespace has no label.
    RevisionOfPod,
    /// The namespace is labeled `istio-injection=enabled`.
    Namespace,
    /// The pod is labeled `sidecar.istio.io/inject=true`, neither names a revision.
    Pod,
    /// Neither has a label.
    Auto,
}

const WAYS: [Way; 5] = [Way::RevisionOfNamespace, Way::RevisionOfPod, Way::Namespace, Way::Pod, Way::Auto];

/// The entries of the configuration of a revision or tag.
pub(super) fn of(revision: &str) -> Vec<Entry> {
    WAYS.into_iter()
        .filter(|way| match way {
            Way::RevisionOfNamespace | Way::RevisionOfPod => true,
            Way::Namespace | Way::Pod => revision == DEFAULT_REVISION,
            Way::Auto => false,
        })
        .map(|way| Entry { way, revision: revision.to_owned() })
        .collect()
}

/// Whether an entry with this name in a configuration of ours is one of our entries.
pub fn is_ours(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|prefix| WAYS.iter().any(|way| way.prefix() == prefix))
}

/// The rules of our entries: pods that are created.
pub fn rules() -> Value {
    json!([{
        "operations": ["CREATE"],
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "resources": ["pods"],
        "scope": "Namespaced",
    }])
}

/// The entries of any configuration.
pub fn entries(configuration: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let webhooks = configuration.get("webhooks").and_then(Value::as_array).into_iter().flatten();
    webhooks.filter_map(|webhook| Some((webhook.get("name")?.as_str()?, webhook)))
}

impl Entry {
    /// The entry for namespaces without any label.
    pub(super) fn auto() -> Entry {
        Entry { way: Way::Auto, revision: DEFAULT_REVISION.to_owned() }
    }

    /// Its name.
    pub(super) fn name(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.way.prefix())
    }

    /// The way to request injection that matches it.
    pub(super) fn way(&self) -> Way {
        self.way
    }

    /// The prefix of its name.
    pub(super) fn prefix(&self) -> &'static str {
        self.way.prefix()
    }

    /// The namespace selector; excluded namespaces never match.
    pub(super) fn namespace_selector(&self, excluded: &[&str]) -> Value {
        let mut all = self.namespace_requirements();
        all.push(none_of(LABEL_NAMESPACE_NAME, excluded));
        Value::Array(all)
    }

    /// The requirements on the namespace that are specific to this entry.
    pub(super) fn namespace_requirements(&self) -> Vec<Value> {
        let (absent_injection, absent_revision) = (absent(LABEL_INJECTION), absent(REVISION));
        match self.way {
            Way::RevisionOfNamespace => vec![one_of(REVISION, &[&self.revision]), absent_injection],
            Way::Namespace => vec![one_of(LABEL_INJECTION, &["enabled"])],
            Way::RevisionOfPod => vec![absent_revision, absent_injection],
            Way::Pod | Way::Auto => vec![absent_injection, absent_revision],
        }
    }

    /// The object selector; without requirements it is empty, as API servers store it.
    pub(super) fn object_selector(&self, sends_opt_outs: bool) -> Value {
        match self.object_requirements(sends_opt_outs) {
            all if all.is_empty() => json!({}),
            all => json!({ "matchExpressions": all }),
        }
    }

    /// The requirements on the pod, which those that opt out meet only if they are sent.
    pub(super) fn object_requirements(&self, sends_opt_outs: bool) -> Vec<Value> {
        let mut all = Vec::new();
        if !sends_opt_outs
            && matches!(self.way, Way::RevisionOfNamespace | Way::Namespace | Way::RevisionOfPod)
        {
            all.push(none_of(INJECT, &["false"]));
        }
        match self.way {
            Way::RevisionOfNamespace | Way::Namespace => {}
            Way::RevisionOfPod => all.push(one_of(REVISION, &[&self.revision])),
            Way::Pod => all.extend([one_of(INJECT, &["true"]), absent(REVISION)]),
            // Another entry selects pods that opt in.
            Way::Auto if sends_opt_outs => all.extend([none_of(INJECT, &["true"]), absent(REVISION)]),
            Way::Auto => all.extend([absent(INJECT), absent(REVISION)]),
        }
        all
    }
}

impl Way {
    fn prefix(self) -> &'static str {
        match self {
            Way::RevisionOfNamespace => "rev.namespace.",
            Way::RevisionOfPod => "rev.object.",
            Way::Namespace => "namespace.",
            Way::Pod => "object.",
            Way::Auto => "auto.",
        }
    }
}

fn one_of(key: &str, values: &[&str]) -> Value {
    json!({"key": key, "operator": "In", "values": values})
}

fn none_of(key: &str, values: &[&str]) -> Value {
    json!({"key": key, "operator": "NotIn", "values": values})
}

fn absent(key: &str) -> Value {
    json!({"key": key, "operator": "DoesNotExist"})
}
