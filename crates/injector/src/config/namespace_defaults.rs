//! Which annotations of namespaces count as defaults for their pods.
//!
//! istiod reads none of them, and namespaces may carry any of them without effect today. So nothing counts unless the bundle
//! lists it.

use super::decode::{At, Decoder};
use super::error::Fault;
use super::suggest;
use crate::names;

/// The annotations that may be defaults: those of a pod that tune its proxy without exempting traffic from it.
pub const DEFAULTS: [&str; 10] = [
    names::ANNOTATION_PROXY_CPU,
    names::ANNOTATION_PROXY_CPU_LIMIT,
    names::ANNOTATION_PROXY_MEMORY,
    names::ANNOTATION_PROXY_MEMORY_LIMIT,
    names::ANNOTATION_LOG_LEVEL,
    names::ANNOTATION_COMPONENT_LOG_LEVEL,
    names::ANNOTATION_AGENT_LOG_LEVEL,
    names::ANNOTATION_NATIVE_SIDECAR,
    names::ANNOTATION_TEMPLATES,
    names::ANNOTATION_PROXY_CONFIG,
];

/// Reads the list, each annotation once, in the order of [`DEFAULTS`].
pub(super) fn read(decoder: &mut Decoder<'_>, at: &At<'_>) -> Vec<&'static str> {
    let mut found = Vec::new();
    for at in decoder.list(at, "a list of annotations") {
        found.extend(known(decoder, &at));
    }
    DEFAULTS.into_iter().filter(|key| found.contains(key)).collect()
}

fn known(decoder: &mut Decoder<'_>, at: &At<'_>) -> Option<&'static str> {
    let key = decoder.string(at, "the key of an annotation")?;
    let known = find(&key);
    if known.is_none() {
        decoder.problem(at, not_a_default(&key));
    }
    known
}

/// The annotation with this key, if it may be a default.
pub(super) fn find(key: &str) -> Option<&'static str> {
    DEFAULTS.into_iter().find(|known| *known == key)
}

/// The fault of an annotation that may not be a default.
pub(super) fn not_a_default(key: &str) -> Fault {
    let nearest = suggest::nearest(key, DEFAULTS).map(str::to_owned);
    Fault::NotAccepted { found: super::error::quoted(key), accepted: DEFAULTS.join(", "), nearest }
}
