//! Answers for pods whose siblings were answered before.
//!
//! Most pods of a burst are replicas: they differ from each other in generated strings only. [`Sketch`] takes those out of
//! the text as it was received; two pods with the same rest, under the same configuration and facts, get the same patch with
//! their own strings in it. [`Replays`] keeps such patches. Nothing is parsed, rendered or compared for a pod that finds
//! its patch here.
//!
//! Why this is sound:
//! - Everything [`run`] reads is in the key byte for byte, but for the names. Texts are compared, not their hashes.
//! - A patch is kept after [`run`] was asked about a pod whose names are stand-ins, and its patch with the real names put
//!   in was byte for byte the patch of the real pod, which was verified as always.
//! - A template that looks at a stand-in (compares it, takes its length, reads a number in it …) instead of only passing it
//!   on ends that run ([`Refusal::StandIn`]), and the patch is not kept. Neither is it if a stand-in ends
//!   up in a key or a path, or where an overlay is compared with the pod or another overlay.
//! - What this crate itself does with names is to pass them on, to look volumes up by them and to cut the hash off the
//!   owner's name. So a name counts as one only where it cannot equal any other text of the pod, and not at all if the
//!   configuration mentions the label or the volume.
//! - Once in 1,024 uses a patch is held against what [`run`] says all the same.
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
    Facts, Outcome, PATCH_LIMIT, PodRequest, Refusal, Rules, Warning, decision::Reason, known_nodes, native,
    run_by,
};
use crate::{config::Mesh, seen::Seen};

mod sketch;

pub use sketch::Sketch;

use sketch::{Blanks, CLOSE, HASH_LABELS, OPEN, TOKEN_VOLUME};

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

/// The part of an outcome that goes to the API server and into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Summary {
    /// The pod changes.
    Injected {
        /// RFC 6902 patch as JSON text.
        patch: String,
        /// Number of operations in it.
        operations: usize,
        /// Names of the templates used.
        templates: Vec<String>,
        /// Key of the reason.
        reason: &'static str,
        /// For the user who created the pod.
        warnings: Vec<Warning>,
    },
    /// The pod is unchanged.
    Skipped {
        /// Key of the reason.
        reason: &'static str,
        /// For the user who created the pod.
        warnings: Vec<Warning>,
    },
}

impl From<Outcome> for Summary {
    fn from(outcome: Outcome) -> Summary {
        let warnings = outcome.warnings().to_vec();
        let reason = outcome.decision().reason.key();
        match outcome {
            Outcome::Skipped(_) => Summary::Skipped { reason, warnings },
            // Counted by the effect on the pod.
            Outcome::Injected(injection) if injection.operations == 0 => {
                Summary::Skipped { reason: Reason::AlreadyInjected.key(), warnings }
            }
            Outcome::Injected(injection) => Summary::Injected {
                operations: injection.operations,
                patch: injection.patch_json,
                templates: injection.templates,
                reason,
                warnings,
            },
        }
    }
}

/// Properties of a pod besides its outcome, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The pod's name, or the prefix of its future name.
    pub name: String,
    /// `Kind/name` of its owner, or empty.
    pub owner: String,
    /// Whether it carries the status annotation of an earlier injection.
    pub reinvoked: bool,
}

/// A cached or fresh result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The outcome for the pod.
    pub summary: Summary,
    /// The pod's properties.
    pub subject: Subject,
}

/// The patch cache of one configuration.
#[derive(Debug)]
pub struct Replays {
    blanks: Blanks,
    kept: Cache<Box<[u8]>, Arc<Replay>, Weight>,
    seen: Seen,
    /// In units of [`FRACTION`].
    credit: AtomicI64,
}

/// An entry, with slots for names.
#[derive(Debug)]
pub struct Replay {
    answer: Answer,
    patch: Pieces,
    name: Pieces,
    owner: Pieces,
    uses: AtomicU32,
}

/// The result of [`Replays::learn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// The pod was remembered as seen.
    Noted,
    /// The entry was added for the pod's siblings.
    Kept,
    /// The result depends on the pod's names and is not cached.
    Particular,
    /// A cached entry differs from a fresh result, which is a bug; it was removed.
    Contradicted,
}

