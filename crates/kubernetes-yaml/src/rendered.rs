//! The fast path for template output: ordinary block YAML, parsed directly from the bytes.
//!
//! The event parser takes most of the time of an injection whose overlay is not cached. This parser supports the part
//! of YAML that templates use and gives up (`None`) on everything else: anchors, tags, documents, multi-line scalars,
//! tabs, and every error. The caller then uses the event parser, which also explains the error. The fast path may
//! therefore be incomplete but never different: its tree equals the event parser's, including positions, and its limits
//! are the same. The tests compare the two.
//!
//! Every function only moves forward, and recursion is bounded by the depth limit.

mod flow;
mod scalar;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::Value;

use super::{Kind, Limits, Mark, Node, Style, resolve};

/// The recursion limit of this parser, regardless of the other limits.
const DEPTH: usize = 100;

/// The event parser does not accept keys above 1024 characters.
const KEY_BYTES: usize = 1000;

/// A scalar during parsing, with its quotes and escapes resolved.
pub struct Scalar<'t> {
    /// Its position.
    pub mark: Mark,
    /// Its content.
    pub text: Cow<'t, str>,
    /// Its style.
    pub style: Style,
}

/// The result type of parsing. `None` gives up the fast path; the event parser then finds the error again and explains
/// it.
pub trait Tree: Sized {
    /// A sequence under construction.
    type Items: Default;
    /// A mapping under construction.
    type Entries: Default;

    /// A scalar that is not a key.
    fn scalar(scalar: Scalar<'_>) -> Option<Self>;
    /// Adds an item.
    fn item(items: &mut Self::Items, item: Self);
    /// Adds an entry.
    fn entry(entries: &mut Self::Entries, key: Scalar<'_>, value: Self) -> Option<()>;
    /// A complete sequence.
    fn sequence(mark: Mark, items: Self::Items) -> Self;
    /// A complete mapping.
    fn mapping(mark: Mark, entries: Self::Entries) -> Self;
}

impl Scalar<'_> {
    /// As [`Node::into_value`].
    pub fn into_value(self) -> Option<Value> {
        match self.resolved() {
            resolve::Scalar::Text | resolve::Scalar::Timestamp => Some(Value::String(self.text.into_owned())),
            other => other.into_value(&self.text, self.mark).ok(),
        }
    }

    /// As [`Node::into_key_text`].
    pub fn into_key(self) -> Option<String> {
        match self.resolved() {
            resolve::Scalar::Text => Some(self.text.into_owned()),
            other => other.into_key(&self.text).ok(),
        }
    }

    fn resolved(&self) -> resolve::Scalar {
        if self.style == Style::Plain { resolve::plain(&self.text) } else { resolve::Scalar::Text }
    }

    fn into_node(self) -> Node {
        let text = self.text.into_owned();
        Node { mark: self.mark, kind: Kind::Scalar { text, style: self.style, tag: None } }
    }
}

impl Tree for Node {
    type Items = Vec<Node>;
    type Entries = Vec<(Node, Node)>;

    fn scalar(scalar: Scalar<'_>) -> Option<Node> {
        Some(scalar.into_node())
    }

    fn item(items: &mut Vec<Node>, item: Node) {
        items.push(item);
    }

    fn entry(entries: &mut Vec<(Node, Node)>, key: Scalar<'_>, value: Node) -> Option<()> {
        entries.push((key.into_node(), value));
        Some(())
    }

    fn sequence(mark: Mark, items: Vec<Node>) -> Node {
        Node { mark, kind: Kind::Sequence(items) }
    }

