//! YAML as people write it, in random styles.

use serde_json::Value;

use super::random::Random;

/// A document.
pub(crate) fn yaml(random: &mut Random, value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(random, value, 0, &mut text),
        Value::Array(items) if !items.is_empty() => block(random, value, 0, &mut text),
        other => {
            text.push_str(&other.to_string());
            text.push('\n');
        }
    }
    text
}

/// Entries of a map or items of a list, each on its own line.
fn block(random: &mut Random, value: &Value, indent: usize, text: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if random.percent(2) {
                    text.push_str(&format!("{pad}# a comment\n"));
                }
                text.push_str(&pad);
                text.push_str(&scalar(random, key, false));
                text.push(':');
                inner(random, value, Some(indent), text, indent + 2);
            }
        }
        Value::Array(items) => {
            for item in items {
                text.push_str(&pad);
                text.push('-');
                match item {
                    Value::Object(map) if !map.is_empty() && !random.percent(10) => {
                        // The first entry is on the line of the dash.
                        let mut entries = String::new();
                        block(random, item, indent + 2, &mut entries);
                        if entries.trim_start().starts_with('#') {
                            text.push('\n');
                            text.push_str(&entries);
                        } else {
                            text.push(' ');
                            text.push_str(entries.trim_start_matches(' '));
                        }
                    }
                    _ => inner(random, item, None, text, indent + 2),
                }
            }
        }
        _ => unreachable!("a scalar has no block"),
    }
}

/// The content after `key:` or `-`; `outer` is the column of the key.
fn inner(random: &mut Random, value: &Value, outer: Option<usize>, text: &mut String, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            if random.percent(8) {
                text.push_str(&format!(" {value}\n"));
            } else {
                text.push('\n');
                block(random, value, indent, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            if random.percent(8) {
                text.push_str(&format!(" {value}\n"));
            } else {
                text.push('\n');
                // A list may be in the same column as its key.
                let indent = if random.percent(50) { outer.unwrap_or(indent) } else { indent };
                block(random, value, indent, text);
            }
        }
        Value::String(string) => {
            if string.ends_with('\n') && literal_fits(string) && random.percent(60) {
                let pad = " ".repeat(indent);
                let lines = string.trim_end_matches('\n').lines();
                let body: String = lines.map(|line| format!("{pad}{line}\n")).collect();
                text.push_str(&format!(" |\n{body}"));
            } else {
                text.push(' ');
                text.push_str(&scalar(random, string, true));
                text.push('\n');
            }
        }
        other => text.push_str(&format!(" {other}\n")),
    }
}

fn literal_fits(string: &str) -> bool {
    let body = string.trim_end_matches('\n');
    !body.is_empty()
        && string.len() == body.len() + 1
        && !body.starts_with([' ', '\n'])
        && body.chars().all(|c| {
            c == '\n'
                || (c >= ' '
                    && c != '\u{7f}'
                    && !('\u{80}'..='\u{a0}').contains(&c)
                    && c != '\u{2028}'
                    && c != '\u{2029}'
                    && c != '\u{feff}')
        })
        && !body.split('\n').any(|line| line.trim().is_empty())
}

/// A string, unquoted if it stays one.
fn scalar(random: &mut Random, string: &str, is_value: bool) -> String {
    let plain = !string.is_empty()
        && string.chars().all(|c| c.is_ascii_alphanumeric() || "./_-".contains(c))
        && string.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&string.to_ascii_lowercase().as_str())
        && !string.starts_with("---");
    if plain && (!is_value || !random.percent(15)) {
        return string.to_owned();
    }
    let single = string.chars().all(|c| (' '..'\u{7f}').contains(&c));
    if single && random.percent(40) {
        format!("'{}'", string.replace('\'', "''"))
    } else {
        Value::from(string).to_string()
    }
}
