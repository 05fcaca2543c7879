//! Events on the ConfigMap that holds the configuration: why it was refused, and that it is accepted again.
//!
//! For people who look at their ConfigMap and not at our log. Nothing waits for them, and that one cannot be written is a
//! line in the log and nothing more. A reason has one Event that counts, written at most every few seconds: a
//! configuration that flaps does not flood the cluster.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::server::configuration::cluster::inputs::Reference;
use crate::server::kube::request::{Cause, Failure, Selected, Server};

/// What an Event tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Remark {
    pub(in crate::server) about: Reference,
    pub(in crate::server) verdict: Verdict,
    pub(in crate::server) message: String,
}

/// What became of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::server) enum Verdict {
    /// It is refused.
    Rejected,
    /// It is in use, after one that was refused.
    Accepted,
}

/// Takes remarks; they are written by the task that was started with it.
#[derive(Clone, Debug)]
pub(in crate::server) struct Recorder(mpsc::Sender<Remark>);

/// Remarks that wait; more are dropped.
const WAITING: usize = 16;
/// How much of a message is written. What `kubectl describe` shows is read by people.
const LONGEST_MESSAGE: usize = 1000;
const REPORTER: &str = "outrigger";

impl Recorder {
    /// Makes a recorder and the task that writes for it.
    pub(in crate::server) fn new(server: Server, identity: String) -> (Recorder, impl Future<Output = ()>) {
        let (sender, remarks) = mpsc::channel(WAITING);
        (Recorder(sender), write_all(server, identity, remarks))
    }

    /// Hands over a remark without waiting.
    pub(in crate::server) fn record(&self, remark: Remark) {
        // A full queue means that Events cannot be written now, which the log says already.
        let _ = self.0.try_send(remark);
    }
}

impl Verdict {
    fn reason(self) -> &'static str {
        match self {
            Verdict::Rejected => "ConfigRejected",
            Verdict::Accepted => "ConfigAccepted",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Verdict::Rejected => "Warning",
            Verdict::Accepted => "Normal",
        }
    }
}

/// What was remarked, by reason. Pure: the clock is an argument.
struct Ledger {
    /// The least time between two writes of one Event.
    pause: Duration,
    entries: BTreeMap<Verdict, Entry>,
}

struct Entry {
    remark: Remark,
    /// The Event in the cluster; before it is written, what it will be called.
    name: String,
    /// How often it was remarked since the Event was begun.
    count: u32,
    first: Timestamp,
    last: Timestamp,
    /// Whether the Event is in the cluster.
    begun: bool,
    /// When it was written last.
    written: Option<Instant>,
    /// Whether there is something to write.
    pending: bool,
}

/// An Event to be written.
#[derive(Debug, PartialEq, Eq)]
struct Write {
    verdict: Verdict,
    /// Whether it is a new one.
    begin: bool,
    namespace: String,
    name: String,
    count: u32,
    first: Timestamp,
    last: Timestamp,
    remark: Remark,
}

impl Ledger {
    fn new(pause: Duration) -> Ledger {
        Ledger { pause, entries: BTreeMap::new() }
    }

    /// Takes a remark.
    fn note(&mut self, remark: Remark, now: Timestamp) {
        let same = |entry: &&mut Entry| {
            let (old, new) = (&entry.remark.about, &remark.about);
            (&old.namespace, &old.name, &old.uid) == (&new.namespace, &new.name, &new.uid)
        };
        if let Some(entry) = self.entries.get_mut(&remark.verdict).filter(same) {
            entry.count = entry.count.saturating_add(1);
            (entry.last, entry.pending, entry.remark) = (now, true, remark);
            return;
        }
        let entry = Entry {
            name: event_name(&remark.about.name, now),
            count: 1,
            first: now,
            last: now,
            begun: false,
            written: None,
            pending: true,
            remark,
        };
        self.entries.insert(entry.remark.verdict, entry);
    }

    /// When the next write is due; nothing if there is nothing to write.
    fn due(&self) -> Option<(Verdict, Option<Instant>)> {
        let pending = self.entries.iter().filter(|(_, entry)| entry.pending);
        let due = |entry: &Entry| entry.written.map(|written| written + self.pause);
        pending.map(|(verdict, entry)| (*verdict, due(entry))).min_by_key(|(_, due)| *due)
    }

