//! Overrides: a user's container with a name that a template also defines wins over the template (Istio's
//! `reapplyOverwrittenContainers`), and is recorded in an annotation for re-injection.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    reinject::{Overrides, PreviousInjection},
    template_containers::TemplateContainers,
    zeros,
};
use crate::{
    names, pod,
    quirks::{Quirk, Quirks},
    unions,
    warning::{Warning, shown},
};
use strategic_merge::merge::{self, Directives};

const CONTAINERS: &str = "containers";
const INIT_CONTAINERS: &str = "initContainers";

/// The input for computing the overrides.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The pod as received.
    pub received: &'a Value,
    /// What the templates create.
    pub made: &'a TemplateContainers,
    /// What an earlier injection left.
    pub earlier: &'a PreviousInjection,
    /// The user's own volumes that replaced a template's.
    pub volumes: &'a [Value],
    /// The interception mode of the effective ProxyConfig.
    pub interception_mode: &'a str,
    /// The behaviors of Istio that are kept.
    pub quirks: Quirks,
}

impl Input<'_> {
    fn keeps(&self, quirk: Quirk) -> bool {
        self.quirks.contains(quirk)
    }
}

/// Merges the user's own containers over the merged pod.
///
/// # Errors
/// If a container of the user cannot be merged.
pub fn reapply(
    mut merged: Value,
    input: Input<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Value, merge::Error> {
    let mut found = Overrides { volumes: input.volumes.to_vec(), ..Overrides::default() };
    for (field, names) in
        [(CONTAINERS, &input.made.containers), (INIT_CONTAINERS, &input.made.init_containers)]
    {
        for name in names {
            let Some(mut container) = user_container(input, field, name).cloned() else { continue };
            zeros::drop_from_container(&mut container);
            // The API requires `image`, so users write "auto" for the injector's image.
            if let Some(container) = container.as_object_mut()
                && container.get("image").and_then(Value::as_str) == Some(names::IMAGE_AUTO)
            {
                container.remove("image");
            }
            let list = if field == CONTAINERS { &mut found.containers } else { &mut found.init_containers };
            list.push(container.clone());
            if name == names::CONTAINER_PROXY {
                fit_restart_policy(&mut container, &merged, field, input, warnings);
            }
            if !input.keeps(Quirk::DuplicateVariables)
                && let Some(env) = container.get_mut("env").and_then(Value::as_array_mut)
            {
                // Otherwise a variable of an earlier injection would take a source from each of two.
                keep_last_of_each(env);
            }
            let overlay = in_spec(field, container);
            if !input.keeps(Quirk::MergeExclusiveFields) {
                unions::give_way(&mut merged, &overlay);
            }
            merged = merge::merge_owned(merged, overlay, Directives::Literal)?;
            if !input.keeps(Quirk::DuplicateVariables) {
                keep_last_variables(&mut merged, field, name);
            }
        }
    }
    record(&mut merged, &found, input);
    follow_user(&mut merged, input);
    Ok(merged)
}

/// A pod with one container, which is moved: it may be large.
fn in_spec(list: &str, container: Value) -> Value {
    let within = |key: &str, value: Value| Value::Object(Map::from_iter([(key.to_owned(), value)]));
    within("spec", within(list, Value::Array(vec![container])))
}

/// Keeps one variable of each name in the user's container: the last one, which is the one a kubelet uses, in the
/// position of the first. A merge only finds the first one.
fn keep_last_variables(pod: &mut Value, list: &str, name: &str) {
    let containers = pod::spec_list_mut(pod, list).iter_mut();
    let Some(env) = containers
        .filter(|container| pod::name(container) == name)
        .find_map(|container| container.get_mut("env")?.as_array_mut())
    else {
        return;
    };
    keep_last_of_each(env);
}

fn keep_last_of_each(env: &mut Vec<Value>) {
    let mut kept: Vec<Value> = Vec::with_capacity(env.len());
    let mut places = BTreeMap::new();
    for variable in env.drain(..) {
        let name = pod::name(&variable).to_owned();
        match places.get(&name).and_then(|place: &usize| kept.get_mut(*place)) {
            Some(place) if !name.is_empty() => *place = variable,
            _ => {
                places.insert(name, kept.len());
                kept.push(variable);
            }
        }
    }
    *env = kept;
}

/// Records the user's parts for a later injection. Istio does so only once, so that a forged annotation takes effect
/// next time.
fn record(merged: &mut Value, found: &Overrides, input: Input<'_>) {
    let is_new = if input.keeps(Quirk::TrustOverrides) {
        // Istio checks whether a status exists, not whether it can be parsed.
        pod::annotation(input.received, names::ANNOTATION_STATUS).is_none() && !found.is_empty()
    } else {
        !found.is_same(&input.earlier.overrides)
    };
    let is_left_over = found.is_empty() && pod::annotation(merged, names::ANNOTATION_OVERRIDES).is_some();
    if is_new && !found.is_empty() {
        pod::annotations_mut(merged)
            .insert(names::ANNOTATION_OVERRIDES.to_owned(), Value::String(found.to_json()));
    } else if is_left_over && !input.keeps(Quirk::TrustOverrides) {
        pod::annotations_mut(merged).remove(names::ANNOTATION_OVERRIDES);
    }
}

/// Adjusts the restart policy: a native sidecar always restarts, whatever the user wrote for an ordinary container; an
/// ordinary container is not a sidecar.
fn fit_restart_policy(
    container: &mut Value,
    merged: &Value,
    field: &str,
    input: Input<'_>,
    warnings: &mut Vec<Warning>,
) {
    const RESTART_POLICY: &str = "restartPolicy";
    let Some(own) = container.get(RESTART_POLICY).and_then(Value::as_str).map(str::to_owned) else { return };
    let is_sidecar = field == INIT_CONTAINERS
        && pod::find(pod::init_containers(merged), names::CONTAINER_PROXY)
            .is_some_and(|proxy| proxy.get(RESTART_POLICY).and_then(Value::as_str) == Some(ALWAYS));
    if is_sidecar && own != ALWAYS {
        let result = if input.keeps(Quirk::KeepRestartPolicyOfProxy) {
            "makes it an ordinary init container, which an API server rejects with a hook"
        } else {
            "is ignored: a native sidecar uses Always"
        };
        let message = format!("container {}: restartPolicy {} {result}", names::CONTAINER_PROXY, shown(&own));
        warnings.push(Warning::new("PROXY_RESTART_POLICY", message));
    }
    let is_of_another_list = field == CONTAINERS && own == ALWAYS;
    if !input.keeps(Quirk::KeepRestartPolicyOfProxy)
        && (is_sidecar || is_of_another_list)
        && let Some(container) = container.as_object_mut()
    {
        container.remove(RESTART_POLICY);
    }
}

const ALWAYS: &str = "Always";

/// The user's container with that name, unless an earlier injection created it. If it replaced one of the user's, that
/// one was recorded; Istio does not look there, so injecting again loses the user's image, IDs and arguments.
pub(super) fn user_container<'a>(input: Input<'a>, field: &str, name: &str) -> Option<&'a Value> {
    let PreviousInjection { status, overrides } = input.earlier;
    let (names, recorded) = match field {
        CONTAINERS => (status.as_ref().map(|status| &status.containers), &overrides.containers),
        _ => (status.as_ref().map(|status| &status.init_containers), &overrides.init_containers),
    };
    let is_injected = if input.keeps(Quirk::TreatMovedProxyAsUsers) {
        names.is_some_and(|names| names.iter().any(|injected| injected == name))
    } else {
        input.earlier.has_injected(name)
    };
    if is_injected {
        // The container may have moved to another list in the meantime.
        return if input.keeps(Quirk::ForgetOverrides) { None } else { overrides.find(name) };
    }
    // A record next to a container that no injection created was written by someone else.
    let recorded = pod::find(recorded, name).filter(|_| input.keeps(Quirk::TrustOverrides));
    // The customization of a native sidecar may be in either list, and so may that of any proxy, whatever it becomes.
    let in_either = field == INIT_CONTAINERS
        || name == names::CONTAINER_PROXY && !input.keeps(Quirk::DuplicateProxyOfUser);
    recorded.or_else(|| match in_either {
        true => pod::find_container(input.received, name),
        false => pod::find(pod::containers(input.received), name),
    })
}

