//! Converts tokens to the events of one document: the grammar of go-yaml v2 (`parserc.go`), by recursive descent with
//! limited depth.

use std::collections::HashMap;

use super::scan::{self, Scanner};
use super::{Error, Limits, Mark, Style, Syntax};

/// How to treat documents after the first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Documents {
    /// Ignore them.
    First,
    /// Reject them, unless they are empty.
    One,
}

/// A part of a document.
pub(super) struct Event {
    pub(super) mark: Mark,
    /// Its first byte, without anchor and tag.
    pub(super) begin: usize,
    /// The offset after its last byte; undefined for the start and end of a block collection.
    pub(super) end: usize,
    pub(super) token: Token,
}

/// The events of a document, and what only its text has.
pub(super) struct Events {
    pub(super) list: Vec<Event>,
    /// The index of every item of a block sequence, and the offset of its dash, in order.
    pub(super) dashes: Vec<(usize, usize)>,
    /// Anchored nodes and nodes with a tag.
    pub(super) anchored: Vec<usize>,
    pub(super) tagged: Vec<usize>,
}

/// The kind of a part.
pub(super) enum Token {
    Scalar {
        text: String,
        style: Style,
        tag: Option<String>,
    },
    /// The index of the anchored node's event.
    Alias(usize),
    /// Whether it is in brackets.
    SequenceStart {
        flow: bool,
    },
    MappingStart {
        flow: bool,
    },
    End,
}

/// The events of the first document of a text.
pub(super) fn events(text: &str, limits: &Limits, documents: Documents) -> Result<Events, Error> {
    let mut parser = Parser {
        scanner: Scanner::new(text),
        limits,
        events: Vec::new(),
        dashes: Vec::new(),
        anchored: Vec::new(),
        tagged: Vec::new(),
        nodes: 0,
        open: Vec::new(),
        anchors: HashMap::new(),
        tags: Vec::new(),
    };
    parser.document()?;
    parser.end_of_document(documents)?;
    let Parser { events, dashes, anchored, tagged, .. } = parser;
    Ok(Events { list: events, dashes, anchored, tagged })
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    limits: &'a Limits,
    events: Vec<Event>,
    dashes: Vec<(usize, usize)>,
    anchored: Vec<usize>,
    tagged: Vec<usize>,
    /// Nodes so far.
    nodes: usize,
    /// The starts of the open collections.
    open: Vec<usize>,
    /// The starts of the anchored nodes.
    anchors: HashMap<String, usize>,
    /// Handles of `%TAG` and their prefixes.
    tags: Vec<(String, String)>,
}

/// The properties that may precede the content of a node.
struct Properties {
    anchor: bool,
    tag: Option<String>,
    /// The offset after them.
    end: usize,
}

/// The context of a node, which determines what may follow it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Block,
    /// A key or value of a block mapping: a list may start in the same column.
    MappingPart,
    Flow,
}

