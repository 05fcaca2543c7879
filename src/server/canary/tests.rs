//! The canary against an API server with scripted responses. Time is paused.

use std::collections::VecDeque;

use prometheus_client::registry::Registry;
use serde_json::Value;

use super::*;
use crate::server::kube::scripted::{Requests, Turn, api_server, until};
use crate::server::observe::metrics::{self, Exposition};
use crate::server::shutdown::Control;

const OURS: &str = "rev.namespace.sidecar-injector.istio.io";

struct Rig {
    registry: Registry,
    requests: Requests,
    phase: Control,
}

fn rig(revision: &str, turns: Vec<Turn>, leading: Option<watch::Receiver<bool>>) -> Rig {
    let mut turns: VecDeque<Turn> = turns.into();
    let (client, requests) = api_server(move |_| turns.pop_front().unwrap_or(Turn::Frozen));
    let mut registry = Registry::default();
    let metrics = CanaryMetrics::register(&mut registry);
    let supervisor = Supervisor::register(&mut registry);
    let phase = Control::new();
    let options = Options {
        namespace: "shop".to_owned(),
        interval: Duration::from_secs(60),
        revision: revision.to_owned(),
        webhook_suffixes: vec!["sidecar-injector.istio.io".to_owned()],
    };
    start(client, options, metrics, leading, supervisor, phase.watch());
    Rig { registry, requests, phase }
}

impl Rig {
    /// Samples of the metrics, without the buckets.
    fn samples(&self) -> String {
        let text = metrics::encode(&self.registry, Exposition::Classic).unwrap();
        let wanted = |line: &&str| {
            line.starts_with("apiserver_path_up") || line.starts_with("apiserver_path_failures")
        };
        text.lines().filter(wanted).collect::<Vec<_>>().join("\n").replace("{}", "")
    }

    async fn shows(&self, samples: &str) {
        until(samples, || self.samples() == samples).await;
    }
}

fn pod(revision: Option<&str>) -> Turn {
    let annotations = revision.map(|revision| {
        json!({"sidecar.istio.io/status": json!({"revision": revision, "initContainers": ["istio-init"]}).to_string()})
    });
    Turn::Answer(
        201,
        &[],
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "annotations": annotations}}),
    )
}

fn refused(code: u16, message: &str) -> Turn {
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message});
    Turn::Answer(code, &[], status)
}

#[tokio::test(start_paused = true)]
async fn a_pod_with_our_proxy_is_a_path_that_works() {
    let rig = rig("default", vec![pod(Some("default"))], None);
    assert_eq!(rig.samples(), "", "nothing is known before the first attempt");
    rig.shows("apiserver_path_up 1").await;
    let asked = rig.requests.all();
    assert!(asked[0].target.ends_with("/api/v1/namespaces/shop/pods?&dryRun=All"), "{}", asked[0].target);
    assert_eq!(asked[0].body["metadata"]["labels"], json!({"sidecar.istio.io/inject": "true"}));
    rig.phase.advance(Phase::Draining);
    rig.shows("").await;
}

#[tokio::test(start_paused = true)]
async fn failures_are_counted_by_class() {
    let call = format!(
        "Internal error occurred: failed calling webhook \"{OURS}\": failed to call webhook: Post \"https://a\": "
    );
    for (turn, class) in [
        (pod(None), "not-injected"),
        (pod(Some("canary")), "other-revision"),
        (
            refused(500, &format!("{call}x509: certificate signed by unknown authority")),
            "certificate-untrusted",
        ),
        (
            refused(500, &format!("{call}dial tcp 10.0.0.1:443: connect: connection refused")),
            "connection-refused",
        ),
        (refused(500, &format!("{call}context deadline exceeded")), "network-timeout"),
        (refused(500, &format!("{call}something new")), "webhook-error"),
        (
            refused(400, &format!("admission webhook \"{OURS}\" denied the request: annotation")),
            "webhook-error",
        ),
        (
            refused(
                500,
                "Internal error occurred: failed calling webhook \"other.example.com\": failed to call webhook: context deadline exceeded",
            ),
            "other-refusal",
        ),
        (refused(403, "pods \"a\" is forbidden: exceeded quota: few"), "other-refusal"),
        (
            refused(
                403,
                "pods is forbidden: User \"system:serviceaccount:a:b\" cannot create resource \"pods\"",
            ),
            "forbidden",
        ),
        (refused(404, "namespaces \"shop\" not found"), "other-refusal"),
        (refused(503, "the server is shutting down"), "api-server"),
        (Turn::Frozen, "network-timeout"),
    ] {
        let rig = rig("default", vec![turn], None);
        rig.shows(&format!("apiserver_path_up 0\napiserver_path_failures_total{{class=\"{class}\"}} 1"))
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_revision_is_asked_for_by_its_label() {
    let rig = rig("blue", vec![pod(Some("blue"))], None);
    rig.shows("apiserver_path_up 1").await;
    let labels: &Value = &rig.requests.all()[0].body["metadata"]["labels"];
    assert_eq!(*labels, json!({"sidecar.istio.io/inject": "true", "istio.io/rev": "blue"}));
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_tries() {
    let (leads, leading) = watch::channel(false);
    let rig = rig("default", vec![pod(Some("default")), pod(None)], Some(leading));
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!((rig.requests.all().len(), rig.samples().as_str()), (0, ""));
    leads.send_replace(true);
    rig.shows("apiserver_path_up 1").await;
    // A replica that no longer leads reports nothing; the next leader does.
    leads.send_replace(false);
    rig.shows("").await;
    assert_eq!(rig.requests.all().len(), 1);
}
