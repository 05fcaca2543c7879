//! The wall clock, for times that outlive the process: certificates, tokens and metrics. Everything that is measured
//! or waited for uses `tokio::time`, which tests can pause.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now in seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
