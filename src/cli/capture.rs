//! `outrigger bundle capture`, and captures as input for `what-if`, `stale` and `compare`: everything these commands
//! read from a cluster, in one file.
//!
//! A capture is pinned by the SHA-256 of its content, so that two people who see the same hash are talking about the
//! same pods and configuration, and a truncated or edited file is refused.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    failure::Failure,
    files,
    report::{self, Color},
    source::{Configured, Purpose, Source},
    workloads::{self, Which},
};
use crate::config::{InjectorConfig, Source as Text};

/// Save a cluster's configuration, workloads and pods to one file, for use without the cluster.
///
/// The file holds the effective bundle with namespaces, nodes and ProxyConfigs, and all workloads and pods as they are in the
/// cluster, including their environment variables: treat it as confidential. Pass it to what-if, stale and compare with
/// --capture. Its hash goes to stderr.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger bundle capture --output-file cluster.json
  outrigger bundle capture -n shop --output-file shop.json")]
pub(super) struct Capture {
    /// File to write, atomically
    #[arg(long, value_name = "FILE")]
    output_file: PathBuf,
    /// Only the workloads and pods of this namespace
    #[arg(short, long, default_value = "", hide_default_value = true)]
    namespace: String,
    #[command(flatten)]
    source: Source,
}

const API_VERSION: &str = "outrigger.dev/v1alpha1";
const KIND: &str = "Capture";
/// The parts of a bundle that describe the cluster, not the configuration.
const FACTS: [&str; 3] = ["namespaces", "nodes", "proxyConfigs"];

impl Capture {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        let mut configured = self.source.load_for_cluster(Purpose::Decide)?;
        if !self.source.is_cluster_source() {
            configured = self.source.with_facts_of_cluster(configured)?;
        }
        configured.report(color);
        let read = |which| {
            let texts = workloads::texts(&[], false, (&self.source, which, self.namespace.as_str()), color)?;
            let text = texts.into_iter().next().map(|(_, text)| text).unwrap_or_default();
            serde_json::from_str::<Value>(&text).map_err(|error| Failure::error(error.to_string()))
        };
        let capture =
            document(configured.mesh.effective_bundle(), read(Which::Workloads)?, read(Which::Pods)?);
        files::replace(&self.output_file, &format!("{capture:#}\n"))?;
        let hash = capture.get("sha256").and_then(Value::as_str).unwrap_or_default();
        report::progress(&format!("captured {}: sha256 {hash}", self.output_file.display()), color);
        Ok(())
    }
}

/// A capture that was read.
pub(super) struct Captured {
    name: String,
    bundle: Map<String, Value>,
    workloads: String,
    pods: String,
}

impl Captured {
    /// Reads a capture and checks its hash.
    pub(super) fn read(path: &Path) -> Result<Captured, Failure> {
        let input = files::read(path)?;
        let refused = |text: String| Failure::data(format!("{}: {text}", input.name));
        let mut value: Value =
            serde_json::from_str(&input.text).map_err(|error| refused(format!("not a capture: {error}")))?;
        let field = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind, pinned) = (field("apiVersion"), field("kind"), field("sha256"));
        if (version.as_str(), kind.as_str()) != (API_VERSION, KIND) {
            return Err(refused(format!(
                "found apiVersion {version:?} and kind {kind:?}; expected a {KIND} of {API_VERSION}, as `outrigger bundle capture` writes it"
            )));
        }
        let mut take = |key: &str| value.get_mut(key).map(Value::take).unwrap_or_default();
        let (bundle, workloads, pods) = (take("bundle"), take("workloads"), take("pods"));
        let found = hash(&bundle, &workloads, &pods);
        if found != pinned {
            return Err(refused(format!("sha256: found content with {found}; expected {pinned:?}")));
        }
        let Value::Object(bundle) = bundle else {
            return Err(refused("bundle: expected a mapping".to_owned()));
        };
        Ok(Captured { name: input.name, bundle, workloads: workloads.to_string(), pods: pods.to_string() })
    }

    /// The configuration that was in force.
    pub(super) fn configured(&self) -> Result<Configured, Failure> {
        self.parsed(self.bundle.clone(), format!("capture {}", self.name))
    }

    /// Another configuration, with the namespaces, nodes and ProxyConfigs of the cluster.
    pub(super) fn complete(&self, found: Configured) -> Result<Configured, Failure> {
        let Configured { mesh, mut warnings, origin } = found;
        let Value::Object(mut bundle) = mesh.effective_bundle() else {
            return Err(Failure::error("a bundle is a mapping"));
        };
        for key in FACTS {
            if let Some(facts) = self.bundle.get(key) {
                bundle.insert(key.to_owned(), facts.clone());
            }
        }
        let mut complete = self.parsed(bundle, origin)?;
        warnings.append(&mut complete.warnings);
        Ok(Configured { warnings, ..complete })
    }

    fn parsed(&self, bundle: Map<String, Value>, origin: String) -> Result<Configured, Failure> {
        let text = Value::Object(bundle).to_string();
        let (mesh, warnings) = InjectorConfig::from_bundle(Text { name: &self.name, text: &text })?;
        Ok(Configured { mesh, warnings, origin })
    }

    /// The objects, in the form in which [`workloads::texts`] returns those of a cluster.
    pub(super) fn texts(&self, which: Which) -> Vec<(String, String)> {
        let text = match which {
            Which::Workloads => &self.workloads,
            Which::Pods => &self.pods,
        };
        vec![(self.name.clone(), text.clone())]
    }
}

