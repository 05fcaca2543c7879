//! Wraps text for people at the width of their terminal.
//!
//! Only lines that are too long change, and only on a terminal: a pipe or a file gets each line whole. Lines are broken at
//! blanks and continue below their own text. A command to copy stays in one piece: the terminal folds it, and a copy
//! has no line breaks.

use std::io::{self, IsTerminal};

/// The width to assume if the terminal does not report one.
const UNKNOWN: usize = 100;
/// Below this, wrapped text is harder to read than lines that the terminal folds.
const LEAST: usize = 40;
/// How much further than its first line the rest of a line starts.
const INDENT: usize = 4;

/// Programs whose commands are not broken.
const PROGRAMS: [&str; 4] = ["kubectl", "helm", "outrigger", "istioctl"];

/// The text as stdout should show it: wrapped if that is a terminal.
pub(super) fn for_stdout(text: String) -> String {
    match width_of_stdout() {
        Some(width) => wrapped(&text, width),
        None => text,
    }
}

/// A page in Markdown as stdout should show it. Blocks of code and headings keep their lines.
pub(super) fn page_for_stdout(page: String) -> String {
    match width_of_stdout() {
        Some(width) => wrapped_page(&page, width),
        None => page,
    }
}

fn width_of_stdout() -> Option<usize> {
    let columns = std::env::var("COLUMNS").ok();
    let size = || terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
    width(io::stdout().is_terminal(), columns.as_deref(), size)
}

/// The width to wrap at; `None` if nothing is wrapped. `COLUMNS` wins over the terminal's size.
fn width(is_terminal: bool, columns: Option<&str>, size: impl Fn() -> Option<usize>) -> Option<usize> {
    let columns = columns.and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
    let size = || size().filter(|size| *size > 0);
    let width: usize = is_terminal.then(|| columns.or_else(size).unwrap_or(UNKNOWN))?;
    (width >= LEAST).then_some(width)
}

/// Wraps every line of a text that is longer than `width`.
fn wrapped(text: &str, width: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        if visible(line) <= width {
            out.push_str(line);
        } else {
            wrap(line, width, INDENT, &mut out);
        }
        out.push_str(end);
    }
    out
}

/// Wraps the paragraphs and list items of a page that is too wide. Their lines were broken for the width of the source, so they
/// are joined first.
fn wrapped_page(page: &str, width: usize) -> String {
    if page.lines().all(|line| visible(line) <= width) {
        return page.to_owned();
    }
    let mut out = String::with_capacity(page.len());
    let mut paragraph = String::new();
    let mut is_code = false;
    let end = |paragraph: &mut String, out: &mut String| {
        if !paragraph.is_empty() {
            // A list item continues below its text.
            let hang = if is_item(paragraph) { 2 } else { 0 };
            wrap(paragraph, width, hang, out);
            out.push('\n');
            paragraph.clear();
        }
    };
    for line in page.lines() {
        let text = line.trim();
        let is_fence = text.starts_with("```");
        if is_fence || is_code || text.is_empty() || text.starts_with(['#', '|', '<']) {
            end(&mut paragraph, &mut out);
            out.push_str(line);
            out.push('\n');
            is_code ^= is_fence;
            continue;
        }
        if is_item(line) {
            end(&mut paragraph, &mut out);
        }
        if paragraph.is_empty() {
            paragraph.push_str(line.trim_end());
        } else {
            paragraph.push(' ');
            paragraph.push_str(text);
        }
    }
    end(&mut paragraph, &mut out);
    out
}

/// Whether a line begins an item of a list.
fn is_item(line: &str) -> bool {
    let text = line.trim_start();
    let digits = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    text.starts_with("- ")
        || text.starts_with("* ")
        || (digits.len() < text.len() && digits.starts_with(". "))
}

/// Wraps one line. The rest of it starts `hang` columns to the right of the line.
fn wrap(line: &str, width: usize, hang: usize, out: &mut String) {
    let content = line.trim_start_matches(' ');
    let indent = line.len() - content.len();
    out.push_str(&" ".repeat(indent));
    let mut used = indent;
    let mut is_first = true;
    for word in words(content) {
        let length = visible(word);
        // Blanks between words (several between columns) belong to the word after them.
        let blanks = word.len() - word.trim_start_matches(' ').len();
        if !is_first && used + length > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent + hang));
            out.push_str(word.get(blanks..).unwrap_or_default());
            used = indent + hang + length - blanks;
        } else {
            out.push_str(word);
            used += length;
        }
        is_first = false;
    }
}

