//! The chart as installed by Helm: pods get proxies, revisions and tags select, and the API server receives no request
//! that the roles do not allow.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use crate::headed::headed;

use super::{
    control_plane::{ControlPlane, Flavour, PATIENCE, eventually, settled, until},
    pods::{dry_run, is_injected, list},
    release::{Release, plain_pod},
};

fn deployment(namespace: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]},
            },
        },
    })
}

/// Which revision's proxy a pod got, if any.
fn revision(pod: &Value) -> Option<String> {
    is_injected(pod)
        .then(|| pod["metadata"]["annotations"]["istio.io/rev"].as_str().unwrap_or("?").to_owned())
}

// GP-19, L-06, L-09: the release's own first pods are created while its webhook fails for lack of replicas, and before
// a replica has served, no pod waits for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_installed_chart_gives_pods_their_proxies() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    let mut release = Release::without_replicas(&control_plane, "outrigger", "outrigger-system", &[]).await;
    let client = control_plane.client().await;

    // An image that cannot be pulled: with failurePolicy Fail and no server, pods are created nevertheless.
    let until_then = tokio::time::Instant::now() + Duration::from_secs(5);
    while tokio::time::Instant::now() < until_then {
        let pod = dry_run(&client, "shop", &plain_pod("early")).await.expect("a pod without a proxy");
        assert!(!is_injected(&pod));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A replica that cannot serve, because its configuration is rejected, does not change that.
    let configure = async |bundle: &str| {
        let patch = json!({"data": {"bundle": headed(bundle)}}).to_string();
        let of = ["-n", "outrigger-system", "--type=merge", "-p", &patch];
        control_plane.kubectl(&[&["patch", "configmap", "outrigger"][..], &of].concat()).await;
    };
    let get = ["get", "configmap", "outrigger", "-n", "outrigger-system", "-o", "jsonpath={.data.bundle}"];
    let good = control_plane.kubectl(&get).await;
    configure("injector: {templates: {sidecar: '{{'}}").await;
    let mut unready = release.spawn_replica(&control_plane, 7, &[]).await;
    unready.wait_line("it keeps the caBundle", |line| line.contains("caBundle set")).await;
    let rules = "jsonpath={.webhooks[*].rules}";
    let get = ["get", "mutatingwebhookconfiguration", "outrigger-sidecar-injector", "-o", rules];
    assert_eq!(control_plane.kubectl(&get).await, "");
    let pod = dry_run(&client, "shop", &plain_pod("early")).await.expect("a pod without a proxy");
    assert!(!is_injected(&pod));
    configure(&good).await;
    unready.wait_line("they are active", |line| line.contains("webhooks activated")).await;
    unready.terminate().await;
    // From now on, the policy applies, whatever happens to the replicas.
    settled("nobody serves, and pods of the namespace fail", PATIENCE, async || {
        match dry_run(&client, "shop", &plain_pod("late")).await {
            Err(error) if error.contains("failed calling webhook") => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err("the pod was admitted".to_owned()),
        }
    })
    .await;
    until("the pods of the release itself are created all the same", PATIENCE, async || {
        list(&client, "outrigger-system").await.len() == 2
    })
    .await;

    for index in 0..2 {
        let process = release.spawn_replica(&control_plane, index, &[]).await;
        release.balancer.add(&format!("r{index}"), &process);
        release.replicas.push(process);
    }
    for replica in &mut release.replicas {
        let took = replica.wait_ready().await;
        println!("ready {} ms after the start of the process", took.as_millis());
    }
    release.balancer.wait_ready(2).await;
    let pod = release.wait_injecting(&control_plane, "shop").await;
    assert_eq!(revision(&pod).as_deref(), Some("default"));
    control_plane.apply(&deployment("shop").to_string()).await;
    let pods = eventually("the Deployment has its pods", PATIENCE, async || {
        let pods = list(&client, "shop").await;
        (pods.len() == 3).then_some(pods)
    })
    .await;
    assert!(pods.iter().all(is_injected));
    for replica in &release.replicas {
        println!("RSS of an idle replica: {} KiB", replica.rss() / 1024);
    }

    // L-09: the webhook is removed first, and nothing remains that could reject pods.
    control_plane.helm(&["uninstall", "outrigger", "-n", "outrigger-system"]).await.expect("helm uninstall");
    let left = control_plane.kubectl(&["get", "mutatingwebhookconfigurations", "-o", "name"]).await;
    assert_eq!(left, "");
    until("pods are created without proxies", PATIENCE, async || {
        dry_run(&client, "shop", &plain_pod("late")).await.is_ok_and(|pod| !is_injected(&pod))
    })
    .await;
}

