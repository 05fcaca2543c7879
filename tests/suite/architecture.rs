//! The direction of dependencies, held against the source: which module may name which, and that every file is reached.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What each top-level module may use. What is not listed may not be used; the order is the reading order of `lib.rs`.
const MAY_USE: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "cli",
        &[
            "config",
            "inject",
            "manifest",
            "names",
            "patch",
            "pem",
            "pod",
            "server",
            "template",
            "webhook_config",
            "yaml",
        ],
    ),
    ("server", &["config", "inject", "meshconfig", "names", "patch", "pem", "pod", "webhook_config", "yaml"]),
    (
        "inject",
        &[
            "config",
            "gotypes",
            "manifest",
            "merge",
            "meshconfig",
            "names",
            "patch",
            "pod",
            "quantity",
            "rfc3339",
            "seen",
            "template",
            "yaml",
        ],
    ),
    ("config", &["gotypes", "meshconfig", "names", "template", "yaml"]),
    ("meshconfig", &["gotypes", "names", "yaml"]),
    ("template", &["gotypes", "meshconfig", "names", "seen", "yaml"]),
    ("webhook_config", &["names", "pem", "pod", "yaml"]),
    ("manifest", &["gotypes", "names", "place", "pod", "quantity", "rfc3339", "yaml"]),
    ("merge", &["place"]),
    ("patch", &["merge", "place"]),
    ("pem", &[]),
    ("pod", &["names"]),
    ("quantity", &[]),
    ("rfc3339", &[]),
    ("gotypes", &[]),
    ("yaml", &[]),
    ("names", &[]),
    ("place", &[]),
    ("seen", &[]),
];

/// Crates of the shell: naming one of them in a pure module is a dependency on I/O, a clock or an executor.
const SHELL_CRATES: &[&str] = &[
    "anyhow",
    "arc_swap",
    "clap",
    "clap_complete",
    "diffy",
    "futures",
    "http_body_util",
    "hyper",
    "hyper_util",
    "jiff",
    "k8s_openapi",
    "kube",
    "mimalloc",
    "nix",
    "notify",
    "opentelemetry",
    "opentelemetry_otlp",
    "opentelemetry_sdk",
    "prometheus_client",
    "rcgen",
    "rustls",
    "socket2",
    "subtle",
    "tokio",
    "tokio_rustls",
    "tower",
    "tracing",
    "tracing_subscriber",
    "x509_parser",
];

/// Standard library modules that do I/O or read the clock or the environment.
const IMPURE_STD: &[&str] = &[
    "std::fs",
    "std::env",
    "std::net::Tcp",
    "std::net::Udp",
    "std::net::ToSocketAddrs",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

const SHELL: &[&str] = &["main", "cli", "server"];

#[test]
fn modules_use_only_what_they_may() {
    let mut offences = Vec::new();
    for (file, source) in sources() {
        let module = module_of(&file);
        let allowed = MAY_USE
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("{} belongs to no module of the table", file.display()))
            .1;
        for used in uses(&source) {
            if used != module && !allowed.contains(&used.as_str()) {
                offences.push(format!("{}: `{module}` may not use `{used}`", file.display()));
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

// O-08
#[test]
fn the_pure_core_names_no_shell_crate_and_no_io() {
    let mut offences = Vec::new();
    for (file, source) in sources() {
        if SHELL.contains(&module_of(&file).as_str()) || is_test(&file) {
            continue;
        }
        let names = SHELL_CRATES
            .iter()
            .map(|name| format!("{name}::"))
            .chain(IMPURE_STD.iter().map(|s| (*s).to_owned()));
        for name in names {
            let found = production(&source).any(|line| contains_path(line, &name));
            if found {
                offences.push(format!("{} names `{name}`", file.display()));
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

/// Who reads the wall clock, and what for. All others are told the time, so that tests can tell them another one, and
/// wait by the monotonic clock.
const WALL_CLOCK: [(&str, &str); 6] = [
    ("server/certs/report.rs", "the time in an Event"),
    ("server/cluster/events.rs", "the time in an Event"),
    ("server/lease.rs", "the clock that certificates are made by, and the time in the Lease"),
    ("server/reading.rs", "how long nobody has written to a file"),
    ("server/tls.rs", "`unix_now`, and the birth of a self-signed certificate"),
    ("server/traces.rs", "the time of a span"),
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
    let mut reached: BTreeSet<PathBuf> = [PathBuf::from("lib.rs"), PathBuf::from("main.rs")].into();
    let mut queue: Vec<PathBuf> = reached.iter().cloned().collect();
    while let Some(file) = queue.pop() {
        let folder = match file.file_stem().unwrap().to_str().unwrap() {
            "lib" | "main" => PathBuf::new(),
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
    let generated = ["gotypes/kubernetes.rs", "gotypes/istio.rs"];
    let long: Vec<_> = sources()
        .filter(|(file, _)| !generated.contains(&file.to_str().unwrap()) && !is_test(file))
        .map(|(file, source)| (file, production(&source).count()))
        .filter(|(_, lines)| *lines > 600)
        .collect();
    assert!(long.is_empty(), "more than 600 lines without tests: {long:?}");
}

/// Every Rust file under `src`, by path relative to it.
fn sources() -> impl Iterator<Item = (PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
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
        (path.strip_prefix(&root).unwrap().to_owned(), source)
    })
}

fn module_of(file: &Path) -> String {
    let first = file.components().next().unwrap().as_os_str().to_str().unwrap();
    let name = first.strip_suffix(".rs").unwrap_or(first);
    if name == "lib" { "main".to_owned() } else { name.to_owned() }
}

/// The lines before the tests, without comments.
fn production(source: &str) -> impl Iterator<Item = &str> {
    source
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .filter(|line| !line.trim_start().starts_with("//"))
}

/// The top-level modules of this crate that a file names.
fn uses(source: &str) -> BTreeSet<String> {
    let text: String = production(source).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (at, prefix) in text.match_indices("crate::").chain(text.match_indices("outrigger::")) {
        let rest = text[at + prefix.len()..].trim_start();
        if let Some(group) = rest.strip_prefix('{') {
            // `use crate::{a::b, c}`: the names at depth one.
            let (mut depth, mut word, mut fresh) = (1, String::new(), true);
            for character in group.chars() {
                match character {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 1 => fresh = true,
                    character if depth == 1 && fresh && (character.is_alphanumeric() || character == '_') => {
                        word.push(character);
                        continue;
                    }
                    _ => {}
                }
                if !word.is_empty() {
                    found.insert(std::mem::take(&mut word));
                    fresh = character == ',';
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.insert(name);
        }
    }
    found.retain(|name| MAY_USE.iter().any(|(module, _)| module == name));
    found
}

/// Files that only tests include.
fn is_test(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

fn contains_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || character == '_' || character == ':')
    })
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
