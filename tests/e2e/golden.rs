//! Istio's recorded pods once more, by way of a real API server: created with dry-run through the webhook, and stored
//! as they should be.
//!
//! Two questions are asked of every pod. Is it stored as the engine says, for what the API server really sent? That is
//! compared without any allowance. And is it stored as Istio's answer would have been? The recordings were made of pods
//! as people write them, and an API server fills in defaults before it calls a webhook; so defaults are
//! allowed on our side, see [`settle`] and [`shows_through`].

use std::{collections::BTreeMap, fs, path::Path};

use futures::StreamExt;
use kube::Client;
use outrigger::{
    config::{InjectorConfig, Source},
    inject::{self, Facts, Outcome, PodRequest},
};
use serde_json::{Value, json};

use super::{
    control_plane::{ControlPlane, Flavour, PATIENCE, until},
    install::{Reach, Serving, Webhook},
    other_webhook::OtherWebhook,
    outrigger_process::{Outrigger, OutriggerProcess},
    pods::{comparable, dry_run, dry_run_as, unlike},
};
use crate::{
    equal::differences,
    recordings::{Call, bundle, calls, namespaces, recordings, settings},
};

/// Creations at once.
const AT_ONCE: usize = 8;
/// A namespace whose pods are sent to no webhook.
const REFERENCE: &str = "reference";
/// The namespace of recorded requests without one.
const NAMELESS: &str = "default";

/// Under `compat: outrigger`: pods that are valid until they are injected, as they would be with Istio.
const SPOILED: [(&str, &str); 3] = [
    ("a039-only-proxy-container/0", ONLY_THE_PROXY),
    ("a127-user-volume/0", IMPOSSIBLE_PATH),
    ("random-35", ONE_PORT_TWICE),
];
const ONLY_THE_PROXY: &str = "its only container is the proxy, which becomes an init container";
const IMPOSSIBLE_PATH: &str = "its annotation asks for a volume with an absolute path in it";
const ONE_PORT_TWICE: &str =
    "a container has a port twice, once with a name, and a template touches the container";

/// The result of a recorded call.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// Stored as expected.
    Stored,
    /// Stored, and as Istio's but for defaults of a container the user gave; see [`shows_through`].
    StoredWithDefaults,
    /// Denied by the webhook, as Istio did.
    Denied,
    /// Rejected by the API server, both before and after injection.
    NeverValid,
    /// Accepted by the API server without a proxy, but neither with ours nor with Istio's.
    Spoiled,
}

/// A control plane with the namespaces and accounts of the recordings, outrigger, and a recorder before it.
struct Stage {
    control_plane: ControlPlane,
    outrigger: OutriggerProcess,
    recorder: OtherWebhook,
    client: Client,
}

impl Stage {
    async fn set(namespaces: &[String], bundle: &str) -> Stage {
        let control_plane = ControlPlane::start(Flavour::Current).await;
        for name in namespaces.iter().map(String::as_str).chain([REFERENCE]) {
            if !["default", "kube-system"].contains(&name) {
                control_plane.create_namespace(name, &[]).await;
            }
            if name != REFERENCE {
                control_plane.kubectl(&["label", "namespace", name, "istio-injection=enabled"]).await;
            }
        }
        control_plane.apply(&accounts(namespaces).to_string()).await;
        let serving = Serving::new(&control_plane);
        let file = control_plane.folder().join("bundle.json");
        fs::write(&file, bundle).expect("a file in a temporary folder");
        let outrigger = Outrigger::standalone(&serving.certificate, &serving.key);
        let outrigger = outrigger.flag("bundle", file.display()).start().await;
        let recorder = OtherWebhook::recorder(&serving).await;
        Webhook::new("a-recorder", recorder.by_service(), &serving.authority).apply(&control_plane).await;
        let webhook = Webhook::new("b-outrigger", Reach::service_of(&outrigger), &serving.authority);
        webhook.install(&control_plane, NAMELESS).await;
        let client = control_plane.client().await;
        let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
        until("the recorder is called", PATIENCE, async || {
            dry_run(&client, NAMELESS, &pod).await.is_ok() && !recorder.calls().is_empty()
        })
        .await;
        Stage { control_plane, outrigger, recorder, client }
    }

