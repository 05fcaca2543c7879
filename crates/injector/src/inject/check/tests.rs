use serde_json::json;

use super::*;
use crate::config::Source;
use crate::config::headed::headed;

fn mesh(bundle: Value) -> InjectorConfig {
    InjectorConfig::from_bundle(Source { name: "bundle", text: &headed(&bundle.to_string()) }).unwrap().0
}

/// The result for a configuration with these templates; `Err` if it is rejected.
fn judged(templates: Value) -> Result<String, String> {
    of(&mesh(json!({"injector": {"templates": templates}})))
}

fn of(mesh: &InjectorConfig) -> Result<String, String> {
    match check(mesh) {
        Ok(remarks) => Ok(lines(&remarks)),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn every_sample_is_a_pod() {
    assert_eq!(SAMPLES.len(), TEXTS.len());
    for (name, sample) in SAMPLES.iter() {
        assert_eq!(sample["kind"], "Pod", "{name}");
        assert!(!pod::containers(sample).is_empty(), "{name}");
        assert_eq!(pod::label(sample, names::INJECT), Some("true"), "{name}");
    }
}

#[test]
fn the_embedded_templates_do_for_every_sample() {
    let settings = [
        json!({}),
        json!({"compat": "istio"}),
        json!({"platform": "openshift"}),
        json!({"nativeSidecars": "enabled", "compliancePolicy": "fips-140-2"}),
        json!({"nativeSidecars": "disabled", "values": {"pilot": {"cni": {"enabled": true, "provider": "multus"}}}}),
        json!({"injector": {"defaultTemplates": ["gateway"], "aliases": {"both": ["grpc-agent", "grpc-simple"]}}}),
    ];
    for setting in settings {
        assert_eq!(of(&mesh(setting.clone())), Ok(String::new()), "{setting}");
    }
}

#[test]
fn a_policy_or_a_selector_does_not_hide_a_broken_template() {
    for injector in [
        json!({"policy": "disabled"}),
        json!({"neverInjectSelector": [{"matchExpressions": [{"key": "app", "operator": "Exists"}]}]}),
    ] {
        let mut bundle = json!({"injector": injector});
        bundle["injector"]["templates"] = json!({"sidecar": "{{ .Spec.Nope }}"});
        assert!(of(&mesh(bundle.clone())).is_err(), "{bundle}");
    }
}

#[test]
fn a_refusal_names_template_line_column_snippet_and_sample() {
    let broken =
        "spec:\n  containers:\n{{- range .Spec.InitContainers }}\n  - name: {{ .Nmae }}\n{{- end }}\n";
    let text = judged(json!({"sidecar": broken})).unwrap_err();
    assert_eq!(
        text,
        "injector.defaultTemplates fail for a pod with init containers: template sidecar, line 4, column 14: \
         can't evaluate field Nmae in type v1.Container\n    - name: {{ .Nmae }}\n               ^"
    );
    let text = judged(json!({"sidecar": "spec:\n  hostname: [{{ .ObjectMeta.Namespace }}-\n"})).unwrap_err();
    assert!(text.contains("template sidecar: the rendered text is not usable YAML: line "), "{text}");
    assert!(!text.contains(['\u{E000}', '\u{E001}']), "{text}");
}

#[test]
fn the_line_of_unusable_output_is_shown_without_what_is_the_pods() {
    let text = judged(json!({"sidecar": "spec:\n  a: {{ .ObjectMeta.Namespace }}: b\n"})).unwrap_err();
    assert!(text.contains("\n    a: …: b\n"), "{text}");
    assert!(text.lines().last().unwrap().trim() == "^", "{text}");
}

#[test]
fn default_templates_must_do_for_every_sample() {
    let jobs_only =
        "metadata: {annotations: {owner: {{ (index .ObjectMeta.OwnerReferences 0).Name | quote }}}}";
    let text = judged(json!({"sidecar": jobs_only})).unwrap_err();
    assert!(
        text.starts_with("injector.defaultTemplates fail for a bare pod: template sidecar, line 1"),
        "{text}"
    );
}

#[test]
fn a_template_to_ask_for_may_be_for_certain_pods() {
    let jobs_only =
        "metadata: {annotations: {owner: {{ (index .ObjectMeta.OwnerReferences 0).Name | quote }}}}";
    let text = judged(json!({"for-jobs": jobs_only})).unwrap();
    assert!(
        text.starts_with("injector.templates.for-jobs fails for a bare pod: template for-jobs, line 1"),
        "{text}"
    );
}

#[test]
fn a_template_to_ask_for_must_do_for_some_sample() {
    for broken in [
        "{{ .Values.globl.hub }}",
        "- a list",
        "{{ index (splitList \",\" (index .ObjectMeta.Annotations \"nobody\")) 3 }}",
        "spec: {containers: {}}",
    ] {
        let text = judged(json!({"extra": broken})).expect_err(broken);
        assert!(text.starts_with("injector.templates.extra fails for every sample pod: "), "{text}");
    }
}

// C-09
#[test]
fn a_template_to_ask_for_may_not_contradict_its_data_for_any_sample() {
    let misfit = "{{ range .Spec.InitContainers }}{{ .Nmae }}{{ end }}";
    let text = judged(json!({"extra": misfit})).unwrap_err();
    assert!(text.starts_with("injector.templates.extra fails for a pod with init containers: "), "{text}");
    // C-09
    let endless = "{{ range .Spec.InitContainers }}{{ range until 9999 }}{{ range until 9999 }}{{ end }}{{ end }}{{ end }}";
    let text = judged(json!({"extra": endless})).unwrap_err();
    assert!(text.contains("200000 steps"), "{text}");
}

#[test]
fn a_template_may_refuse_pods_on_purpose() {
    let picky = "{{ if not (index .ObjectMeta.Labels \"app\") }}{{ fail \"label app is wanted\" }}{{ end }}";
    assert_eq!(judged(json!({"sidecar": picky})), Ok(String::new()));
    let never = "{{ fail \"label team is wanted\" }}";
    let text = judged(json!({"sidecar": never})).unwrap();
    assert!(text.contains("error calling fail: label team is wanted"), "{text}");
}

#[test]
fn patches_that_no_api_server_takes_are_refused() {
    let huge = "metadata: {annotations: {a: {{ repeat 60000 \"x\" }}, b: {{ repeat 60000 \"y\" }}}}";
    assert_eq!(judged(json!({"extra": huge})), Ok(String::new()));
    let mut huge = String::from("metadata:\n  annotations:\n");
    for index in 0..15 {
        huge.push_str(&format!("    a{index}: {{{{ repeat 60000 \"x\" }}}}\n"));
    }
    let templates = json!({"one": huge.clone(), "two": huge.replace("    a", "    b"), "three": huge.replace("    a", "    c")});
    let text =
        of(&mesh(json!({"injector": {"templates": templates, "aliases": {"all": ["one", "two", "three"]}}})))
            .unwrap_err();
    assert!(
        text.starts_with("injector.aliases.all fails for every sample pod: ")
            && text.contains("the limit of 2097152 bytes"),
        "{text}"
    );
}

#[test]
fn unknown_templates_behind_aliases_are_remarks_where_istio_takes_them() {
    let bundle = |default: &str| {
        json!({"compat": "istio", "injector": {
            "defaultTemplates": [default], "aliases": {"a": ["gone", "sidecar"], "b": ["sidecar"]}}})
    };
    let remarks = of(&mesh(bundle("sidecar"))).unwrap();
    assert!(remarks.starts_with("injector.aliases.a: found \"gone\", which is not a template"), "{remarks}");
    assert_eq!(remarks.lines().count(), 1, "{remarks}");
    assert!(of(&mesh(bundle("a"))).is_err(), "no pod would be created");
}

#[test]
fn unknown_templates_are_refused_where_they_are_named() {
    let text = of(&mesh(json!({"compat": "istio", "injector": {"defaultTemplates": ["sidecar", "nope"]}})))
        .unwrap_err();
    assert_eq!(
        text,
        "injector.defaultTemplates: found \"nope\", which is not a template; expected gateway, grpc-agent, grpc-simple, sidecar"
    );
    let text = of(&mesh(json!({"injector": {"aliases": {"proxied": ["sidecar", "tuned"]}}}))).unwrap_err();
    assert!(text.starts_with("injector.aliases.proxied: found \"tuned\", which is not a template"), "{text}");
}

#[test]
fn templates_of_the_gateway_controller_are_not_for_pods() {
    let templates = json!({"waypoint": "{{ .GatewayClass }}", "agentgateway": "- x", "kube-gateway": "x"});
    assert_eq!(judged(templates.clone()), Ok(String::new()));
    // Unless pods get them anyway.
    let bundle = json!({"injector": {"defaultTemplates": ["waypoint"], "templates": templates}});
    assert!(of(&mesh(bundle)).is_err());
}

#[test]
fn one_fault_is_told_once() {
    let bundle = json!({"injector": {
        "templates": {"sidecar": "{{ .Spec.Nope }}"},
        "aliases": {"a": ["sidecar", "gateway"], "b": ["sidecar", "grpc-simple"]},
    }});
    assert_eq!(check(&mesh(bundle)).unwrap_err().0.len(), 1);
}

#[test]
fn a_template_that_fails_without_native_sidecars_only_is_found() {
    let template = "{{ if not .NativeSidecars }}{{ .Spec.Nope }}{{ end }}";
    assert!(judged(json!({"sidecar": template})).is_err());
    let template = "{{ if .NativeSidecars }}{{ .Spec.Nope }}{{ end }}";
    assert!(judged(json!({"sidecar": template})).is_err());
    let bundle = json!({"nativeSidecars": "disabled", "injector": {"templates": {"sidecar": template}}});
    assert!(of(&mesh(bundle)).is_ok());
}

#[test]
fn a_value_in_a_format_no_api_server_reads_is_traced_to_the_configuration() {
    let limits = json!({"global": {"proxy": {"resources": {"limits": {"cpu": "2cores"}}}}});
    let text = of(&mesh(json!({"values": limits}))).unwrap_err();
    assert!(
        text.ends_with(
            "resources.limits[\"cpu\"] would be \"2cores\", but an API server expects a quantity such as 500m, 2 or 1.5Gi; the value comes from values.global.proxy.resources.limits.cpu"
        ),
        "{text}"
    );
    let proxy = "spec:\n  containers:\n  - name: istio-proxy\n    resources: {requests: {memory: 512MB}}\n";
    let text = judged(json!({"sidecar": proxy})).unwrap_err();
    assert!(text.ends_with("; the value comes from template sidecar, line 4"), "{text}");
    // Also if it is only requested by annotation.
    assert!(judged(json!({"extra": proxy})).is_err());
}

#[test]
fn a_pod_no_api_server_can_decode_is_refused() {
    let port = "spec:\n  containers:\n  - name: istio-proxy\n    image: p\n    env:\n    - name: PORT\n      value: {{ .Values.global.proxy.statusPort }}\n";
    let text = judged(json!({"sidecar": port})).unwrap_err();
    assert!(
        text.ends_with("template sidecar: spec.containers[istio-proxy].env[PORT].value would be 15020, but an API server expects a string; quote it in YAML"),
        "{text}"
    );
}
