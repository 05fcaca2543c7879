//! The patch cache: admissions for pods whose siblings were reviewed before.
//!
//! Most pods of a burst are replicas, which differ only in generated strings. [`PodFingerprint`] cuts these out of the text as
//! received; two pods with the same rest, under the same configuration and facts, get the same patch with their own strings
//! in it. [`PatchCache`] stores such patches. On a hit, nothing is parsed, rendered or compared.
//!
//! Why this is sound:
//! - Everything that [`run`] reads is part of the key, byte for byte, except the names. Texts are compared, not their hashes.
//! - A patch is cached after [`run`] was called for a pod whose names are stand-ins, and its patch with the real names
//!   substituted was byte for byte the patch of the real pod, which was verified as usual.
//! - A template that inspects a stand-in (compares it, takes its length, parses a number in it …) instead of only copying it
//!   ends that run ([`Refusal::StandIn`]), and the patch is not cached. The same applies if a stand-in ends up in a key or a
//!   path, or where an overlay is compared with the pod or another overlay.
//! - This crate itself only copies names, looks volumes up by them and cuts the hash off the owner's name. Therefore a string
//!   counts as a name only where it cannot equal any other text of the pod, and not at all if the configuration mentions the
//!   label or the volume.
//! - Once in 1,024 uses, a patch is nevertheless compared with the result of [`run`].
//!
//! [`run`]: super::run

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
};

use quick_cache::{Weighter, sync::Cache};
use serde_json::Value;

use super::{
    Facts, PATCH_LIMIT, PodRequest, Refusal, Rules, Warning,
    admission::{Admission, AdmissionDecision, Subject},
    defaults, known_nodes, native, run_by,
};
use crate::{cel::User, config::InjectorConfig, doorkeeper::Doorkeeper};

mod fingerprint;

pub(super) use fingerprint::{Candidates, PodFingerprint};

use fingerprint::{CLOSE, HASH_LABELS, OPEN, TOKEN_VOLUME, Variables};

/// How often a cached patch is used before it is compared with a fresh one.
const CHECK_EVERY: u32 = 1024;
/// Size limit of keys and patches for one configuration, in bytes.
const BYTES: u64 = 8 << 20;
/// Overhead of an entry besides its texts.
const OVERHEAD: usize = 512;
/// How many pods are remembered as seen, by the hash of their key.
const REMEMBERED: usize = 4096;
/// Adding an entry costs as much as computing a patch. Hits pay for it, and so does a fraction of the misses, so that a
/// cluster with more shapes than fit into the cache does not pay twice for each.
const CREDIT: i64 = 256;
/// How many misses pay for one new entry.
const FRACTION: i64 = 16;

/// The patch cache of one configuration.
#[derive(Debug)]
pub(super) struct PatchCache {
    variables: Variables,
    kept: Cache<Box<[u8]>, Arc<CachedPatch>, Weight>,
    doorkeeper: Doorkeeper,
    /// In units of [`FRACTION`].
    credit: AtomicI64,
}

/// An entry, with slots for names.
#[derive(Debug)]
pub(super) struct CachedPatch {
    answer: Admission,
    patch: Pieces,
    name: Pieces,
    owner: Pieces,
    uses: AtomicU32,
}

/// The result of [`PatchCache::learn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Learned {
    /// The pod was remembered as seen.
    Noted,
    /// The entry was added for the pod's siblings.
    Kept,
    /// The result depends on the pod's names and is not cached.
    NotCacheable,
    /// A cached entry differs from a fresh result, which is a bug; it was removed.
    Stale,
}

impl PatchCache {
    /// An empty cache for a configuration.
    pub(super) fn new(mesh: &InjectorConfig) -> PatchCache {
        // A configuration that mentions them may have rules about them.
        let configuration = mesh.effective_bundle().to_string();
        let variables = Variables {
            hash: !HASH_LABELS.iter().any(|label| configuration.contains(label)),
            token: !configuration.contains(TOKEN_VOLUME),
        };
        let kept = Cache::with_weighter(512, BYTES, Weight);
        PatchCache {
            variables,
            kept,
            doorkeeper: Doorkeeper::new(REMEMBERED),
            credit: AtomicI64::new(CREDIT * FRACTION),
        }
    }

