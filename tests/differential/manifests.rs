//! Random manifests: every kind with a pod template, Lists, several documents, and objects without a template.

use outrigger::yaml::{self, Limits};
use serde_json::{Map, Value, json};

use super::{pods, random::Random, text};
use crate::zeros::each_pod;

/// A manifest.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) text: String,
    /// The same as JSON.
    pub(crate) objects: Vec<Value>,
}

/// `canonical` removes values without meaning from a pod.
pub(crate) fn manifest(
    random: &mut Random,
    corpus: &Corpus,
    canonical: &mut dyn FnMut(&Value) -> Value,
) -> Manifest {
    let unquoted = random.percent(15);
    let zeros = random.percent(15);
    let count = if random.percent(75) { 1 } else { random.within(2..4) };
    let mut documents = Vec::new();
    let mut objects = Vec::new();
    for _ in 0..count {
        let mut object = if random.percent(25) { corpus.object(random) } else { object(random, true) };
        if !zeros {
            each_pod(&mut object, &mut |pod| {
                let mut clean = canonical(pod);
                clean["metadata"].as_object_mut().unwrap().remove("creationTimestamp");
                *pod = clean;
            });
        }
        if unquoted {
            unquote(random, &mut object);
        }
        documents.push(if random.percent(20) { format!("{object}\n") } else { text::yaml(random, &object) });
        objects.push(object);
    }
    let mut text = documents.join("---\n");
    if random.percent(15) {
        text = format!("---\n{text}");
    }
    if random.percent(10) {
        text.push_str("---\n");
    }
    Manifest { text, objects }
}

/// Initial manifests.
#[derive(Debug, Default)]
pub(crate) struct Corpus {
    objects: Vec<Value>,
    templates: Vec<Value>,
}

impl Corpus {
    /// The documents of some texts.
    pub(crate) fn new<'t>(texts: impl IntoIterator<Item = &'t str>) -> Corpus {
        let mut corpus = Corpus::default();
        for text in texts {
            for document in yaml::split_documents(text) {
                let Ok(mut object) = yaml::load(document.text, &Limits::default()) else { continue };
                if object.is_object() {
                    each_pod(&mut object, &mut |pod| corpus.templates.push(pod.clone()));
                    corpus.objects.push(object);
                }
            }
        }
        assert!(corpus.templates.len() > 5, "manifests to begin with");
        corpus
    }

    /// One of the objects, with random changes.
    fn object(&self, random: &mut Random) -> Value {
        let mut object = random.pick(&self.objects).clone();
        each_pod(&mut object, &mut |pod| *pod = pods::mutated(random, pod));
        object
    }

    /// One of the pods, with random changes.
    pub(crate) fn pod(&self, random: &mut Random) -> Value {
        let template = random.pick(&self.templates).clone();
        pods::of_template(random, &template)
    }
}

fn object(random: &mut Random, lists: bool) -> Value {
    let metadata = |random: &mut Random| {
        let mut metadata = Map::new();
        metadata.insert("name".to_owned(), json!(*random.pick(&["web", "db-1", "a.b"])));
        if random.percent(50) {
            metadata.insert("namespace".to_owned(), json!(*random.pick(&["shop", "kube-system", "default"])));
        }
        metadata
    };
    match random.below(16) {
        0..=4 => workload(random, metadata, "apps/v1", "Deployment"),
        5 => workload(random, metadata, "apps/v1", "StatefulSet"),
        6 => workload(random, metadata, "apps/v1", "DaemonSet"),
        7 => workload(random, metadata, "apps/v1", "ReplicaSet"),
        8 => workload(random, metadata, "batch/v1", "Job"),
        9 => {
            let mut job = json!({"template": pods::template(random)});
            job["completions"] = json!(1);
            let mut template = json!({"spec": job});
            if random.percent(40) {
                template["metadata"] =
                    json!({"annotations": {"example.com/a": "b"}, "labels": {"app": "job"}});
            }
            json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata(random), "spec": {"schedule": "* * * * *", "jobTemplate": template}})
        }
        10 => workload(random, metadata, "v1", "ReplicationController"),
        11 => workload(random, metadata, "apps.openshift.io/v1", "DeploymentConfig"),
        12 => {
            let mut pod = pods::pod(random);
            // A manifest has no fields of the API server.
            pod["metadata"].as_object_mut().unwrap().remove("managedFields");
            pod
        }
        13 => {
            json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata(random), "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}})
        }
        14 => {
            json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": metadata(random), "spec": {"template": {"spec": {"containers": []}}}})
        }
        _ if lists => {
            let count = random.within(1..4);
            json!({"apiVersion": "v1", "kind": "List", "items": (0..count).map(|_| object(random, false)).collect::<Vec<_>>()})
        }
        _ => workload(random, metadata, "apps/v1", "Deployment"),
    }
}

fn workload(
    random: &mut Random,
    metadata: impl Fn(&mut Random) -> Map<String, Value>,
    api: &str,
    kind: &str,
) -> Value {
    let selector = match kind {
        "ReplicationController" | "DeploymentConfig" => json!({"app": "web"}),
        _ => json!({"matchLabels": {"app": "web"}}),
    };
    let mut spec = json!({"template": pods::template(random)});
    if kind != "Job" {
        spec["selector"] = selector;
    }
    if !["Job", "DaemonSet"].contains(&kind) {
        spec["replicas"] = json!(random.below(3));
    }
    if kind == "StatefulSet" {
        spec["serviceName"] = json!("db");
    }
    json!({"apiVersion": api, "kind": kind, "metadata": metadata(random), "spec": spec})
}

/// Removes the quotes from labels, annotations and the values of variables.
fn unquote(random: &mut Random, value: &mut Value) {
    const UNQUOTED: &[fn() -> Value] =
        &[|| json!(true), || json!(false), || json!(17), || json!(1.5), || json!(1000), || json!(null)];
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                if ["labels", "annotations"].contains(&key.as_str())
                    && let Some(texts) = value.as_object_mut()
                {
                    for text in texts.values_mut() {
                        if random.percent(40) {
                            *text = random.pick(UNQUOTED)();
                        }
                    }
                } else if key == "value" && random.percent(50) {
                    *value = random.pick(UNQUOTED)();
                } else {
                    unquote(random, value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| unquote(random, item)),
        _ => {}
    }
}
