//! The names of what the templates create: the containers, volumes and pull secrets of a pod consisting only of their
//! output.

use serde_json::Value;

use crate::pod;
use strategic_merge::merge;

/// Names of what the templates create, in order. Elements without a name are included with an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemplateContainers {
    /// In `spec.containers`.
    pub containers: Vec<String>,
    /// In `spec.initContainers`.
    pub init_containers: Vec<String>,
    /// In `spec.volumes`.
    pub volumes: Vec<String>,
    /// In `spec.imagePullSecrets`.
    pub image_pull_secrets: Vec<String>,
}

impl TemplateContainers {
    /// The names in a pod that consists only of template output.
    pub fn of(pod: &Value) -> TemplateContainers {
        let names =
            |list: &str| pod::spec_list(pod, list).iter().map(|item| pod::name(item).to_owned()).collect();
        TemplateContainers {
            containers: names("containers"),
            init_containers: names("initContainers"),
            volumes: names("volumes"),
            image_pull_secrets: names("imagePullSecrets"),
        }
    }

    /// The names in an overlay, unless a directive affects them.
    pub(super) fn of_overlay(overlay: &Value) -> Option<TemplateContainers> {
        let has_directives = |value: &Value| value.as_object().is_some_and(merge::has_directives);
        let lists = ["containers", "initContainers", "volumes", "imagePullSecrets"];
        let mut objects = [Some(overlay), overlay.get("spec")].into_iter().flatten();
        let mut items = lists.iter().flat_map(|list| pod::spec_list(overlay, list));
        if objects.any(has_directives) || items.any(has_directives) {
            return None;
        }
        Some(TemplateContainers::of(overlay))
    }
}
