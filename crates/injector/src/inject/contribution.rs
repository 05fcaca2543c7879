//! The pod's own containers with names that the templates use: what they contribute to the result.
//!
//! Without an earlier injection, that is the whole container. A container that the status annotation attributes to an
//! injector contributes what was recorded as the user's, and everything in it that neither that record nor the
//! templates explain: the status is an annotation, which the pod's author can write, and fields that no template sets
//! survive the merge. So the result is compared with the one that the same templates and record give without the
//! container.
//!
//! Only a pod with a status annotation costs anything.

use std::{borrow::Cow, collections::HashMap};

use serde_json::{Map, Value, json};

use super::{Refusal, Unobserved, overlay, overrides, reinject::PreviousInjection};
use crate::{names, pod};

const LISTS: [&str; 2] = ["containers", "initContainers"];

/// A container of the pod's own.
#[derive(Clone, Debug)]
pub(super) struct Contribution<'a> {
    /// What it contributes.
    pub(super) container: Cow<'a, Value>,
    /// The part of it that the status annotation attributes to an injector and that no injection leaves there.
    pub(super) unexplained: Option<Value>,
}

/// A part of an injected pod, and the overlays of the templates that are merged into it.
#[derive(Debug)]
pub(super) struct Alone<'t> {
    part: Value,
    overlays: Vec<(&'t str, Value)>,
}

impl Alone<'_> {
    /// The merged pod that the templates and the record give for the part.
    ///
    /// # Errors
    /// As for the whole pod.
    pub(super) fn merged(self, native: bool, input: overrides::Input<'_>) -> Result<Value, Refusal> {
        let nobody = &mut Vec::new();
        let received = self.part.clone();
        let own = overlay::Own { pod: &received, earlier: input.earlier, quirks: input.quirks };
        let laid =
            overlay::apply_overlays(self.part, self.overlays, native, Some(own), nobody, &mut Unobserved)?;
        overrides::reapply(laid.pod, overrides::Input { received: &received, ..input }, nobody)
            .map_err(|source| Refusal::Merge { what: "the user's own proxy container".to_owned(), source })
    }
}

/// What an injected pod had before its injection, as far as the injected containers are made from it.
///
/// `None` without a status annotation.
pub(super) fn without_injected<'t>(
    before: &Value,
    earlier: &PreviousInjection,
    overlays: &[(&'t str, Value)],
) -> Option<Alone<'t>> {
    let status = earlier.status.as_ref()?;
    let mut annotations = Map::new();
    for key in [names::ANNOTATION_STATUS, names::ANNOTATION_INTERCEPTION_MODE] {
        if let Some(value) = pod::annotation(before, key) {
            annotations.insert(key.to_owned(), Value::String(value.to_owned()));
        }
    }
    let is_made = |name: &str| overlay::makes(overlays, "volumes", name);
    let volumes = pod::spec_list(before, "volumes").iter().filter_map(|volume| {
        let name = pod::name(volume);
        match status.volumes.iter().any(|injected| injected == name) {
            true => earlier.overrides.find_volume(name),
            false => Some(volume),
        }
        .filter(|_| is_made(name))
    });
    let volumes: Vec<Value> = volumes.cloned().collect();
    let part = json!({"metadata": {"annotations": annotations}, "spec": {"volumes": volumes}});
    Some(Alone { part, overlays: overlays.to_vec() })
}

/// The pod's own containers under names that the templates use, in order.
///
/// `merged` is the result of merging, before post-processing; `alone` the one without the containers that the status
/// names.
pub(super) fn contributions<'a>(
    input: overrides::Input<'a>,
    merged: &Value,
    alone: Option<&Value>,
    is_set_later: &dyn Fn(&str) -> bool,
) -> Vec<Contribution<'a>> {
    let made = [(LISTS[0], &input.made.containers), (LISTS[1], &input.made.init_containers)];
    let made = made.into_iter().flat_map(|(list, names)| names.iter().map(move |name| (list, name.as_str())));
    let mut all: Vec<Contribution<'a>> = Vec::new();
    for (list, name) in made {
        if !input.earlier.has_injected(name) {
            let own = overrides::user_container(input, list, name);
            // A container in a list other than the template's also bears the name.
            let own = own.or_else(|| pod::find_container(input.received, name));
            all.extend(own.map(|own| Contribution { container: Cow::Borrowed(own), unexplained: None }));
            continue;
        }
        let recorded = input.earlier.overrides.find(name);
        let explained = alone.and_then(|alone| pod::find_container(alone, name)).unwrap_or(&Value::Null);
        let unexplained =
            pod::find_container(merged, name).and_then(|found| unexplained(found, explained, is_set_later));
        let container = match (recorded, &unexplained) {
            (None, None) => continue,
            (Some(recorded), None) => Cow::Borrowed(recorded),
            (None, Some(more)) => Cow::Owned(named(name, more.clone())),
            (Some(recorded), Some(more)) => Cow::Owned(joined(recorded.clone(), more)),
        };
        all.push(Contribution { container, unexplained });
    }
    all
}

