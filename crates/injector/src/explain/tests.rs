use serde_json::{Value, json};

use super::*;
use crate::config::Source;

fn mesh(bundle: &str) -> InjectorConfig {
    let text = format!("apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\n{bundle}");
    InjectorConfig::from_bundle(Source { name: "bundle.yaml", text: &text }).unwrap().0
}

fn pod(annotations: &Value) -> PodRequest {
    let pod = json!({
        "metadata": {"name": "web", "annotations": annotations},
        "spec": {"containers": [
            {"name": "web", "image": "web:1", "readinessProbe": {"httpGet": {"path": "/ready", "port": 80}}},
        ]},
    });
    PodRequest::new("shop", pod)
}

fn injected(mesh: &InjectorConfig, request: &PodRequest) -> Vec<Field> {
    match explain(mesh, request, &Facts::of(mesh, "shop")).verdict {
        Verdict::Injected { fields, .. } => fields,
        other => panic!("{other:?}"),
    }
}

fn field<'f>(fields: &'f [Field], path: &str) -> &'f Field {
    fields.iter().find(|field| field.path == path).unwrap_or_else(|| {
        let paths: Vec<&str> = fields.iter().map(|field| field.path.as_str()).collect();
        panic!("{path} is not among {paths:#?}")
    })
}

fn line(field: &Field) -> &Line {
    match &field.writer {
        Writer::Template(line) => line,
        other => panic!("{}: {other:?}", field.path),
    }
}

fn data(line: &Line) -> Vec<(&str, Option<&Value>, &str)> {
    line.data
        .iter()
        .map(|datum| (datum.place.as_str(), datum.value.as_ref(), datum.set_by.as_str()))
        .collect()
}

#[test]
fn fields_of_a_template_have_its_line_and_data() {
    let mesh =
        mesh("nativeSidecars: disabled\nvalues: {global: {proxy: {resources: {requests: {cpu: 77m}}}}}\n");
    let fields = injected(&mesh, &pod(&json!({"sidecar.istio.io/logLevel": "debug"})));

    let cpu = line(field(&fields, "spec.containers[istio-proxy].resources.requests.cpu"));
    let place = "values.global.proxy.resources.requests.cpu";
    assert!(data(cpu).contains(&(place, Some(&json!("77m")), "the configuration")), "{cpu:#?}");

    let memory = line(field(&fields, "spec.containers[istio-proxy].resources.requests.memory"));
    let place = "values.global.proxy.resources.requests.memory";
    assert!(data(memory).contains(&(place, Some(&json!("128Mi")), "the embedded default")), "{memory:#?}");

    let (_, level) = fields
        .iter()
        .filter(|field| field.path.starts_with("spec.containers[istio-proxy].args["))
        .find_map(|field| Some((field, field.value.as_ref()?.as_str()?.strip_prefix("--proxyLogLevel=")?)))
        .unwrap();
    assert_eq!(level, "debug");
    let level = fields.iter().find(|field| field.value == Some(json!("--proxyLogLevel=debug"))).unwrap();
    let level = line(level);
    let annotation = ("annotation sidecar.istio.io/logLevel", Some(&json!("debug")), "the pod");
    assert!(data(level).contains(&annotation), "{level:#?}");
    let (number, text) = level.line.clone().unwrap();
    let source = mesh.injector().templates["sidecar"].source().lines().nth(number as usize - 1).unwrap();
    assert!(source.contains(&text) && text.contains("proxyLogLevel"), "{number}: {text}");
}

#[test]
fn the_proxy_config_names_what_set_it() {
    let in_mesh = "mesh: {defaultConfig: {interceptionMode: TPROXY}}\n";
    let annotated = json!({"proxy.istio.io/config": "interceptionMode: TPROXY"});
    let resource = "proxyConfigs:\n- apiVersion: networking.istio.io/v1beta1\n  kind: ProxyConfig\n  metadata: {name: a, namespace: shop}\n  \
                    spec: {environmentVariables: {A: b}}\n";
    for (bundle, annotations, wanted) in [
        (in_mesh, json!({}), "mesh.defaultConfig"),
        ("", annotated, "annotation proxy.istio.io/config"),
        (resource, json!({}), "a ProxyConfig resource"),
    ] {
        let mesh = mesh(bundle);
        let fields = injected(&mesh, &pod(&annotations));
        let lines = fields.iter().filter_map(|field| match &field.writer {
            Writer::Template(line) => Some(line),
            _ => None,
        });
        let mut all = lines
            .flat_map(|line| line.data.iter().chain(line.conditions.iter().flat_map(|(_, data)| data)))
            .filter(|datum| datum.place.starts_with("proxyConfig") && datum.value.is_some());
        assert!(all.any(|datum| datum.set_by == wanted), "{wanted}");
    }
}

