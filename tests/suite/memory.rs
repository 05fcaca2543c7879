//! The memory that a pod can make the server use: a release build, real TLS, the worst possible pods, and the peak
//! measured by the kernel, compared with the formula (`Limits::peak`) and the weight of the pods.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use hyper::client::conn;
use hyper_util::rt::TokioIo;
use outrigger::{
    inject::limits::{self, CONTAINERS, ELEMENTS, TREE, Weight},
    server::options::Limits,
};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::support::{Answer, post, within, write_certificate};

/// A server in a separate process.
struct Process {
    child: Child,
    port: u16,
    roots: Arc<RootCertStore>,
    _folder: TempDir,
}

impl Process {
    fn start(more: &[&str]) -> Process {
        Process::start_by(Command::new(env!("CARGO_BIN_EXE_outrigger")), more)
    }

    /// Starts it in a cgroup from its first instruction on.
    fn start_in(group: &Group) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
        command.arg(group.file("cgroup.procs")).arg(env!("CARGO_BIN_EXE_outrigger"));
        Process::start_by(command, &[])
    }

    fn start_by(mut command: Command, more: &[&str]) -> Process {
        let folder = tempfile::tempdir().unwrap();
        let certificate = write_certificate(folder.path(), |_| {});
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let mut child = command
            .args(["serve", "--standalone", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--tls-cert", &file("tls.crt"), "--tls-key", &file("tls.key"), "--drain-delay=0"])
            .args(more)
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut port = None;
        while port.is_none() {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before it was ready");
            port = line
                .split("https://127.0.0.1:")
                .nth(1)
                .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        }
        std::thread::spawn(move || lines.lines().for_each(drop));
        Process { child, port: port.unwrap(), roots: Arc::new(roots), _folder: folder }
    }

    async fn post(&self, body: Vec<u8>) -> Answer {
        let tcp = within(TcpStream::connect(("127.0.0.1", self.port))).await.unwrap();
        let config = ClientConfig::builder().with_root_certificates(self.roots.clone()).with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = within(TlsConnector::from(Arc::new(config)).connect(name, tcp)).await.unwrap();
        let (mut sender, connection) = conn::http1::handshake(TokioIo::new(tls)).await.unwrap();
        tokio::spawn(connection);
        // Eight take turns on a busy machine: this limit only detects hangs.
        let answer =
            tokio::time::timeout(6 * super::support::PATIENCE, sender.send_request(post("/inject", body)));
        Answer::read(answer.await.expect("an answer").unwrap()).await
    }

    /// A figure of `/proc/…/status` in bytes.
    fn status(&self, key: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<usize>().unwrap() << 10
    }

    /// Resets the kernel's peak measurement; returns the current usage.
    fn measure(&self) -> usize {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
        self.status("VmRSS:")
    }

    fn peak(&self) -> usize {
        self.status("VmHWM:")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A cgroup with a memory limit.
struct Group {
    folder: PathBuf,
    is_unified: bool,
}

impl Group {
    /// Creates one below the root of the hierarchy with the memory controller.
    fn make(name: &str, limit: usize) -> Group {
        let is_unified = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
            .is_ok_and(|controllers| controllers.split_whitespace().any(|name| name == "memory"));
        let root = if is_unified { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/memory" };
        let folder = Path::new(root).join(format!("outrigger-test-{}-{name}", std::process::id()));
        std::fs::create_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}; this test has to run as root", folder.display()));
        let group = Group { folder, is_unified };
        let file = if is_unified { "memory.max" } else { "memory.limit_in_bytes" };
        std::fs::write(group.file(file), limit.to_string()).unwrap();
        group
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The number of processes that the kernel has killed for lack of memory.
    fn killed(&self) -> usize {
        let file = if self.is_unified { "memory.events" } else { "memory.oom_control" };
        let events = std::fs::read_to_string(self.file(file)).unwrap();
        let line = events.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap();
        line.trim().parse().unwrap()
    }

    fn peak(&self) -> usize {
        let file = if self.is_unified { "memory.peak" } else { "memory.max_usage_in_bytes" };
        std::fs::read_to_string(self.file(file)).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.folder);
    }
}

/// A review of a pod given as text, so that the measurement does not depend on serialization.
fn review(pod: &str) -> Vec<u8> {
    format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"uid-1","operation":"CREATE","namespace":"shop","resource":{{"group":"","version":"v1","resource":"pods"}},"object":{pod}}}}}"#
    )
    .into_bytes()
}

