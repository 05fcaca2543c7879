//! Records Istio's answers, with which `cargo test` compares the engine if there is no oracle.
//!
//! The pods and manifests are this repository's own: its fixtures, and the generators' output for one seed.

use std::{collections::BTreeMap, fs, io::Write as _, path::Path};

use flate2::{Compression, GzBuilder};
use outrigger::config::Compat;
use serde_json::{Map, Value, json};

use super::{
    manifests::{self, Corpus},
    oracle::{Oracle, Verdict},
    pods,
    random::Random,
    run::{PATHS, manifest_differences, own_manifests, pod_differences},
    settings,
};
use crate::setting;

/// The seed of the recorded inputs.
const SEED: u64 = 20_261_129;
const SETTINGS: u64 = 64;
const PODS: usize = 11;
const MANIFESTS: usize = 3;
/// The number of repeated questions: answers that depend on the random order of a map are not recorded.
const AGAIN: usize = 6;

fn fixtures(folder: &str) -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "json" || kind == "yaml"));
    files
        .filter_map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let head = text.split("\nexpected:").next().unwrap_or_default();
            Some((name, outrigger::yaml::load(head, &outrigger::yaml::Limits::default()).ok()?))
        })
        .collect()
}

/// Pods of the fixtures: reviews as an API server sent them, and the golden cases.
fn own_pods() -> Vec<(String, String, Value)> {
    let reviews = fixtures("reviews").into_iter().map(|(name, review)| {
        let namespace = review["request"]["namespace"].as_str().unwrap().to_owned();
        (format!("review-{name}"), namespace, review["request"]["object"].clone())
    });
    let golden =
        fixtures("golden").into_iter().filter(|(_, case)| case["pod"].is_object()).map(|(name, case)| {
            (
                format!("golden-{name}"),
                case["namespace"].as_str().unwrap_or("shop").to_owned(),
                case["pod"].clone(),
            )
        });
    reviews.chain(golden).collect()
}

struct Recorder {
    oracle: Oracle,
    calls: Vec<Value>,
    manifests: Vec<Value>,
    left_out: usize,
}

impl Recorder {
    /// Records the answer for a pod if it is always the same and equals ours; returns the injected pod.
    fn pod(
        &mut self,
        mesh: &outrigger::config::InjectorConfig,
        setting: usize,
        name: String,
        namespace: &str,
        path: &str,
        pod: &Value,
    ) -> Option<Value> {
        let theirs = self.oracle.review(&setting.to_string(), pod, namespace, path);
        let steady = (0..AGAIN)
            .all(|_| is_same(&self.oracle.review(&setting.to_string(), pod, namespace, path), &theirs));
        let found = pod_differences(mesh, pod, namespace, path, &theirs);
        if !steady || !found.is_empty() {
            println!(
                "left out: {name}: {}",
                found.first().map_or("Istio has several answers", String::as_str)
            );
            self.left_out += 1;
            return None;
        }
        let mut call = json!({"name": name, "setting": setting, "namespace": namespace, "pod": pod, "allowed": !matches!(theirs, Verdict::Denied(_))});
        if path != "/inject" {
            call["path"] = json!(path);
        }
        let patched = match theirs {
            Verdict::Patched(patched) => Some(patched),
            _ => None,
        };
        if let Some(patched) = &patched {
            call["patched"] = patched.clone();
        }
        self.calls.push(call);
        patched
    }

    fn manifest(
        &mut self,
        mesh: &outrigger::config::InjectorConfig,
        setting: usize,
        revision: &str,
        name: String,
        text: &str,
    ) {
        let theirs = self.oracle.manifest(&setting.to_string(), text, revision);
        let steady = (0..AGAIN).all(|_| {
            let other = self.oracle.manifest(&setting.to_string(), text, revision);
            other == theirs || (other.is_err() && theirs.is_err())
        });
        let found = manifest_differences(mesh, text, &theirs);
        if !steady || !found.is_empty() {
            println!(
                "left out: {name}: {}",
                found.first().map_or("Istio has several answers", String::as_str)
            );
            self.left_out += 1;
            return;
        }
        let mut case = json!({"name": name, "setting": setting, "input": text});
        match theirs {
            Ok(injected) => case["injected"] = json!(injected),
            Err(error) => case["refused"] = json!(error),
        }
        self.manifests.push(case);
    }
}

