//! The command line: reads arguments and files, calls the library, prints.
//!
//! Results go to stdout, everything else to stderr. Exit codes follow sysexits where one fits, like istioctl's; see
//! `failure`.

#![allow(clippy::disallowed_methods, reason = "the ban on I/O and the environment applies to the pure core")]

mod bundle;
mod capture;
mod check;
mod choices;
mod cluster;
mod compare;
mod complete;
mod completion;
mod diff;
mod doctor;
mod effects;
mod explain;
mod failure;
mod files;
mod inject;
mod krm;
mod kube_inject;
mod output;
mod registered;
mod report;
mod rules;
pub mod serve;
mod signals;
mod source;
mod stale;
mod tag;
mod ui;
mod uninject;
mod version;
mod webhook;
mod what_if;
mod workloads;
mod wrap;

use std::{ffi::OsString, process::ExitCode};

use clap::{
    Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};

use report::Color;

/// A sidecar injector for Kubernetes, compatible with Istio.
#[derive(Debug, Parser)]
#[command(
    name = "outrigger",
    version,
    after_help = "Examples:
  outrigger inject -f deployment.yaml | kubectl apply -f -
  outrigger check -f bundle.yaml
  outrigger serve --standalone --bundle bundle.yaml
  outrigger webhook apply"
)]
struct Arguments {
    /// Color reports on stderr; `auto` colors only on a terminal, and not with NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Inject(Box<inject::Inject>),
    Uninject(uninject::Uninject),
    Krm(Box<krm::Krm>),
    Explain(Box<explain::Explain>),
    Doctor(Box<doctor::Doctor>),
    KubeInject(Box<kube_inject::KubeInject>),
    Check(Box<check::Check>),
    WhatIf(Box<what_if::WhatIf>),
    Stale(Box<stale::Stale>),
    Compare(Box<compare::Compare>),
    Rules(Box<rules::Rules>),
    Bundle(bundle::Bundle),
    #[command(alias = "webhooks")]
    Webhook(webhook::Webhook),
    Tag(tag::Tag),
    Ui(Box<ui::Ui>),
    Version(version::Version),
    Completion(completion::Completion),
    Complete(complete::Complete),
}

/// Runs the command line.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    // Before anything else. Other commands keep the default signal handling.
    let held = signals::Held::hold();
    let takes_files =
        arguments.iter().any(|word| word == "inject" || word == "uninject" || word == "kube-inject");
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(mut error) => {
            if takes_files {
                suggest_filename(&mut error);
            }
            // Help and version are not errors, and go to stdout.
            let code = if error.use_stderr() { ExitCode::from(failure::USAGE) } else { ExitCode::SUCCESS };
            let _ = error.print();
            return code;
        }
    };
    let color = arguments.color;
    let command = match arguments.command {
        Command::Serve(serve) => return serve.run(held),
        command => command,
    };
    held.release();
    let done = match command {
        // Handled above.
        Command::Serve(_) => Ok(()),
        Command::Inject(inject) => inject.run(color),
        Command::Uninject(uninject) => uninject.run(color),
        Command::Krm(krm) => krm.run(color),
        Command::Explain(explain) => explain.run(color),
        Command::Doctor(doctor) => doctor.run(color),
        Command::KubeInject(inject) => inject.run(color),
        Command::Check(check) => check.run(color),
        Command::WhatIf(what_if) => what_if.run(color),
        Command::Stale(stale) => stale.run(color),
        Command::Compare(compare) => compare.run(color),
        Command::Rules(rules) => rules.run(color),
        Command::Bundle(bundle) => bundle.run(color),
        Command::Webhook(webhook) => webhook.run(color),
        Command::Tag(tag) => tag.run(color),
        Command::Ui(ui) => ui.run(),
        Command::Version(version) => version.run(),
        Command::Completion(completion) => completion.run(),
        Command::Complete(complete) => complete.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(color),
    }
}

/// Suggests -f if a manifest was given as an argument of the command.
fn suggest_filename(error: &mut clap::Error) {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return };
    let is_file = !argument.starts_with('-') || argument == "-";
    if error.kind() == ErrorKind::UnknownArgument && is_file {
        let tip = format!("manifests are named with -f: -f {argument}");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Calls the function for every command, with the words that lead to it.
    fn each_command(command: &clap::Command, words: &str, visit: &mut impl FnMut(&clap::Command, &str)) {
        visit(command, words);
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            each_command(sub, &format!("{words} {}", sub.get_name()), visit);
        }
    }

    #[test]
    fn every_command_shows_an_example_that_it_takes() {
        let mut command = Arguments::command();
        command.build();
        let mut commands = 0;
        each_command(&command, "outrigger", &mut |command, words| {
            commands += 1;
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            // Longer lines would be wrapped by an 80- or 100-column terminal.
            assert!(help.lines().all(|line| line.chars().count() <= 100), "{words}: {help}");
            let joined = help.replace("\\\n", "");
            let examples: Vec<&str> = joined.lines().filter_map(|line| line.strip_prefix("  ")).collect();
            assert!(help.starts_with("Examples:\n") && !examples.is_empty(), "{words}: {help:?}");
            for example in examples {
                assert!(example.starts_with(words), "{words}: {example}");
                let own = example.split(['|', '<', '>']).next().unwrap_or_default();
                let parsed = Arguments::try_parse_from(own.split_whitespace());
                assert!(
                    parsed.is_ok(),
                    "{example}: {}",
                    parsed.err().map(|e| e.to_string()).unwrap_or_default()
                );
            }
        });
        assert!(commands >= 11, "{commands}");
    }
}
