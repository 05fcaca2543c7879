//! How large a pod may be, found in its text before anything is built from it.
//!
//! A JSON tree takes up to 130 times its text, so bytes bound nothing: one pass counts what the tree of a text takes
//! ([`Weight`]), and what is over a limit is refused with the place that is over it ([`Excess`]). The numbers are far above
//! every pod that runs anywhere, and each says where it comes from.

use std::fmt;

use super::{scan::Scan, warning::shown_within};

mod outline;
mod weight;

pub use outline::outline;
pub use weight::Weight;

/// Nesting of arrays and objects that is accepted. A pod has a dozen levels; parsers of Go refuse 10,000.
pub const DEPTH: usize = 256;
/// Elements of one list, or entries of one map. Of environment variables a kernel takes 2 MiB with the arguments (a
/// quarter of the usual stack), and etcd 1.5 MiB of an object: 20,000 that use 100 bytes each do not start.
pub const ELEMENTS: usize = 20_000;
/// Containers of a pod: init containers, containers and ephemeral ones. Templates loop over them, and those of Istio and ours
/// end at some 450; a kubelet takes 110 pods as a rule, whatever is in them.
pub const CONTAINERS: usize = 400;
/// Memory of the tree of a pod, in bytes: 40,000 variables with name and value. Of the 1.5 MiB that etcd takes of an object
/// each would have 40 bytes.
pub const TREE: usize = 32 << 20;

/// How many trees of a pod there are at once at most: as it was received, the working copy, and the user's own proxy as it
/// is recorded, merged and written.
const TREES: usize = 5;
/// What is taken besides: the patch, which has 2 MiB at most, its answer, and what has grown while they were written.
const ASIDE: usize = 12 << 20;

/// How much memory judging a pod takes at most whose tree takes so much, in bytes.
pub const fn judging(tree: usize) -> usize {
    TREES * tree + if tree > ASIDE { ASIDE } else { tree }
}

/// The tree of the largest pod that can be judged with so much memory.
pub const fn tree_within(memory: usize) -> usize {
    let tree = if memory / (TREES + 1) < ASIDE { memory / (TREES + 1) } else { (memory - ASIDE) / TREES };
    if tree > TREE { TREE } else { tree }
}

/// What a pod has too much of. The text is for the person who created the pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Nested deeper than [`DEPTH`].
    #[error("the pod is nested deeper than {DEPTH} levels")]
    Depth,
    /// A list or map with more than [`ELEMENTS`].
    #[error("{place} has {found} elements; accepted are {ELEMENTS}")]
    Elements {
        /// Where it is.
        place: String,
        /// How many it has.
        found: usize,
    },
    /// More than [`CONTAINERS`].
    #[error("the pod has {found} containers; accepted are {CONTAINERS}")]
    Containers {
        /// How many.
        found: usize,
    },
    /// A tree that takes more memory than there is for one pod.
    #[error("{place} take {} of memory to read; accepted are {}", Size(*.found), Size(*.accepted))]
    Tree {
        /// What they are, and which of them are the most.
        place: String,
        /// What the tree takes, in bytes.
        found: usize,
        /// What is accepted.
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

/// Weighs the JSON text of a pod; `tree` is how much memory its tree may take, at most [`TREE`].
///
/// # Errors
/// The first limit that the pod is over.
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
    // There are three lists of containers: none is as long as a third, so all of them are within the limit.
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

/// How many containers there are in a text.
fn containers(text: &str) -> usize {
    let mut found = 0;
    // A text that is no JSON, or that hides the names of its fields behind escapes, has more elements than are counted here,
    // and is read no further than its tree may be large.
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

/// Characters of a key that are shown of a place.
const KEY: usize = 32;

/// The place of the list or map that begins at an offset of the text, such as `spec.containers[0].env`.
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
