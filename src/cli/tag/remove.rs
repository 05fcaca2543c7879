//! `outrigger tag remove`: removes an unused tag.

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
/// Refused while namespaces use the tag, because their pods would no longer get a proxy.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outrigger tag remove prod")]
pub(super) struct Remove {
    /// The tag
    #[arg(value_name = "TAG")]
    tag: String,
    /// Remove the tag even if namespaces use it, or might use it
    #[arg(long)]
    force: bool,
    /// Namespace of the servers
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
                    "tag {tag:?}: MutatingWebhookConfiguration {name} does not exist; see `outrigger tag list`"
                )));
            };
            if tag_of(&found) != Some(tag) {
                return Err(Failure::error(format!("{name} is not labeled as tag {tag:?} and is left alone")));
            }
            if let Some(release) = helm_release(&found).filter(|_| !self.force) {
                return Err(Failure::error(format!(
                    "tag {tag:?} was created by Helm release {release}; remove {tag:?} from revisionTags in its \
                     values, or use --force"
                )));
            }
            match probe::namespaces(session).await {
                Ok(all) => {
                    let using = probe::using(&all, tag, tag == DEFAULT_REVISION);
                    if !using.is_empty() && !self.force {
                        return Err(Failure::error(format!(
                            "tag {tag:?} is used by {}: their new pods would get no proxy; first use another label \
                             istio.io/rev for them, or use --force",
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