/// The text of a denial depends on the order of a map.
fn is_same(one: &Verdict, other: &Verdict) -> bool {
    matches!((one, other), (Verdict::Denied(_), Verdict::Denied(_))) || one == other
}

#[test]
#[ignore = "writes tests/fixtures/istio/recordings.json.gz: `just recordings`"]
fn recordings_are_made() {
    let stock = setting::embedded_templates();
    let values = setting::embedded()["values"].clone();
    let own = own_manifests();
    let corpus = Corpus::new(own.values().map(String::as_str));
    let mut recorder =
        Recorder { oracle: Oracle::start(), calls: Vec::new(), manifests: Vec::new(), left_out: 0 };
    let mut recorded: Vec<setting::Setting> = Vec::new();

    let mut plain = settings::plain(&values);
    for native in [true, false] {
        plain.native_sidecars = native;
        let number = recorded.len();
        recorder.oracle.install(&number.to_string(), &plain, &stock).unwrap();
        let mesh = plain.mesh(Compat::Istio, &stock).unwrap();
        recorded.push(plain.clone());
        let sort = if native { "native" } else { "ordinary" };
        for (name, namespace, pod) in own_pods() {
            let Ok(pod) = recorder.oracle.try_canonical(&pod) else { continue };
            recorder.pod(&mesh, number, format!("{name}-{sort}"), &namespace, "/inject", &pod);
        }
        for (name, text) in &own {
            recorder.manifest(&mesh, number, "", format!("{name}-{sort}"), text);
        }
    }
    for part in 0..SETTINGS {
        let mut random = Random::part(SEED, part);
        let setting = settings::setting(&mut random, &values);
        let number = recorded.len();
        let Ok(mesh) = setting.mesh(Compat::Istio, &stock) else { continue };
        if recorder.oracle.install(&number.to_string(), &setting, &stock).is_err() {
            continue;
        }
        let mut injected: Option<Value> = None;
        for index in 0..PODS {
            let again =
                injected.take().filter(|_| random.percent(35)).map(|pod| pods::changed(&mut random, &pod));
            let sort = if again.is_some() { "again" } else { "random" };
            let pod = again.unwrap_or_else(|| {
                if random.percent(10) { corpus.pod(&mut random) } else { pods::pod(&mut random) }
            });
            let pod = recorder.oracle.canonical(&pod);
            let namespace = *random.pick(pods::NAMESPACES);
            let namespace =
                pod.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or(namespace).to_owned();
            let path = if random.percent(10) { *random.pick(PATHS) } else { "/inject" };
            injected = recorder.pod(&mesh, number, format!("{sort}-{part}-{index}"), &namespace, path, &pod);
        }
        for index in 0..MANIFESTS {
            let oracle = &mut recorder.oracle;
            let made = manifests::manifest(&mut random, &corpus, &mut |pod| oracle.canonical(pod));
            recorder.manifest(
                &mesh,
                number,
                &setting.revision,
                format!("manifest-{part}-{index}"),
                &made.text,
            );
        }
        recorded.push(setting);
    }

    let all = recorder.calls.len() + recorder.manifests.len();
    let (calls, manifests) = (recorder.calls.len(), recorder.manifests.len());
    println!(
        "{calls} calls and {manifests} manifests under {} configurations; {} left out",
        recorded.len(),
        recorder.left_out
    );
    assert!(recorder.left_out * 10 < all, "too much is left out");
    let mut document = Map::new();
    document.insert("istio".to_owned(), json!(recorder.oracle.material().version));
    document.insert("templates".to_owned(), Value::Object(stock));
    document.insert("settings".to_owned(), json!(recorded));
    document.insert("calls".to_owned(), Value::Array(recorder.calls));
    document.insert("manifests".to_owned(), Value::Array(recorder.manifests));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/istio/recordings.json.gz");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    // No name and no time in the header, so that the same answers produce the same file.
    let mut writer = GzBuilder::new().write(Vec::new(), Compression::best());
    writer.write_all(Value::Object(document).to_string().as_bytes()).unwrap();
    fs::write(file, writer.finish().unwrap()).unwrap();
}
