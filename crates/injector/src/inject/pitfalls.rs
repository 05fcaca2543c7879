//! Detects pods that are valid and get a proxy, but will not start, will not end, or run with less than their users
//! expect.
//!
//! Nothing is changed or denied because of it. Where only the installation could tell whether the pod works, such as the
//! version of the CNI plugin, the warning is only recorded. Everything is read from the pod and the configuration, which
//! the patch cache has in its key.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
};

use serde_json::Value;

use super::template_containers::TemplateContainers;
use crate::{
    config::Namespace,
    names, pod,
    quantity::{Amount, CPU, HUGE_PAGES, MEMORY},
    warning::{Warning, shown, shown_within},
};

/// The maximum number of warnings of one kind for a pod.
const MOST: usize = 8;
/// Characters of a name that are shown, so that the advice fits.
const SHOWN: usize = 40;

/// The annotations, each of which replaces all default resources, with the resource that it sets.
const RESOURCES: [(&str, &str); 4] = [
    (names::ANNOTATION_PROXY_CPU, "cpu"),
    (names::ANNOTATION_PROXY_MEMORY, "memory"),
    (names::ANNOTATION_PROXY_CPU_LIMIT, "cpu"),
    (names::ANNOTATION_PROXY_MEMORY_LIMIT, "memory"),
];

/// The input: a pod that gets a proxy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    /// The pod as received.
    pub(super) received: &'a Value,
    /// The pod as received, with the annotations that are defaults for it.
    pub(super) asked: &'a Value,
    /// The pod with its proxy.
    pub(super) merged: &'a Value,
    /// What the templates create.
    pub(super) made: &'a TemplateContainers,
    /// The values.
    pub(super) values: &'a Value,
    /// The effective ProxyConfig.
    pub(super) proxy_config: &'a Value,
    /// The user whose traffic is not redirected.
    pub(super) user: i64,
}

/// All warnings of this module about an injected pod; `source_of` returns the source of a default; empty for the pod
/// itself.
pub(super) fn warnings(pod: &Subject<'_>, source_of: &dyn Fn(&str) -> String) -> Vec<Warning> {
    let mut warnings = duplicate_volumes(pod);
    warnings.extend(pod.requests_above_limits());
    let Some(proxy) = pod.proxy() else { return warnings };
    warnings.extend(pod.in_job());
    warnings.extend(pod.unresolved_discovery());
    warnings.extend(pod.dropped_resources(proxy, source_of));
    if pod.made.init_containers.iter().any(|name| name == names::CONTAINER_VALIDATION) {
        warnings.extend(pod.user_namespace());
        warnings.extend(pod.init_without_network());
    }
    warnings
}

/// A pod that asks for a revision other than the injector's. It was selected all the same: by a label of its namespace,
/// or by a tag that the configuration does not list. If the namespace has the same label, it is a tag.
pub(super) fn unknown_revision(
    received: &Value,
    namespace: Option<&Namespace>,
    is_own: impl Fn(&str) -> bool,
) -> Option<Warning> {
    let asked = pod::label(received, names::REVISION).filter(|asked| !is_own(asked))?;
    if namespace
        .is_some_and(|namespace| namespace.labels.get(names::REVISION).and_then(Value::as_str) == Some(asked))
    {
        return None;
    }
    let message = format!(
        "label {}: {} is neither this injector's revision nor a tag it knows",
        names::REVISION,
        shown_within(asked, SHOWN)
    );
    Some(Warning::new("UNKNOWN_REVISION", message))
}

/// Volumes of the pod that share a name: an API server rejects the pod, unless the merge keeps only one of them. The
/// time is linear in the volumes, because a hostile pod may have very many.
fn duplicate_volumes(pod: &Subject<'_>) -> Vec<Warning> {
    let counts = |holder| {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for volume in pod::spec_list(holder, "volumes") {
            *counts.entry(pod::name(volume)).or_default() += 1;
        }
        counts
    };
    let received = counts(pod.received);
    if received.values().all(|count| *count == 1) {
        return Vec::new();
    }
    let merged = counts(pod.merged);
    let mut told = HashSet::new();
    let volumes = pod::spec_list(pod.received, "volumes").iter().map(pod::name);
    let twice = volumes.filter(|name| !name.is_empty() && received.get(name).is_some_and(|count| *count > 1));
    let message = |name: &str| {
        let is_left = merged.get(name).is_some_and(|count| *count > 1);
        let effect = if is_left { "the API server rejects the pod" } else { "only one is kept" };
        format!("two volumes are named {}: {effect}", shown(name))
    };
    twice
        .filter(|name| told.insert(*name))
        .take(MOST)
        .map(|name| Warning::new("DUPLICATE_VOLUME", message(name)))
        .collect()
}

