//! The templates of one configuration, specialized on first use.

use std::{collections::BTreeMap, sync::OnceLock};

use gotemplate::{
    Template,
    absent_keys::{AbsentKeys, Keys, Lookup, MapId, Present},
};

/// Whether the pod's ProxyConfig is the mesh's, which is known in advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// It is not.
    Configuration,
    /// It is.
    ProxyConfig,
}

/// `metadata.annotations` of the pod.
pub(crate) const ANNOTATIONS: MapId = MapId(0);
/// `metadata.labels` of the pod.
pub(crate) const LABELS: MapId = MapId(1);

/// Maps in which templates look up keys that most pods do not have.
pub(crate) const ABSENT_KEYS: AbsentKeys = AbsentKeys {
    maps: &[["ObjectMeta", "Annotations"], ["ObjectMeta", "Labels"]],
    lookups: &[
        Lookup { function: "annotation", map: Some(ANNOTATIONS) },
        Lookup { function: "isset", map: None },
    ],
};

/// Specialized templates by name. They belong to one configuration and never change; the number of variants of each is
/// limited, and all further pods share the variant that knows nothing about the pod.
#[derive(Debug, Default)]
pub struct Specialized {
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

impl Specialized {
    /// An empty store for these templates.
    pub fn new(templates: &BTreeMap<String, Template>) -> Specialized {
        let variants = |template: &Template| Variants {
            keys: template.keys(ABSENT_KEYS),
            without_proxy_config: OnceLock::new(),
            any: OnceLock::new(),
            by_keys: Default::default(),
        };
        let templates = templates.iter().map(|(name, template)| (name.clone(), variants(template)));
        Specialized { templates: templates.collect() }
    }

    /// The template with this name for a pod whose annotations and labels have these keys, specialized on first use;
    /// `None` if it cannot be specialized.
    pub fn template<'k>(
        &self,
        name: &str,
        knowledge: Knowledge,
        pod: impl IntoIterator<Item = (MapId, &'k str)>,
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
