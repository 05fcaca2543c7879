//! Together with a real cert-manager: installing, renewing, changing the mode and uninstalling, while pods are
//! continuously created with `failurePolicy: Fail`.
//!
//! cert-manager's own code issues and injects (`hack/certmanager`), Helm installs the chart, and [`Mount`] does what a
//! kubelet does with the Secret.

mod process;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use self::process::{Cainjector, CertManager, Mount, secret};
use super::{
    commands::Shell,
    control_plane::{ControlPlane, Flavour, PATIENCE, settled, until},
    load::{Creates, Tally},
    pods::{dry_run, is_injected},
    release::{Release, plain_pod},
};

const NAMESPACE: &str = "outrigger-system";
const CONFIGURATION: &str = "outrigger-sidecar-injector";
const CERT_MANAGER: &str = "certificates.mode=cert-manager";
const CONTROLLER: &[&str] = &["certificates.mode=controller", "certificates.controller.caOverlap=3s"];
const ANNOTATION: &str = "cert-manager.io/inject-ca-from";

/// A control plane with cert-manager, and a namespace whose pods are injected.
struct Scene {
    control_plane: ControlPlane,
    cert_manager: CertManager,
    mount: Mount,
}

impl Scene {
    async fn set(cainjector: Cainjector) -> Scene {
        let control_plane = ControlPlane::start(Flavour::Current).await;
        control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
        control_plane.create_namespace(NAMESPACE, &[]).await;
        let cert_manager = CertManager::start(&control_plane, cainjector).await;
        let mount = Mount::of(&control_plane, NAMESPACE, "outrigger-tls").await;
        Scene { control_plane, cert_manager, mount }
    }

    /// Installs the chart with two replicas, and waits until pods get proxies.
    async fn install(&self, values: &[&str]) -> Release {
        let control_plane = &self.control_plane;
        let mut release = Release::without_replicas(control_plane, "outrigger", NAMESPACE, values).await;
        release.mounted = Some(self.mount.folder().to_owned());
        if values.contains(&CERT_MANAGER) {
            self.mount.wait(&self.cert_manager).await;
        }
        for index in 0..2 {
            release.start_replica(control_plane, index, &[]).await;
        }
        release.balancer.wait_ready(2).await;
        release.wait_injecting(control_plane, "shop").await;
        release
    }

    /// `helm upgrade` followed by the rolling update.
    async fn upgrade(&self, release: &mut Release, values: &[&str]) {
        if values.contains(&CERT_MANAGER) {
            release.helm(&self.control_plane, "upgrade", values).await.expect("helm upgrade");
            self.mount.wait(&self.cert_manager).await;
            release.roll(&self.control_plane).await;
        } else {
            release.upgrade(&self.control_plane, values).await;
        }
    }

    /// Requests a new certificate from cert-manager, like `cmctl renew`.
    async fn renew(&self, certificate: &str) {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let issuing = json!({"status": {"conditions": [{
            "type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "by hand",
            "lastTransitionTime": now,
        }]}});
        let patch = issuing.to_string();
        let patch = ["--subresource=status", "--type=merge", "-p", &patch];
        let of = ["patch", "certificate", certificate, "-n", NAMESPACE];
        self.control_plane.kubectl(&[&of[..], &patch[..]].concat()).await;
    }

    /// Waits until a Secret has a different certificate, and returns it.
    async fn renewed(&self, name: &str, before: &str) -> String {
        let client = self.control_plane.client().await;
        settled(&format!("the certificate in {name} is another one"), PATIENCE, async || {
            let found =
                secret(&client, NAMESPACE, name).await.map(|secret| text(secret.data.as_ref(), "tls.crt"));
            match found {
                Some(found) if !found.is_empty() && found != before => Ok(found),
                _ => Err(self.cert_manager.log()),
            }
        })
        .await
    }

    async fn certificate(&self, name: &str) -> String {
        let client = self.control_plane.client().await;
        let secret = secret(&client, NAMESPACE, name).await.expect("a Secret");
        text(secret.data.as_ref(), "tls.crt")
    }

    /// Renews the serving certificate and waits until it is served.
    async fn renew_served(&self) {
        let before = self.certificate("outrigger-tls").await;
        self.renew("outrigger").await;
        let after = self.renewed("outrigger-tls", &before).await;
        until("it is mounted", PATIENCE, async || self.mount.certificate() == after).await;
    }

