//! What Istio's `ValidateMeshConfig` rejects in ports, timeouts, trust domains, hosts of service settings, and the
//! mesh's proxy configuration.

use serde_json::{Map, Value};

use crate::duration::Duration;
use crate::proto::{Path, Step, Violation, shown};
use crate::proxy::validate::{self as rules, Check};

/// All violations of a complete message.
pub(super) fn mesh_config(mesh: &Map<String, Value>) -> Vec<Violation> {
    let mut check = Check::new(mesh, Path::default());
    check.port("proxyListenPort");
    if let Err(accepted) = rules::duration_of_milliseconds(check.duration("connectTimeout")) {
        check.refuse("connectTimeout", accepted);
    } else if check.duration("connectTimeout") > Duration::from_nanos(3_600_000_000_000) {
        check.refuse("connectTimeout", "a duration of at most 1h");
    }
    if check.duration("protocolDetectionTimeout").nanos() % 1_000_000 != 0 {
        check.refuse("protocolDetectionTimeout", "a duration in whole milliseconds");
    }
    if !is_trust_domain(check.text("trustDomain")) {
        check.refuse("trustDomain", TRUST_DOMAIN);
    }
    for (at, alias) in list(mesh, "trustDomainAliases").iter().enumerate() {
        if !alias.as_str().is_some_and(is_trust_domain) {
            check.refuse_at(&["trustDomainAliases"], Some(at), shown(alias), TRUST_DOMAIN);
        }
    }
    if mesh.get("meshMTLS").and_then(|tls| tls.get("ecdhCurves")).is_some() {
        let path = &["meshMTLS", "ecdhCurves"];
        check.refuse_at(path, None, "a list".to_owned(), "no ECDH curves there, only in tlsDefaults");
    }
    let mut violations = check.violations;
    for (at, settings) in list(mesh, "serviceSettings").iter().enumerate() {
        let hosts = settings.get("hosts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for (index, host) in hosts.iter().enumerate() {
            if !host.as_str().is_some_and(rules::is_wildcard_domain) {
                let steps = [Step::Key("serviceSettings".to_owned()), Step::Index(at)];
                let steps = steps.into_iter().chain([Step::Key("hosts".to_owned()), Step::Index(index)]);
                let accepted = "a domain name, its first label possibly *";
                violations.push(Violation::invalid(&Path(steps.collect()), shown(host), accepted));
            }
        }
    }
    let path = Path(vec![Step::Key("defaultConfig".to_owned())]);
    match mesh.get("defaultConfig").and_then(Value::as_object) {
        Some(proxy_config) => violations.extend(rules::proxy_config(proxy_config, path)),
        None => violations.push(Violation::invalid(&path, "nothing".to_owned(), "a proxy configuration")),
    }
    violations
}

const TRUST_DOMAIN: &str = "a domain name of letters, digits, - and dots";

fn list<'a>(mesh: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    mesh.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// `ValidateTrustDomain`: labels, the last of which may be empty.
fn is_trust_domain(domain: &str) -> bool {
    let labels = domain.strip_suffix('.').unwrap_or(domain);
    !domain.is_empty() && (labels.is_empty() || labels.split('.').all(rules::is_dns_label))
}
