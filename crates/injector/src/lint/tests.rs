use serde_json::json;

use super::*;
use crate::config::headed::headed;

/// `file:line:column severity RULE message` of every diagnostic.
fn told(report: &Report) -> Vec<String> {
    let told = |diagnostic: &Diagnostic| {
        let place =
            diagnostic.place.map(|place| format!(":{}:{}", place.line, place.column)).unwrap_or_default();
        let Diagnostic { file, severity, rule, message, .. } = diagnostic;
        format!("{file}{place} {} {} {message}", severity.as_str(), rule.key())
    };
    report.diagnostics.iter().map(told).collect()
}

fn check(texts: &[(&str, &str)]) -> Report {
    let sources: Vec<Source<'_>> = texts.iter().map(|(name, text)| Source { name, text }).collect();
    files(&sources)
}

fn check_one(text: &str) -> Vec<String> {
    told(&check(&[("f", text)]))
}

fn shapes(text: &str) -> Vec<Shape> {
    check(&[("f", text)]).inputs.into_iter().map(|input| input.shape).collect()
}

const BROKEN: &str = "spec:\n  containers:\n  - name: istio-proxy\n    image: {{ .ProxyImge }}\n";

fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect()
}

#[test]
fn every_shape_is_recognized() {
    let config_map = |name: &str, data: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {data}\n")
    };
    for (text, shape) in [
        (headed(""), Shape::Bundle),
        (
            config_map("x", "{bundle: '{apiVersion: outrigger.dev/v1alpha1, kind: Bundle}'}"),
            Shape::BundleConfigMap,
        ),
        (config_map("istio", "{mesh: 'trustDomain: x'}"), Shape::MeshConfigMap),
        ("policy: enabled".to_owned(), Shape::InjectorText),
        ("trustDomain: x".to_owned(), Shape::MeshConfig),
        ("global: {hub: x}".to_owned(), Shape::Values),
        ("global: {hub: x}\nmeshConfig: {trustDomain: x}".to_owned(), Shape::ChartValues),
        ("sidecarInjectorWebhook: {defaultTemplates: [gateway]}".to_owned(), Shape::ChartValues),
    ] {
        assert_eq!(shapes(&text), [shape], "{text}");
        assert_eq!(check_one(&text), [""; 0], "{text}");
    }
    let both = format!(
        "{}---\n{}",
        headed(""),
        "{kind: List, items: [{apiVersion: outrigger.dev/v1alpha1, kind: Bundle}]}"
    );
    assert_eq!(shapes(&both), [Shape::Bundle, Shape::Bundle]);
}

#[test]
fn other_documents_are_refused() {
    for (text, found) in [
        ("{apiVersion: apps/v1, kind: Deployment}", "an object of kind Deployment"),
        ("", "nothing"),
        ("a: b", "the keys a"),
        ("[]", "a list"),
        (
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {config: a}}",
            "ConfigMap x with the key \"config\"",
        ),
    ] {
        let told = check_one(text);
        assert!(told.len() == 1 && told[0].contains(" error UNRECOGNIZED_DOCUMENT "), "{told:?}");
        assert!(told[0].contains(&format!("found {found}")), "{told:?}");
    }
    assert!(check_one("a: [")[0].starts_with("f:1:"), "{:?}", check_one("a: ["));
}

