//! `outrigger serve` and the resources of the operating system: descriptors, memory, a disk, a reader of the log, and
//! signals at any time.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{SigSet, Signal, kill},
    unistd::Pid,
};
use rcgen::{CertificateParams, KeyPair};

use super::support::{PATIENCE, samples};

const SERVE: [&str; 7] = [
    "serve",
    "--standalone",
    "--listen=127.0.0.1:0",
    "--admin=127.0.0.1:0",
    "--drain-delay=0",
    "--log-format=json",
    "--shutdown-grace=1s",
];

/// A process that is killed at the end of the test.
struct Process(Child);

impl Process {
    /// Runs `outrigger serve` with additional flags, in a shell that sets a limit first.
    fn limited(limit: &str, flags: &[&str]) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{limit}; exec \"$@\""), "sh", env!("CARGO_BIN_EXE_outrigger")]);
        Process::spawn(command.args(SERVE).args(flags))
    }

    fn spawn(command: &mut Command) -> Process {
        command
            .env_remove("RUST_LOG")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        Process(command.spawn().unwrap())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }

    /// Waits for a line of the log; the rest of it is read in the background. Returns the line and everything before
    /// it.
    fn line(&mut self, wanted: &str) -> (serde_json::Value, Vec<String>) {
        let log = BufReader::new(self.0.stderr.take().expect("the log is read once"));
        let (sender, lines) = mpsc::channel();
        // The process ends with the test, and the thread with the log.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let _nobody_listens_any_more = sender.send(line);
            }
        });
        let mut before = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = lines.recv_timeout(left);
            let line = line.unwrap_or_else(|why| panic!("no line with {wanted}, {why}: {before:?}"));
            if line.contains(wanted) {
                return (serde_json::from_str(&line).unwrap(), before);
            }
            before.push(line);
        }
    }

    /// Waits until the server is ready; returns its ports.
    fn ready(&mut self) -> (SocketAddr, SocketAddr) {
        let (line, _) = self.line("\"ready\"");
        let port = |key: &str| line[key].as_str().unwrap().rsplit_once('/').unwrap().1.parse().unwrap();
        (port("webhook"), port("admin"))
    }

    fn end(&mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a request to the admin port; returns the status line and the body.
fn ask(admin: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(admin).unwrap();
    // A kubelet's probe has the same timeout.
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

fn metric(admin: SocketAddr, name: &str) -> Option<f64> {
    samples(&ask(admin, "/metrics").1).get(name).copied()
}

// idle connections take all available descriptors.
#[test]
fn r_05_silent_connections_at_the_limit_of_open_files_leave_probes_alone() {
    let mut process =
        Process::limited("ulimit -n 64", &["--first-byte-timeout=2s", "--handshake-timeout=2s"]);
    let (line, before) = process.line("\"ready\"");
    let told = before.iter().find(|line| line.contains("connections are capped")).expect("a warning");
    assert!(told.contains("\"open_files\":64") && told.contains("\"connections\":24"), "{told}");
    let port =
        |key: &str| line[key].as_str().unwrap().rsplit_once('/').unwrap().1.parse::<SocketAddr>().unwrap();
    let (webhook, admin) = (port("webhook"), port("admin"));
    assert_eq!(metric(admin, "process_max_fds"), Some(64.0));
    let silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(webhook).unwrap()).collect();
    for _ in 0..10 {
        assert_eq!(ask(admin, "/livez").0, "HTTP/1.1 200 OK");
        assert_eq!(ask(admin, "/readyz").0, "HTTP/1.1 200 OK");
    }
    let open = metric(admin, "outrigger_connections{listener=\"webhook\"}").unwrap_or_default();
    assert!(open <= 24.0, "{open}");
    for listener in ["webhook", "admin"] {
        let errors = metric(admin, &format!("outrigger_accept_errors_total{{listener=\"{listener}\"}}"));
        assert_eq!(errors.unwrap_or_default(), 0.0, "accept(2) never failed on {listener}");
    }
    drop(silent);
    let since = Instant::now();
    while metric(admin, "outrigger_connections{listener=\"webhook\"}").unwrap_or_default() > 0.0 {
        assert!(since.elapsed() < PATIENCE, "connections are left");
    }
}

// it runs for a tenth of the time, a few milliseconds at once, as under a CPU quota.
#[test]
fn r_03_probes_are_answered_with_a_tenth_of_a_cpu() {
    let mut process = Process::limited(":", &[]);
    let (webhook, admin) = process.ready();
    let pid = process.pid();
    let done = Arc::new(AtomicBool::new(false));
    let throttle = std::thread::spawn({
        let done = done.clone();
        move || {
            while !done.load(Ordering::Relaxed) {
                kill(pid, Signal::SIGSTOP).unwrap();
                std::thread::sleep(Duration::from_millis(45));
                kill(pid, Signal::SIGCONT).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    });
    // Peers that keep the workers busy with failing handshakes.
    let busy: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(webhook).unwrap()).collect();
    for path in ["/livez", "/readyz", "/startupz", "/metrics"] {
        let began = Instant::now();
        assert_eq!(ask(admin, path).0, "HTTP/1.1 200 OK");
        assert!(began.elapsed() < Duration::from_secs(5), "{path}: {:?}", began.elapsed());
    }
    done.store(true, Ordering::Relaxed);
    throttle.join().unwrap();
    drop(busy);
}

#[test]
fn the_limit_of_open_files_is_raised_as_far_as_it_may_be() {
    let mut process = Process::limited("ulimit -Sn 64", &[]);
    let (_, admin) = process.ready();
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard]: [&str; 2] =
        line.split_whitespace().skip(3).take(2).collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(soft, hard, "{line}");
    assert_ne!(soft, "64", "the test needs a hard limit that is higher");
    assert!(metric(admin, "process_max_fds").unwrap() > 64.0);
}

#[test]
fn a_crash_leaves_no_memory_behind() {
    let mut process = Process::limited("ulimit -Sc unlimited 2>/dev/null || :", &[]);
    process.ready();
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let sizes: Vec<&str> = line.split_whitespace().skip(4).take(2).collect();
    assert_eq!(sizes, ["0", "0"], "{line}");
}

/// A process whose parent blocks SIGTERM, so that it is delivered when a handler exists, and not while the kernel is
/// still starting the program, which the program cannot influence.
fn started_with_sigterm_held_back(folder: &Path) -> Process {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    // Children inherit the signal mask.
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.args(SERVE).current_dir(folder).env("TMPDIR", folder);
    std::thread::spawn(move || {
        signals.thread_block().unwrap();
        Process::spawn(&mut command)
    })
    .join()
    .unwrap()
}

// L-02
#[test]
fn l_02_a_sigterm_at_any_time_of_the_start_ends_it_in_an_orderly_way() {
    const STARTS: u64 = 60;
    let temporary = tempfile::tempdir().unwrap();
    let mut failed = Vec::new();
    for start in 0..STARTS {
        let mut process = started_with_sigterm_held_back(temporary.path());
        // 0 to 200 ms, more of them early.
        let delay = Duration::from_millis((start * start * 200) / (STARTS * STARTS));
        std::thread::sleep(delay);
        kill(process.pid(), Signal::SIGTERM).unwrap();
        let log = BufReader::new(process.0.stderr.take().unwrap());
        let status = process.end();
        if status.code() != Some(0) {
            let lines: Vec<String> = log.lines().map_while(Result::ok).collect();
            failed.push((delay, status.code(), status.signal(), lines));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "files are left");
}

// Signals are blocked only at startup, and not for other commands.
#[test]
fn other_commands_are_ended_by_signals_as_usual() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.args(["inject", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = Process(command.spawn().unwrap());
    let status = || fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap();
    // It waits for stdin once no signal is blocked any more.
    let since = Instant::now();
    while !status().contains("State:\tS") || !status().contains("SigBlk:\t0000000000000000") {
        assert!(since.elapsed() < PATIENCE, "{}", status());
    }
    kill(process.pid(), Signal::SIGTERM).unwrap();
    assert_eq!(process.end().signal(), Some(15));
}

// too little memory is neither a usage error nor a generic one.
#[test]
fn r_04_too_little_address_space_has_an_exit_code_of_its_own() {
    // From too little for the program itself to enough: somewhere in between, a thread cannot be created.
    for megabytes in 10..2000 {
        let mut process = Process::limited(&format!("ulimit -v {}", megabytes * 1024), &[]);
        let mut log = process.0.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = log.read_to_string(&mut text);
            text
        });
        let (pid, since) = (process.pid(), Instant::now());
        let status = loop {
            if let Some(status) = process.0.try_wait().unwrap() {
                break status;
            }
            assert!(since.elapsed() < PATIENCE, "it does not end");
            // If it starts nevertheless, it is terminated.
            if since.elapsed() > Duration::from_millis(500) {
                let _ = kill(pid, Signal::SIGTERM);
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        match (status.code(), log.join().unwrap()) {
            (Some(0), _) => return,
            (Some(71), log) => assert!(log.contains("was reached"), "{megabytes} MB: {log}"),
            // The kernel, the shell, the linker or the allocator gave up.
            (None | Some(126 | 127 | 134 | 137 | 139), _) => {}
            (code, log) => panic!("{megabytes} MB: {code:?}: {log}"),
        }
    }
    panic!("it never starts");
}

fn write_pair(folder: &Path, tune: impl FnOnce(&mut CertificateParams)) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
    tune(&mut parameters);
    fs::write(folder.join("tls.crt"), parameters.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
}

#[test]
fn with_an_expired_certificate_it_does_not_say_that_it_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), |parameters| parameters.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let flags = [format!("--tls-cert={}", at("tls.crt")), format!("--tls-key={}", at("tls.key"))];
    let mut process = Process::limited(":", &flags.each_ref().map(String::as_str));
    let mut log = BufReader::new(process.0.stderr.take().unwrap());
    let mut line = || {
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        line
    };
    loop {
        let line = line();
        assert!(!line.contains("\"ready\"") && !line.is_empty(), "{line}");
        if line.contains("not ready: API servers would reject the certificate") {
            assert!(line.contains("expired on 2001-01-01T"), "{line}");
            break;
        }
    }
    write_pair(folder.path(), |_| {});
    while !line().contains("\"message\":\"ready\"") {}
}

// a read-only file system, a missing directory for temporary files, and a log on a full disk.
#[test]
fn r_07_nothing_depends_on_a_disk() {
    let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (webhook, admin) = (port(), port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command
        .args(["serve", "--standalone", "--drain-delay=0", "--log-format=json"])
        .args([format!("--listen={webhook}"), format!("--admin={admin}")])
        // Not writable for anybody, not even root.
        .current_dir("/proc/self")
        .envs([("TMPDIR", "/nonexistent"), ("HOME", "/nonexistent"), ("RUST_LOG", "debug")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let mut process = Process(command.spawn().unwrap());
    let since = Instant::now();
    while TcpStream::connect(admin).is_err() {
        assert!(since.elapsed() < PATIENCE, "it does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(ask(admin, "/readyz").0, "HTTP/1.1 200 OK");
    // A failed handshake writes a log line.
    TcpStream::connect(webhook).unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    while metric(admin, "outrigger_log_lines_dropped_total").unwrap_or_default() < 2.0 {
        assert!(since.elapsed() < PATIENCE, "lines are lost and not counted");
    }
    assert_eq!(ask(admin, "/livez").0, "HTTP/1.1 200 OK");
    kill(process.pid(), Signal::SIGTERM).unwrap();
    assert_eq!(process.end().code(), Some(0));
}

// a pipe without a reader fills up quickly.
#[test]
fn r_08_a_log_that_nobody_reads_blocks_nobody() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    let mut process = Process::spawn(command.args(SERVE).arg("--idle-timeout=1h"));
    let mut log = BufReader::new(process.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"ready\"") {
        line.clear();
        log.read_line(&mut line).unwrap();
    }
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let admin: SocketAddr = line["admin"].as_str().unwrap().rsplit_once('/').unwrap().1.parse().unwrap();
    // From here on nothing reads, and there is a lot to write: every change of the filter is a line.
    let change = |filter: &str, connection: &str| {
        format!(
            "PUT /loglevel HTTP/1.1\r\nhost: a\r\nconnection: {connection}\r\ncontent-length: {}\r\n\r\n{filter}",
            filter.len()
        )
    };
    let pair = change("debug", "keep-alive") + &change("info", "keep-alive");
    // A hundred at once, on one connection.
    let requests = pair.repeat(49) + &change("debug", "keep-alive") + &change("info", "close");
    let since = Instant::now();
    while metric(admin, "outrigger_log_lines_dropped_total").unwrap_or_default() == 0.0 {
        let mut stream = TcpStream::connect(admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(requests.as_bytes()).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 100);
        assert!(since.elapsed() < PATIENCE * 3, "the queue does not fill");
    }
    assert_eq!(ask(admin, "/readyz").0, "HTTP/1.1 200 OK");
    kill(process.pid(), Signal::SIGTERM).unwrap();
    assert_eq!(process.end().code(), Some(0), "nor is the end held up");
    drop(log);
}
