//! Reads a pod's text once, without a tree, for the places of strings that controllers generate.
//!
//! A place is only listed here if [`run`](crate::inject::run) copies what stands there and does nothing else with it:
//!
//! | place | written by | read by |
//! | --- | --- | --- |
//! | `metadata.name`, `generateName` | every controller | nothing but [`pod::owner`](crate::pod::owner), as the name of a workload, and the log's subject |
//! | owners' names and UIDs | every controller | the same; a hash or a time at the end of a name leads to another workload |
//! | [`VALUES`] of labels and annotations | StatefulSet, Job, JobSet, LeaderWorkerSet, kubectl | selectors of the configuration, if it mentions them |
//! | `spec.hostname` | StatefulSet, indexed Job | nothing |
//! | the claim of a volume | StatefulSet | nothing |
//! | the values of `matchFields` in a required node affinity | DaemonSet | nothing; [`os`](crate::inject::decision) counts them |
//! | the suffix of the token volume | the ServiceAccount admission plugin | lookups of volumes by name |
//!
//! Templates may read all of them, which the stand-ins detect.

use std::ops::Range;

use memchr::memmem;

use crate::inject::scan::Scan;
use crate::names::TOKEN_VOLUME;

/// Larger pods have no fingerprint: they are rare, and their entries would be large.
const MOST_BYTES: usize = 64 << 10;
/// The maximum number of places of one kind; a pod's author may write any number of them.
const MOST_PLACES: usize = 32;
/// Labels whose value is the suffix of the owner's name (see [`crate::pod::owner`]).
pub(super) const HASH_LABELS: [&str; 2] = ["pod-template-hash", "rollouts-pod-template-hash"];

/// Labels and annotations whose value controllers generate for each pod or Job, and three fields with the word by which
/// a configuration would mention them.
pub(super) const VALUES: [&str; 18] = [
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/cronjob-scheduled-timestamp",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/job-name",
    "controller-uid",
    "job-name",
    "jobset.sigs.k8s.io/job-global-index",
    "jobset.sigs.k8s.io/job-group-index",
    "jobset.sigs.k8s.io/job-index",
    "jobset.sigs.k8s.io/job-key",
    "kubectl.kubernetes.io/last-applied-configuration",
    "leaderworkerset.sigs.k8s.io/group-index",
    "leaderworkerset.sigs.k8s.io/worker-index",
    "statefulset.kubernetes.io/pod-name",
    "hostname",
    "persistentVolumeClaim",
    "matchFields",
];
const LAST_APPLIED: usize = 11;
const HOSTNAME: usize = 15;
const CLAIM: usize = 16;
const NODE: usize = 17;
/// From here on, the values are fields and not keys of labels and annotations.
const FIELDS: usize = HOSTNAME;

/// The names that may be cut out under a configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variables {
    /// The hash of the pod template.
    pub(super) hash: bool,
    /// The suffix of the token volume.
    pub(super) token: bool,
    /// The [`VALUES`] that the configuration mentions, as bits.
    mentioned: u32,
}

impl Variables {
    /// A configuration that mentions a place may have rules about it. The merge of a template's hostname leaves its path
    /// in the patch, which is enough.
    pub(super) fn of(configuration: &str) -> Variables {
        let mentions = |text: &&str| configuration.contains(*text);
        let bit = |(place, text): (usize, &&str)| u32::from(place != HOSTNAME && mentions(text)) << place;
        Variables {
            hash: !HASH_LABELS.iter().any(mentions),
            token: !configuration.contains(TOKEN_VOLUME),
            mentioned: VALUES.iter().enumerate().map(bit).sum(),
        }
    }

    /// Whether the configuration mentions one of the [`VALUES`].
    pub(super) fn mentions(self, value: usize) -> bool {
        self.mentioned & (1 << value) != 0
    }
}

/// The places of potential names.
#[derive(Debug, Default)]
pub(in crate::inject) struct Candidates {
    namespace: Option<Range<usize>>,
    pub(super) name: Option<Range<usize>>,
    pub(super) generate_name: Option<Range<usize>>,
    pub(super) hashes: Vec<Range<usize>>,
    pub(super) has_odd_hash: bool,
    pub(super) owners: Vec<Owner>,
    pub(super) has_odd_owner: bool,
    pub(super) uids: Vec<Range<usize>>,
    /// Index in [`VALUES`], and the place.
    pub(super) values: Vec<(usize, Range<usize>)>,
    pub(super) tokens: Vec<Range<usize>>,
    pub(super) unread: Vec<Range<usize>>,
    pub(super) assigned: bool,
    metadata: usize,
}

