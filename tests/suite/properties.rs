//! Properties of every pod: strings of a pod never become structure, injecting twice equals injecting once, nothing
//! that the user wrote is lost or changed, and no input makes the engine panic.

use std::{collections::BTreeMap, sync::LazyLock};

use json_patch::PatchOperation;
use outrigger::{
    annotation::{Group, Kind, TABLE},
    config::{InjectorConfig, Source},
    inject::{self, Facts, Injection, Outcome, PodRequest, Refusal},
    names, patch,
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{TestRng, TestRunner},
};
use serde_json::{Value, json};

use super::headed::headed;
use super::injections::Injected;
use super::pods::{self, Form};

/// Every template, in configurations that cover most of its branches, under both compatibility modes.
pub(crate) static MESHES: LazyLock<Vec<(String, InjectorConfig)>> = LazyLock::new(meshes);

/// Creates them.
pub(crate) fn meshes() -> Vec<(String, InjectorConfig)> {
    let busy = json!({
        "global": {"network": "net", "logAsJson": true, "imagePullSecrets": ["pull"], "proxy": {"tracer": "datadog"}, "mountMtlsCerts": true},
        "pilot": {"cni": {"enabled": true, "provider": "multus"}},
    });
    let telemetry = json!({"extensionProviders": [{"name": "o", "opentelemetry": {
        "service": "otel.example", "port": 4317, "serviceAttributeEnrichment": "OTEL_SEMANTIC_CONVENTIONS",
    }}]});
    let mut all = Vec::new();
    let templates = ["sidecar", "gateway", "grpc-agent", "grpc-simple", "careless"];
    for compat in ["outrigger", "istio"] {
        for template in templates {
            for (native, values, mesh) in
                [("disabled", json!({}), json!({})), ("enabled", busy.clone(), telemetry.clone())]
            {
                let name = format!("{compat} {template} {native}");
                let bundle = json!({
                    "compat": compat, "nativeSidecars": native, "values": values, "mesh": mesh,
                    "injector": {"defaultTemplates": [template], "templates": {"careless": CARELESS}},
                });
                all.push((name, mesh_of(&bundle)));
            }
        }
    }
    all
}

pub(crate) fn mesh_of(bundle: &Value) -> InjectorConfig {
    match InjectorConfig::from_bundle(Source { name: "bundle", text: &headed(&bundle.to_string()) }) {
        Ok((mesh, _)) => mesh,
        Err(error) => panic!("{error}"),
    }
}

/// A template without any quoting.
const CARELESS: &str = r#"
metadata:
  annotations:
    plain: {{ index .ObjectMeta.Labels "version" }}
    inside: a-{{ .Spec.ServiceAccountName }}-b # {{ .Spec.NodeName }}
    single: '{{ .Spec.ServiceAccountName }}'
    double: "{{ .Spec.ServiceAccountName }}"
    block: |
      {{ .DeploymentMeta.Name }}
      {{ .TypeMeta.Kind | indent 6 }}
    folded: >-
      {{ .TypeMeta.APIVersion }}
    {{- range $key, $value := .ObjectMeta.Labels }}
    copied/{{ $key }}: {{ $value }}
    {{- end }}
spec:
  containers:
  - name: istio-proxy
    image: {{ .ProxyImage }}
    command: [{{ .Spec.ServiceAccountName }}, {{ .Spec.NodeName }}]
    args:
    {{- range .Spec.Containers }}
    - {{ .Name }}
    - {{ .Image | upper }}
    - {{ printf "%s=%s" .Name .Image }}
    - {{ toYaml .Ports | nindent 6 }}
    {{- end }}
"#;

fn any_mesh() -> impl Strategy<Value = usize> {
    0..MESHES.len()
}

/// The configurations with embedded templates.
fn embedded() -> impl Strategy<Value = usize> {
    select((0..MESHES.len()).filter(|mesh| !MESHES[*mesh].0.contains("careless")).collect::<Vec<_>>())
}

