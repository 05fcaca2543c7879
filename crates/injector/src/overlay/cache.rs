//! A cache of parsed overlays, keyed by rendered text.

use std::sync::Arc;

use quick_cache::{Weighter, sync::Cache};
use serde_json::Value;

use super::{Overlay, OverlayError, Part, Placeholder};
use crate::doorkeeper::Doorkeeper;

/// A cache of parsed overlays keyed by rendered text, bounded by its size in bytes.
///
/// A text is admitted the second time it is seen, so texts that never recur cost neither memory nor a lock. Frequently
/// used entries stay: a burst of texts that occur only twice does not evict them.
#[derive(Debug)]
pub struct OverlayCache {
    kept: Cache<Box<str>, Arc<Kept>, Weight>,
    met: Doorkeeper,
}

/// Bytes of texts and overlays that are kept. Copying an overlay from memory that is in no CPU cache costs as much as
/// parsing its text again, so a larger cache would not help.
const BYTES: u64 = 4 << 20;
/// Number of texts that are remembered as seen.
const MET: usize = 2048;

#[derive(Debug)]
struct Kept {
    overlay: Overlay,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Box<str>, Arc<Kept>> for Weight {
    fn weight(&self, text: &Box<str>, kept: &Arc<Kept>) -> u64 {
        (text.len() + kept.bytes) as u64
    }
}

impl Default for OverlayCache {
    fn default() -> OverlayCache {
        OverlayCache { kept: Cache::with_weighter(64, BYTES, Weight), met: Doorkeeper::new(MET) }
    }
}

impl OverlayCache {
    /// Removes every overlay.
    pub fn clear(&self) {
        self.met.clear();
        self.kept.clear();
    }

    /// The rendered texts whose overlays are cached.
    #[cfg(test)]
    pub(crate) fn texts(&self) -> Vec<String> {
        self.kept.iter().map(|(text, _)| text.into_string()).collect()
    }

    /// The overlay of a rendered text for one pod; parses the text on a cache miss.
    ///
    /// # Errors
    /// As [`Overlay::parse`] and [`Overlay::fill`].
    pub fn filled(&self, text: &str, placeholders: &[Placeholder]) -> Result<Value, OverlayError> {
        if let Some(kept) = self.kept.get(text) {
            return kept.overlay.fill(placeholders);
        }
        let overlay = Overlay::parse(text)?;
        if !self.met.again(text) {
            return overlay.into_filled(placeholders);
        }
        let filled = overlay.fill(placeholders);
        let bytes = weight(&overlay.root);
        self.kept.insert(text.into(), Arc::new(Kept { overlay, bytes }));
        filled
    }
}

/// Approximate size of a part in bytes, allocations included.
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

/// A node of a map has room for eleven entries.
fn map_weight(map: &serde_json::Map<String, Value>) -> usize {
    let entries = map.iter().map(|(key, value)| key.len().next_multiple_of(16) + value_weight(value));
    map.len().div_ceil(8) * 640 + entries.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn see(cache: &OverlayCache, text: &str) {
        cache.filled(text, &[]).unwrap();
    }

    #[test]
    fn a_text_that_comes_back_is_kept() {
        let cache = OverlayCache::default();
        see(&cache, "a: b");
        assert!(cache.texts().is_empty(), "cached after its first use");
        see(&cache, "a: b");
        assert_eq!(cache.texts(), ["a: b"]);
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
                see(&cache, &format!("a{index}: {large}"));
            }
        }
        assert!(cache.kept.len() > 10, "{}", cache.kept.len());
        assert!(cache.kept.weight() <= BYTES, "{} bytes", cache.kept.weight());
    }

    #[test]
    fn what_is_asked_for_often_stays() {
        let cache = OverlayCache::default();
        let large = "x".repeat(64 << 10);
        for index in 0..1000 {
            see(&cache, "often: asked for");
            for _ in 0..2 {
                see(&cache, &format!("a{index}: {large}"));
            }
        }
        assert!(cache.kept.get("often: asked for").is_some());
    }

    #[test]
    fn texts_that_never_come_back_are_not_kept() {
        let cache = OverlayCache::default();
        for index in 0..500 {
            see(&cache, &format!("a: {index}"));
        }
        assert!(cache.texts().is_empty());
    }

    #[test]
    fn an_overlay_too_large_for_the_cache_is_still_given() {
        let cache = OverlayCache::default();
        let text = format!("a: [{}]", vec!["{b: c}"; 10_000].join(", "));
        for _ in 0..3 {
            see(&cache, &text);
        }
        assert!(cache.texts().is_empty());
    }
}
