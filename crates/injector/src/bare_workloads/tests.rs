use super::*;
use crate::config::InjectorConfig;
use crate::inject::{self, Facts, Outcome, Rules};
use crate::webhook_config::{Settings, rules};

const NOW: i64 = 1_000_000;
const RESTARTED: &str = "990000";

/// A cluster with four namespaces: `green` asks for another revision, `shop` asks for injection, `plain` does not, `off` does and opts out of restarts.
struct Cluster {
    namespaces: BTreeMap<String, Namespace>,
    workloads: Vec<Value>,
    controllers: BTreeMap<Workload, Workload>,
    budgets: Vec<Value>,
    pods: Vec<Value>,
}

fn named(kind: &str, name: &str) -> Workload {
    (kind.to_owned(), "shop".to_owned(), name.to_owned())
}

fn namespace(name: &str, labels: Value, annotations: Value) -> (String, Namespace) {
    let map = |value: Value| value.as_object().cloned().unwrap_or_default();
    let namespace = Namespace {
        name: name.to_owned(),
        labels: map(labels),
        annotations: map(annotations),
        ..Namespace::default()
    };
    (name.to_owned(), namespace)
}

impl Cluster {
    fn new() -> Cluster {
        let enabled = || json!({"istio-injection": "enabled"});
        Cluster {
            namespaces: BTreeMap::from([
                namespace("shop", enabled(), json!({})),
                namespace("plain", json!({}), json!({})),
                namespace("green", json!({"istio.io/rev": "green"}), json!({})),
                namespace("off", enabled(), json!({"outrigger.dev/restart": "false"})),
            ]),
            workloads: Vec::new(),
            controllers: BTreeMap::new(),
            budgets: Vec::new(),
            pods: Vec::new(),
        }
    }

    /// A settled workload with two pods.
    fn workload(mut self, kind: &str, name: &str, change: Value) -> Cluster {
        let mut object = json!({
            "apiVersion": "apps/v1", "kind": kind,
            "metadata": {"namespace": "shop", "name": name, "generation": 3, "uid": "u", "resourceVersion": "7"},
            "spec": {"replicas": 2, "template": {"metadata": {"labels": {"app": name}}}},
            "status": {
                "observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2,
                "currentRevision": "r", "updateRevision": "r", "desiredNumberScheduled": 2,
                "currentNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2,
            },
        });
        merge(&mut object, &change);
        self.workloads.push(object);
        self
    }

    fn pod(mut self, owner: Option<(&str, &str)>, name: &str, change: Value) -> Cluster {
        let owners: Vec<Value> = owner
            .iter()
            .map(|(kind, name)| json!({"kind": kind, "name": name, "controller": true, "apiVersion": "apps/v1"}))
            .collect();
        let mut pod = json!({
            "metadata": {"namespace": "shop", "name": name, "uid": name, "ownerReferences": owners},
            "spec": {"nodeName": "node", "containers": [{"name": "main", "image": "main"}]},
            "status": {"phase": "Running"},
        });
        merge(&mut pod, &change);
        self.pods.push(pod);
        self
    }

    /// A Deployment with one of two pods without a proxy.
    fn deployment(self, name: &str, change: Value) -> Cluster {
        let mut cluster = self.workload("Deployment", name, change);
        let set = format!("{name}-1");
        cluster.controllers.insert(named("ReplicaSet", &set), named("Deployment", name));
        let proxy = json!({"spec": {"initContainers": [{"name": "istio-proxy"}]}});
        cluster.pod(Some(("ReplicaSet", &set)), &format!("{set}-a"), json!({})).pod(
            Some(("ReplicaSet", &set)),
            &format!("{set}-b"),
            proxy,
        )
    }

