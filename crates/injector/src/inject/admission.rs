//! An admission: the decision about a pod that an API server sends, by one configuration and its patch cache.
//!
//! [`Injector::review`] is [`run`](super::run) for pods as received: text. Most of them are replicas, which get the
//! patch that is cached for their siblings and are never parsed.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};

use super::{
    Facts, Outcome, PodRequest, Refusal, Skip, Warning,
    decision::Reason,
    patch_cache::{Candidates, Learned, PatchCache, Query},
};
use crate::{cel::User, codes::keys, config::InjectorConfig, names, pod};

mod pod_text;

/// One configuration, with its patch cache.
#[derive(Debug)]
pub struct Injector {
    config: Arc<InjectorConfig>,
    cache: PatchCache,
}

/// A pod that an API server sends.
#[derive(Debug)]
pub struct AdmissionRequest<'b> {
    object: &'b str,
    namespace: Cow<'b, str>,
    variables: &'b BTreeMap<String, String>,
    user_info: Option<&'b str>,
    read: Read,
}

/// How far the text of a pod was read.
#[derive(Debug)]
enum Read {
    /// Far enough to look it up in the cache.
    Scanned(Candidates),
    /// To its end: it is too large or too unusual to be cached.
    Parsed(Result<Map<String, Value>, Unreadable>),
}

/// The object is not JSON after all: parts that were only skipped so far may contain invalid numbers or escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the object is not JSON: error at line {line}, column {column} of it")]
pub struct Unreadable {
    /// 1-based line in the object.
    pub line: usize,
    /// 1-based column in bytes.
    pub column: usize,
}

/// The decision about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Whether the pod is admitted, and whether it is changed.
    pub decision: AdmissionDecision,
    /// The patch; only with [`AdmissionDecision::Inject`].
    pub patch: Option<Patch>,
    /// Warnings for the user who created the pod.
    pub warnings: Vec<Warning>,
    /// The configuration's rule that applies, with its reason, for the log; empty for none.
    pub rule: String,
    /// The pod's properties, for the log.
    pub subject: Subject,
    /// Whether the patch was cached.
    pub served: CacheStatus,
}

/// Whether a pod is admitted, and whether it is changed. `reason` is a stable key from a small set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdmissionDecision {
    /// Admitted with a patch.
    Inject {
        /// The reason.
        reason: &'static str,
        /// Names of the templates used.
        templates: Vec<String>,
    },
    /// Admitted unchanged.
    Skip {
        /// The reason.
        reason: &'static str,
    },
    /// Denied.
    Deny {
        /// An HTTP status: 400, 403, 413, 422 or 500.
        code: u16,
        /// The reason.
        reason: &'static str,
        /// For the user who created the pod. Not used with code 500.
        message: String,
        /// For the log: the cause and its place in the configuration, without content of the pod; may be empty.
        detail: String,
    },
}

/// A JSON patch (RFC 6902) as it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// Its text.
    pub json: String,
    /// Number of operations in it.
    pub operations: usize,
}

/// The properties of a pod for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The namespace the decision is about.
    pub namespace: String,
    /// The pod's name, or the prefix of its future name; empty if it has neither.
    pub name: String,
    /// `Kind/name` of its owner; empty if it has none.
    pub owner: String,
    /// Whether it carries the status annotation of an earlier injection.
    pub reinvoked: bool,
}

/// Whether a patch was cached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheStatus {
    /// Cached, for a sibling of the pod.
    Hit,
    /// Computed for this pod.
    #[default]
    Miss,
    /// Computed for this pod, and different from the cached one: a bug. The pod gets the right one.
    Stale,
}

/// The reason for an object that is not a pod although the request is about pods.
pub const NOT_A_POD: &str = keys::NOT_A_POD;

impl Injector {
    /// An injector with an empty cache.
    pub fn new(config: impl Into<Arc<InjectorConfig>>) -> Injector {
        let config = config.into();
        Injector { cache: PatchCache::new(&config), config }
    }

