//! Many explanations as a table: a line each.

use std::fmt::Write;

use super::{
    super::{
        effects::counted,
        report::{self, Color, Style},
    },
    Explained, Running,
};
use injector::{explain::Verdict, workload::WorkloadPods};

/// The headings of the columns.
const HEADINGS: [&str; 6] = ["NAMESPACE", "WORKLOAD", "NEW PODS", "REASON", "RUNNING WITH PROXY", "WARNINGS"];
/// The column that is colored.
const OUTCOME: usize = 2;

/// The explanations of all workloads, by namespace.
pub(super) fn write(all: &[Explained], color: Color) -> String {
    let mut rows: Vec<([String; 6], Style)> = all.iter().map(row).collect();
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut widths = HEADINGS.map(str::len);
    for (cells, _) in &rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    line(&mut out, &HEADINGS.map(str::to_owned), &widths, |_, cell| cell.to_owned());
    for (cells, style) in &rows {
        line(&mut out, cells, &widths, |column, cell| match column {
            OUTCOME => color.paint_stdout(*style, cell),
            _ => cell.to_owned(),
        });
    }
    let refused = all.iter().filter(|explained| explained.refusal().is_some()).count();
    let injected =
        all.iter().filter(|explained| explained.is_injected() && explained.refusal().is_none()).count();
    let all_bare: usize = all.iter().map(bare).sum();
    let _ = writeln!(out, "{injected} of {} injected", counted(all.len(), "workload"));
    if all_bare > 0 {
        let _ = writeln!(out, "{} of these without a proxy", counted(all_bare, "running pod"));
    }
    if refused > 0 {
        let _ =
            writeln!(out, "the API server refuses to create the pods of {}", counted(refused, "workload"));
    }
    // The first one that is not as it should be, else the form of the command.
    let odd = all.iter().filter(|explained| explained.refusal().is_some() || bare(explained) > 0);
    match odd.chain(all.iter().filter(|explained| !explained.is_injected())).next() {
        _ if all.is_empty() => {}
        Some(Explained { object, .. }) => {
            let namespace = object.namespace.as_deref().unwrap_or("NAMESPACE");
            let command = format!(
                "outrigger explain {}/{} -n {namespace}",
                object.kind.to_ascii_lowercase(),
                object.name
            );
            let _ = writeln!(out, "{} says why", report::plain(&command));
        }
        None => out.push_str("outrigger explain KIND/NAME -n NAMESPACE says why\n"),
    }
    out
}

fn line(out: &mut String, cells: &[String; 6], widths: &[usize; 6], paint: impl Fn(usize, &str) -> String) {
    let last = cells.iter().rposition(|cell| !cell.is_empty()).unwrap_or(0);
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        if column > last {
            break;
        }
        out.push_str(&paint(column, cell));
        if column < last {
            let padding = width - cell.chars().count() + 2;
            out.extend(std::iter::repeat_n(' ', padding));
        }
    }
    out.push('\n');
}

/// The running pods without a proxy, of a workload that is injected.
fn bare(explained: &Explained) -> usize {
    match &explained.running {
        _ if !explained.is_injected() => 0,
        Running::Bare => 1,
        _ => explained.bare_pods().len(),
    }
}

fn row(explained: &Explained) -> ([String; 6], Style) {
    let object = &explained.object;
    let place = explained.place.as_ref().map(|place| format!(" {place}")).unwrap_or_default();
    let (outcome, style) = match &explained.explanation.verdict {
        _ if explained.left_alone.is_some() => ("left unchanged", Style::Odd),
        _ if explained.is_not_called() => ("not injected", Style::Odd),
        _ if explained.other_revision.is_some() => ("not known", Style::Odd),
        Verdict::Injected { .. } if explained.refusal().is_some() => ("refused", Style::Bad),
        Verdict::Injected { .. } if bare(explained) > 0 => ("injected", Style::Bad),
        Verdict::Injected { .. } => ("injected", Style::Good),
        Verdict::Skipped(_) => ("not injected", Style::Odd),
        Verdict::Denied(_) => ("denied", Style::Bad),
    };
    let reason = match &explained.explanation.verdict {
        Verdict::Denied(refusal) => refusal.reason().to_owned(),
        Verdict::Injected { .. } if explained.is_not_called() => "webhook not called".to_owned(),
        _ if let Some(other) = &explained.other_revision => format!("revision {other}"),
        Verdict::Injected { .. } if explained.refusal().is_some() => "creation refused".to_owned(),
        _ => explained.reason().map(|reason| reason.key().to_owned()).unwrap_or_default(),
    };
    let running = match (&explained.running, &explained.pods) {
        (Running::Injected(_), _) => "1 of 1".to_owned(),
        (Running::Bare, _) => "0 of 1".to_owned(),
        (Running::No, Some(pods)) if pods.total() > 0 => {
            format!("{} of {}", pods.injected.len(), pods.total())
        }
        (Running::No, Some(WorkloadPods { wanted: Some(wanted), .. })) if *wanted > 0 => {
            format!("no pods ({wanted} wanted)")
        }
        (Running::No, Some(_)) => "no pods".to_owned(),
        (Running::No, None) => "not known".to_owned(),
    };
    let mut warnings: Vec<&str> = explained.warnings().iter().map(|warning| warning.code).collect();
    warnings.dedup();
    let cells = [
        object.namespace.clone().unwrap_or_default(),
        format!("{}/{}{place}", object.kind, object.name),
        outcome.to_owned(),
        reason,
        running,
        warnings.join(", "),
    ];
    (cells.map(|cell| report::plain(&cell)), style)
}
