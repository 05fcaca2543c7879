//! Pods with settings that the proxy has to fit: pod-level resources in all combinations, handlers with a host, the
//! ServiceAccount's token. The API server is the judge: a pod that it accepts without a proxy is accepted with one.

use std::fmt::Write;

use futures::StreamExt;
use kube::Client;
use serde_json::{Map, Value, json};

use super::{
    control_plane::{PATIENCE, eventually},
    install::{Reach, Webhook},
    neighbours::{Stage, application, proxy, start},
    pods::{comparable, dry_run, is_injected, token_volume},
};

/// Creations at once.
const AT_ONCE: usize = 4;
/// A namespace whose pods are sent to no webhook.
const BARE: &str = "bare";
const PROXIED: &str = "proxied";

/// Requests and limits of one resource: nothing, less than the proxy's request, as much, less than its limit, more.
const CPU: [Option<&str>; 5] = [None, Some("50m"), Some("0.1"), Some("500m"), Some("4")];
const MEMORY: [Option<&str>; 5] = [None, Some("67108864"), Some("128Mi"), Some("512Mi"), Some("4Gi")];

/// Pod-level resources by their place in the tables: requests and limits of CPU and memory.
type Choice = [usize; 4];

fn pod_level([cpu, cpu_limit, memory, memory_limit]: Choice, huge: &str) -> Value {
    let list = |cpu: usize, memory: usize, huge: bool| {
        let entries =
            [("cpu", CPU[cpu]), ("memory", MEMORY[memory]), ("hugepages-2Mi", huge.then_some("64Mi"))];
        let set = entries.into_iter().filter_map(|(name, amount)| Some((name.to_owned(), json!(amount?))));
        Value::Object(set.collect::<Map<_, _>>())
    };
    json!({
        "requests": list(cpu, memory, huge == "both"),
        "limits": list(cpu_limit, memory_limit, huge != "none" && huge != "container"),
    })
}

/// A pod of the matrix.
struct Row {
    what: String,
    pod: Value,
    /// Whether requests equal limits for CPU and memory, so that the pod is Guaranteed.
    guaranteed: bool,
}

fn row(choice: Choice, huge: &str, application: &str, native: bool, annotations: &Value) -> Row {
    let resources = pod_level(choice, huge);
    let mut own = match application {
        "requests" => json!({"requests": {"cpu": "40m", "memory": "48Mi"}}),
        "limits" => json!({"limits": {"cpu": "45m", "memory": "60Mi"}}),
        _ => json!({}),
    };
    if huge == "container" {
        own["limits"]["hugepages-2Mi"] = json!("64Mi");
        own["requests"]["cpu"] = json!("40m");
    }
    let mut what = format!("native {native}, application {application}, huge {huge}, {resources}");
    let _ = write!(what, ", {annotations}");
    let mut annotations = annotations.clone();
    annotations["sidecar.istio.io/nativeSidecar"] = json!(native.to_string());
    let pod = json!({
        "metadata": {"name": "app", "annotations": annotations},
        "spec": {
            "resources": resources,
            "containers": [{"name": "main", "image": "example.com/main:1", "resources": own}],
            "initContainers": [{"name": "load", "image": "example.com/load:1", "resources": own}],
        },
    });
    let full = |resource: usize, limit: usize| limit != 0 && (resource == limit || resource == 0);
    // A limit from the annotations that exceeds the pod's raises the pod's limit, but not its requests.
    let guaranteed = annotations.get("sidecar.istio.io/proxyCPULimit").is_none()
        && application == "none"
        && huge != "container"
        && full(choice[0], choice[1])
        && full(choice[2], choice[3]);
    Row { what, pod, guaranteed }
}

