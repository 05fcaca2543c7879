//! The registry that every part puts its series in, what the process itself says, and how all of it is written.

mod exposition;

use std::fmt;

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, gauge::ConstGauge},
    registry::Registry,
};

pub(crate) use self::exposition::Exposition;
use crate::server::observe::process;

/// The part of a registry whose names begin with our own.
pub(in crate::server) fn own(registry: &mut Registry) -> &mut Registry {
    registry.sub_registry_with_prefix("outrigger")
}

/// Adds what the process itself says.
pub(in crate::server) fn register(registry: &mut Registry, dropped_log_lines: Counter) {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let own = own(registry);
    own.register(
        "log_lines_dropped",
        "Log lines that were dropped because the log was not read",
        dropped_log_lines,
    );
    own.register(
        "cpus",
        "CPUs this process may use",
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
