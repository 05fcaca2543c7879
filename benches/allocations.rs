//! Allocations of one injection: how many, and of how many bytes. Counts are the same on every machine.
//!
//! `cargo bench --no-default-features --bench allocations`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use outrigger::{
    config::InjectorConfig,
    inject::{self, AdmissionRequest, CacheStatus, Facts, Injector, Outcome, PodRequest, Rules, manual},
};
use serde_json::Value;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

/// The requests for memory do not depend on the allocator.
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

/// Allocations (growing one counts as another) and bytes of the third of three runs: the second caches an overlay.
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

/// The webhook's path for a pod whose siblings were answered; `None` if they are not cached.
fn cached(text: &str) -> Option<(usize, usize)> {
    let injector = Injector::new(InjectorConfig::embedded().ok()?);
    let (none, facts) = (BTreeMap::new(), Facts::of(injector.config(), "default"));
    let review = || injector.review(AdmissionRequest::new(text, "default", &none), &facts).ok();
    review()?;
    review()?;
    (review()?.served == CacheStatus::Hit).then(|| counted(|| (), review))
}

const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  template:\n    metadata:\n      \
                          labels: {app: web}\n    spec:\n      containers:\n      - name: web # the server\n        image: web\n";

/// Manifests of any size: a long List, a long stream of documents, or one long object.
fn manifest(kind: &str, size: usize) -> String {
    match kind {
        "documents" => vec![DEPLOYMENT; size].join("---\n"),
        "list" => {
            let item: String = DEPLOYMENT
                .lines()
                .enumerate()
                .map(|(number, line)| format!("{} {line}\n", if number == 0 { "-" } else { " " }))
                .collect();
            format!("apiVersion: v1\nkind: List\nitems:\n{}", item.repeat(size))
        }
        _ => {
            let variable = |number| format!("        - name: V{number} # a variable\n          value: x\n");
            format!("{DEPLOYMENT}        env:\n{}", (0..40 * size).map(variable).collect::<String>())
        }
    }
}

/// Manual injection, with its output and its inverse: ten times the input is at most about ten times the work.
fn manual_rows(mesh: &InjectorConfig, row: impl Fn(&str, (usize, usize))) {
    let options =
        manual::Options { mesh, rules: Rules::Configured, namespace: "shop", template_paths: Vec::new() };
    for kind in ["documents", "list", "object"] {
        let work = |size| {
            let text = manifest(kind, size);
            let run = || {
                let manifest = manual::inject(&text, &options).unwrap();
                assert_eq!(manifest.rewrites().count(), 0, "{kind}");
                let injected = manifest.to_string();
                let uninjected = manual::uninject(&injected, &[]).unwrap().to_string();
                assert!(uninjected == text && injected != text, "{kind}: not the original");
            };
            counted(|| (), run)
        };
        let (few, many) = (work(20), work(200));
        row(&format!("manual, {kind}: 20"), few);
        row(&format!("manual, {kind}: 200"), many);
        let is_linear = |few: usize, many: usize| many < few * 11;
        assert!(is_linear(few.0, many.0) && is_linear(few.1, many.1), "{kind}: {few:?} became {many:?}");
    }
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
    manual_rows(&mesh, row);
}
