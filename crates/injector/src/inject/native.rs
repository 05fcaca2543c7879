//! Decides whether the proxy may run as a native sidecar: an init container with `restartPolicy: Always`.
//!
//! Native sidecars are stable since Kubernetes 1.33, so they are used if every node on which the pod may run has a
//! kubelet of at least that version (Istio's `DetectNativeSidecar`).

use crate::config::{NativeSidecars, Nodes};

/// The first minor version of Kubernetes with stable native sidecars.
const MINIMUM_MINOR: u64 = 33;

/// Whether pods get native sidecars unless they choose otherwise (Istio's `DetectNativeSidecar`).
///
/// `nodes` is `None` if nodes cannot be known, which differs from a cluster without nodes: an empty list has no node
/// that rules native sidecars out. `assigned` is the pod's `spec.nodeName`; if that node is known, only it counts.
pub fn detected(mode: NativeSidecars, nodes: Option<&Nodes>, assigned: Option<&str>) -> bool {
    match mode {
        NativeSidecars::Disabled => false,
        NativeSidecars::Enabled => true,
        NativeSidecars::Auto => {
            let Some(nodes) = nodes else { return false };
            let assigned = assigned.filter(|name| !name.is_empty());
            match assigned.and_then(|name| nodes.kubelet_minor(name)) {
                Some(minor) => is_stable(minor),
                None => nodes.kubelet_minors().all(is_stable),
            }
        }
    }
}

/// The choice for one pod: its annotation wins, but only if it is exactly `true` or `false` (Istio's `RunTemplate`).
pub fn for_pod(detected: bool, annotation: Option<&str>) -> bool {
    match annotation {
        Some("true") => true,
        Some("false") => false,
        _ => detected,
    }
}

/// Whether a kubelet of this minor version has stable native sidecars; an unreadable version does not.
///
/// Only the minor version counts, as in Istio.
fn is_stable(minor: Option<u64>) -> bool {
    minor.is_some_and(|minor| minor >= MINIMUM_MINOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Node;

    fn nodes(versions: &[&str]) -> Nodes {
        let node = |(index, version): (usize, &&str)| Node {
            name: format!("node-{index}"),
            kubelet_version: (*version).to_owned(),
        };
        versions.iter().enumerate().map(node).collect()
    }

    #[test]
    fn mode_beats_nodes() {
        assert!(detected(NativeSidecars::Enabled, Some(&nodes(&["v1.20.0"])), None));
        assert!(detected(NativeSidecars::Enabled, None, None));
        assert!(!detected(NativeSidecars::Disabled, Some(&nodes(&["v1.40.0"])), None));
    }

    // O-11
    #[test]
    fn one_old_node_forbids_native_sidecars() {
        assert!(detected(NativeSidecars::Auto, Some(&nodes(&["v1.33.0", "v1.34.1+k3s1"])), None));
        assert!(!detected(NativeSidecars::Auto, Some(&nodes(&["v1.33.0", "v1.32.9"])), None));
    }

    // O-11
    #[test]
    fn assigned_node_decides_alone() {
        let nodes = nodes(&["v1.33.0", "v1.32.9"]);
        assert!(detected(NativeSidecars::Auto, Some(&nodes), Some("node-0")));
        assert!(!detected(NativeSidecars::Auto, Some(&nodes), Some("node-1")));
        assert!(
            !detected(NativeSidecars::Auto, Some(&nodes), Some("unknown")),
            "an unknown node does not count"
        );
        assert!(!detected(NativeSidecars::Auto, Some(&nodes), Some("")));
    }

    // O-11, O-12
    #[test]
    fn no_nodes_allow_and_unknown_nodes_forbid() {
        assert!(detected(NativeSidecars::Auto, Some(&Nodes::default()), None));
        assert!(detected(NativeSidecars::Auto, Some(&Nodes::default()), Some("node-0")));
        assert!(!detected(NativeSidecars::Auto, None, None));
    }

    // O-11
    #[test]
    fn unreadable_version_forbids() {
        for version in
            ["", "garbage", "v1.x", "1.33.0 ", "v1.33.0+", "1..33", "v1.99999999999999999999", "２.33"]
        {
            assert!(!detected(NativeSidecars::Auto, Some(&nodes(&[version])), None), "{version}");
        }
    }

    #[test]
    fn only_exact_annotations_count() {
        for detected in [true, false] {
            assert!(for_pod(detected, Some("true")));
            assert!(!for_pod(detected, Some("false")));
            for other in [None, Some(""), Some("True"), Some("no"), Some(" false")] {
                assert_eq!(for_pod(detected, other), detected, "{other:?}");
            }
        }
    }
}
