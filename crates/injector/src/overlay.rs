//! Overlays: rendered text parsed as YAML while every string from the pod is still an opaque placeholder.
//!
//! Placeholders are substituted inside scalars after parsing, so no string from a pod can ever become structure.
//! Because the text contains no strings from the pod, it is the same for most pods of a configuration, and serves as
//! the key under which the parsed overlay is cached. Nothing here merges: an overlay becomes a plain JSON value, which
//! `strategic_merge::merge` processes.

use serde_json::{Map, Value};

use gotemplate::{Placeholder, StandIns};
use kubernetes_yaml::{self as yaml, Kind, Limits, Mark, Node, RenderedScalar, Style};

mod cache;
mod canonical;

pub use cache::OverlayCache;

/// Encloses a placeholder's number.
const OPEN: char = '\u{E000}';
const CLOSE: char = '\u{E001}';

/// Keys with which an administrator directs the strategic merge; a string from a pod never becomes one.
const DIRECTIVES: [&str; 4] = ["$patch", "$retainKeys", "$deleteFromPrimitiveList", "$setElementOrder"];

/// Parsed template output with placeholders for the pod's strings.
#[derive(Debug)]
pub struct Overlay {
    root: Part,
}

/// Why a rendered text is not an overlay for this pod.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// The rendered text is not YAML, or uses YAML features that are not allowed in rendered text.
    #[error("the rendered text is not usable YAML: {0}")]
    Yaml(#[from] yaml::Error),
    /// The rendered text is not a mapping.
    #[error("the rendered text is a {found}, not a mapping with `metadata` and `spec`")]
    NotAMapping {
        /// Its type.
        found: &'static str,
    },
    /// A string from the pod would have become a merge directive.
    #[error("a string from the pod may not be the merge directive {key:?}")]
    Directive {
        /// The directive.
        key: String,
    },
    /// A placeholder with a number that was never issued: the text was tampered with.
    #[error("the rendered text has a placeholder that was never issued")]
    Placeholder,
}

#[derive(Debug)]
enum Part {
    /// A subtree without placeholders.
    Literal(Value),
    Text(Text),
    /// Leading items without placeholders, then all items from the first one with a placeholder.
    List(Vec<Value>, Vec<Part>),
    /// Leading entries without placeholders, then all entries from the first one with a placeholder; later entries win.
    Map(Map<String, Value>, Vec<(Key, Part)>),
    /// A part that can be normalized only once its keys are known; without a type it is the whole overlay.
    Later(Box<Part>, Option<&'static gotemplate::gotypes::Type>),
}

#[derive(Debug)]
enum Key {
    Literal(String),
    Text(Text),
}

/// A scalar with at least one placeholder.
#[derive(Debug)]
struct Text {
    segments: Vec<Segment>,
    style: Style,
    /// The kind of a field that Go omits when it is zero.
    unless_absent: Option<&'static gotemplate::gotypes::Kind>,
}

#[derive(Debug)]
enum Segment {
    Literal(String),
    Placeholder(usize),
}

impl Overlay {
    /// Parses rendered text.
    ///
    /// # Errors
    /// If the text is not a YAML mapping, or uses anchors, aliases, tags or several documents.
    pub fn parse(text: &str) -> Result<Overlay, OverlayError> {
        if let Some(root @ (Part::Map(..) | Part::Literal(Value::Object(_)))) =
            yaml::read_rendered(text, &Limits::rendered())
        {
            return Ok(Overlay::canonical(root));
        }
        let node = yaml::parse(text, &Limits::rendered())?;
        match &node.kind {
            Kind::Mapping(_) => Ok(Overlay::canonical(part(node)?)),
            Kind::Scalar { text, .. } if text.is_empty() => {
                Ok(Overlay { root: Part::Literal(Value::Object(Map::new())) })
            }
            _ => Err(OverlayError::NotAMapping { found: node.kind_name() }),
        }
    }

    /// Normalizes keys and zeros like Go.
    fn canonical(mut root: Part) -> Overlay {
        canonical::unfilled(&mut root);
        Overlay { root }
    }

    /// The overlay for one pod: every placeholder replaced by its string.
    ///
    /// # Errors
    /// If a string would become a merge directive.
    pub fn fill(&self, placeholders: &[Placeholder]) -> Result<Value, OverlayError> {
        self.root.fill(placeholders)
    }

    /// [`Overlay::fill`] for an overlay that is no longer needed afterward: nothing is copied.
    ///
    /// # Errors
    /// As [`Overlay::fill`].
    pub fn into_filled(self, placeholders: &[Placeholder]) -> Result<Value, OverlayError> {
        self.root.into_filled(placeholders)
    }

