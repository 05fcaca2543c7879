//! Detects conflicts between a pod and its proxy, and pods that rely on a proxy they will not get.
//!
//! Nothing is changed or denied because of it: the pod may be right, or may be changed later.

use serde_json::Value;

use super::{openshift::ProxyIds, post::PROXY_PORTS, template_containers::TemplateContainers};
use crate::{
    names, pod,
    warning::{Warning, shown},
};

/// The maximum number of warnings of one kind for a pod.
const MOST: usize = 8;

/// The relevant properties of the proxy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proxy<'a> {
    /// What the templates create.
    pub(super) made: &'a TemplateContainers,
    /// `interceptionMode` of the effective ProxyConfig.
    pub(super) interception_mode: &'a str,
    /// Port of the agent's status server; 0 if disabled.
    pub(super) status_port: i64,
    /// The user whose traffic is not redirected.
    pub(super) ids: ProxyIds,
}

/// Containers whose image stays `auto`, which does not exist in any registry; `why` explains why it was not replaced.
pub(super) fn images_left_auto(pod: &Value, why: &str) -> Vec<Warning> {
    let containers = pod::init_containers(pod).iter().chain(pod::containers(pod));
    let left = containers.filter(|container| text(container, "image") == names::IMAGE_AUTO);
    left.take(MOST)
        .map(|container| {
            let name = shown(pod::name(container));
            Warning::new(
                "IMAGE_AUTO_LEFT",
                format!("container {name} keeps the image auto and cannot start: {why}"),
            )
        })
        .collect()
}

/// Ports and users of the application that conflict with the proxy's.
pub(super) fn with_proxy(pod: &Value, proxy: &Proxy<'_>) -> Vec<Warning> {
    let made = || proxy.made.containers.iter().chain(&proxy.made.init_containers);
    let Some(sidecar) = pod::find_sidecar(pod).filter(|_| made().any(|name| name == names::CONTAINER_PROXY))
    else {
        return Vec::new();
    };
    let is_made = |container: &&Value| made().any(|name| name == pod::name(container));
    let sidecars =
        pod::init_containers(pod).iter().filter(|container| text(container, "restartPolicy") == "Always");
    let applications: Vec<&Value> =
        pod::containers(pod).iter().chain(sidecars).filter(|container| !is_made(container)).collect();
    let mode = pod::annotation(pod, names::ANNOTATION_INTERCEPTION_MODE).unwrap_or(proxy.interception_mode);
    let has_envoy = variable(sidecar, names::ENV_DISABLE_ENVOY) != Some("true");
    let redirects = has_envoy && mode != "NONE";
    let owner_of = |port: i64, protocol: &str| {
        let (_, owner) = PROXY_PORTS.iter().find(|(taken, _)| *taken == port)?;
        let is_taken = match port {
            15001 | 15006 => redirects,
            15053 => variable(sidecar, names::ENV_DNS_CAPTURE) == Some("true"),
            // The pod may choose the port of the status server.
            15020 => false,
            _ => has_envoy,
        };
        (is_taken && (protocol != "UDP" || port == 15053)).then_some(*owner)
    };
    let mut warnings = Vec::new();
    for container in &applications {
        let ports = container.get("ports").and_then(Value::as_array);
        for port in ports.into_iter().flatten() {
            let Some(number) = port.get("containerPort").and_then(Value::as_i64) else { continue };
            let protocol = text(port, "protocol");
            let owner = if number == proxy.status_port && number != 0 && protocol != "UDP" {
                Some("the agent's status server")
            } else {
                owner_of(number, protocol)
            };
            if let Some(owner) = owner {
                let name = shown(pod::name(container));
                let message =
                    format!("container {name}: port {number} is used by the proxy ({owner}); use another");
                warnings.push(Warning::new("PORT_OF_THE_PROXY", message));
            }
        }
    }
    warnings.truncate(MOST);
    if redirects {
        let exempt = Exempt::of(pod, sidecar, proxy.ids);
        warnings.extend(
            applications.iter().filter_map(|container| as_the_proxy(pod, container, &exempt)).take(MOST),
        );
    }
    warnings
}

/// The users and groups whose traffic is not redirected.
struct Exempt {
    users: Vec<i64>,
    groups: Vec<i64>,
}

impl Exempt {
    /// The CNI plugin exempts the IDs of the proxy's container; `istio-init` those of its arguments.
    fn of(pod: &Value, sidecar: &Value, ids: ProxyIds) -> Exempt {
        let init = pod::find(pod::init_containers(pod), names::CONTAINER_INIT);
        let args = init.and_then(|init| init.get("args")?.as_array());
        let of_flag = |flag: &str| {
            let place = args?.iter().position(|argument| argument.as_str() == Some(flag))?;
            args?.get(place + 1)?.as_str()
        };
        let of = |key: &str, flag: &str, configured: i64| match of_flag(flag) {
            Some(list) => list.split(',').filter_map(|id| id.trim().parse().ok()).collect(),
            None => {
                let own = pod::at(sidecar, &["securityContext", key]).and_then(Value::as_i64);
                vec![own.filter(|id| *id != 0).unwrap_or(configured)]
            }
        };
        Exempt { users: of("runAsUser", "-u", ids.user), groups: of("runAsGroup", "-g", ids.group) }
    }
}

