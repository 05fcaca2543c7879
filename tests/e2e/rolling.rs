//! Replicas start and stop while pods are created: creations are not affected, and a replica that is killed loses only
//! the requests in flight.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::{
    balancer::{Balancer, Probe},
    control_plane::{Component, ControlPlane, Flavour, PATIENCE, supervised::Ended, until},
    install::{NAMESPACE, Reach, SERVICE, Serving, Webhook},
    load::Creates,
    outrigger_process::{Outrigger, OutriggerProcess},
    pods::{dry_run, is_injected, list},
};

/// Clients that create pods at the same time.
const CLIENTS: usize = 8;
/// Creations during a test's rolling updates; more follow until the round is complete.
const CREATES: usize = 5000;
/// The longest all rounds may take.
const ROUNDS: Duration = Duration::from_secs(240);

/// Three replicas behind a Service, as a Deployment keeps them.
struct Fleet {
    control_plane: ControlPlane,
    serving: Serving,
    balancer: Balancer,
    replicas: Vec<Replica>,
    started: usize,
}

struct Replica {
    name: String,
    process: OutriggerProcess,
}

/// Which component first learns that a replica should stop; in a cluster it may be either one.
#[derive(Clone, Copy, Debug)]
enum First {
    /// It has left the endpoints when it gets its signal.
    Endpoints,
    /// It gets its signal, and leaves the endpoints because it reports that it is not ready.
    Replica,
}

impl Fleet {
    /// Nobody yet.
    async fn new() -> Fleet {
        let control_plane = ControlPlane::start(Flavour::Current).await;
        control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
        let serving = Serving::new(&control_plane);
        let balancer = Balancer::start(Probe::default()).await;
        Fleet { control_plane, serving, balancer, replicas: Vec::new(), started: 0 }
    }

    /// Replicas as the chart has them.
    async fn of(count: usize, by_service: bool) -> Fleet {
        let mut fleet = Fleet::new().await;
        for _ in 0..count {
            let replica = fleet.start("5s").await;
            fleet.replicas.push(replica);
        }
        fleet.install(by_service).await;
        fleet
    }

    async fn install(&self, by_service: bool) {
        let port = self.balancer.port();
        let reach = match by_service {
            true => Reach::Service(port),
            false => Reach::Url(format!("https://127.0.0.1:{port}/inject")),
        };
        Webhook::new("outrigger", reach, &self.serving.authority).install(&self.control_plane, "shop").await;
    }

    /// Starts a replica and puts it behind the balancer with a weir before it.
    async fn start_behind_weir(&mut self, flags: &[(&str, &str)]) -> Weir {
        self.started += 1;
        let name = format!("replica-{}", self.started);
        let outrigger =
            flags.iter().fold(self.outrigger(), |outrigger, (flag, value)| outrigger.flag(flag, value));
        let process = outrigger.start().await;
        let weir = Weir::before(&process).await;
        self.balancer.add_ports(&name, weir.port, process.admin_port());
        until("the replica gets connections", PATIENCE, async || self.balancer.ready().contains(&name)).await;
        self.replicas.push(Replica { name, process });
        weir
    }

    fn outrigger(&self) -> Outrigger {
        Outrigger::standalone(&self.serving.certificate, &self.serving.key)
    }

    /// Starts a replica; it is behind the balancer and ready when this returns.
    async fn start(&mut self, drain: &str) -> Replica {
        self.started += 1;
        let name = format!("replica-{}", self.started);
        let process = self.outrigger().flag("drain-delay", drain).start().await;
        self.balancer.add(&name, &process);
        until("the replica gets connections", PATIENCE, async || self.balancer.ready().contains(&name)).await;
        Replica { name, process }
    }

    /// Replaces every replica, one after the other: the new one is ready before the old one gets its signal. Returns
    /// the number of requests that the old ones have answered.
    async fn roll(&mut self, drain: &str, first: First) -> Vec<f64> {
        let mut leaving = Vec::new();
        for _ in 0..self.replicas.len() {
            let new = self.start(drain).await;
            self.replicas.push(new);
            let mut old = self.replicas.remove(0);
            // No sample at all sums up to -0.
            let answered = old.process.metric("outrigger_requests_total", &[]).await.abs();
            if matches!(first, First::Endpoints) {
                self.balancer.terminating(&old.name);
            }
            old.process.signal("TERM");
            leaving.push((old, answered));
        }
        let mut all = Vec::new();
        for (mut old, answered) in leaving {
            let ended = old.process.wait_end().await;
            assert_eq!(ended, Ended::Code(0), "{}: {}", old.name, last_lines(&old.process));
            self.balancer.remove(&old.name);
            all.push(answered);
        }
        all
    }

