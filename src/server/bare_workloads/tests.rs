//! The controller against an API server with scripted responses. Time is paused.

use std::sync::Mutex;

use prometheus_client::registry::Registry;
use serde_json::json;

use super::*;
use crate::config::InjectorConfig;
use crate::server::configuration::build::{Cluster, loaded};
use crate::server::configuration::metrics::ConfigurationMetrics;
use crate::server::configuration::slot::Slot;
use crate::server::kube::scripted::{Asked, Requests, Turn, api_server, until};
use crate::server::observe::metrics::{self, Exposition};
use crate::server::readiness::Readiness;
use crate::server::shutdown::Control;
use crate::webhook_config::{Settings, rules};

/// The objects of the cluster, by the plural of their kind.
type Stored = Arc<Mutex<BTreeMap<&'static str, Vec<Value>>>>;

struct Rig {
    registry: Registry,
    requests: Requests,
    phase: Control,
}

/// A namespace that asks for injection, and the webhook of the default revision.
fn stored() -> Stored {
    let mut webhooks = Settings::default().objects();
    for entry in webhooks.iter_mut().flat_map(|one| one["webhooks"].as_array_mut().unwrap()) {
        entry["rules"] = rules();
    }
    let shop = json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"name": "shop", "labels": {"istio-injection": "enabled"}},
    });
    Arc::new(Mutex::new(BTreeMap::from([
        ("namespaces", vec![shop]),
        ("mutatingwebhookconfigurations", webhooks),
    ])))
}

fn add(stored: &Stored, plural: &'static str, object: Value) {
    stored.lock().unwrap().entry(plural).or_default().push(object);
}

/// A settled StatefulSet with one pod, which has no proxy.
fn add_bare(stored: &Stored, name: &str) {
    add(
        stored,
        "statefulsets",
        json!({
            "metadata": {
                "namespace": "shop", "name": name, "generation": 1, "uid": format!("uid-of-{name}"),
                "resourceVersion": "1", "managedFields": [{"manager": "kubectl"}],
            },
            "spec": {"replicas": 1, "template": {
                "metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": "main"}]},
            }},
            "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
        }),
    );
    let owner = json!({"kind": "StatefulSet", "name": name, "controller": true, "apiVersion": "apps/v1"});
    add(
        stored,
        "pods",
        json!({
            "metadata": {"namespace": "shop", "name": format!("{name}-0"), "ownerReferences": [owner]},
            "spec": {"containers": [{"name": "main", "image": "main"}]}, "status": {"phase": "Running"},
        }),
    );
}

/// Ends the rollout of a StatefulSet: its pod is another one.
fn roll_out(stored: &Stored, name: &str, with_proxy: bool) {
    let mut stored = stored.lock().unwrap();
    let sets = stored.get_mut("statefulsets").unwrap();
    let set = sets.iter_mut().find(|set| set["metadata"]["name"] == name).unwrap();
    set["status"]["observedGeneration"] = set["metadata"]["generation"].clone();
    let annotations = set["spec"]["template"]["metadata"]["annotations"].clone();
    let pods = stored.get_mut("pods").unwrap();
    let pod = pods.iter_mut().find(|pod| pod["metadata"]["name"] == format!("{name}-0")).unwrap();
    pod["metadata"]["annotations"] = annotations;
    if with_proxy {
        pod["spec"]["initContainers"] = json!([{"name": "istio-proxy"}]);
    }
}

/// Lists one object per page; a patch sets the annotation and the next generation.
fn respond(stored: &Stored, asked: &Asked) -> Turn {
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    if path.ends_with("/events") {
        return Turn::Answer(201, &[], asked.body.clone());
    }
    let mut stored = stored.lock().unwrap();
    if asked.method == "PATCH" {
        let name = path.rsplit('/').next().unwrap();
        let sets = stored.get_mut("statefulsets").unwrap();
        let set = sets.iter_mut().find(|set| set["metadata"]["name"] == name).unwrap();
        if set["metadata"]["resourceVersion"] != asked.body["metadata"]["resourceVersion"] {
            return Turn::refused(409);
        }
        if set["metadata"]["labels"]["busy"] == "true" {
            return Turn::refused(409);
        }
        if set["metadata"]["labels"]["locked"] == "true" {
            return Turn::refused(403);
        }
        if !query.contains("dryRun=All") {
            let annotations = &asked.body["spec"]["template"]["metadata"]["annotations"];
            set["spec"]["template"]["metadata"]["annotations"] = annotations.clone();
            set["metadata"]["generation"] = json!(set["metadata"]["generation"].as_u64().unwrap() + 1);
            set["metadata"]["resourceVersion"] = json!("2");
        }
        return Turn::object(set.clone());
    }
    let plural = path.rsplit('/').next().unwrap();
    let items = stored.get(plural).cloned().unwrap_or_default();
    if items.first().is_some_and(|first| first["forbidden"] == true) {
        return Turn::refused(403);
    }
    let at = query.rsplit_once("continue=").map_or(0, |(_, token)| token.parse::<usize>().unwrap());
    let next = (at + 1 < items.len()).then(|| (at + 1).to_string());
    let page: Vec<&Value> = items.get(at).into_iter().collect();
    Turn::object(json!({"kind": "List", "apiVersion": "v1", "metadata": {"continue": next}, "items": page}))
}

