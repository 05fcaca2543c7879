//! Computes the memory that the tree of a JSON text takes: one pass over the text, nothing is built.
//!
//! The grammar is not checked: an invalid text is weighed up to its end, and the parser stops where the grammar is
//! violated.

use super::DEPTH;

/// An upper limit on the cost of parsing a text as a tree of [`serde_json::Value`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Scalars, lists and maps.
    pub values: usize,
    /// Bytes of memory. Includes texts that are parsed as trees of their own (annotations); excludes `managedFields`,
    /// which are never read.
    pub bytes: usize,
    /// The part of `bytes` for the values of annotations, in case they are parsed as JSON or YAML.
    pub documents: usize,
    /// Nesting depth of lists and maps.
    pub depth: usize,
    /// The list or map with the most elements; `None` if there is none.
    pub longest: Option<Longest>,
}

/// A list or map with many elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Longest {
    /// Offset of its bracket.
    pub at: usize,
    /// Number of elements or entries.
    pub elements: usize,
}

/// A value in any position: an element of a list, an entry of a map.
const VALUE: usize = size_of::<serde_json::Value>();
/// A node of the B-tree behind a map: eleven keys and values, and its own fields.
const NODE: usize = 11 * (VALUE + size_of::<String>()) + 24;
/// The smallest capacity of a list.
const ROOM: usize = 4;
/// Entries of a node after a split: at least five stay, and one moves up.
const SPLIT: usize = 6;

/// The part of a pod that contains a value, as far as it determines how the value is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Pod,
    Metadata,
    /// The values may be documents, which are parsed.
    Annotations,
    /// Skipped.
    ManagedFields,
    Other,
}

impl Part {
    /// The part that contains the value of a key. A key with an escape may be any key.
    fn below(self, key: &[u8]) -> Part {
        let may_be = |name: &str| key == name.as_bytes() || key.contains(&b'\\');
        match self {
            Part::Pod if may_be("metadata") => Part::Metadata,
            Part::Metadata if key == b"managedFields" => Part::ManagedFields,
            Part::Metadata if may_be("annotations") => Part::Annotations,
            Part::ManagedFields => Part::ManagedFields,
            _ => Part::Other,
        }
    }

    /// The part that contains the elements of a list.
    fn element(self) -> Part {
        if self == Part::ManagedFields { self } else { Part::Other }
    }
}

/// An open list or map.
struct Open {
    at: usize,
    is_map: bool,
    /// The part of its elements; for a map, the part of the last key's value.
    inner: Part,
    /// The part that contains it.
    part: Part,
    /// Commas so far.
    commas: usize,
    is_empty: bool,
    /// Whether the next string is a key.
    key: bool,
}

impl Weight {
    /// Weighs the JSON text of a pod.
    pub fn of(text: &str) -> Weight {
        let bytes = text.as_bytes();
        let mut weight = Weight { values: 1, bytes: VALUE, ..Weight::default() };
        let mut open: Vec<Open> = Vec::with_capacity(16);
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' => {
                    let end = string_end(bytes, at + 1);
                    weight.string(bytes.get(at + 1..end).unwrap_or_default(), open.last_mut());
                    at = end;
                }
                b'[' | b'{' => {
                    let part = open.last_mut().map_or(Part::Pod, |above| {
                        above.is_empty = false;
                        above.inner
                    });
                    let is_map = *byte == b'{';
                    let inner = if is_map { part } else { part.element() };
                    open.push(Open { at, is_map, inner, part, commas: 0, is_empty: true, key: is_map });
                    weight.depth = weight.depth.max(open.len());
                    // Nothing is built from it.
                    if weight.depth > DEPTH {
                        return weight;
                    }
                }
                b']' | b'}' => {
                    if let Some(closed) = open.pop() {
                        weight.close(&closed);
                    }
                }
                b',' => {
                    if let Some(open) = open.last_mut() {
                        open.commas += 1;
                        open.key = open.is_map;
                    }
                }
                b' ' | b'\t' | b'\n' | b'\r' | b':' => {}
                _ => {
                    if let Some(open) = open.last_mut() {
                        open.is_empty = false;
                    }
                }
            }
            at += 1;
        }
        while let Some(closed) = open.pop() {
            weight.close(&closed);
        }
        weight
    }

    fn string(&mut self, content: &[u8], open: Option<&mut Open>) {
        let mut part = Part::Other;
        if let Some(open) = open {
            open.is_empty = false;
            part = open.part;
            if std::mem::take(&mut open.key) {
                open.inner = open.part.below(content);
            } else if part == Part::Annotations {
                let document = document(content);
                self.documents += document;
                self.bytes += document;
            }
        }
        if part != Part::ManagedFields {
            self.bytes += block(content.len());
        }
    }

    fn close(&mut self, closed: &Open) {
        if closed.is_empty || closed.part == Part::ManagedFields {
            return;
        }
        let elements = closed.commas + 1;
        self.values += elements;
        // While a list grows, its old and its new allocation coexist.
        self.bytes += match closed.is_map {
            false => elements.next_power_of_two().max(ROOM) * VALUE * 3 / 2,
            true if elements <= 11 => block(NODE),
            true => elements.div_ceil(SPLIT) * (block(NODE) + block(NODE + 96) / SPLIT),
        };
        if self.longest.is_none_or(|longest| longest.elements < elements) {
            self.longest = Some(Longest { at: closed.at, elements });
        }
    }
}

/// The size of a memory block for an allocation: allocators use size classes an eighth apart.
const fn block(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { bytes.div_ceil(8) * 8 + bytes / 8 }
}

/// An upper limit on the cost of parsing a text as JSON or YAML, computed from the characters that start or separate
/// values.
fn document(content: &[u8]) -> usize {
    const MAP: usize = block(NODE) + VALUE;
    let mut bytes = 0;
    let mut before = 0;
    for byte in content {
        bytes += match byte {
            b'{' | b'[' => MAP,
            b',' | b':' => 4 * VALUE,
            // A new line in YAML.
            b'n' if before == b'\\' => 4 * VALUE,
            _ => 0,
        };
        before = *byte;
    }
    bytes
}

/// The position of the quote that ends the string whose content starts at `from`; the end of the text if there is none.
fn string_end(bytes: &[u8], mut from: usize) -> usize {
    while let Some(at) = bytes.get(from..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        from += at;
        if bytes.get(from) == Some(&b'"') {
            return from;
        }
        from += 2;
    }
    bytes.len()
}
