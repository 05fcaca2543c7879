use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::webhook_config::Settings;

const CA: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

/// A healthy installation: two replicas, one namespace with injected pods, one without a label.
fn healthy() -> Facts {
    let settings = Settings { ca_bundle: Some(CA.to_owned()), ..Settings::default() };
    let mut webhooks = settings.objects();
    for configuration in &mut webhooks {
        for entry in configuration["webhooks"].as_array_mut().unwrap() {
            entry["rules"] = crate::webhook_config::rules();
            entry["clientConfig"]["caBundle"] =
                json!("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFBPT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=");
        }
    }
    let labels = json!({"app.kubernetes.io/name": "outrigger"});
    let metadata = |name: &str| json!({"name": name, "namespace": "outrigger-system", "labels": labels});
    Facts {
        webhooks,
        services: Some(vec![json!({"metadata": metadata("outrigger"), "spec": {"ports": [{"port": 443}]}})]),
        endpoint_slices: Some(vec![json!({
            "metadata": {"name": "a", "namespace": "outrigger-system", "labels": {"kubernetes.io/service-name": "outrigger"}},
            "endpoints": [{"conditions": {"ready": true}}, {"conditions": {"ready": true}}],
        })]),
        deployments: Some(vec![json!({
            "metadata": metadata("outrigger"), "spec": {"replicas": 2}, "status": {"availableReplicas": 2},
        })]),
        own_pods: Some(vec![json!({"metadata": metadata("outrigger-1"), "status": {}})]),
        namespaces: Some(vec![
            json!({"metadata": {"name": "shop", "labels": {"istio-injection": "enabled"}}}),
            json!({"metadata": {"name": "plain"}}),
        ]),
        pods: Some(vec![pod("shop", "web", true)]),
        controllers: Some(vec![
            json!({"kind": "ReplicaSet", "metadata": {"name": "web-1", "namespace": "shop"}, "status": {"replicas": 1}}),
        ]),
        events: Some(Vec::new()),
        nodes: Some(Vec::new()),
        probes: vec![probe(ProbeOutcome::Injected("default".to_owned()))],
        permissions: Some(vec![access(true)]),
        configuration: Some(Ok(Vec::new())),
    }
}

fn access(is_allowed: bool) -> Access {
    Access {
        namespace: "mesh".to_owned(),
        service_account: "outrigger".to_owned(),
        purpose: "the configuration",
        is_essential: true,
        action: "list configmaps/outrigger -n mesh".to_owned(),
        is_allowed,
    }
}

fn pod(namespace: &str, name: &str, with_proxy: bool) -> Value {
    let mut containers = vec![json!({"name": "web", "image": "web"})];
    if with_proxy {
        containers.push(json!({"name": "istio-proxy", "image": "proxy"}));
    }
    json!({"metadata": {"name": name, "namespace": namespace}, "spec": {"containers": containers}, "status": {"phase": "Running"}})
}

fn probe(outcome: ProbeOutcome) -> Probe {
    Probe {
        namespace: "default".to_owned(),
        configuration: "outrigger-sidecar-injector".to_owned(),
        endpoint: "Service outrigger-system/outrigger".to_owned(),
        entry: "namespace.sidecar-injector.istio.io".to_owned(),
        failure_policy: "Fail".to_owned(),
        took: Duration::from_millis(12),
        outcome,
    }
}

fn failed(message: &str) -> Facts {
    let message = format!(
        "Internal error occurred: failed calling webhook \"namespace.sidecar-injector.istio.io\": failed to call webhook: {message}"
    );
    Facts { probes: vec![probe(ProbeOutcome::Refused(message))], ..healthy() }
}

/// The status of a ReplicaSet whose pods are refused because the webhook cannot be called.
fn refused_by_call() -> Value {
    json!({"conditions": [{
        "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
        "message": "Internal error occurred: failed calling webhook \"namespace.sidecar-injector.istio.io\": x509",
    }]})
}

