//! The watches: an API server that freezes, starts late, restarts and rejects requests.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use outrigger::server::{
    Server,
    configuration::{
        cluster::{self, ConfigMaps, Timings},
        selection::Selection,
    },
    kube::client::Access,
    options::{Certificate, Options, Origin},
};

use super::{
    configuration::{
        DEFINITION, OWN, by_bundle, grant, is_native, marks, pod, prepared, revoke, write_bundle,
    },
    control_plane::{Component, PATIENCE, until},
    install::Serving,
    outrigger_process::{OutriggerProcess, get},
    pods::is_injected,
    reviewer::{Load, Reviewer},
};

/// A server in this process, with short timeouts.
pub struct Short {
    /// The server.
    pub server: Server,
}

impl Short {
    /// Starts it and waits until it is ready.
    pub async fn start(serving: &Serving, kubeconfig: &Path, timings: Timings) -> Short {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let watched = cluster::Options {
            workload_events: false,
            config_maps: ConfigMaps::Bundle {
                namespace: OWN.to_owned(),
                name: "outrigger".to_owned(),
                revision: "default".to_owned(),
            },
            proxy_configs: true,
            nodes: true,
            selection: Selection::Verify,
            identity: "short".to_owned(),
            timings,
        };
        let options = Options {
            listen: loopback,
            admin: loopback,
            certificate: Certificate::Files { chain: serving.certificate.clone(), key: serving.key.clone() },
            configuration: Origin::Cluster(Box::new(watched)),
            access: Access { kubeconfig: Some(kubeconfig.to_owned()), context: None },
            ..Options::default()
        };
        let server = Server::start(options).await.expect("a server");
        tokio::time::timeout(PATIENCE, server.handle().ready()).await.expect("it is ready");
        Short { server }
    }

    /// The answer of the admin port.
    pub async fn admin(&self, path: &str) -> String {
        get(self.server.admin_address().port(), path).await.expect("the admin port").body
    }

    /// Whether the metrics have this line.
    pub async fn has_metric(&self, line: &str) -> bool {
        self.admin("/metrics").await.lines().any(|found| found == line)
    }
}

/// K-03, K-07: a frozen API server is detected in bounded time; pods are not affected; afterwards everything recovers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_api_server_is_noticed_and_changes_nothing() {
    let (mut control_plane, kubeconfig) = prepared(&[]).await;
    let serving = Serving::new(&control_plane);
    write_bundle(&control_plane, "").await;
    let timings = Timings {
        watch: Duration::from_secs(2),
        answer: Duration::from_secs(1),
        retry_longest: Duration::from_secs(1),
        ..Timings::default()
    };
    let short = Short::start(&serving, &kubeconfig, timings).await;
    let port = short.server.webhook_address().port();
    let load = Load::start(port, &serving.authority, 1, &pod(), marks).await;
    let connected = r#"outrigger_watch_connected{resource="configmap-bundle"}"#;
    assert!(short.has_metric(&format!("{connected} 1")).await);
    control_plane.freeze(Component::ApiServer);
    let frozen = Instant::now();
    until("it is noticed", PATIENCE, async || short.has_metric(&format!("{connected} 0")).await).await;
    println!("noticed after {:?}", frozen.elapsed());
    let ready = short.admin("/readyz?verbose").await;
    assert!(ready.contains("readyz check passed"), "{ready}");
    assert!(ready.contains("did not respond within 1 s; using the last known state"), "{ready}");
    control_plane.thaw(Component::ApiServer);
    until("all is well", PATIENCE, async || {
        short.has_metric(&format!("{connected} 1")).await
            && !short.admin("/readyz?verbose").await.contains("[!]")
    })
    .await;
    let before = short.admin("/metrics").await;
    write_bundle(&control_plane, "compliancePolicy: fips-140-3").await;
    until("a change is seen", PATIENCE, async || short.has_metric("outrigger_config_generation 2").await)
        .await;
    // Every request from now on gets a response from the new one.
    let mut reviewer = Reviewer::connect(port, &serving.authority).await;
    let now = reviewer.review("shop", &pod()).await;
    let tally = load.end().await;
    let old = tally.answers.keys().filter(|answer| !answer.contains(now.hash())).count();
    assert!(!now.hash().is_empty() && old == 1 && tally.answers.len() <= 2, "{:?}", tally.answers);
    assert!(before.contains("outrigger_config_generation 1"));
}

