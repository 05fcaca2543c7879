//! Whole injections and their stages, with the floor below which no injector of JSON can go.
//!
//! `cargo bench --bench injection`. Compare rows of one run only: machines are noisy.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{borrow::Cow, collections::BTreeMap, hint::black_box};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use injector::{explain, overlay::Overlay};
use outrigger::{
    annotation,
    config::{InjectorConfig, Source},
    decode,
    inject::{
        self, AdmissionRequest, CacheStatus, Facts, Injector, Outcome, PodRequest, Rules, Unobserved, check,
        decision::{self, DecisionInput},
        manual,
        openshift::ProxyIds,
        post::{self, PostContext},
        reinject::PreviousInjection,
        render::{self, View},
        template_containers::TemplateContainers,
    },
    merge::{self, Directives},
    patch,
    yaml::{self, Limits},
};
use serde_json::{Map, Value, json};

/// The allocator of the binary: half of an injection is allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DEPLOYMENT: &str = include_str!("../tests/fixtures/reviews/deployment.json");
const BIG: &str = include_str!("../tests/fixtures/reviews/big.json");

fn mesh() -> InjectorConfig {
    InjectorConfig::embedded().expect("the embedded configuration is valid")
}

fn request(review: &str) -> PodRequest {
    let review: Value = serde_json::from_str(review).unwrap();
    PodRequest::new(review["request"]["namespace"].as_str().unwrap(), review["request"]["object"].clone())
}

fn injected(mesh: &InjectorConfig, request: &PodRequest) -> inject::Injection {
    match inject::run(mesh, request, &Facts::of(mesh, &request.namespace)) {
        Ok(Outcome::Injected(injection)) => *injection,
        other => panic!("{other:?}"),
    }
}

/// The cost of reading the review and writing the patch, whatever happens in between.
fn floor(c: &mut Criterion) {
    let patch = injected(&mesh(), &request(DEPLOYMENT)).patch();
    c.bench_function("floor/parse review and encode patch", |b| {
        b.iter(|| {
            let review: Value = serde_json::from_str(black_box(DEPLOYMENT)).unwrap();
            (review, serde_json::to_vec(&patch).unwrap())
        });
    });
}

/// The cost of a new configuration before it is applied: reading, then every template over every sample pod.
fn configuration(c: &mut Criterion) {
    c.bench_function("configuration/read", |b| b.iter(mesh));
    c.bench_function("configuration/check", |b| {
        b.iter_batched_ref(
            mesh,
            |mesh| check::check(mesh).expect("the embedded configuration does"),
            BatchSize::PerIteration,
        );
    });
}

