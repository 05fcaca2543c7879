//! From the parser's events to the tree, within the limits.
//!
//! Two passes. The first collects the events of one document and refuses what is over a limit or forbidden; an alias is
//! only a jump to the events of its anchor. The second builds the tree and counts what aliases add before it copies,
//! so a bomb costs no more than its budget.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use super::resolve;
use super::{Error, Kind, Limits, Mark, Node, Style, Syntax};

/// What happens to documents after the first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Documents {
    /// They are not read.
    First,
    /// They are an error, unless empty.
    One,
}

/// Builds the tree of the first document.
pub(super) fn node(text: &str, limits: &Limits, documents: Documents) -> Result<Node, Error> {
    if text.len() > limits.bytes {
        let found = format!("found a text of {} bytes", text.len());
        return Err(Error::at(Mark::START, found, format!("at most {} bytes", limits.bytes)));
    }
    refuse_control_characters(text)?;
    let events = Collector::new(text, limits).collect(documents)?;
    let mut builder = Builder {
        events,
        limits,
        position: 0,
        depth: 0,
        nodes: 0,
        alias_depth: 0,
        alias_nodes: 0,
        alias_bytes: 0,
    };
    builder.node()
}

struct Item {
    mark: Mark,
    token: Token,
}

enum Token {
    Scalar {
        text: String,
        style: Style,
        tag: Option<String>,
    },
    /// Where in the events the anchored node is.
    Alias(Range<usize>),
    SequenceStart,
    MappingStart,
    End,
}

// ---- first pass ----

struct Collector<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    offsets: Offsets<'a>,
    limits: &'a Limits,
    items: Vec<Item>,
    /// Nodes so far.
    nodes: usize,
    /// The open collections: where each starts, and its anchor.
    open: Vec<(usize, usize)>,
    /// Finished anchored nodes by the parser's anchor number.
    anchors: HashMap<usize, Range<usize>>,
}

impl<'a> Collector<'a> {
    fn new(text: &'a str, limits: &'a Limits) -> Self {
        Collector {
            parser: Parser::new_from_str(text),
            offsets: Offsets::new(text),
            limits,
            items: Vec::new(),
            nodes: 0,
            open: Vec::new(),
            anchors: HashMap::new(),
        }
    }

    fn collect(mut self, documents: Documents) -> Result<Vec<Item>, Error> {
        loop {
            let (event, mark) = self.next()?;
            match event {
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => {}
                Event::DocumentEnd => break,
                // A text without any document is null.
                Event::StreamEnd => {
                    self.items.push(Item { mark, token: empty_scalar() });
                    return Ok(self.items);
                }
                event => self.push(event, mark)?,
            }
        }
        if documents == Documents::One {
            self.refuse_more()?;
        }
        Ok(self.items)
    }

    fn next(&mut self) -> Result<(Event<'a>, Mark), Error> {
        match self.parser.next_event() {
            Some(Ok((Event::Scalar(text, style, anchor, tag), span))) => {
                let ends_text = self.offsets.offset(span.end.index()) >= self.offsets.text.len();
                let text = if ends_text { self.without_added_break(text, style) } else { text };
                Ok((Event::Scalar(text, style, anchor, tag), self.offsets.mark(span.start)))
            }
            Some(Ok((event, span))) => Ok((event, self.offsets.mark(span.start))),
            Some(Err(error)) => Err(self.syntax_error(&error)),
            None => Ok((Event::StreamEnd, self.offsets.end())),
        }
    }

