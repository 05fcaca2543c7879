//! Handlers that do not go through the agent.
//!
//! The kubelet sends a handler with a `host` to that host, which is not the pod: an agent elsewhere has no entry for
//! it. The kubelet also starts nothing after an init container whose startup probe or postStart hook has not succeeded;
//! an ordinary proxy comes after all of them, so its agent could never respond. Before `istio-init` has run, nothing is
//! redirected, and the kubelet reaches the container itself. If the CNI plugin redirects, it does not.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::{Action, Holder, NamedPorts, Rewriting};
use crate::{
    annotation,
    inject::post::view::int32,
    names, pod,
    quirks::Quirk,
    warning::{Warning, shown_within},
};

/// Handlers that must succeed before the kubelet starts the next container.
const AWAITED: [&str; 2] = ["startupProbe", "postStart"];
/// Characters of a name or host that are shown, so that the warning has room for a place and advice.
const SHOWN: usize = 32;

/// The network as init containers find it.
pub(super) enum BeforeProxy {
    /// The proxy runs, because it is one of them; or there are no init containers.
    Proxy,
    /// No proxy, and nothing is redirected to it.
    Open,
    /// No proxy, but all traffic is redirected to it except that to some ports.
    Redirected {
        /// Redirected ports; `None` for all.
        included: Option<Vec<u16>>,
        /// Excluded ports.
        excluded: Vec<u16>,
    },
}

impl BeforeProxy {
    /// Derived from a pod. The templates write the effective ports into the annotations, for the plugin to read.
    pub(super) fn of(pod: &Value) -> BeforeProxy {
        if pod::find(pod::containers(pod), names::CONTAINER_PROXY).is_none() {
            return BeforeProxy::Proxy;
        }
        if pod::find(pod::init_containers(pod), names::CONTAINER_VALIDATION).is_none() {
            return BeforeProxy::Open;
        }
        let ports = |text: &str| text.split(',').filter_map(annotation::port).collect();
        let included =
            pod::annotation(pod, names::ANNOTATION_INCLUDE_INBOUND_PORTS).filter(|text| *text != "*");
        let excluded = pod::annotation(pod, names::ANNOTATION_EXCLUDE_INBOUND_PORTS);
        BeforeProxy::Redirected {
            included: included.map(ports),
            excluded: excluded.map(ports).unwrap_or_default(),
        }
    }

    /// Whether the kubelet's requests to a port of the pod are lost.
    fn swallows(&self, port: i32) -> bool {
        let BeforeProxy::Redirected { included, excluded } = self else { return false };
        let has = |ports: &Vec<u16>| ports.iter().any(|other| i32::from(*other) == port);
        included.as_ref().is_none_or(has) && !has(excluded)
    }
}

impl Rewriting<'_> {
    /// Whether a handler is left alone; warns if it will fail nevertheless.
    pub(super) fn is_untouched(
        &mut self,
        handler: &Map<String, Value>,
        action: Action,
        holder: &Holder<'_>,
        ports: &NamedPorts,
    ) -> bool {
        let Some(request) = handler.get(action.field()) else { return false };
        let place = || format!("{} of container {}", holder.field, shown_within(holder.container, SHOWN));
        let host = request.get("host").and_then(Value::as_str).filter(|host| !host.is_empty());
        let is_kept = self.quirks.contains(Quirk::RewriteProbesWithHost);
        if let Some(host) = host.filter(|_| action != Action::Grpc && !is_kept) {
            if self.rewrites && is_node_itself(host) {
                let message = format!(
                    "{} goes to the node, not to the pod: remove host {}",
                    place(),
                    shown_within(host, SHOWN)
                );
                self.warnings.push(Warning::new("PROBE_ASKS_THE_NODE", message));
            }
            return true;
        }
        // The agent answers liveness probes only once the proxy runs.
        if self.rewrites
            && holder.list == "initContainers"
            && holder.field == "livenessProbe"
            && !matches!(self.before_proxy, BeforeProxy::Proxy)
        {
            let key = names::ANNOTATION_NATIVE_SIDECAR;
            let message = format!("{} fails until the proxy runs; set {key}: \"true\"", place());
            self.warnings.push(Warning::new("PROBE_BEFORE_PROXY", message));
        }
        if self.quirks.contains(Quirk::RewriteProbesBeforeProxy)
            || holder.list != "initContainers"
            || matches!(self.before_proxy, BeforeProxy::Proxy)
            || !AWAITED.contains(&holder.field)
        {
            return false;
        }
        let port = match request.get("port") {
            Some(Value::String(name)) => ports.number(name),
            other => other.and_then(int32),
        };
        if let Some(port) = port.filter(|port| self.before_proxy.swallows(*port)) {
            let key = names::ANNOTATION_EXCLUDE_INBOUND_PORTS;
            let message = format!("{} fails before the proxy runs: add {port} to annotation {key}", place());
            self.warnings.push(Warning::new("PROBE_BEFORE_PROXY", message));
        }
        true
    }
}

/// Whether the host refers to the kubelet's own node.
fn is_node_itself(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches([']', '.']);
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback() || address.is_unspecified(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_itself_is_known_by_many_names() {
        for host in [
            "127.0.0.1",
            "127.1.2.3",
            "localhost",
            "LocalHost.",
            "::1",
            "[::1]",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "::",
        ] {
            assert!(is_node_itself(host), "{host}");
        }
        for host in [
            "10.0.0.1",
            "203.0.113.7",
            "example.com",
            "localhost.example.com",
            "2001:db8::1",
            "",
            "127.0.0.1.nip.io",
        ] {
            assert!(!is_node_itself(host), "{host}");
        }
    }
}
