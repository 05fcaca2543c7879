//! What Istio's `ValidateMeshConfig` rejects in load balancing and traffic policies. The injector does not use them,
//! but a configuration that the control plane rejects is not valid.

use serde_json::{Map, Value};

use crate::duration::Duration;
use crate::proto::{Path, Step, Violation, shown};
use crate::proxy::validate::duration_of_milliseconds;

/// All violations in the policies of a complete message.
pub(super) fn policies(mesh: &Map<String, Value>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (key, check) in [
        ("localityLbSetting", locality as fn(&At<'_>, &mut Vec<Violation>)),
        ("zoneAwareLbSetting", zone_aware),
        ("defaultTrafficPolicy", traffic),
    ] {
        if let Some(value) = mesh.get(key) {
            check(&At { value, path: Path(vec![Step::Key(key.to_owned())]) }, &mut violations);
        }
    }
    violations
}

/// A value and its path.
struct At<'a> {
    value: &'a Value,
    path: Path,
}

impl<'a> At<'a> {
    fn key(&self, key: &str) -> Option<At<'a>> {
        self.value.get(key).map(|value| self.below(value, Step::Key(key.to_owned())))
    }

    fn items(&self, key: &str) -> Vec<At<'a>> {
        let Some(list) = self.key(key) else { return Vec::new() };
        let items = list.value.as_array().into_iter().flatten().enumerate();
        items.map(|(at, value)| list.below(value, Step::Index(at))).collect()
    }

    fn below(&self, value: &'a Value, step: Step) -> At<'a> {
        let mut path = self.path.clone();
        path.0.push(step);
        At { value, path }
    }

    fn text(&self, key: &str) -> &'a str {
        self.value.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    fn refused(&self, accepted: &str) -> Violation {
        Violation::invalid(&self.path, shown(self.value), accepted)
    }

    /// The violation of a duration that is shorter than, or not a multiple of, a millisecond.
    fn duration(&self, key: &str) -> Option<Violation> {
        let duration = self.key(key)?;
        let parsed = duration.value.as_str().and_then(|text| Duration::parse(text).ok()).unwrap_or_default();
        duration_of_milliseconds(parsed).err().map(|accepted| duration.refused(accepted))
    }

    /// The violation of a number outside a range.
    fn number(&self, key: &str, range: std::ops::RangeInclusive<i64>, accepted: &str) -> Option<Violation> {
        let number = self.key(key)?;
        let inside = number.value.as_i64().is_some_and(|value| range.contains(&value));
        (!inside).then(|| number.refused(accepted))
    }
}

/// `ValidateLocalityLbSetting`, except for overlapping localities, which Istio detects depending on the order of a map.
fn locality(setting: &At<'_>, violations: &mut Vec<Violation>) {
    let (distribute, failover) = (setting.items("distribute"), setting.items("failover"));
    if !distribute.is_empty() && !failover.is_empty() {
        violations.push(setting.refused("only one of distribute and failover"));
    }
    if !failover.is_empty() {
        violations.extend(topology_labels(setting, "another label with failover, which orders by region"));
    }
    for rule in distribute {
        let mut total = 0;
        for (name, weight) in rule.value.get("to").and_then(Value::as_object).into_iter().flatten() {
            let weight = weight.as_i64().unwrap_or_default();
            total += weight;
            if !(1..=100).contains(&weight) || !is_locality(name) {
                violations.push(rule.refused("localities with a weight from 1 to 100 each"));
            }
        }
        if total != 100 {
            violations.push(rule.refused("weights that add up to 100"));
        }
        if !is_locality(rule.text("from")) {
            violations.push(
                rule.refused("from: region, region/zone or region/zone/subzone, possibly with * at its end"),
            );
        }
    }
    regions(failover, violations);
}

fn zone_aware(setting: &At<'_>, violations: &mut Vec<Violation>) {
    violations.extend(topology_labels(setting, "another label: regions and zones are ordered anyway"));
    regions(setting.items("failover"), violations);
}

fn topology_labels(setting: &At<'_>, accepted: &str) -> Vec<Violation> {
    const LABELS: [&str; 3] =
        ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];
    let mut labels = setting.items("failoverPriority");
    labels.retain(|label| LABELS.iter().any(|topology| label.value == topology));
    labels.iter().map(|label| label.refused(accepted)).collect()
}

fn regions(failover: Vec<At<'_>>, violations: &mut Vec<Violation>) {
    for rule in failover {
        let (from, to) = (rule.text("from"), rule.text("to"));
        if from == to || [from, to].iter().any(|region| region.contains(['/', '*'])) {
            violations.push(rule.refused("two different regions, without zones or *"));
        }
    }
}

fn is_locality(locality: &str) -> bool {
    let stars = locality.matches('*').count();
    (stars == 0 || stars == 1 && locality.ends_with('*'))
        && locality.splitn(3, '/').all(|part| !part.is_empty())
}

/// `validateMeshConfigDefaultTrafficPolicy`.
fn traffic(policy: &At<'_>, violations: &mut Vec<Violation>) {
    const COUNT: &str = "a number that is not negative";
    if let Some(pool) = policy.key("connectionPool") {
        if pool.key("http").is_none() && pool.key("tcp").is_none() {
            violations.push(pool.refused("http or tcp in it"));
        }
        if let Some(http) = pool.key("http") {
            for key in [
                "http1MaxPendingRequests",
                "http2MaxRequests",
                "maxRequestsPerConnection",
                "maxRetries",
                "maxConcurrentStreams",
            ] {
                violations.extend(http.number(key, 0..=i64::MAX, COUNT));
            }
            violations.extend(http.duration("idleTimeout"));
            if http.text("h2UpgradePolicy") == "UPGRADE" && http.key("useClientProtocol").is_some() {
                violations.push(http.refused("only one of h2UpgradePolicy UPGRADE and useClientProtocol"));
            }
        }
        if let Some(tcp) = pool.key("tcp") {
            violations.extend(tcp.number("maxConnections", 0..=i64::MAX, COUNT));
            violations.extend(tcp.duration("connectTimeout"));
            violations.extend(tcp.duration("maxConnectionDuration"));
            // Zero, or less than a millisecond, means no timeout here.
            let idle = Duration::parse(tcp.text("idleTimeout")).unwrap_or_default();
            if idle.nanos() / 1_000_000 != 0 {
                violations.extend(tcp.duration("idleTimeout"));
            }
            if let Some(keepalive) = tcp.key("tcpKeepalive") {
                violations.extend(keepalive.duration("time"));
                violations.extend(keepalive.duration("interval"));
            }
        }
    }
    if let Some(detection) = policy.key("outlierDetection") {
        violations.extend(detection.duration("baseEjectionTime"));
        violations.extend(detection.duration("interval"));
        if detection.key("splitExternalLocalOriginErrors").is_none() {
            let accepted = "0, or splitExternalLocalOriginErrors: true";
            violations.extend(detection.number("consecutiveLocalOriginFailures", 0..=0, accepted));
        }
        for key in ["maxEjectionPercent", "minHealthPercent"] {
            violations.extend(detection.number(key, 0..=100, "a percentage from 0 to 100"));
        }
    }
}
