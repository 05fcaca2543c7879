//! The templates of one configuration, specialised when they are first used.

use std::{collections::BTreeMap, sync::OnceLock};

use super::Template;

/// Whether the pod's ProxyConfig is the mesh's, which is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// It is not.
    Configuration,
    /// It is.
    ProxyConfig,
}

/// A map of the pod's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `metadata.annotations`.
    Annotations,
    /// `metadata.labels`.
    Labels,
}

/// The keys that a template asks the pod's annotations and labels for by name, sorted.
#[derive(Debug, Default)]
pub struct Keys {
    keys: Vec<(Place, String)>,
}

/// Which of a template's keys a pod has: a bit for each. A pod's shape, as far as one template looks at its metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present(u128);

impl Keys {
    /// The keys that fit; of more than that nothing is known.
    pub(super) fn new(keys: impl IntoIterator<Item = (Place, String)>) -> Keys {
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort();
        keys.dedup();
        keys.truncate(u128::BITS as usize);
        Keys { keys }
    }

    fn bit(&self, place: Place, key: &str) -> Option<u128> {
        let found = self.keys.binary_search_by(|(other, known)| (*other, known.as_str()).cmp(&(place, key)));
        found.ok().map(|index| 1 << index)
    }

    /// Which of the keys are among those of a pod.
    pub fn present<'k>(&self, pod: impl IntoIterator<Item = (Place, &'k str)>) -> Present {
        Present(pod.into_iter().filter_map(|(place, key)| self.bit(place, key)).fold(0, |all, bit| all | bit))
    }

    /// Whether no pod with these keys has this one.
    pub(super) fn lacks(&self, present: Present, place: Place, key: &str) -> bool {
        self.bit(place, key).is_some_and(|bit| present.0 & bit == 0)
    }
}

impl Present {
    /// Nothing is known to be absent.
    pub const ANY: Present = Present(u128::MAX);
}

/// Specialised templates by name. They belong to one configuration and never change; there are never more than some of
/// each, and what comes after them shares the one that knows nothing of the pod.
#[derive(Debug, Default)]
pub struct Specialised {
    templates: BTreeMap<String, Variants>,
}

#[derive(Debug)]
struct Variants {
    keys: Keys,
    without_proxy_config: OnceLock<Option<Template>>,
    any: OnceLock<Option<Template>>,
    /// Filled in order.
    by_keys: [OnceLock<(Present, Option<Template>)>; VARIANTS],
}

const VARIANTS: usize = 32;

impl Specialised {
    /// Room for these templates.
    pub fn new(templates: &BTreeMap<String, Template>) -> Specialised {
        let variants = |template: &Template| Variants {
            keys: template.keys(),
            without_proxy_config: OnceLock::new(),
            any: OnceLock::new(),
            by_keys: Default::default(),
        };
        let templates = templates.iter().map(|(name, template)| (name.clone(), variants(template)));
        Specialised { templates: templates.collect() }
    }

    /// The template of this name for a pod whose annotations and labels have these keys, made when it is first asked
    /// for; nothing if it cannot be specialised.
    pub fn template<'k>(
        &self,
        name: &str,
        knowledge: Knowledge,
        pod: impl IntoIterator<Item = (Place, &'k str)>,
        make: impl Fn(&Keys, Present) -> Option<Template>,
    ) -> Option<&Template> {
        let variants = self.templates.get(name)?;
        let keys = &variants.keys;
        if knowledge == Knowledge::Configuration {
            return variants.without_proxy_config.get_or_init(|| make(keys, Present::ANY)).as_ref();
        }
        let present = keys.present(pod);
        for slot in &variants.by_keys {
            let (known, template) = slot.get_or_init(|| (present, make(keys, present)));
            if *known == present {
                return template.as_ref();
            }
        }
        variants.any.get_or_init(|| make(keys, Present::ANY)).as_ref()
    }
}