    /// The parser ends every block scalar with a line break; go-yaml gives one only where the text has one.
    fn without_added_break(&self, mut scalar: Cow<'a, str>, style: ScalarStyle) -> Cow<'a, str> {
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        if block && scalar.ends_with('\n') && self.ends_inside(&scalar) {
            scalar.to_mut().pop();
        }
        scalar
    }

    /// Whether the last line of the text has no line break and is part of a block scalar: it is indented enough,
    /// which counts where it is blank.
    fn ends_inside(&self, scalar: &str) -> bool {
        let spaces = |line: &str| line.len() - line.trim_start_matches(' ').len();
        let not_blank = |line: &&str| !line.trim_matches(' ').is_empty();
        let mut lines = self.offsets.text.rsplit(['\n', '\r']);
        let last = lines.next().unwrap_or_default();
        if not_blank(&last) || last.is_empty() {
            return !last.is_empty();
        }
        let written = lines.find(not_blank).map_or(0, spaces);
        let kept = scalar.rsplit('\n').find(not_blank).map_or(0, spaces);
        last.len() >= written.saturating_sub(kept)
    }

    fn push(&mut self, event: Event<'a>, mark: Mark) -> Result<(), Error> {
        let start = self.items.len();
        let token = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = self.tag(tag.as_deref(), anchor, mark)?;
                if style == ScalarStyle::Plain && text.starts_with(['|', '>']) {
                    // In flow collections the parser takes these for ordinary characters.
                    let accepted = "a block scalar outside of brackets, or quotes";
                    return Err(Error::at(mark, format!("found {}", resolve::excerpt(&text)), accepted));
                }
                if anchor > 0 {
                    self.anchors.insert(anchor, start..start + 1);
                }
                Token::Scalar { text: text.into_owned(), style: style_of(style), tag }
            }
            Event::SequenceStart(anchor, tag) => {
                self.tag(tag.as_deref(), anchor, mark)?;
                self.open(start, anchor, mark)?;
                Token::SequenceStart
            }
            Event::MappingStart(anchor, tag) => {
                self.tag(tag.as_deref(), anchor, mark)?;
                self.open(start, anchor, mark)?;
                Token::MappingStart
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((first, anchor)) = self.open.pop().filter(|(_, anchor)| *anchor > 0) {
                    self.anchors.insert(anchor, first..start + 1);
                }
                self.items.push(Item { mark, token: Token::End });
                return Ok(());
            }
            Event::Alias(anchor) => {
                if self.limits.syntax == Syntax::Rendered {
                    return Err(Error::at(mark, "found an alias", "the value itself"));
                }
                let Some(range) = self.anchors.get(&anchor) else {
                    return Err(Error::at(
                        mark,
                        "found an alias inside the value it stands for",
                        "an alias after it",
                    ));
                };
                Token::Alias(range.clone())
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => return Ok(()),
        };
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            return Err(too_many_nodes(mark, self.limits));
        }
        self.items.push(Item { mark, token });
        Ok(())
    }

    fn open(&mut self, start: usize, anchor: usize, mark: Mark) -> Result<(), Error> {
        self.open.push((start, anchor));
        if self.open.len() > self.limits.depth {
            return Err(too_deep(mark, self.limits));
        }
        Ok(())
    }

    /// The tag in its short form; anchors and tags are refused where the limits say so.
    fn tag(&self, tag: Option<&Tag>, anchor: usize, mark: Mark) -> Result<Option<String>, Error> {
        if self.limits.syntax == Syntax::Rendered {
            if anchor > 0 {
                return Err(Error::at(mark, "found an anchor", "the value without it"));
            }
            if tag.is_some() {
                return Err(Error::at(mark, "found a tag", "the value without it"));
            }
        }
        Ok(tag.map(|tag| {
            let full = format!("{}{}", tag.handle, tag.suffix);
            match full.strip_prefix("tag:yaml.org,2002:") {
                Some(name) => format!("!!{name}"),
                None => full,
            }
        }))
    }

    fn refuse_more(&mut self) -> Result<(), Error> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(()),
                (Event::Scalar(text, ScalarStyle::Plain, 0, None), _) if text.is_empty() => {}
                (
                    Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) | Event::Alias(_),
                    mark,
                ) => return Err(Error::at(mark, "found a second document", "one document")),
                _ => {}
            }
        }
    }

    fn syntax_error(&self, error: &ScanError) -> Error {
        let mark = self.offsets.mark(*error.marker());
        let found = match self.offsets.text.get(mark.offset..).and_then(|rest| rest.chars().next()) {
            None => "found the end of the text".to_owned(),
            Some('\n' | '\r') => "found the end of the line".to_owned(),
            Some('\t') => "found a tab".to_owned(),
            Some(other) => format!("found {other:?}"),
        };
        Error::at(mark, found, format!("YAML ({})", error.info()))
    }
}

/// go-yaml's reader takes printable characters only (YAML 1.1, section 5.1); the parser here would take all.
fn refuse_control_characters(text: &str) -> Result<(), Error> {
    let refused = |c: char| matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}');
    let Some(offset) = text.find(refused) else { return Ok(()) };
    let (before, rest) = text.split_at_checked(offset).unwrap_or((text, ""));
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
    let mark = Mark { line: number_of(line), column: number_of(column), offset };
    let found = format!("found {:?}, a control character", rest.chars().next().unwrap_or_default());
    Err(Error::at(mark, found, "printable text; in double quotes it can be escaped"))
}

