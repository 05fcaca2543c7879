//! Folders that are watched, as far as the system lets them be.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::sync::Notify;

use super::writing::Writing;
use crate::server::reading::folder_of;

/// Device and inode of a folder.
type Identity = (u64, u64);

/// The folders of some files, and where the files really are.
pub(super) struct Folders {
    files: Vec<PathBuf>,
    /// Without it there is polling alone.
    watcher: Option<RecommendedWatcher>,
    /// The name each folder is watched by. A folder of two names is watched once: to the system it is one, and what ends the
    /// watch by one name ends it by the other.
    watched: BTreeMap<Identity, PathBuf>,
    writing: Arc<Writing>,
    complained: bool,
}

impl Folders {
    /// Watches nothing before [`Folders::follow`]; then whatever may be a change is told to `reported`, and who writes to
    /// `writing`.
    pub(super) fn new(files: Vec<PathBuf>, reported: Arc<Notify>, writing: Arc<Writing>) -> Folders {
        let tell = {
            let writing = writing.clone();
            move |event: notify::Result<Event>| {
                if let Ok(event) = &event {
                    writing.note(event, Instant::now());
                }
                if event.as_ref().map_or(true, may_change) {
                    reported.notify_one();
                }
            }
        };
        let mut folders =
            Folders { files, watcher: None, watched: BTreeMap::new(), writing, complained: false };
        match notify::recommended_watcher(tell) {
            Ok(watcher) => folders.watcher = Some(watcher),
            Err(error) => folders.complain(&error),
        }
        folders
    }

    /// Watches the folders in which the files are now. It may take for ever: see [`crate::server::reading`].
    pub(super) fn follow(&mut self) {
        let mut wanted = BTreeMap::new();
        let mut names = BTreeSet::<OsString>::new();
        for file in &self.files {
            let real = fs::canonicalize(file).ok();
            for file in [Some(file), real.as_ref()].into_iter().flatten() {
                names.extend(file.file_name().map(ToOwned::to_owned));
                let folder = folder_of(file);
                // One that is not there yet is seen by the next poll.
                if let Some(identity) = identity(folder) {
                    wanted.entry(identity).or_insert_with(|| folder.to_owned());
                }
            }
        }
        self.writing.matter(names);
        let Some(watcher) = &mut self.watcher else { return };
        let mut problem = None;
        // First of all: another folder may have the name of one that is watched no more.
        self.watched.retain(|identity, folder| {
            let kept = wanted.contains_key(identity);
            if !kept {
                // It may not exist any more, and then it is not watched either.
                let _ = watcher.unwatch(folder);
            }
            kept
        });
        for (identity, folder) in wanted {
            if self.watched.contains_key(&identity) {
                continue;
            }
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(identity, folder);
                }
                // Gone since.
                Err(_) if self::identity(&folder) != Some(identity) => {}
                Err(error) => problem = Some(error),
            }
        }
        if let Some(problem) = problem {
            self.complain(&problem);
        }
    }

    fn complain(&mut self, error: &notify::Error) {
        if !std::mem::replace(&mut self.complained, true) {
            let error = error.to_string();
            tracing::warn!(error, "folders cannot be watched; files are looked at now and then instead");
        }
    }
}

impl fmt::Debug for Folders {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Folders").field("watched", &self.watched).finish_non_exhaustive()
    }
}

fn identity(folder: &Path) -> Option<Identity> {
    fs::metadata(folder).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Reading is reported too, and we read.
fn may_change(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}
