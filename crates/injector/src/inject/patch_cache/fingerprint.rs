//! Splits a received pod into the part that its siblings share and the strings that distinguish them.
//!
//! Controllers create pods that differ only in generated strings: the hash of the pod template (a label, and the suffix
//! of the owner's and the pod's name), the pod's own suffix, its owner's UID, and the suffix of the token volume that
//! the ServiceAccount admission plugin adds. Each such string is called a *name* here: it is cut out of the text
//! everywhere, but only if it occurs nowhere else, so that nothing in the pod can be compared with it. `managedFields`
//! are omitted entirely: they do not affect the injection.

use std::ops::Range;

use memchr::memmem;

use crate::inject::scan::Scan;

/// Larger pods have no fingerprint: they are rare, and their entries would be large.
const MOST_BYTES: usize = 64 << 10;
/// The maximum number of different names in one pod.
const MOST_NAMES: usize = 8;
/// Labels whose value is the suffix of the owner's name (see [`crate::pod::owner`]).
pub(super) const HASH_LABELS: [&str; 2] = ["pod-template-hash", "rollouts-pod-template-hash"];
/// The ServiceAccount admission plugin's prefix of the token volume's name, followed by five characters.
pub(super) const TOKEN_VOLUME: &str = "kube-api-access-";

/// Encloses the number of a name in a pod that stands for all its siblings.
pub(super) const OPEN: char = gotemplate::STAND_IN;
pub(super) const CLOSE: char = '\u{E0F1}';

/// The names that may be cut out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variables {
    /// The hash of the pod template.
    pub(super) hash: bool,
    /// The suffix of the token volume.
    pub(super) token: bool,
}

/// A pod's text, and the positions of its names.
#[derive(Debug)]
pub(in crate::inject) struct PodFingerprint<'t> {
    text: &'t str,
    /// In the order of the text, without overlap.
    slots: Vec<Slot>,
    names: Vec<&'t str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    at: Range<usize>,
    name: Option<usize>,
}

/// The result of reading a pod's text once, without a tree: the potential names.
#[derive(Debug, Default)]
pub(in crate::inject) struct Candidates {
    namespace: Option<Range<usize>>,
    name: Option<Range<usize>>,
    generate_name: Option<Range<usize>>,
    hashes: Vec<Range<usize>>,
    owners: Vec<Range<usize>>,
    owner_kinds: Vec<Range<usize>>,
    uids: Vec<Range<usize>>,
    tokens: Vec<Range<usize>>,
    unread: Vec<Range<usize>>,
    assigned: bool,
    metadata: usize,
}

impl<'t> PodFingerprint<'t> {
    /// The fingerprint of a pod; `None` if it is already assigned to a node (which then determines whether it gets a
    /// native sidecar).
    pub(super) fn of(text: &'t str, found: &Candidates, variables: Variables) -> Option<PodFingerprint<'t>> {
        if found.assigned {
            return None;
        }
        let mut fingerprint =
            PodFingerprint { text, slots: Vec::with_capacity(16), names: Vec::with_capacity(4) };
        fingerprint.slots.extend(found.unread.iter().cloned().map(|at| Slot { at, name: None }));
        if variables.hash {
            fingerprint.cut_hash(found);
        }
        if variables.token {
            fingerprint.cut_token(found);
        }
        fingerprint.cut_suffix(found);
        // Each costs a search of the whole text, and the user may have written any number of them.
        for uid in found.uids.iter().take(MOST_NAMES) {
            fingerprint.cut(vec![uid.clone()], 36..=36);
        }
        fingerprint.slots.sort_unstable_by_key(|slot| slot.at.start);
        Some(fingerprint)
    }

    /// The names, by number.
    pub(super) fn names(&self) -> &[&'t str] {
        &self.names
    }

    /// The number of places with a name.
    pub(super) fn places(&self) -> usize {
        self.slots.iter().filter(|slot| slot.name.is_some()).count()
    }

    /// Appends the shared part. Pods with equal shared parts differ only in their names.
    pub(super) fn share(&self, out: &mut Vec<u8>) {
        let mut from = 0;
        for slot in &self.slots {
            out.extend_from_slice(self.text.as_bytes().get(from..slot.at.start).unwrap_or_default());
            // UTF-8 text never contains these bytes.
            out.push(0xff);
            out.push(slot.name.map_or(0xfe, |name| name as u8));
            from = slot.at.end;
        }
        out.extend_from_slice(self.text.as_bytes().get(from..).unwrap_or_default());
    }

    /// The pod that stands for all siblings: every name is replaced by its number.
    pub(super) fn stand_in(&self) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut from = 0;
        for slot in &self.slots {
            out.push_str(self.text.get(from..slot.at.start).unwrap_or_default());
            match slot.name {
                Some(name) => {
                    out.push(OPEN);
                    out.push_str(&name.to_string());
                    out.push(CLOSE);
                }
                None => out.push_str("null"),
            }
            from = slot.at.end;
        }
        out.push_str(self.text.get(from..).unwrap_or_default());
        out
    }

