//! Strategic merge against apimachinery's: pods and patches that share names, with every directive.

use outrigger::merge::{self, Directives};
use serde_json::{Map, Value, json};

use crate::{Fate, generators::typed, oracle, random::Random};

pub(super) fn check(bytes: &[u8]) -> Fate {
    let mut random = Random::new(bytes);
    let original = document(&mut random, false);
    let patch = document(&mut random, true);
    let ours = merge::pod(original.clone(), &patch, Directives::Honor);
    // User data obeys no directive, and none of it causes a panic.
    let _ = merge::pod(original.clone(), &patch, Directives::Literal);
    if let Ok(merged) = &ours {
        assert!(!has_directive(merged), "a directive got through: {original} {patch} {merged}");
    }
    let Some(answer) = oracle::merge(&original, &patch) else { return Fate::Drop };
    if answer.unstable {
        return Fate::Drop;
    }
    let theirs = answer.text.as_deref().and_then(|json| serde_json::from_str::<Value>(json).ok());
    let same = match (&ours, &theirs) {
        (Ok(ours), Some(theirs)) => ours == theirs || *ours == stripped(theirs),
        (Err(_), None) => true,
        // Types are for the API server to judge.
        (Ok(_), None) => is_about_types(&answer.error),
        (Err(_), Some(_)) => false,
    };
    assert!(
        same || deletes_in_a_new_container(&original, &patch),
        "{original}\n{patch}\nours   {}\ntheirs {}",
        ours.map_or_else(|error| error.to_string(), |merged| merged.to_string()),
        answer.text.unwrap_or(answer.error),
    );
    Fate::Keep
}

/// Go's words for a field that its types do not have, or have as something else.
fn is_about_types(error: &str) -> bool {
    ["unable to find api field", "data type is not struct", "expected slice or array type"]
        .iter()
        .any(|words| error.contains(words))
}

/// An element with `$patch: delete` in a container that is new: where the patch names the container twice, Go moves it to
/// the end (`generated 083` of the oracle's cases).
fn deletes_in_a_new_container(original: &Value, patch: &Value) -> bool {
    ["containers", "initContainers"].iter().any(|list| {
        let names = |document: &Value| -> Vec<Value> {
            let list = document["spec"][list].as_array().map_or(&[][..], Vec::as_slice);
            list.iter().map(|item| item["name"].clone()).collect()
        };
        let (old, new) = (names(original), names(patch));
        new.iter().enumerate().any(|(at, name)| !old.contains(name) && new[at + 1..].contains(name))
    })
}

fn is_directive(key: &str) -> bool {
    key == "$patch"
        || key == "$retainKeys"
        || key.starts_with("$setElementOrder")
        || key.starts_with("$deleteFromPrimitiveList")
}

fn has_directive(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| is_directive(key) || has_directive(value)),
        Value::Array(items) => items.iter().any(has_directive),
        _ => false,
    }
}

/// Go's answer without the nulls and directives of the patch that remain in it.
fn stripped(value: &Value) -> Value {
    match value {
        Value::Object(object) => object
            .iter()
            .filter(|(key, value)| !value.is_null() && !is_directive(key))
            .map(|(key, value)| (key.clone(), stripped(value)))
            .collect(),
        Value::Array(list) => list.iter().map(stripped).collect(),
        scalar => scalar.clone(),
    }
}

fn document(random: &mut Random<'_>, patch: bool) -> Value {
    let mut pod = Map::new();
    if random.percent(60) {
        pod.insert("metadata".to_owned(), metadata(random, patch));
    }
    if random.percent(90) {
        pod.insert("spec".to_owned(), spec(random, patch));
    }
    Value::Object(pod)
}

