//! What people are told of caBundles that are not as they should be: one sentence a configuration, so that no two of
//! them say opposite things. Pure.

use std::collections::BTreeMap;

use super::assess::{Entry, Standing};

/// What is to be said of the caBundles of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remark {
    /// Some are kept by somebody else, and do not trust all of our CAs.
    Conflict(String),
    /// All work, some by the work of somebody else.
    Note(String),
}

/// Whose caBundles these are, and how they are.
type Owner<'a> = (&'a str, bool);

/// Says who keeps the caBundles of a configuration, if that is not us.
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
                format!("{object}: the caBundle of {} trusts more than our CA, set by {by}", places(webhooks))
            })
            .collect();
        return (!notes.is_empty()).then(|| Remark::Note(notes.join("; ")));
    }
    let found: Vec<String> = foreign
        .iter()
        .map(|((by, partly), webhooks)| {
            let lacks = if *partly { "lacks one of our CAs" } else { "does not hold our CA" };
            format!("the caBundle of {} {lacks} and is kept by {by}", places(webhooks))
        })
        .collect();
    // Whoever still writes is sent away first: what is handed over while they do comes back.
    let first = injection.map_or_else(String::new, |annotation| {
        format!("first take the annotation away (kubectl annotate mutatingwebhookconfiguration {name} {annotation}-), then ")
    });
    Some(Remark::Conflict(format!(
        "{object}: {}; it is left alone; accepted: {first}outrigger webhook adopt {name}, which hands all of them over to this \
         server, or --certificate files if they are to stay as they are",
        found.join("; ")
    )))
}

/// Who undoes what we set, and how that ends, if an annotation asks for it.
pub(super) fn undone(name: &str, injection: Option<&str>) -> String {
    injection.map_or_else(String::new, |annotation| {
        format!(
            "; the annotation {annotation} asks a cainjector to write it, and this one replaces what it finds; accepted: the \
             annotation taken away (kubectl annotate mutatingwebhookconfiguration {name} {annotation}-), or --certificate \
             files and a certificate of cert-manager"
        )
    })
}

#[cfg(test)]
mod tests;
