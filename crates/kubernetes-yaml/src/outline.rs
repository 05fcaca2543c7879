//! The positions of a document's nodes in its text, which an edit needs and a tree of values does not have.
//!
//! Unlike [`Node`](crate::Node), this is the document as written: aliases are not expanded and merges not applied.

use super::Style;
use super::parse::{Event, Events, Token};

/// The nodes of a document, each before its children.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    pub(crate) spans: Vec<Span>,
}

/// A node of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The offset of its anchor or tag, or of its content.
    pub(crate) start: u32,
    /// The offset of its content: the same without an anchor and a tag.
    pub(crate) content: u32,
    /// The offset after it. For a block scalar this is the start of the next line.
    pub(crate) end: u32,
    /// The index of the next node that is not inside it.
    pub(crate) next: u32,
    /// The offset of the dash before it, if it is an item of a block sequence.
    pub(crate) dash: Option<u32>,
    /// Its kind.
    pub(crate) kind: SpanKind,
    /// Whether it has an anchor.
    pub(crate) anchored: bool,
    /// Whether it has a tag.
    pub(crate) tagged: bool,
    /// Whether it is or contains an alias.
    pub(crate) has_alias: bool,
}

/// The kind of a node of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanKind {
    Scalar(Style),
    /// The index of the anchored node.
    Alias(u32),
    Sequence {
        flow: bool,
    },
    Mapping {
        flow: bool,
    },
}

impl Outline {
    /// The outline of a document by its events, in time linear in their number.
    pub(super) fn of(events: &Events) -> Outline {
        let mut spans: Vec<Span> = Vec::with_capacity(events.list.len());
        // Aliases count in events, which include the ends of collections.
        let mut indices: Vec<u32> = Vec::with_capacity(events.list.len());
        let mut open: Vec<usize> = Vec::new();
        let mut dashes = events.dashes.iter().peekable();
        let mut anchored = events.anchored.iter().peekable();
        let mut tagged = events.tagged.iter().peekable();
        for (index, event) in events.list.iter().enumerate() {
            indices.push(offset(spans.len()));
            let kind = match &event.token {
                Token::End => {
                    if let Some(started) = open.pop() {
                        close(&mut spans, started, event);
                    }
                    continue;
                }
                Token::Scalar { style, .. } => SpanKind::Scalar(*style),
                Token::Alias(target) => SpanKind::Alias(indices.get(*target).copied().unwrap_or_default()),
                Token::SequenceStart { flow } => SpanKind::Sequence { flow: *flow },
                Token::MappingStart { flow } => SpanKind::Mapping { flow: *flow },
            };
            let is_anchored = anchored.next_if_eq(&&index).is_some();
            let is_tagged = tagged.next_if_eq(&&index).is_some();
            let start = match is_anchored || is_tagged {
                // The parser moves the mark of such a node to its anchor or tag.
                true => event.mark.offset,
                false => event.begin,
            };
            let is_collection = matches!(kind, SpanKind::Sequence { .. } | SpanKind::Mapping { .. });
            if is_collection {
                open.push(spans.len());
            }
            spans.push(Span {
                start: offset(start),
                content: offset(event.begin),
                end: offset(event.end),
                next: offset(spans.len() + 1),
                dash: dashes.next_if(|(item, _)| *item == index).map(|(_, dash)| offset(*dash)),
                kind,
                anchored: is_anchored,
                tagged: is_tagged,
                has_alias: matches!(kind, SpanKind::Alias(_)),
            });
        }
        Outline { spans }
    }

    /// The node with an index; the root has index 0.
    pub(crate) fn span(&self, index: usize) -> Option<&Span> {
        self.spans.get(index)
    }

    /// The indices of the children of a node: items, or keys and values in turn.
    pub(crate) fn children(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let end = self.span(index).map_or(0, |span| span.next as usize);
        let mut at = index + 1;
        std::iter::from_fn(move || {
            let child = at;
            let span = self.span(child).filter(|_| child < end)?;
            at = span.next as usize;
            Some(child)
        })
    }
}

/// Completes a collection whose last child has been read.
fn close(spans: &mut [Span], started: usize, end: &Event) {
    let next = offset(spans.len());
    let mut has_alias = false;
    let mut last = None;
    let mut child = started + 1;
    while let Some(span) = spans.get(child) {
        has_alias |= span.has_alias;
        last = Some(span.end);
        child = span.next as usize;
    }
    let Some(span) = spans.get_mut(started) else { return };
    span.next = next;
    span.has_alias = has_alias;
    span.end = match span.kind {
        SpanKind::Sequence { flow: true } | SpanKind::Mapping { flow: true } => offset(end.end),
        _ => last.unwrap_or(span.end),
    };
}

/// Texts are smaller than 4 GiB; a larger one is not edited.
fn offset(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
