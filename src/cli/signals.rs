//! Signals of `serve`: blocked until a handler exists, so that even the first one shuts down gracefully (L-02).
//!
//! A signal that arrives before there is a handler kills a process at once; for the first process of a container it is
//! lost, and the kubelet waits for the whole grace period. Blocked signals are delivered when they are unblocked.

use std::io;

use nix::sys::signal::{SigSet, Signal as Number};
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};

/// Signals that are blocked in this thread and in those it starts.
#[derive(Debug)]
pub(super) struct Held(SigSet);

/// Streams of received signals.
pub(super) struct Signals {
    pub(super) terminate: Signal,
    pub(super) interrupt: Signal,
    pub(super) hangup: Signal,
}

impl Held {
    /// Blocks the signals that `serve` handles.
    pub(super) fn hold() -> Held {
        let mut signals = SigSet::empty();
        for number in [Number::SIGTERM, Number::SIGINT, Number::SIGHUP] {
            signals.add(number);
        }
        // Fails only for an invalid argument; in that case nothing is blocked, and nothing is worse than before.
        let _ = signals.thread_block();
        Held(signals)
    }

    /// Unblocks the signals.
    pub(super) fn release(self) {
        let _ = self.0.thread_unblock();
    }

    /// Installs the handlers and unblocks the signals.
    ///
    /// # Errors
    /// If the system rejects a handler.
    pub(super) fn listen(self) -> io::Result<Signals> {
        // Before the server's runtime: its threads inherit the signal mask, and so would child processes.
        let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
        let _within = runtime.enter();
        let signals = Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        };
        self.release();
        Ok(signals)
    }
}
