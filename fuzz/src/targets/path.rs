//! The path of the webhook's URL: any text, and its effect on a pod.

use outrigger::{
    inject::{self, Facts, Outcome, PodRequest},
    names,
    server::webhook::path,
};
use serde_json::json;

use super::promises;
use crate::{Fate, meshes};

pub(super) fn check(bytes: &[u8]) -> Fate {
    let Ok(text) = std::str::from_utf8(bytes) else { return Fate::Drop };
    let parameters = match path::parse(text) {
        Ok(parameters) => parameters,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Fate::Keep;
        }
    };
    for (name, value) in &parameters.variables {
        let named = name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
        assert!(named && !name.is_empty(), "{name:?}");
        assert!(!value.chars().any(char::is_control), "{value:?}");
    }
    // A fully escaped path means the same.
    let escaped: String = match text.strip_prefix("/inject") {
        Some(rest) if !text.contains('%') => {
            let rest: String = rest.bytes().map(|byte| format!("%{byte:02x}")).collect();
            format!("/inject{rest}")
        }
        _ => text.to_owned(),
    };
    assert_eq!(path::parse(&escaped).as_ref(), Ok(&parameters), "{escaped}");
    if parameters.variables.is_empty() {
        return Fate::Keep;
    }
    let configuration = meshes::OURS[0];
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "shop"},
        "spec": {"containers": [{"name": "app", "image": "example.com/app:1"}]},
    });
    let Some(pod) = promises::admitted(&pod) else { return Fate::Drop };
    let request =
        PodRequest { path_env: parameters.variables.clone(), ..PodRequest::new("shop", pod.clone()) };
    match inject::run(&configuration.mesh, &request, &Facts::of(&configuration.mesh, "shop")) {
        Ok(Outcome::Injected(injection)) => {
            promises::stays_valid(configuration, &pod, &injection);
            let proxy = outrigger::pod::find_sidecar(&injection.pod).expect("a proxy");
            for (name, value) in &parameters.variables {
                let found = proxy["env"]
                    .as_array()
                    .and_then(|env| env.iter().find(|variable| variable["name"] == name.as_str()))
                    .unwrap_or_else(|| panic!("{name} is not in {proxy}"));
                // An empty value comes from elsewhere or is omitted; the injector writes two itself afterward.
                let is_ours = [names::ENV_PROMETHEUS, names::ENV_APP_PROBERS].contains(&name.as_str());
                assert!(value.is_empty() || is_ours || found["value"] == value.as_str(), "{name}: {found}");
            }
        }
        Ok(Outcome::Skipped(skip)) => panic!("skipped: {}", skip.decision.sentence),
        Err(refusal) => panic!("{}", promises::said(&refusal)),
    }
    Fate::Keep
}
