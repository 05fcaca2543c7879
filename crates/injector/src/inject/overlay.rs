//! Merges the overlays of the templates into a pod. The content of the overlays is moved into the pod, since nothing
//! needs it afterward.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    observer::{Observer, Stage},
    outcome::Refusal,
    reinject::PreviousInjection,
    template_containers::TemplateContainers,
};
use crate::{
    gotypes::{OBJECT_META, POD_SPEC},
    names, pod,
    quirks::{Quirk, Quirks},
    unions,
    warning::{Warning, shown},
};
use gotemplate::gotypes::Kind;
use strategic_merge::merge::{self, Directives};

/// Input for letting a pod's own choices win over the templates', which they do to a lesser degree in Istio.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own<'a> {
    /// The pod before the merge.
    pub(super) pod: &'a Value,
    /// What an earlier injection left in it.
    pub(super) earlier: &'a PreviousInjection,
    /// The behaviors of Istio that are kept.
    pub(super) quirks: Quirks,
}

impl Own<'_> {
    fn keeps(self, quirk: Quirk) -> bool {
        self.quirks.contains(quirk)
    }
}

/// The result of merging overlays into a pod.
#[derive(Debug)]
pub(super) struct Applied {
    /// What the templates alone create: the overlays merged into an empty pod.
    pub(super) made: TemplateContainers,
    /// The merged pod.
    pub(super) pod: Value,
    /// The user's own volumes that replaced a template's, in their original form.
    pub(super) volumes: Vec<Value>,
}

/// Merges overlays into a pod.
///
/// With native sidecars, the template has the proxy among the init containers, but a user's customization of it may be
/// in `containers`: it is moved first, so that the two are merged. The same applies to containers that an earlier
/// injection placed elsewhere.
pub(super) fn apply_overlays(
    mut pod: Value,
    mut overlays: Vec<(&str, Value)>,
    native: bool,
    own: Option<Own<'_>>,
    warnings: &mut Vec<Warning>,
    observer: &mut impl Observer,
) -> Result<Applied, Refusal> {
    let mut volumes = Vec::new();
    if let Some(own) = own {
        if !own.keeps(Quirk::TreatMovedProxyAsUsers) {
            own.earlier.make_room(&mut pod, |list, name| makes(&overlays, list, name));
        }
        if !own.keeps(Quirk::DuplicateProxyOfUser) && makes(&overlays, "containers", names::CONTAINER_PROXY) {
            make_ordinary(&mut pod);
        }
        for (_, overlay) in &mut overlays {
            if !own.keeps(Quirk::RemoveFieldsLeftEmpty) {
                keep_what_is_left_empty(overlay);
            }
            if !own.keeps(Quirk::DuplicateVariables) {
                keep_last_variables(overlay);
            }
            if !own.keeps(Quirk::MergeExclusiveFields) {
                unions::give_way_outside_lists(overlay, own.pod);
            }
            keep_volumes(overlay, own, &mut volumes, warnings);
        }
    }
    // Merging into an empty pod leaves a single overlay unchanged.
    let mut alone = match overlays.as_slice() {
        [(_, overlay)] => TemplateContainers::of_overlay(overlay).ok_or(json!({})),
        _ => Err(json!({})),
    };
    for (name, overlay) in overlays {
        let refused = |source| Refusal::Merge { what: format!("template {name:?}"), source };
        if let Err(template_pod) = &mut alone {
            *template_pod = merge::pod(template_pod.take(), &overlay, Directives::Honor).map_err(refused)?;
        }
        let makes_native = || match &alone {
            Ok(made) => made.init_containers.iter().any(|name| name == names::CONTAINER_PROXY),
            Err(pod) => pod::find(pod::init_containers(pod), names::CONTAINER_PROXY).is_some(),
        };
        if native && makes_native() {
            make_native(&mut pod);
        }
        if own.is_some_and(|own| !own.keeps(Quirk::MergeExclusiveFields)) {
            // The user's remaining choices are merged over the result; everything else comes from an earlier template.
            unions::give_way(&mut pod, &overlay);
        }
        pod = merge::merge_owned(pod, overlay, Directives::Honor).map_err(refused)?;
        observer.after(Stage::Template(name), &pod);
    }
    Ok(Applied {
        made: alone.unwrap_or_else(|template_pod| TemplateContainers::of(&template_pod)),
        pod,
        volumes,
    })
}

/// Whether an overlay has a container with that name in that list.
pub(super) fn makes(overlays: &[(&str, Value)], list: &str, name: &str) -> bool {
    overlays.iter().any(|(_, overlay)| pod::find(pod::spec_list(overlay, list), name).is_some())
}

/// Removes what a template has left empty: an object, map or list of the pod with nothing in it has no meaning, for
/// example after a loop over nothing. In Istio, it deletes the user's own value, up to all of `spec` and `metadata`.
fn keep_what_is_left_empty(overlay: &mut Value) {
    for (key, ty) in [("spec", &POD_SPEC), ("metadata", &OBJECT_META)] {
        let is_empty = |value: &Value| value.is_null() || value.as_str().is_some_and(str::is_empty);
        if let Some(overlay) = overlay.as_object_mut()
            && overlay.get(key).is_some_and(is_empty)
        {
            overlay.remove(key);
        }
        let Some(Value::Object(fields)) = overlay.get_mut(key) else { continue };
        fields.retain(|key, value| {
            let is_empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            !is_empty || ty.field_by_json(key).is_none_or(|field| !is_composite(&field.kind))
        });
    }
}

fn is_composite(kind: &Kind) -> bool {
    matches!(kind, Kind::List(_) | Kind::Map(_)) || kind.message().is_some()
}

