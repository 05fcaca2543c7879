//! Every behavior of Istio that `compat: outrigger` deviates from, by name.
//!
//! The code asks for a [`Quirk`] instead of testing the mode. One [table](TABLE) defines the names, what either side does and
//! why; the tables of `docs/compatibility.md` are generated from it, and `tests/suite/compat.rs` compares it with the
//! recorded responses of Istio.

use std::fmt;

#[cfg(test)]
mod document;
mod table;
#[cfg(test)]
mod tests;

pub use table::{Quirk, TABLE};

/// One row of the [table](TABLE). The texts are Markdown; each continues the name of its column.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The behavior.
    pub quirk: Quirk,
    /// Its name, such as `InjectMirrorPods`.
    pub name: &'static str,
    /// The section of `docs/compatibility.md` that it is in.
    pub section: Section,
    /// The function of Istio's injector that behaves like this.
    pub upstream: &'static str,
    /// What Istio does.
    pub istio: &'static str,
    /// What `compat: outrigger` does.
    pub outrigger: &'static str,
    /// Why.
    pub reason: &'static str,
    /// Whether recorded responses show it: `tests/suite/compat.rs` then has a rule for it.
    pub is_recorded: bool,
}

/// A section of `docs/compatibility.md` with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Which pods are injected.
    Selection,
    /// Which pods are denied.
    Annotations,
    /// Probes and metrics.
    Probes,
    /// Pod-level resources and the token.
    Resources,
    /// Fields that exclude each other.
    Unions,
    /// Pods that have been injected before.
    Reinjection,
    /// Several templates.
    Templates,
    /// The configuration.
    Configuration,
}

impl Quirk {
    /// Its row.
    #[allow(clippy::indexing_slicing, reason = "one macro writes variants and rows, in the same order")]
    pub fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

impl fmt::Display for Quirk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().name)
    }
}

/// A set of quirks: those that a configuration keeps.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Quirks(u64);

const _: () = assert!(TABLE.len() < 64, "a set has room for 63 quirks");

impl Quirks {
    /// None of them: `compat: outrigger`.
    pub const NONE: Quirks = Quirks(0);
    /// All of them: `compat: istio`.
    pub const ALL: Quirks = Quirks((1 << TABLE.len()) - 1);

    /// Whether the quirk is kept, so that the injector behaves like Istio.
    pub const fn contains(self, quirk: Quirk) -> bool {
        self.0 & (1 << quirk as u64) != 0
    }

    /// The set without one quirk.
    #[cfg(test)]
    pub(crate) const fn without(self, quirk: Quirk) -> Quirks {
        Quirks(self.0 & !(1 << quirk as u64))
    }

    /// The set with one quirk more.
    #[cfg(test)]
    pub(crate) const fn with(self, quirk: Quirk) -> Quirks {
        Quirks(self.0 | 1 << quirk as u64)
    }
}

impl fmt::Debug for Quirks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = TABLE.iter().map(|row| row.quirk).filter(|quirk| self.contains(*quirk));
        f.debug_set().entries(kept).finish()
    }
}
