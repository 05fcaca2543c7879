//! The path from the API server to the webhook fails in every way a network can: the failure policy is applied within
//! bounded time, and the first pod after the fault gets its proxy.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use kube::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    control_plane::{ControlPlane, Flavour, PATIENCE, free_port, settled, until},
    install::{Reach, Serving, Webhook},
    outrigger_process::Outrigger,
    pods::{dry_run, is_injected},
};
use crate::fault_proxy::{BlackHole, Fault, FaultProxy};

/// `timeoutSeconds` of the webhook.
const TIMEOUT: u32 = 2;
/// Margin for the API server's response on a busy machine.
const SLACK: Duration = Duration::from_secs(5);
/// The API server's errors for a webhook that took too long, depending on which layer detects it first.
const LATE: [&str; 2] = ["deadline exceeded", "i/o timeout"];
/// Number of concurrent creations.
const AT_ONCE: usize = 16;
/// The namespace whose webhook fails closed, and the one whose webhook fails open.
const CLOSED: &str = "closed";
const OPEN: &str = "open";

/// A control plane with a webhook for each failure policy.
struct Cut {
    control_plane: ControlPlane,
    client: Client,
    serving: Serving,
}

fn pod() -> Value {
    json!({"metadata": {"name": "app"}, "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]}})
}

impl Cut {
    async fn set() -> Cut {
        let control_plane = ControlPlane::start(Flavour::Current).await;
        for namespace in [CLOSED, OPEN] {
            control_plane.create_namespace(namespace, &[("istio-injection", "enabled")]).await;
        }
        let serving = Serving::new(&control_plane);
        let client = control_plane.client().await;
        Cut { control_plane, client, serving }
    }

    /// Leads both webhooks to a port of loopback.
    async fn lead_to(&self, port: u16) {
        for (namespace, failure_policy) in [(CLOSED, "Fail"), (OPEN, "Ignore")] {
            let webhook = Webhook::new(namespace, Reach::Service(port), &self.serving.authority);
            let namespaces = vec![namespace.to_owned()];
            Webhook { failure_policy, timeout: TIMEOUT, namespaces, ..webhook }
                .apply(&self.control_plane)
                .await;
        }
    }

    async fn create(&self, namespace: &str) -> (Result<Value, String>, Duration) {
        let began = Instant::now();
        let created = dry_run(&self.client, namespace, &pod()).await;
        (created, began.elapsed())
    }

    /// A pod in each namespace has its proxy.
    async fn is_whole(&self) -> Result<(), String> {
        for namespace in [CLOSED, OPEN] {
            match self.create(namespace).await.0 {
                Ok(pod) if is_injected(&pod) => {}
                other => return Err(format!("{namespace}: {other:?}")),
            }
        }
        Ok(())
    }

    /// Concurrent creations: each ends according to its policy, with one of these errors and not before its time.
    async fn fails_by_policy(&self, fault: &str, least: Duration, wanted: &[&str]) {
        let is_wanted = |error: &str| wanted.iter().any(|wanted| error.contains(wanted));
        settled(&format!("{fault}: refused with one of {wanted:?}"), PATIENCE, async || {
            match self.create(CLOSED).await.0 {
                Err(error) if error.contains("failed calling webhook") && is_wanted(&error) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        let most = Duration::from_secs(TIMEOUT.into()) + SLACK;
        for namespace in [CLOSED, OPEN] {
            let mut creates = JoinSet::new();
            for _ in 0..AT_ONCE {
                let client = self.control_plane.client().await;
                creates.spawn(async move {
                    let began = Instant::now();
                    (dry_run(&client, namespace, &pod()).await, began.elapsed())
                });
            }
            let mut slowest = Duration::ZERO;
            while let Some(create) = creates.join_next().await {
                let (created, took) = create.expect("no panic");
                slowest = slowest.max(took);
                match created {
                    Ok(pod) => assert!(namespace == OPEN && !is_injected(&pod), "{fault}: {pod}"),
                    Err(error) => {
                        assert!(namespace == CLOSED && is_wanted(&error), "{fault}: {namespace}: {error}");
                    }
                }
                assert!(least <= took && took <= most, "{fault}: {namespace}: {took:?}");
            }
            println!("{fault}, {namespace}: {AT_ONCE} creates at once end within {slowest:.1?}");
        }
    }
}

/// N-01, N-02, N-03
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_cuts_the_way_to_the_webhook_the_failure_policy_is_done_in_time() {
    let cut = Cut::set().await;
    let outrigger = Outrigger::standalone(&cut.serving.certificate, &cut.serving.key);
    let mut process = outrigger.clone().start().await;
    let (webhook, admin) = (process.webhook_port(), process.admin_port());
    let proxy = FaultProxy::before(SocketAddr::from(([127, 0, 0, 1], webhook))).await;
    let whole = async || settled("pods get their proxies", PATIENCE, async || cut.is_whole().await).await;
    cut.lead_to(proxy.address().port()).await;
    whole().await;

    // N-03: an established connection carries nothing any more, and new ones are accepted without a response.
    let timeout = Duration::from_secs(TIMEOUT.into());
    proxy.set(Fault::Drop);
    cut.fails_by_policy("silence", timeout, &LATE).await;
    proxy.set(Fault::None);
    assert_eq!(cut.is_whole().await, Ok(()), "the first pods after the silence");

    // N-02: nothing answers a SYN.
    let nowhere = BlackHole::new().await;
    cut.lead_to(nowhere.address().port()).await;
    cut.fails_by_policy("a black hole", timeout, &LATE).await;
    cut.lead_to(proxy.address().port()).await;
    whole().await;

    // N-01: nobody listens.
    cut.lead_to(free_port()).await;
    cut.fails_by_policy("a refusal", Duration::ZERO, &["connection refused"]).await;
    cut.lead_to(webhook).await;
    whole().await;
    process.kill();
    until("nobody is there", PATIENCE, async || cut.create(CLOSED).await.0.is_err()).await;
    let _process = outrigger.ports(webhook, admin).start().await;
    assert_eq!(cut.is_whole().await, Ok(()), "the first pods after the start");

    for (metric, what) in [("fail_open_count", "without a proxy"), ("rejection_count", "refused")] {
        let count = cut.control_plane.metric(&format!("apiserver_admission_webhook_{metric}"), &[]).await;
        println!("{count} creates {what}");
        assert!(count >= (3 * AT_ONCE) as f64, "{metric}: {count}");
    }
}

/// N-07: with a network of 200 ms each way a pod takes some round trips more, and no more connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_distant_webhook_costs_its_distance_and_nothing_else() {
    const ONE_WAY: Duration = Duration::from_millis(200);
    const PODS: usize = 10;
    let cut = Cut::set().await;
    let process = Outrigger::standalone(&cut.serving.certificate, &cut.serving.key).start().await;
    let proxy = FaultProxy::before(SocketAddr::from(([127, 0, 0, 1], process.webhook_port()))).await;
    cut.lead_to(proxy.address().port()).await;
    settled("pods get their proxies", PATIENCE, async || cut.is_whole().await).await;
    proxy.set(Fault::Delay(ONE_WAY));
    let (connections, flights) = (proxy.connections(), proxy.flights());
    let mut quickest = Duration::MAX;
    for _ in 0..PODS {
        let (created, took) = cut.create(CLOSED).await;
        assert!(is_injected(&created.expect("a pod")));
        quickest = quickest.min(took);
    }
    println!("{PODS} pods over 2 × {ONE_WAY:?}, the quickest in {quickest:.0?}");
    assert!(quickest >= 2 * ONE_WAY, "{quickest:?}");
    assert_eq!(proxy.flights() - flights, PODS, "one round trip for each pod");
    assert_eq!(proxy.connections(), connections, "the connection is kept");
}
