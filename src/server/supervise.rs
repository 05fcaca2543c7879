//! Background tasks that run as long as the server: one that panics is counted, named in the log and restarted, so
//! that nothing fails silently.

use std::time::Duration;

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::task::JoinSet;

/// Restarts tasks.
#[derive(Clone, Debug)]
pub(crate) struct Supervisor {
    panics: Counter,
    again: Duration,
}

/// Pause before a task is restarted.
const AGAIN: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Creates a supervisor whose metrics are in a registry with our prefix.
    pub(crate) fn register(registry: &mut Registry) -> Supervisor {
        let panics = Counter::default();
        registry.register("panics", "Contained panics, in requests and in background tasks", panics.clone());
        Supervisor { panics, again: AGAIN }
    }

    /// The counter of panics, for code that contains them itself.
    pub(crate) fn panics(&self) -> Counter {
        self.panics.clone()
    }

    /// Runs a task that should not end, and restarts it if it does. Dropping the future ends it.
    pub(crate) async fn keep<F>(self, what: &'static str, mut begin: impl FnMut() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        loop {
            let panicked = !self.run(begin()).await;
            tracing::error!(what, panicked, "background task exited unexpectedly; restarting");
            tokio::time::sleep(self.again).await;
        }
    }

    /// Runs a task to completion, and restarts it after a panic. Dropping the future ends it.
    pub(crate) async fn finish<F>(self, what: &'static str, mut begin: impl FnMut() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while !self.run(begin()).await {
            tracing::error!(what, panicked = true, "background task exited unexpectedly; restarting");
            tokio::time::sleep(self.again).await;
        }
    }

    /// Runs a task. Returns whether it completed.
    async fn run<F>(&self, begun: F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // In a set, which aborts its tasks on drop.
        let mut task = JoinSet::new();
        task.spawn(begun);
        let panicked = task.join_next().await.is_some_and(|ended| ended.is_err());
        if panicked {
            self.panics.inc();
        }
        !panicked
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };

    use tokio::sync::Semaphore;

    use super::*;

    type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Tasks, the first two of which panic; the semaphore gets a permit for each one that completes.
    fn succeeds_at_the_third_attempt() -> (Arc<Semaphore>, impl FnMut() -> Task) {
        let (begun, ended) = (AtomicU32::new(0), Arc::new(Semaphore::new(0)));
        let told = ended.clone();
        let begin = move || -> Task {
            let (time, ended) = (begun.fetch_add(1, Ordering::Relaxed), told.clone());
            Box::pin(async move {
                assert!(time >= 2, "on purpose");
                ended.add_permits(1);
            })
        };
        (ended, begin)
    }

    fn at_once() -> (Counter, Supervisor) {
        let panics = Counter::default();
        (panics.clone(), Supervisor { panics, again: Duration::ZERO })
    }

    //
    #[tokio::test]
    async fn what_panics_is_counted_and_begun_again_to_its_end() {
        let ((panics, supervisor), (ended, begin)) = (at_once(), succeeds_at_the_third_attempt());
        supervisor.finish("a test", begin).await;
        assert_eq!((panics.get(), ended.available_permits()), (2, 1));
    }

    #[tokio::test]
    async fn what_should_not_end_is_begun_again_however_it_ends() {
        let ((panics, supervisor), (ended, begin)) = (at_once(), succeeds_at_the_third_attempt());
        tokio::select! {
            () = supervisor.keep("a test", begin) => {}
            _three_times = ended.acquire_many(3) => {}
        }
        assert_eq!(panics.get(), 2);
    }
}
