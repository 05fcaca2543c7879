//! Detects privileges of the injected containers that the pod requested and the configuration alone would not grant.
//!
//! A pod may customize its proxy: by annotations that the templates read (`TPROXY`, `capNetBindService`), by its
//! ProxyConfig (`IPTABLES_TRACE_LOGGING`), by a container of its own with the proxy's name, by a forged record of an
//! earlier injection. The method does not matter, because the result is checked: each container that the templates
//! create is compared with the one they create for a pod without any requests. The fields are those of the Pod Security
//! Standards.
//!
//! The fields of the pod itself (`spec.securityContext`, `hostPID`, volumes) are not checked: they are the pod's own
//! and visible to every other policy.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::{
    Privilege, Refusal, Rules, Unobserved, overlay, render, template_containers::TemplateContainers,
};
use crate::{
    config::InjectorConfig,
    names, pod,
    quirks::Quirk,
    warning::{Warning, shown},
};
use gotemplate::Template;

/// The maximum number reported.
const MOST: usize = 8;
/// The pseudo-capability that stands for all.
const ALL: &str = "ALL";
/// Optional prefix of capability names.
const PREFIX: &str = "CAP_";
/// SELinux types that the Pod Security Standards allow (`baseline`); empty is the runtime's default.
const SELINUX_TYPES: [&str; 5] =
    ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
/// Prefix of AppArmor annotations, before the name of a container.
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Whether the values forbid pods to request privileges.
pub(super) fn are_refused(mesh: &InjectorConfig) -> bool {
    mesh.value(&["sidecarInjectorWebhook", "privilegedProxies"]).and_then(Value::as_str) == Some("refuse")
}

/// The warnings about privileges that are allowed.
pub(super) fn warnings(asked: &[Privilege]) -> impl Iterator<Item = Warning> {
    let warning = |privilege: &Privilege| {
        Warning::new("PRIVILEGED_PROXY", format!("{privilege} is more than the configuration grants"))
    };
    asked.iter().take(MOST).map(warning)
}

/// The privileges of the pod's injected containers that it requested, in order. `view` is the template input except
/// the pod, without any request of the pod.
///
/// # Errors
/// If the templates cannot be rendered for a pod without requests.
pub(super) fn asked(
    rules: Rules,
    mesh: &InjectorConfig,
    pod: &Value,
    made: &TemplateContainers,
    view: &render::View<'_>,
    namespace: &str,
    templates: &[(&str, &Template)],
) -> Result<Vec<Privilege>, Refusal> {
    let is_default = pod::annotation(view.pod, names::ANNOTATION_TEMPLATES).is_none();
    let is_meshs = matches!(view.proxy_config, Cow::Borrowed(_));
    if rules == Rules::Configured && is_default && is_meshs {
        // For most pods, the baseline depends only on the configuration.
        let unasked = mesh.unasked(view.native_sidecars, || unasked(mesh, view, namespace, templates).ok());
        if let Some(unasked) = unasked {
            return Ok(asked_for(pod, made, unasked));
        }
    }
    let must_be_known = are_refused(mesh) || mesh.guard().denies_privileges();
    if !must_be_known && !can_be_asked(view.pod, made) {
        return Ok(Vec::new());
    }
    match unasked(mesh, view, namespace, templates) {
        Ok(unasked) => Ok(asked_for(pod, made, &unasked)),
        Err(refusal) if must_be_known => Err(refusal),
        // Templates that require something from a pod cannot be rendered for one without it.
        Err(_) => Ok(Vec::new()),
    }
}

/// The pod that the templates create for one without requests.
///
/// # Errors
/// If the templates cannot be rendered for such a pod.
pub(super) fn unasked(
    mesh: &InjectorConfig,
    view: &render::View<'_>,
    namespace: &str,
    templates: &[(&str, &Template)],
) -> Result<Value, Refusal> {
    let pod = json!({
        "metadata": {"name": "pod", "namespace": namespace},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    });
    let view = render::View { pod: &pod, workload: None, stand_ins: false, ..*view };
    let mut overlays = render::overlays(mesh, &view, templates)?;
    if !mesh.keeps(Quirk::DuplicateProxyOfTemplates) {
        overlay::keep_one_proxy(&mut overlays);
    }
    let native = view.native_sidecars;
    Ok(overlay::apply_overlays(pod.clone(), overlays, native, None, &mut Vec::new(), &mut Unobserved)?.pod)
}

/// The privileges of the containers in `made` that the same containers in `unasked` do not have, in order.
pub(super) fn asked_for(pod: &Value, made: &TemplateContainers, unasked: &Value) -> Vec<Privilege> {
    let mut asked = Vec::new();
    let ours = |container: &&Value| {
        let name = pod::name(container);
        made.containers.iter().chain(&made.init_containers).any(|made| made == name)
    };
    for container in pod::init_containers(pod).iter().chain(pod::containers(pod)).filter(ours) {
        let name = pod::name(container);
        let base = pod::find_container(unasked, name);
        compare(container, base, &mut |field, found| {
            asked.push(Privilege { container: name.to_owned(), field, found });
        });
        if unconfined(pod, name) && !unconfined(unasked, name) {
            let field = "annotation for AppArmor";
            asked.push(Privilege { container: name.to_owned(), field, found: "unconfined".to_owned() });
        }
    }
    asked
}

fn unconfined(pod: &Value, container: &str) -> bool {
    let ours = |(key, value): (&str, &str)| {
        value.eq_ignore_ascii_case("unconfined")
            && key.strip_prefix(APP_ARMOR).is_some_and(|name| name == container)
    };
    pod::annotations(pod).any(ours)
}

