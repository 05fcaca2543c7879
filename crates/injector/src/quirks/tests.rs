use serde_json::{Value, json};

use super::{Quirk, Quirks, TABLE, document::with_tables};
use crate::{
    config::{InjectorConfig, Source, headed::headed},
    inject::{self, Facts, Outcome, PodRequest, Refusal, check},
    pod,
};

mod cases;

/// A pod that Istio and outrigger treat differently.
struct Case {
    /// The configuration, without its head.
    bundle: String,
    pod: Value,
    /// Where they differ: see [`Case::look`].
    at: &'static str,
    /// The value there if the quirk is kept.
    istio: Value,
    /// The value there if it is not.
    outrigger: Value,
    /// Quirks without which this one shows no effect, because another difference hides it.
    needs: &'static [Quirk],
}

impl Case {
    fn new(bundle: impl Into<String>, pod: Value, at: &'static str) -> Case {
        let (istio, outrigger) = (Value::Null, Value::Null);
        Case { bundle: bundle.into(), pod, at, istio, outrigger, needs: &[] }
    }

    fn istio(self, istio: impl Into<Value>) -> Case {
        Case { istio: istio.into(), ..self }
    }

    fn outrigger(self, outrigger: impl Into<Value>) -> Case {
        Case { outrigger: outrigger.into(), ..self }
    }

    fn needs(self, needs: &'static [Quirk]) -> Case {
        Case { needs, ..self }
    }

    /// The value at the place when these quirks are kept.
    fn look(&self, quirks: Quirks) -> Value {
        let text = headed(&self.bundle);
        let Ok((mesh, _)) =
            InjectorConfig::from_bundle_by(Source { name: "bundle", text: &text }, |_| quirks)
        else {
            return json!("configuration rejected");
        };
        if self.at == "check" {
            return json!(if check::check(&mesh).is_ok() { "accepted" } else { "configuration rejected" });
        }
        let outcome = run(&mesh, &self.pod);
        match (self.at, outcome) {
            ("outcome", Ok(Outcome::Injected(_))) => json!("injected"),
            ("outcome", Ok(Outcome::Skipped(skip))) => json!(skip.decision.reason.key()),
            ("outcome", Err(refusal)) => json!(refusal.reason()),
            (place, Ok(Outcome::Injected(injection))) => at(&injection.pod, place),
            (_, outcome) => json!(format!("{outcome:?}")),
        }
    }
}

fn run(mesh: &InjectorConfig, pod: &Value) -> Result<Outcome, Refusal> {
    inject::run(mesh, &PodRequest::new("shop", pod.clone()), &Facts::of(mesh, "shop"))
}

/// The value at a JSON pointer, in which `@NAME` is the item of that name and a last `*` the names of all items.
fn at(value: &Value, pointer: &str) -> Value {
    let mut value = value;
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/");
        let found = match (value, step.strip_prefix('@')) {
            (Value::Array(items), _) if step == "*" => return items.iter().map(pod::name).collect(),
            (Value::Array(items), Some(name)) => pod::find(items, name),
            (Value::Array(items), None) => items.get(step.parse::<usize>().unwrap()),
            _ => value.get(&step),
        };
        let Some(found) = found else { return Value::Null };
        value = found;
    }
    value.clone()
}

/// The pod as `compat: outrigger` injects it.
fn injected(bundle: &str, pod: &Value) -> Value {
    let mesh = InjectorConfig::from_bundle(Source { name: "bundle", text: &headed(bundle) }).unwrap().0;
    match run(&mesh, pod) {
        Ok(Outcome::Injected(injection)) => injection.pod,
        outcome => panic!("{outcome:?}"),
    }
}

/// Each quirk has a case ([`cases::of`] does not compile otherwise) that shows Istio's side and ours. The quirk alone makes
/// the difference, so every branch asks for the quirk that it is about. What another difference hides needs that one, too.
#[test]
fn every_quirk_makes_the_difference_that_it_is_named_for() {
    let mut failed = Vec::new();
    for row in TABLE {
        let (quirk, case) = (row.quirk, cases::of(row.quirk));
        assert_ne!(case.istio, case.outrigger, "{quirk}: both sides are equal");
        let needed = case.needs.iter().fold(Quirks::NONE, |kept, needed| kept.with(*needed));
        for (kept, name, wanted) in [
            (Quirks::ALL, "compat: istio", &case.istio),
            (Quirks::NONE, "compat: outrigger", &case.outrigger),
            (Quirks::ALL.without(quirk), "all other quirks", &case.outrigger),
            (needed.with(quirk), "the quirk and what it needs", &case.istio),
        ] {
            let found = case.look(kept);
            if found != *wanted {
                failed
                    .push(format!("{quirk}, {name}, {}:\n  found    {found}\n  expected {wanted}", case.at));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn rows_are_in_the_order_of_the_enum() {
    for (place, row) in TABLE.iter().enumerate() {
        assert_eq!(row.quirk as usize, place);
        assert_eq!(row.quirk.to_string(), row.name);
        assert!(!Quirks::NONE.contains(row.quirk) && Quirks::ALL.contains(row.quirk), "{}", row.name);
        assert_eq!(format!("{:?}", Quirks::NONE.with(row.quirk)), format!("{{{}}}", row.name));
    }
}

/// `UPDATE_DOCS=1` writes the file instead.
#[test]
#[allow(clippy::disallowed_methods, reason = "a test may read and write the project's files")]
fn tables_of_the_compatibility_documentation_are_made_from_the_rows() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compatibility.md");
    let made = with_tables(&std::fs::read_to_string(path).unwrap()).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == made,
        "docs/compatibility.md differs from the table; run the tests with UPDATE_DOCS=1"
    );
}