    async fn configuration(&self) -> Value {
        let get = ["get", "mutatingwebhookconfiguration", CONFIGURATION, "-o", "json"];
        serde_json::from_str(&self.control_plane.kubectl(&get).await).expect("JSON")
    }

    /// The trusted certificates of each entry, as a set of texts.
    async fn trust(&self) -> Vec<BTreeSet<String>> {
        let configuration = self.configuration().await;
        let entries = configuration["webhooks"].as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .map(|entry| {
                let bundle = entry["clientConfig"]["caBundle"].as_str().unwrap_or_default();
                certificates(&String::from_utf8_lossy(&STANDARD.decode(bundle).unwrap_or_default()))
            })
            .collect()
    }

    /// Waits until every entry trusts exactly the CAs of these texts.
    async fn wait_trust(&self, texts: &[&str]) {
        let wanted: BTreeSet<String> = texts.iter().flat_map(|text| certificates(text)).collect();
        settled("every entry trusts what it should", PATIENCE, async || {
            let found = self.trust().await;
            let right = found.len() == 4 && found.iter().all(|found| *found == wanted);
            let counts: Vec<usize> = found.iter().map(BTreeSet::len).collect();
            if right { Ok(()) } else { Err(format!("{counts:?} certificates, wanted are {}", wanted.len())) }
        })
        .await;
    }

    async fn our_ca(&self) -> String {
        let client = self.control_plane.client().await;
        let secret = secret(&client, NAMESPACE, "outrigger-certificate").await.expect("a Secret");
        text(secret.data.as_ref(), "ca.crt")
    }

    /// Rotates our own CA, and waits until the rotation is complete.
    async fn rotate_our_ca(&self) {
        let client = self.control_plane.client().await;
        let before = self.our_ca().await;
        let rotate =
            ["annotate", "secret", "outrigger-certificate", "-n", NAMESPACE, "outrigger.dev/rotate=ca"];
        self.control_plane.kubectl(&rotate).await;
        settled("the CA is another one", PATIENCE, async || {
            let secret = secret(&client, NAMESPACE, "outrigger-certificate").await.expect("a Secret");
            let now = text(secret.data.as_ref(), "ca.crt");
            let done = certificates(&now).is_disjoint(&certificates(&before));
            if done { Ok(()) } else { Err(format!("{:?}", secret.metadata.annotations)) }
        })
        .await;
    }

    async fn uninstall(&self) {
        let uninstall = ["uninstall", "outrigger", "-n", NAMESPACE];
        self.control_plane.helm(&uninstall).await.expect("helm uninstall");
    }

    async fn creates(&self) -> Creates {
        let creates = Creates::start(&self.control_plane, "shop", 3).await;
        creates.more(20, PATIENCE).await;
        creates
    }
}

fn text(data: Option<&BTreeMap<String, ByteString>>, key: &str) -> String {
    let value = data.and_then(|data| data.get(key)).map(|value| value.0.clone());
    String::from_utf8(value.unwrap_or_default()).expect("text")
}

/// The certificates in a text, ignoring everything between them.
fn certificates(pem: &str) -> BTreeSet<String> {
    let blocks = pem.split("-----END CERTIFICATE-----");
    blocks
        .filter_map(|block| block.split("-----BEGIN CERTIFICATE-----").nth(1))
        .map(|body| body.split_whitespace().collect())
        .collect()
}

fn assert_nothing_failed(what: &str, tally: &Tally) {
    tally.print(what);
    assert!(tally.failures.is_empty(), "{what}: {:#?}", tally.failures);
}

// Installation, and every kind of renewal: the certificate, the CA with its key, and the CA's key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewals_of_cert_manager_fail_no_pod() {
    let scene = Scene::set(Cainjector::Merges).await;
    let release = scene
        .install(&[
            CERT_MANAGER,
            "certificates.certManager.duration=1h",
            "certificates.certManager.renewBefore=15m",
        ])
        .await;
    let ca = scene.certificate("outrigger-ca").await;
    scene.wait_trust(&[&ca]).await;
    let creates = scene.creates().await;
    for _ in 0..3 {
        scene.renew_served().await;
        creates.more(30, PATIENCE).await;
    }
    // The same key: certificates of both are trusted by either.
    scene.renew("outrigger-ca").await;
    let second = scene.renewed("outrigger-ca", &ca).await;
    scene.renew_served().await;
    scene.wait_trust(&[&ca, &second]).await;
    creates.more(30, PATIENCE).await;
    // A different key: a deleted Secret is created anew.
    scene.control_plane.kubectl(&["delete", "secret", "outrigger-ca", "-n", NAMESPACE]).await;
    let third = scene.renewed("outrigger-ca", &second).await;
    creates.more(30, PATIENCE).await;
    scene.renew_served().await;
    scene.wait_trust(&[&ca, &second, &third]).await;
    creates.more(60, PATIENCE).await;
    let tally = creates.stop().await;
    assert_nothing_failed("renewals by cert-manager", &tally);
    assert_eq!(tally.bare, 0);
    assert_eq!(release.replicas.len(), 2);
}

