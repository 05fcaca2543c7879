//! Pods as controllers create them one after another: what distinguishes each from the others of its series, and where
//! it stands. Shared by the tests, the benchmarks and the fuzz target of the patch cache.

use serde_json::{Map, Value, json};

/// A controller, or a person, that creates pods which differ in generated names only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Series {
    ReplicaSet,
    Rollout,
    DaemonSet,
    StatefulSet,
    Job,
    IndexedJob,
    CronJob,
    JobSet,
    Bare,
}

/// The strings that are generated for one pod. Not every series uses all of them.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// Of the pod itself, where its prefix does not suffice.
    pub(crate) pod: String,
    /// Of the pod template.
    pub(crate) hash: String,
    /// Of the owner.
    pub(crate) uid: String,
    /// Suffix of the token volume.
    pub(crate) token: String,
    /// The node that a DaemonSet's pod is for.
    pub(crate) node: String,
    /// The Job.
    pub(crate) job: String,
    /// Ordinal or completion index.
    pub(crate) index: String,
    /// The claim of a StatefulSet's pod.
    pub(crate) claim: String,
}

impl Series {
    pub(crate) const ALL: [Series; 9] = [
        Series::ReplicaSet,
        Series::Rollout,
        Series::DaemonSet,
        Series::StatefulSet,
        Series::Job,
        Series::IndexedJob,
        Series::CronJob,
        Series::JobSet,
        Series::Bare,
    ];

    /// The names of the pod with a number.
    pub(crate) fn names(self, number: usize) -> Names {
        let drawn = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let text = |shift: u32, length: usize| -> String {
            let mut rest = drawn.rotate_left(shift);
            let letters = b"bcdfghjklmnpqrstvwxz2456789";
            let letter = |rest: u64| char::from(letters[(rest % letters.len() as u64) as usize]);
            (0..length)
                .map(|_| {
                    rest = rest.wrapping_mul(0x5851_f42d_4c95_7f2d).rotate_left(23) ^ drawn;
                    letter(rest)
                })
                .collect()
        };
        let uid = |number: u64| format!("{number:08x}-0000-4000-8000-{number:012x}");
        let own = (drawn >> 32, number);
        // The pods of these have one owner.
        let owner = match self {
            Series::DaemonSet | Series::StatefulSet | Series::IndexedJob => (7, 0),
            _ => own,
        };
        Names {
            pod: match self {
                Series::StatefulSet => format!("web-{number}"),
                _ => format!("worker-{number}"),
            },
            hash: text(0, 10),
            uid: uid(owner.0),
            token: text(17, 5),
            node: format!("ip-10-0-{}-{}.eu-central-1.compute.internal", number / 250, number % 250),
            job: match self {
                Series::CronJob => format!("backup-{}", 28_374_650 + number),
                Series::IndexedJob => "render".to_owned(),
                Series::JobSet => format!("train-workers-{}", number / 8),
                _ => format!("import-{number}"),
            },
            index: match self {
                Series::JobSet => (number % 8).to_string(),
                _ => number.to_string(),
            },
            claim: format!("data-web-{number}"),
        }
    }

