//! A unified diff from known changes: the time is linear in the text, where a search for differences is not.

use kubernetes_yaml::Edit;

/// Unchanged lines around a change.
const CONTEXT: usize = 3;

/// Lines that are replaced by others.
struct Block<'t> {
    /// The index of the first old line.
    start: usize,
    old: Vec<&'t str>,
    new: String,
}

/// The changes of a file as a diff that `patch -p1` accepts; empty if nothing changes.
pub(super) fn unified(name: &str, text: &str, changes: impl Iterator<Item = Edit>) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let blocks = blocks(text, &lines, changes);
    if blocks.is_empty() {
        return String::new();
    }
    let mut diff = format!("--- a/{name}\n+++ b/{name}\n");
    let mut rest = blocks.as_slice();
    // New lines minus old lines so far.
    let (mut added, mut removed) = (0, 0);
    while !rest.is_empty() {
        let is_far = |pair: &[Block<'_>]| match pair {
            [a, b] => b.start - (a.start + a.old.len()) > 2 * CONTEXT,
            _ => true,
        };
        let count = rest.windows(2).position(is_far).map_or(rest.len(), |at| at + 1);
        let (hunk, others) = rest.split_at(count);
        rest = others;
        let first = hunk.first().map_or(0, |block| block.start).saturating_sub(CONTEXT);
        let last = hunk.last().map_or(0, |block| block.start + block.old.len());
        let end = (last + CONTEXT).min(lines.len());
        let mut body = String::new();
        let mut position = first;
        let (mut more, mut fewer) = (0, 0);
        for block in hunk {
            put(&mut body, ' ', lines.get(position..block.start).unwrap_or_default().iter().copied());
            put(&mut body, '-', block.old.iter().copied());
            put(&mut body, '+', block.new.split_inclusive('\n'));
            more += block.new.split_inclusive('\n').count();
            fewer += block.old.len();
            position = block.start + block.old.len();
        }
        put(&mut body, ' ', lines.get(position..end).unwrap_or_default().iter().copied());
        let (old, new) = (end - first, end - first - fewer + more);
        let new_first = first + added - removed;
        diff.push_str(&format!("@@ -{} +{} @@\n{body}", range(first, old), range(new_first, new)));
        added += more;
        removed += fewer;
    }
    diff
}

/// The lines of a hunk, counted from 1; for an empty hunk, the line before it.
fn range(first: usize, count: usize) -> String {
    match count {
        0 => format!("{first},0"),
        1 => format!("{}", first + 1),
        _ => format!("{},{count}", first + 1),
    }
}

fn put<'l>(body: &mut String, mark: char, lines: impl Iterator<Item = &'l str>) {
    for line in lines {
        body.push(mark);
        body.push_str(line);
        if !line.ends_with('\n') {
            body.push_str("\n\\ No newline at end of file\n");
        }
    }
}

/// The changes as whole lines, without unchanged lines.
fn blocks<'t>(text: &'t str, lines: &[&'t str], changes: impl Iterator<Item = Edit>) -> Vec<Block<'t>> {
    let mut starts = vec![0];
    starts.extend(lines.iter().scan(0, |end, line| {
        *end += line.len();
        Some(*end)
    }));
    let offset = |line: usize| starts.get(line).copied().unwrap_or(text.len());
    let mut blocks = Vec::new();
    let mut open: Option<Touched> = None;
    for change in changes {
        // The line that contains its start; past a last line without a line break, that line.
        let mut first = starts.partition_point(|start| *start <= change.start).saturating_sub(1);
        if first == lines.len() && !text.is_empty() && !text.ends_with('\n') {
            first -= 1;
        }
        let mut end = starts.partition_point(|start| *start < change.end);
        let is_whole = change.text.ends_with('\n') || change.text.is_empty() && change.start == offset(first);
        if !(is_whole && offset(end) == change.end) {
            end = starts.partition_point(|start| *start <= change.end).min(lines.len());
        }
        match open.as_mut().filter(|open| first <= open.end) {
            Some(open) => {
                open.end = open.end.max(end);
                open.edits.push(change);
            }
            None => {
                blocks.extend(open.take().and_then(|open| open.close(lines, offset)));
                open = Some(Touched { first, end: end.max(first), edits: vec![change] });
            }
        }
    }
    blocks.extend(open.and_then(|open| open.close(lines, offset)));
    blocks
}

/// Lines that changes touch.
struct Touched {
    first: usize,
    /// The line after them.
    end: usize,
    edits: Vec<Edit>,
}

impl Touched {
    /// The lines before and after, without unchanged lines at both ends; `None` if nothing is left.
    fn close<'t>(mut self, lines: &[&'t str], offset: impl Fn(usize) -> usize) -> Option<Block<'t>> {
        let old = lines.get(self.first..self.end)?;
        let start = offset(self.first);
        for edit in &mut self.edits {
            edit.start = edit.start.saturating_sub(start);
            edit.end = edit.end.saturating_sub(start);
        }
        let new = kubernetes_yaml::apply(&old.concat(), &self.edits);
        let new: Vec<&str> = new.split_inclusive('\n').collect();
        let before = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
        let most = old.len().min(new.len()) - before;
        let behind = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
        let new = new.get(before..new.len() - behind)?.concat();
        let old = old.get(before..old.len() - behind)?.to_vec();
        (!old.is_empty() || !new.is_empty()).then_some(Block { start: self.first + before, old, new })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(text: &str, edits: &[(usize, usize, &str)]) -> String {
        let edits = edits.iter().map(|(start, end, text)| Edit {
            start: *start,
            end: *end,
            text: (*text).to_owned(),
        });
        unified("f", text, edits)
    }

    #[test]
    fn shows_only_lines_that_change() {
        let text = "a\nb\nc\nd\n";
        assert_eq!(diff(text, &[]), "");
        assert_eq!(diff(text, &[(2, 2, "x\n")]), "--- a/f\n+++ b/f\n@@ -1,4 +1,5 @@\n a\n+x\n b\n c\n d\n");
        assert_eq!(diff(text, &[(2, 4, "")]), "--- a/f\n+++ b/f\n@@ -1,4 +1,3 @@\n a\n-b\n c\n d\n");
        assert_eq!(diff(text, &[(3, 3, "!")]), "--- a/f\n+++ b/f\n@@ -1,4 +1,4 @@\n a\n-b\n+b!\n c\n d\n");
        // A whole rewrite shows only its difference.
        assert_eq!(
            diff(text, &[(0, 8, "a\nb\nC\nd\n")]),
            "--- a/f\n+++ b/f\n@@ -1,4 +1,4 @@\n a\n b\n-c\n+C\n d\n"
        );
    }

    #[test]
    fn separates_hunks_and_counts_their_lines() {
        let text: String = (0..20).map(|line| format!("{line}\n")).collect();
        let diff = diff(&text, &[(0, 0, "x\ny\n"), (text.len(), text.len(), "z\n")]);
        assert!(diff.contains("@@ -1,3 +1,5 @@\n+x\n+y\n 0\n"), "{diff}");
        assert!(diff.contains("@@ -18,3 +20,4 @@\n 17\n 18\n 19\n+z\n"), "{diff}");
    }

    #[test]
    fn marks_a_last_line_without_a_line_break() {
        let end = "\\ No newline at end of file";
        assert_eq!(
            diff("a", &[(1, 1, "\nb")]),
            format!("--- a/f\n+++ b/f\n@@ -1 +1,2 @@\n-a\n{end}\n+a\n+b\n{end}\n")
        );
    }
}
