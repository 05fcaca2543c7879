//! Splits the text of a List into its items, so that they can be processed one after the other.
//!
//! The split is lexical and may be wrong, as with a quoted text whose lines look like items. Callers parse every part: if each
//! item is one value and the text around them is a List without items, the parts are those of the whole text,
//! because no string, bracket or block is open where one ends. Otherwise the text is processed as a whole.

use std::ops::Range;

use crate::inject::scan::Scan;

/// The text of a List in parts.
pub(super) struct List {
    /// The text without its items.
    pub(super) frame: String,
    /// Where the items are; in YAML whole lines that begin with a dash.
    pub(super) items: Vec<Range<usize>>,
}

impl List {
    fn of(text: &str, items: Vec<Range<usize>>) -> Option<List> {
        let [first, .., last] = items.as_slice() else { return None };
        let frame = format!("{}{}", text.get(..first.start)?, text.get(last.end..)?);
        Some(List { frame, items })
    }
}

/// Splits a YAML document with a block sequence under the key `items`; `None` if there are not several.
pub(super) fn of_yaml(text: &str) -> Option<List> {
    let mut position = 0;
    let mut lines = text.split_inclusive('\n').map(|line| {
        let start = position;
        position += line.len();
        (start, line)
    });
    lines.find(|(_, line)| {
        line.strip_prefix("items:").is_some_and(|rest| {
            rest.trim_start().is_empty()
                || rest.starts_with([' ', '\t']) && rest.trim_start().starts_with('#')
        })
    })?;
    let mut items: Vec<Range<usize>> = Vec::new();
    let mut column = None;
    let mut end = text.len();
    for (start, line) in lines {
        let content = line.trim_start_matches(' ');
        let indent = line.len() - content.len();
        if content.trim_start().is_empty() || content.starts_with('#') {
            continue;
        }
        let is_item = content.strip_prefix('-').is_some_and(|rest| rest.starts_with([' ', '\n', '\r']));
        let column = *column.get_or_insert(indent);
        if is_item && indent == column {
            if let Some(earlier) = items.last_mut() {
                earlier.end = start;
            }
            items.push(start..start);
        } else if indent <= column {
            end = start;
            break;
        }
    }
    items.last_mut()?.end = end;
    List::of(text, items)
}

/// Splits a JSON object with an array of objects under the key `items`; `None` if there are not several.
pub(super) fn of_json(text: &str) -> Option<List> {
    let mut items = Vec::new();
    Scan::new(text).entries(|scan, key| {
        if key != "items" || !items.is_empty() {
            return scan.value().map(drop);
        }
        scan.elements(|scan| {
            let place = scan.value()?;
            items.push(with_indentation(text, place)?);
            Some(())
        })
    })?;
    List::of(text, items)
}

/// An object in an array, with its indentation, which determines that of its parts; `None` if it is not an object or is
/// indented by tabs.
fn with_indentation(text: &str, place: Range<usize>) -> Option<Range<usize>> {
    if !text.get(place.clone())?.starts_with('{') {
        return None;
    }
    let before = text.get(..place.start)?;
    if before.ends_with('\t') {
        return None;
    }
    let line = before.trim_end_matches(' ');
    let start = if line.ends_with('\n') { line.len() } else { place.start };
    Some(start..place.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str, list: Option<List>) -> Option<(String, Vec<String>)> {
        let list = list?;
        let items = list.items.iter().map(|item| text[item.clone()].to_owned()).collect();
        Some((list.frame, items))
    }

    #[test]
    fn items_of_yaml_are_whole_lines_with_the_comments_below_them() {
        for indent in ["", "  "] {
            let text = format!(
                "kind: List\nitems: # all\n# first\n{indent}- a: |\n{indent}    - x\n{indent}  # a\n\n{indent}-\n{indent}  b: 1\nmetadata: {{}}\n"
            );
            let (frame, items) = parts(&text, of_yaml(&text)).unwrap();
            assert_eq!(frame, "kind: List\nitems: # all\n# first\nmetadata: {}\n");
            assert_eq!(
                items,
                [
                    format!("{indent}- a: |\n{indent}    - x\n{indent}  # a\n\n"),
                    format!("{indent}-\n{indent}  b: 1\n")
                ]
            );
        }
        for text in
            ["items:\n- a", "items: [a, b]\n", "items:\n", "a:\n- b\n- c\n", "items:\n  a: 1\n  b: 2\n"]
        {
            assert!(of_yaml(text).is_none(), "{text}");
        }
    }

    #[test]
    fn items_of_json_keep_the_indentation_of_their_first_line() {
        let text = "{\"kind\": \"List\", \"x\": {\"items\": [1, -2.5e3, \"]\\\"\"]}, \"items\": [\n    {\"a\": [\"}\"]},\n    {}\n  ],\n  \"z\": 1}";
        let (frame, items) = parts(text, of_json(text)).unwrap();
        assert_eq!(items, ["    {\"a\": [\"}\"]}", "    {}"]);
        assert!(frame.ends_with("\"items\": [\n\n  ],\n  \"z\": 1}"), "{frame}");
        let text = "{\"items\":[{},{\"a\":1}]}";
        assert_eq!(parts(text, of_json(text)).unwrap().1, ["{}", "{\"a\":1}"]);
        for text in
            ["{\"items\":[{}]}", "{\"items\":[{} {}]}", "{\"items\":[{},1]}", "{\"items\":[{},{}", "[]", "{}"]
        {
            assert!(of_json(text).is_none(), "{text}");
        }
    }
}
