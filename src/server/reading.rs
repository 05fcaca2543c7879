//! Reads files named by an administrator with care: only regular files, up to a size, as a whole, and within a
//! deadline.
//!
//! A path cannot be relied on. It may be a pipe, whose opening waits for a writer; a device without an end; a file
//! that is being written in place; or on a file system that does not respond, where nothing ends the system call. So
//! all access to such a path happens on its own thread, which is abandoned after a deadline; no second thread is
//! started for the path while it hangs.

#![allow(
    clippy::disallowed_types,
    reason = "these threads are outside of the runtime and wait for the system"
)]

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use nix::fcntl::OFlag;
use zeroize::Zeroizing;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An error of the operating system.
    #[error("{}: {error}", file.display())]
    Io { file: PathBuf, error: io::Error },
    /// It is not a file and may have no end.
    #[error("{}: found {found}; expected a regular file, or a link to one", file.display())]
    NotRegular { file: PathBuf, found: &'static str },
    /// C-07
    #[error("{}: found {bytes} bytes; expected at most {limit}", file.display())]
    TooLarge { file: PathBuf, bytes: u64, limit: u64 },
    /// It changed on every read.
    #[error("{}: keeps changing; expected a file that nobody has written to for {}ms", file.display(), SETTLED.as_millis())]
    Unsettled { file: PathBuf },
    /// The file system does not respond.
    #[error("{}: the file system has not answered for {}s", path.display(), within.as_secs_f32())]
    Hangs { path: PathBuf, within: Duration },
}

impl Error {
    /// What was found instead of a regular file, if so.
    pub(crate) fn found(&self) -> &'static str {
        match self {
            Error::NotRegular { found, .. } => found,
            _ => "",
        }
    }

    /// The kind of the I/O error that is closest to this one.
    pub(crate) fn kind(&self) -> io::ErrorKind {
        match self {
            Error::Io { error, .. } => error.kind(),
            Error::NotRegular { .. } => io::ErrorKind::Unsupported,
            Error::TooLarge { .. } => io::ErrorKind::FileTooLarge,
            Error::Unsettled { .. } => io::ErrorKind::ResourceBusy,
            Error::Hangs { .. } => io::ErrorKind::TimedOut,
        }
    }
}

/// How long a file system may take to respond.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);
/// A file counts as complete after this time without a write, because a file written in place is incomplete in
/// between.
const SETTLED: Duration = Duration::from_millis(300);
/// How long a file may keep changing. Less than the deadline, which has another purpose.
const SETTLES: Duration = Duration::from_secs(2);

/// Work on a path that was started.
pub(crate) struct Begun<T> {
    path: PathBuf,
    within: Duration,
    until: Instant,
    done: Option<io::Result<Receiver<T>>>,
}

/// Starts work on a path; `path` stands for everything that the work touches. Waits for work on the same path that
/// was already started; if that hangs, nothing is started.
pub(crate) fn begin<T: Send + 'static>(path: &Path, work: impl FnOnce() -> T + Send + 'static) -> Begun<T> {
    begin_within(path, DEADLINE, work)
}

fn begin_within<T: Send + 'static>(
    path: &Path,
    within: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Begun<T> {
    let until = Instant::now() + within;
    let done = Pass::take(path, within, until).map(|pass| {
        let (tell, done) = sync_channel(1);
        let work = move || {
            let result = work();
            // The receiver may start the next work at once.
            drop(pass);
            let _ = tell.send(result);
        };
        thread::Builder::new().name("files".to_owned()).spawn(work).map(|_not_joined| done)
    });
    Begun { path: path.to_owned(), within, until, done }
}

/// Runs work on a path; see [`begin`].
///
/// # Errors
/// When it exceeds the deadline, or no thread can be started.
pub(crate) fn within_deadline<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    begin(path, work).wait()
}

impl<T> Begun<T> {
    /// Waits for the result.
    ///
    /// # Errors
    /// When it exceeds the deadline, or no thread could be started.
    pub(crate) fn wait(self) -> Result<T, Error> {
        let Begun { path, within, until, done } = self;
        let Some(done) = done else { return Err(Error::Hangs { path, within }) };
        let done = done.map_err(|error| Error::Io { file: path.clone(), error })?;
        match done.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(result) => Ok(result),
            Err(RecvTimeoutError::Timeout) => Err(Error::Hangs { path, within }),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Error::Io { file: path, error: io::Error::other("internal error; see the log") })
            }
        }
    }
}

/// Paths that are worked on, and since when.
static BUSY: Mutex<BTreeMap<PathBuf, Instant>> = Mutex::new(BTreeMap::new());
/// Notified when work on one of them has ended.
static FREED: Condvar = Condvar::new();

/// The exclusive right to work on a path.
struct Pass(PathBuf);

