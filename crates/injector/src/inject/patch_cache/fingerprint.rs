//! A pod as it was received, split into what its siblings share and the strings that only tell it from them.
//!
//! Controllers make pods that differ in nothing but generated strings: the hash of the pod template (a label, and the end
//! of the owner's and the pod's name), the pod's own suffix, its owner's UID, and the suffix of the token volume that the
//! ServiceAccount admission plugin adds. Each such string is a *name* here: it is cut out of the text wherever it stands,
//! and only if it stands nowhere else, so that nothing in the pod can be compared with it. `managedFields` are left out
//! altogether: they take no part in an injection.

use std::ops::Range;

use memchr::memmem;

use crate::inject::scan::Scan;

/// Larger pods have no fingerprint: they are few, and what would be kept of them is large.
const MOST_BYTES: usize = 64 << 10;
/// Most different names in one pod.
const MOST_NAMES: usize = 8;
/// Labels whose value the owner's name ends in (see [`crate::pod::owner`]).
pub(super) const HASH_LABELS: [&str; 2] = ["pod-template-hash", "rollouts-pod-template-hash"];
/// What the ServiceAccount admission plugin calls the volume with the pod's token, before five characters.
pub(super) const TOKEN_VOLUME: &str = "kube-api-access-";

/// Around the number of a name in a pod that stands for all its siblings.
pub(super) const OPEN: char = gotemplate::STAND_IN;
pub(super) const CLOSE: char = '\u{E0F1}';

/// Which names may be cut out at all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variables {
    /// The hash of the pod template.
    pub(super) hash: bool,
    /// The suffix of the token volume.
    pub(super) token: bool,
}

/// A pod's text, and where in it the names are.
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

/// A pod's text read once, without a tree: the strings that may be names, before it is known which.
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
    /// The fingerprint of a pod; nothing if it is assigned to a node already (whether it gets a native sidecar then depends
    /// on that node).
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
        // Each costs a search of the whole text, and who creates a pod may give it any number.
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

    /// In how many places of the pod there is a name.
    pub(super) fn places(&self) -> usize {
        self.slots.iter().filter(|slot| slot.name.is_some()).count()
    }

    /// Appends what the pod shares with its siblings. Two pods whose shared parts are equal are equal but for their names.
    pub(super) fn share(&self, out: &mut Vec<u8>) {
        let mut from = 0;
        for slot in &self.slots {
            out.extend_from_slice(self.text.as_bytes().get(from..slot.at.start).unwrap_or_default());
            // No UTF-8 text has these bytes.
            out.push(0xff);
            out.push(slot.name.map_or(0xfe, |name| name as u8));
            from = slot.at.end;
        }
        out.extend_from_slice(self.text.as_bytes().get(from..).unwrap_or_default());
    }

    /// The pod that stands for all siblings: every name is its number.
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

    /// The hash, where it is a label and where a name that is made of it ends in it.
    ///
    /// The owner's name is read from its end ([`crate::pod::owner`]): in a Job's, digits alone may be a CronJob's time, and
    /// of a hash with a dash inside, or another one beside it, only a part may count.
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

    /// The suffix of the token volume, where the volume is and where containers mount it.
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
        // What stands before a suffix says what it is, so that elsewhere the five characters are not the suffix.
        if self.stands(TOKEN_VOLUME) == all.len() {
            self.put(all, 1..=5);
        }
    }

    /// The pod's own suffix after `generateName`.
    fn cut_suffix(&mut self, found: &Candidates) {
        let (Some(name), Some(prefix)) = (&found.name, &found.generate_name) else { return };
        let prefix = self.get(prefix);
        if !prefix.is_empty() && self.get(name).starts_with(prefix) {
            let own = name.start + prefix.len()..name.end;
            self.cut(vec![own], 5..=63);
        }
    }

    /// Cuts a name out of the places where it is, if it is nowhere else.
    fn cut(&mut self, at: Vec<Range<usize>>, length: std::ops::RangeInclusive<usize>) {
        let Some(text) = at.first().map(|at| self.get(at)) else { return };
        if self.stands(text) == at.len() {
            self.put(at, length);
        }
    }

    fn put(&mut self, at: Vec<Range<usize>>, length: std::ops::RangeInclusive<usize>) {
        let Some(text) = at.first().map(|at| self.get(at)) else { return };
        // What Kubernetes generates, and what means the same in JSON, YAML and any text around it.
        let generated = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if length.contains(&text.len()) && text.bytes().all(generated) && self.names.len() < MOST_NAMES {
            let name = self.names.len();
            self.names.push(text);
            self.slots.extend(at.into_iter().map(|at| Slot { at, name: Some(name) }));
        }
    }

    /// How often a text stands in the part of the pod that is read.
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

/// Whether a character that names are made of may be written as an escape, so that a name could stand where it is not
/// seen. No encoder writes them so.
fn escapes_letters(text: &str) -> bool {
    memmem::find_iter(text.as_bytes(), "\\u00").any(|at| {
        let digits = text.get(at + 4..at + 6).unwrap_or_default();
        // Go's encoder escapes `<` and `>`.
        u8::from_str_radix(digits, 16)
            .is_ok_and(|code| (0x2d..0x7f).contains(&code) && ![0x3c, 0x3e].contains(&code))
    })
}

impl Candidates {
    /// Reads a pod's text; nothing if it is too large or is written in an unusual way.
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

    /// The namespace the pod says it is in; `text` is the pod's.
    pub(in crate::inject) fn namespace<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.namespace.clone().and_then(|at| text.get(at)).filter(|name| !name.is_empty())
    }

    fn metadata(&mut self, scan: &mut Scan<'_>) -> Option<()> {
        scan.entries(|scan, key| {
            match key {
                // A namespace or name in an unusual spelling is for those who read it properly.
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

    /// The names in a list of volumes or mounts that are those of token volumes.
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
