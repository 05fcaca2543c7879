//! The output of manual injection, in the requested format.

use clap::ValueEnum;
use diffy::{DiffOptions, PatchFormatter};
use serde_json::{Value, json};

use super::files::Input;
use crate::inject::manual::Manifest;

/// Output format
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// Manifests; unchanged parts stay identical to the byte
    Yaml,
    /// Objects as JSON; several as one List
    Json,
    /// JSON patch (RFC 6902) for every object that changes
    Patch,
    /// Unified diff of the files
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

/// All manifests as one stream; a single one stays as it is.
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

/// The change of one file as a diff that `patch -p1` accepts.
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
    // Like `diff -u` and git: some patch readers reject blank context lines without their space.
    PatchFormatter::new().suppress_blank_empty(false).fmt_patch(&patch).to_string()
}
