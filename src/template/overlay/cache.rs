//! Parsed overlays by rendered text.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::Value;

use super::{Overlay, OverlayError, Part, Placeholder};

/// Parsed overlays by rendered text, bounded by the bytes they take.
///
/// A text is kept from the second time it is met, so texts that never come back cost neither memory nor a lock. There are
/// two generations: when the young one is full it becomes the old one, and what nobody asks for again goes with it.
#[derive(Debug)]
pub struct OverlayCache {
    hasher: RandomState,
    shards: [RwLock<Generations>; SHARDS],
    /// Hashes of texts that were met, each in one place; a wrong one costs a text its place or gives it one too early.
    met: Box<[AtomicU64]>,
}

const SHARDS: usize = 4;
const MET: usize = 2048;

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u64, Entry>,
    young_bytes: usize,
    old: HashMap<u64, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    text: Arc<str>,
    overlay: Arc<Overlay>,
    bytes: usize,
}

impl Default for OverlayCache {
    fn default() -> OverlayCache {
        OverlayCache {
            hasher: RandomState::new(),
            shards: Default::default(),
            met: (0..MET).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl OverlayCache {
    /// Bytes of one generation, those of the overlays included.
    const GENERATION_BYTES: usize = 6 << 20;

    /// Forgets every overlay.
    pub fn clear(&self) {
        self.met.iter().for_each(|hash| hash.store(0, Ordering::Relaxed));
        for shard in &self.shards {
            let old = std::mem::take(&mut *shard.write().unwrap_or_else(PoisonError::into_inner));
            drop(old);
        }
    }

    /// The rendered texts whose overlays are kept.
    #[cfg(test)]
    pub(crate) fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        for shard in &self.shards {
            let generations = shard.read().unwrap();
            let entries = generations.young.values().chain(generations.old.values());
            texts.extend(entries.map(|entry| entry.text.to_string()));
        }
        texts
    }

    /// The overlay of a rendered text for one pod; the text is parsed if it has not been seen lately.
    ///
    /// # Errors
    /// As [`Overlay::parse`] and [`Overlay::fill`].
    pub fn filled(&self, text: &str, placeholders: &[Placeholder]) -> Result<Value, OverlayError> {
        match self.overlay(text)? {
            Found::Kept(overlay) => overlay.fill(placeholders),
            Found::Once(overlay) => overlay.into_filled(placeholders),
        }
    }

    fn overlay(&self, text: &str) -> Result<Found, OverlayError> {
        let hash = self.hasher.hash_one(text);
        // Other bits than those that choose a place in `met`.
        let Some(shard) = self.shards.get((hash >> 32) as usize % SHARDS) else {
            return Ok(Found::Once(Overlay::parse(text)?));
        };
        let is_it = |entry: &&Entry| *entry.text == *text;
        let generations = shard.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = generations.young.get(&hash).filter(is_it) {
            return Ok(Found::Kept(Arc::clone(&entry.overlay)));
        }
        let aged = generations.old.get(&hash).filter(is_it).cloned();
        drop(generations);
        let entry = match aged {
            Some(entry) => entry,
            None => {
                let overlay = Overlay::parse(text)?;
                let met = self.met.get(hash as usize % MET).map(|met| met.swap(hash, Ordering::Relaxed));
                if met != Some(hash) {
                    return Ok(Found::Once(overlay));
                }
                let bytes = text.len() + weight(&overlay.root);
                if bytes > Self::GENERATION_BYTES / SHARDS {
                    return Ok(Found::Once(overlay));
                }
                Entry { text: Arc::from(text), overlay: Arc::new(overlay), bytes }
            }
        };
        let overlay = Arc::clone(&entry.overlay);
        let gone = shard.write().unwrap_or_else(PoisonError::into_inner).insert(hash, entry);
        drop(gone);
        Ok(Found::Kept(overlay))
    }
}

/// An overlay that is kept, or one that is not.
#[derive(Debug)]
enum Found {
    Kept(Arc<Overlay>),
    Once(Overlay),
}

impl Generations {
    /// Keeps an entry; what has to go for it is dropped by the caller, who has given the lock back by then.
    fn insert(&mut self, hash: u64, entry: Entry) -> HashMap<u64, Entry> {
        let mut gone = HashMap::new();
        if self.young_bytes + entry.bytes > OverlayCache::GENERATION_BYTES / SHARDS {
            gone = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.young_bytes = 0;
        }
        self.young_bytes += entry.bytes;
        if let Some(replaced) = self.young.insert(hash, entry) {
            self.young_bytes = self.young_bytes.saturating_sub(replaced.bytes);
        }
        gone
    }
}

/// About how many bytes a part takes, those of allocations included.
fn weight(part: &Part) -> usize {
    size_of::<Part>()
        + match part {
            Part::Literal(value) => value_weight(value),
            Part::Text(text) => text.segments.len() * 64,
            Part::List(literals, parts) => {
                literals.iter().map(value_weight).sum::<usize>() + parts.iter().map(weight).sum::<usize>()
            }
            Part::Map(literals, parts) => {
                map_weight(literals) + parts.iter().map(|(_, part)| 96 + weight(part)).sum::<usize>()
            }
            Part::Later(part, _) => weight(part),
        }
}

fn value_weight(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len().next_multiple_of(16),
            Value::Array(items) => items.iter().map(value_weight).sum(),
            Value::Object(map) => map_weight(map),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

/// A map's nodes have room for eleven entries each.
fn map_weight(map: &serde_json::Map<String, Value>) -> usize {
    let entries = map.iter().map(|(key, value)| key.len().next_multiple_of(16) + value_weight(value));
    map.len().div_ceil(8) * 640 + entries.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_cache_gives_one_overlay_for_a_text_that_comes_back() {
        let cache = OverlayCache::default();
        assert!(matches!(cache.overlay("a: b").unwrap(), Found::Once(_)), "kept after it was met once");
        let Found::Kept(second) = cache.overlay("a: b").unwrap() else { panic!("not kept") };
        let Found::Kept(third) = cache.overlay("a: b").unwrap() else { panic!("not kept") };
        assert!(Arc::ptr_eq(&second, &third));
        cache.clear();
        assert!(cache.texts().is_empty());
    }

    #[test]
    fn an_overlay_is_filled_alike_whether_it_is_kept_or_not() {
        let cache = OverlayCache::default();
        let text = "a: [b, \u{E000}0\u{E001}, {c: \u{E000}1\u{E001}}]\nmetadata: {\u{E000}1\u{E001}: x}\nspec: {hostipc: \u{E000}2\u{E001}}";
        let placeholders =
            ["1", "x: y", "false"].map(|raw| Placeholder { raw: raw.to_owned(), escaped: false });
        let filled = [(); 3].map(|()| cache.filled(text, &placeholders).unwrap());
        assert_eq!(
            filled[0],
            json!({"a": ["b", 1, {"c": "x: y"}], "metadata": {"x: y": "x"}, "spec": {"hostIPC": null}})
        );
        assert_eq!(filled[0], filled[1]);
        assert_eq!(filled[1], filled[2]);
    }

    #[test]
    fn the_cache_stays_bounded() {
        let cache = OverlayCache::default();
        let large = "x".repeat(64 << 10);
        for index in 0..1000 {
            for _ in 0..2 {
                cache.overlay(&format!("a{index}: {large}")).unwrap();
            }
        }
        let (mut bytes, mut kept) = (0, 0);
        for shard in &cache.shards {
            let generations = shard.read().unwrap();
            let entries = generations.young.values().chain(generations.old.values());
            bytes += entries.clone().map(|entry| entry.bytes).sum::<usize>();
            kept += entries.count();
        }
        assert!(kept > 20, "{kept}");
        assert!(bytes <= 2 * OverlayCache::GENERATION_BYTES, "{bytes} bytes");
    }

    #[test]
    fn texts_that_never_come_back_are_not_kept() {
        let cache = OverlayCache::default();
        for index in 0..500 {
            cache.overlay(&format!("a: {index}")).unwrap();
        }
        assert!(cache.texts().is_empty());
    }

    #[test]
    fn an_overlay_too_large_for_the_cache_is_still_given() {
        let cache = OverlayCache::default();
        let text = format!("a: [{}]", vec!["{b: c}"; 10_000].join(", "));
        for _ in 0..3 {
            cache.overlay(&text).unwrap();
        }
        assert!(cache.texts().is_empty());
    }
}
