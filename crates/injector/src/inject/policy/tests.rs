//! Each kind of check with a pod that it allows and pods that it denies, by every route.

mod rules;

use serde_json::{Value, json};

use crate::{
    cel::User,
    config::{InjectorConfig, Namespace, Source},
    inject::{self, Facts, Outcome, PodRequest, Refusal, Selection},
    pod,
};

fn mesh(more: &str) -> InjectorConfig {
    let text = format!("apiVersion: outrigger.dev/v1alpha1\nkind: Bundle\nnativeSidecars: disabled\n{more}");
    InjectorConfig::from_bundle(Source { name: "bundle", text: &text }).unwrap().0
}

fn run(mesh: &InjectorConfig, pod: &Value) -> Result<Outcome, Refusal> {
    let namespace = Namespace {
        name: "shop".to_owned(),
        labels: json!({"team": "red"}).as_object().unwrap().clone(),
        ..Namespace::default()
    };
    let facts =
        Facts { namespace: Some(&namespace), selection: Selection::ByApiServer, ..Facts::of(mesh, "shop") };
    let user = Some(User { name: "alice".to_owned(), groups: Vec::new() });
    inject::run(mesh, &PodRequest { user, ..PodRequest::new("shop", pod.clone()) }, &facts)
}

/// A pod with additional metadata and spec.
fn pod_with(metadata: &Value, spec: &Value) -> Value {
    let mut pod =
        json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "web"}]}});
    for (field, more) in [("metadata", metadata), ("spec", spec)] {
        pod[field].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    pod
}

fn annotated(annotations: &Value) -> Value {
    pod_with(&json!({"annotations": annotations}), &json!({}))
}

fn own(container: &Value) -> Value {
    let web = json!({"name": "web", "image": "web"});
    pod_with(&json!({}), &json!({"containers": [web, container]}))
}

fn own_init(container: &Value) -> Value {
    pod_with(&json!({}), &json!({"initContainers": [container]}))
}

/// A pod whose annotation gives the proxy variables, if the tracer is Datadog's.
fn datadog(variables: &Value) -> Value {
    annotated(&json!({"apm.datadoghq.com/env": variables.to_string()}))
}

fn image_volume(reference: &str) -> String {
    json!({"files": {"image": {"reference": reference}}}).to_string()
}

fn plain() -> Value {
    pod_with(&json!({}), &json!({}))
}

/// An entry of the policy, pods that it allows, and pods that it denies with a part of the message.
type Case = (&'static str, Vec<Value>, Vec<(Value, &'static str)>);