    /// The configuration.
    pub fn config(&self) -> &InjectorConfig {
        &self.config
    }

    /// Decides about a pod.
    ///
    /// # Errors
    /// If the object cannot be parsed.
    pub fn review(&self, request: AdmissionRequest<'_>, facts: &Facts<'_>) -> Result<Admission, Unreadable> {
        let Read::Scanned(candidates) = &request.read else { return self.review_uncached(request, facts) };
        let Some(mut fingerprint) = self.cache.fingerprint(request.object, candidates) else {
            return self.review_uncached(request, facts);
        };
        let user = request.user(&self.config);
        let query =
            Query { namespace: &request.namespace, path_env: request.variables, user: user.as_ref(), facts };
        let (key, found) = self.cache.find(&self.config, &mut fingerprint, &query);
        if let Some(cached) = found.filter(|cached| !cached.is_due())
            && let Some(admission) = cached.fill(&fingerprint)
        {
            return Ok(Admission { served: CacheStatus::Hit, ..admission });
        }
        let pod = pod_text::parse(request.object)?;
        if !is_pod(&pod) {
            return Ok(Admission::not_a_pod(&request.namespace));
        }
        let pod = Value::Object(pod);
        let subject = Subject::of(&request.namespace, &pod);
        let made = query.answer(&self.config, pod);
        let is_stale = match &made {
            Ok(admission) => {
                self.cache.learn(&self.config, key, &mut fingerprint, &query, admission) == Learned::Stale
            }
            Err(_) => self.cache.forget(&key, &fingerprint),
        };
        let served = if is_stale { CacheStatus::Stale } else { CacheStatus::Miss };
        let admission = made.unwrap_or_else(|refusal| Admission::denied(&refusal, subject));
        Ok(Admission { served, ..admission })
    }

    /// [`review`](Self::review) without the cache.
    ///
    /// # Errors
    /// As [`review`](Self::review).
    pub fn review_uncached(
        &self,
        request: AdmissionRequest<'_>,
        facts: &Facts<'_>,
    ) -> Result<Admission, Unreadable> {
        let user = request.user(&self.config);
        let (namespace, path_env) = (request.namespace.clone(), request.variables);
        let pod = request.into_object()?;
        if !is_pod(&pod) {
            return Ok(Admission::not_a_pod(&namespace));
        }
        let pod = Value::Object(pod);
        let subject = Subject::of(&namespace, &pod);
        let query = Query { namespace: &namespace, path_env, user: user.as_ref(), facts };
        let made = query.answer(&self.config, pod);
        Ok(made.unwrap_or_else(|refusal| Admission::denied(&refusal, subject)))
    }

    /// The decision for a pod that is skipped regardless of the templates, of which only the
    /// [`outline`](super::limits::outline) is known; `None` if that cannot be determined.
    pub fn leaves_alone(&self, outline: AdmissionRequest<'_>, facts: &Facts<'_>) -> Option<Admission> {
        let namespace = outline.namespace.clone().into_owned();
        let user = outline.user(&self.config);
        let pod = outline.into_object().ok()?;
        if !is_pod(&pod) {
            return Some(Admission::not_a_pod(&namespace));
        }
        let pod = Value::Object(pod);
        let subject = Subject::of(&namespace, &pod);
        let skip = super::leaves_alone(
            &self.config,
            &PodRequest { user, ..PodRequest::new(namespace, pod) },
            facts,
        )?;
        Some(Admission::of(Outcome::Skipped(skip), subject))
    }
}

