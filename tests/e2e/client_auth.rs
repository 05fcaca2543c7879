//! A real API server that authenticates as described in docs/security.md: which callers are accepted, which errors
//! users see otherwise, and CAs that change while pods are created (T-11, T-12).
//!
//! API servers look up the credentials for a webhook by the name and the port of its Service, and only port 443 can be
//! omitted. The Services of these tests therefore have that port, and the API server reaches them through the test's
//! egress proxy, which knows where each of their names is.

mod proxy;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

use super::{
    control_plane::{
        Component, ControlPlane, Flavour, PATIENCE,
        identity::{Authority, Pair},
        settled, until,
    },
    outrigger_process::{Answer, Outrigger, OutriggerProcess},
    pods::{dry_run, is_injected},
};
use proxy::EgressProxy;

/// The common name of API servers.
const CALLER: &str = "outrigger-apiserver-client";
/// Where the files of docs/security.md are.
const FOLDER: &str = "/etc/kubernetes/outrigger";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A code block of docs/security.md, identified by the comment or the words it starts with.
fn block(beginning: &str) -> String {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md")).expect("a page");
    let blocks = page.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
    // What stands in an item of a list is indented as the item is.
    let dedented = |text: &str| {
        let indent = text.len() - text.trim_start_matches(' ').len();
        let lines = text.lines().map(|line| line.get(indent..).unwrap_or_default());
        lines.collect::<Vec<_>>().join("\n")
    };
    let mut found = blocks.map(|(_, text)| dedented(text)).filter(|text| text.starts_with(beginning));
    let block = found
        .next()
        .unwrap_or_else(|| panic!("docs/security.md has no block that begins with {beginning:?}"));
    assert!(found.next().is_none(), "docs/security.md has two blocks that begin with {beginning:?}");
    block
}

/// Runs commands of the documentation in a folder.
fn run(folder: &Path, script: &str) {
    let output = Command::new("sh").args(["-euc", script]).current_dir(folder).output().expect("sh");
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// The folder that is [`FOLDER`] on a node of a control plane.
fn node(folder: &Path) -> PathBuf {
    let folder = folder.join("outrigger");
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Writes the API server's startup files: those of the documentation, verbatim except for their directory, with these
/// users in the kubeconfig if given. Returns the flags.
fn configure(folder: &Path, users: Option<Value>) -> Vec<String> {
    let here = |text: String| text.replace(FOLDER, &folder.display().to_string());
    fs::write(folder.join("admission.yaml"), here(block("# admission.yaml"))).expect("a file");
    let kubeconfig = match users {
        Some(users) => json!({"apiVersion": "v1", "kind": "Config", "users": users}).to_string(),
        None => here(block("# webhooks.kubeconfig")),
    };
    fs::write(folder.join("webhooks.kubeconfig"), kubeconfig).expect("a file");
    let egress = json!({
        "apiVersion": "apiserver.k8s.io/v1beta1", "kind": "EgressSelectorConfiguration",
        "egressSelections": [{"name": "cluster", "connection": {
            "proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": folder.join("egress.sock")}},
        }}],
    });
    fs::write(folder.join("egress.json"), egress.to_string()).expect("a file");
    let flag = here(block("--admission-control-config-file="));
    vec![
        flag.trim().to_owned(),
        format!("--egress-selector-config-file={}", folder.join("egress.json").display()),
    ]
}

/// A separate Service on port 443, a namespace whose pods are sent only to it, and the webhook.
async fn webhook(
    control_plane: &ControlPlane,
    service: (&str, &str),
    host: &str,
    namespace: &str,
    ca_bundle: &str,
) {
    let (name, of) = service;
    let objects = json!([
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": of}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": of},
            "spec": {"type": "ExternalName", "externalName": host, "ports": [{"port": 443}]},
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": namespace},
            "webhooks": [{
                "name": "namespace.sidecar-injector.istio.io", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"service": {"namespace": of, "name": name, "path": "/inject"}, "caBundle": ca_bundle},
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
                "failurePolicy": "Fail", "timeoutSeconds": 10,
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            }],
        },
    ]);
    control_plane.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()).await;
    for namespace in [of, namespace] {
        control_plane.create_service_account(namespace, "default").await;
    }
}

