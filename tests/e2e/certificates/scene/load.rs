//! Pods that are created without a pause, and how many of them were injected.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::task::JoinHandle;

use super::{
    super::super::{
        control_plane::{PATIENCE, until},
        pods::{dry_run, is_injected},
    },
    Scene, pod,
};

/// Continuously created pods.
pub struct Load {
    stop: Arc<AtomicBool>,
    created: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    first: Arc<Mutex<Option<String>>>,
    tasks: Vec<JoinHandle<()>>,
}

/// The results.
#[derive(Clone, Debug)]
pub struct Counts {
    pub created: usize,
    pub failed: usize,
    /// The first failure.
    pub first: Option<String>,
}

impl Load {
    /// Starts a number of tasks that create pods one after the other, with a server-side dry run.
    pub async fn start(scene: &Scene, tasks: usize) -> Load {
        let mut load = Load {
            stop: Arc::default(),
            created: Arc::default(),
            failed: Arc::default(),
            first: Arc::default(),
            tasks: Vec::new(),
        };
        for at in 0..tasks {
            let client = scene.control_plane.client().await;
            let (stop, created, failed) = (load.stop.clone(), load.created.clone(), load.failed.clone());
            let first = load.first.clone();
            load.tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let result = match dry_run(&client, "shop", &pod(&format!("load-{at}"))).await {
                        Ok(pod) if is_injected(&pod) => Ok(()),
                        Ok(_) => Err("the pod has no proxy".to_owned()),
                        Err(error) => Err(error),
                    };
                    match result {
                        Ok(()) => created.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            first.lock().expect("no panic").get_or_insert(error);
                            failed.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            }));
        }
        until("pods are created", PATIENCE, async || load.counts().created > 0).await;
        load
    }

    /// The results so far.
    pub fn counts(&self) -> Counts {
        Counts {
            created: self.created.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            first: self.first.lock().expect("no panic").clone(),
        }
    }

    /// Stops and returns the results.
    pub async fn stop(mut self) -> Counts {
        self.stop.store(true, Ordering::Relaxed);
        for task in std::mem::take(&mut self.tasks) {
            task.await.expect("no panic");
        }
        self.counts()
    }
}
