//! Files that are being written in place, as far as the system reports it: between two writes they look complete.

#![allow(clippy::disallowed_types, reason = "events arrive on a thread outside of the runtime")]

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind,
    event::{AccessKind, AccessMode, ModifyKind},
};

/// Tracks writes by the names of files in the watched directories.
#[derive(Debug, Default)]
pub(super) struct Writing(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The relevant names.
    names: BTreeSet<OsString>,
    /// Files that were written to and not closed since, with the time of the last write.
    open: BTreeMap<OsString, Instant>,
}

/// A file that stays open for this long without a write is read anyway, because the event about its closing may have
/// been lost.
const FORGOTTEN: Duration = Duration::from_secs(60);

impl Writing {
    /// Sets the relevant names.
    pub(super) fn matter(&self, names: BTreeSet<OsString>) {
        let mut state = self.lock();
        state.open.retain(|name, _| names.contains(name));
        state.names = names;
    }

    /// Handles an event.
    pub(super) fn note(&self, event: &Event, now: Instant) {
        let mut state = self.lock();
        if event.need_rescan() {
            state.open.clear();
        }
        for name in event.paths.iter().filter_map(|path| path.file_name()) {
            match event.kind {
                EventKind::Modify(ModifyKind::Data(_)) if state.names.contains(name) => {
                    state.open.insert(name.to_owned(), now);
                }
                // A remaining writer now writes to a file with another name, or with none.
                EventKind::Access(AccessKind::Close(AccessMode::Write))
                | EventKind::Modify(ModifyKind::Name(_))
                | EventKind::Remove(_) => {
                    state.open.remove(name);
                }
                _ => {}
            }
        }
    }

    /// A file that is being written now, and when that is no longer assumed.
    pub(super) fn current(&self) -> Option<(OsString, Instant)> {
        self.file(Instant::now())
    }

    /// A file that is being written at some time, and when that is no longer assumed.
    fn file(&self, now: Instant) -> Option<(OsString, Instant)> {
        let mut state = self.lock();
        state.open.retain(|name, last| {
            let believed = now.saturating_duration_since(*last) < FORGOTTEN;
            if !believed {
                let file = shown(name);
                tracing::warn!(
                    file,
                    "file is open for writing but was not written to for a minute; reading it anyway"
                );
            }
            believed
        });
        state.open.iter().next().map(|(name, last)| (name.clone(), *last + FORGOTTEN))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, Flag, MetadataKind, RemoveKind, RenameMode};

    use super::*;

    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

    fn event(kind: EventKind, name: &str) -> Event {
        Event::new(kind).add_path(std::path::Path::new("/folder").join(name))
    }

    #[test]
    fn a_file_is_being_written_from_its_first_write_until_it_is_closed() {
        let (writing, now) = (Writing::default(), Instant::now());
        writing.matter(BTreeSet::from(["f".into()]));
        let is_written = |kind: EventKind| {
            writing.note(&event(kind, "f"), now);
            writing.file(now).is_some()
        };
        assert!(!is_written(EventKind::Create(CreateKind::File)), "links are made so, and never closed");
        for end in [
            CLOSED,
            EventKind::Remove(RemoveKind::File),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)),
            EventKind::Modify(ModifyKind::Name(RenameMode::From)),
        ] {
            assert!(is_written(WRITTEN) && is_written(WRITTEN));
            assert!(is_written(EventKind::Access(AccessKind::Open(AccessMode::Any))));
            assert!(is_written(EventKind::Access(AccessKind::Close(AccessMode::Read))));
            assert!(is_written(EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any))));
            assert!(!is_written(end), "{end:?}");
        }
    }

    #[test]
    fn other_files_and_what_goes_unreported_hold_nothing_up() {
        let (writing, now) = (Writing::default(), Instant::now());
        writing.matter(BTreeSet::from(["f".into()]));
        writing.note(&event(WRITTEN, "g"), now);
        assert_eq!(writing.file(now), None);
        writing.note(&event(WRITTEN, "f"), now);
        assert_eq!(writing.file(now), Some(("f".into(), now + FORGOTTEN)));
        assert_eq!(writing.file(now + FORGOTTEN), None);
        writing.note(&event(WRITTEN, "f"), now);
        writing.note(&Event::new(EventKind::Other).set_flag(Flag::Rescan), now);
        assert_eq!(writing.file(now), None, "events were lost");
        writing.note(&event(WRITTEN, "f"), now);
        writing.matter(BTreeSet::from(["other".into()]));
        assert_eq!(writing.file(now), None);
    }
}
