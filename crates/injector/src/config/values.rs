//! The values that templates see: the given ones over the embedded defaults, by Helm's rules.
//!
//! Values are a free-form map; only those that the injector itself or Istio's own templates read have a type here, the
//! one that Istio's `values_types.proto` gives them.

use std::sync::LazyLock;

use serde_json::{Map, Number, Value};

use super::decode::{At, Decoder};
use super::injector;
use kubernetes_yaml::{self as yaml, Kind, Limits};

/// The embedded defaults.
pub(super) fn defaults() -> &'static Value {
    // A test checks that the text parses; the fallback is an empty map.
    static DEFAULTS: LazyLock<Value> = LazyLock::new(|| {
        yaml::load(include_str!("defaults/values.yaml"), &Limits::default())
            .unwrap_or_else(|_| Value::Object(Map::new()))
    });
    &DEFAULTS
}

/// Merges `given` over `defaults` like Helm's `chartutil.CoalesceValues`: maps are merged key by key, everything else
/// replaces, and a null removes the default of its key. A null without a default stays.
pub(super) fn over(defaults: &Value, given: &Value) -> Value {
    let (Value::Object(base), Value::Object(top)) = (defaults, given) else { return given.clone() };
    let mut merged = base.clone();
    for (key, value) in top {
        match base.get(key) {
            Some(_) if value.is_null() => {
                merged.remove(key);
            }
            Some(default) => {
                merged.insert(key.clone(), over(default, value));
            }
            None => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(merged)
}

/// The inverse of [`over`]: the values to give so that `over(defaults, given)` is `wanted`. Everything is given, and
/// defaults that `wanted` does not have are nulls. A null in `wanted` that has a default becomes absent, which
/// templates cannot distinguish.
pub(super) fn under(defaults: &Value, wanted: &Value) -> Value {
    let (Value::Object(base), Value::Object(top)) = (defaults, wanted) else { return wanted.clone() };
    let mut given = top.clone();
    for (key, default) in base {
        let value = top.get(key).map_or(Value::Null, |value| under(default, value));
        given.insert(key.clone(), value);
    }
    Value::Object(given)
}

/// Reads the given values as a map, and checks the types of those that are used.
pub(super) fn read(decoder: &mut Decoder<'_>, at: &At<'_>) -> Value {
    match at.value() {
        Value::Object(map) => {
            check(decoder, at, &SHAPE);
            Value::Object(map)
        }
        Value::Null => Value::Object(Map::new()),
        _ => {
            decoder.refuse(at, "a map");
            Value::Object(Map::new())
        }
    }
}

/// Warns about values that have an effect in Istio's chart, where they become the injector's configuration, but none
/// here.
pub(super) fn hint_at_chart_values(
    decoder: &mut Decoder<'_>,
    path: &str,
    given: &Value,
    injector: &injector::Read,
) {
    let is_set = |value: &Value| match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
        _ => false,
    };
    let webhook = given.get("sidecarInjectorWebhook");
    for key in [
        "neverInjectSelector",
        "alwaysInjectSelector",
        "injectedAnnotations",
        "templates",
        "defaultTemplates",
    ] {
        if webhook.and_then(|webhook| webhook.get(key)).is_some_and(is_set) && !injector.given.contains(key) {
            let path = format!("{path}.sidecarInjectorWebhook.{key}");
            decoder.warn(
                &path,
                format!("has no effect here: Istio's chart copies it; give it as injector.{key}"),
            );
        }
    }
    let auto_inject = given.pointer("/global/proxy/autoInject").and_then(Value::as_str);
    if auto_inject.is_some_and(|policy| policy != "enabled") && !injector.given.contains("policy") {
        let path = format!("{path}.global.proxy.autoInject");
        decoder.warn(&path, "has no effect here: Istio's chart copies it; give it as injector.policy");
    }
}

/// The type of a value.
pub(super) enum Shape {
    Text,
    /// A string or a number (an image tag).
    Tag,
    Bool,
    Uint32,
    Map,
    Texts,
    OneOf(&'static [&'static str]),
    Fields(&'static [(&'static str, Shape)]),
}

use Shape::{Bool, Fields, OneOf, Tag, Text, Texts, Uint32};

/// The values that are used, with their types.
pub(super) static SHAPE: Shape = Fields(&[
    ("revision", Text),
    ("revisionTags", Texts),
    ("global", Fields(GLOBAL)),
    ("pilot", Fields(&[("cni", Fields(&[("enabled", Bool), ("provider", Text)])), ("env", Shape::Map)])),
    ("gateways", Fields(&[("securityContext", Shape::Map), ("seccompProfile", Shape::Map)])),
    (
        "sidecarInjectorWebhook",
        Fields(&[
            ("rewriteAppHTTPProbe", Bool),
            ("enableNamespacesByDefault", Bool),
            ("preStopSleepSeconds", Uint32),
            ("podLevelResources", OneOf(&["add", "keep", "refuse"])),
            ("privilegedProxies", OneOf(&["allow", "refuse"])),
        ]),
    ),
]);

