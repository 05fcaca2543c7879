//! Keys that look like a known one and are none.
//!
//! Kubernetes takes any annotation, so a slip of the pen is silent: `sidecar.istio.io/proxyCpu` does nothing.

use super::table::{Group, TABLE};
use crate::inject::warning::{Warning, shown};

/// A warning when the key is near a known one: the same letters in other cases, or at most two edits away.
pub(super) fn near_miss(key: &str) -> Option<Warning> {
    if !is_ours(key) || is_elsewhere_known(key) {
        return None;
    }
    let known = TABLE
        .iter()
        .filter(|row| row.group != Group::Namespace && row.group != Group::Foreign)
        .map(|row| row.key);
    let nearest = known.filter_map(|known| Some((distance(key, known)?, known))).min()?;
    let message = format!("annotation {} has no effect; {} is meant?", shown(key), nearest.1);
    Some(Warning::new("MISSPELT_ANNOTATION", message))
}

/// Only keys in Istio's domain can be slips; others belong to somebody else.
pub(super) fn is_ours(key: &str) -> bool {
    key.len() <= 128
        && key.split_once('/').is_some_and(|(domain, _)| {
            let domain = domain.to_ascii_lowercase();
            domain == "istio.io" || domain.ends_with(".istio.io")
        })
}

/// Annotations and labels of Istio 1.32 that the table does not have: they mean something to others, or on other objects.
const ELSEWHERE_KNOWN: &[&str] = &[
    "alpha.istio.io/canonical-serviceaccounts",
    "alpha.istio.io/kubernetes-serviceaccounts",
    "ambient.istio.io/bypass-inbound-capture",
    "ambient.istio.io/dns-capture",
    "ambient.istio.io/redirection",
    "ambient.istio.io/waypoint-inbound-binding",
    "galley.istio.io/analyze-suppress",
    "gateway.istio.io/controller-version",
    "gateway.istio.io/managed",
    "gateway.istio.io/name-override",
    "gateway.istio.io/service-account",
    "istio.io/autoRegistrationGroup",
    "istio.io/connectedAt",
    "istio.io/dataplane-mode",
    "istio.io/disconnectedAt",
    "istio.io/dry-run",
    "istio.io/ingress-use-waypoint",
    "istio.io/tag",
    "istio.io/use-waypoint",
    "istio.io/use-waypoint-canary",
    "istio.io/use-waypoint-canary-namespace",
    "istio.io/use-waypoint-canary-weight",
    "istio.io/use-waypoint-namespace",
    "istio.io/waypoint-for",
    "istio.io/workloadController",
    "networking.istio.io/enable-autoallocate-ip",
    "networking.istio.io/exportTo",
    "networking.istio.io/gatewayPort",
    "networking.istio.io/service-type",
    "networking.istio.io/traffic-distribution",
    "operator.istio.io/component",
    "operator.istio.io/managed",
    "operator.istio.io/version",
    "security.istio.io/tlsMode",
    "service.istio.io/canonical-name",
    "service.istio.io/canonical-revision",
    "service.istio.io/workload-name",
    "topology.istio.io/cluster",
    "topology.istio.io/controlPlaneClusters",
    "topology.istio.io/locality",
    "topology.istio.io/network",
    "topology.istio.io/subzone",
    "traffic.istio.io/nodeSelector",
];

fn is_elsewhere_known(key: &str) -> bool {
    ELSEWHERE_KNOWN.contains(&key)
}

/// How far two keys are apart if it is at most two edits, cases apart; a swap of domains' parts counts as one edit, since
/// `traffic.istio.io/` for `traffic.sidecar.istio.io/` is the commonest slip.
fn distance(key: &str, known: &str) -> Option<usize> {
    let (key, known) = (key.to_ascii_lowercase(), known.to_ascii_lowercase());
    let (domain, name) = key.split_once('/')?;
    let (known_domain, known_name) = known.split_once('/')?;
    let confused = domain != known_domain && without_sidecar(domain) == without_sidecar(known_domain);
    let domains = if confused { 1 } else { edits(domain, known_domain) };
    let total = domains + edits(name, known_name);
    (total <= 2).then_some(total)
}

