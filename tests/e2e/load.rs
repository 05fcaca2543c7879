//! Continuously created pods, by several concurrent clients: every single result is checked, whatever else happens.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use kube::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    control_plane::{ControlPlane, until},
    pods::is_injected,
};

/// Time limit of one creation: the API server's timeout for the webhook, with a margin.
const ONE_CREATE: Duration = Duration::from_secs(20);
/// Every so many creations, one is stored; the others are dry runs, which include all of admission.
const KEPT: usize = 50;

/// The results of the creations.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Creations with a response, successful or not.
    pub attempted: usize,
    /// Successful ones that were not dry runs.
    pub stored: usize,
    /// The API server's errors, with the time since the start of the load.
    pub failures: Vec<(Duration, String)>,
    /// Pods that were accepted without a proxy.
    pub bare: usize,
    /// The slowest.
    pub longest: Duration,
    /// How long it went on.
    pub lasted: Duration,
}

/// Clients that create pods in a namespace, each one after the other, until they are stopped.
pub struct Creates {
    clients: JoinSet<()>,
    shared: Arc<Shared>,
}

/// The number of loads so far: each has its own names, so that one can follow another in a namespace.
static LOADS: AtomicUsize = AtomicUsize::new(0);

struct Shared {
    load: usize,
    stopped: AtomicBool,
    next: AtomicUsize,
    started: Instant,
    tally: Mutex<Tally>,
}

impl Creates {
    /// Starts these many clients.
    pub async fn start(control_plane: &ControlPlane, namespace: &str, clients: usize) -> Creates {
        let shared = Arc::new(Shared {
            load: LOADS.fetch_add(1, Ordering::Relaxed),
            stopped: AtomicBool::new(false),
            next: AtomicUsize::new(0),
            started: Instant::now(),
            tally: Mutex::default(),
        });
        let mut running = JoinSet::new();
        for _ in 0..clients {
            let (client, namespace, shared) =
                (control_plane.client().await, namespace.to_owned(), shared.clone());
            running.spawn(async move {
                while !shared.stopped.load(Ordering::Relaxed) {
                    shared.create(&client, &namespace).await;
                }
            });
        }
        Creates { clients: running, shared }
    }

    /// The results so far.
    pub fn so_far(&self) -> Tally {
        let mut tally = self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tally.lasted = self.shared.started.elapsed();
        tally
    }

    /// Waits until these many more were answered.
    pub async fn more(&self, count: usize, within: Duration) {
        let goal = self.so_far().attempted + count;
        until(&format!("{count} more creates"), within, async || self.so_far().attempted >= goal).await;
    }

    /// Lets every client finish its current creation.
    pub async fn stop(mut self) -> Tally {
        self.shared.stopped.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic");
        }
        self.so_far()
    }
}

impl Shared {
    async fn create(&self, client: &Client, namespace: &str) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let kept = number % KEPT == KEPT - 1;
        let query = if kept { "" } else { "?dryRun=All" };
        let request = hyper::Request::post(format!("/api/v1/namespaces/{namespace}/pods{query}"))
            .header("content-type", "application/json")
            .body(pod(self.load, number).to_string().into_bytes())
            .expect("a request");
        let began = Instant::now();
        let answer = tokio::time::timeout(ONE_CREATE, client.request::<Value>(request)).await;
        let took = began.elapsed();
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.attempted += 1;
        tally.longest = tally.longest.max(took);
        match answer {
            Ok(Ok(stored)) => {
                tally.stored += usize::from(kept);
                tally.bare += usize::from(!is_injected(&stored));
            }
            Ok(Err(error)) => tally.failures.push((began - self.started, error.to_string())),
            Err(_) => tally.failures.push((began - self.started, format!("no answer in {ONE_CREATE:?}"))),
        }
    }
}

impl Tally {
    /// On one line, for the log of the tests.
    pub fn print(&self, what: &str) {
        let rate = (self.attempted as f64 / self.lasted.as_secs_f64().max(0.001)).round();
        println!(
            "{what}: {} creates in {:.1?} ({rate}/s), {} of them stored, {} failed, {} without a proxy, slowest {:.0?}",
            self.attempted,
            self.lasted,
            self.stored,
            self.failures.len(),
            self.bare,
            self.longest,
        );
    }

    /// Every create succeeded and gave a proxy.
    pub fn assert_flawless(&self) {
        assert!(self.failures.is_empty(), "{:#?}", self.failures);
        assert_eq!(self.bare, 0, "pods without a proxy");
    }
}

fn pod(load: usize, number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("load-{load}-{number}"), "labels": {"app": "load"}},
        "spec": {"containers": [{
            "name": "main", "image": "example.com/main:1", "ports": [{"containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
        }]},
    })
}