/// The checks that report something, worst first.
fn checks(facts: &Facts) -> Vec<&'static str> {
    diagnose(facts).iter().map(|finding| finding.check).collect()
}

#[test]
fn a_healthy_installation_has_no_findings() {
    assert_eq!(diagnose(&healthy()), []);
}

#[test]
fn what_could_not_be_read_is_not_concluded_from() {
    let webhooks = healthy().webhooks;
    assert_eq!(diagnose(&Facts { webhooks, ..Facts::default() }), []);
}

/// A breakage and the finding that it has to lead to.
type Case = (&'static str, fn(&mut Facts), &'static str, &'static str);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("no webhook", |facts| facts.webhooks.clear(), "no-webhook", "install the chart"),
    ("entries without rules", |facts| facts.webhooks[0]["webhooks"][0]["rules"] = json!([]), "no-rules", "ready"),
    ("no caBundle", |facts| { facts.webhooks[0]["webhooks"][0]["clientConfig"].as_object_mut().unwrap().remove("caBundle"); }, "ca-bundle-missing", "caBundle"),
    ("a caBundle without a certificate", |facts| facts.webhooks[0]["webhooks"][0]["clientConfig"]["caBundle"] = json!("aGVsbG8="), "ca-bundle-unreadable", "certificate"),
    ("no Service", |facts| facts.services = Some(Vec::new()), "service-missing", "kubectl delete"),
    ("another port", |facts| facts.services.as_mut().unwrap()[0]["spec"]["ports"][0]["port"] = json!(8443), "service-missing", "port"),
    ("no endpoint", |facts| facts.endpoint_slices = Some(Vec::new()), "no-endpoints", "get pods"),
    ("no ready endpoint", |facts| facts.endpoint_slices.as_mut().unwrap()[0]["endpoints"] = json!([{"conditions": {"ready": false}}]), "no-endpoints", "refuses"),
    ("one replica under Fail", |facts| facts.endpoint_slices.as_mut().unwrap()[0]["endpoints"] = json!([{}]), "fail-closed-alone", "two replicas"),
    ("an image that cannot be pulled", |facts| {
        facts.deployments.as_mut().unwrap()[0]["status"] = json!({});
        facts.own_pods.as_mut().unwrap()[0]["status"] = json!({"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}]});
    }, "replicas-not-ready", "ImagePullBackOff not found"),
    ("a pod that fits on no node", |facts| {
        facts.deployments.as_mut().unwrap()[0]["status"] = json!({"availableReplicas": 1});
        facts.own_pods.as_mut().unwrap()[0]["status"] = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]});
    }, "replicas-not-ready", "Unschedulable: 0/3 nodes"),
    ("connection refused", |facts| *facts = failed("Post \"https://outrigger.outrigger-system.svc:443/inject?timeout=10s\": dial tcp 10.0.0.1:443: connect: connection refused"), "connection-refused", "targetPort"),
    ("a blocked network", |facts| *facts = failed("Post \"https://x\": dial tcp 10.0.0.1:443: i/o timeout"), "network-timeout", "NetworkPolicy"),
    ("a deadline", |facts| *facts = failed("Post \"https://x\": context deadline exceeded"), "network-timeout", "8443"),
    ("a private GKE cluster", |facts| {
        *facts = failed("Post \"https://x\": context deadline exceeded");
        facts.nodes = Some(vec![json!({"metadata": {"labels": {"cloud.google.com/gke-nodepool": "a"}}})]);
    }, "network-timeout", "firewall rule for 8443"),
    ("an overlay network on EKS", |facts| {
        *facts = failed("Post \"https://x\": Address is not allowed");
        facts.nodes = Some(vec![json!({"spec": {"providerID": "aws:///eu-1/i-1"}})]);
    }, "api-server-address", "VPC CNI"),
    ("Gardener on AWS", |facts| {
        *facts = failed("Post \"https://x\": context deadline exceeded");
        facts.nodes = Some(vec![json!({
            "metadata": {"labels": {"worker.gardener.cloud/pool": "a"}}, "spec": {"providerID": "aws:///eu-1/i-1"},
        })]);
    }, "network-timeout", "Gardener: "),
    ("another port on GKE", |facts| {
        *facts = failed("Post \"https://x\": context deadline exceeded");
        facts.endpoint_slices.as_mut().unwrap()[0]["ports"] = json!([{"port": 10250}]);
        facts.nodes = Some(vec![json!({"metadata": {"labels": {"cloud.google.com/gke-nodepool": "a"}}})]);
    }, "network-timeout", "firewall rule for 10250"),
    ("another CA", |facts| *facts = failed("tls: failed to verify certificate: x509: certificate signed by unknown authority"), "certificate-untrusted", "caBundle"),
    ("an expired certificate", |facts| *facts = failed("x509: certificate has expired or is not yet valid: current time 2026-01-01 is after 2025-01-01"), "certificate-expired", "renew"),
    ("another name", |facts| *facts = failed("x509: certificate is valid for a.svc, not outrigger.outrigger-system.svc"), "certificate-name", "SERVICE.NAMESPACE.svc"),
    ("no endpoints for the Service", |facts| *facts = failed("no endpoints available for service \"outrigger\""), "no-endpoints", "get pods"),
    ("an answer that is none", |facts| *facts = failed("the server rejected our request for an unknown reason"), "webhook-error", "log of outrigger"),
    ("another webhook that is down", |facts| facts.probes = vec![probe(ProbeOutcome::Refused("Internal error occurred: failed calling webhook \"vault.hashicorp.com\": no endpoints available".to_owned()))], "other-refusal", "vault.hashicorp.com is not outrigger's"),
    ("another webhook that denies", |facts| facts.probes = vec![probe(ProbeOutcome::Refused("admission webhook \"validate.kyverno.svc-fail\" denied the request: no".to_owned()))], "other-refusal", "names it"),
    ("a used-up quota", |facts| facts.probes = vec![probe(ProbeOutcome::Refused("pods \"x\" is forbidden: exceeded quota: q, requested: limits.cpu=2".to_owned()))], "other-refusal", "quota"),
    ("Pod Security", |facts| facts.probes = vec![probe(ProbeOutcome::Refused("pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": unrestricted capabilities (container \"istio-init\" …)".to_owned()))], "other-refusal", "CNI"),
    ("no answer at all", |facts| facts.probes = vec![probe(ProbeOutcome::Unanswered)], "network-timeout", "8443"),
    ("failures that are ignored", |facts| facts.probes = vec![Probe { failure_policy: "Ignore".to_owned(), ..probe(ProbeOutcome::Bare) }], "ignored-failures", "fail_open"),
    ("calls that fail and are ignored", |facts| facts.probes = vec![Probe { failure_policy: "Ignore".to_owned(), ..probe(ProbeOutcome::FailedOpen) }], "ignored-failures", "cannot call Service outrigger-system/outrigger"),
    ("a pod that is skipped", |facts| facts.probes = vec![probe(ProbeOutcome::Bare)], "not-injected", "outrigger explain"),
    ("a slow path", |facts| facts.probes = vec![Probe { took: Duration::from_secs(3), ..probe(ProbeOutcome::Injected("default".to_owned())) }], "slow-path", "webhook order"),
    ("both labels", |facts| facts.namespaces.as_mut().unwrap()[0]["metadata"]["labels"]["istio.io/rev"] = json!("canary"), "both-labels", "remove one"),
    ("a misspelled value", |facts| facts.namespaces.as_mut().unwrap()[1]["metadata"]["labels"] = json!({"istio-injection": "enable"}), "label-value", "--overwrite istio-injection=enabled"),
    ("a misspelled key", |facts| facts.namespaces.as_mut().unwrap()[1]["metadata"]["labels"] = json!({"istio-injecton": "enabled"}), "label-misspelled", "istio-injecton-"),
    ("a label for pods on a namespace", |facts| facts.namespaces.as_mut().unwrap()[1]["metadata"]["labels"] = json!({"sidecar.istio.io/inject": "true"}), "label-misspelled", "istio-injection=enabled"),
    ("a revision that nothing serves", |facts| facts.namespaces.as_mut().unwrap()[1]["metadata"]["labels"] = json!({"istio.io/rev": "canary"}), "revision-not-served", "outrigger tag set canary --revision default"),
    ("pods without a proxy", |facts| facts.pods.as_mut().unwrap().push(pod("shop", "old", false)), "uninjected-pods", "outrigger explain pod/old -n shop"),
    ("a workload whose pods are denied", |facts| {
        facts.controllers.as_mut().unwrap()[0]["metadata"]["ownerReferences"] = json!([{"kind": "Deployment", "name": "web", "controller": true}]);
        facts.controllers.as_mut().unwrap()[0]["status"] = json!({"conditions": [{
            "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
            "message": "admission webhook \"namespace.sidecar-injector.istio.io\" denied the request: 1 invalid annotation",
        }]});
    }, "creation-refused", "outrigger explain deployment/web -n shop"),
    ("a workload whose pods exceed a quota", |facts| {
        facts.controllers.as_mut().unwrap()[0]["status"] = json!({"conditions": [{
            "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
            "message": "pods \"web-1\" is forbidden: exceeded quota: small, requested: limits.cpu=2, used: limits.cpu=0, limited: limits.cpu=1",
        }]});
    }, "creation-refused", "proxyCPULimit"),
    ("a workload whose webhook cannot be called", |facts| {
        facts.probes.clear();
        facts.controllers.as_mut().unwrap()[0]["status"] = refused_by_call();
    }, "creation-refused", "outrigger doctor -n shop"),
    ("a workload whose webhook cannot be called, which a dry run found, too", |facts| {
        *facts = failed("tls: failed to verify certificate: x509: certificate signed by unknown authority");
        facts.controllers.as_mut().unwrap()[0]["status"] = refused_by_call();
    }, "creation-refused", "fix certificate-untrusted of MutatingWebhookConfiguration outrigger-sidecar-injector"),
    ("a workload behind another webhook that is down", |facts| {
        facts.webhooks.push(json!({"metadata": {"name": "tagger"}, "webhooks": [{"name": "tagger.example.com"}]}));
        let mut status = refused_by_call();
        status["conditions"][0]["message"] = json!("failed calling webhook \"tagger.example.com\": refused");
        facts.controllers.as_mut().unwrap()[0]["status"] = status;
    }, "creation-refused", "tagger.example.com of MutatingWebhookConfiguration tagger is not outrigger's"),
    ("pods without a proxy, and calls that fail", |facts| {
        facts.pods.as_mut().unwrap().push(pod("shop", "old", false));
        facts.probes = vec![Probe { failure_policy: "Ignore".to_owned(), ..probe(ProbeOutcome::Bare) }];
    }, "uninjected-pods", "fix ignored-failures of MutatingWebhookConfiguration outrigger-sidecar-injector first; then "),
    ("a workload that is not tried again since the webhook works", |facts| {
        facts.controllers.as_mut().unwrap()[0]["status"] = refused_by_call();
    }, "creation-refused", "the call works now"),
    ("several workloads whose webhook cannot be called", |facts| {
        facts.controllers.as_mut().unwrap()[0]["status"] = refused_by_call();
        let mut other = facts.controllers.as_ref().unwrap()[0].clone();
        other["metadata"]["name"] = json!("api-1");
        facts.controllers.as_mut().unwrap().push(other);
    }, "creation-refused", "2 workloads get no new pods: ReplicaSet api-1, ReplicaSet web-1"),
    ("a DaemonSet above a LimitRange", |facts| {
        facts.controllers.as_mut().unwrap().push(json!({
            "kind": "DaemonSet", "metadata": {"name": "agent", "namespace": "shop"},
            "status": {"desiredNumberScheduled": 2, "currentNumberScheduled": 0},
        }));
        facts.events.as_mut().unwrap().push(json!({
            "reason": "FailedCreate", "involvedObject": {"kind": "DaemonSet", "namespace": "shop", "name": "agent"},
            "message": "Error creating: pods \"agent-\" is forbidden: maximum cpu usage per Container is 1, but limit is 2",
        }));
    }, "creation-refused", "describe limitrange"),
    ("a pod on the host's network", |facts| {
        let mut on_host = pod("shop", "host", false);
        on_host["spec"]["hostNetwork"] = json!(true);
        facts.pods.as_mut().unwrap().push(on_host);
    }, "pods-on-host-network", "outrigger explain pod/host -n shop"),
    ("a role without a rule", |facts| facts.permissions = Some(vec![access(true), access(false)]), "permission-missing", "kubectl auth can-i list configmaps/outrigger -n mesh --as system:serviceaccount:mesh:outrigger"),
    ("istiod beside us", |facts| {
        let mut other = facts.webhooks[0].clone();
        other["metadata"] = json!({"name": "istio-sidecar-injector", "labels": {"app": "sidecar-injector"}});
        facts.webhooks.push(other);
    }, "another-injector", "one revision"),
    ("an invalid configuration", |facts| facts.configuration = Some(Err("values.global: found a list".to_owned())), "configuration-invalid", "bundle print"),
];

