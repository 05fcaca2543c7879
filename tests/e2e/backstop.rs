//! The backstop, `outrigger webhook print --backstop`: without a webhook, exactly those pods are created that a healthy webhook leaves
//! without a proxy, whatever the webhook does instead, and whatever a pod says about itself.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use crate::headed::headed;

use super::{
    commands::Shell,
    control_plane::{ControlPlane, Flavour, PATIENCE, eventually, settled},
    install::{Reach, Serving, Webhook},
    neighbours::start,
    pods::{dry_run, is_injected},
};

/// Rules of each kind, selectors, and a policy against opting out with an exception.
pub const BUNDLE: &str = r#"
nativeSidecars: disabled
namespaces:
- {name: shop, labels: {istio-injection: enabled, tier: gold}}
- {name: lax, labels: {istio-injection: enabled, mesh: optional}}
injector:
  templates: {bare: "metadata: {labels: {bare: 'yes'}}"}
  neverInjectSelector: [{matchLabels: {app: database}}, {matchExpressions: [{key: tier, operator: In, values: [a, b]}, {key: x, operator: DoesNotExist}]}]
  alwaysInjectSelector: [{matchLabels: {always: "yes"}}]
rules:
- {name: jobs, match: {owner: "Job/x-*"}, inject: never}
- {name: deployments, match: {owner: "Deployment/bare"}, inject: never}
- {name: cron, match: {owner: "CronJob/nightly"}, inject: never}
- {name: users, match: {user: "robot-*"}, inject: never}
- {name: must, match: {labels: {matchLabels: {must: "yes"}}}, inject: force}
- {name: later, match: {labels: {matchLabels: {later: "yes"}}, namespaceLabels: {matchLabels: {tier: gold}}}, inject: never}
- {name: image, match: {image: "bare.example.com/*", serviceAccount: default}, inject: never}
- {name: cel, match: {cel: "object.spec.containers.exists(c, c.name == 'bare') && namespaceObject.metadata.labels['istio-injection'] == 'enabled'"}, inject: never}
- {name: tuned, match: {}, defaults: {sidecar.istio.io/logLevel: debug}}
overridePolicy:
- {name: no-opt-out, action: deny, except: {namespaceLabels: {matchLabels: {mesh: optional}}}, forbid: {optOut: true}}
- {name: no-host, action: deny, match: {namespace: "sh*"}, except: {labels: {matchLabels: {host: "ok"}}}, forbid: {warnings: [BYPASS_HOST_NETWORK]}}
- {name: told, action: warn, forbid: {optOut: true}}
"#;
/// A part of the backstop's messages.
const REJECTED: &str = "ValidatingAdmissionPolicy 'outrigger-proxy-required'";

fn pod(metadata: &Value, spec: &Value) -> Value {
    let mut pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "web.example.com/a"}]}});
    for (field, more) in [("metadata", metadata), ("spec", spec)] {
        pod[field].as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    }
    pod
}