    /// The write for a verdict.
    fn take(&mut self, verdict: Verdict, now: Instant) -> Option<Write> {
        let entry = self.entries.get_mut(&verdict)?;
        entry.pending = false;
        entry.written = Some(now);
        Some(Write {
            verdict,
            begin: !entry.begun,
            namespace: entry.remark.about.namespace.clone(),
            name: entry.name.clone(),
            count: entry.count,
            first: entry.first,
            last: entry.last,
            remark: entry.remark.clone(),
        })
    }

    /// Notes that an Event is in the cluster.
    fn begun(&mut self, verdict: Verdict) {
        if let Some(entry) = self.entries.get_mut(&verdict) {
            entry.begun = true;
        }
    }

    /// Notes that an Event is not in the cluster (any more), or that its name is taken: it is begun again.
    fn lost(&mut self, verdict: Verdict, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(&verdict) {
            entry.name = event_name(&entry.remark.about.name, now);
            (entry.begun, entry.count, entry.first) = (false, 1, entry.last);
        }
    }
}

impl Write {
    /// The object to be created, or the patch of the one that is there.
    fn object(&self, identity: &str) -> Value {
        let (first, last) = (time(self.first), time(self.last));
        let message = cut(&self.remark.message);
        let about = &self.remark.about;
        if !self.begin {
            return json!({"count": self.count, "lastTimestamp": last, "message": message});
        }
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": self.namespace, "name": self.name},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "namespace": about.namespace,
                "name": about.name,
                "uid": about.uid,
                "resourceVersion": about.resource_version,
            },
            "type": self.verdict.kind(),
            "reason": self.verdict.reason(),
            "message": message,
            "count": self.count,
            "firstTimestamp": first,
            "lastTimestamp": last,
            "source": {"component": REPORTER, "host": identity},
            "reportingComponent": REPORTER,
            "reportingInstance": identity,
        })
    }

    async fn send(&self, server: &Server, identity: &str) -> Result<(), Failure> {
        let collection = format!("/api/v1/namespaces/{}/events", self.namespace);
        let selected = Selected {
            path: collection.clone(),
            resource: "events",
            only: Some((self.namespace.clone(), self.name.clone())),
            metadata: false,
            page: 0,
        };
        let object = self.object(identity);
        if self.begin {
            return server.write("create", &selected, &collection, &object).await;
        }
        server.write("patch", &selected, &format!("{collection}/{}", self.name), &object).await
    }
}

async fn write_all(server: Server, identity: String, mut remarks: mpsc::Receiver<Remark>) {
    let mut ledger = Ledger::new(server.timings.events);
    let mut told = false;
    loop {
        let due = ledger.due();
        let write = async {
            match due {
                Some((verdict, at)) => {
                    if let Some(at) = at {
                        tokio::time::sleep_until(at.into()).await;
                    }
                    verdict
                }
                None => std::future::pending().await,
            }
        };
        let verdict = tokio::select! {
            remark = remarks.recv() => match remark {
                Some(remark) => {
                    ledger.note(remark, Timestamp::now());
                    continue;
                }
                None => return,
            },
            verdict = write => verdict,
        };
        let Some(write) = ledger.take(verdict, Instant::now()) else { continue };
        let mut sent = write.send(&server, &identity).await;
        if matches!(&sent, Err(Failure { cause: Cause::Absent | Cause::Conflict, .. })) {
            // Events are forgotten after an hour; then a new one is begun.
            ledger.lost(verdict, Timestamp::now());
            sent = match ledger.take(verdict, Instant::now()) {
                Some(again) => again.send(&server, &identity).await,
                None => sent,
            };
        }
        match sent {
            Ok(()) => {
                ledger.begun(verdict);
                told = false;
            }
            Err(failure) if !told => {
                tracing::warn!(failure = failure.sentence, "an Event cannot be written");
                told = true;
            }
            Err(_) => {}
        }
    }
}

/// The name of an Event, unique as client-go makes it.
fn event_name(object: &str, now: Timestamp) -> String {
    // Names of objects have at most 253 characters.
    let object: String = object.chars().take(200).collect();
    format!("{object}.{:x}", now.as_nanosecond())
}