// C-11, O-13
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_namespace_gets_the_proxy_of_its_revision_and_tags_move() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    for (name, label) in [
        ("shop", ("istio-injection", "enabled")),
        ("blue", ("istio.io/rev", "canary")),
        ("tagged", ("istio.io/rev", "prod")),
    ] {
        control_plane.create_namespace(name, &[label]).await;
    }
    control_plane.create_namespace("none", &[]).await;
    let mut stable = Release::install(&control_plane, "outrigger", &["revisionTags={prod}"], 1).await;
    let mut canary = Release::install(&control_plane, "canary", &["revision=canary"], 1).await;
    let client = control_plane.client().await;
    let of =
        async |namespace: &str, wanted: &str| {
            settled(&format!("pods of {namespace} get the proxy of {wanted}"), PATIENCE, async || {
                match dry_run(&client, namespace, &plain_pod("web")).await {
                    Ok(pod) if revision(&pod).as_deref() == Some(wanted) => Ok(()),
                    Ok(pod) => Err(format!("{:?}", revision(&pod))),
                    Err(error) => Err(error),
                }
            })
            .await;
        };
    of("shop", "default").await;
    of("blue", "canary").await;
    of("tagged", "default").await;
    let pod = dry_run(&client, "none", &plain_pod("web")).await.expect("a pod");
    assert_eq!(revision(&pod), None);
    let mut asking = plain_pod("web");
    asking["metadata"]["labels"]["istio.io/rev"] = json!("canary");
    let pod = dry_run(&client, "none", &asking).await.expect("a pod");
    assert_eq!(revision(&pod).as_deref(), Some("canary"), "a pod chooses where its namespace does not");

    // The tag moves: first removed from one release, then added to the other.
    stable.upgrade(&control_plane, &["revisionTags=null"]).await;
    canary.upgrade(&control_plane, &["revision=canary", "revisionTags={prod}"]).await;
    of("tagged", "canary").await;
    of("shop", "default").await;
    of("blue", "canary").await;
}

/// A request of a ServiceAccount to the API server: verb, resource, and whether it was allowed.
fn asked(control_plane: &ControlPlane, user: &str) -> BTreeSet<(String, String, bool)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    control_plane
        .audit()
        .iter()
        .filter(|line| line["user"]["username"] == user && !line["objectRef"].is_null())
        .map(|line| {
            let allowed = line["annotations"]["authorization.k8s.io/decision"] != "forbid";
            (text(&line["verb"]), text(&line["objectRef"]["resource"]), allowed)
        })
        .collect()
}

const USER: &str = "system:serviceaccount:outrigger-system:outrigger";

/// The part of Istio's CRD of ProxyConfig that an API server requires.
fn proxy_config_definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "proxyconfigs.networking.istio.io"},
        "spec": {
            "group": "networking.istio.io", "scope": "Namespaced",
            "names": {"kind": "ProxyConfig", "plural": "proxyconfigs", "singular": "proxyconfig"},
            "versions": [{"name": "v1beta1", "served": true, "storage": true, "schema": {
                "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            }}],
        },
    })
}

/// Every permission the chart grants: verb and resource.
async fn granted(control_plane: &ControlPlane) -> BTreeSet<(String, String)> {
    let mut granted = BTreeSet::new();
    for kind in ["role", "clusterrole"] {
        let get = ["get", kind, "-A", "-l", "app.kubernetes.io/instance=outrigger", "-o", "json"];
        let roles: Value = serde_json::from_str(&control_plane.kubectl(&get).await).expect("roles");
        for rule in roles["items"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|role| role["rules"].as_array().cloned().unwrap_or_default())
        {
            for resource in rule["resources"].as_array().into_iter().flatten() {
                for verb in rule["verbs"].as_array().into_iter().flatten() {
                    let text = |value: &Value| value.as_str().expect("a string").to_owned();
                    assert!(text(verb) != "*" && text(resource) != "*");
                    granted.insert((text(verb), text(resource)));
                }
            }
        }
    }
    granted
}

