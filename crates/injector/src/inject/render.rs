//! Selects the templates for a pod, and renders them.

use std::borrow::Cow;

use serde_json::Value;

use super::{
    context::{self, Parts},
    image,
    openshift::ProxyIds,
    outcome::Refusal,
    request::Rules,
};
use crate::{
    config::InjectorConfig,
    names,
    overlay::{self, Overlay, OverlayError},
    pod::{self, Workload},
    specialized::{ANNOTATIONS, Knowledge, LABELS},
};
use gotemplate::absent_keys::MapId;
use gotemplate::{Limits, Rendered, StandIns, Template, Traced, value::Value as TemplateValue};

/// The maximum number of templates for one pod after alias expansion. Istio has no limit, but under its compatibility
/// the same cap protects the server, counted over distinct names (reliability I-15).
const LIMIT: usize = 16;
/// The default template if the configuration's choice does not apply (`SidecarTemplateName`).
const DEFAULT_TEMPLATE: &str = "sidecar";
static LIMITS: Limits = Limits::DEFAULT;

/// The template input from a pod.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The pod, without an earlier injection.
    pub pod: &'a Value,
    /// The workload whose template it is, if the request names it; otherwise it is derived from the pod's owner.
    pub workload: Option<&'a Workload>,
    /// The effective ProxyConfig.
    pub proxy_config: &'a Cow<'a, Value>,
    /// Whether the cluster runs native sidecars.
    pub native_sidecars: bool,
    /// The proxy's user and group.
    pub ids: ProxyIds,
    /// See [`PodRequest::stand_ins`](super::PodRequest::stand_ins).
    pub stand_ins: bool,
}

/// The templates for a pod, in order: the annotation's, else the default ones; aliases are expanded once (Istio's
/// `selectTemplates` and `resolveAliases`).
///
/// # Errors
/// If a template does not exist, or if there are too many.
pub fn select<'a>(
    rules: Rules,
    mesh: &'a InjectorConfig,
    pod: &'a Value,
) -> Result<Vec<(&'a str, &'a Template)>, Refusal> {
    let injector = mesh.injector();
    let asked: Vec<&str> = match (pod::annotation(pod, names::ANNOTATION_TEMPLATES), rules) {
        (Some(list), _) => list.split(',').map(str::trim).collect(),
        (None, Rules::Configured) => injector.default_templates.iter().map(String::as_str).collect(),
        (None, Rules::TemplatesOnly) => vec![DEFAULT_TEMPLATE],
    };
    if asked.len() > LIMIT {
        return Err(Refusal::TooManyTemplates { found: asked.len(), limit: LIMIT });
    }
    let expanded: Vec<&str> = asked
        .into_iter()
        .flat_map(|name| match injector.aliases.get(name).filter(|_| rules == Rules::Configured) {
            Some(names) => names.iter().map(String::as_str).collect(),
            None => vec![name],
        })
        .collect();
    if expanded.len() > LIMIT {
        return Err(Refusal::TooManyTemplates { found: expanded.len(), limit: LIMIT });
    }
    expanded
        .into_iter()
        .map(|name| match injector.templates.get(name) {
            Some(template) => Ok((name, template)),
            None => Err(Refusal::UnknownTemplate {
                name: name.to_owned(),
                known: injector.templates.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
            }),
        })
        .collect()
}

/// The overlay of every template, by name: rendered, parsed (or found in the cache), filled.
///
/// # Errors
/// If a template fails for this pod, or its output is not a usable overlay.
pub fn overlays<'n>(
    mesh: &InjectorConfig,
    view: &View<'_>,
    templates: &[(&'n str, &Template)],
) -> Result<Vec<(&'n str, Value)>, Refusal> {
    with_parts(mesh, view, |parts| {
        let data = context::template_data(parts);
        templates
            .iter()
            .map(|(name, template)| {
                let template = specialized(mesh, name, template, parts).unwrap_or(template);
                Ok((*name, overlay(mesh, name, template, &data, view.stand_ins)?))
            })
            .collect()
    })
}

/// Renders every template so that its output can be traced to its lines, and hands it over by name. Templates that fail
/// are left out.
pub fn trace(
    mesh: &InjectorConfig,
    view: &View<'_>,
    templates: &[(&str, &Template)],
    mut visit: impl FnMut(&str, &Traced<'_>),
) {
    with_parts(mesh, view, |parts| {
        let data = context::template_data(parts);
        for (name, template) in templates {
            if let Ok(traced) = template.render_traced(&data, mesh.scope(), &LIMITS) {
                visit(name, &traced);
            }
        }
    });
}

/// Calls a function with the template input of a pod.
fn with_parts<T>(mesh: &InjectorConfig, view: &View<'_>, work: impl FnOnce(&Parts<'_>) -> T) -> T {
    let workload = view.workload.cloned().unwrap_or_else(|| pod::owner(view.pod));
    let image_type = pod::at(view.proxy_config, &["image", "imageType"]).and_then(Value::as_str);
    work(&Parts {
        pod: view.pod,
        type_meta: &context::type_meta(&workload),
        deployment_meta: &context::deployment_meta(&workload),
        proxy_config: view.proxy_config,
        // Only the mesh's own configuration is borrowed; anything else includes a resource or an annotation.
        proxy_config_tainted: matches!(view.proxy_config, Cow::Owned(_)),
        mesh_config: mesh.mesh_config(),
        values: mesh.values(),
        revision: mesh.revision(),
        native_sidecars: view.native_sidecars,
        proxy_image: &image::proxy(mesh.values(), image_type, view.pod),
        proxy_init_image: &image::init(mesh.values(), view.pod),
        image_tainted: context::image_is_annotated(view.pod) || matches!(view.proxy_config, Cow::Owned(_)),
        ids: view.ids,
        compliance_policy: mesh.compliance_policy(),
    })
}

/// The specialized template, if it is one of the configuration's.
fn specialized<'m>(
    mesh: &'m InjectorConfig,
    name: &str,
    template: &Template,
    parts: &Parts<'_>,
) -> Option<&'m Template> {
    let template = mesh.injector().templates.get(name).filter(|own| std::ptr::eq(*own, template))?;
    let own = mesh.mesh_config().get("defaultConfig");
    let is_own = !parts.proxy_config_tainted && own.is_some_and(|own| std::ptr::eq(own, parts.proxy_config));
    let knowledge = if is_own { Knowledge::ProxyConfig } else { Knowledge::Configuration };
    mesh.specialized().template(name, knowledge, keys(parts.pod), |keys, present| {
        // Of the pod's own parts, only the absent keys of its metadata are used.
        let known = Parts::of_configuration(mesh, own);
        let known = context::configured(&known, is_own);
        template.specialize(&known, (keys, present), mesh.scope(), &LIMITS)
    })
}