fn without_sidecar(domain: &str) -> String {
    domain.split('.').filter(|part| *part != "sidecar").collect::<Vec<_>>().join(".")
}

/// Edits between two words, a swap of neighbours counting as two.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, letter) in from.chars().enumerate() {
        let mut left = row + 1;
        let mut line = vec![left];
        for ((other, above), diagonal) in to.iter().zip(last.iter().skip(1)).zip(&last) {
            left = (diagonal + usize::from(letter != *other)).min(above + 1).min(left + 1);
            line.push(left);
        }
        last = line;
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(key: &str) -> Option<String> {
        let message = near_miss(key)?.message;
        message.split("; ").nth(1)?.strip_suffix(" is meant?").map(str::to_owned)
    }

    #[test]
    fn finds_slips_of_the_pen() {
        for (key, expected) in [
            ("sidecar.istio.io/proxyCpu", "sidecar.istio.io/proxyCPU"),
            ("sidecar.istio.io/proxycpu", "sidecar.istio.io/proxyCPU"),
            ("sidecar.istio.io/proxyMemroy", "sidecar.istio.io/proxyMemory"),
            ("Sidecar.istio.io/inject", "sidecar.istio.io/inject"),
            ("istio.io/inject", "sidecar.istio.io/inject"),
            ("traffic.istio.io/excludeInboundPorts", "traffic.sidecar.istio.io/excludeInboundPorts"),
            ("traffic.sidecar.istio.io/excludeOutboundPort", "traffic.sidecar.istio.io/excludeOutboundPorts"),
            ("status.istio.io/port", "status.sidecar.istio.io/port"),
            ("sidecar.istio.io/nativeSidecars", "sidecar.istio.io/nativeSidecar"),
            ("inject.istio.io/template", "inject.istio.io/templates"),
            ("proxies.istio.io/config", "proxy.istio.io/config"),
        ] {
            let found = meant(key);
            if key == "proxies.istio.io/config" {
                assert_eq!(found, None, "three edits are too far");
            } else {
                assert_eq!(found.as_deref(), Some(expected), "{key}");
            }
        }
    }

    #[test]
    fn leaves_other_keys_alone() {
        for key in [
            "example.com/proxyCPU",
            "proxyCPU",
            "sidecar.istio.io/somethingElse",
            "traffic.istio.io/nodeSelector",
            "networking.istio.io/exportTo",
            "ambient.istio.io/redirection",
            "",
            "/",
            "istio.io/",
        ] {
            assert_eq!(meant(key), None, "{key}");
        }
    }

    #[test]
    fn knows_every_annotation_and_label_of_istios_api() {
        let fixture: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/annotations.json")).unwrap();
        let known =
            |field: &str| fixture["istio"][field].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let (annotations, labels) = (known("annotations"), known("labels"));
        for key in annotations.iter().chain(&labels).filter(|key| is_ours(key)) {
            // Who has a row is not asked.
            let has_row = super::super::row(key).is_some();
            assert!(has_row || is_elsewhere_known(key) && meant(key).is_none(), "{key}");
        }
        for key in ELSEWHERE_KNOWN {
            assert!(annotations.iter().chain(&labels).any(|known| known == key), "{key} is gone");
        }
        // New in 1.32.
        assert!(annotations.iter().any(|key| key == "istio.io/use-waypoint-canary-weight"));
        assert!(labels.iter().any(|key| key == "istio.io/use-waypoint-canary"));
        assert!(labels.iter().any(|key| key == "istio.io/use-waypoint-canary-namespace"));
    }

    #[test]
    fn no_row_is_a_near_miss_of_another_that_would_be_told() {
        for row in TABLE {
            assert!(super::super::row(row.key).is_some());
        }
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
    }
}
