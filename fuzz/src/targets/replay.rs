//! The patch cache against the whole pipeline: a cached answer for a pod's sibling equals the computed one, whatever the
//! templates do with names.

use std::{collections::BTreeMap, sync::Arc};

use outrigger::inject::{Admission, AdmissionDecision, AdmissionRequest, CacheStatus, Facts, Injector};
use serde_json::{Value, json};

use crate::{
    Fate, input, meshes,
    random::Random,
    sensitive,
    series::{Names, Series},
};

pub(super) fn check(bytes: &[u8]) -> Fate {
    let mut random = Random::new(bytes);
    let mesh = if random.percent(40) {
        random.pick(&meshes::ALL).mesh.clone()
    } else {
        let Some(made) = meshes::with_template(&sensitive::template(|end| random.below(end))) else {
            return Fate::Keep;
        };
        Arc::new(made)
    };
    // Nothing is cached from another input.
    let injector = Injector::new(mesh);
    let series = *random.pick(&Series::ALL);
    let (first, second) = (names(series, &mut random), names(series, &mut random));
    let (is_pretty, also) = (random.percent(10), random.percent(15));
    let suffix = |random: &mut Random<'_>| random.percent(50).then(|| generated(random, 5));
    let suffixes = (suffix(&mut random), suffix(&mut random));
    let Some(pod) = input::pod(&mut random) else { return Fate::Drop };
    let (Some(mut shown), Some(mut asked)) =
        (made(series, &pod, &first, suffixes.0), made(series, &pod, &second, suffixes.1))
    else {
        return Fate::Keep;
    };
    if also {
        // Texts of the pod that are names.
        for (pod, names) in [(&mut shown, &first), (&mut asked, &second)] {
            pod["metadata"]["labels"]["also"] = json!(names.hash);
            pod["metadata"]["labels"]["a"] = json!(second.job);
        }
    }
    let text = |pod: &Value| {
        if is_pretty { serde_json::to_string_pretty(pod).unwrap_or_default() } else { pod.to_string() }
    };
    if let Some(cached) = cached(&injector, &text(&shown), &text(&asked)) {
        let whole = whole(&injector, &asked);
        assert_eq!(Some(cached), whole, "of {shown}\ncached for {asked}");
    }
    Fate::Keep
}

/// The whole pipeline, if it gives an answer.
fn whole(injector: &Injector, pod: &Value) -> Option<Admission> {
    let (text, none) = (pod.to_string(), BTreeMap::new());
    let facts = Facts::of(injector.config(), "shop");
    let admission = injector.review_uncached(AdmissionRequest::new(&text, "shop", &none), &facts);
    admission.ok().filter(|admission| !matches!(admission.decision, AdmissionDecision::Deny { .. }))
}

/// Shows a pod twice and asks about another: its cached answer, if there is one.
fn cached(injector: &Injector, shown: &str, asked: &str) -> Option<Admission> {
    let (none, facts) = (BTreeMap::new(), Facts::of(injector.config(), "shop"));
    let review = |text| injector.review(AdmissionRequest::new(text, "shop", &none), &facts).ok();
    for text in [shown, shown] {
        assert_ne!(review(text)?.served, CacheStatus::Stale, "{text}");
    }
    let answer = review(asked)?;
    assert_ne!(answer.served, CacheStatus::Stale, "{asked}");
    // Except for this mark, the answer must look as if computed for this pod.
    (answer.served == CacheStatus::Hit).then_some(Admission { served: CacheStatus::Miss, ..answer })
}

/// The names of one pod: ordinary ones of the series, perhaps with any text in place of one or of all.
fn names(series: Series, random: &mut Random<'_>) -> Names {
    let mut names = series.names(random.below(100));
    if random.percent(20) {
        // Names of digits alone are numbers to YAML.
        names.hash = (*random.pick(&["123456789", "0x1f2e3d4c", "1e10"])).to_owned();
    }
    names.token = generated(random, 5);
    if random.percent(60) {
        let text = match random.below(3) {
            0 => random.text(12),
            1 => (*random.pick(ATTACKS)).to_owned(),
            _ => "n".repeat(random.within(60..66)),
        };
        let fields = [
            &mut names.pod,
            &mut names.hash,
            &mut names.uid,
            &mut names.token,
            &mut names.node,
            &mut names.job,
            &mut names.index,
            &mut names.claim,
        ];
        let chosen = random.below(fields.len() + 1);
        let all = chosen == fields.len();
        for (number, field) in fields.into_iter().enumerate().filter(|(number, _)| all || *number == chosen) {
            if !all || number > 0 || random.percent(90) {
                text.clone_into(field);
            }
        }
    }
    names
}

/// Names that something else already has.
const ATTACKS: &[&str] = &[
    "",
    "7",
    "-",
    "true",
    "null",
    "made",
    "made-123456789",
    "d",
    "a",
    "x",
    "h",
    "b",
    "yes",
    "shop",
    "app",
    "istio-proxy",
    "Job",
    "backup-28374651",
    "28374651",
    "kube-api-access-",
    "\u{E0F0}0\u{E0F1}",
    "A",
    "a.b",
    "\"",
    "1337",
];

fn generated(random: &mut Random<'_>, length: usize) -> String {
    (0..length).map(|_| char::from(*random.pick(b"0123456789abcdefghijklmnopqrstuvwxyz"))).collect()
}

/// A pod of the series, perhaps with the name that its prefix leads to; nothing if it has no place for that.
fn made(series: Series, pod: &Value, names: &Names, suffix: Option<String>) -> Option<Value> {
    let mut pod = series.pod(pod, names)?;
    let metadata = &mut pod["metadata"];
    if let (Some(suffix), Some(prefix)) = (suffix, metadata["generateName"].as_str()) {
        metadata["name"] = json!(format!("{prefix}{suffix}"));
    }
    Some(pod)
}