#[test]
fn every_breakage_is_found_with_its_cure() {
    assert!(CASES.len() >= 15);
    for (about, breaks, check, fix) in CASES {
        let mut facts = healthy();
        breaks(&mut facts);
        let findings = diagnose(&facts);
        let found = findings.iter().find(|finding| finding.check == *check);
        let found = found.unwrap_or_else(|| panic!("{about}: {findings:#?}"));
        assert!(found.fix.contains(fix) || found.evidence.contains(fix), "{about}: {found:#?}");
        assert!(findings.is_sorted_by_key(|finding| finding.severity), "{about}");
    }
    let unused: Vec<&str> = CHECKS
        .iter()
        .map(|(check, _)| *check)
        .filter(|check| !CASES.iter().any(|(_, _, used, _)| used == check))
        .collect();
    assert_eq!(unused, ["configuration-warning"]);
}

#[test]
fn hints_of_providers_belong_to_what_their_users_meet() {
    let mut facts = failed("x509: certificate has expired or is not yet valid: current time is after");
    facts.nodes = Some(vec![json!({"metadata": {"labels": {"cloud.google.com/gke-nodepool": "a"}}})]);
    let findings = diagnose(&facts);
    assert!(findings.iter().all(|finding| !finding.fix.contains("GKE")), "{findings:#?}");
}