// The mode changes back and forth, our CA is rotated afterwards, and the release is uninstalled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mode_of_certificates_changes_and_no_pod_fails() {
    let scene = Scene::set(Cainjector::Merges).await;
    let mut release = scene.install(CONTROLLER).await;
    let ours = scene.our_ca().await;

    let creates = scene.creates().await;
    scene.upgrade(&mut release, &[CERT_MANAGER]).await;
    let theirs = scene.certificate("outrigger-ca").await;
    scene.wait_trust(&[&ours, &theirs]).await;
    creates.more(60, PATIENCE).await;
    let tally = creates.stop().await;
    assert_nothing_failed("controller to cert-manager", &tally);
    assert_eq!(tally.bare, 0);

    // Back again, as for the first time: nothing of ours remains.
    let gone = ["delete", "secret/outrigger-certificate", "lease/outrigger-leader", "-n", NAMESPACE];
    scene.control_plane.kubectl(&gone).await;
    let creates = scene.creates().await;
    scene.upgrade(&mut release, CONTROLLER).await;
    let ours = scene.our_ca().await;
    assert!(scene.configuration().await["metadata"]["annotations"].get(ANNOTATION).is_none());
    // Replicas with cert-manager's certificates have served until now: its CA stays.
    scene.wait_trust(&[&ours, &theirs]).await;
    release.wait_injecting(&scene.control_plane, "shop").await;
    creates.more(60, PATIENCE).await;
    let tally = creates.stop().await;
    // Between the upgrade, which removes the rules, and the first new replica, pods have no proxy: docs/install.md.
    assert_nothing_failed("cert-manager to controller", &tally);

    let creates = scene.creates().await;
    scene.rotate_our_ca().await;
    scene.wait_trust(&[&scene.our_ca().await]).await;
    creates.more(60, PATIENCE).await;
    let tally = creates.stop().await;
    assert_nothing_failed("a rotation of our CA after that", &tally);
    assert_eq!(tally.bare, 0);

    let creates = scene.creates().await;
    scene.uninstall().await;
    creates.more(60, PATIENCE).await;
    let tally = creates.stop().await;
    assert_nothing_failed("helm uninstall", &tally);
    // The rest is as described in docs/install.md.
    let wanted = BTreeSet::from([
        "lease.coordination.k8s.io/outrigger-leader",
        "secret/outrigger-ca",
        "secret/outrigger-certificate",
        "secret/outrigger-tls",
    ]);
    settled("what is left is what is said", PATIENCE, async || {
        let list = ["get", "secret,lease", "-n", NAMESPACE, "-o", "name"];
        let left = scene.control_plane.kubectl(&list).await;
        let found: BTreeSet<&str> = left.lines().collect();
        if found == wanted { Ok(()) } else { Err(left) }
    })
    .await;
}

// A release of cert-manager's certificates is uninstalled while pods are created.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uninstalling_with_certificates_of_cert_manager_fails_no_pod() {
    let scene = Scene::set(Cainjector::Merges).await;
    let _release = scene.install(&[CERT_MANAGER]).await;
    let creates = scene.creates().await;
    scene.uninstall().await;
    creates.more(60, PATIENCE).await;
    let tally = creates.stop().await;
    assert_nothing_failed("helm uninstall", &tally);
    assert!(tally.bare > 0, "the webhook is gone");
}

