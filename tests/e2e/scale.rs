//! A large cluster: 20,000 namespaces and 5,000 nodes.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use kube::Client;
use serde_json::{Value, json};

use super::{
    configuration::{by_bundle, prepared, write_bundle},
    control_plane::{Component, ControlPlane, PATIENCE, until},
    install::Serving,
    outrigger_process::OutriggerProcess,
    reviewer::Load,
};

const NAMESPACES: usize = 20_000;
const NODES: usize = 5_000;
const AT_ONCE: usize = 32;
/// Memory limit of the whole process.
/// For a release build. A debug build takes 20 MiB more before it knows anything.
const MEMORY: u64 = 35 << 20;

async fn create(client: &Client, path: &str, object: Value) {
    let request = hyper::Request::post(path)
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes())
        .expect("a request");
    client.request::<Value>(request).await.expect("an object");
}

/// A namespace as OpenShift has them.
fn namespace(number: usize) -> Value {
    let first = 1_000_000_000 + number * 10_000;
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": format!("team-{number}"),
            "labels": {"istio-injection": "enabled", "team": format!("team-{number}"), "cost-center": "4711"},
            "annotations": {
                "openshift.io/sa.scc.uid-range": format!("{first}/10000"),
                "openshift.io/sa.scc.supplemental-groups": format!("{first}/10000"),
                "openshift.io/sa.scc.mcs": "s0:c27,c9",
                "description": "a namespace of one of many teams, with a sentence that says what it is for",
            },
        },
    })
}

/// A node with as many images as kubelets report by default.
fn node(number: usize) -> Value {
    let images: Vec<Value> = (0..50)
        .map(|image| {
            let name = format!("registry.example.com/team-{image}/service-{image}");
            json!({"names": [format!("{name}@sha256:{image:064}"), format!("{name}:v1.{image}")], "sizeBytes": 123_456_789})
        })
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": format!("node-{number}"),
            "labels": {"kubernetes.io/arch": "amd64", "topology.kubernetes.io/zone": format!("zone-{}", number % 3)},
        },
        "status": {"images": images, "nodeInfo": {
            "kubeletVersion": "v1.33.4", "architecture": "amd64", "bootID": "b", "containerRuntimeVersion": "c",
            "kernelVersion": "k", "kubeProxyVersion": "", "machineID": "m", "operatingSystem": "linux", "osImage": "o",
            "systemUUID": "s",
        }},
    })
}

async fn populate(control_plane: &ControlPlane) {
    let client = control_plane.client().await;
    let began = Instant::now();
    stream::iter(0..NAMESPACES)
        .for_each_concurrent(AT_ONCE, |number| create(&client, "/api/v1/namespaces", namespace(number)))
        .await;
    stream::iter(0..NODES)
        .for_each_concurrent(AT_ONCE, |number| create(&client, "/api/v1/nodes", node(number)))
        .await;
    println!("{NAMESPACES} namespaces and {NODES} nodes in {:?}", began.elapsed());
}

/// Peak of the memory in use, without the pages of the program itself: the kernel can take those back, and a debug build has many.
fn peak(pid: u32) -> u64 {
    let file = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(Path::new(&file)).expect("a process");
    let kibibytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("kibibytes")
    };
    (kibibytes("VmHWM:") - kibibytes("RssFile:")) * 1024
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

async fn known(outrigger: &mut OutriggerProcess) -> Duration {
    let ready = outrigger.wait_ready().await;
    let body = outrigger.readyz().await.expect("the admin port").body;
    assert!(body.contains(&format!("[+]namespaces ok: {NAMESPACES} namespaces")), "{body}");
    assert!(body.contains(&format!("[+]nodes ok: {NODES} nodes")), "{body}");
    ready
}

/// K-10, K-06: everything fits into 35 MiB besides the program, at startup and when it is listed again, and requests are not affected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_cluster_fits_into_little_memory() {
    let (mut control_plane, kubeconfig) = prepared(&[]).await;
    let serving = Serving::new(&control_plane);
    write_bundle(&control_plane, "").await;
    let idle = by_bundle(&serving, &kubeconfig).start().await;
    println!("idle: {:.1} MiB", mebibytes(idle.rss()));
    drop(idle);
    populate(&control_plane).await;
    write_bundle(&control_plane, "platform: openshift").await;
    let mut outrigger = by_bundle(&serving, &kubeconfig).spawn();
    let ready = known(&mut outrigger).await;
    println!(
        "ready after {ready:?}: {:.1} MiB, peak {:.1} MiB",
        mebibytes(outrigger.rss()),
        mebibytes(peak(outrigger.pid()))
    );
    assert!(peak(outrigger.pid()) <= MEMORY, "{:.1} MiB", mebibytes(peak(outrigger.pid())));

    // K-06: changes during our absence, and an API server that has forgotten our resource version: everything is listed
    // again.
    let lists = [r#"verb="list""#, r#"resource="namespaces""#];
    let listed = outrigger.metric("outrigger_kube_api_requests_total", &lists).await;
    outrigger.signal("STOP");
    create(&control_plane.client().await, "/api/v1/namespaces", namespace(NAMESPACES)).await;
    control_plane.kubectl(&["delete", "namespace", "team-0", "--wait=false"]).await;
    control_plane.restart(Component::ApiServer).await;
    outrigger.signal("CONT");
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "web"}]}});
    let load = Load::start(outrigger.webhook_port(), &serving.authority, 1, &pod, |answered, _| {
        answered.response["allowed"].to_string()
    })
    .await;
    until("all is listed again", PATIENCE, async || {
        outrigger.metric("outrigger_kube_api_requests_total", &lists).await >= 2.0 * listed
            && outrigger.metric("outrigger_watch_connected", &[]).await == 4.0
    })
    .await;
    until("nothing was missed", PATIENCE, async || {
        let body = outrigger.readyz().await.expect("the admin port").body;
        body.contains(&format!("[+]namespaces ok: {NAMESPACES} namespaces"))
    })
    .await;
    let tally = load.end().await;
    println!(
        "listed again: {:.1} MiB, peak {:.1} MiB; {} answers, 99 % in {:?}, slowest {:?}",
        mebibytes(outrigger.rss()),
        mebibytes(peak(outrigger.pid())),
        tally.count(),
        tally.within(0.99),
        tally.within(1.0),
    );
    assert!(peak(outrigger.pid()) <= MEMORY, "{:.1} MiB", mebibytes(peak(outrigger.pid())));
}
