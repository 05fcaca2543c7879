//! `outrigger explain` and `outrigger webhook order` against a real API server: what they say about its selection is
//! what it does, and what they say about running pods is true.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::headed::headed;

use super::{
    commands::{Shell, serving},
    control_plane::{ControlPlane, Flavour, PATIENCE, eventually, settled},
    install::NAMESPACE,
    pods::dry_run,
};

/// Match conditions of all shapes that people write; some of them fail for the pod below.
const CONDITIONS: [&str; 27] = [
    "true",
    "1 == 2",
    "object.metadata.name == 'judged'",
    "object.metadata.name.startsWith('jud') && object.metadata.namespace == 'shop'",
    "has(object.spec.hostNetwork) && object.spec.hostNetwork",
    "!has(object.spec.hostNetwork) || !object.spec.hostNetwork",
    "object.spec.hostNetwork == true",
    "has(object.metadata.annotations) && 'kubernetes.io/config.mirror' in object.metadata.annotations",
    "!('kubernetes.io/config.mirror' in object.metadata.?annotations.orValue({}))",
    "object.metadata.?annotations['none'].hasValue()",
    "object.spec.containers.exists(c, c.image.contains('main'))",
    "object.spec.containers.all(c, has(c.resources.limits))",
    "object.spec.containers.map(c, c.name) == ['main', 'second']",
    "size(object.spec.containers) == 2",
    "object.spec.containers.size() > 1",
    "object.spec.containers[0].ports[0].containerPort == 8080",
    "object.spec.containers[0].ports[0].containerPort > 8080.5",
    "object.spec.containers.filter(c, c.name.matches('^s.*d$')).size() == 1",
    "object.metadata.labels['app'] in ['judged', 'other']",
    "object.metadata.labels['none'] == 'x'",
    "request.operation == 'CREATE' && request.resource.resource == 'pods'",
    "request.namespace == 'shop' && request.kind.kind == 'Pod' && request.name == 'judged'",
    "oldObject == null",
    "object.metadata.name.lowerAscii() == 'judged' && 'a,b'.split(',').size() == 2",
    // What the API server fills in first.
    "object.spec.restartPolicy == 'Always' && object.spec.dnsPolicy == 'ClusterFirst' && object.spec.terminationGracePeriodSeconds == 30",
    "object.spec.containers.all(c, c.imagePullPolicy == 'IfNotPresent' && c.terminationMessagePolicy == 'File')",
    "object.spec.containers[0].ports[0].protocol == 'TCP' && object.spec.enableServiceLinks",
];

/// Selectors: of the namespace, of the pod.
fn selectors() -> Vec<(Value, Value)> {
    let requirement = |key: &str, operator: &str, values: &[&str]| match values {
        [] => json!({"matchExpressions": [{"key": key, "operator": operator}]}),
        values => json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}),
    };
    let everything = || json!({});
    vec![
        (json!({"matchLabels": {"istio-injection": "enabled"}}), everything()),
        (json!({"matchLabels": {"istio-injection": "disabled"}}), everything()),
        (requirement("kubernetes.io/metadata.name", "In", &["shop", "other"]), everything()),
        (requirement("kubernetes.io/metadata.name", "NotIn", &["shop"]), everything()),
        (
            requirement("istio.io/rev", "DoesNotExist", &[]),
            requirement("sidecar.istio.io/inject", "NotIn", &["false"]),
        ),
        (requirement("team", "Exists", &[]), everything()),
        (everything(), json!({"matchLabels": {"app": "judged"}})),
        (everything(), requirement("app", "NotIn", &["judged"])),
    ]
}

pub fn judged() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "judged", "labels": {"app": "judged"}},
        "spec": {"containers": [
            {"name": "main", "image": "example.com/main:1", "ports": [{"containerPort": 8080}]},
            {"name": "second", "image": "example.com/other:1"},
        ]},
    })
}

