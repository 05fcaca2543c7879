//! The fast path for what templates render: ordinary block YAML, read straight from the bytes.
//!
//! The event parser takes most of the time of an injection whose overlay is not cached. This one knows the part of YAML
//! that templates use and gives up (`None`) at everything else: anchors, tags, documents, multi-line scalars, tabs, and
//! every error. The caller then asks the event parser, which alone explains what is wrong. So what stands here may be
//! incomplete but never different: a tree from here equals the event parser's, marks included, and its limits are the
//! same. The tests hold the two against each other.
//!
//! Every function moves forward only, and recursion is bounded by the depth limit.

mod flow;
mod scalar;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::Value;

use super::{Kind, Limits, Mark, Node, Style, resolve};

/// The recursion this parser allows itself, whatever the limits say.
const DEPTH: usize = 100;

/// Keys above 1024 characters are not keys to the event parser.
const KEY_BYTES: usize = 1000;

/// A scalar as it is read, its quotes and escapes resolved.
pub struct Scalar<'t> {
    /// Where it starts.
    pub mark: Mark,
    /// Its content.
    pub text: Cow<'t, str>,
    /// How it is written.
    pub style: Style,
}

/// What a text is read into. `None` gives up the fast path, which is where an error is found again and explained.
pub trait Tree: Sized {
    /// A sequence that is being read.
    type Items: Default;
    /// A mapping that is being read.
    type Entries: Default;

    /// A scalar that is no key.
    fn scalar(scalar: Scalar<'_>) -> Option<Self>;
    /// Adds an item.
    fn item(items: &mut Self::Items, item: Self);
    /// Adds an entry.
    fn entry(entries: &mut Self::Entries, key: Scalar<'_>, value: Self) -> Option<()>;
    /// A sequence whose items are all there.
    fn sequence(mark: Mark, items: Self::Items) -> Self;
    /// A mapping whose entries are all there.
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

/// The tree of the text, or nothing if the text is not of the simple kind.
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

/// Bytes of control characters, of byte order marks and of characters that are no characters. The leading bytes 0xC2
/// and 0xEF stand for harmless ones too, but hardly in a template.
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
    /// By how much the bytes of this line before `at` outnumber its characters.
    extra_bytes: usize,
    /// Where the content starts in the line that was reached last; none at the end of the text. Only spaces and
    /// indicators stand before it, so bytes are characters.
    column: Option<usize>,
    /// How much deeper collections may nest.
    depth: usize,
    /// How many nodes are left.
    nodes: usize,
}

impl<'t> Reader<'t> {
    // ---- characters ----

    /// The byte at a position; 0, which no text has here, behind the end.
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

    /// Moves forward in the line.
    fn to(&mut self, end: usize) {
        if !self.ascii {
            let passed = self.bytes.get(self.at..end).unwrap_or_default();
            self.extra_bytes += passed.iter().filter(|byte| **byte & 0xc0 == 0x80).count();
        }
        self.at = end;
    }

    /// Moves over spaces and says how many they were.
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

    /// Moves over a line break.
    fn line_break(&mut self) {
        self.at += 1;
        self.line = self.line.saturating_add(1);
        self.line_start = self.at;
        self.extra_bytes = 0;
    }

    /// Moves over the rest of a line that may hold a comment only.
    fn rest_of_line(&mut self) -> Option<()> {
        let spaces = self.spaces();
        match self.peek() {
            b'#' if spaces > 0 => self.to(self.line_end()),
            b'\n' | 0 => {}
            _ => return None,
        }
        Some(())
    }

    /// From the start of a line, or from its end, to the next content.
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

    /// Whether a `-` that starts an item is next.
    fn is_entry(&self) -> bool {
        self.peek() == b'-' && matches!(self.byte(self.at + 1), b' ' | b'\n' | 0)
    }

    /// Whether the `:` behind a key is next.
    fn is_colon(&self) -> bool {
        self.peek() == b':' && matches!(self.byte(self.at + 1), b' ' | b'\n' | 0)
    }

    // ---- nodes ----

    /// Takes a node from those that are left.
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

    /// A scalar that ends where a key of a block does.
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

    /// A mapping from behind its first key to the next content that is not its own. Content that is nobody's, such as the
    /// second line of a scalar, ends all collections and is left over at the end.
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

    /// A sequence from its first `-`.
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

    /// What starts behind a `- ` or a `key: ` in the same line: a scalar, a flow collection, or behind `- ` a mapping.
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

/// Whether a key asks for a merge, which is left to the event parser's side.
fn is_merge(key: &Scalar<'_>) -> bool {
    key.style == Style::Plain && key.text == "<<"
}
