//! Paths to pod templates, as people write them: `spec.worker.template`.

use std::{fmt, str::FromStr};

use serde_json::Value;

/// Keys from an object down to a pod template. In a list, `*` stands for every element and a number for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplatePath(Vec<String>);

/// Why a path was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It has two dots in a row, one at an end, or nothing at all.
    #[error(
        "empty key in pod template path {0:?}; accepted: keys joined by dots, such as spec.template (\\. for a dot in a key)"
    )]
    EmptyKey(String),
}

impl FromStr for TemplatePath {
    type Err = PathError;

    /// Reads `spec.template`; `\.` is a dot inside a key, `\\` a backslash.
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

impl fmt::Display for TemplatePath {
    /// As it is read: `spec.worker.template`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> =
            self.0.iter().map(|key| key.replace('\\', "\\\\").replace('.', "\\.")).collect();
        f.write_str(&keys.join("."))
    }
}

impl TemplatePath {
    /// The JSON pointers, from the object, of all values the path leads to.
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
        Value::Object(map) => {
            let escaped = key.replace('~', "~0").replace('/', "~1");
            map.get(key).map(|value| (format!("{pointer}/{escaped}"), value)).into_iter().collect()
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .filter(|(index, _)| key == "*" || key.parse() == Ok(*index))
            .map(|(index, value)| (format!("{pointer}/{index}"), value))
            .collect(),
        _ => Vec::new(),
    }
}
