//! Rules about the source that the compiler does not check: every file is reachable, none is too long, and only few
//! modules read the clock. Dependencies between crates are in their manifests; functions forbidden to the pure ones are
//! in `clippy.toml`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The modules that read the wall clock, with the reasons. All others get the time as an argument, so that tests can
/// set it, and wait by the monotonic clock.
const WALL_CLOCK: [(&str, &str); 5] = [
    ("src/server/clock.rs", "`unix_now`"),
    ("src/server/kube/lease.rs", "the time in the Lease"),
    ("src/server/reading.rs", "how long nobody has written to a file"),
    ("src/server/tls.rs", "the birth of a self-signed certificate"),
    ("src/server/webhook/traces/spans.rs", "the time of a span"),
];

// L-10
#[test]
fn the_wall_clock_is_read_at_the_edge_and_passed_on() {
    let reads = |line: &str| line.contains("SystemTime::now") || line.contains("Timestamp::now");
    let found: BTreeSet<String> = sources()
        .filter(|(file, source)| !is_test(file) && production(source).any(reads))
        .map(|(file, _)| file.to_string_lossy().into_owned())
        .collect();
    let known: BTreeSet<String> = WALL_CLOCK.iter().map(|(file, _)| (*file).to_owned()).collect();
    assert_eq!(found, known, "the time is an argument");
}

#[test]
fn every_source_file_is_declared_by_its_parent() {
    let files: BTreeMap<PathBuf, String> = sources().collect();
    let is_root = |file: &&PathBuf| {
        let parent = file.parent().and_then(Path::file_name).is_some_and(|folder| folder == "src");
        parent && file.file_stem().is_some_and(|stem| stem == "lib" || stem == "main")
    };
    let mut reached: BTreeSet<PathBuf> = files.keys().filter(is_root).cloned().collect();
    assert_eq!(reached.len(), 7, "{reached:?}");
    let mut queue: Vec<PathBuf> = reached.iter().cloned().collect();
    while let Some(file) = queue.pop() {
        let folder = match file.file_stem().unwrap().to_str().unwrap() {
            "lib" | "main" => file.parent().unwrap().to_owned(),
            stem => file.with_file_name(stem),
        };
        for child in declared(&files[&file]) {
            let child = folder.join(format!("{child}.rs"));
            if files.contains_key(&child) && reached.insert(child.clone()) {
                queue.push(child);
            }
        }
    }
    let orphans: Vec<_> = files.keys().filter(|file| !reached.contains(*file)).collect();
    assert!(orphans.is_empty(), "nobody declares {orphans:?}");
}

#[test]
fn no_file_outgrows_the_house() {
    let generated = ["crates/injector/src/gotypes/kubernetes.rs", "crates/istio-config/src/gotypes.rs"];
    let long: Vec<_> = sources()
        .filter(|(file, _)| !generated.contains(&file.to_str().unwrap()) && !is_test(file))
        .map(|(file, source)| (file, production(&source).count()))
        .filter(|(_, lines)| *lines > 600)
        .collect();
    assert!(long.is_empty(), "more than 600 lines without tests: {long:?}");
}

/// Every Rust file of the packages, by path relative to the repository.
fn sources() -> impl Iterator<Item = (PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap().path().join("src"));
    let mut folders: Vec<PathBuf> = crates.chain([root.join("src")]).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files.into_iter().map(move |path| {
        let source = fs::read_to_string(&path).unwrap();
        (path.strip_prefix(root).unwrap().to_owned(), source)
    })
}

/// The lines before the tests, without comments.
fn production(source: &str) -> impl Iterator<Item = &str> {
    source
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .filter(|line| !line.trim_start().starts_with("//"))
}

/// Files that only tests include.
fn is_test(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

/// Names of `mod x;` declarations.
fn declared(source: &str) -> Vec<String> {
    source
        .lines()
        .map(str::trim)
        .filter_map(|line| {
            let rest = line.strip_suffix(';')?;
            let rest = rest
                .strip_prefix("pub ")
                .or_else(|| rest.split_once(") ").map(|(_, rest)| rest))
                .unwrap_or(rest);
            rest.strip_prefix("mod ").map(str::to_owned)
        })
        .collect()
}