/// Every combination that adds a new case, in about a thousand pods.
fn matrix() -> Vec<Row> {
    let mut rows = Vec::new();
    let none = json!({});
    let asked = json!({
        "sidecar.istio.io/proxyCPU": "10m", "sidecar.istio.io/proxyCPULimit": "600m",
        "sidecar.istio.io/proxyMemory": "16Mi", "sidecar.istio.io/proxyMemoryLimit": "600Mi",
    });
    let requests = json!({"sidecar.istio.io/proxyCPU": "60m"});
    for native in [true, false] {
        for (one, limit) in (0..5).flat_map(|one| (0..5).map(move |limit| (one, limit))) {
            for (other, other_limit) in [(0, 0), (one, limit), (limit, one), (0, limit), (4, 4)] {
                rows.push(row([one, limit, other, other_limit], "none", "none", native, &none));
                rows.push(row([other, other_limit, one, limit], "none", "requests", native, &none));
            }
            for application in ["none", "requests", "limits"] {
                for huge in ["none", "container", "limit", "both"] {
                    rows.push(row([one, limit, one, limit], huge, application, native, &none));
                }
                rows.push(row([one, limit, one, limit], "none", application, native, &asked));
                rows.push(row([one, limit, one, limit], "none", application, native, &requests));
            }
        }
    }
    rows
}

/// An amount in thousandths; the API server writes them in its own way.
fn thousandths(amount: &Value) -> Option<i128> {
    let text = amount.as_str()?;
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: i128 = text[..end].parse().expect("a number");
    Some(match &text[end..] {
        "m" => number,
        "" => number * 1000,
        "k" => number * 1_000_000,
        "Ki" => (number * 1000) << 10,
        "Mi" => (number * 1000) << 20,
        "Gi" => (number * 1000) << 30,
        other => panic!("{other}"),
    })
}

/// Problems of a stored pod, compared with the same one without a proxy.
fn violations(row: &Row, bare: &Value, stored: &Value) -> Vec<String> {
    let mut violations = Vec::new();
    for resource in ["cpu", "memory", "hugepages-2Mi"] {
        let of = |pod: &Value, kind: &str| thousandths(&pod["spec"]["resources"][kind][resource]);
        if of(stored, "requests") < of(bare, "requests") {
            violations.push(format!("requests less {resource} than without the proxy"));
        }
        // The API server's own sums are not guaranteed.
        let is_given = !row.pod["spec"]["resources"]["limits"][resource].is_null();
        if is_given && of(stored, "limits") < of(bare, "limits") {
            violations.push(format!("is limited to less {resource} than without the proxy"));
        }
        let pod = of(stored, "limits").filter(|_| resource != "hugepages-2Mi");
        let all = ["containers", "initContainers"];
        let all = all.iter().filter_map(|list| stored["spec"][list].as_array()).flatten();
        for ours in
            all.filter(|container| container["name"].as_str().is_some_and(|it| it.starts_with("istio-")))
        {
            let own = thousandths(&ours["resources"]["limits"][resource]);
            if own.zip(pod).is_some_and(|(own, pod)| own > pod) {
                violations.push(format!("{} is limited to more {resource} than the pod", ours["name"]));
            }
        }
    }
    let class = |pod: &Value| pod["status"]["qosClass"].clone();
    if row.guaranteed && class(bare) != "Guaranteed" {
        violations.push(format!("the test is wrong: {}", class(bare)));
    }
    if row.guaranteed && class(stored) != "Guaranteed" {
        violations.push(format!("is {}", class(stored)));
    }
    if !is_injected(stored) {
        violations.push("has no proxy".to_owned());
    }
    violations
}

