//! The page of a code: headings, summary and commands are made from the table, the text below them is written by hand.

use std::fmt::Write;

use super::{Code, Kind};

/// A note for people who edit a page.
pub(super) const EDITING: &str = "<!-- Made from the table of codes, except for the text below the headings; \
     `UPDATE_DOCS=1 cargo test --test suite reasons` writes the rest again. -->";

const HEADINGS: [&str; 3] = ["## What it means", "## How to see it", "## How to fix it"];
const FENCE: &str = "```";

/// The start of a command that searches the logs of all replicas.
const LOGS: &str =
    "kubectl -n outrigger-system logs -l app.kubernetes.io/name=outrigger --prefix --tail=-1 | grep";

/// The texts of a page that are written by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Texts<'p> {
    /// What the code means.
    pub meaning: &'p str,
    /// Evidence besides the commands; may be empty.
    pub evidence: &'p str,
    /// How to fix it, and when to leave it.
    pub solution: &'p str,
}

impl<'p> Texts<'p> {
    /// The texts of a page; `None` if a heading or the block of commands is missing.
    pub fn of(page: &'p str) -> Option<Texts<'p>> {
        let [first, second, third] = HEADINGS.map(|heading| format!("\n{heading}\n"));
        let (_, rest) = page.split_once(&first)?;
        let (meaning, rest) = rest.split_once(&second)?;
        let (evidence, solution) = rest.split_once(&third)?;
        let (_, evidence) = evidence.split_once(FENCE)?.1.split_once(&format!("\n{FENCE}\n"))?;
        Some(Texts { meaning: meaning.trim(), evidence: evidence.trim(), solution: solution.trim() })
    }
}

/// The page of a code with these texts.
pub fn of(code: &Code, texts: &Texts<'_>) -> String {
    let mut page = format!("# {}\n\n{EDITING}\n\n*{}*: {}.\n", code.key, code.roles(), code.summary);
    let [meaning, evidence, solution] = HEADINGS;
    let _ = write!(page, "\n{meaning}\n\n{}\n", texts.meaning);
    let _ = write!(page, "\n{evidence}\n\n{FENCE}sh\n{}{FENCE}\n", commands(code));
    if !texts.evidence.is_empty() {
        let _ = write!(page, "\n{}\n", texts.evidence);
    }
    let _ = write!(page, "\n{solution}\n\n{}\n", texts.solution);
    page
}

/// The commands and names that find the records of a code.
fn commands(code: &Code) -> String {
    let key = code.key;
    let mut lines = String::new();
    if code.kinds.iter().any(|kind| !kind.is_warning()) {
        // outrigger counts such requests, and logs one message about all of them.
        let found = if key == "UNAUTHENTICATED" {
            "'client rejected'".to_owned()
        } else {
            format!("'\"reason\":\"{key}\"'")
        };
        let _ = writeln!(lines, "{LOGS} {found}");
        let _ = writeln!(lines, "# metric: outrigger_requests_total{{reason=\"{key}\"}}");
        if code.kinds.iter().any(|kind| matches!(kind, Kind::Inject | Kind::Skip | Kind::Denial)) {
            let _ = writeln!(lines, "# audit annotation: …sidecar-injector.istio.io/reason: {key}");
        }
    }
    if code.is(Kind::Warning) || code.is(Kind::Record) {
        let _ = writeln!(lines, "{LOGS} '\"warnings\":\"[^\"]*{key}'");
        let _ = writeln!(lines, "# metric: outrigger_warnings_total{{code=\"{key}\"}}");
        let _ = writeln!(lines, "# audit annotation: …sidecar-injector.istio.io/warnings: {key}");
    }
    if code.is(Kind::Warning) {
        lines.push_str("kubectl create --dry-run=server -f pod.yaml     # shows the text\n");
    }
    if code.is(Kind::Manifest) {
        lines.push_str("outrigger inject -f manifest.yaml > /dev/null   # shows the text\n");
    }
    lines
}

/// The index of all pages.
pub fn index<'c>(codes: impl Iterator<Item = &'c Code>) -> String {
    let mut index = String::from(
        "# Reasons and warnings\n\n\
         <!-- Made from the table of codes; `UPDATE_DOCS=1 cargo test --test suite reasons` writes it again. -->\n\n\
         Every code by which outrigger records a decision, a warning or a refusal. `outrigger explain CODE` prints a page\n\
         without a network.\n\n\
         - *inject*, *skip*: the reason for a pod that was allowed, with or without a patch. It is in the request's log line\n  \
           (`reason`), in the audit annotation `reason` and in `outrigger_requests_total{outcome,reason}`.\n\
         - *denial*: the reason for a pod that was not allowed, in the same places. The message goes to the pod's creator.\n\
         - *refusal*: the reason for a request that was answered without a review; there is no audit annotation.\n\
         - *warning*: shown to the pod's creator, and in the log line (`warnings`), in the audit annotation `warnings` and in\n  \
           `outrigger_warnings_total{code}`. *Record only*: the same, but shown to nobody. *Manifests only*: only shown by\n  \
           `outrigger inject` and `kube-inject`.\n\n\
         | code | kind | about |\n| --- | --- | --- |\n",
    );
    for code in codes {
        let _ =
            writeln!(index, "| [`{}`]({}.md) | {} | {} |", code.key, code.key, code.roles(), code.summary);
    }
    index
}
