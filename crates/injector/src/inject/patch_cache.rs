//! The patch cache: admissions for pods whose siblings were reviewed before.
//!
//! Most pods of a burst are siblings, which differ only in generated strings: replicas of a ReplicaSet, a DaemonSet's pod
//! for each node, a StatefulSet's by ordinal, the Jobs of a CronJob, a series of bare pods. [`PodFingerprint`] cuts these
//! strings out of the text as received; two pods with the same rest, under the same configuration and facts, get the same
//! patch with their own strings in it. [`PatchCache`] stores such patches. On a hit, nothing is parsed, rendered or compared.
//!
//! Why this is sound:
//! - Everything that [`run`] reads, except the names, is part of the key, byte for byte; so is which names are equal.
//!   Texts are compared, not their hashes.
//! - A text counts as a name because of its *place*, not its content: [`candidates`] lists the places, and the code
//!   that reads them. This crate only copies the texts in these places, with two exceptions: it cuts the end of an
//!   owner's name at the hash or time that leads to another workload, and it looks up token volumes by name, so they
//!   only count as names if nothing else may have the same name. A place does not count if the configuration mentions
//!   it.
//! - A patch is cached after [`run`] was called for a pod whose names are stand-ins, and its patch with the real names
//!   substituted was byte for byte the patch of the real pod, which was verified as usual.
//! - A template that inspects a stand-in (compares it, takes its length, parses a number in it …) instead of only copying it
//!   ends that run ([`Refusal::StandIn`]). The same applies if a stand-in ends up in a key or a path, or where an overlay
//!   is compared with the pod or another overlay, or is read after the merge.
//! - A name that a template copied into the pod may still equal a text of the pod, or of another template, by accident.
//!   Therefore [`dependence`] accepts it only in what the patch adds, and no operation at the place of a name.
//! - What a stand-in stands for is known as far as functions need to know it: it is not empty, and in the patch it is a
//!   lower-case DNS name of at most 63 bytes. Any other name is cut out too, but ends the use of an entry that needs it.
//! - Once in 1,024 uses, a patch is nevertheless compared with the result of [`run`].
//!
//! Where the answer depends on a name, that name counts as part of the text from then on, for all pods with this key
//! ([`Entry::Depends`]), and the next attempt is made without it: templates that inspect a Job's name leave its pods
//! siblings of each other. This cannot make an answer wrong, as any choice of names is sound.
//!
//! [`run`]: super::run

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
};

use gotemplate::{STAND_IN, STAND_IN_END, StandIns};
use quick_cache::{Weighter, sync::Cache};
use serde_json::Value;

use super::{
    Facts, PATCH_LIMIT, PodRequest, Refusal, Rules, Warning,
    admission::{Admission, AdmissionDecision, Subject},
    defaults, known_nodes, native, run_by,
};
use crate::{
    cel::User,
    config::{InjectorConfig, LimitRange, ResourceQuota},
    doorkeeper::Doorkeeper,
};

mod candidates;
mod dependence;
mod fingerprint;

pub(super) use candidates::Candidates;
pub(super) use fingerprint::PodFingerprint;

use candidates::Variables;
use fingerprint::{Name, stand_in_characters};

/// How often a cached patch is used before it is compared with a fresh one.
const CHECK_EVERY: u32 = 1024;
/// Size limit of keys and patches for one configuration, in bytes.
const BYTES: u64 = 8 << 20;
/// Overhead of an entry besides its texts.
const OVERHEAD: usize = 512;
/// How many pods are remembered as seen, by the hash of their key.
const REMEMBERED: usize = 4096;
/// Maximum credit, in new entries. Adding an entry costs as much as computing a patch. Hits pay for it, and so does a
/// fraction of the misses, so that a cluster with more shapes than fit into the cache does not pay twice for each.
const CREDIT: i64 = 256;
/// How many misses pay for one new entry.
const FRACTION: i64 = 16;
/// How often an entry is tried with fewer names. Each attempt costs as much as computing a patch.
const ATTEMPTS: usize = 3;

/// The patch cache of one configuration.
#[derive(Debug)]
pub(super) struct PatchCache {
    variables: Variables,
    kept: Cache<Box<[u8]>, Entry, Weight>,
    doorkeeper: Doorkeeper,
    /// In units of [`FRACTION`].
    credit: AtomicI64,
}

/// The known facts about the pods with a key.
#[derive(Clone, Debug)]
enum Entry {
    /// Their patch.
    Patch(Arc<CachedPatch>),
    /// The names that their patch depends on, so that it is found under a key that contains them.
    Depends(StandIns),
}

