//! Pods that are as large as a request allows: they are injected, or denied with a reason; the pod's own large content
//! stays out of the patch.

use outrigger::{
    config::InjectorConfig,
    inject::{self, Facts, Injection, Outcome, PodRequest},
};
use serde_json::{Value, json};

use super::properties::{MESHES, mesh_of};

/// The size limit of a patch (I-16).
const PATCH_LIMIT: usize = 2 << 20;

fn pod(containers: Vec<Value>, metadata: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "huge", "namespace": "shop"},
        "spec": {"containers": containers},
    });
    pod["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
    pod
}

fn application(index: usize) -> Value {
    json!({
        "name": format!("c{index}"), "image": "registry.example/app:1", "ports": [{"containerPort": 1024 + index % 60000}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 1024 + index % 60000}},
    })
}

/// The injected pod, which is stable under further injections; `None` if it is denied because of its own content.
fn injected(name: &str, mesh: &InjectorConfig, pod: &Value) -> Option<Injection> {
    let run =
        |pod: &Value| inject::run(mesh, &PodRequest::new("shop", pod.clone()), &Facts::of(mesh, "shop"));
    match run(pod) {
        Ok(Outcome::Injected(once)) => {
            assert!(once.patch_json.len() <= PATCH_LIMIT, "{name}");
            assert!(once.warnings.len() < 100, "{name}: {} warnings", once.warnings.len());
            match run(&once.pod) {
                // Under Istio's rules some pods change again.
                Ok(Outcome::Injected(_)) if name.starts_with("istio") => {}
                Ok(Outcome::Injected(twice)) => {
                    let patch: String = twice.patch_json.chars().take(600).collect();
                    assert_eq!(twice.operations, 0, "{name}: {patch}");
                }
                _ => panic!("{name}: injected once and not again"),
            }
            Some(*once)
        }
        Ok(Outcome::Skipped(skip)) => panic!("{name}: {}", skip.decision.sentence),
        Err(refusal) => {
            assert!((400..500).contains(&refusal.code()), "{name}: {} {refusal}", refusal.code());
            None
        }
    }
}

/// Every embedded template, under both compatibility modes.
fn embedded() -> impl Iterator<Item = &'static (String, InjectorConfig)> {
    MESHES.iter().filter(|(name, _)| !name.contains("careless"))
}

#[test]
fn i_08_thousands_of_containers_and_variables_are_injected_or_refused() {
    let containers = pod((0..3000).map(application).collect(), &json!({}));
    let variables: Vec<Value> =
        (0..20_000).map(|index| json!({"name": format!("V{index}"), "value": "x"})).collect();
    let mut container = application(0);
    container["env"] = json!(variables);
    let variables = pod(vec![container.clone()], &json!({}));
    // The same for the pod's own proxy, whose variables are merged with the template's.
    container["name"] = json!("istio-proxy");
    container["image"] = json!("auto");
    let of_proxy = pod(vec![application(0), container], &json!({}));
    let mut injected_pods = 0;
    for (name, mesh) in embedded().filter(|(name, _)| name.starts_with("outrigger sidecar")) {
        for (what, pod) in [("containers", &containers), ("variables", &variables), ("own proxy", &of_proxy)]
        {
            injected_pods += usize::from(injected(&format!("{name}, {what}"), mesh, pod).is_some());
        }
    }
    assert!(injected_pods >= 4, "{injected_pods}");
}

#[test]
fn i_08_what_is_large_and_the_pods_own_stays_out_of_the_patch() {
    let large = "a".repeat(3 << 20);
    let managed: Vec<Value> =
        (0..20_000).map(|index| json!({"manager": format!("m{index}"), "operation": "Update"})).collect();
    let metadata = json!({
        "annotations": {"example.com/large": large},
        "labels": {"app": "huge"},
        "managedFields": managed,
    });
    let pod = pod(vec![application(0)], &metadata);
    for (name, mesh) in embedded() {
        let injection = injected(name, mesh, &pod).unwrap_or_else(|| panic!("{name}: refused"));
        assert!(injection.patch_json.len() < 64 << 10, "{name}: {} bytes", injection.patch_json.len());
        let whole = injection.whole_pod(&pod);
        assert_eq!(whole["metadata"]["managedFields"], pod["metadata"]["managedFields"], "{name}");
        assert_eq!(whole["metadata"]["annotations"]["example.com/large"], large, "{name}");
    }
}

fn mesh(injector: &Value) -> InjectorConfig {
    mesh_of(&json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "Bundle", "injector": injector}))
}

fn refused(mesh: &InjectorConfig, annotations: &Value) -> (&'static str, u16, String) {
    let pod = pod(vec![application(0)], &json!({"annotations": annotations}));
    match inject::run(mesh, &PodRequest::new("shop", pod), &Facts::of(mesh, "shop")) {
        Err(refusal) => (refusal.reason(), refusal.code(), refusal.to_string()),
        Ok(_) => panic!("{annotations} is taken"),
    }
}

/// A patch larger than an API server can store is denied, as is a template that renders endlessly.
#[test]
fn i_16_templates_that_render_too_much_are_refused() {
    let large = |letter: &str, times: usize| {
        format!(
            "metadata:\n  annotations:\n{{{{ range until {times} }}}}    {letter}/x{{{{ . }}}}: {{{{ repeat 65000 \"{letter}\" }}}}\n{{{{ end }}}}"
        )
    };
    let templates =
        json!({"a": large("a", 12), "b": large("b", 12), "c": large("c", 12), "endless": large("d", 200)});
    let mesh = mesh(&json!({"templates": templates}));
    let asking = |names: &str| json!({"inject.istio.io/templates": names});
    let (reason, code, said) = refused(&mesh, &asking("a,b,c"));
    assert_eq!((reason, code), ("PATCH_TOO_LARGE", 422), "{said}");
    assert!(said.contains("the limit of 2097152 bytes"), "{said}");
    let (reason, code, said) = refused(&mesh, &asking("endless"));
    assert_eq!((reason, code), ("RENDER_FAILED", 422), "{said}");
}

/// However many templates are requested, the message is short and reveals only names from the configuration.
#[test]
fn i_15_lists_of_templates_are_bounded() {
    let aliases = json!({"one": ["sidecar"], "two": ["one"], "many": vec!["sidecar"; 20]});
    let secret = json!({"secret": "# never shown\nmetadata: {}\n"});
    let mesh = mesh(&json!({"aliases": aliases, "templates": secret}));
    let asking = |names: &str| json!({"inject.istio.io/templates": names});
    let names: Vec<String> = (0..100_000).map(|index| format!("t{index}")).collect();
    for (asked, wanted) in [
        (names.join(","), "INVALID_ANNOTATION"),
        (vec!["sidecar"; 100_000].join(","), "INVALID_ANNOTATION"),
        ("many".to_owned(), "TOO_MANY_TEMPLATES"),
        // An alias refers to templates, not to other aliases.
        ("two".to_owned(), "UNKNOWN_TEMPLATE"),
        ("sidecar,nobody".to_owned(), "UNKNOWN_TEMPLATE"),
        ("x".repeat(1 << 20), "UNKNOWN_TEMPLATE"),
    ] {
        let (reason, code, said) = refused(&mesh, &asking(&asked));
        assert_eq!((reason, code), (wanted, 400), "{said}");
        assert!(said.len() < 1000 && !said.contains("never shown"), "{} bytes: {said}", said.len());
    }
}
