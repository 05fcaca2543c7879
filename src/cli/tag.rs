//! `outrigger tag`: names that namespaces use, pointed to a revision and moved to another one in a single write.

mod list;
mod remove;
mod set;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{cluster::Session, failure::Failure, report::Color, webhook::live};
use crate::names;

/// Manage tags: names that namespaces use and that move between revisions without touching a namespace.
///
/// A tag is a MutatingWebhookConfiguration of its own, for namespaces and pods labeled istio.io/rev=TAG. It is copied
/// from that of the revision, with its caBundle, and moved by a single write, so there is no gap.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outrigger tag set prod --revision canary --overwrite")]
pub(super) struct Tag {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Set(set::Set),
    List(list::List),
    Remove(remove::Remove),
}

impl Tag {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        match self.command {
            Command::Set(set) => set.run(color),
            Command::List(list) => list.run(color),
            Command::Remove(remove) => remove.run(color),
        }
    }
}

/// All configurations of revisions and tags.
async fn configurations(session: &Session) -> Result<Vec<Value>, Failure> {
    Ok(live::list(session, names::LABEL_CONFIGURATION_REVISION).await?)
}
