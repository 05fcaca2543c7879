//! `outrigger webhook apply`: configurations put into the cluster, and what that changed.

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

/// Put the MutatingWebhookConfigurations of a revision and its tags into the cluster.
///
/// It is a server-side apply as field manager `outrigger`. The caBundle is touched only with --ca-bundle; without it
/// stays what is there. stdout says what changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger webhook apply --revision canary --tag prod --dry-run server
  outrigger webhook apply --revision canary --tag prod")]
pub(super) struct Apply {
    #[command(flatten)]
    settings: SettingsFlags,
    /// Change nothing: compare here (client), or let the API server say what it would do (server)
    #[arg(long, value_name = "WHERE")]
    dry_run: Option<DryRun>,
    /// Take over fields that another field manager has set to something else
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

/// How often an object may change under our hands.
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
                    "{name} is there and stays: it injects namespaces without any label; without it: kubectl delete \
                     mutatingwebhookconfiguration {name}"
                );
                report::warning(&text, color);
            }
            Ok(())
        })
    }

    /// Applies one object; its name, and what was there before and after.
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
                // The caBundle that is to be kept has just changed: read it again.
                Err(error) if error.is_conflict() && changed_meanwhile(&error) && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                Err(error) if error.is_conflict() => {
                    return Err(Failure::error(format!(
                        "{error}\naccepted: the other manager gives the fields up, or --force-conflicts"
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

/// A refusal; entries that are not wanted any more may be the reason: of those the API server takes away our fields only,
/// and what another manager keeps of them (a caBundle) is no whole entry.
fn explained(error: &ApiError, name: &str, before: &Value, wanted: &Value) -> String {
    let old: Vec<&str> = entries(before)
        .map(|(name, _)| name)
        .filter(|name| entries(wanted).all(|(other, _)| other != *name))
        .collect();
    if old.is_empty() {
        return error.to_string();
    }
    format!(
        "{error}\nentries that are there and not wanted any more: {}; another field manager owns their caBundle, so they cannot \
         be taken out of {name}: delete it and apply again",
        old.join(", ")
    )
}

/// What the user should know of the object as it is now.
fn remark(settings: &Settings, name: &str, after: &Value) -> Option<String> {
    let without: Vec<&str> = entries(after)
        .filter(|(_, entry)| webhook_config::ca_bundle(entry).is_none())
        .map(|(name, _)| name)
        .collect();
    let is_service = matches!(settings.client, Client::Service { .. });
    (is_service && !without.is_empty()).then(|| {
        format!(
            "{name}: no caBundle in {}; until outrigger fills it (or --ca-bundle does) failurePolicy {} decides about pods",
            without.join(", "),
            settings.failure_policy.as_str()
        )
    })
}