/// A warning for each request of a container that does not fit its limit.
fn unfit_requests(container: &Value) -> Vec<Warning> {
    let amounts = |kind| pod::at(container, &["resources", kind]).and_then(Value::as_object);
    let Some((requests, limits)) = amounts("requests").zip(amounts("limits")) else { return Vec::new() };
    let unfit = |(resource, request): (&String, &Value)| {
        let limit = Amount::of(limits.get(resource)?)?;
        let request = Amount::of(request)?;
        let relation = match request.cmp(&limit) {
            Ordering::Greater => "exceeds",
            Ordering::Less if !can_be_overcommitted(resource) => "is not",
            Ordering::Less | Ordering::Equal => return None,
        };
        let name = match resource.as_str() {
            CPU | MEMORY => resource.clone(),
            other => shown_within(other, SHOWN),
        };
        let message = format!(
            "container {}: {name} request {} {relation} limit {}, so the API server rejects the pod; set both",
            shown_within(pod::name(container), SHOWN),
            request.text(resource),
            limit.text(resource),
        );
        Some(Warning::new("REQUEST_ABOVE_LIMIT", message))
    };
    requests.iter().filter_map(unfit).collect()
}

/// Whether a request may be less than its limit: not for huge pages and extended resources
/// (`IsOvercommitAllowed` of Kubernetes).
fn can_be_overcommitted(resource: &str) -> bool {
    let is_native = !resource.contains('/') || resource.contains("kubernetes.io/");
    is_native && !resource.starts_with(HUGE_PAGES)
}

impl<'a> Subject<'a> {
    /// Requests of our containers that do not fit their limits, such as a pod's own request for the proxy together with
    /// the limit in the values: an API server rejects the pod (`ValidateContainerResourceRequirements`).
    fn requests_above_limits(&self) -> Vec<Warning> {
        let lists = [
            (pod::containers(self.merged), &self.made.containers),
            (pod::init_containers(self.merged), &self.made.init_containers),
        ];
        let is_ours = |name: &str| lists.iter().any(|(_, made)| made.iter().any(|made| made == name));
        let containers = lists.iter().flat_map(|(merged, _)| merged.iter());
        let ours = containers.filter(|container| is_ours(pod::name(container)));
        ours.flat_map(unfit_requests).take(MOST).collect()
    }

