//! Istio's own templates pass the check of the result. What they render is compared by `tests/differential`.
//!
//! Only our own templates are in this repository. `OUTRIGGER_ISTIO_TEMPLATES` names the folder of Istio's, which is
//! `manifests/charts/istio-control/istio-discovery/files` of its Go module; `.ci/run` takes the module of `hack/oracle/build`.

use std::{fs, path::PathBuf};

use outrigger::{inject::check, names};
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
    templates.extend(
        names::GATEWAY_CONTROLLER_TEMPLATES.iter().map(|name| text_of(name, &format!("{name}.yaml"))),
    );
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
