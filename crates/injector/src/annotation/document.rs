//! Generates `docs/annotations.md` from the table, so that it cannot differ from it.

use std::fmt::Write;

use super::table::{Checked, EMPTY_IS_UNSET, Group, Row, TABLE};

const SECTIONS: [(Group, &str, &str); 6] = [
    (Group::Pod, "On pods", "Set on the pod (in a workload: on its pod template)."),
    (Group::Foreign, "From other projects", "Read because injection depends on them."),
    (
        Group::Agent,
        "For the agent",
        "Left on the pod; the agent reads them through the downward API. They are not validated.",
    ),
    (Group::Written, "Written by the injector", "Not to be set by users."),
    (
        Group::Dead,
        "Without effect",
        "Declared in Istio's API but never read; a pod that has one causes a warning.",
    ),
    (
        Group::Namespace,
        "On namespaces",
        "Read if the platform is `openshift`. Annotations of pods that `namespaceDefaults` of the bundle lists may also be set on a namespace.",
    ),
];

/// The documentation of every annotation, in Markdown.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Annotations\n\n\
         <!-- Made from the table in crates/injector/src/annotation/table.rs; `UPDATE_DOCS=1 cargo test -p injector documentation` writes it again. -->\n\n\
         An invalid value denies the pod, and the message names every such annotation at once. Under\n\
         `compat: istio`, only values that Istio validates deny a pod; the others cause warnings.\n\n\
         Labels and annotations of a pod that look like Istio's and have no effect cause warnings, whether the pod is\n\
         injected or not: misspelled keys (`sidecar.istio.io/proxyCpu`, `sidecar.istio.io.inject`), annotations given as\n\
         labels and labels given as annotations (`istio.io/rev`), `istio-injection`, which is for namespaces, and\n\
         fields of ProxyConfig given as annotations (`proxy.istio.io/concurrency`).\n",
    );
    for (group, title, intro) in SECTIONS {
        let _ = write!(out, "\n## {title}\n\n{intro}\n\n");
        out.push_str("| annotation | expected value | default | read by | invalid value | meaning |\n");
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
    let empty = if EMPTY_IS_UNSET.contains(&row.key) { "; empty means unset" } else { "" };
    format!("{}{empty}", row.kind.accepted())
}

fn checked(row: &Row) -> &'static str {
    match row.checked {
        Checked::ByIstio => "denied, also by Istio",
        Checked::ByUs => "denied",
        Checked::Warned | Checked::ByReader => "warning",
        Checked::Never => "",
    }
}

fn meaning(row: &Row) -> String {
    match row.obsolete {
        Some(advice) => format!("{} Deprecated: {advice}.", row.doc),
        None => row.doc.to_owned(),
    }
}