/// An owner of a pod.
#[derive(Debug, Default)]
pub(super) struct Owner {
    pub(super) kind: Option<Range<usize>>,
    pub(super) name: Option<Range<usize>>,
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
                    if HASH_LABELS.contains(&key) {
                        self.has_odd_hash |= value.is_none();
                        self.hashes.extend(value);
                    } else {
                        self.add(value_of(key), value);
                    }
                    Some(())
                })?,
                "annotations" => scan.entries(|scan, key| {
                    let found = value_of(key);
                    let value = match found {
                        Some(LAST_APPLIED) => scan.object_in_string()?,
                        _ => scan.text()?,
                    };
                    self.add(found, value);
                    Some(())
                })?,
                "ownerReferences" => scan.elements(|scan| self.owner(scan))?,
                _ => {
                    scan.value()?;
                }
            }
            Some(())
        })
    }

    fn add(&mut self, value: Option<usize>, at: Option<Range<usize>>) {
        if let (Some(value), Some(at)) = (value, at)
            && self.values.len() < MOST_PLACES
        {
            self.values.push((value, at));
        }
    }

    fn owner(&mut self, scan: &mut Scan<'_>) -> Option<()> {
        let mut owner = Owner::default();
        scan.entries(|scan, key| {
            let value = scan.text()?;
            match key {
                "name" | "kind" => {
                    let field = if key == "name" { &mut owner.name } else { &mut owner.kind };
                    // If a key is repeated, the last one counts.
                    self.has_odd_owner |= value.is_none() || field.is_some();
                    *field = value;
                }
                "uid" if self.uids.len() < MOST_PLACES => self.uids.extend(value),
                _ => {}
            }
            Some(())
        })?;
        self.has_odd_owner |= self.owners.len() == MOST_PLACES;
        if self.owners.len() < MOST_PLACES {
            self.owners.push(owner);
        }
        Some(())
    }

    fn spec(&mut self, scan: &mut Scan<'_>) -> Option<()> {
        scan.entries(|scan, key| match key {
            "volumes" => self.volumes(scan),
            "containers" | "initContainers" => scan.elements(|scan| {
                scan.entries(|scan, key| match key {
                    "volumeMounts" => self.volumes(scan),
                    _ => scan.value().map(drop),
                })
            }),
            "nodeName" => {
                self.assigned = true;
                scan.value().map(drop)
            }
            "hostname" => {
                let hostname = scan.text()?;
                self.add(Some(HOSTNAME), hostname);
                Some(())
            }
            "affinity" => self.affinity(scan),
            _ => scan.value().map(drop),
        })
    }

    /// The names of token volumes in a list of volumes or mounts, and the claims of volumes.
    fn volumes(&mut self, scan: &mut Scan<'_>) -> Option<()> {
        scan.elements(|scan| {
            scan.entries(|scan, key| match key {
                "name" => {
                    self.tokens.extend(scan.text()?);
                    Some(())
                }
                "persistentVolumeClaim" => scan.entries(|scan, key| {
                    let value = scan.text()?;
                    self.add((key == "claimName").then_some(CLAIM), value);
                    Some(())
                }),
                _ => scan.value().map(drop),
            })
        })
    }

    /// The names of nodes that a DaemonSet's pod is for.
    fn affinity(&mut self, scan: &mut Scan<'_>) -> Option<()> {
        below(
            scan,
            &["nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"],
            &mut |scan| {
                scan.elements(|scan| {
                    below(scan, &["matchFields"], &mut |scan| {
                        scan.elements(|scan| {
                            below(scan, &["values"], &mut |scan| {
                                scan.elements(|scan| {
                                    let value = scan.text()?;
                                    self.add(Some(NODE), value);
                                    Some(())
                                })
                            })
                        })
                    })
                })
            },
        )
    }
}

/// Visits what a path of keys leads to, and skips everything else.
fn below(
    scan: &mut Scan<'_>,
    path: &[&str],
    visit: &mut dyn FnMut(&mut Scan<'_>) -> Option<()>,
) -> Option<()> {
    let Some((first, rest)) = path.split_first() else { return visit(scan) };
    scan.entries(|scan, key| if key == *first { below(scan, rest, visit) } else { scan.value().map(drop) })
}

/// The index of a label or annotation in [`VALUES`].
fn value_of(key: &str) -> Option<usize> {
    VALUES.get(..FIELDS)?.iter().position(|known| *known == key)
}
