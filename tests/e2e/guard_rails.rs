//! Guard rails on a real API server: every kind of rule, default and policy entry, allowed and denied, with pods that the API
//! server sends or, by a match condition, does not send.

use serde_json::{Value, json};

use outrigger::yaml::{self, Limits};

use crate::headed::headed;

use super::{
    commands::Shell,
    configuration::{by_bundle, prepared, write_bundle},
    control_plane::{ControlPlane, Flavour, PATIENCE, settled},
    install::{NAMESPACE, Serving, service},
    pods::{dry_run, is_injected},
};

const BUNDLE: &str = r#"
nativeSidecars: disabled
injector: {templates: {debug: "metadata: {labels: {debug: 'yes'}}", bare: "metadata: {labels: {bare: 'yes'}}"}}
namespaceDefaults: [sidecar.istio.io/logLevel, sidecar.istio.io/proxyCPU]
resources: perField
rules:
- {name: jobs-of-x, match: {owner: "Job/x-*", namespace: "sh*"}, inject: never, reason: operator X runs bare jobs}
- {name: by-image, match: {image: "bare.example.com/*"}, inject: never}
- {name: by-account, match: {serviceAccount: bare-account}, inject: never}
- {name: by-user, match: {user: "nobody-*"}, inject: never}
- {name: by-labels, match: {labels: {matchExpressions: [{key: bare, operator: In, values: ["yes"]}, {key: "no", operator: DoesNotExist}]}}, inject: never}
- {name: by-namespace-label, match: {namespaceLabels: {matchLabels: {bare: "yes"}}}, inject: never}
- {name: by-cel, match: {cel: "object.spec.containers.exists(c, c.name == 'bare') && request.namespace == 'shop'"}, inject: never}
- {name: must, match: {labels: {matchLabels: {must: "yes"}}}, inject: force}
- {name: tuned, match: {labels: {matchLabels: {tuned: "yes"}}}, templates: [sidecar, debug], defaults: {sidecar.istio.io/agentLogLevel: "all:debug"}}
- {name: fragile, match: {labels: {matchLabels: {fragile: "yes"}}, cel: "object.spec.priority == 1"}, inject: never}
overridePolicy:
- {name: no-opt-out, action: deny, except: {namespace: lax}, forbid: {optOut: true, containers: [istio-proxy, istio-init], privileged: true, root: true}, reason: every pod has its proxy}
- {name: bounds, action: deny, except: {namespaceLabels: {matchLabels: {team: platform}}}, limit: {limits: {cpu: 3, memory: 2Gi}}}
- {name: annotations, action: deny, match: {namespace: shop}, forbid: {annotations: ["sidecar.istio.io/proxyImage*"]}, allowOnly: {excludedPorts: [3306], excludedRanges: [10.0.0.0/8], proxyMetadata: [ISTIO_META_*], templates: [debug], images: ["*istio*"]}}
- {name: told, action: warn, forbid: {annotations: [sidecar.istio.io/componentLogLevel]}}
- {name: recorded, action: audit, forbid: {annotations: [sidecar.istio.io/statsInclusionPrefixes]}}
"#;

fn pod(metadata: &Value, spec: &Value) -> Value {
    let mut pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "web.example.com/a"}]}});
    for (field, more) in [("metadata", metadata), ("spec", spec)] {
        pod[field].as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    }
    pod
}

fn labeled(labels: &Value) -> Value {
    pod(&json!({ "labels": labels }), &json!({}))
}

fn annotated(annotations: &Value) -> Value {
    pod(&json!({ "annotations": annotations }), &json!({}))
}

fn with_container(container: &Value) -> Value {
    pod(&json!({}), &json!({"containers": [{"name": "web", "image": "web.example.com/a"}, container]}))
}

fn proxy(pod: &Value) -> &Value {
    let mut containers = pod["spec"]["containers"].as_array().expect("containers").iter();
    containers.find(|container| container["name"] == "istio-proxy").expect("a proxy")
}

