use super::*;

fn cases(text: &str) -> Result<Vec<Case>, Vec<InvalidTest>> {
    let file = |name: &str| match name {
        "pod.yaml" => {
            Ok("{kind: Pod, metadata: {name: web}, spec: {containers: [{name: web, image: web:1}]}}"
                .to_owned())
        }
        _ => Err(format!("{name}: no such file")),
    };
    let text = format!("apiVersion: outrigger.dev/v1alpha1\nkind: TemplateTests\n{text}");
    read(Source { name: "cases.yaml", text: &text }, &file)
}

/// The failures of the only case with this content.
fn failures(case: &str) -> Vec<String> {
    let cases = cases(&format!("cases:\n- {{name: one, podFile: pod.yaml, {case}}}\n")).unwrap();
    cases[0].run(&InjectorConfig::embedded().unwrap())
}

fn problems(text: &str) -> Vec<String> {
    let told = |problem: &InvalidTest| format!("{}:{} {problem}", problem.place.line, problem.place.column);
    cases(text).unwrap_err().iter().map(told).collect()
}

#[test]
fn outcomes_are_compared() {
    for (case, wanted) in [
        ("expect: {injected: true, reason: POLICY_ENABLED, warnings: []}", vec![]),
        ("expect: {injected: false}", vec!["injected: found injected; expected false"]),
        ("expect: {reason: POD_OPTED_IN}", vec!["reason: found POLICY_ENABLED; expected POD_OPTED_IN"]),
        ("expect: {warnings: [IMAGE_AUTO_LEFT]}", vec!["warnings: found none; expected IMAGE_AUTO_LEFT"]),
        ("expect: {denied: nothing}", vec!["denied: found injected; expected a denial with \"nothing\""]),
        (
            "namespace: {name: shop, labels: {istio-injection: disabled}}, expect: {reason: NAMESPACE_DISABLED}",
            vec![],
        ),
        (
            "namespace: {name: shop, labels: {istio-injection: disabled}}, expect: {injected: true}",
            vec!["injected: found skipped (NAMESPACE_DISABLED); expected true"],
        ),
        ("namespace: kube-system, expect: {reason: IGNORED_NAMESPACE, injected: false}", vec![]),
        (
            "values: {global: {proxy: {logLevel: debug}}}, expect: {fields: [{path: 'spec.initContainers[istio-proxy].args', contains: --proxyLogLevel=debug}]}",
            vec![],
        ),
        (
            "mesh: {defaultConfig: {concurrency: 3}}, expect: {fields: [{path: 'spec.initContainers[istio-proxy].env[ISTIO_CPU_LIMIT]', exists: true}]}",
            vec![],
        ),
    ] {
        assert_eq!(failures(case), wanted, "{case}");
    }
    let failures = failures("values: {global: {proxy: {statusPort: x}}}, expect: {injected: true}");
    assert!(failures[0].starts_with("configuration: the case's configuration:1:"), "{failures:?}");
}

#[test]
fn fields_are_compared() {
    for (field, wanted) in [
        ("{path: 'spec.containers[web].image', equal: 'web:1'}", ""),
        (
            "{path: 'spec.containers[web].image', equal: 'web:2'}",
            "spec.containers[web].image: found \"web:1\"; expected \"web:2\"",
        ),
        ("{path: 'spec.containers[0].image', matches: '^web:[0-9]$'}", ""),
        (
            "{path: 'spec.containers[0].image', matches: '^db'}",
            "spec.containers[0].image: found \"web:1\"; expected a match of \"^db\"",
        ),
        ("{path: 'spec.initContainers[istio-init].args', contains: '15001'}", ""),
        ("{path: 'spec.containers', contains: {name: web}}", ""),
        ("{path: 'metadata.annotations[\"sidecar.istio.io/status\"]', contains: istio-proxy}", ""),
        (
            "{path: 'spec.containers[web].image', contains: db}",
            "spec.containers[web].image: found \"web:1\"; expected something that contains \"db\"",
        ),
        ("{path: spec.hostNetwork, absent: true}", ""),
        ("{path: spec.hostNetwork, exists: false}", ""),
        (
            "{path: spec.hostNetwork, exists: true}",
            "spec.hostNetwork: found nothing; expected the field to exist",
        ),
        ("{path: 'spec.containers[nobody].image', absent: true}", ""),
        (
            "{path: metadata.name, absent: true}",
            "metadata.name: found \"web\"; expected the field to be absent",
        ),
    ] {
        let wanted: Vec<&str> = Some(wanted).into_iter().filter(|wanted| !wanted.is_empty()).collect();
        assert_eq!(failures(&format!("expect: {{fields: [{field}]}}")), wanted, "{field}");
    }
}

