//! `outrigger complete`: candidates for a word, in the protocol of kubectl's completion for plugins.
//!
//! kubectl calls `kubectl_complete-NAME` with the words of the command line, the last of which is incomplete, and reads
//! a candidate per line and a directive (cobra's `ShellCompDirective`) in the last line.

use clap::{Arg, Args, Command, CommandFactory};

use super::{Arguments, failure::Failure, files};

/// Print completions for kubectl, which calls it through kubectl_complete-outrigger.
#[derive(Debug, Args)]
#[command(
    hide = true,
    after_help = "Examples:
  outrigger complete -- inject --out"
)]
pub(super) struct Complete {
    /// The words after `kubectl outrigger`; the last one is incomplete
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// No directive: the shell completes file names if there is no candidate.
const FILES: &str = ":0";
/// Only the candidates.
const NO_FILES: &str = ":4";

impl Complete {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut command = Arguments::command();
        command.build();
        files::print(&candidates(&command, &self.words))
    }
}

fn candidates(root: &Command, words: &[String]) -> String {
    let (last, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut command = root;
    // The flag whose value is the next word.
    let mut flag: Option<&Arg> = None;
    for word in before {
        if flag.take().is_some() {
            continue;
        }
        if word.starts_with('-') {
            flag = taking_value(command, word);
        } else if let Some(sub) = command.find_subcommand(word) {
            command = sub;
        }
    }
    let (given, prefix) = match last.split_once('=') {
        Some((name, value)) if name.starts_with("--") => (format!("{name}="), value),
        _ => (String::new(), last),
    };
    let flag = if given.is_empty() { flag } else { taking_value(command, given.trim_end_matches('=')) };
    let mut found: Vec<String> = match flag {
        Some(flag) => values(flag).map(|value| format!("{given}{value}")).collect(),
        None if last.starts_with('-') => {
            let visible = command.get_arguments().filter(|arg| !arg.is_hide_set());
            visible.filter_map(Arg::get_long).map(|long| format!("--{long}")).collect()
        }
        None => {
            let subcommands = command.get_subcommands().filter(|sub| !sub.is_hide_set());
            let positional = command.get_positionals().flat_map(values);
            subcommands.map(|sub| sub.get_name().to_owned()).chain(positional).collect()
        }
    };
    let takes_files = found.is_empty();
    let prefix = format!("{given}{prefix}");
    found.retain(|candidate| candidate.starts_with(&prefix));
    found.sort();
    found.push(if takes_files { FILES } else { NO_FILES }.to_owned());
    found.join("\n") + "\n"
}

/// The flag with this name, if the next word is its value.
fn taking_value<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    let is_named = |arg: &&Arg| match (word.strip_prefix("--"), word.strip_prefix('-')) {
        (Some(long), _) => arg.get_long() == Some(long),
        (None, Some(short)) => arg.get_short().is_some_and(|own| short.chars().eq([own])),
        (None, None) => false,
    };
    command.get_arguments().find(is_named).filter(|arg| arg.get_action().takes_values())
}

fn values(arg: &Arg) -> impl Iterator<Item = String> {
    let possible = arg.get_possible_values().into_iter().filter(|value| !value.is_hide_set());
    possible.map(|value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(words: &[&str]) -> Vec<String> {
        let mut command = Arguments::command();
        command.build();
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        candidates(&command, &words).lines().map(str::to_owned).collect()
    }

    #[test]
    fn commands_flags_and_values_are_completed() {
        assert_eq!(complete(&["unin"]), ["uninject", ":4"]);
        assert!(!complete(&[""]).contains(&"complete".to_owned()));
        assert_eq!(complete(&["bundle", "pr"]), ["print", ":4"]);
        assert_eq!(complete(&["inject", "--in-p"]), ["--in-place", ":4"]);
        assert_eq!(complete(&["inject", "-o", "k"]), ["kustomize", ":4"]);
        assert_eq!(complete(&["inject", "--output=k"]), ["--output=kustomize", ":4"]);
        assert_eq!(complete(&["--color", "al"]), ["always", ":4"]);
        assert_eq!(complete(&["inject", "-f", "dep"]), [":0"], "a file");
        assert_eq!(complete(&["inject", "-f", "inject", "-o", "js"]), ["json", ":4"]);
        assert_eq!(complete(&["completion", "z"]), ["zsh", ":4"]);
        assert_eq!(complete(&["no-such"]), [":4"]);
    }
}
