//! Paths to pod templates, as users write them: `spec.worker.template`.

use std::{fmt, str::FromStr};

use serde_json::Value;

/// Keys from an object down to a pod template. `*` stands for every element of a list or every entry of a map, a number
/// for one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplatePath(Vec<String>);

/// Why a path was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It contains an empty key: two dots in a row, a dot at an end, or nothing at all.
    #[error(
        "empty key in pod template path {0:?}; expected keys joined by dots, such as spec.template (\\. for a dot in a key)"
    )]
    EmptyKey(String),
}

impl FromStr for TemplatePath {
    type Err = PathError;

    /// Parses `spec.template`; `\.` is a dot inside a key, `\\` a backslash. `groups[0]` is `groups.0`, `groups[*]` is
    /// `groups.*`, as in reports.
    fn from_str(text: &str) -> Result<Self, PathError> {
        let mut keys = vec![String::new()];
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let next = match character {
                '.' => {
                    keys.push(String::new());
                    continue;
                }
                '\\' => characters.next_if(|next| matches!(next, '.' | '\\')).unwrap_or('\\'),
                '[' => {
                    let mut ahead = characters.clone();
                    if let Some(index) = bracketed(&mut ahead) {
                        characters = ahead;
                        keys.push(index);
                        continue;
                    }
                    '['
                }
                other => other,
            };
            if let Some(key) = keys.last_mut() {
                key.push(next);
            }
        }
        if keys.iter().any(String::is_empty) {
            return Err(PathError::EmptyKey(text.to_owned()));
        }
        Ok(TemplatePath(keys))
    }
}

/// The text between brackets, if it is `*` or a number and only another step follows.
fn bracketed(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let mut index = String::new();
    while let Some(character) = characters.next_if(|next| *next == '*' || next.is_ascii_digit()) {
        index.push(character);
    }
    let is_step = index == "*" || index.parse::<usize>().is_ok();
    characters.next_if_eq(&']').filter(|_| is_step)?;
    matches!(characters.peek(), None | Some('.' | '[')).then_some(index)
}

/// The place that a JSON pointer leads to, in the notation of a [`TemplatePath`]: `spec.groups[0].template`.
pub fn dotted(pointer: &str) -> String {
    let mut text = String::new();
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        if step.parse::<usize>().is_ok() {
            text.push_str(&format!("[{step}]"));
            continue;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&step.replace('\\', "\\\\").replace('.', "\\."));
    }
    text
}

impl fmt::Display for TemplatePath {
    /// In the notation in which it is parsed: `spec.worker.template`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> =
            self.0.iter().map(|key| key.replace('\\', "\\\\").replace('.', "\\.")).collect();
        f.write_str(&keys.join("."))
    }
}

impl TemplatePath {
    /// The JSON pointers, relative to the object, of all values that the path leads to.
    pub(super) fn pointers(&self, object: &Value) -> Vec<String> {
        let mut places = vec![(String::new(), object)];
        for key in &self.0 {
            places = places.into_iter().flat_map(|(pointer, value)| steps(&pointer, value, key)).collect();
        }
        places.into_iter().map(|(pointer, _)| pointer).collect()
    }
}

fn steps<'v>(pointer: &str, value: &'v Value, key: &str) -> Vec<(String, &'v Value)> {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(own, _)| key == "*" || *own == key)
            .map(|(own, value)| (format!("{pointer}/{}", escaped(own)), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .filter(|(index, _)| key == "*" || key.parse() == Ok(*index))
            .map(|(index, value)| (format!("{pointer}/{index}"), value))
            .collect(),
        _ => Vec::new(),
    }
}

/// A key as a step of a JSON pointer.
pub(super) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