/// The keys of a pod's annotations and labels.
fn keys(pod: &Value) -> impl Iterator<Item = (MapId, &str)> {
    let metadata = pod.get("metadata");
    [("annotations", ANNOTATIONS), ("labels", LABELS)].into_iter().flat_map(move |(field, id)| {
        let map = metadata.and_then(|metadata| metadata.get(field)).and_then(Value::as_object);
        map.into_iter().flat_map(|map| map.keys()).map(move |key| (id, key.as_str()))
    })
}

fn overlay<'a>(
    mesh: &'a InjectorConfig,
    name: &str,
    template: &'a Template,
    data: &TemplateValue<'a>,
    stand_ins: bool,
) -> Result<Value, Refusal> {
    let rendered = template
        .render(data, mesh.scope(), &LIMITS)
        .map_err(|source| Refusal::Render { name: name.to_owned(), source: Box::new(source) })?;
    let independent = |stand_ins: StandIns| match stand_ins.is_empty() {
        true => Ok(()),
        false => Err(Refusal::StandIn { name: name.to_owned(), stand_ins }),
    };
    if stand_ins {
        independent(depended_on(&rendered))?;
    }
    let filled = mesh.overlays().filled(&rendered.text, &rendered.placeholders);
    let overlay = filled.map_err(|source| match source {
        OverlayError::Directive { .. } => Refusal::Directive { name: name.to_owned() },
        source => {
            let snippet = snippet(&rendered.text, &source);
            Refusal::Overlay { name: name.to_owned(), snippet, source }
        }
    })?;
    if stand_ins {
        independent(compared(&overlay, false))?;
    }
    Ok(overlay)
}

/// The stand-ins on whose content the output depends.
fn depended_on(rendered: &Rendered) -> StandIns {
    let typed = Overlay::parse(&rendered.text).map(|it| it.typed_stand_ins(&rendered.placeholders));
    rendered.looked_at | typed.unwrap_or_default()
}

/// Places in an overlay whose texts are only copied. All others may be compared during the merge: they are keys of
/// lists, directives, annotations that enable or disable something.
const PASSED_ON: [&str; 4] = ["args", "command", "labels", "value"];

/// Variables of the proxy whose values are read after the merge.
const READ_VARIABLES: [&str; 4] = [
    names::ENV_APP_PROBERS,
    names::ENV_DISABLE_ENVOY,
    names::ENV_DNS_CAPTURE,
    names::ENV_SECURE_METRICS_PORT,
];

/// The stand-ins in an overlay in places where they may be compared with other texts.
fn compared(overlay: &Value, is_passed_on: bool) -> StandIns {
    match overlay {
        Value::String(text) if !is_passed_on => StandIns::of(text),
        Value::Array(items) => {
            items.iter().fold(StandIns::NONE, |found, item| found | compared(item, is_passed_on))
        }
        Value::Object(map) => {
            let is_read = READ_VARIABLES.contains(&pod::name(overlay));
            map.iter().fold(StandIns::NONE, |found, (key, value)| {
                let is_passed_on = is_passed_on || PASSED_ON.contains(&key.as_str()) && !is_read;
                found | StandIns::of(key) | compared(value, is_passed_on)
            })
        }
        _ => StandIns::NONE,
    }
}

/// The line of a rendered text that is not YAML, with `…` for strings from the pod.
fn snippet(text: &str, error: &OverlayError) -> String {
    let OverlayError::Yaml(error) = error else { return String::new() };
    let mark = error.mark();
    let Some(line) = text.lines().nth(mark.line.saturating_sub(1) as usize) else { return String::new() };
    let (before, after) = line.split_at(
        line.char_indices().nth(mark.column.saturating_sub(1) as usize).map_or(line.len(), |(at, _)| at),
    );
    let before = overlay::without_placeholders(before);
    let padding: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    format!("\n  {before}{}\n  {padding}^", overlay::without_placeholders(after))
}

#[cfg(test)]
mod tests;
