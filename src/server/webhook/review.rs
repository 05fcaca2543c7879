//! Parses an AdmissionReview into a typed request. Pure; errors never contain parts of the object.
//!
//! Only the relevant fields are parsed; `oldObject` and the rest are skipped. For a duplicate key the
//! last occurrence counts, as in Go's decoder, so that we see the same object as everyone else.

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, value::RawValue};

use crate::codes::keys;
use crate::inject::{Unreadable, scan::Scan};
use crate::server::webhook::json_limits as shape;

/// Supported versions of AdmissionReview.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `admission.k8s.io/v1`
    V1,
    /// `admission.k8s.io/v1beta1`
    V1Beta1,
}

impl Version {
    /// The `apiVersion` of request and response.
    pub const fn api_version(self) -> &'static str {
        match self {
            Version::V1 => "admission.k8s.io/v1",
            Version::V1Beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

/// The request of an API server.
#[derive(Debug)]
pub struct Review<'b> {
    /// The version of the response.
    pub version: Version,
    /// To be echoed.
    pub uid: String,
    /// Namespace of the request, empty if there is none.
    pub namespace: String,
    /// Name in the request; empty for pods created by a controller.
    pub name: String,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// `request.userInfo`, a JSON object as received; `None` if there is none.
    pub user_info: Option<&'b str>,
    /// The subject of the request.
    pub asked: Asked<'b>,
}

/// The subject of a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'b> {
    /// The creation of a pod: the JSON object as received, known only to be an object.
    Pod(&'b str),
    /// The creation or update of an object that may have a pod template; only for [`Purpose::Advise`].
    Workload(&'b str),
    /// Something outside the webhook's rules; the reason is a stable key.
    Outside(&'static str),
}

/// What a review is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To inject pods.
    Inject,
    /// To advise the user who applies a workload.
    Advise,
}

/// Why a body is not a review that can be answered.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Malformed {
    /// No body.
    #[error("the body is empty; expected an AdmissionReview in JSON")]
    Empty,
    /// Too deep.
    #[error(transparent)]
    Depth(#[from] shape::TooDeep),
    /// Not JSON.
    #[error("the body is not JSON: error at line {line}, column {column}")]
    Json {
        /// 1-based line.
        line: usize,
        /// 1-based column in bytes.
        column: usize,
    },
    /// Some other JSON.
    #[error(
        "the body is not an AdmissionReview; expected an object with apiVersion admission.k8s.io/v1 or \
         admission.k8s.io/v1beta1 and kind AdmissionReview"
    )]
    Kind,
    /// An AdmissionReview of an unknown version.
    #[error(
        "the apiVersion of the AdmissionReview is unknown; expected admission.k8s.io/v1 or admission.k8s.io/v1beta1"
    )]
    Version,
    /// No `request`.
    #[error("the AdmissionReview has no request; expected an object")]
    Request,
    /// A field of the request that is missing or has the wrong type.
    #[error("{field} is {found}; expected {accepted}")]
    Field {
        /// Path of the field.
        field: &'static str,
        /// The JSON type that was found.
        found: &'static str,
        /// The JSON type that was expected.
        accepted: &'static str,
    },
}

impl Malformed {
    /// Stable key for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Malformed::Empty => keys::EMPTY_BODY,
            Malformed::Depth(_) => keys::JSON_LIMITS,
            Malformed::Json { .. } => keys::NOT_JSON,
            Malformed::Kind | Malformed::Version => keys::NOT_AN_ADMISSION_REVIEW,
            Malformed::Request | Malformed::Field { .. } => keys::MALFORMED_REVIEW,
        }
    }
}

/// Parses a review for injection.
///
/// # Errors
/// As [`parse_for`].
pub fn parse(body: &[u8]) -> Result<Review<'_>, Malformed> {
    parse_for(Purpose::Inject, body)
}

