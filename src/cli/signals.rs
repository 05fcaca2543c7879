//! Signals of `serve`: held back until somebody listens, so that the very first ends it in an orderly way too (L-02).
//!
//! A signal that comes before there is a handler ends a process at once; for the first process of a container it is lost, and
//! the kubelet waits for the whole grace period. What is held back is delivered when it is released.

use std::io;

use nix::sys::signal::{SigSet, Signal as Number};
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};

/// Signals that are held back in this thread, and in those it starts.
#[derive(Debug)]
pub(super) struct Held(SigSet);

/// Somebody who listens.
pub(super) struct Signals {
    pub(super) terminate: Signal,
    pub(super) interrupt: Signal,
    pub(super) hangup: Signal,
}

impl Held {
    /// Holds back what `serve` listens to.
    pub(super) fn hold() -> Held {
        let mut signals = SigSet::empty();
        for number in [Number::SIGTERM, Number::SIGINT, Number::SIGHUP] {
            signals.add(number);
        }
        // It fails for a wrong argument only; then nothing is held back, and nothing is lost that was not lost before.
        let _ = signals.thread_block();
        Held(signals)
    }

    /// Lets them through again.
    pub(super) fn release(self) {
        let _ = self.0.thread_unblock();
    }

    /// Listens, and lets them through.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn listen(self) -> io::Result<Signals> {
        // Before the runtime of the server: its threads inherit what is held back, and so would programs that they start.
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
