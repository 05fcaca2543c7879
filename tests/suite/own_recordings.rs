//! Istio's answers in this repository: recorded by `just recordings` from our own pods and manifests, with our
//! templates.
//!
//! The configurations contain the templates they were recorded with, so changing a template does not change the
//! answers.

use std::{fs, io::Read as _, path::Path, sync::LazyLock};

use flate2::read::GzDecoder;
use outrigger::config::{Compat, InjectorConfig};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::setting::Setting;

/// All of them.
#[derive(Deserialize)]
pub(crate) struct Recordings {
    templates: Map<String, Value>,
    pub(crate) settings: Vec<Setting>,
    pub(crate) calls: Vec<Call>,
    pub(crate) manifests: Vec<Manifest>,
}

/// A webhook call and Istio's answer.
#[derive(Clone, Deserialize)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) setting: usize,
    pub(crate) namespace: String,
    /// The path of the URL.
    #[serde(default = "inject")]
    pub(crate) path: String,
    pub(crate) pod: Value,
    pub(crate) allowed: bool,
    pub(crate) patched: Option<Value>,
}

fn inject() -> String {
    "/inject".to_owned()
}

/// A manifest and Istio's kube-inject output for it: both exist, or neither.
#[derive(Clone, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) setting: usize,
    pub(crate) input: String,
    pub(crate) injected: Option<String>,
    pub(crate) refused: Option<String>,
}

pub(crate) static RECORDINGS: LazyLock<Recordings> = LazyLock::new(|| {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/istio/recordings.json.gz");
    let mut text = String::new();
    GzDecoder::new(fs::File::open(file).unwrap()).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
});

impl Recordings {
    /// The configurations, in their order.
    pub(crate) fn meshes(&self, compat: Compat) -> Vec<InjectorConfig> {
        self.accepted(compat).into_iter().map(Option::unwrap).collect()
    }

    /// The same without those that are rejected: our own rules reject more than Istio's.
    pub(crate) fn accepted(&self, compat: Compat) -> Vec<Option<InjectorConfig>> {
        self.settings.iter().map(|setting| setting.mesh(compat, &self.templates).ok()).collect()
    }
}

/// The minimum content of the recordings, without which they prove little.
#[test]
fn recordings_have_something_of_everything() {
    let all = &*RECORDINGS;
    let count = |what: &str, count: usize, least: usize| {
        println!("{count:5} {what}");
        assert!(count >= least, "{what}: {count}, at least {least} are wanted");
    };
    let calls = |with: &dyn Fn(&Call, &Setting) -> bool| {
        all.calls.iter().filter(|call| with(call, &all.settings[call.setting])).count()
    };
    let value =
        |setting: &Setting, pointer: &str| setting.values.pointer(pointer).cloned().unwrap_or_default();
    let templates = |setting: &Setting, name: &str| {
        setting.config["defaultTemplates"].as_array().unwrap().iter().any(|template| template == name)
    };
    count("calls", all.calls.len(), 750);
    count("manifests", all.manifests.len(), 120);
    count("denied", calls(&|call, _| !call.allowed), 20);
    count("not injected", calls(&|call, _| call.allowed && call.patched.is_none()), 20);
    count("injected before", calls(&|call, _| call.name.starts_with("again")), 60);
    count("native sidecars", calls(&|_, setting| setting.native_sidecars), 200);
    count("ordinary sidecars", calls(&|_, setting| !setting.native_sidecars), 200);
    count("CNI", calls(&|_, setting| value(setting, "/pilot/cni/enabled") == true), 20);
    count("TPROXY", calls(&|_, setting| setting.mesh.contains("TPROXY")), 10);
    count("OpenShift", calls(&|_, setting| setting.platform == "openshift"), 10);
    count("compliance", calls(&|_, setting| !setting.compliance_policy.is_empty()), 10);
    count("ProxyConfig resources", calls(&|_, setting| !setting.proxy_configs.is_empty()), 20);
    count(
        "selectors",
        calls(&|_, setting| setting.config.keys().any(|key| key.ends_with("InjectSelector"))),
        20,
    );
    count("aliases", calls(&|_, setting| templates(setting, "both")), 5);
    for name in ["gateway", "grpc-agent", "grpc-simple", "custom"] {
        count(name, calls(&|_, setting| templates(setting, name)), 5);
    }
    count("other paths", calls(&|call, _| call.path != "/inject"), 30);
    count("refused manifests", all.manifests.iter().filter(|manifest| manifest.refused.is_some()).count(), 3);
}
