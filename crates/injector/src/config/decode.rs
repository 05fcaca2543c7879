//! Reads typed values from a YAML tree, tracks their positions and collects all problems.
//!
//! The meaning of keys is decided by the callers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::{ConfigError, Fault, Place, Problem, Warning, describe, quoted};
use super::{Source, suggest};
use kubernetes_yaml::{self as yaml, Kind, Node, Style};

/// A node and its path.
#[derive(Clone, Debug)]
pub(super) struct At<'n> {
    pub(super) node: &'n Node,
    pub(super) path: String,
}

/// How unknown keys are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// They are problems: our own format.
    Refuse,
    /// They are ignored with a warning, and letter case does not count: Istio's format, as Go's `encoding/json` reads
    /// it.
    Warn,
}

/// How duplicate keys are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duplicates {
    /// They are problems: our own format.
    Refuse,
    /// The last one wins, with a warning: as sigs.k8s.io/yaml `Unmarshal` reads Istio's texts.
    LastWins,
}

/// Characters that mark placeholders during rendering, and are not allowed in a configuration.
pub(super) const RESERVED: [char; 2] = ['\u{E000}', '\u{E001}'];

/// Problems and warnings of one configuration text.
#[derive(Debug)]
pub(super) struct Decoder<'s> {
    source: Source<'s>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Warning>,
}

/// The entries of a map with known keys; null entries are absent, as in Go.
#[derive(Debug)]
pub(super) struct Fields<'n>(BTreeMap<&'static str, At<'n>>);

/// Parses the text of `source`, a single document.
///
/// # Errors
/// One problem, at the place where the text is not YAML.
pub(super) fn parse(source: Source<'_>) -> Result<Node, ConfigError> {
    yaml::parse(source.text, &yaml::Limits::default())
        .map_err(|error| ConfigError::new(vec![Problem::syntax(source.name, &error)]))
}

/// Parses the first document of `source`: sigs.k8s.io/yaml reads no further. Later documents cause a warning.
///
/// # Errors
/// One problem, at the place where the document is not YAML.
pub(super) fn parse_first(source: Source<'_>, decoder: &mut Decoder<'_>) -> Result<Node, ConfigError> {
    let documents = yaml::split_documents(source.text);
    let is_blank =
        |text: &str| text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    // Comments before the first `---` are not a document.
    let preamble = documents.len() > 1
        && documents.first().is_some_and(|first| first.separator.is_empty() && is_blank(first.text));
    let mut rest = documents.iter().skip(usize::from(preamble) + 1);
    match rest.next() {
        None => parse(source),
        Some(second) => {
            if !is_blank(second.text) || rest.any(|document| !is_blank(document.text)) {
                decoder.warn("", "only the first document of this text is read, as in Istio");
            }
            let end = second.start.saturating_sub(second.separator.len());
            let text = source.text.get(..end).unwrap_or(source.text);
            parse(Source { text, ..source })
        }
    }
}

impl<'n> At<'n> {
    /// The document itself.
    pub(super) fn root(node: &'n Node) -> At<'n> {
        At { node, path: String::new() }
    }

    /// The entry `key` of this map.
    pub(super) fn key(&self, key: &str, node: &'n Node) -> At<'n> {
        At { node, path: join(&self.path, key) }
    }

    fn item(&self, index: usize, node: &'n Node) -> At<'n> {
        At { node, path: format!("{}[{index}]", self.path) }
    }

    /// Whether the value is null: Go's decoder does not distinguish an absent value from an explicit null.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.node.kind, Kind::Scalar { .. }) && self.value() == Value::Null
    }

    /// The plain value; null for nodes that have none (reported by [`Decoder::inspect`]).
    pub(super) fn value(&self) -> Value {
        self.node.to_value().unwrap_or_default()
    }
}

impl<'n> Fields<'n> {
    /// The entry `key`, if it is present and not null.
    pub(super) fn take(&mut self, key: &str) -> Option<At<'n>> {
        self.0.remove(key)
    }
}

impl<'s> Decoder<'s> {
    pub(super) fn new(source: Source<'s>) -> Decoder<'s> {
        Decoder { source, problems: Vec::new(), warnings: Vec::new() }
    }

    /// Reports a problem at a node.
    pub(super) fn problem(&mut self, at: &At<'_>, fault: Fault) {
        self.problem_on(at.node, at.path.clone(), fault);
    }

    /// Reports an unexpected value at a node.
    pub(super) fn refuse(&mut self, at: &At<'_>, accepted: impl Into<String>) {
        self.problem(at, Fault::not_accepted(describe(at.node), accepted));
    }

    /// Reports a problem at a node under another path (a key, which has the path of its map).
    pub(super) fn problem_on(&mut self, node: &Node, path: String, fault: Fault) {
        self.problem_at(Some(Place::from(node.mark)), path, fault);
    }

    /// Reports a problem at a known place.
    pub(super) fn problem_at(&mut self, place: Option<Place>, path: String, fault: Fault) {
        self.problems.push(Problem { source: self.source.name.to_owned(), place, path, fault });
    }

    /// The place of a line and column in a `|` block, given the text of that line; `None` for other nodes.
    pub(super) fn place_in_block(&self, node: &Node, line: u32, column: u32, text: &str) -> Option<Place> {
        let Kind::Scalar { style: Style::Literal, .. } = &node.kind else { return None };
        let line = (node.mark.line + line).checked_sub(1)?;
        let whole = self.source.text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?)?;
        let indentation = whole.strip_suffix(text)?;
        if !indentation.trim().is_empty() {
            return None;
        }
        Some(Place { line, column: column + u32::try_from(indentation.chars().count()).ok()? })
    }

