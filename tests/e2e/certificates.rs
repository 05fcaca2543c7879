//! Our own CA, certificate and caBundle: at no time is the served certificate untrusted by an API server.
//!
//! outrigger runs with its own ServiceAccount and exactly the documented permissions.

mod faults;
mod scene;

use std::time::{Duration, Instant};

use serde_json::json;

use self::scene::{Load, REPAIRED, Scene, other_ca};
use super::{
    balancer::{Balancer, Probe},
    control_plane::{Component, Flavour, PATIENCE, eventually, settled, until},
    install::Reach,
};

const CONFIGURATION: &str = "outrigger-sidecar-injector";

async fn the_ca_bundle_is_kept(flavour: Flavour) {
    let scene = Scene::set(flavour).await;
    let mut outrigger = scene.outrigger("one").start().await;
    scene.install(CONFIGURATION, &Reach::service_of(&outrigger)).await;
    scene.wait_in_sync(&outrigger, CONFIGURATION).await;
    scene.wait_injected().await;

    let mut took = Vec::new();
    for (what, value) in [("emptied", ""), ("garbage", "Z2FyYmFnZQ=="), ("a line break", "Cg==")] {
        scene.set_ca_bundle(CONFIGURATION, 0, value).await;
        took.push((what, scene.wait_repaired(CONFIGURATION).await));
    }
    // A lenient parser would find our CA in it; an API server finds nothing.
    let indented = scene.indented(CONFIGURATION).await;
    scene.set_ca_bundle(CONFIGURATION, 0, &indented).await;
    took.push(("indented", scene.wait_repaired(CONFIGURATION).await));
    // Entries are matched by name at any position, and their order does not change.
    scene.reorder(CONFIGURATION).await;
    let order = scene.webhook_names(CONFIGURATION).await;
    scene.set_ca_bundle(CONFIGURATION, 1, "").await;
    took.push(("emptied after a change of the order", scene.wait_repaired(CONFIGURATION).await));
    assert_eq!(scene.webhook_names(CONFIGURATION).await, order);
    let others = scene.webhook(CONFIGURATION, "vault.hashicorp.com").await;
    assert_eq!(others["clientConfig"], json!({"url": "https://127.0.0.1:1/mutate"}));
    assert_eq!(scene.owned_fields(CONFIGURATION).await, ["f:caBundle"]);
    println!("{flavour:?}: repaired after {took:?}");
    assert!(took.iter().all(|(_, took)| *took <= REPAIRED), "{took:?}");

    // Removed rules are restored; from then on they are ours, and those of others stay theirs.
    scene.take_rules(CONFIGURATION, 0).await;
    scene.wait_active(CONFIGURATION).await;
    scene.set_ca_bundle(CONFIGURATION, 0, "").await;
    scene.wait_repaired(CONFIGURATION).await;
    scene.wait_active(CONFIGURATION).await;
    assert_eq!(scene.owned_fields(CONFIGURATION).await, ["f:caBundle", "f:rules"]);

    // More than our CA: it works, and belongs to another manager.
    let more = scene.bundle_and(&other_ca()).await;
    scene.set_ca_bundle(CONFIGURATION, 0, &more).await;
    scene.wait_remark(&outrigger, "contains CAs besides ours, set by e2e-somebody").await;
    assert_eq!(scene.ca_bundle(CONFIGURATION, 0).await, more);
    assert_eq!(outrigger.metric("outrigger_ca_bundle_in_sync", &[]).await, 1.0);
    // A foreign CA: we do not fight over it.
    let theirs = other_ca();
    scene.set_ca_bundle(CONFIGURATION, 0, &theirs).await;
    scene.wait_remark(&outrigger, "does not hold our CA and is maintained by e2e-somebody").await;
    assert_eq!(scene.ca_bundle(CONFIGURATION, 0).await, theirs);
    assert_eq!(outrigger.metric("outrigger_ca_bundle_in_sync", &[]).await, 0.0);
    scene.wait_event("CaBundleConflict").await;
    let writes = outrigger.metric("outrigger_ca_bundle_writes_total", &[]).await;
    scene.label(CONFIGURATION, "touched=yes").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(outrigger.metric("outrigger_ca_bundle_writes_total", &[]).await, writes);
    assert_eq!(outrigger.readyz().await.expect("an answer").status, 200);
    // Emptied, it is handed over with its previous content: holders of such certificates may still serve.
    scene.set_ca_bundle(CONFIGURATION, 0, "").await;
    scene.wait_union(CONFIGURATION, 0, &theirs).await;
    scene.wait_in_sync(&outrigger, CONFIGURATION).await;
    // Emptied again, it contains only our CA.
    scene.set_ca_bundle(CONFIGURATION, 0, "").await;
    scene.wait_repaired(CONFIGURATION).await;
    scene.wait_in_sync(&outrigger, CONFIGURATION).await;

    // O-02: never created, and used once it exists again.
    scene.delete(CONFIGURATION).await;
    scene.wait_remark(&outrigger, &format!("{CONFIGURATION} is missing")).await;
    let body = outrigger.readyz().await.expect("an answer").body;
    assert!(!body.contains("[+]ca-bundle") && body.contains("[!]ca-bundle "), "{body}");
    // No caBundle is wrong in that case: there is none, and no metric series reports one.
    let metrics = outrigger.metrics().await;
    assert!(!metrics.contains("outrigger_ca_bundle_in_sync{"), "{metrics}");
    assert!(metrics.contains("outrigger_webhook_configuration_present{"), "{metrics}");
    assert_eq!(outrigger.metric("outrigger_webhook_configuration_present", &[]).await, 0.0);
    scene.install(CONFIGURATION, &Reach::url_of(&outrigger)).await;
    scene.wait_repaired(CONFIGURATION).await;
    scene.wait_in_sync(&outrigger, CONFIGURATION).await;
    outrigger.terminate().await;
}

