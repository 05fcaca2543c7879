//! Istio's own injector as a process, `hack/oracle/istio`: a line of JSON in, a line of JSON out.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::LazyLock,
};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::setting::Setting;

/// The directory with the program and a link to Istio's module: built once per lock file, which takes minutes the first
/// time.
static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Some(folder) = std::env::var_os("OUTRIGGER_ORACLE") {
        return folder.into();
    }
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("hack/oracle/build");
    let output = Command::new(build).stderr(Stdio::inherit()).output().expect("hack/oracle/build runs");
    assert!(output.status.success(), "hack/oracle/build failed; it needs Go and its module proxy");
    String::from_utf8(output.stdout).expect("a path").trim().into()
});

/// The process; it ends when its input is closed.
pub(crate) struct Oracle {
    process: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// A line of its output.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Line {
    pub(crate) error: String,
    pub(crate) panic: String,
    pub(crate) material: Option<Material>,
    pub(crate) canonical: Option<Value>,
    pub(crate) allowed: Option<bool>,
    pub(crate) message: String,
    pub(crate) patched: Option<Value>,
    pub(crate) injected: Option<String>,
    pub(crate) warnings: Vec<String>,
}

/// The content of Istio's module.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub(crate) struct Material {
    pub(crate) version: String,
    pub(crate) templates: Map<String, Value>,
    pub(crate) values: Value,
    pub(crate) inputs: BTreeMap<String, String>,
}

/// Istio's answer for a pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Denied(String),
    Unchanged,
    Patched(Value),
    /// Not an answer: the handler panicked, or the patch does not apply.
    Broken(String),
}

impl Oracle {
    pub(crate) fn start() -> Oracle {
        let mut process = Command::new(BUILT.join("istio"))
            .arg("-module")
            .arg(BUILT.join("module"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the oracle starts");
        let requests = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("its output is a pipe"));
        Oracle { process, requests, answers }
    }

    fn ask(&mut self, request: &Value) -> Line {
        let mut line = request.to_string();
        line.push('\n');
        let requests = self.requests.as_mut().expect("its input is open");
        requests.write_all(line.as_bytes()).expect("the oracle reads");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the oracle answers");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?} to {line}"))
    }

    pub(crate) fn material(&mut self) -> Material {
        let line = self.ask(&json!({"material": true}));
        line.material.unwrap_or_else(|| panic!("{}", line.error))
    }

    /// Activates a configuration under a name.
    pub(crate) fn install(
        &mut self,
        name: &str,
        setting: &Setting,
        stock: &Map<String, Value>,
    ) -> Result<(), String> {
        let line = self.ask(&setting.to_request(name, stock));
        match (line.error, line.panic) {
            (error, panic) if error.is_empty() && panic.is_empty() => Ok(()),
            (error, panic) => Err(format!("{error}{panic}")),
        }
    }

    /// A pod as an API server writes it: without zeros that have no meaning, and without fields unknown to Istio's
    /// version of the API.
    pub(crate) fn canonical(&mut self, pod: &Value) -> Value {
        self.try_canonical(pod).unwrap_or_else(|error| panic!("{error}: {pod}"))
    }

    /// The same for a value that may not be a pod.
    pub(crate) fn try_canonical(&mut self, pod: &Value) -> Result<Value, String> {
        let line = self.ask(&json!({"canonical": pod}));
        let mut pod = line.canonical.ok_or(line.error)?;
        pod.as_object_mut().expect("a pod").remove("status");
        Ok(pod)
    }

    /// The webhook's answer for a pod.
    pub(crate) fn review(&mut self, setting: &str, pod: &Value, namespace: &str, path: &str) -> Verdict {
        let line = self.ask(&json!({"use": setting, "pod": pod, "namespace": namespace, "path": path}));
        match (line.allowed, line.patched) {
            (Some(true), Some(patched)) => Verdict::Patched(patched),
            (Some(true), None) => Verdict::Unchanged,
            (Some(false), _) => Verdict::Denied(line.message),
            (None, _) => Verdict::Broken(if line.panic.is_empty() { line.error } else { line.panic }),
        }
    }

    /// The output of kube-inject for a manifest.
    pub(crate) fn manifest(&mut self, setting: &str, text: &str, revision: &str) -> Result<String, String> {
        let line = self.ask(&json!({"use": setting, "manifest": text, "revision": revision}));
        match line.injected {
            Some(injected) => Ok(injected),
            None if line.panic.is_empty() => Err(line.error),
            None => Err(format!("panic: {}", line.panic)),
        }
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.requests.take());
        let _ = self.process.wait();
    }
}
