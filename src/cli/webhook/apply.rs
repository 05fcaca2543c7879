//! `outrigger webhook apply`: applies configurations to the cluster and reports the changes.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{
    super::{
        cluster::{ApiError, Cluster, PATIENCE, Reason, Session},
        failure::Failure,
        files,
        report::{self, Color},
    },
    bundle, live,
    settings::SettingsFlags,
};
use crate::webhook_config::{self, Client, Settings, entries};

/// Apply the MutatingWebhookConfigurations of a revision and its tags to the cluster.
///
/// Performs a server-side apply as field manager `outrigger`. The caBundle is changed only with --ca-bundle; without
/// it, it keeps its value. stdout lists the changes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger webhook apply --revision canary --tag prod --dry-run server
  outrigger webhook apply --revision canary --tag prod")]
pub(super) struct Apply {
    #[command(flatten)]
    settings: SettingsFlags,
    /// Change nothing: compare locally (client), or ask the API server for the result (server)
    #[arg(long, value_name = "WHERE")]
    dry_run: Option<DryRun>,
    /// Take over fields that another field manager has set to a different value
    #[arg(long)]
    force_conflicts: bool,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DryRun {
    Client,
    Server,
}

/// Attempts if an object is modified concurrently.
const ATTEMPTS: usize = 5;

impl Apply {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        let settings = self.settings.settings()?;
        self.cluster.run(async |session| {
            for object in settings.objects() {
                let (name, before, after) = self.apply(session, &settings, object).await?;
                files::print(&self.told(&name, &before, &after))?;
                for remark in remark(&settings, &name, &after).into_iter().chain(bundle::remarks(&name, &after)) {
                    report::warning(&remark, color);
                }
            }
            if let Some(name) = settings.unwanted_object_name()
                && live::read(session, &name, PATIENCE).await?.is_some()
            {
                let text = format!(
                    "{name} exists and is not deleted: it injects namespaces without any label; to remove it: kubectl delete \
                     mutatingwebhookconfiguration {name}"
                );
                report::warning(&text, color);
            }
            Ok(())
        })
    }

    /// Applies one object; returns its name and its content before and after.
    async fn apply(
        &self,
        session: &Session,
        settings: &Settings,
        wanted: Value,
    ) -> Result<(String, Value, Value), Failure> {
        let name = wanted.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut attempt = 1;
        loop {
            let before = live::read(session, &name, PATIENCE).await?.unwrap_or(Value::Null);
            if self.dry_run == Some(DryRun::Client) {
                let after = webhook_config::applied_over(&before, &wanted, live::FIELD_MANAGER);
                return Ok((name, before, after));
            }
            let kept = match &settings.ca_bundle {
                None => live::keeping_ca_bundles(&wanted, &before),
                Some(_) => wanted.clone(),
            };
            let is_dry_run = self.dry_run == Some(DryRun::Server);
            match live::apply(session, &name, &kept, is_dry_run, self.force_conflicts).await {
                Ok(after) => return Ok((name, before, after)),
                // The caBundle to preserve has just changed: read it again.
                Err(error) if error.is_conflict() && changed_meanwhile(&error) && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                Err(error) if error.is_conflict() => {
                    return Err(Failure::error(format!(
                        "{error}\neither let the other manager give up the fields, or use --force-conflicts"
                    )));
                }
                Err(error) if matches!(error.reason, Reason::Refused(_)) => {
                    return Err(Failure::error(explained(&error, &name, &before, &wanted)));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn told(&self, name: &str, before: &Value, after: &Value) -> String {
        let changes = if before.is_null() { Vec::new() } else { webhook_config::changes(before, after) };
        let done = match (before, changes.as_slice()) {
            (Value::Null, _) => "created",
            (_, []) => "unchanged",
            _ => "changed",
        };
        let details: String = changes.iter().map(|change| format!("  {change}\n")).collect();
        let dry_run = match self.dry_run {
            None => "",
            Some(DryRun::Client) => " (client dry run)",
            Some(DryRun::Server) => " (server dry run)",
        };
        format!("MutatingWebhookConfiguration {name}: {done}{dry_run}\n{details}")
    }
}

fn changed_meanwhile(error: &ApiError) -> bool {
    error.to_string().contains("the object has been modified")
}

/// Explains a refusal. Entries that are no longer wanted may be the cause: the API server removes only our fields from
/// them, and what another manager owns of them (a caBundle) is not a complete entry.
fn explained(error: &ApiError, name: &str, before: &Value, wanted: &Value) -> String {
    let old: Vec<&str> = entries(before)
        .map(|(name, _)| name)
        .filter(|name| entries(wanted).all(|(other, _)| other != *name))
        .collect();
    if old.is_empty() {
        return error.to_string();
    }
    format!(
        "{error}\nentries that exist and are no longer wanted: {}; another field manager owns their caBundle, so they cannot \
         be removed from {name}: delete it and apply again",
        old.join(", ")
    )
}

/// A note for the user about the object as it is now.
fn remark(settings: &Settings, name: &str, after: &Value) -> Option<String> {
    let without: Vec<&str> = entries(after)
        .filter(|(_, entry)| webhook_config::ca_bundle(entry).is_none())
        .map(|(name, _)| name)
        .collect();
    let is_service = matches!(settings.client, Client::Service { .. });
    (is_service && !without.is_empty()).then(|| {
        format!(
            "{name}: no caBundle in {}; until outrigger sets it (or --ca-bundle does), failurePolicy {} decides about pods",
            without.join(", "),
            settings.failure_policy.as_str()
        )
    })
}
