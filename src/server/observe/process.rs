//! Process metrics with Prometheus' standard names, read from `/proc` when metrics are scraped.
//!
//! Without `/proc` these metrics are absent.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// Collects the process metrics.
#[derive(Debug)]
pub(crate) struct Process;

/// Kernel ticks per second as shown in `/proc`: 100 on every Linux architecture.
const TICKS: f64 = 100.0;
/// `/proc/self/status` has sizes in KiB. `statm` counts pages instead, whose size varies, so it is not read.
const KIBIBYTE: u64 = 1024;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Some(seconds) = cpu_seconds() {
            let metric = ConstCounter::new(seconds);
            let out = encoder.encode_descriptor(
                "process_cpu_seconds",
                "CPU time used, user and system",
                None,
                metric.metric_type(),
            )?;
            metric.encode(out)?;
        }
        if let Some(bytes) = resident_bytes() {
            gauge(&mut encoder, "process_resident_memory_bytes", "Resident memory", bytes)?;
        }
        if let Some(bytes) = status_number("VmSize:").map(|kibibytes| kibibytes * KIBIBYTE) {
            gauge(&mut encoder, "process_virtual_memory_bytes", "Virtual memory", bytes)?;
        }
        if let Some(seconds) = start_seconds() {
            let help = "Start of the process, in seconds since 1970";
            gauge(&mut encoder, "process_start_time_seconds", help, seconds)?;
        }
        if let Some(count) = open_descriptors() {
            gauge(&mut encoder, "process_open_fds", "Open file descriptors", count)?;
        }
        if let Some(count) = most_descriptors() {
            gauge(&mut encoder, "process_max_fds", "Maximum number of open file descriptors", count)?;
        }
        if let Some(count) = status_number("Threads:") {
            gauge(&mut encoder, "process_threads", "Threads", count)?;
        }
        Ok(())
    }
}

fn gauge<V>(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: V) -> Result<(), fmt::Error>
where
    ConstGauge<V>: EncodeMetric,
{
    let metric = ConstGauge::new(value);
    let out = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
    metric.encode(out)
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let ticks = |number| stat_field(&stat, number);
    Some((ticks(14)? + ticks(15)?) / TICKS)
}

fn start_seconds() -> Option<f64> {
    let after_boot = stat_field(&std::fs::read_to_string("/proc/self/stat").ok()?, 22)? / TICKS;
    let system = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + after_boot)
}

/// A field of `/proc/PID/stat` by its number in proc(5).
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    // The name in parentheses, the second field, may contain blanks; fields are counted after it.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// The soft limit, in the column after the name; other clients also report "unlimited" as the largest number.
fn most_descriptors() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        limit => limit.parse().ok(),
    }
}

fn resident_bytes() -> Option<u64> {
    status_number("VmRSS:").map(|kibibytes| kibibytes * KIBIBYTE)
}

fn status_number(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix(key))?.split_ascii_whitespace().next()?.parse().ok()
}

fn open_descriptors() -> Option<u64> {
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_after_the_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 100 0 0 0 7 3 0 0 20 0 5 0 123456 1000 200";
        assert_eq!((stat_field(stat, 14), stat_field(stat, 15)), (Some(7.0), Some(3.0)));
        assert_eq!(stat_field(stat, 22), Some(123_456.0));
        assert_eq!(stat_field(stat, 99), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_began_before_now_and_may_open_files() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let start = start_seconds().unwrap();
        assert!(start <= now + 1.0 && start > now - 86_400.0, "{start} {now}");
        assert!(most_descriptors().unwrap() >= open_descriptors().unwrap());
    }
}
