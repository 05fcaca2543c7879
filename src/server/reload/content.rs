//! What was seen of a file: enough to tell whether its content is another now.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

use sha2::{Digest, Sha256};

/// What was seen of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    stamp: Option<Stamp>,
    content: Content,
}

#[derive(Debug, PartialEq, Eq)]
enum Content {
    /// A regular file: the digest of its first bytes, and how many it has.
    Bytes([u8; 32], u64),
    /// Something that cannot be read twice, or at all.
    Unreadable(io::ErrorKind),
}

/// What the file system says of a file without its being read, links followed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// More than any configuration or certificate may have.
const DIGESTED: u64 = 16 << 20;

impl Seen {
    pub(super) fn look(path: &Path) -> Seen {
        let metadata = fs::metadata(path);
        let stamp = metadata.as_ref().ok().map(Stamp::of);
        Seen {
            stamp,
            content: metadata
                .and_then(|metadata| Content::of(path, &metadata))
                .unwrap_or_else(|error| Content::Unreadable(error.kind())),
        }
    }

    /// Looks again; tells whether the content is another. A file whose stamp is the same is not read.
    pub(super) fn look_again(&mut self, path: &Path) -> bool {
        let stamp = fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata));
        if stamp.is_some() && stamp == self.stamp {
            return false;
        }
        let now = Seen::look(path);
        let changed = now.content != self.content;
        *self = now;
        changed
    }
}

impl Content {
    fn of(path: &Path, metadata: &Metadata) -> io::Result<Content> {
        if !metadata.is_file() {
            // A pipe gives its text once, and that is for whoever loads it.
            return Ok(Content::Unreadable(io::ErrorKind::Unsupported));
        }
        let mut digest = Sha256::new();
        io::copy(&mut File::open(path)?.take(DIGESTED), &mut digest)?;
        Ok(Content::Bytes(digest.finalize().into(), metadata.len()))
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_content_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        let mut seen = Seen::look(&file);
        assert!(!seen.look_again(&file), "absent as before");
        fs::write(&file, "one").unwrap();
        assert!(seen.look_again(&file), "there now");
        assert!(!seen.look_again(&file));
        fs::write(&file, "one").unwrap();
        assert!(!seen.look_again(&file), "written again, with the same content");
        let other = folder.path().join("g");
        fs::write(&other, "one").unwrap();
        fs::rename(&other, &file).unwrap();
        assert!(!seen.look_again(&file), "another file with the same content");
        fs::write(&file, "two").unwrap();
        assert!(seen.look_again(&file), "as long as before");
        fs::remove_file(&file).unwrap();
        assert!(seen.look_again(&file), "gone");
        fs::create_dir(&file).unwrap();
        assert!(seen.look_again(&file), "something else");
        assert!(!seen.look_again(&file));
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
        assert!(seen.look_again(&link));
    }

    // `--bundle <(generate)` in a shell.
    #[test]
    fn a_pipe_is_not_read() {
        let (reader, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, b"text").unwrap();
        drop(writer);
        let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        let mut seen = Seen::look(Path::new(&path));
        seen.look_again(Path::new(&path));
        assert_eq!(io::read_to_string(reader).unwrap(), "text");
    }
}