    fn mapping(mark: Mark, entries: Vec<(Node, Node)>) -> Node {
        Node { mark, kind: Kind::Mapping(entries) }
    }
}

/// The tree of the text, or `None` if the text is outside of the supported subset.
pub fn read<T: Tree>(text: &str, limits: &Limits) -> Option<T> {
    let ascii = text.is_ascii();
    if text.len() > limits.bytes
        || text.as_bytes().iter().fold(false, |found, byte| found | is_doubtful(*byte))
        // Line breaks of YAML 1.1.
        || !ascii && text.contains(['\u{2028}', '\u{2029}'])
    {
        return None;
    }
    let mut reader = Reader {
        text,
        bytes: text.as_bytes(),
        ascii,
        at: 0,
        line: 1,
        line_start: 0,
        extra_bytes: 0,
        column: None,
        depth: limits.depth.min(DEPTH),
        nodes: limits.nodes,
    };
    reader.find_content()?;
    let root = reader.block(reader.column?)?;
    reader.column.is_none().then_some(root)
}

/// Bytes of control characters, byte order marks and non-characters. The leading bytes 0xC2 and 0xEF also occur in
/// harmless characters, but rarely in templates.
fn is_doubtful(byte: u8) -> bool {
    (byte < b' ') & (byte != b'\n') & (byte != b'\t') | (byte == 0x7f) | (byte == 0xc2) | (byte == 0xef)
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    ascii: bool,
    at: usize,
    line: u32,
    line_start: usize,
    /// The number of bytes minus the number of characters on this line before `at`.
    extra_bytes: usize,
    /// The column of the content on the current line; `None` at the end of the text. Only spaces and indicators precede
    /// it, so bytes are characters.
    column: Option<usize>,
    /// The remaining nesting depth.
    depth: usize,
    /// The remaining number of nodes.
    nodes: usize,
}

impl<'t> Reader<'t> {
    // ---- characters ----

    /// The byte at a position; after the end it is 0, which no text contains here.
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    fn peek(&self) -> u8 {
        self.byte(self.at)
    }

    fn mark(&self) -> Mark {
        let column = self.at - self.line_start - self.extra_bytes + 1;
        Mark { line: self.line, column: u32::try_from(column).unwrap_or(u32::MAX), offset: self.at }
    }

    /// Advances within the line.
    fn to(&mut self, end: usize) {
        if !self.ascii {
            let passed = self.bytes.get(self.at..end).unwrap_or_default();
            self.extra_bytes += passed.iter().filter(|byte| **byte & 0xc0 == 0x80).count();
        }
        self.at = end;
    }

    /// Skips spaces and returns their number.
    fn spaces(&mut self) -> usize {
        let start = self.at;
        while self.peek() == b' ' {
            self.at += 1;
        }
        self.at - start
    }

    fn line_end(&self) -> usize {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        rest.iter().position(|byte| *byte == b'\n').map_or(self.bytes.len(), |length| self.at + length)
    }

    /// Skips a line break.
    fn line_break(&mut self) {
        self.at += 1;
        self.line = self.line.saturating_add(1);
        self.line_start = self.at;
        self.extra_bytes = 0;
    }

    /// Skips the rest of a line that may only contain a comment.
    fn rest_of_line(&mut self) -> Option<()> {
        let spaces = self.spaces();
        match self.peek() {
            b'#' if spaces > 0 => self.to(self.line_end()),
            b'\n' | 0 => {}
            _ => return None,
        }
        Some(())
    }

    /// Advances from the start or end of a line to the next content.
    fn find_content(&mut self) -> Option<()> {
        loop {
            self.spaces();
            match self.peek() {
                b'\n' => self.line_break(),
                b'#' => self.at = self.line_end(),
                b'\t' => return None,
                0 => {
                    self.column = None;
                    return Some(());
                }
                first => {
                    let column = self.at - self.line_start;
                    let rest = self.bytes.get(self.at..).unwrap_or_default();
                    let ends = first == b'%' || rest.starts_with(b"---") || rest.starts_with(b"...");
                    self.column = Some(column);
                    return (column > 0 || !ends).then_some(());
                }
            }
        }
    }

    /// Whether a `-` that starts an item comes next.
    fn is_entry(&self) -> bool {
        self.peek() == b'-' && matches!(self.byte(self.at + 1), b' ' | b'\n' | 0)
    }

    /// Whether the `:` after a key comes next.
    fn is_colon(&self) -> bool {
        self.peek() == b':' && matches!(self.byte(self.at + 1), b' ' | b'\n' | 0)
    }

    // ---- nodes ----

    /// Counts a node against the limit.
    fn count(&mut self) -> Option<()> {
        self.nodes = self.nodes.checked_sub(1)?;
        Some(())
    }

