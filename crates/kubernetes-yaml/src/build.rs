//! Builds a document's tree from its events, within the limits.
//!
//! The parser collects the events and rejects those that are forbidden or over a limit; an alias is only a jump to the
//! events of its anchor. Here the tree is built, and the nodes that aliases add are counted before they are copied, so
//! a bomb costs no more than its budget.

use std::collections::HashMap;

use super::outline::Outline;
use super::parse::{self, Documents, Event, Events, Token, too_deep, too_many_nodes};
use super::{Error, Kind, Limits, Mark, Node, Style};

/// Builds the tree of the first document.
pub(super) fn node(text: &str, limits: &Limits, documents: Documents) -> Result<Node, Error> {
    tree(events(text, limits, documents)?.list, limits)
}

/// Builds the tree of the only document, and its outline.
pub(super) fn outlined(text: &str, limits: &Limits) -> Result<(Node, Outline), Error> {
    let events = events(text, limits, Documents::One)?;
    let outline = Outline::of(&events);
    Ok((tree(events.list, limits)?, outline))
}

fn events(text: &str, limits: &Limits, documents: Documents) -> Result<Events, Error> {
    if text.len() > limits.bytes {
        let found = format!("found a text of {} bytes", text.len());
        return Err(Error::at(Mark::START, found, format!("at most {} bytes", limits.bytes)));
    }
    refuse_control_characters(text)?;
    parse::events(text, limits, documents)
}

fn tree(events: Vec<Event>, limits: &Limits) -> Result<Node, Error> {
    let mut builder = Builder {
        has_aliases: events.iter().any(|event| matches!(event.token, Token::Alias(_))),
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

/// go-yaml's reader accepts only printable characters (YAML 1.1, section 5.1).
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

struct Builder<'a> {
    events: Vec<Event>,
    has_aliases: bool,
    limits: &'a Limits,
    position: usize,
    depth: usize,
    nodes: usize,
    /// The number of enclosing aliases.
    alias_depth: usize,
    alias_nodes: usize,
    alias_bytes: usize,
}

impl Builder<'_> {
    /// Builds the node at the current position and advances past it. The recursion is bounded by the depth limit.
    fn node(&mut self) -> Result<Node, Error> {
        let Some(item) = self.events.get_mut(self.position) else {
            // Only for a document that ended early, which the parser never produces.
            return Ok(Node { mark: Mark::START, kind: null() });
        };
        let mark = item.mark;
        self.position += 1;
        let kind = match &mut item.token {
            Token::Alias(target) => {
                let (target, back) = (*target, self.position);
                self.position = target;
                self.alias_depth += 1;
                let node = self.node();
                self.alias_depth -= 1;
                self.position = back;
                return node;
            }
            Token::Scalar { text, style, tag } => {
                // An anchored scalar may be needed again.
                let (text, style, tag) = match self.has_aliases {
                    true => (text.clone(), *style, tag.clone()),
                    false => (std::mem::take(text), *style, tag.take()),
                };
                self.count(mark, text.len())?;
                Kind::Scalar { text, style, tag }
            }
            Token::SequenceStart { .. } => {
                self.count(mark, 0)?;
                self.enter(mark)?;
                let mut items = Vec::new();
                while !self.at_end() {
                    items.push(self.node()?);
                }
                self.leave();
                Kind::Sequence(items)
            }
            Token::MappingStart { .. } => {
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
        let aliased = matches!(self.events.get(self.position), Some(Event { token: Token::Alias(_), .. }));
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
                return Err(Error::at(mark, "found aliases that expand to too much", accepted));
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
        matches!(self.events.get(self.position), None | Some(Event { token: Token::End, .. }))
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
/// go-yaml v2 inserts entries into a map in text order, including merges: a merge overrides earlier entries and is
/// overridden by later ones. Duplicate keys are preserved for callers that want to report them.
#[derive(Default)]
struct Entries {
    list: Vec<(Node, Node)>,
    /// The last position of each key, and whether it came from a merge; maintained once there is a merge.
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
            // Earlier mappings win, so the last one is applied first.
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
