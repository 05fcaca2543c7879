//! Adds the two keys that every bundle needs, for tests about the others; also used by the library's own tests.

/// The text of a bundle, with `apiVersion` and `kind` appended unless it has them. Positions in the text do not change.
pub(crate) fn headed(text: &str) -> String {
    if text.contains("kind: Bundle") || text.contains("\"kind\":\"Bundle\"") {
        return text.to_owned();
    }
    match text.trim_end().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some("") => "{apiVersion: outrigger.dev/v1alpha1, kind: Bundle}".to_owned(),
        Some(rest) => format!("{{{rest}, apiVersion: outrigger.dev/v1alpha1, kind: Bundle}}"),
        None => {
            let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            format!("{text}{end}apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\n")
        }
    }
}
