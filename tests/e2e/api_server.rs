//! The API server is frozen, stopped, restarted, or without its etcd: injection continues unaffected, and everything
//! that needs the API server recovers by itself and without a storm of requests. Also covers our own pods while no
//! replica runs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::headed::headed;

use super::{
    control_plane::{Component, ControlPlane, Flavour, PATIENCE, eventually, settled, until},
    install::{NAMESPACE, Reach, SERVICE, Serving, Webhook, service},
    outrigger_process::{Outrigger, OutriggerProcess},
    pods::{dry_run, is_injected, list},
    reviewer::{Load, Reviewer},
};

const CONFIGURATION: &str = "outrigger-sidecar-injector";
const REQUESTS: &str = "outrigger_requests_total";
const ASKED: &str = "outrigger_kube_api_requests_total";
/// Time after which a lost lease is held again by some replica: a Lease lasts 15 s.
const LEAD: Duration = Duration::from_secs(30);

/// Two replicas that read everything from the cluster: configuration, certificate, caBundle, Lease.
struct Cluster {
    control_plane: ControlPlane,
    replicas: Vec<OutriggerProcess>,
    marks: usize,
}

/// A fault of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Frozen(Component),
    Killed(Component),
}

impl Cluster {
    /// The replicas start before the API server.
    async fn set() -> Cluster {
        let mut control_plane = ControlPlane::start(Flavour::Current).await;
        control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
        control_plane.create_namespace(NAMESPACE, &[("istio-injection", "disabled")]).await;
        control_plane.create_service_account(NAMESPACE, "outrigger").await;
        let admin = ["create", "clusterrolebinding", "outrigger", "--clusterrole=cluster-admin"];
        let who = format!("--serviceaccount={NAMESPACE}:outrigger");
        control_plane.kubectl(&[&admin[..], &[&who]].concat()).await;
        let kubeconfig = control_plane.kubeconfig_for(NAMESPACE, "outrigger").await;
        control_plane.kill(Component::ApiServer);
        let replica = |name: &str| {
            Outrigger::serve()
                .flag("kubeconfig", kubeconfig.display())
                .flag("identity", name)
                .flag("bundle-config-map", "outrigger")
                .flag("webhook-configurations", CONFIGURATION)
                .spawn()
        };
        let mut replicas = vec![replica("a"), replica("b")];
        for replica in &replicas {
            until("it says that it waits", PATIENCE, async || {
                let ready = replica.readyz().await;
                ready.is_some_and(|answer| {
                    answer.status == 503
                        && answer.body.contains("[-]configmap-bundle failed: cannot list configmaps")
                })
            })
            .await;
        }
        control_plane.restart(Component::ApiServer).await;
        let mut cluster = Cluster { control_plane, replicas: Vec::new(), marks: 0 };
        cluster.mark().await;
        let up = Instant::now();
        for replica in &mut replicas {
            replica.wait_ready().await;
        }
        println!("started before the API server: ready {:.1?} after it and the ConfigMap", up.elapsed());
        cluster.replicas = replicas;
        cluster.install().await;
        cluster
    }

    /// The webhook, without a caBundle.
    async fn install(&self) {
        let authority = super::control_plane::identity::Authority::new("nobody");
        let reach = Reach::Service(self.replicas[0].webhook_port());
        let mut configuration = Webhook::new(CONFIGURATION, reach, &authority).configuration();
        if let Some(client) = configuration["webhooks"][0]["clientConfig"].as_object_mut() {
            client.remove("caBundle");
        }
        self.control_plane.apply(&service(self.replicas[0].webhook_port()).to_string()).await;
        self.control_plane.apply(&configuration.to_string()).await;
        self.pods_are_injected().await;
    }

