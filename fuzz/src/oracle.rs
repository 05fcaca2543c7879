//! The answers of Go and Kubernetes: `hack/oracle/fuzz` as a process, a line of JSON in, a line of JSON out.
//!
//! An input on which Go panics, hangs or takes too much memory is not a finding: it gets no answer, and the process is
//! restarted.

use std::{
    cell::RefCell,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};

/// The program, which `hack/oracle/fuzz/build` makes.
pub(crate) const PROGRAM: &str = "OUTRIGGER_FUZZ_ORACLE";

/// A little longer than the program's own limit for a question.
const PATIENCE: Duration = Duration::from_secs(4);

/// A line of its output.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    /// JSON, YAML or rendered text; absent with an error.
    pub(crate) text: Option<String>,
    pub(crate) error: String,
    /// Where a template failed: `parse` or `exec`.
    pub(crate) phase: String,
    /// There are several answers.
    pub(crate) unstable: bool,
    /// Why an API server would not create the pod.
    pub(crate) invalid: Vec<String>,
    panic: String,
}

thread_local! {
    static PROCESS: RefCell<Option<Process>> = const { RefCell::new(None) };
}

struct Process {
    child: Child,
    questions: ChildStdin,
    answers: Receiver<String>,
}

impl Process {
    fn start() -> Process {
        let program = std::env::var_os(PROGRAM)
            .unwrap_or_else(|| panic!("{PROGRAM} is not set; expected what hack/oracle/fuzz/build prints"));
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let questions = child.stdin.take().expect("its input is a pipe");
        let output = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in output.lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Process { child, questions, answers }
    }

    fn ask(&mut self, line: &str) -> Option<String> {
        self.questions.write_all(line.as_bytes()).ok()?;
        self.questions.flush().ok()?;
        self.answers.recv_timeout(PATIENCE).ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks; `None` if Go panics or gives no answer.
fn ask(question: &Value) -> Option<Answer> {
    let line = format!("{question}\n");
    PROCESS.with_borrow_mut(|process| {
        let answer = process.get_or_insert_with(Process::start).ask(&line);
        let Some(answer) = answer else {
            *process = None;
            return None;
        };
        let answer: Answer =
            serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?} to {line}"));
        answer.panic.is_empty().then_some(answer)
    })
}

/// Reads a text with `sigs.k8s.io/yaml`.
pub(crate) fn yaml(text: &str) -> Option<Answer> {
    ask(&json!({"yaml": text}))
}

/// Writes a value with `sigs.k8s.io/yaml`.
pub(crate) fn marshal(value: &Value) -> Option<Answer> {
    ask(&json!({"marshal": value}))
}

/// Merges a patch into a pod with apimachinery's strategic merge.
pub(crate) fn merge(original: &Value, patch: &Value) -> Option<Answer> {
    ask(&json!({"merge": {"original": original, "patch": patch}}))
}

/// Renders a template with `text/template`.
pub(crate) fn template(text: &str, data: &Value) -> Option<Answer> {
    ask(&json!({"template": {"text": text, "data": data}}))
}

/// An API server's answer to the creation of a pod, and the pod as it is sent to webhooks.
pub(crate) fn pod(pod: &Value) -> Option<Answer> {
    ask(&json!({"pod": pod}))
}