/// A patch with slots for names.
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
        let variables = Variables::of(&configuration);
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
            // A quota's usage changes with each pod, and so do the warnings.
            let limits = namespace.limit_ranges.iter().map(LimitRange::to_value);
            let quotas = namespace.resource_quotas.iter().map(ResourceQuota::to_value);
            limits.chain(quotas).for_each(|limits| text(&limits.to_string()));
        }
        fingerprint.share(&mut key);
        key
    }

    /// The patch for pods like this one, and its key. Names on which it depends become part of the fingerprint's text.
    pub(super) fn find(
        &self,
        mesh: &InjectorConfig,
        fingerprint: &mut PodFingerprint<'_>,
        query: &Query<'_>,
    ) -> (Vec<u8>, Option<Arc<CachedPatch>>) {
        let mut key = self.key(mesh, fingerprint, query);
        let mut found = None;
        for _ in 0..=ATTEMPTS {
            match self.kept.get(key.as_slice()) {
                Some(Entry::Depends(names)) if !fingerprint.literal().contains(names) => {
                    fingerprint.keep(names);
                    key = self.key(mesh, fingerprint, query);
                }
                Some(Entry::Patch(patch)) => {
                    found = Some(patch);
                    break;
                }
                Some(Entry::Depends(_)) | None => break,
            }
        }
        self.earn(if found.is_some() { FRACTION } else { 1 });
        (key, found)
    }

    /// Credit is only an optimization: it may be slightly inaccurate.
    fn earn(&self, parts: i64) {
        let credit = self.credit.load(Ordering::Relaxed);
        if credit < CREDIT * FRACTION {
            self.credit.store(credit + parts, Ordering::Relaxed);
        }
    }

    /// Removes a patch for a pod that now has no outcome; returns whether there was one, which is a bug.
    pub(super) fn forget(&self, key: &[u8], fingerprint: &PodFingerprint<'_>) -> bool {
        let would_answer = match self.kept.get(key) {
            Some(Entry::Patch(patch)) => patch.fill(fingerprint).is_some(),
            Some(Entry::Depends(_)) | None => false,
        };
        would_answer && self.kept.remove(key).is_some()
    }

    /// Learns from a fresh result: adds it when such a pod is seen for the second time, and compares it with an
    /// existing entry. `key` is the fingerprint's, as returned by [`find`](Self::find).
    pub(super) fn learn(
        &self,
        mesh: &InjectorConfig,
        mut key: Vec<u8>,
        fingerprint: &mut PodFingerprint<'_>,
        query: &Query<'_>,
        answer: &Admission,
    ) -> Learned {
        if let Some(Entry::Patch(patch)) = self.kept.get(key.as_slice()) {
            return match patch.fill(fingerprint) {
                Some(filled) if filled == *answer => Learned::Kept,
                Some(_) => {
                    self.kept.remove(key.as_slice());
                    Learned::Stale
                }
                // A name that cannot stand in a patch.
                None => Learned::NotCacheable,
            };
        }
        if !self.doorkeeper.again(&key) {
            return Learned::Noted;
        }
        for _ in 0..ATTEMPTS {
            if self.credit.load(Ordering::Relaxed) < FRACTION {
                return Learned::Noted;
            }
            self.credit.fetch_sub(FRACTION, Ordering::Relaxed);
            match CachedPatch::of(mesh, fingerprint, query) {
                Ok(patch) if patch.fill(fingerprint).as_ref() == Some(answer) => {
                    self.kept.insert(key.into_boxed_slice(), Entry::Patch(Arc::new(patch)));
                    return Learned::Kept;
                }
                Err(names) if !fingerprint.literal().contains(names) => {
                    fingerprint.keep(names);
                    let wider = std::mem::replace(&mut key, self.key(mesh, fingerprint, query));
                    self.kept.insert(wider.into_boxed_slice(), Entry::Depends(fingerprint.literal()));
                }
                Ok(_) | Err(_) => break,
            }
        }
        Learned::NotCacheable
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
        self.run(mesh, &self.request(pod))
    }

    fn request(&self, pod: Value) -> PodRequest {
        let (path_env, user) = (self.path_env.clone(), self.user.cloned());
        PodRequest { path_env, user, ..PodRequest::new(self.namespace, pod) }
    }

    fn run(&self, mesh: &InjectorConfig, request: &PodRequest) -> Result<Admission, Refusal> {
        let subject = Subject::of(self.namespace, &request.pod);
        Ok(Admission::of(run_by(Rules::Configured, mesh, request, self.facts)?, subject))
    }
}

