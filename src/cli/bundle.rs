//! `outrigger bundle`: displays the configuration.

use clap::{Args, Subcommand};

use super::{
    capture::Capture,
    failure::Failure,
    files,
    report::{self, Color},
    source::{Purpose, Source},
};
use crate::{config::InjectorConfig, yaml};

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
    Capture(Box<Capture>),
}

/// Print the effective configuration as a bundle, with all defaults filled in.
///
/// From a cluster, the result is a snapshot that includes node versions and ProxyConfig resources, as far as
/// permissions allow.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger bundle print --default > bundle.yaml
  outrigger bundle print --bundle bundle.yaml
  outrigger bundle print --from-cluster --revision canary")]
struct Print {
    /// Print the default bundle, commented, as a starting point
    #[arg(long, conflicts_with_all = ["bundle", "cluster"])]
    default: bool,
    #[command(flatten)]
    source: Source,
}

impl Bundle {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        let print = match self.command {
            Command::Capture(capture) => return capture.run(color),
            Command::Print(print) => print,
        };
        if print.default {
            return files::print(InjectorConfig::default_bundle());
        }
        let configured = print.source.load(Purpose::Show)?;
        configured.report(color);
        // The server would print the same warnings.
        report::configuration(&configured.check()?, color);
        files::print(&yaml::to_string(&configured.mesh.effective_bundle()))
    }
}
