//! Watched directories, as far as the system allows watching them.

#![allow(clippy::disallowed_types, reason = "events arrive on a thread outside of the runtime")]

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

/// Device and inode of a directory.
type Identity = (u64, u64);

/// The directories of some files, with symlinks resolved.
pub(super) struct Folders {
    files: Vec<PathBuf>,
    /// Without it, files are only polled.
    watcher: Option<RecommendedWatcher>,
    /// The name under which each directory is watched. A directory with two names is watched once: the system treats
    /// it as one, and removing the watch by one name removes it for the other.
    watched: BTreeMap<Identity, PathBuf>,
    writing: Arc<Writing>,
    complained: bool,
}

impl Folders {
    /// Watches nothing before [`Folders::follow`]; then possible changes are sent to `reported`, and writes to
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

    /// Watches the directories that contain the files now. This may take forever: see [`crate::server::reading`].
    pub(super) fn follow(&mut self) {
        let mut wanted = BTreeMap::new();
        let mut names = BTreeSet::<OsString>::new();
        for file in &self.files {
            let real = fs::canonicalize(file).ok();
            for file in [Some(file), real.as_ref()].into_iter().flatten() {
                names.extend(file.file_name().map(ToOwned::to_owned));
                let folder = folder_of(file);
                // A missing one is found by the next poll.
                if let Some(identity) = identity(folder) {
                    wanted.entry(identity).or_insert_with(|| folder.to_owned());
                }
            }
        }
        self.writing.matter(names);
        let Some(watcher) = &mut self.watcher else { return };
        let mut problem = None;
        // First, because another directory may have the name of one that is no longer watched.
        self.watched.retain(|identity, folder| {
            let kept = wanted.contains_key(identity);
            if !kept {
                // It may no longer exist, and then it is not watched either.
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
                // It has disappeared since.
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
            tracing::warn!(error, "cannot watch directories; falling back to polling");
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

/// Reads are reported too, and we read.
fn may_change(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}
