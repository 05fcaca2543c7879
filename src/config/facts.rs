//! What is true of the cluster, where the configuration itself says it: namespaces, nodes, ProxyConfig resources.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::decode::{At, Decoder};
use super::error::{Fault, Place};
use super::label::{is_dns_label, is_dns_subdomain};

/// A namespace with what decides about injection in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels, all strings.
    pub labels: Map<String, Value>,
    /// Its annotations, all strings.
    pub annotations: Map<String, Value>,
}

/// A node with what decides about native sidecars on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The version its kubelet reports, such as `v1.33.2`.
    pub kubelet_version: String,
}

impl Namespace {
    /// The namespace as it stands in a bundle.
    pub fn to_value(&self) -> Value {
        json!({"name": self.name, "labels": self.labels, "annotations": self.annotations})
    }
}

impl Node {
    /// The node as it stands in a bundle.
    pub fn to_value(&self) -> Value {
        json!({"name": self.name, "kubeletVersion": self.kubelet_version})
    }
}

pub(super) fn namespaces(decoder: &mut Decoder<'_>, at: &At<'_>) -> Vec<Namespace> {
    let mut names = Names::new("a namespace name: up to 63 of a-z 0-9 -", is_dns_label);
    let mut all = Vec::new();
    for at in decoder.list(at, "a list of namespaces") {
        let Some(mut fields) = decoder.record(&at, &["name", "labels", "annotations"]) else { continue };
        let name = names.read(decoder, &at, fields.take("name"));
        let labels = fields.take("labels").map(|at| strings(decoder, &at)).unwrap_or_default();
        let annotations = fields.take("annotations").map(|at| strings(decoder, &at)).unwrap_or_default();
        all.push(Namespace { name, labels, annotations });
    }
    all
}

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

/// The names in a list, each of which may be given once.
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