    /// A map with only known keys: an entry of a list.
    pub(super) fn record<'n>(&mut self, at: &At<'n>, known: &[&'static str]) -> Option<Fields<'n>> {
        if !matches!(at.node.kind, Kind::Mapping(_)) {
            self.refuse(at, "a map");
            return None;
        }
        Some(self.fields(at, known, Unknown::Refuse))
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, path: &str, message: impl Into<String>) {
        self.warnings.push(Warning { path: path.to_owned(), message: message.into() });
    }

    /// Checks general rules: each key once, only string keys, no reserved characters.
    pub(super) fn inspect(&mut self, at: &At<'_>, duplicates: Duplicates) {
        match &at.node.kind {
            Kind::Scalar { text, .. } => {
                self.inspect_text(at.node, &at.path, text);
                if at.node.to_value().is_err() {
                    self.refuse(at, "a string, a finite number, true, false or null");
                }
            }
            Kind::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.inspect(&at.item(index, item), duplicates);
                }
            }
            Kind::Mapping(entries) => {
                let mut seen: BTreeMap<String, Place> = BTreeMap::new();
                for (key, value) in entries {
                    let Ok(text) = key.key_text() else {
                        let fault = Fault::not_accepted(format!("{} as a key", describe(key)), "a string");
                        self.problem_on(key, at.path.clone(), fault);
                        continue;
                    };
                    self.inspect_text(key, &at.path, &text);
                    if let Some(first) = seen.get(&text) {
                        self.duplicate(key, &at.path, &text, *first, duplicates);
                    }
                    self.inspect(&at.key(&text, value), duplicates);
                    seen.entry(text).or_insert_with(|| Place::from(key.mark));
                }
            }
        }
    }

    /// The entries of a map with known keys. A null is an empty map.
    pub(super) fn fields<'n>(&mut self, at: &At<'n>, known: &[&'static str], unknown: Unknown) -> Fields<'n> {
        let mut fields = BTreeMap::new();
        for (key, text, value) in self.entries(at) {
            let exact = known.iter().find(|name| **name == text);
            let name = exact.or_else(|| known.iter().find(|name| name.eq_ignore_ascii_case(&text)));
            let entry = at.key(&text, value);
            match (name, unknown) {
                (Some(name), _) if exact.is_some() => {
                    if !entry.is_null() {
                        fields.insert(*name, entry);
                    }
                }
                (Some(name), Unknown::Warn) => {
                    self.warn(&entry.path, format!("read as {}; use this spelling", quoted(name)));
                    if !entry.is_null() && !fields.contains_key(name) {
                        fields.insert(*name, entry);
                    }
                }
                (_, Unknown::Refuse) => {
                    let nearest = suggest::nearest(&text, known.iter().copied()).map(str::to_owned);
                    let found = as_written(key, &text);
                    let fault = Fault::UnknownKey { found, accepted: known.join(", "), nearest };
                    self.problem_on(key, at.path.clone(), fault);
                }
                (None, Unknown::Warn) => {
                    let near = suggest::nearest(&text, known.iter().copied())
                        .map(|name| format!("; nearest: {}", quoted(name)))
                        .unwrap_or_default();
                    self.warn(&entry.path, format!("unknown key, ignored{near}"));
                }
            }
        }
        Fields(fields)
    }

    /// The entries of a map with arbitrary keys: each with its key and its place. A null is an empty map.
    pub(super) fn free_map<'n>(&mut self, at: &At<'n>) -> Vec<(String, At<'n>)> {
        let entries = self.entries(at);
        entries.into_iter().map(|(_, text, value)| (text.clone(), at.key(&text, value))).collect()
    }

