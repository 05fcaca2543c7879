//! Pods made from the fuzzer's bytes.

use std::{fs, path::Path, sync::LazyLock};

use outrigger::yaml::{self, Limits};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::Value;

use crate::{generators::pods, random::Random, strategies};

/// The folder of the repository.
pub(crate) fn repository() -> &'static Path {
    static ROOT: LazyLock<&Path> =
        LazyLock::new(|| Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder has a parent"));
    &ROOT
}

/// Files of a folder of the repository, in order.
pub(crate) fn files(folder: &str) -> Vec<(String, String)> {
    let folder = repository().join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?.to_owned();
            Some((name, fs::read_to_string(path).ok()?))
        })
        .collect();
    files.sort();
    files
}

/// The golden cases without their answers.
pub(crate) fn golden() -> Vec<Value> {
    let read = |(name, text): (String, String)| {
        let (case, _) = text.split_once("\nexpected:").unwrap_or((&text, ""));
        yaml::load(case, &Limits::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    files("tests/fixtures/golden").into_iter().map(read).collect()
}

/// The pods of the golden cases and of the recorded reviews.
pub(crate) static PODS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let mut pods: Vec<Value> = golden().iter().map(|case| case["pod"].clone()).collect();
    for (name, text) in files("tests/fixtures/reviews") {
        let review: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        pods.push(review["request"]["object"].clone());
    }
    pods.retain(|pod| pod["spec"]["containers"].is_array());
    assert!(pods.len() > 50, "the fixtures have {} pods", pods.len());
    pods
});

/// A value of a strategy of the property tests, chosen by a number.
fn chosen<S: Strategy>(strategy: S, number: usize) -> Option<S::Value> {
    let mut seed = [0; 32];
    for (byte, of_number) in seed.iter_mut().zip(number.to_le_bytes()) {
        *byte = of_number;
    }
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng);
    strategy.new_tree(&mut runner).ok().map(|tree| tree.current())
}

/// A pod: as people write them, with every field of the API, or one of the fixtures; the first and the last
/// with some changes.
pub(crate) fn pod(random: &mut Random<'_>) -> Option<Value> {
    match random.below(3) {
        0 => {
            let pod = chosen(strategies::realistic(), random.below(1 << 16))?;
            Some(pods::mutated(random, &pod))
        }
        1 => Some(pods::pod(random)),
        _ => {
            let base = random.pick(&PODS);
            Some(pods::mutated(random, base))
        }
    }
}