fn pod() -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]}})
}

/// Waits until creating a pod gives the expected result: a proxy, or an error with these words.
async fn gets(control_plane: &ControlPlane, namespace: &str, wanted: Result<(), &str>) {
    let client = control_plane.client().await;
    settled(&format!("a pod of {namespace} gets {wanted:?}"), PATIENCE, async || {
        match (dry_run(&client, namespace, &pod()).await, wanted) {
            (Ok(pod), Ok(())) if is_injected(&pod) => Ok(()),
            (Ok(pod), _) if !is_injected(&pod) => Err("not sent".to_owned()),
            (Err(text), Err(words)) if text.contains("failed calling webhook") && text.contains(words) => {
                Ok(())
            }
            (found, _) => Err(format!("{:?}", found.map(|_| "a proxy"))),
        }
    })
    .await;
}

fn put(folder: &Path, name: &str, text: &str) {
    let new = folder.join(format!(".{name}.new"));
    fs::write(&new, text).expect("a file");
    fs::rename(&new, folder.join(name)).expect("a file");
}

/// A serving certificate for Services.
fn serving(folder: &Path, services: &[(&str, &str)]) -> Authority {
    let authority = Authority::new("webhook");
    let names: Vec<String> = services.iter().map(|(name, of)| format!("{name}.{of}.svc")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    authority.server(&names).write(folder, "serving").expect("files");
    authority
}

fn standalone(folder: &Path) -> Outrigger {
    Outrigger::standalone(&folder.join("serving.crt"), &folder.join("serving.key"))
        .flag("client-auth", "require")
}

/// How the API server finds credentials, and the result: the Service, the user of the kubeconfig, the user's
/// credentials, the host of the Service, and the error that users see.
const CASES: [(&str, &str, &str, &str, &str); 13] = [
    ("exact", "exact.by.svc", "good", "by-certificate", ""),
    ("port", "port.by.svc:443", "good", "by-certificate", ""),
    ("web", "*.star.svc", "good", "by-certificate", ""),
    ("web", "*.starport.svc:443", "good", "by-certificate", ""),
    ("best", "best.prefer.svc", "good", "by-certificate", ""),
    ("nobody", "other.by.svc", "good", "by-certificate", "tls: certificate required"),
    ("wrong-port", "wrong-port.by.svc:8443", "good", "by-certificate", "tls: certificate required"),
    ("wrong-ca", "wrong-ca.by.svc", "wrong-ca", "by-certificate", "tls: unknown certificate authority"),
    ("wrong-name", "wrong-name.by.svc", "wrong-name", "by-certificate", "tls: access denied"),
    ("expired", "expired.by.svc", "expired", "by-certificate", "tls: expired certificate"),
    ("token", "token.by.svc", "token", "by-token", ""),
    ("wrong-token", "wrong-token.by.svc", "wrong-token", "by-token", "the caller is not authenticated"),
    ("no-token", "no-token.by.svc", "good", "by-token", "the caller is not authenticated"),
];

/// The namespace of a Service.
fn of(user: &str) -> &str {
    user.split('.').nth(1).expect("a namespace")
}

// T-11
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t_11_an_api_server_gets_in_by_what_its_kubeconfig_has_for_the_service() {
    let callers = Authority::new("callers");
    let users = |folder: &Path| {
        let by = |stem: &str, pair: &Pair| {
            let (certificate, key) = pair.write(folder, stem).expect("files");
            json!({"client-certificate": certificate, "client-key": key})
        };
        // The exact name takes precedence over one for every Service of the namespace.
        let wrong = by("wrong-name", &callers.client("kubelet", "system:nodes"));
        let mut users = vec![json!({"name": "*.prefer.svc", "user": wrong})];
        for (_, user, what, _, _) in CASES {
            let credentials = match what {
                "wrong-ca" => by(what, &Authority::new("others").client(CALLER, "")),
                "wrong-name" => wrong.clone(),
                "expired" => by(what, &callers.expired_client(CALLER)),
                "token" => {
                    put(folder, "token", TOKEN);
                    json!({"tokenFile": folder.join("token")})
                }
                "wrong-token" => json!({"token": "0123456789abcdef-and-something-else"}),
                _ => by("good", &callers.client(CALLER, "")),
            };
            users.push(json!({"name": user, "user": credentials}));
        }
        json!(users)
    };
    let control_plane = ControlPlane::start_with(Flavour::Current, |folder, _| {
        configure(&node(folder), Some(users(&node(folder))))
    })
    .await;
    let folder = &node(control_plane.folder());
    let services: Vec<_> = CASES.iter().map(|(name, user, ..)| (*name, of(user))).collect();
    let authority = serving(folder, &services);
    put(folder, "callers.crt", callers.pem());
    put(folder, "tokens", TOKEN);
    let mut certificate = standalone(folder)
        .flag("client-ca-file", folder.join("callers.crt").display())
        .flag("client-allowed-names", CALLER)
        .start()
        .await;
    let token = standalone(folder).flag("client-token-file", folder.join("tokens").display()).start().await;
    let _proxy = EgressProxy::start(
        &folder.join("egress.sock"),
        &[("by-certificate:443", certificate.webhook_port()), ("by-token:443", token.webhook_port())],
    );
    for (name, user, _, host, words) in CASES {
        let namespace = format!("{name}-{}", of(user));
        webhook(&control_plane, (name, of(user)), host, &namespace, &authority.ca_bundle()).await;
        gets(&control_plane, &namespace, if words.is_empty() { Ok(()) } else { Err(words) }).await;
    }
    // The log says what was found, and what is accepted.
    for reason in ["no_certificate", "unknown_ca", "name", "expired"] {
        let failures = "outrigger_client_auth_failures_total";
        let reason = format!("reason=\"{reason}\"");
        assert!(certificate.metric(failures, &[&reason, "outcome=\"refused\""]).await >= 1.0, "{reason}");
    }
    let handshakes = "outrigger_tls_handshake_errors_total";
    assert!(certificate.metric(handshakes, &["reason=\"client_certificate\""]).await >= 5.0);
    certificate
        .wait_line("which name was found", |line| {
            line.contains("client rejected")
                && line.contains("kubelet")
                && line.contains(&format!("expected \\\"{CALLER}\\\""))
        })
        .await;
    for process in [&certificate, &token] {
        // T-11: probes are not affected.
        assert_eq!(process.admin("/readyz").await.map(|answer| answer.status), Some(200));
        assert!(!process.log().contains(TOKEN));
    }
}

/// The API server's error for a call in progress when its client certificate changed: it closes its own connections
/// then (client-go's `cert_rotation`), which no webhook can prevent.
const CLOSED_BY_ITSELF: &str = "use of closed network connection";

/// Creates pods until stopped; returns their number. None may fail because of us.
async fn create_until(
    control_plane: &ControlPlane,
    namespace: &'static str,
    stop: Arc<AtomicBool>,
) -> JoinHandle<usize> {
    let client = control_plane.client().await;
    tokio::spawn(async move {
        let mut created = 0;
        while !stop.load(Ordering::Relaxed) {
            let stored = dry_run(&client, namespace, &pod()).await;
            let stored = match stored {
                Err(error) if error.to_string().contains(CLOSED_BY_ITSELF) => {
                    println!("after {created} pods the API server closed its own connection");
                    continue;
                }
                stored => stored.unwrap_or_else(|error| panic!("after {created} pods: {error}")),
            };
            assert!(is_injected(&stored));
            created += 1;
        }
        created
    })
}

// T-11, T-12: the documented recipe, verbatim, with the CA in a ConfigMap and both exchanged under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t_12_the_documented_recipe_works_and_so_does_its_rotation() {
    let recipe = |folder: &Path, _: &Authority| {
        let folder = node(folder);
        run(&folder, &block("# A CA that signs nothing else"));
        configure(&folder, None)
    };
    let control_plane = ControlPlane::start_with(Flavour::Current, recipe).await;
    let folder = &node(control_plane.folder());
    let service = ("outrigger", "outrigger-system");
    control_plane.create_namespace("outrigger-system", &[]).await;
    control_plane.create_service_account("outrigger-system", "outrigger").await;
    let authority = serving(folder, &[service]);
    let kubeconfig = control_plane.kubeconfig().display().to_string();
    let kubectl =
        control_plane.tools().iter().map(|tool| tool.display().to_string()).collect::<Vec<_>>().join(":");
    let commands = |beginning: &str| {
        format!("export KUBECONFIG={kubeconfig} PATH={kubectl}:$PATH\n{}", block(beginning))
    };
    run(folder, &commands("# The CA, for outrigger to read"));
    control_plane.apply(&role("outrigger-system", "outrigger-callers")).await;
    let bundle = folder.join("bundle.yaml");
    fs::write(&bundle, "apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\n").expect("a file");
    let file = control_plane.kubeconfig_for("outrigger-system", "outrigger").await;
    let start = || {
        Outrigger::serve()
            .flag("kubeconfig", file.display())
            .flag("bundle", bundle.display())
            .flag("tls-cert", folder.join("serving.crt").display())
            .flag("tls-key", folder.join("serving.key").display())
            .args(block("--client-auth=require\n--client-ca-configmap=outrigger-system").split_whitespace())
    };
    let mut outrigger = start().start().await;
    let _proxy =
        EgressProxy::start(&folder.join("egress.sock"), &[("outrigger.test:443", outrigger.webhook_port())]);
    webhook(&control_plane, service, "outrigger.test", "shop", &authority.ca_bundle()).await;
    gets(&control_plane, "shop", Ok(())).await;

    let loaded = async |outrigger: &OutriggerProcess, count: f64| {
        let labels = ["what=\"ca\"", "result=\"success\""];
        outrigger.wait_metric("outrigger_client_auth_reload_total", &labels, |found| found == count).await;
    };
    loaded(&outrigger, 1.0).await;
    let stop = Arc::new(AtomicBool::new(false));
    let creators = [
        create_until(&control_plane, "shop", stop.clone()).await,
        create_until(&control_plane, "shop", stop.clone()).await,
    ];
    run(folder, &commands("# A new CA and a new certificate"));
    // Every replica trusts both before the API server gets the new certificate.
    loaded(&outrigger, 2.0).await;
    run(folder, &block("# The new certificate"));
    // API servers read the file again after a second.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    run(folder, &commands("# The old CA goes"));
    loaded(&outrigger, 3.0).await;
    let refused =
        outrigger.metric("outrigger_client_auth_failures_total", &["reason=\"no_certificate\""]).await;
    assert_eq!(refused, 0.0);
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let mut created = 0;
    for creator in creators {
        created += creator.await.expect("no pod failed");
    }
    println!("{created} pods were created while the CA was rotated");
    assert!(created > 20, "{created}");

    // A broken one changes nothing, and a missing one keeps a new replica from becoming ready.
    let patch = json!({"data": {"ca.crt": "garbage"}}).to_string();
    let of = ["configmap", "outrigger-callers", "-n", "outrigger-system"];
    control_plane.kubectl(&[&["patch"][..], &of, &["--type=merge", "-p", &patch]].concat()).await;
    outrigger
        .wait_line("it is refused", |line| line.contains("client CA rejected; keeping the last good one"))
        .await;
    gets(&control_plane, "shop", Ok(())).await;
    let said = outrigger.readyz().await.expect("an answer");
    assert_eq!(said.status, 200);
    assert!(said.body.contains("[!]client-auth the newest client CA was rejected: outrigger-system/outrigger-callers:ca.crt: found no certificate"), "{}", said.body);
    control_plane.kubectl(&[&["delete"][..], &of].concat()).await;
    outrigger.wait_line("it is gone", |line| line.contains("the ConfigMap does not exist")).await;
    gets(&control_plane, "shop", Ok(())).await;
    let mut late = start().spawn();
    late.wait_line("it waits for the CA", |line| line.contains("client CA rejected; no earlier one to keep"))
        .await;
    let said = late.readyz().await.expect("an answer");
    assert_eq!(said.status, 503);
    run(folder, &commands("# The old CA goes"));
    late.wait_ready().await;
}