fn number_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn empty_scalar() -> Token {
    Token::Scalar { text: String::new(), style: Style::Plain, tag: None }
}

fn style_of(style: ScalarStyle) -> Style {
    match style {
        ScalarStyle::Plain => Style::Plain,
        ScalarStyle::SingleQuoted => Style::SingleQuoted,
        ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
        ScalarStyle::Literal => Style::Literal,
        ScalarStyle::Folded => Style::Folded,
    }
}

fn too_deep(mark: Mark, limits: &Limits) -> Error {
    Error::at(mark, "found too deep a nesting", format!("at most {} levels", limits.depth))
}

fn too_many_nodes(mark: Mark, limits: &Limits) -> Error {
    Error::at(mark, "found too many values", format!("at most {}", limits.nodes))
}

/// Byte offsets for the parser's character offsets.
struct Offsets<'a> {
    text: &'a str,
    /// The byte offset of every 64th character; empty where every character is a byte.
    samples: Vec<usize>,
}

impl<'a> Offsets<'a> {
    fn new(text: &'a str) -> Self {
        let samples = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().step_by(64).map(|(offset, _)| offset).collect()
        };
        Offsets { text, samples }
    }

    fn mark(&self, marker: Marker) -> Mark {
        Mark {
            line: number_of(marker.line()).max(1),
            column: number_of(marker.col()).saturating_add(1),
            offset: self.offset(marker.index()),
        }
    }

    fn offset(&self, character: usize) -> usize {
        if self.samples.is_empty() {
            return character.min(self.text.len());
        }
        let Some(start) = self.samples.get(character / 64) else { return self.text.len() };
        let rest = self.text.get(*start..).unwrap_or_default();
        rest.char_indices().nth(character % 64).map_or(self.text.len(), |(offset, _)| start + offset)
    }

    fn end(&self) -> Mark {
        let line = self.text.bytes().filter(|byte| *byte == b'\n').count();
        Mark { line: number_of(line + 1), column: 1, offset: self.text.len() }
    }
}

// ---- second pass ----

struct Builder<'a> {
    events: Vec<Item>,
    limits: &'a Limits,
    position: usize,
    depth: usize,
    nodes: usize,
    /// How many aliases we are inside of.
    alias_depth: usize,
    alias_nodes: usize,
    alias_bytes: usize,
}

impl Builder<'_> {
    /// Builds the node at the current position and moves behind it. The recursion is bounded by the depth limit.
    fn node(&mut self) -> Result<Node, Error> {
        let Some(item) = self.events.get_mut(self.position) else {
            // Only for a document that ended early, which the parser does not give.
            return Ok(Node { mark: Mark::START, kind: null() });
        };
        let mark = item.mark;
        self.position += 1;
        let kind = match &mut item.token {
            Token::Alias(range) => {
                let (target, back) = (range.start, self.position);
                self.position = target;
                self.alias_depth += 1;
                let node = self.node();
                self.alias_depth -= 1;
                self.position = back;
                return node;
            }
            Token::Scalar { text, style, tag } => {
                // An anchored scalar may be needed again, so it is copied.
                let (text, style, tag) = (text.clone(), *style, tag.clone());
                self.count(mark, text.len())?;
                Kind::Scalar { text, style, tag }
            }
            Token::SequenceStart => {
                self.count(mark, 0)?;
                self.enter(mark)?;
                let mut items = Vec::new();
                while !self.at_end() {
                    items.push(self.node()?);
                }
                self.leave();
                Kind::Sequence(items)
            }
            Token::MappingStart => {
                self.count(mark, 0)?;
                self.enter(mark)?;
                let mut entries = Entries::default();
                while !self.at_end() {
                    self.entry(&mut entries)?;
                }
                self.leave();
                Kind::Mapping(entries.list)
            }
            Token::End => null(),
        };
        Ok(Node { mark, kind })
    }

    fn entry(&mut self, entries: &mut Entries) -> Result<(), Error> {
        let key = self.node()?;
        if !matches!(key.kind, Kind::Scalar { .. }) {
            let found = format!("found {} as a key", key.kind_name());
            return Err(Error::at(key.mark, found, "a string, a number, true or false"));
        }
        let aliased = matches!(self.events.get(self.position), Some(Item { token: Token::Alias(_), .. }));
        let value = self.node()?;
        if is_merge(&key) { entries.merge(value, aliased) } else { entries.push(key, value) }
    }

    fn count(&mut self, mark: Mark, bytes: usize) -> Result<(), Error> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            return Err(too_many_nodes(mark, self.limits));
        }
        if self.alias_depth > 0 {
            self.alias_nodes += 1;
            self.alias_bytes = self.alias_bytes.saturating_add(bytes);
            if self.alias_nodes > self.limits.alias_nodes || self.alias_bytes > self.limits.bytes {
                let accepted =
                    format!("at most {} values and {} bytes", self.limits.alias_nodes, self.limits.bytes);
                return Err(Error::at(mark, "found aliases that stand for too much", accepted));
            }
        }
        Ok(())
    }

    fn enter(&mut self, mark: Mark) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > self.limits.depth { Err(too_deep(mark, self.limits)) } else { Ok(()) }
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.position += 1;
    }

    fn at_end(&self) -> bool {
        matches!(self.events.get(self.position), None | Some(Item { token: Token::End, .. }))
    }
}

