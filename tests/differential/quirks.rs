//! Known differences, each with its reason.

use serde_json::Value;

use super::{manifests::Manifest, typed};

/// The question and the differences.
pub(crate) struct Difference<'a> {
    pub(crate) asked: Asked<'a>,
    /// The differences, each with its path.
    pub(crate) found: &'a [String],
}

/// The question.
#[derive(Clone, Copy)]
pub(crate) enum Asked<'a> {
    Pod(&'a Value),
    Manifest(&'a Manifest),
}

/// A known difference.
pub(crate) struct Quirk {
    pub(crate) name: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) explains: fn(&Difference<'_>) -> bool,
}

pub(crate) const QUIRKS: &[Quirk] = &[
    Quirk {
        name: "STRUCTURE_SAFE",
        reason: "a string of the pod that YAML would read as something else stays that string here; Istio loses a part of it, \
                 or refuses the pod because what it rendered is no YAML",
        explains: |difference| {
            let hostile = hostile(&difference.asked);
            let rendered = ["invalid JSON document", "unmarshal patched pod", "strategic merge"];
            !hostile.is_empty()
                && difference.found.iter().all(|found| match found.split_once(": ours ") {
                    Some((_, ours)) => hostile.iter().any(|text| ours.contains(text.as_str())),
                    None => {
                        let broken = rendered.iter().any(|sign| found.contains(sign));
                        (found.starts_with("theirs denied") || found.starts_with("theirs refused")) && broken
                    }
                })
        },
    },
    Quirk {
        name: "NO_REVISION",
        reason: "kube-inject without a revision: `.Revision` is `default` to a template, and empty in Istio",
        explains: |difference| {
            let is_named = |found: &String| found.ends_with("ours \"default\", theirs \"none\"");
            matches!(difference.asked, Asked::Manifest(_)) && difference.found.iter().all(is_named)
        },
    },
    Quirk {
        name: "PANIC",
        reason: "Istio's handler panics, which ends the connection without an answer",
        explains: |difference| {
            difference.found.iter().all(|found| found.starts_with("theirs is broken: runtime error"))
        },
    },
    Quirk {
        name: "DROPPED_USER",
        reason: "on OpenShift the ID of the user's own proxy is taken away before the patch is made, so that the patch does not \
                 take it away: it stays if the template has none",
        explains: |difference| {
            difference.found.iter().all(|found| {
                [
                    "runAsUser: ours absent, theirs",
                    "runAsGroup: ours absent, theirs",
                    // A context without any other setting.
                    "/securityContext: ours absent, theirs {\"runAsUser\":",
                    "/securityContext: ours absent, theirs {\"runAsGroup\":",
                ]
                .iter()
                .any(|part| found.contains(part))
            })
        },
    },
    Quirk {
        name: "NEWER_FIELD",
        reason: "Istio's module is built with k8s.io/api 0.36, whose decoder drops what came to a pod with 0.37; unknown fields \
                 of a manifest stay here",
        explains: |difference| {
            matches!(difference.asked, Asked::Manifest(_))
                && difference.found.iter().all(|found| is_newer(found))
        },
    },
    Quirk {
        name: "NEWER_MESH_FIELD",
        reason: "Istio's module is built with an older istio.io/api, whose decoder drops the fields that 1.32 brought",
        explains: |difference| {
            difference
                .found
                .iter()
                .all(|found| found.contains("/env/") && found.contains("\\\"caCertCredentialName\\\":"))
        },
    },
    Quirk {
        name: "ALWAYS_WRITTEN",
        reason: "kube-inject decodes a manifest into Go's types and writes some fields although nobody said them (`port: 0` of a \
                 handler, an empty key of a list); no API server takes such an object with or without them",
        explains: |difference| {
            let is_written = |found: &String| {
                found.ends_with("/port: ours absent, theirs 0")
                    || found.contains("/httpGet/port: ours ") && found.ends_with(", theirs 0")
                    || found.contains(": ours absent, theirs {\"") && found.ends_with("\":{\"port\":0}}")
                    || found.ends_with("/httpGet: ours absent, theirs {\"port\":0}")
                    || found.ends_with("/tcpSocket: ours absent, theirs {\"port\":0}")
                    || found.contains("/proxy.istio.io/overrides: ours")
                        && found.contains(r#"\"restartPolicy\":\"\""#)
                    || found.starts_with("ours refused: ")
                        && found.contains("by which the elements of this list are matched")
            };
            matches!(difference.asked, Asked::Manifest(_)) && difference.found.iter().all(is_written)
        },
    },
    Quirk {
        name: "ZERO_OF_A_WORKLOAD",
        reason: "what Go's types leave out of a manifest says the same: `paused: false`, a null in a map of strings",
        explains: |difference| {
            let is_zero = |found: &String| {
                found.ends_with("/paused: ours false, theirs absent")
                    || found.ends_with(": ours null, theirs \"\"")
            };
            matches!(difference.asked, Asked::Manifest(_)) && difference.found.iter().all(is_zero)
        },
    },
];

/// Fields of a pod that k8s.io/api 0.37 has and 0.36 lacks.
const NEWER: [&str; 7] = [
    "user",
    "defaultUser",
    "httpGet/protocol",
    "grpc/mode",
    "emptyDir/mode",
    "bindMountOptions",
    "evictionResponders",
];

/// Whether a difference is a newer field, an object with only such fields, or a record that contains one.
fn is_newer(found: &str) -> bool {
    let Some((path, ours)) = found.split_once(": ours ") else { return false };
    let names = || NEWER.iter().map(|field| field.rsplit('/').next().unwrap_or(field));
    let quotes = |name: &str| ours.contains(&format!("{name}\\\":"));
    NEWER.iter().any(|field| path.ends_with(&format!("/{field}")))
        || ours.ends_with(", theirs absent") && names().any(|name| ours.contains(&format!("\"{name}\":")))
        || path.ends_with("/proxy.istio.io~1overrides") && names().any(quotes)
        || path.ends_with("/proxy.istio.io/overrides") && names().any(quotes)
}

/// Strings of labels and annotations that change their type if a template does not quote them, in JSON notation.
fn hostile(asked: &Asked<'_>) -> Vec<String> {
    fn collect(value: &Value, all: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    match value {
                        Value::Object(texts) if ["labels", "annotations"].contains(&key.as_str()) => {
                            let texts =
                                texts.values().filter_map(Value::as_str).filter(|text| is_hostile(text));
                            all.extend(texts.map(as_shown));
                        }
                        _ => collect(value, all),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, all)),
            _ => {}
        }
    }
    // Those may also come from a ProxyConfig.
    let mut all: Vec<_> =
        typed::STRINGS.iter().filter(|text| is_hostile(text)).map(|text| as_shown(text)).collect();
    match asked {
        Asked::Pod(pod) => collect(pod, &mut all),
        Asked::Manifest(manifest) => manifest.objects.iter().for_each(|object| collect(object, &mut all)),
    }
    all
}

/// In the notation of a difference.
fn as_shown(text: &str) -> String {
    format!("{text:?}").trim_matches('"').to_owned()
}

fn is_hostile(text: &str) -> bool {
    text.trim() != text
        || text.contains(['"', '\'', '\n', '\u{2028}', '`'])
        || [": ", " #", "{{"].iter().any(|part| text.contains(part))
        || text.starts_with(['#', '-', '{', '[', '%', '&', '*', '!', '|', '>', '@', '?', ','])
}
