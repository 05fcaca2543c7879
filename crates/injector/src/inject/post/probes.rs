//! Redirects probes and lifecycle hooks to the agent, because the proxy would ask the kubelet for a certificate.
//!
//! Every HTTP, TCP and gRPC handler is replaced by an HTTP request to the agent; the proxy's environment contains the
//! table of the original handlers ([`table`]). Two kinds of handlers that Istio replaces are left alone: those with
//! another host, and those that an init container has to pass before the proxy runs ([`untouched`]).

use serde_json::{Map, Value, json};

use self::table::{Prober, Table};
use self::untouched::BeforeProxy;
use super::status_port::{probe_port, status_port};
use super::view::{env_mut, int32, variable};
use super::{Error, PostContext};
use crate::{
    annotation::go_bool,
    names, pod,
    quirks::{Quirk, Quirks},
    warning::{Warning, shown},
};

mod table;
mod untouched;

/// Rewrites the application's handlers and passes them to the agent (Istio's `applyRewrite`).
pub(super) fn rewrite(
    pod: &mut Value,
    context: &PostContext<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<(), Error> {
    let mut rewrites = wants_rewriting(pod, context.values);
    if pod::find_sidecar(pod).is_none() || !rewrites && context.keeps(Quirk::RewriteProbesBeforeProxy) {
        return Ok(());
    }
    let port = probe_port(pod, context.mesh_config, context.quirks);
    // Istio points probes at port 0 here, and the API server rejects the pod.
    rewrites &= port != 0 || context.keeps(Quirk::UseStatusPortZero);
    let mut rewriting = Rewriting {
        agent: status_port(pod, context.mesh_config, context.quirks),
        port,
        rewrites,
        quirks: context.quirks,
        before_proxy: BeforeProxy::of(pod),
        table: Table::default(),
        warnings,
    };
    if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
        for list in ["initContainers", "containers"] {
            let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
            for container in containers.filter(|container| pod::name(container) != names::CONTAINER_PROXY) {
                rewriting.container(container, list);
            }
        }
    }
    let table = rewriting.table;
    if !table.is_empty() {
        // A table without the status annotation exists if another webhook removed the annotation; without this check,
        // it would exist twice.
        let joins = !context.keeps(Quirk::DuplicateVariables)
            || pod::annotation(pod, names::ANNOTATION_STATUS).is_some();
        tell_agent(pod, table, joins, warnings);
    }
    Ok(())
}

/// The pod's annotation if it is valid, else the values (Istio's `ShouldRewriteAppHTTPProbers`).
fn wants_rewriting(pod: &Value, values: &Value) -> bool {
    let own = pod::annotation(pod, names::ANNOTATION_REWRITE_PROBES).and_then(go_bool);
    let configured =
        || pod::at(values, &["sidecarInjectorWebhook", "rewriteAppHTTPProbe"]).and_then(Value::as_bool);
    own.or_else(configured).unwrap_or(false)
}

/// Writes the table into the proxy's environment. In a pod that was injected before, an existing table wins: its
/// original handlers no longer exist (Istio's `mergeOrAppendProbers`).
fn tell_agent(pod: &mut Value, mut table: Table, joins: bool, warnings: &mut Vec<Warning>) {
    let Some(env) = env_mut(pod) else { return };
    let existing = env.iter_mut().find(|variable| joins && pod::name(variable) == names::ENV_APP_PROBERS);
    let Some(existing) = existing else {
        env.push(variable(names::ENV_APP_PROBERS, &table.to_json()));
        return;
    };
    let text = existing.get("value").and_then(Value::as_str).unwrap_or_default();
    match Table::parse(text) {
        Ok(earlier) => {
            table.extend(earlier);
            *existing = variable(names::ENV_APP_PROBERS, &table.to_json());
        }
        Err(_) => warnings.push(Warning::new(
            "PROBES_NOT_MERGED",
            format!(
                "{} of the proxy is not a list of probes and is unchanged: rewritten probes will fail",
                names::ENV_APP_PROBERS
            ),
        )),
    }
}

/// The fields with handlers, and the last segment of the agent's path for each (Istio's `FormatProberURL`).
const PROBES: [(&str, &str); 3] =
    [("readinessProbe", "readyz"), ("livenessProbe", "livez"), ("startupProbe", "startupz")];
const HOOKS: [(&str, &str); 2] = [("preStop", "prestopz"), ("postStart", "poststartz")];

struct Rewriting<'a> {
    /// Port that identifies handlers that are already rewritten.
    agent: i64,
    /// Port for rewritten handlers.
    port: i64,
    /// Whether anything is rewritten at all; if not, handlers that fail before the proxy runs still cause warnings.
    rewrites: bool,
    quirks: Quirks,
    before_proxy: BeforeProxy,
    table: Table,
    warnings: &'a mut Vec<Warning>,
}

