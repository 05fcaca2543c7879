//! `outrigger serve` as a process: the line that says it is ready, signals, exit codes.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStderr, Command, Stdio},
};

const LOOPBACK: [&str; 7] =
    ["serve", "--standalone", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--drain-delay=0"];

struct Process {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Process {
    fn start(arguments: &[&str]) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_outrigger"))
            .args(arguments)
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Process { child, stderr }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    fn end(mut self) -> (i32, String) {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code().unwrap_or(-1), rest)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn one_line_says_where_it_is() {
    let mut json = Process::start(&LOOPBACK);
    let line: serde_json::Value = serde_json::from_str(&json.line()).unwrap();
    assert_eq!(line["message"], "ready");
    for (key, scheme) in [("webhook", "https://127.0.0.1:"), ("admin", "http://127.0.0.1:")] {
        let port: u16 = line[key].as_str().unwrap().strip_prefix(scheme).unwrap().parse().unwrap();
        assert_ne!(port, 0);
    }
    let mut text = Process::start(&[&LOOPBACK[..], &["--log-format", "text"]].concat());
    let line = text.line();
    assert!(line.starts_with("outrigger is ready: webhook https://127.0.0.1:"), "{line}");
    assert!(line.contains(" admin http://127.0.0.1:"), "{line}");
}

// L-01, L-03
#[test]
fn signals_end_it_in_an_orderly_way() {
    for signal in ["TERM", "INT"] {
        let mut process = Process::start(&LOOPBACK);
        process.line();
        process.signal(signal);
        let (code, rest) = process.end();
        assert_eq!(code, 0, "{signal}: {rest}");
    }
    let mut process = Process::start(&[&LOOPBACK[..6], &["--drain-delay=1h"]].concat());
    process.line();
    process.signal("TERM");
    // Signals of one kind do not queue: the first has to be seen before the second.
    assert!(process.line().contains("shutting down"));
    process.signal("TERM");
    let (code, rest) = process.end();
    assert_eq!(code, 0, "{rest}");
}

// C-01
#[test]
fn a_hangup_reads_the_bundle_again_or_keeps_the_last_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.yaml");
    std::fs::write(&bundle, "").unwrap();
    let mut process = Process::start(&[&LOOPBACK[..], &["--bundle", bundle.to_str().unwrap()]].concat());
    process.line();
    process.signal("HUP");
    let line = process.line();
    assert!(
        line.contains("a configuration is taken into use") && line.contains("\"generation\":2"),
        "{line}"
    );
    assert!(process.line().contains("were read again"));
    std::fs::write(&bundle, "!broken").unwrap();
    process.signal("HUP");
    let line = process.line();
    assert!(line.contains("the last good one stays") && line.contains("bundle.yaml"), "{line}");
    assert!(process.line().contains("\"configuration\":false"));
    process.signal("TERM");
    assert_eq!(process.end().0, 0);
}

#[test]
fn refusals_have_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("bundle.yaml");
    std::fs::write(&broken, "!broken").unwrap();
    let broken = broken.to_str().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, code, text) in [
        (vec!["--bundle", broken], 65, "bundle.yaml"),
        (vec!["--bundle", "/nonexistent/b.yaml"], 65, "/nonexistent/b.yaml"),
        (vec!["--tls-cert", "/nonexistent/c", "--tls-key", "/nonexistent/k"], 65, "/nonexistent/c"),
        (vec!["--tls-cert", "/nonexistent/c"], 64, "--tls-key"),
        (vec!["--tls-min-version", "1.1"], 64, "1.2, 1.3"),
        (vec!["--max-in-flight", "0"], 64, "from 1 to"),
        (vec!["--header-timeout", "5"], 64, "500ms"),
        (vec!["--nonsense"], 64, "--nonsense"),
    ] {
        let (found, stderr) = Process::start(&[&LOOPBACK[..], &arguments].concat()).end();
        assert_eq!(found, code, "{arguments:?}: {stderr}");
        assert!(stderr.contains(text), "{arguments:?}: {stderr}");
    }
    // N-10
    let (code, stderr) = Process::start(&["serve", "--standalone", "--listen", &taken]).end();
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains(&taken), "{stderr}");
    let nowhere = [
        "serve",
        "--kubeconfig",
        "/nonexistent/kubeconfig",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ];
    let (code, stderr) = Process::start(&nowhere).end();
    assert_eq!(code, 69, "{stderr}");
    assert!(stderr.contains("/nonexistent/kubeconfig"), "{stderr}");
}
