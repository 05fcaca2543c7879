//! The metrics registry that all parts use, metrics of the process, and their exposition.

mod exposition;

use std::fmt;

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, gauge::ConstGauge},
    registry::Registry,
};

pub(crate) use self::exposition::Exposition;
use crate::server::observe::process;

/// The part of a registry whose names start with our prefix.
pub(in crate::server) fn own(registry: &mut Registry) -> &mut Registry {
    registry.sub_registry_with_prefix("outrigger")
}

/// Registers the metrics of the process.
pub(in crate::server) fn register(registry: &mut Registry, dropped_log_lines: Counter) {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let own = own(registry);
    own.register(
        "log_lines_dropped",
        "Log lines dropped because nobody read the log, or because its disk was full",
        dropped_log_lines,
    );
    own.register(
        "cpus",
        "CPUs available to this process",
        ConstGauge::new(u64::try_from(workers).unwrap_or(u64::MAX)),
    );
    registry.register_collector(Box::new(process::Process));
}

/// Writes all metrics.
///
/// # Errors
/// When a collector fails to write.
pub(crate) fn encode(registry: &Registry, exposition: Exposition) -> Result<String, fmt::Error> {
    let mut out = String::with_capacity(16 << 10);
    text::encode(&mut out, registry)?;
    Ok(match exposition {
        Exposition::OpenMetrics(_) => out,
        Exposition::Classic => exposition::classic(&out),
    })
}