impl Rewriting<'_> {
    fn container(&mut self, container: &mut Value, list: &str) {
        let name = pod::name(container).to_owned();
        let ports = NamedPorts::of(container);
        let Some(container) = container.as_object_mut() else { return };
        let holder = |field, url, is_probe| Holder { container: &name, list, field, url, is_probe };
        for (field, path) in PROBES {
            let url = format!("/app-health/{name}/{path}");
            if let Some(Value::Object(probe)) = container.get_mut(field) {
                self.handler(probe, holder(field, url, true), &ports);
            }
        }
        let Some(Value::Object(lifecycle)) = container.get_mut("lifecycle") else { return };
        for (field, path) in HOOKS {
            let url = format!("/app-lifecycle/{name}/{path}");
            if let Some(Value::Object(hook)) = lifecycle.get_mut(field) {
                self.handler(hook, holder(field, url, false), &ports);
            }
        }
    }

    fn handler(&mut self, handler: &mut Map<String, Value>, holder: Holder<'_>, ports: &NamedPorts) {
        let Some(action) = Action::of(handler, holder.is_probe) else { return };
        if self.is_untouched(handler, action, &holder, ports) || !self.rewrites {
            return;
        }
        match action.prober(handler, holder.is_probe, |port| self.resolve(port, ports)) {
            Ok(prober) => {
                self.table.insert(holder.url.clone(), prober);
            }
            Err(NoProber::Rewritten) => {}
            // Istio rewrites the handler anyway and gives the agent no entry for it, so that it always fails.
            Err(NoProber::UnknownPort(port)) if !self.quirks.contains(Quirk::RewriteProbesOfUnknownPorts) => {
                let message = format!(
                    "{} does not go through the agent: the container has no port {}",
                    holder.field,
                    shown(&port)
                );
                self.warnings.push(Warning::new("UNKNOWN_PROBE_PORT", message));
                return;
            }
            Err(NoProber::UnknownPort(_)) => {}
        }
        ask_agent(handler, action, &holder.url, self.port);
    }

    fn resolve(&self, port: Option<&Value>, ports: &NamedPorts) -> Result<i32, NoProber> {
        match port {
            Some(Value::String(name)) => {
                ports.number(name).ok_or_else(|| NoProber::UnknownPort(name.clone()))
            }
            other => {
                let number = other.and_then(int32).unwrap_or(0);
                if i64::from(number) == self.agent { Err(NoProber::Rewritten) } else { Ok(number) }
            }
        }
    }
}

/// The place of a handler.
struct Holder<'c> {
    container: &'c str,
    list: &'c str,
    field: &'static str,
    url: String,
    is_probe: bool,
}

/// Why a handler has no entry in the agent's table.
enum NoProber {
    /// It already points to the agent.
    Rewritten,
    /// Its port has a name that the container does not define.
    UnknownPort(String),
}

/// The action of a handler; handlers that do not use the network are not rewritten.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Http,
    Tcp,
    Grpc,
}

impl Action {
    /// The first action present, in Istio's order; hooks have no gRPC.
    fn of(handler: &Map<String, Value>, is_probe: bool) -> Option<Action> {
        let has = |action: &Action| handler.get(action.field()).is_some_and(Value::is_object);
        let all = [Action::Http, Action::Tcp, Action::Grpc];
        all.into_iter().find(has).filter(|action| is_probe || *action != Action::Grpc)
    }

    fn field(self) -> &'static str {
        match self {
            Action::Http => "httpGet",
            Action::Tcp => "tcpSocket",
            Action::Grpc => "grpc",
        }
    }

    /// The request that the agent sends to the application.
    fn prober(
        self,
        handler: &Map<String, Value>,
        is_probe: bool,
        resolve: impl Fn(Option<&Value>) -> Result<i32, NoProber>,
    ) -> Result<Prober, NoProber> {
        let none = Map::new();
        let action = handler.get(self.field()).and_then(Value::as_object).unwrap_or(&none);
        let port = action.get("port");
        let mut prober = match self {
            Action::Http => Prober::http(action, resolve(port)?),
            Action::Tcp => Prober::tcp(action, resolve(port)?),
            Action::Grpc => Prober::grpc(action, port.and_then(int32).unwrap_or(0)),
        };
        if is_probe {
            prober.timeout_seconds =
                handler.get("timeoutSeconds").and_then(int32).filter(|seconds| *seconds != 0);
        }
        Ok(prober)
    }
}

/// Turns the handler into an HTTP request to the agent; the agent speaks TLS to the application, the kubelet plain HTTP
/// to the agent (Istio's `rewriteHTTPGetAction`).
fn ask_agent(handler: &mut Map<String, Value>, action: Action, url: &str, port: i64) {
    if action != Action::Http {
        handler.remove(action.field());
        handler.remove(Action::Http.field());
    }
    let request = handler.entry(Action::Http.field()).or_insert_with(|| json!({}));
    let Some(request) = request.as_object_mut() else { return };
    request.insert("path".to_owned(), json!(url));
    request.insert("port".to_owned(), json!(port));
    if request.get("scheme").and_then(Value::as_str) == Some("HTTPS") {
        request.insert("scheme".to_owned(), json!("HTTP"));
    }
}

/// The named ports of a container.
struct NamedPorts(Vec<(String, i32)>);

impl NamedPorts {
    fn of(container: &Value) -> NamedPorts {
        let ports = container.get("ports").and_then(Value::as_array).into_iter().flatten();
        let named = ports.filter(|port| !pod::name(port).is_empty()).map(|port| {
            let number = port.get("containerPort").and_then(int32).unwrap_or(0);
            (pod::name(port).to_owned(), number)
        });
        NamedPorts(named.collect())
    }

    /// If several ports have the name, the last one wins, as in Istio's map.
    fn number(&self, name: &str) -> Option<i32> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, number)| *number)
    }
}

#[cfg(test)]
mod tests;
