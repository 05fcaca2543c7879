//! Each kind of check with a pod that it allows and pods that it denies, by every route, and rules at work.

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
            "allowOnly: {annotations: [\"sidecar.istio.io/proxy*\"]}",
            vec![
                plain(),
                annotated(&json!({"sidecar.istio.io/proxyCPU": "1", "sidecar.istio.io/proxyMemory": "1Gi"})),
            ],
            vec![(
                annotated(&json!({ excluded: "1" })),
                "annotation traffic.sidecar.istio.io/excludeInboundPorts",
            )],
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
            // A record that names a container which the pod lacks is ignored.
            vec![plain(), annotated(&overrides)],
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
            ],
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
                (annotated(&with_forged(json!({ outbound: "1" }))), "excluded outbound port \"1\""),
                (
                    own(
                        &json!({"name": "istio-proxy", "image": "auto", "env": [{"name": "DISABLE_ENVOY", "value": "true"}]}),
                    ),
                    "DISABLE_ENVOY",
                ),
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
            vec![plain(), annotated(&json!({"proxy.istio.io/config": "proxyMetadata: {ISTIO_META_A: b}"}))],
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

const TEMPLATES: &str =
    "injector: {templates: {bare: \"metadata: {labels: {a: b}}\", debug: \"metadata: {labels: {c: d}}\"}}\n";

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

const RULES: &str = "injector: {templates: {debug: \"metadata: {labels: {c: d}}\"}}\n\
    rules:\n\
    - {name: bare-jobs, match: {owner: Job/*}, inject: never, reason: operator X}\n\
    - {name: always, match: {labels: {matchLabels: {must: \"yes\"}}}, inject: force}\n\
    - {name: tuned, match: {serviceAccount: tuned}, templates: [sidecar, debug], defaults: {sidecar.istio.io/logLevel: debug}}\n\
    - {name: fragile, match: {serviceAccount: fragile, cel: \"object.spec.nothing == 1\"}, inject: never}\n";

#[test]
fn the_first_rule_that_matches_applies() {
    let config = mesh(RULES);
    let decided = |pod: &Value| {
        let outcome = run(&config, pod).unwrap();
        let decision = outcome.decision().clone();
        let applied = outcome.warnings().iter().any(|warning| warning.code == "RULE_APPLIED");
        assert_eq!(applied, decision.rule.is_some());
        (decision.inject, decision.reason.key(), decision.rule.unwrap_or_default())
    };
    let out = json!({"sidecar.istio.io/inject": "false"});
    let job = json!([{"kind": "Job", "name": "nightly"}]);
    let never = (false, "RULE_NEVER", "rule bare-jobs: operator X".to_owned());
    assert_eq!(decided(&pod_with(&json!({"ownerReferences": job}), &json!({}))), never);
    let opted_in =
        json!({"ownerReferences": job, "labels": {"sidecar.istio.io/inject": "true", "must": "yes"}});
    assert_eq!(decided(&pod_with(&opted_in, &json!({}))), never, "the pod's own choice comes later");
    let forced = json!({"labels": {"must": "yes", "sidecar.istio.io/inject": "false"}});
    assert_eq!(decided(&pod_with(&forced, &json!({}))), (true, "RULE_FORCE", "rule always".to_owned()));
    assert_eq!(decided(&annotated(&out)), (false, "POD_OPTED_OUT", String::new()));
    let host = pod_with(&json!({"labels": {"must": "yes"}}), &json!({"hostNetwork": true}));
    assert_eq!(decided(&host), (false, "HOST_NETWORK", String::new()), "no proxy can work there");

    let tuned = pod_with(&json!({}), &json!({"serviceAccountName": "tuned"}));
    assert_eq!(decided(&tuned), (true, "POLICY_ENABLED", "rule tuned".to_owned()));
    let Ok(Outcome::Injected(injection)) = run(&config, &tuned) else { panic!() };
    assert_eq!(injection.templates, ["sidecar", "debug"]);
    let proxy = pod::find_sidecar(&injection.pod).unwrap();
    assert!(proxy["args"].as_array().unwrap().contains(&json!("--proxyLogLevel=debug")));

    let refusal = run(&config, &pod_with(&json!({}), &json!({"serviceAccountName": "fragile"}))).unwrap_err();
    assert_eq!((refusal.code(), refusal.reason()), (422, "RULE_FAILED"));
    assert!(refusal.to_string().starts_with("rule fragile cannot be evaluated for this pod: "), "{refusal}");
}