#[test]
fn entries_of_proxy_metadata_have_sources_of_their_own() {
    let bundle = "nativeSidecars: enabled\nmesh: {defaultConfig: {proxyMetadata: {A: b}}}\nproxyConfigs:\n- apiVersion: networking.istio.io/v1beta1\n  \
                  kind: ProxyConfig\n  metadata: {name: a, namespace: shop}\n  spec: {environmentVariables: {C: d}}\n";
    let mesh = mesh(bundle);
    let fields = injected(&mesh, &pod(&json!({})));
    for (name, value, set_by) in [("A", "b", "mesh.defaultConfig"), ("C", "d", "a ProxyConfig resource")] {
        let of_it =
            |field: &&Field| field.path.starts_with(&format!("spec.initContainers[istio-proxy].env[{name}]"));
        let lines: Vec<&Line> = fields.iter().filter(of_it).map(line).collect();
        let place = format!("proxyConfig.proxyMetadata.{name}");
        let found = lines.iter().flat_map(|line| &line.data).find(|datum| datum.place == place);
        let found = found.unwrap_or_else(|| panic!("{place}: {lines:#?}"));
        assert_eq!((found.value.as_ref(), found.set_by.as_str()), (Some(&json!(value)), set_by));
    }
}

#[test]
fn later_steps_are_named_with_what_they_replaced() {
    let mesh = mesh("");
    let fields = injected(&mesh, &pod(&json!({})));
    let port = field(&fields, "spec.containers[web].readinessProbe.httpGet.port");
    assert_eq!(port.writer, Writer::Pass("probes"));
    assert_eq!(port.replaced, [(Writer::Pod, json!(80))]);
    assert_eq!(port.value, Some(json!(15020)));
    let status = field(&fields, "metadata.annotations[sidecar.istio.io/status]");
    assert_eq!(status.writer, Writer::Pass("status"));
}

#[test]
fn the_users_own_proxy_wins_and_says_what_it_replaced() {
    let mesh = mesh("nativeSidecars: enabled\n");
    let mut request = pod(&json!({}));
    let own = json!({"name": "istio-proxy", "image": "auto", "resources": {"requests": {"cpu": "5m"}}});
    request.pod["spec"]["containers"].as_array_mut().unwrap().push(own);
    let fields = injected(&mesh, &request);
    let cpu = field(&fields, "spec.initContainers[istio-proxy].resources.requests.cpu");
    assert_eq!((&cpu.writer, &cpu.value), (&Writer::User, &Some(json!("5m"))));
    assert!(
        cpu.replaced
            .iter()
            .any(|(writer, value)| matches!(writer, Writer::Template(_)) && *value == json!("100m")),
        "{cpu:#?}"
    );
    let image = field(&fields, "spec.initContainers[istio-proxy].image");
    assert!(matches!(&image.writer, Writer::Template(_) | Writer::User), "{image:#?}");
    assert!(image.replaced.contains(&(Writer::Pod, json!("auto"))), "{image:#?}");
}

#[test]
fn every_field_that_templates_write_has_a_line() {
    for bundle in ["", "nativeSidecars: enabled\n", "values: {pilot: {cni: {enabled: true}}}\n"] {
        let mesh = mesh(bundle);
        let fields = injected(&mesh, &pod(&json!({})));
        let templates = fields.iter().filter(|field| matches!(field.writer, Writer::Template(_)));
        let without: Vec<&str> = templates
            .clone()
            .filter(|field| line(field).line.is_none())
            .map(|field| field.path.as_str())
            .collect();
        assert!(templates.count() > 50);
        assert_eq!(without, Vec::<&str>::new(), "{bundle}");
    }
}

