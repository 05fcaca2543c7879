//! Says what happened: to the log always, and as an Event on our Secret, where operators look.
//!
//! The webhook configurations are not in a namespace, and Events about them would have to be in `default`, where we may
//! not write; what concerns them is said on the Secret too.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time},
};
use kube::{Api, Client, api::PostParams};
use tokio::time::Instant;

use crate::server::certs::Options;
use crate::server::kube::access;
use crate::server::kube::access::{What, call};

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// It is.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Makes Events: of what is done each time, of how something is not twice within a while.
#[derive(Clone)]
pub(crate) struct Reporter {
    api: Api<Event>,
    namespace: String,
    secret: String,
    identity: String,
    said: Arc<Mutex<HashMap<(&'static str, String), Instant>>>,
}

/// Between two Events that say the same.
const QUIET: Duration = Duration::from_secs(600);
/// A bound on what is remembered.
const REMEMBERED: usize = 64;
/// What the API takes.
const LONGEST_MESSAGE: usize = 1024;

impl Reporter {
    pub(crate) fn new(client: Client, options: &Options) -> Reporter {
        Reporter {
            api: Api::namespaced(client, &options.namespace),
            namespace: options.namespace.clone(),
            secret: options.secret.clone(),
            identity: options.identity.clone(),
            said: Arc::default(),
        }
    }

    /// Whether this was not said lately; if so it counts as said now.
    pub(crate) fn news(&self, reason: &'static str, message: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|_, when| when.elapsed() < QUIET);
        if said.len() >= REMEMBERED || said.contains_key(&(reason, message.to_owned())) {
            return false;
        }
        said.insert((reason, message.to_owned()), Instant::now());
        true
    }

    /// Makes an Event about how something is, unless the same was said lately.
    pub(crate) fn event(&self, kind: Kind, reason: &'static str, message: &str) {
        if self.news(reason, message) {
            self.happened(kind, reason, message);
        }
    }

    /// Makes an Event about something that was done: each time it is, however soon. Does not wait for it, and does not
    /// mind if it fails.
    pub(crate) fn happened(&self, kind: Kind, reason: &'static str, message: &str) {
        let event = self.make(kind, reason, message, Timestamp::now());
        let (api, what) = (self.api.clone(), self.what());
        tokio::spawn(async move {
            let parameters = PostParams::default();
            let request = api.create(&parameters, &event);
            if let Err(failure) = call("create", &what, access::LONGEST, request).await {
                tracing::info!(problem = %failure, reason, "an Event is lost");
            }
        });
    }

    fn what(&self) -> What {
        What { resource: "events", object: format!("events in namespace {}", self.namespace) }
    }

    fn make(&self, kind: Kind, reason: &str, message: &str, now: Timestamp) -> Event {
        let (namespace, secret) = (self.namespace.clone(), self.secret.clone());
        let kind = match kind {
            Kind::Normal => "Normal",
            Kind::Warning => "Warning",
        };
        Event {
            metadata: ObjectMeta {
                namespace: Some(namespace.clone()),
                name: Some(format!("{secret}.{:x}", now.as_nanosecond())),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Secret".to_owned()),
                namespace: Some(namespace),
                name: Some(secret),
                ..ObjectReference::default()
            },
            type_: Some(kind.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message.chars().take(LONGEST_MESSAGE).collect()),
            action: Some(reason.to_owned()),
            reporting_component: Some("outrigger".to_owned()),
            reporting_instance: Some(self.identity.clone()),
            source: Some(EventSource { component: Some("outrigger".to_owned()), host: None }),
            event_time: Some(MicroTime(now)),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            ..Event::default()
        }
    }
}