/// Those of them under `compat: outrigger`.
pub(crate) fn our_mesh() -> impl Strategy<Value = usize> {
    embedded().prop_filter("compat: istio", |mesh| MESHES[*mesh].0.starts_with("outrigger"))
}

pub(crate) fn run(mesh: usize, pod: &Value) -> Result<Outcome, Refusal> {
    inject::run(&MESHES[mesh].1, &PodRequest::new("shop", pod.clone()), &Facts::of(&MESHES[mesh].1, "shop"))
}

pub(crate) fn injected(mesh: usize, pod: &Value) -> Injection {
    match run(mesh, pod) {
        Ok(Outcome::Injected(injection)) => *injection,
        Ok(Outcome::Skipped(skip)) => panic!("{}: skipped, {}", MESHES[mesh].0, skip.decision.sentence),
        Err(refusal) => {
            panic!("{}: refused, {}", MESHES[mesh].0, refusal.diagnosis().unwrap_or(refusal.to_string()))
        }
    }
}

/// Checks a property. Inputs are the same in every run without `PROPERTY_SEED`, a number; `PROPTEST_CASES` sets their
/// number.
pub(crate) fn check<S: Strategy>(strategy: S, property: impl Fn(S::Value)) {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) };
    let seed = std::env::var("PROPERTY_SEED").ok();
    let rng = match &seed {
        Some(seed) => {
            let seed: u64 = seed.parse().expect("PROPERTY_SEED is a number");
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            TestRng::from_seed(config.rng_algorithm, &bytes)
        }
        None => TestRng::deterministic_rng(config.rng_algorithm),
    };
    let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, |input| {
        property(input);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("PROPERTY_SEED={}: {error}", seed.as_deref().unwrap_or("(none)"));
    }
}

pub(crate) fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256)
}

// I-09
#[test]
fn strings_of_a_pod_never_become_structure() {
    check((pods::strings(), pods::form(), any_mesh()), |(strings, form, mesh)| {
        same_shape(mesh, &strings, form);
    });
}

fn same_shape(mesh: usize, strings: &[String], form: Form) {
    let harmless = pods::harmless();
    let rename: BTreeMap<String, String> = strings.iter().cloned().zip(harmless.iter().cloned()).collect();
    let hostile = run(mesh, &pods::pod_with(strings, form));
    let plain = run(mesh, &pods::pod_with(&harmless, form));
    match (hostile, plain) {
        (Ok(Outcome::Injected(hostile)), Ok(Outcome::Injected(plain))) => {
            let ours = pods::shape(&hostile.pod, &rename);
            let wanted = pods::shape(&plain.pod, &BTreeMap::new());
            let differences = patch::diff(&wanted, &ours);
            assert!(differences.is_empty(), "{}: {differences:#?}", MESHES[mesh].0);
        }
        (Ok(Outcome::Skipped(hostile)), Ok(Outcome::Skipped(plain))) => {
            assert_eq!(hostile.decision.reason, plain.decision.reason);
        }
        (Err(hostile), Err(plain)) => assert_eq!(hostile.reason(), plain.reason()),
        (hostile, plain) => {
            panic!("{}: hostile {}, harmless {}", MESHES[mesh].0, in_short(&hostile), in_short(&plain))
        }
    }
}

fn in_short(outcome: &Result<Outcome, Refusal>) -> String {
    match outcome {
        Ok(Outcome::Injected(_)) => "injected".to_owned(),
        Ok(Outcome::Skipped(skip)) => format!("skipped: {}", skip.decision.reason),
        Err(refusal) => format!("refused: {}", refusal.diagnosis().unwrap_or(refusal.to_string())),
    }
}