impl CachedPatch {
    /// The admission for the pod of a fingerprint with the same shared part; `None` if one of its names cannot stand in
    /// a patch.
    pub(super) fn fill(&self, fingerprint: &PodFingerprint<'_>) -> Option<Admission> {
        let name = |number| fingerprint.name(number).map(|name| name.text);
        let mut answer = self.answer.clone();
        answer.subject.name = self.name.fill(name)?;
        answer.subject.owner = self.owner.fill(name)?;
        if let Some(patch) = &mut answer.patch {
            let plain = |number| {
                fingerprint.name(number).filter(|name| name.is_plain).map(|name: Name<'_>| name.text)
            };
            // A patch that is too large is denied, which is left to the full pipeline.
            patch.json = self.patch.fill(plain).filter(|json| json.len() <= PATCH_LIMIT)?;
        }
        Some(answer)
    }

    /// Counts a use, and returns whether it is time to compare the entry with a fresh result.
    pub(super) fn is_due(&self) -> bool {
        self.uses.fetch_add(1, Ordering::Relaxed) % CHECK_EVERY == CHECK_EVERY - 1
    }

    /// Runs the pipeline for the pod that stands for all siblings.
    ///
    /// # Errors
    /// With the names on which the result depends; none if that is not known.
    fn of(
        mesh: &InjectorConfig,
        fingerprint: &PodFingerprint<'_>,
        query: &Query<'_>,
    ) -> Result<CachedPatch, StandIns> {
        let unknown = || StandIns::NONE;
        let text = fingerprint.stand_in();
        let mut json = serde_json::Deserializer::from_str(&text);
        // The text was bounded before it came here.
        json.disable_recursion_limit();
        let pod: Value = serde::Deserialize::deserialize(&mut json).map_err(|_| unknown())?;
        // A pod that itself contains these characters, even in escapes, is not cached.
        let characters = stand_in_characters(&text);
        if strings(&pod).map(stand_in_characters).sum::<usize>() != characters
            || characters != 2 * fingerprint.places()
        {
            return Err(unknown());
        }
        let workload = fingerprint.workload(&pod, query.namespace);
        let request = PodRequest { workload, stand_ins: true, ..query.request(pod) };
        let mut answer = query.run(mesh, &request).map_err(|refusal| match refusal {
            Refusal::StandIn { stand_ins, .. } => stand_ins,
            _ => unknown(),
        })?;
        let mut pieces = Pieces::default();
        let warned = answer.warnings.iter().map(|warning| StandIns::of(&warning.message));
        let mut depends = warned.fold(StandIns::NONE, |all, one| all | one);
        if let Some(patch) = &mut answer.patch {
            let operations: Value = serde_json::from_str(&patch.json).map_err(|_| unknown())?;
            depends = depends | dependence::of_patch(&operations, &request.pod);
            pieces = Pieces::of(&std::mem::take(&mut patch.json)).ok_or_else(unknown)?;
        }
        if !depends.is_empty() {
            return Err(depends);
        }
        let name = Pieces::of(&std::mem::take(&mut answer.subject.name)).ok_or_else(unknown)?;
        let owner = Pieces::of(&std::mem::take(&mut answer.subject.owner)).ok_or_else(unknown)?;
        Ok(CachedPatch { answer, patch: pieces, name, owner, uses: AtomicU32::new(0) })
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
        while let Some((literal, tail)) = text.split_once(STAND_IN) {
            let (number, tail) = tail.split_once(STAND_IN_END)?;
            pieces.push((literal.into(), number.parse().ok()?));
            text = tail;
        }
        (!text.contains(STAND_IN_END)).then(|| Pieces { pieces, rest: text.into() })
    }

    fn fill<'n>(&self, name: impl Fn(usize) -> Option<&'n str>) -> Option<String> {
        let mut text = String::with_capacity(self.bytes() + 64 * self.pieces.len());
        for (literal, number) in &self.pieces {
            text.push_str(literal);
            text.push_str(name(*number)?);
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

#[derive(Clone, Copy, Debug)]
struct Weight;

impl Weighter<Box<[u8]>, Entry> for Weight {
    fn weight(&self, key: &Box<[u8]>, entry: &Entry) -> u64 {
        let patch = match entry {
            Entry::Patch(patch) => patch.weight(),
            Entry::Depends(_) => 0,
        };
        (key.len() + patch + OVERHEAD) as u64
    }
}

impl CachedPatch {
    fn weight(&self) -> usize {
        let texts = self.patch.weight() + self.name.weight() + self.owner.weight();
        let strings =
            |texts: &[String]| texts.iter().map(|text| text.len() + size_of::<String>()).sum::<usize>();
        let warned = |warnings: &[Warning]| {
            warnings.iter().map(|warning| warning.message.len() + size_of::<Warning>()).sum::<usize>()
        };
        let templates = match &self.answer.decision {
            AdmissionDecision::Inject { templates, .. } => strings(templates),
            _ => 0,
        };
        texts + templates + self.answer.subject.namespace.len() + warned(&self.answer.warnings)
    }
}

#[cfg(test)]
mod tests;