    fn get(&self, at: &Range<usize>) -> &'t str {
        self.text.get(at.clone()).unwrap_or_default()
    }

    /// Cuts the hash out of the label and of names that end in it.
    ///
    /// The owner's name is read from its end ([`crate::pod::owner`]): in a Job's name, digits may be a CronJob's time,
    /// and of a hash that contains a dash, or is next to another one, only a part may count.
    fn cut_hash(&mut self, found: &Candidates) {
        let Some(hash) = found.hashes.first().map(|at| self.get(at)) else { return };
        let is_alone = found.hashes.iter().all(|at| self.get(at) == hash);
        let may_be_time = hash.bytes().all(|byte| byte.is_ascii_digit())
            && found.owner_kinds.iter().any(|at| self.get(at) == "Job");
        if !is_alone || may_be_time || hash.contains('-') {
            return;
        }
        let mut at = found.hashes.clone();
        let before_end = |place: &Range<usize>, rest: usize| {
            let end = place.end.checked_sub(rest)?;
            let start = end.checked_sub(hash.len())?;
            let dashed = self.text.get(place.start..start)?.ends_with('-');
            (dashed && self.text.get(start..end)? == hash).then_some(start..end)
        };
        at.extend(found.owners.iter().filter_map(|owner| before_end(owner, 0)));
        let prefix = found.generate_name.as_ref().filter(|place| self.get(place).ends_with('-'));
        let in_prefix = prefix.and_then(|place| before_end(place, 1));
        if let (Some(prefix), Some(inside), Some(name)) = (prefix, &in_prefix, &found.name)
            && self.get(name).starts_with(self.get(prefix))
        {
            let start = name.start + (inside.start - prefix.start);
            at.push(start..start + hash.len());
        }
        at.extend(in_prefix);
        self.cut(at, 5..=63);
    }

    /// Cuts the suffix of the token volume out of the volume and its mounts.
    fn cut_token(&mut self, found: &Candidates) {
        let suffix = |at: &Range<usize>| {
            let rest = self.get(at).strip_prefix(TOKEN_VOLUME)?;
            (rest.len() == 5).then(|| at.end - 5..at.end)
        };
        let all: Vec<_> = found.tokens.iter().filter_map(suffix).collect();
        let Some(first) = all.first().map(|at| self.get(at)) else { return };
        if all.iter().any(|at| self.get(at) != first) {
            return;
        }
        // The text before the suffix identifies it, so the same five characters elsewhere are unrelated.
        if self.stands(TOKEN_VOLUME) == all.len() {
            self.put(all, 1..=5);
        }
    }

    /// Cuts out the pod's own suffix after `generateName`.
    fn cut_suffix(&mut self, found: &Candidates) {
        let (Some(name), Some(prefix)) = (&found.name, &found.generate_name) else { return };
        let prefix = self.get(prefix);
        if !prefix.is_empty() && self.get(name).starts_with(prefix) {
            let own = name.start + prefix.len()..name.end;
            self.cut(vec![own], 5..=63);
        }
    }

    /// Cuts a name out of its positions, if it occurs nowhere else.
    fn cut(&mut self, at: Vec<Range<usize>>, length: std::ops::RangeInclusive<usize>) {
        let Some(text) = at.first().map(|at| self.get(at)) else { return };
        if self.stands(text) == at.len() {
            self.put(at, length);
        }
    }

    fn put(&mut self, at: Vec<Range<usize>>, length: std::ops::RangeInclusive<usize>) {
        let Some(text) = at.first().map(|at| self.get(at)) else { return };
        // Characters that Kubernetes generates, and that have the same meaning in JSON, YAML and any surrounding text.
        let generated = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if length.contains(&text.len()) && text.bytes().all(generated) && self.names.len() < MOST_NAMES {
            let name = self.names.len();
            self.names.push(text);
            self.slots.extend(at.into_iter().map(|at| Slot { at, name: Some(name) }));
        }
    }

    /// The number of occurrences of a text in the relevant part of the pod.
    fn stands(&self, text: &str) -> usize {
        if text.is_empty() {
            return usize::MAX;
        }
        let finder = memmem::Finder::new(text);
        let count = |range: Range<usize>| {
            self.text.as_bytes().get(range).map_or(0, |bytes| finder.find_iter(bytes).count())
        };
        let mut from = 0;
        let mut sum = 0;
        for slot in self.slots.iter().filter(|slot| slot.name.is_none()) {
            sum += count(from..slot.at.start);
            from = slot.at.end;
        }
        sum + count(from..self.text.len())
    }
}

