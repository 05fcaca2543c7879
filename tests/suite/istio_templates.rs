//! Istio's own templates pass the check of the result. What they render is compared by `tests/differential`.
//!
//! Only our own templates are in this repository. `OUTRIGGER_ISTIO_TEMPLATES` names the folder of Istio's, which is
//! `manifests/charts/istio-control/istio-discovery/files` of its Go module; `.ci/run` takes the module of `hack/oracle/build`.

use std::{fs, path::PathBuf};

use outrigger::{
    config::Source,
    inject::check,
    lint::{self, Severity},
    names,
};
use serde_json::{Map, Value, json};

use super::properties;

/// The names of Istio's templates, and the files they are in.
const TEMPLATES: [(&str, &str); 4] = [
    ("sidecar", "injection-template.yaml"),
    ("gateway", "gateway-injection-template.yaml"),
    ("grpc-agent", "grpc-agent.yaml"),
    ("grpc-simple", "grpc-simple.yaml"),
];

/// The content of Istio's injector ConfigMap, including the templates of its Gateway controller, passes the check of
/// the result.
#[test]
#[ignore = "needs Istio's templates in OUTRIGGER_ISTIO_TEMPLATES"]
fn istios_templates_pass_the_check() {
    let mut templates = stock();
    templates.extend(gateway_controllers());
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

/// No mistake is found in templates that are known to work: neither with our default values nor with Istio's.
#[test]
#[ignore = "needs Istio's templates in OUTRIGGER_ISTIO_TEMPLATES"]
fn istios_templates_have_no_mistakes() {
    let mut values = vec![json!({})];
    values.extend(recorded_values());
    let mut templates = stock();
    templates.extend(gateway_controllers());
    for values in values {
        let bundle = json!({
            "apiVersion": "outrigger.dev/v1alpha1",
            "kind": "Bundle",
            "injector": {"templates": templates},
            "values": values,
        });
        let text = bundle.to_string();
        let report = lint::files(&[Source { name: "bundle", text: &text }]);
        let of_templates: Vec<_> = report
            .diagnostics
            .iter()
            .filter(|found| found.template.is_some() || found.severity == Severity::Error)
            .map(|found| (found.rule, &found.message))
            .collect();
        assert_eq!(of_templates, [], "{values}");
    }
}

/// The values of the recorded configurations, where the recordings are present.
fn recorded_values() -> Vec<Value> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/istio-golden/settings.json");
    let Ok(text) = fs::read_to_string(file) else { return Vec::new() };
    let settings: Value = serde_json::from_str(&text).unwrap();
    settings.as_array().unwrap().iter().map(|setting| setting["values"].clone()).collect()
}

/// The templates of Istio's Gateway controller, which are in the same ConfigMap.
fn gateway_controllers() -> impl Iterator<Item = (String, Value)> {
    names::GATEWAY_CONTROLLER_TEMPLATES.iter().map(|name| text_of(name, &format!("{name}.yaml")))
}

/// Istio's templates by name.
fn stock() -> Map<String, Value> {
    TEMPLATES.into_iter().map(|(name, file)| text_of(name, file)).collect()
}

fn text_of(name: &str, file: &str) -> (String, Value) {
    let folder = std::env::var_os("OUTRIGGER_ISTIO_TEMPLATES").map(PathBuf::from);
    let path = folder.expect("OUTRIGGER_ISTIO_TEMPLATES names the folder of Istio's templates").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (name.to_owned(), Value::String(text))
}