const GLOBAL: &[(&str, Shape)] = &[
    ("hub", Text),
    ("tag", Tag),
    ("variant", Text),
    ("imagePullPolicy", Text),
    ("imagePullSecrets", Texts),
    ("istioNamespace", Text),
    ("caAddress", Text),
    ("caName", Text),
    ("pilotCertProvider", Text),
    ("trustBundleName", Text),
    ("meshID", Text),
    ("network", Text),
    ("multiCluster", Fields(&[("clusterName", Text)])),
    ("mountMtlsCerts", Bool),
    ("sds", Fields(&[("token", Fields(&[("aud", Text)]))])),
    ("sts", Fields(&[("servicePort", Uint32)])),
    ("logging", Fields(&[("level", Text)])),
    ("logAsJson", Bool),
    ("nativeNftables", Bool),
    ("proxy", Fields(PROXY)),
    ("proxy_init", Fields(&[("image", Text), ("forceApplyIptables", Bool)])),
    ("waypoint", Shape::Map),
];

const PROXY: &[(&str, Shape)] = &[
    ("image", Text),
    ("autoInject", Text),
    ("clusterDomain", Text),
    ("logLevel", Text),
    ("componentLogLevel", Text),
    ("outlierLogPath", Text),
    ("tracer", OneOf(&["zipkin", "lightstep", "datadog", "stackdriver", "openCensusAgent", "none"])),
    ("privileged", Bool),
    ("seccompProfile", Shape::Map),
    ("lifecycle", Shape::Map),
    ("includeIPRanges", Text),
    ("excludeIPRanges", Text),
    ("includeInboundPorts", Text),
    ("excludeInboundPorts", Text),
    ("includeOutboundPorts", Text),
    ("excludeOutboundPorts", Text),
    ("statusPort", Uint32),
    ("readinessInitialDelaySeconds", Uint32),
    ("readinessPeriodSeconds", Uint32),
    ("readinessFailureThreshold", Uint32),
    ("startupProbe", Fields(&[("enabled", Bool), ("failureThreshold", Uint32)])),
    ("resources", Fields(&[("requests", Shape::Map), ("limits", Shape::Map)])),
    ("holdApplicationUntilProxyStarts", Bool),
];

fn check(decoder: &mut Decoder<'_>, at: &At<'_>, shape: &Shape) {
    let value = at.value();
    if value.is_null() {
        return;
    }
    match shape {
        Text => {
            decoder.string(at, "a string");
        }
        Tag if !matches!(value, Value::String(_) | Value::Number(_)) => {
            decoder.refuse(at, "a string or a number")
        }
        // YAML reads 1.30 as 1.3, also in Istio's chart.
        Tag => {
            if let (Value::Number(number), Kind::Scalar { text, .. }) = (&value, &at.node.kind)
                && number.to_string() != *text
            {
                let message = format!("{text} is read as the number {number}; put it in quotes");
                decoder.warn(&at.path, message);
            }
        }
        Bool if !value.is_boolean() => decoder.refuse(at, "true, false"),
        Uint32 if !is_uint32(&value) => decoder.refuse(at, format!("a whole number from 0 to {}", u32::MAX)),
        Shape::Map if !value.is_object() => decoder.refuse(at, "a map"),
        Texts => {
            for item in decoder.list(at, "a list of strings") {
                decoder.string(&item, "a string");
            }
        }
        OneOf(words) => {
            let words: Vec<(&'static str, ())> = words.iter().map(|word| (*word, ())).collect();
            decoder.one_of(at, &words);
        }
        Fields(fields) => {
            for (key, entry) in decoder.free_map(at) {
                if let Some((_, shape)) = fields.iter().find(|(name, _)| *name == key) {
                    check(decoder, &entry, shape);
                }
            }
        }
        Bool | Uint32 | Shape::Map => {}
    }
}

/// Values that protobuf's JSON accepts for a `uint32`: a whole number, optionally in quotes.
fn is_uint32(value: &Value) -> bool {
    let fits = |number: &Number| {
        number.as_u64().is_some_and(|n| u32::try_from(n).is_ok())
            || number.as_f64().is_some_and(|n| n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&n))
    };
    match value {
        Value::Number(number) => fits(number),
        Value::String(text) => text.parse::<u32>().is_ok(),
        _ => false,
    }
}
