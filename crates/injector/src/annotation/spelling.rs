//! Measures how close a key is to a known one.
//!
//! Kubernetes accepts any label and annotation, so a typo has no visible effect: `sidecar.istio.io/proxyCpu` does
//! nothing.

use strsim::levenshtein;

use crate::names;

/// Names in Istio's domains that users write when they mean `sidecar.istio.io/inject`.
const MEANT_FOR_INJECT: [&str; 9] = [
    "inject",
    "injected",
    "injection",
    "inject-sidecar",
    "injectsidecar",
    "enable",
    "enabled",
    "disable",
    "disabled",
];

/// Keys of other projects in our domain, and the keys they are mistaken for.
const MEANT_KEYS: [(&str, &str); 3] = [
    ("prometheus.istio.io/scrape", "prometheus.io/scrape"),
    ("prometheus.istio.io/port", "prometheus.io/port"),
    ("prometheus.istio.io/path", "prometheus.io/path"),
];

/// Names in any of Istio's domains that users write, and the keys they mean.
const MEANT_NAMES: [(&str, &str); 23] = [
    ("cpu", "sidecar.istio.io/proxyCPU"),
    ("cpurequest", "sidecar.istio.io/proxyCPU"),
    ("proxycpurequest", "sidecar.istio.io/proxyCPU"),
    ("cpulimit", names::ANNOTATION_PROXY_CPU_LIMIT),
    ("memory", "sidecar.istio.io/proxyMemory"),
    ("memoryrequest", "sidecar.istio.io/proxyMemory"),
    ("proxymemoryrequest", "sidecar.istio.io/proxyMemory"),
    ("memorylimit", names::ANNOTATION_PROXY_MEMORY_LIMIT),
    ("includeports", names::ANNOTATION_INCLUDE_INBOUND_PORTS),
    ("inboundports", names::ANNOTATION_INCLUDE_INBOUND_PORTS),
    ("excludeports", names::ANNOTATION_EXCLUDE_INBOUND_PORTS),
    ("outboundports", "traffic.sidecar.istio.io/includeOutboundPorts"),
    ("includeips", "traffic.sidecar.istio.io/includeOutboundIPRanges"),
    ("includeipranges", "traffic.sidecar.istio.io/includeOutboundIPRanges"),
    ("includeoutboundips", "traffic.sidecar.istio.io/includeOutboundIPRanges"),
    ("includeoutboundcidrs", "traffic.sidecar.istio.io/includeOutboundIPRanges"),
    ("excludeips", "traffic.sidecar.istio.io/excludeOutboundIPRanges"),
    ("excludeipranges", "traffic.sidecar.istio.io/excludeOutboundIPRanges"),
    ("excludeoutboundips", "traffic.sidecar.istio.io/excludeOutboundIPRanges"),
    ("excludeoutboundcidrs", "traffic.sidecar.istio.io/excludeOutboundIPRanges"),
    ("rewriteprobes", names::ANNOTATION_REWRITE_PROBES),
    ("rewriteappprobers", names::ANNOTATION_REWRITE_PROBES),
    ("rewriteappprobes", names::ANNOTATION_REWRITE_PROBES),
];

/// Domains in which Istio has settings, or in which users look for them. Names in these are compared regardless of
/// their length.
const DOMAINS: [&str; 15] = [
    "istio.io",
    "inject.istio.io",
    "networking.istio.io",
    "prometheus.istio.io",
    "prometheus.sidecar.istio.io",
    "proxy.istio.io",
    "proxy.sidecar.istio.io",
    "readiness.status.sidecar.istio.io",
    "security.istio.io",
    "service.istio.io",
    "sidecar.istio.io",
    "status.sidecar.istio.io",
    "topology.istio.io",
    "traffic.istio.io",
    "traffic.sidecar.istio.io",
];

/// The known key with the same name in another of Istio's domains, or with a name that the given one is commonly
/// confused with.
pub(super) fn elsewhere<'k>(key: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    /// Shorter names may mean something else.
    const LONG: usize = 12;
    let key = with_slash(key)?;
    let (domain, name) = key.split_once('/')?;
    if !is_ours(domain) {
        return None;
    }
    let is_common = DOMAINS.contains(&domain);
    let of = |table: &[(&str, &'static str)], written: &str| {
        table.iter().find(|(other, _)| *other == written).map(|(_, meant)| *meant)
    };
    if let Some(meant) = of(&MEANT_KEYS, &key).or_else(|| of(&MEANT_NAMES, name).filter(|_| is_common)) {
        return Some(meant);
    }
    let near = known.filter_map(|known| {
        let (_, known_name) = known.split_once('/')?;
        let is_long = known_name.len() >= LONG;
        if !is_common && !is_long || name.len().abs_diff(known_name.len()) > 2 {
            return None;
        }
        let away = levenshtein(name, &known_name.to_ascii_lowercase());
        (away <= if is_long { 2 } else { 0 }).then_some((away, known))
    });
    near.min().map(|(_, known)| known)
}