    /// The fingerprint of a pod, if patches for pods like it can be cached.
    pub(super) fn fingerprint<'t>(&self, object: &'t str, found: &Candidates) -> Option<PodFingerprint<'t>> {
        PodFingerprint::of(object, found, self.variables)
    }

    /// Everything that determines the result, except the pod's names and the configuration.
    pub(super) fn key(
        &self,
        mesh: &InjectorConfig,
        fingerprint: &PodFingerprint<'_>,
        query: &Query<'_>,
    ) -> Vec<u8> {
        let Query { namespace, path_env, user, facts } = *query;
        let mut key = Vec::with_capacity(8 << 10);
        // Every text is followed by a byte that never occurs in a text.
        let mut text = |text: &str| {
            key.extend_from_slice(text.as_bytes());
            key.push(0xff);
        };
        text(namespace);
        if let Some(user) = user {
            text(&user.name);
            text(&user.groups.len().to_string());
            user.groups.iter().for_each(|group| text(group));
        }
        text(&path_env.len().to_string());
        for (name, value) in path_env {
            text(name);
            text(value);
        }
        let nodes = known_nodes(Rules::Configured, mesh, path_env, facts);
        text(if native::detected(mesh.native_sidecars(), nodes, None) { "native" } else { "" });
        text(match facts.selection {
            super::Selection::ByLabels => "by labels",
            super::Selection::ByApiServer => "",
            super::Selection::ByPodAlone => "by pod alone",
        });
        if let Some(namespace) = facts.namespace {
            text(&namespace.labels.len().to_string());
            let annotations = namespace.annotations.iter().filter(|(key, _)| defaults::is_read(mesh, key));
            for (name, value) in namespace.labels.iter().chain(annotations) {
                text(name);
                text(value.as_str().unwrap_or_default());
            }
        }
        fingerprint.share(&mut key);
        key
    }

    /// The entry for a key.
    pub(super) fn find(&self, key: &[u8]) -> Option<Arc<CachedPatch>> {
        let found = self.kept.get(key);
        self.earn(if found.is_some() { FRACTION } else { 1 });
        found
    }

    /// Credit is only an optimization: it may be slightly inaccurate.
    fn earn(&self, parts: i64) {
        let credit = self.credit.load(Ordering::Relaxed);
        if credit < CREDIT * FRACTION {
            self.credit.store(credit + parts, Ordering::Relaxed);
        }
    }

    /// Removes an entry for a pod that now has no outcome; returns whether there was one, which is a bug.
    pub(super) fn forget(&self, key: &[u8]) -> bool {
        self.kept.remove(key).is_some()
    }

    /// Learns from a fresh result: adds it when such a pod is seen for the second time, and compares it with an
    /// existing entry.
    pub(super) fn learn(
        &self,
        mesh: &InjectorConfig,
        key: Vec<u8>,
        fingerprint: &PodFingerprint<'_>,
        query: &Query<'_>,
        answer: &Admission,
    ) -> Learned {
        if let Some(replay) = self.kept.get(key.as_slice()) {
            if replay.fill(fingerprint).as_ref() == Some(answer) {
                return Learned::Kept;
            }
            self.kept.remove(key.as_slice());
            return Learned::Stale;
        }
        if !self.doorkeeper.again(&key) || self.credit.load(Ordering::Relaxed) < FRACTION {
            return Learned::Noted;
        }
        self.credit.fetch_sub(FRACTION, Ordering::Relaxed);
        match CachedPatch::of(mesh, fingerprint, query) {
            Some(replay) if replay.fill(fingerprint).as_ref() == Some(answer) => {
                self.kept.insert(key.into_boxed_slice(), Arc::new(replay));
                Learned::Kept
            }
            _ => Learned::NotCacheable,
        }
    }
}

/// A query whose pod is available only as text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'q> {
    /// Namespace of the request.
    pub(super) namespace: &'q str,
    /// Environment of the proxy from the URL path.
    pub(super) path_env: &'q BTreeMap<String, String>,
    /// Who creates the pod, if the configuration reads that.
    pub(super) user: Option<&'q User>,
    /// Facts about the cluster.
    pub(super) facts: &'q Facts<'q>,
}

impl Query<'_> {
    /// Computes the admission of a pod without the cache.
    ///
    /// # Errors
    /// As [`run`](super::run).
    pub(super) fn answer(&self, mesh: &InjectorConfig, pod: Value) -> Result<Admission, Refusal> {
        self.run(mesh, pod, false)
    }

    fn run(&self, mesh: &InjectorConfig, pod: Value, stand_ins: bool) -> Result<Admission, Refusal> {
        let subject = Subject::of(self.namespace, &pod);
        let request = PodRequest {
            namespace: self.namespace.to_owned(),
            pod,
            path_env: self.path_env.clone(),
            workload: None,
            user: self.user.cloned(),
            stand_ins,
        };
        Ok(Admission::of(run_by(Rules::Configured, mesh, &request, self.facts)?, subject))
    }
}

impl CachedPatch {
    /// The admission for the pod of a fingerprint with the same shared part.
    pub(super) fn fill(&self, fingerprint: &PodFingerprint<'_>) -> Option<Admission> {
        let names = fingerprint.names();
        let mut answer = self.answer.clone();
        answer.subject.name = self.name.fill(names)?;
        answer.subject.owner = self.owner.fill(names)?;
        if let Some(patch) = &mut answer.patch {
            // A patch that is too large is denied, which is left to the full pipeline.
            patch.json = self.patch.fill(names).filter(|json| json.len() <= PATCH_LIMIT)?;
        }
        Some(answer)
    }

    /// Counts a use, and returns whether it is time to compare the entry with a fresh result.
    pub(super) fn is_due(&self) -> bool {
        self.uses.fetch_add(1, Ordering::Relaxed) % CHECK_EVERY == CHECK_EVERY - 1
    }

