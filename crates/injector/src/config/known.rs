//! Collects the keys of values that are read, to detect misspelled ones at every depth: keys that are given and that
//! nothing reads, and keys that templates read and that nothing gives.
//!
//! Values are free-form: custom templates may read anything, and a complete istiod values file has keys that nothing
//! here reads. A given key is therefore reported only if it is unknown *and* similar to a known sibling.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Map, Value};

use super::decode::{At, Decoder, join};
use super::error::quoted;
use super::values::{self, Shape};
use super::{Injector, injector, suggest};
use crate::functions::FUNCTIONS;
use gotemplate::Template;

/// Keys that Istio's charts have at the top of their values, or below `global`, as well as one level deeper.
const OF_THE_CHART: [&str; 12] = [
    "hub",
    "tag",
    "variant",
    "image",
    "imagePullPolicy",
    "imagePullSecrets",
    "priorityClassName",
    "resources",
    "networkPolicy",
    "istiodRemote",
    "seccompProfile",
    "tracer",
];

/// The known keys below a key; none below free-form maps.
#[derive(Clone, Debug, Default)]
struct Known(BTreeMap<String, Known>);

/// The keys of values that exist, for templates that read others.
#[derive(Debug)]
pub(crate) struct KnownValues(Known);

/// A key that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnknownKey {
    /// Its index in the path.
    pub(crate) index: usize,
    /// The path that was probably meant, such as `global.proxy`, up to and including this key.
    pub(crate) meant: Option<String>,
}

impl KnownValues {
    /// The keys that `values` has, that the embedded defaults have, that have a type, and that the embedded templates
    /// read.
    pub(crate) fn of(values: &Value) -> KnownValues {
        static EMBEDDED: LazyLock<Known> = LazyLock::new(|| {
            let mut known = Known::default();
            known.add_value(values::defaults());
            known.add_shape(&values::SHAPE);
            let parsed = injector::EMBEDDED
                .iter()
                .filter_map(|(name, source)| Template::parse(name, source, &FUNCTIONS).ok());
            for path in parsed.flat_map(|template| template.values_read()) {
                known.add_path(&path);
            }
            known.forget_below_maps(&values::SHAPE);
            known
        });
        let mut known = EMBEDDED.clone();
        known.add_value(values);
        known.forget_below_maps(&values::SHAPE);
        KnownValues(known)
    }

    /// The first key of a path that does not exist.
    pub(crate) fn unknown(&self, path: &[String]) -> Option<UnknownKey> {
        let mut known = &self.0;
        for (index, key) in path.iter().enumerate() {
            if known.0.is_empty() {
                return None;
            }
            match known.0.get(key) {
                Some(below) => known = below,
                None => {
                    let sibling = suggest::nearest(key, known.0.keys().map(String::as_str)).map(|near| {
                        let above = path.get(..index).unwrap_or_default();
                        above.iter().map(String::as_str).chain([near]).collect::<Vec<_>>().join(".")
                    });
                    let meant = sibling.or_else(|| known.place_of(key, &self.0));
                    return Some(UnknownKey { index, meant });
                }
            }
        }
        None
    }
}

/// Warns about misspelled keys, at every depth that is read, and about sections that belong inside `global`.
pub(super) fn check(decoder: &mut Decoder<'_>, at: &At<'_>, injector: &Injector) {
    let mut known = Known::default();
    known.add_value(values::defaults());
    known.add_shape(&values::SHAPE);
    for path in injector.templates.values().flat_map(Template::values_read) {
        known.add_path(&path);
    }
    check_below(decoder, at, &known, &known);
}

fn check_below(decoder: &mut Decoder<'_>, at: &At<'_>, known: &Known, all: &Known) {
    if known.0.is_empty() || !at.value().is_object() {
        return;
    }
    for (key, entry) in decoder.free_map(at) {
        if let Some(below) = known.0.get(&key) {
            check_below(decoder, &entry, below, all);
        } else if let Some(near) = suggest::nearest(&key, known.0.keys().map(String::as_str)) {
            let message = format!("unknown key, ignored; nearest: {}", quoted(near));
            decoder.warn(&entry.path, message);
        } else if let Some(place) = known.place_of(&key, all) {
            let message = format!("unknown key, ignored; did you mean values.{place}?");
            decoder.warn(&entry.path, message);
        }
    }
}

