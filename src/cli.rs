//! The command line: reads arguments and files, calls the library, prints.
//!
//! stdout is the product, stderr everything else. Exit codes are sysexits' where one fits, as istioctl has them; see
//! `failure`.

#![allow(clippy::disallowed_methods, reason = "the ban on I/O and the environment is for the pure core")]

mod bundle;
mod choices;
mod cluster;
mod completion;
mod failure;
mod files;
mod inject;
mod kube_inject;
mod output;
mod report;
pub mod serve;
mod source;
mod tag;
mod version;
mod webhook;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

use report::Color;

/// A sidecar injector for Kubernetes that speaks Istio's language.
#[derive(Debug, Parser)]
#[command(name = "outrigger", version)]
struct Arguments {
    /// Whether reports on stderr are coloured; `auto` is only on a terminal, and not with NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Inject(Box<inject::Inject>),
    KubeInject(Box<kube_inject::KubeInject>),
    Bundle(bundle::Bundle),
    Webhook(webhook::Webhook),
    Tag(tag::Tag),
    Version(version::Version),
    Completion(completion::Completion),
}

/// Runs the command line.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors, and go to stdout.
            let code = if error.use_stderr() { ExitCode::from(failure::USAGE) } else { ExitCode::SUCCESS };
            let _ = error.print();
            return code;
        }
    };
    let color = arguments.color;
    let done = match arguments.command {
        Command::Serve(serve) => return serve.run(),
        Command::Inject(inject) => inject.run(color),
        Command::KubeInject(inject) => inject.run(color),
        Command::Bundle(bundle) => bundle.run(color),
        Command::Webhook(webhook) => webhook.run(color),
        Command::Tag(tag) => tag.run(color),
        Command::Version(version) => version.run(),
        Command::Completion(completion) => completion.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(color),
    }
}