/// Parses a review.
///
/// # Errors
/// When the body is not a review of a known version with a `request` that has a `uid`, or the creation of a pod has
/// no object.
pub fn parse_for(purpose: Purpose, body: &[u8]) -> Result<Review<'_>, Malformed> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Malformed::Empty);
    }
    shape::check(body)?;
    let mut json = serde_json::Deserializer::from_slice(body);
    // `json_limits::check` has limited the depth.
    json.disable_recursion_limit();
    let envelope = Envelope::deserialize(&mut json)
        .and_then(|envelope| json.end().map(|()| envelope))
        .map_err(|error| Malformed::Json { line: error.line(), column: error.column() })?;

    if envelope.kind.as_text().as_deref() != Some("AdmissionReview") {
        return Err(Malformed::Kind);
    }
    let version = match envelope.api_version.as_text().as_deref() {
        Some("admission.k8s.io/v1") => Version::V1,
        Some("admission.k8s.io/v1beta1") => Version::V1Beta1,
        Some(other) if other.starts_with("admission.k8s.io/") => return Err(Malformed::Version),
        _ => return Err(Malformed::Kind),
    };
    envelope.request.ok_or(Malformed::Request)?.into_review(version, purpose)
}

/// The version and the uid for answering a body that is nested too deep to be parsed; `None` if they cannot be
/// determined.
pub fn addressee(body: &[u8]) -> Option<(Version, String)> {
    let text = std::str::from_utf8(body).ok()?;
    let (mut version, mut uid) = (None, None);
    let string = |scan: &mut Scan<'_>| Some(scan.text()?.and_then(|at| text.get(at)));
    Scan::new(text).entries(|scan, key| {
        match key {
            "apiVersion" => version = string(scan)?,
            "request" => scan.entries(|scan, key| {
                match key {
                    "uid" => uid = string(scan)?,
                    _ => {
                        scan.value()?;
                    }
                }
                Some(())
            })?,
            _ => {
                scan.value()?;
            }
        }
        Some(())
    })?;
    let version =
        [Version::V1, Version::V1Beta1].into_iter().find(|known| Some(known.api_version()) == version)?;
    let uid = uid.filter(|uid| !uid.is_empty() && uid.len() <= TEXT)?;
    Some((version, uid.to_owned()))
}

/// Why the object of a review cannot be parsed, with the position in the body.
pub(crate) fn unreadable(body: &[u8], object: &str, error: Unreadable) -> Malformed {
    let before = (object.as_ptr() as usize).saturating_sub(body.as_ptr() as usize);
    let before = body.get(..before).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count();
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count();
    let column = if error.line == 1 { column + error.column } else { error.column };
    Malformed::Json { line: line + error.line, column }
}

/// Outside the webhook's rules: not a pod.
pub const OTHER_RESOURCE: &str = keys::OTHER_RESOURCE;
/// Outside the webhook's rules: a subresource of a pod.
pub const SUBRESOURCE: &str = keys::SUBRESOURCE;
/// Outside the webhook's rules: not a creation.
pub const OTHER_OPERATION: &str = keys::OTHER_OPERATION;
/// A pod that the API server selected although its namespace does not ask for injection.
pub const NAMESPACE_NOT_SELECTED: &str = injector::codes::keys::NAMESPACE_NOT_SELECTED;

/// The relevant fields, as they occur in the text.
#[derive(Default)]
struct Envelope<'b> {
    api_version: Raw<'b>,
    kind: Raw<'b>,
    request: Option<Request<'b>>,
}

#[derive(Default)]
struct Request<'b> {
    uid: Raw<'b>,
    kind: Raw<'b>,
    resource: Raw<'b>,
    sub_resource: Raw<'b>,
    name: Raw<'b>,
    namespace: Raw<'b>,
    operation: Raw<'b>,
    dry_run: Raw<'b>,
    object: Raw<'b>,
    user_info: Raw<'b>,
}

/// A skipped value; `None` if it is absent.
#[derive(Clone, Copy, Default)]
struct Raw<'b>(Option<&'b RawValue>);