#[test]
fn pods_that_need_no_proxy_are_not_reported() {
    let mut facts = healthy();
    let mut on_host = pod("shop", "host", false);
    on_host["spec"]["hostNetwork"] = json!(true);
    on_host["metadata"]["annotations"] = json!({"sidecar.istio.io/inject": "false"});
    let mut opted_out = pod("shop", "out", false);
    opted_out["metadata"]["labels"] = json!({"sidecar.istio.io/inject": "false"});
    let mut over = pod("shop", "job", false);
    over["status"]["phase"] = json!("Succeeded");
    facts.pods.as_mut().unwrap().extend([on_host, opted_out, over, pod("plain", "a", false)]);
    assert_eq!(checks(&facts), Vec::<&str>::new());
}

#[test]
fn what_refuses_the_pods_of_a_workload_is_reported_once() {
    let message = "pods \"a\" is forbidden: exceeded quota: small";
    let mut facts = healthy();
    facts.probes =
        vec![Probe { namespace: "shop".to_owned(), ..probe(ProbeOutcome::Refused(message.to_owned())) }];
    assert_eq!(checks(&facts), ["other-refusal"]);
    let condition =
        json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message});
    facts.controllers.as_mut().unwrap()[0]["status"] = json!({"conditions": [condition]});
    assert_eq!(checks(&facts), ["creation-refused"]);
}

#[test]
fn checks_are_sorted() {
    assert!(CHECKS.is_sorted_by_key(|(check, _)| *check));
}
