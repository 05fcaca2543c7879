//! The path from the API server to the webhook, by the result of a dry-run creation: errors as API servers word them
//! (Kubernetes 1.30 to 1.37), decoded.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::{Facts, Finding, Severity, is_own, items, name, namespace, text};
use crate::{webhook_config::entries, workload::Workload};

/// A dry-run creation of a pod that a webhook of ours selects.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The namespace.
    pub namespace: String,
    /// The MutatingWebhookConfiguration.
    pub configuration: String,
    /// Where it is called: `Service outrigger-system/outrigger`, or a URL.
    pub endpoint: String,
    /// Its entry that selects the pod.
    pub entry: String,
    /// The failure policy of the entry.
    pub failure_policy: String,
    /// How long it took.
    pub took: Duration,
    /// The result.
    pub outcome: ProbeOutcome,
}

/// The result of a dry-run creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// A pod with a proxy, injected by this revision.
    Injected(String),
    /// A pod without a proxy.
    Bare,
    /// A pod without a proxy, because the API server could not call the webhook and `failurePolicy` is `Ignore`.
    FailedOpen,
    /// An error of the API server.
    Refused(String),
    /// No answer in time.
    Unanswered,
}

/// From this duration on, the creation of a pod counts as slow.
const SLOW: Duration = Duration::from_secs(1);

/// Words of an API server's error, and what they mean; the first row that matches counts.
type Row = (&'static [&'static str], &'static str, &'static str);

const ERRORS: [Row; 13] = [
    (&["no endpoints available for service"], "no-endpoints", "kubectl -n outrigger-system get pods"),
    (&["service \"", "\" not found"], "service-missing", "install the chart again, or remove the webhook"),
    (
        &["x509: certificate signed by unknown authority"],
        "certificate-untrusted",
        "the caBundle does not hold the CA of the served certificate. Certificates from cert-manager: check the annotation \
         cert-manager.io/inject-ca-from. From files: outrigger webhook apply --ca-bundle ca.pem. Mode controller: the leader \
         repairs what it maintains within seconds; it does not touch a caBundle that something else has set until outrigger \
         webhook adopt CONFIGURATION hands that over (--dry-run shows what would change)",
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
        "allow traffic from the API server to the pods' port (8443): NetworkPolicy, firewall, security group",
    ),
    (
        &["context deadline exceeded"],
        "network-timeout",
        "allow traffic from the API server to the pods' port (8443), or look for an overloaded replica: \
         outrigger_request_duration_seconds",
    ),
    (&["no such host"], "service-missing", "the URL of the webhook names a host that does not resolve"),
];

pub(super) fn findings(facts: &Facts, refusals: &BTreeMap<Workload, String>) -> Vec<Finding> {
    let fix = |message: &str, namespace: &str| {
        creation_fix(message, namespace, |name| configuration_of(facts, name))
    };
    // A dry run that meets what refuses the pods of a workload adds nothing.
    let is_known = |probe: &Probe, finding: &Finding| {
        let mut messages = refusals.iter().filter(|((_, namespace, _), _)| *namespace == probe.namespace);
        finding.check == "other-refusal"
            && messages.any(|(_, message)| fix(message, &probe.namespace) == finding.fix)
    };
    let of_probe =
        |probe| of_probe(facts, probe).into_iter().filter(move |finding| !is_known(probe, finding));
    facts.probes.iter().flat_map(of_probe).collect()
}