impl<'b> AdmissionRequest<'b> {
    /// A pod as received, a JSON object that is known to be one and to be nested within limits; the namespace of the
    /// request, empty if it has none; and the proxy's environment from the URL.
    pub fn new(
        object: &'b str,
        namespace: &'b str,
        variables: &'b BTreeMap<String, String>,
    ) -> AdmissionRequest<'b> {
        let own = |own: Option<Cow<'b, str>>| own.unwrap_or(Cow::Borrowed(namespace));
        let Some(candidates) = Candidates::of(object) else {
            let parsed = pod_text::parse(object);
            let found = parsed.as_ref().ok().map(namespace_of).filter(|own| !own.is_empty());
            let namespace = own(found.map(|own| Cow::Owned(own.to_owned())));
            return AdmissionRequest {
                object,
                namespace,
                variables,
                user_info: None,
                read: Read::Parsed(parsed),
            };
        };
        let namespace = own(candidates.namespace(object).map(Cow::Borrowed));
        AdmissionRequest { object, namespace, variables, user_info: None, read: Read::Scanned(candidates) }
    }

    /// The request with its `userInfo`, a JSON object.
    #[must_use]
    pub fn by(self, user_info: Option<&'b str>) -> AdmissionRequest<'b> {
        AdmissionRequest { user_info, ..self }
    }

    /// Who creates the pod, if a configuration reads that.
    fn user(&self, config: &InjectorConfig) -> Option<User> {
        self.user_info.filter(|_| config.guard().reads_user()).map(User::from_json)
    }

    /// The namespace the decision is about: the pod's own, else the request's.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The proxy's environment from the URL.
    pub fn variables(&self) -> &'b BTreeMap<String, String> {
        self.variables
    }

    /// The pod without its `managedFields`, which are large and irrelevant here.
    ///
    /// # Errors
    /// If it cannot be parsed.
    pub fn into_object(self) -> Result<Map<String, Value>, Unreadable> {
        match self.read {
            Read::Scanned(_) => pod_text::parse(self.object),
            Read::Parsed(parsed) => parsed,
        }
    }
}

fn namespace_of(object: &Map<String, Value>) -> &str {
    let metadata = object.get("metadata").and_then(|metadata| metadata.get("namespace"));
    metadata.and_then(Value::as_str).unwrap_or_default()
}

/// Whether an object is a pod, or at least does not claim to be something else.
fn is_pod(object: &Map<String, Value>) -> bool {
    let is = |key: &str, wanted: &str| {
        object.get(key).and_then(Value::as_str).is_none_or(|found| found.is_empty() || found == wanted)
    };
    is("kind", "Pod") && is("apiVersion", "v1")
}

impl Admission {
    /// The result of the pipeline for a pod.
    pub(super) fn of(outcome: Outcome, subject: Subject) -> Admission {
        let reason = outcome.decision().reason.key();
        let rule = outcome.decision().rule.clone().unwrap_or_default();
        let (decision, patch, warnings) = match outcome {
            Outcome::Skipped(Skip { warnings, .. }) => (AdmissionDecision::Skip { reason }, None, warnings),
            // Counted by the effect on the pod.
            Outcome::Injected(injection) if injection.operations == 0 => {
                (AdmissionDecision::Skip { reason: Reason::AlreadyInjected.key() }, None, injection.warnings)
            }
            Outcome::Injected(injection) => {
                let patch = Patch { json: injection.patch_json, operations: injection.operations };
                let decision = AdmissionDecision::Inject { reason, templates: injection.templates };
                (decision, Some(patch), injection.warnings)
            }
        };
        Admission { decision, patch, warnings, rule, subject, served: CacheStatus::Miss }
    }

    /// A pod that is left unchanged.
    pub fn skipped(reason: &'static str, subject: Subject) -> Admission {
        Admission {
            decision: AdmissionDecision::Skip { reason },
            patch: None,
            warnings: Vec::new(),
            rule: String::new(),
            subject,
            served: CacheStatus::Miss,
        }
    }

    /// A pod that is denied.
    pub fn denied(refusal: &Refusal, subject: Subject) -> Admission {
        let decision = AdmissionDecision::Deny {
            code: refusal.code(),
            reason: refusal.reason(),
            message: refusal.to_string(),
            detail: refusal.diagnosis().unwrap_or_default(),
        };
        Admission { decision, ..Admission::skipped("", subject) }
    }

    fn not_a_pod(namespace: &str) -> Admission {
        let subject = Subject { namespace: namespace.to_owned(), ..Subject::default() };
        Admission::skipped(NOT_A_POD, subject)
    }
}

