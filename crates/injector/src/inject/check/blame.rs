//! Finds the line of a template that is to blame for what happens to a sample.
//!
//! A failed render has its place. A loss has none, because the merge happens after rendering: a line is named only if
//! it is the only one with a telling text.

use super::{TemplateLine, whole::Loss};
use crate::{
    config::InjectorConfig,
    inject::{Refusal, undecodable::Origin},
};

/// The place of a failure, if the refusal has one.
pub(super) fn line_of_refusal(refusal: &Refusal) -> Option<TemplateLine> {
    match refusal {
        Refusal::Render { source, .. } => Some(TemplateLine {
            template: source.at.template.clone(),
            line: source.at.line,
            column: source.at.column,
        }),
        Refusal::Undecodable(undecodable) => match &undecodable.origin {
            Origin::Configuration { place: Some(place), .. } => {
                let (template, line) = place.strip_prefix("template ")?.rsplit_once(", line ")?;
                Some(TemplateLine { template: template.to_owned(), line: line.parse().ok()?, column: 1 })
            }
            _ => None,
        },
        _ => None,
    }
}

/// The only line of the rendered templates with the first clue that has exactly one.
pub(super) fn line_of_loss(mesh: &InjectorConfig, templates: &[String], loss: &Loss) -> Option<TemplateLine> {
    let clues = loss.clues.iter().filter(|clue| !clue.is_empty());
    clues.into_iter().find_map(|clue| {
        let mut lines = templates.iter().flat_map(|name| {
            let source = mesh.injector().templates.get(name).map(gotemplate::Template::source);
            source.unwrap_or_default().lines().zip(1..).filter_map(move |(text, line)| {
                let start = text.find(clue.as_str())?;
                let column = text.get(..start)?.chars().count() as u32 + 1;
                Some(TemplateLine { template: name.clone(), line, column })
            })
        });
        let only = lines.next();
        only.filter(|_| lines.next().is_none())
    })
}