fn options(mode: Mode) -> Options {
    Options {
        mode,
        interval: Duration::from_secs(60),
        parallel: 1,
        windows: Vec::new(),
        identity: "replica".to_owned(),
    }
}

fn rig(stored: &Stored, options: Options, leading: Option<watch::Receiver<bool>>) -> Rig {
    let objects = stored.clone();
    let (client, requests) = api_server(move |asked| respond(&objects, asked));
    let mut registry = Registry::default();
    let metrics = BareWorkloadMetrics::register(&mut registry);
    let supervisor = Supervisor::register(&mut registry);
    let phase = Control::new();
    let gate = Readiness::default().gate("configuration", "nothing");
    let configuration = Configuration::new("bundle", Slot::default(), gate, ConfigurationMetrics::default());
    configuration.publish(loaded(InjectorConfig::embedded().unwrap(), &[], Cluster::Unknown).unwrap());
    let configuration = Arc::new(configuration);
    start(client, options, Targets { configuration, metrics, leading, supervisor, phase: phase.watch() });
    Rig { registry, requests, phase }
}

fn leader() -> Option<watch::Receiver<bool>> {
    let (leads, leading) = watch::channel(true);
    // A channel whose sender is gone keeps its value.
    drop(leads);
    Some(leading)
}

impl Rig {
    fn samples(&self) -> BTreeMap<String, u64> {
        let text = metrics::encode(&self.registry, Exposition::Classic).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, number) = line.rsplit_once(' ')?;
            Some((name.trim_end_matches("{}").to_owned(), number.parse().ok()?))
        });
        samples.filter(|(name, number)| *number > 0 && !name.contains("panics")).collect()
    }

    fn sample(&self, name: &str) -> u64 {
        self.samples().get(name).copied().unwrap_or_default()
    }

    /// The Events: object, reason and text.
    fn events(&self) -> Vec<(String, String, String)> {
        let asked = self.requests.all();
        let events = asked.iter().filter(|asked| asked.target.contains("/events"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of =
            |body: &Value| (text(&body["regarding"]["name"]), text(&body["reason"]), text(&body["note"]));
        events.map(|asked| of(&asked.body)).collect()
    }

    /// The patches: name, and whether it is a dry run.
    fn patches(&self) -> Vec<(String, bool)> {
        let asked = self.requests.all();
        let patches = asked.iter().filter(|asked| asked.method == "PATCH");
        patches
            .map(|asked| {
                let (path, query) = asked.target.split_once('?').unwrap();
                assert!(query.contains("fieldManager=outrigger"), "{query}");
                (path.rsplit('/').next().unwrap().to_owned(), query.contains("dryRun=All"))
            })
            .collect()
    }

    fn restarted(&self) -> Vec<String> {
        self.patches().into_iter().filter(|(_, dry_run)| !dry_run).map(|(name, _)| name).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn what_runs_without_a_proxy_is_reported() {
    let stored = stored();
    add_bare(&stored, "db");
    let rig = rig(&stored, options(Mode::Report), leader());
    until("an Event", || !rig.events().is_empty()).await;
    assert_eq!(
        rig.events(),
        [(
            "db".to_owned(),
            "RunsWithoutProxy".to_owned(),
            "1 of 1 running pods has no proxy, although a new one would get one: db-0; to replace them: kubectl -n shop rollout \
             restart statefulset/db"
                .to_owned()
        )]
    );
    let expected = [("bare_pods", 1), ("bare_workloads{state=\"restartable\"}", 1)];
    assert_eq!(rig.samples(), expected.map(|(name, number)| (name.to_owned(), number)).into());
    tokio::time::sleep(Duration::from_secs(3000)).await;
    assert_eq!((rig.events().len(), rig.patches().len()), (1, 0), "told once an hour, and not restarted");
    tokio::time::sleep(Duration::from_secs(800)).await;
    assert_eq!(rig.events().len(), 2);
    rig.phase.advance(Phase::Draining);
    until("another replica reports", || rig.samples().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn one_workload_after_the_other_is_restarted() {
    let stored = stored();
    add_bare(&stored, "a");
    add_bare(&stored, "b");
    let rig = rig(&stored, options(Mode::Restart), leader());
    until("a restart", || rig.restarted().len() == 1).await;
    assert_eq!(rig.patches(), [("a".to_owned(), true), ("a".to_owned(), false)], "a dry run comes first");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(rig.restarted(), ["a"], "its rollout is in progress");
    assert_eq!(rig.sample("bare_workloads{state=\"restarting\"}"), 1);
    roll_out(&stored, "a", true);
    until("the next restart", || rig.restarted().len() == 2).await;
    assert_eq!(rig.restarted(), ["a", "b"]);
    roll_out(&stored, "b", true);
    until("all have a proxy", || rig.sample("bare_pods") == 0).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(rig.restarted().len(), 2);
    assert_eq!(rig.sample("workload_restarts_total{result=\"restarted\"}"), 2);
    let reasons: Vec<String> =
        rig.events().into_iter().map(|(name, reason, _)| format!("{name} {reason}")).collect();
    for expected in ["a RestartedForProxy", "b RestartedForProxy", "b RunsWithoutProxy"] {
        assert!(reasons.iter().any(|reason| reason == expected), "{expected}: {reasons:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_vain_is_the_last_one() {
    let stored = stored();
    add_bare(&stored, "a");
    add_bare(&stored, "b");
    let rig = rig(&stored, options(Mode::Restart), leader());
    until("a restart", || rig.restarted().len() == 1).await;
    roll_out(&stored, "a", false);
    until("it is known", || rig.sample("bare_workloads{state=\"ineffective\"}") == 1).await;
    tokio::time::sleep(Duration::from_secs(6000)).await;
    assert_eq!(rig.restarted(), ["a"]);
    let events = rig.events();
    let of_a = events.iter().find(|(name, _, text)| name == "a" && text.contains("have no proxy either"));
    assert!(of_a.is_some_and(|(_, _, text)| text.contains("no workload is restarted until")), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_restart_is_told_and_tried_again() {
    let stored = stored();
    add_bare(&stored, "db");
    stored.lock().unwrap().get_mut("statefulsets").unwrap()[0]["metadata"]["labels"] =
        json!({"locked": "true"});
    let rig = rig(&stored, options(Mode::Restart), leader());
    until("a refusal", || rig.sample("workload_restarts_total{result=\"refused\"}") > 0).await;
    until("an Event", || rig.events().iter().any(|(_, reason, _)| reason == "RestartRefused")).await;
    assert!(rig.patches().iter().all(|(_, dry_run)| *dry_run), "refused before anything happened");
    stored.lock().unwrap().get_mut("statefulsets").unwrap()[0]["metadata"]["labels"] = json!({});
    until("a restart", || rig.restarted().len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_others_change_is_tried_again_without_a_word() {
    let stored = stored();
    add_bare(&stored, "db");
    let label = |value: &str| {
        stored.lock().unwrap().get_mut("statefulsets").unwrap()[0]["metadata"]["labels"] =
            json!({"busy": value});
    };
    label("true");
    let rig = rig(&stored, options(Mode::Restart), leader());
    until("conflicts", || rig.sample("workload_restarts_total{result=\"changed\"}") > 1).await;
    assert!(rig.events().iter().all(|(_, reason, _)| reason == "RunsWithoutProxy"), "{:?}", rig.events());
    label("false");
    until("a restart", || rig.restarted().len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn outside_of_the_windows_nothing_is_restarted() {
    let stored = stored();
    add_bare(&stored, "db");
    // The wall clock is not paused: an hour that is not now.
    let hour = (unix_now() / 3600 + 3) % 24;
    let windows = vec![format!("{hour:02}:00-{hour:02}:59").parse().unwrap()];
    let rig = rig(&stored, Options { windows, ..options(Mode::Restart) }, leader());
    until("an Event", || !rig.events().is_empty()).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(rig.patches().is_empty());
    assert!(rig.events()[0].2.contains("when the windows and other restarts allow it"), "{:?}", rig.events());
}

#[tokio::test(start_paused = true)]
async fn only_the_elected_replica_acts() {
    let stored = stored();
    add_bare(&stored, "db");
    let (leads, leading) = watch::channel(false);
    let follower = rig(&stored, options(Mode::Restart), Some(leading));
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(follower.requests.all().len(), 0);
    leads.send_replace(true);
    until("a restart", || !follower.restarted().is_empty()).await;
    leads.send_replace(false);
    until("the next leader reports", || follower.sample("bare_pods") == 0).await;

    // Without an election, every replica would restart.
    let again = self::stored();
    add_bare(&again, "db");
    let alone = rig(&again, options(Mode::Restart), None);
    until("reported", || !alone.events().is_empty()).await;
    assert!(alone.patches().is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_list_nothing_is_known() {
    let stored = stored();
    add_bare(&stored, "db");
    let rig = rig(&stored, options(Mode::Restart), leader());
    until("counted", || rig.sample("bare_pods") == 1).await;
    let before = rig.restarted().len();
    stored.lock().unwrap().insert("poddisruptionbudgets", vec![json!({"forbidden": true})]);
    until("forgotten", || rig.sample("bare_pods") == 0).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(rig.restarted().len(), before);
}
