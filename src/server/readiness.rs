//! Conditions for serving requests, and their state.
//!
//! A gate opens once and stays open: after that, a frozen, missing or restarted API server changes nothing for
//! requests (K-02, K-03). Later problems are notes under `/readyz?verbose`, not a reason to take the replica out of
//! service.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// All gates of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness {
    gates: Arc<Mutex<Vec<Gate>>>,
    opened: Arc<Notify>,
}

/// One condition.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    name: &'static str,
    state: Arc<Mutex<State>>,
    opened: Arc<Notify>,
}

/// The state of a gate.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Whether it is open.
    pub(crate) open: bool,
    /// The current problem; before the gate is open, what it waits for.
    pub(crate) problem: Option<String>,
    /// Details about the current state.
    pub(crate) detail: String,
}

impl Readiness {
    /// Adds a gate that is closed for the reason `waits_for`.
    pub(crate) fn gate(&self, name: &'static str, waits_for: &str) -> Gate {
        let state = State { open: false, problem: Some(waits_for.to_owned()), detail: String::new() };
        let gate = Gate { name, state: Arc::new(Mutex::new(state)), opened: self.opened.clone() };
        self.gates.lock().unwrap_or_else(PoisonError::into_inner).push(gate.clone());
        gate
    }

    /// Waits until a gate is opened, or opened again, from now on.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.opened.notified()
    }

    /// Waits until every gate is open.
    pub(crate) async fn passed(&self) {
        loop {
            // Subscribe before checking, so that no opening in between is missed.
            let opened = self.opened.notified();
            if self.states().iter().all(|(_, state)| state.open) {
                return;
            }
            opened.await;
        }
    }

    /// Every gate by name, in the order they were added.
    pub(crate) fn states(&self) -> Vec<(&'static str, State)> {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.iter().map(|gate| (gate.name, gate.state())).collect()
    }
}

impl Gate {
    /// Opens the gate and clears the problem. Returns the previous problem.
    pub(crate) fn open(&self, detail: impl Into<String>) -> Option<String> {
        self.open_with(detail, None)
    }

    /// Opens the gate with a problem in its result. Returns the previous problem.
    pub(crate) fn open_with(&self, detail: impl Into<String>, problem: Option<String>) -> Option<String> {
        let now = State { open: true, problem, detail: detail.into() };
        let before = std::mem::replace(&mut *self.lock(), now);
        self.opened.notify_waiters();
        before.problem
    }

    /// Sets a problem: why the gate is still closed, or a note on an open one. The details remain valid.
    pub(crate) fn trouble(&self, problem: impl Into<String>) {
        self.lock().problem = Some(problem.into());
    }

    /// Like [`trouble`](Self::trouble), but the details are no longer valid.
    pub(crate) fn contradicted(&self, problem: impl Into<String>) {
        let mut state = self.lock();
        state.problem = Some(problem.into());
        state.detail.clear();
    }

    /// The current state.
    pub(crate) fn state(&self) -> State {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
