//! Initial inputs, made from the fixtures of the tests.

use outrigger::yaml;
use serde_json::{Value, json};

use crate::{input, targets::template_go};

/// Inputs for a target.
pub(crate) fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "bundle" => bundles(),
        "path" => paths(),
        "review" => reviews(),
        "template" => templates(),
        "template_go" => templates_for_go(),
        "yaml" => yaml_texts(),
        _ => choices(),
    }
}

/// Bytes without a pattern, for targets whose inputs are choices: long enough for whole pods and patches. Without them the
/// fuzzer would start with single bytes, and would take days to get there.
fn choices() -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = move || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..60).map(|index| (0..32_usize << (index % 5)).map(|_| byte()).collect()).collect()
}

fn bundles() -> Vec<Vec<u8>> {
    let mut texts: Vec<String> = input::golden()
        .iter()
        .map(|case| {
            let mut bundle = case["bundle"].clone();
            if !bundle.is_object() {
                bundle = json!({});
            }
            bundle["apiVersion"] = json!("outrigger.dev/v1alpha1");
            bundle["kind"] = json!("Bundle");
            yaml::to_string(&bundle)
        })
        .collect();
    texts.push(outrigger::config::InjectorConfig::default_bundle().to_owned());
    texts.sort();
    texts.dedup();
    texts.into_iter().map(String::into_bytes).collect()
}

fn paths() -> Vec<Vec<u8>> {
    [
        "/inject",
        "/inject/",
        "/inject/cluster/c1/net/n1",
        "/inject/cluster/c1/",
        "/inject/a_b/V",
        "/inject/k//l/w",
        "/inject/u/http:--slash----slash--h--slash--p",
        "/inject/k/a%20b",
        "/inject%2Fk%2Fv",
        "/inject/k/%E2%82%AC",
        "/inject/:ENV:a=b:ENV:c=d",
        "/inject/:ENV:cluster=c:ENV:net=n",
        "/inject/k/%zz",
        "/inject/my.var-1/v",
    ]
    .into_iter()
    .map(|path| path.as_bytes().to_vec())
    .collect()
}

/// A review of each fixture, and of each golden case's pod.
fn reviews() -> Vec<Vec<u8>> {
    let mut bodies: Vec<String> =
        input::files("tests/fixtures/reviews").into_iter().map(|(_, text)| text).collect();
    let review = |pod: &Value| {
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"}, "namespace": "shop", "operation": "CREATE",
                "object": pod,
            },
        })
        .to_string()
    };
    bodies.extend(input::PODS.iter().map(review));
    // The large ones are slow and say little more.
    bodies.retain(|body| body.len() < 16 << 10);
    bodies.into_iter().enumerate().map(|(index, body)| with_choice(index, &body)).collect()
}

fn with_choice(index: usize, text: &str) -> Vec<u8> {
    let mut bytes = vec![(index % 4) as u8];
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn templates() -> Vec<Vec<u8>> {
    let mut texts: Vec<String> = input::files("templates").into_iter().map(|(_, text)| text).collect();
    for case in input::golden() {
        let Some(own) = case["bundle"]["injector"]["templates"].as_object() else { continue };
        texts.extend(own.values().filter_map(Value::as_str).map(str::to_owned));
    }
    assert!(texts.len() > 10, "there are {} templates", texts.len());
    texts.into_iter().map(String::into_bytes).collect()
}

/// The rows that Go answered for the tests, each with its data.
fn templates_for_go() -> Vec<Vec<u8>> {
    let fixture = &*template_go::FIXTURE;
    let rows = fixture.rows.iter().filter_map(|row| {
        let data = fixture.files.iter().position(|file| file.file == row.file)?;
        let mut bytes = vec![u8::try_from(data).ok()?];
        bytes.extend_from_slice(row.template.as_bytes());
        Some(bytes)
    });
    rows.collect()
}

fn yaml_texts() -> Vec<Vec<u8>> {
    let read = |name: &str| -> Value {
        let path = input::repository().join("crates/kubernetes-yaml/tests/fixtures").join(name);
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let (loads, layouts) = (read("yaml.json"), read("layouts.json"));
    let rows = loads["loads"].as_array().into_iter().flatten().map(|row| &row["text"]);
    let layouts = layouts.as_array().into_iter().flatten().map(|row| &row[0]);
    let texts = rows.chain(layouts.step_by(6)).filter_map(Value::as_str);
    texts.filter(|text| text.len() < 2048).map(|text| text.as_bytes().to_vec()).collect()
}
