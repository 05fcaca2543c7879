//! Laying what templates rendered over a pod. What is found in the overlays is moved into the pod: nobody needs it afterwards.

use serde_json::{Value, json};

use super::{made::Made, outcome::Refusal, reinject::Earlier};
use crate::{
    merge::{self, Directives},
    names, pod,
};

/// The pod with the overlays laid over it, and what the templates alone make: the overlays laid over an empty pod.
///
/// With native sidecars the template has the proxy among the init containers, but a user's customisation of it may stand
/// in `containers`: it moves first, so that the two meet. So does what an earlier injection put elsewhere.
pub(super) fn lay_over(
    mut pod: Value,
    overlays: Vec<(&str, Value)>,
    native: bool,
    earlier: Option<&Earlier>,
) -> Result<(Made, Value), Refusal> {
    if let Some(earlier) = earlier {
        earlier.make_room(&mut pod, |list, name| {
            overlays.iter().any(|(_, overlay)| pod::find(pod::spec_list(overlay, list), name).is_some())
        });
    }
    // Over an empty pod one overlay comes out as it is.
    let mut alone = match overlays.as_slice() {
        [(_, overlay)] => Made::of_overlay(overlay).ok_or(json!({})),
        _ => Err(json!({})),
    };
    for (name, overlay) in overlays {
        let refused = |source| Refusal::Merge { what: format!("template {name:?}"), source };
        if let Err(template_pod) = &mut alone {
            *template_pod = merge::pod(template_pod.take(), &overlay, Directives::Honour).map_err(refused)?;
        }
        let makes_native = || match &alone {
            Ok(made) => made.init_containers.iter().any(|name| name == names::CONTAINER_PROXY),
            Err(pod) => pod::find(pod::init_containers(pod), names::CONTAINER_PROXY).is_some(),
        };
        if native && makes_native() {
            make_native(&mut pod);
        }
        pod = merge::pod_taking(pod, overlay, Directives::Honour).map_err(refused)?;
    }
    Ok((alone.unwrap_or_else(|template_pod| Made::of(&template_pod)), pod))
}

/// Gives every overlay the proxy in the list where the first of them has it. A template that tunes the proxy need not know
/// whether it is a native sidecar; in Istio the pod gets a second container of that name.
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
                // What makes an init container a sidecar; an ordinary container may not have it, a sidecar has it already.
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
