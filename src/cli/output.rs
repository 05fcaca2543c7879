//! What manual injection prints, in the form that was asked for.

use clap::ValueEnum;
use diffy::{DiffOptions, PatchFormatter};
use serde_json::{Value, json};

use super::files::Input;
use crate::inject::manual::Manifest;

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// The manifests; what does not change stays as it is to the byte
    Yaml,
    /// The objects as JSON; several as one List
    Json,
    /// A JSON patch (RFC 6902) for every object that changes
    Patch,
    /// A unified diff of the files
    Diff,
}

/// The output for all manifests, in the order of their inputs.
pub(super) fn render(form: Form, inputs: &[Input], manifests: &[Manifest<'_>]) -> String {
    match form {
        Form::Yaml => stream(manifests),
        Form::Json => pretty(&Manifest::to_json(manifests)),
        Form::Patch => {
            let patches: Vec<Value> = manifests.iter().flat_map(Manifest::patches).collect();
            pretty(&json!(patches))
        }
        Form::Diff => inputs.iter().zip(manifests).map(|(input, manifest)| diff(input, manifest)).collect(),
    }
}

/// The manifests one after another; one alone is as it is.
fn stream(manifests: &[Manifest<'_>]) -> String {
    let mut all = String::new();
    for text in manifests.iter().map(Manifest::to_text) {
        if !all.is_empty() {
            let line_break = if text.contains("\r\n") { "\r\n" } else { "\n" };
            if !all.ends_with('\n') {
                all.push_str(line_break);
            }
            if !text.starts_with("---") {
                all.push_str("---");
                all.push_str(line_break);
            }
        }
        all.push_str(&text);
    }
    all
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// The change of one file, such that `patch -p1` makes it.
fn diff(input: &Input, manifest: &Manifest<'_>) -> String {
    let name = input.name.trim_start_matches("./").trim_start_matches('/');
    let injected = manifest.to_text();
    if injected == input.text {
        return String::new();
    }
    let patch = DiffOptions::new()
        .set_original_filename(format!("a/{name}"))
        .set_modified_filename(format!("b/{name}"))
        .create_patch(&input.text, &injected);
    // As `diff -u` and git write them: not every reader of patches knows blank lines without their space.
    PatchFormatter::new().suppress_blank_empty(false).fmt_patch(&patch).to_string()
}
