//! LimitRanges and ResourceQuotas of all namespaces, if the configuration compares pods with them.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::task::JoinSet;

use crate::config::{self, NamespaceLimits};
use crate::server::configuration::cluster::Targets;
use crate::server::configuration::facts::{LimitsOfNamespace, LiveFacts};
use crate::server::kube::request::Target;
use crate::server::kube::slim::{self, slim_resource};
use crate::server::kube::watch::{Keeper, Timings, Watchable, Watched, Watcher};
use crate::server::supervise::Supervisor;

/// The decoded fields of a LimitRange.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::server) struct LimitRange {
    #[serde(deserialize_with = "slim::metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Limits,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Limits {
    #[serde(default)]
    limits: Value,
}

/// The decoded fields of a ResourceQuota.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::server) struct ResourceQuota {
    #[serde(deserialize_with = "slim::metadata")]
    metadata: ObjectMeta,
    /// `scopes` and `scopeSelector`.
    #[serde(default)]
    spec: Map<String, Value>,
    /// `hard` and `used`.
    #[serde(default)]
    status: Map<String, Value>,
}

slim_resource!(LimitRange = "LimitRange", "limitranges", "", "v1", NamespaceResourceScope);
slim_resource!(ResourceQuota = "ResourceQuota", "resourcequotas", "", "v1", NamespaceResourceScope);

/// One of the two kinds.
pub(in crate::server) trait Limiting: Watchable {
    /// Its plural, for people.
    const NOUN: &'static str;

    /// Stores it among the objects of its namespace; what cannot be read is left out.
    fn store(&self, name: &str, limits: &mut LimitsOfNamespace);

    /// Removes the object with a name.
    fn remove(name: &str, limits: &mut LimitsOfNamespace);
}

impl Limiting for LimitRange {
    const NOUN: &'static str = "LimitRanges";

    fn store(&self, name: &str, limits: &mut LimitsOfNamespace) {
        LimitRange::remove(name, limits);
        limits.limit_ranges.extend(config::LimitRange::new(name, &self.spec.limits));
        limits.limit_ranges.sort_by(|one, other| one.name.cmp(&other.name));
    }

    fn remove(name: &str, limits: &mut LimitsOfNamespace) {
        limits.limit_ranges.retain(|range| range.name != name);
    }
}

impl Limiting for ResourceQuota {
    const NOUN: &'static str = "ResourceQuotas";

    fn store(&self, name: &str, limits: &mut LimitsOfNamespace) {
        ResourceQuota::remove(name, limits);
        let of = |from: &Map<String, Value>, key: &str| Some((key.to_owned(), from.get(key)?.clone()));
        let fields = ["scopes", "scopeSelector"].iter().filter_map(|key| of(&self.spec, key));
        let fields = fields.chain(["hard", "used"].iter().filter_map(|key| of(&self.status, key)));
        limits.resource_quotas.extend(config::ResourceQuota::new(name, &fields.collect()));
        limits.resource_quotas.sort_by(|one, other| one.name.cmp(&other.name));
    }

    fn remove(name: &str, limits: &mut LimitsOfNamespace) {
        limits.resource_quotas.retain(|quota| quota.name != name);
    }
}

/// Follows the objects of one kind.
pub(in crate::server) struct LimitKeeper<K> {
    facts: Arc<LiveFacts>,
    /// Namespace and name of every known object.
    known: BTreeSet<(String, String)>,
    /// Those in the list being read.
    listed: Option<BTreeSet<(String, String)>>,
    kind: std::marker::PhantomData<fn() -> K>,
}

impl<K: Limiting> LimitKeeper<K> {
    pub(in crate::server) fn new(facts: Arc<LiveFacts>) -> LimitKeeper<K> {
        LimitKeeper { facts, known: BTreeSet::new(), listed: None, kind: std::marker::PhantomData }
    }

    fn forget(&mut self, key: &(String, String)) {
        let (namespace, name) = key;
        self.facts.change_limits(namespace, |limits| K::remove(name, limits));
        self.known.remove(key);
    }
}