/// Keeps one variable of each name in a container: the last one, which is the one a kubelet uses, in the position of
/// the first.
fn keep_last_variables(overlay: &mut Value) {
    for list in ["containers", "initContainers"] {
        let Some(containers) = overlay.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut)
        else {
            continue;
        };
        for container in containers {
            if let Some(env) = container.get_mut("env").and_then(Value::as_array_mut) {
                keep_last(env);
            }
        }
    }
}

fn keep_last(env: &mut Vec<Value>) {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut moves = Vec::new();
    for (from, variable) in env.iter().enumerate() {
        let is_data = variable.as_object().is_some_and(|variable| !merge::is_directed(variable));
        let Some(name) = variable.get("name").and_then(Value::as_str).filter(|_| is_data) else { continue };
        match places.get(name) {
            Some(to) => moves.push((from, *to)),
            None => {
                places.insert(name, from);
            }
        }
    }
    for (from, to) in &moves {
        if let Some(last) = env.get_mut(*from).map(Value::take)
            && let Some(place) = env.get_mut(*to)
        {
            *place = last;
        }
    }
    if !moves.is_empty() {
        let gone: Vec<usize> = moves.into_iter().map(|(from, _)| from).collect();
        let mut place = 0;
        env.retain(|_| {
            place += 1;
            gone.binary_search(&(place - 1)).is_err()
        });
    }
}

/// The source of a volume that names none (`SetDefaults_Volume`).
const EMPTY: &str = "emptyDir";

/// Removes volumes of an overlay for which the user has a volume of the same name. A volume that an earlier injection
/// created is not the user's, unless one was recorded.
fn keep_volumes(overlay: &mut Value, own: Own<'_>, kept: &mut Vec<Value>, warnings: &mut Vec<Warning>) {
    let Some(Value::Array(volumes)) = overlay.pointer_mut("/spec/volumes") else { return };
    let theirs = pod::spec_list(own.pod, "volumes");
    for volume in volumes {
        if !own.keeps(Quirk::RemoveVolumeSourcesLeftEmpty) {
            unions::forget_null_sources(volume);
        }
        if theirs.is_empty() || own.keeps(Quirk::MergeExclusiveFields) {
            continue;
        }
        let name = pod::name(volume).to_owned();
        let own = match own.earlier.has_injected_volume(&name) {
            true => own.earlier.overrides.find_volume(&name),
            false => pod::find(theirs, &name),
        };
        let Some(own) = own else { continue };
        let source = unions::volume_source(volume);
        let given_way = unions::volume_gives_way(volume, own);
        // A volume without a source is an emptyDir.
        let given_way = match (given_way, unions::volume_source(own)) {
            (None, Some(taken)) if source.is_none() && taken != EMPTY => Some((EMPTY, taken)),
            (given_way, _) => given_way,
        };
        let has_options = source.is_none() && own.get(EMPTY).is_some_and(|options| *options != json!({}));
        if (given_way.is_none() && !has_options) || kept.contains(own) {
            continue;
        }
        kept.push(own.clone());
        if let Some((given, taken)) = given_way {
            let message =
                format!("volume {}: the pod's own {taken} replaces the template's {given}", shown(&name));
            warnings.push(Warning::new("OWN_VOLUME", message));
        }
    }
}

/// Moves the proxy of every overlay to the list in which the first of them has it. A template that tunes the proxy need
/// not know whether it is a native sidecar; in Istio, the pod gets a second container of that name.
pub(super) fn keep_one_proxy(overlays: &mut [(&str, Value)]) {
    const LISTS: [&str; 2] = ["containers", "initContainers"];
    let has = |overlay: &Value, list: &str| {
        pod::find(pod::spec_list(overlay, list), names::CONTAINER_PROXY).is_some()
    };
    let first = overlays.iter().find_map(|(_, overlay)| LISTS.into_iter().find(|list| has(overlay, list)));
    let Some(home) = first else { return };
    for (_, overlay) in overlays {
        for away in LISTS.into_iter().filter(|list| *list != home) {
            if !has(overlay, away) || has(overlay, home) {
                continue;
            }
            let list = pod::spec_list_mut(overlay, away);
            let Some(index) = list.iter().position(|item| pod::name(item) == names::CONTAINER_PROXY) else {
                continue;
            };
            let mut proxy = list.remove(index);
            if let Some(proxy) = proxy.as_object_mut() {
                // This field turns an init container into a sidecar; an ordinary container may not have it, and a
                // sidecar already has it.
                proxy.remove("restartPolicy");
            }
            pod::spec_list_mut(overlay, home).push(proxy);
        }
    }
}

/// Moves the first proxy of `containers` to the end of `initContainers`.
fn make_native(pod: &mut Value) {
    let proxy =
        pod::containers(pod).iter().position(|container| pod::name(container) == names::CONTAINER_PROXY);
    if let Some(index) = proxy {
        let proxy = pod::containers_mut(pod).remove(index);
        pod::init_containers_mut(pod).push(proxy);
    }
}

/// Moves a user's customization of the proxy to `containers`, where the templates have it, and removes the field that
/// would make it a sidecar.
fn make_ordinary(pod: &mut Value) {
    let is_proxy = |container: &Value| pod::name(container) == names::CONTAINER_PROXY;
    if pod::containers(pod).iter().any(is_proxy) {
        return;
    }
    let Some(index) = pod::init_containers(pod).iter().position(is_proxy) else { return };
    let mut proxy = pod::init_containers_mut(pod).remove(index);
    if let Some(proxy) = proxy.as_object_mut() {
        proxy.remove("restartPolicy");
    }
    pod::containers_mut(pod).push(proxy);
}