/// Webhooks that nothing serves and that stop no pod: the audit log says which of them were called.
fn unanswered() -> Value {
    let entry = |name: String, more: Value| {
        let mut entry = json!({
            "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
            "timeoutSeconds": 1, "clientConfig": {"url": "https://127.0.0.1:1/inject"},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        });
        entry.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        entry
    };
    let conditions = CONDITIONS.iter().enumerate().map(|(index, expression)| {
        let more = json!({"matchConditions": [{"name": "judged", "expression": expression}]});
        entry(format!("condition{index:02}.example.com"), more)
    });
    let selectors = selectors().into_iter().enumerate().map(|(index, (namespace, object))| {
        let more = json!({"namespaceSelector": namespace, "objectSelector": object});
        entry(format!("selector{index:02}.example.com"), more)
    });
    let rules = [
        ("CREATE", "pods", "*"),
        ("UPDATE", "pods", "*"),
        ("*", "*", "Namespaced"),
        ("CREATE", "pods/*", "*"),
    ];
    let rules = rules.iter().enumerate().map(|(index, (operation, resource, scope))| {
        let rule = json!({"operations": [operation], "apiGroups": ["*"], "apiVersions": ["*"], "resources": [resource], "scope": scope});
        entry(format!("rules{index:02}.example.com"), json!({"rules": [rule]}))
    });
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "unanswered"},
        "webhooks": conditions.chain(selectors).chain(rules).collect::<Vec<_>>(),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_api_server_calls_is_said_as_it_does_it() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    let shell = Shell::of(&control_plane);
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    control_plane.apply(&unanswered().to_string()).await;
    let client = control_plane.client().await;
    // API servers heed a new configuration some time later.
    let mut attempt = 0;
    let real = eventually("the webhooks are called", PATIENCE, async || {
        attempt += 1;
        let mut pod = judged();
        pod["metadata"]["annotations"] = json!({"attempt": attempt.to_string()});
        dry_run(&client, "shop", &pod).await.expect("nothing stops a pod");
        let called = called_for(&control_plane, attempt).await;
        (!called.is_empty()).then_some(called)
    })
    .await;

    let file = shell.file("judged.json", &judged().to_string());
    let order = shell.done(&["webhook", "order", "-f", &file, "-n", "shop", "-o", "json"]).await;
    let order: Value = serde_json::from_str(&order).expect("JSON");
    let entries = order["items"][0]["order"].as_array().expect("a list");
    assert_eq!(entries.len(), CONDITIONS.len() + selectors().len() + 4);
    let named = |wanted: &str| -> Vec<String> {
        let chosen = entries.iter().filter(|entry| entry["selected"] == wanted);
        chosen.map(|entry| entry["name"].as_str().expect("a name").to_owned()).collect()
    };
    // A condition that fails counts as not called under Ignore; ours says that it cannot be evaluated.
    let unknown = named("unknown");
    let expected: Vec<String> = ["06", "19"].map(|index| format!("condition{index}.example.com")).into();
    assert_eq!(unknown, expected, "{order:#}");
    assert_eq!(named("yes"), real, "{order:#}");

    let table = shell.done(&["webhook", "order", "-f", &file, "-n", "shop", "--selected"]).await;
    assert_eq!(table.matches(" called ").count(), real.len(), "{table}");
}

/// The webhooks that were called for an attempt, in order, by the annotations of its creation in the audit log.
async fn called_for(control_plane: &ControlPlane, attempt: usize) -> Vec<String> {
    let wanted = attempt.to_string();
    let is_wanted = |event: &Value| {
        let annotations = &event["requestObject"]["metadata"]["annotations"];
        annotations["attempt"] == wanted.as_str() && event["verb"] == "create"
    };
    let event = eventually("the creation is in the audit log", PATIENCE, async || {
        control_plane.audit().into_iter().find(is_wanted)
    })
    .await;
    let annotations = event["annotations"].as_object().cloned().unwrap_or_default();
    let mut called = BTreeMap::new();
    for (key, value) in &annotations {
        if let Some(index) = key.strip_prefix("failed-open.mutation.webhook.admission.k8s.io/round_0_index_")
        {
            let index: usize = index.parse().expect("a number");
            called.insert(index, value.as_str().expect("a name").to_owned());
        }
    }
    called.into_values().collect()
}

