//! Istio's own templates in our engine: they give the recorded answers, and what our templates give.
//!
//! Nobody's templates but ours are in this repository. `OUTRIGGER_ISTIO_TEMPLATES` names a folder with `sidecar.yaml`,
//! `gateway.yaml`, `grpc-agent.yaml` and `grpc-simple.yaml` (docs/testing.md says where they come from); where it is not
//! set, the test says so and passes.

use std::{fs, path::PathBuf};

use outrigger::inject::{self, Facts, Outcome, PodRequest, Refusal};
use serde_json::{Map, Value, json};

use super::{conformance, equal, golden, pods, properties};

const TEMPLATES: [&str; 4] = ["sidecar", "gateway", "grpc-agent", "grpc-simple"];

#[test]
fn istios_templates_give_the_recorded_answers_and_those_of_ours() {
    let Some(folder) = conformance::recordings() else { return };
    let Some(stock) = stock() else { return };
    let calls = conformance::calls(&folder);
    let theirs = conformance::meshes(&folder, "istio", &calls, &stock);
    let ours = conformance::meshes(&folder, "istio", &calls, &Map::new());
    let mut failed = Vec::new();
    let (mut as_recorded, mut as_ours) = (0, 0);
    for call in &calls {
        match conformance::against_recording(&theirs[call.setting], call) {
            None => as_recorded += 1,
            Some(found) => failed.push(format!("{}: {}", call.name, found.join("\n    "))),
        }
        let ours = conformance::answer(&ours[call.setting], call);
        let theirs = conformance::answer(&theirs[call.setting], call);
        match differences(&ours, &theirs) {
            found if found.is_empty() => as_ours += 1,
            found => failed.push(format!("{}: {}", call.name, found.join("\n    "))),
        }
    }
    let all = calls.len();
    println!("Istio's templates: {as_recorded}/{all} as recorded, {as_ours}/{all} as with our templates");
    assert!(failed.is_empty(), "{} failed\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn istios_templates_give_the_golden_answers() {
    let Some(stock) = stock() else { return };
    let mut failed = Vec::new();
    for case in golden::cases().values() {
        let ours = case.run(&case.mesh_with(&Map::new()), case.pod());
        let theirs = case.run(&case.mesh_with(&stock), case.pod());
        let found = differences(&ours, &theirs);
        if !found.is_empty() {
            failed.push(format!("{}: {}", case.name, found.join("\n    ")));
        }
    }
    assert!(failed.is_empty(), "{} failed\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn istios_templates_give_what_ours_give_for_any_pod() {
    let Some(stock) = stock() else { return };
    let settings = [
        json!({"nativeSidecars": "disabled", "compat": "istio"}),
        json!({"nativeSidecars": "enabled", "values": {"global": {"network": "n", "proxy": {"tracer": "datadog"}}, "pilot": {"cni": {"enabled": true}}}}),
        json!({"injector": {"defaultTemplates": ["gateway"]}}),
        json!({"injector": {"defaultTemplates": ["grpc-agent"]}}),
        json!({"injector": {"defaultTemplates": ["grpc-simple"]}}),
    ];
    let meshes: Vec<_> = settings
        .iter()
        .map(|bundle| {
            let ours = properties::mesh_of(bundle);
            let mut bundle = bundle.clone();
            bundle["injector"]["templates"] = Value::Object(stock.clone());
            (ours, properties::mesh_of(&bundle))
        })
        .collect();
    properties::check((pods::realistic(), 0..meshes.len()), |(pod, mesh)| {
        // Istio's grpc-agent then has the user's mounts end up among the environment variables; ours leaves them out.
        let annotation = |key: &str| outrigger::pod::annotation(&pod, key);
        let mounts = annotation("sidecar.istio.io/userVolumeMount").is_some();
        if mounts && annotation("status.sidecar.istio.io/port") == Some("0") {
            return;
        }
        let (ours, theirs) = &meshes[mesh];
        let run = |mesh| inject::run(mesh, &PodRequest::new("shop", pod.clone()), &Facts::of(mesh, "shop"));
        let found = differences(&run(ours), &run(theirs));
        assert!(found.is_empty(), "{}: {found:#?}", settings[mesh]);
    });
}

fn differences(ours: &Result<Outcome, Refusal>, theirs: &Result<Outcome, Refusal>) -> Vec<String> {
    match (ours, theirs) {
        (Ok(Outcome::Injected(ours)), Ok(Outcome::Injected(theirs))) => {
            equal::differences(&ours.pod, &theirs.pod)
        }
        (Ok(Outcome::Skipped(_)), Ok(Outcome::Skipped(_))) | (Err(_), Err(_)) => Vec::new(),
        (Err(refusal), _) => {
            vec![format!("only ours refuses: {}", refusal.diagnosis().unwrap_or(refusal.to_string()))]
        }
        (_, Err(refusal)) => {
            vec![format!("only Istio's refuses: {}", refusal.diagnosis().unwrap_or(refusal.to_string()))]
        }
        _ => vec!["one injects, the other does not".to_owned()],
    }
}

/// Istio's templates by name.
fn stock() -> Option<Map<String, Value>> {
    let Some(folder) = std::env::var_os("OUTRIGGER_ISTIO_TEMPLATES").map(PathBuf::from) else {
        eprintln!("skipped: OUTRIGGER_ISTIO_TEMPLATES names no folder with Istio's templates");
        return None;
    };
    let read = |name: &str| {
        let file = folder.join(format!("{name}.yaml"));
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        (name.to_owned(), Value::String(text))
    };
    Some(TEMPLATES.into_iter().map(read).collect())
}
