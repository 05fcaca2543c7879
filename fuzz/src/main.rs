//! Fuzz targets: each takes the fuzzer's bytes, and panics where outrigger does not do what it promises.
//!
//! One binary holds all of them, because linking is most of the work of building one: `OUTRIGGER_FUZZ_TARGET` names the
//! target. What each of them checks is in `targets`. docs/testing.md says how to run them.

#![no_main]
#![allow(
    clippy::disallowed_methods,
    reason = "the bans are for the pure core; here fixtures are read and a process is asked"
)]

mod input;
mod meshes;
mod oracle;
mod random;
mod seeds;
#[path = "../../tests/suite/sensitive.rs"]
mod sensitive;
#[path = "../../tests/suite/series.rs"]
mod series;
mod targets;

use std::{path::PathBuf, sync::LazyLock};

use libfuzzer_sys::{Corpus, fuzz_target};

use targets::Target;

/// The name of the target.
const TARGET: &str = "OUTRIGGER_FUZZ_TARGET";
/// Where to write seeds to, instead of fuzzing.
const SEEDS: &str = "OUTRIGGER_FUZZ_SEEDS";

/// The fate of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It may be kept in the corpus.
    Keep,
    /// It proves nothing, because Go gave no answer: it is not kept.
    Drop,
}

/// The target of this process.
static CHOSEN: LazyLock<Target> =
    LazyLock::new(|| targets::of(&std::env::var(TARGET).expect("`init` ends a process without a target")));

fuzz_target!(init: init(), |bytes: &[u8]| -> Corpus {
    match CHOSEN(bytes) {
        Fate::Keep => Corpus::Keep,
        Fate::Drop => Corpus::Reject,
    }
});

/// Prepares the target, or ends the process if it should not fuzz: without a target it prints all names, and with a
/// folder for seeds it writes the target's seeds there.
///
/// # Panics
/// If a seed cannot be made or written, or the target fails on empty input.
fn init() {
    let Ok(target) = std::env::var(TARGET) else {
        targets::names().for_each(|name| println!("{name}"));
        std::process::exit(0);
    };
    let Some(folder) = std::env::var_os(SEEDS).map(PathBuf::from) else {
        // Reads fixtures and configurations once, so that the first input does not count as slow.
        let _ = CHOSEN(b"");
        return;
    };
    for (index, seed) in seeds::of(&target).into_iter().enumerate() {
        let file = folder.join(format!("seed-{index:04}"));
        std::fs::write(&file, seed).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    std::process::exit(0);
}

/// The pods and strings of the property tests.
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../tests/suite/pods.rs"]
mod strategies;

#[allow(dead_code, reason = "shared with the tests")]
mod generators;

/// The texts that are read differently from `sigs.k8s.io/yaml`, and why.
#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../crates/kubernetes-yaml/src/tests/differences.rs"]
mod yaml_differences;
