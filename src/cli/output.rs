//! The output of manual injection, in the requested format.

use std::path::Path;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{
    diff,
    failure::Failure,
    files::{self, Input},
    report,
};
use crate::{
    inject::manual::{self, Manifest},
    yaml,
};

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
    /// Kustomize component with a patch for every object that changes
    Kustomize,
}

/// Writes all manifests to stdout, to one file, or those that change back to their own.
pub(super) fn write(
    form: Form,
    file: Option<&Path>,
    in_place: bool,
    inputs: &[Input],
    manifests: &[Manifest<'_>],
) -> Result<(), Failure> {
    if in_place {
        for (input, manifest) in inputs.iter().zip(manifests).filter(|(_, manifest)| manifest.is_changed()) {
            if let Some(path) = &input.path {
                files::replace(path, &manifest.to_text())?;
            }
        }
        return Ok(());
    }
    let text = render(form, inputs, manifests)?;
    match file {
        Some(path) => files::replace(path, &text),
        None => files::print(&text).inspect(|()| report::set_apart()),
    }
}

/// The output for all manifests, in the order of their inputs.
fn render(form: Form, inputs: &[Input], manifests: &[Manifest<'_>]) -> Result<String, Failure> {
    Ok(match form {
        Form::Yaml => stream(manifests),
        Form::Json => pretty(&Manifest::to_json(manifests)),
        Form::Patch => {
            let patches: Vec<Value> = manifests.iter().flat_map(Manifest::patches).collect();
            pretty(&json!(patches))
        }
        Form::Diff => inputs.iter().zip(manifests).map(|(input, manifest)| diff(input, manifest)).collect(),
        Form::Kustomize => {
            let component = manual::component(manifests).map_err(|object| {
                Failure::data(format!(
                    "found a {} without a name; expected one, by which kustomize selects what it patches",
                    object.kind
                ))
            })?;
            yaml::to_string(&component)
        }
    })
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

/// The change of one file.
fn diff(input: &Input, manifest: &Manifest<'_>) -> String {
    let name = input.name.trim_start_matches("./").trim_start_matches('/');
    diff::unified(name, &input.text, manifest.changes())
}
