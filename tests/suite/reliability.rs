//! Every fault of the catalog has a test that carries its ID, or a reason why it has none, and `docs/reliability.md`
//! says so.
//!
//! The rows are `reliability/faults.yaml`. A test carries an ID in the comment right above it or in its name, a golden
//! case in its `about`, a test of the chart in its docstring. `UPDATE_DOCS=1 cargo test --test suite reliability` writes
//! the page; read what changed: a test that is renamed or lost shows there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use outrigger::yaml;
use serde_json::Value;

/// How many faults each letter has; numbers count from 1.
const CATALOGUE: [(char, usize); 9] =
    [('N', 11), ('T', 19), ('K', 12), ('C', 12), ('I', 16), ('H', 11), ('R', 10), ('L', 10), ('O', 16)];
const KEYS: [&str; 6] = ["id", "fault", "expected", "observed", "reason", "pending"];

/// A test and the IDs it carries.
#[derive(Debug, PartialEq, Eq)]
struct Marked {
    /// Where it is: `e2e::rolling`.
    module: String,
    /// Its name.
    name: String,
    ids: BTreeSet<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below a folder whose names have this ending.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![root().join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false if path.to_string_lossy().ends_with(ending) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

/// What looks like an ID in a text: `T-07`, and not the end of `CVE-2023-44487`, `GP-07` or `UTF-16`.
fn ids(text: &str) -> BTreeSet<String> {
    let bytes = text.as_bytes();
    let is_letter = |byte: u8| CATALOGUE.iter().any(|(letter, _)| *letter == char::from(byte));
    let is_id = |at: usize| {
        let before = at.checked_sub(1).is_none_or(|before| !bytes[before].is_ascii_alphanumeric());
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        before
            && is_letter(bytes[at])
            && bytes.get(at + 1) == Some(&b'-')
            && digit(at + 2)
            && digit(at + 3)
            && !bytes.get(at + 4).is_some_and(u8::is_ascii_alphanumeric)
    };
    (0..bytes.len()).filter(|at| is_id(*at)).map(|at| text[at..at + 4].to_owned()).collect()
}

/// The tests of a Rust file with the IDs of the comment above them, and of their names (`t_07_…`).
fn rust_tests(module: &str, source: &str) -> Vec<Marked> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let mut tests = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let signature = line.strip_prefix("async ").unwrap_or(line);
        let Some(name) = signature.strip_prefix("fn ").and_then(|rest| rest.split(['(', '<']).next()) else {
            continue;
        };
        let above = lines[..at].iter().rev();
        let above: Vec<&&str> =
            above.take_while(|line| line.starts_with("//") || line.starts_with("#[")).collect();
        if !above.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test")) {
            continue;
        }
        let comment = above
            .iter()
            .filter(|line| line.starts_with("//"))
            .fold(String::new(), |all, line| all + " " + line);
        let spelled = name.to_uppercase().replace('_', "-");
        let ids = ids(&comment).into_iter().chain(ids(&spelled)).collect();
        tests.push(Marked { module: module.to_owned(), name: name.to_owned(), ids });
    }
    tests
}

/// The tests of a Python file with the IDs of their docstrings.
fn python_tests(module: &str, source: &str) -> Vec<Marked> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let mut tests = Vec::new();
    for pair in lines.windows(2) {
        let Some(name) = pair[0].strip_prefix("def test").and_then(|rest| rest.split('(').next()) else {
            continue;
        };
        let docstring = if pair[1].starts_with("\"\"\"") { pair[1] } else { "" };
        tests.push(Marked { module: module.to_owned(), name: format!("test{name}"), ids: ids(docstring) });
    }
    tests
}

/// `src/server/certs/plan/tests.rs` is `server::certs::plan`, `crates/injector/src/pem.rs` is `injector::pem`,
/// `tests/e2e/rolling.rs` is `e2e::rolling`.
fn module(path: &Path) -> String {
    let path = path.strip_prefix(root()).unwrap().with_extension("");
    let parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let parts = match parts.first().map(String::as_str) {
        Some("src" | "tests" | "crates") => &parts[1..],
        _ => &parts[..],
    };
    let parts: Vec<String> =
        parts.iter().filter(|part| !matches!(part.as_str(), "src" | "lib")).cloned().collect();
    let parts = parts.strip_suffix(&["tests".to_owned()]).unwrap_or(&parts);
    parts.join("::")
}

/// All tests of the repository.
fn tests() -> Vec<Marked> {
    let rust =
        ["src", "crates", "tests", "benches", "fuzz"].into_iter().flat_map(|folder| files(folder, ".rs"));
    // This file has tests in a text.
    let rust = rust.filter(|path| !path.ends_with(file!()));
    let mut found: Vec<Marked> = rust.flat_map(|path| rust_tests(&module(&path), &read(&path))).collect();
    found.extend(files("hack/chart", ".py").iter().flat_map(|path| python_tests(&module(path), &read(path))));
    for path in files("tests/fixtures/golden", ".yaml") {
        let text = read(&path);
        let about = text.lines().next().unwrap_or_default();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        found.push(Marked { module: "golden".to_owned(), name, ids: ids(about) });
    }
    found
}

fn rows() -> Vec<(String, Vec<Value>)> {
    let text = read(&root().join("tests/suite/reliability/faults.yaml"));
    let table = yaml::load(&text, &yaml::Limits::default()).unwrap();
    let groups = table.as_array().unwrap().iter();
    groups
        .map(|group| {
            (group["group"].as_str().unwrap().to_owned(), group["faults"].as_array().unwrap().clone())
        })
        .collect()
}