#[test]
fn a_mistake_in_a_template_has_its_place_in_the_file() {
    let template = indented(BROKEN, 6);
    let bundle = headed(&format!("injector:\n  templates:\n    own: |\n{template}"));
    let line = bundle.lines().position(|line| line.contains("ProxyImge")).unwrap() + 1;
    let message = "template own: can't evaluate field ProxyImge in type inject.SidecarTemplateData; nearest: \"ProxyImage\"";
    assert_eq!(check_one(&bundle), [format!("f:{line}:22 error UNKNOWN_FIELD {message}")]);

    // The same in a later document, in a ConfigMap of ours, in Istio's, in chart values, and in quotes.
    let later = format!("# first\n---\n{bundle}");
    assert_eq!(check_one(&later), [format!("f:{}:22 error UNKNOWN_FIELD {message}", line + 2)]);
    let ours =
        format!("kind: ConfigMap\nmetadata: {{name: x}}\ndata:\n  bundle: |\n{}", indented(&bundle, 4));
    assert_eq!(check_one(&ours), [format!("f:{}:26 error UNKNOWN_FIELD {message}", line + 4)]);
    let config = format!("policy: enabled\ntemplates:\n  own: |\n{}  sidecar: ''\n", indented(BROKEN, 4));
    let istio = format!(
        "kind: ConfigMap\nmetadata: {{name: istio-sidecar-injector}}\ndata:\n  values: '{{}}'\n  config: |\n{}",
        indented(&config, 4)
    );
    let line = istio.lines().position(|line| line.contains("ProxyImge")).unwrap() + 1;
    assert_eq!(check_one(&istio), [format!("f:{line}:24 error UNKNOWN_FIELD {message}")]);
    let chart = format!("sidecarInjectorWebhook:\n  templates:\n    own: |\n{template}");
    assert_eq!(check_one(&chart), ["f:7:22 error UNKNOWN_FIELD ".to_owned() + message]);
    let quoted = headed(&format!("injector: {{templates: {{own: {}}}}}", json!(BROKEN)));
    let told = check_one(&quoted);
    assert!(told.len() == 1 && told[0].starts_with("f:1:29 error UNKNOWN_FIELD"), "{told:?}");
}

#[test]
fn problems_and_warnings_have_their_places() {
    let bundle = headed("revision: UP\nvalues:\n  global:\n    prox: {}\n");
    assert_eq!(check_one(&bundle).len(), 1, "warnings come with a valid configuration");
    assert!(check_one(&bundle)[0].starts_with("f:1:11 error INVALID_CONFIGURATION revision: found \"UP\""));
    let bundle = bundle.replace("UP", "up");
    assert_eq!(
        check_one(&bundle),
        [
            "f:4:11 warning DOUBTFUL_CONFIGURATION values.global.prox: unknown key, ignored; nearest: \"proxy\""
        ]
    );
    let istio = "kind: ConfigMap\nmetadata: {name: istio-sidecar-injector}\ndata:\n  values: '{}'\n  config: |\n    polcy: enabled\n    templates: {sidecar: ''}\n";
    let told = check_one(istio);
    assert_eq!(
        told[0], "f:6:12 warning DOUBTFUL_CONFIGURATION polcy: unknown key, ignored; nearest: \"policy\"",
        "{told:?}"
    );
    let mesh =
        "kind: ConfigMap\nmetadata: {name: istio}\ndata:\n  mesh: |\n    defaultConfig: {concurrency: x}\n";
    assert!(check_one(mesh)[0].starts_with("f:5:34 error INVALID_CONFIGURATION"), "{:?}", check_one(mesh));
    let syntax = headed("injector:\n  templates:\n    own: |\n      {{ if }}\n");
    assert_eq!(
        check_one(&syntax),
        ["f:4:13 error TEMPLATE_SYNTAX template own, line 1, column 7: missing value for if"]
    );
}

#[test]
fn istios_two_config_maps_are_one_configuration() {
    let injector = "kind: ConfigMap\nmetadata: {name: istio-sidecar-injector-canary}\ndata:\n  values: '{}'\n  config: 'templates: {sidecar: \"\"}'\n";
    let mesh = "kind: ConfigMap\nmetadata: {name: istio-canary}\ndata: {mesh: 'trustDomain: other'}\n";
    let report = check(&[("a", mesh), ("b", injector)]);
    assert_eq!(report.configurations.len(), 1, "{:?}", told(&report));
    assert_eq!(report.configurations[0].revision(), "canary");
    assert_eq!(report.configurations[0].mesh_config()["trustDomain"], "other");
    // A mesh ConfigMap of another revision is a configuration of its own.
    let other = mesh.replace("canary", "stable");
    assert_eq!(check(&[("a", &other), ("b", injector)]).configurations.len(), 2);
}