/// The result of a row: whether the API server accepts the pod without a proxy, or the problem.
async fn judge(client: &Client, row: &Row) -> Result<bool, String> {
    let Ok(bare) = dry_run(client, BARE, &row.pod).await else { return Ok(false) };
    let stored = dry_run(client, PROXIED, &row.pod).await.map_err(|error| format!("refused: {error}"))?;
    let violations = violations(row, &bare, &stored);
    if !violations.is_empty() {
        return Err(format!(
            "{}\n    without: {}\n    stored: {}",
            violations.join(", "),
            bare["spec"]["resources"],
            stored["spec"]["resources"]
        ));
    }
    let again = dry_run(client, PROXIED, &stored).await.map_err(|error| format!("refused again: {error}"))?;
    if comparable(&again) == comparable(&stored) {
        Ok(true)
    } else {
        Err("changes when it is injected again".to_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_with_resources_of_their_own_are_taken_with_a_proxy_as_they_are_without() {
    let stage = Stage::set("").await;
    stage.namespace(PROXIED, &[]).await;
    stage.control_plane.create_namespace(BARE, &[]).await;
    stage.webhook("outrigger", Reach::url_of(&stage.outrigger)).install(&stage.control_plane, PROXIED).await;
    let client = stage.control_plane.client().await;
    let matrix = matrix();
    let judged = futures::stream::iter(&matrix).map(async |row| (row, judge(&client, row).await));
    let judged: Vec<_> = judged.buffer_unordered(AT_ONCE).collect().await;
    let valid = judged.iter().filter(|(_, fate)| *fate != Ok(false)).count();
    println!("{valid} of {} pods are valid without a proxy", judged.len());
    let failed: Vec<String> = judged
        .iter()
        .filter_map(|(row, fate)| Some(format!("{}\n    {}", row.what, fate.as_ref().err()?)))
        .collect();
    assert!(failed.is_empty(), "{} of {valid}\n{}", failed.len(), failed[..failed.len().min(20)].join("\n"));
    assert!(valid > 400, "{valid} pods are valid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_wants_pod_level_resources_to_stay_is_told_why_the_pod_is_refused() {
    let stage = Stage::set("").await;
    stage.namespace(PROXIED, &[]).await;
    stage.webhook("outrigger", Reach::url_of(&stage.outrigger)).install(&stage.control_plane, PROXIED).await;
    let small = |policy: &str| {
        let mut pod = application("small");
        pod["metadata"]["annotations"] = json!({"outrigger.dev/podLevelResources": policy});
        pod["spec"]["resources"] = json!({"requests": {"cpu": "50m"}, "limits": {"memory": "1Gi"}});
        pod
    };
    let stored = stage.create(PROXIED, &small("add")).await.expect("a pod");
    assert_eq!(stored["spec"]["resources"]["requests"], json!({"cpu": "150m", "memory": "1Gi"}));
    let refused = stage.create(PROXIED, &small("keep")).await.expect_err("too small");
    assert!(
        refused.contains("must be greater than or equal to aggregate container requests of 100m"),
        "{refused}"
    );
    let refused = stage.create(PROXIED, &small("refuse")).await.expect_err("too small");
    let ours =
        "spec.resources is too small: requests.cpu is 50m, but needs to be at least 100m with the proxy";
    assert!(refused.contains("denied the request") && refused.contains(ours), "{refused}");
}

/// Pod Security refuses hosts of handlers with or without a proxy; a header named Host is not one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_with_a_host_are_stored_and_judged_as_without_a_proxy() {
    let stage = Stage::set("").await;
    let cni =
        start(&stage.control_plane, &stage.serving, "cni", "values: {pilot: {cni: {enabled: true}}}\n").await;
    let baseline = ("pod-security.kubernetes.io/enforce", "baseline");
    stage.namespace("open", &[]).await;
    stage.namespace("strict", &[baseline]).await;
    stage.control_plane.create_namespace("strict-bare", &[baseline]).await;
    let webhook = stage.webhook("outrigger", Reach::url_of(&cni));
    let webhook = Webhook { namespaces: vec!["open".to_owned(), "strict".to_owned()], ..webhook };
    webhook.install(&stage.control_plane, "open").await;
    let with = |handler: Value| {
        let mut pod = application("app");
        let container = &mut pod["spec"]["containers"][0];
        container["readinessProbe"] = handler.clone();
        container["lifecycle"] = json!({"preStop": handler});
        pod
    };
    for host in ["203.0.113.7", "127.0.0.1", "localhost", "::1", "example.com"] {
        for action in ["httpGet", "tcpSocket"] {
            let pod = with(json!({action: {"host": host, "port": 8080}}));
            let stored = stage.create("open", &pod).await.expect("a pod");
            assert!(is_injected(&stored), "{stored}");
            let container = &stored["spec"]["containers"][0];
            for handler in [&container["readinessProbe"], &container["lifecycle"]["preStop"]] {
                assert_eq!(
                    (&handler[action]["host"], &handler[action]["port"]),
                    (&json!(host), &json!(8080))
                );
            }
            let said = "uses probe or lifecycle host";
            for namespace in ["strict-bare", "strict"] {
                let refused = stage.create(namespace, &pod).await.expect_err("a host");
                assert!(refused.contains(said), "{namespace}: {refused}");
            }
        }
    }
    let header = json!([{"name": "Host", "value": "example.com"}]);
    for pod in [
        with(json!({"httpGet": {"port": 8080, "httpHeaders": header}})),
        with(json!({"httpGet": {"host": "", "port": 8080}})),
        with(json!({"tcpSocket": {"port": 8080}})),
    ] {
        for namespace in ["strict-bare", "strict"] {
            let stored = stage.create(namespace, &pod).await.expect(namespace);
            let asked = &stored["spec"]["containers"][0]["readinessProbe"]["httpGet"]["port"];
            assert_eq!(is_injected(&stored), *asked == 15020, "{stored}");
        }
    }
}

/// With `reinvocationPolicy: IfNeeded` as the only webhook nothing changes a pod after us, so there is no second call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_webhook_is_asked_once_about_a_pod() {
    let stage = Stage::set("").await;
    stage.namespace(PROXIED, &[]).await;
    let webhook = stage.webhook("outrigger", Reach::url_of(&stage.outrigger));
    let webhook = Webhook { reinvocation_policy: "IfNeeded", ..webhook };
    webhook.install(&stage.control_plane, PROXIED).await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "none", "namespace": PROXIED}, "automountServiceAccountToken": false});
    stage.control_plane.apply(&account.to_string()).await;
    let mut automount = application("a");
    automount["spec"]["automountServiceAccountToken"] = json!(false);
    let mut of_account = application("b");
    of_account["spec"]["serviceAccountName"] = json!("none");
    let mut helper = application("c");
    helper["spec"]["initContainers"] = json!([{"name": "helper", "image": "h", "restartPolicy": "Always"}]);
    let mut ordinary = application("d");
    ordinary["metadata"]["annotations"] = json!({"sidecar.istio.io/nativeSidecar": "false"});
    let mut agent = application("e");
    agent["metadata"]["annotations"] = json!({"inject.istio.io/templates": "grpc-agent"});
    eventually("the account is known", PATIENCE, async || stage.create(PROXIED, &of_account).await.ok())
        .await;
    let pods = [
        (application("p"), true),
        (automount, false),
        (of_account, false),
        (helper, true),
        (ordinary, true),
        (agent, true),
    ];
    for (pod, has_token) in pods {
        let before = stage.outrigger.metric("outrigger_requests_total", &[]).await;
        let stored = stage.create(PROXIED, &pod).await.expect("a pod");
        let calls = stage.outrigger.metric("outrigger_requests_total", &[]).await - before;
        assert_eq!(calls, 1.0, "{pod}");
        let path = "/var/run/secrets/kubernetes.io/serviceaccount";
        let mounts = proxy(&stored)["volumeMounts"].as_array().expect("mounts");
        let mount = mounts.iter().find(|mount| mount["mountPath"] == path);
        assert_eq!(mount.is_some(), has_token, "{stored}");
        if let Some(mount) = mount {
            assert_eq!(
                (mount["name"].as_str(), &mount["readOnly"]),
                (token_volume(&stored).as_deref(), &json!(true))
            );
        }
    }
}
