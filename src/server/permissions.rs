//! The permissions that a server needs, from its options: what its ServiceAccount must be allowed to do.
//!
//! The chart grants exactly these. `outrigger doctor` asks the API server for each of them.

use crate::server::admin::AdminAuth;
use crate::server::configuration::cluster::{self, ConfigMaps};
use crate::server::configuration::selection::Selection;
use crate::server::options::{Certificate, Options, Origin};
use crate::server::{bare_workloads, certs, client_auth::ConfigMapKey};

/// A permission, in the terms of RBAC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// What it is for, such as `the configuration`.
    pub purpose: &'static str,
    /// Whether pods are not injected, or certificates not renewed, without it.
    pub is_essential: bool,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource, such as `configmaps`.
    pub resource: &'static str,
    /// The namespace; empty for cluster-scoped resources, and for all namespaces.
    pub namespace: String,
    /// The name of the object; empty for all objects.
    pub name: String,
    /// The verbs.
    pub verbs: &'static [&'static str],
}

const FOLLOW: &[&str] = &["list", "watch"];
const LIST: &[&str] = &["list"];
const LIST_AND_PATCH: &[&str] = &["list", "patch"];
const GET: &[&str] = &["get"];
const CREATE: &[&str] = &["create"];
const MANAGE: &[&str] = &["get", "list", "watch", "patch"];
const REGISTRATION: &str = "admissionregistration.k8s.io";

/// The permissions that a server with these options needs.
///
/// The permission to read namespaces is not among them if only a part of the configuration, such as
/// `namespaceDefaults`, needs it: the options do not tell.
pub fn permissions(options: &Options) -> Vec<Permission> {
    let mut needed = Vec::new();
    if let Origin::Cluster(watched) = &options.configuration {
        needed.extend(of_watches(watched));
    }
    if let Certificate::Controller(controlled) = &options.certificate {
        needed.extend(of_certificates(controlled));
    }
    if let Some(ConfigMapKey { namespace, name, .. }) = options.client_auth.config_map() {
        needed.push(essential("the CA of callers", ("", "configmaps"), (namespace, name), FOLLOW));
    }
    if let Some(canary) = &options.canary {
        needed.push(useful("the canary", ("", "pods"), (&canary.namespace, ""), CREATE));
    }
    if options.namespace_audit.is_some() {
        let purpose = "the namespace audit";
        needed.push(useful(purpose, ("", "namespaces"), ("", ""), LIST));
        needed.push(useful(purpose, (REGISTRATION, "mutatingwebhookconfigurations"), ("", ""), LIST));
        // Events on objects without a namespace are in this one.
        needed.push(events(purpose, "default"));
    }
    if let Some(bare) = &options.bare_workloads {
        needed.extend(of_bare_workloads(bare.mode));
    }
    if options.admin_auth == AdminAuth::Token {
        let purpose = "access to metrics";
        needed.push(useful(purpose, ("authentication.k8s.io", "tokenreviews"), ("", ""), CREATE));
        needed.push(useful(purpose, ("authorization.k8s.io", "subjectaccessreviews"), ("", ""), CREATE));
    }
    needed
}

fn of_bare_workloads(mode: bare_workloads::Mode) -> Vec<Permission> {
    let purpose = "workloads without a proxy";
    let read = [
        ("", "namespaces"),
        ("", "pods"),
        ("apps", "replicasets"),
        ("policy", "poddisruptionbudgets"),
        (REGISTRATION, "mutatingwebhookconfigurations"),
    ];
    let mut needed = vec![events(purpose, "")];
    needed.extend(read.map(|resource| useful(purpose, resource, ("", ""), LIST)));
    let verbs = match mode {
        bare_workloads::Mode::Report => LIST,
        bare_workloads::Mode::Restart => LIST_AND_PATCH,
    };
    let restarted = ["deployments", "statefulsets", "daemonsets"];
    needed.extend(restarted.map(|resource| useful(purpose, ("apps", resource), ("", ""), verbs)));
    needed
}

fn of_watches(watched: &cluster::Options) -> Vec<Permission> {
    let (namespace, names) = match &watched.config_maps {
        ConfigMaps::Bundle { namespace, name, .. } => (namespace, vec![name]),
        ConfigMaps::Istio { namespace, injector, mesh, .. } => (namespace, vec![injector, mesh]),
    };
    let config_map =
        |name: &String| essential("the configuration", ("", "configmaps"), (namespace, name), FOLLOW);
    let mut needed: Vec<Permission> = names.into_iter().map(config_map).collect();
    needed.push(events("Events on the configuration", namespace));
    if watched.nodes {
        needed.push(useful("native sidecars", ("", "nodes"), ("", ""), FOLLOW));
    }
    if watched.proxy_configs {
        let resource = ("networking.istio.io", "proxyconfigs");
        needed.push(useful("ProxyConfig resources", resource, ("", ""), FOLLOW));
    }
    if watched.selection == Selection::Verify {
        needed.push(useful("the labels of namespaces", ("", "namespaces"), ("", ""), FOLLOW));
    }
    if watched.workload_events {
        let purpose = "Events on workloads";
        needed.push(events(purpose, ""));
        needed.push(useful(purpose, ("apps", "replicasets"), ("", ""), GET));
        needed.push(useful(purpose, ("batch", "jobs"), ("", ""), GET));
    }
    needed
}

fn of_certificates(controlled: &certs::Options) -> Vec<Permission> {
    let certs::Options {
        namespace,
        secret,
        lease,
        webhook_configurations,
        tag_configurations,
        advice_configuration,
        ..
    } = controlled;
    let purpose = "certificates";
    let leases = ("coordination.k8s.io", "leases");
    let mut needed = vec![
        essential(purpose, ("", "secrets"), (namespace, secret), &["get", "list", "watch", "update"]),
        essential(purpose, ("", "secrets"), (namespace, ""), CREATE),
        essential(purpose, leases, (namespace, lease), &["get", "update"]),
        essential(purpose, leases, (namespace, ""), CREATE),
        events("Events on certificates", namespace),
    ];
    let own = webhook_configurations.iter().chain(tag_configurations);
    needed.extend(own.map(|name| {
        essential("webhooks", (REGISTRATION, "mutatingwebhookconfigurations"), ("", name), MANAGE)
    }));
    needed.extend(advice_configuration.iter().map(|name| {
        useful(
            "the webhook for advice",
            (REGISTRATION, "validatingwebhookconfigurations"),
            ("", name),
            MANAGE,
        )
    }));
    needed
}

fn events(purpose: &'static str, namespace: &str) -> Permission {
    useful(purpose, ("events.k8s.io", "events"), (namespace, ""), &["create", "patch"])
}

fn essential(
    purpose: &'static str,
    resource: (&'static str, &'static str),
    object: (&str, &str),
    verbs: &'static [&'static str],
) -> Permission {
    Permission { is_essential: true, ..useful(purpose, resource, object, verbs) }
}

fn useful(
    purpose: &'static str,
    (group, resource): (&'static str, &'static str),
    (namespace, name): (&str, &str),
    verbs: &'static [&'static str],
) -> Permission {
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    Permission { purpose, is_essential: false, group, resource, namespace, name, verbs }
}
