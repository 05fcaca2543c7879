//! Metrics of the configuration. Those about the active one are read from the same slot as requests use, so a
//! response and a scrape after it never describe two configurations.

use std::{fmt, hash};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::{Registry, Unit},
};

use crate::server::configuration::slot::Slot;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reload {
    source: &'static str,
    result: &'static str,
}

/// Loads of the configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigurationMetrics {
    last_reload_success: Gauge,
    reloads: Family<Reload, Counter>,
}

impl ConfigurationMetrics {
    /// Registers the metrics in a registry with our prefix, including those of the active configuration.
    pub(crate) fn register(registry: &mut Registry, in_use: Slot) -> ConfigurationMetrics {
        let metrics = ConfigurationMetrics::default();
        registry.register(
            "config_last_reload_success",
            "Whether the last load of the configuration succeeded",
            metrics.last_reload_success.clone(),
        );
        registry.register(
            "config_reload",
            "Loads of the configuration, including the first one; result is success or error",
            metrics.reloads.clone(),
        );
        registry.register_collector(Box::new(InUse(in_use)));
        metrics
    }

    /// Records a load of the configuration, applied or rejected.
    pub(crate) fn loaded(&self, source: &'static str, success: bool) {
        let result = if success { "success" } else { "error" };
        self.reloads.get_or_create(&Reload { source, result }).inc();
        self.last_reload_success.set(i64::from(success));
    }

    /// Records that the source contains the active configuration again after a rejected one.
    pub(crate) fn confirmed(&self) {
        self.last_reload_success.set(1);
    }
}

/// Reads the slot when metrics are scraped. (A registry would add a period to the help texts; a collector writes its
/// own.)
struct InUse(Slot);

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
        let help = "Number of configurations applied.";
        write(&mut encoder, "config_generation", help, None, &ConstGauge::new(generation))?;
        let since = active.as_ref().map_or(0, |active| active.since);
        let help = "When the active configuration was applied.";
        let seconds = Some(&Unit::Seconds);
        write(&mut encoder, "config_last_reload_timestamp", help, seconds, &ConstGauge::new(since))?;
        let Some(active) = active.as_ref() else { return Ok(()) };
        let hash = Hash { hash: active.engine.hash().to_owned() };
        let help = "Identifies the active configuration; always 1.";
        write(&mut encoder, "config_hash_info", help, None, &one(&hash))?;
        let build = Build {
            version: env!("CARGO_PKG_VERSION"),
            revision: active.engine.revision().to_owned(),
            commit: option_env!("OUTRIGGER_COMMIT").unwrap_or("unknown"),
        };
        write(&mut encoder, "build_info", "Version of the running build; always 1.", None, &one(&build))
    }
}

/// A metric that exists for its labels.
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
