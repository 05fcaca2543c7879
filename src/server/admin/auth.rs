//! Authorization for metrics: a bearer token that the API server knows and whose user has the permission.
//!
//! Works like kube-rbac-proxy and controller-runtime: a TokenReview identifies the user, a SubjectAccessReview checks
//! `get` on the path. Results are cached for a while, so that a scrape causes no request to the API server and a
//! flood of made-up tokens causes a bounded number of them.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hyper::HeaderMap;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use sha2::{Digest, Sha256};
use tokio::{sync::Semaphore, time::Instant};

use crate::server::client_auth::bearer;
use crate::server::kube::request::{Target, call};

/// Authorizes requests through the API server.
pub(crate) struct TokenAuth {
    client: Client,
    known: Mutex<Known>,
    /// One permit per request to the API server in flight.
    asking: Semaphore,
}

/// Cached results by token, verb and path.
struct Known {
    said: HashMap<[u8; 32], (Result<(), Denied>, Instant)>,
    /// How many requests may be started now, and when that was computed.
    budget: (f64, Instant),
}

/// Why a request is not authorized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It has no token.
    NoToken,
    /// The API server does not know the token.
    Unknown,
    /// The user lacks the permission.
    Forbidden {
        /// The user's name.
        user: String,
    },
    /// The API server could not be reached or failed.
    Unanswered(String),
    /// Too many other tokens are waiting to be checked.
    Busy,
}

/// How long positive and negative results are cached.
const YES: Duration = Duration::from_secs(60);
const NO: Duration = Duration::from_secs(10);
/// Maximum number of cached results.
const REMEMBERED: usize = 256;
/// Limits on checks: concurrent ones, per second, and in a burst.
const AT_ONCE: usize = 4;
const EACH_SECOND: f64 = 5.0;
const BURST: f64 = 20.0;
/// Timeout for each of the two requests.
const WITHIN: Duration = Duration::from_secs(5);

impl TokenAuth {
    pub(crate) fn new(client: Client) -> TokenAuth {
        let known = Known { said: HashMap::new(), budget: (BURST, Instant::now()) };
        TokenAuth { client, known: Mutex::new(known), asking: Semaphore::new(AT_ONCE) }
    }

    /// Checks whether a request is authorized.
    ///
    /// # Errors
    /// When it is not authorized.
    pub(crate) async fn judge(&self, headers: &HeaderMap, verb: &str, path: &str) -> Result<(), Denied> {
        let token = bearer(headers).filter(|token| !token.is_empty()).ok_or(Denied::NoToken)?;
        let token = std::str::from_utf8(token).map_err(|_| Denied::Unknown)?;
        let key = key(token, verb, path);
        if let Some(said) = self.known().recall(&key, Instant::now()) {
            return said;
        }
        let _asking = tokio::time::timeout(WITHIN, self.asking.acquire()).await.map_err(|_| Denied::Busy)?;
        // A concurrent request may have obtained the result in the meantime.
        if let Some(said) = self.known().recall(&key, Instant::now()) {
            return said;
        }
        if !self.known().may_ask(Instant::now()) {
            return Err(Denied::Busy);
        }
        let said = self.ask(token, verb, path).await;
        if !matches!(said, Err(Denied::Unanswered(_))) {
            self.known().remember(key, said.clone(), Instant::now());
        }
        said
    }

