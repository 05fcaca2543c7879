//! The long run: pods are created at a third of what the machine can do while certificates are rotated, configurations
//! change, the API server is restarted and leaders are killed in turn. No injection fails, and memory and descriptors of
//! the replicas that serve do not grow.
//!
//! `OUTRIGGER_SOAK=45m` for the long form (`just soak`); 3 minutes otherwise. Two replicas serve and live from the
//! beginning to the end; for that they lack the right to lead. Two others are there to lead and to be killed; the tests
//! in `rolling` show what is lost when a serving replica is killed.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::Client;
use outrigger::server::duration::parse_duration;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, error::Elapsed},
};

use super::{
    balancer::{Balancer, Probe},
    control_plane::{Component, ControlPlane, Flavour, eventually, identity::Authority, settled, until},
    install::{NAMESPACE, Reach, Webhook, service},
    outrigger_process::{Outrigger, OutriggerProcess},
    pods::{dry_run, is_injected},
};

const CONFIGURATION: &str = "outrigger-sidecar-injector";
const SECRET: &str = "outrigger-certificate";
/// The load, as a share of the machine's capacity.
const SHARE: f64 = 0.3;
/// Clients that create pods.
const CLIENTS: usize = 4;
/// The machine's capacity is the best of this number of measurements: others also use it, and it starts cold.
const TRIES: usize = 5;
const TRY: Duration = Duration::from_secs(2);
/// Each event has its own time slot, and this is its maximum duration: a Lease lasts 15 s.
const PATIENCE: Duration = Duration::from_secs(60);
/// Memory is filled to its steady state before it is measured, in a short and in a long run.
const WARM_UP: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(300)];
const SAMPLED_EVERY: Duration = Duration::from_secs(1);
const MINUTE: f64 = 60.0;
const MEBIBYTE: f64 = 1_048_576.0;

/// What happens, in turn.
#[derive(Clone, Copy, Debug)]
enum Event {
    Leaf,
    Configuration,
    ApiServerRestart,
    LeaderKill,
    Authority,
    BrokenConfiguration,
}

const EVENTS: [Event; 6] = [
    Event::Leaf,
    Event::Configuration,
    Event::ApiServerRestart,
    Event::LeaderKill,
    Event::Authority,
    Event::BrokenConfiguration,
];

struct Soak {
    control_plane: ControlPlane,
    client: Client,
    leaders: PathBuf,
    serving: Arc<Vec<OutriggerProcess>>,
    candidates: Vec<OutriggerProcess>,
    balancer: Balancer,
    configurations: usize,
    started: usize,
}

/// Pods that are created at a steady pace.
struct Load {
    clients: JoinSet<()>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    tally: Mutex<Tally>,
}

/// The results.
#[derive(Clone, Debug, Default)]
struct Tally {
    /// Pods with a proxy, and their latencies.
    injected: Vec<Duration>,
    /// The webhook was not called, its response was not trusted or not understood, or it rejected the pod.
    failed: Vec<String>,
    /// Accepted without a proxy.
    bare: usize,
    /// The API server itself was unavailable.
    away: usize,
}

/// A replica at a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Minutes since the beginning.
    at: f64,
    rss: f64,
    descriptors: f64,
}