#[test]
fn denials_are_compared() {
    let pod = "pod: {metadata: {name: web, annotations: {inject.istio.io/templates: nobody}}, spec: {containers: []}}";
    let run = |expect: &str| {
        let text = format!("cases: [{{name: one, {pod}, expect: {expect}}}]");
        cases(&text).unwrap()[0].run(&InjectorConfig::embedded().unwrap())
    };
    assert_eq!(run("{denied: requests template}"), [""; 0]);
    assert_eq!(run("{denied: requests template, reason: UNKNOWN_TEMPLATE}"), [""; 0]);
    let found = "annotation inject.istio.io/templates requests template \"nobody\", which does not exist; known templates: gateway, grpc-agent, grpc-simple, sidecar";
    assert_eq!(
        run("{denied: other}"),
        [format!("denied: found denied (UNKNOWN_TEMPLATE): {found}; expected a message with \"other\"")]
    );
    assert_eq!(
        run("{fields: [{path: spec, exists: true}]}"),
        [
            format!("found denied (UNKNOWN_TEMPLATE): {found}; expected the pod to be allowed"),
            "spec: found no pod, because it is denied".to_owned(),
        ]
    );
}

#[test]
fn invalid_cases_are_refused_with_their_places() {
    for (text, wanted) in [
        ("cases: []", "1:1 cases: found none; expected at least one case"),
        (
            "case: []",
            "3:1 document: found the unknown key \"case\"; expected apiVersion, kind, cases; nearest: \"cases\"",
        ),
        ("cases:\n- {name: a, podFile: x.yaml, expect: {}}", "4:22 cases[0].podFile: x.yaml: no such file"),
        (
            "cases:\n- {name: a, expect: {}}",
            "4:3 cases[0]: found neither or both of pod and podFile; expected one",
        ),
        (
            "cases:\n- {name: a, pod: {kind: Deployment, spec: {}}, expect: {}}",
            "4:18 cases[0].pod: found an object of kind Deployment; expected a Pod",
        ),
        (
            "cases:\n- {name: a, podFile: pod.yaml, expect: {reason: POLICY_ENABLE}}",
            "4:49 cases[0].expect.reason: found the unknown code \"POLICY_ENABLE\"; nearest: \"POLICY_ENABLED\"",
        ),
        (
            "cases:\n- {name: a, podFile: pod.yaml, expect: {fields: [{path: spec}]}}",
            "4:50 cases[0].expect.fields[0]: found none or several; expected one of equal, contains, matches, exists, absent",
        ),
        (
            "cases:\n- {name: a, podFile: pod.yaml, expect: {injected: 'yes'}}",
            "4:51 cases[0].expect.injected: found \"yes\"; expected true or false",
        ),
    ] {
        assert_eq!(problems(text).first().map(String::as_str), Some(wanted), "{text}");
    }
    let broken =
        problems("cases:\n- {name: a, podFile: pod.yaml, expect: {fields: [{path: a, matches: '('}]}}");
    assert!(
        broken[0].contains("cases[0].expect.fields[0].matches: found \"(\": error: unclosed group"),
        "{broken:?}"
    );
}
