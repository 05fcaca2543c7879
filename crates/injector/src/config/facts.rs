//! Facts about the cluster in the configuration itself: namespaces, nodes, ProxyConfig resources.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::decode::{At, Decoder};
use super::error::{Fault, Place};
use super::label::{is_dns_label, is_dns_subdomain};

mod kubelet;
mod limits;

pub(crate) use limits::{Amounts, Limits, Scope, amounts};
pub use limits::{LimitRange, ResourceQuota};

/// A namespace, with the metadata that affects injection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels, all strings.
    pub labels: Map<String, Value>,
    /// Its annotations, all strings.
    pub annotations: Map<String, Value>,
    /// Its LimitRanges, by name.
    pub limit_ranges: Vec<LimitRange>,
    /// Its ResourceQuotas, by name.
    pub resource_quotas: Vec<ResourceQuota>,
}

/// A node, with the version that determines native sidecars.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The version its kubelet reports, such as `v1.33.2`.
    pub kubelet_version: String,
}

/// The nodes of a cluster, indexed for two questions: the kubelet version of a given node, and the set of all kubelet
/// versions. Both cost the same for five nodes and for five thousand, and no version is parsed on lookup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    by_name: BTreeMap<String, String>,
    versions: BTreeMap<String, Version>,
}

/// A kubelet version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    /// How many nodes have it.
    nodes: usize,
    minor: Option<u64>,
}

impl Nodes {
    /// Adds or replaces a node. Returns whether this changed the versions.
    pub fn put(&mut self, node: Node) -> bool {
        if self.by_name.get(&node.name) == Some(&node.kubelet_version) {
            return false;
        }
        self.remove(&node.name);
        let new = || Version { nodes: 0, minor: kubelet::minor(&node.kubelet_version) };
        self.versions.entry(node.kubelet_version.clone()).or_insert_with(new).nodes += 1;
        self.by_name.insert(node.name, node.kubelet_version);
        true
    }

    /// Removes a node. Returns whether it was known.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(version) = self.by_name.remove(name) else { return false };
        if let Some(found) = self.versions.get_mut(&version) {
            found.nodes -= 1;
            if found.nodes == 0 {
                self.versions.remove(&version);
            }
        }
        true
    }

    /// The version of a node's kubelet, if the node is known.
    pub fn kubelet_version(&self, name: &str) -> Option<&str> {
        self.by_name.get(name).map(String::as_str)
    }

    /// The minor version of a node's kubelet, if the node is known; the inner option is `None` if the version cannot be
    /// parsed.
    pub fn kubelet_minor(&self, name: &str) -> Option<Option<u64>> {
        let version = self.by_name.get(name)?;
        Some(self.versions.get(version)?.minor)
    }

    /// The minor version of every kubelet version in the cluster; `None` for those that cannot be parsed.
    pub fn kubelet_minors(&self) -> impl Iterator<Item = Option<u64>> {
        self.versions.values().map(|version| version.minor)
    }

    /// The kubelet versions in the cluster, each once.
    pub fn versions(&self) -> impl Iterator<Item = &str> {
        self.versions.keys().map(String::as_str)
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The nodes, by name.
    pub fn iter(&self) -> impl Iterator<Item = Node> + '_ {
        self.by_name
            .iter()
            .map(|(name, version)| Node { name: name.clone(), kubelet_version: version.clone() })
    }
}

impl FromIterator<Node> for Nodes {
    fn from_iter<T: IntoIterator<Item = Node>>(nodes: T) -> Nodes {
        let mut all = Nodes::default();
        for node in nodes {
            all.put(node);
        }
        all
    }
}

impl Namespace {
    /// The namespace as it appears in a bundle.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"name": self.name, "labels": self.labels, "annotations": self.annotations});
        let limit_ranges: Vec<Value> = self.limit_ranges.iter().map(LimitRange::to_value).collect();
        let quotas: Vec<Value> = self.resource_quotas.iter().map(ResourceQuota::to_value).collect();
        for (key, list) in [(LIMIT_RANGES, limit_ranges), (RESOURCE_QUOTAS, quotas)] {
            if let (false, Some(value)) = (list.is_empty(), value.as_object_mut()) {
                value.insert(key.to_owned(), Value::Array(list));
            }
        }
        value
    }
}

const LIMIT_RANGES: &str = "limitRanges";
const RESOURCE_QUOTAS: &str = "resourceQuotas";
const KEYS: [&str; 5] = ["name", "labels", "annotations", LIMIT_RANGES, RESOURCE_QUOTAS];
const QUOTA_KEYS: [&str; 5] = ["name", "hard", "used", "scopes", "scopeSelector"];

impl Node {
    /// The node as it appears in a bundle.
    pub fn to_value(&self) -> Value {
        json!({"name": self.name, "kubeletVersion": self.kubelet_version})
    }
}

pub(super) fn namespaces(decoder: &mut Decoder<'_>, at: &At<'_>) -> Vec<Namespace> {
    let mut names = Names::new("a namespace name: up to 63 of a-z 0-9 -", is_dns_label);
    let mut all = Vec::new();
    for at in decoder.list(at, "a list of namespaces") {
        let Some(mut fields) = decoder.record(&at, &KEYS) else { continue };
        let name = names.read(decoder, &at, fields.take("name"));
        let labels = fields.take("labels").map(|at| strings(decoder, &at)).unwrap_or_default();
        let annotations = fields.take("annotations").map(|at| strings(decoder, &at)).unwrap_or_default();
        let limit_ranges = fields.take(LIMIT_RANGES).map(|at| limit_ranges(decoder, &at)).unwrap_or_default();
        let resource_quotas =
            fields.take(RESOURCE_QUOTAS).map(|at| resource_quotas(decoder, &at)).unwrap_or_default();
        all.push(Namespace { name, labels, annotations, limit_ranges, resource_quotas });
    }
    all
}

