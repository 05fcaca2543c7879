//! Files: all inputs of a command at once, and outputs that are complete or absent.

use std::{
    fmt, fs,
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use super::failure::Failure;

/// A text and its origin.
#[derive(Debug)]
pub(super) struct Input {
    /// Its name in reports.
    pub(super) name: String,
    /// Its file; `None` for stdin.
    pub(super) path: Option<PathBuf>,
    /// The text.
    pub(super) text: String,
}

/// Reads files, directories (their manifests, sorted by name) and `-`, stdin.
pub(super) fn read_all(paths: &[PathBuf], recursive: bool) -> Result<Vec<Input>, Failure> {
    if paths.iter().filter(|path| is_stdin(path)).count() > 1 {
        return Err(Failure::usage("stdin (-) is given twice but can be read only once"));
    }
    let mut inputs = Vec::new();
    for path in paths {
        if !is_stdin(path) && path.is_dir() {
            let found = manifests(path, recursive).map_err(|error| unreadable(error, path))?;
            if found.is_empty() {
                let text = format!(
                    "found no manifest in {}; expected files ending in .yaml, .yml or .json",
                    path.display()
                );
                return Err(Failure::data(text));
            }
            for file in found {
                inputs.push(read(&file)?);
            }
        } else {
            inputs.push(read(path)?);
        }
    }
    Ok(inputs)
}

/// Larger than any list of a cluster's objects. Anything larger is probably endless: `/dev/zero`, or a broken program.
const LARGEST: u64 = 256 << 20;

/// Reads the bytes of one file, or of stdin for `-`, and returns its name. The file may be a pipe: it is read once.
pub(super) fn read_bytes(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let (name, bytes) = if is_stdin(path) {
        ("stdin".to_owned(), read_to_end(io::stdin().lock(), LARGEST))
    } else {
        let read = |file: fs::File| {
            // Growing the buffer would need its size twice.
            let size = file.metadata().map_or(0, |metadata| metadata.len());
            read_to_end_of(file, LARGEST, size.min(LARGEST))
        };
        (path.display().to_string(), fs::File::open(path).and_then(read))
    };
    match bytes.map_err(|error| unreadable(error, path))? {
        Some(bytes) => Ok((name, bytes)),
        None => {
            Err(Failure::data(format!("{name}: found more than {LARGEST} bytes; the limit is {LARGEST}")))
        }
    }
}

/// Everything up to the end; `None` if that is more than `largest` bytes.
fn read_to_end(from: impl Read, largest: u64) -> io::Result<Option<Vec<u8>>> {
    read_to_end_of(from, largest, 0)
}

fn read_to_end_of(from: impl Read, largest: u64, expected: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(usize::try_from(expected).map_or(0, |expected| expected + 1));
    let read = from.take(largest.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(u64::try_from(read).is_ok_and(|read| read <= largest).then_some(bytes))
}

/// Reads one file, or stdin for `-`.
pub(super) fn read(path: &Path) -> Result<Input, Failure> {
    let (name, bytes) = read_bytes(path)?;
    let text = decoded(bytes).map_err(|fault| Failure::data(format!("{name}: {fault}")))?;
    Ok(Input { name, path: (!is_stdin(path)).then(|| path.to_owned()), text })
}

/// Decodes a file: UTF-8, or UTF-16 with a byte order mark, as written by redirection in PowerShell 5. The output is
/// UTF-8.
fn decoded(bytes: Vec<u8>) -> Result<String, String> {
    let (units, little) = match bytes.as_slice() {
        [0xff, 0xfe, units @ ..] => (units, true),
        [0xfe, 0xff, units @ ..] => (units, false),
        other => {
            // Half of the bytes of plain text in UTF-16 are zero, which UTF-8 text never contains.
            if matches!(other, [0, second, ..] if *second != 0)
                || matches!(other, [first, 0, ..] if *first != 0)
            {
                return Err(
                    "found UTF-16 without a byte order mark; expected UTF-8, or UTF-16 with one".to_owned()
                );
            }
            return String::from_utf8(bytes).map_err(|error| {
                let offset = error.utf8_error().valid_up_to();
                format!("found bytes that are not UTF-8 at offset {offset}; expected UTF-8, or UTF-16 with a byte order mark")
            });
        }
    };
    let unit = |pair: &[u8; 2]| if little { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) };
    let (pairs, rest) = units.as_chunks::<2>();
    let refused = "found invalid UTF-16; expected UTF-8, or UTF-16 with a byte order mark";
    if !rest.is_empty() {
        return Err(refused.to_owned());
    }
    char::decode_utf16(pairs.iter().map(unit)).collect::<Result<_, _>>().map_err(|_| refused.to_owned())
}

/// Writes to stdout.
pub(super) fn print(text: &(impl fmt::Display + ?Sized)) -> Result<(), Failure> {
    let mut stdout = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    write!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::io(error, "cannot write to stdout"))
}