impl Replays {
    /// An empty cache for a configuration.
    pub fn new(mesh: &Mesh) -> Replays {
        // A configuration that mentions them may have rules about them.
        let configuration = mesh.effective_bundle().to_string();
        let blanks = Blanks {
            hash: !HASH_LABELS.iter().any(|label| configuration.contains(label)),
            token: !configuration.contains(TOKEN_VOLUME),
        };
        let kept = Cache::with_weighter(512, BYTES, Weight);
        Replays { blanks, kept, seen: Seen::new(REMEMBERED), credit: AtomicI64::new(CREDIT * FRACTION) }
    }

    /// Fingerprints a pod, if patches for pods like it can be cached.
    pub fn sketch<'t>(&self, object: &'t str) -> Option<Sketch<'t>> {
        Sketch::of(object, self.blanks)
    }

    /// Everything that determines the result, except the pod's names and the configuration.
    pub fn key(
        &self,
        mesh: &Mesh,
        sketch: &Sketch<'_>,
        namespace: &str,
        path_env: &BTreeMap<String, String>,
        facts: &Facts<'_>,
    ) -> Vec<u8> {
        let mut key = Vec::with_capacity(8 << 10);
        // Every text is followed by a byte that never occurs in a text.
        let mut text = |text: &str| {
            key.extend_from_slice(text.as_bytes());
            key.push(0xff);
        };
        text(namespace);
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
            for (name, value) in namespace.labels.iter().chain(&namespace.annotations) {
                text(name);
                text(value.as_str().unwrap_or_default());
            }
        }
        sketch.share(&mut key);
        key
    }

    /// The entry for a key.
    pub fn find(&self, key: &[u8]) -> Option<Arc<Replay>> {
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
    pub fn forget(&self, key: &[u8]) -> bool {
        self.kept.remove(key).is_some()
    }

    /// Learns from a fresh result: adds it when such a pod is seen for the second time, and compares it with an
    /// existing entry.
    pub fn learn(
        &self,
        mesh: &Mesh,
        key: Vec<u8>,
        sketch: &Sketch<'_>,
        question: &Question<'_>,
        answer: &Answer,
    ) -> Learned {
        if let Some(replay) = self.kept.get(key.as_slice()) {
            if replay.fill(sketch).as_ref() == Some(answer) {
                return Learned::Kept;
            }
            self.kept.remove(key.as_slice());
            return Learned::Contradicted;
        }
        if !self.seen.again(&key) || self.credit.load(Ordering::Relaxed) < FRACTION {
            return Learned::Noted;
        }
        self.credit.fetch_sub(FRACTION, Ordering::Relaxed);
        match Replay::of(mesh, sketch, question) {
            Some(replay) if replay.fill(sketch).as_ref() == Some(answer) => {
                self.kept.insert(key.into_boxed_slice(), Arc::new(replay));
                Learned::Kept
            }
            _ => Learned::Particular,
        }
    }
}

/// A request whose pod is available only as text.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// Namespace of the request.
    pub namespace: &'q str,
    /// Environment of the proxy from the URL path.
    pub path_env: &'q BTreeMap<String, String>,
    /// Facts about the cluster.
    pub facts: &'q Facts<'q>,
}

impl Question<'_> {
    /// Computes the result for a pod without the cache.
    ///
    /// # Errors
    /// As [`run`](super::run).
    pub fn answer(&self, mesh: &Mesh, pod: Value) -> Result<Answer, Refusal> {
        self.run(mesh, pod, false)
    }

    fn run(&self, mesh: &Mesh, pod: Value, stand_ins: bool) -> Result<Answer, Refusal> {
        let subject = Subject::of(&pod);
        let request = PodRequest {
            namespace: self.namespace.to_owned(),
            pod,
            path_env: self.path_env.clone(),
            workload: None,
            stand_ins,
        };
        let outcome = run_by(Rules::Configured, mesh, &request, self.facts)?;
        Ok(Answer { summary: outcome.into(), subject })
    }
}

