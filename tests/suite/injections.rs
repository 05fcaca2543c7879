//! A floor under properties of injected pods.

use std::sync::atomic::{AtomicUsize, Ordering};

use outrigger::inject::{Injection, Outcome};
use serde_json::Value;

use super::properties::{cases, run};

/// Counts the inputs that a property says something about, so that one that says nothing does not pass.
#[derive(Default)]
pub(crate) struct Injected(AtomicUsize);

impl Injected {
    /// The injection of a pod; nothing if it is skipped or denied.
    pub(crate) fn of(&self, mesh: usize, pod: &Value) -> Option<Box<Injection>> {
        let Ok(Outcome::Injected(injection)) = run(mesh, pod) else { return None };
        self.0.fetch_add(1, Ordering::Relaxed);
        Some(injection)
    }

    /// Fails if fewer than a quarter of the inputs were injected.
    pub(crate) fn enough(self) {
        let (injected, all) = (self.0.into_inner(), cases() as usize);
        assert!(injected * 4 >= all, "only {injected} of {all} pods were injected");
    }
}
