//! Istio's own ConfigMap texts are accepted unchanged.

use serde_json::json;

use super::*;

/// In the form that Istio's chart writes: comments, an empty list on its own line, a null map, the guard string.
const CONFIG: &str = r#"# which templates a pod gets that asks for none
defaultTemplates: [sidecar]
policy: enabled
alwaysInjectSelector:
  []
neverInjectSelector:
  - matchExpressions:
    - key: job-name
      operator: Exists
injectedAnnotations:
template: "{{ Not_For_This_Version }}"
templates:
  sidecar: |
    spec:
      containers:
      - name: istio-proxy
        image: "{{ .ProxyImage }}"
  waypoint: |
    kind: Deployment
"#;

const VALUES: &str = r#"{
  "gateways": {
    "seccompProfile": {},
    "securityContext": {}
  },
  "global": {
    "hub": "registry.istio.io/testing",
    "tag": "latest",
    "multiCluster": {
      "clusterName": ""
    },
    "proxy": {
      "image": "proxyv2",
      "statusPort": 15020,
      "tracer": "none",
      "resources": {"limits": {"cpu": null}}
    }
  },
  "pilot": {
    "cni": {
      "enabled": false,
      "provider": "default"
    },
    "env": {}
  },
  "revision": "",
  "sidecarInjectorWebhook": {
    "rewriteAppHTTPProbe": true,
    "neverInjectSelector": [{"matchExpressions": [{"key": "job-name", "operator": "Exists"}]}]
  }
}"#;

const MESH: &str = r#"defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
defaultProviders:
  metrics:
  - prometheus
enablePrometheusMerge: true
rootNamespace: istio-system
trustDomain: cluster.local
"#;

type Parsed = Result<(InjectorConfig, Vec<Warning>), ConfigError>;

fn parse(config: &str, values: &str, mesh: &str, installation: Installation) -> Parsed {
    InjectorConfig::from_config_map(
        Source { name: "istio-sidecar-injector/config", text: config },
        Source { name: "istio-sidecar-injector/values", text: values },
        Source { name: "istio/mesh", text: mesh },
        installation,
    )
}

fn as_in_istio() -> Installation {
    Installation { compat: Compat::Istio, absent: Absent::AsInIstio, ..Installation::default() }
}

