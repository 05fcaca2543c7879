//! Metrics of both ports: connections, the memory they hold, and what was refused or evicted because of peers.

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

/// Metrics of both ports.
#[derive(Clone, Debug, Default)]
pub(crate) struct HttpMetrics {
    /// Bytes of bodies and answers, with the overhead of their requests.
    pub(crate) held: Held,
    shed: Family<ByReason, Counter>,
    evicted: Family<ByReason, Counter>,
    connections: Family<Listener, Gauge>,
    accepted: Family<Listener, Counter>,
    timed_out: Family<ByReason, Counter>,
    accept_errors: Family<Listener, Counter>,
}

impl HttpMetrics {
    /// Registers the metrics in a registry with our prefix.
    pub(crate) fn register(registry: &mut Registry) -> HttpMetrics {
        let metrics = HttpMetrics::default();
        registry.register_with_unit(
            "held",
            "Memory held by request bodies and unread responses, limited by its budget",
            Unit::Bytes,
            metrics.held.clone(),
        );
        registry.register(
            "evicted",
            "Requests and connections abandoned because of the peer; reason is body or answer (made room for others), slow_body, late_answer (not read in time), connection (unread responses, and no room even for a refusal), frames or flood (HTTP/2 connections told to reconnect, or closed)",
            metrics.evicted.clone(),
        );
        registry.register("shed", "Connections and requests refused under load; reason is overload, connections, in_flight (large requests), memory, large (no slot within half of the remaining time), probation (many streams and no valid response yet) or idle (evicted for others)", metrics.shed.clone());
        registry.register(
            "connections",
            "Open connections; listener is webhook or admin",
            metrics.connections.clone(),
        );
        registry.register(
            "connections_accepted",
            "Accepted connections; listener is webhook or admin",
            metrics.accepted.clone(),
        );
        registry.register(
            "connections_timed_out",
            "Connections closed because the peer was too slow or silent; reason is first_byte, header, idle or write",
            metrics.timed_out.clone(),
        );
        registry.register(
            "accept_errors",
            "Errors of accept(2), such as too many open files",
            metrics.accept_errors.clone(),
        );
        metrics
    }

    /// Counts a connection or request refused under load.
    pub(crate) fn shed(&self, reason: &'static str) {
        self.shed.get_or_create(&ByReason { reason }).inc();
    }

    /// The counter behind [`shed`](Self::shed), for code that must cost next to nothing.
    pub(crate) fn shed_counter(&self, reason: &'static str) -> Counter {
        self.shed.get_or_create_owned(&ByReason { reason })
    }

    /// Counts an eviction because of a peer's behavior, or in favor of another peer.
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