/// I-09: annotations that are read may cause a denial, but only with a reason that names the user's value; an injected
/// pod has the same shape as with valid values, or without the annotations.
#[test]
fn values_of_known_annotations_never_become_structure() {
    let rows: Vec<(&str, Kind)> = TABLE
        .iter()
        .filter(|row| row.group != Group::Namespace && row.kind != Kind::ProxyConfig)
        .map(|row| (row.key, row.kind))
        .collect();
    check((vec((select(rows), pods::hostile()), 1..4), embedded()), |(annotations, mesh)| {
        let pod = |values: &[Option<&str>]| {
            // With an additional annotation, so that no pod is without.
            let mut all = serde_json::Map::from_iter([("example.com/a".to_owned(), json!("b"))]);
            for (((key, _), _), value) in annotations.iter().zip(values) {
                all.extend(value.map(|value| ((*key).to_owned(), json!(value))));
            }
            json!({"metadata": {"name": "a", "annotations": all}, "spec": {"containers": [{"name": "app"}]}})
        };
        let shape = |pod: &Value| {
            without(pods::shape(pod, &BTreeMap::new()), &|key| {
                annotations.iter().any(|((known, _), _)| *known == key)
            })
        };
        let hostile: Vec<Option<&str>> = annotations.iter().map(|(_, text)| Some(text.as_str())).collect();
        match run(mesh, &pod(&hostile)) {
            Ok(Outcome::Injected(hostile)) => {
                let hostile = shape(&hostile.pod);
                let choices = annotations.iter().map(|((_, kind), _)| [None, Some("harmless"), valid(*kind)]);
                let is_plain = product(choices).iter().any(|values| match run(mesh, &pod(values)) {
                    Ok(Outcome::Injected(plain)) => shape(&plain.pod) == hostile,
                    _ => false,
                });
                assert!(is_plain, "{}: {annotations:?}", MESHES[mesh].0);
            }
            Ok(Outcome::Skipped(hostile)) => {
                let harmless = vec![Some("harmless"); annotations.len()];
                // The mark of another injector or of a mirror pod causes a skip whatever its value is.
                let is_the_mark = matches!(
                    run(mesh, &pod(&harmless)),
                    Ok(Outcome::Skipped(plain)) if plain.decision.reason == hostile.decision.reason
                );
                assert!(is_the_mark, "{}: {annotations:?}: {}", MESHES[mesh].0, hostile.decision.reason);
            }
            Err(refusal) => {
                // Datadog's annotation is not validated, and in Istio the template fails, too.
                let datadog = annotations.iter().any(|((key, _), _)| *key == "apm.datadoghq.com/env");
                let unrendered = refusal.reason() == "RENDER_FAILED";
                let blames_the_user =
                    refusal.code() == 400 || (unrendered && (datadog || MESHES[mesh].0.starts_with("istio")));
                assert!(
                    blames_the_user,
                    "{}: {}",
                    MESHES[mesh].0,
                    refusal.diagnosis().unwrap_or(refusal.to_string())
                );
            }
        }
    });
}

/// Every combination of the choices.
fn product<'a>(choices: impl Iterator<Item = [Option<&'a str>; 3]>) -> Vec<Vec<Option<&'a str>>> {
    choices.fold(vec![Vec::new()], |all, choice| {
        all.iter().flat_map(|begun| choice.iter().map(|next| [begun.as_slice(), &[*next]].concat())).collect()
    })
}

/// A document without some keys, at any depth.
fn without(value: Value, is_removed: &dyn Fn(&str) -> bool) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(key, _)| !is_removed(key));
            kept.map(|(key, value)| (key, without(value, is_removed))).collect()
        }
        Value::Array(items) => items.into_iter().map(|item| without(item, is_removed)).collect(),
        scalar => scalar,
    }
}

/// A valid value, if the kind has one that only changes strings.
fn valid(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Injection | Kind::TrueFalse | Kind::GoBool => Some("true"),
        Kind::Image => Some("example.com/image:1"),
        Kind::ImageType | Kind::Text => Some("text"),
        Kind::Quantity => Some("100m"),
        Kind::PodLevelResources => Some("keep"),
        Kind::LogLevel => Some("info"),
        Kind::ComponentLogLevels | Kind::ScopeLogLevels => Some("misc:error"),
        Kind::InterceptionMode => Some("REDIRECT"),
        Kind::Prefixes { .. } => Some("10.0.0.0/8"),
        Kind::Ports { .. } | Kind::Int32 => Some("1"),
        Kind::Interfaces => Some("eth0"),
        Kind::StatusPort | Kind::Port => Some("15020"),
        Kind::ConfigMapName => Some("config-map"),
        Kind::Volumes | Kind::VolumeMounts => Some("{}"),
        Kind::StringMap | Kind::JsonObject => Some("{}"),
        Kind::ScrapeTargets => Some("80:/metrics"),
        Kind::Networks => Some("network"),
        Kind::IdRange | Kind::IdRanges => Some("1000/10"),
        Kind::Templates | Kind::ProxyConfig => None,
    }
}

