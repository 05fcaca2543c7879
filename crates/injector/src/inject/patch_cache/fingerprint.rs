//! Splits a received pod into the part that its siblings share and the strings that distinguish them.
//!
//! Controllers create pods that differ only in generated strings. Each such string is called a *name* here, and is cut
//! out where the [candidates](super::candidates) say that it stands: what else the pod contains does not matter, so a name
//! may be as short as an index and may equal any other text. Names of equal text have the same number, so that the shared
//! part says which of them are equal. `managedFields` are omitted entirely: they do not affect the injection.

use std::ops::Range;

use gotemplate::{LONGEST, STAND_IN, STAND_IN_END, StandIns, push_stand_in};
use memchr::memmem;
use serde_json::Value;

use super::candidates::{Candidates, Variables};
use crate::names::TOKEN_VOLUME;
use crate::pod::{self, Workload};

/// The maximum number of different names in one pod; there are more stand-ins than that.
const MOST_NAMES: usize = 24;

/// In the shared part, UTF-8 text never contains these bytes.
const SLOT: u8 = 0xff;
const UNREAD: u8 = 0xfe;
const TIME: u8 = 0x40;

/// A pod's text, and the positions of its names.
#[derive(Debug)]
pub(in crate::inject) struct PodFingerprint<'t> {
    text: &'t str,
    /// In the order of the text, without overlap.
    slots: Vec<Slot>,
    names: Vec<Name<'t>>,
    /// Names that count as part of the text.
    literal: StandIns,
}

/// One of the strings that distinguish a pod from its siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name<'t> {
    /// The text as written in the pod.
    pub(super) text: &'t str,
    /// Whether it may stand in a patch: it has the same meaning in JSON, YAML and any surrounding text, and is what
    /// [`gotemplate`] assumes about a stand-in in the output.
    pub(super) is_plain: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    at: Range<usize>,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Not read at all.
    Unread,
    /// A name, by number.
    Name(usize),
    /// A name that is the time in the name of a CronJob's Job.
    Time(usize),
}

impl What {
    fn name(self) -> Option<usize> {
        match self {
            What::Unread => None,
            What::Name(name) | What::Time(name) => Some(name),
        }
    }
}

impl<'t> PodFingerprint<'t> {
    /// The fingerprint of a pod; `None` if it is already assigned to a node (which then determines whether it gets a
    /// native sidecar).
    pub(super) fn of(text: &'t str, found: &Candidates, variables: Variables) -> Option<PodFingerprint<'t>> {
        if found.assigned {
            return None;
        }
        let mut fingerprint = PodFingerprint {
            text,
            slots: Vec::with_capacity(24),
            names: Vec::with_capacity(12),
            literal: StandIns::NONE,
        };
        fingerprint.slots.extend(found.unread.iter().map(|at| Slot { at: at.clone(), what: What::Unread }));
        if variables.hash {
            fingerprint.cut_hash(found);
        }
        fingerprint.cut_job(found);
        if variables.token {
            fingerprint.cut_token(found);
        }
        fingerprint.cut(found.name.clone(), What::Name);
        for uid in &found.uids {
            fingerprint.cut(Some(uid.clone()), What::Name);
        }
        for (field, at) in &found.values {
            if !variables.mentions(*field) {
                fingerprint.cut(Some(at.clone()), What::Name);
            }
        }
        fingerprint.slots.sort_unstable_by_key(|slot| slot.at.start);
        Some(fingerprint)
    }

    /// A name by number.
    pub(super) fn name(&self, number: usize) -> Option<Name<'t>> {
        self.names.get(number).copied()
    }

    /// Lets names count as part of the text.
    pub(super) fn keep(&mut self, names: StandIns) {
        self.literal = self.literal | names;
    }

    /// The names that count as part of the text.
    pub(super) fn literal(&self) -> StandIns {
        self.literal
    }

    /// The number of places with a name.
    pub(super) fn places(&self) -> usize {
        self.cut_out().filter(|slot| slot.what != What::Unread).count()
    }

