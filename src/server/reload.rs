//! Files that change: the folders of configuration and certificate are watched, and looked at now and then all the same.
//!
//! A kubelet changes a mounted volume by putting another folder behind a link in it, so it is folders that are watched:
//! a watched file would never change. What the system reports is only a reason to look; a reload follows when the
//! content of a file is another than the last time. What was seen is noted *before* files are read, so that a change
//! in between is found the next time (T-03, T-05).

mod content;
mod folders;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use self::{content::Seen, folders::Folders};
use super::{
    Handle,
    options::{Certificate, Pace},
    shutdown::{Phase, Watch},
    supervise::Supervisor,
    tls::unix_now,
};

/// The files that matter, and what was seen of them last.
#[derive(Debug, Default)]
pub(crate) struct Files {
    seen: Mutex<Vec<(PathBuf, Seen)>>,
}

impl Files {
    /// Looks at the files for the first time: before they are read.
    pub(crate) fn new(paths: Vec<PathBuf>) -> Files {
        let look = |path: PathBuf| {
            let seen = Seen::look(&path);
            (path, seen)
        };
        Files { seen: Mutex::new(paths.into_iter().map(look).collect()) }
    }

    /// Looks at all files; gives those whose content is another than the last time.
    pub(crate) fn changed(&self) -> Vec<PathBuf> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = seen.iter_mut().filter_map(|(path, seen)| seen.look_again(path).then(|| path.clone()));
        changed.collect()
    }

    fn paths(&self) -> Vec<PathBuf> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().map(|(path, _)| path.clone()).collect()
    }
}

/// Reloads whenever the content of a file changes, until the server stops.
pub(crate) fn watch(files: Arc<Files>, handle: Handle, phase: Watch, pace: Pace, supervisor: Supervisor) {
    let paths = files.paths();
    if paths.is_empty() {
        return;
    }
    let begin = move || follow(files.clone(), paths.clone(), handle.clone(), pace.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = supervisor.keep("files are followed", begin) => {}
            () = phase.reached(Phase::Stopped) => {}
        }
    });
}

async fn follow(files: Arc<Files>, paths: Vec<PathBuf>, handle: Handle, pace: Pace) {
    let reported = Arc::new(Notify::new());
    let mut folders = Some(Folders::new(paths, reported.clone()));
    loop {
        let files = files.clone();
        let mut watched = folders.take();
        let look = move || {
            // First watched, then looked at: what changes in between is found either way.
            if let Some(folders) = &mut watched {
                folders.follow();
            }
            (watched, files.changed())
        };
        let (watched, changed) = match tokio::task::spawn_blocking(look).await {
            Ok(looked) => looked,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is going down.
            Err(_) => return std::future::pending().await,
        };
        folders = watched;
        if !changed.is_empty() {
            reload(&handle, &changed).await;
        }
        if handle.certificate.is_due(unix_now()) {
            reload_certificate(&handle).await;
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

/// Reads again what has changed, and nothing else: a new certificate is no new configuration.
async fn reload(handle: &Handle, changed: &[PathBuf]) {
    let of_certificate = |path: &PathBuf| match &handle.certificate_origin {
        Certificate::Files { chain, key } => path == chain || path == key,
        _ => false,
    };
    let of_callers = |path: &PathBuf| handle.client_auth_files.contains(path);
    let certificate = changed.iter().any(of_certificate);
    let callers = changed.iter().any(of_callers);
    let configuration = changed.iter().any(|path| !of_certificate(path) && !of_callers(path));
    tracing::debug!(configuration, certificate, callers, "files have changed");
    // What goes wrong is logged and counted where it does; the last good one stays.
    if certificate {
        reload_certificate(handle).await;
    }
    if callers {
        let failed = cut_off(handle, |handle| drop(handle.reload_client_auth())).await;
        if let Some(auth) = handle.client_auth.as_ref().filter(|_| failed) {
            auth.refused_ca(CUT_OFF);
        }
    }
    if configuration && cut_off(handle, |handle| drop(handle.reload_configuration())).await {
        handle.configuration.refused(CUT_OFF);
    }
}

async fn reload_certificate(handle: &Handle) {
    if cut_off(handle, |handle| drop(handle.reload_certificate())).await {
        handle.certificate.refused(CUT_OFF);
    }
}

/// What is said of something that cannot even be refused in an orderly way.
const CUT_OFF: &str = "an internal error while it was read; the log has the place";

/// Reads something away from requests. Tells whether that was cut off by a panic.
async fn cut_off(handle: &Handle, read: impl FnOnce(&Handle) + Send + 'static) -> bool {
    let handle = handle.clone();
    let read = tokio::task::spawn_blocking(move || read(&handle)).await;
    read.is_err_and(|error| error.is_panic())
}

/// The folder a file is in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