/// A Deployment and a CronJob whose pods are denied: `kubectl describe` shows why.
async fn workloads_hear_of_their_pods(control_plane: &ControlPlane) {
    let template = json!({
        "metadata": {"labels": {"app": "denied"}, "annotations": {"sidecar.istio.io/proxyCPU": "much"}},
        "spec": {"restartPolicy": "Always", "containers": [{"name": "main", "image": "example.com/main:1"}]},
    });
    let mut once = template.clone();
    once["spec"]["restartPolicy"] = json!("Never");
    let workloads = json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "denied", "namespace": "shop"},
            "spec": {"selector": {"matchLabels": {"app": "denied"}}, "template": template},
        },
        {
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly", "namespace": "shop"},
            "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": once}}},
        },
    ]});
    control_plane.create_service_account("shop", "default").await;
    control_plane.apply(&workloads.to_string()).await;
    control_plane.kubectl(&["-n", "shop", "create", "job", "--from=cronjob/nightly", "now"]).await;
    for (kind, name) in [("deployment", "denied"), ("cronjob", "nightly")] {
        let described = eventually(&format!("{kind} {name} hears of it"), PATIENCE * 2, async || {
            let text = control_plane.kubectl(&["-n", "shop", "describe", kind, name]).await;
            text.contains("InjectionDenied").then_some(text)
        })
        .await;
        assert!(described.contains("INVALID_ANNOTATION") && described.contains("proxyCPU"), "{described}");
    }
}

// O-01: no request lacks a permission, and no permission is unused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chart_grants_what_is_asked_and_nothing_more() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    control_plane.apply(&proxy_config_definition().to_string()).await;
    let mut release = Release::install(&control_plane, "outrigger", &[], 1).await;
    release.wait_injecting(&control_plane, "shop").await;
    let seen = async |verb: &str, resource: &str| {
        until(&format!("{verb} {resource} is asked for"), PATIENCE * 2, async || {
            asked(&control_plane, USER).contains(&(verb.to_owned(), resource.to_owned(), true))
        })
        .await;
    };
    // Exceptional events: a configuration that is rejected, more than once, and a certificate renewed manually.
    let configure = async |bundle: &str| {
        let patch = json!({"data": {"bundle": headed(bundle)}}).to_string();
        let of = ["-n", "outrigger-system", "--type=merge", "-p", &patch];
        control_plane.kubectl(&[&["patch", "configmap", "outrigger"][..], &of].concat()).await;
    };
    configure("injector: {templates: {sidecar: '{{'}}").await;
    let refused = |line: &str| line.contains("configuration rejected");
    release.replicas[0].wait_line("it is refused", refused).await;
    seen("create", "events").await;
    // The same problem once more, after the configuration was good again, is a series.
    configure("").await;
    until("it is good again", PATIENCE, async || {
        release.replicas[0].readyz().await.is_some_and(|ready| !ready.body.contains("[!]config"))
    })
    .await;
    configure("injector: {templates: {sidecar: '{{'}}").await;
    seen("patch", "events").await;
    let rotate = [
        "annotate",
        "secret",
        "outrigger-certificate",
        "-n",
        "outrigger-system",
        "outrigger.dev/rotate=leaf",
    ];
    control_plane.kubectl(&rotate).await;
    release.replicas[0].wait_line("it is renewed", |line| line.contains("certificate applied")).await;
    // Watches may die silently, so it also checks twice a minute.
    seen("get", "secrets").await;
    seen("get", "mutatingwebhookconfigurations").await;
    workloads_hear_of_their_pods(&control_plane).await;
    seen("get", "replicasets").await;
    seen("get", "jobs").await;
    release.replicas[0].terminate().await;

    let asked = asked(&control_plane, USER);
    let refused: Vec<_> = asked.iter().filter(|(_, _, allowed)| !allowed).collect();
    assert!(refused.is_empty(), "asked without being allowed: {refused:?}");
    let used: BTreeSet<_> = asked.into_iter().map(|(verb, resource, _)| (verb, resource)).collect();
    let unused: Vec<_> = granted(&control_plane).await.difference(&used).cloned().collect();
    assert_eq!(unused, [], "granted, and of no use");
}

