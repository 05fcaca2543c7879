//! Files that change: the folders of configuration and certificate are watched, and looked at now and then all the same.
//!
//! A kubelet changes a mounted volume by putting another folder behind a link in it, so it is folders that are watched:
//! a watched file would never change. What the system reports is only a reason to look; a reload follows when the
//! content of a file is another than the last time. What was seen is noted *before* files are read, so that a change
//! in between is found the next time (T-03, T-05).

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

/// What files are read for. Each part is followed by itself, so that a file system that hangs holds nothing else up.
pub(crate) trait Part: Send + Sync + 'static {
    /// What reading gives.
    type Read: Send;

    /// For the log.
    fn name(&self) -> &'static str;

    /// The files.
    fn files(&self) -> &Arc<Files>;

    /// Reads them, and applies what they say, whole or not at all. What goes wrong is logged and counted; the last good one
    /// stays.
    ///
    /// # Errors
    /// A sentence for whoever asked for it.
    fn read(&self) -> Result<Self::Read, String>;

    /// Told when reading panicked.
    fn cut_off(&self, error: &str);

    /// Whether it is time to read them although they have not changed; `now` is in seconds since 1970.
    fn is_due(&self, _now: i64) -> bool {
        false
    }
}

/// How eagerly files of the configuration and the certificate are looked at.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Between two looks when the system reports nothing; network file systems and some links are not reported.
    pub poll: Duration,
    /// How long nothing is reported before files are read: those that belong together are written one by one.
    pub quiet: Duration,
    /// How long that may take altogether. A new certificate is to be served within a second.
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

/// The files of one part, and what was seen of them last.
#[derive(Debug, Default)]
pub(crate) struct Files {
    seen: Mutex<Vec<(PathBuf, Seen)>>,
    /// Whether what was seen last was not read, or refused: whatever is done to the files is a reason to read them again.
    failed: AtomicBool,
    writing: Arc<Writing>,
}

impl Files {
    /// Looks at the files for the first time: before they are read.
    pub(crate) fn new(paths: Vec<PathBuf>) -> Files {
        let looked = look(paths.into_iter().map(|path| (path, None)).collect());
        Files { seen: Mutex::new(looked), ..Files::default() }
    }

    /// Looks at all files; gives those whose content is another than the last time.
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

    /// Notes whether what was seen last is in use now.
    pub(crate) fn taken(&self, taken: bool) {
        self.failed.store(!taken, Ordering::Relaxed);
    }

    /// Why the files are not to be read now, if somebody is writing one of them.
    pub(crate) fn being_written(&self) -> Option<String> {
        let (name, _) = self.writing.file(std::time::Instant::now())?;
        Some(format!("{}: it is being written; it is read when that is done", name.display()))
    }

    /// Notes that what was seen last was not read, and has to be however little happens to the files.
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

/// Looks at files, at all folders at once. Of what does not answer nothing is seen.
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
            () = supervisor.keep("files are followed", begin) => {}
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
                // First watched, then looked at: what changes in between is found either way. What hangs is found by looking.
                let follow = move || folders.lock().unwrap_or_else(PoisonError::into_inner).follow();
                let _ = reading::within_deadline(&key, follow);
                files.changed()
            }
        };
        let changed = match tokio::task::spawn_blocking(look).await {
            Ok(changed) => changed,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is going down.
            Err(_) => return std::future::pending().await,
        };
        if !changed.is_empty() {
            tracing::debug!(part = part.name(), "files have changed");
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

/// Waits until nothing has been reported for a while, so that files which belong together are all there; but not for
/// ever (C-04).
async fn settle(reported: &Notify, pace: &Pace) {
    let latest = Instant::now() + pace.longest;
    while Instant::now() < latest {
        let quiet = latest.min(Instant::now() + pace.quiet);
        if timeout_at(quiet, reported.notified()).await.is_err() {
            return;
        }
    }
}

/// Waits until nobody writes to the files any more.
async fn written(files: &Files, reported: &Notify, pace: &Pace) {
    while let Some((_, until)) = files.writing.file(std::time::Instant::now()) {
        let _ = timeout_at(until.into(), reported.notified()).await;
        settle(reported, pace).await;
    }
}

/// How long a reload that was asked for waits for whoever is writing.
const WAITS: Duration = Duration::from_secs(2);
const WAITS_EACH: Duration = Duration::from_millis(20);

/// [`written`], for a reload that was asked for: it does not wait for ever.
async fn written_soon(files: &Files) {
    let until = Instant::now() + WAITS;
    while files.being_written().is_some() && Instant::now() < until {
        tokio::time::sleep(WAITS_EACH).await;
    }
}

/// Reads a part again.
async fn reload<P: Part>(part: &Arc<P>) {
    let reading = part.clone();
    let read = tokio::task::spawn_blocking(move || drop(reading.read())).await;
    if read.is_err_and(|error| error.is_panic()) {
        part.cut_off(CUT_OFF);
    }
}

/// Reads a part again because somebody asks for it.
///
/// # Errors
/// Why what was read is refused.
pub(crate) async fn now<P: Part>(part: &Arc<P>) -> Result<P::Read, String> {
    written_soon(part.files()).await;
    let part = part.clone();
    let read = move || {
        // Whoever watches them need not read them again.
        part.files().changed();
        part.read()
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| Err("the reload was interrupted".to_owned()))
}

/// What is said of something that cannot even be refused in an orderly way.
const CUT_OFF: &str = "an internal error while it was read; the log has the place";