impl Subject {
    /// The properties of a pod for the log.
    pub fn of(pod: &Value) -> Subject {
        let metadata = |key: &str| pod.get("metadata").and_then(|metadata| metadata.get(key));
        let text = |key: &str| metadata(key).and_then(Value::as_str).filter(|name| !name.is_empty());
        let owners = metadata("ownerReferences").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let controls = |owner: &&Value| owner.get("controller").and_then(Value::as_bool) == Some(true);
        let owner = owners.iter().find(controls).or_else(|| owners.first());
        let owner = owner.and_then(|owner| {
            Some(format!("{}/{}", owner.get("kind")?.as_str()?, owner.get("name")?.as_str()?))
        });
        Subject {
            name: text("name").or_else(|| text("generateName")).unwrap_or_default().to_owned(),
            owner: owner.unwrap_or_default(),
            reinvoked: crate::pod::annotation(pod, crate::names::ANNOTATION_STATUS).is_some(),
        }
    }
}

impl Replay {
    /// The result for a pod with the same shared part.
    pub fn fill(&self, sketch: &Sketch<'_>) -> Option<Answer> {
        let names = sketch.names();
        let mut answer = self.answer.clone();
        answer.subject.name = self.name.fill(names)?;
        answer.subject.owner = self.owner.fill(names)?;
        if let Summary::Injected { patch, .. } = &mut answer.summary {
            // A patch that is too large is denied, which is left to the full pipeline.
            *patch = self.patch.fill(names).filter(|patch| patch.len() <= PATCH_LIMIT)?;
        }
        Some(answer)
    }

    /// Counts a use, and returns whether it is time to compare the entry with a fresh result.
    pub fn is_due(&self) -> bool {
        self.uses.fetch_add(1, Ordering::Relaxed) % CHECK_EVERY == CHECK_EVERY - 1
    }

    /// Runs the pipeline for the pod that stands for all siblings; `None` if the result depends on a name.
    fn of(mesh: &Mesh, sketch: &Sketch<'_>, question: &Question<'_>) -> Option<Replay> {
        let text = sketch.stand_in();
        let mut json = serde_json::Deserializer::from_str(&text);
        // The text was bounded before it came here.
        json.disable_recursion_limit();
        let pod: Value = serde::Deserialize::deserialize(&mut json).ok()?;
        let count = |text: &str| text.matches([OPEN, CLOSE]).count();
        // A pod that itself contains these characters, even in escapes, is not cached.
        if strings(&pod).map(count).sum::<usize>() != count(&text) || count(&text) != 2 * sketch.places() {
            return None;
        }
        let mut answer = question.run(mesh, pod, true).ok()?;
        let mut pieces = Pieces::default();
        let warnings = match &mut answer.summary {
            Summary::Injected { patch, warnings, .. } => {
                let operations: Value = serde_json::from_str(patch).ok()?;
                if keys_and_paths(&operations).any(|text| count(text) > 0 || is_named(text)) {
                    return None;
                }
                pieces = Pieces::of(&std::mem::take(patch))?;
                warnings
            }
            Summary::Skipped { warnings, .. } => warnings,
        };
        if warnings.iter().any(|warning| count(&warning.message) > 0) {
            return None;
        }
        let name = Pieces::of(&std::mem::take(&mut answer.subject.name))?;
        let owner = Pieces::of(&std::mem::take(&mut answer.subject.owner))?;
        Some(Replay { answer, patch: pieces, name, owner, uses: AtomicU32::new(0) })
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

impl Weighter<Box<[u8]>, Arc<Replay>> for Weight {
    fn weight(&self, key: &Box<[u8]>, replay: &Arc<Replay>) -> u64 {
        let texts = replay.patch.weight() + replay.name.weight() + replay.owner.weight();
        let strings =
            |texts: &[String]| texts.iter().map(|text| text.len() + size_of::<String>()).sum::<usize>();
        let warned = |warnings: &[Warning]| {
            warnings.iter().map(|warning| warning.message.len() + size_of::<Warning>()).sum::<usize>()
        };
        let said = match &replay.answer.summary {
            Summary::Injected { templates, warnings, .. } => strings(templates) + warned(warnings),
            Summary::Skipped { warnings, .. } => warned(warnings),
        };
        (key.len() + texts + said + OVERHEAD) as u64
    }
}

#[cfg(test)]
mod tests;
