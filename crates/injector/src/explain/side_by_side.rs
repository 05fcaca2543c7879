//! A pod before and after injection as lines of YAML, each with the field that it shows.
//!
//! The two documents are walked together instead of compared line by line: an element of a list is found by its name, so a
//! container that was put first leaves the others in place, and the time is linear in the documents.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::{Field, fields, moved};

/// Where a line occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// In both documents.
    Both,
    /// Only in the original.
    Original,
    /// Only in the result.
    Result,
}

/// A line of YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideLine {
    /// Where it occurs.
    pub side: Side,
    /// Its text, indented, without a line break.
    pub text: String,
    /// The path of the field that it shows, or of the first one below it.
    pub path: String,
}

/// The lines of two documents in the order of the result; lines of the original alone come before those that replace them.
pub fn side_by_side(original: &Value, result: &Value) -> Vec<SideLine> {
    let mut lines = Lines::default();
    lines.value(&Place { path: "", key: "", indent: 0 }, Some(original), Some(result));
    // A line that only opens a map or a list shows what comes below it.
    let mut below = String::new();
    for line in lines.all.iter_mut().rev() {
        if line.path.is_empty() {
            line.path.clone_from(&below);
        } else {
            below.clone_from(&line.path);
        }
    }
    lines.all
}

/// Finds the field that a path names, also after it was moved between the lists of containers.
#[derive(Debug)]
pub struct FieldIndex<'f>(HashMap<&'f str, &'f Field>);

impl<'f> FieldIndex<'f> {
    /// An index of fields.
    pub fn new(fields: &'f [Field]) -> FieldIndex<'f> {
        FieldIndex(fields.iter().map(|field| (field.path.as_str(), field)).collect())
    }

    /// The field with this path.
    pub fn find(&self, path: &str) -> Option<&'f Field> {
        self.0.get(path).or_else(|| self.0.get(moved(path)?.as_str())).copied()
    }
}

/// Where a value is.
#[derive(Clone, Copy)]
struct Place<'p> {
    path: &'p str,
    /// The key of the map that holds it; empty for an element of a list, and for the document.
    key: &'p str,
    indent: usize,
}

#[derive(Default)]
struct Lines {
    all: Vec<SideLine>,
    /// Whether the next line is the first one of an element.
    starts_element: bool,
}

impl Lines {
    fn put(&mut self, side: Side, indent: usize, text: &str, path: &str) {
        let (blanks, lead) =
            if self.starts_element { (indent.saturating_sub(2), "- ") } else { (indent, "") };
        self.starts_element = false;
        let text = format!("{:blanks$}{lead}{text}", "");
        self.all.push(SideLine { side, text, path: path.to_owned() });
    }

    /// A value that at least one of the documents has.
    fn value(&mut self, place: &Place<'_>, old: Option<&Value>, new: Option<&Value>) {
        use Value::{Array, Object};
        match (old, new) {
            (Some(Object(before)), Some(Object(after))) if !before.is_empty() && !after.is_empty() => {
                let indent = self.open(Side::Both, place);
                self.map(place, indent, Some(before), Some(after));
            }
            (Some(Array(before)), Some(Array(after))) if !before.is_empty() && !after.is_empty() => {
                let indent = self.open(Side::Both, place);
                self.lists(place, indent, before, after);
            }
            (Some(old), Some(new)) if old == new => self.leaf(Side::Both, place, new),
            (old, new) => {
                for (side, value) in [(Side::Original, old), (Side::Result, new)] {
                    if let Some(value) = value {
                        self.alone(side, place, value);
                    }
                }
            }
        }
    }

    /// A value of one document.
    fn alone(&mut self, side: Side, place: &Place<'_>, value: &Value) {
        match (value, side) {
            (Value::Object(map), Side::Original) if !map.is_empty() => {
                let indent = self.open(side, place);
                self.map(place, indent, Some(map), None);
            }
            (Value::Object(map), _) if !map.is_empty() => {
                let indent = self.open(side, place);
                self.map(place, indent, None, Some(map));
            }
            (Value::Array(items), _) if !items.is_empty() => {
                let indent = self.open(side, place);
                for (item, name) in items.iter().zip(fields::names_of(place.key, items)) {
                    self.element(place, indent, &name, Some(item).filter(|_| side == Side::Original), {
                        Some(item).filter(|_| side == Side::Result)
                    });
                }
            }
            (leaf, _) => self.leaf(side, place, leaf),
        }
    }

