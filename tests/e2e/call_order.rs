//! Compares what `outrigger webhook order` says about the order of calls and the second round with what a real API
//! server does, as its audit annotations, the calls to the webhooks and the marks of policies in the pod show.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use super::{
    commands::Shell,
    control_plane::{ControlPlane, Flavour, PATIENCE, eventually},
    install::{Reach, Serving},
    other_webhook::OtherWebhook,
    pods::dry_run,
};

/// What a webhook does to a pod.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Nothing,
    /// Sets an annotation of its own: a second call changes nothing.
    Annotates,
    /// Appends its name to the annotation `trace` in each call.
    Appends,
    /// Adds a container, which makes the plugin ServiceAccount mount the token into it.
    AddsContainer,
    /// Sets the label `made`.
    Labels,
}

/// A webhook: the name of its configuration, that of its entry, its reinvocation policy, what it does.
type Hook = (&'static str, &'static str, &'static str, Does);

/// A call in the audit log: the configuration, the webhook, whether it changed the pod.
type Called = (String, String, bool);

struct Stage {
    control_plane: ControlPlane,
    serving: Serving,
    /// The pod and the webhook of each call, in order.
    log: Arc<Mutex<Vec<(String, String)>>>,
    running: Vec<OtherWebhook>,
    /// How many pods were created: each has a name of its own.
    pods: AtomicUsize,
}

/// What happened to a pod.
struct Observed {
    rounds: [Vec<Called>; 2],
    /// The names in the annotation `trace`.
    trace: Vec<String>,
}

impl Stage {
    async fn set() -> Stage {
        let control_plane = ControlPlane::start(Flavour::Current).await;
        let serving = Serving::new(&control_plane);
        Stage { control_plane, serving, log: Arc::default(), running: Vec::new(), pods: AtomicUsize::new(0) }
    }

    async fn namespace(&self, name: &str) {
        self.control_plane.create_namespace(name, &[]).await;
        self.control_plane.create_service_account(name, "default").await;
    }

    /// Starts webhooks and registers them for a namespace; those of one configuration in the given order.
    async fn webhooks(&mut self, namespace: &str, hooks: &[Hook], selectors: &[(&str, Value)]) {
        let mut configurations: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for (configuration, name, reinvocation, does) in hooks {
            let (log, does, own) = (self.log.clone(), *does, (*name).to_owned());
            let other = OtherWebhook::start(&self.serving, move |request| {
                let pod = request["name"].as_str().unwrap_or_default().to_owned();
                log.lock().unwrap_or_else(PoisonError::into_inner).push((pod, own.clone()));
                operations(does, &own, &request["object"])
            })
            .await;
            let Reach::Url(url) = other.by_url() else { panic!("a URL") };
            self.running.push(other);
            let selector = selectors.iter().find(|(of, _)| of == name).map(|(_, selector)| selector.clone());
            configurations.entry(*configuration).or_default().push(json!({
                "name": format!("{name}.example.com"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "failurePolicy": "Fail", "reinvocationPolicy": reinvocation,
                "clientConfig": {"url": url, "caBundle": self.serving.authority.ca_bundle()},
                "rules": [rule()],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "objectSelector": selector.unwrap_or_else(|| json!({})),
            }));
        }
        // Not in the order of names.
        for (name, webhooks) in configurations.into_iter().rev() {
            let configuration = json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
                "metadata": {"name": name}, "webhooks": webhooks,
            });
            self.control_plane.apply(&configuration.to_string()).await;
        }
    }

    async fn policy(&self, namespace: &str, name: &str, reinvocation: &str, value: &str, bindings: &[&str]) {
        let expression = format!(
            "[JSONPatch{{op: 'replace', path: '/metadata/annotations/trace', value: object.metadata.annotations['trace'] + '{value}'}}]"
        );
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {
                    "resourceRules": [rule()],
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                },
                "failurePolicy": "Fail", "reinvocationPolicy": reinvocation,
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
            },
        });
        self.control_plane.apply(&policy.to_string()).await;
        for binding in bindings {
            let binding = json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
                "metadata": {"name": binding}, "spec": {"policyName": name},
            });
            self.control_plane.apply(&binding.to_string()).await;
        }
    }

    /// Creates pods until all expected webhooks and policies have seen one, and returns what happened to it.
    async fn observe(&self, namespace: &str, webhooks: &[&str], policies: &[&str]) -> Observed {
        let client = self.control_plane.client().await;
        let (webhooks, policies): (BTreeSet<String>, BTreeSet<String>) = (
            webhooks.iter().map(|name| (*name).to_owned()).collect(),
            policies.iter().map(|name| (*name).to_owned()).collect(),
        );
        let (name, stored) = eventually("webhooks and policies are heeded", PATIENCE, async || {
            let name = format!("{namespace}-{}", self.pods.fetch_add(1, Ordering::Relaxed));
            let stored = dry_run(&client, namespace, &pod(&name)).await.expect("nothing stops a pod");
            let called = self.calls(&name).into_iter().collect::<BTreeSet<_>>();
            let traced: BTreeSet<String> = trace(&stored).into_iter().collect();
            (called.is_superset(&webhooks) && traced.is_superset(&policies)).then_some((name, stored))
        })
        .await;
        let rounds = self.audited(&name).await;
        // The log of the webhooks says the same as the audit log.
        let flat: Vec<String> = rounds.iter().flatten().map(|(_, name, _)| name.clone()).collect();
        let calls: Vec<String> = self.calls(&name).iter().map(|name| format!("{name}.example.com")).collect();
        assert_eq!(flat, calls, "{namespace}");
        Observed { rounds, trace: trace(&stored) }
    }

    fn calls(&self, pod: &str) -> Vec<String> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|(of, _)| of == pod).map(|(_, name)| name.clone()).collect()
    }

    /// The calls of both rounds, by the annotations of a creation in the audit log.
    async fn audited(&self, pod: &str) -> [Vec<Called>; 2] {
        let event = eventually("the creation is in the audit log", PATIENCE, async || {
            let is_wanted = |event: &Value| {
                event["requestObject"]["metadata"]["name"] == pod && event["verb"] == "create"
            };
            self.control_plane.audit().into_iter().find(is_wanted)
        })
        .await;
        let annotations = event["annotations"].as_object().cloned().unwrap_or_default();
        [0, 1].map(|round| {
            let prefix = format!("mutation.webhook.admission.k8s.io/round_{round}_index_");
            let mut called = BTreeMap::new();
            for (key, value) in &annotations {
                let Some(index) = key.strip_prefix(&prefix) else { continue };
                let value: Value = serde_json::from_str(value.as_str().expect("text")).expect("JSON");
                let text = |key: &str| value[key].as_str().expect("a name").to_owned();
                let call = (text("configuration"), text("webhook"), value["mutated"] == true);
                called.insert(index.parse::<usize>().expect("a number"), call);
            }
            called.into_values().collect()
        })
    }

    /// What the command says.
    async fn told(&self, namespace: &str, more: &[&str]) -> (Vec<Value>, String) {
        let shell = Shell::of(&self.control_plane);
        let file = shell.file("called.json", &pod("called").to_string());
        let arguments = [&["webhook", "order", "-f", file.as_str(), "-n", namespace][..], more].concat();
        let table = shell.done(&arguments).await;
        let order = shell.done(&[&arguments[..], &["-o", "json"]].concat()).await;
        let order: Value = serde_json::from_str(&order).expect("JSON");
        (order["items"][0]["order"].as_array().expect("a list").clone(), table)
    }

    /// Compares everything that the command says about a namespace with what happened; `plugin` says whether an
    /// admission plugin changes the pod in the second round. Returns the webhooks of the second round.
    async fn compare(&self, namespace: &str, observed: &Observed, plugin: bool) -> Vec<String> {
        let (order, table) = self.told(namespace, &["--selected"]).await;
        let [first, second] = &observed.rounds;
        let of = |entry: &Value| {
            let text = |key: &str| entry[key].as_str().expect("a name").to_owned();
            (text("configuration"), text("name"))
        };
        let webhooks: Vec<&Value> = order.iter().filter(|entry| entry["kind"] == "webhook").collect();
        let said: Vec<_> = webhooks.iter().map(|entry| of(entry)).collect();
        let real: Vec<_> = first.iter().map(|(one, other, _)| (one.clone(), other.clone())).collect();
        assert_eq!(said, real, "{namespace}: {table}");
        let changed = |round: &[Called], entry: &(String, String)| {
            round.iter().any(|(configuration, name, mutated)| {
                *mutated && (configuration, name) == (&entry.0, &entry.1)
            })
        };
        let times = |name: &str| observed.trace.iter().filter(|traced| *traced == name).count();
        let mut expected = Vec::new();
        for entry in &webhooks {
            let named = |key: &str| {
                let list = entry["secondRound"][key].as_array().into_iter().flatten();
                list.map(of).collect::<Vec<_>>()
            };
            let again = match entry["secondRound"]["called"].as_str() {
                Some("never") => false,
                Some("ifChanged") => {
                    let by_webhook = named("byFirstRound").iter().any(|entry| changed(first, entry))
                        || named("bySecondRound").iter().any(|entry| changed(second, entry));
                    let by_policy = named("bySecondRound").iter().any(|entry| times(&entry.1) > 1);
                    by_webhook || by_policy || plugin
                }
                other => panic!("{namespace}: {other:?}"),
            };
            if again {
                expected.push(of(entry));
            }
        }
        let real: Vec<_> = second.iter().map(|(one, other, _)| (one.clone(), other.clone())).collect();
        assert_eq!(expected, real, "{namespace}: {table}");
        for policy in order.iter().filter(|entry| entry["kind"] == "policy") {
            let (_, binding) = of(policy);
            let wanted = if policy["secondRound"]["called"] == "always" { 2 } else { 1 };
            let is_traced = observed.trace.contains(&binding);
            assert!(!is_traced || times(&binding) == wanted, "{namespace}: {:?}\n{table}", observed.trace);
        }
        second.iter().map(|(_, name, _)| name.trim_end_matches(".example.com").to_owned()).collect()
    }
}

