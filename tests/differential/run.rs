//! The runs: generate cases, ask both sides, compare.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use outrigger::{
    config::{Compat, InjectorConfig},
    inject::{
        self, Outcome, PodRequest, Refusal, Rules,
        manual::{self, Options, Verdict as Row},
    },
    server::webhook::path,
    yaml::{self, Limits},
};
use serde_json::{Map, Value};

use super::{
    manifests::{self, Corpus},
    oracle::{Oracle, Verdict},
    pods,
    quirks::{Asked, Difference, QUIRKS},
    random::Random,
    settings,
};
use crate::{
    equal::differences,
    setting::{self, Setting},
    zeros,
};

/// The number of cases per configuration.
const UNDER_ONE: u64 = 25;
/// How often Istio is asked again if it differs: an answer that depends on the random order of a map varies.
const AGAIN: usize = 8;

pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: {text:?} is no number")))
}

/// The seed of this run: different every day, so that CI sees new cases and a day's runs can be repeated.
pub(crate) fn seed() -> u64 {
    number("OUTRIGGER_SEED")
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400)
}

/// The result of a run.
#[derive(Default)]
struct Tally {
    counts: BTreeMap<&'static str, u64>,
    quirks: BTreeMap<&'static str, u64>,
    failed: Vec<String>,
    /// Places that failed, so that each fault is shown once.
    seen: BTreeSet<String>,
    failures: u64,
}

impl Tally {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn differs(&mut self, title: &str, difference: &Difference<'_>, shown: impl FnOnce() -> String) {
        if let Some(quirk) = QUIRKS.iter().find(|quirk| (quirk.explains)(difference)) {
            *self.quirks.entry(quirk.name).or_default() += 1;
            return;
        }
        // Several quirks may affect one answer.
        let by_itself = |found: &String| {
            let alone = Difference { asked: difference.asked, found: std::slice::from_ref(found) };
            QUIRKS.iter().find(|quirk| (quirk.explains)(&alone))
        };
        if let Some(quirks) = difference.found.iter().map(by_itself).collect::<Option<Vec<_>>>() {
            for quirk in quirks {
                *self.quirks.entry(quirk.name).or_default() += 1;
            }
            return;
        }
        self.failures += 1;
        let first = difference.found.first().map(String::as_str).unwrap_or_default();
        let place = first.split(": ").next().unwrap_or_default();
        let key: String = place.chars().filter(|c| !c.is_ascii_digit()).collect();
        let key = if place.starts_with('/') || place.contains("/") {
            key
        } else {
            first.chars().take(80).collect()
        };
        if self.seen.insert(key) && self.failed.len() < 40 {
            let found: Vec<_> = difference.found.iter().take(6).cloned().collect();
            self.failed.push(format!(
                "{title}: {} differences\n    {}\n{}",
                difference.found.len(),
                found.join("\n    "),
                shown()
            ));
        }
    }

    fn report(self, what: &str, seed: u64) {
        let cases: u64 = self.counts.values().sum();
        println!("{what}, seed {seed}: {cases} cases");
        for (name, count) in &self.counts {
            println!("  {count:7} {name}");
        }
        for quirk in QUIRKS {
            if let Some(count) = self.quirks.get(quirk.name) {
                println!("  {count:7} differ by {}: {}", quirk.name, quirk.reason);
            }
        }
        assert!(
            self.failures == 0,
            "{} of {cases} differ (OUTRIGGER_SEED={seed} repeats)\n{}",
            self.failures,
            self.failed.join("\n")
        );
    }
}

