//! A request from its head to its end: counted while it lasts, and one line in the log whatever becomes of it.

#[cfg(feature = "otlp")]
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{CLIENT_GONE, Exchange, Request, Webhook};
use crate::server::observe::metrics::Outcome;
use crate::server::webhook::engine::Way;
#[cfg(feature = "otlp")]
use crate::server::{configuration::active::Active, observe::traces::Finished, webhook::verdict::Record};

/// A request that is counted in flight, and counted and logged as given up if it is dropped before it is done.
pub(super) struct Pending<'a> {
    webhook: &'a Webhook,
    arrived: Instant,
    done: bool,
    /// The span of whoever sent it, if that matters to anybody.
    #[cfg(feature = "otlp")]
    caller: Option<opentelemetry::Context>,
}

impl<'a> Pending<'a> {
    #[cfg_attr(not(feature = "otlp"), allow(unused_variables, reason = "only traces look at the header"))]
    pub(super) fn arrived(webhook: &'a Webhook, request: &Request) -> Pending<'a> {
        webhook.metrics.request_arrived();
        webhook.metrics.in_flight.inc();
        #[cfg(feature = "otlp")]
        let caller = webhook.traces.as_ref().map(|traces| traces.caller(request.headers()));
        Pending {
            webhook,
            arrived: Instant::now(),
            done: false,
            #[cfg(feature = "otlp")]
            caller,
        }
    }

    #[cfg(feature = "otlp")]
    fn trace(&self, record: &Record, active: Option<&Arc<Active>>) {
        if let (Some(traces), Some(caller)) = (&self.webhook.traces, &self.caller) {
            let hash = active.map(|active| active.engine.hash());
            traces.record(caller, &Finished { arrived: self.arrived, record, hash });
        }
    }

    pub(super) fn done(&mut self, exchange: &Exchange) {
        self.done = true;
        let metrics = &self.webhook.metrics;
        let took = self.arrived.elapsed();
        let record = &exchange.record;
        metrics.request_done(record.outcome, record.reason, took);
        metrics.sizes(exchange.bytes_in, record.patch);
        if let Some(judged) = record.judged {
            metrics.stage("read", judged.saturating_duration_since(self.arrived));
        }
        for (stage, took) in &record.stages {
            metrics.stage(stage, *took);
        }
        for code in &record.warning_codes {
            metrics.warned(code);
        }
        if record.panicked {
            metrics.panics.inc();
        }
        if let Some(way) = record.way {
            metrics.answers.found(way);
            if way == Way::Contradicted {
                let (namespace, owner) = (clip(&record.namespace), clip(&record.owner));
                tracing::error!(
                    namespace,
                    owner,
                    "a defect of outrigger: what was kept of a pod's sibling is not what the pod gets; the pod got the \
                     right patch, what was kept is forgotten"
                );
            }
        }
        if record.judged.is_some() && exchange.deadline.missed() {
            metrics.deadline_exceeded.inc();
        }
        log(exchange, took);
        #[cfg(feature = "otlp")]
        self.trace(record, exchange.active.as_ref());
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.webhook.metrics.in_flight.dec();
        if !self.done {
            self.webhook.metrics.request_done(Outcome::Error, CLIENT_GONE, self.arrived.elapsed());
            tracing::info!(outcome = "error", reason = CLIENT_GONE, "request");
            #[cfg(feature = "otlp")]
            self.trace(&Record::new(Outcome::Error, CLIENT_GONE), None);
        }
    }
}

fn log(exchange: &Exchange, took: Duration) {
    let Exchange { record, bytes_in, bytes_out, active, .. } = exchange;
    let engine = active.as_ref().map(|active| &active.engine);
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                $level,
                uid = clip(&record.uid),
                namespace = clip(&record.namespace),
                name = clip(&record.name),
                owner = filled(clip(&record.owner)),
                revision = engine.map(|engine| engine.revision()),
                config_hash = engine.map(|engine| engine.hash()),
                outcome = record.outcome.key(),
                reason = record.reason,
                detail = filled(&record.detail),
                templates = filled(clip(&record.templates)),
                warnings = filled(&record.warnings),
                patch_ops = record.patch.map_or(0, |(_, operations)| operations),
                bytes_in,
                bytes_out,
                duration_ms = took.as_micros() as f64 / 1000.0,
                dry_run = record.dry_run,
                reinvoked = record.reinvoked,
                status = exchange.response.status().as_u16(),
                "request"
            )
        };
    }
    if record.outcome == Outcome::Error { line!(tracing::Level::WARN) } else { line!(tracing::Level::INFO) }
}

/// A field that says nothing is left out.
fn filled(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Names in Kubernetes have at most 253 characters; what is longer was never a name.
pub(super) fn clip(name: &str) -> &str {
    name.char_indices().nth(253).and_then(|(end, _)| name.get(..end)).unwrap_or(name)
}