    /// Calls that the API server retried as instructed.
    async fn repeated(&self) -> f64 {
        let host = format!(r#"host="{SERVICE}.{NAMESPACE}.svc:"#);
        self.control_plane.metric("rest_client_request_retries_total", &[&host]).await.abs()
    }

    /// The API server got a response from the webhook each time.
    async fn assert_never_failed(&self) {
        for metric in ["rejection_count", "fail_open_count"] {
            let metric = format!("apiserver_admission_webhook_{metric}");
            assert_eq!(self.control_plane.metric(&metric, &[]).await, 0.0, "{metric}");
        }
    }
}

async fn nobody_notices_rolling_updates(by_service: bool, creates: usize) {
    let mut fleet = Fleet::of(3, by_service).await;
    let load = Creates::start(&fleet.control_plane, "shop", CLIENTS).await;
    load.more(100, PATIENCE * 4).await;
    let (mut rounds, mut answered) = (0, Vec::new());
    while (rounds < 2 || load.so_far().attempted < creates) && load.so_far().lasted < ROUNDS {
        // As in the chart, and short enough that shutdown happens amid requests.
        let (drain, first) = match rounds % 3 {
            0 => ("5s", First::Endpoints),
            1 => ("1s", First::Replica),
            _ => ("1s", First::Endpoints),
        };
        answered.extend(fleet.roll(drain, first).await);
        rounds += 1;
    }
    let tally = load.stop().await;
    let reached = if by_service { "HTTP/1.1" } else { "HTTP/2" };
    tally.print(&format!("{rounds} rolling updates of 3 replicas over {reached}"));
    println!("answered by each replica before it went: {answered:.0?}");
    let log = fleet.control_plane.log(Component::ApiServer, usize::MAX);
    println!(
        "{} requests crossed the end of their connection and were repeated, {} idle connections were closed",
        fleet.repeated().await,
        log.matches("Unsolicited response received on idle HTTP channel").count(),
    );
    tally.assert_flawless();
    assert!(tally.attempted >= creates, "{} creates in {ROUNDS:?}", tally.attempted);
    assert!(rounds >= 2, "{rounds}");
    fleet.assert_never_failed().await;
    let stored = list(&fleet.control_plane.client().await, "shop").await;
    assert_eq!(stored.len(), tally.stored);
    assert!(stored.iter().all(is_injected));
    if by_service {
        assert!(answered.iter().filter(|count| **count > 0.0).count() * 2 > answered.len(), "{answered:?}");
    }
}

/// L-05, L-01
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_updates_fail_no_pod_over_http1() {
    nobody_notices_rolling_updates(true, CREATES).await;
}

/// L-05, L-01
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_updates_fail_no_pod_over_http2() {
    nobody_notices_rolling_updates(false, CREATES / 5).await;
}

/// Between the API server and a replica: holds traffic back.
struct Weir {
    port: u16,
    holds: watch::Sender<Holds>,
    accepting: JoinHandle<()>,
    held: Arc<AtomicUsize>,
    passed_up: Arc<AtomicUsize>,
}

/// What a weir holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Nothing,
    /// Requests, half-way.
    Requests,
    /// Everything that a replica sends, including the end of the connection.
    Answers,
}

/// More than a handshake and the header of a request, less than the body of a [`large`] pod.
const LET_THROUGH: usize = 32 << 10;

