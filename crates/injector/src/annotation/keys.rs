//! Labels and annotations of a pod that look like Istio's and have no effect: misspelled, or in the wrong place.
//!
//! Kubernetes accepts all of them, so nothing else would report them.

use serde_json::{Map, Value};

use strsim::levenshtein;

use super::spelling::{elsewhere, looks_like_ours, meant, name_in_our_domain};
use super::table::{Group, TABLE};
use crate::warning::{Warning, shown};
use crate::{names, pod};

/// Labels that have a meaning on pods.
const POD_LABELS: [&str; 12] = [
    names::INJECT,
    names::REVISION,
    names::LABEL_TOPOLOGY_NETWORK,
    "istio.io/dataplane-mode",
    "istio.io/use-waypoint",
    "istio.io/use-waypoint-namespace",
    "security.istio.io/tlsMode",
    "service.istio.io/canonical-name",
    "service.istio.io/canonical-revision",
    "service.istio.io/workload-name",
    "topology.istio.io/cluster",
    "topology.istio.io/locality",
];

/// Other labels and annotations of Istio, which have a meaning on other objects, or are written by its tools.
const KNOWN_ELSEWHERE: [&str; 36] = [
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
    "install.operator.istio.io/owning-resource",
    "install.operator.istio.io/owning-resource-namespace",
    "istio.io/autoRegistrationGroup",
    "istio.io/connectedAt",
    "istio.io/disconnectedAt",
    "istio.io/dry-run",
    "istio.io/gateway-name",
    "istio.io/ingress-use-waypoint",
    "istio.io/tag",
    "istio.io/use-waypoint-canary",
    "istio.io/use-waypoint-canary-namespace",
    "istio.io/use-waypoint-canary-weight",
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
    "topology.istio.io/controlPlaneClusters",
    "topology.istio.io/subzone",
    "traffic.istio.io/nodeSelector",
];

/// The maximum number of keys that look like ours and are compared with the known ones: a pod may have as many as fit
/// into a request.
const MOST: usize = 32;

/// The map of the metadata that contains a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Label,
    Annotation,
}

/// Warnings about the labels and annotations of a pod that have no effect where they are.
///
/// `is_own` returns whether this injector handles a revision.
pub fn without_effect(pod: &Value, is_own: impl Fn(&str) -> bool) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (field, name) in [(Field::Label, "labels"), (Field::Annotation, "annotations")] {
        let entries = pod::at(pod, &["metadata", name]).and_then(Value::as_object);
        let keys = entries.into_iter().flat_map(Map::keys).filter(|key| looks_like_ours(key));
        let unknown = keys.filter(|key| !counts(field, key, pod, &is_own)).take(MOST);
        warnings.extend(unknown.filter_map(|key| check(field, key)));
    }
    warnings
}

/// Whether a key belongs on a pod: on any other object it has no effect.
pub fn is_setting_of_pods(key: &str) -> bool {
    matches!(key, names::INJECT | names::REVISION | names::LABEL_INJECTION)
        || super::row(key).is_some_and(|row| matches!(row.group, Group::Pod | Group::Agent))
}

/// Whether a key has a meaning where it is, or is not one of ours.
fn counts(field: Field, key: &str, pod: &Value, is_own: impl Fn(&str) -> bool) -> bool {
    let row = super::row(key).map(|row| row.group);
    let is_known = match field {
        Field::Label => POD_LABELS.contains(&key) || row == Some(Group::Foreign),
        // The injecting revision is recorded in an annotation with the label's key. Istio's own charts write it in
        // advance.
        Field::Annotation if key == names::REVISION => {
            pod::annotation(pod, names::ANNOTATION_STATUS).is_some()
                || pod::annotation(pod, key).is_some_and(is_own)
                || is_opted_out(pod.get("metadata"))
        }
        Field::Annotation => row.is_some_and(|group| group != Group::Namespace),
    };
    is_known || KNOWN_ELSEWHERE.contains(&key)
}

