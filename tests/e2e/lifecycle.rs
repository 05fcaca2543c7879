//! Replicas of two builds side by side, as during an update.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use outrigger::yaml::{self, Limits};
use serde_json::Value;

use super::{
    control_plane::{ControlPlane, Flavour},
    install::Serving,
    outrigger_process::Outrigger,
    reviewer::Reviewer,
};

/// Another build of the program: `OUTRIGGER_OTHER_BUILD`, or that of the other profile, or else this one, which at least
/// has other addresses and other random states.
fn other_build() -> PathBuf {
    let this = PathBuf::from(env!("CARGO_BIN_EXE_outrigger"));
    let profile =
        if this.parent().is_some_and(|folder| folder.ends_with("debug")) { "release" } else { "debug" };
    let sibling = this.ancestors().nth(2).map(|target| target.join(profile).join("outrigger"));
    env::var_os("OUTRIGGER_OTHER_BUILD")
        .map(PathBuf::from)
        .or(sibling.filter(|program| program.exists()))
        .unwrap_or(this)
}

/// The pods of the golden cases that have no configuration of their own, and those of the recorded reviews.
fn pods() -> Vec<(String, Value)> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let files = |folder: &str| {
        let mut files: Vec<PathBuf> = fs::read_dir(fixtures.join(folder))
            .expect("fixtures")
            .map(|file| file.expect("a file").path())
            .collect();
        files.sort();
        files
    };
    let mut pods = Vec::new();
    for file in files("golden") {
        let text = fs::read_to_string(&file).expect("a case");
        let case = text.split("\nexpected:").next().expect("a case");
        let case = yaml::load(case, &Limits::default()).expect("YAML");
        // A case with a malformed pod gets a status.
        if case.get("bundle").is_none()
            && let Some(pod) = case.get("pod").filter(|pod| pod.is_object())
        {
            pods.push((file.display().to_string(), pod.clone()));
        }
    }
    for file in files("reviews") {
        let review: Value =
            serde_json::from_str(&fs::read_to_string(&file).expect("a review")).expect("JSON");
        if review["request"]["object"].is_object() {
            pods.push((file.display().to_string(), review["request"]["object"].clone()));
        }
    }
    pods
}

// L-07: the choice of the replica makes no difference as long as the hash of the configuration is the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l_07_two_builds_answer_alike_under_one_configuration() {
    let control_plane = ControlPlane::start(Flavour::Oldest).await;
    let serving = Serving::new(&control_plane);
    let other = other_build();
    let outrigger = || Outrigger::standalone(&serving.certificate, &serving.key);
    let (one, two) = (outrigger().start().await, outrigger().of(&other).start().await);
    let mut this = Reviewer::connect(one.webhook_port(), &serving.authority).await;
    let mut that = Reviewer::connect(two.webhook_port(), &serving.authority).await;
    let pods = pods();
    let (mut same, mut hashes, mut patched) = (0, 0, 0);
    for (name, pod) in &pods {
        let (a, b) = (this.review("shop", pod).await, that.review("shop", pod).await);
        assert!(!a.hash().is_empty() && !b.hash().is_empty(), "{name}");
        if a.hash() == b.hash() {
            assert_eq!(a.response, b.response, "{name}: {} against {}", one.url(), other.display());
            hashes += 1;
        }
        same += usize::from(a.response == b.response);
        patched += usize::from(a.response["patch"].is_string());
    }
    println!(
        "against {}: {} pods, {hashes} with the same hash, {same} answered alike, {patched} of them injected",
        other.display(),
        pods.len()
    );
    assert!(pods.len() >= 50 && patched >= 40, "{} pods, {patched} injected", pods.len());
    // If the hashes differ, the results may differ as well, which is visible to everybody.
    if hashes == 0 {
        let (this, that) = (one.metrics().await, two.metrics().await);
        let hash = |metrics: &str| {
            metrics
                .lines()
                .find(|line| line.starts_with("outrigger_config_hash_info{"))
                .map(ToOwned::to_owned)
        };
        assert!(hash(&this).is_some() && hash(&this) != hash(&that));
    }
}