/// A permission that can be lost: kind of the role, verb, resource, and whether a replica that starts without it can
/// serve.
const LOSSES: &[(&str, &str, &str, bool)] = &[
    ("role", "list", "configmaps", false),
    ("role", "list", "secrets", false),
    ("role", "get", "leases", true),
    ("clusterrole", "list", "nodes", true),
    ("clusterrole", "list", "proxyconfigs", true),
    ("clusterrole", "list", "mutatingwebhookconfigurations", true),
    ("clusterrole", "patch", "mutatingwebhookconfigurations", true),
];

/// The rules of a role without one verb on one resource.
fn without(rules: &Value, verb: &str, resource: &str) -> Value {
    let mut rules = rules.clone();
    for rule in rules.as_array_mut().into_iter().flatten() {
        if rule["resources"] == json!([resource]) {
            rule["verbs"].as_array_mut().expect("verbs").retain(|found| found != verb);
        }
    }
    rules
}

// O-01: a missing permission is reported with verb and resource, and everything else continues.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permission_that_is_gone_is_named_and_the_rest_goes_on() {
    let control_plane = ControlPlane::start(Flavour::Current).await;
    control_plane.create_namespace("shop", &[("istio-injection", "enabled")]).await;
    let mut release = Release::install(&control_plane, "outrigger", &[], 1).await;
    release.wait_injecting(&control_plane, "shop").await;
    let client = control_plane.client().await;
    for (round, &(kind, verb, resource, serves)) in LOSSES.iter().enumerate() {
        let namespace: &[&str] = if kind == "role" { &["-n", "outrigger-system"] } else { &[] };
        let get = [&["get", kind, "outrigger", "-o", "json"], namespace].concat();
        let role: Value = serde_json::from_str(&control_plane.kubectl(&get).await).expect("a role");
        let put = async |rules: &Value| {
            let patch = json!({"rules": rules}).to_string();
            control_plane
                .kubectl(&[&["patch", kind, "outrigger", "--type=merge", "-p", &patch], namespace].concat())
                .await;
        };
        put(&without(&role["rules"], verb, resource)).await;
        let webhooks = resource == "mutatingwebhookconfigurations";
        if verb == "patch" && webhooks {
            // Only needed for repairs.
            let empty = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]).to_string();
            let patch = ["patch", resource, "outrigger-sidecar-injector", "--type=json", "-p", &empty];
            control_plane.kubectl(&patch).await;
        }
        // An existing watch continues; a lost permission shows in a replica that starts.
        let mut second = release.spawn_replica(&control_plane, round + 1, &[]).await;
        if webhooks {
            // Only the leader looks at them.
            second.wait_ready().await;
            release.balancer.add(&format!("s{round}"), &second);
            release.balancer.wait_ready(2).await;
            release.balancer.remove("g0r0");
            release.replicas[0].terminate().await;
        }
        let line = second
            .wait_line(&format!("{verb} {resource} is missing"), move |line| {
                line.contains(&format!("may not {verb} ")) && line.contains(resource)
            })
            .await;
        println!("without {verb} {resource}: {line}");
        let pod = dry_run(&client, "shop", &plain_pod("web")).await;
        if !(webhooks && verb == "patch") {
            assert!(is_injected(&pod.expect("a pod")), "injection goes on without {verb} {resource}");
        }
        let answer = second.readyz().await.expect("an answer");
        if serves {
            until("the replica serves all the same", PATIENCE, async || {
                second.readyz().await.is_some_and(|answer| answer.status == 200)
            })
            .await;
        } else {
            assert_eq!(answer.status, 503, "{}", answer.body);
            assert!(answer.body.contains(resource), "{}", answer.body);
        }
        put(&role["rules"]).await;
        until("the permission is back, and heeded", PATIENCE * 2, async || {
            let ready = second.readyz().await;
            ready.is_some_and(|answer| answer.status == 200 && !answer.body.contains("may not"))
        })
        .await;
        release.wait_injecting(&control_plane, "shop").await;
        if webhooks {
            release.replicas[0] = second;
            release.balancer.remove(&format!("s{round}"));
            release.balancer.add("g0r0", &release.replicas[0]);
            release.balancer.wait_ready(1).await;
        } else {
            second.terminate().await;
        }
    }
}
