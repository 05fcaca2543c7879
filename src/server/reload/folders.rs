//! Folders that are watched, as far as the system lets them be.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::sync::Notify;

use super::parent;

/// The folders of some files, and where the files really are.
pub(super) struct Folders {
    files: Vec<PathBuf>,
    /// Without it there is polling alone.
    watcher: Option<RecommendedWatcher>,
    /// Device and inode of each watched folder: another folder under the same name is not watched yet.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    complained: bool,
}

impl Folders {
    /// Watches nothing before [`Folders::follow`]; then whatever may be a change is told to `reported`.
    pub(super) fn new(files: Vec<PathBuf>, reported: Arc<Notify>) -> Folders {
        let tell = move |event: notify::Result<Event>| {
            if event.as_ref().map_or(true, may_change) {
                reported.notify_one();
            }
        };
        let mut folders = Folders { files, watcher: None, watched: BTreeMap::new(), complained: false };
        match notify::recommended_watcher(tell) {
            Ok(watcher) => folders.watcher = Some(watcher),
            Err(error) => folders.complain(&error),
        }
        folders
    }

    /// Watches the folders in which the files are now.
    pub(super) fn follow(&mut self) {
        let mut wanted = BTreeSet::new();
        for file in &self.files {
            wanted.insert(parent(file).to_owned());
            wanted.extend(fs::canonicalize(file).ok().map(|real| parent(&real).to_owned()));
        }
        let Some(watcher) = &mut self.watcher else { return };
        let mut problem = None;
        let gone: Vec<_> = self.watched.keys().filter(|folder| !wanted.contains(*folder)).cloned().collect();
        for folder in gone {
            self.watched.remove(&folder);
            // It may not exist any more, and then it is not watched either.
            let _ = watcher.unwatch(&folder);
        }
        for folder in wanted {
            let identity = identity(&folder);
            if self.watched.get(&folder).copied() == identity {
                continue;
            }
            if self.watched.remove(&folder).is_some() {
                let _ = watcher.unwatch(&folder);
            }
            match (identity, watcher.watch(&folder, RecursiveMode::NonRecursive)) {
                (Some(identity), Ok(())) => {
                    self.watched.insert(folder, identity);
                }
                (Some(_), Err(error)) => problem = Some(error),
                // A folder that is not there yet: the next poll sees it.
                (None, _) => {}
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

fn identity(folder: &Path) -> Option<(u64, u64)> {
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
