//! The pages of reasons and warnings (`docs/reasons/`), as HTML.

use maud::{Markup, html};

use super::layout::{Section, page};
use crate::codes::{self, Code};

/// The path of a code's page.
pub fn path(key: &str) -> String {
    format!("/reasons/{key}")
}

/// A code as a link to its page.
pub fn link(key: &str) -> Markup {
    html! { a.code href=(path(key)) { (key) } }
}

/// The page of a code.
pub fn show(code: &Code) -> String {
    page(code.key, Section::Reasons, &html! { article.prose { (blocks(&code.text())) } })
}

/// All codes.
pub fn index() -> String {
    let content = html! {
        h1 { "Reasons and warnings" }
        p { "Every code by which outrigger records a decision, a warning or a refusal." }
        div.scroll tabindex="0" role="region" aria-label="All codes" {
            table {
                thead { tr { th scope="col" { "Code" } th scope="col" { "Kind" } th scope="col" { "About" } } }
                tbody {
                    @for code in codes::ALL.iter() {
                        tr { td { (link(code.key)) } td { (code.roles()) } td { (inline(code.summary)) } }
                    }
                }
            }
        }
    };
    page("Reasons and warnings", Section::Reasons, &content)
}

/// The few forms of Markdown that these pages use: headings, paragraphs, lists, tables and fenced blocks. Everything else stays
/// text.
fn blocks(text: &str) -> Markup {
    let mut parts: Vec<Markup> = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let mut following = |is_part: &dyn Fn(&str) -> bool| {
            let mut all = vec![line];
            while let Some(next) = lines.next_if(|next| is_part(next)) {
                all.push(next);
            }
            all
        };
        if line.trim().is_empty() {
            continue;
        } else if line.starts_with("```") {
            let block = following(&|next| !next.starts_with("```"));
            lines.next();
            let block = block.get(1..).unwrap_or_default().join("\n");
            parts.push(html! { pre tabindex="0" { (block) } });
        } else if let Some(title) = line.strip_prefix("## ") {
            parts.push(html! { h2 { (title) } });
        } else if let Some(title) = line.strip_prefix("# ") {
            parts.push(html! { h1 { (title) } });
        } else if line.starts_with("- ") {
            let list = following(&|next| next.starts_with("- ") || next.starts_with("  "));
            let list = list.join("\n");
            let items = list.split("\n- ").map(|item| item.trim_start_matches("- "));
            parts.push(html! { ul { @for item in items { li { (inline(item)) } } } });
        } else if line.starts_with('|') {
            let rows = following(&|next| next.starts_with('|'));
            parts.push(html! { pre tabindex="0" { (rows.join("\n")) } });
        } else {
            let is_plain = |next: &str| !next.trim().is_empty() && !next.starts_with("```");
            parts.push(html! { p { (inline(&following(&is_plain).join("\n"))) } });
        }
    }
    html! { @for part in parts { (part) } }
}

/// A line with code in backquotes.
fn inline(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_its_headings_and_loses_no_word() {
        for code in codes::ALL.iter() {
            let page = show(code);
            assert!(page.contains(&format!("<h1>{}</h1>", code.key)), "{}", code.key);
            assert_eq!(page.matches("<h2>").count(), 3, "{}", code.key);
            assert!(!page.contains("```"), "{}", code.key);
        }
    }

    #[test]
    fn code_blocks_are_shown_as_they_are() {
        let html =
            blocks("# T\n\ntext `a<b`\n\n```sh\nx | y\n\nz\n```\n\n- one\n  more\n- two\n").into_string();
        let wanted = "<h1>T</h1><p>text <code>a&lt;b</code></p><pre tabindex=\"0\">x | y\n\nz</pre>\
                      <ul><li>one\n  more</li><li>two</li></ul>";
        assert_eq!(html, wanted);
    }
}
