//! `outrigger tag`: a tag moves from one release to another while pods are created, and none of them is without a proxy.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    control_plane::{ControlPlane, Flavour, PATIENCE, eventually, settled, until},
    load::Creates,
    pods::dry_run,
    release::{Release, plain_pod},
};

/// How often the tag moves under load.
const MOVES: usize = 8;
/// Clients that create pods at the same time.
const CLIENTS: usize = 4;

/// The result of `outrigger tag …`: whether it succeeded, stdout and stderr.
async fn tag(control_plane: &ControlPlane, arguments: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.arg("tag").args(arguments).env("KUBECONFIG", control_plane.kubeconfig()).stdin(Stdio::null());
    let output =
        tokio::task::spawn_blocking(move || command.output()).await.expect("a run").expect("outrigger");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

async fn configuration(control_plane: &ControlPlane, name: &str) -> Value {
    let get = ["get", "mutatingwebhookconfiguration", name, "-o", "json"];
    serde_json::from_str(&control_plane.kubectl(&get).await).expect("JSON")
}

fn bundles(configuration: &Value) -> Vec<&str> {
    let webhooks = configuration["webhooks"].as_array().into_iter().flatten();
    webhooks.map(|webhook| webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default()).collect()
}

/// The revision whose proxy a pod of the namespace gets.
async fn revision(control_plane: &ControlPlane, namespace: &str) -> Result<String, String> {
    let pod = dry_run(&control_plane.client().await, namespace, &plain_pod("web")).await?;
    Ok(pod["metadata"]["annotations"]["istio.io/rev"].as_str().unwrap_or("none").to_owned())
}

async fn becomes(control_plane: &ControlPlane, namespace: &str, wanted: &str) {
    settled(&format!("pods of {namespace} get the proxy of {wanted}"), PATIENCE, async || {
        match revision(control_plane, namespace).await {
            Ok(found) if found == wanted => Ok(()),
            Ok(found) => Err(found),
            Err(error) => Err(error),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_moves_between_releases_and_no_pod_is_without_a_proxy() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    control_plane.create_namespace("tagged", &[("istio.io/rev", "prod")]).await;
    let mut stable = Release::install(&control_plane, "outrigger", &["webhook.movableTags={prod}"], 1).await;
    let values = ["revision=canary", "webhook.movableTags={prod}"];
    let canary = Release::without_replicas(&control_plane, "canary", "outrigger-system", &values).await;
    let (done, _, told) = tag(&control_plane, &["set", "prod", "--revision=canary"]).await;
    assert!(!done && told.contains("has no caBundle yet; wait until a replica is ready"), "{told}");
    let (done, _, told) = tag(&control_plane, &["set", "prod", "--revision=green"]).await;
    assert!(!done && told.contains("existing revisions:") && told.contains("canary"), "{told}");
    let mut canary = canary;
    canary.start_replica(&control_plane, 0, &[]).await;
    canary.balancer.wait_ready(1).await;

    let set = async |revision: &str, more: &[&str]| {
        let revision = format!("--revision={revision}");
        let arguments = [&["set", "prod", &revision][..], more].concat();
        eventually("the revision is active", PATIENCE, async || {
            let (done, told, why) = tag(&control_plane, &arguments).await;
            assert!(done || why.contains("wait until a replica is ready"), "{why}");
            done.then_some((told, why))
        })
        .await
    };
    let (told, warned) = set("default", &[]).await;
    assert_eq!(told, "tag prod: default (MutatingWebhookConfiguration outrigger-revision-tag-prod)\n");
    assert_eq!(warned, "", "the server keeps its caBundle");
    becomes(&control_plane, "tagged", "default").await;
    let (done, _, told) = tag(&control_plane, &["set", "prod", "--revision=canary"]).await;
    assert!(!done && told.contains("points to revision \"default\"; use --overwrite"), "{told}");
    let (done, _, told) = tag(&control_plane, &["set", "canary", "--revision=default"]).await;
    assert!(!done && told.contains("a revision has this name"), "{told}");
    let (done, _, told) = tag(&control_plane, &["set", "default", "--revision=canary"]).await;
    assert!(!done && told.contains("the revision without a name handles"), "{told}");

    // Under load, back and forth: at each moment one of the two revisions responds.
    set("canary", &["--overwrite"]).await;
    becomes(&control_plane, "tagged", "canary").await;
    let load = Creates::start(&control_plane, "tagged", CLIENTS).await;
    load.more(50, PATIENCE * 2).await;
    for round in 0..MOVES {
        let to = if round % 2 == 0 { "default" } else { "canary" };
        set(to, &["--overwrite"]).await;
        becomes(&control_plane, "tagged", to).await;
        load.more(50, PATIENCE * 2).await;
    }
    let tally = load.stop().await;
    tally.print(&format!("a tag that moved {MOVES} times"));
    tally.assert_flawless();

    // The revision that it points to manages its caBundle, and the other one leaves it alone.
    for (to, source) in
        [("default", "outrigger-sidecar-injector"), ("canary", "outrigger-sidecar-injector-canary")]
    {
        set(to, &["--overwrite"]).await;
        let empty = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]).to_string();
        let patch =
            ["patch", "mutatingwebhookconfiguration", "outrigger-revision-tag-prod", "--type=json", "-p"];
        control_plane.kubectl(&[&patch[..], &[&empty]].concat()).await;
        let wanted = configuration(&control_plane, source).await;
        until(&format!("{to} keeps the caBundle of the tag"), PATIENCE, async || {
            let found = configuration(&control_plane, "outrigger-revision-tag-prod").await;
            // The default revision has more entries than the tag; all of them trust the same CA.
            let wanted = bundles(&wanted)[0];
            bundles(&found).iter().all(|bundle| *bundle == wanted)
        })
        .await;
        becomes(&control_plane, "tagged", to).await;
    }

    let (_, told, _) = tag(&control_plane, &["list"]).await;
    let columns: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(columns[1], ["prod", "canary", "tagged", "outrigger", "tag"], "{told}");
    let (done, _, told) = tag(&control_plane, &["remove", "prod"]).await;
    assert!(!done && told.contains("is used by tagged"), "{told}");
    let (done, told, _) = tag(&control_plane, &["remove", "prod", "--force"]).await;
    assert!(done, "{told}");
    becomes(&control_plane, "tagged", "none").await;
    for release in [&mut stable, &mut canary] {
        release.replicas[0].terminate().await;
    }
}

// A tag created by the chart is taken over, and the release that no longer contains it leaves it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_of_a_release_is_taken_over_without_a_gap() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    control_plane.create_namespace("tagged", &[("istio.io/rev", "prod")]).await;
    let stable = Release::install(&control_plane, "outrigger", &["revisionTags={prod}"], 1).await;
    let _canary = Release::install(&control_plane, "canary", &["revision=canary"], 1).await;
    becomes(&control_plane, "tagged", "default").await;
    let load = Creates::start(&control_plane, "tagged", CLIENTS).await;
    let (done, _, told) = tag(&control_plane, &["set", "prod", "--revision=canary"]).await;
    assert!(!done && told.contains("was created by Helm release outrigger"), "{told}");
    eventually("the revision is active", PATIENCE, async || {
        let (done, _, told) = tag(&control_plane, &["set", "prod", "--revision=canary", "--overwrite"]).await;
        assert!(done || told.contains("wait until a replica is ready"), "{told}");
        done.then_some(told)
    })
    .await;
    becomes(&control_plane, "tagged", "canary").await;
    stable.helm(&control_plane, "upgrade", &["revisionTags=null"]).await.expect("helm upgrade");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(revision(&control_plane, "tagged").await.as_deref(), Ok("canary"));
    load.more(50, PATIENCE * 2).await;
    let tally = load.stop().await;
    tally.print("a tag of a release that is taken over");
    tally.assert_flawless();
}
