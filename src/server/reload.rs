//! Watches the directories of configuration and certificate, and also polls their files.
//!
//! A kubelet changes a mounted volume by repointing a symlink to another directory, so directories are watched: a
//! watched file would never change. Events only trigger a check; a reload follows if the content of a file has
//! changed. The state is recorded *before* files are read, so that a change in between is found the next time (T-03,
//! T-05).

mod content;
mod folders;
mod writing;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use self::{content::Seen, folders::Folders, writing::Writing};
use super::{
    clock::unix_now,
    reading::{self, folder_of},
    shutdown::{Phase, Watch},
    supervise::Supervisor,
};

/// A part of the server that reads files. Each part is followed separately, so that a hanging file system delays no
/// other part.
pub(crate) trait Part: Send + Sync + 'static {
    /// The result of reading.
    type Read: Send;

    /// The name for the log.
    fn name(&self) -> &'static str;

    /// The files.
    fn files(&self) -> &Arc<Files>;

    /// Reads the files and applies them as a whole or not at all. Errors are logged and counted; the last good state
    /// stays in effect.
    ///
    /// # Errors
    /// A sentence for the caller who asked for the reload.
    fn read(&self) -> Result<Self::Read, String>;

    /// Called when reading panicked.
    fn cut_off(&self, error: &str);

    /// Whether to read the files again although they have not changed; `now` is in seconds since 1970.
    fn is_due(&self, _now: i64) -> bool {
        false
    }
}

/// Timing of watches on the configuration and certificate files.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Polling interval; network file systems and some links cause no events.
    pub poll: Duration,
    /// How long to wait after the last event before files are read, because related files are written one by one.
    pub quiet: Duration,
    /// Maximum of that delay. A new certificate is to be served within a second.
    pub longest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            poll: Duration::from_secs(10),
            quiet: Duration::from_millis(100),
            longest: Duration::from_millis(500),
        }
    }
}

/// The files of one part and their last known state.
#[derive(Debug, Default)]
pub(crate) struct Files {
    seen: Mutex<Vec<(PathBuf, Seen)>>,
    /// Whether the last known state was not read or was rejected, so that any change is a reason to read it again.
    failed: AtomicBool,
    writing: Arc<Writing>,
}

impl Files {
    /// Records the initial state of the files, before they are read.
    pub(crate) fn new(paths: Vec<PathBuf>) -> Files {
        let looked = look(paths.into_iter().map(|path| (path, None)).collect());
        Files { seen: Mutex::new(looked), ..Files::default() }
    }

    /// Checks all files; returns those whose content has changed since the last check.
    pub(crate) fn changed(&self) -> Vec<PathBuf> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = self.failed.load(Ordering::Relaxed);
        let earlier = std::mem::take(&mut *seen);
        *seen = look(earlier.iter().map(|(path, seen)| (path.clone(), Some(seen.clone()))).collect());
        let pairs = seen.iter().zip(&earlier);
        let changed = pairs
            .filter(|((_, now), (_, earlier))| now.is_another(earlier) || failed && now.is_touched(earlier));
        changed.map(|((path, _), _)| path.clone()).collect()
    }

    /// Records whether the last known state is in effect.
    pub(crate) fn taken(&self, taken: bool) {
        self.failed.store(!taken, Ordering::Relaxed);
    }

    /// Why the files are not read now, if one of them is being written.
    pub(crate) fn being_written(&self) -> Option<String> {
        let (name, _) = self.writing.current()?;
        Some(format!("{}: is being written; waiting until that is done", name.display()))
    }

    /// Records that the last known state was not read, so that any change triggers a read.
    pub(crate) fn forget(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (path, seen) in seen.iter_mut() {
            let error = std::io::ErrorKind::ResourceBusy.into();
            *seen = Seen::unreadable(&reading::Error::Io { file: path.clone(), error });
        }
    }

    fn paths(&self) -> Vec<PathBuf> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().map(|(path, _)| path.clone()).collect()
    }
}

