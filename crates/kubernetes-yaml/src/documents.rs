//! Splits a text into documents, exactly to the byte, so that a file can be reassembled unchanged.

/// One document of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// The document without its separator, including all comments, and a `...` line if it has one.
    pub text: &'a str,
    /// The offset of `text` in the whole text, in bytes.
    pub start: usize,
    /// The `---` line before it (with preceding directives), without any content on the same line; empty if there is
    /// none.
    pub separator: &'a str,
}

/// Splits a text into its documents. Joining separators and texts gives the input back, byte for byte.
///
/// A text before the first separator that contains only comments is also a document, and so is any text between two
/// separators, even an empty one, because callers that write the file back need them.
pub fn split_documents(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let mut state = State::Preamble { directives: false };
    // The starts of the current document's separator and text.
    let (mut separator, mut start) = (0, 0);
    let mut position = 0;
    let mut finish = |separator: usize, start: usize, end: usize| {
        if let (Some(between), Some(text)) = (text.get(separator..start), text.get(start..end))
            && end > separator
        {
            documents.push(Document { text, start, separator: between });
        }
    };
    for line in Lines(text) {
        let end = position + line.len();
        match (line_kind(line), state) {
            (Line::Separator(length), previous) => {
                if previous != (State::Preamble { directives: true }) {
                    finish(separator, start, position);
                    separator = position;
                }
                start = position + length;
                state = State::Content;
            }
            (Line::End, State::Content) => state = State::Ended,
            (Line::Directive, State::Preamble { .. }) => state = State::Preamble { directives: true },
            // Only a `---` may follow `...`, or a document without one, or a directive of the next document.
            (Line::Directive, State::Ended) => {
                finish(separator, start, position);
                (separator, start) = (position, position);
                state = State::Preamble { directives: true };
            }
            (Line::Content, State::Ended) => {
                finish(separator, start, position);
                (separator, start) = (position, position);
                state = State::Content;
            }
            (Line::Content, State::Preamble { .. }) => state = State::Content,
            (Line::Directive | Line::Content | Line::Blank, State::Content)
            | (Line::Blank | Line::End, State::Preamble { .. } | State::Ended) => {}
        }
        position = end;
    }
    finish(separator, start, text.len());
    documents
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before any content.
    Preamble { directives: bool },
    /// Inside a document.
    Content,
    /// After `...`.
    Ended,
}

enum Line {
    /// `---`, with the number of bytes that belong to it.
    Separator(usize),
    /// `...`
    End,
    /// `%YAML` or `%TAG`.
    Directive,
    /// An empty line or a comment.
    Blank,
    Content,
}

fn line_kind(line: &str) -> Line {
    // Concatenated files may have one in the middle.
    let bom = if line.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let line = line.get(bom..).unwrap_or_default();
    let marker = |marker: &str| {
        line.strip_prefix(marker).filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']))
    };
    if let Some(rest) = marker("---") {
        let content = rest.trim_start_matches([' ', '\t']);
        let blank = content.is_empty() || content.starts_with(['\n', '\r', '#']);
        return Line::Separator(bom + if blank { line.len() } else { line.len() - content.len() });
    }
    if marker("...").is_some() {
        return Line::End;
    }
    match line.trim_start_matches([' ', '\t']).chars().next() {
        None | Some('\n' | '\r' | '#') => Line::Blank,
        Some('%') if line.starts_with('%') => Line::Directive,
        Some(_) => Line::Content,
    }
}

/// The lines of a text with their line breaks: `\n`, `\r\n` and a lone `\r`.
struct Lines<'a>(&'a str);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let end = match self.0.find(['\n', '\r']) {
            None if self.0.is_empty() => return None,
            None => self.0.len(),
            Some(at) if self.0.get(at..).is_some_and(|rest| rest.starts_with("\r\n")) => at + 2,
            Some(at) => at + 1,
        };
        let (line, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        Some(line)
    }
}
