//! YAML against `sigs.k8s.io/yaml`, in both directions, and the fast path for rendered texts against the whole parser.

use outrigger::yaml::{self, Limits};
use serde_json::Value;

use crate::{
    Fate, oracle,
    yaml_differences::{LOADS, Outcome, excuse},
};

/// Longer texts say nothing that shorter ones do not.
const LONGEST: usize = 4096;

pub(super) fn check(bytes: &[u8]) -> Fate {
    let Ok(text) = std::str::from_utf8(bytes) else { return Fate::Drop };
    if text.len() > LONGEST {
        return Fate::Drop;
    }
    let joined: String =
        yaml::split_documents(text).iter().flat_map(|document| [document.separator, document.text]).collect();
    assert_eq!(joined, text);
    let ours = yaml::load(text, &Limits::default());
    if let Ok(rendered) = yaml::load(text, &Limits::rendered()) {
        assert_eq!(Ok(&rendered), ours.as_ref(), "as rendered text, it has a different value");
    }
    if let Err(error) = &ours {
        assert!(!error.to_string().is_empty());
        if error.found().contains("too deep")
            || error.found().contains("too many")
            || error.found().contains("too much")
        {
            return Fate::Keep;
        }
    }
    let Some(answer) = oracle::yaml(text) else { return Fate::Drop };
    if answer.unstable {
        return Fate::Drop;
    }
    let theirs = answer.text.as_deref().and_then(|json| serde_json::from_str::<Value>(json).ok());
    // Their JSON is read by serde_json, whose floats are off by a little: so is ours, then.
    let read_alike = ours.clone().map(|value| serde_json::from_str(&value.to_string()).unwrap_or(value));
    if let Some(outcome) = outcome(&read_alike, theirs.as_ref())
        && reason(text, outcome, &ours, theirs.as_ref()).is_none()
    {
        panic!("{outcome:?} {text:?}:\nours {ours:?}\ntheirs {theirs:?} {}", answer.error);
    }
    match ours {
        Ok(value) => write(&value),
        Err(_) => Fate::Keep,
    }
}

fn outcome(ours: &Result<Value, yaml::Error>, theirs: Option<&Value>) -> Option<Outcome> {
    match (ours, theirs) {
        (Ok(ours), Some(theirs)) if is_same(ours, theirs) => None,
        (Err(_), None) => None,
        (Ok(_), Some(_)) => Some(Outcome::Different),
        (Err(_), Some(_)) => Some(Outcome::Refused),
        (Ok(_), None) => Some(Outcome::Taken),
    }
}

/// Whether two values are the same. Go writes large floats without an exponent, and serde_json reads the two spellings of one float
/// as neighbors.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() && other.is_f64() => {
            let (one, other) = (one.as_f64().unwrap_or_default(), other.as_f64().unwrap_or_default());
            (one - other).abs() <= one.abs() * 4.0 * f64::EPSILON
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let is_there =
                |(key, one): (&String, &Value)| other.get(key).is_some_and(|other| is_same(one, other));
            one.len() == other.len() && one.iter().all(is_there)
        }
        (one, other) => one == other,
    }
}

/// The reason why a text may be read differently.
fn reason(
    text: &str,
    outcome: Outcome,
    ours: &Result<Value, yaml::Error>,
    theirs: Option<&Value>,
) -> Option<&'static str> {
    let listed = LOADS.iter().find(|group| group.outcome == outcome && group.texts.contains(&text));
    let refusal = ours.as_ref().err().map(ToString::to_string);
    listed.map(|group| group.reason).or_else(|| excuse(text, outcome, refusal.as_deref())).or_else(|| {
        match outcome {
            // `{?a: b}: c`: to us, the first key; to them, the value of a document whose rest is not read.
            Outcome::Refused
                if ours
                    .as_ref()
                    .is_err_and(|error| error.mark().offset == 0 && error.found().ends_with("as a key")) =>
            {
                Some("what follows the first document's value is read, not dropped")
            }
            // go-yaml refuses control characters as soon as it reads them, so it did not read this far.
            Outcome::Refused
                if ours.as_ref().is_err_and(|error| error.found().ends_with("a control character")) =>
            {
                Some("what follows the first document's value is read, not dropped")
            }
            // `[]0: c`: likewise; the text before the place that we refuse is their whole value.
            Outcome::Refused if is_value_before(text, ours, theirs) => {
                Some("what follows the first document's value is read, not dropped")
            }
            Outcome::Taken if text.contains('%') => Some("any version of YAML may be declared"),
            Outcome::Taken if text.contains("...") => Some("an empty document may have its end marker"),
            Outcome::Different | Outcome::Refused if text.contains("<<") && text.contains('&') => {
                Some("an alias of << is a merge key too")
            }
            _ => None,
        }
    })
}

/// Whether their value is the flow collection or quoted text that begins the text, before the refused place.
fn is_value_before(text: &str, ours: &Result<Value, yaml::Error>, theirs: Option<&Value>) -> bool {
    let refused_at = ours.as_ref().err().map_or(0, |error| error.mark().offset);
    let is_closed = text.trim_start().starts_with(['[', '{', '\'', '"']);
    let ends = (1..=refused_at)
        .filter(|end| text.get(..*end).is_some_and(|before| before.ends_with([']', '}', '\'', '"'])));
    let value = |end: usize| yaml::load(text.get(..end).unwrap_or_default(), &Limits::default()).ok();
    is_closed && theirs.is_some() && ends.take(64).any(|end| value(end).as_ref() == theirs)
}

/// Written text reads back as the same value, and equals Go's.
fn write(value: &Value) -> Fate {
    let ours = yaml::to_string(value);
    // Minus zero is a whole number to go-yaml.
    if !value.to_string().contains("-0") {
        assert_eq!(yaml::load(&ours, &Limits::default()).as_ref(), Ok(value), "{ours:?}");
    }
    let Some(answer) = oracle::marshal(value) else { return Fate::Drop };
    if answer.unstable || is_written_differently(value) {
        return Fate::Keep;
    }
    assert_eq!(Some(&ours), answer.text.as_ref(), "{value} {}", answer.error);
    Fate::Keep
}

/// Values whose text differs from `Marshal`'s on purpose: see the test `writes_what_marshal_writes`.
fn is_written_differently(value: &Value) -> bool {
    let is_odd = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t')
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}')
    };
    let odd = |text: &str| text.contains(is_odd);
    match value {
        Value::String(text) => odd(text),
        // Minus zero is written as zero, which go-yaml reads it as.
        Value::Number(number) => number.as_f64() == Some(0.0) && number.to_string() != "0",
        Value::Array(items) => items.iter().any(is_written_differently),
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| key == "<<" || key.len() > 1024 || odd(key) || is_written_differently(value)),
        _ => false,
    }
}
