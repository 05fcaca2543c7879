//! `outrigger serve` as a process: the line that says it is ready, signals, exit codes.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use super::headed::headed;

const LOOPBACK: [&str; 7] =
    ["serve", "--standalone", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--drain-delay=0"];

/// Maximum time until the next line of the log or the end of the process, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Process {
    child: Child,
    /// Lines of stderr; closed at its end.
    lines: Receiver<String>,
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
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Process { child, lines }
    }

    /// The next line; empty at the end of the log.
    fn line(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => String::new(),
            Err(RecvTimeoutError::Timeout) => panic!("no line and no end of the log within {PATIENCE:?}"),
        }
    }

    /// The next line that contains a text; empty at the end of the log.
    fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.is_empty() || line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    fn end(mut self) -> (i32, String) {
        let mut rest = String::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => rest.extend([line.as_str(), "\n"]),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the process does not end within {PATIENCE:?}: {rest}")
                }
            }
        }
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
    // Signals of one kind do not queue: the first has to be handled before the second one.
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
    std::fs::write(&bundle, headed("")).unwrap();
    let mut process = Process::start(&[&LOOPBACK[..], &["--bundle", bundle.to_str().unwrap()]].concat());
    process.line();
    process.signal("HUP");
    assert!(process.line().contains("certificate reloaded"), "the same text is no new configuration");
    std::fs::write(&bundle, headed("compliancePolicy: fips-140-2")).unwrap();
    process.signal("HUP");
    // The change is also detected without the signal; whichever comes first is logged first.
    let line = process.line();
    assert!(line.contains("configuration applied") && line.contains("\"generation\":2"), "{line}");
    assert!(process.line_with("certificate reloaded").contains("\"configuration\":true"));
    std::fs::write(&bundle, "!broken").unwrap();
    process.signal("HUP");
    let line = process.line();
    assert!(line.contains("keeping the last good one") && line.contains("bundle.yaml"), "{line}");
    assert!(process.line_with("certificate reloaded").contains("\"configuration\":false"));
    process.signal("TERM");
    assert_eq!(process.end().0, 0);
}

// C-01: a template that parses but fails for every pod.
#[test]
fn a_template_that_fails_for_plain_pods_is_refused_at_the_start_and_at_a_hangup() {
    const FAILING: &str = "injector: {templates: {sidecar: 'spec: {hostname: {{ .Spec.Hostnam }}}'}}";
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.yaml");
    std::fs::write(&bundle, headed(FAILING)).unwrap();
    let arguments = [&LOOPBACK[..], &["--bundle", bundle.to_str().unwrap()]].concat();
    let place = "template sidecar, line 1, column 21: can't evaluate field Hostnam in type v1.PodSpec";
    let (code, stderr) = Process::start(&arguments).end();
    assert_eq!(code, 65, "{stderr}");
    assert!(stderr.contains(place) && stderr.contains("every sample pod"), "{stderr}");

    std::fs::write(&bundle, headed("")).unwrap();
    let mut process = Process::start(&arguments);
    process.line();
    std::fs::write(&bundle, headed(FAILING)).unwrap();
    process.signal("HUP");
    let line = process.line();
    assert!(line.contains("keeping the last good one") && line.contains(place), "{line}");
    assert!(process.line_with("certificate reloaded").contains("\"configuration\":false"));
    process.signal("TERM");
    assert_eq!(process.end().0, 0);
}

// T-05
#[test]
fn a_folder_of_istios_texts_is_served_and_followed() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        // No reader sees a partial file.
        std::fs::write(folder.path().join("next"), text).unwrap();
        std::fs::rename(folder.path().join("next"), folder.path().join(name)).unwrap();
    };
    let config =
        ("config", "policy: enabled\ntemplates: {sidecar: 'spec: {hostname: {{ .Values.host }}}'}\n");
    write(config.0, config.1);
    let arguments = [&LOOPBACK[..], &["--config-dir", folder.path().to_str().unwrap()]].concat();
    let (code, stderr) = Process::start(&arguments).end();
    assert!(code == 65 && stderr.contains("found no file values"), "{code}: {stderr}");

    write("values", "{host: one}");
    write("mesh", "{}");
    let flags = ["--revision", "canary", "--compat", "istio", "--template-env", "A=b"];
    let mut process = Process::start(&[&arguments[..], &flags].concat());
    assert!(process.line().contains("ready"));
    write("values", "{host: two}");
    let line = process.line();
    assert!(line.contains("configuration applied") && line.contains("canary"), "{line}");
    write("values", "{}{");
    let line = process.line();
    assert!(line.contains("keeping the last good one") && line.contains("values:1:3"), "{line}");
    process.signal("TERM");
    assert_eq!(process.end().0, 0);
}

#[test]
fn the_log_level_is_changed_while_it_runs() {
    use std::io::Write;
    let mut process = Process::start(&LOOPBACK);
    let line: serde_json::Value = serde_json::from_str(&process.line()).unwrap();
    let address = line["admin"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let put = |filter: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let length = filter.len();
        write!(stream, "PUT /loglevel HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{filter}")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    };
    put("debug");
    assert!(process.line_with("another filter").contains("debug"));
    process.signal("HUP");
    assert!(process.line_with("certificate reloaded").contains("certificate reloaded"));
    put("error");
    process.signal("HUP");
    put("");
    let line = process.line_with("another filter");
    assert!(line.contains("info"), "nothing is said meanwhile: {line}");
    process.signal("TERM");
    assert_eq!(process.end().0, 0);
}

// N-10
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
        (vec!["--config-dir", "/nonexistent/dir"], 65, "/nonexistent/dir"),
        (vec!["--config-dir", "/nonexistent/dir", "--bundle", broken], 64, "--bundle"),
        (vec!["--tls-cert", "/nonexistent/c", "--tls-key", "/nonexistent/k"], 65, "/nonexistent/c"),
        (vec!["--tls-cert", "/nonexistent/c"], 64, "--tls-key"),
        (vec!["--tls-min-version", "1.1"], 64, "1.2, 1.3"),
        (vec!["--max-in-flight", "0"], 64, "from 1 to"),
        (vec!["--header-timeout", "5"], 64, "500ms"),
        (vec!["--nonsense"], 64, "--nonsense"),
        // Without the feature, the flag does not exist.
        (vec!["--otlp-endpoint", "https://collector:4317"], 64, "--otlp-endpoint"),
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