/// `n` elements, numbered.
fn list(n: usize, element: impl Fn(usize) -> String) -> String {
    (0..n).map(element).collect::<Vec<_>>().join(",")
}

fn spec(spec: &str) -> String {
    format!(r#"{{"metadata":{{"name":"p"}},"spec":{{{spec}}}}}"#)
}

fn annotated(annotations: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"p","annotations":{{{annotations}}}}},"spec":{{"containers":[{{"name":"a"}}]}}}}"#
    )
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Lists and maps at the maximum depth with as little text as possible: the most memory per byte.
fn deep(n: usize) -> String {
    list(n, |_| format!("{}0{}", "{\"\":".repeat(100), "}".repeat(100)))
}

/// The user's own proxy is copied most often: it is recorded, merged and serialized.
fn own_proxy(fields: &str) -> String {
    spec(&format!(
        r#""containers":[{{"name":"istio-proxy","image":"auto",{fields}}},{{"name":"a","image":"i"}}]"#
    ))
}

/// A kind of pod, with a function that creates one of a given size.
type Kind = (&'static str, fn(usize) -> String);

/// Pods that are large in one dimension.
const LARGE: [Kind; 14] = [
    ("maps in maps", |n| spec(&format!(r#""containers":[{{"name":"a"}}],"x":[{}]"#, deep(n)))),
    ("lists in lists", |n| {
        let lists = list(n, |_| format!("{}{}", "[".repeat(200), "]".repeat(200)));
        spec(&format!(r#""containers":[{{"name":"a"}}],"x":[{lists}]"#))
    }),
    ("maps", |n| {
        spec(&format!(r#""containers":[{{"name":"a"}}],"x":[{}]"#, list(n, |_| r#"{"":0}"#.to_owned())))
    }),
    ("nothing", |n| {
        spec(&format!(r#""containers":[{{"name":"a"}}],"tolerations":[{}]"#, list(n, |_| "{}".to_owned())))
    }),
    ("variables", |n| {
        let env = |c| {
            format!(
                r#"{{"name":"c{c}","env":[{}]}}"#,
                list(n / 4, |i| format!(r#"{{"name":"E{i}","value":"v"}}"#))
            )
        };
        spec(&format!(r#""containers":[{}]"#, list(4, env)))
    }),
    ("mounts", |n| {
        let mounts = |c| {
            format!(
                r#"{{"name":"c{c}","volumeMounts":[{}]}}"#,
                list(n / 9, |i| format!(r#"{{"name":"v","mountPath":"/{i}"}}"#))
            )
        };
        spec(&format!(r#""containers":[{}]"#, list(9, mounts)))
    }),
    ("volumes", |n| {
        let volumes = list(n, |i| format!(r#"{{"name":"v{i}","emptyDir":{{}}}}"#));
        spec(&format!(r#""containers":[{{"name":"a"}}],"volumes":[{volumes}]"#))
    }),
    ("containers", |n| {
        spec(&format!(r#""containers":[{}]"#, list(n, |i| format!(r#"{{"name":"c{i}","image":"i"}}"#))))
    }),
    ("labels", |n| {
        let labels = list(n, |i| format!(r#""l{i}":"""#));
        format!(
            r#"{{"metadata":{{"name":"p","labels":{{{labels}}}}},"spec":{{"containers":[{{"name":"a"}}]}}}}"#
        )
    }),
    ("one long text", |n| annotated(&format!(r#""a":"{}""#, "x".repeat(n * 64)))),
    ("variables of the own proxy", |n| {
        own_proxy(&format!(r#""env":[{}]"#, list(n, |i| format!(r#"{{"name":"E{i}"}}"#))))
    }),
    ("maps in the own proxy", |n| own_proxy(&format!(r#""x":[{}]"#, deep(n)))),
    ("a long text in the own proxy", |n| {
        own_proxy(&format!(r#""env":[{{"name":"A","value":"{}"}}]"#, "\\\\n".repeat(n * 16)))
    }),
    ("maps in an annotation", |n| {
        let recorded = format!(r#"{{"containers":[{{"name":"istio-proxy","x":[{}]}}]}}"#, deep(n));
        let status = r#"{"containers":["istio-proxy"]}"#;
        annotated(&format!(
            r#""sidecar.istio.io/status":{},"proxy.istio.io/overrides":{}"#,
            quoted(status),
            quoted(&recorded)
        ))
    }),
];

/// Those that use the most memory, relative to their text and to their weight.
const WORST: [&str; 3] = ["maps in the own proxy", "variables of the own proxy", "one long text"];

fn of_kind(kind: &str) -> fn(usize) -> String {
    LARGE.iter().find(|(name, _)| *name == kind).unwrap().1
}

/// The largest pod of a kind that is accepted and that an API server can send (3 MiB), with its weight.
fn largest(tree: usize, pod: impl Fn(usize) -> String) -> (String, Weight) {
    let fits = |n: usize| {
        let pod = pod(n);
        let body = review(&pod).len();
        limits::check(&pod, tree).ok().filter(|_| body <= 3 << 20).map(|weight| (pod, weight))
    };
    let (mut low, mut high) = (1, 2);
    while fits(high).is_some() {
        (low, high) = (high, high * 2);
    }
    while high - low > low / 50 + 1 {
        let middle = usize::midpoint(low, high);
        if fits(middle).is_some() { low = middle } else { high = middle }
    }
    fits(low).unwrap()
}

/// Overhead of the kernel and the allocator: partially filled pages, code that runs for the first time.
const SLACK: usize = 4 << 20;

// I-08, R-04
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_pod_of_each_kind_takes_no_more_than_it_weighs() {
    let limits = Limits::default();
    let mut seen = Vec::new();
    let mut over = Vec::new();
    for (kind, pod) in LARGE {
        let (pod, weight) = largest(limits.tree(), pod);
        let process = Process::start(&[]);
        within(process.post(review(&spec(r#""containers":[{"name":"a"}]"#)))).await;
        let rest = process.measure();
        let answer = process.post(review(&pod)).await;
        assert_eq!(answer.status, 200, "{kind}");
        let taken = process.peak() - rest;
        // The text exists twice while it arrives.
        let allowed = limits::judging(weight.bytes) + 2 * pod.len() + SLACK;
        let line = format!(
            "{kind}: text {} KiB, tree {} KiB, taken {} KiB, allowed {} KiB",
            pod.len() >> 10,
            weight.bytes >> 10,
            taken >> 10,
            allowed >> 10
        );
        println!("{line}");
        if taken > allowed {
            over.push(line.clone());
        }
        seen.push((kind, weight));
    }
    assert!(over.is_empty(), "{over:#?}");
    // They really are at the limits.
    let weight = |kind: &str| seen.iter().find(|(name, _)| *name == kind).unwrap().1;
    let elements = |kind: &str| weight(kind).longest.unwrap().elements;
    assert!(weight("maps in the own proxy").bytes > TREE / 100 * 95, "{seen:?}");
    assert!(elements("variables of the own proxy") > ELEMENTS / 100 * 95, "{seen:?}");
    assert!(elements("containers") > CONTAINERS / 100 * 95, "{seen:?}");
}

// R-04
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_of_the_largest_pods_at_once_take_no_more_than_the_formula_and_the_chart_allow() {
    let chart = chart_limit();
    let limits = Limits::default().within(chart);
    assert!(limits.peak() <= chart / 10 * 9, "the formula gives {} MiB", limits.peak() >> 20);
    assert_eq!(limits.tree(), TREE, "the largest pod there may be can be judged under the chart's limit");
    let process = Process::start(&["--memory-limit", &chart.to_string()]);
    for kind in WORST {
        let (pod, _) = largest(limits.tree(), of_kind(kind));
        eight(&process, &pod).await;
        println!("eight with {kind}: {} MiB", process.peak() >> 20);
    }
    assert!(process.peak() <= limits.peak(), "{} of {}", process.peak() >> 20, limits.peak() >> 20);
}

// R-04: a small replica only processes less at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_64_mebibytes_less_is_done_at_once_and_what_is_too_large_is_refused_by_a_review() {
    const MEMORY: usize = 64 << 20;
    let process = Process::start(&["--memory-limit", "64Mi"]);
    let small = Limits::default().within(MEMORY);
    let own_proxy = of_kind("maps in the own proxy");
    let (pod, _) = largest(small.tree(), own_proxy);
    eight(&process, &pod).await;
    let (pod, _) = largest(Limits::default().tree(), own_proxy);
    let refused = process.post(review(&pod)).await.json();
    assert_eq!(refused["response"]["allowed"], false, "{refused}");
    assert_eq!(refused["response"]["status"]["code"], 413, "{refused}");
    // The kernel can take back the pages of the program itself, of which a debug build has many.
    let taken = process.peak() - process.status("RssFile:");
    println!("{} MiB, and the program", taken >> 20);
    assert!(taken <= MEMORY / 2, "{} MiB", taken >> 20);
    let plain = process.post(review(&spec(r#""containers":[{"name":"a"}]"#))).await.json();
    assert!(plain["response"]["patch"].is_string(), "{plain}");
}

// R-04: the kernel's accounting, and its effect on a process over the limit. It needs root, so only `.ci/run` runs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes cgroups, which takes root"]
async fn eight_of_the_largest_pods_at_once_survive_in_a_cgroup_of_the_charts_limit_and_of_64_mebibytes() {
    for (name, memory) in [("chart", chart_limit()), ("small", 64 << 20)] {
        let group = Group::make(name, memory);
        let process = Process::start_in(&group);
        let limits = Limits::default().within(memory);
        for kind in WORST {
            let (pod, _) = largest(limits.tree(), of_kind(kind));
            if pod.len() < limits.body_bytes {
                eight(&process, &pod).await;
            }
            let over = process.post(review(&LARGE[0].1(2000))).await.json();
            assert_eq!(over["response"]["status"]["code"], 413, "{over}");
            println!("{name}, eight with {kind}: {} MiB", process.peak() >> 20);
        }
        assert_eq!(group.killed(), 0, "{name}");
        let plain = process.post(review(&spec(r#""containers":[{"name":"a"}]"#))).await.json();
        assert!(plain["response"]["patch"].is_string(), "{name}: {plain}");
        println!("{name}: peak of the group {} MiB of {} MiB", group.peak() >> 20, memory >> 20);
        drop(process);
    }
}

fn chart_limit() -> usize {
    let values = include_str!("../../charts/outrigger/values.yaml");
    let values = outrigger::yaml::load(values, &outrigger::yaml::Limits::default()).unwrap();
    outrigger::server::memory::parse(values["resources"]["limits"]["memory"].as_str().unwrap()).unwrap()
}

/// Sends a pod eight times concurrently; each gets a review, or a response that there was no slot or no time for it.
async fn eight(process: &Process, pod: &str) {
    let answers = futures::future::join_all((0..8).map(|_| process.post(review(pod)))).await;
    let answered = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(answered > 0);
    for answer in &answers {
        assert!([200, 429, 503].contains(&answer.status.as_u16()), "{}", answer.status);
    }
}

/// The documentation contains the relevant figures.
#[test]
fn the_formula_is_documented_as_it_is() {
    use outrigger::server::memory::{CONNECTION, RESTING};
    let docs = include_str!("../../docs/server.md");
    let limits = Limits::default();
    let formula = format!(
        "{} MiB + {} KiB × connections + {} MiB of bodies and answers + 1 MiB × CPUs + {} MiB for large pods",
        RESTING >> 20,
        CONNECTION >> 10,
        limits.buffered_bytes >> 20,
        limits.judged_bytes >> 20
    );
    assert!(docs.contains(&formula), "docs/server.md lacks: {formula}");
    for limit in [
        format!("{} MiB of memory", TREE >> 20),
        format!("{} containers", CONTAINERS),
        format!("{},000 elements", ELEMENTS / 1000),
        format!("{} levels", limits::DEPTH),
    ] {
        assert!(docs.contains(&limit), "docs/server.md lacks: {limit}");
    }
}
