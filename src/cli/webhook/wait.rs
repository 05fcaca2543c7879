//! `outrigger webhook wait`: wait until the API server really calls us, and report each second what is missing.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{
    super::{
        cluster::{ApiError, Cluster, Reason, Session},
        failure::Failure,
        files,
        report::{self, Color},
    },
    bundle, live,
    probe::{self, Probe},
    settings::Names,
};
use crate::{
    server::duration::parse_duration,
    webhook_config::{self, entries, is_ours},
};

/// Wait until the API server calls outrigger for the revision and its tags.
///
/// Checks each configuration: it exists, its entries have a caBundle and rules, and a pod that one of them selects
/// comes back with a proxy from a server-side dry run. Exits with 0 once all of this is true, 1 after the timeout, 69
/// if no API server was reached. A dry run that has started continues until the entry's timeoutSeconds have passed,
/// plus a few seconds, even beyond --timeout.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger webhook wait --timeout 2m
  outrigger webhook wait --revision canary --tag prod --probe-namespace shop")]
pub(super) struct Wait {
    #[command(flatten)]
    names: Names,
    /// Maximum time to wait
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
    /// Namespace for the dry-run pod: one whose pods are to be injected, or one without labels
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    probe_namespace: String,
    /// Check only the configurations; send no pod, not even as a dry run
    #[arg(long)]
    no_probe: bool,
    #[command(flatten)]
    cluster: Cluster,
}

/// The result of a successful check.
struct Found {
    done: String,
    /// Problems that do not prevent the calls.
    remarks: Vec<String>,
}

/// An unmet condition.
enum Missing {
    /// May resolve by itself.
    Yet(String),
    /// May resolve by itself, once an API server responds.
    Unreachable(String),
    /// Will not resolve by itself.
    ForGood(String),
}

const INTERVAL: Duration = Duration::from_secs(1);

