//! The series of both ports: connections, what they hold, and what was refused or given up because of peers.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Listener {
    listener: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

/// A number of bytes that are held.
pub(crate) type Held = Gauge<u64, AtomicU64>;

/// The series of both ports.
#[derive(Clone, Debug, Default)]
pub(crate) struct HttpMetrics {
    /// Bytes of bodies and answers, with what their requests cost beside them.
    pub(crate) held: Held,
    shed: Family<ByReason, Counter>,
    evicted: Family<ByReason, Counter>,
    connections: Family<Listener, Gauge>,
    accepted: Family<Listener, Counter>,
    timed_out: Family<ByReason, Counter>,
    accept_errors: Family<Listener, Counter>,
}

impl HttpMetrics {
    /// Makes the series in a registry with our prefix.
    pub(crate) fn register(registry: &mut Registry) -> HttpMetrics {
        let metrics = HttpMetrics::default();
        registry.register_with_unit(
            "held",
            "Memory that bodies and untaken answers take of the budget for them",
            Unit::Bytes,
            metrics.held.clone(),
        );
        registry.register(
            "evicted",
            "Requests and connections that were given up because of their peer",
            metrics.evicted.clone(),
        );
        registry.register("shed", "Connections and requests refused under load", metrics.shed.clone());
        registry.register("connections", "Open connections", metrics.connections.clone());
        registry.register("connections_accepted", "Connections that were accepted", metrics.accepted.clone());
        registry.register(
            "connections_timed_out",
            "Connections that were closed because the peer was too slow or silent",
            metrics.timed_out.clone(),
        );
        registry.register("accept_errors", "Errors of accept(2)", metrics.accept_errors.clone());
        metrics
    }

    /// Counts what is refused under load.
    pub(crate) fn shed(&self, reason: &'static str) {
        self.shed.get_or_create(&ByReason { reason }).inc();
    }

    /// The counter behind [`shed`](Self::shed), for what must cost next to nothing.
    pub(crate) fn shed_counter(&self, reason: &'static str) -> Counter {
        self.shed.get_or_create_owned(&ByReason { reason })
    }

    /// Counts what is given up because of its peer, or for another one.
    pub(crate) fn evicted(&self, reason: &'static str) {
        self.evicted.get_or_create(&ByReason { reason }).inc();
    }

    pub(crate) fn timed_out(&self, reason: &'static str) {
        self.timed_out.get_or_create(&ByReason { reason }).inc();
    }

    pub(crate) fn accept_failed(&self, listener: &'static str) {
        self.accept_errors.get_or_create(&Listener { listener }).inc();
    }

    pub(crate) fn opened(&self, listener: &'static str) {
        self.accepted.get_or_create(&Listener { listener }).inc();
        self.connections.get_or_create(&Listener { listener }).inc();
    }

    pub(crate) fn closed(&self, listener: &'static str) {
        self.connections.get_or_create(&Listener { listener }).dec();
    }
}