fn cases() -> Vec<Case> {
    let forged = json!({"sidecar.istio.io/status": "{\"containers\":[\"istio-proxy\"],\"initContainers\":[\"istio-init\"],\"volumes\":[],\"imagePullSecrets\":null,\"revision\":\"default\"}"});
    let with_forged = |annotations: Value| {
        let mut all = forged.as_object().unwrap().clone();
        all.extend(annotations.as_object().unwrap().clone());
        Value::Object(all)
    };
    let overrides = json!({
        "sidecar.istio.io/status": forged["sidecar.istio.io/status"],
        "proxy.istio.io/overrides": "{\"containers\":[{\"name\":\"istio-proxy\",\"image\":\"evil\",\"resources\":{}}]}",
    });
    let with_overrides = {
        let mut pod = own(&json!({"name": "istio-proxy", "image": "a"}));
        pod["metadata"]["annotations"] = overrides.clone();
        pod
    };
    let privileged = json!({"name": "istio-proxy", "image": "auto", "securityContext": {"privileged": true}});
    let root = json!({"name": "istio-proxy", "image": "auto", "securityContext": {"runAsUser": 0, "runAsNonRoot": false}});
    let excluded = "traffic.sidecar.istio.io/excludeInboundPorts";
    let outbound = "traffic.sidecar.istio.io/excludeOutboundPorts";
    let ranges = "traffic.sidecar.istio.io/excludeOutboundIPRanges";
    let included = "traffic.sidecar.istio.io/includeOutboundIPRanges";
    let real = |status: &Value| {
        let web = json!({"name": "web", "image": "web"});
        let proxy = json!({"name": "istio-proxy", "image": "x", "command": ["sleep"]});
        let init = json!({"name": "istio-init", "image": "x", "command": ["true"]});
        let spec = json!({"containers": [web, proxy], "initContainers": [init]});
        pod_with(&json!({ "annotations": status }), &spec)
    };
    let with_forged_volume = |volume: String| {
        let status = forged["sidecar.istio.io/status"].as_str().unwrap();
        let status = status.replace("\"volumes\":[]", "\"volumes\":[\"files\"]");
        json!({"sidecar.istio.io/status": status, "sidecar.istio.io/userVolume": volume})
    };
    let mounted = pod_with(
        &json!({"annotations": {"sidecar.istio.io/userVolumeMount": "{\"own\":{\"mountPath\":\"/own\"}}"}}),
        &json!({"volumes": [{"name": "own", "image": {"reference": "evil"}}]}),
    );
    let own_args = json!({"name": "istio-init", "image": "auto", "args": ["istio-iptables", "-d", "*"]});
    let none = json!({"sidecar.istio.io/interceptionMode": "NONE"});
    vec![
        (
            "forbid: {optOut: true}",
            vec![plain(), annotated(&json!({"sidecar.istio.io/inject": "true"}))],
            vec![
                (
                    annotated(&json!({"sidecar.istio.io/inject": "false"})),
                    "annotation sidecar.istio.io/inject",
                ),
                (
                    pod_with(&json!({"labels": {"sidecar.istio.io/inject": "false"}}), &json!({})),
                    "label sidecar.istio.io/inject",
                ),
                (annotated(&json!({"inject.istio.io/templates": "bare"})), "create no istio-proxy"),
                (pod_with(&json!({}), &json!({"os": {"name": "windows"}})), "Linux"),
            ],
        ),
        (
            "forbid: {annotations: [\"*.istio.io/*\"]}",
            vec![plain(), annotated(&json!({"example.com/a": "b"})), annotated(&forged)],
            vec![
                (
                    annotated(&json!({"sidecar.istio.io/logLevel": "debug"})),
                    "annotation sidecar.istio.io/logLevel",
                ),
                (annotated(&with_forged(json!({ outbound: "1" }))), "excludeOutboundPorts"),
            ],
        ),
        (
            "forbid: {annotations: apm.datadoghq.com/env}",
            vec![plain(), annotated(&json!({"apm.datadoghq.com/env": "{}"}))],
            vec![(datadog(&json!({"DD_ENV": "prod"})), "annotation apm.datadoghq.com/env")],
        ),
        (
            "allowOnly: {annotations: [\"sidecar.istio.io/proxy*\"]}",
            vec![
                plain(),
                annotated(&json!({"sidecar.istio.io/proxyCPU": "1", "sidecar.istio.io/proxyMemory": "1Gi"})),
            ],
            vec![
                (
                    annotated(&json!({ excluded: "1" })),
                    "annotation traffic.sidecar.istio.io/excludeInboundPorts",
                ),
                (datadog(&json!({"DD_ENV": "prod"})), "annotation apm.datadoghq.com/env"),
            ],
        ),
        (
            "forbid: {containers: [istio-proxy, istio-init]}",
            vec![plain(), own(&json!({"name": "istio", "image": "a"}))],
            vec![
                (
                    own(&json!({"name": "istio-proxy", "image": "auto"})),
                    "a container of its own named \"istio-proxy\"",
                ),
                (own_init(&json!({"name": "istio-init", "image": "auto"})), "named \"istio-init\""),
                (real(&forged), "a container of its own named \"istio-proxy\""),
                (real(&forged), "a container of its own named \"istio-init\""),
            ],
        ),
        (
            "allowOnly: {templates: [sidecar, debug]}",
            vec![plain(), annotated(&json!({"inject.istio.io/templates": "sidecar,debug"}))],
            vec![(annotated(&json!({"inject.istio.io/templates": "sidecar,bare"})), "template \"bare\"")],
        ),
        (
            "forbid: {templates: [debug]}",
            vec![plain()],
            vec![(annotated(&json!({"inject.istio.io/templates": "sidecar,debug"})), "template \"debug\"")],
        ),
        (
            "allowOnly: {images: [\"docker.io/istio/*\", \"*/istio/proxyv2:*\", \"gcr.io/istio-release/*\", \"registry.istio.io/*\"]}",
            // A record that names a container that the pod lacks is ignored.
            vec![
                plain(),
                annotated(&overrides),
                annotated(&json!({"sidecar.istio.io/userVolume": image_volume("docker.io/istio/files")})),
                // A volume that only the application mounts is its own.
                pod_with(&json!({}), &json!({"volumes": [{"name": "own", "image": {"reference": "evil"}}]})),
            ],
            vec![
                (
                    annotated(&json!({"sidecar.istio.io/proxyImage": "evil.example.com/proxy"})),
                    "image \"evil.example.com/proxy\"",
                ),
                (
                    own(&json!({"name": "istio-proxy", "image": "evil"})),
                    "image \"evil\" of container \"istio-proxy\"",
                ),
                (own_init(&json!({"name": "istio-init", "image": "evil"})), "of container \"istio-init\""),
                (with_overrides, "image \"evil\""),
                (
                    annotated(&json!({"sidecar.istio.io/userVolume": image_volume("evil")})),
                    "image \"evil\" of volume \"files\"",
                ),
                (annotated(&with_forged_volume(image_volume("evil"))), "image \"evil\" of volume \"files\""),
                (mounted, "image \"evil\" of volume \"own\""),
            ],
        ),
        (
            "limit: {requests: {cpu: 500m}}",
            vec![plain(), annotated(&json!({"sidecar.istio.io/proxyCPULimit": "500m"}))],
            vec![(
                annotated(&json!({"sidecar.istio.io/proxyCPULimit": "4"})),
                "cpu request of container \"istio-proxy\": \"4\"; at most 500m",
            )],
        ),
        (
            "limit: {limits: {cpu: 2, memory: 1Gi}, requests: {cpu: 500m}}",
            vec![
                plain(),
                annotated(&json!({
                    "sidecar.istio.io/proxyCPU": "500m", "sidecar.istio.io/proxyCPULimit": "2000m",
                    "sidecar.istio.io/proxyMemoryLimit": "1024Mi",
                })),
            ],
            vec![
                (
                    annotated(
                        &json!({"sidecar.istio.io/proxyCPULimit": "3", "sidecar.istio.io/proxyMemoryLimit": "1Gi"}),
                    ),
                    "cpu limit of container \"istio-proxy\": \"3\"; at most 2",
                ),
                (
                    annotated(
                        &json!({"sidecar.istio.io/proxyCPULimit": "0", "sidecar.istio.io/proxyMemoryLimit": "1Gi"}),
                    ),
                    "which limits nothing; at most 2",
                ),
                (
                    own_init(
                        &json!({"name": "istio-init", "image": "auto", "resources": {"limits": {"memory": "-0"}}}),
                    ),
                    "memory limit of container \"istio-init\"",
                ),
                (
                    annotated(&json!({"sidecar.istio.io/proxyCPU": "100m"})),
                    "cpu limit of container \"istio-proxy\": none",
                ),
                (
                    own(
                        &json!({"name": "istio-proxy", "image": "auto", "resources": {"requests": {"cpu": 1}}}),
                    ),
                    "cpu request of container \"istio-proxy\": 1; at most 500m",
                ),
            ],
        ),
        (
            "allowOnly: {excludedPorts: [3306, \"9000-9100\"]}",
            vec![plain(), annotated(&json!({ excluded: "3306, 9050", outbound: "9100" }))],
            vec![
                (annotated(&json!({ excluded: "3306,22" })), "excluded inbound port \"22\""),
                (annotated(&json!({ outbound: "9101" })), "excluded outbound port \"9101\""),
                (
                    annotated(&json!({"traffic.sidecar.istio.io/includeInboundPorts": "80"})),
                    "exempts all other ports",
                ),
                (
                    annotated(&json!({"traffic.sidecar.istio.io/includeInboundPorts": ""})),
                    "no incoming traffic",
                ),
                (
                    annotated(&json!({"traffic.sidecar.istio.io/excludeInterfaces": "eth1"})),
                    "excludeInterfaces",
                ),
                (own_init(&own_args), "own args is used"),
                (annotated(&none), "interceptionMode"),
                (annotated(&json!({"inject.istio.io/templates": "gateway"})), "redirect no traffic"),
                (
                    annotated(&json!({"status.sidecar.istio.io/port": "8080"})),
                    "excluded inbound port \"8080\"",
                ),
                (annotated(&json!({"sidecar.istio.io/proxyImage": "evil/proxy"})), "proxyImage"),
                (annotated(&json!({ excluded: "15053" })), "excluded inbound port \"15053\""),
                (real(&forged), "istio-init"),
                (annotated(&with_forged(json!({ outbound: "1" }))), "excluded outbound port \"1\""),
                (
                    own(
                        &json!({"name": "istio-proxy", "image": "auto", "env": [{"name": "DISABLE_ENVOY", "value": "true"}]}),
                    ),
                    "DISABLE_ENVOY",
                ),
                (datadog(&json!({"DISABLE_ENVOY": "true"})), "DISABLE_ENVOY"),
            ],
        ),
        (
            "allowOnly: {excludedRanges: [10.0.0.0/8]}",
            vec![plain(), annotated(&json!({ ranges: "10.1.0.0/16" }))],
            vec![
                (annotated(&json!({ ranges: "10.1.0.0/16,0.0.0.0/1" })), "excluded range \"0.0.0.0/1\""),
                (annotated(&json!({ ranges: "0.0.0.0/0" })), "no outgoing traffic"),
                (annotated(&json!({ included: "10.0.0.0/8" })), "exempts all other destinations"),
                (annotated(&json!({ included: "" })), "no outgoing traffic"),
            ],
        ),
        (
            "allowOnly: {proxyMetadata: [ISTIO_META_*]}",
            vec![
                plain(),
                annotated(&json!({"proxy.istio.io/config": "proxyMetadata: {ISTIO_META_A: b}"})),
                datadog(&json!({"ISTIO_META_B": "c"})),
            ],
            vec![
                (
                    annotated(&json!({"proxy.istio.io/config": "proxyMetadata: {CA_ADDR: a}"})),
                    "proxyMetadata \"CA_ADDR\"",
                ),
                (
                    own(
                        &json!({"name": "istio-proxy", "image": "auto", "env": [{"name": "CA_ADDR", "value": "a"}]}),
                    ),
                    "variable \"CA_ADDR\"",
                ),
                (
                    own(
                        &json!({"name": "istio-proxy", "image": "auto", "envFrom": [{"secretRef": {"name": "a"}}]}),
                    ),
                    "envFrom",
                ),
                (
                    datadog(&json!({"CA_ADDR": "a"})),
                    "variable \"CA_ADDR\" of annotation apm.datadoghq.com/env",
                ),
            ],
        ),
        (
            "forbid: {privileged: true}",
            vec![plain(), own(&root)],
            vec![(own(&privileged), "securityContext.privileged true")],
        ),
        (
            "forbid: {root: true}",
            vec![plain(), own(&privileged)],
            vec![
                (own(&root), "securityContext.runAsUser 0"),
                (annotated(&json!({"sidecar.istio.io/interceptionMode": "TPROXY"})), "runAs"),
            ],
        ),
        (
            "forbid: {warnings: [BYPASS_*]}",
            vec![plain()],
            vec![
                (annotated(&json!({ excluded: "1" })), "BYPASS_SOME_TRAFFIC"),
                (annotated(&none), "BYPASS_INTERCEPTION_MODE"),
                (own_init(&own_args), "BYPASS_OWN_INIT"),
                (
                    own(&json!({"name": "istio-proxy", "image": "auto", "command": ["sleep"]})),
                    "BYPASS_PROXY_COMMAND",
                ),
                (
                    annotated(&json!({"proxy.istio.io/config": "discoveryAddress: a:1"})),
                    "BYPASS_CONTROL_PLANE",
                ),
                (annotated(&json!({"sidecar.istio.io/inject": "false"})), "BYPASS_OPTED_OUT"),
                (pod_with(&json!({}), &json!({"hostNetwork": true})), "BYPASS_HOST_NETWORK"),
                (
                    pod_with(&json!({"labels": {"security.istio.io/tlsMode": "disabled"}}), &json!({})),
                    "BYPASS_TLS_MODE",
                ),
                (
                    own(&json!({"name": "a", "image": "a", "securityContext": {"privileged": true}})),
                    "BYPASS_NET_ADMIN",
                ),
            ],
        ),
    ]
}

