//! Turns the records of requests into spans, if traces are compiled in and a collector is configured.

#[cfg(feature = "otlp")]
mod spans;

#[cfg(feature = "otlp")]
pub(crate) use spans::{Caller, Sink, Traces};

#[cfg(not(feature = "otlp"))]
pub(crate) use absent::{Caller, Sink, Traces};

/// The replacement for builds without traces.
#[cfg(not(feature = "otlp"))]
mod absent {
    use std::{io, time::Duration};

    use hyper::HeaderMap;
    use prometheus_client::registry::Registry;

    use crate::server::webhook::record::Record;

    /// Traces that are never started.
    pub(crate) struct Traces;

    /// Discards records.
    #[derive(Clone, Debug)]
    pub(crate) struct Sink;

    /// Nothing.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Caller;

    impl Traces {
        pub(crate) fn register(_registry: &mut Registry) -> Traces {
            Traces
        }

        /// Starts nothing.
        ///
        /// # Errors
        /// When a collector is configured.
        pub(crate) async fn start(self, collector: Option<String>) -> io::Result<Sink> {
            match collector {
                None => Ok(Sink),
                Some(_) => Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "this build does not support traces; build outrigger with the feature otlp",
                )),
            }
        }
    }

    impl Sink {
        pub(in crate::server::webhook) fn caller(&self, _headers: &HeaderMap) -> Caller {
            Caller
        }

        pub(in crate::server::webhook) fn observe(&self, _caller: &Caller, _record: &Record) {}

        pub(crate) async fn flush(&self, _within: Duration) {}
    }
}