    fn assess(&self) -> Assessment {
        let config = InjectorConfig::embedded().unwrap();
        let effect = |request: &PodRequest, namespace: &Namespace| {
            assert!(request.pod.get("status").is_none() && request.pod["spec"].get("nodeName").is_none());
            let facts = Facts {
                namespace: Some(namespace),
                selection: crate::inject::Selection::ByApiServer,
                nodes: None,
            };
            Some(match inject::run_by(Rules::Configured, &config, request, &facts) {
                Ok(Outcome::Injected(_)) => Effect::Injected,
                Ok(Outcome::Skipped(skip)) => Effect::Skipped(skip.decision.reason.key()),
                Err(refusal) => Effect::Denied(refusal.reason(), "because".to_owned()),
            })
        };
        let mut webhooks = Settings::default().objects();
        webhooks.extend(Settings { revision: "green".to_owned(), ..Settings::default() }.objects());
        for entry in webhooks.iter_mut().flat_map(|one| one["webhooks"].as_array_mut().unwrap()) {
            entry["rules"] = rules();
        }
        let selecting = Selecting {
            webhooks: &webhooks,
            revision: "default",
            namespaces: &self.namespaces,
            effect: &effect,
        };
        let mut counts = PodCounts::default();
        for pod in &self.pods {
            counts.add(pod, &selecting);
        }
        assess(
            &counts,
            Objects {
                namespaces: &self.namespaces,
                workloads: &self.workloads,
                controllers: &self.controllers,
                budgets: &self.budgets,
                now: NOW,
                seconds: |text| text.parse().ok(),
            },
        )
    }

    /// The only workload that was found.
    fn found(&self) -> BareWorkload {
        let mut found = self.assess().bare;
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }
}

fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}

fn state(cluster: &Cluster) -> (&'static str, String) {
    let state = cluster.found().state;
    let text = match &state {
        RestartState::Waiting(text) | RestartState::Excluded(text) | RestartState::Ineffective(text) => {
            text.clone()
        }
        _ => String::new(),
    };
    (state.key(), text)
}

#[test]
fn a_deployment_with_a_pod_without_proxy_is_restarted() {
    let found = Cluster::new().deployment("web", json!({})).found();
    assert_eq!(found.to_string(), "Deployment shop/web");
    assert_eq!((found.bare, found.running, found.pods.as_slice()), (1, 2, &["web-1-a".to_owned()][..]));
    assert_eq!(found.state, RestartState::Restartable);
    assert_eq!(
        restart_patch(&found, "now"),
        json!({
            "metadata": {"uid": "u", "resourceVersion": "7"},
            "spec": {"template": {"metadata": {"annotations": {"outrigger.dev/restartedAt": "now"}}}},
        })
    );
}

#[test]
fn only_pods_that_would_get_a_proxy_today_count() {
    let bare = |change: Value| Cluster::new().pod(Some(("StatefulSet", "db")), "db-0", change);
    for change in [
        json!({"metadata": {"namespace": "plain"}}),
        json!({"metadata": {"labels": {"sidecar.istio.io/inject": "false"}}}),
        // The webhook gets it, and leaves it alone.
        json!({"metadata": {"annotations": {"sidecar.istio.io/inject": "false"}}}),
        // The webhook of another revision gets it.
        json!({"metadata": {"namespace": "green"}}),
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        json!({"metadata": {"namespace": "plain", "labels": {"istio.io/rev": "green"}}}),
        json!({"spec": {"hostNetwork": true}}),
        json!({"spec": {"containers": [{"name": "istio-proxy", "image": "a"}]}}),
        json!({"status": {"phase": "Succeeded"}}),
    ] {
        assert_eq!(bare(change.clone()).assess(), Assessment::default(), "{change}");
    }
    assert_eq!(bare(json!({})).workload("StatefulSet", "db", json!({})).found().bare, 1);
    let asks = json!({"metadata": {"namespace": "plain", "labels": {"sidecar.istio.io/inject": "true"}}});
    assert_eq!(bare(asks).assess().bare.len(), 1, "the pod's own label asks for it");
}

