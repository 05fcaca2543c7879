//! The tables of `docs/compatibility.md`. The rest of the page is prose and stays as it is.

use std::fmt::Write;

use super::{Row, Section, TABLE};

/// Every section with a table, and its name in the comment above the table.
const SECTIONS: [(Section, &str); 8] = [
    (Section::Selection, "selection"),
    (Section::Annotations, "annotations"),
    (Section::Probes, "probes"),
    (Section::Resources, "resources"),
    (Section::Unions, "unions"),
    (Section::Reinjection, "reinjection"),
    (Section::Templates, "templates"),
    (Section::Configuration, "configuration"),
];

/// The page with the table below each comment `<!-- quirks: SECTION -->` replaced by the one that the rows make.
///
/// # Errors
/// If the page does not have exactly one such comment for each section.
pub(super) fn with_tables(page: &str) -> Result<String, String> {
    let mut made = String::with_capacity(page.len());
    let mut rest = page;
    for (section, name) in SECTIONS {
        let comment = format!("<!-- quirks: {name} -->\n\n");
        let Some((before, after)) = rest.split_once(&comment) else {
            return Err(format!("found no `{}` after the table before it", comment.trim_end()));
        };
        let old: usize =
            after.split_inclusive('\n').take_while(|line| line.starts_with('|')).map(str::len).sum();
        made.push_str(before);
        made.push_str(&comment);
        made.push_str(&table(section));
        rest = after.get(old..).unwrap_or_default();
    }
    made.push_str(rest);
    match made.matches("<!-- quirks: ").count() {
        count if count == SECTIONS.len() => Ok(made),
        count => Err(format!("found {count} comments, expected {}", SECTIONS.len())),
    }
}

fn table(section: Section) -> String {
    let mut out = String::from("| quirk | Istio | outrigger | reason |\n| --- | --- | --- | --- |\n");
    for row in TABLE.iter().filter(|row| row.section == section) {
        let Row { name, upstream, istio, outrigger, reason, .. } = row;
        let _ = writeln!(out, "| `{name}`<br>`{upstream}` | {istio} | {outrigger} | {reason} |");
    }
    out
}