/// A server that reads the bundle and the namespaces from the cluster, and webhooks that follow from the bundle.
async fn set_up(
    control_plane: &ControlPlane,
    kubeconfig: &std::path::Path,
) -> super::outrigger_process::OutriggerProcess {
    write_bundle(control_plane, BUNDLE).await;
    let serving = Serving::new(control_plane);
    let mut process = by_bundle(&serving, kubeconfig).spawn();
    process.wait_ready().await;
    control_plane.apply(&service(process.webhook_port()).to_string()).await;
    let shell = Shell::of(control_plane);
    let (ca, bundle) =
        (shell.file("ca.pem", serving.authority.pem()), shell.file("bundle.yaml", &headed(BUNDLE)));
    let port = format!("--port={}", process.webhook_port());
    shell.done(&["webhook", "apply", &port, "--ca-bundle", &ca, "--bundle", &bundle]).await;
    shell.done(&["webhook", "wait", "--timeout=30s"]).await;
    process
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_guard_rail_allows_and_denies() {
    let (control_plane, kubeconfig) = prepared(&[]).await;
    assert_eq!(NAMESPACE, "outrigger-system");
    for (name, labels) in [
        ("shop", &[("istio-injection", "enabled")][..]),
        ("lax", &[("istio-injection", "enabled"), ("team", "platform")]),
        ("bare", &[("istio-injection", "enabled"), ("bare", "yes")]),
    ] {
        control_plane.create_namespace(name, labels).await;
    }
    control_plane
        .kubectl(&[
            "annotate",
            "namespace",
            "shop",
            "sidecar.istio.io/logLevel=debug",
            "sidecar.istio.io/proxyCPU=77m",
        ])
        .await;
    control_plane.create_service_account("shop", "bare-account").await;
    let process = set_up(&control_plane, &kubeconfig).await;
    let client = control_plane.client().await;
    let ready = async |namespace: &str| {
        settled("the namespace takes pods", PATIENCE, async || {
            dry_run(&client, namespace, &pod(&json!({}), &json!({}))).await
        })
        .await
    };

    // Defaults of the namespace, and resources per field.
    let stored = settled("the annotations of the namespace are known", PATIENCE, async || {
        let stored = ready("shop").await;
        let has_level = proxy(&stored)["args"].to_string().contains("--proxyLogLevel=debug");
        if has_level { Ok(stored) } else { Err("not yet".to_owned()) }
    })
    .await;
    assert_eq!(proxy(&stored)["resources"]["requests"], json!({"cpu": "77m", "memory": "128Mi"}));
    assert!(!proxy(&ready("lax").await)["args"].to_string().contains("--proxyLogLevel=debug"));
    let own = annotated(&json!({"sidecar.istio.io/logLevel": "trace", "sidecar.istio.io/proxyCPU": "88m"}));
    let stored = dry_run(&client, "shop", &own).await.expect("a pod");
    assert!(proxy(&stored)["args"].to_string().contains("--proxyLogLevel=trace"));
    assert_eq!(proxy(&stored)["resources"]["requests"]["cpu"], "88m");

    // Rules: the pod, its namespace, whether it gets a proxy, and whether the API server sends it at all.
    let bare = ready("bare").await;
    assert!(!is_injected(&bare));
    let owner = |name: &str| json!({"ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": "u"}]});
    let own_image = json!({"containers": [{"name": "web", "image": "bare.example.com/a"}]});
    let bare_container = json!({"containers": [{"name": "bare", "image": "a"}]});
    let total = async || process.metric("outrigger_requests_total", &[]).await;
    for (what, namespace, pod, injected, sent) in [
        ("owner", "shop", pod(&owner("x-1"), &json!({})), false, false),
        ("owner in another namespace", "lax", pod(&owner("x-1"), &json!({})), true, true),
        ("another owner", "shop", pod(&owner("y-1"), &json!({})), true, true),
        ("image", "shop", pod(&json!({}), &own_image), false, false),
        ("account", "shop", pod(&json!({}), &json!({"serviceAccountName": "bare-account"})), false, false),
        ("labels", "shop", labeled(&json!({"bare": "yes"})), false, false),
        ("other labels", "shop", labeled(&json!({"bare": "yes", "no": ""})), true, true),
        ("label of the namespace", "bare", pod(&json!({}), &json!({})), false, true),
        ("expression", "shop", pod(&json!({}), &bare_container), false, false),
        ("expression in another namespace", "lax", pod(&json!({}), &bare_container), true, true),
        ("force", "lax", labeled(&json!({"must": "yes", "sidecar.istio.io/inject": "false"})), true, true),
        ("no force", "lax", labeled(&json!({"sidecar.istio.io/inject": "false"})), false, true),
    ] {
        let before = total().await;
        let stored =
            dry_run(&client, namespace, &pod).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(is_injected(&stored), injected, "{what}");
        if sent {
            process.wait_metric("outrigger_requests_total", &[], |now| now > before).await;
        } else {
            assert!(total().await <= before, "{what}: it is sent");
        }
    }
    let stored = dry_run(&client, "shop", &labeled(&json!({"tuned": "yes"}))).await.expect("a pod");
    assert_eq!(stored["metadata"]["labels"]["debug"], "yes");
    assert!(proxy(&stored)["args"].to_string().contains("all:debug"));
    let error = dry_run(&client, "shop", &labeled(&json!({"fragile": "yes"}))).await;
    // The priority is filled in by an API server.
    assert!(error.is_ok_and(|stored| is_injected(&stored)));

    // The override policy: a pod, an annotation's part of the message in `shop`, and whether `lax` takes it.
    let own_proxy = |more: Value| {
        let mut container = json!({"name": "istio-proxy", "image": "auto"});
        container.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        with_container(&container)
    };
    for (pod, message, lax) in [
        (labeled(&json!({"sidecar.istio.io/inject": "false"})), "no-opt-out: not injected", true),
        (annotated(&json!({"sidecar.istio.io/inject": "false"})), "(every pod has its proxy)", true),
        (annotated(&json!({"inject.istio.io/templates": "bare"})), "create no istio-proxy", true),
        (own_proxy(json!({})), "a container of its own named \"istio-proxy\"", true),
        (
            own_proxy(json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": true}})),
            "securityContext.privileged true",
            true,
        ),
        (
            own_proxy(json!({"securityContext": {"runAsUser": 0, "runAsNonRoot": false}})),
            "securityContext.runAsUser 0",
            true,
        ),
        (own_proxy(json!({"image": "evil.example.com/a"})), "image \"evil.example.com/a\"", true),
        (
            annotated(&json!({"sidecar.istio.io/proxyCPULimit": "4"})),
            "cpu limit of container \"istio-proxy\": \"4\"; at most 3",
            true,
        ),
        (
            annotated(&json!({"sidecar.istio.io/proxyImageType": "debug"})),
            "annotation sidecar.istio.io/proxyImageType",
            true,
        ),
        (
            annotated(&json!({"traffic.sidecar.istio.io/excludeOutboundPorts": "3306,22"})),
            "excluded outbound port \"22\"",
            true,
        ),
        (
            annotated(&json!({"traffic.sidecar.istio.io/excludeOutboundIPRanges": "11.0.0.0/8"})),
            "excluded range \"11.0.0.0/8\"",
            true,
        ),
        (
            annotated(&json!({"proxy.istio.io/config": "proxyMetadata: {CA_ADDR: a}"})),
            "proxyMetadata \"CA_ADDR\"",
            true,
        ),
    ] {
        let error = dry_run(&client, "shop", &pod).await.expect_err(message);
        assert!(
            error.contains("the override policy forbids this pod: ") && error.contains(message),
            "{error}"
        );
        let taken = dry_run(&client, "lax", &pod).await;
        assert_eq!(taken.is_ok(), lax, "{message}: {taken:?}");
    }
    for allowed in [
        annotated(&json!({"traffic.sidecar.istio.io/excludeOutboundPorts": "3306"})),
        annotated(&json!({"traffic.sidecar.istio.io/excludeOutboundIPRanges": "10.1.0.0/16"})),
        annotated(&json!({"proxy.istio.io/config": "proxyMetadata: {ISTIO_META_A: b}"})),
        annotated(
            &json!({"inject.istio.io/templates": "sidecar,debug", "sidecar.istio.io/proxyCPULimit": "3"}),
        ),
        // Only a warning, and only a record.
        annotated(
            &json!({"sidecar.istio.io/componentLogLevel": "http:debug", "sidecar.istio.io/statsInclusionPrefixes": "a"}),
        ),
    ] {
        let stored = dry_run(&client, "shop", &allowed).await.expect("a pod");
        assert!(is_injected(&stored), "{allowed}");
    }
    for code in ["OVERRIDE_WARNED", "OVERRIDE_AUDITED", "RULE_APPLIED"] {
        let counted = process.metric("outrigger_warnings_total", &[&format!("code=\"{code}\"")]).await;
        assert!(counted >= 1.0, "{code}");
    }
    // Both violations of one pod in one answer.
    let both = annotated(
        &json!({"sidecar.istio.io/proxyCPULimit": "9", "sidecar.istio.io/proxyImageType": "debug"}),
    );
    let error = dry_run(&client, "shop", &both).await.expect_err("denied");
    assert!(error.contains("bounds: ") && error.contains("annotations: "), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chart_and_the_command_send_the_same_pods() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    let shell = Shell::of(&control_plane);
    let values = "hack/chart/values/guard-rails.yaml";
    let text = std::fs::read_to_string(values).expect("a file");
    let bundle = yaml::load(&text, &Limits::default()).expect("YAML")["configuration"]["bundle"].clone();
    let bundle = shell.file("bundle.yaml", &headed(&bundle.to_string()));
    for policy in ["Fail", "Ignore"] {
        let set = format!("image.repository=outrigger,webhook.failurePolicy={policy}");
        let arguments = [
            "template",
            "o",
            "charts/outrigger",
            "-f",
            values,
            "--set",
            &set,
            "-s",
            "templates/webhook.yaml",
        ];
        let rendered = control_plane.helm(&arguments).await;
        assert!(rendered.success, "{}", rendered.stderr);
        let rendered =
            yaml::load(rendered.stdout.trim_start_matches("---"), &Limits::default()).expect("YAML");
        let policy = format!("--failure-policy={policy}");
        let printed = shell.done(&["webhook", "print", "--bundle", &bundle, &policy, "-o", "json"]).await;
        let printed: Value = serde_json::from_str(&printed).expect("JSON");
        let printed = printed.get("items").map_or(&printed, |items| &items[0]);
        let parts = |configuration: &Value, key: &str| -> Vec<Value> {
            let webhooks = configuration["webhooks"].as_array().expect("webhooks");
            webhooks.iter().map(|webhook| webhook[key].clone()).collect()
        };
        for key in ["name", "matchConditions", "objectSelector"] {
            assert_eq!(parts(&rendered, key), parts(printed, key), "{policy}: {key}");
        }
        let conditions = parts(printed, "matchConditions");
        assert_eq!(
            conditions[0].as_array().map(Vec::len),
            Some(if policy.ends_with("Fail") { 5 } else { 4 })
        );
        // API servers accept them.
        let mut named = printed.clone();
        named["metadata"]["name"] = "guarded".into();
        control_plane.apply(&named.to_string()).await;
    }
}

/// The ValidatingAdmissionPolicy and its bindings, for values with rules of each kind, and for none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chart_and_the_command_have_the_same_backstop() {
    let control_plane = ControlPlane::start(Flavour::Oldest).await;
    let shell = Shell::of(&control_plane);
    let text = std::fs::read_to_string("hack/chart/values/guard-rails.yaml").expect("a file");
    let values = yaml::load(&text, &Limits::default()).expect("YAML")["configuration"]["bundle"].clone();
    let backstop = yaml::load(super::backstop::BUNDLE, &Limits::default()).expect("YAML");
    let rules: Vec<Value> = (0..150)
        .map(|i| json!({"name": format!("r{i}"), "match": {"image": [format!("registry-{i}.example.com/*"), "*/a*b*c"],
            "user": format!("user-{i}-*"), "labels": {"matchLabels": {format!("l{i}"): "v"}}}, "inject": "never"}))
        .collect();
    let many = json!({"rules": rules, "injector": {"policy": "disabled"}});
    for (round, bundle) in [json!({}), values, backstop, many].into_iter().enumerate() {
        let bundle_file = shell.file("bundle.yaml", &headed(&bundle.to_string()));
        let values = json!({"image": {"repository": "a"}, "configuration": {"bundle": bundle}, "validatingAdmissionPolicy": {"enabled": true}});
        let values_file = shell.file("values.yaml", &values.to_string());
        let template = "templates/validatingadmissionpolicy.yaml";
        let arguments =
            ["template", "o", "charts/outrigger", "-n", "mesh", "-f", &values_file, "-s", template];
        let rendered = control_plane.helm(&arguments).await.expect("helm template");
        let rendered: Vec<Value> = rendered
            .split("---\n")
            .filter(|text| text.contains("kind:"))
            .map(|text| yaml::load(text, &Limits::default()).expect("YAML"))
            .collect();
        let arguments =
            ["webhook", "print", "-n", "mesh", "--bundle", &bundle_file, "--backstop=Deny", "-o", "json"];
        let printed: Value = serde_json::from_str(&shell.done(&arguments).await).expect("JSON");
        let printed: Vec<&Value> = printed["items"].as_array().expect("a list").iter().skip(1).collect();
        assert_eq!((rendered.len(), printed.len()), (13, 13), "{round}");
        for (rendered, printed) in rendered.iter().zip(printed) {
            assert_eq!(rendered["metadata"]["name"], printed["metadata"]["name"]);
            let (rendered_spec, spec) = (&rendered["spec"], &printed["spec"]);
            for key in spec.as_object().expect("an object").keys().filter(|key| *key != "variables") {
                assert_eq!(rendered_spec[key], spec[key], "{round}: {key}");
            }
            let variables = |spec: &Value| spec["variables"].as_array().cloned().unwrap_or_default();
            for (rendered, printed) in variables(rendered_spec).iter().zip(variables(spec)) {
                assert_eq!(*rendered, printed, "{round}");
            }
            assert_eq!(variables(rendered_spec).len(), variables(spec).len());
            // API servers accept it.
            control_plane.apply(&printed.to_string()).await;
        }
        if round == 3 {
            // All of 150 rules are evaluated for a pod, and the answer is about the pod.
            control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
            let client = control_plane.client().await;
            let bare = pod(&json!({"labels": {"sidecar.istio.io/inject": "true"}}), &json!({}));
            settled("all rules are evaluated", PATIENCE, async || {
                match dry_run(&client, "shop", &bare).await {
                    Err(error) if error.contains("this one was not") => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await;
            let exempt = pod(&json!({"labels": {"l149": "v"}}), &json!({}));
            dry_run(&client, "shop", &exempt).await.expect("the policy of the injector is disabled");
        }
        control_plane
            .kubectl(&["delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", "--all"])
            .await;
    }
}
