//! Patterns in which `*` stands for any text, even an empty one.

use gotemplate::STAND_IN;

/// A pattern; everything except `*` stands for itself, and upper and lower case differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: String,
}

/// Whether a text matches, as far as the text is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GlobMatch {
    /// Whether it matches.
    Known(bool),
    /// It contains a stand-in for the names of several pods, and whether they match depends on the name.
    Depends,
}

impl Glob {
    /// Characters that a pattern may not have: they would have to be escaped somewhere, and occur in no name.
    pub(super) const REFUSED: [char; 4] = ['\'', '"', '\\', '`'];

    /// A pattern.
    pub fn new(text: impl Into<String>) -> Glob {
        Glob { text: text.into() }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches every text.
    pub fn is_any(&self) -> bool {
        !self.text.is_empty() && self.text.chars().all(|letter| letter == '*')
    }

    /// Whether a text matches, in time linear in its length for each `*`.
    pub fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.text.split_once('*') else { return self.text == text };
        let Some(mut left) = text.strip_prefix(first) else { return false };
        // The last part is at the end, the others are where they occur first.
        let Some((others, last)) = rest.rsplit_once('*') else { return left.ends_with(rest) };
        for part in others.split('*') {
            match left.find(part) {
                Some(at) => left = left.get(at + part.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        left.ends_with(last)
    }

    /// Whether a text that may contain stand-ins matches.
    pub(super) fn match_with(&self, text: &str) -> GlobMatch {
        let Some(at) = text.find(STAND_IN) else { return GlobMatch::Known(self.matches(text)) };
        let known = text.get(..at).unwrap_or_default();
        let prefix = self.text.split('*').next().unwrap_or_default();
        let compared = prefix.len().min(known.len());
        if prefix.get(..compared) != known.get(..compared) {
            return GlobMatch::Known(false);
        }
        let is_prefix = self.text.len() == prefix.len() + 1 && prefix.len() <= known.len();
        if is_prefix || self.is_any() { GlobMatch::Known(true) } else { GlobMatch::Depends }
    }

    /// As a regular expression for the whole text, in the syntax of RE2.
    pub(super) fn to_regex(&self) -> String {
        self.to_regex_before("")
    }

    /// [`to_regex`](Glob::to_regex) for texts that end with something else, given as a regular expression.
    pub(super) fn to_regex_before(&self, end: &str) -> String {
        let mut out = String::from("^");
        for letter in self.text.chars() {
            match letter {
                '*' => out.push_str(".*"),
                '.' | '+' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' => {
                    out.push('\\');
                    out.push(letter);
                }
                other => out.push(other),
            }
        }
        out.push_str(end);
        out.push('$');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "ba", true),
            ("a*a", "a", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXcYb", false),
            ("*b*", "abc", true),
            ("a*ab", "aab", true),
            ("a*ab", "ab", false),
            ("registry.example.com/*", "registry.example.com.evil/a", false),
            ("A", "a", false),
            ("", "a", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), fits, "{pattern} {text}");
            let regex = regex::Regex::new(&Glob::new(pattern).to_regex()).unwrap();
            assert_eq!(regex.is_match(text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn a_stand_in_is_compared_with_nothing() {
        let text = format!("web-{STAND_IN}0");
        for (pattern, fit) in [
            ("web-*", GlobMatch::Known(true)),
            ("web*", GlobMatch::Known(true)),
            ("*", GlobMatch::Known(true)),
            ("api-*", GlobMatch::Known(false)),
            ("web-5d*", GlobMatch::Depends),
            ("web-*-x", GlobMatch::Depends),
            ("web-abc", GlobMatch::Depends),
        ] {
            assert_eq!(Glob::new(pattern).match_with(&text), fit, "{pattern}");
        }
    }
}
