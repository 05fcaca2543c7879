//! `outrigger bundle`: the configuration, shown.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{
    failure::Failure,
    files,
    report::{self, Color},
};
use crate::{
    config::{Mesh, Source, Warning},
    yaml,
};

/// Show configurations.
#[derive(Debug, Args)]
pub(super) struct Bundle {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the configuration that is in force, defaults filled in, as a bundle
    Print {
        /// The bundle; without it the embedded defaults
        #[arg(long, env = "OUTRIGGER_BUNDLE", value_name = "FILE")]
        bundle: Option<PathBuf>,
        /// Print the bundle that says what the defaults are, with comments: a start for one's own
        #[arg(long)]
        default: bool,
    },
}

impl Bundle {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        let Command::Print { bundle, default } = self.command;
        if default {
            return files::print(Mesh::default_bundle());
        }
        let (mesh, warnings) = load(bundle.as_deref())?;
        report::configuration(&warnings, color);
        files::print(&yaml::to_string(&mesh.effective_bundle()))
    }
}

/// Reads and parses a bundle, or the embedded defaults.
pub(super) fn load(path: Option<&Path>) -> Result<(Mesh, Vec<Warning>), Failure> {
    let (name, text) = match path.map(files::read).transpose()? {
        Some(input) => (input.name, input.text),
        None => ("embedded".to_owned(), String::new()),
    };
    Ok(Mesh::from_bundle(Source { name: &name, text: &text })?)
}