    /// Activates another bundle; returns the engine's output for it.
    async fn swap(&mut self, text: &str) -> InjectorConfig {
        let (mesh, _) = InjectorConfig::from_bundle(Source { name: "bundle", text }).expect("a bundle");
        let file = self.control_plane.folder().join("bundle.json");
        replace(&file, text);
        self.outrigger.signal("HUP");
        let hash = format!("hash={:?}", mesh.hash());
        until("the bundle is in use", PATIENCE, async || {
            self.outrigger.metric("outrigger_config_hash_info", &[&hash]).await == 1.0
        })
        .await;
        mesh
    }

    /// The pod as the API server stores it without any webhook.
    async fn reference(&self, pod: &Value) -> Result<Value, String> {
        dry_run(&self.client, REFERENCE, pod).await
    }

    /// Creates the pod of a call through the webhook.
    async fn create(&self, call: &Call) -> Result<Value, String> {
        dry_run_as(&self.client, namespace(call), &presentable(&call.pod), &call.name).await
    }

    /// Whether a pod is stored as the engine computes for the API server's request, without any allowance.
    async fn is_the_engines(&self, call: &Call, mesh: &InjectorConfig, stored: &Value) -> Result<(), String> {
        let manager = json!(call.name);
        let sent =
            self.recorder.calls().into_iter().find(|sent| sent.request["options"]["fieldManager"] == manager);
        let received = match sent {
            Some(sent) => sent.request["object"].clone(),
            None if call.pod["metadata"]["labels"]["sidecar.istio.io/inject"] == "false" => {
                presentable(&call.pod)
            }
            None => return Err("never sent".to_owned()),
        };
        let request = PodRequest::new(namespace(call), received.clone());
        let answer = match inject::run(mesh, &request, &Facts::of(mesh, namespace(call))) {
            Ok(Outcome::Injected(injection)) => injection.pod,
            Ok(Outcome::Skipped(_)) => received,
            Err(refusal) => return Err(format!("the engine refuses: {refusal}")),
        };
        let wanted =
            self.reference(&answer).await.map_err(|error| format!("the engine's answer: {error}"))?;
        match unlike(stored, &wanted) {
            None => Ok(()),
            Some(found) => Err(format!("not the engine's answer: {found}")),
        }
    }

    /// A call under `compat: istio`.
    async fn as_istio(&self, call: &Call, mesh: &InjectorConfig) -> Result<Fate, String> {
        let stored = self.create(call).await;
        if !call.allowed {
            let denied = matches!(&stored, Err(error) if error.contains("denied the request"));
            return if denied { Ok(Fate::Denied) } else { Err(format!("not denied: {stored:?}")) };
        }
        let theirs = presentable(call.patched.as_ref().unwrap_or(&call.pod));
        match (stored, self.reference(&theirs).await) {
            (Ok(stored), Ok(theirs)) => {
                self.is_the_engines(call, mesh, &stored).await?;
                let theirs = comparable(&theirs);
                let found = differences(&settle(&comparable(&stored), &theirs), &theirs);
                match found.iter().find(|difference| !shows_through(difference, &call.pod, &stored)) {
                    Some(_) => Err(found.join("\n    ")),
                    None if found.is_empty() => Ok(Fate::Stored),
                    None => Ok(Fate::StoredWithDefaults),
                }
            }
            (Err(ours), Err(theirs)) if without_names(&ours) == without_names(&theirs) => {
                let valid = self.reference(&presentable(&call.pod)).await.is_ok();
                Ok(if valid { Fate::Spoiled } else { Fate::NeverValid })
            }
            (ours, theirs) => Err(format!("ours: {:?}\n    theirs: {:?}", ours.err(), theirs.err())),
        }
    }

