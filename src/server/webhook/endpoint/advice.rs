//! `POST /advise`: warnings for the user who applies a workload, through a validating webhook that admits everything.
//!
//! Advice must cost nobody anything: it has no queue, large workloads get none, and under overload it is refused first. API servers
//! ignore a refusal, because the webhook's failure policy is `Ignore`.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use hyper::{
    Method, Request,
    body::{Body, Bytes},
    http::request::Parts,
};
use serde_json::Value;
use tokio::time::Instant;

use super::{Inner, LARGE_BODY, SMALL_MEMORY, is_json};
use crate::inject::{limits, manual::NamespaceLabels};
use crate::server::http::connection::Response;
use crate::server::http::state::ConnectionState;
use crate::server::webhook::{
    body,
    deadline::Deadline,
    record::{Record, clip},
    refusal::Refusal,
    response::{self, AdmissionResponse},
    review::{self, Asked, Purpose, Review},
};

/// The path that the webhook for advice calls.
pub(super) const PATH: &str = "/advise";

impl Inner {
    /// Answers one request for advice.
    pub(super) async fn advise<B: Body<Data = Bytes> + Send>(
        &self,
        request: Request<B>,
        arrived: Instant,
        connection: &Arc<ConnectionState>,
    ) -> Response {
        if self.overload.admit(Instant::now(), &connection.account().share).is_none() {
            self.observers.metrics.advised(None);
            return self.turn_away(Refusal::Overloaded, request, connection).await;
        }
        let deadline = Deadline::of(request.uri().query(), arrived);
        let (head, body) = request.into_parts();
        let (result, drained) = match checked(&head) {
            Ok(()) => (self.advice(&head, body, deadline, connection).await, false),
            Err(refusal) => (Err(refusal), body::discard(&head.headers, body).await),
        };
        if result.is_err() {
            self.observers.metrics.advised(None);
        }
        // A request for advice has a log line only if it got advice, and none of Istio's metrics count it.
        self.respond(result, drained, connection, &mut Record::default())
    }

    async fn advice<B: Body<Data = Bytes> + Send>(
        &self,
        head: &Parts,
        body: B,
        deadline: Deadline,
        connection: &Arc<ConnectionState>,
    ) -> Result<Vec<u8>, Refusal> {
        let (held, _permit) = self.read(head, body, deadline, connection).await?;
        let active = self.configuration.current().ok_or(Refusal::NotReady)?;
        let body = &held.bytes;
        let Review { version, uid, namespace, name, asked, .. } =
            review::parse_for(Purpose::Advise, body).map_err(Refusal::Malformed)?;
        let object = match asked {
            Asked::Workload(object) if body.len() < LARGE_BODY => object,
            _ => "null",
        };
        let weighs_little = limits::check(object, self.tree)
            .is_ok_and(|weight| limits::judging(weight.bytes) <= SMALL_MEMORY);
        // Duplicate keys and the like were removed when the API server decoded it.
        let workload =
            if weighs_little { serde_json::from_str(object).unwrap_or_default() } else { Value::Null };
        let labels = self
            .configuration
            .selection()
            .map_or(NamespaceLabels::Unknown, |selection| selection.labels(&namespace));
        let advise = || active.engine.advise(&workload, &namespace, labels);
        let advice = catch_unwind(AssertUnwindSafe(advise)).map_err(|_| Refusal::Fault)?;
        let mut codes: Vec<&'static str> = Vec::new();
        for advice in &advice {
            if !codes.contains(&advice.code) {
                codes.push(advice.code);
            }
        }
        self.observers.metrics.advised(Some(&codes));
        if !codes.is_empty() {
            let kind = workload.get("kind").and_then(Value::as_str).map(clip);
            tracing::info!(
                uid = clip(&uid),
                namespace = clip(&namespace),
                kind,
                name = clip(&name),
                warnings = codes.join(","),
                "advice given"
            );
        }
        let warnings = advice.into_iter().map(|advice| advice.into_warning()).collect();
        let answer = AdmissionResponse { warnings, ..AdmissionResponse::default() };
        response::encode(version, &uid, &answer).map_err(|_| Refusal::Fault)
    }
}

/// Why a request is refused because of its header.
fn checked(head: &Parts) -> Result<(), Refusal> {
    if head.method != Method::POST {
        return Err(Refusal::Method);
    }
    if is_json(&head.headers) { Ok(()) } else { Err(Refusal::ContentType) }
}