fn whole(c: &mut Criterion) {
    let mut group = c.benchmark_group("whole");
    for (name, review) in [("deployment.json", DEPLOYMENT), ("big.json", BIG)] {
        let request = request(review);
        let seen = mesh();
        injected(&seen, &request);
        group.bench_function(format!("{name}, shape seen before"), |b| {
            b.iter(|| injected(black_box(&seen), black_box(&request)));
        });
        group.bench_function(format!("{name}, shape never seen"), |b| {
            b.iter_batched_ref(
                || {
                    seen.overlays().clear();
                },
                |()| injected(black_box(&seen), black_box(&request)),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// The webhook's path from object text to patch text, cached or through the whole pipeline.
fn review(c: &mut Criterion) {
    let injector = Injector::new(mesh());
    let review: Value = serde_json::from_str(DEPLOYMENT).unwrap();
    let texts: Vec<String> = (0..64_u64)
        .map(|pod| {
            let hash = format!("{:010x}", 0xab_cdef_0123 ^ (pod << 20));
            review["request"]["object"].to_string().replace("769df69587", &hash)
        })
        .collect();
    let none = BTreeMap::new();
    let facts = Facts::of(injector.config(), "default");
    let request = |text| AdmissionRequest::new(text, "default", &none);
    for text in texts.iter().take(2) {
        injector.review(request(text), &facts).unwrap();
    }
    let mut group = c.benchmark_group("review");
    let mut next = texts.iter().cycle();
    group.bench_function("deployment.json, cached for a sibling", |b| {
        b.iter(|| {
            let admission = injector.review(request(black_box(next.next().unwrap())), &facts).unwrap();
            assert_ne!(admission.served, CacheStatus::Stale);
            admission
        });
    });
    group.bench_function("deployment.json, read and answered whole", |b| {
        b.iter(|| injector.review_uncached(request(black_box(next.next().unwrap())), &facts).unwrap());
    });
    group.bench_function("request", |b| b.iter(|| request(black_box(next.next().unwrap()))));
    group.finish();
}

/// Whole injections of larger and larger pods: more variables in more containers.
fn sizes(c: &mut Criterion) {
    let mut group = c.benchmark_group("size");
    for kilobytes in [1, 5, 20, 100, 500_usize] {
        let mut request = request(DEPLOYMENT);
        let environment: Vec<Value> = (0..50)
            .map(|index| json!({"name": format!("VARIABLE_{index:03}"), "value": "0123456789abcdef"}))
            .collect();
        let main = request.pod["spec"]["containers"][0].clone();
        for index in 1.. {
            if request.pod.to_string().len() >= kilobytes << 10 {
                break;
            }
            let mut container = main.clone();
            container["name"] = format!("web-{index}").into();
            container["env"] = environment.clone().into();
            request.pod["spec"]["containers"].as_array_mut().unwrap().push(container);
        }
        let mesh = mesh();
        let bytes = request.pod.to_string().len();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{kilobytes} KiB"), |b| {
            b.iter(|| injected(black_box(&mesh), black_box(&request)));
        });
    }
    group.finish();
}

/// Whole injections while the configuration knows more and more namespaces and nodes.
fn cached(c: &mut Criterion) {
    let mut group = c.benchmark_group("cached");
    for count in [10, 100, 1_000, 20_000] {
        let namespaces: Vec<Value> = (0..count)
            .map(|n| json!({"name": format!("team-{n}"), "labels": {"team": format!("{n}")}}))
            .collect();
        let nodes: Vec<Value> = (0..count)
            .map(|n| json!({"name": format!("node-{n}"), "kubeletVersion": format!("v1.34.{}", n % 3)}))
            .collect();
        let text = json!({
            "apiVersion": "outrigger.dev/v1alpha1", "kind": "Bundle", "namespaces": namespaces, "nodes": nodes,
        })
        .to_string();
        let mesh = InjectorConfig::from_bundle(Source { name: "cached", text: &text }).unwrap().0;
        let request = request(DEPLOYMENT);
        group.bench_function(format!("{count} namespaces and nodes"), |b| {
            b.iter(|| injected(black_box(&mesh), black_box(&request)));
        });
    }
    group.finish();
}

fn stages(c: &mut Criterion) {
    let mesh = mesh();
    let request = request(DEPLOYMENT);
    let injection = injected(&mesh, &request);
    c.bench_function("stage/configuration: parse the embedded bundle", |b| b.iter(self::mesh));
    let text = yaml::to_string(&injection.pod);
    c.bench_function("stage/yaml: load an injected pod", |b| {
        b.iter(|| yaml::load(black_box(&text), &Limits::rendered()).unwrap());
    });
    c.bench_function("stage/yaml: an injected pod as an overlay", |b| {
        b.iter(|| Overlay::parse(black_box(&text)).unwrap());
    });
    c.bench_function("stage/merge: an injected pod over a pod", |b| {
        b.iter_batched(
            || request.pod.clone(),
            |pod| merge::pod(pod, &injection.pod, Directives::Honor).unwrap(),
            BatchSize::SmallInput,
        );
    });
    engine_stages(c, &mesh, &request, &injection);
    c.bench_function("stage/patch: diff", |b| {
        b.iter(|| patch::diff(&request.pod, black_box(&injection.pod)))
    });
    let operations = patch::diff(&request.pod, &injection.pod);
    c.bench_function("stage/decode: what the patch brings", |b| {
        b.iter(|| decode::is_decodable(black_box(&operations)));
    });
    c.bench_function("stage/patch: verify", |b| {
        b.iter(|| patch::verify(&request.pod, black_box(&operations), &injection.pod).unwrap());
    });
}

/// The stages between reading a pod and diffing it, except the merge.
fn engine_stages(
    c: &mut Criterion,
    mesh: &InjectorConfig,
    request: &PodRequest,
    injection: &inject::Injection,
) {
    let pod = &request.pod;
    let injector = mesh.injector();
    let input = DecisionInput {
        policy: injector.policy.as_str(),
        never: &injector.never_inject,
        always: &injector.always_inject,
        namespace_labels: None,
        by_pod_alone: false,
        revision: mesh.revision(),
        tags: &[],
        enable_namespaces_by_default: false,
        rule: None,
        quirks: mesh.quirks(),
    };
    c.bench_function("stage/decide", |b| b.iter(|| decision::decide(black_box(pod), "default", &input)));
    let nothing = Map::new();
    let accept = |_: &str| Ok(());
    c.bench_function("stage/annotations: check an injected pod's", |b| {
        let annotations = injection.pod["metadata"]["annotations"].as_object().unwrap();
        b.iter(|| annotation::check(black_box(annotations), &nothing, mesh.quirks(), &accept).unwrap());
    });
    let proxy_config = Cow::Borrowed(&mesh.mesh_config()["defaultConfig"]);
    let view = View {
        pod,
        workload: None,
        proxy_config: &proxy_config,
        native_sidecars: true,
        ids: ProxyIds::default(),
        stand_ins: false,
    };
    let templates = render::select(Rules::Configured, mesh, pod).unwrap();
    c.bench_function("stage/render: sidecar, parsed overlay at hand", |b| {
        b.iter(|| render::overlays(mesh, black_box(&view), &templates).unwrap());
    });
    let context = PostContext {
        received: pod,
        asked: pod,
        made: &TemplateContainers::of(&injection.pod),
        earlier: &PreviousInjection::of(pod, mesh.quirks(), &mut Vec::new()).unwrap(),
        mesh_config: mesh.mesh_config(),
        proxy_config: &proxy_config,
        values: mesh.values(),
        path_env: &request.path_env,
        revision: mesh.revision(),
        injected_annotations: &injector.injected_annotations,
        quirks: mesh.quirks(),
    };
    c.bench_function("stage/post: all passes", |b| {
        b.iter_batched(
            || injection.pod.clone(),
            |mut pod| post::apply(&mut pod, &context, &mut Unobserved).unwrap(),
            BatchSize::SmallInput,
        );
    });
}

/// What explanations cost, and that the webhook pays nothing for them: its pipeline is the observed one with an observer that
/// does nothing, and its templates are rendered without a trace. All rows render the templates.
fn explained(c: &mut Criterion) {
    let (mesh, request) = (mesh(), request(DEPLOYMENT));
    let facts = Facts::of(&mesh, &request.namespace);
    injected(&mesh, &request);
    let mut group = c.benchmark_group("explain");
    group.bench_function("deployment.json, not observed", |b| {
        b.iter_batched_ref(
            || mesh.overlays().clear(),
            |()| inject::run(black_box(&mesh), black_box(&request), &facts).unwrap(),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("deployment.json, an observer that does nothing", |b| {
        b.iter_batched_ref(
            || mesh.overlays().clear(),
            |()| {
                let (mesh, request) = (black_box(&mesh), black_box(&request));
                inject::run_observed(Rules::Configured, mesh, request, &facts, &mut Unobserved).unwrap()
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("deployment.json, the writer of every field", |b| {
        b.iter_batched_ref(
            || mesh.overlays().clear(),
            |()| explain::explain(black_box(&mesh), black_box(&request), &facts),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Manual injection of a List: an item of a long one costs what an item of a short one costs.
fn lists(c: &mut Criterion) {
    let mesh = mesh();
    let options = manual::Options {
        mesh: &mesh,
        rules: Rules::Configured,
        namespace: "shop",
        template_paths: Vec::new(),
    };
    let mut group = c.benchmark_group("list, whole manifest");
    group.sample_size(10);
    for items in [10, 200, 2000] {
        let item = |number| {
            format!(
                "- apiVersion: apps/v1\n  kind: Deployment\n  metadata: {{name: web-{number}}}\n  spec:\n    template:\n      \
                 metadata: {{labels: {{app: web-{number}}}}}\n      spec:\n        containers:\n        - {{name: web, image: web}}\n"
            )
        };
        let text: String = std::iter::once("apiVersion: v1\nkind: List\nitems:\n".to_owned())
            .chain((0..items).map(item))
            .collect();
        assert!(manual::inject(&text, &options).unwrap().is_changed());
        group.throughput(Throughput::Elements(items));
        group.bench_function(items.to_string(), |b| {
            b.iter(|| manual::inject(black_box(&text), &options).unwrap().to_string());
        });
    }
    group.finish();
}

criterion_group!(benches, floor, configuration, whole, review, sizes, cached, stages, explained, lists);
criterion_main!(benches);