/// Checks files in all directories concurrently. Files that do not respond have no state.
fn look(files: Vec<(PathBuf, Option<Seen>)>) -> Vec<(PathBuf, Seen)> {
    let mut folders: BTreeMap<PathBuf, Vec<(usize, PathBuf, Option<Seen>)>> = BTreeMap::new();
    for (index, (path, earlier)) in files.into_iter().enumerate() {
        folders.entry(folder_of(&path).to_owned()).or_default().push((index, path, earlier));
    }
    let looks: Vec<_> = folders
        .into_iter()
        .map(|(folder, files)| {
            let names: Vec<_> = files.iter().map(|(index, path, _)| (*index, path.clone())).collect();
            let look = |(_, path, earlier): (usize, PathBuf, Option<Seen>)| match earlier {
                Some(earlier) => earlier.again(&path),
                None => Seen::look(&path),
            };
            (names, reading::begin(&folder, move || files.into_iter().map(look).collect::<Vec<_>>()))
        })
        .collect();
    let mut all = BTreeMap::new();
    for (names, look) in looks {
        let seen = look.wait();
        for (at, (index, path)) in names.into_iter().enumerate() {
            let seen = match &seen {
                Ok(seen) => seen.get(at).cloned(),
                Err(error) => Some(Seen::unreadable(error)),
            };
            all.extend(seen.map(|seen| (index, (path, seen))));
        }
    }
    all.into_values().collect()
}

/// Reloads a part whenever the content of a file changes, until the server stops.
pub(crate) fn watch<P: Part>(part: Arc<P>, phase: Watch, pace: Pace, supervisor: Supervisor) {
    let paths = part.files().paths();
    if paths.is_empty() {
        return;
    }
    let begin = move || follow(part.clone(), paths.clone(), pace.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = supervisor.keep("file watch", begin) => {}
            () = phase.reached(Phase::Stopped) => {}
        }
    });
}

async fn follow<P: Part>(part: Arc<P>, paths: Vec<PathBuf>, pace: Pace) {
    let files = part.files().clone();
    let reported = Arc::new(Notify::new());
    let key = paths.first().cloned().unwrap_or_default();
    let folders = Folders::new(paths, reported.clone(), files.writing.clone());
    let folders = Arc::new(Mutex::new(folders));
    loop {
        written(&files, &reported, &pace).await;
        let look = {
            let (files, folders, key) = (files.clone(), folders.clone(), key.clone());
            move || {
                // Watch first, then check: changes in between are found either way. Checking also detects hanging
                // files.
                let follow = move || folders.lock().unwrap_or_else(PoisonError::into_inner).follow();
                let _ = reading::within_deadline(&key, follow);
                files.changed()
            }
        };
        let changed = match tokio::task::spawn_blocking(look).await {
            Ok(changed) => changed,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is shutting down.
            Err(_) => return std::future::pending().await,
        };
        if !changed.is_empty() {
            tracing::debug!(part = part.name(), "files changed");
            reload(&part).await;
        }
        if part.is_due(unix_now()) {
            reload(&part).await;
        }
        tokio::select! {
            () = reported.notified() => settle(&reported, &pace).await,
            () = tokio::time::sleep(pace.poll) => {}
        }
    }
}

/// Waits until no event has arrived for a while, so that related files are all present; but not forever (C-04).
async fn settle(reported: &Notify, pace: &Pace) {
    let latest = Instant::now() + pace.longest;
    while Instant::now() < latest {
        let quiet = latest.min(Instant::now() + pace.quiet);
        if timeout_at(quiet, reported.notified()).await.is_err() {
            return;
        }
    }
}

/// Waits until no file is being written.
async fn written(files: &Files, reported: &Notify, pace: &Pace) {
    while let Some((_, until)) = files.writing.current() {
        let _ = timeout_at(until.into(), reported.notified()).await;
        settle(reported, pace).await;
    }
}

/// How long a requested reload waits for a writer.
const WAITS: Duration = Duration::from_secs(2);
const WAITS_EACH: Duration = Duration::from_millis(20);

/// [`written`] with a time limit, for a requested reload.
async fn written_soon(files: &Files) {
    let until = Instant::now() + WAITS;
    while files.being_written().is_some() && Instant::now() < until {
        tokio::time::sleep(WAITS_EACH).await;
    }
}

/// Reloads a part.
async fn reload<P: Part>(part: &Arc<P>) {
    let reading = part.clone();
    let read = tokio::task::spawn_blocking(move || drop(reading.read())).await;
    if read.is_err_and(|error| error.is_panic()) {
        part.cut_off(CUT_OFF);
    }
}

/// Reloads a part on request.
///
/// # Errors
/// Why the new content is rejected.
pub(crate) async fn now<P: Part>(part: &Arc<P>) -> Result<P::Read, String> {
    written_soon(part.files()).await;
    let part = part.clone();
    let read = move || {
        // The watcher need not read these files again.
        part.files().changed();
        part.read()
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| Err("the reload was interrupted".to_owned()))
}

/// The error if reading did not even return one.
const CUT_OFF: &str = "internal error while reading it; see the log";