// Whatever a person writes into the caBundle while a cainjector is asked to write it: both CAs are in it soon, and
// stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_is_emptied_beside_a_cainjector_becomes_the_union() {
    let scene = Scene::set(Cainjector::Merges).await;
    let control_plane = &scene.control_plane;
    let release = scene.install(CONTROLLER).await;
    let ours = scene.our_ca().await;
    let theirs = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": {"name": "theirs", "namespace": NAMESPACE},
         "spec": {"selfSigned": {}}},
        {"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": "theirs", "namespace": NAMESPACE},
         "spec": {"isCA": true, "commonName": "theirs", "secretName": "theirs", "issuerRef": {"name": "theirs"}}},
    ]});
    control_plane.apply(&theirs.to_string()).await;
    let theirs = scene.renewed("theirs", "").await;
    let asks = format!("{ANNOTATION}={NAMESPACE}/theirs");
    control_plane.kubectl(&["annotate", "mutatingwebhookconfiguration", CONFIGURATION, &asks]).await;
    scene.wait_trust(&[&ours, &theirs]).await;
    let client = control_plane.client().await;
    let mut slowest = Duration::ZERO;
    // One, another one, all of them: more often, the repairs would slow down.
    for emptied in [&[0][..], &[2], &[0, 1, 2, 3]] {
        let remove =
            |at: &usize| json!({"op": "remove", "path": format!("/webhooks/{at}/clientConfig/caBundle")});
        let patch = Value::Array(emptied.iter().map(remove).collect()).to_string();
        let remove = ["patch", "mutatingwebhookconfiguration", CONFIGURATION, "--type=json", "-p", &patch];
        control_plane.kubectl(&remove).await;
        let since = Instant::now();
        scene.wait_trust(&[&ours, &theirs]).await;
        slowest = slowest.max(since.elapsed());
    }
    println!("emptied beside a cainjector: both CAs are in it again after {slowest:?} at most");
    assert!(slowest <= Duration::from_secs(5), "{slowest:?}");
    // It is not undone later.
    tokio::time::sleep(Duration::from_secs(2)).await;
    scene.wait_trust(&[&ours, &theirs]).await;
    let pod = dry_run(&client, "shop", &plain_pod("after")).await.expect("a pod");
    assert!(is_injected(&pod));
    // A rotation of our CA works, too.
    let creates = scene.creates().await;
    scene.rotate_our_ca().await;
    creates.more(30, PATIENCE).await;
    let tally = creates.stop().await;
    assert_nothing_failed("a rotation of our CA beside a cainjector", &tally);
    assert_eq!(tally.bare, 0);
    drop(release);
}

// cert-manager 1.18 and older: docs/certificates.md describes the behavior and the remedy. It ends by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cainjector_that_replaces_costs_no_more_than_is_said() {
    let scene = Scene::set(Cainjector::Replaces).await;
    let mut release = scene.install(CONTROLLER).await;
    let creates = scene.creates().await;
    scene.upgrade(&mut release, &[CERT_MANAGER]).await;
    let theirs = scene.certificate("outrigger-ca").await;
    scene.wait_trust(&[&theirs]).await;
    release.wait_injecting(&scene.control_plane, "shop").await;
    let failures = creates.so_far().failures.len();
    creates.more(60, PATIENCE).await;
    let tally = creates.stop().await;
    tally.print("controller to cert-manager, with a cainjector that replaces");
    assert!(tally.failures.len() <= failures + 3, "it is over: {:?}", tally.failures.last());
    let window = tally.failures.first().zip(tally.failures.last()).map(|((from, _), (to, _))| *to - *from);
    println!("creations failed for {window:?}");
    // Back: the bundle is abandoned, and nothing replaces it any more.
    let creates = scene.creates().await;
    scene.upgrade(&mut release, CONTROLLER).await;
    scene.wait_trust(&[&scene.our_ca().await, &theirs]).await;
    release.wait_injecting(&scene.control_plane, "shop").await;
    creates.more(60, PATIENCE).await;
    assert_nothing_failed("and back to controller", &creates.stop().await);
}