/// The configuration and the pods that a command evaluates: from a capture, from files, or from the cluster.
pub(super) fn pods(
    source: &Source,
    capture: Option<&Path>,
    files: &[PathBuf],
    namespace: &str,
    color: Color,
) -> Result<(Configured, Vec<(String, String)>), Failure> {
    if let Some(path) = capture {
        let captured = Captured::read(path)?;
        let configured = match source.is_cluster_source() {
            true => captured.configured()?,
            false => captured.complete(source.load(Purpose::Decide)?)?,
        };
        configured.report(color);
        return Ok((configured, captured.texts(Which::Pods)));
    }
    let of_cluster = files.is_empty();
    let mut configured =
        if of_cluster { source.load_for_cluster(Purpose::Decide)? } else { source.load(Purpose::Decide)? };
    if of_cluster && !source.is_cluster_source() {
        configured = source.with_facts_of_cluster(configured)?;
    }
    configured.report(color);
    Ok((configured, workloads::texts(files, false, (source, Which::Pods, namespace), color)?))
}

fn document(bundle: Value, workloads: Value, pods: Value) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "sha256": hash(&bundle, &workloads, &pods),
        "bundle": bundle,
        "workloads": workloads,
        "pods": pods,
    })
}

/// The hash of the content. Keys are sorted in a [`Value`], so that it does not depend on the layout.
fn hash(bundle: &Value, workloads: &Value, pods: &Value) -> String {
    let mut hash = Sha256::new();
    for part in [bundle, workloads, pods] {
        hash.update(part.to_string());
        hash.update("\n");
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture() -> Value {
        let bundle = crate::config::InjectorConfig::embedded().unwrap().effective_bundle();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": []});
        document(bundle, list.clone(), list)
    }

    fn read(text: &str) -> Result<Captured, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("capture.json");
        std::fs::write(&file, text).unwrap();
        Captured::read(&file).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_capture_is_what_its_hash_says() {
        let capture = capture();
        let captured = read(&capture.to_string()).map_err(|error| panic!("{error}")).unwrap();
        let configured = captured.configured().map_err(|error| panic!("{error}")).unwrap();
        assert_eq!(configured.mesh.effective_bundle(), capture["bundle"]);
        assert!(read(&format!("{capture:#}")).is_ok(), "the layout does not matter");
        let mut edited = capture.clone();
        edited["bundle"]["revision"] = json!("other");
        let error = read(&edited.to_string()).err().unwrap();
        assert!(error.contains("sha256: found content with"), "{error}");
        let text = capture.to_string();
        assert!(read(&text[..text.len() / 2]).err().unwrap().contains("not a capture"));
        assert!(read("{\"kind\": \"Bundle\"}").err().unwrap().contains("\"Bundle\""));
    }

    #[test]
    fn another_configuration_gets_the_namespaces_of_the_capture() {
        let mut capture = capture();
        capture["bundle"]["namespaces"] =
            json!([{"name": "shop", "labels": {"istio-injection": "enabled"}, "annotations": {}}]);
        let capture =
            document(capture["bundle"].clone(), capture["workloads"].clone(), capture["pods"].clone());
        let captured = read(&capture.to_string()).map_err(|error| panic!("{error}")).unwrap();
        let mesh = crate::config::InjectorConfig::embedded().unwrap();
        assert!(mesh.namespaces().is_empty());
        let other = Configured { mesh, warnings: Vec::new(), origin: "other".to_owned() };
        let complete = captured.complete(other).map_err(|error| panic!("{error}")).unwrap();
        assert!(complete.mesh.namespaces().contains_key("shop"));
    }
}