    /// A call under `compat: outrigger`: a pod that the API server accepts without a proxy is also accepted with one,
    /// except for those in the table.
    async fn as_outrigger(&self, call: &Call, mesh: &InjectorConfig) -> Result<Fate, String> {
        let spoiled = SPOILED.iter().find(|(name, _)| *name == call.name);
        match self.create(call).await {
            Ok(_) if spoiled.is_some() => Err(format!("valid, though listed as spoiled: {spoiled:?}")),
            Ok(stored) => self.is_the_engines(call, mesh, &stored).await.map(|()| Fate::Stored),
            Err(error) if error.contains("denied the request") => Ok(Fate::Denied),
            Err(error) => match self.reference(&presentable(&call.pod)).await {
                Ok(_) if spoiled.is_some() => Ok(Fate::Spoiled),
                Ok(_) => Err(format!("valid before injection only: {error}")),
                Err(_) => Ok(Fate::NeverValid),
            },
        }
    }
}

/// Runs all recorded calls, setting by setting; returns the number of each result.
async fn all(folder: &Path, compat: &str) -> BTreeMap<Fate, usize> {
    let calls = calls(folder);
    let settings = settings(folder);
    let namespaces = namespaces(&calls);
    let mut stage = Stage::set(&namespaces, &bundle(&settings[0], compat, &namespaces)).await;
    let mut counts = BTreeMap::new();
    let mut failed = Vec::new();
    for (index, setting) in settings.iter().enumerate() {
        let mesh = stage.swap(&bundle(setting, compat, &namespaces)).await;
        let (stage, mesh) = (&stage, &mesh);
        let calls = calls.iter().filter(|call| call.setting == index).map(async |call| {
            let outcome = match compat {
                "istio" => stage.as_istio(call, mesh).await,
                _ => stage.as_outrigger(call, mesh).await,
            };
            (call, outcome)
        });
        let mut outcomes = futures::stream::iter(calls).buffer_unordered(AT_ONCE);
        while let Some((call, outcome)) = outcomes.next().await {
            match outcome {
                Ok(outcome) => *counts.entry(outcome).or_default() += 1,
                Err(error) => failed.push(format!("{} (setting {index}): {error}", call.name)),
            }
        }
    }
    println!("recorded pods through a real API server under `compat: {compat}`: {counts:?}");
    assert!(failed.is_empty(), "{} of {} failed\n{}", failed.len(), calls.len(), failed.join("\n"));
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the recordings in ../shared/istio-golden"]
async fn recorded_pods_are_stored_as_istios_answers() {
    let folder = recordings();
    let counts = all(&folder, "istio").await;
    // The allowance must be needed; without a case it would be forgotten and hide errors.
    assert!(counts.contains_key(&Fate::StoredWithDefaults));
    assert!(counts[&Fate::Stored] > 400, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the recordings in ../shared/istio-golden"]
async fn recorded_pods_stay_valid_when_they_are_injected() {
    let folder = recordings();
    let counts = all(&folder, "outrigger").await;
    assert!(counts[&Fate::Stored] > 400, "{counts:?}");
}

fn namespace(call: &Call) -> &str {
    if call.namespace.is_empty() { NAMELESS } else { &call.namespace }
}

/// The accounts the recorded pods name. Tokens are not mounted: the API server puts their volume before or after those
/// of an injection, depending on which came first.
fn accounts(namespaces: &[String]) -> Value {
    let mut items = Vec::new();
    for namespace in namespaces.iter().map(String::as_str).chain([REFERENCE]) {
        for name in ["default", "sa", "non-default"] {
            items.push(json!({
                "apiVersion": "v1", "kind": "ServiceAccount", "automountServiceAccountToken": false,
                "metadata": {"name": name, "namespace": namespace},
            }));
        }
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// A pod that an API server can accept: its owners have a uid, and it needs no RuntimeClass.
fn presentable(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let owners = pod.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut);
    for owner in owners.into_iter().flatten() {
        owner["uid"] = json!("00000000-0000-0000-0000-000000000000");
    }
    if let Some(spec) = pod.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.remove("overhead");
    }
    pod
}

/// Takes Istio's value where an injection recorded a part of the pod as JSON (ports, probes and hooks in the
/// environment of the proxy, the user's own containers in an annotation) and our value is the same plus an API server's
/// defaults.
fn settle(ours: &Value, theirs: &Value) -> Value {
    let mut settled = ours.clone();
    let overrides = "/metadata/annotations/proxy.istio.io~1overrides";
    settle_text(settled.pointer_mut(overrides), theirs.pointer(overrides));
    for list in ["containers", "initContainers"] {
        for (index, container) in settled["spec"][list].as_array_mut().into_iter().flatten().enumerate() {
            for (place, variable) in container["env"].as_array_mut().into_iter().flatten().enumerate() {
                let theirs = &theirs["spec"][list][index]["env"][place];
                let name = variable["name"].as_str().unwrap_or_default();
                if ["ISTIO_META_POD_PORTS", "ISTIO_KUBE_APP_PROBERS"].contains(&name)
                    && theirs["name"] == name
                {
                    settle_text(variable.get_mut("value"), theirs.get("value"));
                }
            }
        }
    }
    settled
}

fn settle_text(ours: Option<&mut Value>, theirs: Option<&Value>) {
    let read = |text: &Value| serde_json::from_str::<Value>(text.as_str()?).ok();
    if let (Some(ours), Some(theirs)) = (ours, theirs)
        && let (Some(mine), Some(their)) = (read(ours), read(theirs))
        && has_defaults_more(&mine, &their, "")
    {
        *ours = theirs.clone();
    }
}

/// Whether a document equals another one plus Kubernetes' defaults.
fn has_defaults_more(ours: &Value, theirs: &Value, key: &str) -> bool {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let lost = |(key, value): (&String, &Value)| !value.is_null() && !ours.contains_key(key);
            !theirs.iter().any(lost)
                && ours.iter().all(|(name, value)| match theirs.get(name) {
                    Some(theirs) if !theirs.is_null() => has_defaults_more(value, theirs, name),
                    _ if value.is_null() || key == "requests" => true,
                    _ => is_default(name, value),
                })
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|(ours, theirs)| has_defaults_more(ours, theirs, ""))
        }
        _ => ours == theirs,
    }
}

