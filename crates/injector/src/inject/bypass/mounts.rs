//! Mounts in the proxy that may replace what it needs.

use serde_json::Value;

use super::Subject;
use crate::{
    annotation::user_items,
    names,
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

/// Where the proxy has its programs, libraries, configuration, roots and identity, or what these depend on.
const NEEDED: [&str; 23] = [
    "/bin",
    "/dev",
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
    let path = folder(path);
    let touches = |needed: &str| path.starts_with(&folder(needed)) || folder(needed).starts_with(&path);
    path.contains("..")
        || path.contains("//")
        || path.contains("/./")
        || NEEDED.iter().any(|needed| touches(needed))
}
