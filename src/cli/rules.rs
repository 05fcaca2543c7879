//! `outrigger rules`: tests which rule of the configuration applies to which pod.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{check::Check, failure::Failure, report::Color, source::Source};

/// Test the rules and the override policy of a configuration.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outrigger rules test cases.yaml --bundle bundle.yaml")]
pub(super) struct Rules {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Test(Test),
}

/// Run cases: which rule applies to a pod, whether it is injected, and what the policy says.
///
/// The cases are those of `outrigger check --tests`: a pod, its namespace, who creates it, and what is expected. They run through
/// the pipeline of the webhook.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger rules test cases.yaml --bundle bundle.yaml
  outrigger rules test cases.yaml --from-cluster")]
struct Test {
    /// Files with cases
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    source: Source,
}

impl Rules {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        match self.command {
            Command::Test(Test { files, source }) => Check::of_tests(files, source).run(color),
        }
    }
}
