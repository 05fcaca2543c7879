//! The path from the API server to the webhook, by the result of a dry-run creation: errors as API servers word them
//! (Kubernetes 1.30 to 1.37), decoded.

use std::time::Duration;

use serde_json::Value;

use super::{Facts, Finding, Severity, text};

/// A dry-run creation of a pod that a webhook of ours selects.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The namespace.
    pub namespace: String,
    /// The entry that selects the pod.
    pub entry: String,
    /// The failure policy of the entry.
    pub failure_policy: String,
    /// How long it took.
    pub took: Duration,
    /// What came back.
    pub outcome: ProbeOutcome,
}

/// What came back from a dry-run creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// A pod with a proxy, injected by this revision.
    Injected(String),
    /// A pod without a proxy.
    Bare,
    /// An error of the API server.
    Refused(String),
    /// No answer in time.
    Unanswered,
}

/// From this on, the creation of a pod counts as slow.
const SLOW: Duration = Duration::from_secs(1);

/// Words of an API server's error, and what they mean; the first row that matches counts.
type Row = (&'static [&'static str], &'static str, &'static str);

const ERRORS: [Row; 13] = [
    (&["no endpoints available for service"], "no-endpoints", "kubectl -n outrigger-system get pods"),
    (&["service \"", "\" not found"], "service-missing", "install the chart again, or remove the webhook"),
    (
        &["x509: certificate signed by unknown authority"],
        "certificate-untrusted",
        "the caBundle does not hold the CA of the served certificate: outrigger webhook adopt NAME shows what it holds; mode \
         controller repairs it within seconds; cert-manager: check the annotation cert-manager.io/inject-ca-from",
    ),
    (
        &["x509: certificate has expired"],
        "certificate-expired",
        "renew the certificate; mode controller: the leader's log says why it did not (clock, rights on the Secret)",
    ),
    (
        &["x509: certificate is not valid yet"],
        "certificate-expired",
        "compare the clocks of node and API server",
    ),
    (
        &["x509: certificate is valid for"],
        "certificate-name",
        "issue the certificate for SERVICE.NAMESPACE.svc, the name that API servers verify",
    ),
    (
        &["x509: certificate is not valid for any names"],
        "certificate-name",
        "issue the certificate for SERVICE.NAMESPACE.svc, the name that API servers verify",
    ),
    (
        &["x509:"],
        "certificate-untrusted",
        "see the message of the API server; /readyz?verbose names what API servers object to in a certificate",
    ),
    (
        &["Address is not allowed"],
        "api-server-address",
        "the API server cannot reach pod addresses: run the pods on the host's network or make pod addresses reachable from \
         the control plane",
    ),
    (
        &["connect: connection refused"],
        "connection-refused",
        "compare the Service's targetPort with the port of the pods",
    ),
    (
        &["i/o timeout"],
        "network-timeout",
        "open the way from the API server to the pods' port (8443): NetworkPolicy, firewall, security group",
    ),
    (
        &["context deadline exceeded"],
        "network-timeout",
        "open the way from the API server to the pods' port (8443), or look for an overloaded replica: \
         outrigger_request_duration_seconds",
    ),
    (&["no such host"], "service-missing", "the URL of the webhook names a host that does not resolve"),
];

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let Some(probe) = &facts.probe else { return Vec::new() };
    let subject = format!("dry-run pod in namespace {}, selected by {}", probe.namespace, probe.entry);
    let mut findings = Vec::new();
    match &probe.outcome {
        ProbeOutcome::Injected(_) => {}
        ProbeOutcome::Bare => {
            let is_ignored = probe.failure_policy == "Ignore";
            let (check, evidence) = if is_ignored {
                ("ignored-failures", "came back without a proxy, and failurePolicy is Ignore: the call fails, or the pod is skipped")
            } else {
                ("not-injected", "came back without a proxy: the injector skips it")
            };
            findings.push(Finding::new(
                Severity::Error,
                check,
                subject.clone(),
                evidence,
                "kubectl get --raw /metrics | grep apiserver_admission_webhook_fail_open_count tells failed calls; outrigger \
                 explain --labels app=x -n NAMESPACE tells skips",
            ));
        }
        ProbeOutcome::Unanswered => findings.push(Finding::new(
            Severity::Error,
            "network-timeout",
            subject.clone(),
            format!("the API server had no answer after {:.0}s, so it waits for a webhook", probe.took.as_secs_f64()),
            with_hint(facts, "open the way from the API server to the pods' port (8443): NetworkPolicy, firewall, security group"),
        )),
        ProbeOutcome::Refused(message) => findings.push(refused(facts, probe, &subject, message)),
    }
    if probe.took >= SLOW && !matches!(probe.outcome, ProbeOutcome::Unanswered) {
        findings.push(Finding::new(
            Severity::Warning,
            "slow-path",
            subject,
            format!("took {:.1}s", probe.took.as_secs_f64()),
            "look at outrigger_request_duration_seconds and at apiserver_admission_webhook_admission_duration_seconds by webhook: \
             outrigger webhook order -f pod.yaml lists all that are called",
        ));
    }
    findings
}

