//! What is known of the configuration in use, read from the slot that requests read it from: an answer and a scrape
//! after it never speak of two configurations.

use std::{fmt, hash};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Unit,
};

use crate::server::configuration::active::Slot;

/// Reads the slot when metrics are asked for. (A registry would end the help texts with a full stop; a collector writes its
/// own.)
pub(in crate::server) struct InUse(pub(in crate::server) Slot);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Hash {
    hash: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    version: &'static str,
    revision: String,
    commit: &'static str,
}

impl fmt::Debug for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InUse")
    }
}

impl Collector for InUse {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let active = self.0.load();
        let generation = active.as_ref().map_or(0, |active| active.generation);
        let help = "How many configurations were taken into use.";
        write(&mut encoder, "config_generation", help, None, &ConstGauge::new(generation))?;
        let since = active.as_ref().map_or(0, |active| active.since);
        let help = "When the configuration in use was taken into use.";
        let seconds = Some(&Unit::Seconds);
        write(&mut encoder, "config_last_reload_timestamp", help, seconds, &ConstGauge::new(since))?;
        let Some(active) = active.as_ref() else { return Ok(()) };
        let hash = Hash { hash: active.engine.hash().to_owned() };
        let help = "Identifies the configuration in use; always 1.";
        write(&mut encoder, "config_hash_info", help, None, &one(&hash))?;
        let build = Build {
            version: env!("CARGO_PKG_VERSION"),
            revision: active.engine.revision().to_owned(),
            commit: option_env!("OUTRIGGER_COMMIT").unwrap_or("unknown"),
        };
        write(&mut encoder, "build_info", "What is running; always 1.", None, &one(&build))
    }
}

/// A metric that is there for its labels.
fn one<L: Clone + hash::Hash + Eq>(labels: &L) -> Family<L, Gauge> {
    let family = Family::<L, Gauge>::default();
    family.get_or_create(labels).set(1);
    family
}

fn write(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    metric: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
}