const TEMPLATES: &str = "injector: {templates: {bare: \"metadata: {labels: {a: b}}\", debug: \"metadata: {labels: {c: d}}\"}}\n\
    values: {global: {proxy: {tracer: datadog}}}\n";

#[test]
fn each_check_allows_and_denies() {
    for (entry, allowed, denied) in cases() {
        let config = |action: &str, more: &str| {
            mesh(&format!("{TEMPLATES}overridePolicy: [{{name: entry, action: {action}, {more}{entry}}}]"))
        };
        let [deny, warn, audit] = ["deny", "warn", "audit"].map(|action| config(action, ""));
        let elsewhere = config("deny", "match: {namespace: other}, ");
        let excepted = config("deny", "except: {user: alice}, ");
        let failing = config("deny", "match: {cel: \"object.spec.nothing == 1\"}, ");
        for pod in allowed {
            assert!(run(&deny, &pod).is_ok(), "{entry}: {pod}: {:?}", run(&deny, &pod).map(|_| ()));
        }
        for (pod, part) in denied {
            match run(&deny, &pod) {
                Err(refusal @ Refusal::Overrides(_)) => {
                    assert!(refusal.to_string().contains(part), "{entry}: {refusal} lacks {part}");
                    assert_eq!((refusal.code(), refusal.reason()), (403, "OVERRIDE_DENIED"));
                }
                other => {
                    panic!("{entry}: {pod}: {part}: {:?}", other.map(|outcome| outcome.warnings().to_vec()))
                }
            }
            for (config, code, is_shown) in
                [(&warn, "OVERRIDE_WARNED", true), (&audit, "OVERRIDE_AUDITED", false)]
            {
                let outcome = run(config, &pod).unwrap();
                let warning = outcome.warnings().iter().find(|warning| warning.code == code).unwrap();
                assert!(
                    warning.message.starts_with("entry: ") && warning.is_shown() == is_shown,
                    "{warning}"
                );
            }
            assert!(run(&elsewhere, &pod).is_ok(), "{entry}: another namespace");
            assert!(run(&excepted, &pod).is_ok(), "{entry}: an exception");
            assert!(run(&failing, &pod).is_err(), "{entry}: an expression that fails frees no pod");
        }
    }
}