/// The parts of a line that are not broken, each with the blanks before it: words and commands.
fn words(line: &str) -> Vec<&str> {
    let mut starts = vec![0];
    let mut in_command = false;
    let mut is_start_of_text = true;
    let mut at = 0;
    for word in line.split_inclusive(' ') {
        let bare = plain(word.trim_end_matches(' '));
        let start = at;
        at += word.len();
        if bare.is_empty() {
            continue;
        }
        if !in_command && start > 0 {
            // The blank before a word ends the part before it.
            let blanks = line.get(..start).unwrap_or_default();
            starts.push(blanks.trim_end_matches(' ').len());
        }
        // A command follows a colon, or is all there is; it ends at a semicolon.
        in_command =
            (in_command || (is_start_of_text && PROGRAMS.contains(&bare.as_str()))) && !bare.ends_with(';');
        is_start_of_text = bare.ends_with(':');
    }
    let ends = starts.iter().skip(1).copied().chain([line.len()]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(start, end)| line.get(*start..end))
        .filter(|word| !word.is_empty())
        .collect()
}

/// The number of characters that a terminal shows: without color codes.
fn visible(text: &str) -> usize {
    plain(text).chars().count()
}

/// A text without color codes.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split('\u{1b}');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        // ESC [ numbers m.
        plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_has_a_width() {
        let size = || Some(120);
        assert_eq!(width(false, Some("80"), size), None);
        assert_eq!(width(true, Some("80"), size), Some(80));
        assert_eq!(width(true, None, size), Some(120));
        assert_eq!(width(true, Some("wide"), size), Some(120));
        assert_eq!(width(true, Some("0"), || Some(0)), Some(UNKNOWN));
        assert_eq!(width(true, None, || None), Some(UNKNOWN));
        assert_eq!(width(true, Some("20"), size), None, "the terminal folds it");
    }

    #[test]
    fn long_lines_continue_below_their_text() {
        let text = "short\n  1. called  webhook a / b: Service outrigger-system/outrigger\n\nend";
        assert_eq!(
            wrapped(text, 40),
            "short\n  1. called  webhook a / b: Service\n      outrigger-system/outrigger\n\nend"
        );
        assert_eq!(wrapped(text, 80), text);
        let (first, second) = ("a".repeat(20), "b".repeat(19));
        assert_eq!(
            wrapped(&format!("{first} {second} c"), 40),
            format!("{first} {second}\n    c"),
            "it fits"
        );
        let long = "x".repeat(60);
        assert_eq!(wrapped(&format!("a {long} b\n"), 40), format!("a\n    {long}\n    b\n"));
        assert_eq!(wrapped(&long, 40), long);
    }

    #[test]
    fn pages_keep_code_headings_and_lists() {
        let page = "# HOST_NETWORK, a heading that is longer than the line\n\nThe pod uses the network of\nits node, so it gets \
                    no proxy.\n\n- one item that is long enough to be wrapped\n- two\n\n```sh\nkubectl -n outrigger-system logs -l \
                    app=outrigger --tail=-1\n```\n";
        assert_eq!(
            wrapped_page(page, 40),
            "# HOST_NETWORK, a heading that is longer than the line\n\nThe pod uses the network of its node, so\nit gets no \
             proxy.\n\n- one item that is long enough to be\n  wrapped\n- two\n\n```sh\nkubectl -n outrigger-system logs -l \
             app=outrigger --tail=-1\n```\n"
        );
    }

    #[test]
    fn no_line_is_longer_than_the_terminal_unless_a_word_is() {
        let text = "  error: ".to_owned() + &"words of several lengths, and ".repeat(30);
        for width in LEAST..120 {
            let wrapped = wrapped(&text, width);
            assert!(wrapped.lines().all(|line| line.chars().count() <= width), "{width}: {wrapped}");
            let words = |text: &str| text.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&wrapped), words(&text));
        }
    }

    #[test]
    fn colors_take_no_room() {
        let line = "\u{1b}[31mrefused for a reason\u{1b}[0m that is told here";
        assert_eq!(visible(line), 38);
        assert_eq!(wrapped(line, 38), line);
        assert_eq!(wrapped(line, 37), line.replace(" here", "\n    here"));
    }

    #[test]
    fn commands_stay_in_one_piece() {
        let command = "kubectl label namespace shop --overwrite istio-injection=enabled;";
        let text = format!("  label the namespace: {command} then create the pods again: {}", &command[..60]);
        let wrapped = wrapped(&text, 50);
        assert_eq!(
            wrapped,
            format!(
                "  label the namespace:\n      {command}\n      then create the pods again:\n      {}",
                &command[..60]
            )
        );
        let alone = format!("  fix: {command}");
        assert_eq!(super::wrapped(&alone, 40), format!("  fix:\n      {command}"));
        // The name in a sentence is a word like any other.
        let sentence = "the webhook that calls outrigger is not registered in this cluster";
        assert_eq!(super::wrapped(sentence, 40).lines().count(), 2);
    }
}
