//! The original pod beside the result: a folded diff with what wrote each line.

use maud::{Markup, html};

use super::visible;
use injector::explain::{Field, FieldIndex, Side, SideLine, short};

/// Unchanged lines that stay visible around a change.
const CONTEXT: usize = 3;
/// Shorter runs of unchanged lines are not folded.
const SHORTEST_FOLD: usize = 2 * CONTEXT + 3;
/// Maximum number of unchanged lines of a fold that are part of the page.
const MOST_FOLDED: usize = 300;
/// Maximum number of lines of a diff that are part of the page: browsers are slow to lay out more.
const MOST_LINES: usize = 6000;
/// The longest line that is shown, in characters.
const LONGEST_LINE: usize = 2000;

/// A row of the table: a line of both documents, or a change.
#[derive(Clone, Copy)]
struct Row<'l> {
    old: Option<&'l SideLine>,
    new: Option<&'l SideLine>,
}

impl Row<'_> {
    fn is_same(&self) -> bool {
        self.new.is_some_and(|line| line.side == Side::Both)
    }
}

/// The lines as a diff. `id` distinguishes the explanations of several diffs on a page.
pub fn side_by_side(lines: &[SideLine], fields: &[Field], id: &str) -> Markup {
    let index = FieldIndex::new(fields);
    let rows = rows(lines);
    let added = lines.iter().filter(|line| line.side == Side::Result).count();
    let removed = lines.iter().filter(|line| line.side == Side::Original).count();
    let mut writer = Writer { index: &index, id, number: 0, explained: None, left: MOST_LINES };
    html! {
        p.faint {
            (added) " lines added, " (removed) " removed. Point at a line, or move to the name beside it with the Tab key, to see what "
            "wrote it."
        }
        div.diff role="group" aria-label="Original and resulting pod" {
            div.row.head { span.cell { "Original" } span.cell { "Result" } }
            @for part in parts(&rows) {
                @if part.first().is_some_and(Row::is_same) && part.len() >= SHORTEST_FOLD {
                    (writer.fold(part, part.as_ptr() == rows.as_ptr(), part.as_ptr_range().end == rows.as_ptr_range().end))
                } @else {
                    (writer.rows(part))
                }
            }
        }
        @if writer.left == 0 { p { "Further lines are not shown; the JSON patch has all changes." } }
    }
}

/// Pairs removed lines with those that replace them.
fn rows(lines: &[SideLine]) -> Vec<Row<'_>> {
    let mut rows = Vec::with_capacity(lines.len());
    let mut rest = lines;
    while let Some(first) = rest.first() {
        if first.side == Side::Both {
            rows.push(Row { old: Some(first), new: Some(first) });
            rest = rest.get(1..).unwrap_or_default();
            continue;
        }
        let removed = rest.iter().take_while(|line| line.side == Side::Original).count();
        let (old, others) = rest.split_at(removed);
        let path = first.path.as_str();
        let added = others.iter().take_while(|line| line.side == Side::Result);
        // A value that was replaced stands beside its new one; anything else below what was removed.
        let added =
            if removed > 0 { added.take_while(|line| line.path == path).count() } else { added.count() };
        let (new, others) = others.split_at(added);
        for number in 0..old.len().max(new.len()) {
            rows.push(Row { old: old.get(number), new: new.get(number) });
        }
        rest = others;
    }
    rows
}

/// Runs of unchanged rows and runs of changed ones.
fn parts<'r, 'l>(rows: &'r [Row<'l>]) -> impl Iterator<Item = &'r [Row<'l>]> {
    rows.chunk_by(|one, other| one.is_same() == other.is_same())
}

/// Writes rows, and an explanation for each run of lines that the same line of a template wrote.
struct Writer<'w> {
    index: &'w FieldIndex<'w>,
    id: &'w str,
    number: usize,
    /// The explanation of the previous row.
    explained: Option<String>,
    /// How many rows may still be written.
    left: usize,
}