/// The differences between our answer for a pod and Istio's.
pub(crate) fn pod_differences(
    mesh: &InjectorConfig,
    pod: &Value,
    namespace: &str,
    path: &str,
    theirs: &Verdict,
) -> Vec<String> {
    let variables = match path::parse(path) {
        Ok(parameters) => parameters.variables,
        Err(error) => return vec![format!("ours refused the path: {error}")],
    };
    let request = PodRequest { path_env: variables, ..PodRequest::new(namespace, pod.clone()) };
    match (inject::run(mesh, &request, &setting::facts(mesh, namespace)), theirs) {
        (ours, Verdict::Broken(message)) => {
            vec![format!("theirs is broken: {message}; ours {}", in_short(&ours))]
        }
        (Err(_), Verdict::Denied(_)) | (Ok(Outcome::Skipped(_)), Verdict::Unchanged) => Vec::new(),
        (Ok(Outcome::Injected(injection)), Verdict::Patched(patched)) => differences(&injection.pod, patched),
        (ours, Verdict::Denied(message)) => {
            vec![format!("theirs denied: {message}; ours {}", in_short(&ours))]
        }
        (ours, Verdict::Unchanged) => vec![format!("theirs skipped; ours {}", in_short(&ours))],
        (ours, Verdict::Patched(_)) => vec![format!("theirs injected; ours {}", in_short(&ours))],
    }
}

fn in_short(outcome: &Result<Outcome, Refusal>) -> String {
    match outcome {
        Ok(Outcome::Injected(_)) => "injected".to_owned(),
        Ok(Outcome::Skipped(skip)) => format!("skipped: {}", skip.decision.reason),
        Err(refusal) => format!("refused: {}", refusal.diagnosis().unwrap_or(refusal.to_string())),
    }
}

/// The differences between our kube-inject's output for a manifest and Istio's.
pub(crate) fn manifest_differences(
    mesh: &InjectorConfig,
    text: &str,
    theirs: &Result<String, String>,
) -> Vec<String> {
    let options = Options { mesh, rules: Rules::TemplatesOnly, namespace: "", template_paths: Vec::new() };
    let ours = match manual::inject(text, &options) {
        Ok(manifest) => {
            let refused = manifest.rows().find_map(|row| match &row.verdict {
                Row::Refused(refusal) => Some(manual::explained(refusal)),
                _ => None,
            });
            refused.map_or_else(|| Ok(manifest.terminated().to_string()), Err)
        }
        Err(error) => Err(error.to_string()),
    };
    match (ours, theirs) {
        (Err(_), Err(_)) => Vec::new(),
        (Err(ours), Ok(_)) => vec![format!("ours refused: {ours}")],
        (Ok(_), Err(theirs)) => vec![format!("theirs refused: {theirs}")],
        (Ok(ours), Ok(theirs)) => match (documents(&ours), documents(theirs)) {
            (Ok(ours), Ok(theirs)) => zeros::document_differences(ours, theirs),
            (Err(error), _) => vec![format!("ours cannot be read: {error}")],
            (_, Err(error)) => vec![format!("theirs cannot be read: {error}")],
        },
    }
}

/// The non-empty documents of a text.
fn documents(text: &str) -> Result<Vec<Value>, String> {
    let mut all = Vec::new();
    for document in yaml::split_documents(text) {
        let value = yaml::load(document.text, &Limits::default()).map_err(|error| error.to_string())?;
        if !value.is_null() {
            all.push(value);
        }
    }
    Ok(all)
}

pub(crate) const PATHS: &[&str] = &[
    "/inject/cluster/c2/net/n2",
    "/inject/",
    "/inject/cluster/c2/",
    "/inject/x/y",
    "/inject/net/a--slash--b/odd",
    "/inject/:ENV:A=b:ENV:C=",
    "/inject/proxy_config_x/1",
    "/inject/:ENV:cluster=c3",
    "/inject/ISTIO_META_CLUSTER_ID/c4/k/v",
];

