//! Lets a pod that is deleted wait before it ends: a `preStop` hook that sleeps, if the pod or the values ask for it.
//!
//! An application that closes its port at once loses the requests of every client that does not know yet that the
//! endpoint is gone. No proxy can hide that; only time before the signal helps. Containers with a `preStop` hook of
//! their own keep it. An ordinary proxy sleeps as long as the application, so that it does not end first; a native one
//! ends after the application anyway. Init containers and native sidecars need no hook: a kubelet ends them last.

use serde_json::{Map, Value, json};

use super::{Error, PostContext};
use crate::{codes::keys, names, pod, quirks::Quirk, warning::Warning};

const LIFECYCLE: &str = "lifecycle";
const PRE_STOP: &str = "preStop";
const SLEEP: &str = "sleep";

/// The grace period of a pod that names none (`DefaultTerminationGracePeriodSeconds`).
const DEFAULT_GRACE: i64 = 30;

/// Adds the hook to the application's containers, and to an ordinary proxy.
pub(super) fn sleep(
    pod: &mut Value,
    context: &PostContext<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<(), Error> {
    if context.keeps(Quirk::LeavePreStopToUsers) {
        return Ok(());
    }
    let own =
        pod::annotation(context.received, names::ANNOTATION_PRE_STOP_SLEEP).filter(|own| !own.is_empty());
    // Both were validated before.
    let seconds = match own {
        Some(own) => own.parse().unwrap_or_default(),
        None => configured(context.values),
    };
    if seconds == 0 {
        return Ok(());
    }
    let grace = pod::at(pod, &["spec", "terminationGracePeriodSeconds"]).and_then(Value::as_i64);
    let grace = grace.unwrap_or(DEFAULT_GRACE);
    // An API server rejects a sleep beyond the grace period; one as long as it would leave no time to end.
    if seconds >= grace {
        if own.is_some() {
            return Err(Error::SleepTooLong { seconds, grace });
        }
        let message = format!(
            "preStopSleepSeconds {seconds} leaves nothing of terminationGracePeriodSeconds {grace}; no hook is added"
        );
        warnings.push(Warning::new(keys::PRE_STOP_SLEEP_TOO_LONG, message));
        return Ok(());
    }
    for container in pod::spec_list_mut(pod, "containers") {
        if is_eligible(container, context) {
            add(container, seconds);
        }
    }
    Ok(())
}

/// The mesh-wide default; 0 adds no hook.
fn configured(values: &Value) -> i64 {
    let value = pod::at(values, &["sidecarInjectorWebhook", "preStopSleepSeconds"]);
    // As protobuf's JSON reads a `uint32`: see `Shape::Uint32`.
    let number = |value: &Value| match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_i64().or_else(|| value.as_f64().map(|number| number as i64)),
    };
    value.and_then(number).unwrap_or_default()
}

/// Whether a container is the proxy, or one that the user wrote, even if a template extends it.
fn is_eligible(container: &Value, context: &PostContext<'_>) -> bool {
    let name = pod::name(container);
    let is_users = || match context.earlier.has_injected(name) {
        true => context.earlier.overrides.find(name).is_some(),
        false => pod::find(pod::containers(context.received), name).is_some(),
    };
    name == names::CONTAINER_PROXY || is_users()
}

fn add(container: &mut Value, seconds: i64) {
    let Some(container) = container.as_object_mut() else { return };
    let lifecycle = container.entry(LIFECYCLE).or_insert(Value::Null);
    if lifecycle.is_null() {
        *lifecycle = Value::Object(Map::new());
    }
    let Some(lifecycle) = lifecycle.as_object_mut() else { return };
    if lifecycle.get(PRE_STOP).is_none_or(Value::is_null) {
        lifecycle.insert(PRE_STOP.to_owned(), json!({SLEEP: {"seconds": seconds}}));
    }
}

/// The containers that have a sleep that the received pod's do not have, for the status annotation.
pub(super) fn added<'a>(pod: &'a Value, context: &PostContext<'_>) -> Vec<&'a str> {
    if context.keeps(Quirk::LeavePreStopToUsers) {
        return Vec::new();
    }
    let had = |name: &str| pod::find(pod::containers(context.received), name).is_some_and(sleeps);
    let slept = pod::containers(pod).iter().filter(|container| sleeps(container)).map(pod::name);
    let mut names: Vec<&str> = slept.filter(|name| !had(name)).collect();
    // The order of the containers is not final here.
    names.sort_unstable();
    names
}

/// Whether a container has a `preStop` hook that sleeps and does nothing else.
fn sleeps(container: &Value) -> bool {
    let hook = pod::at(container, &[LIFECYCLE, PRE_STOP]).and_then(Value::as_object);
    hook.is_some_and(|hook| hook.len() == 1 && hook.contains_key(SLEEP))
}

/// Removes the hooks that an earlier injection added to these containers; returns whether there were any.
pub(in crate::inject) fn remove(pod: &mut Value, added: &[String]) -> bool {
    let mut removed = false;
    if added.is_empty() {
        return removed;
    }
    for container in pod::spec_list_mut(pod, "containers") {
        if !sleeps(container) || !added.iter().any(|name| name == pod::name(container)) {
            continue;
        }
        let Some(container) = container.as_object_mut() else { continue };
        if let Some(lifecycle) = container.get_mut(LIFECYCLE).and_then(Value::as_object_mut) {
            lifecycle.remove(PRE_STOP);
            if lifecycle.is_empty() {
                container.remove(LIFECYCLE);
            }
            removed = true;
        }
    }
    removed
}

#[cfg(test)]
mod tests;
