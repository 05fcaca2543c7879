//! How answers were found.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::server::webhook::engine::Way;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByWay {
    way: &'static str,
}

/// Answers of the engine, by the way they were found.
#[derive(Debug)]
pub(crate) struct Answers {
    family: Family<ByWay, Counter>,
    /// In the order of [`Way`].
    ways: [Counter; 3],
}

impl Default for Answers {
    fn default() -> Answers {
        let family = Family::<ByWay, Counter>::default();
        let ways = [Way::Whole, Way::Replayed, Way::Contradicted]
            .map(|way| family.get_or_create_owned(&ByWay { way: way.key() }));
        Answers { family, ways }
    }
}

impl Answers {
    /// Adds the series to a registry with our prefix.
    pub(in crate::server) fn register(&self, registry: &mut Registry) {
        registry.register(
            "answers",
            "Pods answered; way is whole (the whole pipeline), replayed (a sibling was answered before) or contradicted",
            self.family.clone(),
        );
    }

    /// Counts an answer.
    pub(crate) fn found(&self, way: Way) {
        let [whole, replayed, contradicted] = &self.ways;
        let counter = match way {
            Way::Whole => whole,
            Way::Replayed => replayed,
            Way::Contradicted => contradicted,
        };
        counter.inc();
    }
}
