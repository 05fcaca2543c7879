//! Istio's functions: their results and their taint.

use serde_json::{Value as Json, json};

use super::*;
use crate::gotypes::{OBJECT_META, POD_SPEC};
use gotemplate::{Limits, Placeholder, Problem, Rendered, Scope, Template};
use istio_config::gotypes::{MESH_CONFIG, PROXY_CONFIG};

/// The template's view of a pod: `ObjectMeta` and `Spec` are tainted, the rest is the administrator's.
fn render(template: &str, pod: &Json) -> Result<String, Problem> {
    let empty = json!({});
    let part = |name: &str| pod.get(name).unwrap_or(&empty);
    let scope =
        Scope { env: [("REGION".to_owned(), "eu".to_owned()), ("BLANK".to_owned(), String::new())].into() };
    let limits = Limits::default();
    let template = Template::parse("t", template, &FUNCTIONS).unwrap();
    let dot = Value::record(
        "inject.SidecarTemplateData",
        vec![
            ("ObjectMeta", Value::of_type(&OBJECT_META, Some(part("metadata")), true)),
            ("Spec", Value::of_type(&POD_SPEC, Some(part("spec")), true)),
            ("ProxyConfig", Value::pointer_to(&PROXY_CONFIG, Some(part("proxy")), false)),
            ("PodProxyConfig", Value::pointer_to(&PROXY_CONFIG, Some(part("proxy")), true)),
            ("NoProxyConfig", Value::pointer_to(&PROXY_CONFIG, None, false)),
            ("MeshConfig", Value::pointer_to(&MESH_CONFIG, Some(part("mesh")), false)),
            ("Values", Value::json(part("values"), false)),
        ],
    );
    template.render(&dot, &scope, &limits).map(|rendered| shown(&rendered)).map_err(|error| error.problem)
}

/// The text with `<raw>` for a placeholder and `<"raw>` for one between our quotes.
fn shown(rendered: &Rendered) -> String {
    let mut text = rendered.text.clone();
    for (index, Placeholder { raw, escaped }) in rendered.placeholders.iter().enumerate() {
        let mark = if *escaped { "\"" } else { "" };
        text = text.replace(&format!("\u{E000}{index}\u{E001}"), &format!("<{mark}{raw}>"));
    }
    text
}

#[track_caller]
fn renders(pod: &Json, rows: &[(&str, &str)]) {
    for (template, wanted) in rows {
        assert_eq!(render(template, pod).as_deref(), Ok(*wanted), "{template}");
    }
}

#[test]
fn annotation_gives_the_pods_or_the_default_printed() {
    let pod =
        json!({"metadata": {"annotations": {"a": "x", "empty": ""}}, "values": {"n": 15020, "b": true}});
    renders(
        &pod,
        &[
            ("{{ annotation .ObjectMeta `a` `d` }}", "<x>"),
            ("{{ annotation .ObjectMeta `b` `d` }}", "d"),
            ("[{{ annotation .ObjectMeta `empty` `d` }}]", "[]"),
            (
                "{{ annotation .ObjectMeta `b` .Values.n }} {{ annotation .ObjectMeta `b` .Values.b }}",
                "15020 true",
            ),
            ("{{ annotation .ObjectMeta `b` .Values.none }}", "<nil>"),
            ("{{ annotation .ObjectMeta `b` .ObjectMeta.Annotations.a }}", "<x>"),
            ("{{ if eq (annotation .ObjectMeta `a` ``) `x` }}yes{{ end }}", "yes"),
        ],
    );
}

#[test]
fn isset_asks_for_the_key_not_the_value() {
    let pod = json!({"metadata": {"annotations": {"a": "", "b": "x"}}});
    renders(
        &pod,
        &[
            ("{{ isset .ObjectMeta.Annotations `a` }} {{ isset .ObjectMeta.Annotations `c` }}", "true false"),
            ("{{ isset .ObjectMeta.Labels `a` }}", "false"),
        ],
    );
}