impl Drop for Weir {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Weir {
    async fn before(process: &OutriggerProcess) -> Weir {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let port = listener.local_addr().expect("an address").port();
        let (holds, held_back) = watch::channel(Holds::Nothing);
        let (held, passed_up) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (webhook, counters) = (process.webhook_port(), (held.clone(), passed_up.clone()));
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (holds, (held, passed)) = (held_back.clone(), counters.clone());
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", webhook)).await else { return };
                    Weir::forward(client, server, holds, &held, &passed).await;
                });
            }
        });
        Weir { port, holds, accepting, held, passed_up }
    }

    async fn forward(
        mut client: TcpStream,
        mut server: TcpStream,
        mut holds: watch::Receiver<Holds>,
        held: &AtomicUsize,
        passed_up: &AtomicUsize,
    ) {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let mut up_holds = holds.clone();
        let up = async {
            let (mut buffer, mut passed) = (vec![0; 4096], 0);
            while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
                passed = if *up_holds.borrow() == Holds::Requests { passed + count } else { 0 };
                if passed > LET_THROUGH {
                    held.fetch_add(1, Ordering::Relaxed);
                    let _ = up_holds.wait_for(|holds| *holds != Holds::Requests).await;
                }
                if to_server.write_all(&buffer[..count]).await.is_err() {
                    break;
                }
                passed_up.fetch_add(count, Ordering::Relaxed);
            }
            let _ = to_server.shutdown().await;
            // An API server that closes lets the answer through; a replica that closes, closes.
            std::future::pending::<()>().await;
        };
        let down = async {
            let mut buffer = vec![0; 4096];
            loop {
                let count = from_server.read(&mut buffer).await.unwrap_or(0);
                if *holds.borrow() == Holds::Answers {
                    held.fetch_add(1, Ordering::Relaxed);
                }
                let _ = holds.wait_for(|holds| *holds != Holds::Answers).await;
                if count == 0 || to_client.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = up => {}
            () = down => {}
        }
    }

    fn hold(&self, what: Holds) {
        self.holds.send_replace(what);
    }
}

/// A pod whose request is in flight as long as a weir is closed.
fn large(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "annotations": {"example.com/large": "x".repeat(128 << 10)}},
        "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]},
    })
}

fn small(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]}})
}

/// Two replicas with weirs, and requests of the API server in flight at both.
struct Halted {
    fleet: Fleet,
    weirs: Vec<Weir>,
    creating: JoinSet<Result<Value, String>>,
}

/// Requests in flight, about half of them at each replica.
const IN_FLIGHT: usize = 8;

impl Halted {
    async fn with(flags: &[(&str, &str)]) -> Halted {
        let mut fleet = Fleet::new().await;
        let weirs = vec![fleet.start_behind_weir(flags).await, fleet.start_behind_weir(flags).await];
        fleet.install(true).await;
        weirs.iter().for_each(|weir| weir.hold(Holds::Requests));
        let mut creating = JoinSet::new();
        for number in 0..IN_FLIGHT {
            let client = fleet.control_plane.client().await;
            creating.spawn(async move { dry_run(&client, "shop", &large(&format!("large-{number}"))).await });
        }
        let halted = Halted { fleet, weirs, creating };
        until("all requests are in flight", PATIENCE, async || {
            let mut in_flight = 0.0;
            for replica in &halted.fleet.replicas {
                in_flight += replica.process.metric("outrigger_in_flight_requests", &[]).await;
            }
            in_flight as usize == IN_FLIGHT && halted.at(0) + halted.at(1) == IN_FLIGHT
        })
        .await;
        assert!(halted.at(0) > 0 && halted.at(1) > 0, "{} and {}", halted.at(0), halted.at(1));
        halted
    }

    /// The number of requests held at a replica.
    fn at(&self, replica: usize) -> usize {
        self.weirs[replica].held.load(Ordering::Relaxed)
    }

    /// Waits for the given number of results: successful ones, and the errors of the others.
    async fn answers(&mut self, count: usize) -> (usize, Vec<String>) {
        let (mut injected, mut errors) = (0, Vec::new());
        for _ in 0..count {
            let answer = tokio::time::timeout(PATIENCE, self.creating.join_next()).await.expect("an answer");
            match answer.expect("a create").expect("no panic") {
                Ok(pod) => injected += usize::from(is_injected(&pod)),
                Err(error) => errors.push(error),
            }
        }
        (injected, errors)
    }

    /// Only the second replica is left, and pods are created as usual.
    async fn second_goes_on(&mut self) {
        let of_second = self.at(1);
        self.weirs[1].hold(Holds::Nothing);
        assert_eq!(self.answers(of_second).await, (of_second, vec![]));
        self.fleet.balancer.wait_ready(1).await;
        let client = self.fleet.control_plane.client().await;
        for number in 0..20 {
            let pod = dry_run(&client, "shop", &large(&format!("next-{number}"))).await.expect("a pod");
            assert!(is_injected(&pod));
        }
    }
}

