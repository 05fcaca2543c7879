//! The outcome of a request: a patch, a skip with its reason, or a denial written for the user of kubectl.

use serde_json::Value;

use super::{
    decision::Decision,
    undecodable::{Origin, Undecodable},
};
use crate::{annotation::Violation, codes::keys, pod, warning::Warning};
use gotemplate::{self as template, StandIns};
use strategic_merge::{merge, patch};

mod policy_violation;
mod post_error;
mod privilege;

pub use policy_violation::PolicyViolation;
pub use post_error::PostError;
pub use privilege::Privilege;

/// The outcome for a pod that is allowed.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The pod gets a proxy.
    Injected(Box<Injection>),
    /// The pod is unchanged.
    Skipped(Skip),
}

/// A pod that gets a proxy.
#[derive(Clone, Debug)]
pub struct Injection {
    /// The number of operations in the patch.
    pub operations: usize,
    /// The patch as sent: RFC 6902, against the pod as received; verified to result in `pod`.
    pub patch_json: String,
    /// The pod after the patch, without `metadata.managedFields`, which no patch changes: see [`Injection::whole_pod`].
    pub pod: Value,
    /// The templates that were rendered, in order.
    pub templates: Vec<String>,
    /// The reason for the injection.
    pub decision: Decision,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
}

/// A pod that is left unchanged.
#[derive(Clone, Debug)]
pub struct Skip {
    /// The reason for the skip.
    pub decision: Decision,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
}

impl Injection {
    /// The patch as the crate `json-patch` represents it, parsed from the text that is sent.
    pub fn patch(&self) -> json_patch::Patch {
        // Serialized operations can always be parsed.
        serde_json::from_str(&self.patch_json).unwrap_or_default()
    }

    /// The complete pod after the patch: with the `metadata.managedFields` of the received pod.
    pub fn whole_pod(self, received: &Value) -> Value {
        let mut pod = self.pod;
        if let Some(managed) = received.pointer("/metadata/managedFields") {
            pod::metadata_mut(&mut pod).insert("managedFields".to_owned(), managed.clone());
        }
        pod
    }
}

impl Outcome {
    /// The decision.
    pub fn decision(&self) -> &Decision {
        match self {
            Outcome::Injected(injection) => &injection.decision,
            Outcome::Skipped(skip) => &skip.decision,
        }
    }

    /// Warnings for the user.
    pub fn warnings(&self) -> &[Warning] {
        match self {
            Outcome::Injected(injection) => &injection.warnings,
            Outcome::Skipped(skip) => &skip.warnings,
        }
    }
}