/// Runs pods under one configuration; occasionally, results are sent again.
fn compare_pods(
    oracle: &mut Oracle,
    corpus: &Corpus,
    tally: &mut Tally,
    mesh: &InjectorConfig,
    name: &str,
    part: u64,
    random: &mut Random,
) {
    let only = number("OUTRIGGER_CASE");
    let mut injected: Option<Value> = None;
    for index in 0..UNDER_ONE {
        let title = part * UNDER_ONE + index;
        let again = injected.take().filter(|_| random.percent(35)).map(|pod| pods::changed(random, &pod));
        let kind = if again.is_some() { "pods injected before" } else { "pods" };
        let pod =
            again.unwrap_or_else(|| if random.percent(20) { corpus.pod(random) } else { pods::pod(random) });
        let pod = oracle.canonical(&pod);
        // The API server has ensured that a pod's namespace is the request's.
        let namespace = *random.pick(pods::NAMESPACES);
        let namespace = pod.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or(namespace);
        let path = if random.percent(15) { *random.pick(PATHS) } else { "/inject" };
        let theirs = oracle.review(name, &pod, namespace, path);
        let mut found = pod_differences(mesh, &pod, namespace, path, &theirs);
        let mut varies = false;
        for _ in 0..AGAIN {
            if found.is_empty() {
                break;
            }
            let other = oracle.review(name, &pod, namespace, path);
            if other != theirs {
                varies = true;
                found = pod_differences(mesh, &pod, namespace, path, &other);
            }
        }
        tally.count(kind);
        if varies && found.is_empty() {
            tally.count("of these, Istio's answer is one of several");
        }
        if !found.is_empty() && only.is_none_or(|only| only == title) {
            let show = || {
                let smaller = smaller(&pod, &mut |pod| {
                    if oracle.canonical(pod) != *pod {
                        return false;
                    }
                    let theirs = oracle.review(name, pod, namespace, path);
                    let now = pod_differences(mesh, pod, namespace, path, &theirs);
                    now.first().is_some_and(|now| alike(now, &found[0]))
                });
                let theirs = oracle.review(name, &smaller, namespace, path);
                let left = pod_differences(mesh, &smaller, namespace, path, &theirs);
                format!(
                    "    in namespace {namespace:?}, path {path}: {smaller}\n    differs in {}",
                    left.join("\n      ")
                )
            };
            tally.differs(
                &format!("pod {title}"),
                &Difference { asked: Asked::Pod(&pod), found: &found },
                show,
            );
        }
        if let Verdict::Patched(patched) = theirs {
            injected = Some(patched);
        }
    }
}

fn compare_manifests(
    oracle: &mut Oracle,
    corpus: &Corpus,
    tally: &mut Tally,
    mesh: &InjectorConfig,
    setting: &Setting,
    part: u64,
    random: &mut Random,
) {
    let (name, revision) = ("s", setting.revision.as_str());
    for index in 0..UNDER_ONE / 3 {
        let made = manifests::manifest(random, corpus, &mut |pod| oracle.canonical(pod));
        let theirs = oracle.manifest(name, &made.text, revision);
        let mut found = manifest_differences(mesh, &made.text, &theirs);
        for _ in 0..AGAIN {
            if found.is_empty() {
                break;
            }
            found = manifest_differences(mesh, &made.text, &oracle.manifest(name, &made.text, revision));
        }
        tally.count("manifests");
        if !found.is_empty() {
            let asked = Asked::Manifest(&made);
            tally.differs(&format!("manifest {part}.{index}"), &Difference { asked, found: &found }, || {
                made.text.clone()
            });
        }
    }
}

/// Whether two differences are of the same kind.
fn alike(one: &str, other: &str) -> bool {
    let kind = |text: &str| {
        let place = text.split(": ").next().unwrap_or_default();
        place.chars().filter(|c| !c.is_ascii_digit()).collect::<String>()
    };
    kind(one) == kind(other)
}