impl Writer<'_> {
    /// A run of unchanged rows, of which those far from a change are folded.
    fn fold(&mut self, rows: &[Row<'_>], is_first: bool, is_last: bool) -> Markup {
        let (head, tail) = (if is_first { 0 } else { CONTEXT }, if is_last { 0 } else { CONTEXT });
        let (head, rest) = rows.split_at(head.min(rows.len()));
        let (folded, tail) = rest.split_at(rest.len().saturating_sub(tail));
        html! {
            (self.rows(head))
            @if folded.len() > MOST_FOLDED {
                p.fold { (folded.len()) " unchanged lines, not shown" }
            } @else {
                details.fold { summary { (folded.len()) " unchanged lines" } (self.rows(folded)) }
            }
            (self.rows(tail))
        }
    }

    fn rows(&mut self, rows: &[Row<'_>]) -> Markup {
        let shown = rows.get(..rows.len().min(self.left)).unwrap_or_default();
        self.left -= shown.len();
        html! { @for row in shown { (self.row(row)) } }
    }

    fn row(&mut self, row: &Row<'_>) -> Markup {
        if row.is_same() {
            self.explained = None;
            let text = row.new.map(|line| clipped(&line.text)).unwrap_or_default();
            return html! { div.row { code.cell.twin { (text) } code.cell { (text) } } };
        }
        let line = row.new.or(row.old);
        let field = line.and_then(|line| self.index.find(&line.path));
        html! {
            div.row.changed {
                @if let Some(old) = row.old {
                    code.cell.removed { span.sign { "-" } (clipped(&old.text)) }
                } @else { span.cell.none {} }
                @if let Some(new) = row.new {
                    code.cell.added { span.sign { "+" } (clipped(&new.text)) }
                } @else { span.cell.none {} }
                @if let Some(field) = field { (self.explanation(field)) }
            }
        }
    }

    /// The name of what wrote a field, and its explanation: shown while the name has the focus or the row is pointed at.
    fn explanation(&mut self, field: &Field) -> Markup {
        let name = if field.value.is_none() {
            format!("removed by {}", field.writer.short_name())
        } else {
            field.writer.short_name()
        };
        self.number += 1;
        let id = format!("{}-{}", self.id, self.number);
        // One stop of the Tab key for each run of lines; pointing explains every line.
        let is_new = self.explained.as_deref() != Some(name.as_str());
        let html = html! {
            @if is_new { button.origin type="button" aria-describedby=(id) { (name) } }
            span.tip role="tooltip" id=(id) {
                strong { (clipped(&field.path)) }
                span { (clipped(&field.writer.described())) }
                @for read in field.writer.reads() { span { (clipped(&read)) } }
                @for (writer, value) in field.replaced.iter().rev() {
                    span { "replaced " (visible(&short(value))) ", " (clipped(&writer.described())) }
                }
            }
        };
        self.explained = Some(name);
        html
    }
}

fn clipped(text: &str) -> String {
    let text = visible(text);
    match text.char_indices().nth(LONGEST_LINE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use injector::explain::{Writer as Wrote, side_by_side as lines_of};

    fn field(path: &str) -> Field {
        Field {
            path: path.to_owned(),
            value: Some(json!("x")),
            writer: Wrote::Pass("prometheus"),
            replaced: Vec::new(),
        }
    }

    #[test]
    fn a_replaced_value_stands_beside_its_new_one() {
        let lines = lines_of(&json!({"a": 1, "b": 2}), &json!({"a": 2, "c": "<x>"}));
        let html = side_by_side(&lines, &[field("c")], "d").into_string();
        assert!(
            html.contains("-</span>a: 1</code><code class=\"cell added\"><span class=\"sign\">+</span>a: 2")
        );
        assert!(html.contains("+</span>c: &lt;x&gt;</code><button"), "{html}");
        assert!(html.contains("step prometheus after the templates"), "{html}");
    }

    #[test]
    fn unchanged_lines_are_folded_and_long_folds_left_out() {
        let document = |count: usize, changed: &str| {
            let mut all: serde_json::Map<String, serde_json::Value> =
                (0..count).map(|number| (format!("k{number:05}"), json!(number))).collect();
            all.insert("k00010x".to_owned(), json!(changed));
            serde_json::Value::Object(all)
        };
        for (count, folds) in [(40, "8 unchanged lines</summary>"), (4000, "unchanged lines, not shown")] {
            let lines = lines_of(&document(count, "a"), &document(count, "b"));
            let html = side_by_side(&lines, &[], "d").into_string();
            assert!(html.contains(folds), "{html}");
            assert!(html.len() < 20_000, "{}", html.len());
        }
    }
}
