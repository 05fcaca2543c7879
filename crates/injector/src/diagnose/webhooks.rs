//! The webhook configurations, and what they lead to: Services, endpoints, replicas.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Facts, Finding, Severity, is_own, items, name, namespace, own_entries, some, text};
use crate::webhook_config;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    if !facts.webhooks.iter().any(is_own) {
        return vec![Finding::new(
            Severity::Error,
            "no-webhook",
            "MutatingWebhookConfigurations",
            "none has the label outrigger.dev/revision",
            "install the chart, or outrigger webhook apply",
        )];
    }
    let mut findings = entries(facts);
    for (service, entries) in services(facts) {
        findings.extend(behind(facts, &service, &entries));
    }
    findings
}

/// The content of the entries.
fn entries(facts: &Facts) -> Vec<Finding> {
    let mut problems: BTreeMap<(&str, &'static str), Vec<&str>> = BTreeMap::new();
    for (configuration, entry_name, entry) in own_entries(facts) {
        let mut note = |check| problems.entry((name(configuration), check)).or_default().push(entry_name);
        if items(entry, "/rules").is_empty() {
            note("no-rules");
        }
        match webhook_config::ca_bundle(entry) {
            None if entry.pointer("/clientConfig/service").is_some() => note("ca-bundle-missing"),
            None => {}
            Some(bundle) => {
                let has_certificate = webhook_config::decode_ca_bundle(bundle)
                    .is_some_and(|pem| pem.contains("-----BEGIN CERTIFICATE-----"));
                if !has_certificate {
                    note("ca-bundle-unreadable");
                }
            }
        }
    }
    problems
        .into_iter()
        .map(|((configuration, check), names)| {
            let (evidence, fix) = match check {
                "no-rules" => (
                    "has no rules, so no pod is sent to it",
                    "rules are added once a replica has been ready for 5 seconds: kubectl -n outrigger-system get pods; for \
                     certificates of your own: outrigger webhook apply",
                ),
                "ca-bundle-missing" => (
                    "has no caBundle, so API servers trust no certificate",
                    "mode controller: the leader sets it within seconds, see its log; mode cert-manager: the annotation \
                     cert-manager.io/inject-ca-from; files: outrigger webhook apply --ca-bundle ca.pem",
                ),
                _ => (
                    "has a caBundle without a certificate",
                    "outrigger webhook apply --ca-bundle ca.pem, or empty it and let the leader set it",
                ),
            };
            Finding::new(
                Severity::Error,
                check,
                format!("MutatingWebhookConfiguration {configuration}"),
                format!("{} {evidence}", some(&names)),
                fix,
            )
        })
        .collect()
}

/// A Service: namespace, name, port.
type Service = (String, String, i64);

fn services(facts: &Facts) -> BTreeMap<Service, Vec<&Value>> {
    let mut services: BTreeMap<Service, Vec<&Value>> = BTreeMap::new();
    for (_, _, entry) in own_entries(facts) {
        if let Some(service) = entry.pointer("/clientConfig/service") {
            let port = service.get("port").and_then(Value::as_i64).unwrap_or(443);
            let key = (text(service, "/namespace").to_owned(), text(service, "/name").to_owned(), port);
            services.entry(key).or_default().push(entry);
        }
    }
    services
}

fn behind(facts: &Facts, (in_namespace, of_name, port): &Service, entries: &[&Value]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let subject = format!("Service {in_namespace}/{of_name}");
    let is_it = |object: &&Value| name(object) == of_name && namespace(object) == in_namespace;
    if let Some(services) = &facts.services {
        let service = services.iter().find(is_it);
        let has_port = |service: &Value| {
            items(service, "/spec/ports")
                .iter()
                .any(|one| one.get("port").and_then(Value::as_i64) == Some(*port))
        };
        match service {
            None => {
                findings.push(Finding::new(
                    Severity::Error,
                    "service-missing",
                    subject,
                    "does not exist, and webhooks name it",
                    "install the chart again, or remove webhooks that nothing serves: kubectl delete \
                     mutatingwebhookconfiguration -l outrigger.dev/revision",
                ));
                return findings;
            }
            Some(service) if !has_port(service) => findings.push(Finding::new(
                Severity::Error,
                "service-missing",
                subject.clone(),
                format!("has no port {port}, which webhooks name"),
                "outrigger webhook apply --port PORT, or the chart's service port",
            )),
            Some(_) => {}
        }
    }
    let is_slice = |slice: &&Value| {
        text(slice, "/metadata/labels/kubernetes.io~1service-name") == of_name
            && namespace(slice) == in_namespace
    };
    if let Some(slices) = &facts.endpoint_slices {
        let endpoints: Vec<&Value> =
            slices.iter().filter(is_slice).flat_map(|slice| items(slice, "/endpoints")).collect();
        let is_ready = |endpoint: &&&Value| {
            endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true)
        };
        let ready = endpoints.iter().filter(is_ready).count();
        let fails_closed = entries.iter().any(|entry| text(entry, "/failurePolicy") != "Ignore");
        if ready == 0 {
            let consequence = if fails_closed {
                "the API server refuses the pods that the webhooks select"
            } else {
                "pods are created without a proxy"
            };
            findings.push(Finding::new(
                Severity::Error,
                "no-endpoints",
                subject,
                format!("{} endpoints, none of them ready: {consequence}", endpoints.len()),
                format!("kubectl -n {in_namespace} get pods; kubectl -n {in_namespace} describe pods"),
            ));
        } else if ready == 1 && fails_closed {
            findings.push(Finding::new(
                Severity::Warning,
                "fail-closed-alone",
                subject,
                "one ready endpoint, and failurePolicy is Fail: while it restarts, selected pods cannot be created",
                "run at least two replicas: helm upgrade … --set replicaCount=2",
            ));
        }
    }
    findings.extend(replicas(facts, in_namespace));
    findings
}

