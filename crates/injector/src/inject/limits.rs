//! Limits the size of a pod, based on its text, before anything is built from it.
//!
//! A JSON tree takes up to 130 times the size of its text, so a limit in bytes is not enough: one pass computes the
//! memory for the tree of a text ([`Weight`]), and a pod over a limit is denied with the place that exceeds it
//! ([`Excess`]). The limits are far above every pod in use, and each states its justification.

use std::fmt;

use super::scan::Scan;
use crate::warning::shown_within;

mod outline;
mod weight;

pub use outline::outline;
pub use weight::Weight;

/// The maximum nesting of arrays and objects. A pod has a dozen levels; Go's parsers allow 10,000.
pub const DEPTH: usize = 256;
/// Elements of one list, or entries of one map. A kernel accepts 2 MiB of environment variables and arguments (a
/// quarter of the usual stack), and etcd 1.5 MiB per object: 20,000 variables of 100 bytes each do not start.
pub const ELEMENTS: usize = 20_000;
/// Containers of a pod: init containers, containers and ephemeral ones. Templates loop over them, and Istio's and ours
/// hit their limit at about 450; a kubelet typically runs 110 pods, whatever they contain.
pub const CONTAINERS: usize = 400;
/// Memory for the tree of a pod, in bytes: 40,000 variables with name and value. In the 1.5 MiB that etcd accepts per
/// object, each would have 40 bytes.
pub const TREE: usize = 32 << 20;

/// The maximum number of trees of a pod at the same time: as received, the working copy, and the user's own proxy
/// recorded, merged and serialized.
const TREES: usize = 5;
/// Additional memory: the patch, which has at most 2 MiB, its response, and buffers that grew while they were written.
const ASIDE: usize = 12 << 20;

/// The maximum memory for processing a pod with a tree of the given size, in bytes.
pub const fn judging(tree: usize) -> usize {
    TREES * tree + if tree > ASIDE { ASIDE } else { tree }
}

/// The tree of the largest pod that can be processed with the given memory.
pub const fn tree_within(memory: usize) -> usize {
    let tree = if memory / (TREES + 1) < ASIDE { memory / (TREES + 1) } else { (memory - ASIDE) / TREES };
    if tree > TREE { TREE } else { tree }
}

/// The limit that a pod exceeds. The text is for the user who created the pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Nested deeper than [`DEPTH`].
    #[error("the pod is nested deeper than {DEPTH} levels")]
    Depth,
    /// A list or map with more than [`ELEMENTS`].
    #[error("{place} has {found} elements; the limit is {ELEMENTS}")]
    Elements {
        /// Where it is.
        place: String,
        /// The number of elements.
        found: usize,
    },
    /// More than [`CONTAINERS`].
    #[error("the pod has {found} containers; the limit is {CONTAINERS}")]
    Containers {
        /// The number of containers.
        found: usize,
    },
    /// A tree that takes more memory than is available for one pod.
    #[error("{place} take {} of memory to read; the limit is {}", Size(*.found), Size(*.accepted))]
    Tree {
        /// Its parts, and the largest of them.
        place: String,
        /// The memory for the tree, in bytes.
        found: usize,
        /// The limit, in bytes.
        accepted: usize,
    },
}

/// A number of bytes for people.
struct Size(usize);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >> 20 {
            0 => write!(f, "{} KiB", self.0.div_ceil(1 << 10)),
            _ => write!(f, "{} MiB", self.0.div_ceil(1 << 20)),
        }
    }
}

/// Weighs the JSON text of a pod; `tree` is the memory limit for its tree, at most [`TREE`].
///
/// # Errors
/// The first limit that the pod exceeds.
pub fn check(text: &str, tree: usize) -> Result<Weight, Excess> {
    let accepted = tree.min(TREE);
    let weight = Weight::of(text);
    if weight.depth > DEPTH {
        return Err(Excess::Depth);
    }
    let longest = || weight.longest.and_then(|longest| Some((place(text, longest.at)?, longest.elements)));
    let elements = weight.longest.map_or(0, |longest| longest.elements);
    if elements > ELEMENTS {
        let place = longest().map_or_else(|| "a list or map".to_owned(), |(place, _)| place);
        return Err(Excess::Elements { place, found: elements });
    }
    // There are three lists of containers: if none is as long as a third, the total is within the limit.
    if elements * LISTS.len() > CONTAINERS {
        let found = containers(text);
        if found > CONTAINERS {
            return Err(Excess::Containers { found });
        }
    }
    if weight.bytes > accepted {
        let place = if weight.documents > weight.bytes / 2 {
            "the documents in metadata.annotations".to_owned()
        } else {
            let values = format!("the {} values of the pod", weight.values);
            match longest().filter(|(place, _)| !place.is_empty()) {
                Some((place, elements)) => format!("{values} ({elements} elements in {place} alone)"),
                None => values,
            }
        };
        return Err(Excess::Tree { place, found: weight.bytes, accepted });
    }
    Ok(weight)
}

const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// The number of containers in a text.
fn containers(text: &str) -> usize {
    let mut found = 0;
    // A text that is not JSON, or that hides field names behind escapes, has more elements than are counted here; it is
    // parsed only as far as the limit of its tree allows.
    let _ = Scan::new(text).entries(|scan, key| match key {
        "spec" => scan.entries(|scan, key| {
            if !LISTS.contains(&key) {
                return scan.value().map(drop);
            }
            scan.elements(|scan| {
                found += 1;
                scan.value().map(drop)
            })
        }),
        _ => scan.value().map(drop),
    });
    found
}

/// The maximum number of characters of a key that are shown in a place.
const KEY: usize = 32;

/// The place of the list or map that starts at an offset of the text, such as `spec.containers[0].env`.
fn place(text: &str, at: usize) -> Option<String> {
    let mut place = String::new();
    let (mut from, mut value) = (0, text);
    while from + (value.len() - value.trim_start().len()) < at {
        let mut index = 0;
        let mut step = None;
        let is_inside = |range: &std::ops::Range<usize>| range.contains(&(at - from));
        let mut scan = Scan::new(value);
        if value.trim_start().starts_with('[') {
            scan.elements(|scan| {
                let range = scan.value()?;
                if is_inside(&range) {
                    step = Some((format!("[{index}]"), range));
                    return None;
                }
                index += 1;
                Some(())
            });
        } else {
            scan.entries(|scan, key| {
                let range = scan.value()?;
                if is_inside(&range) {
                    let is_field = key.len() <= KEY && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
                    let step_to = match (is_field, place.is_empty()) {
                        (true, true) => key.to_owned(),
                        (true, false) => format!(".{key}"),
                        (false, _) => format!("[{}]", shown_within(key, KEY)),
                    };
                    step = Some((step_to, range));
                    return None;
                }
                Some(())
            });
        }
        let (step, range) = step?;
        place.push_str(&step);
        from += range.start;
        value = value.get(range)?;
    }
    Some(place)
}

#[cfg(test)]
mod tests;