impl Pass {
    /// Waits for the right; `None` if it has been taken for too long.
    fn take(path: &Path, within: Duration, until: Instant) -> Option<Pass> {
        let mut busy = busy();
        loop {
            match busy.get(path) {
                None => break,
                Some(since) if since.elapsed() >= within => return None,
                Some(_) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    busy = FREED.wait_timeout(busy, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        busy.insert(path.to_owned(), Instant::now());
        Some(Pass(path.to_owned()))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        busy().remove(&self.0);
        FREED.notify_all();
    }
}

fn busy() -> MutexGuard<'static, BTreeMap<PathBuf, Instant>> {
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The content of a file.
pub(crate) struct Whole {
    /// Its bytes, which may be a private key.
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// The identity of the file.
    pub(crate) stamp: Stamp,
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// When it is not a regular file, too large, keeps changing, or cannot be read; also when its file system hangs.
pub(crate) fn read(file: &Path, limit: u64) -> Result<Whole, Error> {
    let path = file.to_owned();
    within_deadline(folder_of(file), move || read_here(&path, limit))?
}

/// [`read`] without a deadline, for callers that have one.
///
/// # Errors
/// As for [`read`].
pub(crate) fn read_here(file: &Path, limit: u64) -> Result<Whole, Error> {
    let failed = |error| Error::Io { file: file.to_owned(), error };
    let until = Instant::now() + SETTLES;
    let placed = is_placed(file);
    loop {
        let (mut opened, before) = open(file)?;
        let too_large = |bytes| Error::TooLarge { file: file.to_owned(), bytes, limit };
        if before.size > limit {
            return Err(too_large(before.size));
        }
        // Allocated at full size, so that no part of a key stays behind in a reallocation.
        let room = usize::try_from(before.size).unwrap_or(0).saturating_add(1);
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        (&mut opened).take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if found > limit {
            return Err(too_large(found));
        }
        if !placed && let Some(rest) = before.settles_in(SystemTime::now()) {
            thread::sleep(rest);
        }
        let after = fs::metadata(file).map(|metadata| Stamp::of(&metadata)).map_err(failed)?;
        // Files with generated content report a size of zero.
        if after == before && (found == before.size || before.size == 0) {
            return Ok(Whole { bytes, stamp: after });
        }
        if Instant::now() >= until {
            return Err(Error::Unsettled { file: file.to_owned() });
        }
    }
}

/// Whether it is in a kubelet's volume. A kubelet writes all files of a version to their own directory
/// (`..2026_11_29_…`) before it publishes it (`..data`). Such files are complete, and waiting would only risk that
/// they disappear.
fn is_placed(file: &Path) -> bool {
    let of_a_state = |name: &OsStr| name.as_encoded_bytes().starts_with(b"..") && name != "..";
    folder_of(file).file_name().is_some_and(of_a_state)
        || fs::read_link(file).is_ok_and(|target| target.starts_with("..data"))
}

/// Opens a regular file.
///
/// # Errors
/// When it is not a regular file, or cannot be opened.
pub(crate) fn open(file: &Path) -> Result<(File, Stamp), Error> {
    let failed = |error| Error::Io { file: file.to_owned(), error };
    let regular = |metadata: Metadata| match kind_of(&metadata) {
        None => Ok(Stamp::of(&metadata)),
        Some(found) => Err(Error::NotRegular { file: file.to_owned(), found }),
    };
    // Checked before opening, which has side effects on some devices, and after it, in case the path was replaced in
    // between. The flag covers that case too: it keeps the opening of a pipe from waiting for its other end.
    regular(fs::metadata(file).map_err(failed)?)?;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits());
    let opened = options.open(file).map_err(failed)?;
    let stamp = regular(opened.metadata().map_err(failed)?)?;
    Ok((opened, stamp))
}

/// The type of the file, if it is not a regular one.
fn kind_of(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    let kinds = [
        (kind.is_dir(), "a directory"),
        (kind.is_fifo(), "a pipe"),
        (kind.is_socket(), "a socket"),
        (kind.is_char_device() || kind.is_block_device(), "a device"),
        (!kind.is_file(), "something else"),
    ];
    kinds.into_iter().find_map(|(is, name)| is.then_some(name))
}

/// The file system's metadata of a file, without reading it, with symlinks resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Inode numbers are reused; where the file system records creation times, they tell such files apart.
    made: Option<SystemTime>,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            made: metadata.created().ok(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether it is the same file, whatever its content.
    pub(crate) fn is_of_the_same_file(&self, other: &Stamp) -> bool {
        (self.device, self.inode, self.made) == (other.device, other.inode, other.made)
    }

    /// Whether it is too early to tell how long nothing was written to the file. Times in the future, from a wrong
    /// clock here or there, are ignored.
    fn settles_in(&self, now: SystemTime) -> Option<Duration> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (seconds, nanoseconds) = self.changed;
        let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let changed = seconds + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
        match now.checked_sub(changed) {
            Some(age) if age >= SETTLED => None,
            Some(age) => Some(SETTLED.saturating_sub(age)),
            None => Some(SETTLED),
        }
    }
}

/// The directory that contains a file.
pub(crate) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;