// The hand-over of files-mode replicas leaves no gap in which none can be called.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_set_by_hand_is_adopted_and_no_pod_fails() {
    let scene = Scene::set(Cainjector::Merges).await;
    let mut release = scene.install(&[CERT_MANAGER]).await;
    let theirs = scene.certificate("outrigger-ca").await;
    // Set and owned by another manager: no cainjector is asked.
    let off = format!("{ANNOTATION}-");
    let name = ["mutatingwebhookconfiguration", CONFIGURATION];
    scene.control_plane.kubectl(&[&["annotate"][..], &name, &[off.as_str()]].concat()).await;
    let set: Vec<Value> = (0..4)
        .map(|at| {
            let bundle = STANDARD.encode(format!("# by hand\n{theirs}"));
            json!({"op": "replace", "path": format!("/webhooks/{at}/clientConfig/caBundle"), "value": bundle})
        })
        .collect();
    let set = Value::Array(set).to_string();
    scene.control_plane.kubectl(&[&["patch"][..], &name, &["--type=json", "-p", &set]].concat()).await;

    // The new replica is not ready: the existing ones can be called, but it cannot.
    release.helm(&scene.control_plane, "upgrade", CONTROLLER).await.expect("helm upgrade");
    let mut waiting = release.spawn_replica(&scene.control_plane, 7, &[]).await;
    let told = "does not hold our CA and is maintained by kubectl-patch";
    let line = waiting.wait_line("why it is not ready", move |line| line.contains(told)).await;
    println!("{line}");
    let answer = waiting.readyz().await.expect("an answer");
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(
        answer.body.contains("[-]ca-bundle failed: API servers do not trust this replica but trust others"),
        "{}",
        answer.body
    );
    assert!(answer.body.contains(&format!("outrigger webhook adopt {CONFIGURATION}")), "{}", answer.body);
    assert!(!answer.body.contains("[+]ca-bundle"), "{}", answer.body);
    // No restart is needed: it waits for the other manager.
    settled("the start is over", PATIENCE, async || match waiting.admin("/startupz").await {
        Some(answer) if answer.status == 200 => Ok(()),
        answer => Err(format!("{answer:?}")),
    })
    .await;
    assert_eq!(waiting.readyz().await.expect("an answer").status, 503);
    let creates = scene.creates().await;
    let shell = Shell::of(&scene.control_plane);
    let told = shell.done(&["webhook", "adopt", CONFIGURATION]).await;
    assert!(told.contains("the server now manages the caBundle of 4 of 4 entries"), "{told}");
    scene.wait_trust(&[&scene.our_ca().await, &theirs]).await;
    waiting.wait_ready().await;
    waiting.terminate().await;
    release.roll(&scene.control_plane).await;
    release.wait_injecting(&scene.control_plane, "shop").await;
    creates.more(60, PATIENCE).await;
    assert_nothing_failed("adopted", &creates.stop().await);
}

/// Every failure policy in the configuration.
fn policies(configuration: &Value) -> BTreeSet<&str> {
    let entries = configuration["webhooks"].as_array().into_iter().flatten();
    entries.filter_map(|entry| entry["failurePolicy"].as_str()).collect()
}

// L-08: a webhook that exists before its server decides by its policy; the initial one may be lenient.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l_08_a_webhook_before_its_server_decides_by_its_policy_until_the_server_is_ready() {
    let scene = Scene::set(Cainjector::Merges).await;
    let control_plane = &scene.control_plane;
    for (values, policy) in [
        (&[CERT_MANAGER, "webhook.bootstrapFailurePolicy=Ignore"][..], "Ignore"),
        (&[CERT_MANAGER][..], "Fail"),
    ] {
        let mut release = Release::without_replicas(control_plane, "outrigger", NAMESPACE, values).await;
        release.mounted = Some(scene.mount.folder().to_owned());
        assert_eq!(policies(&scene.configuration().await), BTreeSet::from([policy]));
        scene.mount.wait(&scene.cert_manager).await;
        let creates = Creates::start(control_plane, "shop", 2).await;
        creates.more(20, PATIENCE).await;
        let before = creates.so_far();
        release.start_replica(control_plane, 0, &[]).await;
        release.balancer.wait_ready(1).await;
        release.wait_injecting(control_plane, "shop").await;
        let ready = creates.so_far();
        creates.more(40, PATIENCE).await;
        let after = creates.stop().await;
        after.print(&format!("{policy} before the server, {} creates until it was there", ready.attempted));
        let late = |tally: &Tally| tally.failures.len() + tally.bare;
        match policy {
            "Ignore" => {
                assert!(after.failures.is_empty(), "{:#?}", after.failures);
                assert!(before.bare >= 20, "without a server pods are created without a proxy");
            }
            _ => {
                assert!(before.failures.len() >= 20, "without a server pods are refused");
                assert!(before.failures[0].1.contains("failed calling webhook"), "{:?}", before.failures[0]);
                assert_eq!(after.bare, 0);
            }
        }
        // Only requests that were in flight when it became ready.
        assert!(late(&after) <= late(&ready) + 4, "{} after {}", late(&after), late(&ready));
        // The next upgrade enables the policy.
        release.upgrade(control_plane, values).await;
        assert_eq!(policies(&scene.configuration().await), BTreeSet::from(["Fail"]));
        scene.uninstall().await;
        let client = control_plane.client().await;
        until("the webhook is gone", PATIENCE, async || {
            dry_run(&client, "shop", &plain_pod("bare")).await.is_ok_and(|pod| !is_injected(&pod))
        })
        .await;
    }
}