impl Known {
    fn at(&mut self, key: &str) -> &mut Known {
        self.0.entry(key.to_owned()).or_default()
    }

    fn add_value(&mut self, value: &Value) {
        for (key, value) in value.as_object().into_iter().flatten() {
            self.at(key).add_value(value);
        }
    }

    fn add_shape(&mut self, shape: &Shape) {
        if let Shape::Fields(fields) = shape {
            for (key, shape) in *fields {
                self.at(key).add_shape(shape);
            }
        }
    }

    /// Makes the maps with free keys free: no key in them is unknown.
    fn forget_below_maps(&mut self, shape: &Shape) {
        match shape {
            Shape::Map => self.0.clear(),
            Shape::Fields(fields) => {
                for (key, shape) in *fields {
                    if let Some(below) = self.0.get_mut(*key) {
                        below.forget_below_maps(shape);
                    }
                }
            }
            _ => {}
        }
    }

    fn add_path(&mut self, path: &[String]) {
        path.iter().fold(self, |known, key| known.at(key));
    }

    /// Where in the values a key at the top or below `global` belongs: one level deeper, if it is known there.
    fn place_of(&self, key: &str, all: &Known) -> Option<String> {
        let global = all.0.get("global")?;
        let is_top = std::ptr::eq(self, all);
        if is_top && !OF_THE_CHART.contains(&key) && global.0.contains_key(key) {
            return Some(join("global", key));
        }
        let proxy = global.0.get("proxy").filter(|_| is_top || std::ptr::eq(self, global))?;
        (!OF_THE_CHART.contains(&key) && proxy.0.contains_key(key)).then(|| join("global.proxy", key))
    }
}

