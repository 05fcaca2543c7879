//! Which webhook entries select which pod: the selectors, evaluated for every combination of labels.

use outrigger::{
    config::Selector,
    webhook_config::{SUFFIX, Settings, entries},
};
use serde_json::{Value, json};

/// An entry of a configuration, as `configuration: entry`, and its selectors.
struct Asking {
    name: String,
    namespace: Selector,
    pod: Selector,
}

fn asking(configurations: &[Value]) -> Vec<Asking> {
    let all = configurations.iter().flat_map(|configuration| {
        entries(configuration).map(|(name, entry)| Asking {
            name: format!("{}: {name}", configuration["metadata"]["name"].as_str().unwrap()),
            namespace: Selector::from_value(&entry["namespaceSelector"]).unwrap(),
            pod: Selector::from_value(&entry["objectSelector"]).unwrap(),
        })
    });
    all.collect()
}

/// The entries that select a pod.
fn asked<'a>(all: &'a [Asking], namespace: &Value, pod: &Value) -> Vec<&'a str> {
    let selects = |selector: &Selector, labels: &Value| selector.matches(labels.as_object().unwrap());
    all.iter()
        .filter(|entry| selects(&entry.namespace, namespace) && selects(&entry.pod, pod))
        .map(|entry| entry.name.as_str())
        .collect()
}

/// The default revision, and the revision `canary` with the tag `prod`.
fn two_revisions(auto: bool) -> Vec<Value> {
    let default = Settings { enable_namespaces_by_default: auto, ..Settings::default() };
    let canary =
        Settings { revision: "canary".to_owned(), tags: vec!["prod".to_owned()], ..Settings::default() };
    [default.objects(), canary.objects()].concat()
}

fn labels(pairs: &[(&str, Option<&str>)]) -> Value {
    let there = |(key, value): &(&str, Option<&str>)| Some(((*key).to_owned(), json!((*value)?)));
    Value::Object(pairs.iter().filter_map(there).collect())
}

/// Which injector is responsible, determined in the order in which a person would.
fn who(
    namespace: (&str, Option<&str>, Option<&str>),
    pod: (Option<&str>, Option<&str>),
    auto: bool,
) -> Option<&'static str> {
    let revision = |name: &str| match name {
        "default" => Some("outrigger-sidecar-injector"),
        "canary" => Some("outrigger-sidecar-injector-canary"),
        "prod" => Some("outrigger-revision-tag-prod"),
        _ => None,
    };
    let default = revision("default");
    let ((name, namespace_injection, namespace_revision), (pod_inject, pod_revision)) = (namespace, pod);
    if name != "shop" || pod_inject == Some("false") {
        return None;
    }
    match (namespace_injection, namespace_revision, pod_revision, pod_inject) {
        (Some("enabled"), ..) => default,
        (Some(_), ..) => None,
        (None, Some(name), ..) | (None, None, Some(name), _) => revision(name),
        (None, None, None, Some("true")) => default,
        (None, None, None, None) if auto => Some("outrigger-auto-injector"),
        _ => None,
    }
}

// GP-09, GP-12, GP-19, TM-03
#[test]
fn every_pod_is_asked_about_where_its_labels_say_and_only_once() {
    let revisions = [None, Some("default"), Some("canary"), Some("prod"), Some("ghost"), Some("")];
    let injections = [None, Some("enabled"), Some("disabled"), Some("enable"), Some("Enabled"), Some("")];
    let injects = [None, Some("true"), Some("false"), Some("yes"), Some("")];
    let names =
        ["shop", "kube-system", "kube-public", "kube-node-lease", "local-path-storage", "outrigger-system"];
    let mut rows = 0;
    for auto in [false, true] {
        let all = asking(&two_revisions(auto));
        for name in names {
            for (injection, namespace_revision) in product(&injections, &revisions) {
                for (inject, pod_revision) in product(&injects, &revisions) {
                    let namespace = labels(&[
                        ("kubernetes.io/metadata.name", Some(name)),
                        ("istio-injection", injection),
                        ("istio.io/rev", namespace_revision),
                    ]);
                    let pod = labels(&[("sidecar.istio.io/inject", inject), ("istio.io/rev", pod_revision)]);
                    let asked = asked(&all, &namespace, &pod);
                    let wanted = who((name, injection, namespace_revision), (inject, pod_revision), auto);
                    let configuration = asked.first().map(|asked| asked.split(": ").next().unwrap());
                    assert_eq!(
                        configuration, wanted,
                        "namespace {namespace}, pod {pod}, auto {auto}: {asked:?}"
                    );
                    assert!(asked.len() <= 1, "namespace {namespace}, pod {pod}, auto {auto}: {asked:?}");
                    rows += 1;
                }
            }
        }
    }
    assert_eq!(rows, 2 * 6 * 36 * 30);
}

fn product<'a>(
    left: &'a [Option<&'a str>],
    right: &'a [Option<&'a str>],
) -> impl Iterator<Item = (Option<&'a str>, Option<&'a str>)> {
    left.iter().flat_map(|left| right.iter().map(|right| (*left, *right)))
}

#[test]
fn each_way_to_ask_has_its_entry() {
    const DEFAULT: &str = "outrigger-sidecar-injector: ";
    let table = [
        (json!({"istio-injection": "enabled"}), json!({}), format!("{DEFAULT}namespace.")),
        (
            json!({"istio-injection": "enabled", "istio.io/rev": "canary"}),
            json!({}),
            format!("{DEFAULT}namespace."),
        ),
        (json!({"istio.io/rev": "default"}), json!({}), format!("{DEFAULT}rev.namespace.")),
        (json!({}), json!({"istio.io/rev": "default"}), format!("{DEFAULT}rev.object.")),
        (json!({}), json!({"sidecar.istio.io/inject": "true"}), format!("{DEFAULT}object.")),
        (json!({}), json!({}), "outrigger-auto-injector: auto.".to_owned()),
        (
            json!({"istio.io/rev": "canary"}),
            json!({}),
            "outrigger-sidecar-injector-canary: rev.namespace.".to_owned(),
        ),
        (
            json!({"istio.io/rev": "prod"}),
            json!({}),
            "outrigger-revision-tag-prod: rev.namespace.".to_owned(),
        ),
        (
            json!({}),
            json!({"istio.io/rev": "prod", "sidecar.istio.io/inject": "true"}),
            "outrigger-revision-tag-prod: rev.object.".to_owned(),
        ),
    ];
    for (namespace, pod, entry) in table {
        assert_eq!(
            asked(&asking(&two_revisions(true)), &namespace, &pod),
            [format!("{entry}{SUFFIX}")],
            "{namespace} {pod}"
        );
    }
}