/// Every way to be without a proxy, legitimate and not.
fn pods() -> Vec<(&'static str, Value)> {
    let none = json!({});
    let labeled = |labels: Value| pod(&json!({"labels": labels}), &json!({}));
    let annotated = |annotations: Value| pod(&json!({"annotations": annotations}), &json!({}));
    let owned = |kind: &str, name: &str, more: Value| {
        let owner = json!({"apiVersion": "a/v1", "kind": kind, "name": name, "uid": "u", "controller": true});
        let mut metadata =
            json!({"name": null, "generateName": format!("{name}-"), "ownerReferences": [owner]});
        metadata.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        pod(&metadata, &json!({}))
    };
    let term =
        json!([{"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["windows"]}]}]);
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": term}}});
    let host = json!({"hostNetwork": true});
    vec![
        ("plain", pod(&none, &none)),
        ("label false", labeled(json!({"sidecar.istio.io/inject": "false"}))),
        (
            "label true, annotation false",
            pod(
                &json!({"labels": {"sidecar.istio.io/inject": "true"}, "annotations": {"sidecar.istio.io/inject": "false"}}),
                &none,
            ),
        ),
        ("annotation false", annotated(json!({"sidecar.istio.io/inject": "false"}))),
        ("an invalid wish", labeled(json!({"sidecar.istio.io/inject": "no"}))),
        (
            "an invalid wish of a database",
            labeled(json!({"sidecar.istio.io/inject": "no", "app": "database"})),
        ),
        ("host network", pod(&none, &host)),
        ("host network with leave", pod(&json!({"labels": {"host": "ok"}}), &host)),
        ("host network of a rule", {
            let mut it = owned("Job", "x-1", json!({}));
            it["spec"]["hostNetwork"] = true.into();
            it
        }),
        ("os windows", pod(&none, &json!({"os": {"name": "windows"}}))),
        ("nodes with windows", pod(&none, &json!({"nodeSelector": {"kubernetes.io/os": "windows"}}))),
        ("affinity to windows", pod(&none, &json!({"affinity": affinity}))),
        ("windows in a rule", pod(&json!({"labels": {"later": "yes"}}), &json!({"os": {"name": "windows"}}))),
        ("never", labeled(json!({"app": "database"}))),
        ("never by expression", labeled(json!({"tier": "a"}))),
        ("not never by expression", labeled(json!({"tier": "a", "x": "y"}))),
        ("never but wanted", labeled(json!({"app": "database", "sidecar.istio.io/inject": "true"}))),
        ("always", labeled(json!({"always": "yes"}))),
        ("never and always", labeled(json!({"always": "yes", "app": "database"}))),
        ("job", owned("Job", "x-1", json!({}))),
        ("other job", owned("Job", "y-1", json!({}))),
        (
            "deployment",
            owned("ReplicaSet", "bare-7d9f5b8c6d", json!({"labels": {"pod-template-hash": "7d9f5b8c6d"}})),
        ),
        (
            "other deployment",
            owned("ReplicaSet", "clothed-7d9f5b8c6d", json!({"labels": {"pod-template-hash": "7d9f5b8c6d"}})),
        ),
        ("cron job", owned("Job", "nightly-29000000", json!({}))),
        ("forced", labeled(json!({"must": "yes", "sidecar.istio.io/inject": "false"}))),
        ("forced database", labeled(json!({"must": "yes", "app": "database"}))),
        ("rule by namespace", labeled(json!({"later": "yes"}))),
        ("image", pod(&none, &json!({"containers": [{"name": "web", "image": "bare.example.com/a"}]}))),
        ("expression", pod(&none, &json!({"containers": [{"name": "bare", "image": "a"}]}))),
        ("template without a proxy", annotated(json!({"inject.istio.io/templates": "bare"}))),
        ("mirror pod by anybody", annotated(json!({"kubernetes.io/config.mirror": "a"}))),
        (
            "marks of Linkerd",
            pod(
                &json!({"annotations": {"linkerd.io/proxy-version": "2"}}),
                &json!({"containers": [{"name": "web", "image": "a"}, {"name": "linkerd-proxy", "image": "b"}]}),
            ),
        ),
        ("unknown revision", labeled(json!({"istio.io/rev": "none"}))),
    ]
}

/// The backstop as printed for the bundle, with the webhook's configuration at this URL.
async fn printed(control_plane: &ControlPlane, serving: &Serving, bundle: &str, url: &str) -> Vec<Value> {
    let shell = Shell::of(control_plane);
    let (ca, bundle) = (shell.file("ca.pem", serving.authority.pem()), shell.file("b.yaml", &headed(bundle)));
    let url = format!("--url={url}");
    let arguments = [
        "webhook",
        "print",
        "--bundle",
        &bundle,
        "--failure-policy=Ignore",
        "--timeout=1s",
        &url,
        "--ca-bundle",
        &ca,
        "--match-conditions=none",
        "--backstop=Deny",
        "-o",
        "json",
    ];
    let list: Value = serde_json::from_str(&shell.done(&arguments).await).expect("JSON");
    list["items"].as_array().expect("a list").clone()
}

fn list(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

async fn in_force(control_plane: &ControlPlane, namespace: &str) {
    let client = control_plane.client().await;
    let plain = pod(&json!({}), &json!({}));
    settled("the backstop is in force", PATIENCE, async || match dry_run(&client, namespace, &plain).await {
        Err(error) if error.contains(REJECTED) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

async fn agrees_with_the_webhook(flavour: Flavour) {
    let control_plane = ControlPlane::start(flavour).await;
    let serving = Serving::new(&control_plane);
    control_plane.create_namespace("shop", &[("istio-injection", "enabled"), ("tier", "gold")]).await;
    control_plane.create_namespace("lax", &[("istio-injection", "enabled"), ("mesh", "optional")]).await;
    let process = start(&control_plane, &serving, "bundle", BUNDLE).await;
    let Reach::Url(url) = Reach::url_of(&process) else { panic!("no URL") };
    let objects = printed(&control_plane, &serving, BUNDLE, &url).await;
    let (webhooks, backstop) = objects.split_at(1);
    assert_eq!(webhooks[0]["kind"], "MutatingWebhookConfiguration");
    let healthy = Webhook {
        failure_policy: "Ignore",
        ..Webhook::new("probe", Reach::url_of(&process), &serving.authority)
    };
    healthy.install(&control_plane, "shop").await;
    control_plane.kubectl(&["delete", "mutatingwebhookconfiguration", "probe"]).await;
    control_plane.apply(&list(webhooks)).await;
    let client = control_plane.client().await;
    settled("the webhook is called", PATIENCE, async || {
        let stored = dry_run(&client, "shop", &pod(&json!({}), &json!({}))).await?;
        if is_injected(&stored) { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    // Without the backstop, with both, and with the backstop alone.
    let outcomes = async || {
        let mut all = Vec::new();
        for namespace in ["shop", "lax"] {
            for (what, pod) in pods() {
                all.push((format!("{what} in {namespace}"), dry_run(&client, namespace, &pod).await));
            }
        }
        all
    };
    let alone = outcomes().await;
    control_plane.apply(&list(backstop)).await;
    let marks = pod(
        &json!({"annotations": {"linkerd.io/proxy-version": "2"}}),
        &json!({"containers": [{"name": "web", "image": "a"}, {"name": "linkerd-proxy", "image": "b"}]}),
    );
    settled("the backstop is in force", PATIENCE, async || match dry_run(&client, "lax", &marks).await {
        Err(error) if error.contains(REJECTED) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let both = outcomes().await;
    for ((what, alone), (_, both)) in alone.iter().zip(&both) {
        // Pods that Linkerd injected must opt out as well.
        if !what.starts_with("marks of Linkerd") {
            assert_eq!(alone.is_ok(), both.is_ok(), "{what}: {alone:?}, {both:?}");
        }
    }
    control_plane.kubectl(&["delete", "mutatingwebhookconfiguration", "outrigger-sidecar-injector"]).await;
    in_force(&control_plane, "shop").await;
    let without = outcomes().await;
    let (mut bare, mut rejected) = (0, 0);
    for ((what, alone), (_, without)) in alone.iter().zip(&without) {
        let is_bare =
            alone.as_ref().is_ok_and(|stored| !is_injected(stored)) && !what.starts_with("marks of Linkerd");
        let template = what == "template without a proxy in lax";
        match without {
            Ok(stored) => {
                assert!(is_bare, "{what}: {alone:?}");
                assert!(!is_injected(stored));
                bare += 1;
            }
            Err(error) => {
                // The template has not marked the pod.
                assert!(!is_bare || template, "{what}: {error}");
                assert!(error.contains(REJECTED) || error.contains("mirror"), "{what}: {error}");
                rejected += 1;
            }
        }
    }
    assert!(bare > 20 && rejected > 20, "{bare} bare, {rejected} rejected");
    // A user whom a rule exempts, and one whom it does not.
    let role = [
        "create",
        "clusterrolebinding",
        "robots",
        "--clusterrole=cluster-admin",
        "--user=robot-1",
        "--user=human",
    ];
    control_plane.kubectl(&role).await;
    let mut plain = pod(&json!({}), &json!({}));
    (plain["apiVersion"], plain["kind"]) = ("v1".into(), "Pod".into());
    let create = ["create", "--dry-run=server", "-n", "shop", "-f", "-"];
    let by = async |user: &str| {
        control_plane.kubectl_with(&[&create[..], &["--as", user]].concat(), &plain.to_string()).await
    };
    by("robot-1").await.expect("a pod of a robot");
    assert!(by("human").await.expect_err("rejected").contains(REJECTED));
    forgeries(&control_plane).await;
}

/// Pods that claim to be injected. Where opting out is not allowed, only an actual proxy counts, no claim does.
async fn forgeries(control_plane: &ControlPlane) {
    let client = control_plane.client().await;
    let status = |more: Value| {
        let mut annotations = json!({"sidecar.istio.io/status": "{\"containers\":[\"web\"]}"});
        annotations.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({"annotations": annotations})
    };
    let none = json!({});
    let bootstrap = json!({"initContainers": [{"name": "grpc-bootstrap-init", "image": "b"}]});
    let many = |count: usize, image: &str| {
        let containers: Vec<Value> =
            (0..count).map(|i| json!({"name": format!("c{i}"), "image": image})).collect();
        json!({ "containers": containers })
    };
    let labels: serde_json::Map<String, Value> = (0..5000).map(|i| (format!("l{i}"), json!("v"))).collect();
    for (what, pod) in [
        ("a status", pod(&status(json!({})), &none)),
        ("a status and a template", pod(&status(json!({"inject.istio.io/templates": "bare"})), &none)),
        (
            "a template's container",
            pod(&status(json!({"inject.istio.io/templates": "grpc-simple"})), &bootstrap),
        ),
        (
            "a container with a similar name",
            pod(&status(json!({})), &json!({"containers": [{"name": "istio-proxy-1", "image": "a"}]})),
        ),
        (
            "a volume with the name",
            pod(&status(json!({})), &json!({"volumes": [{"name": "istio-proxy", "emptyDir": {}}]})),
        ),
        (
            "options for Windows",
            pod(&none, &json!({"securityContext": {"windowsOptions": {"runAsUserName": "a"}}})),
        ),
        (
            "affinity to windows or linux",
            pod(
                &none,
                &json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["windows", "linux"]}]}]}}}}),
            ),
        ),
        ("many containers", pod(&none, &many(2_000, &format!("web.example.com/{}", "a".repeat(200))))),
        ("very many containers", pod(&none, &many(20_000, "a"))),
        ("many labels", pod(&json!({"labels": labels}), &none)),
    ] {
        let error = dry_run(&client, "shop", &pod).await.expect_err(what);
        assert!(error.contains(REJECTED), "{what}: {}", error.chars().take(400).collect::<String>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_backstop_agrees_with_a_healthy_webhook() {
    agrees_with_the_webhook(Flavour::Current).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_backstop_agrees_with_a_healthy_webhook_in_the_oldest_cluster() {
    agrees_with_the_webhook(Flavour::Oldest).await;
}

/// What is wrong with a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Down,
    /// The kernel accepts connections, and nothing reads from them.
    Frozen,
    /// The request is read and never answered.
    Slow,
    Text,
    Empty,
    OtherUid,
    ServerError,
    /// An injector that injects nothing.
    Idle,
}

const FAULTS: [Fault; 8] = [
    Fault::Down,
    Fault::Frozen,
    Fault::Slow,
    Fault::Text,
    Fault::Empty,
    Fault::OtherUid,
    Fault::ServerError,
    Fault::Idle,
];

struct Faulty {
    url: String,
    calls: Arc<AtomicUsize>,
    _listener: Option<std::net::TcpListener>,
    serving: Option<JoinHandle<()>>,
}

impl Drop for Faulty {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

impl Faulty {
    fn start(fault: Fault, serving: &Serving) -> Faulty {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        let url = format!("https://127.0.0.1:{}/inject", listener.local_addr().expect("an address").port());
        let calls = Arc::<AtomicUsize>::default();
        match fault {
            Fault::Down => Faulty { url, calls, _listener: None, serving: None },
            Fault::Frozen => Faulty { url, calls, _listener: Some(listener), serving: None },
            _ => {
                listener.set_nonblocking(true).expect("a socket");
                let listener = TcpListener::from_std(listener).expect("a socket");
                let chain = CertificateDer::pem_file_iter(&serving.certificate).expect("a certificate");
                let chain = chain.collect::<Result<Vec<_>, _>>().expect("a certificate");
                let key = PrivateKeyDer::from_pem_file(&serving.key).expect("a key");
                let tls = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
                let tls: TlsAcceptor = Arc::new(tls.expect("a certificate with its key")).into();
                let serving = Some(tokio::spawn(serve(fault, listener, tls, calls.clone())));
                Faulty { url, calls, _listener: None, serving }
            }
        }
    }
}

async fn serve(fault: Fault, listener: TcpListener, tls: TlsAcceptor, calls: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, calls) = (tls.clone(), calls.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(move |request: Request<Incoming>| {
                let calls = calls.clone();
                async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    calls.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, hyper::Error>(answer(fault, &body).await)
                }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(fault: Fault, body: &Bytes) -> Response<Full<Bytes>> {
    let review: Value = serde_json::from_slice(body).unwrap_or_default();
    let reviewed = |uid: &Value| {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": uid, "allowed": true}}).to_string()
    };
    let (status, text) = match fault {
        Fault::Slow => std::future::pending().await,
        Fault::Text => (200, "<html>Bad Gateway".to_owned()),
        Fault::Empty => (200, String::new()),
        Fault::OtherUid => (200, reviewed(&json!("other"))),
        Fault::ServerError => (500, "{}".to_owned()),
        _ => (200, reviewed(&review["request"]["uid"])),
    };
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Full::new(Bytes::from(text))).expect("a response")
}

/// The webhook has `failurePolicy: Ignore`; levels are those of the namespaces.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_of_the_webhook_lets_a_pod_run_bare() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    let serving = Serving::new(&control_plane);
    let level = |level| [("istio-injection", "enabled"), ("outrigger.dev/backstop", level)];
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    for name in ["deny", "warn", "audit", "nonsense"] {
        control_plane.create_namespace(name, &level(name)).await;
    }
    control_plane.create_namespace("plain", &[]).await;
    let client = control_plane.client().await;
    let plain = pod(&json!({}), &json!({}));
    let opted_out = pod(&json!({"labels": {"sidecar.istio.io/inject": "false"}}), &json!({}));
    for (round, fault) in FAULTS.into_iter().enumerate() {
        let webhook = Faulty::start(fault, &serving);
        let objects = printed(&control_plane, &serving, "nativeSidecars: disabled", &webhook.url).await;
        let opens = async || control_plane.metric("apiserver_admission_webhook_fail_open_count", &[]).await;
        let before = opens().await;
        control_plane.apply(&list(&objects)).await;
        if round == 0 {
            in_force(&control_plane, "shop").await;
        }
        eventually(&format!("{fault:?}: the webhook is called"), PATIENCE, async || {
            // The outcome is the same whichever webhook was called.
            let error = dry_run(&client, "shop", &plain).await.expect_err("no proxy");
            assert!(error.contains(REJECTED), "{fault:?}: {error}");
            let is_called = webhook.calls.load(Ordering::SeqCst) > 0;
            let is_known = fault == Fault::Idle || opens().await > before;
            let is_told = matches!(fault, Fault::Down | Fault::Frozen) || is_called;
            (is_known && is_told).then_some(())
        })
        .await;
        for namespace in ["deny", "nonsense"] {
            let error = dry_run(&client, namespace, &plain).await.expect_err("no proxy");
            assert!(error.contains(REJECTED), "{fault:?}, {namespace}: {error}");
        }
        for (namespace, pod) in [("warn", &plain), ("audit", &plain), ("plain", &plain), ("deny", &opted_out)]
        {
            let stored = dry_run(&client, namespace, pod).await;
            assert!(stored.is_ok_and(|stored| !is_injected(&stored)), "{fault:?}, {namespace}");
        }
    }
    let mut named = plain;
    (named["apiVersion"], named["kind"]) = ("v1".into(), "Pod".into());
    let create = |namespace| ["create", "--dry-run=server", "-n", namespace, "-f", "-"];
    for (namespace, is_warned) in [("warn", true), ("audit", false)] {
        let ran = control_plane.kubectl_with(&create(namespace), &named.to_string()).await;
        assert!(ran.success, "{}", ran.stderr);
        assert_eq!(
            ran.stderr.contains("Validation failed for ValidatingAdmissionPolicy"),
            is_warned,
            "{}",
            ran.stderr
        );
        eventually("the violation is in the audit log", PATIENCE, async || {
            control_plane.audit().into_iter().find(|event| {
                let annotations = event["annotations"].to_string();
                event["objectRef"]["namespace"] == namespace
                    && annotations.contains("validation.policy.admission.k8s.io")
            })
        })
        .await;
    }
}
