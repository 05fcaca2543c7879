use proptest::prelude::*;
use serde_json::json;

use super::*;
use kubernetes_yaml as yaml;

#[test]
fn a_bundle_that_says_nothing_is_the_embedded_configuration() {
    let (mesh, warnings) = accepted("");
    assert_eq!(warnings, []);
    assert_eq!(mesh.hash(), InjectorConfig::embedded().unwrap().hash());
    assert_eq!(mesh.revision(), "default");
    assert_eq!(mesh.compat(), Compat::Outrigger);
    assert_eq!(mesh.platform(), Platform::Kubernetes);
    assert_eq!(mesh.native_sidecars(), NativeSidecars::Auto);
    assert_eq!(mesh.compliance_policy(), "");
    assert_eq!(mesh.injector().policy, Policy::Enabled);
    assert_eq!(mesh.injector().default_templates, ["sidecar"]);
    let names: Vec<&String> = mesh.injector().templates.keys().collect();
    assert_eq!(names, ["gateway", "grpc-agent", "grpc-simple", "sidecar"]);
    assert_eq!(mesh.value(&["global", "hub"]), Some(&json!("registry.istio.io/release")));
    assert_eq!(mesh.value(&["global", "tag"]), Some(&json!("1.32.0")));
    assert_eq!(mesh.value(&["global", "nothing"]), None);
    assert_eq!(mesh.mesh_config(), istio_config::defaults::mesh_config());
    assert!(mesh.nodes().is_empty() && mesh.namespaces().is_empty() && mesh.env().is_empty());
    assert_eq!(mesh.proxy_configs().iter().count(), 0);
}

#[test]
fn the_default_bundle_says_what_an_empty_one_means() {
    for text in [
        "{}",
        "# nothing\n",
        "---\n# nothing\n",
        "injector:\nvalues:\nmesh:\nenv:\n",
        InjectorConfig::default_bundle(),
    ] {
        assert_eq!(mesh(text).hash(), mesh("").hash(), "{text}");
    }
    let node = yaml::parse(InjectorConfig::default_bundle(), &yaml::Limits::default()).unwrap();
    let given = node.to_value().unwrap();
    let effective = mesh("").effective_bundle();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&given), keys(&effective));
    assert_eq!(keys(&given["injector"]), keys(&effective["injector"]));
}

const EVERYTHING: &str = r#"
apiVersion: outrigger.dev/v1alpha1
kind: Bundle
revision: canary
compat: istio
platform: openshift
nativeSidecars: disabled
compliancePolicy: fips-140-2
injector:
  policy: disabled
  defaultTemplates: [sidecar, extra]
  templates:
    extra: "metadata:\n  labels: {a: \"{{ .Revision }}\"}\n"
    gateway: null
    grpc-agent: |
      # ours now
  aliases: {both: [sidecar, extra]}
  neverInjectSelector:
  - matchLabels: {app: batch}
    matchExpressions:
    - {key: tier, operator: NotIn, values: [front, back]}
  alwaysInjectSelector:
  - matchExpressions: [{key: inject, operator: Exists}]
  injectedAnnotations: {a/b: "c"}
values:
  global:
    hub: example.com/mirror
    tag: 1.5
    proxy:
      resources: {limits: null, requests: {cpu: 10m}}
      lifecycle: {preStop: {sleep: {seconds: 3}}}
      holdApplicationUntilProxyStarts: true
  extra: {list: [1, null, {a: null}], text: "yes", none: null}
mesh:
  enableTracing: false
  enableAutoMtls: false
  ingressControllerMode: "UNSPECIFIED"
  defaultServiceExportTo: []
  proxyListenPort: 16001
  defaultConfig:
    statNameLength: 0
    concurrency: 0
    controlPlaneAuthPolicy: NONE
    proxyMetadata: {A: b}
nodes: [{name: n1, kubeletVersion: v1.33.2}, {name: n2.zone, kubeletVersion: 1.28.0-eks-1}]
namespaces:
- name: shop
  labels: {istio-injection: enabled}
  annotations: {openshift.io/sa.scc.uid-range: 1000620000/10000}
- name: other
proxyConfigs:
- apiVersion: networking.istio.io/v1beta1
  kind: ProxyConfig
  metadata: {name: young, namespace: shop, creationTimestamp: "2026-02-01T00:00:00Z", uid: x}
  spec: {concurrency: 2, selector: {matchLabels: {app: web}}, image: {imageType: debug}}