impl<'b> Request<'b> {
    fn into_review(self, version: Version, purpose: Purpose) -> Result<Review<'b>, Malformed> {
        let uid = self.uid.text("request.uid")?;
        if uid.is_empty() {
            return Err(Malformed::Field { field: "request.uid", found: "empty", accepted: "a string" });
        }
        let dry_run = match self.dry_run.json() {
            None | Some("null" | "false") => false,
            Some("true") => true,
            Some(_) => return Err(self.dry_run.not("request.dryRun", "a boolean")),
        };
        Ok(Review {
            version,
            uid: uid.into_owned(),
            namespace: self.namespace.optional_text("request.namespace")?.into_owned(),
            name: self.name.optional_text("request.name")?.into_owned(),
            dry_run,
            user_info: self.user_info.json().filter(|json| json.starts_with('{') && json.len() <= USER_INFO),
            asked: match purpose {
                Purpose::Inject => self.into_asked()?,
                Purpose::Advise => self.into_workload()?,
            },
        })
    }

    /// Which kinds are sent is up to the webhook's rules.
    fn into_workload(self) -> Result<Asked<'b>, Malformed> {
        if !self.sub_resource.optional_text("request.subResource")?.is_empty() {
            return Ok(Asked::Outside(SUBRESOURCE));
        }
        if !matches!(self.operation.optional_text("request.operation")?.as_ref(), "CREATE" | "UPDATE" | "") {
            return Ok(Asked::Outside(OTHER_OPERATION));
        }
        match self.object.json() {
            Some(object) if object.starts_with('{') => Ok(Asked::Workload(object)),
            _ => Err(self.object.not("request.object", "an object")),
        }
    }

    fn into_asked(self) -> Result<Asked<'b>, Malformed> {
        // A hand-written review may omit these; then its subject is a pod.
        if !self
            .resource
            .names(PODS, "resource", "pods")
            .unwrap_or_else(|| self.kind.names(POD_KIND, "kind", "Pod").unwrap_or(true))
        {
            return Ok(Asked::Outside(OTHER_RESOURCE));
        }
        if !self.sub_resource.optional_text("request.subResource")?.is_empty() {
            return Ok(Asked::Outside(SUBRESOURCE));
        }
        if !matches!(self.operation.optional_text("request.operation")?.as_ref(), "CREATE" | "") {
            return Ok(Asked::Outside(OTHER_OPERATION));
        }
        match self.object.json() {
            Some(object) if object.starts_with('{') => Ok(Asked::Pod(object)),
            _ => Err(self.object.not("request.object", "a Pod")),
        }
    }
}

/// Maximum length of a uid, a name or a subject in bytes. Names in Kubernetes have at most 253 characters.
const TEXT: usize = 1 << 10;

/// Maximum length of `userInfo` in bytes; a user in hundreds of groups has less.
const USER_INFO: usize = 64 << 10;

/// How API servers write the subject of a review about pods.
const PODS: &str = r#"{"group":"","version":"v1","resource":"pods"}"#;
const POD_KIND: &str = r#"{"group":"","version":"v1","kind":"Pod"}"#;