/// Replaces a file's content atomically, with the file's permissions. A concurrent reader gets the old text or the new
/// one; a failure leaves the old one. Links are followed; special files are written in place.
pub(super) fn replace(path: &Path, text: &(impl fmt::Display + ?Sized)) -> Result<(), Failure> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let existing = fs::metadata(&target).ok();
    let written = match &existing {
        Some(metadata) if !metadata.is_file() => {
            fs::OpenOptions::new().write(true).open(&target).and_then(|file| write_all(&file, text))
        }
        _ => rename_over(&target, text, existing.map(|metadata| metadata.permissions())),
    };
    written.map_err(|error| Failure::io(error, format!("cannot write {}", path.display())))
}

/// Texts are written in pieces: the whole of a long manifest is many times larger than what changes in it.
fn write_all(file: &fs::File, text: &(impl fmt::Display + ?Sized)) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(BUFFER, file);
    write!(writer, "{text}").and_then(|()| writer.flush())
}

const BUFFER: usize = 64 << 10;

fn rename_over(
    target: &Path,
    text: &(impl fmt::Display + ?Sized),
    permissions: Option<fs::Permissions>,
) -> io::Result<()> {
    let Some(name) = target.file_name() else { return Err(io::ErrorKind::InvalidFilename.into()) };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = target.with_file_name(temporary);
    let written = (|| {
        let file = fs::OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        // Before the text, which may be confidential.
        permissions.map_or(Ok(()), |permissions| file.set_permissions(permissions))?;
        write_all(&file, text)?;
        file.sync_all()?;
        fs::rename(&temporary, target)
    })();
    if let Err(error) = &written
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// The manifests of a directory by name. Hidden entries are skipped: in a mounted ConfigMap they are the same files
/// again.
fn manifests(folder: &Path, recursive: bool) -> io::Result<Vec<PathBuf>> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort();
    let mut found = Vec::new();
    for path in entries {
        let hidden =
            path.file_name().is_some_and(|name| name.as_encoded_bytes().first().is_some_and(|b| *b == b'.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            // A link to a directory could form a cycle.
            if recursive && !path.is_symlink() {
                found.extend(manifests(&path, recursive)?);
            }
        } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json") {
            found.push(path);
        }
    }
    Ok(found)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn unreadable(error: io::Error, path: &Path) -> Failure {
    Failure::io(error, format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_not_read_for_ever() {
        assert_eq!(read_to_end(io::repeat(0), 1000).unwrap(), None);
        assert_eq!(read_to_end(io::repeat(0).take(1000), 1000).unwrap().unwrap().len(), 1000);
        assert_eq!(read_to_end(io::empty(), 0).unwrap(), Some(Vec::new()));
    }

    #[test]
    fn utf_16_is_read_where_a_byte_order_mark_says_so() {
        let text = "kind: Pod # é 😀\r\n";
        let mut little = vec![0xff, 0xfe];
        little.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        let mut big = vec![0xfe, 0xff];
        big.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
        assert_eq!(decoded(little.clone()).as_deref(), Ok(text));
        assert_eq!(decoded(big.clone()).as_deref(), Ok(text));
        assert!(decoded(little[2..].to_vec()).unwrap_err().contains("without a byte order mark"));
        assert!(decoded(big[2..].to_vec()).unwrap_err().contains("without a byte order mark"));
        assert!(decoded(little[..little.len() - 1].to_vec()).unwrap_err().contains("invalid"));
        assert!(decoded(vec![0xff, 0xfe, 0x00, 0xd8]).unwrap_err().contains("invalid"));
        assert!(decoded(b"a: \xff".to_vec()).unwrap_err().contains("at offset 3"));
        assert_eq!(decoded("\u{feff}a".into()).as_deref(), Ok("\u{feff}a"), "a mark of UTF-8 stays");
    }
}