/// The volumes that the status attributes to an injector, and that differ from those of the templates and the record.
pub(super) fn unexplained_volumes<'m>(
    earlier: &PreviousInjection,
    merged: &'m Value,
    alone: &Value,
) -> impl Iterator<Item = &'m str> {
    let volumes = pod::spec_list(merged, "volumes").iter();
    volumes.filter_map(move |volume| {
        let name = pod::name(volume);
        let explained = pod::find(pod::spec_list(alone, "volumes"), name)?;
        (earlier.has_injected_volume(name) && difference(volume, explained).is_some()).then_some(name)
    })
}

fn named(name: &str, mut container: Value) -> Value {
    if let Some(fields) = container.as_object_mut() {
        fields.insert("name".to_owned(), Value::String(name.to_owned()));
    }
    container
}

/// Adds to a container the fields, and the items of lists, that another has.
fn joined(mut container: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().into_iter().flatten() {
        let Some(fields) = container.as_object_mut() else { break };
        match (fields.get_mut(key), value) {
            (Some(Value::Array(items)), Value::Array(more)) => items.extend(more.iter().cloned()),
            (Some(Value::Object(all)), Value::Object(more)) => {
                all.extend(more.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            _ => {
                fields.insert(key.clone(), value.clone());
            }
        }
    }
    container
}

/// The parts of a container that the expected one lacks, without those that an API server or post-processing adds.
fn unexplained(found: &Value, expected: &Value, is_set_later: &dyn Fn(&str) -> bool) -> Option<Value> {
    let mut rest = difference(found, expected)?;
    let fields = rest.as_object_mut()?;
    // These are not taken over but computed, and the policy compares the result with its bounds.
    fields.remove("resources");
    let mut retain = |list: &str, is_kept: &dyn Fn(&Value) -> bool| {
        if let Some(Value::Array(items)) = fields.get_mut(list) {
            items.retain(|item| is_kept(item));
            if items.is_empty() {
                fields.remove(list);
            }
        }
    };
    retain("env", &|variable| !is_set_later(pod::name(variable)));
    retain("volumeMounts", &|mount| !is_token(mount));
    let is_empty = fields.keys().all(|key| key == "name");
    (!is_empty).then_some(rest)
}

/// The mount that admission adds to every container (`mountServiceAccountToken`).
fn is_token(mount: &Value) -> bool {
    mount.get("mountPath").and_then(Value::as_str) == Some(names::TOKEN_MOUNT_PATH)
        && pod::name(mount).starts_with(names::TOKEN_VOLUME)
}

/// The keys that tell items of a list apart, as in a strategic merge; items of other lists are compared in order.
const KEYS: [(&str, &str); 4] = [
    ("env", "name"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("ports", "containerPort"),
];

/// The maximum number of expected items of one key, such as a port of several protocols, with which an item is
/// compared.
const MOST_OF_A_KEY: usize = 16;

/// The parts of `found` that differ from `expected`; `None` if there are none.
fn difference(found: &Value, expected: &Value) -> Option<Value> {
    match (found, expected) {
        (Value::Object(found), expected) => {
            let rest = found.iter().filter_map(|(key, value)| {
                let rest = match (value, expected.get(key)) {
                    (_, None) if is_default(key, value) => None,
                    (Value::Array(items), Some(Value::Array(expected))) => {
                        match KEYS.iter().find(|(list, _)| list == key) {
                            Some((_, key)) => of_keyed(items, expected, key),
                            None => of_ordered(items, expected),
                        }
                    }
                    (value, expected) => difference(value, expected.unwrap_or(&Value::Null)),
                }?;
                Some((key.clone(), rest))
            });
            let rest: Map<String, Value> = rest.collect();
            (!rest.is_empty()).then_some(Value::Object(rest))
        }
        (Value::Null, _) => None,
        (found, expected) => (found != expected).then(|| found.clone()),
    }
}

/// The items of a list that differ from every expected item with the same key. The time is linear in both lists, which
/// may be very long in a hostile pod: an item is compared with the first few of its key, and differs from the rest.
fn of_keyed(found: &[Value], expected: &[Value], key: &str) -> Option<Value> {
    let mut by_key: HashMap<Option<&Value>, Vec<&Value>> = HashMap::new();
    for item in expected {
        let same = by_key.entry(item.get(key)).or_default();
        if same.len() < MOST_OF_A_KEY {
            same.push(item);
        }
    }
    let is_expected = |item: &&Value| {
        let same = by_key.get(&item.get(key)).into_iter().flatten();
        same.into_iter().any(|other| difference(item, other).is_none())
    };
    let rest: Vec<Value> = found.iter().filter(|item| !is_expected(item)).cloned().collect();
    (!rest.is_empty()).then_some(Value::Array(rest))
}

fn of_ordered(found: &[Value], expected: &[Value]) -> Option<Value> {
    let is_same = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| difference(found, expected).is_none());
    (!is_same).then(|| Value::Array(found.to_vec()))
}

/// Whether a value is what an API server writes into a container or volume without one (`SetDefaults_Container`,
/// `SetDefaults_Probe`, `SetDefaults_ObjectFieldSelector` and the like), or means nothing.
fn is_default(key: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.iter().all(|(key, value)| is_default(key, value)),
        Value::Array(items) => items.is_empty(),
        Value::Number(number) => matches!(
            (key, number.as_i64()),
            ("timeoutSeconds" | "successThreshold", Some(1))
                | ("periodSeconds", Some(10))
                | ("failureThreshold", Some(3))
                | ("expirationSeconds", Some(3600))
                | ("defaultMode", Some(420))
        ),
        Value::String(text) => matches!(
            (key, text.as_str()),
            (_, "")
                | ("terminationMessagePath", "/dev/termination-log")
                | ("terminationMessagePolicy", "File")
                | ("imagePullPolicy", "Always" | "IfNotPresent")
                | ("protocol", "TCP")
                | ("scheme", "HTTP")
                | ("apiVersion", "v1")
                | ("divisor", "0")
                | ("procMount", "Default")
        ),
        Value::Bool(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(of: impl Iterator<Item = Value>) -> Vec<Value> {
        of.collect()
    }

    #[test]
    fn items_with_a_key_are_compared_with_each_of_that_key() {
        let port = |port: u16, protocol: &str| json!({"containerPort": port, "protocol": protocol});
        let expected = [port(53, "UDP"), port(53, "SCTP"), json!({"protocol": "UDP"})];
        let same = [port(53, "SCTP"), port(53, "UDP"), json!({"protocol": "UDP"})];
        assert_eq!(of_keyed(&same, &expected, "containerPort"), None);
        // The default protocol is not expected of the port, nor is another port.
        let other = [port(53, "UDP"), port(53, "TCP"), port(54, "UDP"), json!({"protocol": "SCTP"})];
        let rest = json!([port(53, "TCP"), port(54, "UDP"), {"protocol": "SCTP"}]);
        assert_eq!(of_keyed(&other, &expected, "containerPort"), Some(rest));
    }

    // I-08, I-10: a comparison of all pairs would take hours.
    #[test]
    fn long_lists_are_gone_through_once() {
        const MANY: usize = 100_000;
        let variables =
            |value: &str| list((0..MANY).map(|n| json!({"name": format!("V{n}"), "value": value})));
        assert_eq!(of_keyed(&variables("x"), &variables("x"), "name"), None);
        let all = of_keyed(&variables("x"), &variables("y"), "name").unwrap();
        assert_eq!(all.as_array().map(Vec::len), Some(MANY));
        let same =
            |value: fn(usize) -> String| list((0..MANY).map(|n| json!({"name": "V", "value": value(n)})));
        let more = of_keyed(&same(|n| n.to_string()), &same(|n| n.to_string()), "name").unwrap();
        assert_eq!(more.as_array().map(Vec::len), Some(MANY - MOST_OF_A_KEY));
    }
}
