//! Mounts the ServiceAccount's token into our containers, as in all other containers of the pod.
//!
//! Admission mounts the token into every container that lacks it. It does so before webhooks are called and again for
//! the containers they add, and that second change causes a webhook with `reinvocationPolicy: IfNeeded` to be called
//! again for every pod. The mount added here is identical to admission's (`mountServiceAccountToken`).

use serde_json::Value;

use super::{Error, PostContext};
use crate::{names, pod, quirks::Quirk, warning::Warning};

/// Mounts the token into containers that lack it, if the pod's own containers have it. A manifest has no token yet.
pub(super) fn mount(pod: &mut Value, context: &PostContext<'_>, _: &mut Vec<Warning>) -> Result<(), Error> {
    if context.keeps(Quirk::LeaveTokenToAdmission) {
        return Ok(());
    }
    // In that case admission mounts nothing, and a volume with such a name is the user's own (`shouldAutomount`).
    let automounts = pod::at(context.received, &["spec", "automountServiceAccountToken"]);
    if automounts == Some(&Value::Bool(false)) {
        return Ok(());
    }
    let Some(mount) = mounted(context.received).cloned() else { return Ok(()) };
    for list in ["containers", "initContainers"] {
        let containers =
            pod.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            let mounts = container.entry("volumeMounts").or_insert(Value::Null);
            if mounts.is_null() {
                *mounts = Value::Array(Vec::new());
            }
            if let Some(mounts) = mounts.as_array_mut()
                && !mounts.iter().any(is_there)
            {
                mounts.push(mount.clone());
            }
        }
    }
    Ok(())
}

/// The mount that the admission plugin added: that of the first volume that counts as the token's.
fn mounted(pod: &Value) -> Option<&Value> {
    let is_token = |volume: &&Value| pod::name(volume).starts_with(names::TOKEN_VOLUME);
    let volume = pod::name(pod::spec_list(pod, "volumes").iter().find(is_token)?);
    let containers = pod::containers(pod).iter().chain(pod::init_containers(pod));
    let mut mounts = containers.filter_map(|container| container.get("volumeMounts")?.as_array()).flatten();
    mounts.find(|mount| is_there(mount) && pod::name(mount) == volume)
}

fn is_there(mount: &Value) -> bool {
    mount.get("mountPath").and_then(Value::as_str) == Some(names::TOKEN_MOUNT_PATH)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{inject::post::tests::Fixture, quirks::Quirks};

    fn token() -> Value {
        json!({"name": "kube-api-access-x7x7x", "readOnly": true, "mountPath": names::TOKEN_MOUNT_PATH})
    }

    fn received(mounts: Value) -> Value {
        json!({"spec": {
            "volumes": [{"name": "data"}, {"name": "kube-api-access-x7x7x", "projected": {}}],
            "containers": [{"name": "app", "volumeMounts": mounts}],
        }})
    }

    fn mounts(received: &Value, quirks: Quirks) -> Vec<Value> {
        let fixture = Fixture { received: received.clone(), quirks, ..Fixture::default() };
        let mut pod = received.clone();
        pod["spec"]["initContainers"] = json!([{"name": "istio-init"}]);
        let proxy = json!({"name": "istio-proxy", "volumeMounts": [{"name": "data", "mountPath": "/d"}]});
        pod["spec"]["containers"].as_array_mut().unwrap().push(proxy);
        mount(&mut pod, &fixture.context(), &mut Vec::new()).unwrap();
        let containers = pod::init_containers(&pod).iter().chain(pod::containers(&pod));
        containers.map(|container| container["volumeMounts"].clone()).collect()
    }

    #[test]
    fn our_containers_have_the_token_like_all_others() {
        let app = json!([token()]);
        let ours = json!([{"name": "data", "mountPath": "/d"}, token()]);
        assert_eq!(mounts(&received(app.clone()), Quirks::NONE), [app.clone(), app, ours]);
    }

    #[test]
    fn without_a_token_and_for_istio_nothing_is_mounted() {
        let own = json!([{"name": "data", "mountPath": names::TOKEN_MOUNT_PATH}]);
        for (app, quirks) in [(json!([]), Quirks::NONE), (own, Quirks::NONE), (json!([token()]), Quirks::ALL)]
        {
            let after = mounts(&received(app.clone()), quirks);
            assert_eq!(after[1], app);
            assert!(!after[2].to_string().contains("kube-api-access"), "{after:?}");
        }
    }

    #[test]
    fn where_admission_mounts_no_token_ours_have_none() {
        let mut received = received(json!([token()]));
        for (automounts, has_token) in [(json!(false), false), (json!(true), true), (json!(null), true)] {
            received["spec"]["automountServiceAccountToken"] = automounts;
            let ours = mounts(&received, Quirks::NONE).remove(0);
            assert_eq!(ours.to_string().contains("kube-api-access"), has_token, "{received}");
        }
    }

    #[test]
    fn what_a_template_mounts_there_stays_alone() {
        let received = received(json!([token()]));
        let fixture = Fixture { received: received.clone(), ..Fixture::default() };
        let mut pod = received;
        let own = json!([{"name": "data", "mountPath": names::TOKEN_MOUNT_PATH}]);
        pod["spec"]["containers"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "istio-proxy", "volumeMounts": own}));
        mount(&mut pod, &fixture.context(), &mut Vec::new()).unwrap();
        assert_eq!(pod["spec"]["containers"][1]["volumeMounts"], own);
    }
}