/// A time as Kubernetes writes it, to the second.
fn time(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

fn cut(message: &str) -> String {
    if message.len() <= LONGEST_MESSAGE {
        return message.to_owned();
    }
    let end = (0..=LONGEST_MESSAGE).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", message.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    fn remark(verdict: Verdict, message: &str, uid: &str) -> Remark {
        let about = Reference {
            namespace: "istio-system".to_owned(),
            name: "istio".to_owned(),
            uid: uid.to_owned(),
            resource_version: "5".to_owned(),
        };
        Remark { about, verdict, message: message.to_owned() }
    }

    /// What is written until there is nothing more to write, with the seconds after the start.
    fn drain(ledger: &mut Ledger, start: Instant, now: &mut Instant) -> Vec<(u64, Write)> {
        let mut writes = Vec::new();
        while let Some((verdict, at)) = ledger.due() {
            *now = at.map_or(*now, |at| at.max(*now));
            writes.push(((*now - start).as_secs(), ledger.take(verdict, *now).unwrap()));
            ledger.begun(verdict);
        }
        writes
    }

    #[test]
    fn a_flapping_configuration_does_not_flood() {
        let (start, time) = (Instant::now(), Timestamp::UNIX_EPOCH);
        let (mut ledger, mut now) = (Ledger::new(PAUSE), start);
        let mut writes = Vec::new();
        for flap in 0..100 {
            ledger.note(remark(Verdict::Rejected, &format!("{flap}"), "u"), time);
            ledger.note(remark(Verdict::Accepted, "fine", "u"), time);
            if flap == 0 {
                writes.extend(drain(&mut ledger, start, &mut now));
            }
        }
        writes.extend(drain(&mut ledger, start, &mut now));
        let seen: Vec<_> =
            writes.iter().map(|(at, write)| (*at, write.verdict, write.begin, write.count)).collect();
        assert_eq!(
            seen,
            [
                (0, Verdict::Rejected, true, 1),
                (0, Verdict::Accepted, true, 1),
                (10, Verdict::Rejected, false, 100),
                (10, Verdict::Accepted, false, 100),
            ]
        );
        assert_eq!(writes[2].1.remark.message, "99", "the last message is written");
        assert_eq!(writes[2].1.name, writes[0].1.name);
    }

    #[test]
    fn another_object_has_an_event_of_its_own() {
        let (start, time) = (Instant::now(), Timestamp::UNIX_EPOCH);
        let (mut ledger, mut now) = (Ledger::new(PAUSE), start);
        ledger.note(remark(Verdict::Rejected, "a", "old"), time);
        drain(&mut ledger, start, &mut now);
        ledger.note(remark(Verdict::Rejected, "b", "new"), time + Duration::from_secs(1));
        let writes = drain(&mut ledger, start, &mut now);
        assert_eq!((writes[0].0, writes[0].1.begin, writes[0].1.count), (0, true, 1));
    }

    #[test]
    fn an_event_that_was_forgotten_is_begun_again() {
        let (start, time) = (Instant::now(), Timestamp::UNIX_EPOCH);
        let (mut ledger, mut now) = (Ledger::new(PAUSE), start);
        ledger.note(remark(Verdict::Rejected, "a", "u"), time);
        let first = drain(&mut ledger, start, &mut now).remove(0).1;
        ledger.note(remark(Verdict::Rejected, "a", "u"), time + Duration::from_secs(5));
        assert_eq!(ledger.take(Verdict::Rejected, now).map(|write| write.begin), Some(false));
        ledger.lost(Verdict::Rejected, time + Duration::from_secs(6));
        let again = ledger.take(Verdict::Rejected, now).unwrap();
        assert!(again.begin && again.name != first.name);
        assert_eq!((again.count, again.first), (1, time + Duration::from_secs(5)));
    }

    #[test]
    fn objects_are_as_the_api_server_wants_them() {
        let mut ledger = Ledger::new(PAUSE);
        ledger.note(remark(Verdict::Rejected, &"ä".repeat(2000), "u"), Timestamp::from_second(90).unwrap());
        let write = ledger.take(Verdict::Rejected, Instant::now()).unwrap();
        let object = write.object("outrigger-1");
        assert_eq!(object["involvedObject"]["resourceVersion"], "5");
        assert_eq!(object["firstTimestamp"], "1970-01-01T00:01:30Z");
        assert_eq!((&object["type"], &object["reason"]), (&json!("Warning"), &json!("ConfigRejected")));
        assert!(object["message"].as_str().unwrap().len() <= 1024);
        assert_eq!(write.name, "istio.14f46b0400");
    }
}