#[test]
fn what_a_sample_loses_is_found_in_every_template() {
    let bundle =
        |template: &str| headed(&format!("injector:\n  templates:\n    own: |\n{}", indented(template, 6)));
    for (template, line, wanted) in [
        (
            "spec:\n  containers:\n  - name: web\n    $patch: delete\n",
            7,
            "spec.containers of the pod would lose its own web",
        ),
        (
            "spec:\n  $patch: replace\n  containers:\n  - name: x\n    image: x\n",
            5,
            "of the pod would lose its own",
        ),
        (
            "spec:\n  volumes:\n  - name: made\n    emptyDir: {}\n    configMap: {name: x}\n",
            6,
            "volume \"made\": has configMap and emptyDir; an API server accepts only one",
        ),
    ] {
        let told = check_one(&bundle(template));
        let is_found = |told: &String| {
            let is_loss = told.contains(" error SAMPLE_LOSES ") && told.contains(wanted);
            is_loss && told.starts_with(&format!("f:{line}:"))
        };
        assert!(told.iter().any(is_found), "{wanted}: {told:#?}");
    }
}

#[test]
fn lists_that_a_template_replaces_are_found_but_accepted_by_a_server() {
    let own = "spec:\n  tolerations:\n  - key: made\n    operator: Exists\n";
    for name in ["own", "sidecar"] {
        let bundle = headed(&format!("injector:\n  templates:\n    {name}: |\n{}", indented(own, 6)));
        let told = check_one(&bundle);
        let lost = "spec.tolerations of the pod would lose its own node.kubernetes.io/not-ready";
        let is_found = |told: &String| told.starts_with("f:5:") && told.contains(" error SAMPLE_LOSES ");
        assert!(told.iter().any(|told| is_found(told) && told.contains(lost)), "{told:#?}");
        let (mesh, _) = InjectorConfig::from_bundle(Source { name: "f", text: &bundle }).unwrap();
        let remarks = crate::inject::check::check(&mesh).unwrap();
        assert!(remarks.iter().any(|remark| remark.to_string().contains(lost)), "{remarks:?}");
    }
    // A template that keeps the pod's.
    let both =
        format!("{own}  {{{{- range .Spec.Tolerations }}}}\n  - {{{{ toJson . }}}}\n  {{{{- end }}}}\n");
    let bundle = headed(&format!("injector:\n  templates:\n    own: |\n{}", indented(&both, 6)));
    assert_eq!(check_one(&bundle), [""; 0]);
}

#[test]
fn values_that_conditions_misspell_are_found() {
    let check = |template: &str, values: &str| {
        let values = format!("values: {values}\n");
        check_one(&headed(&format!("{values}injector:\n  templates:\n    own: |\n      {template}\n")))
    };
    let depends = "is not set, but a condition depends on it";
    for (template, wanted) in [
        (
            "{{ if .Values.global.proxy.privilged }}{{ end }}",
            format!("f:5:13 warning UNSET_VALUE template own: .Values.global.proxy.privilged {depends}; did you mean .Values.global.proxy.privileged?"),
        ),
        (
            "{{ if eq .Values.globl.hub `x` }}{{ end }}",
            format!("f:5:16 warning UNSET_VALUE template own: .Values.globl.hub {depends}; did you mean .Values.global?"),
        ),
        (
            "{{ if index .Values `mine` `featur` }}{{ end }}",
            format!("f:5:13 warning UNSET_VALUE template own: .Values.mine.featur {depends}; did you mean .Values.mine.feature?"),
        ),
        (
            "{{ if false }}{{ with .Values.proxy }}{{ .image }}{{ end }}{{ end }}",
            format!("f:5:29 warning UNSET_VALUE template own: .Values.proxy {depends}; did you mean .Values.global.proxy?"),
        ),
        (
            "{{ .Values.global.hubb | default `x` }}",
            "f:5:10 warning UNSET_VALUE template own: .Values.global.hubb is not set; did you mean .Values.global.hub?".to_owned(),
        ),
        (
            "{{ with .Values.other }}{{ if .nested }}{{ end }}{{ end }}",
            format!("f:5:15 note UNSET_VALUE template own: .Values.other {depends}; neither the values nor the defaults have it"),
        ),
    ] {
        let told = check(template, "{mine: {feature: true}}");
        let of_values: Vec<_> = told.iter().filter(|told| told.contains("UNSET_VALUE")).collect();
        assert_eq!(of_values, [&wanted], "{template}");
    }
    for template in [
        // Set by the values, even to null; known, but not set; free-form; with a default.
        "{{ if .Values.mine.feature }}{{ end }}{{ if .Values.mine.disabled }}{{ end }}{{ if .Values.nothing.at.all }}{{ end }}",
        "{{ if .Values.global.caName }}{{ end }}{{ if .Values.global.proxy_init.image }}{{ end }}",
        "{{ if index .Values.global.proxy.resources.limits `ephemeral-storage` }}{{ end }}{{ if .Values.pilot.env.X }}{{ end }}",
        "metadata: {labels: {x: {{ .Values.another | default `x` }}}}{{ $x := .Values.another }}",
    ] {
        assert_eq!(
            check(template, "{mine: {feature: true, disabled: null}, nothing: {}}"),
            [""; 0],
            "{template}"
        );
    }
}