pub fn bundle(cpu: &str) -> Value {
    let bundle = headed(&format!(
        "nativeSidecars: enabled\nvalues: {{global: {{proxy: {{resources: {{requests: {{cpu: {cpu}}}}}}}}}}}\n"
    ));
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "outrigger", "namespace": NAMESPACE},
        "data": {"bundle": bundle},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_pods_are_compared_with_ones_created_now() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    let shell = Shell::of(&control_plane);
    let (serving, _process, port) = serving(&control_plane).await;
    let ca = shell.file("ca.pem", serving.authority.pem());
    control_plane.apply(&bundle("100m").to_string()).await;
    control_plane.create_namespace("shop", &[]).await;
    control_plane.create_service_account("shop", "default").await;

    let explain = async |what: &str| -> Value {
        let text = shell.done(&["explain", what, "-n", "shop", "-o", "json"]).await;
        let list: Value = serde_json::from_str(&text).expect("JSON");
        list["items"][0].clone()
    };
    let create = async |name: &str| {
        let mut pod = judged();
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["namespace"] = json!("shop");
        control_plane.apply(&pod.to_string()).await;
    };

    // No webhook at all, and no label.
    create("bare").await;
    let item = explain("pod/bare").await;
    assert_eq!(item["injected"], false, "{item:#}");
    assert!(item["next"][0].as_str().expect("a step").contains("kubectl label namespace shop"), "{item:#}");

    // The webhook, and no label.
    shell.done(&["webhook", "apply", &port, "--ca-bundle", &ca]).await;
    let item = explain("pod/bare").await;
    assert_eq!(
        (&item["injected"], &item["decision"]["reason"]),
        (&json!(false), &json!("NAMESPACE_NOT_ENABLED"))
    );
    let text = shell.done(&["explain", "pod/bare", "-n", "shop"]).await;
    assert!(text.contains("the API server does not call outrigger for this pod"), "{text}");
    assert!(
        text.contains("label istio-injection must be \"enabled\", but the namespace does not have it"),
        "{text}"
    );

    // Now with the label: the running pod is bare, one created again would not be.
    control_plane.kubectl(&["label", "namespace", "shop", "istio-injection=enabled"]).await;
    let item = explain("pod/bare").await;
    assert_eq!((&item["injected"], &item["running"]["injected"]), (&json!(true), &json!(false)), "{item:#}");
    assert!(item["next"][0].as_str().expect("a step").contains("rollout restart"), "{item:#}");

    // A pod that the webhook injected: nothing differs.
    shell.done(&["webhook", "wait", "--timeout=30s", "--probe-namespace=shop"]).await;
    create("injected").await;
    let item = explain("pod/injected").await;
    assert_eq!(item["running"], json!({"injected": true, "differences": []}), "{item:#}");
    assert_eq!(item["next"], json!([]));

    // Another configuration: the difference is named, and nothing else.
    control_plane.apply(&bundle("200m").to_string()).await;
    let item = explain("pod/injected").await;
    let difference = json!({
        "path": "spec.initContainers[istio-proxy].resources.requests.cpu", "running": "100m", "now": "200m",
    });
    let differences = item["running"]["differences"].as_array().expect("a list");
    assert!(differences.contains(&difference), "{item:#}");
    let other = differences.iter().filter(|one| !one["path"].as_str().expect("a path").contains("resources"));
    assert_eq!(other.count(), 0, "{differences:#?}");

    // Kinds, and objects that are not there.
    let missing = shell.fails(65, &["explain", "deployment/none", "-n", "shop"]).await;
    assert!(missing.contains("deployments shop/none does not exist"), "{missing}");
    let unknown = shell.fails(64, &["explain", "service/none", "-n", "shop"]).await;
    assert!(unknown.contains("kubectl get KIND NAME -o yaml | outrigger explain -f -"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_workloads_of_a_namespace_are_explained_at_a_glance() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    let shell = Shell::of(&control_plane);
    let (serving, _process, port) = serving(&control_plane).await;
    let ca = shell.file("ca.pem", serving.authority.pem());
    control_plane.apply(&bundle("100m").to_string()).await;
    control_plane.create_namespace("shop", &[]).await;
    control_plane.create_service_account("shop", "default").await;
    let workload = |kind: &str, name: &str, inject: &str| {
        let labels = json!({"app": name, "sidecar.istio.io/inject": inject});
        json!({
            "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"},
            "spec": {
                "replicas": 1, "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]},
                },
            },
        })
    };
    // The controllers make pods, which nothing runs.
    let pods = async |number: usize| -> Vec<String> {
        settled("pods of a Deployment", PATIENCE, async || {
            let get =
                ["get", "pods", "-n", "shop", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}"];
            let names: Vec<String> =
                control_plane.kubectl(&get).await.split_whitespace().map(str::to_owned).collect();
            if names.len() == number { Ok(names) } else { Err(format!("{names:?}")) }
        })
        .await
    };
    control_plane.apply(&workload("Deployment", "web", "true").to_string()).await;
    control_plane.apply(&workload("StatefulSet", "off", "false").to_string()).await;
    let early = pods(1).await.remove(0);
    control_plane.kubectl(&["label", "namespace", "shop", "istio-injection=enabled"]).await;
    shell.done(&["webhook", "apply", &port, "--ca-bundle", &ca]).await;
    shell.done(&["webhook", "wait", "--timeout=30s", "--probe-namespace=shop"]).await;
    control_plane.kubectl(&["scale", "deployment", "web", "-n", "shop", "--replicas=2"]).await;
    let late = pods(2).await.into_iter().find(|name| *name != early).expect("another pod");

    let table = shell.done(&["explain", "-n", "shop"]).await;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..2], ["NAMESPACE", "WORKLOAD"], "{table}");
    assert_eq!(lines[1], ["shop", "Deployment/web", "injected", "POD_OPTED_IN", "1", "of", "2"], "{table}");
    assert_eq!(lines[2][..4], ["shop", "StatefulSet/off", "not", "injected"], "{table}");
    assert!(table.contains("1 of 2 workloads injected\n1 running pod of these without a proxy\n"), "{table}");

    let one = shell.done(&["explain", "deployment/web", "-n", "shop"]).await;
    assert!(
        one.contains("1 of 2 have a proxy") && one.contains(&format!("without a proxy: {early}")),
        "{one}"
    );
    assert!(one.contains("kubectl -n shop rollout restart deployment/web"), "{one}");
    shell.fails(1, &["explain", "deployment/web", "-n", "shop", "--exit-code"]).await;
    shell.done(&["explain", &format!("pod/{late}"), "-n", "shop", "--exit-code"]).await;
    shell.fails(1, &["explain", &format!("pod/{early}"), "-n", "shop", "--exit-code"]).await;

    let json = shell.done(&["explain", "-A", "-o", "json"]).await;
    let list: Value = serde_json::from_str(&json).expect("JSON");
    let items = list["items"].as_array().expect("a list");
    let web = items.iter().find(|item| item["object"]["name"] == "web").expect("the Deployment");
    assert_eq!(web["pods"], json!({"injected": [late], "bare": [early], "wanted": 2, "refusal": null}));

    refused_by_a_quota(&control_plane, &shell, &workload).await;

    // The injector of another revision is called: this configuration says nothing about it.
    control_plane.create_namespace("blue", &[("istio.io/rev", "blue")]).await;
    shell.done(&["webhook", "apply", &port, "--ca-bundle", &ca, "--revision", "blue"]).await;
    let asked = ["explain", "-n", "blue", "--labels", "app=web", "--from-cluster"];
    let text = shell.done(&asked).await;
    assert!(text.contains("not known: the API server calls the injector of revision blue"), "{text}");
    assert!(text.contains("labels of the namespace: istio.io/rev=blue"), "{text}");
    let json = shell.done(&[&asked[..], &["-o", "json"]].concat()).await;
    let list: Value = serde_json::from_str(&json).expect("JSON");
    let item = &list["items"][0];
    assert_eq!((&item["injected"], &item["otherRevision"]), (&Value::Null, &json!("blue")), "{item:#}");
    let typo = shell.fails(65, &["explain", "deployment/wbe", "-n", "shop"]).await;
    assert!(
        typo.contains("deployments shop/wbe does not exist in this cluster; there is deployment/web"),
        "{typo}"
    );
    let other = shell.fails(65, &["explain", "deployment/off", "-n", "shop"]).await;
    assert!(other.contains("; there is statefulset/off"), "{other}");

    // A namespace that does not exist, and then no webhook at all: nothing is said to be injected.
    let typo = shell.fails(65, &["explain", "-n", "shpo", "--labels", "app=web", "--from-cluster"]).await;
    assert!(typo.contains("namespace shpo does not exist"), "{typo}");
    let manifest = shell.file("web.json", &workload("Deployment", "web", "true").to_string());
    let inject = ["inject", "-f", &manifest, "--from-cluster"];
    let run = shell.run(&inject).await;
    assert!(run.code == 0 && !run.stderr.contains("injected here only"), "{}", run.stderr);
    control_plane.kubectl(&["delete", "mutatingwebhookconfigurations", "--all"]).await;
    let run = shell.run(&inject).await;
    assert!(run.code == 0 && run.stderr.contains("Deployment web is injected here only"), "{}", run.stderr);
    let none = shell.run(&["explain", "deployment/web", "-n", "shop", "--exit-code"]).await;
    assert_eq!(none.code, 1, "{}", none.stdout);
    assert!(none.stdout.contains("no webhook of outrigger is registered"), "{}", none.stdout);
}