/// Minimizes a case: removes everything that the failure does not need.
fn smaller(value: &Value, holds: &mut dyn FnMut(&Value) -> bool) -> Value {
    let mut best = value.clone();
    let mut budget = 600;
    loop {
        let mut progress = false;
        for pointer in pointers(&best).into_iter().rev() {
            if budget == 0 {
                return best;
            }
            let Some(tried) = without(&best, &pointer) else { continue };
            budget -= 1;
            if holds(&tried) {
                best = tried;
                progress = true;
            }
        }
        if !progress {
            return best;
        }
    }
}

fn pointers(value: &Value) -> Vec<Vec<String>> {
    fn collect(value: &Value, path: &mut Vec<String>, all: &mut Vec<Vec<String>>) {
        if path.len() > 1 {
            all.push(path.clone());
        }
        let mut step = |key: String, value: &Value| {
            path.push(key);
            collect(value, path, all);
            path.pop();
        };
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| step(key.clone(), value)),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, value)| step(index.to_string(), value))
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    collect(value, &mut Vec::new(), &mut all);
    all.sort_by_key(|path| std::cmp::Reverse(path.len()));
    all
}

fn without(value: &Value, path: &[String]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    let mut copy = value.clone();
    let mut at = &mut copy;
    for step in parents {
        at = match at {
            Value::Object(map) => map.get_mut(step)?,
            Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    match at {
        Value::Object(map) => map.remove(last).map(drop)?,
        Value::Array(items) => {
            let index = last.parse::<usize>().ok().filter(|index| *index < items.len())?;
            items.remove(index);
        }
        _ => return None,
    }
    Some(copy)
}

/// A run with the given templates and values on both sides.
fn differential(what: &str, cases: u64, stock: &Map<String, Value>, values: &Value) {
    let seed = seed();
    println!("{what}: seed {seed}");
    let mut oracle = Oracle::start();
    let mut tally = Tally::default();
    let own = own_manifests();
    let material = oracle.material();
    let corpus = Corpus::new(own.values().chain(material.inputs.values()).map(String::as_str));
    let only = number("OUTRIGGER_CASE").map(|case| case / UNDER_ONE);
    let parts = cases.div_ceil(UNDER_ONE + UNDER_ONE / 3);
    for part in 0..parts {
        if only.is_some_and(|only| only != part) {
            continue;
        }
        let mut random = Random::part(seed, part);
        let setting = settings::setting(&mut random, values);
        let theirs = oracle.install("s", &setting, stock);
        let mesh = match (setting.mesh(Compat::Istio, stock), theirs) {
            (Ok(mesh), Ok(())) => mesh,
            (Err(_), Err(_)) => {
                tally.count("configurations that both refuse");
                continue;
            }
            (Err(ours), Ok(())) => {
                tally.failures += 1;
                tally
                    .failed
                    .push(format!("setting {part}: only ours is refused: {ours}\n    {}", setting.mesh));
                continue;
            }
            (Ok(_), Err(theirs)) => {
                tally.failures += 1;
                tally
                    .failed
                    .push(format!("setting {part}: only theirs is refused: {theirs}\n    {}", setting.mesh));
                continue;
            }
        };
        compare_pods(&mut oracle, &corpus, &mut tally, &mesh, "s", part, &mut random);
        compare_manifests(&mut oracle, &corpus, &mut tally, &mesh, &setting, part, &mut random);
    }
    tally.report(what, seed);
}

/// The manifests among the fixtures of this repository.
pub(crate) fn own_manifests() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/manifests");
    let files =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files
        .map(|path| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn cases() -> u64 {
    number("OUTRIGGER_CASES").unwrap_or(3000)
}

/// The engine: our templates on both sides.
#[test]
fn pods_and_manifests_are_injected_as_by_istio() {
    let embedded = setting::embedded();
    differential("our templates", cases(), &setting::embedded_templates(), &embedded["values"]);
}

/// The engine with Istio's content: its templates and the values of its chart on both sides.
#[test]
fn pods_and_manifests_are_injected_as_by_istio_with_istios_templates() {
    let material = Oracle::start().material();
    differential("Istio's templates", cases() / 3, &material.templates, &material.values);
}
