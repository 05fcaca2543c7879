//! Istio's functions on parts of the pod.

use serde_json::Value as Json;

use crate::names;
use gotemplate::funcs::sprig::argument::{Outcome, computed, list, map, real, text, value};
use gotemplate::funcs::sprig::strings::push_text;
use gotemplate::funcs::{Call, FuncError};
use gotemplate::value::{Text, Value};

const OTEL_SEMANTIC_CONVENTIONS: &str = "OTEL_SEMANTIC_CONVENTIONS";

/// The pod's annotation with that name, else the default, printed (`getAnnotation`).
pub(super) fn annotation<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let key = real(call, args, 1)?;
    let found = match value(args, 0)? {
        Value::Struct(meta) => meta.field("Annotations"),
        _ => None,
    };
    match found.as_ref().and_then(Value::as_map).and_then(|annotations| annotations.at(&key)) {
        Some(found) => Ok(found),
        None => Ok(Value::String(call.printed(value(args, 2)?))),
    }
}

/// The TCP ports of all containers but the proxy.
pub(super) fn application_ports<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    ports(call, args, |name| name != names::CONTAINER_PROXY)
}

/// The TCP ports of all containers.
pub(super) fn include_inbound_ports<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    ports(call, args, |_| true)
}

/// Adds a port to a list of ports unless it is already there, empty or 0.
pub(super) fn exclude_inbound_port<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let port = call.printed_real(value(args, 0)?);
    let port = port.trim();
    let excluded = real(call, args, 1)?;
    if port.is_empty() || port == "0" || excluded.split(',').any(|other| other == port) {
        return Ok(value(args, 1)?.clone());
    }
    let others = excluded.split(',').map(str::trim).filter(|other| !other.is_empty());
    let all: Vec<_> = others.chain([port]).collect();
    computed(call, all.join(","), args)
}

/// Adds the CNI plugin's network to the networks of Multus, which are JSON or comma-separated names.
///
/// Unlike in Istio, an empty JSON list gets its first item without a comma before it.
pub(super) fn append_multus_network<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let (existing, network) = (real(call, args, 0)?, real(call, args, 1)?);
    if existing.is_empty() {
        return Ok(value(args, 1)?.clone());
    }
    let Some((before, after)) = existing.rfind(']').and_then(|at| existing.split_at_checked(at)) else {
        if existing.split(',').any(|other| other.trim() == network) {
            return Ok(value(args, 0)?.clone());
        }
        return computed(call, format!("{existing}, {network}"), args);
    };
    let networks = match serde_json::from_str::<Json>(&existing) {
        Ok(Json::Array(networks))
            if networks.iter().all(|network| network.is_object() || network.is_null()) =>
        {
            networks
        }
        // A value that cannot be parsed is not changed.
        _ => return Ok(value(args, 0)?.clone()),
    };
    let (namespace, name) = network.split_once('/').unwrap_or(("", &network));
    let is_ours = |network: &Json| {
        let of = network.get("namespace").filter(|of| !of.is_null());
        network.get("name").and_then(Json::as_str) == Some(name)
            && of.map_or(Some(""), Json::as_str) == Some(namespace)
    };
    if networks.iter().any(is_ours) {
        return Ok(value(args, 0)?.clone());
    }
    let comma = if networks.is_empty() { "" } else { ", " };
    let name = Json::from(name);
    let added = if namespace.is_empty() {
        format!(r#"{comma}{{"name": {name}}}"#)
    } else {
        format!(r#"{comma}{{"name": {name}, "namespace": {}}}"#, Json::from(namespace))
    };
    computed(call, format!("{before}{added}{after}"), args)
}

/// `OTEL_RESOURCE_ATTRIBUTES` by OpenTelemetry's conventions for Kubernetes; empty unless a provider requests them.
pub(super) fn otel_resource_attributes<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>]) -> Outcome<'a> {
    if !wants_otel_conventions(value(args, 0)?) {
        return Ok(Value::string(""));
    }
    let (annotations, labels) = (map(args, 1)?, map(args, 2)?);
    let namespace = text(args, 3)?;
    let containers = list(args, 4)?;
    let annotation = |name: &str| {
        let key = format!("resource.opentelemetry.io/{name}");
        annotations.at(&key).as_ref().and_then(Value::as_text).filter(|text| !text.is_empty()).cloned()
    };
    let mut attributes: Vec<(&str, Text<'a>)> = Vec::new();
    if let Some(found) = annotation("service.namespace") {
        attributes.push(("service.namespace", found));
    } else if !namespace.is_empty() {
        attributes.push(("service.namespace", namespace.clone()));
    }
    let label = labels.at("app.kubernetes.io/version");
    if let Some(found) = annotation("service.version") {
        attributes.push(("service.version", found));
    } else if let Some(found) = label.as_ref().and_then(Value::as_text).filter(|text| !text.is_empty()) {
        attributes.push(("service.version", found.clone()));
    } else if let Some(found) = only(containers.iter()).and_then(|container| image_version(call, &container))
    {
        attributes.push(("service.version", found));
    }
    if let Some(found) = annotation("service.instance.id") {
        attributes.push(("service.instance.id", found));
    } else if let Some(first) = containers.at(0) {
        let name = field(&first, "Name");
        let mut id = String::new();
        push_text(call, &mut id, namespace);
        // The pod has no name yet; Kubernetes inserts it when the container starts.
        id.push_str(".$(POD_NAME).");
        if let Some(Value::String(name)) = &name {
            push_text(call, &mut id, name);
        }
        attributes.push(("service.instance.id", call.mixed(id)));
    }
    let mut out = String::new();
    for (name, value) in &attributes {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(name);
        out.push('=');
        push_text(call, &mut out, value);
    }
    Ok(Value::String(call.mixed(out)))
}

