//! Limits the server's memory: one formula, stated in docs/server.md and verified by tests, keeps it below the limit
//! of the process's cgroup.

use std::path::{Path, PathBuf};

use super::{options::Limits, webhook::endpoint::SMALL_MEMORY};
use crate::inject::limits;

/// Memory of an idle server that knows 5,000 nodes and 20,000 namespaces.
pub const RESTING: usize = 40 << 20;
/// Memory of an open connection: its buffers and TLS state.
pub const CONNECTION: usize = 20 << 10;
/// Minimum of the shared memory: a body of 256 KiB, and the tree of one pod.
const LEAST: usize = 256 << 10;

impl Limits {
    /// Maximum memory use in bytes: idle, connections, bodies being held, and pods processed by the workers
    /// and on other threads.
    pub fn peak(&self) -> usize {
        RESTING
            + self.connections * CONNECTION
            + self.buffered_bytes
            + workers() * SMALL_MEMORY
            + self.judged_bytes
    }

    /// Maximum memory estimated for a pod.
    pub fn tree(&self) -> usize {
        limits::tree_within(self.judged_bytes)
    }

    /// Reduces the limits so that [`Limits::peak`] is at most nine tenths of `memory`; the rest is for the kernel and
    /// the allocator. Returns them unchanged if there is enough memory.
    #[must_use]
    pub fn within(self, memory: usize) -> Limits {
        let room = memory / 10 * 9;
        let fixed = RESTING + workers() * SMALL_MEMORY;
        let shared = self.peak() - fixed;
        let left = room.saturating_sub(fixed);
        if left >= shared {
            return self;
        }
        // Not a product of two sizes, which could overflow.
        let share = |whole: usize| (whole as f64 * (left as f64 / shared as f64)) as usize;
        let buffered_bytes = share(self.buffered_bytes).max(LEAST);
        Limits {
            connections: share(self.connections).max(16),
            body_bytes: self.body_bytes.min(buffered_bytes),
            buffered_bytes,
            judged_bytes: share(self.judged_bytes).max(limits::judging(LEAST)),
            ..self
        }
    }
}

/// The limits, reduced if `memory` is too small for them, which is logged.
pub fn fitted(limits: Limits, memory: Option<usize>) -> Limits {
    let Some(memory) = memory else { return limits };
    let wanted = limits.peak();
    let limits = limits.within(memory);
    if limits.peak() < wanted {
        tracing::warn!(
            memory,
            wanted,
            connections = limits.connections,
            body_bytes = limits.body_bytes,
            buffered_bytes = limits.buffered_bytes,
            judged_bytes = limits.judged_bytes,
            "memory limit is below the maximum use; reducing concurrency and rejecting large pods"
        );
    }
    limits
}

/// Number of threads that process pods: one per CPU, but at least two.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, |cpus| cpus.get().max(2))
}

/// The memory limit of the process's cgroup in bytes; `None` without a limit or a cgroup.
pub fn of_cgroup() -> Option<usize> {
    smallest(|file| std::fs::read_to_string(file).ok())
}

/// The smallest limit between the process's own cgroup and the root, for either version of cgroups. A container sees
/// its own cgroup as the root.
fn smallest(read: impl Fn(&Path) -> Option<String>) -> Option<usize> {
    /// Version 1 represents "no limit" as a number slightly below this.
    const NONE: usize = 1 << 60;
    let mut limits = Vec::new();
    for line in read(Path::new("/proc/self/cgroup"))?.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = Path::new(group.trim_start_matches('/'));
        let groups: Vec<PathBuf> =
            group.ancestors().map(|group| Path::new(root).join(group).join(file)).collect();
        limits.extend(groups.iter().filter_map(|file| read(file)?.trim().parse::<usize>().ok()));
    }
    limits.into_iter().filter(|limit| *limit < NONE).min()
}

/// Parses an amount of memory: bytes, or a number with `Ki`, `Mi` or `Gi`.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse(text: &str) -> Result<usize, String> {
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("", 0)];
    let read = |(unit, shift): (&str, u32)| {
        let number: usize = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(1 << shift).filter(|bytes| *bytes > 0)
    };
    let refused = || format!("found {text:?}; expected a number of bytes such as 402653184, 384Mi or 1Gi");
    units.into_iter().find_map(read).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_default_limits_are_as_they_are_where_there_is_room() {
        let limits = Limits::default();
        let memory = limits.peak() / 9 * 10 + 20;
        assert_eq!(limits.clone().within(memory).judged_bytes, limits.judged_bytes);
        assert_eq!(limits.tree(), limits::TREE, "the largest pod can be judged");
    }

    //
    #[test]
    fn less_memory_is_shared_out_and_never_exceeded() {
        for mebibytes in [64, 96, 128, 200, 256] {
            let memory = mebibytes << 20;
            let limits = Limits::default().within(memory);
            assert!(limits.peak() <= memory / 10 * 9, "{mebibytes}: {}", limits.peak() >> 20);
            assert!(limits.connections >= 64 && limits.body_bytes >= 1 << 20, "{mebibytes}: {limits:?}");
            assert!(limits.tree() > 1 << 20, "{mebibytes}: {}", limits.tree());
        }
        // An impossible limit is applied as far as possible.
        let limits = Limits::default().within(1 << 20);
        assert!(limits.tree() >= LEAST / 2 && limits.connections == 16, "{limits:?}");
    }

    #[test]
    fn reads_amounts_of_memory() {
        for (text, bytes) in [("1", 1), ("4Ki", 4096), ("384Mi", 402_653_184), ("1Gi", 1 << 30)] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "Mi", "1.5Gi", "-1", "1M", "99999999999Gi"] {
            assert!(parse(text).unwrap_err().contains("expected"), "{text}");
        }
    }

    #[test]
    fn the_limit_of_a_cgroup_is_the_smallest_on_the_way() {
        let of = |files: &[(&str, &str)]| {
            let files: BTreeMap<_, _> =
                files.iter().map(|(file, text)| (PathBuf::from(file), (*text).to_owned())).collect();
            smallest(|file| files.get(file).cloned())
        };
        let own = ("/proc/self/cgroup", "0::/\n");
        assert_eq!(of(&[own, ("/sys/fs/cgroup/memory.max", "402653184\n")]), Some(402_653_184));
        assert_eq!(of(&[own, ("/sys/fs/cgroup/memory.max", "max\n")]), None);
        let nested = ("/proc/self/cgroup", "0::/a/b\n");
        let (outer, inner) = ("/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/a/b/memory.max");
        assert_eq!(of(&[nested, (outer, "100"), (inner, "200")]), Some(100));
        assert_eq!(of(&[nested, (outer, "100"), (inner, "50")]), Some(50));
        let first = ("/proc/self/cgroup", "5:cpu:/x\n4:memory:/kubepods/pod1\n0::/\n");
        let root = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
        assert_eq!(of(&[first, (root, "300")]), Some(300), "a container sees its group as the root");
        assert_eq!(of(&[first, (root, "9223372036854771712")]), None);
        assert_eq!(of(&[]), None);
    }
}