    /// The stand-ins on whose content the type of a value depends.
    pub fn typed_stand_ins(&self, placeholders: &[Placeholder]) -> StandIns {
        self.root.typed_stand_ins(placeholders)
    }
}

/// A mapping during parsing, as in [`Part::Map`].
type Entries = (Map<String, Value>, Vec<(Key, Part)>);

impl Part {
    fn add((literals, parts): &mut Entries, key: Key, value: Part) {
        match (key, value) {
            (Key::Literal(key), Part::Literal(value)) if parts.is_empty() => {
                literals.insert(key, value);
            }
            entry => parts.push(entry),
        }
    }

    fn typed_stand_ins(&self, placeholders: &[Placeholder]) -> StandIns {
        let of = |text: &Text| match (text.style, text.segments.as_slice()) {
            (Style::Plain, [Segment::Placeholder(index)]) => {
                placeholders.get(*index).map_or(StandIns::NONE, |placeholder| StandIns::of(&placeholder.raw))
            }
            _ => StandIns::NONE,
        };
        let all =
            |found: &mut dyn Iterator<Item = StandIns>| found.fold(StandIns::NONE, |all, one| all | one);
        match self {
            Part::Literal(_) => StandIns::NONE,
            Part::Text(text) => of(text),
            Part::List(_, parts) => all(&mut parts.iter().map(|part| part.typed_stand_ins(placeholders))),
            Part::Map(_, parts) => all(&mut parts.iter().map(|(key, part)| {
                let key = match key {
                    Key::Text(text) => of(text),
                    Key::Literal(_) => StandIns::NONE,
                };
                key | part.typed_stand_ins(placeholders)
            })),
            Part::Later(part, _) => part.typed_stand_ins(placeholders),
        }
    }

    fn fill(&self, placeholders: &[Placeholder]) -> Result<Value, OverlayError> {
        match self {
            Part::Literal(value) => Ok(value.clone()),
            Part::Text(text) => text.value(placeholders),
            Part::List(literals, parts) => {
                let mut items = Vec::with_capacity(literals.len() + parts.len());
                items.extend_from_slice(literals);
                for part in parts {
                    items.push(part.fill(placeholders)?);
                }
                Ok(Value::Array(items))
            }
            Part::Map(literals, parts) => {
                let mut map = literals.clone();
                for (key, part) in parts {
                    let key = match key {
                        Key::Literal(key) => key.clone(),
                        Key::Text(text) => text.key(placeholders)?,
                    };
                    map.insert(key, part.fill(placeholders)?);
                }
                Ok(Value::Object(map))
            }
            Part::Later(part, ty) => Ok(respelled(part.fill(placeholders)?, *ty)),
        }
    }

    fn into_filled(self, placeholders: &[Placeholder]) -> Result<Value, OverlayError> {
        match self {
            Part::Literal(value) => Ok(value),
            Part::Text(text) => text.value(placeholders),
            Part::List(mut items, parts) => {
                for part in parts {
                    items.push(part.into_filled(placeholders)?);
                }
                Ok(Value::Array(items))
            }
            Part::Map(mut map, parts) => {
                for (key, part) in parts {
                    let key = match key {
                        Key::Literal(key) => key,
                        Key::Text(text) => text.key(placeholders)?,
                    };
                    map.insert(key, part.into_filled(placeholders)?);
                }
                Ok(Value::Object(map))
            }
            Part::Later(part, ty) => Ok(respelled(part.into_filled(placeholders)?, ty)),
        }
    }
}

/// Performs the deferred normalization ([`Part::Later`]).
fn respelled(mut value: Value, ty: Option<&'static gotemplate::gotypes::Type>) -> Value {
    match (ty, &mut value) {
        (None, value) => canonical::overlay(value),
        (Some(ty), Value::Object(map)) => canonical::object(map, ty),
        _ => {}
    }
    value
}

impl yaml::Tree for Part {
    type Items = (Vec<Value>, Vec<Part>);
    type Entries = Entries;

    fn scalar(scalar: RenderedScalar<'_>) -> Option<Part> {
        if has_placeholder(&scalar.text) {
            return Some(Part::Text(Text::of(&scalar.text, scalar.style).ok()?));
        }
        Some(Part::Literal(scalar.into_value()?))
    }

    fn item((literals, parts): &mut Self::Items, item: Part) {
        match item {
            Part::Literal(value) if parts.is_empty() => literals.push(value),
            part => parts.push(part),
        }
    }