#[test]
fn explanations_name_the_rule() {
    use crate::explain::{Verdict, Writer, explain};
    let config = mesh(RULES);
    let request = PodRequest::new("shop", pod_with(&json!({}), &json!({"serviceAccountName": "tuned"})));
    let explanation = explain(&config, &request, &Facts::of(&config, "shop"));
    let step = explanation.steps.iter().find(|step| step.rule.key() == "rules").unwrap();
    assert_eq!(step.looked_at, "rule tuned matches first");
    let Verdict::Injected { fields, .. } = explanation.verdict else { panic!() };
    let field = fields.iter().find(|field| field.value == Some(json!("--proxyLogLevel=debug"))).unwrap();
    let Writer::Template(line) = &field.writer else { panic!("{field:?}") };
    assert!(
        line.data.iter().any(
            |datum| datum.place == "annotation sidecar.istio.io/logLevel" && datum.set_by == "rule tuned"
        ),
        "{line:#?}"
    );
    let job = pod_with(&json!({"ownerReferences": [{"kind": "Job", "name": "a"}]}), &json!({}));
    let explanation = explain(&config, &PodRequest::new("shop", job), &Facts::of(&config, "shop"));
    let Verdict::Skipped(decision) = explanation.verdict else { panic!() };
    assert_eq!(decision.sentence, "rule bare-jobs: operator X");
}

#[test]
fn siblings_share_a_patch_unless_a_rule_tells_them_apart() {
    use crate::inject::{AdmissionRequest, CacheStatus, Injector};
    let pod = |hash: &str, suffix: &str| {
        json!({
            "metadata": {
                "name": format!("web-{hash}-{suffix}"), "generateName": format!("web-{hash}-"),
                "labels": {"pod-template-hash": hash},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("web-{hash}"), "uid": "u", "controller": true}],
            },
            "spec": {"containers": [{"name": "web", "image": "web"}]},
        })
        .to_string()
    };
    let none = std::collections::BTreeMap::new();
    let run = |injector: &Injector, pod: &str, user: &str| {
        let user = json!({ "username": user }).to_string();
        let facts = Facts { selection: Selection::ByApiServer, ..Facts::default() };
        let admission =
            injector.review(AdmissionRequest::new(pod, "shop", &none).by(Some(&user)), &facts).unwrap();
        (admission.served, admission.rule)
    };
    for (rule, is_shared) in [
        ("{owner: ReplicaSet/web-*}", true),
        ("{owner: ReplicaSet/api-*}", true),
        ("{owner: ReplicaSet/web-bbbbb*}", false),
        ("{cel: \"object.spec.containers.exists(c, c.image == 'web')\"}", true),
        ("{cel: \"has(object.metadata.name) && object.metadata.name.startsWith('web-bbbbb')\"}", false),
    ] {
        let injector = Injector::new(mesh(&format!("rules: [{{name: a, inject: never, match: {rule}}}]")));
        for index in 0..4 {
            run(&injector, &pod("5d4f8c", &format!("aaaa{index}")), "u");
        }
        let (served, _) = run(&injector, &pod("5d4f8c", "zzzzz"), "u");
        assert_eq!(served == CacheStatus::Hit, is_shared, "{rule}");
        let (_, applied) = run(&injector, &pod("bbbbb", "yyyyy"), "u");
        assert_eq!(!applied.is_empty(), !rule.contains("api-"), "{rule}");
    }
    let injector = Injector::new(mesh("rules: [{name: a, inject: never, match: {user: alice}}]"));
    for index in 0..3 {
        run(&injector, &pod("5d4f8c", &format!("aaaa{index}")), "bob");
    }
    assert_eq!(run(&injector, &pod("5d4f8c", "zzzzz"), "bob"), (CacheStatus::Hit, String::new()));
    assert_eq!(run(&injector, &pod("5d4f8c", "zzzzz"), "alice"), (CacheStatus::Miss, "rule a".to_owned()));
}