// I-13
#[test]
fn injecting_twice_is_injecting_once() {
    let injections = Injected::default();
    check((pods::realistic(), our_mesh()), |(pod, mesh)| {
        let Some(once) = injections.of(mesh, &pod) else { return };
        let twice = injected(mesh, &once.pod);
        assert_eq!(twice.operations, 0, "{}: {}", MESHES[mesh].0, twice.patch_json);
    });
    injections.enough();
}

// I-13
#[test]
fn a_container_added_after_injection_is_picked_up() {
    let late = pods::container("late".to_owned()).prop_map(|mut container| {
        container["ports"] = json!([{"containerPort": 7070}]);
        container["readinessProbe"] = json!({"tcpSocket": {"port": 7070}});
        container
    });
    let injections = Injected::default();
    check((pods::realistic(), late, any::<bool>()), |(pod, late, native)| {
        // The sidecar template, classic or native.
        let mesh = usize::from(native);
        let Some(once) = injections.of(mesh, &pod) else { return };
        let mut pod = once.pod;
        outrigger::pod::containers_mut(&mut pod).insert(0, late);
        let twice = injected(mesh, &pod);
        let env = |name: &str| {
            let proxy = outrigger::pod::find_sidecar(&twice.pod).unwrap();
            let found = proxy["env"].as_array().unwrap().iter().find(|variable| variable["name"] == name);
            found.map_or(Value::Null, |variable| variable["value"].clone())
        };
        let names = env("ISTIO_META_APP_CONTAINERS");
        assert!(names.as_str().unwrap().split(',').any(|name| name == "late"), "{names}");
        assert!(env("ISTIO_META_POD_PORTS").as_str().unwrap().contains("7070"));
        let annotation = |key: &str| outrigger::pod::annotation(&twice.pod, key);
        let rewritten = annotation("sidecar.istio.io/rewriteAppHTTPProbers") != Some("false")
            && annotation("status.sidecar.istio.io/port") != Some("0");
        let probers = env("ISTIO_KUBE_APP_PROBERS");
        assert_eq!(
            rewritten,
            probers.as_str().is_some_and(|probers| probers.contains("/app-health/late/readyz")),
            "{probers}"
        );
        let again = injected(mesh, &twice.pod);
        assert_eq!(again.operations, 0, "{}", again.patch_json);
    });
    injections.enough();
}

/// Everything that the user wrote still exists afterwards, in order, except for documented changes.
#[test]
fn nothing_of_the_users_is_lost() {
    let injections = Injected::default();
    check((pods::realistic(), our_mesh()), |(pod, mesh)| {
        let Some(injection) = injections.of(mesh, &pod) else { return };
        let mut lost = Vec::new();
        kept(&pod, &injection.pod, "", &mut lost);
        assert!(lost.is_empty(), "{}: {lost:#?}", MESHES[mesh].0);
        let patch = injection.patch();
        let mut applied = pod.clone();
        json_patch::patch(&mut applied, &patch).unwrap();
        assert_eq!(applied, injection.pod);
        for operation in patch.iter() {
            assert!(is_ours(&pod, operation), "{}: {operation:?}", MESHES[mesh].0);
        }
        minimal(&pod, &patch);
    });
    injections.enough();
}