- apiVersion: networking.istio.io/v1beta1
  kind: ProxyConfig
  metadata: {name: old, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z"}
  spec: {environmentVariables: {A: "1"}, selector: {}}
env: {PILOT_X: "1", EMPTY: ""}
"#;

#[test]
fn everything_that_is_given_is_there() {
    let mesh = mesh(EVERYTHING);
    assert_eq!(mesh.revision(), "canary");
    assert_eq!(mesh.compat(), Compat::Istio);
    assert_eq!(mesh.platform(), Platform::OpenShift);
    assert_eq!(mesh.native_sidecars(), NativeSidecars::Disabled);
    assert_eq!(mesh.compliance_policy(), "fips-140-2");
    let injector = mesh.injector();
    assert_eq!(injector.policy, Policy::Disabled);
    assert_eq!(injector.default_templates, ["sidecar", "extra"]);
    let names: Vec<&String> = injector.templates.keys().collect();
    assert_eq!(names, ["extra", "grpc-agent", "grpc-simple", "sidecar"]);
    assert_eq!(injector.aliases["both"], ["sidecar", "extra"]);
    let labels = |value: Value| value.as_object().unwrap().clone();
    let never = &injector.never_inject[0];
    assert!(never.matches(&labels(json!({"app": "batch"}))));
    assert!(!never.matches(&labels(json!({"app": "batch", "tier": "front"}))));
    assert!(injector.always_inject[0].matches(&labels(json!({"inject": ""}))));
    assert_eq!(injector.injected_annotations["a/b"], "c");

    assert_eq!(mesh.value(&["global", "hub"]), Some(&json!("example.com/mirror")));
    assert_eq!(mesh.value(&["global", "tag"]), Some(&json!(1.5)));
    let resources = mesh.value(&["global", "proxy", "resources"]);
    assert_eq!(resources, Some(&json!({"requests": {"cpu": "10m", "memory": "128Mi"}})));
    assert_eq!(mesh.value(&["global", "proxy", "image"]), Some(&json!("proxyv2")));
    assert_eq!(mesh.values()["extra"], json!({"list": [1, null, {"a": null}], "text": "yes", "none": null}));

    let config = mesh.mesh_config();
    assert_eq!(config["proxyListenPort"], json!(16001));
    assert_eq!(config["enableAutoMtls"], json!(false));
    assert_eq!(config.get("enableTracing"), None);
    assert_eq!(config["defaultConfig"].get("statNameLength"), None);

    assert_eq!(mesh.nodes().kubelet_version("n2.zone"), Some("1.28.0-eks-1"));
    assert_eq!(mesh.namespace("shop").unwrap().labels["istio-injection"], json!("enabled"));
    assert_eq!(mesh.namespace("other").unwrap().labels.len(), 0);
    assert_eq!(mesh.namespace("third"), None);
    let proxy_configs: Vec<&str> = mesh.proxy_configs().iter().map(|config| config.name.as_str()).collect();
    assert_eq!(proxy_configs, ["old", "young"]);
    assert_eq!(mesh.env()["PILOT_X"], "1");
    assert_eq!(mesh.env()["EMPTY"], "");
}

#[test]
fn the_effective_bundle_parses_back_to_the_same_hash() {
    for text in ["", EVERYTHING] {
        let mesh = mesh(text);
        let effective = mesh.effective_bundle();
        for text in [yaml::to_string(&effective), effective.to_string()] {
            let (again, _) = accepted(&text);
            assert_eq!(again.effective_bundle(), effective);
            assert_eq!(again.hash(), mesh.hash());
            assert_eq!(again.values(), mesh.values());
            assert_eq!(again.mesh_config(), mesh.mesh_config());
        }
    }
}

#[test]
fn the_hash_tells_configurations_apart() {
    let base = mesh(EVERYTHING);
    let effective = base.effective_bundle();
    assert_eq!(base.hash().len(), 16);
    let mut hashes = vec![base.hash().to_owned()];
    for (path, value) in [
        ("/revision", json!("other")),
        ("/injector/policy", json!("enabled")),
        ("/injector/templates/extra", json!("metadata: {}")),
        ("/injector/templates/sidecar", json!("metadata: {}")),
        ("/values/global/hub", json!("x")),
        ("/mesh/trustDomain", json!("x")),
        ("/compat", json!("outrigger")),
        ("/platform", json!("")),
        ("/nativeSidecars", json!("auto")),
        ("/compliancePolicy", json!("")),
        ("/nodes", json!([])),
        ("/proxyConfigs", json!([])),
        ("/namespaces", json!([])),
        ("/env", json!({})),
    ] {
        let mut changed = effective.clone();
        *changed.pointer_mut(path).unwrap() = value;
        hashes.push(mesh(&changed.to_string()).hash().to_owned());
    }
    let unique: std::collections::BTreeSet<&String> = hashes.iter().collect();
    assert_eq!(unique.len(), hashes.len());
}

#[test]
fn the_order_of_keys_does_not_change_the_hash() {
    let (one, other) =
        ("values: {b: 1, a: {d: 2, c: 3}}\nrevision: x", "revision: x\nvalues: {a: {c: 3, d: 2}, b: 1}");
    assert_eq!(mesh(one).hash(), mesh(other).hash());
}

#[test]
fn json_is_a_bundle_too() {
    let text = "{\n\t\"apiVersion\": \"outrigger.dev/v1alpha1\",\n\t\"kind\": \"Bundle\",\n\t\"revision\": \"canary\"\n}";
    assert_eq!(InjectorConfig::from_bundle(Source { name: "b", text }).unwrap().0.revision(), "canary");
}

#[test]
fn native_sidecars_may_be_a_boolean() {
    for (text, wanted) in [
        ("true", NativeSidecars::Enabled),
        ("false", NativeSidecars::Disabled),
        ("enabled", NativeSidecars::Enabled),
        ("disabled", NativeSidecars::Disabled),
        ("auto", NativeSidecars::Auto),
        ("null", NativeSidecars::Auto),
    ] {
        assert_eq!(mesh(&format!("nativeSidecars: {text}")).native_sidecars(), wanted, "{text}");
    }
}

#[test]
fn an_invalid_policy_or_selector_never_injects_under_compat_istio() {
    let text = "compat: istio\ninjector:\n  policy: on\n  neverInjectSelector:\n  - matchExpressions:\n    \
                - {key: a, operator: Foo}\n  - matchLabels: {a: b}\n";
    let (mesh, _) = accepted(text);
    assert_eq!(mesh.injector().policy, Policy::Invalid("true".to_owned()));
    assert_eq!(mesh.injector().never_inject.len(), 1);
    assert_eq!(
        warnings(text),
        [
            r#"injector.policy: true is read as the string "true"; put it in quotes"#,
            r#"injector.policy: found "true"; expected enabled, disabled; as in Istio, no pod is injected"#,
            "injector.neverInjectSelector[0]: this selector is ignored, as in Istio: \
             injector.neverInjectSelector[0].matchExpressions[0].operator: found \"Foo\"; expected In, NotIn, \
             Exists, DoesNotExist",
        ]
    );
    let again = accepted(&mesh.effective_bundle().to_string()).0;
    assert_eq!(again.hash(), mesh.hash());
}

#[test]
fn merge_keys_and_anchors_work() {
    let text = "namespaces:\n- &base\n  name: a\n  labels: {x: z}\n- <<: *base\n  name: b\n";
    let mesh = mesh(text);
    assert_eq!(mesh.namespace("b").unwrap().labels["x"], json!("z"));
}

#[test]
fn a_snapshot_prints_no_values() {
    let text = format!("{:?}", mesh("revision: canary\nenv: {A: secret}"));
    assert!(text.contains("canary") && !text.contains("secret"), "{text}");
}

#[test]
fn a_snapshot_can_be_shared() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    shared(&mesh(""));
}