#[test]
fn skipped_pods_name_the_rule_that_decided() {
    let mesh = mesh("");
    let mut request = pod(&json!({}));
    request.pod["spec"]["hostNetwork"] = json!(true);
    let explanation = explain(&mesh, &request, &Facts::of(&mesh, "shop"));
    let outcomes: Vec<(&str, bool, bool)> = explanation
        .steps
        .iter()
        .map(|step| {
            let is_decisive = matches!(step.outcome, decision::StepOutcome::Decided(_));
            (step.rule.key(), is_decisive, step.outcome == decision::StepOutcome::NotReached)
        })
        .collect();
    assert_eq!(outcomes[2], ("hostNetwork", true, false));
    assert!(outcomes[..2].iter().all(|(_, decides, skipped)| !decides && !skipped));
    assert!(outcomes[3..].iter().all(|(_, _, skipped)| *skipped));
    assert!(matches!(explanation.verdict, Verdict::Skipped(_)));
    assert_eq!(explanation.warnings[0].code, "BYPASS_HOST_NETWORK");
}

#[test]
fn fields_are_found_in_any_spelling() {
    assert!(is_at_or_below("spec.initContainers[istio-init].args[6]", "spec.initContainers[istio-init]"));
    assert!(is_at_or_below(
        "spec.initContainers[istio-init].args[6]",
        "spec.initContainers['istio-init'].args[6]"
    ));
    assert!(!is_at_or_below("spec.initContainers[istio-init].args[6]", "spec.initContainers[istio]"));
}

/// The lines as a diff.
fn diff(original: &Value, result: &Value) -> Vec<String> {
    let mark = |side| match side {
        Side::Both => ' ',
        Side::Original => '-',
        Side::Result => '+',
    };
    side_by_side(original, result)
        .into_iter()
        .map(|line| format!("{}{}", mark(line.side), line.text))
        .collect()
}

#[test]
fn elements_stand_beside_those_of_the_same_name() {
    let original = json!({"spec": {"containers": [
        {"name": "web", "args": ["a", "b", "c"], "image": "web:1"},
        {"name": "gone"},
    ], "x": 1}});
    let result = json!({"metadata": {"labels": {}}, "spec": {"containers": [
        {"name": "istio-proxy", "env": [{"name": "A", "value": "1\n2\n"}]},
        {"name": "web", "args": ["a", "x", "c"], "image": "web:2"},
    ], "x": 1}});
    let wanted = [
        "+metadata:",
        "+  labels: {}",
        " spec:",
        "   containers:",
        "-  - name: gone",
        "+  - name: istio-proxy",
        "+    env:",
        "+    - name: A",
        "+      value: |",
        "+        1",
        "+        2",
        "   - name: web",
        "     args:",
        "     - a",
        "-    - b",
        "+    - x",
        "     - c",
        "-    image: web:1",
        "+    image: web:2",
        "   x: 1",
    ];
    assert_eq!(diff(&original, &result), wanted);
}

#[test]
fn either_side_of_a_comparison_is_the_document() {
    let mesh = mesh("");
    let request = pod(&json!({"sidecar.istio.io/logLevel": "debug", "empty": "", "list": "[]"}));
    let Verdict::Injected { injection, fields } = explain(&mesh, &request, &Facts::of(&mesh, "shop")).verdict
    else {
        panic!("injected");
    };
    let lines = side_by_side(&request.pod, &injection.pod);
    for (skipped, document) in [(Side::Result, &request.pod), (Side::Original, &injection.pod)] {
        let side: Vec<&str> =
            lines.iter().filter(|line| line.side != skipped).map(|line| line.text.as_str()).collect();
        let read = kubernetes_yaml::load(&side.join("\n"), &kubernetes_yaml::Limits::default());
        assert_eq!(&read.unwrap(), document, "{side:#?}");
    }
    // And every line of the result alone is explained.
    let index = FieldIndex::new(&fields);
    for line in lines.iter().filter(|line| line.side == Side::Result) {
        assert!(index.find(&line.path).is_some(), "{line:?}");
    }
}
