//! The templates of a bundle: what each line reads, what is wrong with it, and whether the bundle's test cases pass.

mod evaluation;

use maud::{Markup, html};

pub use evaluation::{Evaluation, Input, evaluate};

use self::evaluation::{Case, Kind, Line};
use super::{diagnostics, layout, visible};

/// Maximum number of reads that are named beside a line.
const MOST_READS: usize = 3;

/// The whole page.
pub fn page(input: &Input, evaluation: &Evaluation) -> String {
    let content = html! {
        h1 { "Templates" }
        p.lead { "What each line of a template reads, what is wrong with it, and whether the test cases pass." }
        div.playground {
            (form(input, evaluation))
            section.result #result aria-label="Result" { (result(evaluation)) }
        }
    };
    layout::page("Templates", layout::Section::Templates, &content)
}

fn form(input: &Input, evaluation: &Evaluation) -> Markup {
    html! {
        form #live method="post" action="/templates" data-live="/templates/evaluate" {
            label for="template" { "Template" }
            select #template name="template" {
                @for name in evaluation.names() { option value=(name) selected[name == evaluation.template()] { (visible(name)) } }
            }
            label for="bundle" { "Bundle" }
            p.hint #bundle-hint { "Templates of your own are below " code { "injector.templates" } "." }
            textarea #bundle name="bundle" rows="18" spellcheck="false" autocomplete="off" autocapitalize="off" wrap="off"
                aria-describedby="bundle-hint" { "\n" (input.bundle) }
            label for="tests" { "Test cases" }
            p.hint #tests-hint { "A document of the kind " code { "TemplateTests" } ", as " code { "outrigger check --tests" } " reads it." }
            textarea #tests name="tests" rows="18" spellcheck="false" autocomplete="off" autocapitalize="off" wrap="off"
                aria-describedby="tests-hint" { "\n" (input.tests) }
            p.actions {
                button type="submit" { "Evaluate" }
                button #share type="button" hidden { "Copy link" }
            }
            p #status role="status" {}
        }
    }
}

/// The part of the page below the form.
pub fn result(evaluation: &Evaluation) -> Markup {
    html! {
        p.sr-only #summary { (evaluation.summary()) }
        @if let Some(message) = &evaluation.failure { section.card { h2 { "Not evaluated" } p { (message) } } }
        @if !evaluation.diagnostics.is_empty() {
            section.card aria-labelledby="problems-title" {
                h2 #problems-title { "Problems" }
                (diagnostics::list(&evaluation.diagnostics, &evaluation.bundle))
            }
        }
        @if evaluation.has_tests() {
            section.card aria-labelledby="tests-title" {
                h2 #tests-title { "Test cases" }
                @for problem in &evaluation.invalid_tests {
                    p { span.badge.fails { "invalid" } " line " (problem.place.line) ": " (visible(&problem.to_string())) }
                    (diagnostics::excerpt(&evaluation.tests, line(problem.place.line), line(problem.place.column)))
                }
                ul.cases { @for case in &evaluation.cases { (tested(case)) } }
            }
        }
        @if !evaluation.lines.is_empty() { (listing(evaluation)) }
    }
}

fn tested(case: &Case) -> Markup {
    html! {
        li {
            @if case.failures.is_empty() { span.badge.passes { "passes" } } @else { span.badge.fails { "fails" } }
            " " (visible(&case.name)) " " span.faint { "line " (case.line) }
            @if !case.failures.is_empty() { ul { @for failure in &case.failures { li { (visible(failure)) } } } }
        }
    }
}

fn listing(evaluation: &Evaluation) -> Markup {
    html! {
        section.card aria-labelledby="listing-title" {
            h2 #listing-title { "Template " (visible(evaluation.template())) }
            p.faint {
                "Beside each line: " span.read.values { "values" } ", " span.read.mesh { "mesh" } " (MeshConfig and ProxyConfig), "
                span.read.pod { "pod" } " (the pod and its workload), " span.read.other { "other" } " (revision, image, user)."
            }
            div.listing tabindex="0" role="group" aria-label="Lines of the template" {
                @for line in &evaluation.lines { (numbered(line)) }
            }
        }
    }
}

fn numbered(line: &Line) -> Markup {
    let class = line.kinds.first().map_or("", |kind| kind.class());
    html! {
        div.line.(class) id={ "L" (line.number) } {
            span.number { (line.number) }
            code { (visible(&line.text)) }
            span.reads {
                @for kind in &line.kinds { span.read.(kind.class()) { (kind.class()) } " " }
                span.faint {
                    (visible(&line.reads.iter().take(MOST_READS).cloned().collect::<Vec<_>>().join(", ")))
                    @if line.reads.len() > MOST_READS { " and " (line.reads.len() - MOST_READS) " more" }
                }
            }
        }
        @for problem in &line.problems {
            p.problem { span.badge.fails { (problem.severity.as_str()) } " " (visible(&problem.message)) }
        }
    }
}

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Kind::Values => "values",
            Kind::Mesh => "mesh",
            Kind::Pod => "pod",
            Kind::Other => "other",
        }
    }
}

fn line(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
