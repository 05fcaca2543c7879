//! The latency that the webhook adds to the creation of a pod, through a real API server: printed, and never a reason
//! for failure.

use std::time::{Duration, Instant};

use kube::Client;
use serde_json::{Value, json};

use super::{
    control_plane::{ControlPlane, Flavour},
    install::{Reach, Serving, Webhook},
    outrigger_process::{Outrigger, OutriggerProcess},
    pods::{dry_run, is_injected},
};

const CREATES: usize = 500;
const WARM_UP: usize = 50;
/// A namespace the webhook is for, and one it is not for.
const WITH: &str = "with";
const WITHOUT: &str = "without";

/// Times in order.
struct Times(Vec<Duration>);

impl Times {
    fn within(&self, share: f64) -> f64 {
        let index = (self.0.len() as f64 * share) as usize;
        self.0[index.min(self.0.len() - 1)].as_secs_f64() * 1000.0
    }
}

/// A unique pod, or one that differs from the others only in its name.
fn pod(number: usize, alike: bool) -> Value {
    let mark = if alike { 0 } else { number };
    json!({
        "metadata": {
            "generateName": format!("web-{number}-"),
            "labels": {"app": format!("web-{mark}"), "pod-template-hash": format!("{number:010x}")},
        },
        "spec": {"containers": [{
            "name": format!("web-{mark}"), "image": format!("registry.example.com/web:{mark}"),
            "ports": [{"name": "http", "containerPort": 8080 + mark % 10_000}],
            "env": [{"name": format!("MARK_{mark}"), "value": mark.to_string()}],
            "readinessProbe": {"httpGet": {"path": format!("/ready-{mark}"), "port": "http"}},
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        }]},
    })
}

async fn create(client: &Client, namespace: &str, pod: &Value) -> Duration {
    let began = Instant::now();
    let stored = dry_run(client, namespace, pod).await.expect("a pod is created");
    let took = began.elapsed();
    assert_eq!(is_injected(&stored), namespace == WITH, "{stored}");
    took
}

/// The server's own time for a request so far: sum in milliseconds, and count.
async fn own_time(outrigger: &OutriggerProcess) -> (f64, f64) {
    let name = |part: &str| format!("outrigger_request_duration_seconds_{part}");
    (1000.0 * outrigger.metric(&name("sum"), &[]).await, outrigger.metric(&name("count"), &[]).await)
}

/// Sequentially, alternating with and without the webhook, by one client that keeps its connection.
async fn measure(client: &Client, outrigger: &OutriggerProcess, how: &str, alike: bool) {
    let first = if alike { 0 } else { 100_000 };
    for number in 0..WARM_UP {
        create(client, WITH, &pod(first + number, alike)).await;
        create(client, WITHOUT, &pod(first + number, alike)).await;
    }
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let before = own_time(outrigger).await;
    for number in WARM_UP..WARM_UP + CREATES {
        let pod = pod(first + number, alike);
        without.push(create(client, WITHOUT, &pod).await);
        with.push(create(client, WITH, &pod).await);
    }
    let after = own_time(outrigger).await;
    with.sort_unstable();
    without.sort_unstable();
    let (with, without) = (Times(with), Times(without));
    println!(
        "| {how}, {} | {:.2} / {:.2} | {:.2} / {:.2} | {:.2} / {:.2} | {:.3} |",
        if alike { "replicas" } else { "distinct shapes" },
        without.within(0.5),
        without.within(0.99),
        with.within(0.5),
        with.within(0.99),
        with.within(0.5) - without.within(0.5),
        with.within(0.99) - without.within(0.99),
        (after.0 - before.0) / (after.1 - before.1),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latency_added_to_creates() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    control_plane.create_namespace(WITH, &[("istio-injection", "enabled")]).await;
    control_plane.create_namespace(WITHOUT, &[]).await;
    let serving = Serving::new(&control_plane);
    let outrigger = Outrigger::standalone(&serving.certificate, &serving.key).start().await;
    println!(
        "Dry-run creates, ms, p50 / p99:\n\n| | without | with the webhook | added | the server's own, mean |\n| --- | --- | --- | --- | --- |"
    );
    for (how, reach) in [("HTTP/1.1", Reach::service_of(&outrigger)), ("HTTP/2", Reach::url_of(&outrigger))] {
        Webhook::new("outrigger", reach, &serving.authority).install(&control_plane, WITH).await;
        let client = control_plane.client().await;
        for alike in [true, false] {
            measure(&client, &outrigger, how, alike).await;
        }
    }
}
