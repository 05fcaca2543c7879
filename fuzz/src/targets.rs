//! What each target checks. A target is a function of bytes that panics where a promise is broken.

mod annotations;
mod bundle;
mod merge;
mod patch;
mod path;
mod pod;
mod promises;
mod records;
mod replay;
mod review;
mod template;
pub(crate) mod template_go;
mod yaml;

use crate::Fate;

/// A target.
pub(crate) type Target = fn(&[u8]) -> Fate;

/// All targets, by name.
const ALL: &[(&str, Target)] = &[
    ("annotations", annotations::check),
    ("bundle", bundle::check),
    ("merge", merge::check),
    ("patch", patch::check),
    ("path", path::check),
    ("pod", pod::check),
    ("records", records::check),
    ("replay", replay::check),
    ("review", review::check),
    ("template", template::check),
    ("template_go", template_go::check),
    ("yaml", yaml::check),
];

/// The names of all targets.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// The target of a name.
pub(crate) fn of(name: &str) -> Target {
    ALL.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no target {name}")).1
}