fn rule() -> Value {
    json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]})
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": {"trace": "start"}},
        "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]},
    })
}

fn trace(pod: &Value) -> Vec<String> {
    let text = pod["metadata"]["annotations"]["trace"].as_str().unwrap_or_default();
    text.split(',').skip(1).map(ToOwned::to_owned).collect()
}

fn operations(does: Does, name: &str, pod: &Value) -> Vec<Value> {
    let add = |path: String, value: Value| vec![json!({"op": "add", "path": path, "value": value})];
    let metadata = &pod["metadata"];
    match does {
        Does::Nothing => Vec::new(),
        Does::Annotates if metadata["annotations"][name].is_null() => {
            add(format!("/metadata/annotations/{name}"), json!("yes"))
        }
        Does::Appends => {
            let trace = metadata["annotations"]["trace"].as_str().unwrap_or_default();
            add("/metadata/annotations/trace".to_owned(), json!(format!("{trace},{name}")))
        }
        Does::AddsContainer if pod["spec"]["containers"][1].is_null() => {
            add("/spec/containers/-".to_owned(), json!({"name": "extra", "image": "example.com/extra:1"}))
        }
        Does::Labels if metadata["labels"]["made"].is_null() => {
            add("/metadata/labels".to_owned(), json!({"made": "yes"}))
        }
        Does::Annotates | Does::AddsContainer | Does::Labels => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_of_webhooks_and_their_second_round_are_as_an_api_server_has_them() {
    use Does::{AddsContainer, Annotates, Appends, Labels, Nothing};
    let mut stage = Stage::set().await;
    let scenarios: [(&str, &[Hook], &[&str]); 5] = [
        (
            "changes",
            &[
                ("changes-a", "ca", "IfNeeded", Annotates),
                ("changes-b", "cb2", "Never", Nothing),
                ("changes-b", "cb1", "Never", Annotates),
                ("changes-c", "cc", "IfNeeded", Nothing),
                ("changes-d", "cd", "Never", Annotates),
                ("changes-e", "ce", "IfNeeded", Nothing),
            ],
            &["ca", "cc"],
        ),
        ("quiet", &[("quiet-a", "qa", "IfNeeded", Nothing), ("quiet-b", "qb", "Never", Nothing)], &[]),
        // Nobody changes the pod after the last one.
        ("last", &[("last-a", "la", "Never", Nothing), ("last-b", "lb", "IfNeeded", Annotates)], &[]),
        // The second call of the first one changes the pod again, after which the last one is called again.
        (
            "again",
            &[
                ("again-a", "aa", "IfNeeded", Appends),
                ("again-b", "ab", "Never", Annotates),
                ("again-c", "ac", "IfNeeded", Nothing),
            ],
            &["aa", "ac"],
        ),
        (
            "container",
            &[("container-a", "oa", "IfNeeded", Nothing), ("container-b", "ob", "IfNeeded", AddsContainer)],
            &["oa", "ob"],
        ),
    ];
    for (namespace, hooks, _) in &scenarios {
        stage.namespace(namespace).await;
        stage.webhooks(namespace, hooks, &[]).await;
    }
    for (namespace, hooks, again) in &scenarios {
        let names: Vec<&str> = hooks.iter().map(|(_, name, ..)| *name).collect();
        let observed = stage.observe(namespace, &names, &[]).await;
        let second = stage.compare(namespace, &observed, *namespace == "container").await;
        assert_eq!(second, *again, "{namespace}");
    }
    let (_, table) = stage.told("changes", &["--selected"]).await;
    for line in [
        "  1. called  webhook changes-a / ca.example.com: ",
        "; called again if 2, 3, 4, 5 or 6 changes the pod\n",
        "; called again if 1 or 4 changes the pod in the second round\n",
        "  note: there is at most one second round",
    ] {
        assert!(table.contains(line), "{line}: {table}");
    }

    // A label that a webhook sets makes a later one be called, but not an earlier one, not even in the second round.
    stage.namespace("labels").await;
    let made = json!({"matchLabels": {"made": "yes"}});
    let hooks: [Hook; 3] = [
        ("labels-a", "ma", "IfNeeded", Nothing),
        ("labels-b", "mb", "Never", Labels),
        ("labels-c", "mc", "Never", Nothing),
    ];
    stage.webhooks("labels", &hooks, &[("ma", made.clone()), ("mc", made)]).await;
    let observed = stage.observe("labels", &["mb", "mc"], &[]).await;
    let [first, second] = &observed.rounds;
    let first: Vec<&str> = first.iter().map(|(_, name, _)| name.as_str()).collect();
    assert_eq!((first, second.len()), (vec!["mb.example.com", "mc.example.com"], 0));
    let (order, table) = stage.told("labels", &[]).await;
    let selected: Vec<&str> = order
        .iter()
        .filter(|entry| entry["configuration"].as_str().is_some_and(|name| name.starts_with("labels-")))
        .map(|entry| entry["selected"].as_str().expect("a word"))
        .collect();
    assert_eq!(selected, ["no", "yes", "no"]);
    assert!(table.contains("called earlier may change the pod so that more are called"), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_are_applied_before_webhooks_and_again_as_it_is_told() {
    let mut stage = Stage::set().await;
    for namespace in ["policies", "both", "idle", "many"] {
        stage.namespace(namespace).await;
    }
    // The names in a trace are those of the bindings.
    stage.policy("policies", "p1", "IfNeeded", ",p1-b", &["p1-b"]).await;
    stage.policy("policies", "p2", "Never", ",p2-b", &["p2-b"]).await;
    let hooks: [Hook; 2] =
        [("policies-a", "pa", "IfNeeded", Does::Appends), ("policies-b", "pb", "Never", Does::Annotates)];
    stage.webhooks("policies", &hooks, &[]).await;
    let observed = stage.observe("policies", &["pa", "pb"], &["p1-b", "p2-b"]).await;
    assert_eq!(stage.compare("policies", &observed, false).await, ["pa"]);
    // Both rounds: policies in some order, then the webhook that appends.
    let (first, second) = observed.trace.split_at(3);
    assert_eq!(first[2], "pa", "{:?}", observed.trace);
    assert_eq!(second, ["p1-b", "pa"], "{:?}", observed.trace);

    // The policy changes the pod again in the second round, so that the webhook is called again: nothing else changes it.
    stage.policy("both", "both", "IfNeeded", ",both-b", &["both-b"]).await;
    stage.webhooks("both", &[("both-a", "ba", "IfNeeded", Does::Nothing)], &[]).await;
    let observed = stage.observe("both", &["ba"], &["both-b"]).await;
    assert_eq!(stage.compare("both", &observed, false).await, ["ba"]);
    let (_, table) = stage.told("both", &["--selected"]).await;
    assert!(
        table.contains("policy both / both-b: in the API server, failurePolicy Fail; applied twice\n"),
        "{table}"
    );
    assert!(table.contains("; called again if 1 changes the pod in the second round\n"), "{table}");

    // A policy that leaves the pod as it is counts as a change, but webhooks are not called again.
    stage.policy("idle", "idle", "IfNeeded", "", &["idle-b"]).await;
    stage.webhooks("idle", &[("idle-a", "ia", "IfNeeded", Does::Nothing)], &[]).await;
    let applied = async || {
        let name = "apiserver_mutating_admission_policy_check_total";
        stage.control_plane.metric(name, &[r#"policy="idle""#]).await
    };
    eventually("the policy is heeded", PATIENCE, async || {
        stage.observe("idle", &["ia"], &[]).await;
        (applied().await > 0.0).then_some(())
    })
    .await;
    let before = applied().await;
    let client = stage.control_plane.client().await;
    dry_run(&client, "idle", &pod("idle-counted")).await.expect("a pod");
    assert_eq!(applied().await - before, 2.0);
    assert_eq!(stage.calls("idle-counted"), ["ia"]);

    // The order of policies, and of the bindings of one, is not that of their names, nor any other: it is another one after
    // a change of any policy.
    let bindings: Vec<String> = (1..=6).map(|index| format!("many-{index}")).collect();
    for binding in &bindings {
        stage.policy("many", binding, "Never", &format!(",{binding}"), &[binding.as_str()]).await;
    }
    let names: Vec<&str> = bindings.iter().map(String::as_str).collect();
    stage.observe("many", &[], &names).await;
    let mut attempt = 0;
    let mut orders = BTreeSet::new();
    eventually("policies are applied in more than one order", PATIENCE, async || {
        attempt += 1;
        let value = format!("touched={attempt}");
        let arguments = ["annotate", "--overwrite", "mutatingadmissionpolicy", "many-1", &value];
        stage.control_plane.kubectl(&arguments).await;
        let pod = dry_run(&client, "many", &pod(&format!("many-{attempt}"))).await.expect("a pod");
        orders.insert(trace(&pod));
        (orders.len() > 1).then_some(())
    })
    .await;
    let (_, table) = stage.told("many", &["--selected"]).await;
    assert!(
        table.contains("note: API servers apply policies in no fixed order, before all webhooks"),
        "{table}"
    );
}