/// Whether a character that occurs in names may be written as an escape, which could hide an occurrence of a name. No
/// encoder does this.
fn escapes_letters(text: &str) -> bool {
    memmem::find_iter(text.as_bytes(), "\\u00").any(|at| {
        let digits = text.get(at + 4..at + 6).unwrap_or_default();
        // Go's encoder escapes `<` and `>`.
        u8::from_str_radix(digits, 16)
            .is_ok_and(|code| (0x2d..0x7f).contains(&code) && ![0x3c, 0x3e].contains(&code))
    })
}

impl Candidates {
    /// Reads a pod's text; `None` if it is too large or is written in an unusual way.
    pub(in crate::inject) fn of(text: &str) -> Option<Candidates> {
        if text.len() > MOST_BYTES || escapes_letters(text) {
            return None;
        }
        let mut found = Candidates::default();
        Scan::new(text).entries(|scan, key| match key {
            "metadata" => {
                found.metadata += 1;
                found.metadata(scan)
            }
            "spec" => found.spec(scan),
            _ => scan.value().map(drop),
        })?;
        (found.metadata <= 1).then_some(found)
    }

    /// The namespace in the pod's metadata; `text` is the pod's.
    pub(in crate::inject) fn namespace<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.namespace.clone().and_then(|at| text.get(at)).filter(|name| !name.is_empty())
    }

    fn metadata(&mut self, scan: &mut Scan<'_>) -> Option<()> {
        scan.entries(|scan, key| {
            match key {
                // A namespace or name in an unusual spelling is left to the full parser.
                "namespace" => self.namespace = Some(scan.text()??),
                "name" => self.name = scan.text()?,
                "generateName" => self.generate_name = scan.text()?,
                "managedFields" => self.unread.push(scan.value()?),
                "labels" => scan.entries(|scan, key| {
                    let value = scan.text()?;
                    self.hashes.extend(value.filter(|_| HASH_LABELS.contains(&key)));
                    Some(())
                })?,
                "ownerReferences" => scan.elements(|scan| {
                    scan.entries(|scan, key| {
                        let value = scan.text()?;
                        match key {
                            "name" => self.owners.extend(value),
                            "kind" => self.owner_kinds.extend(value),
                            "uid" => self.uids.extend(value),
                            _ => {}
                        }
                        Some(())
                    })
                })?,
                _ => {
                    scan.value()?;
                }
            }
            Some(())
        })
    }

    fn spec(&mut self, scan: &mut Scan<'_>) -> Option<()> {
        scan.entries(|scan, key| match key {
            "volumes" => self.token_volumes(scan),
            "containers" | "initContainers" => scan.elements(|scan| {
                scan.entries(|scan, key| match key {
                    "volumeMounts" => self.token_volumes(scan),
                    _ => scan.value().map(drop),
                })
            }),
            "nodeName" => {
                self.assigned = true;
                scan.value().map(drop)
            }
            _ => scan.value().map(drop),
        })
    }

    /// The names of token volumes in a list of volumes or mounts.
    fn token_volumes(&mut self, scan: &mut Scan<'_>) -> Option<()> {
        scan.elements(|scan| {
            scan.entries(|scan, key| {
                match key {
                    "name" => self.tokens.extend(scan.text()?),
                    _ => {
                        scan.value()?;
                    }
                }
                Some(())
            })
        })
    }
}