#[test]
fn what_is_not_restarted_says_why() {
    let changed = |kind: &str, change: Value| {
        let cluster = Cluster::new().workload(kind, "web", change);
        state(&cluster.pod(Some((kind, "web")), "web-0", json!({})))
    };
    for (kind, change, key, expected) in [
        ("StatefulSet", json!({"spec": {"updateStrategy": {"type": "OnDelete"}}}), "excluded", "OnDelete"),
        (
            "StatefulSet",
            json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 1}}}}),
            "excluded",
            "below ordinal 1",
        ),
        ("DaemonSet", json!({"spec": {"updateStrategy": {"type": "OnDelete"}}}), "excluded", "OnDelete"),
        ("Deployment", json!({"spec": {"paused": true}}), "excluded", "it is paused"),
        (
            "Deployment",
            json!({"metadata": {"annotations": {"outrigger.dev/restart": "false"}}}),
            "excluded",
            "it has the annotation outrigger.dev/restart=false",
        ),
        (
            "Deployment",
            json!({"metadata": {"ownerReferences": [{"kind": "Kafka", "name": "log", "controller": true}]}}),
            "excluded",
            "Kafka log manages it",
        ),
        ("Deployment", json!({"metadata": {"generation": 4}}), "waiting", "has not seen its last change"),
        ("Deployment", json!({"status": {"updatedReplicas": 1}}), "waiting", "1 of 2 pods updated"),
        ("Deployment", json!({"status": {"replicas": 3}}), "waiting", "rollout is not complete"),
        ("Deployment", json!({"status": {"availableReplicas": 1}}), "waiting", "1 of 2 pods are available"),
        (
            "StatefulSet",
            json!({"status": {"updateRevision": "s", "updatedReplicas": 1}}),
            "waiting",
            "1 of 2",
        ),
        ("StatefulSet", json!({"status": {"updatedReplicas": 0}}), "restartable", ""),
        ("DaemonSet", json!({"status": {"updatedNumberScheduled": 0}}), "waiting", "0 of 2 pods updated"),
        ("DaemonSet", json!({"status": {"numberAvailable": 0}}), "waiting", "0 of 2 pods are available"),
        ("DaemonSet", json!({}), "restartable", ""),
    ] {
        let (found, text) = changed(kind, change.clone());
        assert_eq!(found, key, "{kind} {change}: {text}");
        assert!(text.contains(expected), "{kind} {change}: {text}");
    }
    let other = |kind: &str| state(&Cluster::new().pod(Some((kind, "web")), "web-0", json!({})));
    assert_eq!(
        other("Job"),
        ("excluded", "outrigger restarts Deployments, StatefulSets, DaemonSets only".to_owned())
    );
    assert_eq!(other("Deployment").0, "waiting", "not among the objects: created or deleted meanwhile");
    assert_eq!(state(&Cluster::new().pod(None, "alone", json!({}))).0, "excluded");
    let denied = json!({"metadata": {"annotations": {"sidecar.istio.io/proxyCPU": "nonsense"}}});
    let (key, text) = state(&Cluster::new().workload("DaemonSet", "web", json!({})).pod(
        Some(("DaemonSet", "web")),
        "web-x",
        denied,
    ));
    assert_eq!((key, text.as_str()), ("excluded", "new pods would be denied: because"));
}

#[test]
fn a_denial_of_some_new_pods_is_what_people_learn() {
    let denied = json!({"metadata": {"annotations": {"sidecar.istio.io/proxyCPU": "nonsense"}}});
    for (first, second) in [(denied.clone(), json!({})), (json!({}), denied)] {
        let mut cluster = Cluster::new().workload("Deployment", "web", json!({}));
        for set in ["web-1", "web-2"] {
            cluster.controllers.insert(named("ReplicaSet", set), named("Deployment", "web"));
        }
        let cluster = cluster.pod(Some(("ReplicaSet", "web-1")), "web-1-a", first).pod(
            Some(("ReplicaSet", "web-2")),
            "web-2-a",
            second,
        );
        assert_eq!(state(&cluster), ("excluded", "new pods would be denied: because".to_owned()));
        assert_eq!(cluster.found().bare, 2);
    }
}

#[test]
fn a_namespace_may_opt_out() {
    let of = |mut cluster: Cluster| {
        for object in cluster.workloads.iter_mut().chain(&mut cluster.pods) {
            object["metadata"]["namespace"] = json!("off");
        }
        let other = |(kind, _, name): Workload| (kind, "off".to_owned(), name);
        cluster.controllers =
            cluster.controllers.into_iter().map(|(one, above)| (other(one), other(above))).collect();
        cluster
    };
    let (key, text) = state(&of(Cluster::new().deployment("web", json!({}))));
    assert_eq!(
        (key, text.as_str()),
        ("excluded", "its namespace has the annotation outrigger.dev/restart=false")
    );
}

