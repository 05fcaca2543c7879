//! What guard rails cost: the same injection without any, and with 200 rules, none of which matches, and a policy that
//! checks everything.
//!
//! `cargo bench --bench guard`. Both take turns in short batches, and each batch is compared with its neighbor: what
//! slows the machine down for longer than a millisecond slows both down.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures")]

use std::{hint::black_box, time::Instant};

use outrigger::{
    config::{InjectorConfig, Source},
    inject::{self, Facts, Injection, Outcome, PodRequest},
};
use serde_json::{Value, json};

/// The allocator of the binary: half of an injection is allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DEPLOYMENT: &str = include_str!("../tests/fixtures/reviews/deployment.json");

/// Injections per batch, and pairs of batches.
const BATCH: u32 = 8;
const PAIRS: usize = 4_000;

fn injected(mesh: &InjectorConfig, request: &PodRequest) -> Injection {
    match inject::run(mesh, request, &Facts::of(mesh, &request.namespace)) {
        Ok(Outcome::Injected(injection)) => *injection,
        other => panic!("{other:?}"),
    }
}

/// Microseconds per injection.
fn batch(mesh: &InjectorConfig, request: &PodRequest) -> f64 {
    let begin = Instant::now();
    for _ in 0..BATCH {
        black_box(injected(black_box(mesh), black_box(request)));
    }
    begin.elapsed().as_secs_f64() * 1e6 / f64::from(BATCH)
}

fn rules() -> Vec<Value> {
    let conditions = |index: usize| match index % 10 {
        0 => json!({"owner": format!("Job/nightly-{index}-*")}),
        1 => json!({"serviceAccount": [format!("batch-{index}"), format!("cron-{index}-*")]}),
        2 => json!({"image": format!("registry.example.com/team-{index}/*")}),
        3 => json!({"user": format!("system:serviceaccount:team-{index}:*")}),
        4 => json!({"labels": {"matchLabels": {"team": format!("{index}")}}}),
        5 => {
            json!({"namespaceLabels": {"matchExpressions": [{"key": "tier", "operator": "In", "values": [format!("{index}")]}]}})
        }
        6 => json!({"namespace": [format!("team-{index}"), format!("*-{index}")]}),
        7 => {
            json!({"labels": {"matchExpressions": [{"key": format!("key-{index}"), "operator": "Exists"}]}, "owner": "Job/*"})
        }
        8 => {
            json!({"namespace": format!("team-{index}"), "cel": "object.spec.containers.exists(c, c.image.startsWith('a'))"})
        }
        _ => {
            json!({"image": [format!("*/legacy-{index}:*"), format!("*/old-{index}:*")], "serviceAccount": "legacy"})
        }
    };
    (0..200)
        .map(|index| json!({"name": format!("rule-{index}"), "inject": "never", "match": conditions(index)}))
        .chain([json!({"name": "last", "inject": "never", "match": {"cel": "has(object.spec.priority) && object.spec.priority == 7"}})])
        .collect()
}

fn policy() -> Value {
    json!([
        {"name": "opt-out", "action": "deny", "forbid": {"optOut": true, "privileged": true, "root": true,
            "containers": ["istio-proxy", "istio-init"], "warnings": ["BYPASS_*"]}},
        {"name": "annotations", "action": "deny", "match": {"namespace": "*"},
            "allowOnly": {"annotations": ["sidecar.istio.io/proxy*"], "templates": ["sidecar"], "images": ["*"],
                "proxyMetadata": ["ISTIO_META_*"], "excludedPorts": [3306], "excludedRanges": ["10.0.0.0/8"]}},
        {"name": "resources", "action": "deny", "except": {"user": "system:*"},
            "limit": {"limits": {"cpu": "4", "memory": "4Gi"}, "requests": {"cpu": "2"}}},
    ])
}

fn guarded(rules: &[Value], policy: &Value) -> InjectorConfig {
    let text = json!({
        "apiVersion": "outrigger.dev/v1alpha1", "kind": "Bundle", "rules": rules, "overridePolicy": policy,
    })
    .to_string();
    InjectorConfig::from_bundle(Source { name: "guard", text: &text }).unwrap().0
}

fn main() {
    let review: Value = serde_json::from_str(DEPLOYMENT).unwrap();
    let request = PodRequest::new(
        review["request"]["namespace"].as_str().unwrap(),
        review["request"]["object"].clone(),
    );
    let (rules, policy, nothing) = (rules(), policy(), json!([]));
    let none = guarded(&[], &nothing);
    // As criterion's: run once, to see that it works.
    let pairs = if std::env::args().any(|argument| argument == "--test") { 1 } else { PAIRS };
    for (name, mesh) in [
        ("nothing (the error of this comparison)", guarded(&[], &nothing)),
        ("200 rules", guarded(&rules, &nothing)),
        ("a full policy", guarded(&[], &policy)),
        ("200 rules and a full policy", guarded(&rules, &policy)),
    ] {
        compare(name, pairs, &none, &mesh, &request);
    }
}

fn compare(name: &str, pairs: usize, none: &InjectorConfig, mesh: &InjectorConfig, request: &PodRequest) {
    let (mut ratios, mut without, mut with) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..pairs {
        // The second one finds warmer caches, so both take turns.
        let (a, b) = if pair % 2 == 0 {
            let a = batch(none, request);
            (a, batch(mesh, request))
        } else {
            let b = batch(mesh, request);
            (batch(none, request), b)
        };
        ratios.push(b / a);
        without.push(a);
        with.push(b);
    }
    let quartile = |values: &mut Vec<f64>, of_four: usize| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() * of_four / 4).copied().unwrap_or(f64::NAN)
    };
    println!(
        "{name}: {:.3} times (quartiles {:.3} and {:.3}); medians {:.1} and {:.1} µs",
        quartile(&mut ratios, 2),
        quartile(&mut ratios, 1),
        quartile(&mut ratios, 3),
        quartile(&mut with, 2),
        quartile(&mut without, 2),
    );
}
