//! The inverse of manual injection: manifests without what injection added to their pod templates.

use serde_json::Value;

use super::{
    Manifest, Row, SyntaxError, Verdict, advice, corrected,
    process::{Layout, Processed, process},
    source::Parsed,
};
use crate::{
    inject::uninject::{self, Uninjected},
    manifest::{self, CronJobMetadata, Found, Identity, Kinds, TemplatePath},
    pod,
};

/// Removes injections from all pod templates of a manifest.
///
/// # Errors
/// If the text is neither YAML nor JSON.
pub fn uninject<'t>(text: &'t str, template_paths: &[TemplatePath]) -> Result<Manifest<'t>, SyntaxError> {
    let search = manifest::Options {
        template_paths: template_paths.to_vec(),
        by_shape: true,
        cron_job_metadata: CronJobMetadata::Pod,
        kinds: Kinds::OfTheirGroups,
    };
    process(text, &search, Layout::Kept, &|parsed| parsed.uninject(&search))
}

impl Parsed<'_> {
    fn uninject(&self, search: &manifest::Options) -> Processed {
        let found = manifest::objects(self.as_read(), search);
        let mut work = None;
        let mut rows = Vec::new();
        let mut rest = found.as_slice();
        for identity in manifest::identities(self.as_read()) {
            let count = rest.iter().take_while(|found| found.object == identity.object).count();
            let (templates, others) = rest.split_at(count);
            rest = others;
            let mut warnings = self.corrections.get(&identity.object).map(corrected).unwrap_or_default();
            for found in templates {
                let verdict = self.uninject_template(&mut work, found);
                let place = (templates.len() > 1).then(|| advice::place_in_object(found));
                let object = Identity { namespace: found.namespace.clone(), ..identity.clone() };
                rows.push(Row { object, place, verdict, warnings: std::mem::take(&mut warnings) });
            }
            if templates.is_empty() && !self.original.is_null() {
                rows.push(Row { object: identity, place: None, verdict: Verdict::NoPodTemplate, warnings });
            }
        }
        (rows, work)
    }

    fn uninject_template(&self, work: &mut Option<Value>, found: &Found) -> Verdict {
        let injected = manifest::extract_pod(self.as_read(), found);
        // A pod without an owner names itself.
        let owner = match &found.owner {
            Some(owner) => owner.name.clone(),
            None => pod::owner(&injected).name,
        };
        match uninject::uninject(&injected, &owner) {
            Ok(None) => Verdict::NotInjected,
            Ok(Some(Uninjected { pod, remarks })) => {
                let work = work.get_or_insert_with(|| self.as_read().clone());
                manifest::put_back(work, found, &pod);
                Verdict::Uninjected { remarks }
            }
            Err(malformed) => Verdict::Unreadable(malformed.to_string()),
        }
    }
}
