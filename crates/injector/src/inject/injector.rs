//! An injector: one configuration and its patch cache.
//!
//! [`Injector::review`] is [`run`](super::run) for pods as received: text. Most of them are replicas, which get the
//! patch that is cached for their siblings and are never parsed.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};

use super::{
    Facts, Outcome, PodRequest,
    admission::{Admission, CacheStatus, Subject},
    patch_cache::{Candidates, Learned, PatchCache, Query},
};
use crate::{cel::User, config::InjectorConfig};

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

    /// The decision for a pod whose [`outline`](super::limits::outline) alone is known, if it is skipped regardless of
    /// the templates; `None` if that cannot be determined.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::{AdmissionDecision, NOT_A_POD};

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
