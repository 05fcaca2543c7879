//! Remembers the texts of the last accepted configuration, to detect a file that was truncated while being written in
//! place, and to report keys that disappeared.
//!
//! YAML has no mandatory end: half a bundle is still a bundle, and the lost half gets defaults. Writes in progress
//! are handled by [`crate::server::reload`]; this is about writes that ended early, for example on a full disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use crate::{server::reading::Stamp, yaml};

/// One text of a configuration.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    /// Its path, as the administrator knows it.
    pub(crate) path: PathBuf,
    /// The file it was read from.
    pub(crate) stamp: Stamp,
    /// The text.
    pub(crate) text: String,
}

/// The texts that were accepted last, and those that were read since.
#[derive(Clone, Debug, Default)]
pub(crate) struct Earlier(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    accepted: BTreeMap<PathBuf, Text>,
    read: Vec<Text>,
}

impl Earlier {
    /// Records what was read. Returns notes about keys that disappeared.
    ///
    /// # Errors
    /// When a text looks truncated.
    pub(crate) fn compare(&self, texts: Vec<Text>) -> Result<Vec<String>, String> {
        let mut state = self.lock();
        let mut remarks = Vec::new();
        for text in &texts {
            let Some(earlier) = state.accepted.get(&text.path) else { continue };
            if text.stamp.is_of_the_same_file(&earlier.stamp)
                && let Some(found) = cut_off(&earlier.text, &text.text)
            {
                return Err(refusal(&text.path, &found));
            }
            remarks.extend(
                no_longer(&earlier.text, &text.text)
                    .map(|keys| format!("{}: no longer sets {keys}", text.path.display())),
            );
        }
        state.read = texts;
        Ok(remarks)
    }

