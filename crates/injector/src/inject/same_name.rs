//! Detects containers with the same name. An API server rejects a pod with two of them, even across containers and init
//! containers (`validateInitContainers`), without naming the injector; a merge by name would combine the two.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{post::Error, template_containers::TemplateContainers};
use crate::pod;
use crate::warning::shown;

const LISTS: [&str; 2] = ["containers", "initContainers"];

/// Denies a pod with several containers with a name that templates use: it would be unclear whose settings apply.
pub(super) fn check_received(received: &Value, overlays: &[(&str, Value)]) -> Result<(), Error> {
    let made = overlays.iter().flat_map(|(_, overlay)| LISTS.map(|list| pod::spec_list(overlay, list)));
    let made: BTreeSet<&str> = made.flatten().map(pod::name).collect();
    check(received, made, |name, places| Error::SeveralContainers { name: shown(name), places })
}

/// Denies a pod in which a container of the templates has the same name as another one.
pub(super) fn check_merged(received: &Value, merged: &Value, made: &TemplateContainers) -> Result<(), Error> {
    let names = made.containers.iter().chain(&made.init_containers).map(String::as_str).collect();
    check(merged, names, |name, places| {
        let own = LISTS.into_iter().find(|list| pod::find(pod::spec_list(received, list), name).is_some());
        match own {
            Some(list) => Error::NameTaken { name: shown(name), list },
            None => Error::SeveralContainers { name: shown(name), places },
        }
    })
}

fn check(pod: &Value, names: BTreeSet<&str>, error: impl Fn(&str, String) -> Error) -> Result<(), Error> {
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        let places = |list: &'static str| {
            let same = pod::spec_list(pod, list).iter().filter(move |container| pod::name(container) == name);
            same.map(move |_| format!("spec.{list}"))
        };
        let places: Vec<String> = LISTS.into_iter().flat_map(places).collect();
        if places.len() > 1 {
            // A pod may have more containers than a message can list.
            let first: Vec<&str> = places.iter().take(4).map(String::as_str).collect();
            return Err(error(name, first.join(" and ")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{InjectorConfig, Source, headed::headed};
    use crate::inject::{self, Facts, Outcome, PodRequest, Refusal};

    fn run(bundle: &str, annotations: &Value, spec: &Value) -> Result<Value, Refusal> {
        let mesh = InjectorConfig::from_bundle(Source { name: "bundle", text: &headed(bundle) }).unwrap().0;
        let pod = json!({"metadata": {"name": "p", "annotations": annotations}, "spec": spec});
        match inject::run(&mesh, &PodRequest::new("shop", pod), &Facts::of(&mesh, "shop"))? {
            Outcome::Injected(injection) => Ok(injection.pod),
            Outcome::Skipped(skip) => panic!("{:?}", skip.decision),
        }
    }

    fn refusal(bundle: &str, annotations: &Value, spec: &Value) -> String {
        let refusal = run(bundle, annotations, spec).unwrap_err();
        assert_eq!(refusal.reason(), "DUPLICATE_CONTAINER");
        refusal.to_string()
    }

    #[test]
    fn a_proxy_in_both_lists_is_refused() {
        let two = json!({
            "initContainers": [{"name": "istio-proxy", "image": "m1"}],
            "containers": [{"name": "a", "image": "a"}, {"name": "istio-proxy", "image": "m2"}],
        });
        let status = json!({"initContainers": ["istio-init", "istio-proxy"]}).to_string();
        for bundle in ["nativeSidecars: enabled", "nativeSidecars: disabled"] {
            for annotations in [json!({}), json!({"sidecar.istio.io/status": status})] {
                let said = refusal(bundle, &annotations, &two);
                assert!(
                    said.contains("\"istio-proxy\"") && said.contains("containers and spec.init"),
                    "{said}"
                );
            }
            assert!(run(&format!("compat: istio\n{bundle}"), &json!({}), &two).is_ok());
        }
    }

    #[test]
    fn a_proxy_that_is_added_beside_an_injected_one_is_refused() {
        for (bundle, list) in
            [("nativeSidecars: enabled", "containers"), ("nativeSidecars: disabled", "initContainers")]
        {
            let mut once =
                run(bundle, &json!({}), &json!({"containers": [{"name": "a", "image": "a"}]})).unwrap();
            pod::spec_list_mut(&mut once, list).push(json!({"name": "istio-proxy", "image": "mine"}));
            refusal(bundle, &once["metadata"]["annotations"], &once["spec"]);
        }
        let twice = json!({"containers": [{"name": "istio-proxy", "image": "a"}, {"name": "istio-proxy"}]});
        assert!(
            refusal("nativeSidecars: disabled", &json!({}), &twice)
                .contains("spec.containers and spec.containers")
        );
    }

    #[test]
    fn a_container_with_the_name_of_an_init_container_of_the_template_is_refused() {
        let app = |name: &str| json!({"containers": [{"name": name, "image": "a"}]});
        let said = refusal("nativeSidecars: enabled", &json!({}), &app("istio-init"));
        assert!(said.contains("\"istio-init\" in spec.containers"), "{said}");
        let cni = "values: {pilot: {cni: {enabled: true}}}";
        refusal(cni, &json!({}), &app("istio-validation"));
        // The templates do not create these.
        assert!(run(cni, &json!({}), &app("istio-init")).is_ok());
        assert!(run("{}", &json!({}), &app("istio-validation")).is_ok());
        assert!(run("compat: istio", &json!({}), &app("istio-init")).is_ok());
    }
}