    fn entry(entries: &mut Self::Entries, key: RenderedScalar<'_>, value: Part) -> Option<()> {
        let key = if has_placeholder(&key.text) {
            Key::Text(Text::of(&key.text, key.style).ok()?)
        } else {
            Key::Literal(key.into_key()?)
        };
        Part::add(entries, key, value);
        Some(())
    }

    fn sequence(_: Mark, (literals, parts): Self::Items) -> Part {
        if parts.is_empty() { Part::Literal(Value::Array(literals)) } else { Part::List(literals, parts) }
    }

    fn mapping(_: Mark, (literals, parts): Self::Entries) -> Part {
        if parts.is_empty() { Part::Literal(Value::Object(literals)) } else { Part::Map(literals, parts) }
    }
}

impl Key {
    fn literal(&self) -> Option<&str> {
        match self {
            Key::Literal(key) => Some(key),
            Key::Text(_) => None,
        }
    }
}

impl Text {
    fn of(text: &str, style: Style) -> Result<Text, OverlayError> {
        Ok(Text { segments: segments(text)?, style, unless_absent: None })
    }

    /// A plain scalar that consists of exactly one placeholder is parsed as one YAML scalar, so that an unquoted port
    /// is a number; everything else is a string.
    fn value(&self, placeholders: &[Placeholder]) -> Result<Value, OverlayError> {
        if let (Style::Plain, [Segment::Placeholder(index)]) = (self.style, self.segments.as_slice()) {
            let placeholder = placeholders.get(*index).ok_or(OverlayError::Placeholder)?;
            let value = lone_scalar(&placeholder.raw);
            let is_absent = self.unless_absent.is_some_and(|kind| canonical::is_absent(&value, kind));
            return Ok(if is_absent { Value::Null } else { value });
        }
        self.string(placeholders).map(Value::String)
    }

    fn key(&self, placeholders: &[Placeholder]) -> Result<String, OverlayError> {
        let key = match self.value(placeholders)? {
            Value::String(key) => key,
            other => other.to_string(),
        };
        let name = key.split('/').next().unwrap_or_default();
        if DIRECTIVES.contains(&name) { Err(OverlayError::Directive { key }) } else { Ok(key) }
    }

    fn string(&self, placeholders: &[Placeholder]) -> Result<String, OverlayError> {
        let mut out = String::new();
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => out.push_str(text),
                Segment::Placeholder(index) => {
                    let placeholder = placeholders.get(*index).ok_or(OverlayError::Placeholder)?;
                    // A double-quoted YAML scalar removes one level of escaping, so the string is used as it is.
                    match self.style {
                        Style::DoubleQuoted => out.push_str(&placeholder.raw),
                        _ => out.push_str(&placeholder.substituted()),
                    }
                }
            }
        }
        Ok(out)
    }
}

/// Converts a tree of the event parser.
fn part(node: Node) -> Result<Part, OverlayError> {
    let mark = node.mark;
    match node.kind {
        Kind::Scalar { text, style, .. } if has_placeholder(&text) => Ok(Part::Text(Text::of(&text, style)?)),
        Kind::Scalar { .. } => Ok(Part::Literal(node.into_value()?)),
        Kind::Sequence(nodes) => {
            let mut items = Default::default();
            for node in nodes {
                <Part as yaml::Tree>::item(&mut items, part(node)?);
            }
            Ok(yaml::Tree::sequence(mark, items))
        }
        Kind::Mapping(nodes) => {
            let mut entries = Default::default();
            for (key, value) in nodes {
                Part::add(&mut entries, mapping_key(key)?, part(value)?);
            }
            Ok(yaml::Tree::mapping(mark, entries))
        }
    }
}

fn mapping_key(node: Node) -> Result<Key, OverlayError> {
    match &node.kind {
        Kind::Scalar { text, style, .. } if has_placeholder(text) => Ok(Key::Text(Text::of(text, *style)?)),
        _ => Ok(Key::Literal(node.into_key_text()?)),
    }
}

/// Whether a scalar's text contains a placeholder. The first byte of its UTF-8 encoding is rare, and searching for a
/// byte is cheap.
fn has_placeholder(text: &str) -> bool {
    text.as_bytes().contains(&0xee) && text.contains(OPEN)
}

/// Splits a scalar's text at its placeholders.
fn segments(text: &str) -> Result<Vec<Segment>, OverlayError> {
    let mut segments = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let (index, tail) = after.split_once(CLOSE).ok_or(OverlayError::Placeholder)?;
        if !before.is_empty() {
            segments.push(Segment::Literal(before.to_owned()));
        }
        segments.push(Segment::Placeholder(index.parse().map_err(|_| OverlayError::Placeholder)?));
        rest = tail;
    }
    if !rest.is_empty() {
        segments.push(Segment::Literal(rest.to_owned()));
    }
    Ok(segments)
}

