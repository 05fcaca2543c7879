//! A server as a process: started, found by the line that says it is ready, watched through `/proc`, ended.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// The CPUs it may run on, as `taskset` takes them.
    pub cpus: Option<String>,
}

/// A running server; it ends with this value.
pub struct Server {
    child: Child,
    pub webhook: SocketAddr,
    /// Where its metrics are; the floor has none.
    admin: Option<SocketAddr>,
    pub started: Instant,
    /// Clock ticks in a second.
    ticks: u64,
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    pub now: u64,
    pub peak: u64,
}

/// CPU time that was used so far, for differences.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Of each thread, in nanoseconds; threads that have ended are missing.
    threads: BTreeMap<u64, u64>,
    /// Of all threads there ever were, in clock ticks.
    ticks: u64,
    per_second: u64,
}

impl Server {
    /// Starts it and waits until it is ready.
    pub fn start(launch: &Launch) -> io::Result<Server> {
        let mut command = match &launch.cpus {
            None => Command::new(&launch.program),
            Some(cpus) => {
                let mut command = Command::new("taskset");
                command.args(["-c", cpus]).arg(&launch.program);
                command
            }
        };
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("KUBE") || text == "RUST_LOG" {
                command.env_remove(&name);
            }
        }
        command.args(&launch.arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn()?;
        let mut log = BufReader::with_capacity(1 << 16, child.stderr.take().expect("a pipe"));
        let (webhook, admin) = match ready(&mut log) {
            Ok(addresses) => addresses,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        // The log is read, as a container runtime reads it, and thrown away.
        thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        Ok(Server { child, webhook, admin, started, ticks: ticks_per_second() })
    }

    /// User and system time.
    pub fn usage(&self) -> io::Result<Usage> {
        let folder = PathBuf::from(format!("/proc/{}", self.child.id()));
        let mut threads = BTreeMap::new();
        for thread in fs::read_dir(folder.join("task"))? {
            let thread = thread?;
            let number = thread.file_name().to_string_lossy().parse().map_err(io::Error::other)?;
            // A thread that has ended in the meantime is skipped.
            if let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) {
                threads.insert(number, field(&text, 0)?);
            }
        }
        let stat = fs::read_to_string(folder.join("stat"))?;
        // The name of the program, in parentheses, may have spaces in it.
        let rest = stat.rsplit(") ").next().unwrap_or_default();
        Ok(Usage { threads, ticks: field(rest, 11)? + field(rest, 12)?, per_second: self.ticks })
    }

    /// The number of pods so far whose patch was cached, and of all pods so far.
    pub fn cached(&self) -> io::Result<(u64, u64)> {
        let mut admin = TcpStream::connect(self.admin.ok_or_else(|| io::Error::other("no metrics"))?)?;
        admin.write_all(b"GET /metrics HTTP/1.1\r\nHost: load\r\nConnection: close\r\n\r\n")?;
        let mut metrics = String::new();
        admin.read_to_string(&mut metrics)?;
        let (mut cached, mut all) = (0, 0);
        for line in metrics.lines().filter(|line| line.starts_with("outrigger_patch_cache_total{")) {
            let count = field(line, 1)?;
            all += count;
            cached += if line.contains("\"hit\"") { count } else { 0 };
        }
        Ok((cached, all))
    }

    /// Memory in use (RSS).
    pub fn memory(&self) -> io::Result<Memory> {
        self.gauge().read()
    }

    /// Reads the memory in use for as long as the process lives.
    pub fn gauge(&self) -> Gauge {
        Gauge(self.child.id())
    }
}

/// How much of all CPUs was idle so far, for differences.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    idle: u64,
    all: u64,
}

impl Machine {
    pub fn now() -> io::Result<Machine> {
        let stat = fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().unwrap_or_default();
        let times = (1..=8).map(|index| field(line, index)).collect::<io::Result<Vec<u64>>>()?;
        Ok(Machine { idle: times[3] + times[4], all: times.iter().sum() })
    }

    /// The share of time in which a CPU had nothing to do.
    pub fn idle_since(self, earlier: &Machine) -> f64 {
        (self.idle - earlier.idle) as f64 / (self.all - earlier.all).max(1) as f64
    }
}

/// The memory of a process.
#[derive(Clone, Copy, Debug)]
pub struct Gauge(u32);

impl Gauge {
    pub fn read(self) -> io::Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map_or(Ok(0), |line| field(line, 0)).map(|kibibytes| kibibytes * 1024)
        };
        Ok(Memory { now: line("VmRSS:")?, peak: line("VmHWM:")? })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Usage {
    /// The time used since an earlier moment: by threads to the nanosecond, unless one of them has ended.
    pub fn since(&self, earlier: &Usage) -> Duration {
        if earlier.threads.keys().all(|thread| self.threads.contains_key(thread)) {
            let used = self.threads.iter().map(|(thread, time)| {
                time.saturating_sub(earlier.threads.get(thread).copied().unwrap_or_default())
            });
            return Duration::from_nanos(used.sum());
        }
        Duration::from_secs_f64((self.ticks - earlier.ticks) as f64 / self.per_second as f64)
    }
}

/// Waits for the line that says where the server is to be found.
fn ready(log: &mut impl BufRead) -> io::Result<(SocketAddr, Option<SocketAddr>)> {
    let mut said = String::new();
    loop {
        let begin = said.len();
        if log.read_line(&mut said)? == 0 {
            return Err(io::Error::other(format!("the server has ended:\n{said}")));
        }
        let Ok(line) = serde_json::from_str::<Value>(&said[begin..]) else { continue };
        if line["message"] == "ready" {
            let address =
                |key: &str, scheme| line[key].as_str().and_then(|url| url.strip_prefix(scheme)?.parse().ok());
            let webhook = address("webhook", "https://");
            return webhook
                .map(|webhook| (webhook, address("admin", "http://")))
                .ok_or_else(|| io::Error::other(format!("no address: {line}")));
        }
    }
}

fn field(text: &str, index: usize) -> io::Result<u64> {
    let field = text.split_whitespace().nth(index).unwrap_or_default();
    field.parse().map_err(|_| io::Error::other(format!("no number: {field:?}")))
}

fn ticks_per_second() -> u64 {
    let output = Command::new("getconf").arg("CLK_TCK").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(100)
}

/// Where `cargo` has put the server: the build of the same profile beside this one.
pub fn default_program() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let folder = own.parent().and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
    folder.join("outrigger")
}