fn wants_otel_conventions(mesh: &Value<'_>) -> bool {
    let Some(Value::List(providers)) = getter(mesh, "GetExtensionProviders") else { return false };
    providers.iter().any(|provider| {
        let Some(Value::Struct(otel)) = getter(&provider, "GetOpentelemetry") else { return false };
        let enrichment = otel.getter("GetServiceAttributeEnrichment");
        !otel.is_nil()
            && matches!(enrichment, Some(Value::Enum(of, number))
                if of.value_name(number) == Some(OTEL_SEMANTIC_CONVENTIONS))
    })
}

/// `tag@digest`, `digest` or `tag` of a container's image.
fn image_version<'a>(call: &Call<'_, 'a>, container: &Value<'a>) -> Option<Text<'a>> {
    let Some(Value::String(image)) = field(container, "Image") else { return None };
    let reference = call.real(&image);
    let (name, digest) = reference.split_once('@').unwrap_or((&reference, ""));
    let last = name.rsplit('/').next().unwrap_or(name);
    let tag = last.rsplit_once(':').map_or("", |(_, tag)| tag);
    let version = match (tag, digest) {
        ("", "") => return None,
        (tag, "") => tag.to_owned(),
        ("", digest) => digest.to_owned(),
        (tag, digest) => format!("{tag}@{digest}"),
    };
    Some(Text::new(version, image.is_tainted()))
}

/// The numbers of the ports that are neither UDP nor SCTP (`getContainerPorts`).
fn ports<'a>(call: &mut Call<'_, 'a>, args: &[Value<'a>], counts: fn(&str) -> bool) -> Outcome<'a> {
    let mut numbers = Vec::new();
    for container in list(args, 0)?.iter() {
        call.spend(1)?;
        let name = field(&container, "Name");
        let name = name.as_ref().and_then(Value::as_text).map(|name| call.real(name));
        if !counts(name.as_deref().unwrap_or_default()) {
            continue;
        }
        let Some(Value::List(ports)) = field(&container, "Ports") else { continue };
        for port in ports.iter() {
            call.spend(1)?;
            let protocol = field(&port, "Protocol");
            let protocol = protocol.as_ref().and_then(Value::as_text).map(|protocol| call.real(protocol));
            if matches!(protocol.as_deref(), Some("UDP" | "SCTP")) {
                continue;
            }
            numbers.push(number(&field(&port, "ContainerPort"))?.to_string());
        }
    }
    computed(call, numbers.join(","), args)
}

fn number(port: &Option<Value<'_>>) -> Result<i64, FuncError> {
    match port {
        Some(Value::Int(number, _)) => Ok(*number),
        _ => Err("a container port is not a number".into()),
    }
}

fn field<'a>(of: &Value<'a>, name: &str) -> Option<Value<'a>> {
    if let Value::Struct(of) = of { of.field(name) } else { None }
}

fn getter<'a>(of: &Value<'a>, name: &str) -> Option<Value<'a>> {
    if let Value::Struct(of) = of { of.getter(name) } else { None }
}

fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    if items.next().is_some() { None } else { Some(first) }
}