/// The permission to watch one ConfigMap, for outrigger.
fn role(namespace: &str, config_map: &str) -> String {
    let metadata = json!({"name": "outrigger-callers", "namespace": namespace});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [config_map], "verbs": ["list", "watch"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "outrigger-callers"},
            "subjects": [{"kind": "ServiceAccount", "name": "outrigger", "namespace": "outrigger-system"}],
        },
    ]})
    .to_string()
}

// T-11: the CA that API servers publish signs every user's certificate; only the name identifies the API server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t_11_the_published_ca_lets_one_name_in_and_no_other_user() {
    let users = |folder: &Path, authority: &Authority| {
        let by = |stem: &str, pair: &Pair| {
            let (certificate, key) = pair.write(folder, stem).expect("files");
            json!({"client-certificate": certificate, "client-key": key})
        };
        let users = json!([
            {"name": "good.by.svc", "user": by("good", &authority.client(CALLER, ""))},
            {"name": "user.by.svc", "user": by("user", &authority.client("jane", "system:masters"))},
        ]);
        configure(folder, Some(users))
    };
    let control_plane =
        ControlPlane::start_with(Flavour::Current, |folder, authority| users(&node(folder), authority)).await;
    let folder = &node(control_plane.folder());
    let services = [("good", "by"), ("user", "by")];
    let authority = serving(folder, &services);
    control_plane.create_namespace("outrigger-system", &[]).await;
    control_plane.create_service_account("outrigger-system", "outrigger").await;
    let bundle = folder.join("bundle.yaml");
    fs::write(&bundle, "apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\n").expect("a file");
    let file = control_plane.kubeconfig_for("outrigger-system", "outrigger").await;
    let mut outrigger = Outrigger::serve()
        .flag("kubeconfig", file.display())
        .flag("bundle", bundle.display())
        .flag("tls-cert", folder.join("serving.crt").display())
        .flag("tls-key", folder.join("serving.key").display())
        .args(block("--client-auth=require\n--client-ca-configmap=kube-system").split_whitespace())
        .spawn();
    // O-01: without the permission to watch it, the replica reports which one it lacks, and is not ready.
    until("the missing right is named", PATIENCE, async || {
        let said = outrigger.readyz().await;
        said.is_some_and(|said| {
            said.status == 503 && said.body.contains("\"list\"") && said.body.contains("configmaps")
        })
    })
    .await;
    control_plane.apply(&role("kube-system", "extension-apiserver-authentication")).await;
    outrigger.wait_ready().await;
    let _proxy =
        EgressProxy::start(&folder.join("egress.sock"), &[("outrigger.test:443", outrigger.webhook_port())]);
    for (service, wanted) in [(services[0], Ok(())), (services[1], Err("tls: access denied"))] {
        webhook(&control_plane, service, "outrigger.test", service.0, &authority.ca_bundle()).await;
        gets(&control_plane, service.0, wanted).await;
    }
}

