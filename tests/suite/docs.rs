//! Checks pages that claim to be complete.

use std::{collections::BTreeSet, fs, path::Path};

use outrigger::{codes, inject::decision::Reason, names};

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
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = ["src/server/webhook/review.rs", "crates/injector/src/inject/admission.rs"]
        .map(|file| fs::read_to_string(root.join(file)).unwrap())
        .concat();
    let is_key = |word: &&&str| word.len() > 5 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    for key in keys.iter().filter(is_key) {
        let is_a_reason = Reason::ALL.iter().any(|reason| reason.key() == *key);
        assert!(is_a_reason || source.contains(&format!("{key:?}")), "{key} is no reason");
    }
    for outside in source.lines().filter_map(|line| line.strip_prefix("pub const ")) {
        let key = outside.split('"').nth(1).unwrap_or_default();
        assert!(key.is_empty() || keys.contains(key), "{key} has no row");
    }
}

#[test]
fn every_code_of_warnings_and_errors_is_on_the_page_about_the_server() {
    let page = page("server.md");
    let other_page = self::page("why-no-proxy.md");
    for code in codes::ALL.iter() {
        let quoted = format!("`{}`", code.key);
        assert!(page.contains(&quoted) || other_page.contains(&quoted), "{quoted} has no row");
    }
}

#[test]
fn every_check_of_the_doctor_has_its_row() {
    let page = page("explain.md");
    let rows: Vec<String> =
        injector::diagnose::CHECKS.iter().map(|(check, about)| format!("| `{check}` | {about} |")).collect();
    assert!(
        page.contains(&format!("| --- | --- |\n{}\n\n", rows.join("\n"))),
        "expected:\n{}",
        rows.join("\n")
    );
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
    let mut pages: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
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