fn key(meta: &ObjectMeta) -> (String, String) {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

impl<K: Limiting> Keeper for LimitKeeper<K> {
    type Object = K;

    fn begin(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    fn put(&mut self, object: K) {
        let key = key(object.meta());
        self.facts.change_limits(&key.0, |limits| object.store(&key.1, limits));
        if let Some(listed) = &mut self.listed {
            listed.insert(key.clone());
        }
        self.known.insert(key);
    }

    fn remove(&mut self, object: K) {
        self.forget(&key(object.meta()));
    }

    fn complete(&mut self) {
        let listed = self.listed.take().unwrap_or_default();
        let gone: Vec<_> = self.known.difference(&listed).cloned().collect();
        gone.iter().for_each(|key| self.forget(key));
    }

    fn settle(&mut self) {}

    fn detail(&self) -> String {
        format!("{} {}", self.known.len(), K::NOUN)
    }

    /// Without them, pods are not compared with them.
    fn forbidden(&mut self) -> bool {
        true
    }
}

/// The two watches, each started when a configuration asks for it.
pub(in crate::server) struct LimitWatches {
    client: Client,
    timings: Timings,
    supervisor: Supervisor,
    ranges: Option<Watcher<LimitRange>>,
    quotas: Option<Watcher<ResourceQuota>>,
    tasks: JoinSet<()>,
}

impl LimitWatches {
    /// Two watches that are not started yet.
    pub(in crate::server) fn new(client: Client, timings: Timings, supervisor: Supervisor) -> LimitWatches {
        LimitWatches { client, timings, supervisor, ranges: None, quotas: None, tasks: JoinSet::new() }
    }

    /// The same watches, not started yet.
    pub(in crate::server) fn begun(&self) -> LimitWatches {
        LimitWatches::new(self.client.clone(), self.timings.clone(), self.supervisor.clone())
    }

    /// Starts the watches that a configuration needs. They continue when a later one does not.
    pub(in crate::server) fn start(&mut self, settings: NamespaceLimits, targets: &Targets) {
        if settings.limit_ranges && self.ranges.is_none() {
            self.ranges = Some(self.begin("limitranges", targets));
        }
        if settings.resource_quotas && self.quotas.is_none() {
            self.quotas = Some(self.begin("resourcequotas", targets));
        }
    }

    fn begin<K: Limiting + kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>>(
        &mut self,
        key: &'static str,
        targets: &Targets,
    ) -> Watcher<K> {
        let gate = targets.readiness.gate(key, "not listed yet");
        // Only warnings depend on them, so pods need not wait.
        gate.open("not listed yet");
        targets.watches.started(key);
        let watched = Watched { target: Target::all(key), api: |client, _| Api::<K>::all(client), page: 500 };
        let watcher = Watcher {
            client: self.client.clone(),
            watched,
            timings: self.timings.clone(),
            key,
            metrics: targets.watches.clone(),
            gate,
        };
        let (facts, begun) = (targets.facts.clone(), watcher.clone());
        let run = move || begun.clone().run(LimitKeeper::<K>::new(facts.clone()));
        self.tasks.spawn(self.supervisor.clone().keep(key, run));
        watcher
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn range(namespace: &str, name: &str, max: &str) -> LimitRange {
        let limits = json!([{"type": "Container", "max": {"cpu": max}}]);
        let object = json!({"metadata": {"namespace": namespace, "name": name, "uid": "u"}, "spec": {"limits": limits}});
        serde_json::from_value(object).unwrap()
    }

    fn names(facts: &LiveFacts, namespace: &str) -> Vec<String> {
        let limits = facts.limits(namespace);
        let limits = limits.iter().flat_map(|limits| &limits.limit_ranges);
        limits.map(|range| range.name.clone()).collect()
    }

    #[test]
    fn objects_are_kept_by_namespace_and_forgotten_when_they_are_gone() {
        let facts = Arc::new(LiveFacts::default());
        let mut keeper = LimitKeeper::<LimitRange>::new(facts.clone());
        assert!(facts.limits("a").is_none());
        keeper.begin();
        [range("a", "y", "1"), range("a", "x", "1"), range("b", "z", "1")]
            .into_iter()
            .for_each(|it| keeper.put(it));
        keeper.complete();
        assert_eq!(
            (names(&facts, "a"), keeper.detail().as_str()),
            (vec!["x".to_owned(), "y".to_owned()], "3 LimitRanges")
        );
        let before = facts.limits("a").unwrap();
        keeper.put(range("a", "x", "2"));
        assert_ne!(before.limit_ranges, facts.limits("a").unwrap().limit_ranges);
        assert_eq!(names(&facts, "a"), ["x", "y"], "changed, not added");
        keeper.remove(range("a", "y", "1"));
        keeper.begin();
        keeper.put(range("a", "x", "2"));
        keeper.complete();
        assert_eq!(names(&facts, "a"), ["x"]);
        assert!(facts.limits("b").is_none(), "its only one is not in the second list");
    }

    #[test]
    fn both_kinds_share_a_namespace() {
        let facts = Arc::new(LiveFacts::default());
        let mut ranges = LimitKeeper::<LimitRange>::new(facts.clone());
        let mut quotas = LimitKeeper::<ResourceQuota>::new(facts.clone());
        ranges.put(range("a", "x", "1"));
        let quota = json!({
            "metadata": {"namespace": "a", "name": "q"}, "spec": {"hard": {"cpu": "5"}, "scopes": ["NotTerminating"]},
            "status": {"hard": {"cpu": "4"}, "used": {"cpu": "1"}},
        });
        quotas.put(serde_json::from_value(quota).unwrap());
        let limits = facts.limits("a").unwrap();
        assert_eq!(
            limits.resource_quotas[0].to_value(),
            json!({"name": "q", "hard": {"cpu": "4"}, "used": {"cpu": "1"}, "scopes": ["NotTerminating"]}),
            "the status counts, not the spec"
        );
        assert_eq!(limits.limit_ranges.len(), 1);
        // A quota without a status, and with a field that an API server would refuse.
        quotas.put(
            serde_json::from_value(
                json!({"metadata": {"namespace": "a", "name": "q"}, "spec": {"scopes": [1]}}),
            )
            .unwrap(),
        );
        assert!(facts.limits("a").unwrap().resource_quotas.is_empty());
    }
}