    /// End to end: an API server that trusts the caBundle calls us.
    async fn pods_are_injected(&self) {
        let client = self.control_plane.client().await;
        let pod = application();
        settled("the API server has a pod injected", LEAD, async || {
            match dry_run(&client, "shop", &pod).await {
                Ok(pod) if is_injected(&pod) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// Writes a unique configuration.
    async fn mark(&mut self) {
        self.marks += 1;
        let bundle = headed(&format!("values: {{global: {{tag: mark-{}}}}}\n", self.marks));
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "outrigger", "namespace": NAMESPACE},
            "data": {"bundle": bundle},
        });
        self.control_plane.apply(&object.to_string()).await;
    }

    /// Waits until all replicas respond with the latest configuration. Returns the elapsed time.
    async fn marked(&self) -> Duration {
        let start = Instant::now();
        for replica in &self.replicas {
            let generation = self.marks as f64;
            replica.wait_metric("outrigger_config_generation", &[], |found| found == generation).await;
        }
        start.elapsed()
    }

    async fn total(&self, metric: &str) -> f64 {
        let mut total = 0.0;
        for replica in &self.replicas {
            total += replica.metric(metric, &[]).await;
        }
        total
    }

    /// Waits until exactly one replica leads. Returns the elapsed time.
    async fn led(&self) -> Duration {
        let start = Instant::now();
        until("one replica leads", LEAD, async || self.total("outrigger_leader").await == 1.0).await;
        start.elapsed()
    }

    /// Our requests in the API server's audit log.
    fn audited(&self) -> usize {
        let user = format!("system:serviceaccount:{NAMESPACE}:outrigger");
        self.control_plane.audit().iter().filter(|event| event["user"]["username"] == user.as_str()).count()
    }

    /// The CA in the Secret.
    async fn authority(&self) -> String {
        let secret = ["get", "secret", "outrigger-certificate", "-n", NAMESPACE, "-o", "json"];
        let secret = self.control_plane.kubectl(&secret).await;
        let secret: Value = serde_json::from_str(&secret).expect("a Secret");
        let pem = secret["data"]["ca.crt"].as_str().expect("a CA");
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        String::from_utf8(STANDARD.decode(pem).expect("base64")).expect("PEM")
    }

    fn disturb(&mut self, fault: Fault) {
        match fault {
            Fault::Frozen(component) => self.control_plane.freeze(component),
            Fault::Killed(component) => self.control_plane.kill(component),
        }
    }

    async fn heal(&mut self, fault: Fault) {
        match fault {
            Fault::Frozen(component) => self.control_plane.thaw(component),
            Fault::Killed(component) => self.control_plane.restart(component).await,
        }
    }

    /// One fault from start to end, while pods are reviewed.
    async fn suffers(&mut self, fault: Fault) {
        let (asked, audited, began) = (self.total(ASKED).await, self.audited(), Instant::now());
        self.led().await;
        self.disturb(fault);
        // No replica can renew the Lease, and none may believe to hold it for longer than it lasts.
        until("nobody leads", PATIENCE, async || self.total("outrigger_leader").await == 0.0).await;
        let lost = began.elapsed();
        let before = self.total(REQUESTS).await;
        until("pods are reviewed meanwhile", PATIENCE, async || self.total(REQUESTS).await > before + 100.0)
            .await;
        for replica in &self.replicas {
            let ready = replica.readyz().await.expect("an answer");
            assert_eq!(ready.status, 200, "{}", ready.body);
        }
        let down = began.elapsed();
        self.heal(fault).await;
        let led = self.led().await;
        self.mark().await;
        let marked = self.marked().await;
        let (asked, audited) = (self.total(ASKED).await - asked, self.audited() - audited);
        let all = began.elapsed();
        println!(
            "{fault:?} for {down:.1?}: nobody leads after {lost:.1?}; then one leads after {led:.1?}, a change is seen after {marked:.1?}; {asked} requests ({audited} audited) of 2 replicas in {all:.1?}"
        );
        assert!(marked < Duration::from_secs(10), "{marked:?}");
        // Each of a replica's few loops retries after growing pauses.
        let most = 40.0 + 6.0 * all.as_secs_f64();
        assert!(asked < most, "{asked} requests in {all:?}: a storm");
        assert!((audited as f64) < most, "{audited} requests in {all:?}: a storm");
    }
}

fn application() -> Value {
    json!({"metadata": {"name": "app"}, "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]}})
}

/// K-01, K-02, K-03, K-04
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn injections_go_on_whatever_becomes_of_the_api_server() {
    let mut cluster = Cluster::set().await;
    let ca = cluster.authority().await;
    let mut loads = Vec::new();
    for replica in &cluster.replicas {
        let name = format!("{SERVICE}.{NAMESPACE}.svc");
        let reviewer = Reviewer::connect_to(replica.webhook_port(), &ca, &name).await;
        loads.push(Load::by(vec![reviewer], &application(), |answered, pod| {
            let injected = is_injected(&answered.patched(pod));
            format!("{} {}", if injected { "injected" } else { "bare" }, answered.hash())
        }));
    }
    for fault in [
        Fault::Frozen(Component::ApiServer),
        Fault::Killed(Component::ApiServer),
        Fault::Killed(Component::Etcd),
    ] {
        cluster.suffers(fault).await;
    }
    for load in loads {
        let tally = load.end().await;
        println!("{} reviews, slowest {:.0?}: {:?}", tally.count(), tally.within(1.0), tally.answers);
        assert!(tally.answers.keys().all(|answer| answer.starts_with("injected")), "{:?}", tally.answers);
        assert_eq!(tally.answers.len(), cluster.marks, "one for each configuration: {:?}", tally.answers);
    }
    // The leader really performs its tasks.
    let patch = r#"[{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": ""}]"#;
    let configuration = format!("mutatingwebhookconfiguration/{CONFIGURATION}");
    cluster.control_plane.kubectl(&["patch", &configuration, "--type=json", "-p", patch]).await;
    cluster.pods_are_injected().await;
}

/// L-06, N-01: with `Fail` and no replica, our own pods are created, other pods are not, and the first replica restores
/// service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_pods_need_no_replica() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    let serving = Serving::new(&control_plane);
    let outrigger = Outrigger::standalone(&serving.certificate, &serving.key);
    let mut process = outrigger.clone().start().await;
    let (webhook, admin) = (process.webhook_port(), process.admin_port());
    Webhook::new("outrigger", Reach::service_of(&process), &serving.authority)
        .install(&control_plane, "shop")
        .await;
    process.kill();

    let client = control_plane.client().await;
    let refused = dry_run(&client, "shop", &application()).await.expect_err("nobody is there");
    assert!(refused.contains(r#"failed calling webhook "namespace.sidecar-injector.istio.io""#), "{refused}");
    assert!(refused.contains("connection refused"), "{refused}");
    let labels = json!({"app": "outrigger"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "outrigger", "namespace": NAMESPACE},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "outrigger", "image": "example.com/outrigger:1"}]},
        }},
    });
    control_plane.apply(&deployment.to_string()).await;
    let pods = eventually("our own pods are there", PATIENCE, async || {
        Some(list(&client, NAMESPACE).await).filter(|pods| pods.len() == 2)
    })
    .await;
    assert!(pods.iter().all(|pod| !is_injected(pod)));

    let start = Instant::now();
    let _process = outrigger.ports(webhook, admin).start().await;
    let ready = start.elapsed();
    settled("pods are injected again", PATIENCE, async || {
        match dry_run(&client, "shop", &application()).await {
            Ok(pod) if is_injected(&pod) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    println!("a replica is ready after {ready:.1?}, pods are injected after {:.1?}", start.elapsed());
    assert!(start.elapsed() - ready < Duration::from_secs(5));
}

/// O-07: in a namespace that is being deleted, the API server itself rejects pods; outrigger keeps nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_is_being_deleted_is_the_api_servers_business() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    control_plane.create_namespace("doomed", &[("istio-injection", "enabled")]).await;
    let serving = Serving::new(&control_plane);
    let process = Outrigger::standalone(&serving.certificate, &serving.key).start().await;
    Webhook::new("outrigger", Reach::url_of(&process), &serving.authority)
        .install(&control_plane, "doomed")
        .await;
    // A finalizer keeps the namespace.
    let kept = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kept", "namespace": "doomed", "finalizers": ["example.com/kept"]},
    });
    control_plane.apply(&kept.to_string()).await;
    control_plane.kubectl(&["delete", "namespace", "doomed", "--wait=false"]).await;
    let client = control_plane.client().await;
    settled("the namespace is terminating", PATIENCE, async || {
        match dry_run(&client, "doomed", &application()).await {
            Err(error) if error.contains("because it is being terminated") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let before = process.metric(REQUESTS, &[]).await;
    dry_run(&client, "doomed", &application()).await.expect_err("it is being deleted");
    assert_eq!(process.metric(REQUESTS, &[]).await, before, "we are not asked");

    // It may be created again under the same name.
    control_plane
        .kubectl(&[
            "patch",
            "configmap",
            "kept",
            "-n",
            "doomed",
            "--type=merge",
            "-p",
            r#"{"metadata":{"finalizers":null}}"#,
        ])
        .await;
    control_plane.kubectl(&["wait", "--for=delete", "namespace/doomed", "--timeout=30s"]).await;
    control_plane.create_namespace("doomed", &[("istio-injection", "enabled")]).await;
    settled("pods are injected again", PATIENCE, async || {
        match dry_run(&client, "doomed", &application()).await {
            Ok(pod) if is_injected(&pod) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}