    /// The items of a list. A null is an empty list.
    pub(super) fn list<'n>(&mut self, at: &At<'n>, accepted: &str) -> Vec<At<'n>> {
        match &at.node.kind {
            Kind::Sequence(items) => {
                items.iter().enumerate().map(|(index, item)| at.item(index, item)).collect()
            }
            _ if at.is_null() => Vec::new(),
            _ => {
                self.refuse(at, accepted);
                Vec::new()
            }
        }
    }

    /// A string; nothing is converted.
    pub(super) fn string(&mut self, at: &At<'_>, accepted: &str) -> Option<String> {
        match at.value() {
            Value::String(text) if matches!(at.node.kind, Kind::Scalar { .. }) => Some(text),
            Value::Number(_) | Value::Bool(_) => {
                self.refuse(at, format!("{accepted} (put it in quotes)"));
                None
            }
            _ => {
                self.refuse(at, accepted);
                None
            }
        }
    }

    /// A string as sigs.k8s.io/yaml decodes it into a Go string: numbers and booleans become text, null is empty.
    pub(super) fn go_string(&mut self, at: &At<'_>, accepted: &str) -> Option<String> {
        let text = match at.value() {
            Value::String(text) => return Some(text),
            Value::Null if matches!(at.node.kind, Kind::Scalar { .. }) => return Some(String::new()),
            Value::Bool(value) => value.to_string(),
            Value::Number(number) => match (&at.node.kind, number.as_f64()) {
                (Kind::Scalar { text, .. }, Some(float)) if is_float(text) => go_float(float),
                _ => number.to_string(),
            },
            _ => {
                self.refuse(at, accepted);
                return None;
            }
        };
        let found = describe(at.node);
        self.warn(&at.path, format!("{found} is read as the string {}; put it in quotes", quoted(&text)));
        Some(text)
    }

    /// One of several words, mapped to its meaning.
    pub(super) fn one_of<T: Clone>(&mut self, at: &At<'_>, words: &[(&'static str, T)]) -> Option<T> {
        let found = at.value();
        let hit = found.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
        if let Some((_, meaning)) = hit {
            return Some(meaning.clone());
        }
        let nearest = found
            .as_str()
            .and_then(|text| suggest::nearest(text, words.iter().map(|(word, _)| *word)))
            .map(str::to_owned);
        let accepted: Vec<String> = words
            .iter()
            .map(|(word, _)| if word.is_empty() { quoted(word) } else { (*word).to_owned() })
            .collect();
        let fault = Fault::NotAccepted { found: describe(at.node), accepted: accepted.join(", "), nearest };
        self.problem(at, fault);
        None
    }

    /// A map of strings; nothing is converted.
    pub(super) fn string_map(&mut self, at: &At<'_>) -> BTreeMap<String, String> {
        let entries = self.free_map(at);
        entries.into_iter().filter_map(|(key, at)| Some((key, self.string(&at, "a string")?))).collect()
    }

    fn entries<'n>(&mut self, at: &At<'n>) -> Vec<(&'n Node, String, &'n Node)> {
        match &at.node.kind {
            Kind::Mapping(entries) => entries
                .iter()
                // `inspect` has reported keys that are not strings.
                .filter_map(|(key, value)| Some((key, key.key_text().ok()?, value)))
                .collect(),
            _ if at.is_null() => Vec::new(),
            _ => {
                self.refuse(at, "a map");
                Vec::new()
            }
        }
    }

    fn inspect_text(&mut self, node: &Node, path: &str, text: &str) {
        if let Some(reserved) = text.chars().find(|c| RESERVED.contains(c)) {
            self.problem_on(node, path.to_owned(), Fault::ReservedCharacter(reserved));
        }
    }

    fn duplicate(&mut self, key: &Node, path: &str, text: &str, first: Place, duplicates: Duplicates) {
        match duplicates {
            Duplicates::Refuse => {
                let found = as_written(key, text);
                self.problem_on(key, path.to_owned(), Fault::DuplicateKey { found, first });
            }
            Duplicates::LastWins => {
                let place = Place::from(key.mark);
                self.warn(
                    &join(path, text),
                    format!("duplicate key, at {first} and at {place}; the last one is used"),
                );
            }
        }
    }
}

/// A key for a message: YAML 1.1 reads `y` as the boolean true, but the user looks for `y`.
fn as_written(key: &Node, text: &str) -> String {
    match &key.kind {
        Kind::Scalar { text, .. } => text.clone(),
        _ => text.to_owned(),
    }
}

/// Appends a key to a path; keys that are not plain words are in brackets and quotes.
pub(super) fn join(path: &str, key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if key.is_empty() || !key.chars().all(plain) {
        return format!("{path}[{}]", quoted(key));
    }
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Whether a number is written as a float; as a JSON value, `1.0` is already the integer 1.
fn is_float(text: &str) -> bool {
    let hexadecimal = text.trim_start_matches(['+', '-']).starts_with("0x");
    text.contains('.') || (!hexadecimal && text.contains(['e', 'E']))
}

/// A float as Go's `strconv.FormatFloat(value, 'g', -1, 64)` prints it.
fn go_float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => value.to_string(),
    }
}
