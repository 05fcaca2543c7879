//! The playground: a manifest and a configuration go in, and what happens to each pod comes out.

mod evaluation;
mod input;
mod result;

use maud::{Markup, html};

pub use evaluation::{Evaluation, evaluate};
pub use input::Input;
pub use result::result;

use super::layout;

/// The whole page, with the result below the form.
pub fn page(input: &Input, evaluation: &Evaluation) -> String {
    let content = html! {
        h1 { "Playground" }
        p.lead {
            "What happens to these pods, and why. The answer comes from the engine of the webhook; nothing is sent anywhere but to "
            "this process, and nothing is stored."
        }
        div.playground {
            (form(input, evaluation))
            section.result #result aria-label="Result" { (result(evaluation)) }
        }
    };
    layout::page("Playground", layout::Section::Playground, &content)
}

fn form(input: &Input, evaluation: &Evaluation) -> Markup {
    let is_open = input.is_bundle_changed || evaluation.has_configuration_problem();
    html! {
        form #live method="post" action="/" data-live="/evaluate" {
            label for="manifest" { "Manifest" }
            p.hint #manifest-hint { "Pods or workloads, in YAML or JSON." }
            textarea #manifest name="manifest" rows="18" spellcheck="false" autocomplete="off" autocapitalize="off" wrap="off"
                aria-describedby="manifest-hint" { "\n" (input.manifest) }
            fieldset {
                legend { "Namespace" }
                label for="namespace" { "Name, for objects that have none" }
                input #namespace name="namespace" value=(input.namespace) spellcheck="false" autocomplete="off";
                p.check {
                    input #labels-known type="checkbox" name="labels-known" value="yes" checked[input.labels_known];
                    label for="labels-known" { "Its labels are known" }
                }
                label for="labels" { "Labels, one KEY=VALUE per line" }
                textarea #labels name="labels" rows="2" spellcheck="false" autocomplete="off" wrap="off" { "\n" (input.labels) }
            }
            details open[is_open] {
                summary { "Configuration" }
                label for="bundle" { "Bundle" }
                p.hint #bundle-hint { "Values, MeshConfig, templates and rules. Keys that are missing keep their defaults." }
                textarea #bundle name="bundle" rows="18" spellcheck="false" autocomplete="off" autocapitalize="off" wrap="off"
                    aria-describedby="bundle-hint" { "\n" (input.bundle) }
            }
            p.actions {
                button type="submit" { "Evaluate" }
                button.other type="submit" formaction="/templates" data-leaves { "Show templates" }
                button #share type="button" hidden { "Copy link" }
            }
            p #status role="status" {}
        }
    }
}