/// Whether a pod's metadata opts out of injection; in that case the revision does not matter.
pub fn is_opted_out(metadata: Option<&Value>) -> bool {
    let said = |field: &str| metadata?.get(field)?.get(names::INJECT)?.as_str();
    said("labels").or_else(|| said("annotations")) == Some("false")
}

/// The pod setting that was probably meant by a key that is not one.
pub fn misspelt_setting(is_label: bool, key: &str) -> Option<&'static str> {
    let field = if is_label { Field::Label } else { Field::Annotation };
    let is_known = super::row(key).is_some() || POD_LABELS.contains(&key) || KNOWN_ELSEWHERE.contains(&key);
    near(field, key).filter(|meant| !is_known && is_setting_of_pods(meant))
}

/// The key that was probably meant.
fn near(field: Field, key: &str) -> Option<&'static str> {
    let annotations = TABLE
        .iter()
        .filter(|row| !matches!(row.group, Group::Namespace | Group::Foreign) && row.key != names::REVISION)
        .map(|row| row.key);
    // Annotations that nobody sets, or that are no longer read, are not what the user meant.
    let of_use = TABLE.iter().filter(|row| matches!(row.group, Group::Pod | Group::Agent)).map(|row| row.key);
    meant(key, POD_LABELS.into_iter().chain(annotations))
        .or_else(|| is_revision(field, key).then_some(names::REVISION))
        .or_else(|| {
            same_field(key).is_none().then(|| elsewhere(key, POD_LABELS.into_iter().chain(of_use)))?
        })
}

fn check(field: Field, key: &str) -> Option<Warning> {
    let kind = match field {
        Field::Label => "label",
        Field::Annotation => "annotation",
    };
    let say = |code: &'static str, advice: &str| {
        Some(Warning::new(code, format!("{kind} {} has no effect; {advice}", shown(key))))
    };
    if is_namespace_label(key) {
        return say(
            "NAMESPACE_LABEL_ON_POD",
            &format!("it is for namespaces; on a pod, use {}", names::INJECT),
        );
    }
    match field {
        Field::Label if super::row(key).is_some() => {
            return say("ANNOTATION_AS_LABEL", "it is an annotation");
        }
        Field::Annotation if POD_LABELS.contains(&key) => return say("LABEL_AS_ANNOTATION", "it is a label"),
        _ => {}
    }
    let near = near(field, key);
    if let Some(name) = proxy_config_field(key, near) {
        let is_same = key.split('/').next_back() == Some(name);
        let subject = if is_same { "it" } else { name };
        let advice = format!("{subject} is a field of {}", names::ANNOTATION_PROXY_CONFIG);
        return say("PROXY_CONFIG_FIELD", &advice);
    }
    let near = near?;
    let is_label = POD_LABELS.contains(&near);
    match field {
        Field::Label if is_label => say("MISSPELT_LABEL", &format!("did you mean {near}?")),
        Field::Label => say("MISSPELT_LABEL", &format!("did you mean annotation {near}?")),
        // The key for opting in and out was originally an annotation, and still works.
        Field::Annotation if is_label && near != names::INJECT => {
            say("MISSPELT_ANNOTATION", &format!("did you mean label {near}?"))
        }
        Field::Annotation => say("MISSPELT_ANNOTATION", &format!("did you mean {near}?")),
    }
}

/// `istio-injection` and its common misspellings.
fn is_namespace_label(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.starts_with("istio") && !key.contains('/') && levenshtein(&key, names::LABEL_INJECTION) <= 3
}

/// `istio.io/revision`, which is not a misspelling as an annotation.
fn is_revision(field: Field, key: &str) -> bool {
    field == Field::Label && key.eq_ignore_ascii_case("istio.io/revision")
}

/// The field of ProxyConfig with the same name as a key in one of Istio's domains.
fn same_field(key: &str) -> Option<&'static str> {
    let name = name_in_our_domain(key)?;
    istio_config::gotypes::PROXY_CONFIG
        .fields
        .iter()
        .map(|field| field.json)
        .find(|field| field.eq_ignore_ascii_case(&name))
}