/// What a dry run says about the path to the webhook.
pub(super) fn of_probe(facts: &Facts, probe: &Probe) -> Vec<Finding> {
    let subject = format!(
        "dry-run pod in namespace {}, selected by MutatingWebhookConfiguration {}, {}",
        probe.namespace, probe.configuration, probe.entry
    );
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
            let fix = "kubectl get --raw /metrics | grep apiserver_admission_webhook_fail_open_count tells failed calls; outrigger \
                       explain --labels app=x -n NAMESPACE --from-cluster tells skips";
            findings.push(Finding::new(Severity::Error, check, subject.clone(), evidence, with_hint(facts, probe, check, fix)));
        }
        ProbeOutcome::FailedOpen => findings.push(Finding::new(
            Severity::Error,
            "ignored-failures",
            subject.clone(),
            format!("the API server cannot call {}, and failurePolicy is Ignore: pods are created without a proxy", probe.endpoint),
            with_hint(
                facts,
                probe,
                "ignored-failures",
                "the API server's log has the error of the call; compare Service, endpoints, caBundle and network with what it \
                 says. If nothing serves there, remove the MutatingWebhookConfiguration and label the namespaces with a revision \
                 that is served (outrigger tag list)",
            ),
        )),
        ProbeOutcome::Unanswered => findings.push(Finding::new(
            Severity::Error,
            "network-timeout",
            subject.clone(),
            format!("the API server had no answer after {:.0}s, so it waits for a webhook", probe.took.as_secs_f64()),
            with_hint(
                facts,
                probe,
                "network-timeout",
                "allow traffic from the API server to the pods' port (8443): NetworkPolicy, firewall, security group",
            ),
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

/// The class of an API server's refusal to create a pod, which is the name of a check of `outrigger doctor`. `is_ours` recognizes the
/// names of our webhooks.
pub fn refusal_class(message: &str, is_ours: impl Fn(&str) -> bool) -> &'static str {
    let name = message.split_once("webhook \"").and_then(|(_, rest)| rest.split_once('"'));
    let is_ours = name.is_some_and(|(name, _)| is_ours(name));
    let is_call = message.contains("failed calling webhook") || message.contains("failed to call webhook");
    match row(message) {
        Some((_, check, _)) if is_ours && is_call => check,
        _ if is_ours => "webhook-error",
        _ => "other-refusal",
    }
}

fn row(message: &str) -> Option<&'static Row> {
    ERRORS.iter().find(|(words, ..)| words.iter().all(|word| message.contains(word)))
}

fn refused(facts: &Facts, probe: &Probe, subject: &str, message: &str) -> Finding {
    let finding =
        |check, evidence: String, fix: String| Finding::new(Severity::Error, check, subject, evidence, fix);
    let told = one_line(message);
    let is_ours = message.contains(&format!("webhook \"{}\"", probe.entry));
    if is_failed_call(message) {
        if !is_ours {
            let fix = creation_fix(message, &probe.namespace, |name| configuration_of(facts, name));
            return finding("other-refusal", told, fix);
        }
        let evidence = format!("no pod that it selects can be created: {told}");
        return match row(message) {
            Some((_, check, fix)) => finding(check, evidence, with_hint(facts, probe, check, fix)),
            None => finding(
                "webhook-error",
                evidence,
                "the webhook answers, but not as it should: see the log of outrigger".to_owned(),
            ),
        };
    }
    if is_ours && message.contains("denied the request") {
        return finding("webhook-error", told, "outrigger denies the pod; its message says why".to_owned());
    }
    let fix = if message.contains("serviceaccount") || message.contains("service account") {
        "the namespace has no ServiceAccount \"default\" yet: probe another namespace with --probe-namespace"
            .to_owned()
    } else {
        creation_fix(message, &probe.namespace, |name| configuration_of(facts, name))
    };
    finding("other-refusal", told, fix)
}

/// The configuration of a webhook, and whether it is ours.
pub(super) fn configuration_of<'f>(facts: &'f Facts, webhook: &str) -> Option<(&'f str, bool)> {
    let has_it = |configuration: &&Value| entries(configuration).any(|(name, _)| name == webhook);
    let configuration = facts.webhooks.iter().find(has_it)?;
    Some((name(configuration), is_own(configuration)))
}

fn is_failed_call(message: &str) -> bool {
    message.contains("failed calling webhook") || message.contains("failed to call webhook")
}

