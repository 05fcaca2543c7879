//! Events (events.k8s.io/v1), for people who look at their object instead of our log, written by kube-runtime's
//! `Recorder`.
//!
//! Nothing waits for Events, and one that cannot be written only causes a log line. For each reason and object, at most
//! one Event is written every few seconds, the newest, so that a flapping configuration does not flood the cluster;
//! Events marked `at_once`, such as those about a rotation, are not held back. An Event that repeats the previous text
//! becomes a series; a different text becomes a new Event, because a series keeps its first note (kube-runtime 5.0).

use std::{collections::HashMap, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
pub(crate) use kube::runtime::events::EventType;
use kube::{
    Client,
    runtime::events::{Event, Recorder, Reporter},
};
use tokio::{sync::mpsc, time::Instant};

use crate::server::kube::error::ApiError;
use crate::server::kube::request::{TIMEOUT, Target, call};

/// Accepts Events, which the task created with it writes.
#[derive(Clone, Debug)]
pub(crate) struct EventSender(mpsc::Sender<Note>);

/// An Event to write.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    /// The object that it is about.
    pub(crate) about: ObjectReference,
    pub(crate) kind: EventType,
    /// In PascalCase.
    pub(crate) reason: &'static str,
    pub(crate) text: String,
    /// Whether to write it at once, however recent the last one with this reason is.
    pub(crate) at_once: bool,
}

/// Events that wait for the task; more are dropped.
const WAITING: usize = 32;
/// Minimum interval between two Events with the same reason about one object.
const INTERVAL: Duration = Duration::from_secs(10);
/// After this time the `Recorder` has forgotten a series.
const FORGOTTEN: Duration = Duration::from_secs(360);
/// How many bytes of a text are written; the API server takes a few more.
const LONGEST_TEXT: usize = 1000;
const CONTROLLER: &str = "outrigger";

impl EventSender {
    /// Makes a sender and the task that writes for it, as the replica `identity`.
    pub(in crate::server) fn new(
        client: Client,
        identity: &str,
    ) -> (EventSender, impl Future<Output = ()> + use<>) {
        let (sender, queue) = mpsc::channel(WAITING);
        let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: Some(identity.to_owned()) };
        let writer = Writer { client, reporter, entries: HashMap::new(), complained: false };
        (EventSender(sender), writer.run(queue))
    }

    /// Hands over an Event without waiting.
    pub(crate) fn send(&self, note: Note) {
        // A full queue means that Events cannot be written now, which the log already says.
        let _ = self.0.try_send(note);
    }

    /// Hands over an Event when there is room for it.
    pub(crate) async fn send_when_free(&self, note: Note) {
        // An error means that the writer is gone, with the server.
        let _ = self.0.send(note).await;
    }
}

/// Writes Events.
struct Writer {
    client: Client,
    reporter: Reporter,
    entries: HashMap<Key, Entry>,
    /// Whether it was logged that they cannot be written.
    complained: bool,
}

/// Events with the same reason about one object.
type Key = (&'static str, [Option<String>; 4]);

struct Entry {
    recorder: Recorder,
    waiting: Option<Note>,
    /// What was written last, and when.
    written: Option<(String, Instant)>,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Note>) {
        loop {
            let due = self.due();
            let wait = async {
                match due {
                    Some((_, at)) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                note = queue.recv() => match note {
                    Some(note) => self.take(note),
                    None => return,
                },
                () = wait => if let Some((key, _)) = &due {
                    self.write(key).await;
                },
            }
        }
    }

    /// The entry that is to be written next, and when.
    fn due(&self) -> Option<(Key, Instant)> {
        let waiting = self.entries.iter().filter(|(_, entry)| entry.waiting.is_some());
        let due = |entry: &Entry| match (&entry.written, &entry.waiting) {
            (Some((_, when)), Some(Note { at_once: false, .. })) => *when + INTERVAL,
            _ => Instant::now(),
        };
        waiting.map(|(key, entry)| (key.clone(), due(entry))).min_by_key(|(_, at)| *at)
    }

    fn take(&mut self, note: Note) {
        self.entries.retain(|_, entry| {
            let recent = |(_, when): &(String, Instant)| when.elapsed() < FORGOTTEN;
            entry.waiting.is_some() || entry.written.as_ref().is_some_and(recent)
        });
        let ObjectReference { kind, namespace, name, uid, .. } = note.about.clone();
        let key = (note.reason, [kind, namespace, name, uid]);
        let recorder = || Recorder::new(self.client.clone(), self.reporter.clone());
        let entry = self.entries.entry(key);
        entry.or_insert_with(|| Entry { recorder: recorder(), waiting: None, written: None }).waiting =
            Some(note);
    }

    async fn write(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Some(Note { about, kind, reason, text, at_once: _ }) = entry.waiting.take() else { return };
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(cut(&text).to_owned()),
            action: reason.to_owned(),
            secondary: None,
        };
        let fresh = || Recorder::new(self.client.clone(), self.reporter.clone());
        if entry.written.as_ref().is_some_and(|(before, _)| *before != text) {
            entry.recorder = fresh();
        }
        let target = Target::namespaced("events", about.namespace.as_deref().unwrap_or("default"), "");
        let mut written = publish(&entry.recorder, &event, &about, &target).await;
        if written.as_ref().is_err_and(ApiError::is_not_found) {
            // The Event that this series extends was deleted.
            entry.recorder = fresh();
            written = publish(&entry.recorder, &event, &about, &target).await;
        }
        entry.written = Some((text, Instant::now()));
        match written {
            Ok(()) => self.complained = false,
            Err(error) if !self.complained => {
                tracing::warn!(%error, reason, "cannot write an Event");
                self.complained = true;
            }
            Err(_) => {}
        }
    }
}

async fn publish(
    recorder: &Recorder,
    event: &Event,
    about: &ObjectReference,
    target: &Target,
) -> Result<(), ApiError> {
    call("create", target, TIMEOUT, recorder.publish(event, about)).await
}

/// The part of a text that is written; it ends with a whole character.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LONGEST_TEXT)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