fn pod(number: usize) -> Value {
    json!({
        "metadata": {"name": format!("soak-{number}"), "labels": {"app": format!("app-{}", number % 50)}},
        "spec": {"containers": [{
            "name": "main", "image": format!("example.com/main:{}", number % 7), "ports": [{"containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
        }]},
    })
}

impl Soak {
    async fn set() -> Soak {
        let control_plane = ControlPlane::start(Flavour::Current).await;
        control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
        control_plane.create_namespace(NAMESPACE, &[("istio-injection", "disabled")]).await;
        // The serving replicas may read everything and change nothing.
        let create = ["create", "clusterrole", "soak-serving", "--verb=get,list,watch"];
        let resources = "--resource=configmaps,secrets,nodes,namespaces,mutatingwebhookconfigurations.admissionregistration.k8s.io";
        control_plane.kubectl(&[&create[..], &[resources]].concat()).await;
        for (account, role) in [("serving", "soak-serving"), ("leading", "cluster-admin")] {
            control_plane.create_service_account(NAMESPACE, account).await;
            let bind = ["create", "clusterrolebinding", account, "--clusterrole", role];
            let who = format!("--serviceaccount={NAMESPACE}:{account}");
            control_plane.kubectl(&[&bind[..], &[&who]].concat()).await;
        }
        let serving = control_plane.kubeconfig_for(NAMESPACE, "serving").await;
        let leaders = control_plane.kubeconfig_for(NAMESPACE, "leading").await;
        let client = control_plane.client().await;
        let balancer = Balancer::start(Probe::default()).await;
        let mut soak = Soak {
            control_plane,
            client,
            leaders,
            serving: Arc::default(),
            candidates: Vec::new(),
            balancer,
            configurations: 0,
            started: 0,
        };
        soak.configure("").await;
        for _ in 0..2 {
            let candidate = soak.candidate().start().await;
            soak.candidates.push(candidate);
        }
        let mut replicas = Vec::new();
        for number in 0..2 {
            let name = format!("serving-{number}");
            let process = soak.outrigger(&serving, &name).start().await;
            soak.balancer.add(&name, &process);
            replicas.push(process);
        }
        soak.serving = Arc::new(replicas);
        soak.balancer.wait_ready(2).await;
        soak.install().await;
        soak
    }

    fn outrigger(&self, kubeconfig: &Path, identity: &str) -> Outrigger {
        Outrigger::serve()
            .flag("kubeconfig", kubeconfig.display())
            .flag("identity", identity)
            .flag("bundle-config-map", "outrigger")
            .flag("ca-overlap", "3s")
            // So that there are handshakes with every certificate.
            .flag("max-connection-age", "5s")
            .flag("webhook-configurations", CONFIGURATION)
    }

    fn candidate(&mut self) -> Outrigger {
        self.started += 1;
        self.outrigger(&self.leaders, &format!("candidate-{}", self.started))
    }

    /// The webhook, whose caBundle the leader manages.
    async fn install(&self) {
        let reach = Reach::Service(self.balancer.port());
        let mut configuration = Webhook::new(CONFIGURATION, reach, &Authority::new("nobody")).configuration();
        if let Some(client) = configuration["webhooks"][0]["clientConfig"].as_object_mut() {
            client.remove("caBundle");
        }
        self.control_plane.apply(&service(self.balancer.port()).to_string()).await;
        self.control_plane.apply(&configuration.to_string()).await;
        settled("pods get their proxies", PATIENCE, async || {
            match dry_run(&self.client, "shop", &pod(0)).await {
                Ok(pod) if is_injected(&pod) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    async fn configure(&self, bundle: &str) {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "outrigger", "namespace": NAMESPACE},
            "data": {"bundle": format!("apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\n{bundle}")},
        });
        self.control_plane.apply(&object.to_string()).await;
    }

    /// Applies a configuration that differs from all others, and waits until all replicas use it.
    async fn configure_anew(&mut self) {
        self.configurations += 1;
        let before = self.hashes().await;
        self.configure(&format!("values: {{global: {{tag: soak-{}}}}}\n", self.configurations)).await;
        until("all replicas have the new configuration", PATIENCE, async || {
            let now = self.hashes().await;
            now.iter().all(|hash| *hash == now[0] && !before.contains(hash))
        })
        .await;
    }

    fn replicas(&self) -> impl Iterator<Item = &OutriggerProcess> {
        self.serving.iter().chain(&self.candidates)
    }

    async fn hashes(&self) -> Vec<String> {
        let mut hashes = Vec::new();
        for replica in self.replicas() {
            let metrics = replica.metrics().await;
            let hash = metrics.lines().find(|line| line.starts_with("outrigger_config_hash_info{"));
            hashes.push(hash.unwrap_or_default().to_owned());
        }
        hashes
    }

    async fn secret(&self) -> Option<[String; 2]> {
        let request = hyper::Request::get(format!("/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET}"));
        let request = request.body(Vec::new()).expect("a request");
        let secret: Value = self.client.request(request).await.ok()?;
        let text = |key: &str| {
            let value = STANDARD.decode(secret["data"][key].as_str()?).ok()?;
            String::from_utf8(value).ok()
        };
        Some([text("ca.crt")?, text("tls.crt")?])
    }

    /// Requests a new leaf or CA, and waits until it is the only one.
    async fn rotate(&self, what: &str) {
        let [ca, leaf] = eventually("the Secret", PATIENCE, async || self.secret().await).await;
        let patch = json!({"metadata": {"annotations": {"outrigger.dev/rotate": what}}}).to_string();
        let secret = format!("secret/{SECRET}");
        self.control_plane.kubectl(&["patch", &secret, "-n", NAMESPACE, "--type=merge", "-p", &patch]).await;
        until(&format!("{what} rotated"), PATIENCE, async || {
            self.secret().await.is_some_and(|[new_ca, new_leaf]| {
                let one = new_ca.matches("BEGIN CERTIFICATE").count() == 1;
                new_leaf != leaf && one && (what == "leaf") == (new_ca == ca)
            })
        })
        .await;
    }

    async fn leader(&self) -> usize {
        eventually("one replica leads", PATIENCE, async || {
            let mut leaders = Vec::new();
            for (at, candidate) in self.candidates.iter().enumerate() {
                if candidate.metric("outrigger_leader", &[]).await == 1.0 {
                    leaders.push(at);
                }
            }
            if let [leader] = leaders[..] { Some(leader) } else { None }
        })
        .await
    }

    async fn happens(&mut self, event: Event) {
        match event {
            Event::Leaf => self.rotate("leaf").await,
            Event::Authority => self.rotate("ca").await,
            Event::Configuration => self.configure_anew().await,
            Event::BrokenConfiguration => {
                self.configure("injector: {templates: {sidecar: '{{ if }}'}}\n").await;
                for replica in self.replicas() {
                    replica
                        .wait_metric("outrigger_config_last_reload_success", &[], |value| value == 0.0)
                        .await;
                }
                self.configure_anew().await;
            }
            Event::ApiServerRestart => self.control_plane.restart(Component::ApiServer).await,
            Event::LeaderKill => {
                let leader = self.leader().await;
                self.candidates.remove(leader).kill();
                self.leader().await;
                let candidate = self.candidate().start().await;
                self.candidates.push(candidate);
            }
        }
    }
}

impl Shared {
    /// Records the result of a creation. Returns false if the API server itself was unavailable.
    fn note(&self, created: Result<Result<Value, String>, Elapsed>, took: Duration) -> bool {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        match created {
            Ok(Ok(pod)) if is_injected(&pod) => tally.injected.push(took),
            Ok(Ok(_)) => tally.bare += 1,
            // Whatever the API server says of the webhook.
            Ok(Err(error)) if error.contains("webhook") => tally.failed.push(error),
            Ok(Err(_)) => {
                tally.away += 1;
                return false;
            }
            Err(_) => tally.failed.push(format!("no answer in {PATIENCE:?}")),
        }
        true
    }
}

impl Load {
    async fn start(soak: &Soak, pace: Option<Duration>) -> Load {
        let (mut clients, shared) = (JoinSet::new(), Arc::new(Shared::default()));
        for number in 0..CLIENTS {
            let (client, shared) = (soak.control_plane.client().await, shared.clone());
            clients.spawn(async move {
                let mut beat = pace.map(|pace| {
                    let mut beat = tokio::time::interval(pace);
                    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
                    beat
                });
                let mut number = number;
                while !shared.stopped.load(Ordering::Relaxed) {
                    if let Some(beat) = &mut beat {
                        beat.tick().await;
                    }
                    number += CLIENTS;
                    let began = Instant::now();
                    let created =
                        tokio::time::timeout(PATIENCE, dry_run(&client, "shop", &pod(number))).await;
                    if !shared.note(created, began.elapsed()) {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            });
        }
        Load { clients, shared }
    }

    fn so_far(&self) -> Tally {
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn stop(mut self) -> Tally {
        self.shared.stopped.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic");
        }
        self.so_far()
    }
}

impl Tally {
    fn at(times: &[Duration], share: f64) -> Duration {
        let mut times = times.to_vec();
        times.sort_unstable();
        times.get((times.len() as f64 * share) as usize).or(times.last()).copied().unwrap_or_default()
    }
}

impl Sample {
    fn of(replica: &OutriggerProcess, began: Instant) -> Sample {
        Sample {
            at: began.elapsed().as_secs_f64() / MINUTE,
            rss: replica.rss() as f64 / MEBIBYTE,
            descriptors: replica.descriptors() as f64,
        }
    }
}

/// The slope of the least-squares line.
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let count = points.clone().count() as f64;
    let (sum_x, sum_y) = points.clone().fold((0.0, 0.0), |(xs, ys), (x, y)| (xs + x, ys + y));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (above, below) = points.fold((0.0, 0.0), |(above, below), (x, y)| {
        (above + (x - mean_x) * (y - mean_y), below + (x - mean_x).powi(2))
    });
    above / below
}

#[test]
fn a_slope_is_that_of_the_line() {
    let line = (0..10).map(|x| (f64::from(x), 3.0 - 2.0 * f64::from(x)));
    assert!((slope(line) + 2.0).abs() < 1e-9);
    let noise = (0..10).map(|x| (f64::from(x), if x % 2 == 0 { 1.0 } else { -1.0 }));
    assert!(slope(noise).abs() < 0.1);
}

///
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_fails_and_nothing_grows_in_a_long_run() {
    let lasts = std::env::var("OUTRIGGER_SOAK").unwrap_or_else(|_| "3m".to_owned());
    let lasts = parse_duration(&lasts).unwrap_or_else(|error| panic!("OUTRIGGER_SOAK: {error}"));
    let is_long = lasts >= Duration::from_secs(20 * 60);
    let every = if is_long { Duration::from_secs(60) } else { lasts / 9 };
    let mut soak = Soak::set().await;

    let at_once = Load::start(&soak, None).await;
    let mut full = 0.0_f64;
    for _ in 0..TRIES {
        let (start, before) = (Instant::now(), at_once.so_far().injected.len());
        tokio::time::sleep(TRY).await;
        let created = at_once.so_far().injected.len() - before;
        full = full.max(created as f64 / start.elapsed().as_secs_f64());
    }
    at_once.stop().await;
    assert!(full > 0.0, "no pod is created");
    let pace = Duration::from_secs_f64(CLIENTS as f64 / (full * SHARE));
    println!("{full:.0} creates/s at most; {:.0}/s for {lasts:?}, an event every {every:?}", full * SHARE);

    let began = Instant::now();
    let load = Load::start(&soak, Some(pace)).await;
    let stop_sampling = Arc::new(AtomicBool::new(false));
    let sampler = {
        let (stop, replicas) = (stop_sampling.clone(), soak.serving.clone());
        tokio::spawn(async move {
            let mut samples = [Vec::new(), Vec::new()];
            let mut beat = tokio::time::interval(SAMPLED_EVERY);
            while !stop.load(Ordering::Relaxed) {
                beat.tick().await;
                for (of, replica) in samples.iter_mut().zip(replicas.iter()) {
                    of.push(Sample::of(replica, began));
                }
            }
            samples
        })
    };
    println!(
        "| at | event | took | creates | failed | API server away |\n| --- | --- | --- | --- | --- | --- |"
    );
    let mut events = 0;
    while began.elapsed() < lasts {
        let event = EVENTS[events % EVENTS.len()];
        let (start, before) = (Instant::now(), load.so_far());
        soak.happens(event).await;
        let took = start.elapsed();
        events += 1;
        tokio::time::sleep(every.saturating_sub(took).min(lasts.saturating_sub(began.elapsed()))).await;
        let now = load.so_far();
        println!(
            "| {:.1} min | {event:?} | {took:.1?} | {} | {} | {} |",
            (start - began).as_secs_f64() / MINUTE,
            now.injected.len() - before.injected.len(),
            now.failed.len() - before.failed.len(),
            now.away - before.away,
        );
    }
    let tally = load.stop().await;
    stop_sampling.store(true, Ordering::Relaxed);
    let samples = sampler.await.expect("no panic");
    let third = tally.injected.len() / 3;
    let (first, last) = (&tally.injected[..third], &tally.injected[2 * third..]);
    println!(
        "{events} events, {} creates with a proxy, {} failed, {} without a proxy, {} while the API server was away; median {:.1?} \
         in the first third and {:.1?} in the last, 99 % {:.1?} and {:.1?}",
        tally.injected.len(),
        tally.failed.len(),
        tally.bare,
        tally.away,
        Tally::at(first, 0.5),
        Tally::at(last, 0.5),
        Tally::at(first, 0.99),
        Tally::at(last, 0.99),
    );
    assert!(tally.failed.is_empty(), "{:#?}", &tally.failed[..tally.failed.len().min(20)]);
    assert_eq!(tally.bare, 0, "pods without a proxy");
    assert!(events >= EVENTS.len(), "each event happened: {events}");

    // A single minute is noisy; growth shows in a long run.
    let (most_rss, most_descriptors) = if is_long { (0.3, 0.5) } else { (3.0, 10.0) };
    let warm_up = WARM_UP[usize::from(is_long)].as_secs_f64();
    for (number, samples) in samples.iter().enumerate() {
        let warm = || samples.iter().filter(|sample| sample.at * MINUTE > warm_up);
        let rss = slope(warm().map(|sample| (sample.at, sample.rss)));
        let descriptors = slope(warm().map(|sample| (sample.at, sample.descriptors)));
        let range = |of: fn(&Sample) -> f64| {
            let values = || warm().map(of);
            (values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max))
        };
        let ((least, most), (fewest, highest)) =
            (range(|sample| sample.rss), range(|sample| sample.descriptors));
        println!(
            "serving-{number}: RSS {least:.1} to {most:.1} MiB, slope {rss:+.3} MiB/min; {fewest} to {highest} descriptors, \
             slope {descriptors:+.3}/min; {} samples",
            warm().count()
        );
        assert!(rss <= most_rss, "RSS grows by {rss:.3} MiB/min");
        assert!(descriptors <= most_descriptors, "descriptors grow by {descriptors:.3}/min");
    }
}