/// L-01
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_are_finished_before_the_end() {
    let mut halted = Halted::with(&[("drain-delay", "0"), ("shutdown-grace", "20s")]).await;
    let of_first = halted.at(0);
    halted.fleet.replicas[0].process.signal("TERM");
    halted.second_goes_on().await;
    assert_eq!(halted.fleet.replicas[0].process.ended(), None, "requests are in flight");
    halted.weirs[0].hold(Holds::Nothing);
    assert_eq!(halted.answers(of_first).await, (of_first, vec![]));
    assert_eq!(halted.fleet.replicas[0].process.wait_end().await, Ended::Code(0));
    halted.fleet.assert_never_failed().await;
}

/// L-01: an API server that does not know yet that a connection was closed sends a request on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_crosses_the_end_of_its_connection_goes_to_another_replica() {
    let mut fleet = Fleet::new().await;
    let weir = fleet.start_behind_weir(&[("drain-delay", "0")]).await;
    fleet.install(true).await;
    let _other = fleet.start_behind_weir(&[]).await;
    let client = fleet.control_plane.client().await;
    // One request at a time was made so far, so there is one connection, and nobody uses it now.
    assert_eq!(fleet.balancer.connections("replica-1"), 1);
    fleet.balancer.terminating("replica-1");
    weir.hold(Holds::Answers);
    fleet.replicas[0].process.signal("TERM");
    until("the connection was closed", PATIENCE, async || weir.held.load(Ordering::Relaxed) > 0).await;
    let before = weir.passed_up.load(Ordering::Relaxed);
    let creating = tokio::spawn(async move { dry_run(&client, "shop", &small("crossing")).await });
    until("the request was sent", PATIENCE, async || weir.passed_up.load(Ordering::Relaxed) > before).await;
    weir.hold(Holds::Nothing);
    let pod = tokio::time::timeout(PATIENCE, creating).await.expect("an answer").expect("no panic");
    assert!(is_injected(&pod.expect("a pod")));
    assert_eq!(fleet.replicas[0].process.wait_end().await, Ended::Code(0));
    fleet.assert_never_failed().await;
    assert_eq!(fleet.repeated().await, 1.0);
}

/// L-01: a request that does not end does not keep the replica running.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_do_not_end_are_cut_off_after_the_grace() {
    let mut halted = Halted::with(&[("drain-delay", "0"), ("shutdown-grace", "1s")]).await;
    let of_first = halted.at(0);
    halted.fleet.replicas[0].process.signal("TERM");
    assert_eq!(halted.fleet.replicas[0].process.wait_end().await, Ended::Code(1));
    let (injected, errors) = halted.answers(of_first).await;
    assert_eq!((injected, errors.len()), (0, of_first), "{errors:?}");
    halted.second_goes_on().await;
}

/// L-04
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_fails_only_what_it_was_at() {
    let mut halted = Halted::with(&[]).await;
    let of_first = halted.at(0);
    halted.fleet.replicas[0].process.kill();
    let (injected, errors) = halted.answers(of_first).await;
    assert_eq!((injected, errors.len()), (0, of_first), "{errors:?}");
    for error in &errors {
        assert!(error.contains("failed calling webhook"), "{error}");
        assert!(error.contains("EOF") || error.contains("reset"), "{error}");
    }
    halted.second_goes_on().await;
}

/// L-04
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_under_load_fails_only_what_was_sent_to_it() {
    let mut fleet = Fleet::of(3, true).await;
    let load = Creates::start(&fleet.control_plane, "shop", CLIENTS).await;
    load.more(200, PATIENCE * 4).await;
    let dead = fleet.replicas[0].name.clone();
    let before = fleet.balancer.connections(&dead);
    fleet.replicas[0].process.kill();
    fleet.balancer.wait_ready(2).await;
    // Until a kubelet has noticed, kube-proxy sends connections to a dead pod.
    let refused = fleet.balancer.connections(&dead) - before;
    let noticed = load.so_far().lasted;
    load.more(500, PATIENCE * 4).await;
    let tally = load.stop().await;
    tally.print("a replica of 3 killed");
    let failed = tally.failures.len();
    println!("{failed} failed: at most {CLIENTS} in flight, and {refused} connections to a dead replica");
    assert!(failed <= CLIENTS + refused, "{:#?}", tally.failures);
    assert!(tally.failures.iter().all(|(began, _)| *began <= noticed), "{noticed:?}: {:#?}", tally.failures);
    assert_eq!(tally.bare, 0, "Fail means that no pod comes without a proxy");
}

fn last_lines(process: &OutriggerProcess) -> String {
    let lines = process.lines().all();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