/// The proxy as the user wrote it; Istio mistakes that of an earlier injection for the user's.
fn own_proxy<'a>(input: Input<'a>) -> Option<&'a Value> {
    let is_injected = input.earlier.has_injected(names::CONTAINER_PROXY);
    if is_injected && !input.keeps(Quirk::TreatInjectedIdsAsUsers) {
        input.earlier.overrides.find(names::CONTAINER_PROXY)
    } else {
        pod::find_sidecar(input.received)
    }
}

/// Redirection exempts the proxy by its user ID, so a proxy with a custom ID also changes the init containers (Istio's
/// `adjustInitContainerUser`). TPROXY requires root regardless of the user's setting.
fn follow_user(merged: &mut Value, input: Input<'_>) {
    let Some(context) = own_proxy(input).and_then(|proxy| proxy.get("securityContext")) else { return };
    let (user, group) = (integer(context, "runAsUser"), integer(context, "runAsGroup"));
    if user.is_none() && group.is_none() {
        return;
    }
    let Some(init) = [names::CONTAINER_INIT, names::CONTAINER_VALIDATION]
        .into_iter()
        .find(|name| pod::find(pod::init_containers(merged), name).is_some())
    else {
        return;
    };
    let annotated = pod::annotation(merged, names::ANNOTATION_INTERCEPTION_MODE);
    let tproxy = input.interception_mode == "TPROXY" || annotated == Some("TPROXY");
    if tproxy
        && user.is_some()
        && let Some(context) = pod::find_sidecar_mut(merged).and_then(security_context)
    {
        context.insert("runAsUser".to_owned(), json!(0));
    }
    let found = pod::init_containers_mut(merged).iter_mut().find(|container| pod::name(container) == init);
    let Some(container) = found else { return };
    if !tproxy
        && init == names::CONTAINER_VALIDATION
        && let Some(context) = security_context(container)
    {
        for (key, id) in [("runAsUser", user), ("runAsGroup", group)] {
            if let Some(id) = id {
                context.insert(key.to_owned(), json!(id));
            }
        }
    }
    if let Some(user) = user.filter(|user| *user != 0) {
        exempt_user(container, user);
    }
}