/// The nearest known key: the same letters in different case, or a few edits away.
pub(super) fn meant<'k>(key: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let key = with_slash(key)?;
    if let Some((domain, name)) = key.split_once('/')
        && matches!(domain, "istio.io" | "sidecar.istio.io" | "inject.istio.io")
        && MEANT_FOR_INJECT.contains(&name)
    {
        return Some(names::INJECT);
    }
    known.filter_map(|known| Some((distance(&key, known)?, known))).min().map(|(_, known)| known)
}

/// Whether a key may be a misspelling of one of Istio's at all; others belong to other projects, and comparing costs
/// time.
pub(super) fn looks_like_ours(key: &str) -> bool {
    const NEEDLES: [&[u8]; 7] = [b"istio", b"isto", b"isito", b"itsio", b"isti.", b"sidecar", b"outrigger"];
    let key = key.as_bytes();
    let starts = |rest: &[u8]| {
        NEEDLES
            .iter()
            .any(|needle| rest.get(..needle.len()).is_some_and(|start| start.eq_ignore_ascii_case(needle)))
    };
    key.len() <= LONGEST
        && (0..key.len()).any(|at| {
            key.get(at..).is_some_and(|rest| {
                matches!(rest.first(), Some(b'i' | b'I' | b's' | b'S' | b'o' | b'O')) && starts(rest)
            })
        })
}

/// The name part of a key in one of Istio's domains, in any case.
pub(super) fn name_in_our_domain(key: &str) -> Option<String> {
    let key = with_slash(key)?;
    let (domain, name) = key.split_once('/')?;
    is_ours(domain).then(|| name.to_owned())
}

fn is_ours(domain: &str) -> bool {
    domain == "istio.io" || domain.ends_with(".istio.io")
}

/// Longer keys are not typos.
const LONGEST: usize = 128;

/// Normalizes a lowercase key to a full domain, a slash and a name: `prometheus.istio/merge-metrics`,
/// `sidecar.istio.io.inject` and `inject.sidecar.istio.io`.
fn with_slash(key: &str) -> Option<String> {
    let key = key.to_ascii_lowercase();
    if let Some((domain, name)) = key.split_once('/') {
        let is_cut = domain == "istio" || domain.ends_with(".istio");
        return Some(if is_cut { format!("{domain}.io/{name}") } else { key });
    }
    let (domain, name) = key.split_once("istio.io")?;
    let name = name.trim_start_matches(['.', '-', '_', ':']);
    if !name.is_empty() {
        return Some(format!("{domain}istio.io/{name}"));
    }
    let (name, domain) = key.split_once('.').filter(|(_, domain)| is_ours(domain))?;
    Some(format!("{domain}/{name}"))
}

/// The distance of a lowercase key from a known one, if it is small enough for a typo. Swapped parts of a domain count
/// as one edit, because `traffic.istio.io/` for `traffic.sidecar.istio.io/` is the most common mistake.
fn distance(key: &str, known: &str) -> Option<usize> {
    let known = known.to_ascii_lowercase();
    let (domain, name) = key.split_once('/')?;
    let (known_domain, known_name) = known.split_once('/')?;
    if name.len().abs_diff(known_name.len()) > 3 || domain.len().abs_diff(known_domain.len()) > 8 {
        return None;
    }
    let confused = domain != known_domain && without_sidecar(domain) == without_sidecar(known_domain);
    let domains = if confused { 1 } else { levenshtein(domain, known_domain) };
    let total = domains + levenshtein(name, known_name);
    // A long name is recognizable after more edits.
    let allowed = if domain == known_domain && known_name.len() >= 6 { 3 } else { 2 };
    (total <= allowed).then_some(total)
}

fn without_sidecar(domain: &str) -> String {
    domain.split('.').filter(|part| *part != "sidecar").collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_look_like_ours_are_compared() {
        for key in
            ["sidecar.istio.io/inject", "Sidecar.Isto.io/x", "a.ISTIO.io/b", "istio-injection", "isti.io/rev"]
        {
            assert!(looks_like_ours(key), "{key}");
        }
        for key in
            ["app", "app.kubernetes.io/name", "pod-template-hash", "", "i", "site.io/x", &"istio".repeat(40)]
        {
            assert!(!looks_like_ours(key), "{key}");
        }
    }
}