    /// The pod of a series with these names, on the basis of one without an owner; `None` if that has no place for them.
    pub(crate) fn pod(self, basis: &Value, names: &Names) -> Option<Value> {
        let mut pod = basis.clone();
        let metadata = pod.as_object_mut()?.entry("metadata").or_insert_with(|| json!({})).as_object_mut()?;
        for key in ["name", "generateName", "ownerReferences"] {
            metadata.remove(key);
        }
        let Names { hash, uid, node, job, index, claim, .. } = names;
        let labels: Vec<(&str, &str)> = match self {
            Series::ReplicaSet => vec![("pod-template-hash", hash)],
            Series::Rollout => vec![("rollouts-pod-template-hash", hash)],
            Series::DaemonSet => {
                vec![("controller-revision-hash", "7c9d8f6b5"), ("pod-template-generation", "1")]
            }
            Series::StatefulSet => vec![
                ("apps.kubernetes.io/pod-index", index),
                ("controller-revision-hash", "web-7c9d8f6b5"),
                ("statefulset.kubernetes.io/pod-name", &names.pod),
            ],
            Series::Job | Series::IndexedJob | Series::CronJob | Series::JobSet => vec![
                ("batch.kubernetes.io/controller-uid", uid),
                ("batch.kubernetes.io/job-name", job),
                ("controller-uid", uid),
                ("job-name", job),
            ],
            Series::Bare => Vec::new(),
        };
        let indexed = [("batch.kubernetes.io/job-completion-index", index.as_str())];
        let of_set = [
            ("jobset.sigs.k8s.io/job-global-index", index.as_str()),
            ("jobset.sigs.k8s.io/job-index", index),
            ("jobset.sigs.k8s.io/job-key", hash),
            ("jobset.sigs.k8s.io/jobset-name", "train"),
        ];
        let last_applied =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": names.pod}}).to_string();
        let applied = [("kubectl.kubernetes.io/last-applied-configuration", last_applied.as_str())];
        let both: Vec<(&str, &str)> = match self {
            Series::IndexedJob => indexed.to_vec(),
            Series::JobSet => [&indexed[..], &of_set].concat(),
            _ => Vec::new(),
        };
        add(metadata, "labels", labels.iter().chain(&both))?;
        let only = if self == Series::Bare { &applied[..] } else { &[] };
        if !both.is_empty() || !only.is_empty() {
            add(metadata, "annotations", both.iter().chain(only))?;
        }
        let prefix = match self {
            Series::ReplicaSet | Series::Rollout => format!("web-{hash}-"),
            Series::DaemonSet => "agent-".to_owned(),
            Series::StatefulSet => "web-".to_owned(),
            Series::Job | Series::CronJob => format!("{job}-"),
            Series::IndexedJob | Series::JobSet => format!("{job}-{index}-"),
            Series::Bare => String::new(),
        };
        if !prefix.is_empty() {
            metadata.insert("generateName".into(), json!(prefix));
        }
        if matches!(self, Series::StatefulSet | Series::Bare) {
            metadata.insert("name".into(), json!(names.pod));
        }
        let owner = match self {
            Series::ReplicaSet | Series::Rollout => Some(("apps/v1", "ReplicaSet", format!("web-{hash}"))),
            Series::DaemonSet => Some(("apps/v1", "DaemonSet", "agent".to_owned())),
            Series::StatefulSet => Some(("apps/v1", "StatefulSet", "web".to_owned())),
            Series::Job | Series::IndexedJob | Series::CronJob | Series::JobSet => {
                Some(("batch/v1", "Job", job.clone()))
            }
            Series::Bare => None,
        };
        if let Some((version, kind, name)) = owner {
            let owner =
                json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true});
            metadata.insert("ownerReferences".into(), json!([owner]));
        }
        let spec = pod.get_mut("spec")?.as_object_mut()?;
        let hostname = match self {
            Series::StatefulSet => Some(names.pod.clone()),
            Series::IndexedJob | Series::JobSet => Some(format!("{job}-{index}")),
            _ => None,
        };
        if let Some(hostname) = hostname {
            spec.insert("hostname".into(), json!(hostname));
            spec.insert("subdomain".into(), json!("web"));
        }
        if self == Series::DaemonSet {
            let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
            let required = json!({"nodeSelectorTerms": [{"matchFields": [field]}]});
            spec.insert(
                "affinity".into(),
                json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}),
            );
        }
        let token = format!("kube-api-access-{}", names.token);
        let mut volumes =
            vec![(token.clone(), json!({"name": token, "projected": {"defaultMode": 420, "sources": []}}))];
        if self == Series::StatefulSet {
            let claim = json!({"name": "data", "persistentVolumeClaim": {"claimName": claim}});
            volumes.insert(0, ("data".to_owned(), claim));
        }
        let list = spec.entry("volumes").or_insert_with(|| json!([])).as_array_mut()?;
        list.retain(|volume| !volume["name"].as_str().unwrap_or_default().starts_with("kube-api-access-"));
        list.extend(volumes.iter().map(|(_, volume)| volume.clone()));
        for container in spec.get_mut("containers")?.as_array_mut()? {
            let container = container.as_object_mut()?;
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([])).as_array_mut()?;
            mounts.push(json!({"name": token, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}));
            if matches!(self, Series::IndexedJob | Series::JobSet) {
                let path = "metadata.annotations['batch.kubernetes.io/job-completion-index']";
                let from = json!({"fieldRef": {"apiVersion": "v1", "fieldPath": path}});
                let env = container.entry("env").or_insert_with(|| json!([])).as_array_mut()?;
                env.push(json!({"name": "JOB_COMPLETION_INDEX", "valueFrom": from}));
            }
        }
        Some(pod)
    }
}

fn add<'r>(
    metadata: &mut Map<String, Value>,
    field: &str,
    rows: impl Iterator<Item = &'r (&'r str, &'r str)>,
) -> Option<()> {
    let map = metadata.entry(field).or_insert_with(|| json!({})).as_object_mut()?;
    map.extend(rows.map(|(key, value)| ((*key).to_owned(), json!(value))));
    Some(())
}