/// A cell of a row, in one line.
fn cell<'r>(row: &'r Value, key: &str) -> &'r str {
    row[key].as_str().map(str::trim).unwrap_or_default()
}

fn catalogue() -> Vec<String> {
    let of = |(letter, count): (char, usize)| (1..=count).map(move |number| format!("{letter}-{number:02}"));
    CATALOGUE.into_iter().flat_map(of).collect()
}

#[test]
fn every_fault_has_a_row_and_a_test_or_a_reason() {
    let rows: Vec<Value> = rows().into_iter().flat_map(|(_, rows)| rows).collect();
    let ids: Vec<&str> = rows.iter().map(|row| cell(row, "id")).collect();
    assert_eq!(ids, catalogue(), "each once, in order");
    let tests = tests();
    let mut wrong = Vec::new();
    for row in &rows {
        for (key, value) in row.as_object().unwrap() {
            assert!(KEYS.contains(&key.as_str()), "{}: unknown key {key}", row["id"]);
            let text = value.as_str().unwrap_or_else(|| panic!("{}: {key} is no text", row["id"]));
            assert!(!text.trim().is_empty() && !text.contains('|'), "{}: {key}", row["id"]);
        }
        let id = cell(row, "id");
        let marked = tests.iter().filter(|test| test.ids.contains(id)).count();
        let has = |key: &str| !cell(row, key).is_empty();
        let complaint = match (marked, has("observed"), has("reason"), has("pending")) {
            (1.., true, false, false) | (0, false, true, false) | (0, _, false, true) => continue,
            (1.., .., true) => "a test carries it, so it is not pending any more",
            (1.., ..) => "a test carries it, so it has `observed` and no `reason`",
            (0, ..) => "no test carries it, so it has `reason`, and nothing is observed",
        };
        wrong.push(format!("{id}: {complaint}"));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_test_carries_an_id_that_is_not_in_the_catalogue() {
    let known: BTreeSet<String> = catalogue().into_iter().collect();
    let unknown: Vec<Marked> = tests().into_iter().filter(|test| !test.ids.is_subset(&known)).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}

const HEAD: &str = "\
# What can go wrong

<!-- Made by `UPDATE_DOCS=1 cargo test --test suite reliability` from tests/suite/reliability/faults.yaml and the tests. -->

This page lists every fault that an injector has to survive, with the expected and the observed behavior and the tests. A test names the fault in the comment above it;
[testing.md](testing.md) says how each kind of test is run. Names with `e2e` need a real API server (`just e2e NAME`), `golden` is a case of `tests/fixtures/golden`, `hack::chart` a test of the
chart (`just chart`), `suite` the offline suite (`cargo test --test suite NAME`), and the rest are unit tests (`cargo test --lib NAME`).
";

fn page() -> String {
    let tests = tests();
    let mut page = HEAD.to_owned();
    for (group, rows) in rows() {
        write!(
            page,
            "\n## {group}\n\n| | fault | expected | observed | tests |\n| --- | --- | --- | --- | --- |\n"
        )
        .unwrap();
        for row in &rows {
            let id = cell(row, "id");
            let mut modules: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for test in tests.iter().filter(|test| test.ids.contains(id)) {
                modules.entry(&test.module).or_default().push(format!("`{}`", test.name));
            }
            let named = modules.into_iter().map(|(module, names)| format!("{module}: {}", names.join(", ")));
            let evidence = match (cell(row, "reason"), cell(row, "pending")) {
                ("", "") => named.collect::<Vec<_>>().join("<br>"),
                ("", _) => "none yet".to_owned(),
                (reason, _) => format!("none: {reason}"),
            };
            let [fault, expected, observed] = ["fault", "expected", "observed"].map(|key| cell(row, key));
            let observed = if cell(row, "pending").is_empty() { observed } else { "" };
            writeln!(page, "| {id} | {fault} | {expected} | {observed} | {evidence} |").unwrap();
        }
    }
    page
}

#[test]
fn the_page_about_reliability_is_up_to_date() {
    let path = root().join("docs/reliability.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = read(&path);
    let differs = page.lines().zip(written.lines()).find(|(wanted, found)| wanted != found);
    assert!(
        page == written,
        "docs/reliability.md is not what the tests say; UPDATE_DOCS=1 cargo test --test suite reliability writes it. First \
         difference: {differs:#?}"
    );
}

#[test]
fn marks_are_found_where_they_count() {
    assert_eq!(
        ids("T-01, GP-19 and K-123; CVE-2023-44487, UTF-16 (O-02)"),
        BTreeSet::from(["T-01".to_owned(), "O-02".to_owned()])
    );
    let source = "
        // T-01: a sentence
        // that goes on, K-02
        #[tokio::test(flavor = \"multi_thread\")]
        async fn first() {
            // N-05 does not count
        }

        // H-01
        fn no_test() {}

        proptest! {
            /// I-03
            #[test]
            fn i_09_second(a in 0..1) {}
        }
    ";
    let marked: Vec<_> = rust_tests("m", source)
        .into_iter()
        .map(|test| (test.name, test.ids.into_iter().collect::<Vec<_>>().join(" ")))
        .collect();
    let wanted = [("first", "K-02 T-01"), ("i_09_second", "I-03 I-09")];
    assert_eq!(marked, wanted.map(|(name, ids)| (name.to_owned(), ids.to_owned())));
    assert_eq!(module(&root().join("src/server/certs/plan/tests.rs")), "server::certs::plan");
    assert_eq!(module(&root().join("crates/injector/src/pem/tests.rs")), "injector::pem");
    assert_eq!(module(&root().join("tests/e2e/rolling.rs")), "e2e::rolling");
}