/// The value of a single YAML scalar with this text: a quoted string, or a plain scalar with its type. Never a
/// collection.
fn lone_scalar(raw: &str) -> Value {
    let text = raw.trim_matches([' ', '\t', '\n', '\r']);
    if text.starts_with(['"', '\'']) {
        let parsed = yaml::parse(text, &Limits::rendered());
        if let Ok(Node { kind: Kind::Scalar { text, .. }, .. }) = parsed {
            return Value::String(text);
        }
        return Value::String(raw.to_owned());
    }
    yaml::resolve_plain(text)
}

/// A part of a rendered text for people: `…` for every placeholder, including truncated ones.
pub fn without_placeholders(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut inside = false;
    for character in text.chars() {
        match character {
            OPEN => {
                inside = true;
                shown.push('…');
            }
            CLOSE => inside = false,
            _ if !inside => shown.push(character),
            _ => {}
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(text: &str) -> Placeholder {
        Placeholder { raw: text.to_owned(), escaped: false }
    }

    fn escaped(text: &str) -> Placeholder {
        Placeholder { raw: text.to_owned(), escaped: true }
    }

    fn filled(text: &str, placeholders: &[Placeholder]) -> Value {
        let text = text.replace('<', "\u{E000}").replace('>', "\u{E001}");
        Overlay::parse(&text).unwrap().fill(placeholders).unwrap()
    }

    // I-09
    #[test]
    fn a_string_of_the_pod_never_becomes_structure() {
        for hostile in [
            "a: b", "- a", "{a: b}", "[a]", "x\ny: z", "\"", "#", "&a b", "!!int 3", "--- x", "|-\n a", "? a",
        ] {
            assert_eq!(filled("a: '<0>'\nb: \"<0>\"", &[raw(hostile)]), json!({"a": hostile, "b": hostile}));
            assert_eq!(filled("a: x<0>", &[raw(hostile)]), json!({"a": format!("x{hostile}")}));
            let lone = filled("a: <0>", &[raw(hostile)]);
            assert!(!lone["a"].is_object() && !lone["a"].is_array(), "{hostile:?} became {lone}");
        }
    }

    #[test]
    fn a_plain_scalar_that_is_one_string_is_typed_as_yaml_types_it() {
        let typed = |text: &str| filled("a: <0>", &[raw(text)])["a"].clone();
        assert_eq!(typed("8080"), json!(8080));
        assert_eq!(typed("yes"), json!(true));
        assert_eq!(typed("\"8080\""), json!("8080"));
        assert_eq!(typed("~"), json!(null));
        assert_eq!(filled("a: <0><1>", &[raw("80"), raw("80")]), json!({"a": "8080"}));
    }

    #[test]
    fn double_quotes_take_one_level_of_escaping_away() {
        let hostile = "a\"b\\c\n";
        assert_eq!(filled("a: \"<0>\"", &[escaped(hostile)]), json!({"a": hostile}));
        let in_json = filled("a: |-\n  {\"k\":\"<0>\"}", &[escaped(hostile)]);
        let inner: Value = serde_json::from_str(in_json["a"].as_str().unwrap()).unwrap();
        assert_eq!(inner, json!({"k": hostile}));
    }

    // I-09
    #[test]
    fn a_string_of_the_pod_never_becomes_a_merge_directive() {
        for directive in
            ["$patch", "$retainKeys", "$deleteFromPrimitiveList/finalizers", "$setElementOrder/env"]
        {
            let overlay = Overlay::parse("\"\u{E000}0\u{E001}\": replace").unwrap();
            assert!(
                matches!(overlay.fill(&[raw(directive)]), Err(OverlayError::Directive { .. })),
                "{directive}"
            );
        }
        assert_eq!(filled("$patch: replace", &[]), json!({"$patch": "replace"}));
    }

    #[test]
    fn refuses_what_rendered_text_may_not_use() {
        for text in ["a: &x b", "a: *x", "a: !!str b", "a: b\n---\nc: d", "- a", "a"] {
            assert!(Overlay::parse(text).is_err(), "{text}");
        }
        assert_eq!(filled("", &[]), json!({}));
    }

    #[test]
    fn a_placeholder_nobody_gave_out_is_an_error() {
        let overlay = Overlay::parse("a: \u{E000}7\u{E001}").unwrap();
        assert!(matches!(overlay.fill(&[]), Err(OverlayError::Placeholder)));
        assert!(matches!(Overlay::parse("a: \u{E000}x\u{E001}"), Err(OverlayError::Placeholder)));
    }
}