// T-07, T-08, O-02, O-03
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ca_bundle_of_our_webhooks_is_kept_and_nothing_else() {
    the_ca_bundle_is_kept(Flavour::Current).await;
}

// T-07, T-08, O-02, O-03
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_api_server_lets_the_ca_bundle_be_kept() {
    the_ca_bundle_is_kept(Flavour::Oldest).await;
}

// O-04
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_undoes_repairs_again_and_again_is_not_fought() {
    let scene = Scene::set(Flavour::Current).await;
    let outrigger = scene.outrigger("one").start().await;
    scene.install(CONFIGURATION, &Reach::service_of(&outrigger)).await;
    scene.wait_in_sync(&outrigger, CONFIGURATION).await;
    let before = outrigger.metric("outrigger_ca_bundle_writes_total", &[]).await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(15) {
        scene.set_ca_bundle(CONFIGURATION, 0, "").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let writes = outrigger.metric("outrigger_ca_bundle_writes_total", &[]).await - before;
    println!("{writes} repairs in 15 s against somebody who undoes them at once");
    assert!((5.0..=10.0).contains(&writes), "{writes}");
    scene.wait_remark(&outrigger, "keeps being changed").await;
}

// T-18
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_at_once_agree_on_one_ca() {
    const ROUNDS: usize = 20;
    const REPLICAS: usize = 5;
    let scene = Scene::set(Flavour::Current).await;
    let mut slowest = Duration::ZERO;
    let mut cas = std::collections::BTreeSet::new();
    for _ in 0..ROUNDS {
        let mut replicas: Vec<_> =
            (0..REPLICAS).map(|at| scene.outrigger(&format!("replica-{at}")).spawn()).collect();
        for replica in &mut replicas {
            slowest = slowest.max(replica.wait_ready().await);
        }
        let secret = scene.secret().await;
        assert_eq!(secret.cas(), 1);
        for replica in &replicas {
            // The handshake is verified against the Secret's CA.
            assert_eq!(scene.served(replica, &secret).await, Ok(secret.leaf()));
        }
        cas.insert(secret.text("ca.crt"));
        let mut leaders = 0.0;
        for replica in &replicas {
            leaders += replica.metric("outrigger_leader", &[]).await;
        }
        assert!(leaders <= 1.0, "{leaders} leaders");
        drop(replicas);
        scene.forget().await;
    }
    let created = scene.created_secrets();
    println!(
        "{ROUNDS} starts of {REPLICAS} replicas: {} CAs, {created} Secrets, slowest ready after {slowest:?}",
        cas.len()
    );
    assert_eq!((cas.len(), created), (ROUNDS, ROUNDS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rotation_has_its_event() {
    let scene = Scene::set(Flavour::Current).await;
    let _outrigger = scene.outrigger("one").start().await;
    const ROTATIONS: u64 = 3;
    for _ in 0..ROTATIONS {
        let before = scene.secret().await;
        scene.rotate("leaf").await;
        scene.wait_secret(|secret| secret.leaf() != before.leaf()).await;
    }
    scene.wait_events("CertificateIssued", "it was requested", ROTATIONS).await;
}

// T-03, T-06
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotations_fail_no_pod() {
    const LEAVES: usize = 100;
    const OVERLAP: &str = "3s";
    let scene = Scene::set(Flavour::Current).await;
    let balancer = Balancer::start(Probe::default()).await;
    // Connections are closed continuously, so that every certificate is used in handshakes.
    let outrigger =
        |name| scene.outrigger(name).flag("ca-overlap", OVERLAP).flag("max-connection-age", "200ms");
    let replicas = [outrigger("one").start().await, outrigger("two").start().await];
    for (name, replica) in ["one", "two"].iter().zip(&replicas) {
        balancer.add(name, replica);
    }
    balancer.wait_ready(2).await;
    // By the Service (HTTP/1.1) and by URL (HTTP/2): every pod passes both.
    scene.install(CONFIGURATION, &Reach::Service(balancer.port())).await;
    scene.install(scene::SECOND, &Reach::url_of(&replicas[1])).await;
    let leader = scene.leader(&replicas).await;
    for name in [CONFIGURATION, scene::SECOND] {
        scene.wait_in_sync(leader, name).await;
    }
    scene.wait_injected().await;

    let load = Load::start(&scene, 4).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..LEAVES {
        let before = scene.secret().await;
        scene.rotate("leaf").await;
        let after = scene.wait_secret(|secret| secret.leaf() != before.leaf()).await;
        assert_eq!(after.text("ca.crt"), before.text("ca.crt"));
        let written = Instant::now();
        for replica in &replicas {
            until("new handshakes get the new certificate", PATIENCE, async || {
                scene.served(replica, &after).await == Ok(after.leaf())
            })
            .await;
        }
        slowest = slowest.max(written.elapsed());
    }
    let leaves = load.counts();
    println!("{LEAVES} leaves: {leaves:?}; new handshakes get the new certificate within {slowest:?}");
    assert!(slowest <= Duration::from_secs(1), "{slowest:?}");

    let before = scene.secret().await;
    // Before the request: the server may begin before the command that makes it has ended.
    let began = Instant::now();
    scene.rotate("ca").await;
    let both = scene.wait_secret(|secret| secret.cas() == 2).await;
    assert_eq!(both.leaf(), before.leaf(), "leaves do not move before the new CA is trusted");
    let moved = scene.wait_secret(|secret| secret.leaf() != before.leaf()).await;
    assert!(began.elapsed() >= Duration::from_secs(3), "the overlap is waited for");
    assert_eq!(moved.cas(), 2, "the old CA is trusted while its leaves may be served");
    let done = scene.wait_secret(|secret| secret.cas() == 1).await;
    assert!(began.elapsed() >= Duration::from_secs(6), "the overlap is waited for twice");
    assert!(!before.text("ca.crt").contains(&done.text("ca.crt")) && done.annotations().is_empty());
    for name in [CONFIGURATION, scene::SECOND] {
        scene.wait_repaired(name).await;
        scene.wait_in_sync(leader, name).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let counts = load.stop().await;
    println!("{LEAVES} leaves and one CA: {counts:?} in all; the CA took {:?}", began.elapsed());
    assert_eq!(counts.failed, 0, "{:?}", counts.first);
    assert!(counts.created >= 500, "{counts:?}");
    assert_eq!(scene.rejections().await, 0.0);
}

// T-01, T-06
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_lives_are_renewed_in_time_by_themselves() {
    let scene = Scene::set(Flavour::Current).await;
    let outrigger = scene
        .outrigger("one")
        .flag("ca-lifetime", "36s")
        .flag("leaf-lifetime", "10s")
        .flag("ca-overlap", "2s")
        .start()
        .await;
    scene.install(CONFIGURATION, &Reach::service_of(&outrigger)).await;
    scene.wait_in_sync(&outrigger, CONFIGURATION).await;
    scene.wait_injected().await;
    let load = Load::start(&scene, 2).await;
    let first = scene.secret().await;
    let within = Duration::from_secs(60);
    settled("the CA was rotated by itself", within, async || {
        let secret = scene.secret().await;
        let other = secret.cas() == 1 && secret.text("ca.crt") != first.text("ca.crt");
        other.then_some(()).ok_or_else(|| outrigger.log())
    })
    .await;
    let counts = load.stop().await;
    let leaves = outrigger.metric("outrigger_certificate_changes_total", &[r#"change="leaf""#]).await;
    println!("{leaves} leaves and one CA by time: {counts:?}");
    assert!(leaves >= 2.0 && counts.created > 100, "{leaves} {counts:?}");
    assert_eq!(counts.failed, 0, "{:?}", counts.first);
}

// T-01
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_renewed_says_so_before_it_ends() {
    let mut scene = Scene::set(Flavour::Current).await;
    let mut outrigger = scene.outrigger("one").flag("leaf-lifetime", "18s").start().await;
    let started = Instant::now();
    scene.control_plane.freeze(Component::ApiServer);
    scene.wait_remark(&outrigger, "and was not renewed").await;
    let warned = started.elapsed();
    assert_eq!(outrigger.readyz().await.expect("an answer").status, 200);
    outrigger.wait_line("it is about to end", |line| line.contains("certificate is about to expire")).await;
    until("it has ended", PATIENCE, async || {
        outrigger.readyz().await.is_some_and(|answer| answer.status == 503)
    })
    .await;
    println!("18 s: warned after {warned:?}, not ready after {:?}", started.elapsed());
    assert!((14..18).contains(&warned.as_secs()) && started.elapsed() >= Duration::from_secs(17));
    scene.control_plane.thaw(Component::ApiServer);
    until("it is ready again", PATIENCE, async || {
        outrigger
            .readyz()
            .await
            .is_some_and(|answer| answer.status == 200 && !answer.body.contains("renewed"))
    })
    .await;
    let secret = scene.secret().await;
    assert_eq!(scene.served(&outrigger, &secret).await, Ok(secret.leaf()));
}

// K-01, K-02
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_comes_later_is_waited_for() {
    let mut scene = Scene::set(Flavour::Current).await;
    scene.control_plane.kill(Component::ApiServer);
    let mut outrigger = scene.outrigger("one").spawn();
    scene.wait_remark(&outrigger, "certificate failed: cannot list secret").await;
    scene.control_plane.restart(Component::ApiServer).await;
    outrigger.wait_ready().await;
    let secret = scene.secret().await;
    scene.control_plane.restart(Component::ApiServer).await;
    assert_eq!(scene.served(&outrigger, &secret).await, Ok(secret.leaf()));
    scene.rotate("leaf").await;
    scene.wait_secret(|found| found.leaf() != secret.leaf()).await;
}

// T-16
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_secret_is_made_again_with_what_was_in_it() {
    let scene = Scene::set(Flavour::Current).await;
    let mut replicas = vec![scene.outrigger("one").start().await, scene.outrigger("two").start().await];
    let before = scene.secret().await;
    scene.delete_secret().await;
    let after = scene.wait_secret(|secret| secret.uid() != before.uid()).await;
    assert_eq!(after.data(), before.data());
    scene.wait_event("CertificateSecretRestored").await;
    // Without a leader, a replica that remembers does it.
    let leader =
        replicas.iter().position(|replica| replica.log().contains("became leader")).expect("a leader");
    replicas.remove(leader).kill();
    scene.delete_secret().await;
    let again = scene.wait_secret(|secret| secret.uid() != after.uid()).await;
    assert_eq!(again.data(), before.data());
    assert_eq!(scene.served(&replicas[0], &again).await, Ok(before.leaf()));
}

// T-16
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_somebody_broke_is_put_right() {
    let scene = Scene::set(Flavour::Current).await;
    let outrigger = scene.outrigger("one").start().await;
    let before = scene.secret().await;
    for (key, value) in [("ca.crt", json!("Z2FyYmFnZQ==")), ("tls.crt", json!("")), ("ca.key", json!(null))] {
        scene.patch_secret(json!({"data": {key: value}})).await;
        let after = scene.wait_secret(|secret| secret.data() == before.data()).await;
        assert_eq!(scene.served(&outrigger, &after).await, Ok(before.leaf()), "{key}");
    }
}

// T-17
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_secret_is_never_overwritten() {
    let scene = Scene::set(Flavour::Current).await;
    let foreign = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": scene::SECRET, "namespace": "outrigger-system"},
        "stringData": {"password": "theirs"},
    });
    scene.control_plane.apply(&foreign.to_string()).await;
    let before = scene.secret().await;
    let mut outrigger = scene.outrigger("one").spawn();
    let label = "found no label outrigger.dev/certificate=controller";
    outrigger.wait_line("the Secret is foreign", move |line| line.contains(label)).await;
    scene.wait_event("CertificateSecretForeign").await;
    let answer = outrigger.readyz().await.expect("an answer");
    assert!(answer.status == 503 && answer.body.contains(label), "{answer:?}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(scene.secret().await.version(), before.version());
    // Once it is out of the way, ours is created.
    scene.delete_secret().await;
    outrigger.wait_ready().await;
    // And if it is taken over later, the served certificate stays.
    let ours = scene.secret().await;
    scene.patch_secret(json!({"metadata": {"labels": {"outrigger.dev/certificate": null}}})).await;
    scene.wait_remark(&outrigger, label).await;
    scene.rotate("leaf").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(scene.secret().await.data(), ours.data());
    assert_eq!(scene.served(&outrigger, &ours).await, Ok(ours.leaf()));
    let answer = outrigger.readyz().await.expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(outrigger.metric("outrigger_certificate_secret_usable", &[]).await, 0.0);
    scene.patch_secret(json!({"metadata": {"labels": {"outrigger.dev/certificate": "controller"}}})).await;
    scene.wait_secret(|secret| secret.leaf() != ours.leaf()).await;
    until("the remark goes away", PATIENCE, async || {
        !outrigger.readyz().await.is_some_and(|answer| answer.body.contains(label))
    })
    .await;
}

// O-09, L-01
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_takes_the_lead() {
    let scene = Scene::set(Flavour::Current).await;
    let mut replicas = vec![
        scene.outrigger("a").start().await,
        scene.outrigger("b").start().await,
        scene.outrigger("c").start().await,
    ];
    let reach = Reach::service_of(&replicas[0]);
    scene.install(CONFIGURATION, &reach).await;
    let mut took = Vec::new();
    for orderly in [true, false] {
        let at = scene.leader_place(&replicas).await;
        scene.wait_in_sync(&replicas[at], CONFIGURATION).await;
        let mut leader = replicas.remove(at);
        let start = Instant::now();
        if orderly {
            leader.signal("TERM");
        } else {
            leader.kill();
        }
        let next = scene.leader_place(&replicas).await;
        took.push(start.elapsed());
        scene.set_ca_bundle(CONFIGURATION, 0, "").await;
        scene.wait_repaired(CONFIGURATION).await;
        scene.wait_in_sync(&replicas[next], CONFIGURATION).await;
        drop(leader);
    }
    println!("another replica leads after {:?} in good order, {:?} after a kill", took[0], took[1]);
    assert!(took[0] <= Duration::from_secs(2) && took[1] <= Duration::from_secs(20), "{took:?}");
}

// K-03, K-04
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_is_frozen_costs_the_lead_and_nothing_else() {
    let mut scene = Scene::set(Flavour::Current).await;
    let outrigger = scene.outrigger("one").start().await;
    let secret = scene.secret().await;
    scene.leader_place(std::slice::from_ref(&outrigger)).await;
    for component in [Component::ApiServer, Component::Etcd] {
        let start = Instant::now();
        scene.control_plane.freeze(component);
        eventually("it leads no more", PATIENCE, async || {
            (outrigger.metric("outrigger_leader", &[]).await == 0.0).then_some(())
        })
        .await;
        println!("{component:?} frozen: the lead is given up after {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(15), "others may take the lead after 15 s");
        assert_eq!(scene.served(&outrigger, &secret).await, Ok(secret.leaf()));
        assert_eq!(outrigger.readyz().await.expect("an answer").status, 200);
        scene.control_plane.thaw(component);
        let start = Instant::now();
        scene.leader_place(std::slice::from_ref(&outrigger)).await;
        println!("{component:?} thawed: it leads again after {:?}", start.elapsed());
        scene.rotate("leaf").await;
        scene.wait_secret(|found| found.leaf() != secret.leaf()).await;
        scene.patch_secret(secret.as_patch()).await;
        scene.wait_secret(|found| found.leaf() == secret.leaf()).await;
        until("it is served again", PATIENCE, async || {
            scene.served(&outrigger, &secret).await == Ok(secret.leaf())
        })
        .await;
    }
}

// O-01
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permission_that_is_missing_is_named() {
    let scene = Scene::set(Flavour::Current).await;
    for (resource, verb, ready) in [
        ("secrets", "create", false),
        ("secrets", "list", false),
        ("secrets", "watch", true),
        ("leases", "get", true),
        ("leases", "create", true),
        ("mutatingwebhookconfigurations", "list", true),
        ("mutatingwebhookconfigurations", "watch", true),
        ("mutatingwebhookconfigurations", "patch", true),
    ] {
        scene.grant_without(resource, verb).await;
        let mut outrigger = scene.outrigger("one").spawn();
        scene.install(CONFIGURATION, &Reach::service_of(&outrigger)).await;
        let lacks = format!(r#"the role lacks "{verb}" on "{resource}""#);
        scene.wait_remark(&outrigger, &lacks).await;
        if ready {
            outrigger.wait_ready().await;
        } else {
            assert_eq!(outrigger.readyz().await.expect("an answer").status, 503);
        }
        // Once it is granted it works without a restart.
        scene.grant_without("", "").await;
        outrigger.wait_ready().await;
        scene.wait_in_sync(&outrigger, CONFIGURATION).await;
        until("the remark goes away", PATIENCE, async || {
            !outrigger.readyz().await.is_some_and(|answer| answer.body.contains(&lacks))
        })
        .await;
        outrigger.terminate().await;
        scene.delete(CONFIGURATION).await;
        scene.forget().await;
    }
}

// O-01: permissions that are only needed later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permission_that_goes_missing_is_named() {
    let scene = Scene::set(Flavour::Current).await;
    let outrigger = scene.outrigger("one").start().await;
    scene.leader_place(std::slice::from_ref(&outrigger)).await;
    for (resource, verb) in [("secrets", "get"), ("secrets", "update"), ("leases", "update")] {
        let before = scene.secret().await;
        scene.grant_without(resource, verb).await;
        scene.rotate("leaf").await;
        let patience = Duration::from_secs(60);
        settled("the permission is named", patience, async || {
            let body = outrigger.readyz().await.map(|answer| answer.body).unwrap_or_default();
            let lacks = format!(r#"the role lacks "{verb}" on "{resource}""#);
            if body.contains(&lacks) { Ok(()) } else { Err(format!("{body}\n{}", outrigger.log())) }
        })
        .await;
        assert_eq!(outrigger.readyz().await.expect("an answer").status, 200);
        scene.grant_without("", "").await;
        settled("it goes on", patience, async || {
            scene.rotate("leaf").await;
            let done = scene.secret().await.leaf() != before.leaf();
            let body = outrigger.readyz().await.map(|answer| answer.body).unwrap_or_default();
            if done && !body.contains("lacks") { Ok(()) } else { Err(body) }
        })
        .await;
    }
}