#[test]
fn templates_of_the_gateway_controller_have_other_data() {
    let with = |more: &str| {
        let template = "waypoint: '{{ .DeploymentName }}{{ if .Values.globl }}{{ end }}'";
        check_one(&headed(&format!("injector:\n  templates: {{{template}}}\n{more}")))
    };
    assert_eq!(with(""), [""; 0]);
    // Unless pods get them anyway.
    assert!(with("  defaultTemplates: [waypoint]\n")[0].contains("UNKNOWN_FIELD"));
}

#[test]
fn a_template_that_its_types_already_refuse_is_reported_once() {
    let text = headed(&format!("injector:\n  templates:\n    sidecar: |\n{}", indented(BROKEN, 6)));
    let told = check_one(&text);
    assert!(told.len() == 1 && told[0].contains("UNKNOWN_FIELD"), "{told:?}");
}

#[test]
fn a_list_that_names_no_template_is_found_at_the_name() {
    let text = headed("injector:\n  aliases:\n    both: [sidecar, nobody]\n");
    let told = check_one(&text);
    assert!(
        told.iter()
            .any(|told| told
                .starts_with("f:3:11 error MISSING_TEMPLATE injector.aliases.both: found \"nobody\"")),
        "{told:?}"
    );
}

#[test]
fn the_chart_puts_values_where_the_injector_reads_them() {
    let chart = "revision: canary\nglobal: {hub: h, proxy: {autoInject: disabled}}\npilot: {env: {ENABLE_NATIVE_SIDECARS: 'true', X: 1}}\nmeshConfig: {trustDomain: t}\nsidecarInjectorWebhook: {rewriteAppHTTPProbe: false, injectedAnnotations: {a: b}}\nconfiguration: {aliases: {x: [sidecar]}, bundle: {values: {mine: 1}}}\n_internal_defaults_do_not_set: {global: {hub: old, tag: t1}}\n";
    let report = check(&[("f", chart)]);
    assert_eq!(told(&report), [""; 0]);
    let bundle = report.configurations[0].effective_bundle();
    let at = |path: &str| bundle.pointer(path).cloned().unwrap_or_default();
    for (path, wanted) in [
        ("/revision", json!("canary")),
        ("/injector/policy", json!("disabled")),
        ("/injector/injectedAnnotations", json!({"a": "b"})),
        ("/injector/aliases", json!({"x": ["sidecar"]})),
        ("/values/global/hub", json!("h")),
        ("/values/global/tag", json!("t1")),
        ("/values/sidecarInjectorWebhook/rewriteAppHTTPProbe", json!(false)),
        ("/values/mine", json!(1)),
        ("/mesh/trustDomain", json!("t")),
        ("/nativeSidecars", json!("enabled")),
        ("/env", json!({"ENABLE_NATIVE_SIDECARS": "true", "X": "1"})),
    ] {
        assert_eq!(at(path), wanted, "{path}");
    }
    assert_ne!(at("/values/sidecarInjectorWebhook/injectedAnnotations"), json!({"a": "b"}));
}

#[test]
fn the_embedded_templates_have_no_mistakes() {
    for bundle in [
        "",
        "compat: istio\n",
        "platform: openshift\n",
        "values: {pilot: {cni: {enabled: true, provider: multus}}, global: {proxy: {tracer: datadog}}}\n",
        "values: {global: {sts: {servicePort: 1}, caName: x, mountMtlsCerts: true}}\n",
    ] {
        assert_eq!(check_one(&headed(bundle)), [""; 0], "{bundle}");
    }
    // A default that is removed.
    let told = check_one(&headed("values: {global: {proxy: {clusterDomain: null}}}\n"));
    assert!(
        told.iter()
            .any(|told| told.contains("UNSET_VALUE") && told.contains(".Values.global.proxy.clusterDomain")),
        "{told:?}"
    );
}
