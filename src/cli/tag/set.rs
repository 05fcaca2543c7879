//! `outrigger tag set`: creates or moves a tag with a single write.

use clap::Args;
use serde_json::Value;

use super::{
    super::{
        cluster::{Cluster, PATIENCE, Session},
        failure::Failure,
        files,
        report::{self, Color},
        webhook::{bundle, live},
    },
    configurations,
};
use crate::webhook_config::{
    self, DEFAULT_REVISION, NAMESPACE, helm_release, keeps_tag, revision_name, revision_of, tag_name, tag_of,
};

/// Point a tag to a revision whose server is ready.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger tag set prod --revision default
  outrigger tag set prod --revision canary --overwrite
  outrigger tag set default --revision canary")]
pub(super) struct Set {
    /// Tag, as used in namespaces' label istio.io/rev. The tag named default is for istio-injection=enabled
    #[arg(value_name = "TAG")]
    tag: String,
    /// Revision to point to; the one without a name is `default`
    #[arg(short, long, value_name = "REVISION")]
    revision: String,
    /// Move a tag that points to another revision, or take over one that a Helm release created
    #[arg(long)]
    overwrite: bool,
    /// Namespace of the servers
    #[arg(short, long, env = "OUTRIGGER_NAMESPACE", value_name = "NAMESPACE", default_value = NAMESPACE)]
    namespace: String,
    #[command(flatten)]
    cluster: Cluster,
}

/// Attempts if an object is modified concurrently.
const ATTEMPTS: usize = 5;

/// The existing tag, and the configuration it will be copied from.
struct Found {
    source: Value,
    before: Option<Value>,
}

impl Set {
    pub(super) fn run(self, color: Color) -> Result<(), Failure> {
        webhook_config::check_names(&self.tag, &self.revision).map_err(Failure::usage)?;
        self.cluster.run(async |session| {
            let mut attempt = 1;
            let found = loop {
                let found = self.look(session).await?;
                let wanted = webhook_config::tagged(
                    &self.tag,
                    &self.revision,
                    &self.namespace,
                    &found.source,
                    found.before.as_ref(),
                )
                .map_err(Failure::error)?;
                trusted(&found.source).map_err(Failure::error)?;
                match live::put(session, &wanted, found.before.is_some()).await {
                    Ok(_) => break found,
                    // The object was modified concurrently: check again whether the tag is still to be moved.
                    Err(error) if error.is_conflict() && attempt < ATTEMPTS => attempt += 1,
                    Err(error) => return Err(error.into()),
                }
            };
            self.tell(&found, color)
        })
    }

    /// Reads the objects involved, and checks that the tag may be changed.
    async fn look(&self, session: &Session) -> Result<Found, Failure> {
        let (tag, revision) = (&self.tag, &self.revision);
        let source_name = revision_name(revision, &self.namespace);
        let Some(source) = live::read(session, &source_name, PATIENCE).await? else {
            let all = configurations(session).await?;
            let revisions: Vec<&str> =
                all.iter().filter(|object| tag_of(object).is_none()).filter_map(revision_of).collect();
            let there = if revisions.is_empty() { "none".to_owned() } else { revisions.join(", ") };
            return Err(Failure::error(format!(
                "revision {revision:?}: MutatingWebhookConfiguration {source_name} does not exist; existing revisions: \
                 {there}"
            )));
        };
        let clashes = revision_name(tag, &self.namespace);
        if live::read(session, &clashes, PATIENCE).await?.is_some() {
            let why = if tag == DEFAULT_REVISION {
                "the revision without a name handles istio-injection=enabled; uninstall it first"
            } else {
                "a revision has this name; choose another one"
            };
            return Err(Failure::error(format!("tag {tag:?}: {clashes} exists: {why}")));
        }
        let before = live::read(session, &tag_name(tag, &self.namespace), PATIENCE).await?;
        if let Some(before) = before.as_ref().filter(|_| !self.overwrite) {
            if let Some(release) = helm_release(before) {
                return Err(Failure::error(format!(
                    "tag {tag:?} was created by Helm release {release}; use --overwrite, and then remove {tag:?} \
                     from revisionTags in its values"
                )));
            }
            let found = revision_of(before).unwrap_or_default();
            if found != revision {
                return Err(Failure::error(format!(
                    "tag {tag:?} points to revision {found:?}; use --overwrite to move it"
                )));
            }
        }
        Ok(Found { source, before })
    }

    fn tell(&self, found: &Found, color: Color) -> Result<(), Failure> {
        let (tag, revision) = (&self.tag, &self.revision);
        let name = tag_name(tag, &self.namespace);
        let before = found.before.as_ref().and_then(revision_of);
        files::print(&match before {
            Some(before) if before != revision => {
                format!("tag {tag}: {before} -> {revision} (MutatingWebhookConfiguration {name})\n")
            }
            Some(_) => format!("tag {tag}: {revision}, as before (MutatingWebhookConfiguration {name})\n"),
            None => format!("tag {tag}: {revision} (MutatingWebhookConfiguration {name})\n"),
        })?;
        if let Some(release) = found.before.as_ref().and_then(helm_release) {
            let text = format!(
                "Helm release {release} created this tag: remove {tag:?} from its revisionTags; the object then stays"
            );
            report::warning(&text, color);
        }
        // A private key in the caBundle is not copied, but it is exposed.
        let of_revision = revision_name(revision, &self.namespace);
        for remark in bundle::remarks(&of_revision, &found.source) {
            report::warning(&remark, color);
        }
        if !keeps_tag(&found.source, tag) {
            // The server's flags are not visible here.
            let text = format!(
                "{of_revision} does not say who manages the caBundle of this tag: unless a server of revision {revision} runs \
                 with --tag-configurations={name} (webhook.movableTags={{{tag}}} of its chart), run this again after every \
                 change of its CA"
            );
            report::warning(&text, color);
        }
        Ok(())
    }
}

/// Whether API servers can read a certificate in every copied caBundle, as `webhook wait` requires.
fn trusted(source: &Value) -> Result<(), String> {
    let name = source.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    for (entry, webhook) in webhook_config::entries(source) {
        if let Some(problem) = webhook_config::ca_bundle(webhook).and_then(bundle::problem) {
            return Err(format!(
                "{name}: the caBundle of {entry} contains no certificate that API servers can read: {problem}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pem;

    #[test]
    fn what_api_servers_do_not_read_is_not_copied() {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let source = |der: &[u8]| {
            let bundle = STANDARD.encode(pem::encode(pem::CERTIFICATE, der));
            json!({"metadata": {"name": "a"}, "webhooks": [{"name": "b", "clientConfig": {"caBundle": bundle}}]})
        };
        let told = trusted(&source(b"no certificate")).unwrap_err();
        assert!(
            told.contains("a: the caBundle of b contains no certificate") && told.contains("X.509"),
            "{told}"
        );
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(["a".to_owned()]).unwrap().self_signed(&key).unwrap();
        assert_eq!(trusted(&source(made.der())), Ok(()));
    }
}
