//! `outrigger completion`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Arguments, failure::Failure, files};

/// Print the completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger completion bash > ~/.local/share/bash-completion/completions/outrigger
  outrigger completion zsh > ~/.zfunc/_outrigger")]
pub(super) struct Completion {
    /// The shell
    shell: Shell,
}

impl Completion {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "outrigger", &mut script);
        files::print(&String::from_utf8_lossy(&script))
    }
}
