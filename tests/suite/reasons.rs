//! Every code has a page, every page a code, and files generated from them are up to date.

use std::{collections::BTreeSet, fs, path::PathBuf};

use outrigger::codes::{self, page};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/reasons")
}

/// Writes what is generated if UPDATE_DOCS is set, and otherwise compares.
fn check(name: &str, wanted: &str) {
    let path = folder().join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/reasons/{name} differs from the table of codes; run with UPDATE_DOCS=1");
}

#[test]
fn pages_of_reasons_are_made_from_the_table() {
    for code in codes::ALL.iter() {
        let name = format!("{}.md", code.key);
        let found = fs::read_to_string(folder().join(&name)).unwrap();
        let texts = page::Texts::of(&found).unwrap_or_else(|| panic!("{name} lacks a heading"));
        assert!(texts.meaning.len() > 40 && texts.solution.len() > 20, "{name} says too little");
        check(&name, &page::of(code, &texts));
    }
    check("README.md", &page::index(codes::ALL.iter().copied()));
}

#[test]
fn every_page_of_reasons_has_a_code() {
    let pages: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|name| name != "README")
        .collect();
    let keys: BTreeSet<String> = codes::ALL.iter().map(|code| code.key.to_owned()).collect();
    assert_eq!(pages, keys);
}

#[test]
fn a_page_is_shown_without_its_comment() {
    for code in codes::ALL.iter() {
        let text = code.text();
        assert!(text.starts_with(&format!("# {}\n\n*", code.key)), "{text}");
        assert!(!text.contains("<!--"), "{}", code.key);
        assert!(text.contains("\n## How to fix it\n"), "{}", code.key);
    }
}