    async fn ask(&self, token: &str, verb: &str, path: &str) -> Result<(), Denied> {
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: None };
        let review = TokenReview { spec, ..TokenReview::default() };
        let target = Target::all("tokenreviews");
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let answer = call("create", &target, WITHIN, reviews.create(&PostParams::default(), &review)).await;
        let status = answer.map_err(|failure| Denied::Unanswered(failure.to_string()))?.status;
        let status = status.filter(|status| status.authenticated == Some(true)).ok_or(Denied::Unknown)?;
        let UserInfo { extra, groups, uid, username } = status.user.unwrap_or_default();
        let user = username.clone().unwrap_or_default();
        let attributes = NonResourceAttributes { path: Some(path.to_owned()), verb: Some(verb.to_owned()) };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                extra,
                groups,
                uid,
                user: username,
                non_resource_attributes: Some(attributes),
                resource_attributes: None,
            },
            ..SubjectAccessReview::default()
        };
        let target = Target::all("subjectaccessreviews");
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = call("create", &target, WITHIN, reviews.create(&PostParams::default(), &review)).await;
        let status = answer.map_err(|failure| Denied::Unanswered(failure.to_string()))?.status;
        match status.is_some_and(|status| status.allowed && status.denied != Some(true)) {
            true => Ok(()),
            false => Err(Denied::Forbidden { user }),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cache key. The token itself is not stored.
fn key(token: &str, verb: &str, path: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [token, verb, path] {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

impl Known {
    fn recall(&self, key: &[u8; 32], now: Instant) -> Option<Result<(), Denied>> {
        let (said, until) = self.said.get(key)?;
        (now < *until).then(|| said.clone())
    }

    fn remember(&mut self, key: [u8; 32], said: Result<(), Denied>, now: Instant) {
        let until = now + if said.is_ok() { YES } else { NO };
        if self.said.len() >= REMEMBERED {
            self.said.retain(|_, (_, until)| now < *until);
        }
        if self.said.len() >= REMEMBERED {
            // A flood of denied tokens does not evict positive results.
            self.said.retain(|_, (said, _)| said.is_ok());
        }
        if self.said.len() < REMEMBERED {
            self.said.insert(key, (said, until));
        }
    }

    fn may_ask(&mut self, now: Instant) -> bool {
        let (left, counted) = self.budget;
        let left = (left + now.duration_since(counted).as_secs_f64() * EACH_SECOND).min(BURST);
        let may = left >= 1.0;
        self.budget = (if may { left - 1.0 } else { left }, now);
        may
    }
}

impl fmt::Display for Denied {
    /// The text for the client.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denied::NoToken => {
                out.write_str("found no bearer token; expected one that the API server knows and whose user may get this path")
            }
            Denied::Unknown => out.write_str("the API server does not know the token"),
            Denied::Forbidden { user } => {
                write!(out, "{user:?} may not get this path; expected a ClusterRole with this path in nonResourceURLs")
            }
            Denied::Unanswered(problem) => write!(out, "cannot check the token with the API server: {problem}"),
            Denied::Busy => out.write_str("too many tokens are waiting to be checked; retry later"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use http_body_util::BodyExt;
    use hyper::{Request, Response, header::AUTHORIZATION};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// An API server that knows the tokens `reader` and `stranger`, and lets the first one get `/metrics`. It counts
    /// its requests.
    pub(in crate::server) fn api_server() -> (TokenAuth, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await?.to_bytes();
                let mut review: Value = serde_json::from_slice(&body)?;
                let spec = review["spec"].clone();
                review["status"] = match path.as_str() {
                    "/apis/authentication.k8s.io/v1/tokenreviews" => match spec["token"].as_str() {
                        Some(token @ ("reader" | "stranger")) => json!({
                            "authenticated": true, "user": {"username": token, "groups": ["g"], "extra": {"k": ["v"]}},
                        }),
                        _ => json!({"authenticated": false, "error": "unknown"}),
                    },
                    "/apis/authorization.k8s.io/v1/subjectaccessreviews" => {
                        assert_eq!((&spec["groups"], &spec["extra"]), (&json!(["g"]), &json!({"k": ["v"]})));
                        let wanted = json!({"path": "/metrics", "verb": "get"});
                        json!({"allowed": spec["user"] == "reader" && spec["nonResourceAttributes"] == wanted})
                    }
                    other => panic!("{other}"),
                };
                let answer =
                    Response::builder().status(201).body(Body::from(review.to_string().into_bytes()))?;
                Ok::<_, tower::BoxError>(answer)
            }
        });
        (TokenAuth::new(Client::new(service, "default")), asked)
    }

    pub(in crate::server) fn with_token(token: Option<&str>) -> HeaderMap {
        let header = token.map(|token| (AUTHORIZATION, format!("Bearer {token}").parse().unwrap()));
        header.into_iter().collect()
    }

    #[tokio::test]
    async fn the_api_server_says_who_may_get_what_and_is_asked_once() {
        let (auth, asked) = api_server();
        for _ in 0..3 {
            for (token, path, wanted) in [
                (None, "/metrics", Err(Denied::NoToken)),
                (Some(""), "/metrics", Err(Denied::NoToken)),
                (Some("made-up"), "/metrics", Err(Denied::Unknown)),
                (Some("reader"), "/metrics", Ok(())),
                (Some("reader"), "/loglevel", Err(Denied::Forbidden { user: "reader".to_owned() })),
                (Some("stranger"), "/metrics", Err(Denied::Forbidden { user: "stranger".to_owned() })),
            ] {
                assert_eq!(auth.judge(&with_token(token), "get", path).await, wanted, "{token:?} {path}");
            }
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1 + 2 + 2 + 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_cannot_be_asked_says_neither_yes_nor_no() {
        let service = tower::service_fn(|_: Request<Body>| async {
            Err::<Response<Body>, _>(tower::BoxError::from("gone"))
        });
        let auth = TokenAuth::new(Client::new(service, "default"));
        for _ in 0..BURST as usize {
            let denied = auth.judge(&with_token(Some("x")), "get", "/metrics").await.unwrap_err();
            assert!(matches!(&denied, Denied::Unanswered(problem) if problem.contains("gone")), "{denied:?}");
        }
        assert_eq!(auth.judge(&with_token(Some("x")), "get", "/metrics").await, Err(Denied::Busy));
    }

    fn known(now: Instant) -> Known {
        Known { said: HashMap::new(), budget: (BURST, now) }
    }

    #[test]
    fn a_yes_counts_for_a_minute_and_a_no_for_ten_seconds() {
        let now = Instant::now();
        let mut known = known(now);
        known.remember([1; 32], Ok(()), now);
        known.remember([2; 32], Err(Denied::Unknown), now);
        for (seconds, yes, no) in [(9, true, true), (11, true, false), (59, true, false), (61, false, false)]
        {
            let then = now + Duration::from_secs(seconds);
            assert_eq!(known.recall(&[1; 32], then), yes.then_some(Ok(())), "{seconds}");
            assert_eq!(known.recall(&[2; 32], then), no.then_some(Err(Denied::Unknown)), "{seconds}");
        }
    }

    #[test]
    fn a_flood_is_a_bounded_number_of_questions_and_crowds_out_no_yes() {
        let now = Instant::now();
        let mut known = known(now);
        known.remember([255; 32], Ok(()), now);
        let asked = (0..1000).filter(|_| known.may_ask(now)).count();
        assert_eq!(asked, 20);
        let later = now + Duration::from_secs(2);
        assert_eq!((0..1000).filter(|_| known.may_ask(later)).count(), 10);
        for number in 0..2000_u64 {
            known.remember(key(&number.to_string(), "get", "/metrics"), Err(Denied::Unknown), now);
            assert!(known.said.len() <= REMEMBERED);
        }
        assert_eq!(known.recall(&[255; 32], now), Some(Ok(())));
    }

    #[test]
    fn parts_of_a_key_do_not_run_together() {
        assert_ne!(key("ab", "get", "/metrics"), key("a", "bget", "/metrics"));
    }
}
