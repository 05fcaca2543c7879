//! Allocations of one injection: how many, and of how many bytes. Counts are the same on every machine.
//!
//! `cargo bench --no-default-features --bench allocations`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use outrigger::{
    config::InjectorConfig,
    inject::{self, AdmissionRequest, CacheStatus, Facts, Injector, Outcome, PodRequest},
};
use serde_json::Value;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

/// What is asked for does not depend on who is asked.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

const REVIEWS: [(&str, &str); 4] = [
    ("bare", include_str!("../tests/fixtures/reviews/pod.json")),
    ("deployment.json", include_str!("../tests/fixtures/reviews/deployment.json")),
    ("big.json", include_str!("../tests/fixtures/reviews/big.json")),
    ("skip: opted-out.json", include_str!("../tests/fixtures/reviews/opted-out.json")),
];

fn request(review: &Value) -> PodRequest {
    PodRequest::new(review["request"]["namespace"].as_str().unwrap(), review["request"]["object"].clone())
}

/// Allocations (growing one counts as another) and bytes, of the third of three runs: an overlay is kept by the second.
fn counted<T>(prepare: impl Fn(), work: impl Fn() -> T) -> (usize, usize) {
    for _ in 0..2 {
        prepare();
        drop(work());
    }
    prepare();
    let region = Region::new(ALLOCATOR);
    let kept = work();
    let stats = region.change();
    drop(kept);
    (stats.allocations + stats.reallocations, stats.bytes_allocated)
}

/// The webhook's way for a pod whose siblings were answered; `None` where they are not cached.
fn cached(text: &str) -> Option<(usize, usize)> {
    let injector = Injector::new(InjectorConfig::embedded().ok()?);
    let (none, facts) = (BTreeMap::new(), Facts::of(injector.config(), "default"));
    let review = || injector.review(AdmissionRequest::new(text, "default", &none), &facts).ok();
    review()?;
    review()?;
    (review()?.served == CacheStatus::Hit).then(|| counted(|| (), review))
}

fn main() {
    let mesh = InjectorConfig::embedded().expect("the embedded configuration");
    println!("| what | allocations | KiB |\n| --- | --- | --- |");
    let row = |what: &str, (count, bytes): (usize, usize)| {
        println!("| {what} | {count} | {:.1} |", bytes as f64 / 1024.0);
    };
    for (name, text) in REVIEWS {
        let review: Value = serde_json::from_str(text).unwrap();
        let request = request(&review);
        let run = || match inject::run(&mesh, &request, &Facts::of(&mesh, &request.namespace)) {
            Ok(Outcome::Injected(injection)) => injection.operations,
            Ok(Outcome::Skipped(_)) => 0,
            Err(refusal) => panic!("{name}: {refusal}"),
        };
        let parse = || serde_json::from_str::<Value>(text).unwrap();
        row(&format!("{name}: review to `Value`"), counted(|| (), parse));
        row(&format!("{name}: `inject::run`, shape seen"), counted(|| (), run));
        row(&format!("{name}: `inject::run`, shape never seen"), counted(|| mesh.overlays().clear(), run));
        if let Some(cached) = cached(&review["request"]["object"].to_string()) {
            row(&format!("{name}: text to patch, cached for a sibling"), cached);
        }
    }
}