#[test]
fn the_embedded_values_have_no_null() {
    // A null default could not be distinguished from an absent one, and could not be removed.
    fn has_null(value: &Value) -> bool {
        match value {
            Value::Object(map) => map.values().any(has_null),
            _ => value.is_null(),
        }
    }
    assert!(!has_null(super::super::values::defaults()));
}

fn values_strategy(nulls: bool) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(if nulls { Value::Null } else { Value::from("") }),
        any::<bool>().prop_map(Value::from),
        (0i64..3).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn given_values_can_be_written_back(defaults in values_strategy(false), given in values_strategy(true)) {
        let effective = super::super::values::over(&defaults, &given);
        let written = super::super::values::under(&defaults, &effective);
        prop_assert_eq!(super::super::values::over(&defaults, &written), effective);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// C-10: any modification of a bundle is accepted, or rejected with a place for every problem, and never panics.
    #[test]
    fn damaged_bundles_are_refused_in_words(
        cut in 0usize..2600,
        length in 0usize..40,
        insert in "[\\[\\]{}:,&*!|>'\"%@`#\n\t a-c\u{E000}\u{1F600}-]{0,6}",
    ) {
        let mut text: Vec<char> = EVERYTHING.chars().collect();
        let start = cut.min(text.len());
        let end = (start + length).min(text.len());
        text.splice(start..end, insert.chars());
        let text: String = text.into_iter().collect();
        let lines = text.lines().count() + 1;
        match InjectorConfig::from_bundle(Source { name: "b", text: &text }) {
            Ok((mesh, _)) => {
                let again = accepted(&mesh.effective_bundle().to_string()).0;
                prop_assert_eq!(again.hash(), mesh.hash());
            }
            Err(error) => {
                prop_assert!(!error.problems().is_empty());
                for problem in error.problems() {
                    let place = problem.place.unwrap();
                    prop_assert!((1..=lines).contains(&(place.line as usize)), "{problem}");
                    // A template's problem is reported in Go's words, which name no alternatives.
                    let told = problem.to_string();
                    prop_assert!(told.contains("expected") || told.contains("template "), "{problem}");
                }
            }
        }
    }
}
