//! What comes of a request: a patch, a skip with its reason, or a refusal written for the person who runs kubectl.

use serde_json::Value;

use super::{
    annotation::Offence,
    decision::Decision,
    decode::{Origin, Undecodable},
    warning::Warning,
};
use crate::pod;
use gotemplate as template;
use strategic_merge::{merge, patch};

/// The answer to a pod that is allowed.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The pod gets a proxy.
    Injected(Box<Injection>),
    /// The pod stays as it is.
    Skipped(Skip),
}

/// A pod that gets a proxy.
#[derive(Clone, Debug)]
pub struct Injection {
    /// How many operations the patch has.
    pub operations: usize,
    /// The patch as it is sent: RFC 6902, against the pod as it was received; checked to give `pod`.
    pub patch_json: String,
    /// The pod after the patch, but for `metadata.managedFields`, which no patch touches: see [`Injection::whole_pod`].
    pub pod: Value,
    /// The templates that were rendered, in order.
    pub templates: Vec<String>,
    /// Why it is injected.
    pub decision: Decision,
    /// What the user should know.
    pub warnings: Vec<Warning>,
}

/// A pod that stays as it is.
#[derive(Clone, Debug)]
pub struct Skip {
    /// Why it is not injected.
    pub decision: Decision,
    /// What the user should know.
    pub warnings: Vec<Warning>,
}

impl Injection {
    /// The patch as the crate `json-patch` has it, read from what is sent.
    pub fn patch(&self) -> json_patch::Patch {
        // What was written as operations is read as operations.
        serde_json::from_str(&self.patch_json).unwrap_or_default()
    }

    /// The pod after the patch, all of it: with the `metadata.managedFields` of the pod as it was received.
    pub fn whole_pod(self, received: &Value) -> Value {
        let mut pod = self.pod;
        if let Some(managed) = received.pointer("/metadata/managedFields") {
            pod::metadata_mut(&mut pod).insert("managedFields".to_owned(), managed.clone());
        }
        pod
    }
}

impl Outcome {
    /// Why.
    pub fn decision(&self) -> &Decision {
        match self {
            Outcome::Injected(injection) => &injection.decision,
            Outcome::Skipped(skip) => &skip.decision,
        }
    }

    /// What the user should know.
    pub fn warnings(&self) -> &[Warning] {
        match self {
            Outcome::Injected(injection) => &injection.warnings,
            Outcome::Skipped(skip) => &skip.warnings,
        }
    }
}