/// Deployments of ours that are not complete, with the reason from their pods.
fn replicas(facts: &Facts, in_namespace: &str) -> Vec<Finding> {
    let is_ours = |object: &&Value| {
        namespace(object) == in_namespace
            && text(object, "/metadata/labels/app.kubernetes.io~1name") == "outrigger"
    };
    let deployments = facts.deployments.iter().flatten().filter(is_ours);
    deployments
        .filter_map(|deployment| {
            let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_i64);
            let wanted = number("/spec/replicas").unwrap_or(1);
            let available = number("/status/availableReplicas").unwrap_or(0);
            if available >= wanted {
                return None;
            }
            let pods: Vec<&Value> = facts.own_pods.iter().flatten().filter(is_ours).collect();
            let reason = pods.iter().find_map(|pod| trouble(pod));
            let severity = if available == 0 { Severity::Error } else { Severity::Warning };
            Some(Finding::new(
                severity,
                "replicas-not-ready",
                format!("Deployment {in_namespace}/{}", name(deployment)),
                format!(
                    "{available} of {wanted} replicas are available{}",
                    reason.map(|reason| format!("; {reason}")).unwrap_or_default()
                ),
                format!(
                    "kubectl -n {in_namespace} logs deployment/{} ; /readyz?verbose on the admin port says what is missing",
                    name(deployment)
                ),
            ))
        })
        .collect()
}

/// Why a pod does not run, in a few words.
fn trouble(pod: &Value) -> Option<String> {
    let waiting = items(pod, "/status/containerStatuses").iter().find_map(|status| {
        let state = status.pointer("/state/waiting").or_else(|| status.pointer("/lastState/terminated"))?;
        let reason = text(state, "/reason");
        (!reason.is_empty() && reason != "Completed").then(|| format!("{reason} {}", text(state, "/message")))
    });
    let unscheduled = || {
        items(pod, "/status/conditions").iter().find_map(|condition| {
            let is_it = text(condition, "/type") == "PodScheduled" && text(condition, "/status") == "False";
            is_it.then(|| format!("{}: {}", text(condition, "/reason"), text(condition, "/message")))
        })
    };
    let reason = waiting.or_else(unscheduled)?;
    Some(format!("pod {}: {}", name(pod), reason.trim()))
}
