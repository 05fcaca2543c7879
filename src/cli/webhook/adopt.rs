//! `outrigger webhook adopt`: hands caBundles that others set over to the server, which maintains them from then on.

use clap::Args;
use serde_json::Value;

use super::{
    super::{
        cluster::{Cluster, PATIENCE, Session},
        failure::Failure,
        files,
        report::{self, Color},
    },
    live,
    settings::Names,
};
use crate::webhook_config::{
    CA_BUNDLE_MANAGER, adopting_ca_bundles, ca_bundle, entries, injection_annotation, is_ours,
};

/// Hand the caBundle of every entry over to a server that manages certificates (`--certificate controller`).
///
/// Use it for caBundles set by other means: by hand, by a tool, by a restored backup. No caBundle is empty in between,
/// so no pod is rejected: the server's field manager becomes the owner of the existing value, and the server adds its
/// CAs. The existing CAs are removed at the end of the next CA rotation.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger webhook adopt outrigger-sidecar-injector
  outrigger webhook adopt --revision canary --tag prod --dry-run")]
pub(super) struct Adopt {
    /// MutatingWebhookConfigurations to adopt [default: those of the revision and its tags]
    #[arg(value_name = "NAME")]
    configurations: Vec<String>,
    #[command(flatten)]
    names: Names,
    /// Change nothing; ask the API server for the result
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    cluster: Cluster,
}

/// Attempts if an object is modified concurrently.
const ATTEMPTS: usize = 5;

impl Adopt {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        let settings = self.names.settings()?;
        let configurations = if self.configurations.is_empty() {
            settings.object_names()
        } else {
            self.configurations.clone()
        };
        self.cluster.run(async |session| {
            for name in &configurations {
                self.adopt(session, name, color).await?;
            }
            Ok(())
        })
    }

    async fn adopt(&self, session: &Session, name: &str, color: Color) -> Result<(), Failure> {
        let suffix = &self.names.name_suffix;
        for attempt in 1.. {
            let Some(configuration) = live::read(session, name, PATIENCE).await? else {
                return Err(Failure::error(format!("MutatingWebhookConfiguration {name} does not exist")));
            };
            let ours = |entry: &str| is_ours(entry, suffix);
            if !entries(&configuration).any(|(entry, _)| ours(entry)) {
                return Err(Failure::error(format!("{name} has no entry whose name ends in {suffix}")));
            }
            if let Some(annotation) = annotation(&configuration) {
                let text = format!(
                    "{name}: the annotation {annotation} asks a cainjector to write the caBundle too; so that only the \
                     server writes it, remove the annotation: kubectl annotate mutatingwebhookconfiguration {name} \
                     {annotation}-"
                );
                report::warning(&text, color);
            }
            let wanted = adopting_ca_bundles(&configuration, ours, CA_BUNDLE_MANAGER);
            if let Some(wanted) = &wanted {
                let applied =
                    live::apply_as(CA_BUNDLE_MANAGER, session, name, wanted, self.dry_run, true).await;
                match applied {
                    Ok(_) => {}
                    Err(error) if error.is_conflict() && attempt < ATTEMPTS => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            let dry_run = if self.dry_run { " (server dry run)" } else { "" };
            files::print(&format!(
                "MutatingWebhookConfiguration {name}: {}{dry_run}\n",
                told(&configuration, ours)
            ))?;
            return Ok(());
        }
        Ok(())
    }
}

fn annotation(configuration: &Value) -> Option<&str> {
    let annotations = configuration.pointer("/metadata/annotations").and_then(Value::as_object);
    injection_annotation(annotations.into_iter().flatten().map(|(key, _)| key.as_str()))
}

/// Reports the result for the entries.
fn told(configuration: &Value, ours: impl Fn(&str) -> bool) -> String {
    let ours = || entries(configuration).filter(|(entry, _)| ours(entry));
    let empty: Vec<&str> =
        ours().filter(|(_, entry)| ca_bundle(entry).is_none()).map(|(name, _)| name).collect();
    let adopted = ours().count() - empty.len();
    let mut told = format!("the server now manages the caBundle of {adopted} of {} entries", ours().count());
    if !empty.is_empty() {
        told.push_str(&format!("; it will set that of {}, which is empty", empty.join(", ")));
    }
    told
}