/// K-01, K-02: a server that is started first waits; one whose API server is restarted continues.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_may_come_later_and_come_again() {
    let (mut control_plane, kubeconfig) = prepared(&[]).await;
    let serving = Serving::new(&control_plane);
    write_bundle(&control_plane, "").await;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    control_plane.kill(Component::ApiServer);
    let mut outrigger = by_bundle(&serving, &kubeconfig).spawn();
    until("it says what it waits for", PATIENCE, async || {
        outrigger.readyz().await.is_some_and(|ready| {
            ready.status == 503
                && ready.body.contains(
                    "[-]configmap-bundle failed: cannot list configmaps outrigger-system/outrigger:",
                )
                && ready.body.contains("[-]nodes failed: cannot list nodes:")
        })
    })
    .await;
    control_plane.restart(Component::ApiServer).await;
    let up = Instant::now();
    outrigger.wait_ready().await;
    println!("ready {:?} after the API server", up.elapsed());
    let load = Load::start(outrigger.webhook_port(), &serving.authority, 1, &pod(), marks).await;
    control_plane.kill(Component::ApiServer);
    outrigger.wait_metric("outrigger_watch_connected", &[], |connected| connected == 0.0).await;
    control_plane.restart(Component::ApiServer).await;
    let up = Instant::now();
    write_bundle(&control_plane, "compliancePolicy: fips-140-3").await;
    outrigger.wait_metric("outrigger_config_generation", &[], |value| value == 2.0).await;
    println!("up to date {:?} after the API server", up.elapsed());
    outrigger.wait_metric("outrigger_watch_connected", &[], |connected| connected == 4.0).await;
    let tally = load.end().await;
    assert_eq!(tally.answers.len(), 2, "{:?}", tally.answers);
    let asked = outrigger.metric("outrigger_kube_api_requests_total", &[]).await;
    println!("{} answers, {asked} requests to the API server", tally.count());
    assert!(asked < 200.0, "no storm");
}

/// O-01, O-11, O-12: missing permissions are reported; those that the server can do without do not keep it from
/// serving; a permission that is granted later is used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_that_are_missing_are_named() {
    let (control_plane, kubeconfig) = prepared(&["config-maps", "nodes", "proxy-configs"]).await;
    let serving = Serving::new(&control_plane);
    write_bundle(&control_plane, "").await;
    control_plane.create_node("node-1", "v1.33.1").await;
    control_plane.apply(DEFINITION).await;
    let mut outrigger = by_bundle(&serving, &kubeconfig).spawn();
    let said = async |outrigger: &OutriggerProcess, line: &str| {
        until(line, PATIENCE, async || {
            // What is still known of the check may follow in parentheses.
            let is_said = |found: &str| {
                found.strip_prefix(line).is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
            };
            outrigger.readyz().await.is_some_and(|ready| ready.body.lines().any(is_said))
        })
        .await;
    };
    said(
        &outrigger,
        r#"[-]configmap-bundle failed: may not list configmaps outrigger-system/outrigger: the role lacks "list" on "configmaps""#,
    )
    .await;
    said(&outrigger, r#"[!]nodes may not list nodes: the role lacks "list" on "nodes""#).await;
    said(&outrigger, r#"[!]proxyconfigs may not list proxyconfigs: the role lacks "list" on "proxyconfigs""#)
        .await;
    grant(&control_plane, "config-maps").await;
    outrigger.wait_ready().await;
    let mut reviewer = Reviewer::connect(outrigger.webhook_port(), &serving.authority).await;
    let mut native = async || {
        let pod = pod();
        let pod = reviewer.review("shop", &pod).await.patched(&pod);
        assert!(is_injected(&pod));
        is_native(&pod)
    };
    assert!(!native().await, "nodes are not known");
    grant(&control_plane, "nodes").await;
    grant(&control_plane, "proxy-configs").await;
    said(&outrigger, "[+]nodes ok: 1 nodes, 1 kubelet versions").await;
    said(&outrigger, "[+]proxyconfigs ok: 0 ProxyConfig resources").await;
    assert!(native().await, "nodes are known");
    revoke(&control_plane, "nodes").await;
    assert!(native().await, "what was known is known");

    // No request lacks a permission: each rejection is one of the three.
    let refused: Vec<String> = control_plane
        .audit()
        .iter()
        .filter(|entry| entry["user"]["username"] == "system:serviceaccount:outrigger-system:outrigger")
        .filter(|entry| entry["responseStatus"]["code"] == 403)
        .map(|entry| format!("{} {}", entry["verb"], entry["objectRef"]["resource"]))
        .collect();
    for refusal in &refused {
        assert!(
            ["configmaps", "nodes", "proxyconfigs"].iter().any(|known| refusal.contains(known)),
            "{refusal}"
        );
    }
}