#[test]
fn a_budget_that_allows_too_little_is_waited_for() {
    let mut cluster = Cluster::new().deployment("web", json!({"spec": {"strategy": {"type": "Recreate"}}}));
    cluster.budgets.push(json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}}, "status": {"disruptionsAllowed": 1},
    }));
    let (key, text) = state(&cluster);
    assert_eq!(key, "waiting");
    assert!(text.contains("PodDisruptionBudget web allows 1 disruption now"), "{text}");
    cluster.budgets[0]["status"]["disruptionsAllowed"] = json!(2);
    assert_eq!(state(&cluster).0, "restartable");
}

fn restarted() -> Value {
    json!({"spec": {"template": {"metadata": {"annotations": {"outrigger.dev/restartedAt": RESTARTED}}}}})
}

#[test]
fn a_restart_in_progress_leaves_no_room_for_another() {
    let mut moving = restarted();
    merge(&mut moving, &json!({"status": {"updatedReplicas": 1}}));
    let all = Cluster::new()
        .deployment("a", moving.clone())
        .deployment("b", json!({}))
        .deployment("c", json!({}))
        // All of its new pods have a proxy; it counts nevertheless.
        .workload("StatefulSet", "d", {
            let mut moving = moving.clone();
            merge(&mut moving, &json!({"status": {"updateRevision": "s"}}));
            moving
        })
        .assess();
    let states: Vec<&str> = all.bare.iter().map(|found| found.state.key()).collect();
    assert_eq!(states, ["restarting", "restartable", "restartable"]);
    assert_eq!(all.restarting, 2);
    let next = |parallel: usize| match all.next(parallel) {
        Next::Restart(some) => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Next::Halted(_) => "halted".to_owned(),
    };
    assert_eq!(next(0), "");
    assert_eq!(next(2), "");
    assert_eq!(next(3), "Deployment shop/b");
    assert_eq!(next(9), "Deployment shop/b Deployment shop/c");
}

#[test]
fn a_restart_that_does_not_help_halts_all_for_a_day() {
    let after = |at: &str| json!({"metadata": {"annotations": {"outrigger.dev/restartedAt": at}}});
    let cluster = |of_pod: Value| {
        Cluster::new()
            .deployment("other", json!({}))
            .workload("StatefulSet", "web", restarted())
            .pod(Some(("StatefulSet", "web")), "web-0", of_pod)
            .pod(Some(("StatefulSet", "web")), "web-1", json!({}))
    };
    let all = cluster(after(RESTARTED)).assess();
    match all.next(1) {
        Next::Halted(found) => {
            assert_eq!(found.to_string(), "StatefulSet shop/web");
            let expected =
                format!("outrigger restarted it at {RESTARTED}, and its new pods have no proxy either");
            assert_eq!(found.state, RestartState::Ineffective(expected));
        }
        other => panic!("{other:?}"),
    }
    // Pods that are older than the restart do not tell.
    let older = cluster(after("880000")).assess();
    assert_eq!(older.bare[1].state, RestartState::Restartable);
    // A day later it is tried again.
    let mut late = restarted();
    late["spec"]["template"]["metadata"]["annotations"]["outrigger.dev/restartedAt"] = json!("900000");
    let late = Cluster::new().workload("StatefulSet", "web", late).pod(
        Some(("StatefulSet", "web")),
        "web-0",
        after("900000"),
    );
    assert_eq!(state(&late).0, "restartable");
}

#[test]
fn keys_are_distinct_and_listed() {
    let text = String::new;
    let all = [
        RestartState::Restartable,
        RestartState::Restarting,
        RestartState::Waiting(text()),
        RestartState::Excluded(text()),
        RestartState::Ineffective(text()),
    ];
    assert_eq!(all.each_ref().map(RestartState::key), RestartState::KEYS);
}