/// The field of ProxyConfig that a key in one of Istio's domains names, unless it is closer to another key.
fn proxy_config_field(key: &str, near: Option<&str>) -> Option<&'static str> {
    let name = name_in_our_domain(key)?;
    let fields = || istio_config::gotypes::PROXY_CONFIG.fields.iter().map(|field| field.json);
    let same = same_field(key);
    let is_slip = |field: &&str| field.len() >= 8 && levenshtein(&field.to_ascii_lowercase(), &name) <= 2;
    match near {
        // `proxy.istio.io/interceptionMode` may be a misspelling of the annotation with the same name.
        Some(near) if near.split_once('/').is_some_and(|(_, known)| known.eq_ignore_ascii_case(&name)) => {
            None
        }
        Some(_) => same,
        None => same.or_else(|| fields().find(is_slip)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(field: &str, key: &str) -> Vec<(&'static str, String)> {
        let pod = json!({"metadata": {field: {key: "x"}}});
        without_effect(&pod, |revision| revision == "default")
            .into_iter()
            .map(|warning| (warning.code, warning.message))
            .collect()
    }

    fn meant(field: &str, key: &str) -> Option<String> {
        let told = told(field, key);
        let (code, message) = told.first()?;
        assert!(code.starts_with("MISSPELT"), "{key}: {message}");
        message.split("; ").nth(1)?.strip_prefix("did you mean ")?.strip_suffix('?').map(str::to_owned)
    }

    #[test]
    fn finds_slips_of_the_pen() {
        for (key, expected) in [
            ("sidecar.istio.io/proxyCpu", "sidecar.istio.io/proxyCPU"),
            ("sidecar.istio.io/proxycpu", "sidecar.istio.io/proxyCPU"),
            ("sidecar.istio.io/proxyMemroy", "sidecar.istio.io/proxyMemory"),
            ("sidecar.istio.io/proxyMemoryLimits", "sidecar.istio.io/proxyMemoryLimit"),
            ("Sidecar.istio.io/inject", "sidecar.istio.io/inject"),
            ("istio.io/inject", "sidecar.istio.io/inject"),
            ("sidecar.istio.io/injection", "sidecar.istio.io/inject"),
            ("sidecar.istio.io/enabled", "sidecar.istio.io/inject"),
            ("sidecar.istio.io.inject", "sidecar.istio.io/inject"),
            ("sidecar.istio.io_inject", "sidecar.istio.io/inject"),
            ("sidecar.isito.io/inject", "sidecar.istio.io/inject"),
            ("sidecars.isto.io/inject", "sidecar.istio.io/inject"),
            ("traffic.istio.io/excludeInboundPorts", "traffic.sidecar.istio.io/excludeInboundPorts"),
            ("traffic.sidecar.istio.io/excludeOutboundPort", "traffic.sidecar.istio.io/excludeOutboundPorts"),
            ("status.istio.io/port", "status.sidecar.istio.io/port"),
            ("sidecar.istio.io/nativeSidecars", "sidecar.istio.io/nativeSidecar"),
            ("inject.istio.io/template", "inject.istio.io/templates"),
            ("inject.isto.io/templates", "inject.istio.io/templates"),
            ("proxy.istio.io.config", "proxy.istio.io/config"),
            ("topology.istio.io/networks", "label topology.istio.io/network"),
            ("istio.io/revision", "label istio.io/rev"),
        ] {
            let expected = if key == "istio.io/revision" { None } else { Some(expected) };
            assert_eq!(meant("annotations", key).as_deref(), expected, "{key}");
        }
    }

    #[test]
    fn finds_slips_in_labels() {
        for (key, expected) in [
            ("sidecar.istio.io.inject", "sidecar.istio.io/inject"),
            ("sidecar.istio.io/injct", "sidecar.istio.io/inject"),
            ("istio.io/revs", "istio.io/rev"),
            ("service.istio.io/canonical-nam", "service.istio.io/canonical-name"),
            ("sidecar.istio.io/proxyCpu", "annotation sidecar.istio.io/proxyCPU"),
        ] {
            assert_eq!(meant("labels", key).as_deref(), Some(expected), "{key}");
        }
    }

    #[test]
    fn leaves_other_keys_alone() {
        for key in [
            "example.com/proxyCPU",
            "proxyCPU",
            "sidecar.istio.io/somethingElse",
            "sidecar.opentelemetry.io/inject",
            "sidecar.jaegertracing.io/inject",
            "traffic.istio.io/nodeSelector",
            "networking.istio.io/exportTo",
            "ambient.istio.io/redirection",
            "proxies.istio.io/config",
            "istio",
            "istio-proxy",
            "istio.io/gateway-name",
            "",
            "/",
            "istio.io/",
        ] {
            for field in ["labels", "annotations"] {
                assert_eq!(told(field, key), [], "{key}");
            }
        }
        for label in POD_LABELS {
            assert_eq!(told("labels", label), [], "{label}");
        }
        for row in TABLE.iter().filter(|row| row.group != Group::Namespace && row.key != names::REVISION) {
            assert_eq!(told("annotations", row.key), [], "{}", row.key);
        }
    }

    #[test]
    fn says_what_stands_in_the_wrong_place() {
        for (field, key, code, advice) in [
            ("labels", "sidecar.istio.io/proxyCPU", "ANNOTATION_AS_LABEL", "it is an annotation"),
            ("labels", "proxy.istio.io/config", "ANNOTATION_AS_LABEL", "it is an annotation"),
            ("annotations", "istio.io/rev", "LABEL_AS_ANNOTATION", "it is a label"),
            ("annotations", "topology.istio.io/network", "LABEL_AS_ANNOTATION", "it is a label"),
            ("labels", "istio-injection", "NAMESPACE_LABEL_ON_POD", "it is for namespaces"),
            ("annotations", "istio-injection", "NAMESPACE_LABEL_ON_POD", "it is for namespaces"),
            ("labels", "istio-inject", "NAMESPACE_LABEL_ON_POD", "it is for namespaces"),
            (
                "annotations",
                "sidecar.istio.io/holdApplicationUntilProxyStarts",
                "PROXY_CONFIG_FIELD",
                "it is a field of proxy.istio.io/config",
            ),
            ("labels", "proxy.istio.io/Concurrency", "PROXY_CONFIG_FIELD", "concurrency is a field"),
            ("annotations", "proxy.istio.io/terminationDrainDurations", "PROXY_CONFIG_FIELD", "is a field"),
        ] {
            let told = told(field, key);
            assert_eq!(told.len(), 1, "{key}: {told:?}");
            assert_eq!(told[0].0, code, "{key}");
            assert!(told[0].1.contains(advice), "{key}: {}", told[0].1);
        }
    }

    #[test]
    fn every_annotation_and_label_of_istios_api_is_known() {
        let fixture: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/annotations.json")).unwrap();
        let of =
            |field: &str| fixture["istio"][field].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let (annotations, labels) = (of("annotations"), of("labels"));
        let is_known = |key: &str| {
            super::super::row(key).is_some() || POD_LABELS.contains(&key) || KNOWN_ELSEWHERE.contains(&key)
        };
        for key in annotations.iter().chain(&labels).filter(|key| looks_like_ours(key)) {
            assert!(is_known(key) || is_namespace_label(key), "{key}");
        }
        // New in 1.32.
        for key in ["use-waypoint-canary-weight", "use-waypoint-canary", "use-waypoint-canary-namespace"] {
            let key = format!("istio.io/{key}");
            assert!(annotations.iter().chain(&labels).any(|known| *known == key), "{key}");
        }
    }

    #[test]
    fn an_injected_pod_bears_the_revision_it_was_injected_by() {
        let pod = json!({"metadata": {"annotations": {"istio.io/rev": "default", "sidecar.istio.io/status": "{}"}}});
        assert_eq!(without_effect(&pod, |_| false), []);
    }

    #[test]
    fn finds_names_under_another_domain() {
        for (key, expected) in [
            ("sidecar.istio.io/excludeOutboundPorts", "traffic.sidecar.istio.io/excludeOutboundPorts"),
            ("istio.io/excludeInboundPorts", "traffic.sidecar.istio.io/excludeInboundPorts"),
            ("sidecar.istio.io/excludeOutboundPort", "traffic.sidecar.istio.io/excludeOutboundPorts"),
            ("proxy.istio.io/proxyCPU", "sidecar.istio.io/proxyCPU"),
            ("traffic.sidecar.istio.io/proxyMemoryLimit", "sidecar.istio.io/proxyMemoryLimit"),
            ("traffic.sidecar.istio.io/includePorts", "traffic.sidecar.istio.io/includeInboundPorts"),
            (
                "traffic.sidecar.istio.io/excludeOutboundIPs",
                "traffic.sidecar.istio.io/excludeOutboundIPRanges",
            ),
            ("sidecar.istio.io/cpu", "sidecar.istio.io/proxyCPU"),
            ("sidecar.istio.io/memoryLimit", "sidecar.istio.io/proxyMemoryLimit"),
            ("prometheus.istio/merge-metrics", "prometheus.istio.io/merge-metrics"),
            ("sidecar.istio.io/merge-metrics", "prometheus.istio.io/merge-metrics"),
            ("prometheus.istio.io/port", "prometheus.io/port"),
            ("sidecar.istio.io/config", "proxy.istio.io/config"),
            ("sidecar.istio.io/templates", "inject.istio.io/templates"),
            ("proxy.istio.io/inject", "sidecar.istio.io/inject"),
            ("sidecar.istio/inject", "sidecar.istio.io/inject"),
            ("inject.sidecar.istio.io", "sidecar.istio.io/inject"),
            ("sidecar.istio.io/canonical-name", "label service.istio.io/canonical-name"),
            ("sidecar.istio.io/podLevelResources", "outrigger.dev/podLevelResources"),
        ] {
            assert_eq!(meant("annotations", key).as_deref(), Some(expected), "{key}");
        }
        for (key, expected) in [
            ("istio.io/revision", "istio.io/rev"),
            ("istio/rev", "istio.io/rev"),
            ("sidecar.istio.io/rev", "istio.io/rev"),
            ("inject.sidecar.istio.io", "sidecar.istio.io/inject"),
            (
                "sidecar.istio.io/excludeOutboundPorts",
                "annotation traffic.sidecar.istio.io/excludeOutboundPorts",
            ),
        ] {
            assert_eq!(meant("labels", key).as_deref(), Some(expected), "{key}");
        }
        for key in [
            "example.istio.io/port",
            "sidecar.istio.io",
            "istio/enabled-for-us",
            "sidecar.opentelemetry.io/memory",
            "my-istio/cpu",
        ] {
            assert_eq!(told("annotations", key), [], "{key}");
        }
    }

    #[test]
    fn the_own_revision_and_that_of_a_pod_without_a_proxy_may_be_an_annotation() {
        let codes = |revision: &str, labels: Value, annotation: Option<&str>| {
            let mut pod = json!({"metadata": {"labels": labels, "annotations": {"istio.io/rev": revision}}});
            if let Some(inject) = annotation {
                pod["metadata"]["annotations"]["sidecar.istio.io/inject"] = json!(inject);
            }
            let told = without_effect(&pod, |revision| revision == "default");
            told.iter().map(|warning| warning.code).collect::<Vec<_>>()
        };
        let out = || json!({"sidecar.istio.io/inject": "false"});
        assert!(codes("default", json!({}), None).is_empty());
        assert!(codes("canary", out(), None).is_empty());
        assert!(codes("canary", json!({}), Some("false")).is_empty());
        assert_eq!(codes("canary", json!({}), None), ["LABEL_AS_ANNOTATION"]);
        assert_eq!(
            codes("canary", json!({"sidecar.istio.io/inject": "true"}), Some("false")),
            ["LABEL_AS_ANNOTATION"]
        );
    }

    #[test]
    fn not_all_keys_of_a_huge_pod_are_compared() {
        let labels: Map<String, Value> =
            (0..1000).map(|number| (format!("sidecar.istio.io.inject{number}"), json!(""))).collect();
        assert!(without_effect(&json!({"metadata": {"labels": labels}}), |_| false).len() <= MOST);
    }
}
