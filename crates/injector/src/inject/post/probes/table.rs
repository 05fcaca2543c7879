//! The agent's table: maps each path that the kubelet requests to the request for the application.
//!
//! Types and field order are those of Istio's `KubeAppProbers`, which the agent parses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

/// The longest table that is parsed. Linux starts no process with a longer variable (`MAX_ARG_STRLEN`), so no longer
/// one is in use.
const BYTES: usize = 128 << 10;

/// Probers by path.
#[derive(Default, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct Table(BTreeMap<String, Option<Prober>>);

impl Table {
    pub(super) fn insert(&mut self, path: String, prober: Prober) {
        self.0.insert(path, Some(prober));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the entries of another table, which win.
    pub(super) fn extend(&mut self, other: Table) {
        self.0.extend(other.0);
    }

    /// Parses an existing table; `null` is an empty one.
    pub(super) fn parse(text: &str) -> Result<Table, serde_json::Error> {
        if text.len() > BYTES {
            return Err(serde::de::Error::custom("longer than a variable can be"));
        }
        serde_json::from_str::<Option<Table>>(text).map(Option::unwrap_or_default)
    }

    pub(super) fn to_json(&self) -> String {
        // Serializing maps with string keys and plain values cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The request that the agent sends to the application.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Prober {
    #[serde(skip_serializing_if = "Option::is_none")]
    http_get: Option<HttpGet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_socket: Option<TcpSocket>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc: Option<Grpc>,
    /// Absent when the probe has none.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) timeout_seconds: Option<i32>,
}

impl Prober {
    pub(super) fn http(action: &Map<String, Value>, port: i32) -> Prober {
        let headers = action.get("httpHeaders").and_then(Value::as_array);
        let headers =
            headers.map(|headers| headers.iter().filter_map(Value::as_object).map(Header::of).collect());
        let http_get = HttpGet {
            path: text(action, "path"),
            port: Some(Port::Number(port)),
            host: text(action, "host"),
            scheme: text(action, "scheme"),
            http_headers: headers,
        };
        Prober { http_get: Some(http_get), ..Prober::default() }
    }

    pub(super) fn tcp(action: &Map<String, Value>, port: i32) -> Prober {
        let tcp_socket = TcpSocket { port: Some(Port::Number(port)), host: text(action, "host") };
        Prober { tcp_socket: Some(tcp_socket), ..Prober::default() }
    }

    pub(super) fn grpc(action: &Map<String, Value>, port: i32) -> Prober {
        Prober {
            grpc: Some(Grpc { port: Some(port), service: text(action, "service") }),
            ..Prober::default()
        }
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct HttpGet {
    #[serde(skip_serializing_if = "is_blank")]
    path: Option<String>,
    #[serde(serialize_with = "port_or_zero")]
    port: Option<Port>,
    #[serde(skip_serializing_if = "is_blank")]
    host: Option<String>,
    #[serde(skip_serializing_if = "is_blank")]
    scheme: Option<String>,
    #[serde(skip_serializing_if = "is_none_or_empty")]
    http_headers: Option<Vec<Header>>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Header {
    name: String,
    value: String,
}

impl Header {
    fn of(header: &Map<String, Value>) -> Header {
        let text = |key| text(header, key).unwrap_or_default();
        Header { name: text("name"), value: text("value") }
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct TcpSocket {
    #[serde(serialize_with = "port_or_zero")]
    port: Option<Port>,
    #[serde(skip_serializing_if = "is_blank")]
    host: Option<String>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Grpc {
    #[serde(serialize_with = "number_or_zero")]
    port: Option<i32>,
    /// Go writes `null` if it is absent.
    service: Option<String>,
}

/// Kubernetes' `IntOrString`; our own entries contain only numbers.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Port {
    Number(i32),
    Name(String),
}

fn text(object: &Map<String, Value>, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn is_blank(text: &Option<String>) -> bool {
    text.as_deref().is_none_or(str::is_empty)
}

fn is_none_or_empty<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

fn is_zero(number: &Option<i32>) -> bool {
    number.is_none_or(|number| number == 0)
}

fn port_or_zero<S: Serializer>(port: &Option<Port>, serializer: S) -> Result<S::Ok, S::Error> {
    port.as_ref().unwrap_or(&Port::Number(0)).serialize(serializer)
}

fn number_or_zero<S: Serializer>(number: &Option<i32>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i32(number.unwrap_or(0))
}