    fn map(
        &mut self,
        place: &Place<'_>,
        indent: usize,
        old: Option<&Map<String, Value>>,
        new: Option<&Map<String, Value>>,
    ) {
        let keys: BTreeSet<&String> = [old, new].into_iter().flatten().flat_map(Map::keys).collect();
        // As people write elements of lists: first the field that names them.
        let list =
            place.path.rsplit_once('[').map_or("", |(list, _)| list.rsplit(['.', '[']).next().unwrap_or(""));
        let name = if place.key.is_empty() { fields::name_key(list) } else { "" };
        let (first, rest): (Vec<&String>, Vec<&String>) = keys.into_iter().partition(|key| *key == name);
        for key in first.into_iter().chain(rest) {
            let path = fields::join(place.path, key);
            let inner = Place { path: &path, key, indent };
            self.value(&inner, old.and_then(|map| map.get(key)), new.and_then(|map| map.get(key)));
        }
    }

    /// Two lists: elements with names are matched by name, others by their position from both ends.
    fn lists(&mut self, place: &Place<'_>, indent: usize, before: &[Value], after: &[Value]) {
        let (old_names, new_names) =
            (fields::names_of(place.key, before), fields::names_of(place.key, after));
        let is_named = |names: &[String]| names.first().is_some_and(|name| name != "0");
        if is_named(&old_names) && is_named(&new_names) {
            let kept: HashMap<&str, &Value> =
                old_names.iter().map(String::as_str).zip(before.iter()).collect();
            let new: HashSet<&str> = new_names.iter().map(String::as_str).collect();
            let is_removed = |(name, _): &(&String, &Value)| !new.contains(name.as_str());
            for (name, item) in old_names.iter().zip(before).filter(is_removed) {
                self.element(place, indent, name, Some(item), None);
            }
            for (name, item) in new_names.iter().zip(after) {
                self.element(place, indent, name, kept.get(name.as_str()).copied(), Some(item));
            }
            return;
        }
        let is_same = |(old, new): &(&Value, &Value)| old == new;
        let head = before.iter().zip(after).take_while(is_same).count();
        let most = before.len().min(after.len()) - head;
        let tail = before.iter().rev().zip(after.iter().rev()).take(most).take_while(is_same).count();
        let name = |index: usize| index.to_string();
        let both = |lines: &mut Lines, (index, item): (usize, &Value)| {
            lines.element(place, indent, &name(index), Some(item), Some(item));
        };
        after.iter().enumerate().take(head).for_each(|item| both(self, item));
        for (index, item) in before.iter().enumerate().take(before.len() - tail).skip(head) {
            self.element(place, indent, &name(index), Some(item), None);
        }
        for (index, item) in after.iter().enumerate().take(after.len() - tail).skip(head) {
            self.element(place, indent, &name(index), None, Some(item));
        }
        after.iter().enumerate().skip(after.len() - tail).for_each(|item| both(self, item));
    }

    fn element(
        &mut self,
        list: &Place<'_>,
        indent: usize,
        name: &str,
        old: Option<&Value>,
        new: Option<&Value>,
    ) {
        let path = format!("{}[{name}]", list.path);
        // Lists are not indented under their key, their elements' fields are.
        self.starts_element = true;
        self.value(&Place { path: &path, key: "", indent }, old, new);
    }

    /// Writes `key:`, if there is a key, and returns how far the fields or elements below it are indented.
    fn open(&mut self, side: Side, place: &Place<'_>) -> usize {
        if place.key.is_empty() {
            // The document, or an element.
            return place.indent;
        }
        let line = kubernetes_yaml::to_string(&json!({place.key: null}));
        self.put(side, place.indent, line.trim_end().trim_end_matches("null").trim_end(), "");
        place.indent + 2
    }

    fn leaf(&mut self, side: Side, place: &Place<'_>, value: &Value) {
        let text = match place.key {
            "" => kubernetes_yaml::to_string(value),
            key => kubernetes_yaml::to_string(&json!({key: value})),
        };
        for line in text.trim_end_matches('\n').split('\n') {
            self.put(side, place.indent, line, place.path);
        }
    }
}
