//! Where the records of requests become spans, if traces are built in and there is a collector.

#[cfg(feature = "otlp")]
mod spans;

#[cfg(feature = "otlp")]
pub(crate) use spans::{Caller, Sink, Traces};

#[cfg(not(feature = "otlp"))]
pub(crate) use absent::{Caller, Sink, Traces};

/// What stands for traces where they are not built in.
#[cfg(not(feature = "otlp"))]
mod absent {
    use std::{io, time::Duration};

    use hyper::HeaderMap;
    use prometheus_client::registry::Registry;

    use crate::server::webhook::record::Record;

    /// Traces that are never started.
    pub(crate) struct Traces;

    /// Takes no spans.
    #[derive(Clone, Debug)]
    pub(crate) struct Sink;

    /// Nothing.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Caller;

    impl Traces {
        pub(crate) fn register(_registry: &mut Registry) -> Traces {
            Traces
        }

        /// # Errors
        /// When there is a collector.
        pub(crate) async fn start(self, collector: Option<String>) -> io::Result<Sink> {
            match collector {
                None => Ok(Sink),
                Some(_) => Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "traces need the feature `otlp` of outrigger",
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