    /// The slots whose text is not part of the key.
    fn cut_out(&self) -> impl Iterator<Item = &Slot> {
        let is_literal = |name| self.literal.contains(StandIns::one(name));
        self.slots.iter().filter(move |slot| !slot.what.name().is_some_and(is_literal))
    }

    /// Appends the shared part. Pods with equal shared parts differ only in their names.
    pub(super) fn share(&self, out: &mut Vec<u8>) {
        let mut from = 0;
        for slot in self.cut_out() {
            out.extend_from_slice(self.text.as_bytes().get(from..slot.at.start).unwrap_or_default());
            out.push(SLOT);
            out.push(match slot.what {
                What::Unread => UNREAD,
                What::Name(name) => name as u8,
                What::Time(name) => name as u8 | TIME,
            });
            from = slot.at.end;
        }
        out.extend_from_slice(self.text.as_bytes().get(from..).unwrap_or_default());
    }

    /// The pod that stands for all siblings: every name is replaced by its stand-in.
    pub(super) fn stand_in(&self) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut from = 0;
        for slot in self.cut_out() {
            out.push_str(self.text.get(from..slot.at.start).unwrap_or_default());
            match slot.what.name() {
                Some(name) => push_stand_in(&mut out, name),
                None => out.push_str("null"),
            }
            from = slot.at.end;
        }
        out.push_str(self.text.get(from..).unwrap_or_default());
        out
    }

    /// The workload of the pod that stands for all siblings, if the time in its Job's name is a stand-in: digits make it
    /// a CronJob's, and the cut has seen that they are.
    pub(super) fn workload(&self, pod: &Value, namespace: &str) -> Option<Workload> {
        let time = self.cut_out().find_map(|slot| match slot.what {
            What::Time(name) => Some(name),
            _ => None,
        })?;
        let mut text = String::new();
        push_stand_in(&mut text, time);
        let workload = pod::owner_by(pod, |end| end == text || pod::is_time(end));
        Some(Workload { namespace: namespace.to_owned(), ..workload })
    }

    fn get(&self, at: &Range<usize>) -> &'t str {
        self.text.get(at.clone()).unwrap_or_default()
    }

    /// Cuts the hash out of the label and of names that end in it.
    ///
    /// The owner's name is read from its end ([`crate::pod::owner`]), and with a Job's name the hash might be a CronJob's
    /// time; if a hash contains a dash, or is next to another one, only a part of it may count.
    fn cut_hash(&mut self, found: &Candidates) {
        let Some(hash) = found.hashes.first().map(|at| self.get(at)) else { return };
        let is_alone = !found.has_odd_hash && found.hashes.iter().all(|at| self.get(at) == hash);
        if !is_alone || found.has_odd_owner || hash.contains('-') || !(5..=LONGEST).contains(&hash.len()) {
            return;
        }
        let before_end = |place: &Range<usize>, rest: usize| {
            let end = place.end.checked_sub(rest)?;
            let start = end.checked_sub(hash.len())?;
            let dashed = self.text.get(place.start..start)?.ends_with('-');
            (dashed && self.text.get(start..end)? == hash).then_some(start..end)
        };
        let mut at = found.hashes.clone();
        for owner in &found.owners {
            let Some(name) = &owner.name else { continue };
            let inside = before_end(name, 0);
            let is_job = owner.kind.as_ref().is_some_and(|kind| self.get(kind) == JOB);
            // Here the hash counts without being cut.
            if is_job || inside.is_none() && self.get(name).ends_with(hash) {
                return;
            }
            at.extend(inside);
        }
        let prefix = found.generate_name.as_ref().filter(|place| self.get(place).ends_with('-'));
        at.extend(prefix.and_then(|place| before_end(place, 1)));
        for at in at {
            self.cut(Some(at), What::Name);
        }
    }

    /// Cuts the names that the Job controller gives its pods out of the owner's name and the prefix of the pod's: the
    /// Job's, and the index of an indexed Job. The name of a CronJob's Job leads to the CronJob, so that only the
    /// time is cut out there.
    fn cut_job(&mut self, found: &Candidates) {
        if found.has_odd_owner {
            return;
        }
        let is_job = |kind: &Option<Range<usize>>| kind.as_ref().is_some_and(|kind| self.get(kind) == JOB);
        let jobs: Vec<_> = found
            .owners
            .iter()
            .filter(|owner| is_job(&owner.kind))
            .filter_map(|owner| owner.name.clone())
            .collect();
        for job in &jobs {
            let name = self.get(job);
            match pod::cron_job(name) {
                Some(cron_job) => self.cut(Some(job.start + cron_job.len() + 1..job.end), What::Time),
                None => self.cut(Some(job.clone()), What::Name),
            }
        }
        let ([job], Some(prefix)) = (jobs.as_slice(), &found.generate_name) else { return };
        let job = self.get(job);
        let Some(rest) = self.get(prefix).strip_prefix(job).and_then(|rest| rest.strip_prefix('-')) else {
            return;
        };
        self.cut(Some(prefix.start..prefix.start + job.len()), What::Name);
        let is_index = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(index) = rest.strip_suffix('-').filter(is_index) {
            let start = prefix.start + job.len() + 1;
            self.cut(Some(start..start + index.len()), What::Name);
        }
    }

    /// Cuts the suffix of the token volume out of the volume and its mounts.
    fn cut_token(&mut self, found: &Candidates) {
        let suffix = |at: &Range<usize>| {
            let rest = self.get(at).strip_prefix(TOKEN_VOLUME)?;
            (rest.len() == 5 && is_plain(rest)).then(|| at.end - 5..at.end)
        };
        let all: Vec<_> = found.tokens.iter().filter_map(suffix).collect();
        let Some(first) = all.first().map(|at| self.get(at)) else { return };
        if all.iter().any(|at| self.get(at) != first) {
            return;
        }
        // Volumes are looked up by name, so the prefix must not stand anywhere else.
        if self.stands(TOKEN_VOLUME) == all.len() {
            for at in all {
                self.cut(Some(at), What::Name);
            }
        }
    }

    /// Cuts a name out of one place. One without a letter or digit could be trimmed to nothing.
    fn cut(&mut self, at: Option<Range<usize>>, what: fn(usize) -> What) {
        let Some(at) = at else { return };
        let text = self.get(&at);
        if !text.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
            return;
        }
        let known = self.names.iter().position(|name| name.text == text);
        let number = known.unwrap_or(self.names.len());
        if number < MOST_NAMES {
            if known.is_none() {
                self.names.push(Name { text, is_plain: is_plain(text) });
            }
            self.slots.push(Slot { at, what: what(number) });
        }
    }

    /// The number of occurrences of a text in the relevant part of the pod.
    fn stands(&self, text: &str) -> usize {
        let finder = memmem::Finder::new(text);
        let count = |range: Range<usize>| {
            self.text.as_bytes().get(range).map_or(0, |bytes| finder.find_iter(bytes).count())
        };
        let mut from = 0;
        let mut sum = 0;
        for slot in self.slots.iter().filter(|slot| slot.what == What::Unread) {
            sum += count(from..slot.at.start);
            from = slot.at.end;
        }
        sum + count(from..self.text.len())
    }
}

const JOB: &str = "Job";

/// Whether a text is what [`Name::is_plain`] says: one of the names that Kubernetes generates.
fn is_plain(text: &str) -> bool {
    let is_edge =
        |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_inner = |byte: u8| is_edge(Some(byte)) || matches!(byte, b'-' | b'.');
    text.len() <= LONGEST
        && is_edge(text.bytes().next())
        && is_edge(text.bytes().last())
        && text.bytes().all(is_inner)
}

/// The number of characters that only stand-ins have.
pub(super) fn stand_in_characters(text: &str) -> usize {
    text.matches([STAND_IN, STAND_IN_END]).count()
}