fn refused(facts: &Facts, probe: &Probe, subject: &str, message: &str) -> Finding {
    let finding = |check, fix: String| Finding::new(Severity::Error, check, subject, one_line(message), fix);
    let is_ours = message.contains(&format!("webhook \"{}\"", probe.entry));
    if message.contains("failed calling webhook") || message.contains("failed to call webhook") {
        if !is_ours {
            return finding(
                "other-refusal",
                "another webhook cannot be called; its name is in the message: outrigger webhook order -f pod.yaml".to_owned(),
            );
        }
        let row = ERRORS.iter().find(|(words, ..)| words.iter().all(|word| message.contains(word)));
        return match row {
            Some((_, check, fix)) => finding(check, with_hint(facts, fix)),
            None => finding(
                "webhook-error",
                "the webhook answers, but not as it should: see the log of outrigger".to_owned(),
            ),
        };
    }
    if message.contains("denied the request") {
        return if is_ours {
            finding("webhook-error", "outrigger denies the pod; its message says why".to_owned())
        } else {
            finding(
                "other-refusal",
                "another webhook or policy denies the pod; the message names it".to_owned(),
            )
        };
    }
    let fix = if message.contains("exceeded quota") {
        "the namespace's quota is used up: kubectl -n NAMESPACE describe quota; or probe another namespace with --probe-namespace"
    } else if message.contains("violates PodSecurity") {
        "the namespace's Pod Security level forbids what is injected: use the CNI plugin, or another level (docs/install.md)"
    } else if message.contains("serviceaccount") || message.contains("service account") {
        "the namespace has no ServiceAccount \"default\" yet: probe another namespace with --probe-namespace"
    } else {
        "something other than outrigger refuses the pod; the message names it"
    };
    finding("other-refusal", fix.replace("NAMESPACE", &probe.namespace))
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Marks of providers on nodes: label or prefix of `spec.providerID`, and what their users meet.
const PROVIDERS: [(&str, &str, &str); 4] = [
    (
        "cloud.google.com/gke-nodepool",
        "gce://",
        "GKE: private clusters allow the control plane only ports 443 and 10250; add a firewall rule for 8443",
    ),
    (
        "eks.amazonaws.com/nodegroup",
        "aws://",
        "EKS: with an overlay network the control plane cannot reach pod addresses; use the VPC CNI or the host's network; \
         security groups have to allow 8443",
    ),
    (
        "kubernetes.azure.com/cluster",
        "azure://",
        "AKS: the admissions enforcer excludes namespaces kube-system and control-plane from webhooks",
    ),
    (
        "worker.gardener.cloud/pool",
        "gardener://",
        "Gardener: the API server reaches pods through a VPN; see its logs in the shoot",
    ),
];

fn with_hint(facts: &Facts, fix: &str) -> String {
    let of_node = |node: &Value| {
        PROVIDERS.iter().find(|(label, provider, _)| {
            let labels = node.pointer("/metadata/labels");
            labels.is_some_and(|labels| labels.get(label).is_some())
                || text(node, "/spec/providerID").starts_with(provider)
        })
    };
    match facts.nodes.iter().flatten().find_map(of_node) {
        Some((_, _, hint)) => format!("{fix}. {hint}"),
        None => fix.to_owned(),
    }
}
