//! Processes a manifest document by document, and a List item by item: once a part is done, only its results and the
//! changes of its text are kept, so that the memory for a long manifest is a small multiple of its size.

use serde_json::Value;

use super::{
    Manifest, Row,
    document::{self, Change, Document, Replacement},
    items,
    lines::Lines,
    source::{self, Format, Parsed, Rewritten, Source, SyntaxError},
};
use crate::manifest;

/// How changed documents are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Their text is edited by position.
    Kept,
    /// As YAML, anew.
    Anew,
}

/// The rows of a document or item, and its new value if it changes.
pub(super) type Processed = (Vec<Row>, Option<Value>);

/// Processes all documents of a text with a function.
pub(super) fn process<'t>(
    text: &'t str,
    search: &manifest::Options,
    layout: Layout,
    change: &impl Fn(&mut Parsed<'_>) -> Processed,
) -> Result<Manifest<'t>, SyntaxError> {
    let mut run = Run { search, change, lines: Lines::default(), matched: Vec::new() };
    let mut documents = Vec::new();
    for source in source::split(text) {
        let by_items = match layout {
            Layout::Kept => run.by_items(source),
            Layout::Anew => None,
        };
        let document = match by_items {
            Some(document) => document,
            None => run.whole(source, layout)?,
        };
        documents.push(document);
    }
    let Run { lines, matched, .. } = run;
    Ok(Manifest { documents, lines, matched })
}

struct Run<'a, F> {
    search: &'a manifest::Options,
    change: &'a F,
    lines: Lines,
    /// The given paths that lead to a pod template.
    matched: Vec<manifest::TemplatePath>,
}

impl<F: Fn(&mut Parsed<'_>) -> Processed> Run<'_, F> {
    fn whole<'t>(&mut self, source: Source<'t>, layout: Layout) -> Result<Document<'t>, SyntaxError> {
        let mut parsed = source.parse(self.search)?;
        self.note_paths(&parsed);
        let duplicates = std::mem::take(&mut parsed.duplicates);
        let (rows, new) = (self.change)(&mut parsed);
        let mut document = Document {
            source,
            items: Vec::new(),
            change: Change::Unchanged,
            rewrites: Vec::new(),
            rows,
            duplicates,
        };
        let Some(new) = new else { return Ok(document) };
        if layout == Layout::Anew {
            document.change = document::anew(&new, Format::Yaml, &mut self.lines);
            return Ok(document);
        }
        match parsed.edits(&new) {
            Some((edits, rewrites)) => {
                let kept = edits.iter().map(|edit| Replacement::of(edit, 0, &mut self.lines));
                document.change = Change::Edits(kept.collect());
                document.rewrites = rewrites;
            }
            None => {
                document.change = document::anew(&new, source.format, &mut self.lines);
                let (line, reason) = (source.lines_before + 1, "its layout cannot be edited");
                document.rewrites.push(Rewritten { line, path: String::new(), reason });
            }
        }
        Ok(document)
    }

    /// Processes a List item by item; `None` if the document is not one, or if only the whole document shows what it means:
    /// with anchors that are used in another item, with errors, or with a layout that cannot be edited.
    fn by_items<'t>(&mut self, source: Source<'t>) -> Option<Document<'t>> {
        let list = match source.format {
            Format::Yaml => items::of_yaml(source.text),
            Format::Json => items::of_json(source.text),
        }?;
        if !is_list(&source, &list.frame, self.search) {
            return None;
        }
        let (mut edits, mut rewrites) = (Vec::new(), Vec::new());
        let (mut rows, mut duplicates) = (Vec::new(), Vec::new());
        let mut counter = source.line_counter();
        for (number, place) in list.items.iter().enumerate() {
            let mut parsed = source.item(number, place, &mut counter).parse(self.search).ok()?;
            let kind = parsed.original.get("kind").and_then(Value::as_str);
            // In a typed list, items have the kind of the list.
            if kind.is_none_or(str::is_empty) {
                return None;
            }
            self.note_paths(&parsed);
            duplicates.append(&mut parsed.duplicates);
            let (own, new) = (self.change)(&mut parsed);
            rows.extend(own.into_iter().map(|mut row| {
                row.object.object.insert_str(0, &format!("/items/{number}"));
                row
            }));
            if let Some(new) = new {
                let (own, mut anew) = parsed.edits(&new)?;
                edits.extend(own.iter().map(|edit| Replacement::of(edit, place.start, &mut self.lines)));
                rewrites.append(&mut anew);
            }
        }
        let change = if edits.is_empty() { Change::Unchanged } else { Change::Edits(edits) };
        Some(Document { source, items: list.items, change, rewrites, rows, duplicates })
    }

    fn note_paths(&mut self, parsed: &Parsed<'_>) {
        for path in &self.search.template_paths {
            if !self.matched.contains(path) && manifest::has_template_at(&parsed.original, path) {
                self.matched.push(path.clone());
            }
        }
    }
}

/// Whether the text around the items is a List with the items left out.
fn is_list(source: &Source<'_>, frame: &str, search: &manifest::Options) -> bool {
    let Some(frame) = source.frame(frame).parse(search).ok().filter(|frame| frame.duplicates.is_empty())
    else {
        return false;
    };
    let is_empty = match frame.original.get("items") {
        Some(Value::Null) => source.format == Format::Yaml,
        Some(Value::Array(items)) => source.format == Format::Json && items.is_empty(),
        _ => false,
    };
    let kind = frame.original.get("kind").and_then(Value::as_str);
    is_empty && kind.is_some_and(|kind| kind.ends_with("List"))
}