/// `GET` over HTTPS on a loopback port, optionally with a token.
async fn get_over_tls(port: u16, authority: &Authority, path: &str, token: Option<&str>) -> Answer {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("a certificate"))
        .expect("a CA");
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let exchange = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the admin port");
        let name = ServerName::try_from("outrigger.outrigger-system.svc").expect("a name");
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS");
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{token}\r\n");
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut answer = Vec::new();
        // The peer may close without a TLS close_notify.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Answer { status, body: body.to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_for_those_who_may_get_them() {
    let mut control_plane = ControlPlane::start(Flavour::Current).await;
    let folder = &node(control_plane.folder());
    let authority = serving(folder, &[("outrigger", "outrigger-system")]);
    control_plane.create_namespace("outrigger-system", &[]).await;
    for account in ["outrigger", "prometheus", "stranger"] {
        control_plane.create_service_account("outrigger-system", account).await;
    }
    let binding = |name: &str, account: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "outrigger-system"}],
        })
    };
    let role = |name: &str, rules: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
    let objects = json!([
        role(
            "reviews",
            json!([
                {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
                {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
            ])
        ),
        binding("reviews", "outrigger"),
        role("metrics-reader", json!([{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}])),
        binding("metrics-reader", "prometheus"),
    ]);
    control_plane.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()).await;
    let bundle = folder.join("bundle.yaml");
    fs::write(&bundle, "apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\n").expect("a file");
    let file = control_plane.kubeconfig_for("outrigger-system", "outrigger").await;
    let outrigger = Outrigger::serve()
        .flag("kubeconfig", file.display())
        .flag("bundle", bundle.display())
        .flag("tls-cert", folder.join("serving.crt").display())
        .flag("tls-key", folder.join("serving.key").display())
        .flag("admin-auth", "token")
        .start()
        .await;
    let create = ["create", "token", "-n", "outrigger-system"];
    let prometheus = control_plane.kubectl(&[&create[..], &["prometheus"]].concat()).await;
    let stranger = control_plane.kubectl(&[&create[..], &["stranger"]].concat()).await;
    let port = outrigger.admin_port();
    let get = async |path: &str, token: Option<&str>| get_over_tls(port, &authority, path, token).await;
    // RBAC objects take effect a moment after their creation.
    settled("metrics are read", PATIENCE, async || match get("/metrics", Some(prometheus.trim())).await {
        Answer { status: 200, body } if body.contains("outrigger_build_info") => Ok(()),
        other => Err(format!("{} {}", other.status, other.body)),
    })
    .await;
    for (token, status, words) in [
        (None, 401, "found no bearer token"),
        (Some("made-up"), 401, "the API server does not know the token"),
        (
            Some(stranger.trim()),
            403,
            "\"system:serviceaccount:outrigger-system:stranger\" may not get this path",
        ),
    ] {
        let answer = get("/metrics", token).await;
        assert!(answer.status == status && answer.body.contains(words), "{answer:?}");
    }
    // Over plain HTTP, no request for metrics succeeds; probes are open to everybody, and reveal no more than that.
    let plain = outrigger.admin("/metrics").await.expect("an answer");
    assert_eq!(plain.status, 401);
    for path in ["/livez", "/readyz", "/startupz"] {
        assert_eq!(outrigger.admin(path).await.map(|answer| answer.status), Some(200), "{path}");
    }
    let told = outrigger.readyz().await.expect("an answer");
    assert!(told.status == 200 && !told.body.contains("valid until"), "{told:?}");
    // Kubernetes' default roles allow everybody to get /readyz, so only the permission for metrics counts.
    for (token, tells) in [(&prometheus, true), (&stranger, false)] {
        let told = get("/readyz?verbose", Some(token.trim())).await;
        assert!(told.status == 200 && told.body.contains("valid until") == tells, "{told:?}");
    }
    // A scrape does not always cause a request to the API server: results are cached for a while, also during its
    // absence.
    control_plane.kill(Component::ApiServer);
    assert_eq!(get("/metrics", Some(prometheus.trim())).await.status, 200);
    let unanswered = get("/metrics", Some("another-one")).await;
    assert_eq!(unanswered.status, 503, "{unanswered:?}");
    assert_eq!(outrigger.admin("/livez").await.map(|answer| answer.status), Some(200));
    assert!(!outrigger.log().contains(prometheus.trim()));
}