/// The keys that a template reads and that the defaults have, but the values lack; those of entirely missing sections
/// first.
pub(super) fn lacking(values: &Value, template: &Template) -> Vec<String> {
    let at = |value: &Value, path: &[String]| {
        path.iter().try_fold(value, |value, key| value.get(key)).is_some_and(|value| !value.is_null())
    };
    let is_leaf = |path: &[String]| {
        path.iter()
            .try_fold(values::defaults(), |value, key| value.get(key))
            .is_some_and(|value| value.as_object().is_none_or(Map::is_empty))
    };
    let mut all: Vec<(bool, String)> = template
        .values_read()
        .iter()
        .filter(|path| at(values::defaults(), path) && is_leaf(path) && !at(values, path))
        .map(|path| {
            let section = path.get(..1).unwrap_or_default();
            (at(values, section), path.iter().fold(String::new(), |path, key| join(&path, key)))
        })
        .collect();
    all.sort();
    all.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{InjectorConfig, Source, headed::headed};

    fn warnings(values: &str) -> Vec<String> {
        let text = headed(&format!("values: {values}"));
        let (_, warnings) = InjectorConfig::from_bundle(Source { name: "b", text: &text }).unwrap();
        warnings.iter().map(ToString::to_string).collect()
    }

    // C-08
    #[test]
    fn misspelled_keys_are_told_at_every_depth() {
        for (values, path, near) in [
            ("{globl: {hub: x}}", "values.globl", "\"global\""),
            ("{global: {prox: {logLevel: debug}}}", "values.global.prox", "\"proxy\""),
            ("{global: {proxy: {loglevel: debug}}}", "values.global.proxy.loglevel", "\"logLevel\""),
            (
                "{global: {proxy: {startupProbe: {enable: true}}}}",
                "values.global.proxy.startupProbe.enable",
                "\"enabled\"",
            ),
            ("{global: {proxy: {resource: {}}}}", "values.global.proxy.resource", "\"resources\""),
            (
                "{global: {proxy: {resources: {request: {}}}}}",
                "values.global.proxy.resources.request",
                "\"requests\"",
            ),
            ("{global: {proxyInit: {image: x}}}", "values.global.proxyInit", "\"proxy_init\""),
            ("{pilot: {cni: {enable: true}}}", "values.pilot.cni.enable", "\"enabled\""),
            (
                "{sidecarInjectorWebhook: {rewriteAppHTTPProbes: true}}",
                "values.sidecarInjectorWebhook.rewriteAppHTTPProbes",
                "\"rewriteAppHTTPProbe\"",
            ),
            (
                "{global: {proxy: {holdApplicationUntilProxyStart: true}}}",
                "values.global.proxy.holdApplicationUntilProxyStart",
                "\"holdApplicationUntilProxyStarts\"",
            ),
            ("{revisionTag: [a]}", "values.revisionTag", "\"revisionTags\""),
        ] {
            let warnings = warnings(values);
            assert_eq!(warnings, [format!("{path}: unknown key, ignored; nearest: {near}")], "{values}");
        }
        for (values, place) in [
            ("{proxy: {logLevel: debug}}", "values.global.proxy"),
            ("{global: {logLevel: debug}}", "values.global.proxy.logLevel"),
            ("{statusPort: 15020}", "values.global.proxy.statusPort"),
        ] {
            let warnings = warnings(values);
            assert!(
                warnings.len() == 1 && warnings[0].ends_with(&format!("; did you mean {place}?")),
                "{warnings:?}"
            );
        }
    }

    #[test]
    fn free_keys_and_those_of_istios_charts_are_left_alone() {
        // An istiod values file may contain keys that no template reads.
        let chart = "{
            autoscaleEnabled: true, autoscaleMin: 1, replicaCount: 1, hub: h, tag: t, variant: v, image: pilot,
            traceSampling: 1, seccompProfile: {}, resources: {}, cni: {enabled: true}, env: {A: b}, envVarFrom: [], affinity: {}, cpu: {},
            ipFamilyPolicy: x, ipFamilies: [], istiodRemote: {enabled: false}, telemetry: {enabled: true}, revision: x,
            revisionTags: [], defaultRevision: default, ownerName: x, meshConfig: {}, experimental: {}, profile: demo,
            base: {}, compatibilityVersion: x, platform: gke, ztunnel: {}, pilot: {autoscaleEnabled: true, hub: h,
            tag: t, image: i, cpu: {}, env: {X: y}, envVarFrom: [], cni: {enabled: false, provider: default}},
            gateways: {istio-egressgateway: {}, istio-ingressgateway: {}, securityContext: {}},
            global: {istiod: {enableAnalysis: true}, jwtPolicy: x, oneNamespace: false, defaultNodeSelector: {},
            defaultTolerations: [], tracer: {zipkin: {}}, ipFamilyPolicy: x, caName: c, certSigners: [], arch: {},
            podDNSSearchNamespaces: [], localityLbSetting: {}, autoscalingv2API: true, trustDomain: x,
            multiCluster: {enabled: true, clusterName: c, globalDomainSuffix: x, includeEnvoyFilter: false},
            sds: {token: {aud: a}}, proxy: {enableCoreDump: true, dnsRefreshRate: 300s, envoyStatsd: {},
            readinessSuccessThreshold: 1, lifecycle: {postStart: {}}, protocolDetectionTimeout: 1s,
            resources: {limits: {ephemeral-storage: 1Gi, memory: 1Gi}}}, proxy_init: {image: x, resources: {}}},
            mine: {anything: 1}}";
        assert_eq!(warnings(chart), Vec::<String>::new());
    }

    #[test]
    fn what_templates_of_ones_own_read_is_known() {
        let text = "values: {global: {prox: 1}}\ninjector: {templates: {own: '{{ .Values.global.prox }}'}}\n";
        let (_, warnings) = InjectorConfig::from_bundle(Source { name: "b", text: &headed(text) }).unwrap();
        assert_eq!(warnings, []);
    }
}