fn limit_ranges(decoder: &mut Decoder<'_>, at: &At<'_>) -> Vec<LimitRange> {
    let mut names = Names::new(OBJECT_NAME, is_dns_subdomain);
    let mut all = Vec::new();
    for at in decoder.list(at, "a list of LimitRanges") {
        let Some(mut fields) = decoder.record(&at, &["name", "limits"]) else { continue };
        let name = names.read(decoder, &at, fields.take("name"));
        let limits = fields.take("limits");
        match limits.as_ref().and_then(|limits| LimitRange::new(name, &limits.value())) {
            Some(range) => all.push(range),
            None => decoder.refuse(limits.as_ref().unwrap_or(&at), "limits as in the spec of a LimitRange"),
        }
    }
    all
}

fn resource_quotas(decoder: &mut Decoder<'_>, at: &At<'_>) -> Vec<ResourceQuota> {
    let mut names = Names::new(OBJECT_NAME, is_dns_subdomain);
    let mut all = Vec::new();
    for at in decoder.list(at, "a list of ResourceQuotas") {
        let Some(mut fields) = decoder.record(&at, &QUOTA_KEYS) else { continue };
        let name = names.read(decoder, &at, fields.take("name"));
        let given = QUOTA_KEYS.iter().filter_map(|key| Some(((*key).to_owned(), fields.take(key)?.value())));
        match ResourceQuota::new(name, &given.collect()) {
            Some(quota) => all.push(quota),
            None => decoder
                .refuse(&at, "hard and used as in the status of a ResourceQuota, scopes as in its spec"),
        }
    }
    all
}

const OBJECT_NAME: &str = "a name: a DNS name of a-z 0-9 - .";

pub(super) fn nodes(decoder: &mut Decoder<'_>, at: &At<'_>) -> Vec<Node> {
    let mut names = Names::new("a node name: a DNS name of a-z 0-9 - .", is_dns_subdomain);
    let mut all = Vec::new();
    for at in decoder.list(at, "a list of nodes") {
        let Some(mut fields) = decoder.record(&at, &["name", "kubeletVersion"]) else { continue };
        let name = names.read(decoder, &at, fields.take("name"));
        let version = fields.take("kubeletVersion");
        let kubelet_version = match &version {
            Some(version) => kubelet_version(decoder, version),
            None => {
                decoder.problem(&at, Fault::missing("kubeletVersion", KUBELET_VERSION));
                String::new()
            }
        };
        all.push(Node { name, kubelet_version });
    }
    all
}

const KUBELET_VERSION: &str = "a version such as v1.33.2";

fn kubelet_version(decoder: &mut Decoder<'_>, at: &At<'_>) -> String {
    let Some(text) = decoder.string(at, KUBELET_VERSION) else { return String::new() };
    let number = |part: Option<&str>| {
        part.is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()))
    };
    let mut parts = text.strip_prefix('v').unwrap_or(&text).splitn(3, '.');
    let valid = number(parts.next()) && number(parts.next());
    if !valid {
        decoder.refuse(at, KUBELET_VERSION);
    }
    text
}

fn strings(decoder: &mut Decoder<'_>, at: &At<'_>) -> Map<String, Value> {
    decoder.string_map(at).into_iter().map(|(key, text)| (key, Value::String(text))).collect()
}

/// The names in a list, each of which may occur once.
struct Names {
    accepted: &'static str,
    valid: fn(&str) -> bool,
    seen: BTreeMap<String, Place>,
}

impl Names {
    fn new(accepted: &'static str, valid: fn(&str) -> bool) -> Names {
        Names { accepted, valid, seen: BTreeMap::new() }
    }

    fn read(&mut self, decoder: &mut Decoder<'_>, entry: &At<'_>, name: Option<At<'_>>) -> String {
        let Some(at) = name else {
            decoder.problem(entry, Fault::missing("name", self.accepted));
            return String::new();
        };
        let Some(name) = decoder.string(&at, self.accepted) else { return String::new() };
        if !(self.valid)(&name) {
            decoder.refuse(&at, self.accepted);
        } else if let Some(first) = self.seen.get(&name) {
            decoder.problem(&at, Fault::DuplicateName { found: name.clone(), first: *first });
        } else {
            self.seen.insert(name.clone(), Place::from(at.node.mark));
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, version: &str) -> Node {
        Node { name: name.to_owned(), kubelet_version: version.to_owned() }
    }

    // O-11
    #[test]
    fn versions_follow_the_nodes() {
        let mut nodes: Nodes =
            [node("a", "v1.33.0"), node("b", "v1.32.0"), node("c", "v1.33.0")].into_iter().collect();
        assert_eq!(nodes.versions().collect::<Vec<_>>(), ["v1.32.0", "v1.33.0"]);
        assert!(!nodes.put(node("a", "v1.33.0")), "nothing changed");
        assert!(nodes.put(node("b", "v1.33.0")), "an upgrade");
        assert_eq!(nodes.versions().collect::<Vec<_>>(), ["v1.33.0"]);
        assert!(nodes.remove("a") && nodes.remove("b") && !nodes.remove("b"));
        assert_eq!((nodes.len(), nodes.versions().count()), (1, 1));
        assert!(nodes.remove("c") && nodes.is_empty() && nodes.versions().next().is_none());
    }
}
