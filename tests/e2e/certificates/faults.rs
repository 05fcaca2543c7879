//! Faults below certificate management: a full etcd, changing tokens and CAs, two leaders at once.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    super::{
        control_plane::{Component, ControlPlane, Flavour, PATIENCE, identity::Authority, settled, until},
        install::{NAMESPACE, Reach},
        outrigger_process::OutriggerProcess,
    },
    CONFIGURATION,
    scene::{ACCOUNT, Load, SECOND, Scene},
};

/// How long a token or CA file may be outdated, and how long a request waits that failed because of it.
const FOLLOWED: Duration = Duration::from_secs(120);

/// Sends a JSON request to etcd.
async fn etcd(control_plane: &ControlPlane, path: &str, body: &Value) -> Value {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: etcd\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", control_plane.etcd_port())).await.expect("etcd");
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body.trim()).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
}

/// Writes until etcd is full, and returns the API server's error. Every version of an object takes space until it is
/// compacted.
async fn fill(client: &Client) -> String {
    let objects: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    for number in 0..200 {
        let name = format!("filling-{}", number % 10);
        let text = format!("{number:04}").repeat(175_000);
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": text},
        });
        let parameters = PatchParams::apply("e2e-somebody").force();
        if let Err(error) = objects.patch(&name, &parameters, &Patch::Apply(object)).await {
            return error.to_string();
        }
    }
    "etcd took it all".to_owned()
}

// K-05: the certificate is still served; its renewal is retried and succeeds once there is space.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k_05_an_etcd_without_space_delays_a_renewal_and_fails_no_pod() {
    const QUOTA: u64 = 32 << 20;
    let scene = Scene::on(ControlPlane::start_with_quota(Flavour::Current, Some(QUOTA)).await).await;
    let control_plane = &scene.control_plane;
    let mut outrigger = scene.outrigger("one").flag("leaf-lifetime", "75s").start().await;
    scene.install(CONFIGURATION, &Reach::service_of(&outrigger)).await;
    scene.wait_in_sync(&outrigger, CONFIGURATION).await;
    scene.wait_injected().await;
    let before = scene.secret().await;
    let started = Instant::now();
    let load = Load::start(&scene, 1).await;
    let refused = fill(&control_plane.client().await).await;
    assert!(refused.contains("space exceeded"), "{refused}");
    println!("etcd is full {:?} after the certificate was made", started.elapsed());
    outrigger.wait_line("why it is not renewed", |line| line.contains("space exceeded")).await;
    // Due after two thirds of its life.
    until("it should have been renewed", PATIENCE * 3, async || started.elapsed() > Duration::from_secs(52))
        .await;
    assert_eq!(scene.secret().await.leaf(), before.leaf());
    let answer = outrigger.readyz().await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.body);

    let status = etcd(control_plane, "/v3/maintenance/status", &json!({})).await;
    let revision = status["header"]["revision"].clone();
    etcd(control_plane, "/v3/kv/compaction", &json!({"revision": revision, "physical": true})).await;
    etcd(control_plane, "/v3/maintenance/defragment", &json!({})).await;
    let raised = etcd(control_plane, "/v3/maintenance/alarm", &json!({"action": "GET"})).await;
    let member = raised["alarms"][0]["memberID"].clone();
    let quiet = json!({"action": "DEACTIVATE", "alarm": "NOSPACE", "memberID": member});
    etcd(control_plane, "/v3/maintenance/alarm", &quiet).await;
    let room = Instant::now();
    let after = scene.wait_secret(|secret| secret.leaf() != before.leaf()).await;
    println!("renewed {:?} after there was room again", room.elapsed());
    until("it is served", PATIENCE, async || scene.served(&outrigger, &after).await == Ok(after.leaf()))
        .await;
    let counts = load.stop().await;
    println!("while etcd was full and after it: {counts:?}");
    assert_eq!(counts.failed, 0, "{:?}", counts.first);
    assert!(counts.created > 100, "{counts:?}");
}

