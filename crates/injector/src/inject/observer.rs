//! Watching the pipeline at work, to explain its result.

use serde_json::Value;

use super::render;
use crate::config::InjectorConfig;
use gotemplate::Template;

/// A point in the pipeline at which the pod can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage<'a> {
    /// Before anything was changed.
    Received,
    /// The overlay of the template of this name was merged.
    Template(&'a str),
    /// The user's own settings for the proxy were merged over the templates'.
    Overrides,
    /// The post-processing pass of this name ran.
    Pass(&'static str),
}

/// Watches the pipeline. In the webhook, this is [`Unobserved`], which compiles to nothing.
pub trait Observer {
    /// Called with the pod after each stage that was reached.
    fn after(&mut self, stage: Stage<'_>, pod: &Value);
    /// Called before the templates are rendered, with all that they are rendered from; more than once if a forged record of an
    /// earlier injection is found.
    fn renders(&mut self, mesh: &InjectorConfig, view: &render::View<'_>, templates: &[(&str, &Template)]);
}

/// Does not watch.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn after(&mut self, _: Stage<'_>, _: &Value) {}
    fn renders(&mut self, _: &InjectorConfig, _: &render::View<'_>, _: &[(&str, &Template)]) {}
}
