//! The catalog of codes: every key under which a decision, a warning or a refusal is recorded, with its meaning.
//!
//! A code is stable: it is a label of metrics, a field of the log and an audit annotation, and people search for it. The
//! shell adds the codes of requests that never reach the pipeline, with the same macro.

use std::fmt;

use strsim::levenshtein;

pub mod page;
mod table;
#[cfg(test)]
mod tests;

pub use table::{CORE, keys};

use page::EDITING;

/// One code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The stable key, such as `HOST_NETWORK`.
    pub key: &'static str,
    /// The roles in which it occurs; at least one.
    pub kinds: &'static [Kind],
    /// One line that says what happened, lower case and without a period.
    pub summary: &'static str,
    /// Its page, `docs/reasons/CODE.md`.
    pub page: &'static str,
}

/// The role of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The reason why a pod was injected.
    Inject,
    /// The reason why a pod was allowed without a patch.
    Skip,
    /// A warning about a pod that is allowed, for its creator.
    Warning,
    /// A warning that is only recorded: log, audit annotation and counter.
    Record,
    /// A warning about a manifest; the webhook never gives it.
    Manifest,
    /// The reason why a pod was denied, in an answered review.
    Denial,
    /// The reason why a request was turned away without a review.
    Refusal,
}

impl Kind {
    /// The word for it in documentation.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Inject => "inject",
            Kind::Skip => "skip",
            Kind::Warning => "warning",
            Kind::Record => "warning, record only",
            Kind::Manifest => "warning, manifests only",
            Kind::Denial => "denial",
            Kind::Refusal => "refusal",
        }
    }

    /// Whether it is a warning, shown or recorded.
    pub const fn is_warning(self) -> bool {
        matches!(self, Kind::Warning | Kind::Record | Kind::Manifest)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Code {
    /// Whether it occurs in this role.
    pub fn is(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    /// Its roles, for people: `skip, warning`.
    pub fn roles(&self) -> String {
        self.kinds.iter().map(|kind| kind.word()).collect::<Vec<_>>().join(", ")
    }

    /// Its page for a terminal: without the comment for its editors.
    pub fn text(&self) -> String {
        self.page.replacen(&format!("{EDITING}\n\n"), "", 1)
    }

    /// Whether it is a warning, shown or recorded.
    pub fn is_warning(&self) -> bool {
        self.kinds.iter().any(|kind| kind.is_warning())
    }
}

/// Defines codes: a slice of [`Code`], sorted by key, and a module with a constant for each key, so that a misspelled
/// key does not compile. A code without a page in the directory, which is relative to the crate, does not compile either.
#[macro_export]
macro_rules! codes {
    ($(#[$about:meta])* $table:ident, $pages:literal; $($key:ident: $($kind:ident)+, $summary:literal;)+) => {
        $(#[$about])*
        pub static $table: &[$crate::codes::Code] = &[$(
            $crate::codes::Code {
                key: stringify!($key),
                kinds: &[$($crate::codes::Kind::$kind),+],
                summary: $summary,
                page: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), $pages, stringify!($key), ".md")),
            },
        )+];

        /// The key of each code.
        pub mod keys {
            $(
                #[doc = $summary]
                pub const $key: &str = stringify!($key);
            )+
        }
    };
}

/// The code of the core with this exact key.
pub fn of_core(key: &str) -> Option<&'static Code> {
    let at = CORE.binary_search_by_key(&key, |code| code.key).ok()?;
    CORE.get(at)
}

/// A key as people type it, in the form of the table: letter case, surrounding blanks, and `-` or a blank for `_` make no
/// difference.
pub fn normalized(typed: &str) -> String {
    let letter = |letter: char| if matches!(letter, '-' | ' ') { '_' } else { letter.to_ascii_uppercase() };
    typed.trim().chars().map(letter).collect()
}

/// The codes that a misspelled or incomplete key may mean, nearest first, at most three: those a few letters away, else
/// those that contain all of its words.
pub fn nearest(codes: impl Iterator<Item = &'static Code> + Clone, typed: &str) -> Vec<&'static Code> {
    const MOST: usize = 3;
    let typed = normalized(typed);
    let mut near: Vec<(usize, &str, &Code)> = codes
        .clone()
        .filter(|code| code.key.len().abs_diff(typed.len()) <= tolerance(code.key))
        .map(|code| (levenshtein(&typed, code.key), code.key, code))
        .filter(|(away, key, _)| *away <= tolerance(key))
        .collect();
    if near.is_empty() {
        let words: Vec<&str> = typed.split('_').filter(|word| !word.is_empty()).collect();
        let holds = |code: &&Code| !words.is_empty() && words.iter().all(|word| code.key.contains(word));
        near = codes.filter(holds).map(|code| (code.key.len(), code.key, code)).collect();
    }
    near.sort_by_key(|(away, key, _)| (*away, *key));
    near.into_iter().take(MOST).map(|(_, _, code)| code).collect()
}

/// How many letters have to be inserted, removed or replaced to turn what was typed into what may be meant.
pub fn edits(typed: &str, meant: &str) -> usize {
    levenshtein(typed, meant)
}

/// How many edits a typo in a key may take.
fn tolerance(key: &str) -> usize {
    (key.len() / 4).clamp(1, 5)
}
