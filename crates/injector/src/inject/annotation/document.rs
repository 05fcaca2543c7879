//! `docs/annotations.md`, made from the table so that it cannot differ from it.

use std::fmt::Write;

use super::table::{Checked, EMPTY_IS_UNSET, Group, Row, TABLE};

const SECTIONS: [(Group, &str, &str); 6] = [
    (Group::Pod, "On pods", "Set on the pod (in a workload: on its pod template)."),
    (Group::Foreign, "Of other projects", "Read because injection has to get along with them."),
    (
        Group::Agent,
        "For the agent",
        "Left on the pod; the agent reads them through the downward API. They are not checked.",
    ),
    (Group::Written, "Written by the injector", "Not meant to be set by people."),
    (
        Group::Dead,
        "Without effect",
        "Declared by Istio's API and read by nothing; a pod that has one is warned about.",
    ),
    (Group::Namespace, "On namespaces", "Read where the platform is `openshift`."),
];

/// The documentation of every annotation, in Markdown.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Annotations\n\n\
         <!-- Made from the table in crates/injector/src/inject/annotation/table.rs; `UPDATE_DOCS=1 cargo test -p injector documentation` writes it again. -->\n\n\
         A value that is not accepted refuses the pod, and the refusal names every such annotation at once. Under\n\
         `compat: istio` only the values that Istio checks refuse a pod; the others are warned about.\n\n\
         Labels and annotations of a pod that look like Istio's and do nothing are warned about, whether the pod is\n\
         injected or not: misspelt keys (`sidecar.istio.io/proxyCpu`, `sidecar.istio.io.inject`), annotations given as\n\
         labels and labels given as annotations (`istio.io/rev`), `istio-injection`, which is for namespaces, and\n\
         fields of ProxyConfig given as annotations (`proxy.istio.io/concurrency`).\n",
    );
    for (group, title, intro) in SECTIONS {
        let _ = write!(out, "\n## {title}\n\n{intro}\n\n");
        out.push_str("| annotation | accepted | without it | read by | not accepted | meaning |\n");
        out.push_str("| --- | --- | --- | --- | --- | --- |\n");
        for row in TABLE.iter().filter(|row| row.group == group) {
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} | {} | {} |",
                row.key,
                accepted(row),
                row.default,
                row.read_by,
                checked(row),
                meaning(row)
            );
        }
    }
    out
}

fn accepted(row: &Row) -> String {
    let empty = if EMPTY_IS_UNSET.contains(&row.key) { "; empty is not set" } else { "" };
    format!("{}{empty}", row.kind.accepted())
}

fn checked(row: &Row) -> &'static str {
    match row.checked {
        Checked::ByIstio => "refused, by Istio too",
        Checked::ByUs => "refused",
        Checked::Warned | Checked::ByReader => "warned about",
        Checked::Never => "",
    }
}

fn meaning(row: &Row) -> String {
    match row.obsolete {
        Some(advice) => format!("{} Deprecated: {advice}.", row.doc),
        None => row.doc.to_owned(),
    }
}