#[test]
fn ports_are_those_of_tcp() {
    let pod = json!({"spec": {"containers": [
        {"name": "app", "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]},
        {"name": "bare"},
        {"name": "istio-proxy", "ports": [{"containerPort": 15090, "protocol": "TCP"}]},
        {"name": "sctp", "ports": [{"containerPort": 9, "protocol": "SCTP"}, {"containerPort": 8080, "protocol": "TCP"}]},
    ]}});
    renders(
        &pod,
        &[
            ("{{ includeInboundPorts .Spec.Containers }}", "<80,15090,8080>"),
            ("{{ applicationPorts .Spec.Containers }}", "<80,8080>"),
            ("[{{ applicationPorts .Spec.InitContainers }}]", "[]"),
        ],
    );
}

#[test]
fn a_port_is_excluded_once() {
    let pod = json!({"metadata": {"annotations": {"p": "15020", "l": "1, 2"}}, "values": {"port": 15020}});
    renders(
        &pod,
        &[
            ("{{ excludeInboundPort .Values.port `` }}", "15020"),
            ("{{ excludeInboundPort .Values.port `80,15020` }}", "80,15020"),
            ("{{ excludeInboundPort ` 9 ` ` 80 ,,81` }}", "80,81,9"),
            ("{{ excludeInboundPort 0 `80` }} {{ excludeInboundPort `` `80` }}", "80 80"),
            // A blank before an equal port hides it, as in Istio.
            ("{{ excludeInboundPort 81 `80, 81` }}", "80,81,81"),
            ("{{ excludeInboundPort .ObjectMeta.Annotations.p `80` }}", "<80,15020>"),
            ("{{ excludeInboundPort 3 .ObjectMeta.Annotations.l }}", "<1,2,3>"),
        ],
    );
}

#[test]
fn interfaces_pass_through() {
    let pod = json!({"metadata": {"annotations": {"i": "eth1"}}});
    let template = "{{ excludeInterfaces .ObjectMeta.Annotations.i }}{{ kubevirtInterfaces `net1` }}";
    renders(&pod, &[(template, "<eth1>net1")]);
}

#[test]
fn value_or_default_replaces_nil_and_the_empty_string_only() {
    let pod =
        json!({"values": {"zero": 0, "no": false, "empty": "", "null": null}, "metadata": {"name": "p"}});
    renders(
        &pod,
        &[
            ("{{ valueOrDefault .Values.zero 1 }} {{ valueOrDefault .Values.no true }}", "0 false"),
            ("{{ valueOrDefault .Values.empty `d` }} {{ valueOrDefault .Values.null `d` }}", "d d"),
            ("{{ valueOrDefault .Values.missing `d` }} {{ valueOrDefault .ObjectMeta.Name `d` }}", "d <p>"),
        ],
    );
}

#[test]
fn json_of_maps_and_structs() {
    let pod = json!({
        "metadata": {"labels": {"app": "a<b"}},
        "spec": {"securityContext": {"runAsUser": 5}},
        "values": {"r": {"b": [1, null], "a": "<"}},
    });
    renders(
        &pod,
        &[
            (
                "{{ toJSON .ObjectMeta.Labels }} {{ toJSON .ObjectMeta.Annotations }}",
                r#"{"<"app>":"<"a<b>"} {}"#,
            ),
            (
                "{{ structToJSON .Values.r }} {{ structToJSON .Values.none }}",
                r#"{"a":"\u003c","b":[1,null]} {}"#,
            ),
            ("{{ structToJSON .Spec.SecurityContext }}", r#"{"<"runAsUser>":<5>}"#),
            ("{{ (fromJSON `{\"a\": [1]}`).a }} {{ fromJSON `{bad` }}", "[1] {}"),
            (
                "{{ toJsonMap (strdict `a` `1`) .ObjectMeta.Labels }} {{ toJsonMap }}",
                r#"{"a":"1","<"app>":"<"a<b>"} null"#,
            ),
        ],
    );
}

#[test]
fn proto_to_json_drops_defaults() {
    let mut proxy = istio_config::defaults::proxy_config().clone();
    proxy["concurrency"] = json!(3);
    let pod = json!({ "proxy": proxy });
    renders(
        &pod,
        &[
            ("{{ protoToJSON .ProxyConfig }} {{ protoToJSON .NoProxyConfig }}", r#"{"concurrency":3} {}"#),
            ("{{ protoToJSON .PodProxyConfig }}", r#"{"<"concurrency>":<3>}"#),
        ],
    );
    assert!(matches!(render("{{ protoToJSON `x` }}", &pod), Err(Problem::Function { .. })));
}

#[test]
fn yaml_is_clean_structure_around_quoted_leaves() {
    let pod = json!({
        "metadata": {"labels": {"app": "x: y\n- z", "n": "1"}},
        "spec": {"tolerations": [{"key": "k", "tolerationSeconds": 30}]},
        "values": {"r": {"limits": {"cpu": "2", "memory": "1Gi"}, "list": [1.5, true, null], "num": 1000000.0}},
    });
    renders(
        &pod,
        &[
            (
                "{{ toYaml .Values.r }}",
                "limits:\n  cpu: \"2\"\n  memory: 1Gi\nlist:\n- 1.5\n- true\n- null\nnum: 1000000\n",
            ),
            ("{{ toYaml .Values.none }}", "null\n"),
            ("{{ toYaml .ObjectMeta.Labels }}", "\"<\"app>\": \"<\"x: y\n- z>\"\n\"<\"n>\": \"<\"1>\"\n"),
            (
                "{{ toYaml (dict `t` .Spec.Tolerations) | indent 2 }}",
                "t:\n  - \"<\"key>\": \"<\"k>\"\n    \"<\"tolerationSeconds>\": 30\n  ",
            ),
            ("{{ toYaml (cat `a` .ObjectMeta.Labels.n) }}", "\"<\"a 1>\"\n"),
            ("{{ toYaml .ObjectMeta.Labels.n | trim | nindent 2 }}", "\n  \"<\"1>\""),
        ],
    );
}

#[test]
fn indent_leaves_the_first_line() {
    let pod = json!({"metadata": {"annotations": {"a": "1\n2"}}});
    renders(
        &pod,
        &[
            ("{{ indent 2 `a\nb\n` }}|{{ indent 0 `a\nb` }}|{{ indent -1 `a\nb` }}", "a\n  b\n  |a\nb|a\n b"),
            ("{{ indent 2 .ObjectMeta.Annotations.a }}", "<1\n2>"),
        ],
    );
}

#[test]
fn small_text_functions() {
    let pod = json!({"metadata": {"annotations": {"a": "X/Y"}}});
    renders(
        &pod,
        &[
            ("{{ directory `/a/b` }} {{ directory `b` }} {{ directory `/a/` }}", "/a/  /a/"),
            ("{{ contains `b` `abc` }} {{ contains `abc` `b` }}", "true false"),
            ("{{ toLower `ABC` }} {{ toLower .ObjectMeta.Annotations.a }}", "abc <x/y>"),
            ("{{ directory .ObjectMeta.Annotations.a }}", "<X/>"),
            ("{{ env `REGION` `d` }} {{ env `BLANK` `d` }} {{ env `PATH` `d` }}", "eu d d"),
        ],
    );
}

#[test]
fn multus_networks_get_ours_once() {
    let pod = json!({"metadata": {"annotations": {"list": r#"[{"name": "x"}]"#, "names": "x, y"}}});
    let json =
        |list: &str| render(&format!("{{{{ appendMultusNetwork `{list}` `default/istio-cni` }}}}"), &pod);
    renders(
        &pod,
        &[
            ("{{ appendMultusNetwork `` `istio-cni` }}", "istio-cni"),
            ("{{ appendMultusNetwork `a,b` `istio-cni` }}", "a,b, istio-cni"),
            ("{{ appendMultusNetwork `a, istio-cni` `istio-cni` }}", "a, istio-cni"),
            ("{{ appendMultusNetwork `[{\"name\":\"a\"}]` `cni` }}", r#"[{"name":"a"}, {"name": "cni"}]"#),
            ("{{ appendMultusNetwork .ObjectMeta.Annotations.names `cni` }}", "<x, y, cni>"),
            (
                "{{ appendMultusNetwork .ObjectMeta.Annotations.list `cni` }}",
                r#"<[{"name": "x"}, {"name": "cni"}]>"#,
            ),
        ],
    );
    let added = r#"[{"name":"istio-cni"}, {"name": "istio-cni", "namespace": "default"}]"#;
    assert_eq!(json(r#"[{"name":"istio-cni"}]"#).as_deref(), Ok(added));
    let there = r#"[{"name":"istio-cni","namespace":"default"}]"#;
    assert_eq!(json(there).as_deref(), Ok(there));
    assert_eq!(json("[]").as_deref(), Ok(r#"[{"name": "istio-cni", "namespace": "default"}]"#));
    for broken in ["[{]", "[1]", "x]"] {
        assert_eq!(json(broken).as_deref(), Ok(broken));
    }
}

#[test]
fn maps_of_strings() {
    let pod = json!({"metadata": {"labels": {"a": "pod", "b": "pod"}}});
    renders(
        &pod,
        &[
            ("{{ strdict `a` `1` `b` }}", "map[a:1 b:]"),
            ("{{ omit (strdict `a` `1` `b` `2`) `a` `zz` }}", "map[b:2]"),
            (
                "{{ mergeMaps (strdict `a` `1`) (strdict `a` `2` `c` `3`) }} {{ mergeMaps }}",
                "map[a:2 c:3] map[]",
            ),
            ("{{ (mergeMaps .ObjectMeta.Labels (strdict `a` `ours`)).a }}", "ours"),
            ("{{ (mergeMaps (strdict `a` `ours`) .ObjectMeta.Labels).a }}", "<pod>"),
            ("{{ range $k, $v := omit .ObjectMeta.Labels `a` }}{{ $k }}={{ $v }}{{ end }}", "<b>=<pod>"),
            (
                "{{ typeOf (omit .ObjectMeta.Labels) }} {{ typeOf (strdict) }}",
                "map[string]string map[string]string",
            ),
        ],
    );
    // As in Go, a map of any values is not a map of strings.
    assert!(render("{{ omit (dict `a` `b`) `a` }}", &pod).is_err());
}

#[test]
fn omit_nil_drops_what_becomes_empty() {
    let pod = json!({"values": {
        "r": {"limits": {"cpu": null, "memory": "1Gi"}, "requests": {"cpu": null}, "keep": {}, "list": [null, 1, {"x": null}]},
        "nothing": {"a": {"b": null}},
        "clean": {"a": {}},
    }});
    renders(
        &pod,
        &[
            ("{{ omitNil .Values.r | toJson }}", r#"{"keep":{},"limits":{"memory":"1Gi"},"list":[1]}"#),
            (
                "{{ omitNil .Values.nothing | toJson }} {{ omitNil .Values.clean | toJson }}",
                r#"null {"a":{}}"#,
            ),
            ("{{ omitNil `x` }} {{ omitNil .Values.none | toJson }}", "x null"),
            ("{{ if omitNil .Values.nothing }}yes{{ else }}no{{ end }}", "no"),
        ],
    );
}

#[test]
fn durations_print_as_gos() {
    let durations = [
        ("5s", "5s"),
        ("0.000001500s", "1.5µs"),
        ("0.250s", "250ms"),
        ("3661.5s", "1h1m1.5s"),
        ("60s", "1m0s"),
        ("-1.5s", "-1.5s"),
        ("0s", "0s"),
        ("0.000000001s", "1ns"),
    ];
    for (proto, printed) in durations {
        let pod = json!({"proxy": {"drainDuration": proto}});
        renders(&pod, &[("{{ formatDuration .ProxyConfig.DrainDuration }}", printed)]);
    }
    let pod = json!({"proxy": {"drainDuration": "5s"}});
    renders(
        &pod,
        &[
            ("{{ formatDuration .PodProxyConfig.DrainDuration }}", "<5s>"),
            ("{{ formatDuration .ProxyConfig.TerminationDrainDuration }}", "0s"),
        ],
    );
}

#[test]
fn otel_attributes_follow_annotations_labels_and_image() {
    let template = "{{ otelResourceAttributes .MeshConfig .ObjectMeta.Annotations .ObjectMeta.Labels \
                    .ObjectMeta.Namespace .Spec.Containers }}";
    let mesh = json!({"extensionProviders": [
        {"name": "zipkin", "zipkin": {"service": "z", "port": 1}},
        {"name": "otel", "opentelemetry": {"service": "o", "port": 2, "serviceAttributeEnrichment": "OTEL_SEMANTIC_CONVENTIONS"}},
    ]});
    let pod = |meta: Json, images: &[&str]| {
        let containers: Vec<_> = images
            .iter()
            .enumerate()
            .map(|(at, image)| json!({"name": format!("c{at}"), "image": image}))
            .collect();
        json!({"metadata": meta, "spec": {"containers": containers}, "mesh": mesh})
    };
    let meta = json!({"namespace": "ns"});
    let images = [
        ("r:5000/app:1.2@sha256:ab", ",service.version=<1.2@sha256:ab>"),
        ("app@sha256:ab", ",service.version=<sha256:ab>"),
        ("app:1", ",service.version=<1>"),
        ("r:5000/app", ""),
    ];
    for (image, version) in images {
        let wanted = format!("service.namespace=<ns>{version},service.instance.id=<ns>.$(POD_NAME).<c0>");
        assert_eq!(render(template, &pod(meta.clone(), &[image])), Ok(wanted), "{image}");
    }
    let two = pod(meta.clone(), &["a:1", "b:2"]);
    renders(&two, &[(template, "service.namespace=<ns>,service.instance.id=<ns>.$(POD_NAME).<c0>")]);
    let annotated = json!({"namespace": "ns", "labels": {"app.kubernetes.io/version": "v9"}, "annotations": {
        "resource.opentelemetry.io/service.namespace": "team",
        "resource.opentelemetry.io/service.instance.id": "me",
    }});
    let wanted = "service.namespace=<team>,service.version=<v9>,service.instance.id=<me>";
    renders(&pod(annotated, &["a:1"]), &[(template, wanted)]);
    let plain = json!({"metadata": meta, "mesh": {"extensionProviders": [{"name": "o", "opentelemetry": {"service": "o"}}]}});
    renders(&plain, &[(&format!("[{template}]"), "[]")]);
    renders(&json!({"metadata": meta}), &[(&format!("[{template}]"), "[]")]);
}

#[test]
fn sprigs_functions_stand_below() {
    let pod = json!({"metadata": {"name": "p"}});
    renders(
        &pod,
        &[("{{ upper `a` }}{{ nindent 1 `b` }}{{ default `d` .ObjectMeta.Name | quote }}", "A\n b\"<\"p>\"")],
    );
}