#[test]
fn all_violations_are_reported_at_once() {
    let config = mesh(
        "overridePolicy:\n\
         - {name: ports, action: deny, allowOnly: {excludedPorts: []}, reason: ask the mesh team}\n\
         - {name: levels, action: deny, forbid: {annotations: [sidecar.istio.io/logLevel]}}\n",
    );
    let pod = annotated(&json!({
        "sidecar.istio.io/logLevel": "debug", "traffic.sidecar.istio.io/excludeOutboundPorts": "1,2",
    }));
    assert_eq!(
        run(&config, &pod).unwrap_err().to_string(),
        "the override policy forbids this pod: ports: excluded outbound port \"1\" (ask the mesh team); \
         ports: excluded outbound port \"2\" (ask the mesh team); levels: annotation sidecar.istio.io/logLevel"
    );
}

#[test]
fn an_injected_pod_that_comes_again_is_allowed_again() {
    for values in ["", "values: {pilot: {cni: {enabled: true}}}\n"] {
        let config = mesh(&format!(
            "{values}overridePolicy:\n\
             - {{name: a, action: deny, allowOnly: {{annotations: [], excludedPorts: [], excludedRanges: [], proxyMetadata: [], templates: []}}}}\n\
             - {{name: b, action: deny, forbid: {{optOut: true, containers: \"istio-*\", privileged: true, root: true, warnings: \"BYPASS_*\"}}}}\n"
        ));
        let Ok(Outcome::Injected(first)) = run(&config, &plain()) else { panic!("{values}") };
        let again = run(&config, &first.pod);
        assert!(again.is_ok(), "{values}: {:?}", again.map(|_| ()));
        // The record of an injection excuses nothing else.
        let mut more = first.pod.clone();
        pod::annotations_mut(&mut more)
            .insert("traffic.sidecar.istio.io/excludeOutboundPorts".to_owned(), json!("1"));
        assert!(matches!(run(&config, &more), Err(Refusal::Overrides(_))), "{values}");
    }
}

