//! The phases of a server's life, which only advance.

use tokio::sync::watch;

/// A phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Ready.
    Serving,
    /// Not ready, but requests of clients that do not know yet are served; responses ask to close the connection.
    Draining,
    /// No new connections; requests in flight are finished, HTTP/2 peers get a GOAWAY.
    Closing,
    /// Everything left is dropped.
    Stopped,
}

/// Observes the phase.
#[derive(Clone, Debug)]
pub(crate) struct Watch(watch::Receiver<Phase>);

/// Changes the phase.
#[derive(Debug)]
pub(crate) struct Control(watch::Sender<Phase>);

impl Control {
    pub(crate) fn new() -> Control {
        Control(watch::Sender::new(Phase::Serving))
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch(self.0.subscribe())
    }

    /// Advances to a phase, never back. Returns the previous phase.
    pub(crate) fn advance(&self, to: Phase) -> Phase {
        let mut before = to;
        self.0.send_if_modified(|phase| {
            before = *phase;
            let forward = *phase < to;
            *phase = to.max(*phase);
            forward
        });
        before
    }
}

impl Watch {
    pub(crate) fn now(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the phase is reached. A dropped server has reached all of them.
    pub(crate) async fn reached(&self, phase: Phase) {
        let _ = self.0.clone().wait_for(|now| *now >= phase).await;
    }
}
