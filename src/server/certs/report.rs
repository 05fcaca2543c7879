//! Reports what happened in the log and as an Event on our Secret, where operators look.
//!
//! Webhook configurations are not namespaced, and Events about them would have to be in `default`, where we may not
//! write. They are reported on the Secret too.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::ObjectReference;
use tokio::time::Instant;

use crate::server::certs::Options;
pub(crate) use crate::server::kube::events::EventType;
use crate::server::kube::events::{EventSender, Note};

/// Reports Events: each action every time, and each state at most once within a while.
#[derive(Clone)]
pub(crate) struct Reporter {
    events: EventSender,
    about: ObjectReference,
    said: Arc<Mutex<HashMap<(&'static str, String), Instant>>>,
}

/// Minimum interval between two identical Events about a state.
const QUIET: Duration = Duration::from_secs(600);
/// Maximum number of remembered states.
const REMEMBERED: usize = 64;

impl Reporter {
    pub(crate) fn new(events: EventSender, options: &Options) -> Reporter {
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Secret".to_owned()),
            namespace: Some(options.namespace.clone()),
            name: Some(options.secret.clone()),
            ..ObjectReference::default()
        };
        Reporter { events, about, said: Arc::default() }
    }

    /// Whether this state was not reported recently; if so, it counts as reported now.
    pub(crate) fn is_new(&self, reason: &'static str, message: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|_, when| when.elapsed() < QUIET);
        if said.len() >= REMEMBERED || said.contains_key(&(reason, message.to_owned())) {
            return false;
        }
        said.insert((reason, message.to_owned()), Instant::now());
        true
    }

    /// Reports an Event about a state, unless the same one was reported recently.
    pub(crate) fn event(&self, kind: EventType, reason: &'static str, message: &str) {
        if self.is_new(reason, message) {
            self.send(kind, reason, message, false);
        }
    }

    /// Reports an Event about an action, every time.
    pub(crate) fn happened(&self, kind: EventType, reason: &'static str, message: &str) {
        self.send(kind, reason, message, true);
    }

    fn send(&self, kind: EventType, reason: &'static str, message: &str, at_once: bool) {
        let (about, text) = (self.about.clone(), message.to_owned());
        self.events.send(Note { about, kind, reason, text, at_once });
    }
}