fn null() -> Kind {
    Kind::Scalar { text: String::new(), style: Style::Plain, tag: None }
}

/// go-yaml's `isMerge`.
fn is_merge(key: &Node) -> bool {
    match &key.kind {
        Kind::Scalar { text, style, tag } if text == "<<" => match tag.as_deref() {
            None => *style == Style::Plain,
            Some(tag) => tag == "!" || tag == "!!merge",
        },
        _ => false,
    }
}

/// The entries of a mapping under construction.
///
/// go-yaml v2 puts entries into a map in the order of the text, and a merge as well: it overwrites what stands before
/// it and is overwritten by what stands behind it. What was written twice stays twice, for callers that want to know.
#[derive(Default)]
struct Entries {
    list: Vec<(Node, Node)>,
    /// Where each key stands last, and whether it came from a merge; kept once there is a merge.
    last: Option<HashMap<String, (usize, bool)>>,
}

impl Entries {
    fn push(&mut self, key: Node, value: Node) -> Result<(), Error> {
        if let Some(last) = &mut self.last {
            let (position, merged) = last.get(&key.key_text()?).copied().unwrap_or((self.list.len(), false));
            if let Some(entry) = self.list.get_mut(position).filter(|_| merged) {
                last.insert(key.key_text()?, (position, false));
                *entry = (key, value);
                return Ok(());
            }
            last.insert(key.key_text()?, (self.list.len(), false));
        }
        self.list.push((key, value));
        Ok(())
    }

    fn merge(&mut self, value: Node, aliased: bool) -> Result<(), Error> {
        let mark = value.mark;
        let accepted = "a mapping or a list of mappings";
        let refused =
            |node: &Node| Error::at(node.mark, format!("found {} under <<", node.kind_name()), accepted);
        match value.kind {
            Kind::Mapping(entries) => self.merge_one(entries),
            Kind::Sequence(_) if aliased => {
                Err(Error::at(mark, "found an alias of a list under <<", accepted))
            }
            // Earlier mappings win, so the last goes first.
            Kind::Sequence(items) => items.into_iter().rev().try_for_each(|item| match item.kind {
                Kind::Mapping(entries) => self.merge_one(entries),
                _ => Err(refused(&item)),
            }),
            Kind::Scalar { .. } => Err(refused(&value)),
        }
    }

    fn merge_one(&mut self, entries: Vec<(Node, Node)>) -> Result<(), Error> {
        let mut last = match self.last.take() {
            Some(last) => last,
            None => {
                let keys = self.list.iter().enumerate();
                keys.map(|(position, (key, _))| Ok((key.key_text()?, (position, false))))
                    .collect::<Result<_, Error>>()?
            }
        };
        for (key, value) in entries {
            let text = key.key_text()?;
            match last.get(&text).and_then(|(position, _)| self.list.get_mut(*position)) {
                Some(entry) => entry.1 = value,
                None => {
                    last.insert(text, (self.list.len(), true));
                    self.list.push((key, value));
                }
            }
        }
        self.last = Some(last);
        Ok(())
    }
}