impl<'b> Raw<'b> {
    fn json(self) -> Option<&'b str> {
        self.0.map(RawValue::get)
    }

    /// The string value; `None` for anything else.
    fn as_text(self) -> Option<Cow<'b, str>> {
        let json = self.json()?;
        let plain = json.strip_prefix('"')?.strip_suffix('"')?;
        if plain.contains('\\') {
            return serde_json::from_str(json).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(plain))
    }

    fn text(self, field: &'static str) -> Result<Cow<'b, str>, Malformed> {
        match self.as_text() {
            Some(text) if text.len() > TEXT => Err(Malformed::Field {
                field,
                found: "a longer string",
                accepted: "a string of 1024 bytes at most",
            }),
            Some(text) => Ok(text),
            None => Err(self.not(field, "a string")),
        }
    }

    fn optional_text(self, field: &'static str) -> Result<Cow<'b, str>, Malformed> {
        match self.json() {
            None | Some("null") => Ok(Cow::Borrowed("")),
            Some(_) => self.text(field),
        }
    }

    /// Whether a group, version and resource (or kind) are those of pods; `None` if it is not an object.
    fn names(self, usual: &str, last: &str, wanted: &str) -> Option<bool> {
        let json = self.json()?;
        if json == usual {
            return Some(true);
        }
        if json.len() > TEXT {
            return Some(false);
        }
        let object: Map<String, Value> = serde_json::from_str(json).ok()?;
        let is =
            |key: &str, wanted: &str| object.get(key).and_then(Value::as_str).unwrap_or_default() == wanted;
        Some(is("group", "") && is("version", "v1") && is(last, wanted))
    }

    fn not(self, field: &'static str, accepted: &'static str) -> Malformed {
        let found = match self.json().and_then(|json| json.as_bytes().first()) {
            None => "absent",
            Some(b'n') => "null",
            Some(b't' | b'f') => "a boolean",
            Some(b'"') if accepted == "a string" => "a string with an invalid escape",
            Some(b'"') => "a string",
            Some(b'[') => "an array",
            Some(b'{') => "an object",
            Some(_) => "a number",
        };
        Malformed::Field { field, found, accepted }
    }
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Object::<Envelope>::default().deserialize(deserializer)?.unwrap_or_default())
    }
}

/// Parses some fields of an object and skips the others.
trait Fill<'de>: Default {
    const KEYS: &'static [&'static str];
    fn fill<A: MapAccess<'de>>(&mut self, key: usize, map: &mut A) -> Result<(), A::Error>;
}

impl<'de> Fill<'de> for Envelope<'de> {
    const KEYS: &'static [&'static str] = &["apiVersion", "kind", "request"];
    fn fill<A: MapAccess<'de>>(&mut self, key: usize, map: &mut A) -> Result<(), A::Error> {
        match key {
            0 => self.api_version = Raw(Some(map.next_value()?)),
            1 => self.kind = Raw(Some(map.next_value()?)),
            _ => self.request = map.next_value_seed(Object::<Request>::default())?,
        }
        Ok(())
    }
}

impl<'de> Fill<'de> for Request<'de> {
    const KEYS: &'static [&'static str] = &[
        "uid",
        "kind",
        "resource",
        "subResource",
        "name",
        "namespace",
        "operation",
        "dryRun",
        "object",
        "userInfo",
    ];
    fn fill<A: MapAccess<'de>>(&mut self, key: usize, map: &mut A) -> Result<(), A::Error> {
        let field = match key {
            0 => &mut self.uid,
            1 => &mut self.kind,
            2 => &mut self.resource,
            3 => &mut self.sub_resource,
            4 => &mut self.name,
            5 => &mut self.namespace,
            6 => &mut self.operation,
            7 => &mut self.dry_run,
            8 => &mut self.object,
            _ => &mut self.user_info,
        };
        *field = Raw(Some(map.next_value()?));
        Ok(())
    }
}

/// Parses a JSON object as `T`, and any other JSON value as `None`.
struct Object<T>(std::marker::PhantomData<T>);

impl<T> Default for Object<T> {
    fn default() -> Self {
        Object(std::marker::PhantomData)
    }
}

impl<'de, T: Fill<'de>> DeserializeSeed<'de> for Object<T> {
    type Value = Option<T>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Fill<'de>> Visitor<'de> for Object<T> {
    type Value = Option<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = T::default();
        while let Some(key) = map.next_key_seed(Key(T::KEYS))? {
            match key {
                Some(index) => found.fill(index, &mut map)?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Some(found))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
}

struct Key(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<usize>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<usize>;
    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|wanted| *wanted == key))
    }
}

#[cfg(test)]
mod tests;
