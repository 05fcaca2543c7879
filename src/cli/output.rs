//! The output of manual injection, in the requested format.

use std::{
    fmt::{self, Write},
    path::Path,
};

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
                files::replace(path, manifest)?;
            }
        }
        return Ok(());
    }
    let put = |text: &dyn fmt::Display| match file {
        Some(path) => files::replace(path, text),
        None => files::print(text).inspect(|()| report::set_apart()),
    };
    match form {
        Form::Yaml => put(&stream(inputs, manifests)),
        form => put(&render(form, inputs, manifests)?),
    }
}

/// The output for all manifests, in the order of their inputs.
fn render(form: Form, inputs: &[Input], manifests: &[Manifest<'_>]) -> Result<String, Failure> {
    Ok(match form {
        Form::Yaml => stream(inputs, manifests).to_string(),
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
fn stream(inputs: &[Input], manifests: &[Manifest<'_>]) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        let mut out = Watched { out: f, last: None };
        for (input, manifest) in inputs.iter().zip(manifests) {
            if let Some(last) = out.last {
                let line_break = if input.text.contains("\r\n") { "\r\n" } else { "\n" };
                if last != '\n' {
                    out.write_str(line_break)?;
                }
                if !starts_with_separator(manifest) {
                    write!(out, "---{line_break}")?;
                }
            }
            write!(out, "{manifest}")?;
        }
        Ok(())
    })
}

/// Knows the last character that was written.
struct Watched<'o, 'f> {
    out: &'o mut fmt::Formatter<'f>,
    last: Option<char>,
}

impl fmt::Write for Watched<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.last = text.chars().next_back().or(self.last);
        self.out.write_str(text)
    }
}

fn starts_with_separator(manifest: &Manifest<'_>) -> bool {
    struct Start(String);
    impl fmt::Write for Start {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.push_str(text);
            if self.0.len() < 3 { Ok(()) } else { Err(fmt::Error) }
        }
    }
    let mut start = Start(String::new());
    // The write fails as soon as the start is known.
    let _ = write!(start, "{manifest}");
    start.0.starts_with("---")
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// The change of one file.
fn diff(input: &Input, manifest: &Manifest<'_>) -> String {
    let name = input.name.trim_start_matches("./").trim_start_matches('/');
    diff::unified(name, &input.text, manifest.changes())
}
