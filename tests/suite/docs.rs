//! Checks pages that claim to be complete.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use outrigger::{
    codes::{self, Kind},
    inject::decision::Reason,
    names,
};

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// The texts in backquotes.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_reason_is_on_the_page_about_pods_without_a_proxy() {
    let page = page("why-no-proxy.md");
    let tables: String = page.lines().filter(|line| line.starts_with('|')).collect::<Vec<_>>().join("\n");
    let keys = quoted(&tables);
    for reason in Reason::ALL {
        assert!(keys.contains(reason.key()), "{reason} has no row");
    }
    // And no unknown key: words of capitals are keys.
    let is_key = |word: &&&str| word.len() > 5 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    for key in keys.iter().filter(is_key) {
        assert!(codes::find(key).is_some_and(|code| code.key == *key), "{key} is no code");
    }
    for code in codes::ALL.iter().filter(|code| code.is(Kind::Skip) || code.is(Kind::Inject)) {
        assert!(keys.contains(code.key), "{} has no row", code.key);
    }
}

#[test]
fn every_check_of_the_doctor_has_its_section() {
    let page = page("findings.md");
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let checks: Vec<&str> = injector::diagnose::CHECKS.iter().map(|(check, _)| *check).collect();
    assert_eq!(headings, checks);
    for check in checks {
        let section = codes::finding(check).expect("a section");
        let severity = section.lines().nth(2).unwrap_or_default();
        assert!(
            severity.starts_with("*error*")
                || severity.starts_with("*warning*")
                || severity.starts_with("*info*"),
            "{section}"
        );
        assert!(section.contains("\n- "), "{check} says nothing about what to do");
    }
}

#[test]
fn every_label_that_decides_is_on_the_page_about_pods_without_a_proxy() {
    let page = page("why-no-proxy.md");
    for name in [
        names::LABEL_INJECTION,
        names::REVISION,
        names::INJECT,
        names::LABEL_NAMESPACE_NAME,
        names::ANNOTATION_MIRROR_POD,
        names::ANNOTATION_LINKERD_PROXY_VERSION,
        names::CONTAINER_LINKERD_PROXY,
        names::ANNOTATION_TEMPLATES,
        names::ANNOTATION_STATUS,
    ] {
        assert!(page.contains(&format!("`{name}")), "{name} is not on the page");
    }
    for namespace in names::IGNORED_NAMESPACES {
        assert!(page.contains(&format!("`{namespace}`")), "{namespace} is not on the page");
    }
}

/// Links between pages lead to an existing page and heading.
#[test]
fn links_between_pages_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("docs");
    let pages_of = |folder: PathBuf| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> = pages_of(folder.join("reasons")).chain(pages_of(folder)).collect();
    pages.extend([root.join("README.md"), root.join("CONTRIBUTING.md"), root.join("deploy/README.md")]);
    let anchors = |text: &str| -> BTreeSet<String> {
        let headings = text.lines().filter(|line| line.starts_with('#'));
        headings
            .map(|line| {
                let title = line.trim_start_matches('#').trim().to_lowercase();
                let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
                kept.map(|c| if c == ' ' { '-' } else { c }).collect()
            })
            .collect()
    };
    let mut broken = Vec::new();
    for path in pages.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(path).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.contains(' ') || target.is_empty() {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let to = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let found = fs::read_to_string(&to);
            let leads =
                to.exists() && (anchor.is_empty() || found.is_ok_and(|text| anchors(&text).contains(anchor)));
            if !leads {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
