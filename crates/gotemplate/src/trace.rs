//! The origin of every part of a rendered text: the line of the template that wrote it, and the data that it reads.
//!
//! The node that wrote a part is recorded while the template is rendered. The data that the node reads follows from the
//! template's text alone ([`reads`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::Template;
use crate::render::Rendered;

mod reads;

/// A part of the output and the node of the template that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The part of the output, in bytes.
    pub output: Range<usize>,
    /// The node, in bytes of the template's source.
    pub source: Range<usize>,
    /// Whether the node is literal text; otherwise it is an action.
    pub is_text: bool,
}

/// Data that a template reads: the names of fields and keys from the template's data on, such as `[Values, global,
/// logLevel]`.
pub type Read = Vec<String>;

impl Template {
    /// The data that every line reads, by the line's number from 1, according to the template's text; lines that read
    /// nothing are left out. A definition that is never invoked reads nothing.
    pub fn line_reads(&self) -> BTreeMap<u32, BTreeSet<Read>> {
        let mut lines: BTreeMap<u32, BTreeSet<Read>> = BTreeMap::new();
        let starts: Vec<usize> = self.source.match_indices('\n').map(|(at, _)| at).collect();
        let line = |position: u32| {
            let before = starts.partition_point(|at| *at < usize::try_from(position).unwrap_or(usize::MAX));
            u32::try_from(before + 1).unwrap_or(u32::MAX)
        };
        for (position, node) in reads::of(&self.parsed) {
            for (position, reads) in node.conditions.into_iter().chain([(position, node.reads)]) {
                if !reads.is_empty() {
                    lines.entry(line(position)).or_default().extend(reads);
                }
            }
        }
        lines
    }
}

/// The origin of a part of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source<'t> {
    /// The line of the template, from 1.
    pub line: u32,
    /// The text of that line, without surrounding blanks.
    pub text: &'t str,
    /// The data that the action reads; empty for literal text.
    pub reads: Vec<Read>,
    /// The lines of the conditions and loops around it, outermost first, with the data that they read.
    pub conditions: Vec<(u32, Vec<Read>)>,
}

/// A rendered text whose parts can be traced to the template.
#[derive(Debug)]
pub struct Traced<'t> {
    /// The result of rendering.
    pub rendered: Rendered,
    written: Vec<Written>,
    template: &'t Template,
    nodes: BTreeMap<u32, reads::Node>,
}

impl<'t> Traced<'t> {
    pub(crate) fn new(template: &'t Template, rendered: Rendered, written: Vec<Written>) -> Traced<'t> {
        Traced { rendered, written, nodes: reads::of(&template.parsed), template }
    }

    /// The origins of a part of the output, in order: actions, and literal text only if no action wrote any of it.
    pub fn sources(&self, part: Range<usize>) -> Vec<Source<'t>> {
        let overlapping: Vec<&Written> = self
            .written
            .iter()
            .filter(|written| written.output.start < part.end && part.start < written.output.end)
            .collect();
        let has_action = overlapping.iter().any(|written| !written.is_text);
        let mut sources: Vec<Source<'t>> = Vec::new();
        for written in overlapping.into_iter().filter(|written| !(has_action && written.is_text)) {
            // Literal text is copied, so its bytes correspond to the source's.
            let skipped = if written.is_text { part.start.saturating_sub(written.output.start) } else { 0 };
            let source = self.source(written.source.start + skipped, written);
            if !sources.contains(&source) {
                sources.push(source);
            }
            if !has_action {
                break;
            }
        }
        sources
    }

    fn source(&self, at: usize, written: &Written) -> Source<'t> {
        let node = u32::try_from(written.source.start).ok().and_then(|start| self.nodes.get(&start));
        let conditions = node.map(|node| node.conditions.as_slice()).unwrap_or_default();
        Source {
            line: self.line(at),
            text: self.text_of_line(at),
            reads: node.map(|node| node.reads.iter().cloned().collect()).unwrap_or_default(),
            conditions: conditions
                .iter()
                .map(|(at, reads)| (self.line(*at as usize), reads.iter().cloned().collect()))
                .collect(),
        }
    }

    fn line(&self, at: usize) -> u32 {
        let before = self.template.source.as_bytes().get(..at).unwrap_or_default();
        u32::try_from(before.iter().filter(|byte| **byte == b'\n').count() + 1).unwrap_or(u32::MAX)
    }

    fn text_of_line(&self, at: usize) -> &'t str {
        let source = self.template.source.as_str();
        let start = source.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
        source.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default().trim()
    }
}

#[cfg(test)]
mod tests;