#[test]
fn fields_from_the_future_survive() {
    let places = vec(any::<prop::sample::Index>(), 1..6);
    check((pods::realistic(), places, our_mesh()), |(mut pod, places, mesh)| {
        for (number, place) in places.iter().enumerate() {
            let path = place.get(&objects(&pod)).clone();
            pod.pointer_mut(&path).unwrap()[format!("future{number}")] = json!({"list": [null, 0, "", {}]});
        }
        let Ok(Outcome::Injected(injection)) = run(mesh, &pod) else { return };
        let mut lost = Vec::new();
        kept(&pod, &injection.pod, "", &mut lost);
        assert!(lost.is_empty(), "{}: {lost:#?}", MESHES[mesh].0);
    });
}

// I-10, R-10
#[test]
fn garbage_never_panics() {
    check((pods::json_value(), any_mesh()), |(garbage, mesh)| {
        let _ = run(mesh, &garbage);
        let _ = run(mesh, &json!({"metadata": garbage.clone(), "spec": garbage}));
    });
    let keys: Vec<&str> = TABLE.iter().map(|row| row.key).collect();
    let annotations = vec((select(keys), pods::json_value()), 1..4);
    check((pods::realistic(), annotations, any_mesh()), |(pod, annotations, mesh)| {
        let mut pod = match run(mesh, &pod) {
            Ok(Outcome::Injected(once)) => once.pod,
            _ => pod,
        };
        for (key, garbage) in annotations {
            outrigger::pod::annotations_mut(&mut pod).insert(key.to_owned(), json!(garbage.to_string()));
        }
        let _ = run(mesh, &pod);
    });
    let records = [names::ANNOTATION_STATUS, names::ANNOTATION_OVERRIDES];
    let lists = select(vec!["containers", "initContainers", "volumes"]);
    check(
        (pods::realistic(), select(records.to_vec()), lists, pods::json_value(), any_mesh()),
        |(mut pod, key, list, garbage, mesh)| {
            outrigger::pod::annotations_mut(&mut pod)
                .insert(key.to_owned(), json!(json!({list: garbage}).to_string()));
            let _ = run(mesh, &pod);
        },
    );
    let places = vec((any::<prop::sample::Index>(), pods::json_value()), 1..4);
    check((pods::realistic(), places, any_mesh()), |(mut pod, places, mesh)| {
        for (place, garbage) in places {
            let path = place.get(&pointers(&pod)).clone();
            *pod.pointer_mut(&path).unwrap() = garbage;
        }
        match run(mesh, &pod) {
            Err(refusal) => {
                assert_ne!(refusal.code(), 500, "{}", refusal.diagnosis().unwrap_or(refusal.to_string()))
            }
            Ok(Outcome::Injected(once)) => {
                let _ = run(mesh, &once.pod);
            }
            Ok(Outcome::Skipped(_)) => {}
        }
    });
}

/// Where injection may change or remove what the user wrote; `*` is one step, the proxy's containers are ours.
const CHANGED: &[&str] = &[
    "/metadata/annotations/prometheus",
    "/metadata/annotations/sidecar.istio.io/status",
    "/metadata/annotations/proxy.istio.io/overrides",
    "/metadata/annotations/istio.io/rev",
    "/metadata/annotations/sidecar.istio.io/rewriteAppHTTPProbers",
    // With the CNI plugin, the effective values are written where the plugin reads them.
    "/metadata/annotations/traffic.sidecar.istio.io/",
    "/metadata/annotations/k8s.v1.cni.cncf.io/networks",
    // The gateway template sets one, and the list is replaced as a whole, as Kubernetes merges it.
    "/spec/securityContext/sysctls",
    "/spec/*/*/readinessProbe",
    "/spec/*/*/livenessProbe",
    "/spec/*/*/startupProbe",
    "/spec/*/*/lifecycle",
    // Raised if too small for the proxy.
    "/spec/resources/requests",
    "/spec/resources/limits",
];