    /// Runs the pipeline for the pod that stands for all siblings; `None` if the result depends on a name.
    fn of(mesh: &InjectorConfig, fingerprint: &PodFingerprint<'_>, query: &Query<'_>) -> Option<CachedPatch> {
        let text = fingerprint.stand_in();
        let mut json = serde_json::Deserializer::from_str(&text);
        // The text was bounded before it came here.
        json.disable_recursion_limit();
        let pod: Value = serde::Deserialize::deserialize(&mut json).ok()?;
        let count = |text: &str| text.matches([OPEN, CLOSE]).count();
        // A pod that itself contains these characters, even in escapes, is not cached.
        if strings(&pod).map(count).sum::<usize>() != count(&text) || count(&text) != 2 * fingerprint.places()
        {
            return None;
        }
        let mut answer = query.run(mesh, pod, true).ok()?;
        let mut pieces = Pieces::default();
        if let Some(patch) = &mut answer.patch {
            let operations: Value = serde_json::from_str(&patch.json).ok()?;
            if keys_and_paths(&operations).any(|text| count(text) > 0 || is_named(text)) {
                return None;
            }
            pieces = Pieces::of(&std::mem::take(&mut patch.json))?;
        }
        if answer.warnings.iter().any(|warning| count(&warning.message) > 0) {
            return None;
        }
        let name = Pieces::of(&std::mem::take(&mut answer.subject.name))?;
        let owner = Pieces::of(&std::mem::take(&mut answer.subject.owner))?;
        Some(CachedPatch { answer, patch: pieces, name, owner, uses: AtomicU32::new(0) })
    }
}

/// A text with slots for names: each literal is followed by a name's number.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pieces {
    pieces: Vec<(Box<str>, usize)>,
    rest: Box<str>,
}

impl Pieces {
    fn of(mut text: &str) -> Option<Pieces> {
        let mut pieces = Vec::new();
        while let Some((literal, tail)) = text.split_once(OPEN) {
            let (number, tail) = tail.split_once(CLOSE)?;
            pieces.push((literal.into(), number.parse().ok()?));
            text = tail;
        }
        (!text.contains(CLOSE)).then(|| Pieces { pieces, rest: text.into() })
    }

    fn fill(&self, names: &[&str]) -> Option<String> {
        let mut text = String::with_capacity(self.bytes() + 64 * self.pieces.len());
        for (literal, name) in &self.pieces {
            text.push_str(literal);
            text.push_str(names.get(*name)?);
        }
        text.push_str(&self.rest);
        Some(text)
    }

    fn weight(&self) -> usize {
        self.bytes() + size_of::<(Box<str>, usize)>() * self.pieces.len()
    }

    fn bytes(&self) -> usize {
        self.pieces.iter().map(|(literal, _)| literal.len()).sum::<usize>() + self.rest.len()
    }
}

/// Every string in a value, including keys.
fn strings(value: &Value) -> Box<dyn Iterator<Item = &str> + '_> {
    match value {
        Value::String(text) => Box::new(std::iter::once(text.as_str())),
        Value::Array(items) => Box::new(items.iter().flat_map(strings)),
        Value::Object(map) => {
            Box::new(map.iter().flat_map(|(key, value)| std::iter::once(key.as_str()).chain(strings(value))))
        }
        _ => Box::new(std::iter::empty()),
    }
}

/// Whether a path leads to a place with names, where a template's value is compared with the existing one.
fn is_named(path: &str) -> bool {
    matches!(path, "/metadata/name" | "/metadata/generateName")
        || path.starts_with("/metadata/ownerReferences")
}

/// Every key in a patch, and every path.
fn keys_and_paths(value: &Value) -> Box<dyn Iterator<Item = &str> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter().flat_map(keys_and_paths)),
        Value::Object(map) => Box::new(map.iter().flat_map(|(key, value)| {
            let pointer = matches!(key.as_str(), "path" | "from").then(|| value.as_str()).flatten();
            std::iter::once(key.as_str()).chain(pointer).chain(keys_and_paths(value))
        })),
        _ => Box::new(std::iter::empty()),
    }
}

#[derive(Clone, Copy, Debug)]
struct Weight;

impl Weighter<Box<[u8]>, Arc<CachedPatch>> for Weight {
    fn weight(&self, key: &Box<[u8]>, cached: &Arc<CachedPatch>) -> u64 {
        let texts = cached.patch.weight() + cached.name.weight() + cached.owner.weight();
        let strings =
            |texts: &[String]| texts.iter().map(|text| text.len() + size_of::<String>()).sum::<usize>();
        let warned = |warnings: &[Warning]| {
            warnings.iter().map(|warning| warning.message.len() + size_of::<Warning>()).sum::<usize>()
        };
        let templates = match &cached.answer.decision {
            AdmissionDecision::Inject { templates, .. } => strings(templates),
            _ => 0,
        };
        let said = templates + cached.answer.subject.namespace.len() + warned(&cached.answer.warnings);
        (key.len() + texts + said + OVERHEAD) as u64
    }
}

#[cfg(test)]
mod tests;
