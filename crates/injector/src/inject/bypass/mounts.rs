//! Mounts in the proxy that may replace what it needs.

use serde_json::Value;

use super::{MOST, Subject};
use crate::{
    annotation::user_items,
    names, pod,
    warning::{Warning, shown},
};

/// Warns about mounts that an annotation adds to the proxy and that may replace its files.
pub(super) fn user_mounts(pod: &Subject<'_>, warnings: &mut Vec<Warning>) {
    let key = names::ANNOTATION_USER_VOLUME_MOUNT;
    let Some(text) = pod.annotation(key) else { return };
    // As an object or as a list, and with keys in any case.
    let mounts = user_items(text);
    let path = |mount: &Value| {
        mount.get("mountPath").and_then(Value::as_str).filter(|path| replaces_files(path)).map(str::to_owned)
    };
    if let Some(path) = mounts.iter().find_map(path) {
        let message = format!("annotation {key}: {} may replace files of the proxy", shown(&path));
        warnings.push(Warning::new("BYPASS_PROXY_COMMAND", message));
    }
}

/// Volumes that the templates create for the proxy alone, and from which it takes its identity, the sockets of its agent and its
/// configuration.
const VOLUMES: [&str; 5] =
    ["credential-socket", "istio-data", "istio-envoy", "workload-certs", "workload-socket"];

/// Warns about containers of the application that may write into volumes of the proxy. A volume of the pod's own with such
/// a name is another matter (`OWN_VOLUME`).
pub(super) fn of_proxy_volumes(pod: &Subject<'_>, warnings: &mut Vec<Warning>) {
    let is_own = |name: &str| {
        !pod.earlier.has_injected_volume(name)
            && pod::find(pod::spec_list(pod.received, "volumes"), name).is_some()
    };
    let containers = pod::init_containers(pod.received).iter().chain(pod::containers(pod.received));
    let written = |container: &Value| {
        let mounts = container.get("volumeMounts").and_then(Value::as_array).into_iter().flatten();
        let writable = mounts.filter(|mount| mount.get("readOnly") != Some(&Value::Bool(true)));
        let volume = writable.map(pod::name).find(|name| VOLUMES.contains(name) && !is_own(name))?;
        let name = shown(pod::name(container));
        let message = format!("container {name} can write into the proxy's volume {volume}");
        Some(Warning::new("BYPASS_PROXY_VOLUME", message))
    };
    let own = containers.filter(|container| !pod.makes(pod::name(container)));
    warnings.extend(own.filter_map(written).take(MOST));
}

/// Where the proxy has its programs, libraries, configuration, roots and identity, or what these depend on.
const NEEDED: [&str; 24] = [
    "/bin",
    "/dev",
    "/etc/certs",
    "/etc/hosts",
    "/etc/istio/config",
    "/etc/istio/pod",
    "/etc/istio/proxy",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.preload",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pki",
    "/etc/resolv.conf",
    "/etc/ssl",
    "/lib",
    "/lib64",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/istio",
    "/var/run",
];

/// Whether a mount in the proxy may replace something that it needs: there, above it or below it.
pub(super) fn replaces_files(path: &str) -> bool {
    let folder = |path: &str| format!("{}/", path.trim_end_matches('/'));
    // API servers accept a relative path, which begins at the root (`Container.Mounts` of the kubelet).
    let from_root = if path.starts_with('/') { "" } else { "/" };
    let path = folder(&format!("{from_root}{}", path.trim_start_matches("./")));
    let touches = |needed: &str| path.starts_with(&folder(needed)) || folder(needed).starts_with(&path);
    path.contains("..")
        || path.contains("//")
        || path.contains("/./")
        || NEEDED.iter().any(|needed| touches(needed))
}
