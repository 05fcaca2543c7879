use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::channel,
    },
};

use super::*;

const LIMIT: u64 = 1000;

fn refused(file: &Path) -> String {
    read(file, LIMIT).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn a_file_is_read_through_any_number_of_links() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("..1")).unwrap();
    fs::write(at("..1/bundle"), "text").unwrap();
    std::os::unix::fs::symlink("..1", at("..data")).unwrap();
    std::os::unix::fs::symlink("..data/bundle", at("bundle")).unwrap();
    let whole = read(&at("bundle"), LIMIT).unwrap();
    assert_eq!(whole.bytes.as_slice(), b"text");
    assert_eq!(whole.stamp, Stamp::of(&fs::metadata(at("..1/bundle")).unwrap()));
}

#[test]
fn files_of_a_kubelets_volume_are_known_to_be_whole() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("..2026_11_29_10_00_00.1")).unwrap();
    fs::write(at("..2026_11_29_10_00_00.1/bundle"), "text").unwrap();
    fs::write(at("plain"), "text").unwrap();
    std::os::unix::fs::symlink("..data/bundle", at("bundle")).unwrap();
    std::os::unix::fs::symlink("plain", at("link")).unwrap();
    for (file, placed) in [
        (at("..2026_11_29_10_00_00.1/bundle"), true),
        (at("bundle"), true),
        (at("link"), false),
        (at("plain"), false),
        (PathBuf::from("../plain"), false),
        (PathBuf::from("plain"), false),
    ] {
        assert_eq!(is_placed(&file), placed, "{}", file.display());
    }
}

// Opening a pipe waits for a writer, and reading a device has no end.
#[test]
fn what_is_no_regular_file_is_named_and_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    std::os::unix::fs::symlink("pipe", at("link")).unwrap();
    for (file, found) in [
        (at("pipe"), "a pipe"),
        (at("link"), "a pipe"),
        (at("socket"), "a socket"),
        (folder.path().to_owned(), "a directory"),
        (PathBuf::from("/dev/zero"), "a device"),
        (PathBuf::from("/dev/null"), "a device"),
    ] {
        let wanted = format!("{}: found {found}; expected a regular file, or a link to one", file.display());
        assert_eq!(refused(&file), wanted);
    }
    let (reader, _writer) = io::pipe().unwrap();
    let inherited = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    assert!(refused(Path::new(&inherited)).contains("found a pipe"));
}

// C-07
#[test]
fn no_more_than_the_limit_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f");
    let large = usize::try_from(LIMIT).unwrap() + 1;
    fs::write(&file, vec![b'x'; large]).unwrap();
    assert_eq!(refused(&file), format!("{}: found {large} bytes; expected at most {LIMIT}", file.display()));
    fs::write(&file, vec![b'x'; large - 1]).unwrap();
    assert_eq!(read(&file, LIMIT).unwrap().bytes.len(), large - 1);
    // A sparse file larger than any memory.
    File::create(&file).unwrap().set_len(1 << 40).unwrap();
    assert!(refused(&file).contains("found 1099511627776 bytes"));
    // A file that reports a size of zero and is not empty.
    assert!(!read(Path::new("/proc/self/status"), 1 << 20).unwrap().bytes.is_empty());
    assert!(read(Path::new("/proc/self/status"), 10).is_err());
}

#[test]
fn a_file_that_is_written_in_place_is_read_when_that_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f");
    let mut writer = File::create(&file).unwrap();
    let written = thread::spawn(move || {
        for _ in 0..20 {
            writer.write_all(b"0123456789").unwrap();
            // Much shorter than the time after which a file counts as complete.
            thread::sleep(SETTLED / 10);
        }
    });
    let whole = read(&file, LIMIT).unwrap();
    written.join().unwrap();
    assert_eq!(whole.bytes.len(), 200);
}

#[test]
fn a_file_that_does_not_stop_changing_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f");
    let (stop, stopped) = channel::<()>();
    let mut writer = File::create(&file).unwrap();
    let written = thread::spawn(move || {
        while stopped.recv_timeout(SETTLED / 10).is_err_and(|error| error == RecvTimeoutError::Timeout) {
            writer.write_all(b".").unwrap();
        }
    });
    let error = refused(&file);
    drop(stop);
    written.join().unwrap();
    assert!(
        error.ends_with("keeps changing; expected a file that nobody has written to for 300ms"),
        "{error}"
    );
}

#[test]
fn ages_are_told_by_the_last_change() {
    let changed = |seconds, nanoseconds| Stamp {
        device: 1,
        inode: 1,
        size: 1,
        made: None,
        modified: (0, 0),
        changed: (seconds, nanoseconds),
    };
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(50_000);
    assert_eq!(changed(49, 700_000_000).settles_in(now), None);
    assert_eq!(changed(49, 970_000_000).settles_in(now), Some(Duration::from_millis(270)));
    assert_eq!(changed(50, 0).settles_in(now), Some(SETTLED));
    assert_eq!(changed(99, 0).settles_in(now), Some(SETTLED), "the clock is behind that of the file system");
    assert_eq!(changed(-5, 0).settles_in(now), None);
}

// A network file system whose server is gone: no system call returns.
#[test]
fn work_that_hangs_is_given_up_and_not_begun_again_before_it_ends() {
    let within = Duration::from_millis(50);
    let (hung, other) = (Path::new("/test/hung"), Path::new("/test/other"));
    let (release, held) = channel::<()>();
    let begun = Arc::new(AtomicUsize::new(0));
    let count = |begun: &Arc<AtomicUsize>| {
        let begun = begun.clone();
        move || begun.fetch_add(1, Ordering::SeqCst)
    };
    let counted = count(&begun);
    let first = begin_within(hung, within, move || {
        counted();
        let _ = held.recv();
    });
    let error = first.wait().unwrap_err();
    assert_eq!(error.to_string(), "/test/hung: the file system has not answered for 0.05s");
    for _ in 0..100 {
        // No further thread for each attempt, and no waiting.
        assert!(begin_within(hung, within, count(&begun)).wait().is_err());
    }
    assert_eq!(begun.load(Ordering::SeqCst), 1);
    begin_within(other, within * 100, count(&begun)).wait().unwrap();
    assert_eq!(begun.load(Ordering::SeqCst), 2, "another path is none of its business");
    release.send(()).unwrap();
    while begin_within(hung, within, count(&begun)).wait().is_err() {}
    assert_eq!(begun.load(Ordering::SeqCst), 3, "it answers again");
}

#[test]
fn work_on_a_path_waits_for_work_that_does_not_hang() {
    let path = Path::new("/test/shared");
    let (release, held) = channel::<()>();
    let first = begin(path, move || held.recv());
    let second = thread::spawn(|| within_deadline(Path::new("/test/shared"), || "done"));
    release.send(()).unwrap();
    first.wait().unwrap().unwrap();
    assert_eq!(second.join().unwrap().unwrap(), "done");
}

#[test]
fn a_panic_in_the_work_is_no_hang() {
    let path = Path::new("/test/panics");
    let error =
        within_deadline(path, || assert!(path.is_absolute() && !path.has_root(), "on purpose")).unwrap_err();
    assert!(error.to_string().contains("internal error"), "{error}");
    within_deadline(path, || ()).unwrap();
}