/// The annotation is Datadog's own, and applications have it, too.
#[test]
fn variables_that_no_template_reads_are_not_the_proxys() {
    let config = mesh(
        "overridePolicy: [{name: a, action: deny, allowOnly: {annotations: [], proxyMetadata: []}, forbid: {warnings: BYPASS_*}}]",
    );
    assert!(run(&config, &datadog(&json!({"DISABLE_ENVOY": "true"}))).is_ok());
}

/// A pod may repeat exemptions of the configuration, and include more than it does.
#[test]
fn exempting_what_the_configuration_exempts_is_allowed() {
    let config = mesh(
        "values: {global: {proxy: {excludeOutboundPorts: '6666', excludeIPRanges: 192.0.2.0/24, \
         includeInboundPorts: '80,8080', includeOutboundPorts: '443,8443'}}}\n\
         overridePolicy: [{name: a, action: deny, allowOnly: {excludedPorts: [3306, 443], excludedRanges: [10.0.0.0/8]}}]",
    );
    for (key, value, is_allowed) in [
        ("excludeOutboundPorts", "6666,3306", true),
        ("excludeOutboundPorts", "6666,3307", false),
        ("excludeOutboundIPRanges", "192.0.2.0/24,10.1.0.0/16", true),
        ("excludeOutboundIPRanges", "192.0.2.0/23", false),
        ("includeInboundPorts", "80,8080,9090", true),
        ("includeInboundPorts", "80,9090", false),
        ("includeOutboundPorts", "8443", true),
        ("includeOutboundPorts", "443", false),
    ] {
        let pod = annotated(&json!({format!("traffic.sidecar.istio.io/{key}"): value}));
        assert_eq!(run(&config, &pod).is_ok(), is_allowed, "{key}: {value}");
    }
}