#[test]
fn the_texts_are_accepted_unchanged() {
    let (mesh, warnings) =
        parse(CONFIG, VALUES, MESH, as_in_istio()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(warnings, []);
    assert_eq!(mesh.injector().policy, Policy::Enabled);
    assert_eq!(mesh.injector().never_inject.len(), 1);
    let names: Vec<&String> = mesh.injector().templates.keys().collect();
    assert_eq!(names, ["sidecar", "waypoint"]);
    assert_eq!(*mesh.values(), serde_json::from_str::<Value>(VALUES).unwrap());
    assert_eq!(mesh.mesh_config()["defaultProviders"], json!({"metrics": ["prometheus"]}));
    assert_eq!(mesh.mesh_config()["proxyListenPort"], json!(15001));
}

#[test]
fn the_snapshot_of_config_maps_is_a_bundle() {
    let (mesh, _) = parse(CONFIG, VALUES, MESH, as_in_istio()).unwrap();
    let (again, _) = accepted(&kubernetes_yaml::to_string(&mesh.effective_bundle()));
    assert_eq!(again.hash(), mesh.hash());
    assert_eq!(again.injector().templates.len(), 2);
    assert_eq!(again.value(&["global", "waypoint"]), None);
}

#[test]
fn what_is_absent_comes_from_the_embedded_defaults_if_wanted() {
    let (mesh, _) = parse("", "{}", "", Installation::default()).unwrap();
    assert_eq!(mesh.hash(), super::mesh("").hash());
}

#[test]
fn a_config_without_policy_injects_nothing_as_in_istio() {
    let (mesh, warnings) = parse("templates: {}", "", "", as_in_istio()).unwrap();
    assert_eq!(mesh.injector().policy, Policy::Invalid(String::new()));
    let warnings: Vec<String> = warnings.iter().map(Warning::to_string).collect();
    assert_eq!(
        warnings,
        [
            r#"istio-sidecar-injector/config: policy: found ""; expected enabled, disabled; as in Istio, no pod is injected"#
        ]
    );
}

#[test]
fn odd_texts_are_read_as_go_reads_them_with_warnings() {
    let config = "---\n# first\nPolicy: enabled\nfuture: 1\npolicy: disabled\npolicy: enabled\n\
                  injectedAnnotations: {a: 1.50, b: yes, c: 1000000.0}\n\
                  aliases: {x: [sidecar, sidecra]}\ntemplates: {sidecar: null}\n\
                  neverInjectSelector: [{matchLabel: {a: b}}]\n---\npolicy: disabled\n";
    let (mesh, warnings) =
        parse(config, "", "foo: 1\ndefaultConfig: {concurency: 2}", as_in_istio()).unwrap();
    assert_eq!(mesh.injector().policy, Policy::Enabled);
    let annotations: Vec<(&str, &str)> =
        mesh.injector().injected_annotations.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(annotations, [("a", "1.5"), ("b", "true"), ("c", "1e+06")]);
    let warnings: Vec<String> = warnings.iter().map(Warning::to_string).collect();
    let config = "istio-sidecar-injector/config";
    assert_eq!(
        warnings,
        [
            format!("{config}: only the first document of this text is read, as in Istio"),
            format!(
                "{config}: policy: duplicate key, at line 5, column 1 and at line 6, column 1; the last one is used"
            ),
            format!(r#"{config}: Policy: read as "policy"; use this spelling"#),
            format!("{config}: future: unknown key, ignored"),
            format!(
                r#"{config}: aliases.x[1]: found "sidecra", which is not a template; known: sidecar; nearest: "sidecar""#
            ),
            format!(
                r#"{config}: neverInjectSelector[0].matchLabel: unknown key, ignored; nearest: "matchLabels""#
            ),
            format!("{config}: neverInjectSelector[0]: an empty selector is ignored"),
            format!(
                r#"{config}: injectedAnnotations.a: the number 1.5 is read as the string "1.5"; put it in quotes"#
            ),
            format!(
                r#"{config}: injectedAnnotations.b: true is read as the string "true"; put it in quotes"#
            ),
            format!(
                r#"{config}: injectedAnnotations.c: the number 1000000 is read as the string "1e+06"; put it in quotes"#
            ),
            "istio/mesh: defaultConfig.concurency: unknown key, ignored; nearest: \"concurrency\"".to_owned(),
            "istio/mesh: foo: unknown key, ignored".to_owned(),
        ]
    );
}

// C-10
#[test]
fn problems_of_all_three_texts_come_at_once() {
    let installation = Installation { revision: "No".to_owned(), ..Installation::default() };
    let error = parse("policy: on", "[]", "proxyListenPort: x", installation).unwrap_err();
    assert_eq!(
        error.to_string(),
        "installation: revision: found \"No\"; expected a DNS label: up to 63 of a-z 0-9 -, beginning and ending \
         with a letter or digit\n\
         istio-sidecar-injector/config:1:9: policy: found true; expected enabled, disabled\n\
         istio-sidecar-injector/values:1:1: found an empty list; expected a map\n\
         istio/mesh:1:18: proxyListenPort: found \"x\"; expected a whole number from -2147483648 to 2147483647"
    );
}

#[test]
fn an_explicit_empty_document_is_the_first() {
    let (mesh, warnings) = parse("---\n---\npolicy: disabled\n", "", "", Installation::default()).unwrap();
    assert_eq!(mesh.injector().policy, Policy::Enabled);
    assert_eq!(warnings.len(), 1);
}

#[test]
fn positions_count_from_the_top_of_the_text() {
    let error = parse("# x\n---\npolicy: on\n", "", "", Installation::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "istio-sidecar-injector/config:3:9: policy: found true; expected enabled, disabled"
    );
}