/// What to do if an API server refuses to create a pod that gets a proxy, by its message. `configuration_of` finds the
/// MutatingWebhookConfiguration of a webhook by its name, and whether it is ours.
pub fn creation_fix<'c>(
    message: &str,
    namespace: &str,
    configuration_of: impl Fn(&str) -> Option<(&'c str, bool)>,
) -> String {
    /// Words of the message of the admission plugin LimitRanger.
    const LIMIT_RANGE: [&str; 4] =
        ["maximum ", "minimum ", "max limit to request ratio", "must be specified"];
    if is_failed_call(message) {
        let name =
            message.split_once("webhook \"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or("?");
        let place = match configuration_of(name) {
            Some((_, true)) => {
                return format!(
                    "outrigger doctor -n {namespace} shows why the API server cannot call the webhook"
                );
            }
            Some((configuration, false)) => format!(" of MutatingWebhookConfiguration {configuration}"),
            None => String::new(),
        };
        return format!(
            "the webhook {name}{place} is not outrigger's, and the API server cannot call it: ask its owner to fix it or to \
             exclude the namespace"
        );
    }
    if message.contains("exceeded quota") {
        let is_about_resources = ["cpu", "memory"].iter().any(|resource| message.contains(resource));
        let proxy = if is_about_resources { SMALLER_PROXY } else { "raise it" };
        return format!(
            "the quota has no room for the pod with its proxy: kubectl -n {namespace} describe quota; {proxy}"
        );
    }
    if message.contains("violates PodSecurity") && !message.contains("istio-") {
        return "the namespace's Pod Security level forbids the pod itself; the message names the fields"
            .to_owned();
    }
    if message.contains("violates PodSecurity") {
        return "the namespace's Pod Security level forbids what is injected: use the CNI plugin, or another level \
                (docs/install.md)"
            .to_owned();
    }
    if message.contains("denied the request") || message.contains("denied request") {
        return "a webhook or policy denies the pod; the message names it".to_owned();
    }
    if message.contains("is forbidden") && LIMIT_RANGE.iter().any(|words| message.contains(words)) {
        return format!(
            "a LimitRange forbids the pod with its proxy: kubectl -n {namespace} describe limitrange; {SMALLER_PROXY}"
        );
    }
    "something other than outrigger refuses the pod; the message names it".to_owned()
}

/// How to make the proxy fit.
const SMALLER_PROXY: &str = "raise it, or give the proxy less: on the pod template all four annotations \
     sidecar.istio.io/proxyCPULimit, proxyCPU, proxyMemoryLimit and proxyMemory (one of them alone drops the defaults of the \
     others), or the values global.proxy.resources";

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A provider: a label and the prefix of `spec.providerID` of its nodes, the checks that its users meet, and why.
type Provider = (&'static str, &'static str, &'static [&'static str], &'static str);

/// Marks of providers on nodes. Labels come first: Gardener's nodes have the ID of the cloud below.
const PROVIDERS: [Provider; 4] = [
    (
        "worker.gardener.cloud/pool",
        "gardener://",
        &["network-timeout", "connection-refused"],
        "Gardener: the API server reaches pods through a VPN; see its logs in the shoot",
    ),
    (
        "cloud.google.com/gke-nodepool",
        "gce://",
        &["network-timeout"],
        "GKE: private clusters allow the control plane only ports 443 and 10250; add a firewall rule for 8443",
    ),
    (
        "eks.amazonaws.com/nodegroup",
        "aws://",
        &["network-timeout", "api-server-address"],
        "EKS: with an overlay network the control plane cannot reach pod addresses; use the VPC CNI or the host's network; \
         security groups have to allow 8443",
    ),
    (
        "kubernetes.azure.com/cluster",
        "azure://",
        &["not-injected", "ignored-failures"],
        "AKS: the admissions enforcer excludes namespaces kube-system and control-plane from webhooks",
    ),
];

/// A fix with the hint for the provider of the nodes, for the ports and the names of this installation.
fn with_hint(facts: &Facts, probe: &Probe, check: &str, fix: &str) -> String {
    let fix = fix.replace("CONFIGURATION", &probe.configuration);
    let fix = fix.replace("-n NAMESPACE", &format!("-n {}", probe.namespace));
    let has_label = |node: &Value, label: &str| {
        node.pointer("/metadata/labels").is_some_and(|labels| labels.get(label).is_some())
    };
    let by_label = |node: &Value| PROVIDERS.iter().find(|(label, ..)| has_label(node, label));
    let by_id =
        |node: &Value| PROVIDERS.iter().find(|(_, id, ..)| text(node, "/spec/providerID").starts_with(id));
    let nodes = || facts.nodes.iter().flatten();
    let provider = nodes().find_map(by_label).or_else(|| nodes().find_map(by_id));
    let fix = match provider.filter(|(_, _, checks, _)| checks.contains(&check)) {
        Some((.., hint)) => format!("{fix}. {hint}"),
        None => fix,
    };
    let slices = facts.endpoint_slices.iter().flatten();
    let port = slices.flat_map(|slice| items(slice, "/ports")).find_map(|port| port.get("port")?.as_u64());
    let service = facts.services.iter().flatten().next();
    let fix = port.map_or_else(|| fix.clone(), |port| fix.replace("8443", &port.to_string()));
    match service.map(namespace).filter(|namespace| !namespace.is_empty()) {
        Some(namespace) => fix.replace("outrigger-system", namespace),
        None => fix,
    }
}