impl Parser<'_> {
    fn document(&mut self) -> Result<(), Error> {
        use scan::Kind::{Directive, DocumentEnd, DocumentStart, StreamEnd};
        while self.scanner.peek()?.kind == DocumentEnd {
            self.scanner.next()?;
        }
        let mut has_directive = false;
        while let Directive(_) = self.scanner.peek()?.kind {
            if let Directive(Some(tag)) = self.scanner.next()?.kind {
                self.tags.push(tag);
            }
            has_directive = true;
        }
        if self.scanner.peek()?.kind == DocumentStart {
            self.scanner.next()?;
        } else if has_directive {
            return Err(self.refused("--- after directives"));
        }
        match &self.scanner.peek()?.kind {
            DocumentStart | DocumentEnd | StreamEnd | Directive(_) => self.empty_here(),
            _ => self.node(Context::Block),
        }
    }

    fn end_of_document(&mut self, documents: Documents) -> Result<(), Error> {
        use scan::Kind::{Directive, DocumentEnd, DocumentStart, StreamEnd};
        let mut is_first = true;
        loop {
            match &self.scanner.peek()?.kind {
                StreamEnd => return Ok(()),
                DocumentStart | DocumentEnd | Directive(_) if documents == Documents::First => return Ok(()),
                DocumentStart | DocumentEnd | Directive(_) => {
                    self.scanner.next()?;
                }
                // go-yaml drops everything after the first value.
                _ if is_first => {
                    return Err(self.refused("the end of the document, or indentation that fits"));
                }
                _ => {
                    let mark = self.scanner.peek()?.mark;
                    return Err(Error::at(mark, "found a second document", "one document"));
                }
            }
            is_first = false;
        }
    }

    /// Rejects the next token.
    fn refused(&mut self, accepted: &str) -> Error {
        let mark = match self.scanner.peek() {
            Ok(token) => token.mark,
            Err(error) => return error,
        };
        self.scanner.error_at(mark, accepted)
    }

    fn add(&mut self, mark: Mark, span: (usize, usize), token: Token) -> Result<(), Error> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            return Err(too_many_nodes(mark, self.limits));
        }
        self.events.push(Event { mark, begin: span.0, end: span.1, token });
        Ok(())
    }

    /// A value without a text, at an offset.
    fn empty(&mut self, mark: Mark, at: usize) -> Result<(), Error> {
        self.add(mark, (at, at), Token::Scalar { text: String::new(), style: Style::Plain, tag: None })
    }

    fn empty_here(&mut self) -> Result<(), Error> {
        let mark = self.scanner.peek()?.mark;
        self.empty(mark, mark.offset)
    }

    fn start(&mut self, mark: Mark, token: Token) -> Result<(), Error> {
        self.open.push(self.events.len());
        if self.open.len() > self.limits.depth {
            return Err(too_deep(mark, self.limits));
        }
        self.add(mark, (mark.offset, mark.offset), token)
    }

    fn end(&mut self) -> Result<(), Error> {
        let mark = self.scanner.peek()?.mark;
        self.open.pop();
        self.events.push(Event { mark, begin: mark.offset, end: mark.offset, token: Token::End });
        Ok(())
    }

    /// Consumes the next token, which ends the open collection.
    fn end_with_token(&mut self) -> Result<(), Error> {
        let scan::Token { mark, end, .. } = self.scanner.next()?;
        self.open.pop();
        self.events.push(Event { mark, begin: mark.offset, end: end.offset, token: Token::End });
        Ok(())
    }

    fn node(&mut self, context: Context) -> Result<(), Error> {
        if let scan::Kind::Alias(_) = self.scanner.peek()?.kind {
            return self.alias();
        }
        let start = self.scanner.peek()?.mark;
        let first = self.events.len();
        let Properties { anchor, tag, end } = self.properties()?;
        let has_properties = anchor || tag.is_some();
        if anchor {
            self.anchored.push(first);
        }
        if tag.is_some() {
            self.tagged.push(first);
        }
        self.content(context, has_properties.then_some(end), tag)?;
        // A node starts with its anchor and tag.
        if let Some(event) = self.events.get_mut(first).filter(|_| has_properties) {
            event.mark = start;
        }
        Ok(())
    }

    /// `properties` is the end of the node's anchor and tag, if it has any.
    fn content(
        &mut self,
        context: Context,
        properties: Option<usize>,
        tag: Option<String>,
    ) -> Result<(), Error> {
        use scan::Kind;
        let is_block = context != Context::Flow;
        match &self.scanner.peek()?.kind {
            Kind::BlockEntry if context == Context::MappingPart => self.list_in_place(),
            Kind::Scalar(..) => {
                let token = self.scanner.next()?;
                let Kind::Scalar(text, style) = token.kind else { return Ok(()) };
                let span = (token.begin, token.end.offset);
                self.add(token.mark, span, Token::Scalar { text, style, tag })
            }
            Kind::FlowSequenceStart => self.flow_sequence(),
            Kind::FlowMappingStart => self.flow_mapping(),
            Kind::BlockSequenceStart if is_block => self.block_sequence(),
            Kind::BlockMappingStart if is_block => self.block_mapping(),
            _ => match properties {
                Some(end) => {
                    let mark = self.scanner.peek()?.mark;
                    self.add(
                        mark,
                        (end, end),
                        Token::Scalar { text: String::new(), style: Style::Plain, tag },
                    )
                }
                None => Err(self.refused("a value")),
            },
        }
    }

    fn alias(&mut self) -> Result<(), Error> {
        let token = self.scanner.next()?;
        let scan::Kind::Alias(name) = token.kind else { return Ok(()) };
        if self.limits.syntax == Syntax::Rendered {
            return Err(Error::at(token.mark, "found an alias", "the value itself"));
        }
        let Some(start) = self.anchors.get(&name).copied() else {
            let found = format!("found an alias, but no anchor &{name} before it");
            return Err(Error::at(token.mark, found, "an alias of an anchor, or quotes"));
        };
        if self.open.contains(&start) {
            let found = "found an alias inside its own anchor";
            return Err(Error::at(token.mark, found, "an alias after it"));
        }
        self.add(token.mark, (token.begin, token.end.offset), Token::Alias(start))
    }

    /// An anchor and a tag, in any order. The anchor applies to the next event.
    fn properties(&mut self) -> Result<Properties, Error> {
        let (mut anchor, mut tag) = (None, None);
        loop {
            match &self.scanner.peek()?.kind {
                scan::Kind::Anchor(_) if anchor.is_none() => anchor = Some(self.scanner.next()?),
                scan::Kind::Tag(..) if tag.is_none() => tag = Some(self.scanner.next()?),
                _ => break,
            }
        }
        if self.limits.syntax == Syntax::Rendered {
            if let Some(anchor) = anchor {
                return Err(Error::at(anchor.mark, "found an anchor", "the value without it"));
            }
            if let Some(tag) = tag {
                return Err(Error::at(tag.mark, "found a tag", "the value without it"));
            }
        }
        let end = [&anchor, &tag].into_iter().flatten().map(|token: &scan::Token| token.end.offset).max();
        let tag = tag.map(|token| self.resolve_tag(token)).transpose()?.flatten();
        let is_anchored = anchor.is_some();
        if let Some(scan::Token { kind: scan::Kind::Anchor(name), .. }) = anchor {
            self.anchors.insert(name, self.events.len());
        }
        Ok(Properties { anchor: is_anchored, tag, end: end.unwrap_or_default() })
    }

    /// A tag in its short form.
    fn resolve_tag(&self, token: scan::Token) -> Result<Option<String>, Error> {
        let scan::Kind::Tag(handle, suffix) = token.kind else { return Ok(None) };
        let declared =
            self.tags.iter().find(|(known, _)| *known == handle).map(|(_, prefix)| prefix.as_str());
        let prefix = match (declared, handle.as_str()) {
            (Some(prefix), _) => prefix,
            (None, "") => "",
            (None, "!") => "!",
            (None, "!!") => "tag:yaml.org,2002:",
            (None, _) => {
                let found = format!("found the tag handle {handle}, which no %TAG declares");
                return Err(Error::at(token.mark, found, "! or !!"));
            }
        };
        let full = format!("{prefix}{suffix}");
        Ok(Some(match full.strip_prefix("tag:yaml.org,2002:") {
            Some(name) => format!("!!{name}"),
            None => full,
        }))
    }

    fn block_sequence(&mut self) -> Result<(), Error> {
        use scan::Kind::{BlockEnd, BlockEntry};
        let mark = self.scanner.next()?.mark;
        self.start(mark, Token::SequenceStart { flow: false })?;
        loop {
            match &self.scanner.peek()?.kind {
                BlockEntry => {
                    let behind = self.dash()?;
                    match &self.scanner.peek()?.kind {
                        BlockEntry | BlockEnd => self.empty(behind, behind.offset)?,
                        _ => self.node(Context::Block)?,
                    }
                }
                BlockEnd => return self.end_with_token(),
                _ => return Err(self.refused("another list item, or less indentation")),
            }
        }
    }

    /// Consumes the dash of an item, and returns the position after it.
    fn dash(&mut self) -> Result<Mark, Error> {
        let scan::Token { mark, end, .. } = self.scanner.next()?;
        self.dashes.push((self.events.len(), mark.offset));
        Ok(end)
    }

    /// A list whose dashes are in the column of its key.
    fn list_in_place(&mut self) -> Result<(), Error> {
        use scan::Kind::{BlockEnd, BlockEntry, Key, Value};
        let mark = self.scanner.peek()?.mark;
        self.start(mark, Token::SequenceStart { flow: false })?;
        while self.scanner.peek()?.kind == BlockEntry {
            let behind = self.dash()?;
            match &self.scanner.peek()?.kind {
                BlockEntry | Key | Value | BlockEnd => self.empty(behind, behind.offset)?,
                _ => self.node(Context::Block)?,
            }
        }
        self.end()
    }

    fn block_mapping(&mut self) -> Result<(), Error> {
        use scan::Kind::{BlockEnd, Key, Value};
        let mark = self.scanner.next()?.mark;
        self.start(mark, Token::MappingStart { flow: false })?;
        loop {
            match &self.scanner.peek()?.kind {
                Key => {
                    let behind = self.scanner.next()?.end;
                    self.mapping_part(behind, behind.offset)?;
                    if self.scanner.peek()?.kind == Value {
                        let scan::Token { mark: colon, end, .. } = self.scanner.next()?;
                        self.mapping_part(colon, end.offset)?;
                    } else {
                        self.empty_here()?;
                    }
                }
                BlockEnd => return self.end_with_token(),
                _ => return Err(self.refused("another key, or indentation that fits")),
            }
        }
    }

    fn mapping_part(&mut self, empty: Mark, at: usize) -> Result<(), Error> {
        use scan::Kind::{BlockEnd, Key, Value};
        match &self.scanner.peek()?.kind {
            Key | Value | BlockEnd => self.empty(empty, at),
            _ => self.node(Context::MappingPart),
        }
    }

    fn flow_sequence(&mut self) -> Result<(), Error> {
        use scan::Kind::{FlowSequenceEnd, Key};
        let mark = self.scanner.next()?.mark;
        self.start(mark, Token::SequenceStart { flow: true })?;
        let mut is_first = true;
        while self.flow_goes_on(&FlowSequenceEnd, &mut is_first, "',' or ']'")? {
            match &self.scanner.peek()?.kind {
                // A mapping with one entry.
                Key => {
                    let mark = self.scanner.peek()?.mark;
                    self.start(mark, Token::MappingStart { flow: true })?;
                    self.flow_entry(&FlowSequenceEnd)?;
                    self.end()?;
                }
                _ => self.node(Context::Flow)?,
            }
        }
        self.end_with_token()
    }

    fn flow_mapping(&mut self) -> Result<(), Error> {
        use scan::Kind::{FlowMappingEnd, Key};
        let mark = self.scanner.next()?.mark;
        self.start(mark, Token::MappingStart { flow: true })?;
        let mut is_first = true;
        while self.flow_goes_on(&FlowMappingEnd, &mut is_first, "',' or '}'")? {
            if self.scanner.peek()?.kind == Key {
                self.flow_entry(&FlowMappingEnd)?;
            } else {
                self.node(Context::Flow)?;
                self.empty_here()?;
            }
        }
        self.end_with_token()
    }

    /// Whether an item follows, after a comma unless it is the first.
    fn flow_goes_on(&mut self, end: &scan::Kind, is_first: &mut bool, accepted: &str) -> Result<bool, Error> {
        if self.scanner.peek()?.kind == *end {
            return Ok(false);
        }
        if !std::mem::take(is_first) {
            if self.scanner.peek()?.kind != scan::Kind::FlowEntry {
                return Err(self.refused(accepted));
            }
            self.scanner.next()?;
        }
        Ok(self.scanner.peek()?.kind != *end)
    }

    /// A key and its value inside brackets.
    fn flow_entry(&mut self, end: &scan::Kind) -> Result<(), Error> {
        use scan::Kind::{FlowEntry, Value};
        self.scanner.next()?;
        let kind = &self.scanner.peek()?.kind;
        if matches!(kind, Value | FlowEntry) || kind == end {
            self.empty_here()?;
        } else {
            self.node(Context::Flow)?;
        }
        if self.scanner.peek()?.kind != Value {
            return self.empty_here();
        }
        let scan::Token { mark: colon, end: behind, .. } = self.scanner.next()?;
        let kind = &self.scanner.peek()?.kind;
        if *kind == FlowEntry || kind == end {
            self.empty(colon, behind.offset)
        } else {
            self.node(Context::Flow)
        }
    }
}

pub(super) fn too_deep(mark: Mark, limits: &Limits) -> Error {
    Error::at(mark, "found nesting that is too deep", format!("at most {} levels", limits.depth))
}

pub(super) fn too_many_nodes(mark: Mark, limits: &Limits) -> Error {
    Error::at(mark, "found too many values", format!("at most {}", limits.nodes))
}