/// Traffic of the proxy's user or group is not redirected, because the proxy's own must not be. Init containers may
/// rely on this.
fn as_the_proxy(pod: &Value, container: &Value, exempt: &Exempt) -> Option<Warning> {
    let id = |key: &str| {
        let of = |holder: Option<&Value>| holder?.get("securityContext")?.get(key)?.as_i64();
        of(Some(container)).or_else(|| of(pod.get("spec")))
    };
    let (what, number) = match (id("runAsUser"), id("runAsGroup")) {
        (Some(user), _) if exempt.users.contains(&user) => ("user", user),
        (_, Some(group)) if exempt.groups.contains(&group) => ("group", group),
        _ => return None,
    };
    let name = shown(pod::name(container));
    let message =
        format!("container {name} runs as {what} {number}, the proxy's own: its traffic is not redirected");
    Some(Warning::new("USER_OF_THE_PROXY", message))
}

fn variable<'c>(container: &'c Value, name: &str) -> Option<&'c str> {
    pod::find(container.get("env")?.as_array()?, name)?.get("value")?.as_str()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn codes(pod: &Value, mode: &str, status_port: i64) -> Vec<(&'static str, String)> {
        let made = TemplateContainers {
            containers: vec!["istio-proxy".to_owned()],
            ..TemplateContainers::default()
        };
        let proxy = Proxy { made: &made, interception_mode: mode, status_port, ids: ProxyIds::default() };
        with_proxy(pod, &proxy).into_iter().map(|warning| (warning.code, warning.message)).collect()
    }

    fn ports(pod: &Value, mode: &str, status_port: i64) -> Vec<String> {
        let port = |message: &str| message.split(" port ").nth(1)?.split(' ').next().map(str::to_owned);
        codes(pod, mode, status_port).iter().filter_map(|(_, message)| port(message)).collect()
    }

    fn pod(env: &Value) -> Value {
        let all = [80, 15000, 15001, 15002, 15004, 15006, 15008, 15020, 15021];
        let all: Vec<Value> = all.iter().map(|port| json!({"containerPort": port})).collect();
        json!({"spec": {
            "containers": [
                {"name": "a", "ports": all},
                {"name": "b", "ports": [{"containerPort": 15053}, {"containerPort": 15053, "protocol": "UDP"}]},
                {"name": "istio-proxy", "ports": [{"containerPort": 15090}], "env": env},
            ],
            "initContainers": [
                {"name": "done", "ports": [{"containerPort": 15090}]},
                {"name": "stays", "restartPolicy": "Always", "ports": [{"containerPort": 15090},
                    {"containerPort": 15001, "protocol": "UDP"}]},
            ],
        }})
    }

    // TM-12
    #[test]
    fn ports_are_taken_as_the_proxy_listens() {
        let plain = pod(&json!([]));
        assert_eq!(
            ports(&plain, "REDIRECT", 15020),
            ["15000", "15001", "15004", "15006", "15008", "15020", "15021", "15090"]
        );
        assert_eq!(ports(&plain, "NONE", 15099), ["15000", "15004", "15008", "15021", "15090"]);
        assert_eq!(ports(&plain, "REDIRECT", 80).first().map(String::as_str), Some("80"));
        let agent = pod(&json!([{"name": "DISABLE_ENVOY", "value": "true"}]));
        assert_eq!(ports(&agent, "REDIRECT", 15020), ["15020"]);
        let dns = json!([{"name": "ISTIO_META_DNS_CAPTURE", "value": "true"}]);
        let dns = pod(&dns);
        assert_eq!(ports(&dns, "NONE", 0), ["15000", "15004", "15008", "15021", "15053", "15053", "15090"]);
    }

    #[test]
    fn nothing_is_taken_where_there_is_no_proxy() {
        let pod = json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 15001}]}]}});
        assert_eq!(codes(&pod, "REDIRECT", 15020), []);
    }

    #[test]
    fn a_container_is_not_redirected_as_the_proxys_user_or_group() {
        let pod = |pod: Value, container: Value| {
            json!({"spec": {
                "securityContext": pod,
                "containers": [{"name": "a", "securityContext": container}, {"name": "istio-proxy"}],
                "initContainers": [{"name": "i", "securityContext": {"runAsUser": 1337}}],
            }})
        };
        for (of_pod, of_container, wanted) in [
            (json!({}), json!({"runAsUser": 1337}), Some("user 1337")),
            (json!({"runAsUser": 1337}), json!({}), Some("user 1337")),
            (json!({"runAsGroup": 1337}), json!({"runAsUser": 1}), Some("group 1337")),
            (json!({"runAsUser": 1337}), json!({"runAsUser": 1}), None),
            (json!({"fsGroup": 1337}), json!({}), None),
        ] {
            let told = codes(&pod(of_pod, of_container), "REDIRECT", 0);
            assert_eq!(told.len(), usize::from(wanted.is_some()), "{told:?}");
            if let Some(wanted) = wanted {
                assert!(told[0].1.contains(wanted), "{told:?}");
            }
        }
        assert_eq!(codes(&pod(json!({"runAsUser": 1337}), json!({})), "NONE", 0), []);
    }

    #[test]
    fn an_image_that_stays_auto_is_told() {
        let pod = json!({"spec": {
            "containers": [{"name": "a", "image": "a"}, {"name": "b", "image": "auto"}],
            "initContainers": [{"name": "c", "image": "auto"}],
        }});
        let told = images_left_auto(&pod, "why");
        assert_eq!(told.len(), 2);
        assert_eq!(told[0].message, "container \"c\" keeps the image auto and cannot start: why");
    }
}