impl Wait {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        let settings = self.names.settings()?;
        // The tag's name goes into the request; the response names the revision.
        let asked: Vec<(String, String)> = settings
            .object_names()
            .into_iter()
            .zip(
                std::iter::once(&settings.revision)
                    .chain(&settings.tags)
                    .chain(std::iter::once(&settings.revision)),
            )
            .map(|(name, revision)| (name, revision.clone()))
            .collect();
        self.cluster.run(async |session| {
            let started = Instant::now();
            let deadline = started + self.timeout;
            for (name, answers_to) in &asked {
                // A response from the API server is more informative than silence at the end.
                let mut answered = None;
                loop {
                    let missing = match self.look(session, name, answers_to, deadline).await {
                        Ok(Found { done, remarks }) => {
                            files::print(&format!("MutatingWebhookConfiguration {name}: {done}\n"))?;
                            remarks.iter().for_each(|remark| report::warning(remark, color));
                            break;
                        }
                        Err(missing) => missing,
                    };
                    let over = Instant::now() >= deadline;
                    let waited = started.elapsed().as_secs();
                    match missing {
                        Missing::ForGood(text) => return Err(Failure::error(text)),
                        Missing::Yet(text) if over => return Err(Failure::error(gave_up(waited, &text))),
                        Missing::Unreachable(text) if over => {
                            return Err(match answered {
                                None => Failure::unavailable(gave_up(waited, &text)),
                                Some(answer) => {
                                    Failure::error(gave_up(waited, &format!("{answer}; then {text}")))
                                }
                            });
                        }
                        Missing::Yet(text) => {
                            report::progress(&format!("waiting ({waited}s): {text}"), color);
                            answered = Some(text);
                        }
                        Missing::Unreachable(text) => {
                            report::progress(&format!("waiting ({waited}s): {text}"), color);
                        }
                    }
                    tokio::time::sleep_until(deadline.min(Instant::now() + INTERVAL)).await;
                }
            }
            Ok(())
        })
    }

    /// Checks once; returns what was found, or what is missing.
    async fn look(
        &self,
        session: &Session,
        name: &str,
        answers_to: &str,
        deadline: Instant,
    ) -> Result<Found, Missing> {
        let patience =
            deadline.saturating_duration_since(Instant::now()).clamp(INTERVAL, Duration::from_secs(10));
        let Some(configuration) = live::read(session, name, patience).await? else {
            return Err(Missing::Yet(format!("MutatingWebhookConfiguration {name} does not exist")));
        };
        let ours = self.entries(name, &configuration)?;
        let found = |done| Found { done, remarks: bundle::remarks(name, &configuration) };
        if self.no_probe {
            return Ok(found(format!("{ours} entries have a caBundle and rules")));
        }
        let labels = probe::namespace_labels(session, &self.probe_namespace, patience).await?;
        let Some(chosen) = probe::choose(&configuration, &labels, answers_to) else {
            return Err(Missing::Yet(self.unselected(name, &labels)));
        };
        // Longer than the API server waits for the webhook; otherwise we would miss its report.
        let pod = probe::dry_run(session, &self.probe_namespace, &chosen.labels, chosen.patience)
            .await
            .map_err(|error| refused(name, &chosen, error))?;
        let entry = &chosen.entry;
        match probe::injected_by(&pod) {
            Some(revision) if revision == self.names.revision => {
                Ok(found(format!("the API server calls {entry}, and revision {revision} answers")))
            }
            Some(revision) => Err(Missing::Yet(format!(
                "{name}: a pod for {entry} was injected by revision {revision:?}; expected {:?}",
                self.names.revision
            ))),
            None => Err(Missing::Yet(format!(
                "{name}: a pod for {entry} came back without a proxy: no server responds and failurePolicy is Ignore, or the \
                              injector's configuration skips the pod"
            ))),
        }
    }

    /// Counts our entries, provided that all of them can be called.
    fn entries(&self, name: &str, configuration: &Value) -> Result<usize, Missing> {
        let ours: Vec<_> =
            entries(configuration).filter(|(entry, _)| is_ours(entry, &self.names.name_suffix)).collect();
        if ours.is_empty() {
            let suffix = &self.names.name_suffix;
            return Err(Missing::Yet(format!("{name} has no entry whose name ends in {suffix}")));
        }
        for (entry, webhook) in &ours {
            let is_service = webhook.pointer("/clientConfig/service").is_some();
            match webhook_config::ca_bundle(webhook) {
                None if is_service => {
                    return Err(Missing::Yet(format!("{name}: {entry} has no caBundle yet")));
                }
                bundle => {
                    if let Some(problem) = bundle.and_then(bundle::problem) {
                        return Err(Missing::Yet(format!(
                            "{name}: the caBundle of {entry} contains no certificate that API servers can read: {problem}"
                        )));
                    }
                }
            }
            if webhook.get("rules").and_then(Value::as_array).is_none_or(Vec::is_empty) {
                return Err(Missing::Yet(format!(
                    "{name}: {entry} has no rules yet; they are added once a replica has been ready for some seconds"
                )));
            }
        }
        Ok(ours.len())
    }

    fn unselected(&self, name: &str, labels: &Map<String, Value>) -> String {
        let told: Vec<String> = labels
            .iter()
            .filter(|(key, _)| {
                [crate::names::LABEL_INJECTION, crate::names::REVISION].contains(&key.as_str())
            })
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        let told = if told.is_empty() { "no such label".to_owned() } else { told.join(", ") };
        format!(
            "{name}: no entry selects a pod in namespace {} (it has {told}); use --probe-namespace with a namespace \
             whose pods it injects, or one without these labels",
            self.probe_namespace
        )
    }
}

impl From<ApiError> for Missing {
    fn from(error: ApiError) -> Missing {
        let sentence = error.to_string();
        match error.reason {
            Reason::Unanswered(_) | Reason::Unreachable(_) => Missing::Unreachable(sentence),
            Reason::Forbidden(_) => Missing::ForGood(sentence),
            _ => Missing::Yet(sentence),
        }
    }
}

/// The API server rejected a pod that may be created: its message tells what is missing, for example that it cannot
/// call the webhook.
fn refused(name: &str, chosen: &Probe, error: ApiError) -> Missing {
    match error.reason {
        // It has just answered other requests.
        Reason::Unanswered(_) => Missing::Yet(format!(
            "{name}: the API server responds, but not to a pod for {} within {}s; it is waiting for a webhook, \
                 this one (timeoutSeconds: {}) or another",
            chosen.entry,
            chosen.patience.as_secs(),
            chosen.timeout.as_secs()
        )),
        Reason::Forbidden(_) => {
            Missing::ForGood(format!("{error}; grant that permission, or use --no-probe"))
        }
        _ => Missing::from(error),
    }
}

fn gave_up(waited: u64, text: &str) -> String {
    format!("gave up after {waited}s: {text}")
}