/// Why a pod is not allowed. The text is for the person who created the pod; [`Refusal::diagnosis`] is for the log.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Annotations with values that are not accepted: all of them.
    #[error("{}", offences(.0))]
    Annotations(Vec<Offence>),
    /// A template that does not exist was asked for.
    #[error("annotation {annotation} asks for template {name}, which does not exist; there are {known}",
        annotation = crate::names::ANNOTATION_TEMPLATES, name = super::warning::shown(name))]
    UnknownTemplate {
        /// What was asked for.
        name: String,
        /// The templates there are, sorted.
        known: String,
    },
    /// More templates than one pod may have.
    #[error("{found} templates are asked for, at most {limit} are accepted")]
    TooManyTemplates {
        /// How many.
        found: usize,
        /// How many are accepted.
        limit: usize,
    },
    /// An annotation of an earlier injection that cannot be read.
    #[error(transparent)]
    Malformed(super::reinject::Malformed),
    /// What the pod asks for cannot be done to the merged pod.
    #[error(transparent)]
    Post(super::post::Error),
    /// The pod asks for privileges of its proxy that the configuration refuses: all of them.
    #[error("{}", privileges(.0))]
    Privileged(Vec<super::Privilege>),
    /// The effective ProxyConfig cannot be read.
    #[error("annotation proxy.istio.io/config: {0}")]
    ProxyConfig(String),
    /// A template failed for this pod.
    #[error(
        "template {name:?} cannot be rendered for this pod; whoever runs the injector finds why in its log"
    )]
    Render {
        /// The template.
        name: String,
        /// What failed, with the place in the template.
        #[source]
        source: Box<template::RenderError>,
    },
    /// A template's output is no usable overlay for this pod.
    #[error(
        "template {name:?} gives no usable overlay for this pod; whoever runs the injector finds why in its log"
    )]
    Overlay {
        /// The template.
        name: String,
        /// The line of its output where that is, and under it a caret; what comes from the pod is left out.
        snippet: String,
        /// What is wrong with it.
        #[source]
        source: crate::overlay::OverlayError,
    },
    /// A string of the pod would steer the merge.
    #[error(
        "template {name:?}: a string of the pod would become a merge directive such as \"$patch\", which only templates may write"
    )]
    Directive {
        /// The template.
        name: String,
    },
    /// A template looked at what stands for the names of several pods (`patch_cache`); nobody is told.
    #[error("template {name:?} depends on a name that the pods it is rendered for do not share")]
    StandIn {
        /// The template.
        name: String,
    },
    /// Template and pod do not merge.
    #[error("{what} cannot be merged into this pod: {source}")]
    Merge {
        /// What was merged.
        what: String,
        /// Where and why.
        #[source]
        source: merge::Error,
    },
    /// No API server could decode the pod.
    #[error("{0}")]
    Undecodable(Box<Undecodable>),
    /// The patch is larger than an API server would take.
    #[error("the patch would have more than {limit} bytes, the most that is accepted")]
    PatchTooLarge {
        /// The largest size accepted.
        limit: usize,
    },
    /// The pod is nested too deep or is not an object.
    #[error("the object is not a pod: {0}")]
    NotAPod(&'static str),
    /// The patch does not give the pod that was computed: a defect of the injector.
    #[error("internal error: the pod was not changed because its patch failed verification")]
    Unverified(#[source] patch::Error),
}

impl Refusal {
    /// Stable key, for logs, metrics and audit annotations.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Annotations(_) => "INVALID_ANNOTATION",
            Refusal::UnknownTemplate { .. } => "UNKNOWN_TEMPLATE",
            Refusal::TooManyTemplates { .. } => "TOO_MANY_TEMPLATES",
            Refusal::Malformed(_) => "MALFORMED_ANNOTATION",
            Refusal::Post(super::post::Error::PodTooSmall { .. }) => "POD_RESOURCES_TOO_SMALL",
            Refusal::Post(
                super::post::Error::SeveralContainers { .. } | super::post::Error::NameTaken { .. },
            ) => "DUPLICATE_CONTAINER",
            Refusal::Post(_) => "INVALID_PROMETHEUS",
            Refusal::Privileged(_) => "PRIVILEGED_PROXY",
            Refusal::ProxyConfig(_) => "INVALID_PROXY_CONFIG",
            Refusal::Render { .. } => "RENDER_FAILED",
            Refusal::Overlay { .. } => "OVERLAY_UNUSABLE",
            Refusal::Directive { .. } => "MERGE_DIRECTIVE",
            Refusal::StandIn { .. } => "STAND_IN",
            Refusal::Merge { .. } => "MERGE_FAILED",
            Refusal::Undecodable(_) => "UNDECODABLE",
            Refusal::PatchTooLarge { .. } => "PATCH_TOO_LARGE",
            Refusal::NotAPod(_) => "NOT_A_POD",
            Refusal::Unverified(_) => "PATCH_UNVERIFIED",
        }
    }

    /// The HTTP status the API server passes on: 400 for what the user wrote, 403 for what a policy forbids, 422 for what cannot be rendered, 500 for us.
    pub fn code(&self) -> u16 {
        match self {
            Refusal::Annotations(_)
            | Refusal::UnknownTemplate { .. }
            | Refusal::TooManyTemplates { .. }
            | Refusal::Malformed(_)
            | Refusal::Directive { .. }
            | Refusal::NotAPod(_)
            | Refusal::Post(_)
            | Refusal::ProxyConfig(_) => 400,
            Refusal::Privileged(_) => 403,
            Refusal::Undecodable(undecodable) => match undecodable.origin {
                Origin::Pod | Origin::Metadata { .. } => 400,
                Origin::Configuration { .. } => 422,
            },
            Refusal::Render { .. }
            | Refusal::Overlay { .. }
            | Refusal::Merge { .. }
            | Refusal::PatchTooLarge { .. } => 422,
            Refusal::StandIn { .. } | Refusal::Unverified(_) => 500,
        }
    }

    /// What failed and where in the configuration, with a snippet, for the log of the person who runs the injector; `None`
    /// when the text for the user says it all. Nothing of the pod but field names is in it.
    pub fn diagnosis(&self) -> Option<String> {
        match self {
            Refusal::Render { source, .. } => Some(source.to_string()),
            Refusal::Overlay { name, snippet, source } => Some(format!("template {name}: {source}{snippet}")),
            Refusal::Merge { what, source } => Some(format!("{what}: {source}")),
            Refusal::Undecodable(undecodable) => undecodable.diagnosis(),
            // Under metadata the path holds the user's own keys.
            Refusal::Unverified(patch::Error::Differs { path }) if path.starts_with("/spec") => {
                Some(format!("the patched pod differs from the wanted one at {path}"))
            }
            Refusal::Unverified(_) => Some("the patch does not give the wanted pod".to_owned()),
            _ => None,
        }
    }
}

fn privileges(asked: &[super::Privilege]) -> String {
    let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
    format!(
        "the pod asks for more than the configuration gives its proxy, which \
         sidecarInjectorWebhook.privilegedProxies: refuse forbids: {}",
        asked.join("; ")
    )
}

fn offences(offences: &[Offence]) -> String {
    let mut text =
        format!("{} invalid annotation{}", offences.len(), if offences.len() == 1 { "" } else { "s" });
    for offence in offences {
        text.push_str("; ");
        text.push_str(&offence.to_string());
    }
    text
}