/// A pod that would be bare without its own choice has not chosen anything.
#[test]
fn opting_out_of_nothing_is_allowed() {
    let out = annotated(&json!({"sidecar.istio.io/inject": "false"}));
    let mut never = out.clone();
    never["metadata"]["labels"] = json!({"bare": "yes"});
    let policy = "overridePolicy: [{name: a, action: deny, forbid: {optOut: true}}]";
    for (injector, pod, is_allowed) in [
        ("{policy: disabled}", &out, true),
        ("{neverInjectSelector: [{matchLabels: {bare: \"yes\"}}]}", &never, true),
        ("{neverInjectSelector: [{matchLabels: {bare: \"yes\"}}]}", &out, false),
        ("{}", &out, false),
    ] {
        let config = mesh(&format!("injector: {injector}\n{policy}"));
        assert_eq!(run(&config, pod).is_ok(), is_allowed, "{injector}: {pod}");
    }
}

/// The mark of a static pod is an annotation that everybody can write; only nodes create such pods.
#[test]
fn a_forged_mirror_pod_is_denied() {
    let config =
        mesh("overridePolicy: [{name: a, action: deny, forbid: {warnings: [SKIPPED_*], optOut: true}}]");
    let pod = annotated(&json!({"kubernetes.io/config.mirror": ""}));
    assert!(matches!(run(&config, &pod), Err(Refusal::Overrides(_))));
    let by_node = |groups: &[&str]| {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let user = Some(User { name: "system:node:a".to_owned(), groups });
        let facts = Facts { selection: Selection::ByApiServer, ..Facts::of(&config, "shop") };
        inject::run(&config, &PodRequest { user, ..PodRequest::new("shop", pod.clone()) }, &facts).is_ok()
    };
    assert!(by_node(&["system:nodes"]) && !by_node(&["system:authenticated"]));
}
