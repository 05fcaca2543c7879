//! Fuzz targets: each takes the fuzzer's bytes, and panics where outrigger does not do what it promises.
//!
//! The targets of `fuzz_targets/` are one line each; what they check is in `targets`. docs/testing.md says how to run them.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans are for the pure core; here fixtures are read and a process is asked"
)]

mod input;
mod meshes;
mod oracle;
mod random;
mod seeds;
mod targets;

/// What becomes of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It may be kept in the corpus.
    Keep,
    /// It says nothing, because Go gave no answer to it: it is not kept.
    Drop,
}

/// Where to write seeds to, instead of fuzzing.
const SEEDS: &str = "OUTRIGGER_FUZZ_SEEDS";

/// What a target does first: where `OUTRIGGER_FUZZ_SEEDS` names a folder it writes its seeds there and ends.
///
/// # Panics
/// If a seed cannot be made or written.
pub fn init(target: &str) {
    let Some(folder) = std::env::var_os(SEEDS) else { return };
    let folder = std::path::PathBuf::from(folder);
    for (index, seed) in seeds::of(target).into_iter().enumerate() {
        let file = folder.join(format!("seed-{index:04}"));
        std::fs::write(&file, seed).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    std::process::exit(0);
}

/// Gives an input to a target.
///
/// # Panics
/// If there is no such target, or a promise is broken.
pub fn fuzz(target: &str, bytes: &[u8]) -> libfuzzer_sys::Corpus {
    match targets::of(target)(bytes) {
        Fate::Keep => libfuzzer_sys::Corpus::Keep,
        Fate::Drop => libfuzzer_sys::Corpus::Reject,
    }
}

/// The pods and strings of the property tests.
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../tests/suite/pods.rs"]
mod strategies;

#[allow(dead_code, reason = "shared with the tests")]
mod generators;

/// The texts that are read otherwise than `sigs.k8s.io/yaml` reads them, and why.
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../crates/kubernetes-yaml/src/tests/differences.rs"]
mod yaml_differences;