impl Patch {
    /// The patch as the crate `json-patch` represents it.
    pub fn to_json_patch(&self) -> json_patch::Patch {
        // Serialized operations can always be parsed.
        serde_json::from_str(&self.json).unwrap_or_default()
    }
}

impl Subject {
    /// The properties of a pod in a namespace, for the log.
    pub fn of(namespace: &str, pod: &Value) -> Subject {
        let metadata = |key: &str| pod.get("metadata").and_then(|metadata| metadata.get(key));
        let text = |key: &str| metadata(key).and_then(Value::as_str).filter(|name| !name.is_empty());
        let owners = metadata("ownerReferences").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let controls = |owner: &&Value| owner.get("controller").and_then(Value::as_bool) == Some(true);
        let owner = owners.iter().find(controls).or_else(|| owners.first());
        let owner = owner.and_then(|owner| {
            Some(format!("{}/{}", owner.get("kind")?.as_str()?, owner.get("name")?.as_str()?))
        });
        Subject {
            namespace: namespace.to_owned(),
            name: text("name").or_else(|| text("generateName")).unwrap_or_default().to_owned(),
            owner: owner.unwrap_or_default(),
            reinvoked: pod::annotation(pod, names::ANNOTATION_STATUS).is_some(),
        }
    }
}

impl CacheStatus {
    /// Stable key for metrics.
    pub const fn key(self) -> &'static str {
        match self {
            CacheStatus::Hit => "hit",
            CacheStatus::Miss => "miss",
            CacheStatus::Stale => "stale",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_owner_is_the_controller() {
        let owner_of =
            |references: Value| Subject::of("", &json!({"metadata": {"ownerReferences": references}})).owner;
        let a = json!({"kind": "A", "name": "a"});
        let b = json!({"kind": "B", "name": "b", "controller": true});
        assert_eq!(owner_of(json!([a, b])), "B/b");
        assert_eq!(owner_of(json!([a])), "A/a");
        for odd in [json!([]), json!([1]), json!("x"), json!([{"kind": 1, "name": "a"}])] {
            assert_eq!(owner_of(odd), "");
        }
    }

    #[test]
    fn the_namespace_is_the_pods_own_however_it_is_written() {
        let none = BTreeMap::new();
        for (object, namespace) in [
            (r#"{"metadata":{"namespace":"own"}}"#, "own"),
            (r#"{"metadata":{"namespace":"\u006fwn"}}"#, "own"),
            (r#"{"metadata":{"namespace":"a"},"metadata":{"namespace":"own"}}"#, "own"),
            (r#"{"metadata":{"namespace":""}}"#, "shop"),
            (r#"{"metadata":{}}"#, "shop"),
            (r#"{"metadata":[]}"#, "shop"),
            ("{}", "shop"),
        ] {
            assert_eq!(AdmissionRequest::new(object, "shop", &none).namespace(), namespace, "{object}");
        }
    }

    #[test]
    fn what_is_no_pod_is_skipped_and_what_is_no_json_is_an_error() {
        let injector = Injector::new(InjectorConfig::embedded().unwrap());
        let none = BTreeMap::new();
        let review =
            |object| injector.review(AdmissionRequest::new(object, "shop", &none), &Facts::default());
        for other in [r#"{"kind":"Deployment","apiVersion":"apps/v1"}"#, r#"{"apiVersion":"v2"}"#] {
            assert_eq!(
                review(other).unwrap().decision,
                AdmissionDecision::Skip { reason: NOT_A_POD },
                "{other}"
            );
        }
        for pod in [r#"{"kind":"Pod","apiVersion":"v1"}"#, r#"{"kind":"","spec":{"containers":[]}}"#] {
            assert_ne!(review(pod).unwrap().decision, AdmissionDecision::Skip { reason: NOT_A_POD }, "{pod}");
        }
        assert_eq!(review("{\n\"a\": 1e999999}"), Err(Unreadable { line: 2, column: 13 }));
    }
}