fn may_change(path: &str) -> bool {
    let steps = |pattern: &str| {
        let mut path = path.split('/');
        let mut pattern = pattern.split('/').peekable();
        while let Some(step) = pattern.next() {
            let Some(found) = path.next() else { return false };
            let last = pattern.peek().is_none();
            if step != "*" && found != step && !(last && found.starts_with(step)) {
                return false;
            }
        }
        true
    };
    let prefix = |pattern: &str| path.starts_with(pattern);
    CHANGED.iter().any(|pattern| if pattern.contains('*') { steps(pattern) } else { prefix(pattern) })
}

/// Names of containers that templates create.
const OURS: [&str; 4] = ["istio-proxy", "istio-init", "istio-validation", "grpc-bootstrap-init"];

/// Records every value of the user's that is not where it was; elements of lists are identified by name.
pub(crate) fn kept(before: &Value, after: &Value, path: &str, lost: &mut Vec<String>) {
    match (before, after) {
        _ if may_change(path) => {}
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let path = format!("{path}/{key}");
                match after.get(key) {
                    Some(after) => kept(value, after, &path, lost),
                    None if may_change(&path) => {}
                    None => lost.push(path),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            let mut from = 0;
            for (index, element) in before.iter().enumerate() {
                let name = element.get("name");
                let same =
                    |other: &Value| if name.is_some() { other.get("name") == name } else { other == element };
                let path = format!("{path}/{}", name.and_then(Value::as_str).unwrap_or(&index.to_string()));
                if OURS.iter().any(|ours| name == Some(&json!(ours))) {
                    continue;
                }
                match after.iter().skip(from).position(same) {
                    Some(found) => {
                        kept(element, &after[from + found], &path, lost);
                        from += found + 1;
                    }
                    None => lost.push(format!("{path} (or out of order)")),
                }
            }
        }
        (before, after) if before == after => {}
        _ => lost.push(format!("{path}: {before} became {after}")),
    }
}

/// Whether the patch may contain an operation at a place.
pub(crate) fn is_ours(pod: &Value, operation: &PatchOperation) -> bool {
    let path = operation.path().as_str();
    if ["/metadata", "/spec"].contains(&path) {
        return pod.pointer(path).is_none();
    }
    let places = [
        "/metadata/labels",
        "/metadata/annotations",
        "/spec/containers",
        "/spec/initContainers",
        "/spec/volumes",
        "/spec/imagePullSecrets",
        "/spec/securityContext",
        "/spec/resources",
    ];
    places.iter().any(|place| path == *place || path.starts_with(&format!("{place}/")))
}

/// No operation removes what another one adds.
pub(crate) fn minimal(before: &Value, operations: &[PatchOperation]) {
    let mut pod = before.clone();
    for operation in operations {
        if let PatchOperation::Replace(json_patch::ReplaceOperation { path, value }) = operation {
            let old = pod.pointer(path.as_str()).unwrap();
            let common = match (old, value) {
                (Value::Object(old), Value::Object(new)) => {
                    old.iter().any(|(key, value)| new.get(key) == Some(value))
                }
                (old, new) => old == new,
            };
            // A container that replaced another one is a different container, even if fields match.
            let replaced = old.get("name").is_some() && old.get("name") != value.get("name");
            assert!(replaced || !common, "{path} is replaced by what shares a part of it: {old} {value}");
        }
        json_patch::patch(&mut pod, std::slice::from_ref(operation)).unwrap();
    }
}

/// JSON pointers to everything in a document.
fn pointers(value: &Value) -> Vec<String> {
    fn collect(value: &Value, path: &str, all: &mut Vec<String>) {
        all.push(path.to_owned());
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let step = key.replace('~', "~0").replace('/', "~1");
                    collect(value, &format!("{path}/{step}"), all);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    collect(item, &format!("{path}/{index}"), all);
                }
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    collect(value, "", &mut all);
    all
}

/// The objects of a pod in which an unknown field may occur, and is kept.
fn objects(pod: &Value) -> Vec<String> {
    let maps = ["/labels", "/annotations", "/requests"];
    let fit = |path: &String| {
        pod.pointer(path).is_some_and(Value::is_object)
            && !maps.iter().any(|map| path.ends_with(map))
            && !may_change(path)
    };
    pointers(pod).into_iter().filter(fit).collect()
}