/// Some of the names, in any order; in a patch rarely one of them twice.
fn subset<'n>(random: &mut Random<'_>, names: &[&'n str], patch: bool) -> Vec<&'n str> {
    let mut left = names.to_vec();
    let mut picked = Vec::new();
    for _ in 0..random.below(names.len() + 1) {
        let at = random.below(left.len());
        picked.push(left.remove(at));
    }
    if patch && !picked.is_empty() && random.percent(4) {
        picked.push(picked[0]);
    }
    picked
}

/// Rarely adds a directive for the whole map to a patch.
fn direct(random: &mut Random<'_>, map: &mut Map<String, Value>, patch: bool) {
    if !patch || !random.percent(10) {
        return;
    }
    match random.below(4) {
        0 => map.insert("$patch".to_owned(), json!("replace")),
        1 => map.insert("$patch".to_owned(), json!("delete")),
        _ => {
            let mut keys: Vec<String> = map.keys().cloned().collect();
            keys.push("extra".to_owned());
            map.insert("$retainKeys".to_owned(), json!(keys))
        }
    };
}

fn strings(random: &mut Random<'_>, patch: bool) -> Value {
    let mut map = Map::new();
    for key in subset(random, &["app", "version", "tier"], false) {
        let value = *random.pick(&["x", "y", "z"]);
        let value = if patch && random.percent(20) { Value::Null } else { json!(value) };
        map.insert(key.to_owned(), value);
    }
    direct(random, &mut map, patch);
    Value::Object(map)
}

/// A list of scalars, in a patch with the directives for such lists.
fn scalars(random: &mut Random<'_>, map: &mut Map<String, Value>, field: &str, names: &[&str], patch: bool) {
    let picked = subset(random, names, false);
    match random.below(if patch { 4 } else { 1 }) {
        2 => {
            map.insert(format!("$deleteFromPrimitiveList/{field}"), json!(picked));
        }
        3 => {
            map.insert(format!("$setElementOrder/{field}"), json!(order(random, &picked, names)));
            map.insert(field.to_owned(), json!(picked));
        }
        _ => {
            map.insert(field.to_owned(), json!(picked));
        }
    }
}

/// An order of elements around those of the patch.
fn order<'n>(random: &mut Random<'_>, picked: &[&'n str], names: &[&'n str]) -> Vec<&'n str> {
    let mut order = picked.to_vec();
    for name in names {
        if !order.contains(name) && random.percent(50) {
            order.insert(random.below(order.len() + 1), name);
        }
    }
    if random.percent(5) {
        order.reverse();
    }
    order
}

