//! Names of hosts in requests.

/// Whether a host, without its port, is a name of this machine for itself. Websites whose names resolve to a loopback address (DNS
/// rebinding) have other names.
pub(crate) fn is_loopback(host: &str) -> bool {
    ["127.0.0.1", "[::1]"].contains(&host) || host.eq_ignore_ascii_case("localhost")
}