    fn scalar(&mut self, mark: Mark, text: impl Into<Cow<'t, str>>, style: Style) -> Option<Scalar<'t>> {
        self.count()?;
        Some(Scalar { mark, text: text.into(), style })
    }

    fn null<T: Tree>(&mut self, mark: Mark) -> Option<T> {
        T::scalar(self.scalar(mark, "", Style::Plain)?)
    }

    fn enter(&mut self) -> Option<()> {
        self.depth = self.depth.checked_sub(1)?;
        Some(())
    }

    /// A scalar that ends like the key of a block.
    fn key(&mut self) -> Option<Scalar<'t>> {
        match self.peek() {
            b'"' | b'\'' => self.quoted(),
            _ => self.plain(),
        }
    }

    /// A collection that starts a line.
    fn block<T: Tree>(&mut self, column: usize) -> Option<T> {
        if self.is_entry() {
            return self.sequence(column);
        }
        let key = self.key()?;
        self.mapping(column, key)
    }

    /// A mapping, from after its first key to the next content outside of it. Content that belongs to nothing, such as
    /// the second line of a scalar, ends all collections and is left over at the end.
    fn mapping<T: Tree>(&mut self, column: usize, mut key: Scalar<'t>) -> Option<T> {
        let mark = key.mark;
        self.enter()?;
        let mut entries = T::Entries::default();
        loop {
            if !self.is_colon() || self.at - key.mark.offset > KEY_BYTES || is_merge(&key) {
                return None;
            }
            let colon = self.mark();
            self.at += 1;
            let value = self.mapping_value(column, colon)?;
            T::entry(&mut entries, key, value)?;
            if self.column != Some(column) {
                break;
            }
            key = self.key()?;
        }
        self.depth += 1;
        self.count()?;
        Some(T::mapping(mark, entries))
    }

    fn mapping_value<T: Tree>(&mut self, column: usize, colon: Mark) -> Option<T> {
        self.spaces();
        match self.peek() {
            b'\n' | b'#' | 0 => {
                self.at = self.line_end();
                self.find_content()?;
                match self.column {
                    Some(below) if below > column => self.block(below),
                    Some(below) if below == column && self.is_entry() => self.sequence(column),
                    _ => self.null(colon),
                }
            }
            b'-' if self.is_entry() => None,
            _ => self.value(column, false),
        }
    }

    /// A sequence, starting with its first `-`.
    fn sequence<T: Tree>(&mut self, column: usize) -> Option<T> {
        let mark = self.mark();
        self.enter()?;
        let mut items = T::Items::default();
        loop {
            self.at += 1;
            let behind = self.mark();
            self.spaces();
            if self.peek() == b'#' {
                self.to(self.line_end());
            }
            let item = self.item(column, behind)?;
            T::item(&mut items, item);
            if self.column != Some(column) || !self.is_entry() {
                break;
            }
        }
        self.depth += 1;
        self.count()?;
        Some(T::sequence(mark, items))
    }

    fn item<T: Tree>(&mut self, column: usize, behind: Mark) -> Option<T> {
        match self.peek() {
            b'\n' | 0 => {
                self.find_content()?;
                match self.column {
                    Some(below) if below > column => self.block(below),
                    _ => self.null(behind),
                }
            }
            b'-' if self.is_entry() => self.sequence(self.at - self.line_start),
            _ => self.value(column, true),
        }
    }

    /// The value after a `- ` or a `key: ` on the same line: a scalar, a flow collection, or after `- ` a mapping.
    fn value<T: Tree>(&mut self, parent: usize, may_be_key: bool) -> Option<T> {
        let column = self.at - self.line_start;
        let value = match self.peek() {
            b'|' => return T::scalar(self.literal(parent)?),
            b'[' | b'{' => self.flow()?,
            _ => {
                let scalar = self.key()?;
                if may_be_key && self.is_colon() {
                    return self.mapping(column, scalar);
                }
                T::scalar(scalar)?
            }
        };
        self.rest_of_line()?;
        self.find_content()?;
        Some(value)
    }
}

/// Whether a key requests a merge, which is left to the event parser.
fn is_merge(key: &Scalar<'_>) -> bool {
    key.style == Style::Plain && key.text == "<<"
}
