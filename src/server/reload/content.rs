//! The recorded state of a file: enough to tell whether its content has changed.

use std::{
    io::{self, Read},
    path::Path,
};

use sha2::{Digest, Sha256};

use crate::server::reading::{self, Stamp};

/// The recorded state of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    stamp: Option<Stamp>,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    /// A regular file: the digest of its first bytes, and its size.
    Bytes([u8; 32], u64),
    /// Not a file, with its type, or a file that cannot be read.
    Unreadable(io::ErrorKind, &'static str),
}

/// More than any configuration or certificate may have.
const DIGESTED: u64 = 16 << 20;

impl Content {
    fn unreadable(error: &reading::Error) -> Content {
        Content::Unreadable(error.kind(), error.found())
    }
}

impl Seen {
    /// Records the state of a file, which may take forever: see [`reading`].
    pub(super) fn look(path: &Path) -> Seen {
        let mut stamp = None;
        let content = reading::open(path).and_then(|(file, found)| {
            let size = found.size();
            stamp = Some(found);
            let mut digest = Sha256::new();
            io::copy(&mut file.take(DIGESTED), &mut digest)
                .map_err(|error| reading::Error::Io { file: path.to_owned(), error })?;
            Ok(Content::Bytes(digest.finalize().into(), size))
        });
        Seen { stamp, content: content.unwrap_or_else(|error| Content::unreadable(&error)) }
    }

    /// A file whose state is unknown.
    pub(super) fn unreadable(error: &reading::Error) -> Seen {
        Seen { stamp: None, content: Content::unreadable(error) }
    }

    /// Records the state again. A file with the same stamp is not read.
    pub(super) fn again(self, path: &Path) -> Seen {
        let stamp = std::fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata));
        if stamp.is_some() && stamp == self.stamp { self } else { Seen::look(path) }
    }

    /// Whether the content differs from an earlier state.
    pub(super) fn is_another(&self, earlier: &Seen) -> bool {
        self.content != earlier.content
    }

    /// Whether anything about the file differs from an earlier state.
    pub(super) fn is_touched(&self, earlier: &Seen) -> bool {
        self != earlier
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Records the state again; returns whether the content has changed.
    fn changed(seen: &mut Seen, path: &Path) -> bool {
        let earlier = seen.clone();
        *seen = earlier.clone().again(path);
        seen.is_another(&earlier)
    }

    #[test]
    fn only_another_content_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        let mut seen = Seen::look(&file);
        assert!(!changed(&mut seen, &file), "absent as before");
        fs::write(&file, "one").unwrap();
        assert!(changed(&mut seen, &file), "there now");
        assert!(!changed(&mut seen, &file));
        fs::write(&file, "one").unwrap();
        assert!(!changed(&mut seen, &file), "written again, with the same content");
        let other = folder.path().join("g");
        fs::write(&other, "one").unwrap();
        fs::rename(&other, &file).unwrap();
        assert!(!changed(&mut seen, &file), "another file with the same content");
        fs::write(&file, "two").unwrap();
        assert!(changed(&mut seen, &file), "as long as before");
        fs::remove_file(&file).unwrap();
        assert!(changed(&mut seen, &file), "gone");
        fs::create_dir(&file).unwrap();
        assert!(changed(&mut seen, &file), "something else");
        assert!(!changed(&mut seen, &file));
        let device = folder.path().join("device");
        std::os::unix::fs::symlink("/dev/null", &device).unwrap();
        fs::remove_dir(&file).unwrap();
        fs::rename(&device, &file).unwrap();
        assert!(changed(&mut seen, &file), "something else that is no file either");
    }

    #[test]
    fn a_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        for (name, text) in [("a", "one"), ("b", "two")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        std::os::unix::fs::symlink("a", &link).unwrap();
        let mut seen = Seen::look(&link);
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("b", &link).unwrap();
        assert!(changed(&mut seen, &link));
    }

    #[test]
    fn a_pipe_is_not_read() {
        let (reader, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, b"text").unwrap();
        drop(writer);
        let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        let mut seen = Seen::look(Path::new(&path));
        changed(&mut seen, Path::new(&path));
        assert_eq!(io::read_to_string(reader).unwrap(), "text");
    }
}