    /// The proxy, if the templates create it.
    fn proxy(&self) -> Option<&'a Value> {
        let mut made = self.made.containers.iter().chain(&self.made.init_containers);
        made.any(|name| name == names::CONTAINER_PROXY).then(|| pod::find_sidecar(self.merged))?
    }

    /// Whether the proxy is an ordinary container, which starts after all init containers and is not stopped by the
    /// kubelet when the application ends.
    fn is_ordinary(&self) -> bool {
        pod::find(pod::containers(self.merged), names::CONTAINER_PROXY).is_some()
    }

    fn spec(&self, key: &str) -> Option<&'a Value> {
        self.merged.get("spec")?.get(key)
    }

    /// A pod that should end by itself, with a proxy that does not. A crashed proxy is not restarted either: the agent
    /// exits with 0 when its Envoy is killed.
    fn in_job(&self) -> Option<Warning> {
        let policy = self.spec("restartPolicy")?.as_str()?;
        let is_alone = pod::containers(self.merged).len() < 2;
        if !matches!(policy, "Never" | "OnFailure") || is_alone || !self.is_ordinary() {
            return None;
        }
        let message = format!(
            "restartPolicy {policy}: the ordinary proxy keeps the pod from ending; set {}: \"true\"",
            names::ANNOTATION_NATIVE_SIDECAR
        );
        Some(Warning::new("ORDINARY_PROXY_IN_JOB", message))
    }

    /// A resolver that does not complete `istiod.istio-system.svc`, which is a name only within the cluster's domain.
    fn unresolved_discovery(&self) -> Option<Warning> {
        let policy =
            self.spec("dnsPolicy")?.as_str().filter(|policy| matches!(*policy, "Default" | "None"))?;
        let address = self.proxy_config.get("discoveryAddress")?.as_str()?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        if !host.ends_with(".svc") {
            return None;
        }
        let domain = pod::at(self.values, &["global", "proxy", "clusterDomain"]).and_then(Value::as_str);
        let domain = domain.unwrap_or("cluster.local").trim_matches('.');
        let searches = self.spec("dnsConfig").and_then(|config| config.get("searches")?.as_array());
        let completes =
            |search: &Value| search.as_str().is_some_and(|search| search.trim_matches('.') == domain);
        let aliases = self.spec("hostAliases").and_then(Value::as_array);
        let names = aliases.into_iter().flatten().filter_map(|alias| alias.get("hostnames")?.as_array());
        let is_alias = names.flatten().any(|name| name.as_str() == Some(host));
        if is_alias || searches.into_iter().flatten().any(completes) {
            return None;
        }
        let message = format!(
            "dnsPolicy {policy}: the proxy cannot resolve {}; add {domain} to dnsConfig.searches",
            shown_within(host, SHOWN)
        );
        Some(Warning::new("DISCOVERY_UNRESOLVED", message))
    }

    /// Default resources that an annotation for another resource removes.
    fn dropped_resources(&self, proxy: &Value, source_of: &dyn Fn(&str) -> String) -> Option<Warning> {
        let annotation = |(key, _): &&(&str, &str)| pod::annotation(self.asked, key).is_some();
        let (key, _) = RESOURCES.iter().find(annotation)?;
        let defaults = pod::at(self.values, &["global", "proxy", "resources"])?;
        let has = |resources: Option<&Value>, resource: &str| {
            let amount =
                |field: &str| pod::at(resources?, &[field, resource]).filter(|amount| !amount.is_null());
            amount("requests").or_else(|| amount("limits")).is_some()
        };
        let lost = |resource: &&str| has(Some(defaults), resource) && !has(proxy.get("resources"), resource);
        let resource = ["cpu", "memory"].into_iter().find(lost)?;
        let source = source_of(key);
        let of = if source.is_empty() { source } else { format!("{source}: ") };
        let message = format!(
            "{of}{key} replaces all default resources: the proxy has neither {resource} request nor limit"
        );
        Some(Warning::new("RESOURCE_DEFAULTS_DROPPED", message))
    }

    /// A user namespace: the plugin's rules name a user of the host's, unless it enters the pod's user namespace.
    fn user_namespace(&self) -> Option<Warning> {
        let is_private = self.spec("hostUsers") == Some(&Value::Bool(false));
        is_private.then(|| {
            Warning::new(
                "HOST_USERS_WITH_CNI",
                "spec.hostUsers: false needs a CNI plugin that supports user namespaces",
            )
        })
    }

    /// The application's first init container whose traffic is redirected although the proxy comes after it.
    fn init_without_network(&self) -> Option<Warning> {
        let includes = pod::annotation(self.merged, names::ANNOTATION_INCLUDE_OUTBOUND_RANGES);
        if !self.is_ordinary() || includes == Some("") {
            return None;
        }
        let user_of = |holder: Option<&Value>| pod::at(holder?, &["securityContext", "runAsUser"])?.as_i64();
        let of_pod = user_of(self.merged.get("spec"));
        let is_redirected = |container: &&Value| {
            let is_made = self.made.init_containers.iter().any(|name| name == pod::name(container));
            !is_made && user_of(Some(container)).or(of_pod) != Some(self.user)
        };
        let container = pod::init_containers(self.merged).iter().find(is_redirected)?;
        let name = shown_within(pod::name(container), SHOWN);
        let message =
            format!("init container {name} has no network: traffic goes to a proxy that does not run yet");
        Some(Warning::new("INIT_WITHOUT_NETWORK", message))
    }
}

#[cfg(test)]
mod tests;
