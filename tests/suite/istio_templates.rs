//! Istio's own templates in our engine: they give the recorded answers, and what our templates give.
//!
//! Nobody's templates but ours are in this repository. `OUTRIGGER_ISTIO_TEMPLATES` names a folder with `sidecar.yaml`,
//! `gateway.yaml`, `grpc-agent.yaml` and `grpc-simple.yaml` (docs/testing.md says where they come from), and any of the
//! Gateway controller's; where it is not set, the tests say so and pass.

use std::{fs, path::PathBuf};

use outrigger::{
    inject::{self, Facts, Outcome, PodRequest, Refusal, check},
    names,
};
use serde_json::{Map, Value, json};

use super::{conformance, equal, golden, pods, properties};

const TEMPLATES: [&str; 4] = ["sidecar", "gateway", "grpc-agent", "grpc-simple"];

#[test]
fn istios_templates_give_the_recorded_answers_and_those_of_ours() {
    let Some(folder) = conformance::recordings() else { return };
    let Some(stock) = stock() else { return };
    let calls = conformance::calls(&folder);
    let theirs = conformance::meshes(&folder, "istio", &calls, &stock);
    for (setting, mesh) in theirs.iter().enumerate() {
        assert_eq!(
            check::check(mesh).map_err(|error| error.to_string()),
            Ok(Vec::new()),
            "setting {setting}"
        );
    }
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

/// What Istio's injector ConfigMap holds, the templates of its Gateway controller included, is taken into use.
#[test]
fn istios_templates_pass_the_check() {
    let Some(mut templates) = stock() else { return };
    templates.extend(names::GATEWAY_CONTROLLER_TEMPLATES.iter().filter_map(|name| text_of(name)));
    for compat in ["istio", "outrigger"] {
        for native in ["auto", "disabled"] {
            let bundle =
                json!({"compat": compat, "nativeSidecars": native, "injector": {"templates": templates}});
            assert_eq!(
                check::check(&properties::mesh_of(&bundle)).map_err(|error| error.to_string()),
                Ok(Vec::new())
            );
        }
    }
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
    if folder().is_none() {
        eprintln!("skipped: OUTRIGGER_ISTIO_TEMPLATES names no folder with Istio's templates");
        return None;
    }
    Some(TEMPLATES.into_iter().map(|name| text_of(name).unwrap_or_else(|| panic!("{name}.yaml"))).collect())
}

fn folder() -> Option<PathBuf> {
    std::env::var_os("OUTRIGGER_ISTIO_TEMPLATES").map(PathBuf::from)
}

/// A template by its name, if it is there.
fn text_of(name: &str) -> Option<(String, Value)> {
    let text = fs::read_to_string(folder()?.join(format!("{name}.yaml"))).ok()?;
    Some((name.to_owned(), Value::String(text)))
}
