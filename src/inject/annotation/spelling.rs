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

/// Only keys in Istio's domain and in ours can be slips; others belong to somebody else.
pub(super) fn is_ours(key: &str) -> bool {
    key.len() <= 128
        && key.split_once('/').is_some_and(|(domain, _)| {
            let domain = domain.to_ascii_lowercase();
            matches!(domain.as_str(), "istio.io" | "outrigger.dev") || domain.ends_with(".istio.io")
        })
}

/// Annotations of Istio that are near one of the table and mean something of their own.
fn is_elsewhere_known(key: &str) -> bool {
    matches!(key, "traffic.istio.io/nodeSelector" | "istio.io/rev" | "istio.io/use-waypoint")
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
    fn no_row_is_a_near_miss_of_another_that_would_be_told() {
        for row in TABLE {
            assert!(super::super::row(row.key).is_some());
        }
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
    }
}
