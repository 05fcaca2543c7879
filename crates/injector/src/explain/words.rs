//! What wrote a field, in words: the same on a terminal and on a page.

use serde_json::Value;

use super::{Datum, Line, Writer};

/// The longest value that is shown in full, in characters.
const LONGEST: usize = 160;

impl Writer {
    /// What wrote the field: `template sidecar, line 112: …`, `step prometheus after the templates`.
    pub fn described(&self) -> String {
        match self {
            Writer::Pod => "as received".to_owned(),
            Writer::User => "the pod's own settings for its proxy".to_owned(),
            Writer::Pass(name) => format!("step {name} after the templates"),
            Writer::Template(line) => line.described(),
        }
    }

    /// The data that was read for it, one sentence for each: that of its line, then that of the conditions around the line.
    pub fn reads(&self) -> Vec<String> {
        let Writer::Template(line) = self else { return Vec::new() };
        let own = line.data.iter().filter(|datum| datum.value.is_some() || line.data.len() == 1);
        let mut all: Vec<String> = own.map(|datum| format!("reads {}", datum.described())).collect();
        for (number, data) in &line.conditions {
            let read: Vec<String> =
                data.iter().filter(|datum| datum.value.is_some()).map(Datum::described).collect();
            if !read.is_empty() {
                all.push(format!("inside the condition of line {number}, which reads {}", read.join("; ")));
            }
        }
        all
    }

    /// Its name in a margin: `sidecar:112`, `pod`, `step prometheus`.
    pub fn short_name(&self) -> String {
        match self {
            Writer::Pod => "pod".to_owned(),
            Writer::User => "pod's own".to_owned(),
            Writer::Pass(name) => format!("step {name}"),
            Writer::Template(line) => match &line.line {
                Some((number, _)) => format!("{}:{number}", line.template),
                None => line.template.clone(),
            },
        }
    }
}

impl Line {
    fn described(&self) -> String {
        match &self.line {
            Some((number, text)) => format!("template {}, line {number}: {text}", self.template),
            None => format!("template {}", self.template),
        }
    }
}

impl Datum {
    /// Its place, value and origin: `values.global.hub = "registry" (embedded defaults)`.
    pub fn described(&self) -> String {
        let is_whole = |value: &&Value| value.is_object() || value.is_array();
        let value = self.value.as_ref().map(|value| match Some(value).filter(is_whole) {
            Some(_) => String::new(),
            None => format!(" = {}", short(value)),
        });
        let value = value
            .unwrap_or_else(|| if self.set_by.is_empty() { " (not set)".to_owned() } else { String::new() });
        let set_by = if self.set_by.is_empty() { String::new() } else { format!(" ({})", self.set_by) };
        format!("{}{value}{set_by}", self.place)
    }
}

/// A value on one line, at most 160 characters of it.
pub fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
