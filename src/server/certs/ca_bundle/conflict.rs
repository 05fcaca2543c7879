//! Messages about caBundles with problems: one sentence per configuration, so that two messages never contradict each
//! other. Pure.

use std::collections::BTreeMap;

use super::assess::{Entry, Standing};

/// The message about the caBundles of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remark {
    /// Another field manager maintains some of them, and they do not trust all of our CAs.
    Conflict(String),
    /// All work, some of them maintained by another field manager.
    Note(String),
}

/// The owners of these caBundles, and their state.
type Owner<'a> = (&'a str, bool);

/// Describes who maintains the caBundles of a configuration, if we do not.
pub(super) fn remark(name: &str, entries: &[Entry], injection: Option<&str>) -> Option<Remark> {
    let mut foreign: BTreeMap<Owner<'_>, Vec<&str>> = BTreeMap::new();
    let mut extended: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in entries {
        match &entry.standing {
            Standing::Foreign { by, partly } => foreign.entry((by, *partly)).or_default().push(&entry.name),
            Standing::Extended { by } => extended.entry(by).or_default().push(&entry.name),
            Standing::Right | Standing::Inherited | Standing::Wrong(_) => {}
        }
    }
    let object = format!("mutatingwebhookconfiguration {name}");
    let places = |webhooks: &[&str]| match entries.len() {
        1 => webhooks.join(", "),
        all => format!("{} of {all} webhooks ({})", webhooks.len(), webhooks.join(", ")),
    };
    if foreign.is_empty() {
        let notes: Vec<String> = extended
            .iter()
            .map(|(by, webhooks)| {
                format!(
                    "{object}: the caBundle of {} contains CAs besides ours, set by {by}",
                    places(webhooks)
                )
            })
            .collect();
        return (!notes.is_empty()).then(|| Remark::Note(notes.join("; ")));
    }
    let found: Vec<String> = foreign
        .iter()
        .map(|((by, partly), webhooks)| {
            let lacks = if *partly { "lacks one of our CAs" } else { "does not hold our CA" };
            format!("the caBundle of {} {lacks} and is maintained by {by}", places(webhooks))
        })
        .collect();
    // First stop the other writer; what it still writes would undo the takeover.
    let first = injection.map_or_else(String::new, |annotation| {
        format!("first remove the annotation (kubectl annotate mutatingwebhookconfiguration {name} {annotation}-), then ")
    });
    Some(Remark::Conflict(format!(
        "{object}: {}; left alone; to fix it, {first}run outrigger webhook adopt {name}, which hands all of them over to this \
         server, or --certificate files if they are to stay as they are",
        found.join("; ")
    )))
}

/// Who undoes our writes and how to stop it, if an annotation requests it.
pub(super) fn undone(name: &str, injection: Option<&str>) -> String {
    injection.map_or_else(String::new, |annotation| {
        format!(
            "; the annotation {annotation} asks a cainjector to write it, and this cainjector replaces existing values; \
             remove the annotation (kubectl annotate mutatingwebhookconfiguration {name} {annotation}-), or use \
             --certificate files with a certificate from cert-manager"
        )
    })
}

#[cfg(test)]
mod tests;