/// Whether an API server sets a field of a container or a probe to this value by default.
fn is_default(field: &str, value: &Value) -> bool {
    match field {
        "protocol" => value == "TCP",
        "scheme" => value == "HTTP",
        "path" => value == "/",
        "service" => value == "",
        "timeoutSeconds" | "successThreshold" => value == 1,
        "periodSeconds" => value == 10,
        "failureThreshold" => value == 3,
        "terminationMessagePath" => value == "/dev/termination-log",
        "terminationMessagePolicy" => value == "File",
        "imagePullPolicy" => value == "Always" || value == "IfNotPresent",
        // A limit without a request is a request too.
        "requests" => value.is_object(),
        "resources" => value.as_object().is_some_and(serde_json::Map::is_empty),
        "apiVersion" => value == "v1",
        _ => false,
    }
}

/// Whether a difference comes from defaults that the API server set in a user's container that the injection laid over
/// its own: they look as if the user had set them, to Istio too.
fn shows_through(difference: &str, given: &Value, stored: &Value) -> bool {
    let lists = ["containers", "initContainers"];
    let names = |pod: &Value| -> Vec<String> {
        let containers = lists.iter().filter_map(|list| pod["spec"][list].as_array()).flatten();
        containers.filter_map(|container| container["name"].as_str().map(ToOwned::to_owned)).collect()
    };
    let given = names(given);
    let path = difference.split_once(": ").map_or("", |(path, _)| path);
    let mut parts = path.trim_start_matches('/').splitn(4, '/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("spec"), Some(list), Some(index), Some(field)) if lists.contains(&list) => {
            let index = index.parse::<usize>().unwrap_or(usize::MAX);
            let name = stored["spec"][list][index]["name"].as_str().unwrap_or_default();
            // A limit without a request is a request too.
            let defaulted = field == "imagePullPolicy" || field.starts_with("resources/requests/");
            defaulted && given.iter().any(|given| given == name)
        }
        _ => false,
    }
}

/// An API server's error without the names and values in it, some of which are generated.
fn without_names(refusal: &str) -> String {
    refusal.split('"').step_by(2).collect()
}

/// Replaces a file in one step.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("a file in a temporary folder");
    fs::rename(&new, file).expect("a file in a temporary folder");
}
