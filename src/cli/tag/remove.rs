//! `outrigger tag remove`: a tag that nobody uses any more.

use clap::Args;
use serde_json::Value;

use super::super::{
    cluster::{Cluster, PATIENCE},
    failure::Failure,
    files,
    report::{self, Color},
    webhook::{live, probe},
};
use crate::webhook_config::{DEFAULT_REVISION, NAMESPACE, helm_release, tag_name, tag_of};

/// Remove a tag that no namespace uses.
///
/// Pods of namespaces that use it would get no proxy then, so it is refused while there are any.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outrigger tag remove prod")]
pub(super) struct Remove {
    /// The tag
    #[arg(value_name = "TAG")]
    tag: String,
    /// Remove it although namespaces use it, or may use it
    #[arg(long)]
    force: bool,
    /// The namespace of the servers
    #[arg(short, long, env = "OUTRIGGER_NAMESPACE", value_name = "NAMESPACE", default_value = NAMESPACE)]
    namespace: String,
    #[command(flatten)]
    cluster: Cluster,
}

impl Remove {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        self.cluster.run(async |session| {
            let (tag, name) = (&self.tag, tag_name(&self.tag, &self.namespace));
            let Some(found) = live::read(session, &name, PATIENCE).await? else {
                return Err(Failure::error(format!(
                    "tag {tag:?}: there is no MutatingWebhookConfiguration {name}; see `outrigger tag list`"
                )));
            };
            if tag_of(&found) != Some(tag) {
                return Err(Failure::error(format!("{name} is not labelled as the tag {tag:?} and is left alone")));
            }
            if let Some(release) = helm_release(&found).filter(|_| !self.force) {
                return Err(Failure::error(format!(
                    "tag {tag:?} is made by the Helm release {release}; accepted: {tag:?} taken out of revisionTags in its \
                     values, or --force"
                )));
            }
            match probe::namespaces(session).await {
                Ok(all) => {
                    let using = probe::using(&all, tag, tag == DEFAULT_REVISION);
                    if !using.is_empty() && !self.force {
                        return Err(Failure::error(format!(
                            "tag {tag:?} is used by {}: their new pods would get no proxy; accepted: another label \
                             istio.io/rev for them, or --force",
                            using.join(", ")
                        )));
                    }
                }
                Err(error) if error.is_forbidden() && self.force => {
                    report::warning(&error.to_string(), color);
                }
                Err(error) => return Err(error.into()),
            }
            let version = found.pointer("/metadata/resourceVersion").and_then(Value::as_str);
            live::delete(session, &name, version).await?;
            files::print(&format!("tag {tag}: removed (MutatingWebhookConfiguration {name})\n"))
        })
    }
}
