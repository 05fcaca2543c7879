//! The annotation by which Istio's templates give the proxy variables, if the tracer of the values is Datadog's.

use serde_json::{Map, Value};

use super::Subject;
use crate::{names, pod};

/// The variables that the annotation gives the proxy.
///
/// The annotation is Datadog's own, and applications have it without any effect on the proxy. Only variables that the
/// proxy has with these values count, whichever template copied them.
pub(in crate::inject) fn variables(pod: &Subject<'_>) -> Vec<String> {
    let Some(text) = pod.annotation(names::ANNOTATION_DATADOG_ENV) else { return Vec::new() };
    let Ok(wanted) = serde_json::from_str::<Map<String, Value>>(text) else { return Vec::new() };
    let env = pod::find_sidecar(pod.merged).and_then(|proxy| proxy.get("env")?.as_array());
    let is_set = |name: &str, wanted: &Value| {
        let same = |variable: &Value| {
            let value = variable.get("value").and_then(Value::as_str);
            // A value of another type is written as the template writes it.
            pod::name(variable) == name && wanted.as_str().is_none_or(|wanted| value == Some(wanted))
        };
        env.is_some_and(|env| env.iter().any(same))
    };
    wanted.into_iter().filter(|(name, value)| is_set(name, value)).map(|(name, _)| name).collect()
}