/// Why a pod is denied. The text is for the user who created the pod; [`Refusal::diagnosis`] is for the log.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// All annotations with invalid values.
    #[error("{}", invalid(.0))]
    Annotations(Vec<Violation>),
    /// Annotations with invalid values that the pod's namespace, or the configuration, gives it.
    #[error("{source_name}: {}", invalid(violations))]
    Defaults {
        /// Their source.
        source_name: String,
        /// The annotations.
        violations: Vec<Violation>,
    },
    /// A requested template does not exist.
    #[error("annotation {annotation} requests template {name}, which does not exist; known templates: {known}",
        annotation = crate::names::ANNOTATION_TEMPLATES, name = crate::warning::shown(name))]
    UnknownTemplate {
        /// The requested name.
        name: String,
        /// The existing templates, sorted.
        known: String,
    },
    /// More templates than allowed for one pod.
    #[error("{found} templates are requested; the limit is {limit}")]
    TooManyTemplates {
        /// The number requested.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// An annotation of an earlier injection that cannot be parsed.
    #[error(transparent)]
    Malformed(super::reinject::Malformed),
    /// A request of the pod that cannot be applied to the merged pod.
    #[error(transparent)]
    Post(PostError),
    /// All privileges that the pod requests for its proxy and that the configuration forbids.
    #[error("{}", privileges(.0))]
    Privileged(Vec<Privilege>),
    /// The override policy forbids what the pod changes.
    #[error("{}", overrides(.0))]
    Overrides(Vec<PolicyViolation>),
    /// The Pod Security level of the namespace forbids what injection adds, and the configuration denies such pods.
    #[error("{}", super::preflight::refusal(.level, .subjects))]
    PodSecurity {
        /// The level and its version.
        level: String,
        /// Each container, or volume, with its fields and the setting that avoids them.
        subjects: Vec<String>,
    },
    /// The expression of a rule cannot be evaluated for the pod, so that nothing can be decided about it.
    #[error("rule {rule} cannot be evaluated for this pod: {reason}")]
    RuleFailed {
        /// The rule.
        rule: String,
        /// The cause.
        reason: String,
    },
    /// The effective ProxyConfig cannot be parsed.
    #[error("annotation proxy.istio.io/config: {0}")]
    ProxyConfig(String),
    /// A template failed for this pod.
    #[error("template {name:?} cannot be rendered for this pod; see the injector's log for the cause")]
    Render {
        /// The template.
        name: String,
        /// The cause, with the place in the template.
        #[source]
        source: Box<template::RenderError>,
    },
    /// The output of a template is not a usable overlay for this pod.
    #[error("template {name:?} gives no usable overlay for this pod; see the injector's log for the cause")]
    Overlay {
        /// The template.
        name: String,
        /// The relevant line of its output, with a caret below; text from the pod is omitted.
        snippet: String,
        /// The problem.
        #[source]
        source: crate::overlay::OverlayError,
    },
    /// A string from the pod would direct the merge.
    #[error(
        "template {name:?}: a string from the pod would become a merge directive such as \"$patch\", which only templates may write"
    )]
    Directive {
        /// The template.
        name: String,
    },
    /// A template depends on text that stands for the names of several pods (`patch_cache`); never shown to users.
    #[error("template {name:?} depends on a name that differs between the pods it is rendered for")]
    StandIn {
        /// The template.
        name: String,
        /// Which ones it depends on.
        stand_ins: StandIns,
    },
    /// Template and pod cannot be merged.
    #[error("{what} cannot be merged into this pod: {source}")]
    Merge {
        /// What was being merged.
        what: String,
        /// The place and the cause.
        #[source]
        source: merge::Error,
    },
    /// No API server could decode the pod.
    #[error("{0}")]
    Undecodable(Box<Undecodable>),
    /// The patch is larger than an API server would accept.
    #[error("the patch would exceed the limit of {limit} bytes")]
    PatchTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The pod is nested too deeply or is not an object.
    #[error("the object is not a pod: {0}")]
    NotAPod(&'static str),
    /// The patch does not result in the computed pod: a bug in the injector.
    #[error("internal error: the pod was not changed because its patch failed verification")]
    Unverified(#[source] patch::Error),
}

impl Refusal {
    /// Stable key, for logs, metrics and audit annotations.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Annotations(_) | Refusal::Defaults { .. } => keys::INVALID_ANNOTATION,
            Refusal::UnknownTemplate { .. } => keys::UNKNOWN_TEMPLATE,
            Refusal::TooManyTemplates { .. } => keys::TOO_MANY_TEMPLATES,
            Refusal::Malformed(_) => keys::MALFORMED_ANNOTATION,
            Refusal::Post(PostError::PodTooSmall { .. }) => keys::POD_RESOURCES_TOO_SMALL,
            Refusal::Post(PostError::SeveralContainers { .. } | PostError::NameTaken { .. }) => {
                keys::DUPLICATE_CONTAINER
            }
            Refusal::Post(PostError::SleepTooLong { .. }) => keys::INVALID_ANNOTATION,
            Refusal::Post(_) => keys::INVALID_PROMETHEUS,
            Refusal::Privileged(_) => keys::PRIVILEGED_PROXY,
            Refusal::Overrides(_) => keys::OVERRIDE_DENIED,
            Refusal::PodSecurity { .. } => keys::POD_SECURITY_VIOLATED,
            Refusal::RuleFailed { .. } => keys::RULE_FAILED,
            Refusal::ProxyConfig(_) => keys::INVALID_PROXY_CONFIG,
            Refusal::Render { .. } => keys::RENDER_FAILED,
            Refusal::Overlay { .. } => keys::OVERLAY_UNUSABLE,
            Refusal::Directive { .. } => keys::MERGE_DIRECTIVE,
            Refusal::StandIn { .. } => keys::STAND_IN,
            Refusal::Merge { .. } => keys::MERGE_FAILED,
            Refusal::Undecodable(_) => keys::UNDECODABLE,
            Refusal::PatchTooLarge { .. } => keys::PATCH_TOO_LARGE,
            Refusal::NotAPod(_) => keys::NOT_A_POD,
            Refusal::Unverified(_) => keys::PATCH_UNVERIFIED,
        }
    }

    /// The HTTP status that the API server passes on: 400 for user input, 403 for policies, 422 for failed rendering,
    /// 500 for our own errors.
    pub fn code(&self) -> u16 {
        match self {
            Refusal::Annotations(_)
            | Refusal::Defaults { .. }
            | Refusal::UnknownTemplate { .. }
            | Refusal::TooManyTemplates { .. }
            | Refusal::Malformed(_)
            | Refusal::Directive { .. }
            | Refusal::NotAPod(_)
            | Refusal::Post(_)
            | Refusal::ProxyConfig(_) => 400,
            Refusal::Privileged(_) | Refusal::Overrides(_) | Refusal::PodSecurity { .. } => 403,
            Refusal::Undecodable(undecodable) => match undecodable.origin {
                Origin::Pod | Origin::Metadata { .. } => 400,
                Origin::Configuration { .. } => 422,
            },
            Refusal::RuleFailed { .. }
            | Refusal::Render { .. }
            | Refusal::Overlay { .. }
            | Refusal::Merge { .. }
            | Refusal::PatchTooLarge { .. } => 422,
            Refusal::StandIn { .. } | Refusal::Unverified(_) => 500,
        }
    }

    /// The cause and its place in the configuration, with a snippet, for the injector's log; `None` if the text for the
    /// user is complete. Contains nothing of the pod but field names.
    pub fn diagnosis(&self) -> Option<String> {
        match self {
            Refusal::Render { source, .. } => Some(source.to_string()),
            Refusal::Overlay { name, snippet, source } => Some(format!("template {name}: {source}{snippet}")),
            Refusal::Merge { what, source } => Some(format!("{what}: {source}")),
            Refusal::Undecodable(undecodable) => undecodable.diagnosis(),
            // Below metadata, the path contains the user's own keys.
            Refusal::Unverified(patch::Error::Differs { path }) if path.starts_with("/spec") => {
                Some(format!("the patched pod differs from the expected one at {path}"))
            }
            Refusal::Unverified(_) => Some("the patch does not result in the expected pod".to_owned()),
            _ => None,
        }
    }
}

fn overrides(violations: &[PolicyViolation]) -> String {
    let all: Vec<String> = violations.iter().map(ToString::to_string).collect();
    format!("the override policy forbids this pod: {}", all.join("; "))
}

fn privileges(asked: &[Privilege]) -> String {
    let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
    format!(
        "the pod requests more privileges for its proxy than the configuration grants, which \
         sidecarInjectorWebhook.privilegedProxies: refuse forbids: {}",
        asked.join("; ")
    )
}

fn invalid(violations: &[Violation]) -> String {
    let mut text =
        format!("{} invalid annotation{}", violations.len(), if violations.len() == 1 { "" } else { "s" });
    for violation in violations {
        text.push_str("; ");
        text.push_str(&violation.to_string());
    }
    text
}