/// Sets the argument of the first `-u` of iptables.
fn exempt_user(container: &mut Value, user: i64) {
    let Some(arguments) = container.get_mut("args").and_then(Value::as_array_mut) else { return };
    let flag = arguments.iter().position(|argument| argument.as_str() == Some("-u"));
    if let Some(argument) = flag.and_then(|flag| arguments.get_mut(flag + 1)) {
        *argument = Value::String(user.to_string());
    }
}

fn security_context(container: &mut Value) -> Option<&mut Map<String, Value>> {
    let container = container.as_object_mut()?;
    container.entry("securityContext").or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

fn integer(context: &Value, key: &str) -> Option<i64> {
    context.get(key).and_then(Value::as_i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NATIVE: &str = r#"{"spec": {"initContainers": [{"name": "istio-init"}, {"name": "istio-proxy"}]}}"#;
    const CLASSIC: &str =
        r#"{"spec": {"containers": [{"name": "istio-proxy"}], "initContainers": [{"name": "istio-init"}]}}"#;

    fn reapplied(template_pod: &str, received: &Value, merged: Value, mode: &str) -> Value {
        let made = TemplateContainers::of(&serde_json::from_str(template_pod).unwrap());
        let earlier = PreviousInjection::default();
        let input = Input {
            received,
            made: &made,
            earlier: &earlier,
            volumes: &[],
            interception_mode: mode,
            quirks: Quirks::NONE,
        };
        reapply(merged, input, &mut Vec::new()).unwrap()
    }

    // O-14
    #[test]
    fn the_users_image_wins_and_auto_means_ours() {
        for (image, wanted) in [("mine:1", "mine:1"), ("auto", "ours:1")] {
            let received = json!({"spec": {"containers": [{"name": "istio-proxy", "image": image}]}});
            let merged = json!({"spec": {"containers": [{"name": "istio-proxy", "image": "ours:1"}]}});
            let pod = reapplied(CLASSIC, &received, merged, "REDIRECT");
            assert_eq!(pod["spec"]["containers"][0]["image"], wanted);
            assert!(pod["metadata"]["annotations"][names::ANNOTATION_OVERRIDES].is_string());
        }
    }

    // O-14
    #[test]
    fn a_native_sidecar_finds_its_customisation_among_the_containers() {
        let received = json!({"spec": {"containers": [{"name": "istio-proxy", "image": "mine:1"}]}});
        let merged = json!({"spec": {"initContainers": [{"name": "istio-proxy", "image": "ours:1"}]}});
        let pod = reapplied(NATIVE, &received, merged, "REDIRECT");
        assert_eq!(pod["spec"]["initContainers"][0]["image"], "mine:1");
        assert!(pod["spec"].get("containers").is_none());
    }

    #[test]
    fn a_directive_in_a_users_container_is_data() {
        let received = json!({"spec": {"containers": [{"name": "istio-proxy", "env": [{"$patch": "replace", "name": "A"}]}]}});
        let merged =
            json!({"spec": {"containers": [{"name": "istio-proxy", "env": [{"name": "B", "value": "1"}]}]}});
        let pod = reapplied(CLASSIC, &received, merged, "REDIRECT");
        let names: Vec<_> =
            pod["spec"]["containers"][0]["env"].as_array().unwrap().iter().map(pod::name).collect();
        assert!(names.contains(&"A") && names.contains(&"B"), "{pod}");
    }

    #[test]
    fn of_two_variables_of_a_name_the_last_one_counts() {
        let own =
            json!([{"name": "X", "value": "a"}, {"name": "Y", "value": "1"}, {"name": "X", "value": "b"}]);
        let received = json!({"spec": {"containers": [{"name": "istio-proxy", "env": own}]}});
        let pod = reapplied(CLASSIC, &received, received.clone(), "REDIRECT");
        let wanted = json!([{"name": "X", "value": "b"}, {"name": "Y", "value": "1"}]);
        assert_eq!(pod["spec"]["containers"][0]["env"], wanted);
    }

    #[test]
    fn a_variable_that_is_recorded_twice_has_one_source_however_often_it_is_merged() {
        let (secret, resource) = (
            json!({"secretKeyRef": {"name": "s", "key": "k"}}),
            json!({"resourceFieldRef": {"resource": "limits.cpu"}}),
        );
        let own = json!([{"name": "X", "valueFrom": secret}, {"name": "X", "valueFrom": resource}]);
        let received = json!({"spec": {"containers": [{"name": "istio-proxy", "env": own}]}});
        // As an earlier injection left it.
        let merged = json!({"spec": {"containers": [{"name": "istio-proxy", "env": [{"name": "X", "valueFrom": resource}]}]}});
        let pod = reapplied(CLASSIC, &received, merged, "REDIRECT");
        assert_eq!(pod["spec"]["containers"][0]["env"], json!([{"name": "X", "valueFrom": resource}]));
    }

    #[test]
    fn redirection_exempts_the_users_own_user() {
        let received = json!({"spec": {"containers": [{"name": "istio-proxy", "securityContext": {"runAsUser": 1234}}]}});
        let merged = json!({"spec": {
            "containers": [{"name": "istio-proxy"}],
            "initContainers": [{"name": "istio-init", "args": ["-u", "1337"]}],
        }});
        let pod = reapplied(CLASSIC, &received, merged, "REDIRECT");
        assert_eq!(pod["spec"]["initContainers"][0]["args"], json!(["-u", "1234"]));
        assert_eq!(pod["spec"]["containers"][0]["securityContext"]["runAsUser"], 1234);
    }

    #[test]
    fn tproxy_stays_root_whatever_the_user_says() {
        let received = json!({"spec": {"containers": [{"name": "istio-proxy", "securityContext": {"runAsUser": 1234}}]}});
        let merged = json!({"spec": {
            "containers": [{"name": "istio-proxy", "securityContext": {"runAsUser": 0}}],
            "initContainers": [{"name": "istio-init", "args": []}],
        }});
        let pod = reapplied(CLASSIC, &received, merged, "TPROXY");
        assert_eq!(pod["spec"]["containers"][0]["securityContext"]["runAsUser"], 0);
    }
}
