//! What must have happened before requests are served, and how it stands.
//!
//! A gate opens once and stays open: after that an API server that is frozen, gone or restarted changes nothing for
//! requests (K-02, K-03). What goes wrong later is a remark under `/readyz?verbose`, not a reason to be taken out of
//! service.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// All gates of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness {
    gates: Arc<Mutex<Vec<Gate>>>,
    opened: Arc<Notify>,
}

/// One thing that must have happened.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    name: &'static str,
    state: Arc<Mutex<State>>,
    opened: Arc<Notify>,
}

/// How a gate stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Whether it has happened.
    pub(crate) open: bool,
    /// What is wrong now; before the gate is open, what is waited for.
    pub(crate) problem: Option<String>,
    /// What there is to know.
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

    /// Waits for the next time a gate is opened, or opened again, from now on.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.opened.notified()
    }

    /// Waits until every gate is open.
    pub(crate) async fn passed(&self) {
        loop {
            // Before looking, so that no opening in between is missed.
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
    /// It has happened: the gate is open from now on, and there is no problem. Gives the one that there was.
    pub(crate) fn open(&self, detail: impl Into<String>) -> Option<String> {
        self.open_with(detail, None)
    }

    /// It has happened, and what came of it is not as it should be. Gives the problem that there was.
    pub(crate) fn open_with(&self, detail: impl Into<String>, problem: Option<String>) -> Option<String> {
        let now = State { open: true, problem, detail: detail.into() };
        let before = std::mem::replace(&mut *self.lock(), now);
        self.opened.notify_waiters();
        before.problem
    }

    /// Something is wrong: why the gate is still closed, or a remark on an open one. What was known is still true.
    pub(crate) fn trouble(&self, problem: impl Into<String>) {
        self.lock().problem = Some(problem.into());
    }

    /// The same, and what was known is true no more.
    pub(crate) fn contradicted(&self, problem: impl Into<String>) {
        let mut state = self.lock();
        state.problem = Some(problem.into());
        state.detail.clear();
    }

    /// How it stands.
    pub(crate) fn state(&self) -> State {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
