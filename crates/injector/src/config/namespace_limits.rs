//! The limits of namespaces with which an injected pod is compared.

use serde_json::{Value, json};

use super::decode::{At, Decoder};

/// The settings `namespaceLimits` of a bundle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceLimits {
    /// Whether the user is warned of LimitRanges that forbid what injection adds.
    pub limit_ranges: bool,
    /// Whether the user is warned of ResourceQuotas without room for the proxy.
    pub resource_quotas: bool,
}

const KEYS: [&str; 2] = ["limitRanges", "resourceQuotas"];
const WORDS: [(&str, bool); 2] = [("warn", true), ("ignore", false)];

impl NamespaceLimits {
    /// Whether any are read.
    pub fn are_read(self) -> bool {
        self.limit_ranges || self.resource_quotas
    }

    /// The settings as they appear in a bundle.
    pub(super) fn to_value(self) -> Value {
        let word = |is_read| WORDS.iter().find(|(_, read)| *read == is_read).map_or("", |(word, _)| word);
        json!({"limitRanges": word(self.limit_ranges), "resourceQuotas": word(self.resource_quotas)})
    }
}

pub(super) fn read(decoder: &mut Decoder<'_>, at: &At<'_>) -> NamespaceLimits {
    let Some(mut fields) = decoder.record(at, &KEYS) else { return NamespaceLimits::default() };
    let mut word =
        |key: &str| fields.take(key).and_then(|at| decoder.one_of(&at, &WORDS)).unwrap_or_default();
    NamespaceLimits { limit_ranges: word("limitRanges"), resource_quotas: word("resourceQuotas") }
}
