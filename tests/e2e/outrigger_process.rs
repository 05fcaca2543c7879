//! `outrigger serve` as a process, seen from outside: its ports, its log, its probes and metrics, its end.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::control_plane::{
    PATIENCE, eventually, free_port, sum,
    supervised::{Ended, Lines, Output, Supervised},
};

/// The line that says it is ready.
const READY: &str = r#""message":"ready""#;

/// An outrigger that has not been started yet.
#[derive(Clone)]
pub struct Outrigger {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    webhook: u16,
    admin: u16,
}

/// A running outrigger; it ends when this value is dropped.
pub struct OutriggerProcess {
    process: Supervised,
    webhook: u16,
    admin: u16,
    started: Instant,
}

/// An answer of the admin port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Outrigger {
    /// `outrigger serve` on loopback and two free ports, without the delay of the end that only a real Service needs,
    /// and without the environment of the test.
    pub fn serve() -> Outrigger {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_outrigger"));
        let (arguments, environment) = (Vec::new(), Vec::new());
        Outrigger { program, arguments, environment, webhook: free_port(), admin: free_port() }
    }

    /// `outrigger serve --standalone` with a certificate in files.
    pub fn standalone(certificate: &Path, key: &Path) -> Outrigger {
        Outrigger::serve()
            .args(["--standalone"])
            .flag("tls-cert", certificate.display())
            .flag("tls-key", key.display())
    }

    /// Another build of the program.
    pub fn of(mut self, program: &Path) -> Outrigger {
        program.clone_into(&mut self.program);
        self
    }

    /// With additional arguments.
    pub fn args<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Outrigger {
        self.arguments.extend(arguments.into_iter().map(ToOwned::to_owned));
        self
    }

    /// With `--name=value`.
    pub fn flag(mut self, name: &str, value: impl std::fmt::Display) -> Outrigger {
        self.arguments.push(format!("--{name}={value}"));
        self
    }

    /// With a variable in its environment.
    pub fn env(mut self, name: &str, value: &str) -> Outrigger {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With these ports: those of a process that was there before.
    pub fn ports(mut self, webhook: u16, admin: u16) -> Outrigger {
        (self.webhook, self.admin) = (webhook, admin);
        self
    }

    /// Starts it and waits for nothing.
    pub fn spawn(self) -> OutriggerProcess {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("OUTRIGGER_") || text.starts_with("KUBE") || text == "RUST_LOG" {
                command.env_remove(&name);
            }
        }
        command
            .arg("serve")
            .arg(format!("--listen=127.0.0.1:{}", self.webhook))
            .arg(format!("--admin=127.0.0.1:{}", self.admin))
            .args(&self.arguments)
            // Through the environment, so that a flag can still override it.
            .env("OUTRIGGER_DRAIN_DELAY", "0");
        command.envs(self.environment);
        let started = Instant::now();
        let process = Supervised::start("outrigger", &command, Output::Lines).expect("a process");
        OutriggerProcess { process, webhook: self.webhook, admin: self.admin, started }
    }

    /// Starts it and waits for the line that reports readiness. If another process has taken a port in the meantime, it
    /// retries once with others.
    pub async fn start(mut self) -> OutriggerProcess {
        let mut process = self.clone().spawn();
        let taken = "Address already in use";
        let line = process.wait_line("it is ready", move |line| line.contains(READY) || line.contains(taken));
        if line.await.contains(taken) {
            (self.webhook, self.admin) = (free_port(), free_port());
            process = self.spawn();
            process.wait_ready().await;
        }
        process
    }
}

impl OutriggerProcess {
    /// The port of the webhook.
    pub fn webhook_port(&self) -> u16 {
        self.webhook
    }

    /// The port of probes and metrics.
    pub fn admin_port(&self) -> u16 {
        self.admin
    }

    /// The webhook by a loopback URL: API servers speak HTTP/2 to it.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}/inject", self.webhook)
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits for the line that says it is ready. Returns the time since the start.
    pub async fn wait_ready(&mut self) -> Duration {
        self.wait_line("it is ready", |line| line.contains(READY)).await;
        self.started.elapsed()
    }

    /// Waits for a line of the log, among those that are there already too.
    pub async fn wait_line(&mut self, what: &str, wanted: impl Fn(&str) -> bool + Send + 'static) -> String {
        self.wait_line_from(0, what, wanted).await
    }

    /// Waits for a line of the log that is not among the first `from`, which [`Lines::count`] gave before.
    pub async fn wait_line_from(
        &mut self,
        from: usize,
        what: &str,
        wanted: impl Fn(&str) -> bool + Send + 'static,
    ) -> String {
        let lines = self.lines();
        let found = tokio::task::spawn_blocking(move || lines.wait(from, PATIENCE, wanted)).await;
        found.expect("a wait").unwrap_or_else(|| {
            panic!("no line says {what} (ended: {:?}):\n{}", self.process.try_wait(), self.log())
        })
    }

    /// The lines of its standard error.
    pub fn lines(&self) -> Arc<Lines> {
        self.process.lines()
    }

    /// All of its standard error.
    pub fn log(&self) -> String {
        self.lines().all().join("\n")
    }

    /// The log's lines as JSON; other lines are left out.
    pub fn entries(&self) -> Vec<Value> {
        self.lines().all().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// `GET` on the admin port; `None` without a response.
    pub async fn admin(&self, path: &str) -> Option<Answer> {
        get(self.admin, path).await
    }

    /// What `/readyz?verbose` says.
    pub async fn readyz(&self) -> Option<Answer> {
        self.admin("/readyz?verbose").await
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> String {
        self.admin("/metrics").await.expect("metrics").body
    }

    /// The sum of the samples of a name whose labels contain all of `labels` (such as `reason="…"`).
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        sum(&self.metrics().await, name, labels)
    }

    /// Waits until a metric has a wanted value, and returns the value.
    pub async fn wait_metric(&self, name: &str, labels: &[&str], wanted: impl Fn(f64) -> bool) -> f64 {
        eventually(&format!("{name}{labels:?} is as wanted"), PATIENCE, async || {
            Some(self.metric(name, labels).await).filter(|value| wanted(*value))
        })
        .await
    }

    /// Sends a signal, by its name without `SIG`.
    pub fn signal(&mut self, name: &str) {
        self.process.signal(name);
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<Ended> {
        self.process.try_wait()
    }

    /// Waits until it has ended.
    pub async fn wait_end(&mut self) -> Ended {
        eventually("the process has ended", PATIENCE, async || self.process.try_wait()).await
    }

    /// Ends it gracefully.
    pub async fn terminate(&mut self) -> Ended {
        self.signal("TERM");
        self.wait_end().await
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Bytes of memory in use (RSS).
    pub fn rss(&self) -> u64 {
        let file = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(&file).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kibibytes.unwrap_or_else(|| panic!("{file}: no VmRSS")) * 1024
    }

    /// Descriptors that are open.
    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.pid());
        std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}")).count()
    }
}

/// `GET` over plain HTTP on a loopback port.
pub async fn get(port: u16, path: &str) -> Option<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        // HTTP/1.0 is not answered in chunks, and the connection is closed after it.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, body: body.to_owned() })
    };
    tokio::time::timeout(Duration::from_secs(5), exchange).await.ok().flatten()
}
