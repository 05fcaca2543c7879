//! How a document is laid out, and new values in that layout.

use serde_json::Value;

use super::super::outline::{Outline, SpanKind};
use super::super::{Style, write};
use super::key_to_string;

/// The layout of a document.
pub(super) struct Layout {
    /// The indentation of a mapping below its key.
    step: usize,
    /// The indentation of a list below its key.
    list: usize,
    /// Whether lines end in CRLF.
    pub(super) crlf: bool,
    /// Whether the document is JSON.
    pub(super) json: bool,
    /// Whether it has no blanks after colons and commas.
    pub(super) compact: bool,
    /// One level of indentation in brackets.
    unit: String,
}

/// The lines of a collection in brackets: the indentation of its items.
pub(super) type Lines<'p> = Option<&'p str>;

/// Whether a value needs more than one word: a collection that is not empty.
pub(super) fn is_filled(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

impl Layout {
    /// The layout that most of a document has.
    pub(super) fn of(text: &str, outline: &Outline, json: bool) -> Layout {
        let first = text.find('\n').and_then(|end| text.get(..end));
        let (mut steps, mut lists) = ([0_usize; 9], [0_usize; 9]);
        let mut compact = None;
        let mut unit = None;
        for (at, span) in outline.spans.iter().enumerate() {
            let SpanKind::Mapping { flow } = span.kind else { continue };
            let mut children = outline.children(at);
            let Some(first_key) = children.next().and_then(|key| outline.span(key)) else { continue };
            if flow {
                let gap = text.get(span.content as usize + 1..first_key.start as usize).unwrap_or_default();
                if unit.is_none()
                    && let Some((_, indent)) = gap.rsplit_once('\n')
                    // A part of a document is indented as a whole.
                    && let Some(indent) = indent.strip_prefix(indentation(text, span.content as usize))
                    && !indent.is_empty()
                {
                    unit = Some(indent.to_owned());
                }
                let behind = text.get(first_key.end as usize..).unwrap_or_default();
                compact.get_or_insert(!behind.starts_with(": ") && !behind.starts_with(" :"));
                continue;
            }
            let column = column(text, first_key.start as usize);
            let mut value = children.next();
            while let Some(span) = value.and_then(|value| outline.span(value)) {
                let (counts, start) = match span.kind {
                    SpanKind::Mapping { flow: false } => (&mut steps, Some(span.content)),
                    SpanKind::Sequence { flow: false } => {
                        let item = value.and_then(|value| outline.span(value + 1));
                        (&mut lists, item.and_then(|item| item.dash))
                    }
                    _ => (&mut steps, None),
                };
                if let Some(inner) = start
                    && let Some(deeper) = self::column(text, inner as usize).checked_sub(column)
                    && let Some(count) = counts.get_mut(deeper)
                {
                    *count += 1;
                }
                value = children.next().and_then(|_| children.next());
            }
        }
        let most = |counts: [usize; 9], default: usize| {
            let best = (0..counts.len()).max_by_key(|at| (counts.get(*at), *at == default));
            best.filter(|at| counts.get(*at).is_some_and(|count| *count > 0)).unwrap_or(default)
        };
        let step = most(steps, 2).max(1);
        Layout {
            step,
            list: most(lists, 0),
            crlf: first.is_some_and(|line| line.ends_with('\r')),
            json,
            compact: json && compact.unwrap_or(false),
            unit: unit.filter(|_| json).unwrap_or_else(|| " ".repeat(step)),
        }
    }

    /// A scalar or an empty collection, in the style of the one it replaces if that can hold it.
    pub(super) fn scalar(&self, value: &Value, style: Option<Style>, in_flow: bool) -> String {
        match (value, style) {
            (Value::String(text), _) if self.json => Value::from(text.as_str()).to_string(),
            (Value::String(text), Some(style @ (Style::SingleQuoted | Style::DoubleQuoted))) => {
                write::quoted_to_string(text, style)
            }
            (Value::String(text), _) if in_flow => flow_string(text),
            (value, _) if self.json => value.to_string(),
            (value, _) => write::scalar_to_string(value),
        }
    }

    // ---- blocks ----

    /// An entry of a block mapping: its lines.
    pub(super) fn entry(&self, key: &str, value: &Value, column: usize) -> String {
        let indent = " ".repeat(column);
        format!("{indent}{}:{}", key_to_string(key), self.after_colon(value, column, true))
    }

    /// An item of a block sequence: its lines. `width` is the distance from the dash to the item.
    pub(super) fn item(&self, value: &Value, column: usize, width: usize) -> String {
        format!("{}-{}", " ".repeat(column), self.after_dash(value, column, width))
    }

    /// The rest of an entry after its colon, up to a line break.
    pub(super) fn after_colon(&self, value: &Value, column: usize, may_be_block: bool) -> String {
        match value {
            Value::Object(map) if !map.is_empty() => {
                format!("\n{}", self.entries(map, column + self.step))
            }
            Value::Array(items) if !items.is_empty() => {
                let column = column + self.list;
                let items: String = items.iter().map(|item| self.item(item, column, 2)).collect();
                format!("\n{items}")
            }
            Value::String(text) if may_be_block && write::fits_literal(text) => self.literal(text, column),
            other => format!(" {}\n", self.scalar(other, None, false)),
        }
    }

    /// The rest of an item after its dash, up to a line break.
    pub(super) fn after_dash(&self, value: &Value, column: usize, width: usize) -> String {
        let inner = column + width;
        let lines = match value {
            Value::Object(map) if !map.is_empty() => self.entries(map, inner),
            Value::Array(items) if !items.is_empty() => {
                items.iter().map(|item| self.item(item, inner, 2)).collect()
            }
            Value::String(text) if write::fits_literal(text) => return self.literal(text, column),
            other => return format!(" {}\n", self.scalar(other, None, false)),
        };
        format!("{}{}", " ".repeat(width - 1), lines.get(inner..).unwrap_or_default())
    }

    fn entries(&self, map: &serde_json::Map<String, Value>, column: usize) -> String {
        let mut entries: Vec<_> = map.iter().collect();
        // As people write it.
        entries.sort_by_key(|(key, _)| *key != "name");
        entries.into_iter().map(|(key, value)| self.entry(key, value, column)).collect()
    }

    fn literal(&self, text: &str, column: usize) -> String {
        let chomping = if !text.ends_with('\n') {
            "-"
        } else if text.ends_with("\n\n") {
            "+"
        } else {
            ""
        };
        let indent = " ".repeat(column + self.step);
        let mut lines = format!(" |{chomping}\n");
        for line in text.lines() {
            if !line.is_empty() {
                lines.push_str(&indent);
                lines.push_str(line);
            }
            lines.push('\n');
        }
        lines
    }

    // ---- brackets ----

    /// A value in brackets; over several lines if the indentation of its line is given.
    pub(super) fn flow(&self, value: &Value, lines: Lines<'_>) -> String {
        let inner = lines.map(|indent| format!("{indent}{}", self.unit));
        let (open, close, parts): (_, _, Vec<String>) = match value {
            Value::Object(map) if !map.is_empty() => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(key, _)| *key != "name");
                let entry = |(key, value): (&String, &Value)| self.flow_entry(key, value, inner.as_deref());
                ('{', '}', entries.into_iter().map(entry).collect())
            }
            Value::Array(items) if !items.is_empty() => {
                ('[', ']', items.iter().map(|item| self.flow(item, inner.as_deref())).collect())
            }
            other => return self.scalar(other, None, true),
        };
        match (lines, &inner) {
            (Some(outer), Some(inner)) => {
                format!("{open}\n{inner}{}\n{outer}{close}", parts.join(&format!(",\n{inner}")))
            }
            _ => format!("{open}{}{close}", parts.join(if self.compact { "," } else { ", " })),
        }
    }

    /// An entry in braces.
    pub(super) fn flow_entry(&self, key: &str, value: &Value, lines: Lines<'_>) -> String {
        let colon = if self.compact { ":" } else { ": " };
        format!("{}{colon}{}", self.flow_key(key), self.flow(value, lines))
    }

    /// A key in braces.
    pub(super) fn flow_key(&self, key: &str) -> String {
        if self.json { Value::from(key).to_string() } else { flow_string(key) }
    }
}

/// A text in brackets: without quotes only if no character could have a meaning there.
fn flow_string(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    if text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/') && text.chars().all(is_plain) {
        write::scalar_to_string(&Value::from(text))
    } else {
        write::quoted_to_string(text, Style::DoubleQuoted)
    }
}

/// The column of an offset, if only blanks and dashes precede it on its line, as for a key of a block.
fn column(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    before.iter().rev().take_while(|byte| matches!(byte, b' ' | b'-')).count()
}

/// The blanks at the start of the line with this offset.
fn indentation(text: &str, offset: usize) -> &str {
    let line = text.get(..offset).unwrap_or_default().rsplit('\n').next().unwrap_or_default();
    line.get(..line.len() - line.trim_start_matches([' ', '\t']).len()).unwrap_or_default()
}
