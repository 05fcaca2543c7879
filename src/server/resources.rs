//! Operating system limits of the process: open files, and core dumps.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// System call errors that mean a shortage of something.
const EXHAUSTED: [i32; 4] = [nix::libc::EAGAIN, nix::libc::ENOMEM, nix::libc::EMFILE, nix::libc::ENFILE];

/// Whether an error means a shortage of memory, threads or descriptors.
pub fn is_exhausted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory
        || error.raw_os_error().is_some_and(|code| EXHAUSTED.contains(&code))
}

/// Keeps the memory of the process, which contains private keys, out of core dumps and unreadable to other processes
/// of the same user. Best effort.
pub fn no_core_dumps() {
    // The resource limit is ignored if the system pipes core dumps to a program; the dumpable flag always applies.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// Raises the limit of open files as far as allowed, and returns it. The soft limit is low for programs that use
/// select(2), which this one does not. `None` if the limit is unknown.
pub fn raise_descriptors() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
        return Some(hard);
    }
    Some(soft)
}

/// How file descriptors are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// For connections on the webhook's port.
    pub webhook: usize,
    /// For connections on the admin port.
    pub admin: usize,
}

/// Maximum that the process itself needs: listening sockets, event loops, the log, connections to the API server,
/// files being read, and one for each connection being refused.
const OWN: u64 = 64;

/// Divides `limit` descriptors. The admin port and the process itself come first, so that silent connections to the
/// webhook make neither probes nor reloads fail.
pub fn share(limit: u64, webhook: usize, admin: usize) -> Share {
    let own = OWN.min(limit / 2);
    let left = limit - own;
    // Some for probes and scrapers, even if almost none are available.
    let most = usize::try_from((left / 4).max(4)).unwrap_or(usize::MAX);
    let admin = admin.min(most);
    let rest = usize::try_from(left).unwrap_or(usize::MAX).saturating_sub(admin);
    Share { webhook: webhook.min(rest.max(1)), admin }
}

#[cfg(test)]
mod tests {
    use super::*;

    //
    #[test]
    fn the_admin_port_and_the_process_come_first() {
        for (limit, wanted) in [
            (1 << 20, Share { webhook: 2000, admin: 128 }),
            (u64::MAX, Share { webhook: 2000, admin: 128 }),
            (1024, Share { webhook: 832, admin: 128 }),
            (256, Share { webhook: 144, admin: 48 }),
            (64, Share { webhook: 24, admin: 8 }),
            (10, Share { webhook: 1, admin: 4 }),
            (0, Share { webhook: 1, admin: 4 }),
        ] {
            assert_eq!(share(limit, 2000, 128), wanted, "{limit}");
        }
        for limit in 64..4096 {
            let Share { webhook, admin } = share(limit, 2000, 128);
            assert!((webhook + admin) as u64 + OWN.min(limit / 2) <= limit, "{limit}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn nothing_is_dumped() {
        no_core_dumps();
        assert_eq!(getrlimit(Resource::RLIMIT_CORE), Ok((0, 0)));
        assert_eq!(nix::sys::prctl::get_dumpable(), Ok(false));
        // The process can still read its own data, above all for metrics.
        assert!(std::fs::read_dir("/proc/self/fd").unwrap().count() > 0);
        assert!(std::fs::read_to_string("/proc/self/status").unwrap().contains("VmRSS"));
    }

    #[test]
    fn too_little_of_something_is_known_by_its_number() {
        for (code, wanted) in [(11, true), (12, true), (24, true), (23, true), (98, false), (13, false)] {
            assert_eq!(is_exhausted(&io::Error::from_raw_os_error(code)), wanted, "{code}");
        }
    }
}