/// Reports each field of a container that grants more than `base`, the same container without requests.
fn compare(container: &Value, base: Option<&Value>, tell: &mut dyn FnMut(&'static str, String)) {
    const CONTEXT: &str = "securityContext";
    let (context, base_context) = (container.get(CONTEXT), base.and_then(|base| base.get(CONTEXT)));
    let of = |path: &[&str]| context.and_then(|context| pod::at(context, path));
    let base_of = |path: &[&str]| base_context.and_then(|context| pod::at(context, path));
    let is = |found: Option<&Value>, wanted: bool| found.and_then(Value::as_bool) == Some(wanted);
    let text = |found: Option<&Value>| found.and_then(Value::as_str).unwrap_or_default().to_owned();

    if is(of(&["privileged"]), true) && !is(base_of(&["privileged"]), true) {
        tell("securityContext.privileged", "true".to_owned());
    }
    let escalation = ["allowPrivilegeEscalation"];
    if !is(of(&escalation), false) && is(base_of(&escalation), false) {
        tell("securityContext.allowPrivilegeEscalation", "true".to_owned());
    }
    capabilities(context, base_context, tell);
    let user = |found: Option<&Value>| found.and_then(Value::as_i64);
    if user(of(&["runAsUser"])) == Some(0) && user(base_of(&["runAsUser"])) != Some(0) {
        tell("securityContext.runAsUser", "0".to_owned());
    } else if !is(of(&["runAsNonRoot"]), true) && is(base_of(&["runAsNonRoot"]), true) {
        tell("securityContext.runAsNonRoot", "false".to_owned());
    }
    for (field, path) in [
        ("securityContext.seccompProfile.type", ["seccompProfile", "type"]),
        ("securityContext.appArmorProfile.type", ["appArmorProfile", "type"]),
    ] {
        const UNCONFINED: &str = "Unconfined";
        let (found, base) = (of(&path).and_then(Value::as_str), base_of(&path).and_then(Value::as_str));
        if found == Some(UNCONFINED) && base != found {
            tell(field, UNCONFINED.to_owned());
        }
    }
    let (mount, base_mount) = (of(&["procMount"]), base_of(&["procMount"]));
    if mount.and_then(Value::as_str).is_some_and(|mount| !matches!(mount, "" | "Default"))
        && mount != base_mount
    {
        tell("securityContext.procMount", shown(&text(mount)));
    }
    for (field, key, taken) in [
        ("securityContext.seLinuxOptions.type", "type", &SELINUX_TYPES[..]),
        ("securityContext.seLinuxOptions.user", "user", &[""][..]),
        ("securityContext.seLinuxOptions.role", "role", &[""][..]),
    ] {
        let path = ["seLinuxOptions", key];
        let found = of(&path).filter(|found| !found.is_null());
        let is_taken = |found: &Value| found.as_str().is_some_and(|found| taken.contains(&found));
        if found.is_some_and(|found| !is_taken(found)) && found != base_of(&path) {
            tell(field, shown(&text(found)));
        }
    }
    let host_process = ["windowsOptions", "hostProcess"];
    if is(of(&host_process), true) && !is(base_of(&host_process), true) {
        tell("securityContext.windowsOptions.hostProcess", "true".to_owned());
    }
    let host_port = |port: &Value| port.get("hostPort").and_then(Value::as_i64).filter(|port| *port != 0);
    let host_ports = |container: Option<&'_ Value>, wanted: i64| {
        let ports = container.and_then(|container| container.get("ports")?.as_array());
        ports.is_some_and(|ports| ports.iter().filter_map(host_port).any(|port| port == wanted))
    };
    let own = container.get("ports").and_then(Value::as_array).into_iter().flatten().filter_map(host_port);
    for port in own.filter(|port| !host_ports(base, *port)) {
        tell("ports.hostPort", port.to_string());
    }
}

fn capabilities(context: Option<&Value>, base: Option<&Value>, tell: &mut dyn FnMut(&'static str, String)) {
    for name in capability_list(context, "add").filter(|name| !has_capability(base, "add", name)) {
        tell("securityContext.capabilities.add", shown(name));
    }
    for name in capability_list(base, "drop").filter(|name| !has_capability(context, "drop", name)) {
        tell("securityContext.capabilities.drop without", shown(name));
    }
}

/// The capabilities of a list, as runtimes read them: with or without their prefix, in any case.
pub(super) fn capability_list<'c>(context: Option<&'c Value>, list: &str) -> impl Iterator<Item = &'c str> {
    let found = context.and_then(|context| pod::at(context, &["capabilities", list])?.as_array());
    found.into_iter().flatten().filter_map(Value::as_str).map(|name| {
        let (prefix, rest) = name.split_at_checked(PREFIX.len()).unwrap_or_default();
        if prefix.eq_ignore_ascii_case(PREFIX) { rest } else { name }
    })
}

fn has_capability(context: Option<&Value>, list: &str, wanted: &str) -> bool {
    capability_list(context, list)
        .any(|name| name.eq_ignore_ascii_case(wanted) || name.eq_ignore_ascii_case(ALL))
}

/// Whether a pod may have requested anything: with the default templates, this is always checked.
pub(super) fn can_be_asked(received: &Value, made: &TemplateContainers) -> bool {
    let customized = |list: &[String]| list.iter().any(|name| pod::find_container(received, name).is_some());
    let set = |key: &&str| pod::annotation(received, key).is_some();
    customized(&made.containers)
        || customized(&made.init_containers)
        || [names::ANNOTATION_INTERCEPTION_MODE, names::ANNOTATION_LOW_PORTS, names::ANNOTATION_PROXY_CONFIG]
            .iter()
            .any(set)
}

#[cfg(test)]
mod tests;