/// Workloads whose pods have no room in a quota with their proxy: nothing says that they are injected, and the message is shown.
async fn refused_by_a_quota(
    control_plane: &ControlPlane,
    shell: &Shell<'_>,
    workload: &impl Fn(&str, &str, &str) -> Value,
) {
    control_plane.create_namespace("media", &[("istio-injection", "enabled")]).await;
    control_plane.create_service_account("media", "default").await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small", "namespace": "media"},
        "spec": {"hard": {"limits.memory": "600Mi"}},
    });
    control_plane.apply(&quota.to_string()).await;
    settled("the quota is counted", PATIENCE, async || {
        let get = ["get", "resourcequota", "small", "-n", "media", "-o", "jsonpath={.status.hard}"];
        let status = control_plane.kubectl(&get).await;
        if status.contains("600Mi") { Ok(()) } else { Err(status) }
    })
    .await;
    for (kind, name) in [("Deployment", "web"), ("StatefulSet", "db")] {
        let mut object = workload(kind, name, "true");
        object["metadata"]["namespace"] = json!("media");
        object["spec"]["template"]["spec"]["containers"][0]["resources"] =
            json!({"limits": {"memory": "100Mi"}});
        control_plane.apply(&object.to_string()).await;
    }
    for what in ["deployment/web", "statefulset/db"] {
        let text = settled("a refusal", PATIENCE, async || {
            let run = shell.run(&["explain", what, "-n", "media", "--exit-code"]).await;
            if run.code == 1 { Ok(run.stdout) } else { Err(format!("{}: {}", run.code, run.stdout)) }
        })
        .await;
        for words in [
            "would be injected (POD_OPTED_IN)",
            "0 of 1 exist; the API server refused to create the next one: ",
            "exceeded quota: small",
            "kubectl -n media describe quota",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
    let table = shell.done(&["explain", "-n", "media"]).await;
    let refused =
        table.lines().filter(|line| line.contains("  refused  ") && line.ends_with("no pods (1 wanted)"));
    assert_eq!(refused.count(), 2, "{table}");
    assert!(table.contains("the API server refuses to create the pods of 2 workloads"), "{table}");
    let doctor = shell.fails(1, &["doctor", "-n", "media"]).await;
    assert!(doctor.contains("found") && !doctor.contains("does not exist"), "{doctor}");
    let report = shell.run(&["doctor", "-n", "media", "-o", "json"]).await;
    let report: Value = serde_json::from_str(&report.stdout).expect("JSON");
    let mut refused: Vec<&str> = report["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|finding| finding["check"] == "creation-refused")
        .map(|finding| finding["subject"].as_str().expect("text"))
        .collect();
    refused.sort_unstable();
    assert_eq!(refused, ["Deployment media/web", "StatefulSet media/db"], "{report:#}");
}