    /// Records that the texts read last are active.
    pub(crate) fn accept(&self) {
        let mut state = self.lock();
        let read = std::mem::take(&mut state.read);
        if !read.is_empty() {
            state.accepted = read.into_iter().map(|text| (text.path.clone(), text)).collect();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refusal(path: &Path, found: &str) -> String {
    format!(
        "{}: found {found}, as if a write in place had been cut off; expected a complete text in a file that is renamed \
         over this one, or the line ... at the end of this one",
        path.display()
    )
}

/// Describes a text that looks like a truncated version of an earlier one. The end marker of YAML and the closing
/// brace of JSON prove that it is complete.
fn cut_off(earlier: &str, text: &str) -> Option<String> {
    let is_json = text.trim_start().starts_with('{');
    if is_json || text.trim_end().ends_with("\n...") {
        return None;
    }
    if text.len() < earlier.len() && earlier.starts_with(text) {
        return Some(format!("the first {} bytes of the active {}", text.len(), earlier.len()));
    }
    (earlier.ends_with('\n') && !text.ends_with('\n'))
        .then(|| "a last line without a newline, which it had before".to_owned())
}

/// The keys, two levels deep, that had a value in the earlier text and have none now.
fn no_longer(earlier: &str, text: &str) -> Option<String> {
    /// Maximum number of keys that are listed.
    const SHOWN: usize = 8;
    let (earlier, now) = (keys(earlier), keys(text));
    let mut gone: Vec<&str> = Vec::new();
    for key in earlier.difference(&now) {
        // Everything below a missing key is missing too; keys are sorted.
        if !gone.iter().any(|above| key.strip_prefix(above).is_some_and(|rest| rest.starts_with('.'))) {
            gone.push(key);
        }
    }
    let shown = gone.get(..SHOWN.min(gone.len()))?.join(", ");
    match gone.len() {
        0 => None,
        count if count > SHOWN => Some(format!("{shown} and {} more keys", count - SHOWN)),
        _ => Some(shown),
    }
}

fn keys(text: &str) -> BTreeSet<String> {
    let given = |value: Value| match value {
        Value::Object(map) => map.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Vec::new(),
    };
    let root = yaml::load(text, &yaml::Limits::default()).unwrap_or_default();
    let mut keys = BTreeSet::new();
    for (key, value) in given(root) {
        keys.extend(given(value).into_iter().map(|(below, _)| format!("{key}.{below}")));
        keys.insert(key);
    }
    keys
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const WHOLE: &str =
        "apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\ninjector:\n  policy: disabled\nenv:\n  A: b\n";

    struct File {
        _folder: tempfile::TempDir,
        path: PathBuf,
        earlier: Earlier,
    }

    impl File {
        /// A file whose text is active.
        fn with(text: &str) -> File {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("bundle.yaml");
            let file = File { _folder: folder, path, earlier: Earlier::default() };
            assert_eq!(file.written(text), Ok(vec![]));
            file.earlier.accept();
            file
        }

        fn written(&self, text: &str) -> Result<Vec<String>, String> {
            fs::write(&self.path, text).unwrap();
            let stamp = Stamp::of(&fs::metadata(&self.path).unwrap());
            self.earlier.compare(vec![Text { path: self.path.clone(), stamp, text: text.to_owned() }])
        }

        fn renamed(&self, text: &str) -> Result<Vec<String>, String> {
            let next = self.path.with_extension("next");
            fs::write(&next, text).unwrap();
            fs::rename(&next, &self.path).unwrap();
            let stamp = Stamp::of(&fs::metadata(&self.path).unwrap());
            self.earlier.compare(vec![Text { path: self.path.clone(), stamp, text: text.to_owned() }])
        }
    }

    #[test]
    fn no_beginning_of_a_text_takes_its_place_when_it_is_written_in_place() {
        let file = File::with(WHOLE);
        for end in 0..WHOLE.len() {
            let error = file.written(&WHOLE[..end]).unwrap_err();
            assert!(
                error.contains(&format!("found the first {end} bytes of the active {}", WHOLE.len())),
                "{error}"
            );
        }
        assert_eq!(file.written(WHOLE), Ok(vec![]));
    }

    #[test]
    fn another_text_that_ends_within_a_line_looks_cut_off_too() {
        let file = File::with(WHOLE);
        let other = WHOLE.replace("A: b", "A: c\n  B: longer than it was");
        for end in 1..other.len() {
            let cut = &other[..end];
            let accepted = file.written(cut).is_ok();
            // A text that ends with a newline only causes a note about missing keys, because people delete lines.
            assert_eq!(accepted, cut.ends_with('\n') && !WHOLE.starts_with(cut), "{cut}");
        }
        let unended = File::with(WHOLE.trim_end());
        assert_eq!(unended.written(other.trim_end()), Ok(vec![]), "it never ended with one");
    }

    #[test]
    fn a_text_may_become_shorter_in_ways_that_are_no_accident() {
        let shorter = WHOLE.strip_suffix("env:\n  A: b\n").unwrap();
        let remark = |file: &File| format!("{}: no longer sets env", file.path.display());
        let file = File::with(WHOLE);
        assert_eq!(file.renamed(shorter), Ok(vec![remark(&file)]));
        let file = File::with(WHOLE);
        assert!(file.written(shorter).is_err());
        assert_eq!(file.written(&format!("{shorter}...\n")), Ok(vec![remark(&file)]));
        let json = r#"{"apiVersion": "outrigger.dev/v1alpha1", "kind": "Bundle"}"#;
        assert!(file.written(json).is_ok());
    }

    #[test]
    fn what_is_no_longer_said_is_told() {
        let earlier = "values: {global: {hub: a}, pilot: {}}\nmesh: {a: 1, b: 2}\nenv: {A: b}\nx: null\n";
        assert_eq!(no_longer(earlier, earlier), None);
        let now = "values: {global: {}}\nmesh: {b: 2, c: 3}\n";
        assert_eq!(no_longer(earlier, now).as_deref(), Some("env, mesh.a, values.pilot"));
        let many: String = (0..20).map(|number| format!("k{number:02}: 1\n")).collect();
        assert_eq!(
            no_longer(&many, "").as_deref(),
            Some("k00, k01, k02, k03, k04, k05, k06, k07 and 12 more keys")
        );
    }
}