// O-10: with two Leases, two replicas lead at once, as they briefly might if their clocks differ.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o_10_two_leaders_write_the_same() {
    const LEAVES: usize = 10;
    let scene = Scene::set(Flavour::Current).await;
    let other = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
         "metadata": {"name": "other-lease", "namespace": NAMESPACE},
         "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "update"]}]},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
         "metadata": {"name": "other-lease", "namespace": NAMESPACE},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "other-lease"},
         "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}]},
    ]});
    scene.control_plane.apply(&other.to_string()).await;
    let flags = |name| scene.outrigger(name).flag("ca-overlap", "3s").flag("max-connection-age", "200ms");
    // At once, so that both start with nothing.
    let mut leaders = [flags("one").spawn(), flags("two").flag("lease", "other").spawn()];
    for leader in &mut leaders {
        leader.wait_ready().await;
    }
    scene.install(CONFIGURATION, &Reach::service_of(&leaders[0])).await;
    scene.install(SECOND, &Reach::url_of(&leaders[1])).await;
    for leader in &leaders {
        until("it leads", PATIENCE, async || leader.metric("outrigger_leader", &[]).await == 1.0).await;
        for name in [CONFIGURATION, SECOND] {
            scene.wait_in_sync(leader, name).await;
        }
    }
    scene.wait_injected().await;
    assert_eq!(scene.secret().await.cas(), 1);
    let load = Load::start(&scene, 2).await;
    let written = async || {
        let mut sum = 0.0;
        for leader in &leaders {
            sum += leader.metric("outrigger_certificate_changes_total", &[]).await;
        }
        sum
    };
    let before = written().await;
    for _ in 0..LEAVES {
        let before = scene.secret().await;
        scene.rotate("leaf").await;
        let after = scene.wait_secret(|secret| secret.leaf() != before.leaf()).await;
        for leader in &leaders {
            until("both serve it", PATIENCE, async || scene.served(leader, &after).await == Ok(after.leaf()))
                .await;
        }
        assert_eq!(scene.secret().await.version(), after.version(), "nobody writes another one");
    }
    // The slower one found that it was done: nothing was written twice.
    assert_eq!(written().await - before, LEAVES as f64);
    let before = scene.secret().await;
    scene.rotate("ca").await;
    let done = scene.wait_secret(|secret| secret.cas() == 1 && secret.leaf() != before.leaf()).await;
    assert!(!before.text("ca.crt").contains(&done.text("ca.crt")));
    for name in [CONFIGURATION, SECOND] {
        scene.wait_repaired(name).await;
        for leader in &leaders {
            scene.wait_in_sync(leader, name).await;
        }
    }
    // And the two do not fight over a damaged caBundle.
    let writes = async || {
        let mut sum = 0.0;
        for leader in &leaders {
            sum += leader.metric("outrigger_ca_bundle_writes_total", &[]).await;
        }
        sum
    };
    let counts = load.stop().await;
    let before = writes().await;
    scene.set_ca_bundle(CONFIGURATION, 0, "").await;
    scene.wait_repaired(CONFIGURATION).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(writes().await - before <= 2.0, "{}", writes().await - before);
    println!("two leaders, {LEAVES} leaves and one CA: {counts:?}");
    assert_eq!(counts.failed, 0, "{:?}", counts.first);
    assert!(counts.created > 50, "{counts:?}");
}

/// A ServiceAccount's credentials in files, as a pod has them.
struct Files {
    kubeconfig: PathBuf,
    token: PathBuf,
    ca: PathBuf,
}

impl Files {
    /// With a token that becomes invalid when a Secret with this name does, which is created here.
    async fn write(scene: &Scene, bound_to: &str) -> Files {
        let folder = scene.control_plane.folder();
        let file = |name: &str| folder.join(name);
        let files =
            Files { kubeconfig: file("files.kubeconfig"), token: file("token"), ca: file("server-ca.crt") };
        files.renew_token(scene, bound_to).await;
        fs::write(&files.ca, scene.control_plane.authority().pem()).expect("a file");
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
            "clusters": [{"name": "e2e", "cluster": {
                "server": scene.control_plane.url(), "certificate-authority": files.ca,
            }}],
            "users": [{"name": "e2e", "user": {"tokenFile": files.token}}],
            "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e", "namespace": NAMESPACE}}],
        });
        fs::write(&files.kubeconfig, kubeconfig.to_string()).expect("a file");
        files
    }

    /// Replaces the existing token.
    async fn renew_token(&self, scene: &Scene, bound_to: &str) {
        let kubectl = &scene.control_plane;
        kubectl.kubectl(&["create", "secret", "generic", bound_to, "-n", NAMESPACE]).await;
        let bound = ["--bound-object-kind=Secret", "--bound-object-name", bound_to];
        let create = ["create", "token", ACCOUNT, "-n", NAMESPACE];
        let token = kubectl.kubectl(&[&create[..], &bound[..]].concat()).await;
        let next = self.token.with_extension("next");
        fs::write(&next, token.trim()).expect("a file");
        fs::rename(&next, &self.token).expect("a file");
    }
}