/// A list whose elements have a key.
fn keyed(
    random: &mut Random<'_>,
    map: &mut Map<String, Value>,
    (field, key): (&str, &str),
    names: &[&str],
    patch: bool,
    fill: impl Fn(&mut Random<'_>, &mut Map<String, Value>),
) {
    let picked = subset(random, names, patch);
    let mut items = Vec::new();
    for name in &picked {
        let mut item = Map::new();
        item.insert(key.to_owned(), json!(name));
        if patch && random.percent(8) {
            item.insert("$patch".to_owned(), json!(*random.pick(&["delete", "replace"])));
        } else if !random.percent(15) {
            fill(random, &mut item);
        }
        items.push(Value::Object(item));
    }
    if patch && random.percent(4) {
        items.push(json!({"$patch": "replace"}));
    }
    if patch && random.percent(15) {
        let order: Vec<Value> =
            order(random, &picked, names).into_iter().map(|name| json!({key: name})).collect();
        map.insert(format!("$setElementOrder/{field}"), json!(order));
    }
    map.insert(field.to_owned(), Value::Array(items));
}

fn metadata(random: &mut Random<'_>, patch: bool) -> Value {
    let mut metadata = Map::new();
    for field in ["labels", "annotations"] {
        if random.percent(50) {
            metadata.insert(field.to_owned(), strings(random, patch));
        }
    }
    if random.percent(40) {
        scalars(random, &mut metadata, "finalizers", &["a/one", "a/two", "a/three"], patch);
    }
    if random.percent(25) {
        keyed(random, &mut metadata, ("ownerReferences", "uid"), &["u1", "u2"], patch, |random, owner| {
            owner.insert("kind".to_owned(), json!(*random.pick(&["Job", "ReplicaSet"])));
        });
    }
    let is_direct = patch && random.percent(20);
    direct(random, &mut metadata, is_direct);
    Value::Object(metadata)
}

fn spec(random: &mut Random<'_>, patch: bool) -> Value {
    let mut spec = Map::new();
    if random.percent(80) {
        let names = ["app", "proxy", "log", "debug"];
        keyed(random, &mut spec, ("containers", "name"), &names, patch, |random, map| {
            container(random, map, patch)
        });
    }
    if random.percent(30) {
        let names = ["init", "proxy", "migrate"];
        keyed(random, &mut spec, ("initContainers", "name"), &names, patch, |random, map| {
            container(random, map, patch);
        });
    }
    if random.percent(40) {
        keyed(random, &mut spec, ("volumes", "name"), &["data", "tmp", "token"], patch, |random, volume| {
            let source = *random.pick(&["emptyDir", "hostPath", "secret"]);
            let inner = *random.pick(&["a", "b"]);
            volume.insert(source.to_owned(), json!({inner: "c"}));
            if patch && random.percent(40) {
                volume.insert("$retainKeys".to_owned(), json!(["name", source]));
            }
        });
    }
    if random.percent(25) {
        keyed(random, &mut spec, ("imagePullSecrets", "name"), &["one", "two", "three"], patch, |_, _| {});
    }
    if random.percent(20) {
        keyed(random, &mut spec, ("hostAliases", "ip"), &["10.0.0.1", "10.0.0.2"], patch, |random, host| {
            host.insert("hostnames".to_owned(), json!(subset(random, &["h1", "h2"], false)));
        });
    }
    if random.percent(20) {
        let keys = ("topologySpreadConstraints", "topologyKey");
        keyed(random, &mut spec, keys, &["zone", "host"], patch, |random, constraint| {
            constraint.insert("maxSkew".to_owned(), json!(random.below(3)));
            constraint.insert("labelSelector".to_owned(), json!({"matchLabels": strings(random, patch)}));
        });
    }
    if random.percent(20) {
        spec.insert("nodeSelector".to_owned(), strings(random, patch));
    }
    if random.percent(20) {
        let seconds = [json!(1), json!(30), json!(2.5), if patch { Value::Null } else { json!(0) }];
        spec.insert("terminationGracePeriodSeconds".to_owned(), random.pick(&seconds).clone());
    }
    // And any other field of a pod's spec.
    for _ in 0..random.below(3) {
        let field = random.pick(outrigger::gotypes::POD_SPEC.fields);
        if !field.json.is_empty() && !spec.contains_key(field.json) {
            let value = typed::value(random, &field.kind, 3);
            spec.insert(field.json.to_owned(), value);
        }
    }
    let is_direct = patch && random.percent(20);
    direct(random, &mut spec, is_direct);
    Value::Object(spec)
}

fn container(random: &mut Random<'_>, container: &mut Map<String, Value>, patch: bool) {
    if random.percent(50) {
        let image =
            random.pick(&[json!("a"), json!("b"), if patch { Value::Null } else { json!("") }]).clone();
        container.insert("image".to_owned(), image);
    }
    if random.percent(40) {
        keyed(random, container, ("env", "name"), &["A", "B", "C"], patch, |random, variable| {
            variable.insert("value".to_owned(), json!(*random.pick(&["1", "2"])));
        });
    }
    if random.percent(40) {
        let ports: Vec<Value> = (0..random.below(3))
            .map(|_| {
                let mut port = json!({"containerPort": *random.pick(&[80, 81, 82])});
                if random.percent(50) {
                    port["protocol"] = json!(*random.pick(&["TCP", "UDP"]));
                }
                port
            })
            .collect();
        container.insert("ports".to_owned(), json!(ports));
    }
    if random.percent(30) {
        keyed(
            random,
            container,
            ("volumeMounts", "mountPath"),
            &["/a", "/b", "/c"],
            patch,
            |random, mount| {
                mount.insert("name".to_owned(), json!(*random.pick(&["data", "tmp"])));
            },
        );
    }
    if random.percent(20) {
        container.insert("args".to_owned(), json!(subset(random, &["-a", "-b", "-c"], false)));
    }
    if random.percent(20) {
        let mut context = Map::new();
        context.insert("runAsUser".to_owned(), json!(random.below(3)));
        if random.percent(30) {
            context.insert(
                "capabilities".to_owned(),
                json!({"drop": subset(random, &["ALL", "NET_RAW"], false)}),
            );
        }
        direct(random, &mut context, patch);
        container.insert("securityContext".to_owned(), Value::Object(context));
    }
    let is_direct = patch && random.percent(30);
    direct(random, container, is_direct);
}
