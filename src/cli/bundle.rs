//! `outrigger bundle`: the configuration, shown.

use clap::{Args, Subcommand};

use super::{
    failure::Failure,
    files,
    report::{self, Color},
    source::{Purpose, Source},
};
use crate::{config::Mesh, yaml};

/// Show configurations.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger bundle print --default > bundle.yaml
  outrigger bundle print --bundle bundle.yaml")]
pub(super) struct Bundle {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Print(Box<Print>),
}

/// Print the configuration that is in force, defaults filled in, as a bundle.
///
/// From a cluster it is a snapshot: with the versions of nodes and the ProxyConfig resources, as far as they may be read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger bundle print --default > bundle.yaml
  outrigger bundle print --bundle bundle.yaml
  outrigger bundle print --from-cluster --revision canary")]
struct Print {
    /// Print the bundle that says what the defaults are, with comments: a start for one's own
    #[arg(long, conflicts_with_all = ["bundle", "cluster"])]
    default: bool,
    #[command(flatten)]
    source: Source,
}

impl Bundle {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        let Command::Print(print) = self.command;
        if print.default {
            return files::print(Mesh::default_bundle());
        }
        let configured = print.source.load(Purpose::Show)?;
        configured.report(color);
        // What the server would say of it.
        report::configuration(&configured.check()?, color);
        files::print(&yaml::to_string(&configured.mesh.effective_bundle()))
    }
}