/// Waits until the server performs an action that needs a request: a new certificate. Returns the elapsed time.
async fn works(scene: &Scene, outrigger: &OutriggerProcess) -> Duration {
    let start = Instant::now();
    let before = scene.secret().await;
    scene.rotate("leaf").await;
    settled("the certificate is renewed", FOLLOWED, async || {
        let secret = scene.secret().await;
        if secret.leaf() == before.leaf() { Err(outrigger.log()) } else { Ok(()) }
    })
    .await;
    start.elapsed()
}

// K-11: the token in the file is replaced, and the old one becomes invalid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k_11_a_token_in_a_file_is_followed() {
    let scene = Scene::set(Flavour::Current).await;
    let files = Files::write(&scene, "first").await;
    let outrigger = scene.outrigger_by("one", &files.kubeconfig).start().await;
    works(&scene, &outrigger).await;
    files.renew_token(&scene, "second").await;
    scene.control_plane.kubectl(&["delete", "secret", "first", "-n", NAMESPACE]).await;
    let refused = async || {
        let line = r#"code="401""#;
        outrigger.metric("outrigger_kube_api_requests_total", &[line]).await
    };
    // API servers cache a valid token for ten seconds.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let took = works(&scene, &outrigger).await;
    println!("{took:?} with a token that had ended, {} requests refused", refused().await);
    assert!(took <= Duration::from_secs(100), "{took:?}");
}

/// Restarts the API server with a certificate of this CA, which the test's tools also trust.
async fn serve_by(scene: &mut Scene, authority: &Authority) {
    let folder = scene.control_plane.folder().to_owned();
    authority
        .server(&["127.0.0.1", "localhost", "kubernetes", "kubernetes.default.svc", "10.0.0.1"])
        .write(&folder, "apiserver")
        .expect("files");
    let both = format!("{}{}", scene.control_plane.authority().pem(), authority.pem());
    let file = scene.control_plane.kubeconfig().to_owned();
    let mut kubeconfig: Value =
        serde_json::from_str(&fs::read_to_string(&file).expect("a kubeconfig")).expect("JSON");
    kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"] = json!(STANDARD.encode(both));
    fs::write(&file, kubeconfig.to_string()).expect("a kubeconfig");
    scene.control_plane.restart(Component::ApiServer).await;
}

// K-12: the API server gets another certificate, of the same CA and of a different one, which is soon written to the
// file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k_12_the_certificate_of_the_api_server_may_change() {
    let mut scene = Scene::set(Flavour::Current).await;
    let files = Files::write(&scene, "first").await;
    let outrigger = scene.outrigger_by("one", &files.kubeconfig).start().await;
    works(&scene, &outrigger).await;
    let same = scene.control_plane.authority().server(&["127.0.0.1", "localhost"]);
    same.write(scene.control_plane.folder(), "apiserver").expect("files");
    scene.control_plane.restart(Component::ApiServer).await;
    let scene = scene.again().await;
    let took = works(&scene, &outrigger).await;
    println!("a new certificate of the same CA: {took:?}");

    let mut scene = scene;
    let authority = Authority::new("another CA of the API server");
    serve_by(&mut scene, &authority).await;
    let scene = scene.again().await;
    outrigger_refuses(&outrigger).await;
    fs::write(&files.ca, authority.pem()).expect("a file");
    let took = works(&scene, &outrigger).await;
    println!("a new certificate of another CA: {took:?}");
    assert!(took <= Duration::from_secs(100), "{took:?}");
    let answer = outrigger.readyz().await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Waits until it reports that it does not trust the API server, and checks that it serves nevertheless.
async fn outrigger_refuses(outrigger: &OutriggerProcess) {
    settled("the API server is not trusted", PATIENCE, async || {
        let answer = outrigger.readyz().await.map(|answer| answer.body).unwrap_or_default();
        if answer.contains("UnknownIssuer") { Ok(()) } else { Err(answer) }
    })
    .await;
    assert_eq!(outrigger.readyz().await.expect("an answer").status, 200);
}
